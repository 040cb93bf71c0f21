//! `sbft-sim twins`: every schedule of a small world with twins in it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use clap::Args;
use sbft::plant::Plant;
use sbft_sim::draw::mix;
use sbft_sim::plan::{Plan, Report, Show};
use sbft_sim::twins::{MOST_ROUNDS, Scope};
use sbft_sim::violation::Violation;
use serde_json::json;

use super::output::Output;
use super::parallel::{each, threads};
use super::progress::Line;
use super::swarm::grouped;
use super::{Exit, Outcome, complain_of, say};

/// Schedules without `--sample` and `--exhaustive`.
const SAMPLE: u64 = 1000;

/// Runs every schedule of a small world: four replicas, one of which has a twin with its key.
///
/// By views: in each of the first views the network falls into two sides in every possible way,
/// with the twin at every place. By phases: the pre-prepares, prepares, commits and view-changes of
/// view 0 each reach every subset of the replicas.
#[derive(Args)]
pub(crate) struct Twins {
    /// In so many views the network is cut in two: 64 schedules for 1, 16,384 for 3.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_ROUNDS)))]
    rounds: u32,
    /// Enumerate who hears each phase of one view instead: 65,536 schedules.
    #[arg(long, conflicts_with = "rounds")]
    phases: bool,
    /// Run every schedule.
    #[arg(long)]
    exhaustive: bool,
    /// Run so many of them, spread over all [default: 1000].
    #[arg(long, value_name = "COUNT", conflicts_with = "exhaustive",
        value_parser = clap::value_parser!(u64).range(1..))]
    sample: Option<u64>,
    /// Run this one only, and say what it does.
    #[arg(long, value_name = "INDEX", conflicts_with_all = ["exhaustive", "sample"])]
    only: Option<u64>,
    /// Take this rule away (see src/plant.rs), to see whether the checks notice.
    #[arg(long, value_parser = super::plant)]
    plant: Option<Plant>,
    /// Go on after a failure and count all that fail.
    #[arg(long)]
    keep_going: bool,
    /// How many threads; 0 for one per core.
    #[arg(long, default_value_t = 0)]
    jobs: usize,
    /// One JSON object on standard output instead of text.
    #[arg(long, conflicts_with = "golden")]
    json: bool,
    /// A progress line on standard error also where that is no terminal.
    #[arg(long)]
    progress: bool,
    #[command(flatten)]
    output: Output,
}

/// What came of all of them.
#[derive(Default)]
struct Tally {
    schedules: u64,
    events: u64,
    /// How many schedules got to each highest view.
    views: BTreeMap<u64, u64>,
    accusations: u64,
    states: BTreeSet<u64>,
    violations: u64,
    /// The failing schedule of the lowest number.
    first: Option<(u64, Violation)>,
}

impl Tally {
    fn add(&mut self, index: u64, report: Report) {
        self.schedules += 1;
        self.events += report.events;
        *self.views.entry(report.seen.highest_view).or_default() += 1;
        self.accusations += u64::from(report.seen.accusations > 0);
        self.states.extend(report.states);
        if let Some(violation) = report.violation {
            self.violations += 1;
            if self.first.as_ref().is_none_or(|(first, _)| index < *first) {
                self.first = Some((index, violation));
            }
        }
    }
}

impl Twins {
    pub(crate) fn run(self) -> Outcome {
        let scope = if self.phases { Scope::Phases } else { Scope::Views { rounds: self.rounds } };
        if let Some(index) = self.only {
            return self.run_one(scope, index);
        }
        if let Some(option) = self.output.option() {
            return Err(format!("{option} shows one schedule: say which with --only INDEX"));
        }
        let all = scope.count();
        let count = if self.exhaustive { all } else { self.sample.unwrap_or(SAMPLE).min(all) };
        let jobs = threads(self.jobs);
        let line = Line::new(self.progress);
        let began = Instant::now();
        let mut tally = Tally::default();
        each(
            count,
            jobs,
            |nth| {
                let index = chosen(nth, count, all);
                (index, self.plan(scope, index).run(Show { cover: true, ..Show::default() }))
            },
            |_, (index, report)| {
                tally.add(index, report);
                if tally.schedules.is_multiple_of(64) {
                    line.show(|| progress(&tally, count, began.elapsed()));
                }
                self.keep_going || tally.violations == 0
            },
        );
        line.end();
        let seconds = began.elapsed().as_secs_f64().max(1e-9);
        if self.json {
            say(&format!("{:#}\n", self.json(scope, &tally, seconds, jobs)))?;
        } else {
            say(&self.text(scope, &tally, seconds, jobs))?;
        }
        Ok(tally.first.map_or(Exit::Ok, |(_, violation)| Exit::of_class(violation.class)))
    }

    fn plan(&self, scope: Scope, index: u64) -> Plan {
        let plan = scope.plan(index);
        match self.plant {
            Some(plant) => plan.without_rule(plant),
            None => plan,
        }
    }

    fn run_one(&self, scope: Scope, index: u64) -> Outcome {
        if index >= scope.count() {
            return Err(format!(
                "--only {index}: there are {} schedules, numbered from 0",
                grouped(scope.count())
            ));
        }
        let mut report = self.plan(scope, index).run(self.output.show(Show::default()));
        let (does, reproduce) = (scope.describe(index), self.reproduce(scope, index));
        // A file that cannot be written must not hide what was found.
        let written = self.output.write(report.recording.as_deref_mut(), &does, &reproduce);
        let unwritten: Vec<String> = written.err().into_iter().collect();
        let exit = Exit::of(&report).with(&unwritten);
        if self.json {
            let violation = report.violation.as_ref();
            let json = json!({
                "index": index,
                "does": does,
                "ok": violation.is_none(),
                "violation": violation.map(|violation| json!({
                    "class": format!("{:?}", violation.class).to_lowercase(),
                    "check": violation.check,
                    "text": violation.text,
                    "at_us": violation.at.0.as_micros() as u64,
                })),
                "events": report.events,
                "blocks": report.seen.blocks,
                "highest_view": report.seen.highest_view,
                "hash": format!("{:016x}", report.hash),
                "plant": self.plant.map(|plant| format!("{plant:?}")),
                "reproduce": reproduce,
            });
            say(&format!("{json:#}\n"))?;
            complain_of(&unwritten);
            return Ok(exit);
        }
        let outcome = match &report.violation {
            Some(violation) => violation.to_string(),
            None => format!("ok, {} blocks, highest view {}", report.seen.blocks, report.seen.highest_view),
        };
        say(&format!("schedule {index}: {does}\n{outcome}\n"))?;
        complain_of(&unwritten);
        Ok(exit)
    }

    fn reproduce(&self, scope: Scope, index: u64) -> String {
        let scope = match scope {
            Scope::Views { rounds } => format!("--rounds {rounds}"),
            Scope::Phases => "--phases".to_owned(),
        };
        let plant = self.plant.map_or_else(String::new, |plant| format!(" --plant {plant:?}"));
        format!("cargo run --release -p sbft-sim -- twins {scope} --only {index}{plant}")
    }

    fn text(&self, scope: Scope, tally: &Tally, seconds: f64, jobs: usize) -> String {
        let mut out = String::new();
        if let Some((index, violation)) = &tally.first {
            let _ = writeln!(out, "schedule {index}: {violation}");
            let _ = writeln!(out, "what it does: {}", scope.describe(*index));
            let _ = writeln!(out, "reproduce: {}", self.reproduce(scope, *index));
        }
        let _ = writeln!(
            out,
            "{} of {} schedules in {seconds:.1} s on {jobs} threads, {} violations; {:.0} schedules/s and {:.2} M events/s per thread",
            grouped(tally.schedules),
            grouped(scope.count()),
            tally.violations,
            tally.schedules as f64 / seconds / jobs as f64,
            tally.events as f64 / seconds / jobs as f64 / 1e6,
        );
        let views: Vec<String> =
            tally.views.iter().map(|(view, count)| format!("v{view} in {}", grouped(*count))).collect();
        let _ = writeln!(
            out,
            "highest view: {}; the twins were accused in {}; {} states",
            views.join(", "),
            grouped(tally.accusations),
            grouped(tally.states.len() as u64)
        );
        out
    }

    fn json(&self, scope: Scope, tally: &Tally, seconds: f64, jobs: usize) -> serde_json::Value {
        let first = tally.first.as_ref().map(|(index, violation)| {
            json!({
                "index": index,
                "does": scope.describe(*index),
                "class": format!("{:?}", violation.class).to_lowercase(),
                "check": violation.check,
                "text": violation.text,
                "reproduce": self.reproduce(scope, *index),
            })
        });
        let views: BTreeMap<String, u64> =
            tally.views.iter().map(|(view, count)| (view.to_string(), *count)).collect();
        json!({
            "scope": if self.phases { "phases" } else { "views" },
            "rounds": if self.phases { None } else { Some(self.rounds) },
            "all": scope.count(),
            "schedules": tally.schedules,
            "violations": tally.violations,
            "schedules_per_s": tally.schedules as f64 / seconds,
            "seconds": seconds,
            "jobs": jobs,
            "events": tally.events,
            "states": tally.states.len(),
            "highest_view": views,
            "accused": tally.accusations,
            "plant": self.plant.map(|plant| format!("{plant:?}")),
            "first": first,
        })
    }
}

/// The `nth` of `count` schedules out of `all`: spread evenly, each a random one of its stretch,
/// so that no digit stays the same. The same for every run.
fn chosen(nth: u64, count: u64, all: u64) -> u64 {
    let (from, to) = (nth * all / count, (nth + 1) * all / count);
    from + mix(nth, count) % (to - from).max(1)
}

fn progress(tally: &Tally, count: u64, elapsed: Duration) -> String {
    let rate = tally.schedules as f64 / elapsed.as_secs_f64().max(1e-9);
    let left = (count - tally.schedules) as f64 / rate.max(1e-3);
    format!(
        "{} of {} schedules, {rate:.0}/s, {} states, {} violations, {:.0} s left",
        grouped(tally.schedules),
        grouped(count),
        grouped(tally.states.len() as u64),
        tally.violations,
        left
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_takes_each_schedule_at_most_once_and_all_when_it_is_all() {
        for (count, all) in [(1000, 16_384), (64, 64), (63, 64)] {
            let sample: BTreeSet<u64> = (0..count).map(|nth| chosen(nth, count, all)).collect();
            assert_eq!(sample.len() as u64, count);
            assert!(sample.last().is_some_and(|last| *last < all));
        }
    }
}
