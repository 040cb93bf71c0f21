//! `sbft-sim replay`: a run once more, event by event, up to a time.

use clap::Args;
use sbft::types::Time;
use sbft_sim::plan::{Plan, Show};
use sbft_sim::scenario::Span;
use sbft_sim::trace::Recording;

use super::output::Output;
use super::run::Choice;
use super::subject::{self, Subject};
use super::{Exit, Outcome, complain_of, say};

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
    #[arg(long, conflicts_with_all = ["until", "html", "trace", "golden"])]
    verify_determinism: bool,
    #[command(flatten)]
    output: Output,
}

impl Replay {
    pub(crate) fn run(self) -> Outcome {
        let run = Subject::named(&self.subject, self.choice.clone()).load()?;
        let plan = run.plan();
        if self.verify_determinism {
            return verify(&run, plan);
        }
        let show = self.output.show(Show { print: true, ..Show::default() });
        let Some(Span(until)) = self.until else {
            let mut report = plan.run(show);
            let unwritten = self.write(report.recording.as_deref_mut(), &run);
            complain_of(&unwritten);
            let verdict = plan.expect.judge(&report);
            return Ok(Exit::of_verdict(&verdict, &report).with(&unwritten));
        };
        let mut world = plan.world(show);
        world.run_until(Time(until));
        let mut text = format!("at {}, after {} events:\n", world.now, world.events);
        for line in world.standing() {
            text += &format!("  {line}\n");
        }
        say(&text)?;
        let mut recording = show.record.then(|| Recording::take(plan, &mut world));
        let unwritten = self.write(recording.as_mut(), &run);
        complain_of(&unwritten);
        let exit = world.violation().map_or(Exit::Ok, |violation| Exit::of_class(violation.class));
        Ok(exit.with(&unwritten))
    }

    /// Writes the files that were asked for; gives what could not be written.
    fn write(&self, recording: Option<&mut Recording>, run: &subject::Run) -> Vec<String> {
        self.output.write(recording, &run.title, &run.reproduce).err().into_iter().collect()
    }
}

/// Runs it twice and compares.
fn verify(run: &subject::Run, plan: &Plan) -> Outcome {
    let (one, other) = (plan.run(Show::default()), plan.run(Show::default()));
    if (one.hash, one.events) != (other.hash, other.events) {
        say(&format!(
            "{}: NOT DETERMINISTIC: hashes {:016x} and {:016x}\n",
            run.title, one.hash, other.hash
        ))?;
        return Ok(Exit::NotDeterministic);
    }
    say(&format!("{}: deterministic, {} events twice, hash {:016x}\n", run.title, one.events, one.hash))?;
    Ok(Exit::of_verdict(&plan.expect.judge(&one), &one))
}
