//! The log thread: group commit. It takes all records that wait, appends them, syncs once if somebody
//! waits for one of them, and says how many are durable.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use ::metrics::{Counter, Histogram};
use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::shared::Shared;
use crate::metrics;
use crate::wal::{Wal, WalError};

/// What the log thread does, in order.
pub(super) enum LogJob {
    /// Append these; with them, `upto` records were given since the start. Somebody waits until they are
    /// durable, if `sync`.
    Append { records: Vec<Bytes>, upto: u64, sync: bool },
    /// Start the log anew with these, which say as much as all records up to `upto`.
    Compact { live: Vec<Bytes>, upto: u64 },
}

/// Starts the thread. It ends when the sender of `jobs` is gone, with everything synced, or at
/// the first failure, which stops the chain.
pub(super) fn spawn(
    shared: Arc<Shared>,
    mut log: Wal,
    mut jobs: mpsc::Receiver<LogJob>,
    durable: watch::Sender<u64>,
) -> std::io::Result<()> {
    let token = shared.tracker.token();
    let channel = || shared.channel().to_owned();
    let meters = Meters {
        records: ::metrics::counter!(metrics::LOG_RECORDS, "channel" => channel()),
        syncs: ::metrics::histogram!(metrics::SYNC_SECONDS, "channel" => channel(), "file" => "log"),
    };
    let name = format!("log {}", shared.channel());
    thread::Builder::new().name(name).spawn(move || {
        let _token = token;
        while let Some(job) = jobs.blocking_recv() {
            if let Err(error) = commit(&meters, &mut log, job, &mut jobs, &durable) {
                return shared.fail(format!("the log cannot be written: {error}"));
            }
        }
        if let Err(error) = log.sync() {
            shared.fail(format!("the log cannot be synced: {error}"));
        }
    })?;
    Ok(())
}

/// What is counted for each group, looked up once.
struct Meters {
    records: Counter,
    syncs: Histogram,
}

/// One group: `job` and all that wait behind it.
fn commit(
    meters: &Meters,
    log: &mut Wal,
    job: LogJob,
    jobs: &mut mpsc::Receiver<LogJob>,
    durable: &watch::Sender<u64>,
) -> Result<(), WalError> {
    let mut next = Some(job);
    let mut upto = *durable.borrow();
    let mut appended = 0;
    let mut wanted = false;
    while let Some(job) = next {
        match job {
            LogJob::Append { records, upto: last, sync } => {
                wanted |= sync;
                appended += records.len() as u64;
                for record in records {
                    log.append_shared(record)?;
                }
                upto = last;
            }
            LogJob::Compact { live, upto: last } => {
                log.compact(&live)?;
                upto = last;
                durable.send_replace(upto);
            }
        }
        next = jobs.try_recv().ok();
    }
    meters.records.increment(appended);
    if wanted {
        let begun = Instant::now();
        log.sync()?;
        meters.syncs.record(begun.elapsed());
        durable.send_replace(upto);
    }
    Ok(())
}
