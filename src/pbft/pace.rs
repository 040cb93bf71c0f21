//! How long the primary lets envelopes gather before it proposes again.
//!
//! A block costs nearly the same processor time for one envelope as for a hundred. Where processors are
//! short, blocks side by side slow each other down, and smaller ones come of it: everything takes longer for
//! more work. So what does not fill a block is proposed no sooner after the last proposal than a block took
//! lately, and while one is under way, twice that. An envelope that comes later than that waits for nothing,
//! and over long distances none waits longer than [`LONGEST`]: there a block takes its time on the way, and
//! others are to go beside it.

use std::collections::VecDeque;
use std::time::Duration;

use crate::types::{Number, Time};

/// The primary waits no longer than this; far less than what makes a primary slow.
const LONGEST: Duration = Duration::from_millis(20);
/// While a proposal is under way, it waits for this long at least: on a LAN about as long as a block takes.
const LEAST_BESIDE: Duration = Duration::from_millis(3);
/// Weight of a new sample is one in this many.
const MEMORY: u32 = 4;

/// When this replica proposed, and how long its blocks took.
#[derive(Clone, Debug, Default)]
pub(super) struct Pace {
    last: Time,
    /// Own proposals that are not committed, oldest first; the window bounds them.
    under_way: VecDeque<(Number, Time)>,
    /// Moving average, from proposal to commit, of at most [`LONGEST`] each: one that stood still is soon forgotten.
    block_time: Duration,
}

impl Pace {
    /// This replica proposed `number`.
    pub(super) fn proposed(&mut self, number: Number, now: Time) {
        self.last = now;
        while self.under_way.back().is_some_and(|(other, _)| *other >= number) {
            self.under_way.pop_back(); // of a view that ended
        }
        self.under_way.push_back((number, now));
    }

    /// Block `number` was committed, whoever proposed it.
    pub(super) fn committed(&mut self, number: Number, now: Time) {
        while let Some((other, at)) = self.under_way.front().copied()
            && other <= number
        {
            self.under_way.pop_front();
            if other == number {
                self.block_time = (self.block_time * (MEMORY - 1) + now.since(at).min(LONGEST)) / MEMORY;
            }
        }
    }

    /// The view ended: what is under way says nothing about how long a block takes.
    pub(super) fn abandon(&mut self) {
        self.under_way.clear();
    }

    /// Before this time nothing is proposed, if nothing is under way.
    pub(super) fn alone_at(&self) -> Time {
        self.last.after(self.block_time)
    }

    /// Before this time nothing is proposed beside what is under way.
    pub(super) fn beside_at(&self) -> Time {
        self.last.after((self.block_time * 2).clamp(LEAST_BESIDE, LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Time {
        Time::ZERO.after(Duration::from_millis(milliseconds))
    }

    #[test]
    fn proposals_are_as_far_apart_as_blocks_take_and_beside_another_twice_as_far() {
        let mut pace = Pace::default();
        pace.proposed(Number(1), at(100));
        assert_eq!((pace.alone_at(), pace.beside_at()), (at(100), at(103)), "nothing is known yet");
        let mut now = 100;
        for number in 1..40 {
            pace.proposed(Number(number), at(now));
            pace.committed(Number(number), at(now + 8));
            now += 10;
        }
        let last = now - 10;
        let about = |time: Time, after: u64| time > at(last + after - 1) && time <= at(last + after);
        assert!(about(pace.alone_at(), 8) && about(pace.beside_at(), 16), "{pace:?}");
    }

    #[test]
    fn far_away_replicas_get_their_proposals_side_by_side() {
        let mut pace = Pace::default();
        for number in 1..40 {
            pace.proposed(Number(number), at(1000 * number));
            pace.committed(Number(number), at(1000 * number + 300));
        }
        assert!(pace.alone_at() > at(39_019) && pace.beside_at() == at(39_020), "{pace:?}");
    }

    #[test]
    fn what_another_view_left_is_no_sample() {
        let mut pace = Pace::default();
        pace.proposed(Number(1), at(0));
        pace.proposed(Number(2), at(0));
        pace.abandon();
        pace.committed(Number(1), at(5000));
        pace.proposed(Number(2), at(5000));
        pace.committed(Number(2), at(5004));
        assert_eq!(pace.alone_at(), at(5001));
    }

    #[test]
    fn a_block_that_took_an_hour_counts_as_one_of_twenty_milliseconds() {
        let mut pace = Pace::default();
        pace.proposed(Number(1), at(0));
        pace.committed(Number(1), at(3_600_000));
        pace.proposed(Number(2), at(3_600_000));
        assert_eq!(pace.alone_at(), at(3_600_005));
    }
}
