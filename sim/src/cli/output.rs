//! What a command may write beside its report: a picture and a trace.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use sbft_sim::plan::Show;
use sbft_sim::report;
use sbft_sim::trace::Recording;

/// The files that were asked for.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Output {
    /// Write the run as one HTML page with a space-time diagram.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write all events as newline-delimited JSON; see `sbft-sim diff`.
    #[arg(long, value_name = "FILE", alias = "ndjson")]
    trace: Option<PathBuf>,
    /// Print the run as a short text: who proposed what, what was committed, who changed the view and why.
    #[arg(long)]
    golden: bool,
}

impl Output {
    /// How a run must be shown so that the files can be written.
    pub(crate) fn show(&self, show: Show) -> Show {
        Show { record: show.record || self.html.is_some() || self.trace.is_some() || self.golden, ..show }
    }

    /// What is written, and where.
    pub(crate) fn files(&self) -> Vec<(&'static str, String)> {
        let file =
            |what, path: &Option<PathBuf>| path.as_ref().map(|path| (what, path.display().to_string()));
        [file("picture", &self.html), file("trace", &self.trace)].into_iter().flatten().collect()
    }

    /// The option by which something was asked for, if there is one.
    pub(crate) fn option(&self) -> Option<&'static str> {
        let wanted =
            [("--html", self.html.is_some()), ("--trace", self.trace.is_some()), ("--golden", self.golden)];
        wanted.into_iter().find(|(_, is_wanted)| *is_wanted).map(|(option, _)| option)
    }

    /// Writes what was asked for. `title` says what ran, `reproduce` is the command that runs it again.
    pub(crate) fn write(
        &self,
        recording: Option<&mut Recording>,
        title: &str,
        reproduce: &str,
    ) -> Result<(), String> {
        let Some(recording) = recording else { return Ok(()) };
        recording.entitle(title, reproduce);
        if recording.header.left_out > 0 && self.option().is_some() {
            super::complain(&format!(
                "note: the run was too long to keep all of it: its first {} lines of trace are kept, {} more are not\n",
                recording.events.len(),
                recording.header.left_out
            ));
        }
        if self.golden {
            super::say(&report::golden::transcript(recording))?;
        }
        if let Some(path) = &self.html {
            write(path, report::html::write(recording).as_bytes())?;
        }
        if let Some(path) = &self.trace {
            let mut bytes = Vec::new();
            recording.write(&mut bytes).map_err(|error| format!("{}: {error}", path.display()))?;
            write(path, &bytes)?;
        }
        Ok(())
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    fs::write(path, bytes).map_err(|error| format!("cannot write {}: {error}", path.display()))
}
