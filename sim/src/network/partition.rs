//! Partitions: who cannot hear whom, for how long, and in what rhythm.

use std::time::Duration;

use crate::draw::{Draws, Purpose};

/// Who cannot hear whom. Sets of bodies are masks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Groups that cannot hear each other. Who is in no group hears all and is heard by all.
    Split {
        /// The groups.
        groups: Vec<u64>,
        /// Later groups do not hear earlier ones, but earlier ones hear later ones.
        one_way: bool,
    },
    /// Each of these bodies is alone.
    Isolate(u64),
    /// What these say does not reach those; the other direction works.
    OneWay {
        /// Who is not heard.
        from: u64,
        /// Who does not hear.
        to: u64,
    },
    /// Two sides that cannot hear each other, and one body that hears and is heard by both.
    Bridge {
        /// The body that sees both sides.
        over: usize,
        /// One side; everybody else is the other.
        left: u64,
    },
    /// Each body hears only its two neighbours in the ring of bodies.
    Ring,
    /// These bodies are cut off one after the other, in a drawn order and at drawn times, and
    /// come back one after the other in another order.
    Swizzle(u64),
}

/// A partition: a shape, its rhythm and its length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Who cannot hear whom.
    pub shape: Shape,
    /// On for this long, then off for that long, again and again; none means on all the time.
    pub flapping: Option<(Duration, Duration)>,
    /// How long until it is over.
    pub lasts: Duration,
    /// Both ends of a link that carries nothing either way notice that it is down.
    pub noticed: bool,
}

/// What a partition cuts from one moment to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// `cut[from]` has bit `to` set where nothing gets through.
    pub cut: Vec<u64>,
    /// How long after the partition's start the next turn comes; none when it is over.
    pub next: Option<Duration>,
}

impl Partition {
    /// A steady partition that nobody notices.
    pub fn steady(shape: Shape, lasts: Duration) -> Self {
        Self { shape, flapping: None, lasts, noticed: false }
    }

    /// What it cuts `since` its start. `key` tells it from other partitions of the run.
    pub fn turn(&self, draws: Draws, key: u64, bodies: usize, since: Duration) -> Turn {
        if since >= self.lasts {
            return Turn { cut: vec![0; bodies], next: None };
        }
        let (on, change) = match self.flapping {
            None => (true, self.lasts),
            Some((on, off)) => {
                // A rhythm faster than a millisecond would only cost events.
                let (on, off) = (on.max(Duration::from_millis(1)), off.max(Duration::from_millis(1)));
                let period = on + off;
                let round = (since.as_nanos() / period.as_nanos()) as u32;
                let within = since - period * round;
                if within < on { (true, period * round + on) } else { (false, period * (round + 1)) }
            }
        };
        let mut change = change;
        let shape = match (&self.shape, on) {
            (_, false) => Shape::Isolate(0),
            (Shape::Swizzle(bodies), true) => {
                let (alone, moment) = swizzle(draws, key, *bodies, self.lasts, since);
                change = change.min(moment);
                Shape::Isolate(alone)
            }
            (shape, true) => shape.clone(),
        };
        Turn { cut: shape.cut(bodies), next: Some(change.min(self.lasts)) }
    }
}

impl Shape {
    /// For each body the mask of those that what it says does not reach.
    pub fn cut(&self, bodies: usize) -> Vec<u64> {
        let mut cut = vec![0; bodies];
        for (from, cut) in cut.iter_mut().enumerate() {
            for to in (0..bodies).filter(|to| *to != from) {
                *cut |= u64::from(self.separates(from, to, bodies)) << to;
            }
        }
        cut
    }

    fn separates(&self, from: usize, to: usize, bodies: usize) -> bool {
        let within = |mask: u64, body: usize| mask >> body & 1 == 1;
        match self {
            Self::Split { groups, one_way } => {
                let group = |body| groups.iter().position(|mask| within(*mask, body));
                match (group(from), group(to)) {
                    (Some(one), Some(other)) => {
                        if *one_way {
                            one < other
                        } else {
                            one != other
                        }
                    }
                    _ => false,
                }
            }
            Self::Isolate(alone) | Self::Swizzle(alone) => within(*alone, from) || within(*alone, to),
            Self::OneWay { from: dumb, to: deaf } => within(*dumb, from) && within(*deaf, to),
            Self::Bridge { over, left } => {
                from != *over && to != *over && within(*left, from) != within(*left, to)
            }
            Self::Ring => {
                let apart = from.abs_diff(to);
                apart != 1 && apart != bodies - 1
            }
        }
    }
}

/// Who is cut off `since` the start, and when that changes next.
fn swizzle(draws: Draws, key: u64, bodies: u64, lasts: Duration, since: Duration) -> (u64, Duration) {
    let half = lasts / 2;
    let (mut alone, mut change) = (0, lasts);
    for body in (0..64).filter(|body| bodies >> body & 1 == 1) {
        // Leaves in the first half and comes back in the second.
        let leaves = draws.duration(Purpose::Swizzle, &[key, body, 0], Duration::ZERO, half);
        let returns = draws.duration(Purpose::Swizzle, &[key, body, 1], half, lasts);
        if leaves <= since && since < returns {
            alone |= 1 << body;
        }
        for moment in [leaves, returns] {
            if moment > since {
                change = change.min(moment);
            }
        }
    }
    (alone, change)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Who hears whom, as a row of letters for each sender.
    fn heard(cut: &[u64]) -> Vec<String> {
        let row = |from: usize| {
            (0..cut.len()).map(|to| if cut[from] >> to & 1 == 1 { '.' } else { 'x' }).collect::<String>()
        };
        (0..cut.len()).map(row).collect()
    }

    #[test]
    fn a_split_separates_groups_and_who_is_in_none_hears_all() {
        let split = Shape::Split { groups: vec![0b0011, 0b0100], one_way: false };
        assert_eq!(heard(&split.cut(4)), ["xx.x", "xx.x", "..xx", "xxxx"]);
        let one_way = Shape::Split { groups: vec![0b0011, 0b1100], one_way: true };
        assert_eq!(heard(&one_way.cut(4)), ["xx..", "xx..", "xxxx", "xxxx"]);
    }

    #[test]
    fn isolated_bodies_hear_nobody_and_nobody_hears_them() {
        assert_eq!(heard(&Shape::Isolate(0b0001).cut(4)), ["x...", ".xxx", ".xxx", ".xxx"]);
        assert_eq!(heard(&Shape::Isolate(0b0101).cut(3)), ["x..", ".x.", "..x"]);
    }

    #[test]
    fn one_way_cuts_the_one_direction_only() {
        let shape = Shape::OneWay { from: 0b0001, to: 0b1100 };
        assert_eq!(heard(&shape.cut(4)), ["xx..", "xxxx", "xxxx", "xxxx"]);
    }

    #[test]
    fn the_body_on_the_bridge_hears_both_sides() {
        let shape = Shape::Bridge { over: 2, left: 0b0011 };
        assert_eq!(heard(&shape.cut(5)), ["xxx..", "xxx..", "xxxxx", "..xxx", "..xxx"]);
    }

    #[test]
    fn in_a_ring_only_neighbours_hear_each_other() {
        assert_eq!(heard(&Shape::Ring.cut(5)), ["xx..x", "xxx..", ".xxx.", "..xxx", "x..xx"]);
    }

    #[test]
    fn flapping_goes_on_and_off_until_the_partition_is_over() {
        let partition =
            Partition { flapping: Some((ms(10), ms(30))), ..Partition::steady(Shape::Isolate(1), ms(85)) };
        let mut seen = Vec::new();
        let mut at = Some(Duration::ZERO);
        while let Some(since) = at {
            let turn = partition.turn(Draws::new(1), 0, 3, since);
            seen.push((since.as_millis(), turn.cut[0] != 0));
            at = turn.next;
        }
        assert_eq!(seen, [(0, true), (10, false), (40, true), (50, false), (80, true), (85, false)]);
    }

    #[test]
    fn a_swizzle_takes_each_body_away_once_and_brings_it_back() {
        let partition = Partition::steady(Shape::Swizzle(0b1110), ms(1000));
        let (mut at, mut before) = (Some(Duration::ZERO), 0u64);
        let (mut left, mut returned) = (Vec::new(), Vec::new());
        while let Some(since) = at {
            let turn = partition.turn(Draws::new(4), 7, 5, since);
            let alone = (1..4).fold(0, |alone, body| alone | (turn.cut[body] & 1) << body);
            for body in 1..4 {
                match (before >> body & 1, alone >> body & 1) {
                    (0, 1) => left.push(body),
                    (1, 0) => returned.push(body),
                    _ => {}
                }
            }
            before = alone;
            at = turn.next;
        }
        assert_eq!(before, 0, "all are back at the end");
        assert_ne!(left, returned, "another order (of this seed)");
        left.sort_unstable();
        returned.sort_unstable();
        assert_eq!((left, returned), (vec![1, 2, 3], vec![1, 2, 3]));
    }
}
