//! Processors and who waits for them.
//!
//! A *set* is the processors of one machine. Work of one *lane* (a task, a thread) is done one piece
//! after the other, in order; a lane that has work competes with all others of its set for a
//! processor, first come first served, and gives it up after a time slice if somebody waits. Work
//! without a lane can be done by as many processors as there are.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// What is done one after the other: whose it is, which kind, and for which peer.
pub(super) type Lane = (usize, u8, usize);

#[derive(Debug)]
struct Job<J> {
    set: usize,
    lane: Option<Lane>,
    left: Duration,
    then: J,
}

#[derive(Debug)]
struct Set {
    idle: usize,
    ready: VecDeque<usize>,
    busy: Duration,
}

/// All processors of a run. `J` says what follows when work is done.
#[derive(Debug)]
pub(super) struct Cores<J> {
    slice: Duration,
    sets: Vec<Set>,
    /// Lanes that have work, and what waits in each behind it.
    lanes: BTreeMap<Lane, VecDeque<usize>>,
    jobs: Vec<Option<Job<J>>>,
    free: Vec<usize>,
    /// Slices that have begun and nobody was told of: how long each lasts, and of which job. When it
    /// is over, [`Cores::over`] wants to know.
    pub(super) begun: Vec<(Duration, usize)>,
}

impl<J> Cores<J> {
    /// Sets of so many processors each; no job keeps one for longer than `slice` while others wait.
    pub(super) fn new(processors: &[usize], slice: Duration) -> Self {
        let set = |count: &usize| Set { idle: (*count).max(1), ready: VecDeque::new(), busy: Duration::ZERO };
        Self {
            slice: slice.max(Duration::from_nanos(1)),
            sets: processors.iter().map(set).collect(),
            lanes: BTreeMap::new(),
            jobs: Vec::new(),
            free: Vec::new(),
            begun: Vec::new(),
        }
    }

    /// The lane has no work.
    pub(super) fn is_idle(&self, lane: &Lane) -> bool {
        !self.lanes.contains_key(lane)
    }

    /// One of a body's lanes of these kinds has work.
    pub(super) fn is_busy(&self, body: usize, kinds: &[u8]) -> bool {
        self.lanes.range((body, 0, 0)..(body + 1, 0, 0)).any(|((_, kind, _), _)| kinds.contains(kind))
    }

    /// A processor of the set has nothing to do.
    pub(super) fn has_idle(&self, set: usize) -> bool {
        self.sets[set].idle > 0
    }

    /// Gives work to a set.
    pub(super) fn submit(&mut self, set: usize, lane: Option<Lane>, work: Duration, then: J) {
        let job = Job { set, lane, left: work, then };
        let slot = self.free.pop().unwrap_or_else(|| {
            self.jobs.push(None);
            self.jobs.len() - 1
        });
        self.jobs[slot] = Some(job);
        if let Some(lane) = lane {
            if let Some(waiting) = self.lanes.get_mut(&lane) {
                return waiting.push_back(slot);
            }
            self.lanes.insert(lane, VecDeque::new());
        }
        if self.sets[set].idle > 0 {
            self.sets[set].idle -= 1;
            self.run(slot);
        } else {
            self.sets[set].ready.push_back(slot);
        }
    }

    /// The slice of the job in this slot is over; what follows if the job is done.
    pub(super) fn over(&mut self, slot: usize) -> Option<J> {
        let (set, done) = self.jobs[slot].as_ref().map(|job| (job.set, job.left.is_zero()))?;
        if !done {
            match self.sets[set].ready.pop_front() {
                None => self.run(slot),
                Some(next) => {
                    self.sets[set].ready.push_back(slot);
                    self.run(next);
                }
            }
            return None;
        }
        let job = self.jobs[slot].take()?;
        self.free.push(slot);
        if let Some(lane) = job.lane {
            match self.lanes.get_mut(&lane).and_then(VecDeque::pop_front) {
                Some(next) => self.sets[set].ready.push_back(next),
                None => drop(self.lanes.remove(&lane)),
            }
        }
        match self.sets[set].ready.pop_front() {
            Some(next) => self.run(next),
            None => self.sets[set].idle += 1,
        }
        Some(job.then)
    }

    /// Processor time that a set has given so far, slices that have begun included.
    pub(super) fn busy(&self, set: usize) -> Duration {
        self.sets[set].busy
    }

    fn run(&mut self, slot: usize) {
        let Some(job) = self.jobs[slot].as_mut() else { return };
        let piece = job.left.min(self.slice);
        job.left -= piece;
        self.sets[job.set].busy += piece;
        self.begun.push((piece, slot));
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;

    use super::*;

    /// Runs arrivals (when, lane, work) to the end; gives when each was done, in nanoseconds, and the
    /// processor time that was used.
    fn run(processors: usize, slice: u64, arrivals: &[(u64, Option<Lane>, u64)]) -> (Vec<u64>, u64) {
        let mut cores = Cores::new(&[processors], Duration::from_nanos(slice));
        let mut events: BinaryHeap<Reverse<(u64, usize, bool, usize)>> = BinaryHeap::new();
        let mut order = 0;
        for (index, (at, ..)) in arrivals.iter().enumerate() {
            events.push(Reverse((*at, order, true, index)));
            order += 1;
        }
        let mut done = vec![0; arrivals.len()];
        while let Some(Reverse((now, _, arrives, what))) = events.pop() {
            if arrives {
                let (_, lane, work) = arrivals[what];
                cores.submit(0, lane, Duration::from_nanos(work), what);
            } else if let Some(index) = cores.over(what) {
                done[index] = now;
            }
            for (lasts, slot) in cores.begun.drain(..) {
                events.push(Reverse((now + lasts.as_nanos() as u64, order, false, slot)));
                order += 1;
            }
        }
        (done, cores.busy(0).as_nanos() as u64)
    }

    #[test]
    fn processors_are_as_busy_as_rate_times_work_says() {
        // One unit of work of 3 arrives each 2, for two processors: three quarters of them are used.
        let arrivals: Vec<_> = (0..10_000).map(|index| (index * 2, None, 3)).collect();
        let (done, busy) = run(2, 1_000, &arrivals);
        assert_eq!(busy, 30_000);
        let end = *done.iter().max().expect("not empty");
        let utilisation = busy as f64 / (2 * end) as f64;
        assert!((utilisation - 0.75).abs() < 0.001, "{utilisation}");
        // Nobody waits below saturation when all arrive evenly.
        assert!(done.iter().zip(&arrivals).all(|(done, (at, ..))| done - at == 3));
    }

    #[test]
    fn the_work_that_waits_is_the_arrival_rate_times_the_time_it_waits() {
        // Little's law on one processor at 90% with arrivals by a fixed, uneven pattern.
        let mut at = 0;
        let arrivals: Vec<_> = (0..20_000u64)
            .map(|index| {
                at += (index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) % 2_000;
                (at, None, 900)
            })
            .collect();
        let (done, busy) = run(1, 1 << 40, &arrivals);
        let end = *done.iter().max().expect("not empty");
        assert!((busy as f64 / end as f64 - 0.9).abs() < 0.02);
        let waits: u64 = done.iter().zip(&arrivals).map(|(done, (at, ..))| done - at).sum();
        // The time integral of the number in the system, counted another way: arrivals minus departures.
        let mut steps: Vec<(u64, i64)> = arrivals.iter().map(|(at, ..)| (*at, 1)).collect();
        steps.extend(done.iter().map(|done| (*done, -1)));
        steps.sort_unstable();
        let (mut inside, mut last, mut area) = (0i64, 0, 0i64);
        for (at, step) in steps {
            area += inside * (at - last) as i64;
            (inside, last) = (inside + step, at);
        }
        assert_eq!(area as u64, waits);
        assert!(waits / 20_000 > 900, "somebody waits at 90%");
    }

    #[test]
    fn a_lane_does_one_thing_after_the_other_however_many_processors_there_are() {
        let lane = Some((0, 1, 0));
        let (done, _) = run(4, 1_000, &[(0, lane, 10), (0, lane, 10), (0, None, 10), (0, lane, 10)]);
        assert_eq!(done, [10, 20, 10, 30]);
    }

    #[test]
    fn a_long_job_gives_its_processor_up_when_its_slice_is_over_and_somebody_waits() {
        let (done, busy) = run(1, 5, &[(0, None, 20), (1, None, 2)]);
        assert_eq!(done, [22, 7]);
        assert_eq!(busy, 22);
    }
}
