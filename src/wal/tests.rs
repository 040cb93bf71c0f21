//! Tests of the log against a model: crashes at every step, every truncation, every flipped bit.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::disk::{Fate, MemoryDisk};

const DIR: &str = "/log";

/// A small generator of numbers (xorshift), so that a failing seed can be run again.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

fn options() -> WalOptions {
    WalOptions { segment_bytes: 4096, max_record_bytes: 1 << 20, ..WalOptions::default() }
}

fn open(disk: &MemoryDisk) -> Result<(Wal, Recovered), WalError> {
    Wal::open_on(Arc::new(disk.clone()), DIR, options())
}

fn record(number: u64, len: usize) -> Bytes {
    let mut bytes = vec![number as u8; len];
    bytes.extend(number.to_le_bytes());
    bytes.into()
}

fn write(wal: &mut Wal, records: &[Bytes]) {
    for record in records {
        wal.append(record).expect("append");
    }
    wal.sync().expect("sync");
}

fn last_segment(disk: &MemoryDisk) -> PathBuf {
    let names = disk.list(Path::new(DIR)).expect("list");
    let name = names.iter().rfind(|name| name.ends_with(".wal")).expect("a segment");
    Path::new(DIR).join(name)
}

#[test]
fn records_come_back_in_order_after_reopening() {
    let disk = MemoryDisk::new();
    let (mut wal, recovered) = open(&disk).expect("open");
    assert_eq!(recovered, Recovered { created: true, records: vec![], cut_bytes: 0 });
    let records: Vec<Bytes> = (0..200).map(|number| record(number, number as usize * 3)).collect();
    for batch in records.chunks(7) {
        write(&mut wal, batch);
    }
    assert!(wal.older.len() > 10, "the log went over many segments");
    drop(wal);
    for _ in 0..2 {
        let (_, recovered) = open(&disk).expect("open");
        assert_eq!(recovered.records, records);
        assert!(!recovered.created);
    }
}

#[test]
fn a_record_longer_than_a_segment_gets_its_own() {
    let disk = MemoryDisk::new();
    let (mut wal, _) = open(&disk).expect("open");
    let records = vec![record(1, 10), record(2, 30_000), record(3, 10), record(4, 5000)];
    write(&mut wal, &records);
    assert!(matches!(wal.append(&vec![0; (1 << 20) + 1]), Err(WalError::TooLong { .. })));
    write(&mut wal, &[record(5, 1)]);
    drop(wal);
    let (_, recovered) = open(&disk).expect("open");
    assert_eq!(recovered.records, [records, vec![record(5, 1)]].concat());
}

#[test]
fn compaction_keeps_the_live_records_and_reuses_the_files() {
    let disk = MemoryDisk::new();
    let (mut wal, _) = open(&disk).expect("open");
    for round in 0..20 {
        for number in 0..30 {
            write(&mut wal, &[record(number, 100)]);
        }
        assert!(wal.bytes_since_compaction() >= 3000);
        wal.append(b"not synced, not live").expect("append");
        let live = vec![record(round, 200), record(round, 3)];
        wal.compact(&live).expect("compact");
        assert_eq!(wal.bytes_since_compaction(), 0);
        let files = disk.list(Path::new(DIR)).expect("list");
        assert!(files.len() <= 4, "{files:?}");
        write(&mut wal, &[record(99, 1)]);
        drop(wal);
        let reopened = open(&disk).expect("open");
        assert_eq!(reopened.1.records, [live, vec![record(99, 1)]].concat());
        assert_eq!(reopened.1.cut_bytes, 0);
        wal = reopened.0;
    }
}

#[test]
fn a_second_process_is_refused_and_told_the_directory() {
    let dir = tempfile::tempdir().expect("a directory");
    let (wal, _) = Wal::open(dir.path(), options()).expect("open");
    let refusal = Wal::open(dir.path(), options()).expect_err("locked");
    assert!(matches!(&refusal, WalError::Locked { path } if path == dir.path()), "{refusal}");
    drop(wal);
    Wal::open(dir.path(), options()).expect("free again");
}

#[test]
fn the_machine_s_disk_works_as_the_one_in_memory() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut wal, _) = Wal::open(dir.path().join("a/b"), options()).expect("open");
    let records: Vec<Bytes> = (0..100).map(|number| record(number, 200)).collect();
    for batch in records.chunks(5) {
        write(&mut wal, batch);
    }
    drop(wal);
    let (mut wal, recovered) = Wal::open(dir.path().join("a/b"), options()).expect("open");
    assert_eq!(recovered.records, records);
    wal.compact(&records[..3]).expect("compact");
    drop(wal);
    let (_, recovered) = Wal::open(dir.path().join("a/b"), options()).expect("open");
    assert_eq!(recovered.records, records[..3]);
}

/// Two synced batches and a third that may be torn; the start of the third; all records.
fn small_log() -> (MemoryDisk, usize, Vec<Bytes>) {
    let disk = MemoryDisk::new();
    let (mut wal, _) = open(&disk).expect("open");
    let records: Vec<Bytes> = (0..7).map(|number| record(number, 5 + number as usize)).collect();
    write(&mut wal, &records[..2]);
    write(&mut wal, &records[2..4]);
    let start = wal.segment.end as usize;
    write(&mut wal, &records[4..]);
    (disk, start, records)
}

/// Acceptance case 90, first half.
#[test]
fn case_90_a_tail_truncated_at_any_byte_is_cut_off() {
    let (disk, start, records) = small_log();
    let path = last_segment(&disk);
    let whole = disk.contents(&path).expect("contents");
    for len in 0..whole.len() {
        disk.set_contents(&path, &whole[..len]);
        match open(&disk) {
            Ok((mut wal, recovered)) => {
                let kept = recovered.records.len();
                assert_eq!(recovered.records, records[..kept], "truncated to {len}");
                assert!(len < start || kept >= 4, "truncated to {len}, records {kept}");
                write(&mut wal, &[record(77, 7)]);
                drop(wal);
                let (_, recovered) = open(&disk).expect("open after a cut");
                assert_eq!(recovered.records, [&records[..kept], &[record(77, 7)]].concat());
            }
            Err(error) => {
                assert!(len < FILE_HEADER, "truncated to {len}: {error}");
                assert!(matches!(error, WalError::Corrupt { offset: 0, .. }), "{error}");
            }
        }
    }
}

/// Acceptance case 90, second half.
#[test]
fn case_90_a_flipped_bit_in_a_record_synced_before_is_refused_with_file_and_offset() {
    let (disk, start, records) = small_log();
    let path = last_segment(&disk);
    let whole = disk.contents(&path).expect("contents");
    let mut refused = 0;
    for at in 0..whole.len() {
        for bit in [1, 0x10, 0x80] {
            let mut bytes = whole.clone();
            bytes[at] ^= bit;
            disk.set_contents(&path, &bytes);
            match open(&disk) {
                Ok((_, recovered)) => {
                    let kept = recovered.records.len();
                    assert_eq!(recovered.records, records[..kept], "bit {bit} of byte {at}");
                    assert!(at >= FILE_HEADER, "bit {bit} of byte {at} of the header");
                    assert!(kept >= 4, "bit {bit} of byte {at}: {kept} records");
                    // Padding is not checked: it means nothing.
                    assert!(at >= start || kept == 7, "bit {bit} of byte {at}: {kept} records");
                }
                Err(WalError::Corrupt { file, offset, .. }) => {
                    refused += 1;
                    assert_eq!(file, path);
                    assert!(offset as usize <= at && at < start, "bit {bit} of byte {at}: offset {offset}");
                    assert_eq!(disk.contents(&path).as_ref(), Some(&bytes), "nothing is changed");
                }
                Err(WalError::Version { .. }) => panic!("the checksum covers the version"),
                Err(other) => panic!("bit {bit} of byte {at}: {other}"),
            }
        }
    }
    assert!(refused > 3 * FILE_HEADER);
}

#[test]
fn a_bad_record_in_an_earlier_segment_is_refused_and_a_missing_segment_too() {
    let disk = MemoryDisk::new();
    let (mut wal, _) = open(&disk).expect("open");
    for number in 0..100 {
        write(&mut wal, &[record(number, 100)]);
    }
    drop(wal);
    let first = Path::new(DIR).join(segment_name(1));
    let whole = disk.contents(&first).expect("contents");
    for at in [0, 70, 1000, 2000, whole.len() - 300] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        disk.set_contents(&first, &bytes);
        let error = open(&disk).expect_err("corrupt");
        assert!(matches!(&error, WalError::Corrupt { file, .. } if *file == first), "{error}");
    }
    disk.set_contents(&first, &whole[..2000]);
    let error = open(&disk).expect_err("truncated");
    assert!(error.to_string().contains(&segment_name(1)), "{error}");
    disk.set_contents(&first, &whole);
    open(&disk).expect("as it was");
    disk.remove(&Path::new(DIR).join(segment_name(2))).expect("remove");
    let error = open(&disk).expect_err("missing");
    assert!(error.to_string().contains(&segment_name(2)), "{error}");
}

#[test]
fn another_format_version_is_named() {
    let (disk, ..) = small_log();
    let path = last_segment(&disk);
    let mut bytes = disk.contents(&path).expect("contents");
    bytes[8] = 9;
    let checksum = crc32fast::hash(&bytes[..60]).to_le_bytes();
    bytes[60..64].copy_from_slice(&checksum);
    disk.set_contents(&path, &bytes);
    assert!(matches!(open(&disk), Err(WalError::Version { found: 9, expected: 1, .. })));
}

#[test]
fn a_payload_that_looks_like_a_record_does_not_turn_a_torn_tail_into_corruption() {
    let disk = MemoryDisk::new();
    let (mut wal, _) = open(&disk).expect("open");
    write(&mut wal, &[record(1, 8)]);
    // What a client could make without knowing the salt: a record that claims to be far ahead.
    let guess = FileHeader { salt: 0, ..wal.segment.header };
    let mut payload = Vec::new();
    record::encode(&mut payload, &guess, 9, 9, b"x");
    write(&mut wal, &[payload.into()]);
    let at = wal.segment.end as usize - 3;
    drop(wal);
    let path = last_segment(&disk);
    let mut bytes = disk.contents(&path).expect("contents");
    bytes[at - 5] ^= 1;
    disk.set_contents(&path, &bytes);
    let (_, recovered) = open(&disk).expect("torn");
    assert_eq!(recovered.records, [record(1, 8)]);
    assert!(recovered.cut_bytes > 0);
}

#[test]
fn what_is_left_of_a_torn_batch_never_follows_a_later_record() {
    let disk = MemoryDisk::new();
    let (mut wal, _) = open(&disk).expect("open");
    write(&mut wal, &[record(1, 8)]);
    let start = wal.segment.end as usize;
    write(&mut wal, &[record(2, 600), record(3, 600)]);
    drop(wal);
    let path = last_segment(&disk);
    let mut bytes = disk.contents(&path).expect("contents");
    bytes[start..start + 512].fill(0);
    disk.set_contents(&path, &bytes);
    let (mut wal, recovered) = open(&disk).expect("torn");
    assert_eq!((recovered.records.len(), recovered.cut_bytes), (1, 2 * record::encoded_len(608) as u64));
    write(&mut wal, &[record(4, 600)]);
    drop(wal);
    let (_, recovered) = open(&disk).expect("open");
    assert_eq!(recovered.records, [record(1, 8), record(4, 600)]);
}

#[test]
fn a_record_that_a_segment_was_written_with_is_never_a_torn_tail() {
    let disk = MemoryDisk::new();
    let (mut wal, _) = open(&disk).expect("open");
    wal.compact(&[record(1, 8), record(2, 8)]).expect("compact");
    let at = wal.segment.end as usize - 3;
    drop(wal);
    let path = last_segment(&disk);
    let mut bytes = disk.contents(&path).expect("contents");
    bytes[at] ^= 1;
    disk.set_contents(&path, &bytes);
    let error = open(&disk).expect_err("corrupt");
    assert!(matches!(&error, WalError::Corrupt { file, offset: 112, .. } if *file == path), "{error}");
}

/// What the log must hold, kept beside it.
#[derive(Clone, Default)]
struct Model {
    durable: Vec<Bytes>,
    pending: Vec<Bytes>,
    /// The live records of a compaction that failed.
    compacting: Option<Vec<Bytes>>,
}

impl Model {
    /// Checks what came back: all that was durable, then a start of what was on its way.
    fn check(&self, recovered: &[Bytes], what: &str) {
        if self.compacting.as_deref() == Some(recovered) {
            return;
        }
        let least = self.durable.len();
        let all = [self.durable.clone(), self.pending.clone()].concat();
        let good = recovered.len() >= least && all.starts_with(recovered);
        assert!(good, "{what}: {} records, at least {least} were durable", recovered.len());
    }
}

/// Does random things until one fails or `steps` are done.
fn work(wal: &mut Wal, model: &mut Model, random: &mut Random, steps: usize) -> Result<(), WalError> {
    for _ in 0..steps {
        match random.below(10) {
            0 => {
                let live: Vec<Bytes> =
                    (0..random.below(4)).map(|number| record(number, random.below(900) as usize)).collect();
                model.compacting = Some(live.clone());
                model.pending.clear();
                wal.compact(&live)?;
                *model = Model { durable: live, ..Model::default() };
            }
            1..=4 => {
                wal.sync()?;
                model.durable.append(&mut model.pending);
            }
            _ => {
                let record = record(random.below(256), random.below(1200) as usize);
                model.pending.push(record.clone());
                wal.append(&record)?;
            }
        }
    }
    Ok(())
}

#[test]
fn a_power_failure_at_any_step_loses_nothing_that_was_synced() {
    let mut torn = 0;
    for seed in 0..1500 {
        let mut random = Random::new(seed);
        let disk = MemoryDisk::new();
        let mut model = Model::default();
        for round in 0..6 {
            disk.set_fate(Fate::DieAt(random.below(60)));
            let opened = open(&disk);
            if let Ok((mut wal, recovered)) = opened {
                model.check(&recovered.records, &format!("seed {seed}, round {round}"));
                torn += u32::from(recovered.cut_bytes > 0);
                model = Model { durable: recovered.records, ..Model::default() };
                // An error is what a dead disk gives; the crash below is what matters.
                let died = work(&mut wal, &mut model, &mut random, 60);
                assert!(died.is_ok() || wal.append(b"x").is_err(), "fail stop");
            } else if let Err(error @ (WalError::Corrupt { .. } | WalError::Version { .. })) = opened {
                panic!("seed {seed}, round {round}: {error}");
            }
            disk.crash(|limit| random.below(limit));
        }
        let (_, recovered) = open(&disk).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        model.check(&recovered.records, &format!("seed {seed}, at the end"));
    }
    assert!(torn > 100, "the crashes tear tails: {torn}");
}

/// A sync that fails may have lost what reads still show. What a reopened log has shown once
/// must survive all the same.
#[test]
fn a_failed_write_or_sync_stops_the_log_and_loses_nothing_that_was_synced() {
    for seed in 0..1500 {
        let mut random = Random::new(seed);
        let disk = MemoryDisk::new();
        let (mut wal, _) = open(&disk).expect("open");
        let mut model = Model::default();
        disk.set_fate(Fate::FailAt(random.below(60)));
        if let Err(error) = work(&mut wal, &mut model, &mut random, 100) {
            assert!(matches!(error, WalError::Io { .. }), "{error}");
            let stopped = wal.sync().expect_err("stopped");
            assert!(matches!(&stopped, WalError::Stopped { cause, .. } if *cause == error.to_string()));
            assert!(wal.append(b"x").is_err() && wal.compact(&[]).is_err());
        }
        drop(wal);
        disk.kill();
        let (wal, shown) = open(&disk).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        model.check(&shown.records, &format!("seed {seed}, reopened"));
        drop(wal);
        disk.crash(|limit| random.below(limit));
        let (_, recovered) = open(&disk).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(recovered.records, shown.records, "seed {seed}");
    }
}

#[test]
fn a_full_disk_stops_the_log_and_all_is_there_when_room_is_made() {
    let disk = MemoryDisk::new();
    let (mut wal, _) = open(&disk).expect("open");
    disk.set_capacity(Some(20_000));
    let mut synced = Vec::new();
    let error = loop {
        let next = record(synced.len() as u64, 500);
        wal.append(&next).expect("append");
        match wal.sync() {
            Ok(()) => synced.push(next),
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("new.tmp"), "{error}");
    assert!(matches!(&error, WalError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull));
    drop(wal);
    disk.set_capacity(None);
    let (_, recovered) = open(&disk).expect("open");
    assert_eq!(recovered.records, synced);
}

#[test]
fn random_and_damaged_bytes_never_panic() {
    let (disk, ..) = small_log();
    let path = last_segment(&disk);
    let whole = disk.contents(&path).expect("contents");
    let mut random = Random::new(7);
    for round in 0..3000 {
        let mut bytes = whole.clone();
        for _ in 0..=random.below(20) {
            let at = random.below(300) as usize;
            bytes[at] = random.below(256) as u8;
        }
        if round % 3 == 0 {
            bytes = (0..random.below(500)).map(|_| random.below(256) as u8).collect();
        }
        disk.set_contents(&path, &bytes);
        let _ = open(&disk);
        // With a good header, so that the records are looked at.
        let header = FileHeader::decode(Kind::Log, &whole).expect("a header");
        bytes.resize(4096, 0);
        bytes[..FILE_HEADER].copy_from_slice(&header.encode());
        disk.set_contents(&path, &bytes);
        let _ = open(&disk);
    }
}
