//! What people see of a run: a report for the terminal, a picture, a transcript.
//!
//! All of them are made from a [`crate::trace::Recording`], whether it comes from a run that has
//! just ended or from a file. [`story`] joins its events (which packet arrived where, how many
//! votes were there), [`past`] finds the events that show a violation and what led to them.

#[cfg(test)]
mod test_runs;

/// The commit this program was built from; `unknown` outside a git repository.
pub fn commit() -> &'static str {
    env!("SBFT_SIM_COMMIT")
}

pub mod diff;
pub mod golden;
pub mod html;
pub mod past;
pub mod story;
pub mod terminal;
