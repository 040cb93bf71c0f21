//! Log and ledger against plain files: `cargo bench --bench storage`.
//!
//! The same bytes in three ways: through the room that stores them, appended to a plain file and synced,
//! and written over a plain file that was filled and synced before (so that a sync changes no metadata,
//! which is what the log does). Figures are for the bytes *and one sync*, except where they say that
//! nothing is synced. They are the disk's, and a disk that others use gives other figures every time.

#[path = "support/terms.rs"]
mod terms;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput};
use sbft::header::sha256;
use sbft::ledger::{Ledger, LedgerOptions};
use sbft::types::Number;
use sbft::wal::{Wal, WalOptions};
use tempfile::TempDir;
use terms::Terms;

/// Length of the file that is written over; round and round.
const PREALLOCATED: u64 = 16 << 20;
/// A log is compacted after this much, as the engine does.
const COMPACT: u64 = 64 << 20;

fn main() {
    let terms = Terms {
        n: 1,
        payload: "records and blocks of the size in the benchmark's name".to_owned(),
        signatures: "none: bytes only",
        sync: "one fdatasync for each iteration, unless the name says otherwise",
        transport: "none: one thread and one disk",
    };
    let parent = std::env::var_os("SBFT_BENCH_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    println!("\nstorage, in {}\n{terms}", parent.display());
    let directory = TempDir::new_in(&parent).expect("a temporary directory; set SBFT_BENCH_DIR");
    let mut criterion = Criterion::default()
        .configure_from_args()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    // A vote's record, a block of one envelope with its record, a block of a hundred.
    for (name, size) in
        [("vote, 400 B", 400), ("block of one, 1.5 KB", 1_500), ("block of a hundred, 105 KB", 105_000)]
    {
        let bytes = Bytes::from((0..size).map(|index| (index * 31 % 251) as u8).collect::<Vec<u8>>());
        log(&mut criterion, &directory, name, &bytes);
        ledger(&mut criterion, &directory, name, &bytes);
        plain(&mut criterion, &directory, name, &bytes);
    }
    group_sync(&mut criterion, &directory);
    criterion.final_summary();
}

fn log(criterion: &mut Criterion, directory: &TempDir, name: &str, bytes: &Bytes) {
    let path = directory.path().join(format!("log {name}"));
    let (mut log, recovered) = Wal::open(&path, WalOptions::default()).expect("a log");
    assert!(recovered.created, "a new log");
    let mut written = 0_u64;
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("log: append and sync", |bencher| {
        bencher.iter(|| {
            log.append(bytes).expect("room");
            log.sync().expect("a sync");
            written += 1;
            if log.bytes_since_compaction() > COMPACT {
                log.compact(&[]).expect("a new segment");
                written = 0;
            }
        });
    });
    group.finish();
    drop(log);
    let (_, recovered) = Wal::open(&path, WalOptions::default()).expect("the same log");
    assert_eq!(recovered.records.len() as u64, written, "what was synced is there");
    assert!(recovered.records.iter().all(|record| record == bytes), "as it was written");
}

fn ledger(criterion: &mut Criterion, directory: &TempDir, name: &str, bytes: &Bytes) {
    let path = directory.path().join(format!("ledger {name}"));
    let (ledger, recovered) = Ledger::open(&path, LedgerOptions::default()).expect("a ledger");
    assert!(recovered.created, "a new ledger");
    let hash = |number: u64| sha256(&number.to_be_bytes());
    let append = || {
        let number = ledger.height();
        ledger.append(Number(number), &hash(number), bytes).expect("room");
    };
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("ledger: append and sync", |bencher| {
        bencher.iter(|| {
            append();
            ledger.sync().expect("a sync");
        });
    });
    group.bench_function("ledger: append, no sync", |bencher| bencher.iter(append));
    group.finish();
    ledger.sync().expect("a sync");
    let height = ledger.height();
    assert_eq!(ledger.durable_height(), height, "all that was appended is durable");
    // None, if the command line asked for other benchmarks only.
    for number in height.saturating_sub(1)..height {
        let last = ledger.block(Number(number)).expect("readable");
        assert_eq!(last.as_ref(), Some(bytes), "the last block is what was appended");
    }
    drop(ledger);
    std::fs::remove_dir_all(path).expect("a directory to remove");
}

fn plain(criterion: &mut Criterion, directory: &TempDir, name: &str, bytes: &Bytes) {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    let appended = File::create_new(directory.path().join(format!("appended {name}"))).expect("a new file");
    let mut end = 0;
    group.bench_function("plain file: append and fdatasync", |bencher| {
        bencher.iter(|| {
            appended.write_all_at(bytes, end).expect("room");
            appended.sync_data().expect("a sync");
            end += bytes.len() as u64;
        });
    });
    group.bench_function("plain file: append, no sync", |bencher| {
        bencher.iter(|| {
            appended.write_all_at(bytes, end).expect("room");
            end += bytes.len() as u64;
        });
    });
    assert_eq!(appended.metadata().expect("a file").len(), end, "all was written");
    let path = directory.path().join(format!("over {name}"));
    let over = OpenOptions::new().write(true).create_new(true).open(path).expect("a new file");
    for chunk in 0..PREALLOCATED >> 20 {
        over.write_all_at(&vec![0; 1 << 20], chunk << 20).expect("room");
    }
    over.sync_all().expect("a sync");
    let mut at = 0;
    group.bench_function("plain file: overwrite and fdatasync", |bencher| {
        bencher.iter(|| {
            if at + bytes.len() as u64 > PREALLOCATED {
                at = 0;
            }
            over.write_all_at(bytes, at).expect("room");
            over.sync_data().expect("a sync");
            at += bytes.len() as u64;
        });
    });
    group.finish();
}

/// What one sync for many records saves.
fn group_sync(criterion: &mut Criterion, directory: &TempDir) {
    let record = vec![5; 400];
    let mut group = criterion.benchmark_group("votes of 400 B in one sync");
    for count in [1_u64, 10, 100] {
        let path = directory.path().join(format!("group {count}"));
        let (mut log, _) = Wal::open(path, WalOptions::default()).expect("a log");
        group.throughput(Throughput::Elements(count));
        group.bench_with_input(BenchmarkId::new("log", count), &count, |bencher, count| {
            bencher.iter(|| {
                for _ in 0..*count {
                    log.append(&record).expect("room");
                }
                log.sync().expect("a sync");
                if log.bytes_since_compaction() > COMPACT {
                    log.compact(&[]).expect("a new segment");
                }
            });
        });
    }
    group.finish();
}
