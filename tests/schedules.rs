//! Ten thousand random schedules: links that lose, repeat and reorder, replicas that crash at
//! any output and restart, and liars. Every check of the simulator holds after every event, and
//! once the network heals everything owed commits everywhere.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use sbft_sim::plan::{Plan, Report, Show};

const SCHEDULES: u64 = 10_000;

fn sweep(seeds: std::ops::Range<u64>, run: impl Fn(u64) -> Report + Sync) -> Vec<(u64, Report)> {
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicU64::new(seeds.start);
    let reports = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let report = run(seed);
                    reports.lock().expect("no run panics outside its own guard").push((seed, report));
                }
            });
        }
    });
    let mut reports = reports.into_inner().expect("all threads are done");
    reports.sort_by_key(|(seed, _)| *seed);
    reports
}

fn failures(reports: &[(u64, Report)]) -> String {
    let lines: Vec<String> = reports
        .iter()
        .filter_map(|(seed, report)| report.violation.as_ref().map(|violation| (seed, violation)))
        .take(10)
        .map(|(seed, violation)| {
            format!(
                "seed {seed}: {violation}\n  reproduce: cargo run --release -p sbft-sim -- run --seed {seed} --print"
            )
        })
        .collect();
    lines.join("\n")
}

#[test]
fn ten_thousand_random_schedules_break_nothing() {
    let began = Instant::now();
    let reports = sweep(0..SCHEDULES, |seed| Plan::draw(seed).run(Show::default()));
    let count = |what: &dyn Fn(&Report) -> bool| reports.iter().filter(|(_, report)| what(report)).count();
    let changed = count(&|report| report.seen.highest_view > 0);
    let carried = count(&|report| report.seen.carried > 0);
    let again = count(&|report| report.seen.reproposed > 0);
    let crashed = count(&|report| report.seen.crashes > 0);
    let accused = count(&|report| report.seen.accusations > 0);
    println!(
        "{SCHEDULES} schedules in {:?}: {changed} with a view change, {carried} with certificates carried, \
         {again} with blocks proposed again, {crashed} with crashes, {accused} with accusations",
        began.elapsed()
    );
    let failed = failures(&reports);
    assert!(failed.is_empty(), "{failed}");
    // A sweep in which these things never or hardly happen would prove nothing.
    let first = &reports[..1000];
    for (what, happened) in sbft_sim::checks::SOMETIMES {
        let times = first.iter().filter(|(_, report)| happened(&report.seen)).count();
        assert!(times > 0, "in a thousand schedules never: {what}");
    }
    for (what, times) in [("view changes", changed), ("certificates", carried), ("re-proposals", again)] {
        assert!(times > 500, "{what} in {times} of {SCHEDULES} schedules only");
    }
    assert!(crashed > 2000, "crashes in {crashed} schedules only");
    assert!(accused > 100, "accusations in {accused} schedules only");
}

#[test]
fn a_seed_means_the_same_run_every_time_and_on_every_thread() {
    let hashes = || -> Vec<(u64, u64, u64)> {
        let reports = sweep(0..60, |seed| Plan::draw(seed).run(Show::default()));
        reports.into_iter().map(|(seed, report)| (seed, report.hash, report.events)).collect()
    };
    assert_eq!(hashes(), hashes());
}
