//! The progress line of long commands, on standard error: rewritten in place on a terminal, a
//! line now and then where somebody asked for it elsewhere.

use std::io::{self, IsTerminal};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::complain;

/// Between two lines where they cannot be rewritten.
const BETWEEN: Duration = Duration::from_secs(10);

/// A line that says how far a command is.
pub(crate) struct Line {
    terminal: bool,
    wanted: bool,
    last: Mutex<Option<Instant>>,
}

impl Line {
    /// Shown on a terminal, or if `wanted`.
    pub(crate) fn new(wanted: bool) -> Self {
        Self { terminal: io::stderr().is_terminal(), wanted, last: Mutex::new(None) }
    }

    /// Shows how far it is.
    pub(crate) fn show(&self, text: impl FnOnce() -> String) {
        let mut last = self.last.lock().expect("showing a line does not panic");
        if self.terminal {
            complain(&format!("\r\x1b[2K{}", text()));
            *last = Some(Instant::now());
        } else if self.wanted && last.is_none_or(|last| last.elapsed() >= BETWEEN) {
            complain(&format!("{}\n", text()));
            *last = Some(Instant::now());
        }
    }

    /// Takes the line away again.
    pub(crate) fn end(&self) {
        if self.terminal && self.last.lock().expect("showing a line does not panic").is_some() {
            complain("\r\x1b[2K");
        }
    }
}
