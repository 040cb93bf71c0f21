//! `sbft-sim plants`: does the simulator find what was planted?

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clap::Args;
use sbft::plant::Plant;
use sbft_sim::plants::{Finding, Origin, hunt};

use super::{Exit, Outcome, complain, say};

/// How long one failing schedule is made smaller.
const SHRINK_BUDGET: Duration = Duration::from_secs(30);

#[derive(Args)]
pub(crate) struct Plants {
    /// Only list the planted bugs.
    #[arg(long)]
    list: bool,
    /// Only look for these, by id or name (P07,NoBackoff).
    #[arg(long, value_delimiter = ',', value_parser = super::plant)]
    only: Vec<Plant>,
    /// How long to look for each, such as 60s or 10m.
    #[arg(long, default_value = "60s", value_parser = super::duration)]
    budget: Duration,
    /// The first seed.
    #[arg(long, default_value_t = 0, value_parser = super::seed)]
    seed_base: u64,
    /// How many bugs to look for at the same time, one thread each; 0 for one per core.
    #[arg(long, default_value_t = 0)]
    jobs: usize,
    /// Write the smallest scenario that shows each bug into this folder, as P07.toml and so on.
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
    /// A list for other programs.
    #[arg(long)]
    json: bool,
}

impl Plants {
    pub(crate) fn run(self) -> Outcome {
        let plants = if self.only.is_empty() { Plant::ALL.to_vec() } else { self.only.clone() };
        if self.list {
            say(&list(&plants))?;
            return Ok(Exit::Ok);
        }
        if let Some(folder) = &self.write {
            std::fs::create_dir_all(folder)
                .map_err(|error| format!("cannot make the folder {}: {error}", folder.display()))?;
        }
        let (findings, unwritten) = self.hunt(&plants);
        if let Some(text) = unwritten {
            return Err(text);
        }
        say(&if self.json { json(&findings) } else { table(&findings) })?;
        let all = findings.iter().all(|finding| finding.found.is_some());
        Ok(if all { Exit::Ok } else { Exit::Safety })
    }

    /// Looks for all of them; and what could not be written.
    fn hunt(&self, plants: &[Plant]) -> (Vec<Finding>, Option<String>) {
        let jobs = match self.jobs {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            jobs => jobs,
        };
        let next = AtomicUsize::new(0);
        let findings: Mutex<Vec<Finding>> = Mutex::new(Vec::new());
        let unwritten: Mutex<Option<String>> = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| {
                    while let Some(plant) = plants.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let finding = hunt(*plant, self.seed_base, self.budget);
                        if let Err(text) = self.pin(&finding) {
                            *unwritten.lock().expect("nothing panics with it") = Some(text);
                        }
                        if !self.json {
                            complain(&line(&finding));
                        }
                        findings.lock().expect("no run panics outside its own guard").push(finding);
                    }
                });
            }
        });
        let mut findings = findings.into_inner().expect("all threads are done");
        findings.sort_by_key(|finding| finding.plant);
        (findings, unwritten.into_inner().expect("all threads are done"))
    }

    /// Writes the smallest scenario that shows the bug, if that was asked for.
    fn pin(&self, finding: &Finding) -> Result<(), String> {
        let (Some(folder), Some(found)) = (&self.write, &finding.found) else { return Ok(()) };
        let file = folder.join(format!("{}.toml", finding.plant.info().id));
        let text = found.scenario(finding.plant, SHRINK_BUDGET).to_toml();
        std::fs::write(&file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))
    }
}

fn list(plants: &[Plant]) -> String {
    let mut out = String::new();
    for info in plants.iter().map(|plant| plant.info()) {
        let _ = writeln!(out, "{:<4} {:<32} {}", info.id, info.name, info.sentence);
    }
    out
}

fn line(finding: &Finding) -> String {
    let Finding { plant, seeds, took, found, alarms } = finding;
    let seconds = took.as_secs_f64();
    let (id, name) = (plant.info().id, plant.info().name);
    let origin = |origin: Origin| match origin {
        Origin::Drawn(seed) => format!("seed {seed}"),
        Origin::Aimed(seed) => format!("aimed {seed}"),
    };
    let mut line = match found {
        None => format!("{id:<4} {name:<32} {seeds:>7} {seconds:>8.2}  not found\n"),
        Some(found) => {
            let (check, by) = (found.violation.check, origin(found.origin));
            format!("{id:<4} {name:<32} {seeds:>7} {seconds:>8.2}  {check:<22} {by}\n")
        }
    };
    for (by, violation) in alarms {
        let _ = writeln!(line, "     {} fails without the bug too: {violation}", origin(*by));
    }
    line
}

fn table(findings: &[Finding]) -> String {
    let mut out =
        format!("{:<37} {:>7} {:>8}  {:<22} {}\n", "planted bug", "seeds", "seconds", "check", "by");
    out.extend(findings.iter().map(line));
    let found = findings.iter().filter(|finding| finding.found.is_some()).count();
    let _ = writeln!(out, "{found} of {} found", findings.len());
    out
}

fn json(findings: &[Finding]) -> String {
    let rows: Vec<String> = findings
        .iter()
        .map(|finding| {
            let check = finding.found.as_ref().map_or_else(
                || "null".to_owned(),
                |found| format!("\"{}\"", found.violation.check),
            );
            format!(
                "  {{\"plant\": \"{}\", \"name\": \"{}\", \"found\": {}, \"seeds\": {}, \"seconds\": {:.3}, \"check\": {check}}}",
                finding.plant.info().id,
                finding.plant.info().name,
                finding.found.is_some(),
                finding.seeds,
                finding.took.as_secs_f64(),
            )
        })
        .collect();
    format!("[\n{}\n]\n", rows.join(",\n"))
}
