//! Committed blocks on their way into the ledger: one thread appends them, another syncs.
//!
//! Appending never waits for a sync, because readers wait for the append only: a block with its
//! quorum may be delivered before it is durable here.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::super::WriteError;
use super::shared::{Event, Shared};
use crate::header::header_hash;
use crate::types::CommittedBlock;
use crate::wire::block;

/// A sync does not wait longer once this many blocks are appended.
const SYNC_BLOCKS: u64 = 64;

/// How many blocks wait for a sync, between the two threads.
#[derive(Default)]
struct Unsynced {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    blocks: u64,
    since: Option<Instant>,
    ended: bool,
}

struct EndOnDrop(Arc<Unsynced>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Starts both threads. They end when the sender of `jobs` is gone, with everything synced, or at
/// the first failure, which stops the chain.
pub(super) fn spawn(
    shared: &Arc<Shared>,
    mut jobs: mpsc::Receiver<Arc<CommittedBlock>>,
    events: mpsc::Sender<Event>,
    interval: Duration,
) -> std::io::Result<()> {
    let unsynced = Arc::new(Unsynced::default());

    let (writer, counter, token) = (shared.clone(), unsynced.clone(), shared.tracker.token());
    thread::Builder::new().name(format!("blocks {}", shared.channel())).spawn(move || {
        let _token = token;
        // However this thread ends, the other one must not wait for it.
        let counter = EndOnDrop(counter);
        while let Some(job) = jobs.blocking_recv() {
            if let Err(error) = append(&writer, &job) {
                writer.fail(error);
                break;
            }
            counter.0.added();
        }
    })?;

    let (syncer, token) = (shared.clone(), shared.tracker.token());
    thread::Builder::new().name(format!("sync {}", shared.channel())).spawn(move || {
        let _token = token;
        while unsynced.wait(interval) {
            match syncer.support.sync_ledger() {
                // Nobody listens any more when the chain is being stopped.
                Ok(number) => drop(events.blocking_send(Event::Durable(number))),
                Err(error) => return syncer.fail(error),
            }
        }
    })?;
    Ok(())
}

fn append(shared: &Shared, committed: &CommittedBlock) -> Result<(), WriteError> {
    let header = &committed.certificate.header;
    shared.support.append_finished(header.number, header_hash(header), &block::encode(committed))
}

impl Unsynced {
    fn added(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.blocks += 1;
        if state.blocks == 1 {
            state.since = Some(Instant::now());
        }
        if state.blocks == 1 || state.blocks == SYNC_BLOCKS {
            self.changed.notify_one();
        }
    }

    fn end(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
        self.changed.notify_one();
    }

    /// Waits until a sync is due and takes what it is for; false if there is nothing left to do.
    fn wait(&self, interval: Duration) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let due = state.since.map(|since| since + interval);
            let left = due.map(|due| due.saturating_duration_since(Instant::now()));
            state = match left {
                None if state.ended => return false,
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) if state.ended || left.is_zero() || state.blocks >= SYNC_BLOCKS => {
                    state.blocks = 0;
                    state.since = None;
                    return true;
                }
                Some(left) => {
                    self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}
