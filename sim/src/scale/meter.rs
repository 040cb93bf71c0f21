//! How long the steps of core and intake really take, by what is stepped. Reads a clock; decides nothing.

use std::collections::BTreeMap;
use std::time::Instant;

use sbft::pbft::Input;
use sbft::pbft::message::Message;

/// Samples kept of each kind.
const KEPT: usize = 100_000;

/// What was measured so far: how long each took, nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    samples: BTreeMap<&'static str, Vec<u64>>,
}

impl Meter {
    /// `count` steps of this kind took since `begun`.
    pub(crate) fn add(&mut self, kind: &'static str, count: usize, begun: Instant) {
        let nanos = begun.elapsed().as_nanos() as u64 / (count as u64).max(1);
        let samples = self.samples.entry(kind).or_default();
        if samples.len() < KEPT {
            samples.push(nanos);
        }
    }

    /// Microseconds for each: the mean without the longest hundredth, in which the machine did something
    /// else.
    pub(super) fn means(mut self) -> BTreeMap<String, f64> {
        let mut means = BTreeMap::new();
        for (kind, samples) in &mut self.samples {
            samples.sort_unstable();
            let kept = samples.len().saturating_sub(samples.len().div_ceil(100)).max(1);
            let sum: u64 = samples[..kept].iter().sum();
            means.insert((*kind).to_owned(), sum as f64 / 1000.0 / kept as f64);
        }
        means
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
