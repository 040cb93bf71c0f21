//! What the network and the clocks do in a drawn schedule.

use std::time::Duration;

use sbft::types::{Number, Time, View};

use super::{Dice, millis, name, pairs};
use crate::draw::Purpose;
use crate::network::{Conditions, Delay, Kind, Partition, Regions, Rule, Shape};
use crate::swarm::profile::{Knob, Profile};
use crate::world::Fault;

/// Twins have bodies beyond the n replicas; what happens to all of them names them too.
const EVERYBODY: u64 = u64::MAX;

impl Dice {
    /// How packets fare until the network heals.
    pub(super) fn conditions(&self, profile: &Profile) -> Conditions {
        // A link that fits few bytes would hold all that waits for it for ever.
        let bandwidth = profile.value(Knob::Bandwidth).map(|bytes| bytes as u64);
        let queue = profile.value(Knob::Queue).map(|packets| packets as usize);
        Conditions {
            delay: self.delay("delay", 0, profile),
            tail_chance: profile.strength(Knob::Tail),
            tail: self.millis("tail length", 0, 20, 800),
            loss: profile.strength(Knob::Loss),
            duplicate: profile.strength(Knob::Duplicate),
            phase_cut: profile.strength(Knob::PhaseCut),
            reorder: profile.strength(Knob::Reorder),
            reorder_by: self.millis("reorder by", 0, 5, 300),
            fifo: profile.has(Knob::Fifo),
            bandwidth,
            queue: queue.or_else(|| bandwidth.map(|_| 200)),
            clog: profile.strength(Knob::Clog),
            clog_for: self.millis("clog for", 0, 50, 600),
        }
    }

    fn delay(&self, what: &str, which: u64, profile: &Profile) -> Delay {
        let least = millis(profile.strength(Knob::LeastDelay));
        let mean = millis(profile.strength(Knob::MeanDelay));
        if !profile.has(Knob::OddDelays) {
            return Delay::Exponential { least, mean };
        }
        let most = self.millis(what, which * 8 + 1, 200, 2000);
        match self.below(what, which * 8, 7) {
            0 => Delay::Lan,
            1 => Delay::Metro,
            2 => Delay::Wan(Regions {
                of: (0..16).map(|body| self.below("region", body, 5) as usize).collect(),
                ..Regions::world()
            }),
            3 => Delay::Lognormal {
                median: mean,
                p99: mean * (2 + self.below(what, which * 8 + 2, 20) as u32),
            },
            4 => Delay::Uniform { least, most: least + mean * 4 },
            5 => Delay::Constant(least + mean),
            _ => Delay::Pareto { least: least + mean / 4, shape: 1.2, most },
        }
    }

    /// Partitions of every shape and rhythm.
    pub(super) fn partitions(&self, n: usize, heal_at: Time, profile: &Profile) -> Vec<(Time, Fault)> {
        let mut faults = Vec::new();
        if n == 1 {
            return faults;
        }
        for which in 0..profile.count(Knob::Partitions) {
            let at = Time(self.millis("partition at", which, 0, 3000));
            if at >= heal_at {
                continue;
            }
            let flap = |nth| self.millis("flap", which * 2 + nth, 5, 300);
            let partition = Partition {
                shape: self.shape(n, which),
                flapping: self.chance("flapping", which, 0.25).then(|| (flap(0), flap(1))),
                lasts: self.millis("partition for", which, 20, 1200),
                noticed: self.chance("noticed", which, 0.3),
            };
            faults.push((at, Fault::Partition(Box::new(partition))));
        }
        faults
    }

    fn shape(&self, n: usize, which: u64) -> Shape {
        let one = self.below("isolated", which, n as u64) as usize;
        // Twins have the bodies above n; a mask draws for them too.
        let side = self.draws.bits(Purpose::Plan, &[name("side"), which]);
        let one_way = self.chance("one way", which, 0.4);
        match self.below("partition kind", which, 8) {
            0 | 1 if one_way => Shape::OneWay { from: 1 << one, to: EVERYBODY },
            0 | 1 => Shape::Isolate(1 << one),
            2..=4 => Shape::Split { groups: vec![side, !side], one_way },
            5 => Shape::Bridge { over: one, left: side },
            6 => Shape::Ring,
            _ => Shape::Swizzle(side),
        }
    }

    /// Cuts by phase that are as explicit as other faults: one kind of message at one view and
    /// number reaches only some of the replicas, from everybody or from one of them. (The second
    /// bodies of twins hear all of it: a plan whose twins are taken away must still make sense.)
    pub(super) fn cuts(&self, bodies: usize, profile: &Profile) -> Vec<Rule> {
        const KINDS: [Kind; 5] =
            [Kind::PrePrepare, Kind::Prepare, Kind::Commit, Kind::ViewChange, Kind::NewView];
        let cut = |which| {
            let kind = KINDS[self.below("cut kind", which, 5) as usize];
            let votes = matches!(kind, Kind::PrePrepare | Kind::Prepare | Kind::Commit);
            let view = self.below("cut view", which, 3) + u64::from(!votes);
            let number = votes.then(|| Number(1 + self.below("cut number", which, 8)));
            let from = self
                .chance("cut from", which, 0.4)
                .then(|| vec![self.below("cut sender", which, bodies as u64) as usize]);
            let reached = self.draws.bits(Purpose::Plan, &[name("cut reaches"), which]);
            let only_to: Vec<usize> = (0..bodies).filter(|body| reached >> body & 1 == 1).collect();
            Rule::reaching_only(kind, Some(View(view)), number, from, &only_to, bodies)
        };
        (0..profile.count(Knob::Cuts)).map(cut).collect()
    }

    /// Connections that break, links that clog, links that fare differently from all others.
    pub(super) fn links(&self, n: usize, heal_at: Time, profile: &Profile) -> Vec<(Time, Fault)> {
        let mut faults = Vec::new();
        let links = pairs(n).count() as u64;
        if links == 0 {
            return faults;
        }
        for which in 0..profile.count(Knob::Resets) {
            let at = Time(self.millis("reset at", which, 10, 3000)).min(heal_at);
            let down = self.millis("reset for", which, 1, 150);
            let link = self.below("reset link", which, links) as usize;
            let (one, other) = pairs(n).nth(link).expect("drawn below their number");
            faults.push((at, Fault::Reset(one, other, down)));
        }
        for which in 0..profile.count(Knob::SlowLinks) {
            let body = 1 << self.below("slow body", which, n as u64);
            let others = self.draws.bits(Purpose::Plan, &[name("slow others"), which]);
            let at = Time(self.millis("slow at", which, 0, 2500)).min(heal_at);
            let conditions = Conditions {
                loss: if self.chance("slow loses", which, 0.5) { 0.2 } else { 0.0 },
                ..Conditions::clean(Delay::Exponential {
                    least: self.millis("slow least", which, 1, 150),
                    mean: self.millis("slow mean", which, 1, 150),
                })
            };
            let (from, to) =
                if self.chance("slow hears", which, 0.5) { (others, body) } else { (body, others) };
            faults.push((at, Fault::LinkConditions(from, to, Some(Box::new(conditions)))));
        }
        faults
    }

    /// Clocks that run wrong, wall time that jumps, replicas that stand still.
    pub(super) fn clocks(&self, n: usize, heal_at: Time, profile: &Profile) -> Vec<(Time, Fault)> {
        let mut faults = Vec::new();
        let body = |what: &str, which| self.below(what, which, n as u64) as usize;
        if let Some(most) = profile.value(Knob::ClockRate) {
            for which in 0..n {
                let ppm = self.below("clock rate", which as u64, 2 * most as u64 + 1) as i64 - most as i64;
                faults.push((Time::ZERO, Fault::ClockRate(which, ppm as i32)));
            }
        }
        if let Some(most) = profile.value(Knob::ClockDrift) {
            let every = self.millis("drift every", 0, 20, 500);
            faults.push((Time::ZERO, Fault::ClockDrift(body("drift body", 0), most as u32, every)));
        }
        for which in 0..profile.count(Knob::WallJumps) {
            let at = Time(self.millis("jump at", which, 0, 3000)).min(heal_at);
            // Hours, and either way.
            let millis = self.below("jump by", which, 20_000_000) as i64 - 10_000_000;
            faults.push((at, Fault::WallJump(body("jump body", which), millis)));
        }
        for which in 0..profile.count(Knob::Pauses) {
            let at = Time(self.millis("pause at", which, 10, 3000)).min(heal_at);
            // Short ones as often as long ones.
            let longest = [60, 300, 1500, 3000][self.below("pause scale", which, 4) as usize];
            let lasts = self.millis("pause for", which, 10, longest);
            faults.push((at, Fault::Pause(body("pause body", which), lasts)));
        }
        faults
    }

    /// How much longer timers may take on a clock that is slow.
    pub(super) fn with_slow_clocks(&self, patience: Duration, profile: &Profile) -> Duration {
        let off = profile.strength(Knob::ClockRate).max(profile.strength(Knob::ClockDrift)) as u32;
        // One in 1 - x is less than 1 + 2x for all x below a half.
        patience + patience * (2 * off) / 1_000_000
    }
}
