//! What log and ledger cost, and how long syncs take, also several at a time.

use std::path::Path;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sbft::ledger::{Ledger, LedgerOptions};
use sbft::types::{Digest, Number};
use sbft::wal::{Wal, WalOptions};

use super::{thread_cpu, thread_waited};
use crate::scale::{Disk, Line};

const SMALL: usize = 512;
const LARGE: usize = 256 << 10;
/// Syncs timed, by each of those that sync at the same time.
const SYNCS: usize = 60;
/// The pause before each sync: nothing of the one before is in a cache any more, as in a node.
const PAUSE: Duration = Duration::from_millis(2);
/// Most that sync at the same time.
const AT_ONCE: usize = 4;

pub(super) fn measure(folder: &Path) -> Result<(Disk, Disk), String> {
    let folder = folder.join("calibrate-storage");
    let measured = in_folder(&folder);
    let removed = std::fs::remove_dir_all(&folder);
    let measured = measured?;
    removed.map_err(|error| format!("cannot delete {}: {error}", folder.display()))?;
    Ok(measured)
}

fn in_folder(folder: &Path) -> Result<(Disk, Disk), String> {
    std::fs::create_dir_all(folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    let mut sync_us = Vec::new();
    for others in 0..AT_ONCE {
        sync_us.push(deciles(&folder.join(format!("sync-{others}")), others + 1)?);
    }
    let small = log_cpu(&folder.join("log-small"), SMALL)?;
    let large = log_cpu(&folder.join("log-large"), LARGE)?;
    let line = Line::through((SMALL, small), (LARGE, large));
    let log = Disk {
        append: Line { each_us: 0.5, kib_us: line.kib_us },
        sync_cpu_us: line.each_us,
        sync_us: sync_us.clone(),
    };
    let (small, sync) = ledger_cpu(&folder.join("ledger-small"), SMALL)?;
    let (large, _) = ledger_cpu(&folder.join("ledger-large"), LARGE)?;
    let append = Line::through((SMALL, small), (LARGE, large));
    Ok((log, Disk { append, sync_cpu_us: sync, sync_us }))
}

fn open(folder: &Path) -> Result<Wal, String> {
    Wal::open(folder, WalOptions::default()).map(|(log, _)| log).map_err(|error| error.to_string())
}

/// Nine deciles of how long a sync of a typical step's records takes while so many are at it.
fn deciles(folder: &Path, at_once: usize) -> Result<Vec<f64>, String> {
    let begin = Barrier::new(at_once);
    let one = |index: usize| -> Result<Vec<f64>, String> {
        let opened = open(&folder.join(index.to_string()));
        begin.wait();
        let mut log = opened?;
        let record = vec![index as u8; 16 << 10];
        let mut times = Vec::new();
        for _ in 0..SYNCS {
            std::thread::sleep(PAUSE);
            log.append(&record).map_err(|error| error.to_string())?;
            let (begun, waited) = (Instant::now(), thread_waited()?);
            log.sync().map_err(|error| error.to_string())?;
            // Waiting for a processor is the model's, and on a busy machine most of it.
            let lasted = begun.elapsed().saturating_sub(thread_waited()? - waited);
            times.push(lasted.as_secs_f64() * 1e6);
        }
        Ok(times)
    };
    let one = &one;
    let all: Vec<Result<Vec<f64>, String>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..at_once).map(|index| scope.spawn(move || one(index))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err("a thread panicked".to_owned())))
            .collect()
    });
    let mut times = Vec::new();
    for some in all {
        times.extend(some?);
    }
    times.sort_by(f64::total_cmp);
    Ok((0..9).map(|decile| times[(times.len() - 1) * (2 * decile + 1) / 18]).collect())
}

/// Processor time of appending and syncing one record.
fn log_cpu(folder: &Path, bytes: usize) -> Result<f64, String> {
    let mut log = open(folder)?;
    let record = vec![3; bytes];
    let mut write = || log.append(&record).and_then(|()| log.sync()).map_err(|error| error.to_string());
    write()?;
    let begun = thread_cpu()?;
    for _ in 0..SYNCS {
        std::thread::sleep(PAUSE);
        write()?;
    }
    Ok((thread_cpu()? - begun).as_secs_f64() * 1e6 / SYNCS as f64)
}

/// Processor time of appending one block, and of a sync after ten.
fn ledger_cpu(folder: &Path, bytes: usize) -> Result<(f64, f64), String> {
    let opened = Ledger::open(folder, LedgerOptions::default()).map_err(|error| error.to_string())?;
    let ledger = opened.0;
    let block = Bytes::from(vec![5; bytes]);
    let (mut appending, mut syncing) = (0.0, 0.0);
    let mut number = 0u64;
    for _ in 0..SYNCS {
        let begun = thread_cpu()?;
        for _ in 0..10 {
            let mut hash = Digest([0; 32]);
            hash.0[..8].copy_from_slice(&number.to_be_bytes());
            ledger.append(Number(number), &hash, &block).map_err(|error| error.to_string())?;
            number += 1;
        }
        let appended = thread_cpu()?;
        ledger.sync().map_err(|error| error.to_string())?;
        appending += (appended - begun).as_secs_f64() * 1e5;
        syncing += (thread_cpu()? - appended).as_secs_f64() * 1e6;
    }
    Ok((appending / SYNCS as f64, syncing / SYNCS as f64))
}
