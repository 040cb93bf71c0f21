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
use crate::phases::{block as stations, of_block};
use crate::types::CommittedBlock;
use crate::wire::block;

/// How many blocks wait for a sync, between the two threads.
struct Unsynced {
    /// A sync is due when the first has waited this long,
    interval: Duration,
    /// or when so many wait: a window's worth. The core proposes nothing more than a few windows
    /// above the last durable block, and must never wait for the interval to end.
    blocks: u64,
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
    window: u64,
) -> std::io::Result<()> {
    let state = Mutex::new(State::default());
    let unsynced = Arc::new(Unsynced { interval, blocks: window, state, changed: Condvar::new() });

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
        while unsynced.wait() {
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
    shared.support.append_finished(header.number, header_hash(header), &block::encode(committed))?;
    of_block(stations::APPENDED, shared.members.me, header.number);
    Ok(())
}

impl Unsynced {
    fn added(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.blocks += 1;
        if state.blocks == 1 {
            state.since = Some(Instant::now());
        }
        if state.blocks == 1 || state.blocks == self.blocks {
            self.changed.notify_one();
        }
    }

    fn end(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
        self.changed.notify_one();
    }

    /// Waits until a sync is due and takes what it is for; false if there is nothing left to do.
    fn wait(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let due = state.since.map(|since| since + self.interval);
            let left = due.map(|due| due.saturating_duration_since(Instant::now()));
            state = match left {
                None if state.ended => return false,
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) if state.ended || left.is_zero() || state.blocks >= self.blocks => {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn unsynced(interval: Duration) -> Arc<Unsynced> {
        let state = Mutex::new(State::default());
        Arc::new(Unsynced { interval, blocks: 3, state, changed: Condvar::new() })
    }

    #[test]
    fn a_sync_is_due_when_a_windows_worth_of_blocks_waits_whatever_the_interval() {
        let unsynced = unsynced(Duration::from_secs(3600));
        let waiting = thread::spawn({
            let unsynced = unsynced.clone();
            move || unsynced.wait()
        });
        for _ in 0..3 {
            unsynced.added();
        }
        assert!(waiting.join().expect("no panic"));
        assert_eq!(unsynced.state.lock().expect("no panic").blocks, 0);
    }

    #[test]
    fn a_sync_is_due_when_the_first_block_has_waited_for_the_interval() {
        let unsynced = unsynced(Duration::from_millis(5));
        unsynced.added();
        assert!(unsynced.wait());
    }

    #[test]
    fn at_the_end_what_waits_is_synced_and_then_there_is_nothing_left_to_do() {
        let unsynced = unsynced(Duration::from_secs(3600));
        unsynced.added();
        unsynced.end();
        assert!(unsynced.wait());
        assert!(!unsynced.wait());
    }
}
