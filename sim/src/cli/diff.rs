//! `sbft-sim diff`: where two traces part.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use clap::Args;
use sbft_sim::report;
use sbft_sim::trace::Recording;

use super::{Exit, Outcome, say};

#[derive(Args)]
pub(crate) struct Diff {
    /// A trace, as `run --trace FILE` writes it.
    a: PathBuf,
    /// Another.
    b: PathBuf,
}

impl Diff {
    pub(crate) fn run(self) -> Outcome {
        let (one, other) = (read(&self.a)?, read(&self.b)?);
        match report::diff::diff(&one, &other) {
            None => {
                say(&format!("no difference in {} lines of trace\n", one.events.len()))?;
                Ok(Exit::Ok)
            }
            Some(text) => {
                say(&format!("a: {}\nb: {}\n{text}", self.a.display(), self.b.display()))?;
                Ok(Exit::Unmet)
            }
        }
    }
}

/// Reads a trace file.
pub(crate) fn read(path: &Path) -> Result<Recording, String> {
    let file = File::open(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Recording::read(BufReader::new(file)).map_err(|error| format!("{}: {error}", path.display()))
}
