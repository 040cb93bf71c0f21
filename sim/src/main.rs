//! `sbft-sim`: run schedules from seeds, many or one.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use sbft::pbft::plant::Plant;
use sbft_sim::plan::{Plan, Report, Show};

/// Runs sbft's protocol core in virtual time, over a network and disks that fail, with liars
/// among the replicas, and checks after every event what must never break.
///
/// Exit status: 0 all is well, 10 safety, 11 liveness, 12 storm, 13 panic, 14 not deterministic, 2 wrong usage.
#[derive(Parser)]
#[command(name = "sbft-sim", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs many random schedules on all cores and stops at the first that fails.
    Smoke {
        /// How many seeds.
        #[arg(long, default_value_t = 1000)]
        seeds: u64,
        /// The first seed.
        #[arg(long, default_value_t = 0)]
        seed_base: u64,
        /// How many threads; 0 for one per core.
        #[arg(long, default_value_t = 0)]
        jobs: usize,
        /// Replicas; drawn (mostly 4) if not given.
        #[arg(long)]
        n: Option<usize>,
        /// Take this rule away (see src/pbft/plant.rs), to see whether the checks notice.
        #[arg(long, value_parser = plant)]
        plant: Option<Plant>,
        /// Go on after a failure and list all failing seeds.
        #[arg(long)]
        keep_going: bool,
    },
    /// Runs the schedule of one seed.
    Run {
        /// The seed.
        #[arg(long)]
        seed: u64,
        /// Replicas; drawn (mostly 4) if not given.
        #[arg(long)]
        n: Option<usize>,
        /// Take this rule away (see src/pbft/plant.rs), to see whether the checks notice.
        #[arg(long, value_parser = plant)]
        plant: Option<Plant>,
        /// Print a line per event.
        #[arg(long)]
        trace: bool,
        /// Print what the schedule does before it runs.
        #[arg(long)]
        plan: bool,
        /// Run it twice and compare the hashes of all events.
        #[arg(long)]
        verify_determinism: bool,
    },
}

fn main() -> ExitCode {
    // A panic inside a run is a result like others; its text is in the report.
    std::panic::set_hook(Box::new(|_| {}));
    let code = match Arguments::parse().command {
        Command::Smoke { seeds, seed_base, jobs, n, plant, keep_going } => {
            smoke(seeds, seed_base, jobs, Choice { n, plant }, keep_going)
        }
        Command::Run { seed, n, plant, trace, plan, verify_determinism } => {
            run(seed, Choice { n, plant }, Show { print: trace, ..Show::default() }, plan, verify_determinism)
        }
    };
    ExitCode::from(code as u8)
}

/// What the command line fixes about a schedule.
#[derive(Clone, Copy)]
struct Choice {
    n: Option<usize>,
    plant: Option<Plant>,
}

impl Choice {
    fn draw(self, seed: u64) -> Plan {
        let plan = self.n.map_or_else(|| Plan::draw(seed), |n| Plan::draw_with(seed, n));
        match self.plant {
            Some(plant) => plan.without_rule(plant),
            None => plan,
        }
    }

    /// The options that make the same choice.
    fn options(self) -> String {
        let n = self.n.map_or_else(String::new, |n| format!(" --n {n}"));
        let plant = self.plant.map_or_else(String::new, |plant| format!(" --plant {plant:?}"));
        n + &plant
    }
}

fn plant(name: &str) -> Result<Plant, String> {
    let names: Vec<String> = Plant::ALL.iter().map(|plant| format!("{plant:?}")).collect();
    let known = names.iter().position(|known| known == name);
    known.map(|at| Plant::ALL[at]).ok_or_else(|| format!("one of {}", names.join(", ")))
}

fn run(seed: u64, choice: Choice, show: Show, plan_too: bool, twice: bool) -> i32 {
    let plan = choice.draw(seed);
    if plan_too {
        println!("{plan:#?}");
    }
    let report = plan.run(show);
    print_report(seed, choice, &report);
    if twice {
        let again = plan.run(Show::default());
        if again.hash != report.hash || again.events != report.events {
            println!("NOT DETERMINISTIC: hashes {:016x} and {:016x}", report.hash, again.hash);
            return 14;
        }
        println!("deterministic: the second run has the same {} events", again.events);
    }
    report.exit_code()
}

fn print_report(seed: u64, choice: Choice, report: &Report) {
    match &report.violation {
        None => println!(
            "seed {seed}: ok, {} events, {} blocks, highest view {}, settled {:?} after healing, hash {:016x}",
            report.events, report.seen.blocks, report.seen.highest_view, report.settled_after, report.hash
        ),
        Some(violation) => {
            let options = choice.options();
            println!("seed {seed}: {violation}");
            println!("reproduce: cargo run --release -p sbft-sim -- run --seed {seed}{options} --trace");
        }
    }
}

struct Tally {
    runs: AtomicU64,
    events: AtomicU64,
    millis: AtomicU64,
    blocks: AtomicU64,
    view_changes: AtomicU64,
    carried: AtomicU64,
    reproposed: AtomicU64,
    crashes: AtomicU64,
    accusations: AtomicU64,
    slowest: AtomicU64,
}

impl Tally {
    const fn new() -> Self {
        Self {
            runs: AtomicU64::new(0),
            events: AtomicU64::new(0),
            millis: AtomicU64::new(0),
            blocks: AtomicU64::new(0),
            view_changes: AtomicU64::new(0),
            carried: AtomicU64::new(0),
            reproposed: AtomicU64::new(0),
            crashes: AtomicU64::new(0),
            accusations: AtomicU64::new(0),
            slowest: AtomicU64::new(0),
        }
    }

    fn add(&self, report: &Report) {
        let flag = |yes: bool| u64::from(yes);
        self.runs.fetch_add(1, Ordering::Relaxed);
        self.events.fetch_add(report.events, Ordering::Relaxed);
        self.millis.fetch_add(report.ended.0.as_millis() as u64, Ordering::Relaxed);
        self.blocks.fetch_add(report.seen.blocks, Ordering::Relaxed);
        self.view_changes.fetch_add(flag(report.seen.highest_view > 0), Ordering::Relaxed);
        self.carried.fetch_add(flag(report.seen.carried > 0), Ordering::Relaxed);
        self.reproposed.fetch_add(flag(report.seen.reproposed > 0), Ordering::Relaxed);
        self.crashes.fetch_add(flag(report.seen.crashes > 0), Ordering::Relaxed);
        self.accusations.fetch_add(flag(report.seen.accusations > 0), Ordering::Relaxed);
        self.slowest.fetch_max(report.settled_after.as_millis() as u64, Ordering::Relaxed);
    }

    fn print(&self, elapsed: Duration, jobs: usize) {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let seconds = elapsed.as_secs_f64().max(1e-9);
        let runs = get(&self.runs);
        println!(
            "{runs} schedules in {seconds:.1} s on {jobs} threads: {:.0}/s per thread, {:.2} M events/s per thread, {:.2} cluster-hours/s",
            runs as f64 / seconds / jobs as f64,
            get(&self.events) as f64 / seconds / jobs as f64 / 1e6,
            get(&self.millis) as f64 / 3.6e6 / seconds,
        );
        println!(
            "{} blocks; runs with a view change {}, with certificates carried {}, with blocks proposed again {}, with crashes {}, with accusations {}; slowest to settle {} ms",
            get(&self.blocks),
            get(&self.view_changes),
            get(&self.carried),
            get(&self.reproposed),
            get(&self.crashes),
            get(&self.accusations),
            get(&self.slowest),
        );
    }
}

fn smoke(seeds: u64, base: u64, jobs: usize, choice: Choice, keep_going: bool) -> i32 {
    let jobs = if jobs == 0 { std::thread::available_parallelism().map_or(1, usize::from) } else { jobs };
    let (next, worst) = (AtomicU64::new(0), AtomicU64::new(0));
    let tally = Tally::new();
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let nth = next.fetch_add(1, Ordering::Relaxed);
                    if nth >= seeds || !keep_going && worst.load(Ordering::Relaxed) != 0 {
                        return;
                    }
                    let seed = base.wrapping_add(nth);
                    let report = choice.draw(seed).run(Show::default());
                    tally.add(&report);
                    if report.violation.is_some() {
                        print_report(seed, choice, &report);
                        worst.fetch_max(report.exit_code() as u64, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    tally.print(began.elapsed(), jobs);
    worst.load(Ordering::Relaxed) as i32
}
