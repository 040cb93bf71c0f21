//! `sbft-sim swarm`: many random schedules.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use sbft_sim::plan::{Report, Show};
use sbft_sim::schedule::Name;

use super::run::{self, Choice};
use super::{Exit, Outcome, say};

#[derive(Args)]
pub(crate) struct Swarm {
    /// How many seeds.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0, value_parser = super::seed)]
    seed_base: u64,
    /// How many threads; 0 for one per core.
    #[arg(long, default_value_t = 0)]
    jobs: usize,
    #[command(flatten)]
    choice: Choice,
    /// Go on after a failure and list all failing seeds.
    #[arg(long)]
    keep_going: bool,
}

impl Swarm {
    pub(crate) fn run(self) -> Outcome {
        let jobs = match self.jobs {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            jobs => jobs,
        };
        let next = AtomicU64::new(0);
        let failures: Mutex<Vec<(u64, Report)>> = Mutex::new(Vec::new());
        let failed = || failures.lock().expect("no run panics outside its own guard");
        let tally = Tally::new();
        let began = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| {
                    loop {
                        let nth = next.fetch_add(1, Ordering::Relaxed);
                        if nth >= self.seeds || !self.keep_going && !failed().is_empty() {
                            return;
                        }
                        let seed = self.seed_base.wrapping_add(nth);
                        let report = self.choice.plan(Name::of(seed)).run(Show::default());
                        tally.add(&report);
                        if report.violation.is_some() {
                            failed().push((seed, report));
                        }
                    }
                });
            }
        });
        let failures = failures.into_inner().expect("all threads are done");
        for (seed, report) in &failures {
            say(&run::text(&Name::of(*seed), &self.choice, report))?;
        }
        say(&tally.text(began.elapsed(), jobs))?;
        Ok(failures.iter().map(|(_, report)| Exit::of(report)).max().unwrap_or(Exit::Ok))
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

    fn text(&self, elapsed: Duration, jobs: usize) -> String {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let seconds = elapsed.as_secs_f64().max(1e-9);
        let runs = get(&self.runs);
        format!(
            "{runs} schedules in {seconds:.1} s on {jobs} threads: {:.0}/s per thread, {:.2} M events/s per thread, {:.2} cluster-hours/s\n\
             {} blocks; runs with a view change {}, with certificates carried {}, with blocks proposed again {}, with crashes {}, with accusations {}; slowest to settle {} ms\n",
            runs as f64 / seconds / jobs as f64,
            get(&self.events) as f64 / seconds / jobs as f64 / 1e6,
            get(&self.millis) as f64 / 3.6e6 / seconds,
            get(&self.blocks),
            get(&self.view_changes),
            get(&self.carried),
            get(&self.reproposed),
            get(&self.crashes),
            get(&self.accusations),
            get(&self.slowest),
        )
    }
}
