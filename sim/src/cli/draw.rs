//! `sbft-sim draw`: a picture or a transcript from a trace file, without running anything.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use sbft_sim::report;

use super::{Exit, Outcome, diff, say};

#[derive(Args)]
#[command(group(ArgGroup::new("what").args(["html", "golden"]).required(true).multiple(true)))]
pub(crate) struct Draw {
    /// A trace, as `run --trace FILE` writes it.
    trace: PathBuf,
    /// Write it as one HTML page with a space-time diagram.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print it as a short text.
    #[arg(long)]
    golden: bool,
}

impl Draw {
    pub(crate) fn run(self) -> Outcome {
        let recording = diff::read(&self.trace)?;
        if let Some(path) = &self.html {
            std::fs::write(path, report::html::write(&recording))
                .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        }
        if self.golden {
            say(&report::golden::transcript(&recording))?;
        }
        Ok(Exit::Ok)
    }
}
