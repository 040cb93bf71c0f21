//! What happened in a run: a hash by which two runs are compared, and, where somebody reads
//! them, the events.
//!
//! An [`Event`] is only made when somebody reads it: a run of a campaign pays for the hash and a
//! branch. Who adds a fault adds one line where it happens:
//!
//! ```text
//! self.trace.event(self.now, Some(body), || What::Disk { fault: "torn".into(), text: format!(…) });
//! ```
//!
//! Each event knows what caused it: the input that its replica was dealing with. A delivery's
//! cause is the sending, whose number is also the packet's, so that both can be joined; two
//! deliveries of one sending are a duplicate. The lines for people are the events in words.

mod event;
pub mod file;
mod outside;
mod recording;
mod words;

use std::io::{self, Write};

use sbft::pbft::message::Message;
use sbft::types::Time;

use crate::draw::mix;
use crate::world::Body;

pub use event::{About, BodyInfo, Event, Header, State, What};
pub use recording::Recording;
pub(crate) use words::{about, about_own};
pub use words::{body, note, record, span};

/// So many events of a run are kept, the first ones. Each takes some hundred bytes, and a picture of
/// them as much again: more would fill a machine's memory, and nobody reads them.
pub const MOST_KEPT: usize = 2_000_000;

/// The record of a run.
#[derive(Debug, Default)]
pub struct Trace {
    hash: u64,
    /// Print a line per event to the standard output.
    pub print: bool,
    /// Every event so far, for who wants to read them afterwards.
    pub events: Option<Vec<Event>>,
    /// What replicas said since it was last taken, for scripts: body and text.
    pub says: Option<Vec<(usize, String)>>,
    /// The event that is being dealt with: what happens now is its doing. 0 for none.
    pub cause: u64,
    /// The links that carried nothing when that was last noted, as masks.
    cut: Vec<u64>,
    /// The names of the bodies.
    pub(crate) names: Vec<String>,
    made: u64,
}

impl Trace {
    /// The record of a run of these bodies.
    pub fn of(bodies: &[Body]) -> Self {
        Self { names: (0..bodies.len()).map(|index| body(bodies, index)).collect(), ..Self::default() }
    }

    /// Counts an event into the hash.
    pub fn count(&mut self, at: Time, about: u64) {
        self.hash = mix(mix(self.hash, at.0.as_micros() as u64), about);
    }

    /// The hash of all events so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Somebody reads events.
    pub fn is_read(&self) -> bool {
        self.print || self.events.is_some() || self.says.is_some()
    }

    /// Something happens at a body (or at none), because of what is being dealt with. Gives the
    /// event's number; 0 when nobody reads it, and it was not made.
    pub fn event(&mut self, at: Time, body: Option<usize>, what: impl FnOnce() -> What) -> u64 {
        self.event_from(self.cause, at, body, what)
    }

    /// Something happens because of another event; 0 for none.
    pub fn event_from(
        &mut self,
        cause: u64,
        at: Time,
        body: Option<usize>,
        what: impl FnOnce() -> What,
    ) -> u64 {
        if !self.is_read() {
            return 0;
        }
        self.made += 1;
        let cause = (cause != 0).then_some(cause);
        let event = Event { id: self.made, at: at.0.as_micros() as u64, body, cause, what: what() };
        if let (Some(says), Some(body), Some(text)) = (&mut self.says, body, event.what.said()) {
            says.push((body, text));
        }
        if self.print {
            // Nobody reads any more (`| head`)? Then there is nothing more to say.
            self.print = writeln!(io::stdout(), "{}", event.line(&self.names)).is_ok();
        }
        if let Some(events) = &mut self.events {
            keep(events, event, MOST_KEPT);
        }
        self.made
    }

    /// Notes which links carry nothing now, if that has changed.
    pub(crate) fn links(&mut self, at: Time, connected: impl Fn(usize, usize) -> bool) {
        if !self.is_read() {
            return;
        }
        let bodies = self.names.len();
        let missing = |from: usize| {
            (0..bodies)
                .filter(|to| *to != from && !connected(from, *to))
                .fold(0, |mask, to| mask | 1_u64 << to)
        };
        let cut: Vec<u64> = (0..bodies).map(missing).collect();
        self.cut.resize(bodies, 0);
        if cut == self.cut {
            return;
        }
        let listed = cut.iter().enumerate().filter(|(_, to)| **to != 0);
        let listed: Vec<(usize, Vec<usize>)> = listed
            .map(|(from, mask)| (from, (0..bodies).filter(|to| mask >> to & 1 == 1).collect()))
            .collect();
        self.cut = cut;
        self.event(at, None, || What::Links { cut: listed });
    }

    /// A broadcast leaves; those that start a view are events of their own.
    pub(crate) fn promised(&mut self, cause: u64, at: Time, body: usize, message: &Message) {
        match message {
            Message::ViewChange(change) => {
                self.event_from(cause, at, Some(body), || What::AsksView {
                    view: change.body.view.0,
                    base: change.body.base_number().0,
                    carried: change
                        .body
                        .prepared
                        .iter()
                        .map(|certificate| (certificate.proposal.number().0, certificate.view.0))
                        .collect(),
                });
            }
            Message::NewView(new_view) => {
                self.event_from(cause, at, Some(body), || What::StartsView {
                    view: new_view.body.view.0,
                    from: new_view.body.view_changes.iter().map(|change| change.signer.0).collect(),
                });
            }
            _ => {}
        }
    }
}

/// Adds an event if there is room for it. How a run ended is kept in any case.
fn keep(events: &mut Vec<Event>, event: Event, most: usize) {
    if events.len() < most || matches!(event.what, What::Violation { .. } | What::State(_)) {
        events.push(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_events_the_first_are_kept_and_how_it_ended() {
        let mut events = Vec::new();
        let ended = || What::Violation { class: String::new(), check: String::new(), text: String::new() };
        for (id, what) in [(1, What::Timer), (2, What::Wipe), (3, What::Timer), (4, ended())] {
            keep(&mut events, Event { id, at: id, body: None, cause: None, what }, 2);
        }
        assert_eq!(events.iter().map(|event| event.id).collect::<Vec<_>>(), [1, 2, 4]);
    }

    #[test]
    fn an_event_that_nobody_reads_is_not_made() {
        let mut trace = Trace::default();
        let made = trace.event(Time::ZERO, None, || unreachable!("nobody reads it"));
        assert_eq!(made, 0);
    }

    #[test]
    fn an_event_knows_what_was_being_dealt_with() {
        let mut trace = Trace { events: Some(Vec::new()), ..Trace::default() };
        let first = trace.event(Time::ZERO, Some(0), || What::Timer);
        trace.cause = first;
        trace.event(Time::ZERO, Some(0), || What::Wipe);
        let events = trace.events.expect("they are kept");
        assert_eq!(events.iter().map(|event| event.cause).collect::<Vec<_>>(), vec![None, Some(first)]);
    }
}
