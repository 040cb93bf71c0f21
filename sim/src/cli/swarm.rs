//! `sbft-sim swarm`: many random schedules, for a time or a number of seeds.

use std::collections::hash_map::RandomState;
use std::fmt::Write as _;
use std::hash::{BuildHasher, Hasher};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use sbft_sim::draw::mix;
use sbft_sim::swarm::{Failure, Limit, MOST_STATES, Progress, Search};
use serde_json::json;

use super::progress::Line;
use super::run::{Choice, told};
use super::subject::Run;
use super::{Exit, Outcome, complain_of, say};

/// Schedules without `--seeds` and `--time`.
const SCHEDULES: u64 = 1000;

/// Runs many random schedules and stops at the first that fails.
///
/// The same seed base gives the same schedules, whatever the number of threads. Half of them are
/// mutations of schedules that reached new states; each failure names the one command that runs
/// it again.
#[derive(Args)]
pub(crate) struct Swarm {
    /// How many schedules [default: 1000].
    #[arg(long, value_name = "COUNT", conflicts_with = "time", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: Option<u64>,
    /// How long, such as 90s, 10m or 8h.
    #[arg(long, value_parser = super::duration)]
    time: Option<Duration>,
    /// How many threads; 0 for one per core.
    #[arg(long, default_value_t = 0)]
    jobs: usize,
    /// The first seed: a number, a git hash of 40 digits, or `fresh` for one that nobody had yet.
    #[arg(long, default_value = "0", value_parser = seed_base)]
    seed_base: u64,
    #[command(flatten)]
    choice: Choice,
    /// Go on after a failure and list all that fail.
    #[arg(long)]
    keep_going: bool,
    /// Run every so many-th schedule twice and compare; 0 for none.
    #[arg(long, value_name = "N", default_value_t = 50)]
    twice_every: u64,
    /// One JSON object on standard output instead of text.
    #[arg(long)]
    json: bool,
    /// A progress line on standard error also where that is no terminal.
    #[arg(long)]
    progress: bool,
    /// Write failing schedules as scenario files, a folder for each, in here.
    #[arg(long, value_name = "DIR", default_value = "sbft-sim-failures")]
    out: PathBuf,
}

/// Failing schedules that are printed and written; of more there are only names, in `--json`.
const SHOWN: usize = 20;

/// A failure and the file that it was written to.
struct Written<'a> {
    failure: &'a Failure,
    run: Run,
    file: Option<PathBuf>,
}

/// Parses a seed base.
fn seed_base(text: &str) -> Result<u64, String> {
    if text == "fresh" {
        // The only randomness here that no seed fixes; it is printed.
        return Ok(RandomState::new().build_hasher().finish() >> 16);
    }
    if text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(text.bytes().fold(0, |hash, byte| mix(hash, u64::from(byte.to_ascii_lowercase()))) >> 16);
    }
    super::seed(text).map_err(|_| {
        format!("`{text}` is no seed base: give a number below 2^64, a git hash of 40 digits, or `fresh`")
    })
}

impl Swarm {
    pub(crate) fn run(self) -> Outcome {
        let jobs = super::parallel::threads(self.jobs);
        let search = Search {
            limit: match self.time {
                Some(time) => Limit::Time(time),
                None => Limit::Schedules(self.seeds.unwrap_or(SCHEDULES)),
            },
            jobs,
            base: self.seed_base,
            choice: self.choice.profile.clone(),
            n: self.choice.n,
            plant: self.choice.plant,
            keep_going: self.keep_going,
            twice_every: self.twice_every,
        };
        let line = Line::new(self.progress);
        let (progress, failures) = search.run(|progress| line.show(|| short(&search, progress)));
        line.end();
        let mut unwritten = Vec::new();
        let written = self.write(&failures, &mut unwritten);
        if self.json {
            say(&format!("{:#}\n", self.json(&search, &progress, &written)))?;
        } else {
            say(&self.text(&search, &progress, &written))?;
        }
        complain_of(&unwritten);
        Ok(failures.iter().map(exit).max().unwrap_or(Exit::Ok))
    }

    /// Writes the first failing schedules as scenario files; what cannot be written is told at the end.
    fn write<'a>(&self, failures: &'a [Failure], unwritten: &mut Vec<String>) -> Vec<Written<'a>> {
        let write = |(nth, failure): (usize, &'a Failure)| {
            let run = Run::drawn(&failure.schedule.name, &self.choice);
            let folder = self.out.join(&run.slug);
            let file = (nth < SHOWN)
                .then(|| run.write_failure(Some(&folder), &failure.violation.to_string()))
                .and_then(|written| written.map_err(|problem| unwritten.push(problem)).ok());
            Written { failure, run, file }
        };
        failures.iter().enumerate().map(write).collect()
    }

    fn text(&self, search: &Search, progress: &Progress, failures: &[Written<'_>]) -> String {
        let mut out = String::new();
        for Written { failure, run, file } in failures.iter().take(SHOWN) {
            let scenario = file.as_ref().map_or_else(String::new, |file| {
                let file = file.display();
                format!("{file}; to make it small: sbft-sim shrink {file} -o min.toml")
            });
            if failures.len() == 1 && !failure.not_deterministic {
                // The only one is told at length; the search is what matters where there are many.
                out += &told(None, run, &[("scenario", scenario)]);
                out.push('\n');
                continue;
            }
            let _ = writeln!(out, "schedule {}: {}", failure.schedule.name, failure.violation);
            let again = if failure.not_deterministic { " --verify-determinism" } else { "" };
            let _ = writeln!(out, "reproduce: {}{again}", run.reproduce);
            let _ = writeln!(out, "written: {scenario}\n");
        }
        if progress.violations > SHOWN as u64 {
            let _ = writeln!(out, "and {} more that failed\n", progress.violations - SHOWN as u64);
        }
        let summary = summary(search, progress);
        // What a search that was broken off has seen says nothing.
        let lines = if failures.is_empty() || self.keep_going { usize::MAX } else { 1 };
        out.extend(summary.lines().take(lines).flat_map(|line| [line, "\n"]));
        out
    }

    fn json(&self, search: &Search, progress: &Progress, failures: &[Written<'_>]) -> serde_json::Value {
        let tally = &progress.tally;
        let failures: Vec<_> = failures
            .iter()
            .map(|Written { failure, run, file }| {
                json!({
                    "schedule": failure.schedule.name.to_string(),
                    "index": failure.index,
                    "class": if failure.not_deterministic {
                        "non-determinism".to_owned()
                    } else {
                        format!("{:?}", failure.violation.class).to_lowercase()
                    },
                    "check": failure.violation.check,
                    "text": failure.violation.text,
                    "at_us": failure.violation.at.0.as_micros() as u64,
                    "reproduce": run.reproduce,
                    "file": file,
                })
            })
            .collect();
        json!({
            "schedules": tally.schedules,
            "violations": progress.violations,
            "schedules_per_s": round(progress.rate()),
            "states": progress.states,
            "new_states": progress.new_states,
            "new_states_in": progress.window,
            "seconds": round(progress.elapsed.as_secs_f64()),
            "jobs": search.jobs,
            "seed_base": search.base,
            "profile": search.choice.to_string(),
            "n": search.n,
            "plant": search.plant.map(|plant| format!("{plant:?}")),
            "events": tally.events,
            "simulated_s": tally.millis / 1000,
            "mutated": tally.mutated,
            "twice": tally.twice,
            "blocks": tally.blocks,
            "slowest_ms": tally.slowest_ms,
            "sometimes": tally.sometimes,
            "attacks": tally.attacks,
            "failures": failures,
        })
    }
}

/// How the process ends because of this failure.
fn exit(failure: &Failure) -> Exit {
    if failure.not_deterministic {
        return Exit::NotDeterministic;
    }
    Exit::of_class(failure.violation.class)
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// 1234567 as 1,234,567.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// The progress line.
fn short(search: &Search, progress: &Progress) -> String {
    let left = match search.limit {
        Limit::Time(time) => time.saturating_sub(progress.elapsed),
        Limit::Schedules(count) => {
            let left = count.saturating_sub(progress.tally.schedules);
            Duration::from_secs_f64(left as f64 / progress.rate().max(1e-3))
        }
    };
    let seconds = left.as_secs();
    let last = progress.last_violation.as_ref();
    format!(
        "{} schedules, {:.0}/s, {} states ({} in the last {}), {} violations{}, {}:{:02} left",
        grouped(progress.tally.schedules),
        progress.rate(),
        grouped(progress.states),
        if is_full(progress) {
            "full: none counted".to_owned()
        } else {
            format!("+{}", grouped(progress.new_states))
        },
        grouped(progress.window),
        progress.violations,
        last.map_or_else(String::new, |(name, check)| format!(" (last: {name}, {check})")),
        seconds / 60,
        seconds % 60
    )
}

/// There is room for no more states, so that none is found to be new.
fn is_full(progress: &Progress) -> bool {
    progress.states as usize >= MOST_STATES
}

/// What it came to, in a few lines.
fn summary(search: &Search, progress: &Progress) -> String {
    let tally = &progress.tally;
    let seconds = progress.elapsed.as_secs_f64().max(1e-9);
    let per_thread = seconds * search.jobs as f64;
    let mut out = format!(
        "seed base {}, profile {}: {} schedules in {seconds:.1} s on {} threads, {} violations\n",
        search.base,
        search.choice,
        grouped(tally.schedules),
        search.jobs,
        progress.violations
    );
    let _ = writeln!(
        out,
        "speed: {:.0} schedules/s and {:.2} M events/s per thread; {:.2} simulated hours per second",
        tally.schedules as f64 / per_thread,
        tally.events as f64 / per_thread / 1e6,
        tally.millis as f64 / 3.6e6 / seconds
    );
    let _ = writeln!(
        out,
        "states: {}, {}; {} schedules were mutations; {} ran twice and were the same",
        grouped(progress.states),
        if is_full(progress) {
            "for more there is no room".to_owned()
        } else {
            format!(
                "{} of them new in the last {} schedules",
                grouped(progress.new_states),
                grouped(progress.window)
            )
        },
        grouped(tally.mutated),
        grouped(tally.twice)
    );
    let sometimes: Vec<String> =
        tally.sometimes.iter().map(|(what, count)| format!("{what} in {}", grouped(*count))).collect();
    let _ = writeln!(out, "sometimes: {}", sometimes.join("; "));
    let _ = writeln!(
        out,
        "{} blocks; slowest to settle after healing: {:.1} s",
        grouped(tally.blocks),
        tally.slowest_ms as f64 / 1000.0
    );
    let never: Vec<&str> = tally.never().collect();
    if tally.schedules >= SCHEDULES && !never.is_empty() {
        let _ = writeln!(out, "NEVER in this search: {}", never.join("; "));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_base_is_a_number_or_a_git_hash_or_fresh() {
        assert_eq!(seed_base("17"), Ok(17));
        assert_eq!(seed_base("0x11"), Ok(17));
        let hash = "0123456789abcdef0123456789ABCDEF01234567";
        assert_eq!(seed_base(hash), seed_base(&hash.to_lowercase()));
        assert_ne!(seed_base(hash), seed_base(&hash.replace('7', "8")));
        assert_ne!(seed_base("fresh"), seed_base("fresh"));
        assert!(seed_base("0123abc").is_err_and(|text| text.contains("git hash of 40 digits")));
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
