//! The write-ahead log.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use sbft::consenter::sbft::rules::{self, Refusal};
use sbft::disk::{Fate, MemoryDisk};
use sbft::pbft::message::Domain;
use sbft::pbft::{Record, Role};
use sbft::plant::Plants;
use sbft::types::{Number, Place};
use sbft::wal::{Wal, WalError, WalOptions};
use sbft::wire;

use super::{Dice, Image, LOG_DIRECTORY};

/// Small segments: a run goes through several, and a disk is made in no time.
const SEGMENT_BYTES: u64 = 16 << 10;

/// The node's log, and what is in it.
#[derive(Debug)]
pub struct Log {
    disk: MemoryDisk,
    /// Rules that the node's log goes without.
    plants: Plants,
    /// Open while the replica runs.
    wal: Option<Wal>,
    /// The record that it begins with.
    epoch: Bytes,
    /// What recovery would give, and what was appended since.
    records: Vec<Record>,
    /// The encodings of those that are not synced.
    encoded: VecDeque<Bytes>,
    /// Number of records before `records[0]` since the world began; positions count from it.
    base: u64,
    /// Records synced, of `records`.
    synced: usize,
    image: Image,
}

impl Log {
    /// The log on `disk` of a replica in a channel with `n`.
    pub(crate) fn new(disk: MemoryDisk, domain: Domain, n: usize) -> Self {
        Self {
            disk,
            plants: Plants::NONE,
            wal: None,
            epoch: Bytes::new(),
            records: Vec::new(),
            encoded: VecDeque::new(),
            base: 0,
            synced: 0,
            image: Image::new(domain, n),
        }
    }

    /// The same, without these rules.
    pub(crate) fn planted(self, plants: Plants) -> Self {
        Self { plants, ..self }
    }

    /// Opens it by the node's rules; says whether the replica may vote, and what it promised.
    pub(crate) fn open(
        &mut self,
        me: Place,
        height: u64,
        marked_new: bool,
    ) -> Result<(Role, Vec<Record>), Refusal> {
        let disk = Arc::new(self.disk.clone());
        let domain = self.image.domain;
        let opened = rules::open_log(
            disk,
            Path::new(LOG_DIRECTORY),
            WalOptions { plants: self.plants, ..options() },
            &domain,
            me,
            height,
            marked_new,
        )?;
        self.wal = Some(opened.log);
        self.epoch = opened.epoch;
        self.base = self.end();
        self.records.clone_from(&opened.records);
        self.settle();
        Ok((opened.role, opened.records))
    }

    /// Appends; gives the position after it.
    pub(crate) fn append(&mut self, record: Record) -> u64 {
        self.encoded.push_back(wire::record::encode(&record));
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

    /// Carries out a sync that began when the log ended at `position`.
    pub(crate) fn sync(&mut self, position: u64) -> Result<(), WalError> {
        self.write(position)?;
        if let Some(wal) = &mut self.wal {
            wal.sync()?;
        }
        let upto = self.upto(position);
        while self.synced < upto {
            self.image.add(&self.records[self.synced]);
            self.synced += 1;
        }
        Ok(())
    }

    fn upto(&self, position: u64) -> usize {
        (position.saturating_sub(self.base) as usize).min(self.records.len())
    }

    /// Hands the records up to `position` to the log.
    fn write(&mut self, position: u64) -> Result<(), WalError> {
        let count = self.upto(position).saturating_sub(self.synced).min(self.encoded.len());
        let Some(wal) = &mut self.wal else { return Ok(()) };
        for record in self.encoded.drain(..count) {
            wal.append(&record)?;
        }
        Ok(())
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

    /// Replaces everything by these live records, durably; the ledger is durable up to `durable`.
    pub(crate) fn compact(&mut self, live: Vec<Record>, durable: Number) -> Result<(), WalError> {
        let Some(wal) = &mut self.wal else { return Ok(()) };
        wal.compact(&rules::compacted(&self.epoch, durable, &live))?;
        self.base = self.end();
        self.records = live;
        self.settle();
        Ok(())
    }

    /// The power goes off at the operation `at` of a compaction; see [`Self::down`].
    pub(crate) fn compact_torn(&mut self, live: &[Record], durable: Number, at: u64) {
        if let Some(wal) = &mut self.wal {
            self.disk.set_fate(Fate::DieAt(at));
            // It may be done before that operation comes: then the power goes off just after it.
            let _cut_short = wal.compact(&rules::compacted(&self.epoch, durable, live));
        }
    }

    /// The power goes off, while a sync up to `syncing` was under way if there was one. The disk
    /// crashes after this; then comes [`Self::find`].
    pub(crate) fn down(&mut self, syncing: Option<u64>, dice: Dice<'_>) {
        if let Some(position) = syncing
            && self.write(position).is_ok()
            && let Some(wal) = &mut self.wal
        {
            // Before the write, or between write and sync; or further on where a segment is full.
            self.disk.set_fate(Fate::DieAt([0, 1, 1, 2][dice(4) as usize]));
            let _cut_short = wal.sync();
        }
        self.wal = None;
    }

    /// Looks what a crash has left, without changing it; gives the bytes of a torn tail.
    pub(crate) fn find(&mut self) -> u64 {
        self.encoded.clear();
        self.base = self.base.max(self.end());
        let (records, torn) = self.raw();
        self.records = records.iter().filter_map(|bytes| wire::record::decode(bytes.clone()).ok()).collect();
        self.settle();
        torn
    }

    /// The records on the disk and the bytes of a torn tail, of a copy.
    fn raw(&self) -> (Vec<Bytes>, u64) {
        let copy = Arc::new(self.disk.fork());
        let found = Wal::open_on(copy, LOG_DIRECTORY, options());
        found.map_or_else(|_| (Vec::new(), 0), |(_, found)| (found.records, found.cut_bytes))
    }

    /// Other records than there were, on a disk that is at rest. For liars.
    pub(crate) fn replace(&mut self, records: &[Record]) {
        let ours = |bytes: &Bytes| wire::record::decode(bytes.clone()).is_err();
        let mut bytes: Vec<Bytes> = self.raw().0.into_iter().take_while(ours).collect();
        bytes.extend(records.iter().map(wire::record::encode));
        // A disk that cannot be written any more stays as it is.
        if let Ok((mut wal, _)) = Wal::open_on(Arc::new(self.disk.clone()), LOG_DIRECTORY, options()) {
            let _stays = wal.compact(&bytes);
        }
        self.find();
    }

    /// What recovery would give, and what was appended since.
    pub fn records(&self) -> Vec<Record> {
        self.records.clone()
    }

    fn settle(&mut self) {
        self.encoded.clear();
        self.synced = self.records.len();
        self.image = Image::new(self.image.domain, self.image.n);
        for record in &self.records {
            self.image.add(record);
        }
    }
}

fn options() -> WalOptions {
    WalOptions { segment_bytes: SEGMENT_BYTES, ..WalOptions::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sbft::types::{Digest, Era, View};

    fn log(records: u64) -> Log {
        let domain = Domain { genesis: Digest([0; 32]), era: Era(0) };
        let mut log = Log::new(MemoryDisk::new(), domain, 4);
        log.open(Place(1), 1, true).expect("a new log");
        for view in 1..=records {
            log.append(Record::ViewChange(View(view)));
        }
        log
    }

    #[test]
    fn a_crash_keeps_what_was_synced_and_loses_what_was_never_written() {
        let mut log = log(5);
        log.sync(2).expect("a good disk");
        assert_eq!((log.durable(), log.end(), log.image().asked), (2, 5, View(2)));
        log.down(None, &mut |_| 0);
        log.disk.clone().crash(|_| 0);
        log.find();
        assert_eq!((log.len(), log.image().asked), (2, View(2)));
        let (role, records) = log.open(Place(1), 1, false).expect("it opens again");
        assert_eq!((role, records.len()), (Role::Voter, 2));
    }

    #[test]
    fn a_crash_during_a_sync_may_keep_what_it_was_for() {
        let mut kept = std::collections::BTreeSet::new();
        for seed in 0..40 {
            let mut log = log(5);
            log.sync(2).expect("a good disk");
            let draws = crate::draw::Draws::new(seed);
            let mut count = 0;
            let mut dice = |bound: u64| {
                count += 1;
                draws.below(crate::draw::Purpose::Torn, &[count], bound)
            };
            log.down(Some(4), &mut dice);
            log.disk.clone().crash(&mut dice);
            log.find();
            kept.insert(log.len());
        }
        assert!(kept.contains(&2) && kept.contains(&4), "records that survived: {kept:?}");
        assert!(kept.iter().all(|kept| (2..=4).contains(kept)), "{kept:?}");
    }

    #[test]
    fn a_sync_that_began_before_a_compaction_ends_harmlessly() {
        let mut log = log(5);
        log.compact(vec![Record::ViewChange(View(5))], Number(0)).expect("a good disk");
        assert_eq!(log.durable(), log.end());
        log.append(Record::ViewChange(View(6)));
        log.sync(3).expect("a good disk");
        assert_eq!(log.image().asked, View(5), "the record appended later is not synced by it");
    }

    #[test]
    fn a_log_on_a_disk_that_nobody_marked_as_new_makes_a_follower() {
        let domain = Domain { genesis: Digest([0; 32]), era: Era(0) };
        let mut log = Log::new(MemoryDisk::new(), domain, 4);
        let (role, _) = log.open(Place(1), 1, false).expect("an empty disk");
        assert!(matches!(role, Role::Follower(_)), "{role:?}");
    }
}
