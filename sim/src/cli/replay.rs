//! `sbft-sim replay`: a run once more, event by event, up to a time.

use clap::Args;
use sbft_sim::plan::Show;
use sbft_sim::scenario::Span;

use super::run::Choice;
use super::subject::Subject;
use super::{Exit, Outcome, say};

#[derive(Args)]
pub(crate) struct Replay {
    /// A scenario file; or a seed, such as 42 or 0x5eed; or the name of a schedule that a swarm found,
    /// such as 42+1f3a.
    #[arg(value_name = "SEED|FILE")]
    subject: String,
    #[command(flatten)]
    choice: Choice,
    /// Stop at this time of the run (such as 1.25s) and say where each replica stands.
    #[arg(long, value_parser = Span::parse)]
    until: Option<Span>,
    /// Run it twice and compare the hashes of all events, instead of printing them.
    #[arg(long, conflicts_with = "until")]
    verify_determinism: bool,
}

impl Replay {
    pub(crate) fn run(self) -> Outcome {
        let run = Subject::named(&self.subject, self.choice.clone()).load()?;
        let plan = run.plan();
        if self.verify_determinism {
            let (one, other) = (plan.run(Show::default()), plan.run(Show::default()));
            if (one.hash, one.events) != (other.hash, other.events) {
                say(&format!(
                    "{}: NOT DETERMINISTIC: hashes {:016x} and {:016x}\n",
                    run.title, one.hash, other.hash
                ))?;
                return Ok(Exit::NotDeterministic);
            }
            say(&format!(
                "{}: deterministic, {} events twice, hash {:016x}\n",
                run.title, one.events, one.hash
            ))?;
            return Ok(Exit::of_verdict(&plan.expect.judge(&one), &one));
        }
        let print = Show { print: true, ..Show::default() };
        let Some(Span(until)) = self.until else {
            let report = plan.run(print);
            let verdict = plan.expect.judge(&report);
            return Ok(Exit::of_verdict(&verdict, &report));
        };
        let mut world = plan.world(print);
        world.run_until(sbft::types::Time(until));
        let mut text = format!("at {}, after {} events:\n", world.now, world.events);
        for line in world.standing() {
            text += &format!("  {line}\n");
        }
        say(&text)?;
        Ok(world.violation().map_or(Exit::Ok, |violation| Exit::of_class(violation.class)))
    }
}
