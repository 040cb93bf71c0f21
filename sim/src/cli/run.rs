//! `sbft-sim run`: one schedule.

use clap::Args;
use sbft::plant::Plant;
use sbft_sim::plan::{Plan, Report, Show};
use sbft_sim::schedule::{Name, Schedule};
use sbft_sim::swarm::profile;

use super::output::Output;
use super::{Exit, Outcome, say};

#[derive(Args)]
pub(crate) struct Run {
    /// The seed, such as 42 or 0x5eed, or the name of a schedule that a swarm found, such as 42+1f3a.
    #[arg(long)]
    seed: Name,
    #[command(flatten)]
    choice: Choice,
    /// Print a line per event.
    #[arg(long)]
    trace: bool,
    /// Print what the schedule does before it runs.
    #[arg(long)]
    plan: bool,
    /// Run it twice and compare the hashes of all events.
    #[arg(long)]
    verify_determinism: bool,
    #[command(flatten)]
    output: Output,
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

    /// The command that runs the schedule of this name again.
    pub(crate) fn reproduce(&self, name: &Name) -> String {
        let options = self.schedule(name.clone()).options();
        let plant = self.plant.map_or_else(String::new, |plant| format!(" --plant {plant:?}"));
        format!("cargo run --release -p sbft-sim -- run {options}{plant}")
    }
}

impl Run {
    pub(crate) fn run(self) -> Outcome {
        let plan = self.choice.plan(self.seed.clone());
        if self.plan {
            say(&format!("{plan:#?}\n"))?;
        }
        let mut report = plan.run(self.output.show(Show { print: self.trace, ..Show::default() }));
        let title = format!("seed {}", self.seed);
        self.output.write(&mut report, &title, &self.choice.reproduce(&self.seed))?;
        say(&text(&self.seed, &self.choice, &report))?;
        if self.verify_determinism {
            let again = plan.run(Show::default());
            if again.hash != report.hash || again.events != report.events {
                say(&format!("NOT DETERMINISTIC: hashes {:016x} and {:016x}\n", report.hash, again.hash))?;
                return Ok(Exit::NotDeterministic);
            }
            say(&format!("deterministic: the second run has the same {} events\n", again.events))?;
        }
        Ok(Exit::of(&report))
    }
}

/// What a run came to, in a line or two.
pub(crate) fn text(name: &Name, choice: &Choice, report: &Report) -> String {
    match &report.violation {
        None => format!(
            "seed {name}: ok, {} events, {} blocks, highest view {}, settled {:?} after healing, hash {:016x}\n",
            report.events, report.seen.blocks, report.seen.highest_view, report.settled_after, report.hash
        ),
        Some(violation) => {
            format!("seed {name}: {violation}\nreproduce: {}\n", choice.reproduce(name))
        }
    }
}
