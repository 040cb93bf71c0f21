//! From what is on disk to what a replica starts with: log, role, end of the chain.

use std::path::Path;

use bytes::Bytes;
use rayon::prelude::*;

use super::super::{ConsenterSupport, HandleChainError};
use super::SbftOptions;
use crate::channel_config::{ChannelConfig, Options};
use crate::header::header_hash;
use crate::intake::IntakeConfig;
use crate::intake::block_cutter::CutLimits;
use crate::pbft::message::Domain;
use crate::pbft::{ChainTip, Config, Record, Role};
use crate::plant::Plants;
use crate::types::{ConsenterId, Era, Number, Place};
use crate::wal::{Wal, WalError};
use crate::wire::{Checker, KeyRing, block, record};

/// What a chain starts with.
pub(super) struct Recovered {
    pub(super) log: Wal,
    pub(super) epoch: Bytes,
    pub(super) records: Vec<Record>,
    pub(super) tip: ChainTip,
    pub(super) config: Config,
    pub(super) intake: IntakeConfig,
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

/// The record that stands second in a compacted log: the records of the blocks up to this one were
/// left out, because the ledger held those blocks durably.
pub(super) fn needed_record(durable: Number) -> Bytes {
    let mut bytes = NEEDED.to_vec();
    bytes.extend(durable.0.to_be_bytes());
    bytes.into()
}

const NEEDED: &[u8] = b"\x07needs the ledger up to ";

fn decode_needed(record: &[u8]) -> Option<Number> {
    let number = record.strip_prefix(NEEDED)?.try_into().ok()?;
    Some(Number(u64::from_be_bytes(number)))
}

/// Opens the log, decides whether this replica may vote, and reads the end of the chain. Blocks
/// the calling thread.
pub(super) fn open(
    support: &dyn ConsenterSupport,
    options: &SbftOptions,
    rules: &Options,
    me: Place,
) -> Result<Recovered, HandleChainError> {
    let config = support.shared_config();
    let channel = support.chain_id();
    let domain = Domain { genesis: support.genesis_hash(), era: Era(0) };
    let directory = support.directory().join("wal");
    let log_error = |error: WalError| refuse_log(channel, &directory, &error);

    let (mut log, found) = Wal::open(&directory, options.log.clone()).map_err(log_error)?;
    let epoch = epoch_record(&domain, me);
    let mut found = found.records.into_iter();
    let role = match found.next() {
        Some(first) if first == epoch => Role::Voter,
        Some(follower) if follower == follower_record(&epoch) => follower_role(support),
        Some(_) => {
            let reason = "it belongs to another channel, era or consenter; \
                          put the right one back, or wipe this channel's directory and follow";
            return Err(refuse_log(channel, &directory, &reason));
        }
        None => {
            // No log. On a first start that is as it should be; otherwise it was lost, and what
            // this replica promised with it.
            let first_start = support.is_marked_new() && support.height() == 1;
            let (record, role) = if first_start {
                (epoch.clone(), Role::Voter)
            } else {
                (follower_record(&epoch), follower_role(support))
            };
            log.append(&record).map_err(log_error)?;
            log.sync().map_err(log_error)?;
            role
        }
    };
    let mut records = Vec::new();
    for (index, bytes) in found.enumerate() {
        if let Some(needed) = decode_needed(&bytes) {
            check_ledger(support, needed)?;
            continue;
        }
        records.push(
            record::decode(bytes).map_err(|error| {
                refuse_log(channel, &directory, &format!("record {}: {error}", index + 1))
            })?,
        );
    }
    support.remove_new_mark().map_err(|error| {
        refuse_log(channel, &directory, &format!("cannot remove the mark of a new directory: {error}"))
    })?;
    let epoch = if matches!(role, Role::Voter) { epoch } else { follower_record(&epoch) };

    let ids = config.consenters.iter().map(|consenter| consenter.id).collect::<Vec<_>>();
    let tip = tip(support, &ids, rules.dedup_blocks)?;
    let last_config = tip.certificate.as_ref().map_or(Number(0), |certificate| certificate.last_config);
    Ok(Recovered {
        log,
        epoch,
        records,
        tip,
        config: replica_config(&config, rules, domain, me, role, last_config),
        intake: intake_config(&config, rules, me, options.pool_bytes),
    })
}

/// Errs if the ledger lacks blocks that it once held durably. The log forgot then what this replica
/// had promised about them, and a replica that takes their numbers for free could help to fork.
fn check_ledger(support: &dyn ConsenterSupport, needed: Number) -> Result<(), HandleChainError> {
    if support.height() > needed.0 {
        return Ok(());
    }
    Err(HandleChainError::Ledger {
        channel: support.chain_id().into(),
        reason: format!(
            "it has {} blocks, and had those up to {needed} when the log was written: it was replaced or \
             removed; put the right one back, or wipe this channel's directory and follow",
            support.height()
        ),
    })
}

/// Marks a log as that of a replica which lost one: it follows for the rest of the era, also
/// after a restart, when there is a log again.
fn follower_record(epoch: &Bytes) -> Bytes {
    let mut bytes = epoch.to_vec();
    bytes.extend(b" lost");
    bytes.into()
}

fn follower_role(support: &dyn ConsenterSupport) -> Role {
    let reason = "this directory has no log of what this replica voted, and was not made for a first start: it was \
                  wiped or the log was lost. The replica follows and serves but does not vote, because it may \
                  have promised what it cannot remember; to let it vote again, remove it from the channel's \
                  consenters and add it anew";
    tracing::warn!(channel = support.chain_id(), height = support.height(), reason, "starting as a follower");
    Role::Follower(reason.into())
}

fn refuse_log(channel: &str, directory: &Path, reason: &dyn ToString) -> HandleChainError {
    HandleChainError::Log {
        channel: channel.into(),
        directory: directory.display().to_string(),
        reason: reason.to_string(),
    }
}

/// Reads the end of the chain: last block, its certificate, the request ids of the last D blocks.
fn tip(
    support: &dyn ConsenterSupport,
    ids: &[ConsenterId],
    dedup_blocks: u64,
) -> Result<ChainTip, HandleChainError> {
    let channel = support.chain_id();
    let fault = |number: Number, reason: String| HandleChainError::Ledger {
        channel: channel.into(),
        reason: format!("block {number}: {reason}"),
    };
    let last = Number(support.height().saturating_sub(1));
    let first = last.0.saturating_sub(dedup_blocks.saturating_sub(1)).max(1);
    if last == Number(0) {
        return Ok(ChainTip {
            hash: support.genesis_hash(),
            number: last,
            certificate: None,
            recent: Vec::new(),
        });
    }
    // Up to D blocks are read and hashed: on all cores, and only their ids are kept.
    let decoded: Vec<_> = (first..=last.0)
        .into_par_iter()
        .map(Number)
        .map(|number| {
            let bytes = support
                .block(number)
                .map_err(|error| fault(number, error.to_string()))?
                .ok_or_else(|| fault(number, "it is missing".into()))?;
            let decoded = block::decode(bytes, ids).map_err(|error| fault(number, error.to_string()))?;
            let certificate = (number == last).then_some(decoded.certificate);
            Ok((number, decoded.ids, certificate))
        })
        .collect::<Result<_, HandleChainError>>()?;
    let mut recent = Vec::with_capacity(decoded.len());
    let mut certificate = None;
    for (number, ids, last_certificate) in decoded {
        recent.push((number, ids));
        certificate = last_certificate;
    }
    let certificate = certificate.ok_or_else(|| fault(last, "it has no certificate".into()))?;
    let hash = header_hash(&certificate.header);
    Ok(ChainTip { hash, number: last, certificate: Some(certificate.into()), recent })
}

/// The rules of `config` for a replica at `me`.
pub(super) fn replica_config(
    config: &ChannelConfig,
    rules: &Options,
    domain: Domain,
    me: Place,
    role: Role,
    last_config: Number,
) -> Config {
    Config {
        domain,
        n: config.consenters.len(),
        me,
        role,
        last_config,
        config_sequence: config.sequence,
        window: rules.window,
        dedup_blocks: rules.dedup_blocks,
        outstanding: rules.outstanding,
        max_message_count: config.batch.max_message_count,
        absolute_max_bytes: config.batch.absolute_max_bytes.into(),
        preferred_max_bytes: config.batch.preferred_max_bytes.into(),
        forward_timeout: rules.forward_timeout,
        complain_timeout: rules.complain_timeout,
        view_change_timeout: rules.view_change_timeout,
        view_change_timeout_cap: rules.view_change_timeout_cap,
        status_interval: rules.resend_interval,
        slow_primary_factor: rules.slow_primary_factor,
        plants: Plants::NONE,
    }
}

fn intake_config(config: &ChannelConfig, rules: &Options, me: Place, pool_bytes: u64) -> IntakeConfig {
    IntakeConfig {
        n: config.consenters.len(),
        me,
        limits: CutLimits {
            max_message_count: config.batch.max_message_count,
            preferred_max_bytes: config.batch.preferred_max_bytes,
        },
        batch_timeout: config.batch_timeout,
        outstanding: rules.outstanding,
        pool_count: rules.request_pool_size,
        pool_bytes,
        dedup_blocks: rules.dedup_blocks,
        config_sequence: config.sequence,
    }
}

/// Judges votes and blocks by the consenters' keys in `config`.
pub(super) fn checker(config: &ChannelConfig, domain: Domain) -> Checker<KeyRing> {
    let keys = config.consenters.iter().map(|consenter| (consenter.id, consenter.key.clone()));
    Checker::new(domain, KeyRing::new(keys.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

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
