//! `sbft-sim run`: one schedule, from a scenario file or a seed.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use sbft::plant::Plant;
use sbft_sim::expect::Verdict;
use sbft_sim::plan::{Plan, Report, Show};
use sbft_sim::report::terminal;
use sbft_sim::schedule::{Name, Schedule};
use sbft_sim::swarm::profile;
use sbft_sim::trace::Recording;
use serde::Serialize;

use super::output::Output;
use super::subject::{self, Subject};
use super::{Exit, Outcome, complain_of, say};

#[derive(Args)]
pub(crate) struct Run {
    #[command(flatten)]
    subject: Subject,
    /// Print a line per event.
    #[arg(long)]
    print: bool,
    /// Print the schedule as a scenario file before it runs.
    #[arg(long)]
    plan: bool,
    /// Run it twice and compare the hashes of all events.
    #[arg(long)]
    verify_determinism: bool,
    /// Compare the hash with this one, which the same run printed elsewhere: another build, another
    /// machine.
    #[arg(long, value_name = "HASH", value_parser = hash)]
    same_as: Option<u64>,
    /// Print the outcome as one JSON object.
    #[arg(long, conflicts_with_all = ["print", "plan", "golden"])]
    json: bool,
    /// Where `fail.toml` goes if a drawn schedule fails; a folder of its own in sbft-sim-failures/
    /// if not given.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

/// Parses a hash as a run prints it.
fn hash(text: &str) -> Result<u64, String> {
    let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits.then(|| u64::from_str_radix(text, 16).ok()).flatten().ok_or_else(|| {
        format!("`{text}` is no hash: give the 16 digits that `sbft-sim run` prints after the word hash")
    })
}

/// What the command line fixes about a schedule.
#[derive(Args, Clone)]
pub(crate) struct Choice {
    /// What may trouble a schedule: all, families (net, crash, disk, clock, byz, client), or where it
    /// is bent to (free, views, phases, catch-up, narrow, everywhere); several with commas between.
    #[arg(long, default_value_t)]
    pub(super) profile: profile::Choice,
    /// Replicas; drawn (mostly 4) if not given.
    #[arg(long, value_parser = super::replicas)]
    pub(super) n: Option<usize>,
    /// Take this rule away (see src/plant.rs), to see whether the checks notice.
    #[arg(long, value_parser = super::plant)]
    pub(super) plant: Option<Plant>,
}

impl Choice {
    /// The schedule of this name.
    pub(crate) fn schedule(&self, name: Name) -> Schedule {
        Schedule { name, choice: self.profile.clone(), n: self.n }
    }

    /// Its plan.
    pub(crate) fn plan(&self, name: Name) -> Plan {
        let plan = self.schedule(name).plan();
        match self.plant {
            Some(plant) => plan.without_rule(plant),
            None => plan,
        }
    }

    /// The rule that is taken away.
    pub(crate) fn plant(&self) -> Option<Plant> {
        self.plant
    }

    /// The option that only a drawn schedule can have, if there is one.
    pub(crate) fn drawn_only(&self) -> Option<&'static str> {
        let profile = (self.profile != profile::Choice::default()).then_some("--profile");
        self.n.map(|_| "--n").or(profile)
    }

    /// The command that runs the schedule of this name again.
    pub(crate) fn reproduce(&self, name: &Name) -> String {
        let options = self.schedule(name.clone()).options();
        let plant =
            self.plant.map_or_else(String::new, |plant| format!(" --plant {}", subject::plant_name(plant)));
        format!("cargo run --release -p sbft-sim -- run {options}{plant}")
    }
}

impl Run {
    pub(crate) fn run(self) -> Outcome {
        let run = self.subject.load()?;
        if self.plan {
            say(&format!("{}\n", run.scenario.to_toml()))?;
        }
        let plan = run.plan();
        let mut report = plan.run(self.output.show(Show { print: self.print, ..Show::default() }));
        // A file that cannot be written must not hide what was found.
        let mut unwritten: Vec<String> = self
            .output
            .write(report.recording.as_deref_mut(), &run.title, &run.reproduce)
            .err()
            .into_iter()
            .collect();
        let verdict = plan.expect.judge(&report);
        let exit = Exit::of_verdict(&verdict, &report);
        let again = self.verify_determinism.then(|| plan.run(Show::default()));
        let is_deterministic = again.map(|again| is_same(&report, &again));
        let is_as_elsewhere = self.same_as.map(|hash| hash == report.hash);
        let exit = exit.unless_differing(is_deterministic).unless_differing(is_as_elsewhere);
        let failed_here = matches!(verdict, Verdict::Broke(_)) && !run.is_written;
        let fail_file = match &verdict {
            Verdict::Broke(violation) if failed_here => {
                let written = run.write_failure(self.out.as_deref(), &violation.to_string());
                written.map_err(|problem| unwritten.push(problem)).ok()
            }
            _ => None,
        };
        let exit = exit.with(&unwritten);
        if self.json {
            let outcome = Json::of(
                &run,
                &report,
                &verdict,
                exit,
                fail_file,
                is_deterministic.or(is_as_elsewhere).map(|_| exit != Exit::NotDeterministic),
            );
            let text = serde_json::to_string(&outcome).map_err(|error| error.to_string())?;
            say(&format!("{text}\n"))?;
            complain_of(&unwritten);
            return Ok(exit);
        }
        let mut text = match &verdict {
            Verdict::Broke(_) => {
                let mut files = self.output.files();
                files.extend(fail_file.map(|file| {
                    let file = file.display();
                    ("scenario", format!("{file}; to make it small: sbft-sim shrink {file} -o min.toml"))
                }));
                told(report.recording.take(), &run, &files)
            }
            Verdict::Missed(_) => {
                outcome(&run.title, &report, &verdict) + &format!("reproduce: {}\n", run.reproduce)
            }
            Verdict::Met => outcome(&run.title, &report, &verdict),
        };
        match is_deterministic {
            Some(true) => {
                text += &format!("deterministic: the second run has the same {} events\n", report.events)
            }
            Some(false) => {
                text += "NOT DETERMINISTIC: a second run has other events; see sbft-sim diff\n";
                text += &format!("reproduce: {} --verify-determinism\n", run.reproduce);
            }
            None => {}
        }
        match is_as_elsewhere {
            Some(true) => text += "the hash is the one given with --same-as\n",
            Some(false) => {
                text += &format!(
                    "NOT DETERMINISTIC: the hash is {:016x} here and {:016x} elsewhere; see sbft-sim diff\n",
                    report.hash,
                    self.same_as.unwrap_or_default()
                );
            }
            None => {}
        }
        say(&text)?;
        complain_of(&unwritten);
        Ok(exit)
    }
}

/// A failure for people; the run is made again if its events were not kept.
pub(crate) fn told(
    recording: Option<Box<Recording>>,
    run: &subject::Run,
    files: &[(&str, String)],
) -> String {
    let recording = recording.or_else(|| run.plan().run(Show { record: true, ..Show::default() }).recording);
    let mut recording = recording.map_or_else(Recording::default, |recording| *recording);
    recording.entitle(&run.title, &run.reproduce);
    terminal::failure(&recording, files)
}

/// Two runs had the same events.
fn is_same(one: &Report, other: &Report) -> bool {
    (one.hash, one.events) == (other.hash, other.events)
}

/// What a run came to, by what was expected of it.
fn outcome(title: &str, report: &Report, verdict: &Verdict) -> String {
    match verdict {
        Verdict::Broke(violation) => format!("{title}: {violation}\n"),
        Verdict::Missed(missed) => format!("{title}: not as expected: {}\n", missed.join("; ")),
        Verdict::Met => match &report.violation {
            Some(violation) => format!("{title}: as expected, {violation}\n"),
            None => format!("{title}: {}\n", well(report)),
        },
    }
}

fn well(report: &Report) -> String {
    let mut text = format!(
        "ok, {} events, {} blocks, highest view {}, settled {:?} after healing, hash {:016x}",
        report.events, report.seen.blocks, report.seen.highest_view, report.settled_after, report.hash
    );
    for (attack, count) in &report.attacks {
        text += &format!("\n  {attack} acted {count} times");
    }
    for (what, count) in &report.disk {
        text += &format!("\n  disk: {what} {count} times");
    }
    for (place, fate) in report.fates.iter().enumerate() {
        let now = if fate.up { "up again" } else { "down since" };
        if let Some(reason) = fate.stopped.last() {
            text += &format!("\n  r{place} stopped, {now}: {reason}");
        }
        if let Some(reason) = fate.refused.last() {
            text += &format!("\n  r{place} did not start, {now}: {reason}");
        }
    }
    text
}

/// The outcome for other programs.
#[derive(Serialize)]
struct Json {
    title: String,
    seed: u64,
    n: usize,
    ok: bool,
    exit: u8,
    violation: Option<JsonViolation>,
    missed: Vec<String>,
    events: u64,
    blocks: u64,
    highest_view: u64,
    ended_us: u64,
    settled_after_us: u64,
    hash: String,
    attacks: BTreeMap<String, u64>,
    disk: BTreeMap<String, u64>,
    deterministic: Option<bool>,
    reproduce: String,
    fail_file: Option<PathBuf>,
}

#[derive(Serialize)]
struct JsonViolation {
    class: String,
    check: String,
    text: String,
    at_us: u64,
    expected: bool,
}

impl Json {
    fn of(
        run: &subject::Run,
        report: &Report,
        verdict: &Verdict,
        exit: Exit,
        fail_file: Option<PathBuf>,
        deterministic: Option<bool>,
    ) -> Self {
        Self {
            title: run.title.clone(),
            seed: run.plan().settings.seed,
            n: run.plan().settings.n,
            ok: exit == Exit::Ok,
            exit: exit as u8,
            violation: report.violation.as_ref().map(|violation| JsonViolation {
                class: format!("{:?}", violation.class).to_lowercase(),
                check: violation.check.to_owned(),
                text: violation.text.clone(),
                at_us: violation.at.0.as_micros() as u64,
                expected: !matches!(verdict, Verdict::Broke(_)),
            }),
            missed: if let Verdict::Missed(missed) = verdict { missed.clone() } else { Vec::new() },
            events: report.events,
            blocks: report.seen.blocks,
            highest_view: report.seen.highest_view,
            ended_us: report.ended.0.as_micros() as u64,
            settled_after_us: report.settled_after.as_micros() as u64,
            hash: format!("{:016x}", report.hash),
            attacks: report.attacks.clone(),
            disk: report.disk.clone(),
            deterministic,
            reproduce: run.reproduce.clone(),
            fail_file,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sbft::types::Time;
    use sbft_sim::world::Settings;

    use super::*;

    #[test]
    fn a_run_that_is_not_the_same_twice_ends_with_14() {
        let run = |seed| {
            let plan = Plan::quiet(Settings::calm(seed, 4), Time(Duration::from_millis(50)));
            plan.run(Show::default())
        };
        let (one, again, other) = (run(1), run(1), run(2));
        assert_eq!(Exit::Ok.unless_differing(Some(is_same(&one, &again))), Exit::Ok);
        assert_eq!(Exit::Safety.unless_differing(Some(is_same(&one, &again))), Exit::Safety);
        assert_eq!(Exit::Ok.unless_differing(Some(is_same(&one, &other))) as u8, 14);
        assert_eq!(Exit::Ok.unless_differing(None), Exit::Ok);
    }
}
