//! What happened to the run's envelopes, and when: written by who sends and who reads blocks.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::flight::{Flight, Sighting};
use super::marker::{Tag, scan};
use super::series::Series;

/// Longest latency told apart, microseconds: an hour.
const LONGEST_US: u64 = 3_600_000_000;
/// Different refusals that are remembered by their text.
const REFUSALS: usize = 20;

/// One run's record, shared by its threads.
pub(super) struct Record {
    tag: Tag,
    /// Time zero; not known before all streams are open.
    start: OnceLock<Instant>,
    window: std::ops::Range<u64>,
    state: Mutex<State>,
    /// Told when envelopes were seen or given up: a closed loop may go on.
    landed: Condvar,
}

struct State {
    flight: Flight,
    latency: Histogram<u64>,
    series: Series,
    counts: Counts,
    refused: BTreeMap<String, u64>,
    gaps: Gaps,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    /// Envelopes sent that were to be sent in the window.
    pub(super) sent_in_window: u64,
    /// Our envelopes seen in blocks while the window was open.
    pub(super) committed_in_window: u64,
    /// Our envelopes that were in a block before.
    pub(super) twice: u64,
    /// Envelopes in blocks that are not of this run.
    pub(super) foreign: u64,
    /// Blocks delivered while the window was open.
    pub(super) blocks_in_window: u64,
    /// Blocks delivered that could not be read.
    pub(super) unreadable: u64,
    /// Answers other than SUCCESS after which the envelope was sent again.
    pub(super) retried: u64,
}

/// Times without a delivered block that has envelopes of ours.
struct Gaps {
    /// The last delivery, nanoseconds since the start.
    last: Option<u64>,
    /// Longest time between two in the window.
    longest: u64,
    /// For each fault: when, and the longest gap that ended after it.
    after: Vec<(u64, u64)>,
}

/// All that the record says at the end.
pub(super) struct Findings {
    pub(super) sent: u64,
    pub(super) seen: u64,
    /// Sent in the window and never seen.
    pub(super) unseen_in_window: u64,
    pub(super) latency: Histogram<u64>,
    pub(super) series: Series,
    pub(super) counts: Counts,
    pub(super) refused: BTreeMap<String, u64>,
    pub(super) longest_gap: Duration,
    /// For each fault, in order.
    pub(super) stalls: Vec<Duration>,
}

impl Record {
    /// For a run of which `window` counts, from its start.
    pub(super) fn new(tag: Tag, window: std::ops::Range<Duration>) -> Self {
        let window = nanos(window.start)..nanos(window.end);
        let state = State {
            flight: Flight::default(),
            latency: Histogram::new_with_bounds(1, LONGEST_US, 3).expect("the bounds are a range"),
            series: Series::new(window.end),
            counts: Counts::default(),
            refused: BTreeMap::new(),
            gaps: Gaps { last: None, longest: 0, after: Vec::new() },
        };
        Self { tag, start: OnceLock::new(), window, state: Mutex::new(state), landed: Condvar::new() }
    }

    /// The run starts at `start`; only the first call counts.
    pub(super) fn begin(&self, start: Instant) {
        self.start.get_or_init(|| start);
    }

    /// Time zero of the run; now, as long as it has not begun.
    pub(super) fn start(&self) -> Instant {
        self.start.get().copied().unwrap_or_else(Instant::now)
    }

    /// Nanoseconds since the start.
    pub(super) fn now(&self) -> u64 {
        nanos(self.start().elapsed())
    }

    /// The next envelopes are on their way; they were to be sent at these times.
    pub(super) fn sent(&self, intended: impl Iterator<Item = u64>) {
        let mut state = self.lock();
        for time in intended {
            state.flight.send(time);
            state.counts.sent_in_window += u64::from(self.window.contains(&time));
        }
    }

    /// A block came.
    pub(super) fn block(&self, block: &[u8]) {
        let now = self.now();
        let in_window = self.window.contains(&now);
        let mut guard = self.lock();
        let state = &mut *guard;
        let (mut ours, mut first, mut landed) = (0, 0, 0);
        let scanned = scan(block, &self.tag, |index| {
            ours += 1;
            match state.flight.see(index) {
                Sighting::First { intended, late } => {
                    first += 1;
                    landed += u64::from(!late);
                    let latency = now.saturating_sub(intended);
                    state.series.latency(intended, latency);
                    if self.window.contains(&intended) {
                        state.latency.saturating_record((latency / 1_000).max(1));
                    }
                }
                Sighting::Again | Sighting::Unknown => state.counts.twice += 1,
            }
        });
        let Some(scanned) = scanned else {
            state.counts.unreadable += 1;
            return;
        };
        state.counts.foreign += scanned.envelopes as u64 - ours;
        if first == 0 {
            return;
        }
        state.series.committed(now, first);
        if in_window {
            state.counts.committed_in_window += u64::from(first);
            state.counts.blocks_in_window += 1;
        }
        state.gaps.delivery(now, &self.window);
        drop(guard);
        if landed > 0 {
            self.landed.notify_all();
        }
    }

    /// An envelope was answered anything but SUCCESS. `for_good`: it will not be sent again.
    pub(super) fn refused(&self, index: u64, answer: String, for_good: bool) {
        let mut state = self.lock();
        if !for_good {
            state.counts.retried += 1;
        } else if state.flight.is_seen(index) {
            // A duplicate, refused because it is in a block: that is no error.
            return;
        }
        let key = if state.refused.len() < REFUSALS || state.refused.contains_key(&answer) {
            answer
        } else {
            "other answers".to_owned()
        };
        *state.refused.entry(key).or_default() += 1;
        if for_good && state.flight.give_up(index) {
            drop(state);
            self.landed.notify_all();
        }
    }

    /// Gives up what was to be sent longer than `patience` ago.
    pub(super) fn give_up(&self, patience: Duration) {
        let before = self.now().saturating_sub(nanos(patience));
        if self.lock().flight.give_up_before(before) > 0 {
            self.landed.notify_all();
        }
    }

    /// Waits until fewer than `in_flight` envelopes are outstanding, or until `deadline`; how
    /// many more may be sent.
    pub(super) fn wait_for_room(&self, in_flight: u64, deadline: Instant) -> u64 {
        let mut state = self.lock();
        loop {
            let room = in_flight.saturating_sub(state.flight.outstanding());
            let left = deadline.saturating_duration_since(Instant::now());
            if room > 0 || left.is_zero() {
                return room;
            }
            state = self.landed.wait_timeout(state, left).expect("no code panics while it holds this lock").0;
        }
    }

    /// A fault happened now; the longest gap after it will be told.
    pub(super) fn fault(&self) -> Duration {
        let now = self.now();
        self.lock().gaps.after.push((now, 0));
        Duration::from_nanos(now)
    }

    /// Envelopes seen, and those outstanding.
    pub(super) fn progress(&self) -> (u64, u64) {
        let state = self.lock();
        (state.flight.seen(), state.flight.outstanding())
    }

    /// Envelopes sent.
    pub(super) fn sent_count(&self) -> u64 {
        self.lock().flight.sent()
    }

    /// Whether the envelope was seen in a block.
    pub(super) fn is_seen(&self, index: u64) -> bool {
        self.lock().flight.is_seen(index)
    }

    /// Ends the record.
    pub(super) fn findings(&self) -> Findings {
        let now = self.now();
        let mut state = self.lock();
        // Something was sent after the last delivery and never came: that gap is still open, and
        // counts as far as it went. What others overtook was lost, which is no gap.
        let last = state.gaps.last.unwrap_or(0);
        if state.flight.unseen_in(last..u64::MAX) > 0 {
            state.gaps.delivery(now, &self.window);
        }
        Findings {
            sent: state.flight.sent(),
            seen: state.flight.seen(),
            unseen_in_window: state.flight.unseen_in(self.window.clone()),
            latency: state.latency.clone(),
            series: state.series.clone(),
            counts: state.counts,
            refused: state.refused.clone(),
            longest_gap: Duration::from_nanos(state.gaps.longest),
            stalls: state.gaps.after.iter().map(|(_, gap)| Duration::from_nanos(*gap)).collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds this lock")
    }
}

impl Gaps {
    fn delivery(&mut self, now: u64, window: &std::ops::Range<u64>) {
        let last = self.last.replace(now).unwrap_or(0);
        let (from, to) = (last.max(window.start), now.min(window.end));
        self.longest = self.longest.max(to.saturating_sub(from));
        for (at, longest) in &mut self.after {
            if now > *at {
                *longest = (*longest).max(now - last);
            }
        }
    }
}

/// Nanoseconds; a run is shorter than five centuries.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX >> 1)
}
