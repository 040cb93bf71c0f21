//! A replica's disk: a log whose appends survive a crash only once synced, and a block store
//! that is synced lazily.
//!
//! A crash keeps every synced record and some prefix of the others (a torn tail is cut off by
//! the real log, so a prefix is what recovery sees). [`Image`] says what the synced part
//! promises; the checks compare it with every vote that leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sbft::header::{header_hash, sha256};
use sbft::pbft::message::Domain;
use sbft::pbft::{ChainTip, Record};
use sbft::types::{CommittedBlock, Digest, Number, RequestId, View};

/// The write-ahead log.
#[derive(Clone, Debug)]
pub struct Log {
    records: Vec<Record>,
    /// Number of records before `records[0]` since the log was opened; log positions count from it.
    base: u64,
    /// Records synced, of `records`.
    synced: usize,
    image: Image,
}

impl Log {
    /// An empty log of a channel with `n` replicas.
    pub fn new(domain: Domain, n: usize) -> Self {
        Self { records: Vec::new(), base: 0, synced: 0, image: Image::new(domain, n) }
    }

    /// Appends; gives the position after it.
    pub fn append(&mut self, record: Record) -> u64 {
        self.records.push(record);
        self.end()
    }

    /// Position after the last record.
    pub fn end(&self) -> u64 {
        self.base + self.records.len() as u64
    }

    /// Position after the last synced record.
    pub fn durable(&self) -> u64 {
        self.base + self.synced as u64
    }

    /// A sync that began when the log ended at `position` is done.
    pub fn sync_done(&mut self, position: u64) {
        let upto = (position.saturating_sub(self.base) as usize).min(self.records.len());
        while self.synced < upto {
            self.image.add(&self.records[self.synced]);
            self.synced += 1;
        }
    }

    /// What the synced records promise.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// How many records are not synced.
    pub fn unsynced(&self) -> usize {
        self.records.len() - self.synced
    }

    /// How many records the log holds.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// It holds none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Replaces everything by these live records, synced.
    pub fn compact(&mut self, live: Vec<Record>) {
        self.base = self.end();
        self.records = live;
        self.settle();
    }

    /// Compaction interrupted by a crash: the old segments, and `kept` of the live records in a
    /// new one.
    pub fn compact_torn(&mut self, live: Vec<Record>, kept: usize) {
        self.records.truncate(self.synced);
        self.records.extend(live.into_iter().take(kept));
        self.settle();
    }

    /// What a crash leaves: the synced records and `kept` of the others.
    pub fn crash(&mut self, kept: usize) {
        self.records.truncate(self.synced + kept);
        self.settle();
    }

    /// An old image of the disk: only the first `kept` records. For liars and wiped disks.
    pub fn roll_back(&mut self, kept: usize) {
        self.records.truncate(kept);
        self.settle();
    }

    /// What recovery reads.
    pub fn records(&self) -> Vec<Record> {
        self.records.clone()
    }

    fn settle(&mut self) {
        // Positions stay what they were, so that an older sync's end means nothing new.
        self.base = self.base.max(self.end() - self.records.len() as u64);
        self.synced = self.records.len();
        self.image = Image::new(self.image.domain, self.image.n);
        for record in &self.records {
            self.image.add(record);
        }
    }
}

/// What a log promises, by the simulator's own reading of its records.
#[derive(Clone, Debug)]
pub struct Image {
    domain: Domain,
    n: usize,
    /// Proposals accepted.
    pub accepted: BTreeSet<(View, Number, Digest)>,
    /// Certificates held: highest view for each number and digest.
    pub prepared: BTreeMap<(Number, Digest), View>,
    /// The candidates each proposal names.
    pub named: BTreeMap<Digest, Vec<Digest>>,
    /// Payloads held.
    pub payloads: BTreeSet<Digest>,
    /// Highest view asked for.
    pub asked: View,
    /// Views entered by a new-view.
    pub entered: BTreeSet<View>,
    /// New-views chosen as a primary, by the hash of what it signs.
    pub chosen: BTreeSet<Digest>,
}

impl Image {
    fn new(domain: Domain, n: usize) -> Self {
        Self {
            domain,
            n,
            accepted: BTreeSet::new(),
            prepared: BTreeMap::new(),
            named: BTreeMap::new(),
            payloads: BTreeSet::new(),
            asked: View(0),
            entered: BTreeSet::new(),
            chosen: BTreeSet::new(),
        }
    }

    fn add(&mut self, record: &Record) {
        let genesis = &self.domain.genesis;
        match record {
            Record::Payload(candidate) => {
                self.payloads.insert(candidate.digest);
            }
            Record::Accepted { view, proposal } => {
                let digest = proposal.digest(genesis);
                self.accepted.insert((*view, proposal.number(), digest));
                self.named.insert(digest, proposal.candidates.iter().map(|c| c.digest).collect());
            }
            Record::Prepared(certificate) => {
                let proposal = &certificate.proposal;
                let digest = proposal.digest(genesis);
                let highest = self.prepared.entry((proposal.number(), digest)).or_default();
                *highest = (*highest).max(certificate.view);
                self.named.insert(digest, proposal.candidates.iter().map(|c| c.digest).collect());
            }
            Record::ViewChange(view) => self.asked = self.asked.max(*view),
            Record::NewViewChosen(body) => {
                let signer = body.view.primary(self.n);
                self.chosen.insert(sha256(&body.signing_bytes(&self.domain, signer)));
            }
            Record::NewView(new_view) => {
                self.entered.insert(new_view.body.view);
            }
        }
    }

    /// A certificate for this number and its whole payload are there.
    pub fn holds_certificate_and_payload(&self, number: Number) -> bool {
        let from = (number, Digest([0; 32]));
        let to = (number, Digest([0xff; 32]));
        self.prepared.range(from..=to).any(|((_, digest), _)| self.holds_payload(digest))
    }

    /// Every candidate that the proposal names is there.
    pub fn holds_payload(&self, proposal: &Digest) -> bool {
        self.named.get(proposal).is_some_and(|named| named.iter().all(|c| self.payloads.contains(c)))
    }
}

/// The block store. The genesis block is implied; `blocks[0]` is block 1.
#[derive(Clone, Debug, Default)]
pub struct BlockStore {
    blocks: Vec<Arc<CommittedBlock>>,
    synced: usize,
}

impl BlockStore {
    /// Number of the last block; 0 for the genesis block.
    pub fn last(&self) -> Number {
        Number(self.blocks.len() as u64)
    }

    /// Number of the last synced block.
    pub fn durable(&self) -> Number {
        Number(self.synced as u64)
    }

    /// Appends; the caller has checked the number.
    pub fn append(&mut self, block: Arc<CommittedBlock>) {
        self.blocks.push(block);
    }

    /// A sync that began at this number is done.
    pub fn sync_done(&mut self, number: Number) {
        self.synced = self.synced.max((number.0 as usize).min(self.blocks.len()));
    }

    /// What a crash leaves: the synced blocks and `kept` of the others.
    pub fn crash(&mut self, kept: usize) {
        self.blocks.truncate(self.synced + kept);
        self.synced = self.blocks.len();
    }

    /// How many blocks are not synced.
    pub fn unsynced(&self) -> usize {
        self.blocks.len() - self.synced
    }

    /// Everything is gone.
    pub fn wipe(&mut self) {
        self.blocks.clear();
        self.synced = 0;
    }

    /// Block `number`, if it is here.
    pub fn block(&self, number: Number) -> Option<&Arc<CommittedBlock>> {
        number.0.checked_sub(1).and_then(|index| self.blocks.get(index as usize))
    }

    /// Where the chain ends, as recovery wants it.
    pub fn tip(&self, genesis: Digest, dedup_blocks: u64) -> ChainTip {
        let first = self.blocks.len().saturating_sub(dedup_blocks as usize);
        let recent: Vec<(Number, Vec<RequestId>)> =
            self.blocks[first..].iter().map(|block| (block.number(), block.ids.clone())).collect();
        ChainTip {
            hash: self.blocks.last().map_or(genesis, |block| header_hash(&block.certificate.header)),
            number: self.last(),
            certificate: self.blocks.last().map(|block| Arc::new(block.certificate.clone())),
            recent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(records: u64) -> Log {
        let mut log = Log::new(Domain { genesis: Digest([0; 32]), era: sbft::types::Era(0) }, 4);
        for view in 1..=records {
            log.append(Record::ViewChange(View(view)));
        }
        log
    }

    #[test]
    fn a_crash_keeps_what_was_synced_and_a_prefix_of_the_rest() {
        let mut log = log(5);
        log.sync_done(2);
        assert_eq!((log.durable(), log.end(), log.image().asked), (2, 5, View(2)));
        log.crash(1);
        assert_eq!((log.durable(), log.end(), log.image().asked), (3, 3, View(3)));
    }

    #[test]
    fn a_sync_that_began_before_a_compaction_ends_harmlessly() {
        let mut log = log(5);
        log.compact(vec![Record::ViewChange(View(5))]);
        assert_eq!(log.durable(), log.end());
        log.append(Record::ViewChange(View(6)));
        log.sync_done(3);
        assert_eq!(log.image().asked, View(5), "the record appended later is not synced by it");
    }
}
