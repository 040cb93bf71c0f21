//! How fast the simulator is: `cargo bench -p sbft-sim`.
//!
//! Schedules of four replicas, one of them Byzantine, about four seconds of simulated time and a
//! hundred envelopes, on one thread. Prints schedules and events per second and core, in time on the
//! core: that others run meanwhile counts only as far as they share its caches.
//!
//! The goal is three hundred schedules and half a million events. That is 1,700 events for each
//! schedule, as there are when clients send in bursts and blocks fill up. One by one, so that each
//! envelope is a block of its own, a schedule has three times as many. Both are measured; the first
//! fails below a hundred schedules, so that nobody slows it down unseen.

use std::fs;
use std::time::{Duration, Instant};

use sbft::types::{Place, Time};
use sbft_sim::byzantine::AttackSpec;
use sbft_sim::network::{Conditions, Delay};
use sbft_sim::plan::{Plan, Show, Submission};
use sbft_sim::world::Settings;

/// As the program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What the liar does, in turn.
const ATTACKS: [&str; 4] = ["equivocate-halves", "selective-vote", "stale-vc", "withhold-commit"];
/// Virtual time until the network heals and liars go on; runs end soon after.
const CHAOS: Duration = Duration::from_millis(3800);
const ENVELOPES: u64 = 100;
/// Below this many schedules a second, something is wrong.
const FLOOR: f64 = 100.0;

/// The schedule of a seed, whose clients send so many envelopes at a time.
fn plan(seed: u64, burst: u64) -> Plan {
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
            at: Time(Duration::from_millis(5 + index / burst * burst * 37)),
            place: Place((index / burst % 4) as u16),
            index,
            variant: 0,
        })
        .collect();
    plan
}

/// Time that this thread has had on a core; wall time where the system does not tell.
struct Watch {
    begun: Instant,
    on_core: Option<Duration>,
}

impl Watch {
    fn on_core() -> Option<Duration> {
        let stat = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        stat.split(' ').next()?.parse().ok().map(Duration::from_nanos)
    }

    fn start() -> Self {
        Self { begun: Instant::now(), on_core: Self::on_core() }
    }

    fn seconds(&self) -> f64 {
        let on_core = self.on_core.and_then(|before| Some(Self::on_core()? - before));
        on_core.unwrap_or_else(|| self.begun.elapsed()).as_secs_f64()
    }
}

/// Schedules for at least this long; how many of them there are in a second.
fn measure(what: &str, burst: u64, least: Duration) -> f64 {
    let (mut events, mut virtual_time, mut schedules, mut blocks) = (0, Duration::ZERO, 0_u64, 0);
    plan(u64::MAX, burst).run(Show::default()); // reads the channel's configuration
    let watch = Watch::start();
    while schedules == 0 || watch.begun.elapsed() < least {
        let report = plan(schedules, burst).run(Show::default());
        assert_eq!(report.violation, None, "schedule {schedules}");
        events += report.events;
        blocks += report.seen.blocks;
        virtual_time += report.ended.0;
        schedules += 1;
    }
    let seconds = watch.seconds();
    let (per_second, each) = (schedules as f64 / seconds, 1.0 / schedules as f64);
    println!("{what}");
    println!("  schedules per second and core: {per_second:.0}");
    println!("  events per second and core:    {:.0}", events as f64 / seconds);
    println!(
        "  {schedules} schedules of {:.1} s, {:.0} events and {:.0} blocks each; {:.2} simulated hours a second",
        virtual_time.as_secs_f64() * each,
        events as f64 * each,
        blocks as f64 * each,
        virtual_time.as_secs_f64() / 3600.0 / seconds
    );
    per_second
}

fn main() {
    // `cargo test --benches` runs this too, without optimisation: one schedule shows that it works.
    let bench = std::env::args().any(|argument| argument == "--bench");
    let least = if bench { Duration::from_secs(5) } else { Duration::ZERO };
    let per_second = measure("a hundred envelopes, twenty-five at a time", 25, least);
    measure("a hundred envelopes, one by one", 1, least);
    assert!(
        !bench || per_second >= FLOOR,
        "{per_second:.0} schedules a second, and at least {FLOOR} are needed"
    );
}
