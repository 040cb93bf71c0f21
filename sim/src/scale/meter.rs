//! How long the steps of core and intake really take, by what is stepped. Reads a clock; decides nothing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sbft::pbft::Input;
use sbft::pbft::message::Message;

/// What was measured so far: how many, and how long in all.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    sums: BTreeMap<&'static str, (u64, Duration)>,
}

impl Meter {
    /// `count` steps of this kind took since `begun`.
    pub(crate) fn add(&mut self, kind: &'static str, count: usize, begun: Instant) {
        let sum = self.sums.entry(kind).or_default();
        sum.0 += count as u64;
        sum.1 += begun.elapsed();
    }

    /// Microseconds for each.
    pub(super) fn means(&self) -> BTreeMap<String, f64> {
        let mean = |(kind, (count, time)): (&&str, &(u64, Duration))| {
            ((*kind).to_owned(), time.as_secs_f64() * 1e6 / (*count).max(1) as f64)
        };
        self.sums.iter().map(mean).collect()
    }
}

/// The kind of a message.
pub(crate) fn kind_of(message: &Message) -> &'static str {
    match message {
        Message::PrePrepare(_) => "pre-prepare",
        Message::Prepare(_) => "prepare",
        Message::Commit(_) => "commit",
        Message::ViewChange(_) => "view-change",
        Message::NewView(_) => "new-view",
        Message::Status(_) => "status",
        Message::Offence(_) => "offence",
    }
}

/// The kind of an input of the core.
pub(crate) fn kind_of_input(input: &Input) -> &'static str {
    match input {
        Input::Message { message, .. } => kind_of(message.get()),
        Input::Candidate { .. } => "candidate",
        Input::BlocksDurable(_) => "durable",
        Input::Tick => "tick",
        _ => "other",
    }
}
