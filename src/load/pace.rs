//! Sends envelopes when they are due: at fixed times (open loop), or when others have landed
//! (closed loop).
//!
//! On a thread of its own, because a runtime's timer is exact to a millisecond only, which is a
//! third of a good commit latency.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::LoadError;
use super::lane::Lanes;
use super::mint::Stock;
use super::plan::Pace;
use super::record::{Record, nanos};

/// Envelopes handed over at a time, at most.
const BATCH: usize = 512;
/// Shortest sleep: envelopes that are due within it go together, each charged from its own time.
const TICK: Duration = Duration::from_micros(200);
/// A closed loop collects what landed for this long before it sends as many more.
const COLLECT: Duration = Duration::from_micros(100);
/// Longest wait before the loop looks whether it has been stopped.
const LOOK: Duration = Duration::from_millis(50);

/// What the sending thread shares with the run.
#[derive(Default)]
pub(super) struct Sender {
    stop: AtomicBool,
    /// Envelopes whose time had come while too many waited for the replicas to take them.
    held_back: AtomicU64,
    /// The latest that an envelope was handed over after its time, nanoseconds.
    latest: AtomicU64,
}

impl Sender {
    /// Ends the sending soon.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// The latest that an envelope was handed over after its time.
    pub(super) fn latest(&self) -> Duration {
        Duration::from_nanos(self.latest.load(Ordering::Relaxed))
    }

    /// Whether sending had to pause because replicas took envelopes too slowly.
    pub(super) fn held_back(&self) -> bool {
        self.held_back.load(Ordering::Relaxed) > 0
    }
}

/// All that the sending thread works with.
pub(super) struct Work {
    pub(super) pace: Pace,
    /// Sending ends so long after the run's start.
    pub(super) until: Duration,
    /// Envelopes that may wait for replicas to take them; beyond it an open loop falls behind,
    /// and its envelopes are charged for that.
    pub(super) backlog: usize,
    pub(super) stock: Stock,
    pub(super) lanes: Arc<Lanes>,
    pub(super) record: Arc<Record>,
    pub(super) sender: Arc<Sender>,
}

impl Work {
    /// Sends until the end. Returns how many envelopes were due by then.
    ///
    /// # Errors
    /// When an envelope could not be signed.
    pub(super) fn run(mut self) -> Result<u64, LoadError> {
        sleep_until(self.record.start());
        match self.pace {
            Pace::Open { per_second } => self.open(per_second),
            Pace::Closed { in_flight } => self.closed(in_flight),
        }
    }

    fn open(&mut self, per_second: f64) -> Result<u64, LoadError> {
        let start = self.record.start();
        let due = |index: u64| Duration::from_secs_f64(index as f64 / per_second);
        let total = (self.until.as_secs_f64() * per_second).ceil() as u64;
        let mut next = 0;
        let mut batch = Vec::with_capacity(BATCH);
        // What is due is sent even if it is a moment too late: whoever waits says when that is enough.
        while next < total && !self.sender.stop.load(Ordering::Relaxed) {
            let now = start.elapsed();
            if due(next) > now {
                // In steps, so that a stop is noticed.
                let wake = due(next).max(now + TICK).min(now + LOOK);
                sleep_until(start + wake);
                continue;
            }
            if self.lanes.backlog() >= self.backlog {
                self.sender.held_back.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            let count = (next..total.min(next + BATCH as u64)).take_while(|index| due(*index) <= now).count();
            self.stock.take(count, &mut batch)?;
            if batch.is_empty() {
                break;
            }
            let handed = start.elapsed();
            self.sender.latest.fetch_max(nanos(handed.saturating_sub(due(next))), Ordering::Relaxed);
            let count = batch.len() as u64;
            self.record.sent((next..next + count).map(|index| nanos(due(index))));
            self.lanes.push(&mut batch);
            next += count;
        }
        Ok((start.elapsed().min(self.until).as_secs_f64() * per_second).ceil().min(total as f64) as u64)
    }

    fn closed(&mut self, in_flight: u64) -> Result<u64, LoadError> {
        let start = self.record.start();
        let mut sent = 0;
        let mut batch = Vec::with_capacity(BATCH);
        while !self.stopped(start) {
            let room = self.record.wait_for_room(in_flight, Instant::now() + LOOK);
            if room == 0 {
                continue;
            }
            self.stock.take(room.min(BATCH as u64) as usize, &mut batch)?;
            let now = self.record.now();
            self.record.sent(batch.iter().map(|_| now));
            sent += batch.len() as u64;
            let full = batch.len() == BATCH;
            self.lanes.push(&mut batch);
            if !full && in_flight > BATCH as u64 {
                std::thread::sleep(COLLECT);
            }
        }
        Ok(sent)
    }

    fn stopped(&self, start: Instant) -> bool {
        self.sender.stop.load(Ordering::Relaxed) || start.elapsed() >= self.until
    }
}

fn sleep_until(at: Instant) {
    std::thread::sleep(at.saturating_duration_since(Instant::now()));
}
