//! Random schedules: everything about a run, drawn from one seed.
//!
//! Swarm testing: each family of faults is off in about half of the runs, and its strength is
//! drawn over orders of magnitude, because a mix of everything at once hides what each part
//! alone would show. A run has a time of chaos; then the network heals, liars go on lying, and
//! within a computed bound everything that is owed must commit everywhere.

use std::time::Duration;

use sbft::types::{Place, Time};

use crate::byzantine::{AttackSpec, Strategy};
use crate::draw::{Draws, Purpose};
use crate::network::Conditions;
use crate::plan::{Plan, Submission, liveness_bound};
use crate::world::{Fault, Settings, default_config};

struct Dice {
    draws: Draws,
}

impl Dice {
    fn below(&self, what: &str, which: u64, bound: u64) -> u64 {
        self.draws.below(Purpose::Plan, &[name(what), which], bound)
    }

    fn chance(&self, what: &str, which: u64, probability: f64) -> bool {
        self.draws.chance(Purpose::Plan, &[name(what), which], probability)
    }

    fn millis(&self, what: &str, which: u64, low: u64, high: u64) -> Duration {
        let (low, high) = (Duration::from_millis(low), Duration::from_millis(high));
        self.draws.duration(Purpose::Plan, &[name(what), which], low, high)
    }

    /// Between two numbers, each order of magnitude as likely as the others.
    fn scale(&self, what: &str, low: f64, high: f64) -> f64 {
        let steps = 32;
        let step = self.below(what, 0, steps + 1);
        // The 32nd root, multiplied up: no logarithm, whose last bit differs between platforms.
        let mut ratio = high / low;
        for _ in 0..5 {
            ratio = ratio.sqrt();
        }
        (0..step).fold(low, |value, _| value * ratio)
    }
}

fn name(what: &str) -> u64 {
    what.bytes().fold(0, |hash, byte| crate::draw::mix(hash, u64::from(byte)))
}

impl Plan {
    /// The schedule of `seed`.
    pub fn draw(seed: u64) -> Self {
        let dice = Dice { draws: Draws::new(seed) };
        let n = match dice.below("n", 0, 32) {
            0 => 1,
            1 => 5,
            2 => 7,
            3 => 10,
            _ => 4,
        };
        Self::draw_with(seed, n)
    }

    /// The schedule of `seed` for `n` replicas.
    pub fn draw_with(seed: u64, n: usize) -> Self {
        let dice = Dice { draws: Draws::new(seed) };
        let heal_at = Time(dice.millis("heal", 0, 1500, 3500));
        let settings = draw_settings(&dice, seed, n);
        let (liars, twins) = draw_liars(&dice, n);
        let mut faults = draw_partitions(&dice, n, heal_at);
        let f = (n - 1) / 3;
        if dice.chance("crashes", 0, 0.3) {
            for which in 0..1 + dice.below("crashes", 1, 4) {
                let body = dice.below("crash body", which, n as u64) as usize;
                faults
                    .push((Time(dice.millis("crash at", which, 50, 3000)).min(heal_at), Fault::Crash(body)));
            }
        }
        if dice.chance("all crash", 0, 0.03) {
            let at = Time(dice.millis("all crash at", 0, 300, 3000)).min(heal_at);
            faults.extend((0..n).map(|body| (at, Fault::Crash(body))));
        }
        // A replica that lost its disk is one of the f.
        if f > liars.len() + twins.len() && dice.chance("wipe", 0, 0.15) {
            let body = (0..n as u64)
                .map(|which| dice.below("wipe body", which, n as u64) as usize)
                .find(|body| liars.iter().all(|(place, _)| place.index() != *body));
            if let Some(body) = body {
                faults.push((Time(dice.millis("wipe at", 0, 100, 3000)).min(heal_at), Fault::Wipe(body)));
            }
        }
        faults.push((heal_at, Fault::Heal));
        let submissions = draw_submissions(&dice, n, heal_at);
        let patience = liveness_bound(&settings.config);
        Self { settings, liars, twins, faults, submissions, heal_at, patience }
    }
}

fn draw_settings(dice: &Dice, seed: u64, n: usize) -> Settings {
    let mut config = default_config(n);
    config.window = [1, 2, 4, 8, 8, 16][dice.below("window", 0, 6) as usize];
    config.dedup_blocks = [3, 10, 50, 200][dice.below("dedup", 0, 4) as usize].max(config.window * 2);
    config.outstanding = 1 + dice.below("outstanding", 0, 4) as usize;
    config.max_message_count = 2 + dice.below("count", 0, 12) as u32;
    let least = dice.scale("least delay", 0.1, 10.0);
    let mean = dice.scale("mean delay", 0.1, 20.0);
    let conditions = Conditions {
        least: Duration::from_micros((least * 1000.0) as u64),
        mean: Duration::from_micros((mean * 1000.0) as u64),
        tail_chance: if dice.chance("tail", 0, 0.4) { dice.scale("tail chance", 0.002, 0.1) } else { 0.0 },
        tail: dice.millis("tail length", 0, 20, 800),
        loss: if dice.chance("loss", 0, 0.5) { dice.scale("loss rate", 0.005, 0.3) } else { 0.0 },
        duplicate: if dice.chance("dup", 0, 0.5) { dice.scale("dup rate", 0.01, 0.3) } else { 0.0 },
        phase_cut: if dice.chance("cut", 0, 0.4) { dice.scale("cut rate", 0.01, 0.5) } else { 0.0 },
    };
    let slow_disk = dice.chance("slow disk", 0, 0.2);
    Settings {
        sync: if slow_disk {
            (Duration::from_millis(1), Duration::from_millis(40))
        } else {
            (Duration::from_micros(50), Duration::from_millis(3))
        },
        block_sync: (Duration::from_millis(1), dice.millis("block sync", 0, 5, 400)),
        validate: (Duration::from_micros(20), Duration::from_millis(1)),
        restart: (Duration::from_millis(5), dice.millis("restart", 0, 20, 1200)),
        crash_rate: if dice.chance("crash rate", 0, 0.4) {
            dice.scale("crash rate", 0.0005, 0.02)
        } else {
            0.0
        },
        compact_rate: if dice.chance("compact", 0, 0.7) { 0.3 } else { 0.0 },
        cut_count: 1 + dice.below("cut count", 0, u64::from(config.max_message_count)) as usize,
        restarts: true,
        conditions,
        config,
        ..Settings::calm(seed, n)
    }
}

fn draw_liars(dice: &Dice, n: usize) -> (Vec<(Place, Vec<AttackSpec>)>, Vec<Place>) {
    let f = (n as u64 - 1) / 3;
    let (mut liars, mut twins) = (Vec::new(), Vec::new());
    if f == 0 || dice.chance("honest", 0, 0.3) {
        return (liars, twins);
    }
    let count = 1 + dice.below("liars", 0, f);
    for which in 0..count {
        // Distinct places, often those that are primary soon.
        let place = Place(((dice.below("liar", 0, n as u64) + which) % n as u64) as u16);
        if dice.chance("twins", which, 0.12) {
            twins.push(place);
            continue;
        }
        let strategies = (0..1 + dice.below("strategies", which, 3))
            .map(|nth| {
                let index = dice.below("strategy", which * 8 + nth, Strategy::NAMES.len() as u64);
                AttackSpec::named(Strategy::NAMES[index as usize].1)
            })
            .collect();
        liars.push((place, strategies));
    }
    (liars, twins)
}

fn draw_partitions(dice: &Dice, n: usize, heal_at: Time) -> Vec<(Time, Fault)> {
    let mut faults = Vec::new();
    if n == 1 || !dice.chance("partitions", 0, 0.5) {
        return faults;
    }
    // Twins have the bodies above n; a mask draws for them too.
    let all = u64::MAX;
    for which in 0..1 + dice.below("partitions", 1, 5) {
        let at = Time(dice.millis("partition at", which, 0, 3000));
        let until = at.after(dice.millis("partition for", which, 20, 1200));
        let side = match dice.below("partition kind", which, 3) {
            0 => 1 << dice.below("isolated", which, n as u64),
            _ => dice.draws.bits(Purpose::Plan, &[name("side"), which]),
        };
        let (side, rest) = (side & all, !side & all);
        let one_way = dice.chance("one way", which, 0.4);
        if at >= heal_at {
            continue;
        }
        faults.push((at, Fault::Cut(side, rest)));
        faults.push((until.min(heal_at), Fault::Mend(side, rest)));
        if !one_way {
            faults.push((at, Fault::Cut(rest, side)));
            faults.push((until.min(heal_at), Fault::Mend(rest, side)));
        }
        if dice.chance("noticed", which, 0.3) {
            for one in 0..n {
                for other in 0..one {
                    if side >> one & 1 != side >> other & 1 {
                        faults.push((at, Fault::LinkDown(one, other)));
                        faults.push((until.min(heal_at), Fault::LinkUp(one, other)));
                    }
                }
            }
        }
    }
    faults
}

fn draw_submissions(dice: &Dice, n: usize, heal_at: Time) -> Vec<Submission> {
    let count = 10 + dice.below("envelopes", 0, 90);
    let everywhere = dice.chance("everywhere", 0, 0.2);
    let mut submissions = Vec::new();
    for index in 0..count {
        // Most during the chaos, some when it is over.
        let end = heal_at.0.as_millis() as u64 + 300;
        let at = Time(dice.millis("submit at", index, 1, end));
        let first = dice.below("submit to", index, n as u64);
        let copies = if everywhere {
            n as u64
        } else if dice.chance("copies", index, 0.2) {
            1 + dice.below("copies", index + 1_000_000, n as u64)
        } else {
            1
        };
        for copy in 0..copies {
            let place = Place(((first + copy) % n as u64) as u16);
            let at = at.after(dice.millis("copy at", index * 16 + copy, 0, if copy == 0 { 0 } else { 200 }));
            let variant = u8::from(dice.chance("variant", index * 16 + copy, 0.1));
            submissions.push(Submission { at, place, index, variant });
        }
    }
    submissions
}
