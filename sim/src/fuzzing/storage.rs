//! Log and ledger: opened on files that hold anything, and carried through scripts of writes,
//! failures and crashes beside a plain model.
//!
//! Every byte string is a good script. What is held against the model is what both promise: what
//! was synced is there after any crash, what was not is there up to some point and in order, and
//! nothing else ever is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use sbft::disk::{Disk as _, Fate, MemoryDisk};
use sbft::header::sha256;
use sbft::ledger::{Ledger, LedgerError, LedgerOptions};
use sbft::types::Number;
use sbft::wal::{Wal, WalError, WalOptions};

use super::Reader;

const DIR: &str = "/data";

fn open_log(disk: &MemoryDisk) -> Result<(Wal, Vec<Bytes>), WalError> {
    let options = WalOptions { segment_bytes: 4096, max_record_bytes: 1 << 16, ..WalOptions::default() };
    Wal::open_on(Arc::new(disk.clone()), DIR, options).map(|(log, recovered)| (log, recovered.records))
}

fn open_ledger(disk: &MemoryDisk) -> Result<Ledger, LedgerError> {
    let options = LedgerOptions { file_bytes: 2048 };
    Ledger::open_on(Arc::new(disk.clone()), DIR, options).map(|(ledger, _)| ledger)
}

/// Files by name out of bytes: `name length, name, length (2 bytes), content`, again and again.
pub fn unpacked(data: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut rest = data;
    while let Some((length, more)) = rest.split_first() {
        let (name, more) = more.split_at(more.len().min(usize::from(*length)));
        let (length, more) = more.split_at(more.len().min(2));
        let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        let (content, more) = more.split_at(more.len().min(length));
        // Only names that stay in the directory.
        let name: String = String::from_utf8_lossy(name).chars().filter(|c| !"/\0".contains(*c)).collect();
        if !name.is_empty() && name != "." && name != ".." {
            files.push((name, content.to_vec()));
        }
        rest = more;
    }
    files
}

/// The bytes that [`unpacked`] reads; the end of a file that is longer than 65,535 bytes is lost.
pub fn packed(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, content) in files {
        let content = &content[..content.len().min(0xffff)];
        bytes.push(name.len() as u8);
        bytes.extend(name.as_bytes());
        bytes.extend((content.len() as u16).to_be_bytes());
        bytes.extend(content);
    }
    bytes
}

fn disk_of(data: &[u8]) -> MemoryDisk {
    let disk = MemoryDisk::new();
    disk.create_dirs(Path::new(DIR)).expect("a new disk takes a directory");
    for (name, content) in unpacked(data) {
        disk.set_contents(&Path::new(DIR).join(name), &content);
    }
    disk
}

/// A log's directory that holds anything: it is refused in words, or opened, and then what it
/// held is there again the next time, and what is written to it too.
pub fn log_files(data: &[u8]) {
    let disk = disk_of(data);
    let (mut log, records) = match open_log(&disk) {
        Ok(opened) => opened,
        Err(error) => return assert!(error.to_string().contains(DIR), "{error}"),
    };
    drop(log);
    log = reopened_log(&disk, &records, "as it was opened first");
    let added = Bytes::from_static(b"one more");
    log.append(&added).and_then(|()| log.sync()).expect("an open log takes a record");
    drop(log);
    drop(reopened_log(&disk, &[records, vec![added]].concat(), "with one more"));
}

fn reopened_log(disk: &MemoryDisk, expected: &[Bytes], what: &str) -> Wal {
    match open_log(disk) {
        Ok((log, records)) => {
            assert!(records == expected, "{what}: {} records became {}", expected.len(), records.len());
            log
        }
        Err(error) => panic!("{what}: a log that was open cannot be opened again: {error}"),
    }
}

/// A ledger's directory that holds anything: it is refused in words, or opened, and then all its
/// blocks can be read or the one that cannot is named.
pub fn ledger_files(data: &[u8]) {
    let disk = disk_of(data);
    let ledger = match open_ledger(&disk) {
        Ok(ledger) => ledger,
        Err(error) => return assert!(error.to_string().contains(DIR), "{error}"),
    };
    let height = ledger.height();
    let read = |ledger: &Ledger| -> Vec<Option<Bytes>> {
        (0..height.min(200)).map(|number| ledger.block(Number(number)).ok().flatten()).collect()
    };
    let blocks = read(&ledger);
    assert_eq!(ledger.block(Number(height)).expect("no block, and no error"), None);
    drop(ledger);
    let ledger = open_ledger(&disk).expect("a ledger that was open can be opened again");
    assert_eq!(ledger.height(), height, "it has another height when it is opened again");
    assert!(read(&ledger) == blocks, "it has other blocks when it is opened again");
    let (number, block) = (Number(height), Bytes::from_static(b"one more"));
    match ledger.append(number, &sha256(&block), &block) {
        Ok(()) => assert_eq!(ledger.block(number).expect("it was appended"), Some(block)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A log carried through a script, beside a list of what was synced and a list of what was not.
pub fn log_story(data: &[u8]) {
    let mut script = Reader::new(data);
    let disk = MemoryDisk::new();
    let (mut log, _) = open_log(&disk).expect("a new log");
    let (mut durable, mut pending): (Vec<Bytes>, Vec<Bytes>) = (Vec::new(), Vec::new());
    let mut made = 0u32;
    for step in 0..400 {
        if script.is_empty() {
            break;
        }
        // What may be found after a crash in the middle of what failed here.
        let mut alternative: Option<Vec<Bytes>> = None;
        let mut failed = false;
        match script.below(8) {
            0..=2 => {
                made += 1;
                let record = some_bytes(made, script.number() as usize % 6000);
                match log.append(&record) {
                    Ok(()) => pending.push(record),
                    Err(_) => failed = true,
                }
            }
            3 => match log.sync() {
                Ok(()) => durable.append(&mut pending),
                Err(_) => failed = true,
            },
            4 => {
                let from = durable.len() - script.below(durable.len() + 1).min(8);
                let live = durable[from..].to_vec();
                match log.compact(&live) {
                    Ok(()) => durable = live,
                    Err(_) => {
                        alternative = Some(live);
                        failed = true;
                    }
                }
                // Forgotten in either case.
                pending.clear();
            }
            5 => disk.set_fate(Fate::FailAt(script.number() % 12)),
            6 => disk.set_fate(Fate::DieAt(script.number() % 12)),
            _ => failed = true,
        }
        if failed {
            drop(log);
            crash(&disk, &mut script);
            let (opened, records) = open_log(&disk).unwrap_or_else(|error| panic!("step {step}: {error}"));
            log = opened;
            let all = [durable.as_slice(), pending.as_slice()].concat();
            let promised = records.len() >= durable.len() && all.starts_with(&records);
            let anew = alternative.is_some_and(|live| live == records);
            assert!(
                promised || anew,
                "step {step}: {} records were synced and {} were not; after the crash there are {}",
                durable.len(),
                pending.len(),
                records.len()
            );
            durable = records;
            pending.clear();
        }
    }
}

/// A ledger carried through a script, beside a list of its blocks.
pub fn ledger_story(data: &[u8]) {
    let mut script = Reader::new(data);
    let disk = MemoryDisk::new();
    let mut ledger = open_ledger(&disk).expect("a new ledger");
    let mut blocks: Vec<Bytes> = Vec::new();
    let mut synced = 0;
    let mut made = 0u32;
    for step in 0..400 {
        if script.is_empty() {
            break;
        }
        let mut failed = false;
        match script.below(8) {
            0..=3 => {
                made += 1;
                let block = some_bytes(made, script.number() as usize % 3000);
                let number = Number(blocks.len() as u64);
                // One that failed may be there after the crash, or not.
                blocks.push(block.clone());
                failed = ledger.append(number, &sha256(&block), &block).is_err();
            }
            4 => match ledger.sync() {
                Ok(()) => synced = blocks.len(),
                Err(_) => failed = true,
            },
            5 => disk.set_fate(Fate::FailAt(script.number() % 12)),
            6 => disk.set_fate(Fate::DieAt(script.number() % 12)),
            _ => failed = true,
        }
        if !failed {
            assert_eq!(ledger.height(), blocks.len() as u64, "step {step}");
            assert!(ledger.durable_height() >= synced as u64, "step {step}");
            continue;
        }
        drop(ledger);
        crash(&disk, &mut script);
        ledger = open_ledger(&disk).unwrap_or_else(|error| panic!("step {step}: {error}"));
        let height = ledger.height() as usize;
        assert!(
            (synced..=blocks.len()).contains(&height),
            "step {step}: {synced} of {} blocks were synced; after the crash there are {height}",
            blocks.len()
        );
        blocks.truncate(height);
        synced = ledger.durable_height() as usize;
        for (number, block) in (0..).map(Number).zip(&blocks) {
            let found = ledger.block(number).unwrap_or_else(|error| panic!("step {step}: {error}"));
            assert_eq!(found.as_ref(), Some(block), "step {step}: block {number}");
            let by_hash =
                ledger.number_of(&sha256(block)).unwrap_or_else(|error| panic!("step {step}: {error}"));
            assert_eq!(by_hash, Some(number), "step {step}: by hash");
        }
    }
}

/// The power goes off; the script says which unsynced writes stay. Nothing fails afterwards.
fn crash(disk: &MemoryDisk, script: &mut Reader) {
    disk.set_fate(Fate::Good);
    disk.crash(|bound| script.number() % bound.max(1));
}

/// Bytes that no other number has, the first four of them say which.
fn some_bytes(which: u32, length: usize) -> Bytes {
    let mut bytes = which.to_le_bytes().to_vec();
    bytes.resize(4 + length, which as u8);
    bytes.into()
}

/// What a log's or ledger's directory on this disk holds, for a corpus.
pub fn contents(disk: &MemoryDisk) -> Vec<(String, Vec<u8>)> {
    let names = disk.list(Path::new(DIR)).unwrap_or_default();
    let path = |name: &str| -> PathBuf { Path::new(DIR).join(name) };
    names.into_iter().filter_map(|name| disk.contents(&path(&name)).map(|content| (name, content))).collect()
}

/// The directories of a few logs with `records` in each, one compacted.
pub fn some_logs(records: usize) -> Vec<Vec<u8>> {
    let made = |compacts: bool| {
        let disk = MemoryDisk::new();
        let (mut log, _) = open_log(&disk).expect("a new log");
        for which in 0..records as u32 {
            log.append(&some_bytes(which, which as usize * 61 % 900)).expect("room");
            if which % 3 == 2 {
                log.sync().expect("a good disk");
            }
        }
        if compacts {
            log.compact(&[some_bytes(9, 100), some_bytes(10, 3)]).expect("a good disk");
            log.append(&some_bytes(11, 30)).and_then(|()| log.sync()).expect("a good disk");
        }
        packed(&contents(&disk))
    };
    vec![made(false), made(true)]
}

/// The directory of a ledger of so many blocks.
pub fn some_ledger(blocks: u32) -> Vec<u8> {
    let disk = MemoryDisk::new();
    let ledger = open_ledger(&disk).expect("a new ledger");
    for which in 0..blocks {
        let block = some_bytes(which, which as usize * 37 % 400);
        ledger.append(Number(u64::from(which)), &sha256(&block), &block).expect("room");
    }
    ledger.sync().expect("a good disk");
    packed(&contents(&disk))
}
