//! `sbft-sim shrink`: from a failing run to a scenario that a person can read.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use sbft_sim::plan::Show;
use sbft_sim::scenario::{Scenario, Span};
use sbft_sim::shrink::{Limits, shrink};

use super::output::Output;
use super::subject::Subject;
use super::{Exit, Outcome, say};

#[derive(Args)]
pub(crate) struct Shrink {
    #[command(flatten)]
    subject: Subject,
    /// Where the small scenario goes.
    #[arg(short, long, value_name = "FILE", default_value = "min.toml")]
    out: PathBuf,
    /// Stop after this time at the latest, such as 60s.
    #[arg(long, value_parser = Span::parse, default_value = "60s")]
    budget: Span,
    /// How many threads; 0 for one per core.
    #[arg(long, default_value_t = 0)]
    jobs: usize,
    #[command(flatten)]
    output: Output,
}

impl Shrink {
    /// A file that cannot be written is told before the search, not after it.
    fn check_out(&self) -> Result<(), String> {
        let out = self.out.display();
        let folder = self.out.parent().filter(|folder| !folder.as_os_str().is_empty());
        match folder {
            _ if self.out.is_dir() => Err(format!("cannot write {out}: it is a folder; name a file in it")),
            Some(folder) if !folder.is_dir() => {
                Err(format!("cannot write {out}: there is no folder {}; make it first", folder.display()))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn run(self) -> Outcome {
        let run = self.subject.load()?;
        self.check_out()?;
        let began = Instant::now();
        let stop = |_runs: u64| began.elapsed() >= self.budget.0;
        let jobs = match self.jobs {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            jobs => jobs,
        };
        let Some(shrunk) = shrink(run.plan(), &Limits { jobs, stop: &stop }) else {
            return Err(format!("{} does not fail, so there is nothing to shrink", run.title));
        };
        let seconds = began.elapsed().as_secs_f64();
        let violation = &shrunk.violation;
        let name = self.out.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let about = format!("{violation}\nShrunk from: {}\n", run.reproduce);
        let scenario = Scenario { name, about: Some(about), plan: shrunk.plan.clone() };
        fs::write(&self.out, scenario.to_toml())
            .map_err(|error| format!("cannot write {}: {error}", self.out.display()))?;
        let reproduce = format!("cargo run --release -p sbft-sim -- run {}", self.out.display());
        let mut report = shrunk.plan.run(self.output.show(Show::default()));
        self.output.write(report.recording.as_deref_mut(), &format!("{}, shrunk", run.title), &reproduce)?;
        let early =
            if shrunk.stopped { "; the time was up, more of --budget may make it smaller" } else { "" };
        say(&format!(
            "{violation}\n{} effective faults (of {}), {} envelopes, {} replicas; {} runs in {seconds:.1} s{early}\nwritten: {}\nreproduce: {reproduce}\n",
            shrunk.after,
            shrunk.before,
            shrunk.plan.submissions.len(),
            shrunk.plan.settings.n,
            shrunk.runs,
            self.out.display(),
        ))?;
        Ok(Exit::Ok)
    }
}
