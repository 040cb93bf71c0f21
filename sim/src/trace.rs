//! What people see of a run, and the hash by which two runs are compared.
//!
//! A line is only made when somebody reads it. What scripts expect ("says") is a second, much
//! shorter list: what replicas say about themselves, and the promises that start a view.

use std::time::Duration;

use sbft::pbft::message::{Message, Offence, PreparedCertificate};
use sbft::pbft::{Note, Record};
use sbft::types::{Number, Time};

use crate::disk::BlockStore;
use crate::draw::mix;
use crate::network::Packet;
use crate::workload::Workload;
use crate::world::Body;

/// The record of a run.
#[derive(Debug, Default)]
pub struct Trace {
    hash: u64,
    /// Print a line per event to the standard output.
    pub print: bool,
    /// Keep the last lines for a report.
    pub keep: Option<Vec<String>>,
    /// What replicas said since it was last taken, for scripts: body and text.
    pub says: Option<Vec<(usize, String)>>,
}

impl Trace {
    /// Counts an event into the hash.
    pub fn count(&mut self, at: Time, about: u64) {
        self.hash = mix(mix(self.hash, at.0.as_micros() as u64), about);
    }

    /// The hash of all events so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Adds a line, if anybody reads it.
    pub fn line(&mut self, at: Time, text: impl FnOnce() -> String) {
        if self.print || self.keep.is_some() {
            self.note(at, &text());
        }
    }

    /// Adds a line.
    pub fn note(&mut self, at: Time, text: &str) {
        if self.print {
            println!("{at} {text}");
        }
        if let Some(kept) = &mut self.keep {
            kept.push(format!("{at} {text}"));
        }
    }

    /// A replica says something about itself.
    pub fn said(&mut self, at: Time, body: usize, bodies: &[Body], text: String) {
        if let Some(says) = &mut self.says {
            says.push((body, text.clone()));
        }
        self.line(at, || format!("{} * {text}", self::body(bodies, body)));
    }

    /// A broadcast left; those that start a view belong into a script's expectation.
    pub fn promised(
        &mut self,
        at: Time,
        body: usize,
        bodies: &[Body],
        message: &Message,
        workload: &Workload,
    ) {
        if self.says.is_none() {
            return;
        }
        match message {
            Message::ViewChange(change) => {
                let carried: Vec<String> =
                    change.body.prepared.iter().map(|certificate| prepared(certificate)).collect();
                let carrying = if carried.is_empty() {
                    String::new()
                } else {
                    format!(", carrying {}", carried.join(", "))
                };
                let text = format!(
                    "view-change to {} above {}{carrying}",
                    change.body.view,
                    change.body.base_number()
                );
                self.said(at, body, bodies, text);
            }
            Message::NewView(new_view) => {
                let from: Vec<String> =
                    new_view.body.view_changes.iter().map(|change| change.signer.0.to_string()).collect();
                self.said(
                    at,
                    body,
                    bodies,
                    format!("new-view {} from view-changes of {}", new_view.body.view, from.join(" ")),
                );
            }
            _ => {}
        }
        let _ = workload;
    }
}

fn prepared(certificate: &PreparedCertificate) -> String {
    format!("{} of {}", certificate.proposal.number(), certificate.view)
}

/// A body's name: its place, and for twins which one.
pub fn body(bodies: &[Body], body: usize) -> String {
    let place = bodies[body].place;
    let twin = if body == place.index() { "" } else { "'" };
    let liar = if bodies[body].is_honest() { "" } else { "!" };
    format!("{place}{twin}{liar}")
}

/// A note in words.
pub fn note(note: &Note, store: &BlockStore, workload: &Workload) -> String {
    match note {
        Note::Accepted { view, number } => format!("accepted {number} in {view}"),
        Note::Prepared { view, number } => format!("prepared {number} in {view}"),
        Note::Committed { view, number, envelopes } => match store.block(*number) {
            Some(block) => format!("committed {number} in {view}: {}", workload.names(&block.data)),
            None => format!("committed {number} in {view} ({envelopes} envelopes)"),
        },
        Note::Suspected { view, reason } => format!("asks for {view}: {reason}"),
        Note::EnteredView { view, primary, reproposed } => {
            format!("entered {view} of {primary}, {reproposed} proposed again")
        }
        Note::Halted { reason } => format!("halted: {reason}"),
    }
}

/// A log record in words.
pub fn record(record: &Record, workload: &Workload) -> String {
    match record {
        Record::Payload(candidate) => {
            format!("payload {} [{}]", candidate.digest, workload.names(&candidate.envelopes))
        }
        Record::Accepted { view, proposal } => format!("accepted {} in {view}", proposal.number()),
        Record::Prepared(certificate) => {
            format!("prepared {} in {}", certificate.proposal.number(), certificate.view)
        }
        Record::ViewChange(view) => format!("view-change to {view}"),
        Record::NewViewChosen(body) => format!("new-view {} chosen", body.view),
        Record::NewView(new_view) => format!("new-view {}", new_view.body.view),
    }
}

/// An offence in words.
pub fn offence(offence: &Offence) -> String {
    match offence {
        Offence::Prepares(one, other) => format!(
            "{} prepared both {} and {} at {} {}",
            one.signer, one.vote.digest, other.vote.digest, one.vote.view, one.vote.number
        ),
        Offence::Commits(one, other) => format!(
            "{} committed both {} and {} at {} {}",
            one.signer, one.vote.digest, other.vote.digest, one.vote.view, one.vote.header.number
        ),
        Offence::NewView(new_view) => format!("a bad new-view for {}", new_view.body.view),
    }
}

/// A packet in words.
pub fn packet(packet: &Packet) -> String {
    let label = packet.label();
    match packet {
        Packet::Message(letter) => {
            let bad = if letter.good.is_ok() { "" } else { " (bad)" };
            match &letter.message {
                Message::Status(s) => format!(
                    "status {} {} committed {} accepted {} prepared {}",
                    s.view,
                    if s.active { "active" } else { "inactive" },
                    s.committed,
                    s.accepted,
                    s.prepared
                ),
                Message::ViewChange(change) => format!(
                    "view-change of {} to {} above {} with {} certificates{bad}",
                    change.signer,
                    change.body.view,
                    change.body.base_number(),
                    change.body.prepared.len()
                ),
                Message::NewView(new_view) => {
                    let base = new_view
                        .body
                        .view_changes
                        .iter()
                        .map(|change| change.body.base_number())
                        .max()
                        .unwrap_or(Number(0));
                    format!("new-view {} base {base}{bad}", new_view.body.view)
                }
                _ => format!("{} {} {} {:08x}{bad}", label.kind, label.view, label.number, label.tag >> 32),
            }
        }
        Packet::WantBlocks(first, last) => format!("want-blocks {first}..{last}"),
        Packet::Blocks(blocks) => format!("blocks {} ({})", label.number, blocks.len()),
        Packet::WantCandidates(digests) => format!("want-candidates {digests:?}"),
        Packet::Candidate(candidate) | Packet::Repair(candidate) => {
            format!("{} {} of {}", label.kind, candidate.digest, candidate.origin)
        }
    }
}

/// A duration as scripts write it.
pub fn span(duration: Duration) -> String {
    if duration.subsec_millis() == 0 && duration.subsec_micros() == 0 {
        format!("{}s", duration.as_secs())
    } else {
        format!("{}ms", duration.as_millis())
    }
}
