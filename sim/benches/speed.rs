//! How fast the simulator is: `cargo bench -p sbft-sim`.
//!
//! Schedules of four replicas, one of them Byzantine, about four seconds of simulated time and a
//! hundred envelopes, on one thread. Prints schedules and events per second and core; fails below
//! a hundred schedules, so that nobody slows it down unseen.

use std::time::{Duration, Instant};

use sbft::types::{Place, Time};
use sbft_sim::byzantine::AttackSpec;
use sbft_sim::network::{Conditions, Delay};
use sbft_sim::plan::{Plan, Show, Submission};
use sbft_sim::world::Settings;

/// What the liar does, in turn.
const ATTACKS: [&str; 4] = ["equivocate-halves", "selective-vote", "stale-vc", "withhold-commit"];
/// Virtual time until the network heals and liars go on; runs end soon after.
const CHAOS: Duration = Duration::from_millis(3800);
const ENVELOPES: u64 = 100;
/// Below this many schedules a second, something is wrong.
const FLOOR: f64 = 100.0;

fn plan(seed: u64) -> Plan {
    let lan = Delay::Exponential { least: Duration::from_micros(300), mean: Duration::from_millis(1) };
    let settings = Settings {
        sync: (Duration::from_micros(100), Duration::from_millis(2)),
        validate: (Duration::from_micros(20), Duration::from_micros(200)),
        conditions: Conditions { loss: 0.01, duplicate: 0.01, ..Conditions::clean(lan) },
        compact_rate: 0.05,
        ..Settings::calm(seed, 4)
    };
    let name = ATTACKS[(seed % ATTACKS.len() as u64) as usize];
    let mut plan = Plan::quiet(settings, Time(CHAOS));
    plan.liars = vec![(Place((seed / 4 % 4) as u16), vec![AttackSpec::named(name)])];
    plan.submissions = (0..ENVELOPES)
        .map(|index| Submission {
            at: Time(Duration::from_millis(5 + index * 37)),
            place: Place((index % 4) as u16),
            index,
            variant: 0,
        })
        .collect();
    plan
}

fn main() {
    // `cargo test --benches` runs this too, without optimisation: one schedule shows that it works.
    let bench = std::env::args().any(|argument| argument == "--bench");
    let least = if bench { Duration::from_secs(5) } else { Duration::ZERO };
    let (mut events, mut virtual_time, mut schedules) = (0, Duration::ZERO, 0_u64);
    plan(u64::MAX).run(Show::default()); // reads the channel's configuration
    let begun = Instant::now();
    while schedules == 0 || begun.elapsed() < least {
        let report = plan(schedules).run(Show::default());
        assert_eq!(report.violation, None, "schedule {schedules}");
        events += report.events;
        virtual_time += report.ended.0;
        schedules += 1;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let (per_second, events_per_second) = (schedules as f64 / seconds, events as f64 / seconds);
    println!("schedules per second and core: {per_second:.0}");
    println!("events per second and core:    {events_per_second:.0}");
    println!(
        "{schedules} schedules of {:.1} s and {:.0} events each; {:.2} simulated hours a second",
        virtual_time.as_secs_f64() / schedules as f64,
        events as f64 / schedules as f64,
        virtual_time.as_secs_f64() / 3600.0 / seconds
    );
    assert!(
        !bench || per_second >= FLOOR,
        "{per_second:.0} schedules a second, and at least {FLOOR} are needed"
    );
}
