//! The rules by which a driver of the two state machines judges what arrives, keeps its log, and
//! starts from its disk: pure, or on a [`Disk`] it is given, so that the node and the simulator
//! drive a replica by the same ones.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::dedup_window::{BlockIds, DedupRule};
use crate::disk::Disk;
use crate::header::header_hash;
use crate::intake::Envelope;
use crate::msg_processor::Processor;
use crate::pbft::message::Domain;
use crate::pbft::{ChainTip, Record, Role};
use crate::types::{
    BlockCertificate, Candidate, CommittedBlock, ConsenterId, Digest, Number, Place, Verified,
};
use crate::wal::{Wal, WalError, WalOptions};
use crate::wire::candidate::{self, Limits};
use crate::wire::checker::check_candidate;
use crate::wire::envelope::Parsed;
use crate::wire::{Checker, VoteKeys, block, record};

/// A candidate that arrived, judged.
#[derive(Debug)]
pub struct Judged {
    /// Its name.
    pub digest: Digest,
    /// The config sequence that the verdict is by, if it is a refusal.
    pub config_sequence: u64,
    /// The candidate and the config sequence it was found valid under, or why it is not.
    pub verdict: Result<(Verified<Arc<Candidate>>, u64), String>,
}

/// Decodes and validates a candidate with this digest. `origin` is who must have cut it, if the
/// stream says so; `None` if it is another's, which says nothing about the candidate.
pub fn judge_candidate(
    digest: Digest,
    encoding: Bytes,
    limits: &Limits,
    origin: Option<Place>,
    n: usize,
    processor: &Processor,
) -> Option<Judged> {
    let config_sequence = processor.sequence();
    let verdict = match candidate::decode_parsed(digest, encoding, limits) {
        Ok((candidate, _)) if origin.is_some_and(|origin| candidate.origin != origin) => return None,
        Ok((candidate, _)) if candidate.origin.index() >= n => {
            Err(format!("its origin {} is no replica of this channel", candidate.origin))
        }
        Ok((candidate, envelopes)) => {
            check_candidate(Arc::new(candidate), |_| processor.check_parsed(&envelopes))
                .map_err(|fault| fault.to_string())
        }
        Err(error) => Err(error.to_string()),
    };
    Some(Judged { digest, config_sequence, verdict })
}

/// Runs the filters over a decoded candidate; the config sequence is that of the verdict.
///
/// # Errors
/// Which envelope may not be ordered, and why.
pub fn validate(
    processor: &Processor,
    candidate: Arc<Candidate>,
) -> Result<(Verified<Arc<Candidate>>, u64), String> {
    check_candidate(candidate, |envelopes| processor.check_candidate(envelopes))
        .map_err(|fault| fault.to_string())
}

/// Vouches for a candidate whose envelopes all passed the filters under `config_sequence` before: it was
/// made of this replica's own batch, or was found valid and is held still.
pub fn vouch_known(candidate: Arc<Candidate>, config_sequence: u64) -> Verified<Arc<Candidate>> {
    let checked = check_candidate(candidate, |_| Ok::<_, std::convert::Infallible>(config_sequence));
    let Ok((candidate, _)) = checked;
    candidate
}

/// Decodes and checks a fetched block.
///
/// # Errors
/// What is wrong with its form or its signatures.
pub fn check_block<K: VoteKeys>(
    bytes: Bytes,
    ids: &[ConsenterId],
    checker: &Checker<K>,
) -> Result<Verified<Arc<CommittedBlock>>, String> {
    let decoded = block::decode(bytes, ids).map_err(|error| error.to_string())?;
    checker.check_block(decoded).map_err(|rejection| rejection.to_string())
}

/// What the intake takes of an accepted envelope.
pub fn accepted(parsed: Parsed, config_sequence: u64) -> Envelope {
    Envelope {
        id: parsed.id,
        size: parsed.size,
        is_config: parsed.is_config(),
        frame: parsed.frame,
        config_sequence,
    }
}

/// An open log, and what it said.
#[derive(Debug)]
pub struct OpenLog {
    /// The log.
    pub log: Wal,
    /// The record that it begins with, also when it is compacted.
    pub epoch: Bytes,
    /// May vote, or why not.
    pub role: Role,
    /// What the replica promised.
    pub records: Vec<Record>,
}

/// Why a replica does not start.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The log cannot be used.
    #[error("{0}")]
    Log(String),
    /// The ledger cannot be used.
    #[error("{0}")]
    Ledger(String),
}

impl From<WalError> for Refusal {
    fn from(error: WalError) -> Self {
        Self::Log(error.to_string())
    }
}

/// Opens the log in `directory` and decides whether this replica may vote. `height` is the
/// ledger's, and `marked_new` says that the directory was made for a first start.
///
/// # Errors
/// The log cannot be opened, is another's, or needs blocks that the ledger does not have.
pub fn open_log(
    disk: Arc<dyn Disk>,
    directory: &Path,
    options: WalOptions,
    domain: &Domain,
    me: Place,
    height: u64,
    marked_new: bool,
) -> Result<OpenLog, Refusal> {
    let (mut log, found) = Wal::open_on(disk, directory, options)?;
    let epoch = epoch_record(domain, me);
    let follower = follower_record(&epoch);
    let mut found = found.records.into_iter();
    let (epoch, role) = match found.next() {
        Some(first) if first == epoch => (epoch, Role::Voter),
        Some(first) if first == follower => (follower, Role::Follower(LOST.into())),
        Some(_) => {
            let reason = "it belongs to another channel, era or consenter; \
                          put the right one back, or wipe this channel's directory and follow";
            return Err(Refusal::Log(reason.into()));
        }
        None => {
            // No log. On a first start that is as it should be; otherwise it was lost, and what
            // this replica promised with it.
            let (record, role) = if marked_new && height == 1 {
                (epoch, Role::Voter)
            } else {
                (follower, Role::Follower(LOST.into()))
            };
            log.append(&record)?;
            log.sync()?;
            (record, role)
        }
    };
    let mut records = Vec::new();
    for (index, bytes) in found.enumerate() {
        if let Some(needed) = decode_needed(&bytes) {
            check_ledger(height, needed)?;
            continue;
        }
        let record = record::decode(bytes);
        records.push(record.map_err(|error| Refusal::Log(format!("record {}: {error}", index + 1)))?);
    }
    Ok(OpenLog { log, epoch, role, records })
}

/// What a log is started anew with: it says as much as all records before, given that the ledger
/// is durable up to `durable`.
pub fn compacted(epoch: &Bytes, durable: Number, live: &[Record]) -> Vec<Bytes> {
    // What this leaves out, the ledger must have.
    let mut records = vec![epoch.clone(), needed_record(durable)];
    records.extend(live.iter().map(record::encode));
    records
}

/// Where the ledger ends, from the request ids of its [recent blocks](recent_blocks) and the certificate
/// of the last; `None` if there is no certificate where there are blocks.
pub fn tip(
    genesis: Digest,
    last: Number,
    recent: Vec<BlockIds>,
    certificate: Option<Arc<BlockCertificate>>,
) -> Option<ChainTip> {
    let hash = match &certificate {
        Some(certificate) => header_hash(&certificate.header),
        None if last == Number(0) => genesis,
        None => return None,
    };
    Some(ChainTip { hash, number: last, certificate, recent })
}

/// The ids of the blocks that a ledger ends with, oldest first: all of those in the dedup window of the
/// next one, and perhaps some more. `read` gives those of a range of blocks, in order.
///
/// # Errors
/// What `read` says.
pub fn recent_blocks<E>(
    last: Number,
    rule: DedupRule,
    mut read: impl FnMut(RangeInclusive<u64>) -> Result<Vec<BlockIds>, E>,
) -> Result<Vec<BlockIds>, E> {
    let mut parts = Vec::new();
    let (mut end, mut envelopes) = (last.0, 0);
    let mut count = rule.blocks.max(1);
    while end > 0 && rule.reaches(last.0 - end + 1, envelopes) {
        let first = end.saturating_sub(count - 1).max(1);
        let part = read(first..=end)?;
        envelopes += part.iter().map(|(_, ids)| ids.len() as u64).sum::<u64>();
        parts.push(part);
        (end, count) = (first - 1, READ_AT_ONCE);
    }
    Ok(parts.into_iter().rev().flatten().collect())
}

/// Blocks of which a reader that goes back in a ledger takes the ids at once.
const READ_AT_ONCE: u64 = 1024;

/// Errs if the ledger lacks blocks that it once held durably. The log forgot then what this replica
/// had promised about them, and a replica that takes their numbers for free could help to fork.
fn check_ledger(height: u64, needed: Number) -> Result<(), Refusal> {
    if height > needed.0 {
        return Ok(());
    }
    Err(Refusal::Ledger(format!(
        "it has {height} blocks, and had those up to {needed} when the log was written: it was replaced or \
         removed; put the right one back, or wipe this channel's directory and follow"
    )))
}

/// First byte of the epoch record: no protobuf message starts with it, so no other record does.
const EPOCH_TAG: u8 = 0x07;

/// The record that every log begins with: it makes "there is a log" mean something, and binds the
/// log to one channel, era and place.
fn epoch_record(domain: &Domain, me: Place) -> Bytes {
    let mut bytes = vec![EPOCH_TAG];
    bytes.extend(b"sbft log 1");
    bytes.extend(domain.genesis.0);
    bytes.extend(domain.era.0.to_be_bytes());
    bytes.extend(me.0.to_be_bytes());
    bytes.into()
}

/// Marks a log as that of a replica which lost one: it follows for the rest of the era, also
/// after a restart, when there is a log again.
fn follower_record(epoch: &Bytes) -> Bytes {
    let mut bytes = epoch.to_vec();
    bytes.extend(b" lost");
    bytes.into()
}

/// The record that stands second in a compacted log: the records of the blocks up to this one were
/// left out, because the ledger held those blocks durably.
fn needed_record(durable: Number) -> Bytes {
    let mut bytes = NEEDED.to_vec();
    bytes.extend(durable.0.to_be_bytes());
    bytes.into()
}

fn decode_needed(record: &[u8]) -> Option<Number> {
    let number = record.strip_prefix(NEEDED)?.try_into().ok()?;
    Some(Number(u64::from_be_bytes(number)))
}

const NEEDED: &[u8] = b"\x07needs the ledger up to ";

const LOST: &str = "this directory has no log of what this replica voted, and was not made for a first start: it was \
                    wiped or the log was lost. The replica follows and serves but does not vote, because it may \
                    have promised what it cannot remember; to let it vote again, remove it from the channel's \
                    consenters and add it anew";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Era, RequestId};

    #[test]
    fn a_ledger_is_read_back_until_the_dedup_window_is_full() {
        let read_back = |last: u64, rule: DedupRule, size: usize| {
            let read = |range: RangeInclusive<u64>| {
                assert!(*range.start() > 0 && *range.end() <= last, "there is no such block");
                let ids: Arc<[RequestId]> = vec![RequestId([0; 32]); size].into();
                Ok::<_, ()>(range.map(|number| (Number(number), Arc::clone(&ids))).collect())
            };
            let blocks = recent_blocks(Number(last), rule, read).expect("it can be read");
            let numbers: Vec<_> = blocks.iter().map(|(number, _)| number.0).collect();
            let first = numbers.first().copied().unwrap_or(last + 1);
            assert_eq!(numbers, (first..=last).collect::<Vec<_>>(), "in order, and none is left out");
            first
        };
        let rule = DedupRule { blocks: 10, envelopes: 5_000 };
        assert_eq!(read_back(0, rule, 1), 1);
        assert_eq!(read_back(7, rule, 1), 1);
        assert_eq!(read_back(4_000, rule, 1), 1, "fewer than 5,000 envelopes in all");
        assert_eq!(read_back(4_000, rule, 501), 3_991, "the last 10 have more");
        assert_eq!(read_back(4_000, rule, 499), 3_991 - READ_AT_ONCE, "and here fewer");
        for size in 1..30 {
            assert!(read_back(20_000, rule, size) <= 20_001 - 5_000 / size as u64, "{size}");
        }
    }

    #[test]
    fn the_record_of_what_the_ledger_must_hold_is_no_other_record() {
        let record = needed_record(Number(513));
        assert_eq!(decode_needed(&record), Some(Number(513)));
        assert_eq!(decode_needed(&record[..record.len() - 1]), None);
        assert!(record::decode(record).is_err());
        let domain = Domain { genesis: crate::header::sha256(b"genesis"), era: Era(0) };
        assert_eq!(decode_needed(&epoch_record(&domain, Place(1))), None);
    }
}
