//! `sbft-sim run`: one schedule.

use clap::Args;
use sbft::plant::Plant;
use sbft_sim::plan::{Plan, Report, Show};

use super::{Exit, Outcome, say};

#[derive(Args)]
pub(crate) struct Run {
    /// The seed, decimal or 0x and hexadecimal.
    #[arg(long, value_parser = super::seed)]
    seed: u64,
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
}

/// What the command line fixes about a schedule.
#[derive(Args, Clone, Copy)]
pub(crate) struct Choice {
    /// Replicas; drawn (mostly 4) if not given.
    #[arg(long, value_parser = super::replicas)]
    n: Option<usize>,
    /// Take this rule away (see src/plant.rs), to see whether the checks notice.
    #[arg(long, value_parser = super::plant)]
    plant: Option<Plant>,
}

impl Choice {
    /// The schedule of this seed.
    pub(crate) fn draw(self, seed: u64) -> Plan {
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

impl Run {
    pub(crate) fn run(self) -> Outcome {
        let plan = self.choice.draw(self.seed);
        if self.plan {
            say(&format!("{plan:#?}\n"))?;
        }
        let report = plan.run(Show { print: self.trace, ..Show::default() });
        say(&text(self.seed, self.choice, &report))?;
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
pub(crate) fn text(seed: u64, choice: Choice, report: &Report) -> String {
    match &report.violation {
        None => format!(
            "seed {seed}: ok, {} events, {} blocks, highest view {}, settled {:?} after healing, hash {:016x}\n",
            report.events, report.seen.blocks, report.seen.highest_view, report.settled_after, report.hash
        ),
        Some(violation) => {
            let options = choice.options();
            format!(
                "seed {seed}: {violation}\nreproduce: cargo run --release -p sbft-sim -- run --seed {seed}{options} --trace\n"
            )
        }
    }
}
