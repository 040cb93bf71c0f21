//! What a command is about: a scenario file, or the schedule of a seed.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use sbft::plant::Plant;
use sbft_sim::plan::Plan;
use sbft_sim::scenario::Scenario;
use sbft_sim::schedule::Name;

use super::run::Choice;

/// A scenario file, or a seed.
#[derive(Args, Clone)]
pub(crate) struct Subject {
    /// A scenario file; see sim/docs/scenarios.md.
    #[arg(value_name = "FILE", required_unless_present = "seed")]
    file: Option<PathBuf>,
    /// The seed, such as 42 or 0x5eed, or the name of a schedule that a swarm found, such as 42+1f3a;
    /// with a file, the seed of its draws instead of its own.
    #[arg(long)]
    seed: Option<Name>,
    #[command(flatten)]
    choice: Choice,
}

/// A run, what to call it and how to run it again.
pub(crate) struct Run {
    pub(crate) scenario: Scenario,
    pub(crate) title: String,
    pub(crate) reproduce: String,
    /// A folder name for what is written about it.
    pub(crate) slug: String,
    /// It is in a file already (apart from what options change, which `reproduce` repeats).
    pub(crate) is_written: bool,
}

impl Subject {
    /// The schedule of a seed, or of a file by this name.
    pub(crate) fn named(text: &str, choice: Choice) -> Self {
        match text.parse::<Name>() {
            Ok(seed) if !Path::new(text).exists() => Self { file: None, seed: Some(seed), choice },
            _ => Self { file: Some(PathBuf::from(text)), seed: None, choice },
        }
    }

    /// Reads the file or draws the schedule.
    pub(crate) fn load(&self) -> Result<Run, String> {
        match (&self.file, &self.seed) {
            (Some(file), seed) => self.file(file, seed.as_ref()),
            (None, Some(seed)) => Ok(Run::drawn(seed, &self.choice)),
            (None, None) => Err("give a scenario file, or --seed".to_owned()),
        }
    }

    fn file(&self, file: &Path, seed: Option<&Name>) -> Result<Run, String> {
        if let Some(option) = self.choice.drawn_only() {
            return Err(format!(
                "{option} is for a drawn schedule; in a file, [cluster] and the rest say it"
            ));
        }
        let mut scenario =
            Scenario::read(file).map_err(|error| match file.to_string_lossy().parse::<Name>() {
                Ok(name) if !file.exists() => {
                    format!("{error}; the schedule of a seed is run with --seed {name}")
                }
                _ => error.to_string(),
            })?;
        let mut options = String::new();
        if let Some(seed) = seed {
            if seed.to_string().contains('+') {
                return Err(format!("--seed {seed} names a drawn schedule; with a file give a plain number"));
            }
            scenario.plan.settings.seed = seed.seed();
            options = format!(" --seed {seed}");
        }
        if let Some(plant) = self.choice.plant() {
            scenario.plan = scenario.plan.without_rule(plant);
            options += &format!(" --plant {}", plant_name(plant));
        }
        let stem = file.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        Ok(Run {
            title: scenario.name.clone().unwrap_or_else(|| stem.clone()),
            reproduce: format!("cargo run --release -p sbft-sim -- run {}{options}", file.display()),
            slug: stem,
            is_written: true,
            scenario,
        })
    }
}

impl Run {
    /// The schedule of a seed.
    pub(crate) fn drawn(seed: &Name, choice: &Choice) -> Self {
        Self {
            scenario: Scenario { name: None, about: None, plan: choice.plan(seed.clone()) },
            title: format!("seed {seed}"),
            reproduce: choice.reproduce(seed),
            slug: format!("seed-{seed}"),
            is_written: false,
        }
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.scenario.plan
    }

    /// Writes it as `fail.toml` into `folder`, or into a folder of its own here; says where.
    pub(crate) fn write_failure(&self, folder: Option<&Path>, what: &str) -> Result<PathBuf, String> {
        let own = Path::new("sbft-sim-failures").join(&self.slug);
        let folder = folder.unwrap_or(&own);
        let wrong = |error: std::io::Error| format!("cannot write {}: {error}", folder.display());
        fs::create_dir_all(folder).map_err(wrong)?;
        let about = format!("{} fails: {what}\nFirst found by: {}\n", self.title, self.reproduce);
        let scenario = Scenario { about: Some(about), ..self.scenario.clone() };
        let path = folder.join("fail.toml");
        fs::write(&path, scenario.to_toml()).map_err(wrong)?;
        Ok(path)
    }
}

/// What the option `--plant` calls a planted bug.
pub(crate) fn plant_name(plant: Plant) -> String {
    plant.info().name.to_owned()
}
