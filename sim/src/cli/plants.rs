//! `sbft-sim plants`: does the simulator find what was planted?

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clap::Args;
use sbft::plant::Plant;
use sbft_sim::plants::{Finding, Origin, hunt};
use sbft_sim::scenario::Scenario;
use sbft_sim::shrink::effective;

use super::{Exit, Outcome, complain, say};

/// How long one failing schedule is made smaller.
const SHRINK_BUDGET: Duration = Duration::from_secs(60);
/// Where the repository keeps the smallest scenarios.
const KEPT: &str = "sim/scenarios/plants";

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

/// What became of one planted bug, and the smallest scenario that shows it.
struct Row {
    finding: Finding,
    pin: Option<Pin>,
}

/// A scenario in a file.
struct Pin {
    file: PathBuf,
    /// Effective faults in it.
    faults: usize,
    /// How long making it small took, if it was made just now.
    took: Option<Duration>,
}

impl Plants {
    pub(crate) fn run(self) -> Outcome {
        let plants = if self.only.is_empty() { Plant::ALL.to_vec() } else { self.only.clone() };
        if self.list {
            say(&if self.json { json_list(&plants) } else { list(&plants) })?;
            return Ok(Exit::Ok);
        }
        if let Some(folder) = &self.write {
            std::fs::create_dir_all(folder)
                .map_err(|error| format!("cannot make the folder {}: {error}", folder.display()))?;
        }
        let rows = self.hunt(&plants)?;
        say(&if self.json { json(&rows) } else { table(&rows) })?;
        let all = rows.iter().all(|row| row.finding.found.is_some());
        Ok(if all { Exit::Ok } else { Exit::Unmet })
    }

    /// Looks for all of them.
    fn hunt(&self, plants: &[Plant]) -> Result<Vec<Row>, String> {
        let jobs = match self.jobs {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            jobs => jobs,
        };
        let next = AtomicUsize::new(0);
        let rows: Mutex<Vec<Result<Row, String>>> = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| {
                    while let Some(plant) = plants.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let finding = hunt(*plant, self.seed_base, self.budget);
                        let row = self.pin(&finding).map(|pin| Row { finding, pin });
                        if let (Ok(row), false) = (&row, self.json) {
                            complain(&line(row));
                        }
                        rows.lock().expect("no run panics outside its own guard").push(row);
                    }
                });
            }
        });
        let rows = rows.into_inner().expect("all threads are done");
        let mut rows = rows.into_iter().collect::<Result<Vec<Row>, String>>()?;
        rows.sort_by_key(|row| row.finding.plant);
        Ok(rows)
    }

    /// Writes the smallest scenario that shows the bug, if that was asked for; else gives the one
    /// that is kept, if there is one.
    fn pin(&self, finding: &Finding) -> Result<Option<Pin>, String> {
        let name = format!("{}.toml", finding.plant.info().id);
        match (&self.write, &finding.found) {
            (None, _) => {
                let file = Path::new(KEPT).join(name);
                // Elsewhere than in the repository there is none.
                let kept = Scenario::read(&file).ok();
                Ok(kept.map(|kept| Pin { file, faults: effective(&kept.plan), took: None }))
            }
            (Some(_), None) => Ok(None),
            (Some(folder), Some(found)) => {
                let smallest = found.smallest(finding.plant, SHRINK_BUDGET);
                let file = folder.join(name);
                std::fs::write(&file, smallest.scenario.to_toml())
                    .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
                Ok(Some(Pin { file, faults: smallest.faults, took: Some(smallest.took) }))
            }
        }
    }
}

fn list(plants: &[Plant]) -> String {
    let mut out = String::new();
    for info in plants.iter().map(|plant| plant.info()) {
        let _ = writeln!(out, "{:<4} {:<32} {}", info.id, info.name, info.sentence);
    }
    out
}

/// The same for other programs.
fn json_list(plants: &[Plant]) -> String {
    let rows: Vec<_> = plants
        .iter()
        .map(|plant| plant.info())
        .map(|info| serde_json::json!({ "plant": info.id, "name": info.name, "does": info.sentence }))
        .collect();
    format!("{:#}\n", serde_json::Value::Array(rows))
}

fn line(row: &Row) -> String {
    let Finding { plant, seeds, took, found, alarms } = &row.finding;
    let seconds = took.as_secs_f64();
    let (id, name) = (plant.info().id, plant.info().name);
    let origin = |origin: Origin| match origin {
        Origin::Drawn(seed) => format!("seed {seed}"),
        Origin::Aimed(seed) => format!("aimed {seed}"),
    };
    let (check, by) = match found {
        None => ("not found", String::new()),
        Some(found) => (found.violation.check, origin(found.origin)),
    };
    let smallest = row.pin.as_ref().map_or_else(
        || "none".to_owned(),
        |Pin { file, faults, took }| {
            let took = took.map_or_else(String::new, |took| format!(", {:.1} s", took.as_secs_f64()));
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            format!("{name}: {faults} faults{took}")
        },
    );
    let mut line = format!("{id:<4} {name:<29} {seeds:>6} {seconds:>8.2}  {check:<21} {by:<10} {smallest}\n");
    for (by, violation) in alarms {
        let _ = writeln!(line, "     {} fails without the bug too: {violation}", origin(*by));
    }
    line
}

fn table(rows: &[Row]) -> String {
    let mut out = format!(
        "{:<34} {:>6} {:>8}  {:<21} {:<10} {}\n",
        "planted bug", "seeds", "seconds", "check", "by", "smallest scenario"
    );
    out.extend(rows.iter().map(line));
    let found = rows.iter().filter(|row| row.finding.found.is_some()).count();
    let _ = writeln!(out, "{found} of {} found", rows.len());
    out
}

fn json(rows: &[Row]) -> String {
    let rows: Vec<_> = rows
        .iter()
        .map(|Row { finding, pin }| {
            serde_json::json!({
                "plant": finding.plant.info().id,
                "name": finding.plant.info().name,
                "found": finding.found.is_some(),
                "seeds": finding.seeds,
                "seconds": finding.took.as_millis() as f64 / 1000.0,
                "check": finding.found.as_ref().map(|found| found.violation.check),
                "scenario": pin.as_ref().map(|pin| pin.file.display().to_string()),
                "faults": pin.as_ref().map(|pin| pin.faults),
                "alarms": finding.alarms.len(),
            })
        })
        .collect();
    format!("{:#}\n", serde_json::Value::Array(rows))
}
