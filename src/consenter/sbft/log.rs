//! The log thread: group commit. It takes all records that wait, appends them, syncs once, and
//! says how many are durable.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::shared::Shared;
use crate::metrics;
use crate::wal::{Wal, WalError};

/// What the log thread does, in order.
pub(super) enum LogJob {
    /// Append these; with them, `upto` records were given since the start.
    Append { records: Vec<Bytes>, upto: u64 },
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
    let name = format!("log {}", shared.channel());
    thread::Builder::new().name(name).spawn(move || {
        let _token = token;
        while let Some(job) = jobs.blocking_recv() {
            if let Err(error) = commit(&shared, &mut log, job, &mut jobs, &durable) {
                shared.fail(format!("the log cannot be written: {error}"));
                return;
            }
        }
    })?;
    Ok(())
}

/// One group: `job` and all that wait behind it.
fn commit(
    shared: &Shared,
    log: &mut Wal,
    job: LogJob,
    jobs: &mut mpsc::Receiver<LogJob>,
    durable: &watch::Sender<u64>,
) -> Result<(), WalError> {
    let mut next = Some(job);
    let mut upto = *durable.borrow();
    let mut appended = 0;
    while let Some(job) = next {
        match job {
            LogJob::Append { records, upto: last } => {
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
    let begun = Instant::now();
    log.sync()?;
    let channel = shared.channel().to_owned();
    ::metrics::histogram!(metrics::SYNC_SECONDS, "channel" => channel.clone(), "file" => "log")
        .record(begun.elapsed());
    ::metrics::counter!(metrics::LOG_RECORDS, "channel" => channel).increment(appended);
    durable.send_replace(upto);
    Ok(())
}
