//! Tests of the ledger: crashes at every step, truncation and flipped bits at every byte, indexes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::disk::{Fate, MemoryDisk};
use crate::header::sha256;

const DIR: &str = "/ledger";

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

fn options() -> LedgerOptions {
    LedgerOptions { file_bytes: 4096 }
}

fn open(disk: &MemoryDisk) -> Result<(Ledger, LedgerRecovered), LedgerError> {
    Ledger::open_on(Arc::new(disk.clone()), DIR, options())
}

fn read_only(disk: &MemoryDisk) -> Result<LedgerReader, LedgerError> {
    LedgerReader::open(Arc::new(disk.clone()), Path::new(DIR))
}

/// Block `number` of a fixed chain: its length and bytes follow from the number.
fn block(number: u64) -> Bytes {
    let mut bytes = vec![number as u8; (number % 1000 * 37 % 700) as usize];
    bytes.extend(number.to_le_bytes());
    bytes.into()
}

fn append(ledger: &Ledger, number: u64) -> Result<(), LedgerError> {
    ledger.append(Number(number), &sha256(&block(number)), &block(number))
}

fn check_all(ledger: &Ledger, what: &str) {
    for number in 0..ledger.height() {
        let found = ledger.block(Number(number)).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(found, Some(block(number)), "{what}: block {number}");
        let by_hash = ledger.number_of(&sha256(&block(number))).expect("number of a hash");
        assert_eq!(by_hash, Some(Number(number)), "{what}");
    }
    assert_eq!(ledger.block(Number(ledger.height())).expect("no block"), None);
    assert_eq!(ledger.number_of(&sha256(b"no block")).expect("no number"), None);
}

fn file(id: u64) -> PathBuf {
    Path::new(DIR).join(block_file(id))
}

#[test]
fn blocks_are_found_by_number_and_hash_before_and_after_reopening() {
    let disk = MemoryDisk::new();
    let (ledger, recovered) = open(&disk).expect("open");
    assert_eq!(recovered, LedgerRecovered { created: true, cut_bytes: 0 });
    for number in 0..150 {
        append(&ledger, number).expect("append");
        assert_eq!(ledger.height(), number + 1);
    }
    ledger.sync().expect("sync");
    assert_eq!(ledger.durable_height(), 150);
    assert!(disk.contents(&file(9)).is_some(), "many files");
    check_all(&ledger, "as written");
    drop(ledger);
    let (ledger, recovered) = open(&disk).expect("open");
    assert_eq!(recovered, LedgerRecovered::default());
    check_all(&ledger, "reopened");
    append(&ledger, 150).expect("append");
    check_all(&ledger, "with one more");
}

#[test]
fn only_the_next_number_is_taken() {
    let disk = MemoryDisk::new();
    let (ledger, _) = open(&disk).expect("open");
    append(&ledger, 0).expect("append");
    for wrong in [0, 2, u64::MAX] {
        let error = append(&ledger, wrong).expect_err("out of order");
        assert!(matches!(error, LedgerError::OutOfOrder { expected: 1, got } if got == wrong), "{error}");
    }
    append(&ledger, 1).expect("a refusal does not stop the ledger");
}

#[test]
fn an_index_that_is_missing_short_or_wrong_is_made_again() {
    let disk = MemoryDisk::new();
    let (ledger, _) = open(&disk).expect("open");
    for number in 0..100 {
        append(&ledger, number).expect("append");
    }
    drop(ledger);
    let paths: Vec<PathBuf> = (0..4).map(|id| Path::new(DIR).join(index_file(id))).collect();
    let whole: Vec<Vec<u8>> = paths.iter().map(|path| disk.contents(path).expect("an index")).collect();
    disk.remove(&paths[0]).expect("remove");
    disk.set_contents(&paths[1], &whole[1][..whole[1].len() / 2]);
    disk.set_contents(&paths[2], b"");
    disk.set_contents(&paths[3], &whole[0]);
    let (ledger, _) = open(&disk).expect("open");
    check_all(&ledger, "without good indexes");
    drop(ledger);
    for (path, whole) in paths.iter().zip(&whole) {
        assert_eq!(disk.contents(path).as_ref(), Some(whole), "{}", path.display());
    }
    for at in 0..whole[0].len() {
        let mut bytes = whole[0].clone();
        bytes[at] ^= 4;
        disk.set_contents(&paths[0], &bytes);
        let (ledger, _) = open(&disk).expect("open");
        check_all(&ledger, &format!("byte {at} of an index flipped"));
    }
}

#[test]
fn a_second_process_is_refused_but_may_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let (ledger, _) = Ledger::open(dir.path(), options()).expect("open");
    for number in 0..40 {
        append(&ledger, number).expect("append");
    }
    let error = Ledger::open(dir.path(), options()).expect_err("locked");
    assert!(matches!(&error, LedgerError::Locked { path } if path == dir.path()), "{error}");
    let reader = Ledger::open_read_only(dir.path()).expect("read");
    assert_eq!(reader.height(), 40);
    for number in 40..80 {
        append(&ledger, number).expect("append");
    }
    let read: Vec<(u64, Bytes)> = reader.blocks().map(|block| block.expect("a block")).collect();
    assert_eq!(read, (0..40).map(|number| (number, block(number))).collect::<Vec<_>>());
    drop(ledger);
    let (ledger, _) = Ledger::open(dir.path(), options()).expect("free again");
    check_all(&ledger, "on the machine's disk");
}

#[test]
fn a_directory_of_another_format_or_none_is_named() {
    let disk = MemoryDisk::new();
    drop(open(&disk).expect("open"));
    let format = Path::new(DIR).join("format");
    disk.set_contents(&format, b"sbft-ledger 2\n");
    for error in [open(&disk).expect_err("format"), read_only(&disk).expect_err("format")] {
        let text = error.to_string();
        assert!(text.contains("sbft-ledger 2") && text.contains("/ledger/format"), "{text}");
    }
    disk.remove(&format).expect("remove");
    assert!(matches!(open(&disk), Err(LedgerError::Missing { .. })));
    assert!(matches!(read_only(&disk), Err(LedgerError::Missing { .. })));
    assert!(matches!(Ledger::open_read_only("/nowhere/at/all"), Err(LedgerError::Missing { .. })));
}

/// Five blocks in one file, the first three synced before the others were written; where the
/// fourth starts.
fn small_ledger() -> (MemoryDisk, usize) {
    let disk = MemoryDisk::new();
    let (ledger, _) = open(&disk).expect("open");
    for number in 0..3 {
        append(&ledger, number).expect("append");
    }
    ledger.sync().expect("sync");
    let start = ledger.state().active.end as usize;
    append(&ledger, 3).expect("append");
    append(&ledger, 4).expect("append");
    ledger.sync().expect("sync");
    (disk, start)
}

/// Acceptance case 90, for the ledger.
#[test]
fn case_90_a_block_file_truncated_at_any_byte_loses_its_end_only() {
    let (disk, start) = small_ledger();
    let whole = disk.contents(&file(0)).expect("contents");
    for len in 0..whole.len() {
        disk.set_contents(&file(0), &whole[..len]);
        if len < FILE_HEADER {
            let error = open(&disk).expect_err("no header");
            assert!(matches!(error, LedgerError::Corrupt { offset: 0, .. }), "{error}");
            continue;
        }
        let reader = read_only(&disk).expect("read");
        assert_eq!(disk.contents(&file(0)).expect("contents"), whole[..len], "reading changes nothing");
        let blocks: Vec<Bytes> = reader.blocks().map(|block| block.expect("a block").1).collect();
        let (ledger, recovered) = open(&disk).unwrap_or_else(|error| panic!("truncated to {len}: {error}"));
        assert_eq!(blocks.len() as u64, ledger.height());
        assert_eq!(reader.tail().map_or(0, |tail| tail.bytes), recovered.cut_bytes);
        assert!(len < start || ledger.height() >= 3);
        check_all(&ledger, &format!("truncated to {len}"));
        append(&ledger, ledger.height()).expect("append");
        check_all(&ledger, &format!("truncated to {len}, then appended"));
    }
}

#[test]
fn case_90_a_flipped_bit_in_a_block_synced_before_is_refused_with_file_offset_and_number() {
    let (disk, start) = small_ledger();
    let whole = disk.contents(&file(0)).expect("contents");
    let mut refused = 0;
    for at in 0..whole.len() {
        for bit in [1, 0x20, 0x80] {
            let mut bytes = whole.clone();
            bytes[at] ^= bit;
            disk.set_contents(&file(0), &bytes);
            let read = read_only(&disk).and_then(|reader| {
                let numbers: Result<Vec<u64>, LedgerError> =
                    reader.blocks().map(|block| block.map(|(number, _)| number)).collect();
                numbers.map(|numbers| numbers.len() as u64)
            });
            match open(&disk) {
                Ok((ledger, _)) => {
                    assert_eq!(read.expect("read"), ledger.height());
                    assert!(at >= start || ledger.height() == 5, "bit {bit} of byte {at}");
                    check_all(&ledger, &format!("bit {bit} of byte {at}"));
                }
                Err(LedgerError::Corrupt { file: named, offset, what, .. }) => {
                    refused += 1;
                    assert!(named == file(0) && offset as usize <= at && at < start, "byte {at}: {offset}");
                    assert!(what.starts_with("block ") || at < FILE_HEADER, "{what}");
                    assert_eq!(disk.contents(&file(0)).as_ref(), Some(&bytes), "nothing is changed");
                    read.expect_err("nor may a reader pass it over");
                }
                Err(other) => panic!("bit {bit} of byte {at}: {other}"),
            }
        }
    }
    assert!(refused > 3 * FILE_HEADER);
}

#[test]
fn damage_in_a_full_file_is_found_when_it_is_read_and_names_the_block() {
    let disk = MemoryDisk::new();
    let (ledger, _) = open(&disk).expect("open");
    for number in 0..60 {
        append(&ledger, number).expect("append");
    }
    drop(ledger);
    let whole = disk.contents(&file(1)).expect("contents");
    let mut bytes = whole.clone();
    let last = whole.len() - 100;
    bytes[last] ^= 1;
    disk.set_contents(&file(1), &bytes);
    let (ledger, _) = open(&disk).expect("full files are not read on opening");
    let errors: Vec<String> = (0..60)
        .filter_map(|number| ledger.block(Number(number)).err())
        .map(|error| error.to_string())
        .collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains(&block_file(1)) && errors[0].contains("(block "), "{errors:?}");
    drop(ledger);
    let reader = read_only(&disk).expect("read");
    let error = reader.blocks().find_map(Result::err).expect("an error");
    assert_eq!(error.to_string().split(": ").next(), errors[0].split(": ").next());

    disk.set_contents(&file(1), &whole[..last]);
    let reader = read_only(&disk).expect("read");
    assert!(reader.blocks().any(|block| block.is_err()), "a full file that is too short");
    disk.remove(&file(1)).expect("remove");
    let error = open(&disk).expect_err("a file is missing");
    assert!(error.to_string().contains(&block_file(1)), "{error}");
}

#[test]
fn a_power_failure_at_any_step_loses_no_synced_block() {
    let mut torn = 0;
    for seed in 0..1000 {
        let mut random = Random::new(seed);
        let disk = MemoryDisk::new();
        let mut durable = 0;
        let mut appended = 0;
        for round in 0..6 {
            disk.set_fate(Fate::DieAt(random.below(50)));
            match open(&disk) {
                Ok((ledger, recovered)) => {
                    torn += u32::from(recovered.cut_bytes > 0);
                    let height = ledger.height();
                    assert!((durable..=appended).contains(&height), "seed {seed}, round {round}: {height}");
                    check_all(&ledger, &format!("seed {seed}, round {round}"));
                    (durable, appended) = (height, height);
                    for _ in 0..40 {
                        if random.below(4) == 0 {
                            if ledger.sync().is_err() {
                                break;
                            }
                            assert_eq!(ledger.durable_height(), appended);
                            durable = appended;
                        } else {
                            appended += 1; // counts even when it fails: part of it may be there
                            if append(&ledger, appended - 1).is_err() {
                                break;
                            }
                        }
                        durable = durable.max(ledger.durable_height());
                    }
                }
                Err(LedgerError::Io { .. }) => {}
                Err(other) => panic!("seed {seed}, round {round}: {other}"),
            }
            disk.crash(|limit| random.below(limit));
        }
        let (ledger, _) = open(&disk).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert!((durable..=appended).contains(&ledger.height()), "seed {seed}");
        check_all(&ledger, &format!("seed {seed}"));
    }
    assert!(torn > 100, "the crashes tear tails: {torn}");
}

#[test]
fn a_failed_write_or_sync_stops_the_ledger_and_what_is_seen_afterwards_stays() {
    for seed in 0..1000 {
        let mut random = Random::new(seed);
        let disk = MemoryDisk::new();
        let (ledger, _) = open(&disk).expect("open");
        disk.set_fate(Fate::FailAt(random.below(40)));
        for number in 0..40 {
            let outcome = append(&ledger, number);
            let outcome = outcome.and_then(|()| if random.below(3) == 0 { ledger.sync() } else { Ok(()) });
            if let Err(error) = outcome {
                let stopped = ledger.sync().expect_err("stopped");
                assert!(stopped.to_string().contains(&error.to_string()), "{stopped}");
                append(&ledger, ledger.height()).expect_err("stopped");
                check_all(&ledger, "reading goes on");
                break;
            }
        }
        let durable = ledger.durable_height();
        drop(ledger);
        disk.kill();
        let (ledger, _) = open(&disk).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let shown = ledger.height();
        assert!(shown >= durable);
        check_all(&ledger, &format!("seed {seed}, reopened"));
        drop(ledger);
        disk.crash(|limit| random.below(limit));
        let (ledger, _) = open(&disk).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(ledger.height(), shown, "seed {seed}");
        check_all(&ledger, &format!("seed {seed}, after a crash"));
    }
}

#[test]
fn a_full_disk_stops_the_ledger_and_all_is_there_when_room_is_made() {
    let disk = MemoryDisk::new();
    let (ledger, _) = open(&disk).expect("open");
    disk.set_capacity(Some(10_000));
    let error = (0..).find_map(|number| append(&ledger, number).err()).expect("full");
    assert!(error.to_string().contains("/ledger/blocks_"), "{error}");
    let height = ledger.height();
    check_all(&ledger, "reading goes on");
    drop(ledger);
    disk.set_capacity(None);
    let (ledger, _) = open(&disk).expect("open");
    assert_eq!(ledger.height(), height);
    check_all(&ledger, "with room again");
    append(&ledger, height).expect("append");
}

#[test]
fn readers_and_a_syncer_work_while_blocks_are_appended() {
    let dir = tempfile::tempdir().expect("a directory");
    let (ledger, _) = Ledger::open(dir.path(), LedgerOptions { file_bytes: 20_000 }).expect("open");
    let last = 1500;
    std::thread::scope(|scope| {
        for reader in 0..2_u64 {
            let ledger = &ledger;
            scope.spawn(move || {
                let mut random = Random::new(reader);
                while ledger.height() < last {
                    let height = ledger.height();
                    if height > 0 {
                        let number = random.below(height);
                        assert_eq!(ledger.block(Number(number)).expect("read"), Some(block(number)));
                    }
                }
            });
        }
        scope.spawn(|| {
            while ledger.durable_height() < last {
                ledger.sync().expect("sync");
            }
        });
        scope.spawn(|| {
            while ledger.height() < last {
                let reader = Ledger::open_read_only(dir.path()).expect("read only");
                let count = reader.blocks().filter(|block| block.as_ref().expect("a block").0 < last).count();
                assert_eq!(count as u64, reader.height());
            }
        });
        for number in 0..last {
            append(&ledger, number).expect("append");
        }
    });
    check_all(&ledger, "at the end");
}

#[test]
fn random_and_damaged_bytes_never_panic() {
    let (disk, _) = small_ledger();
    let whole = disk.contents(&file(0)).expect("contents");
    let mut random = Random::new(3);
    for round in 0..2000 {
        let mut bytes = whole.clone();
        for _ in 0..=random.below(20) {
            let at = random.below(whole.len() as u64) as usize;
            bytes[at] = random.below(256) as u8;
        }
        if round % 2 == 0 {
            bytes = (0..random.below(900)).map(|_| random.below(256) as u8).collect();
        }
        if round % 4 == 0 {
            bytes.splice(..bytes.len().min(FILE_HEADER), whole[..FILE_HEADER].iter().copied());
        }
        disk.set_contents(&file(0), &bytes);
        if let Ok(reader) = read_only(&disk) {
            let _ = reader.blocks().count();
        }
        let _ = open(&disk);
    }
}
