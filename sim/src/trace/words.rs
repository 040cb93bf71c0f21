//! Events in words: the lines of `--print`, and what scripts expect replicas to say.

use std::rc::Rc;
use std::time::Duration;

use sbft::pbft::message::{Message, Offence};
use sbft::pbft::{Note, Record};
use sbft::types::{Number, Time};

use super::event::{About, Event, State, What};
use crate::disk::BlockStore;
use crate::network::{Kind, Label, Letter, Packet};
use crate::workload::Workload;
use crate::world::Body;

/// A body's name: its place, and for twins which one.
pub fn body(bodies: &[Body], body: usize) -> String {
    let place = bodies[body].place;
    let twin = if body == place.index() { "" } else { "'" };
    let liar = if bodies[body].is_honest() { "" } else { "!" };
    format!("{place}{twin}{liar}")
}

/// A note as an event.
pub fn note(note: &Note, store: &BlockStore, workload: &Workload) -> What {
    match note {
        Note::Accepted { view, number } => What::Accepted { view: view.0, number: number.0 },
        Note::Prepared { view, number } => What::Prepared { view: view.0, number: number.0 },
        Note::Committed { view, number, envelopes } => What::Committed {
            view: view.0,
            number: number.0,
            envelopes: match store.block(*number) {
                Some(block) => names(workload, &block.data),
                None => vec![format!("({envelopes} envelopes)")],
            },
        },
        Note::Complains { view, reason } => What::Complains { view: view.0, reason: reason.to_string() },
        Note::Withdrew { view } => What::Withdrew { view: view.0 },
        Note::Suspected { view, reason } => What::Suspected { view: view.0, reason: reason.to_string() },
        Note::EnteredView { view, primary, reproposed } => {
            What::Entered { view: view.0, primary: primary.0, reproposed: *reproposed as u64 }
        }
        Note::Abstains { view, upto } => What::Abstains { view: view.0, upto: upto.0 },
        Note::Halted { reason } => What::Halted { reason: reason.to_string() },
    }
}

fn names(workload: &Workload, data: &[bytes::Bytes]) -> Vec<String> {
    data.iter().map(|envelope| workload.names([envelope])).collect()
}

/// A log record in words.
pub fn record(record: &Record, workload: &Workload) -> String {
    match record {
        Record::Payload(candidate) => {
            format!("payload {} [{}]", candidate.digest, workload.names(&candidate.envelopes))
        }
        Record::Bound { view, upto } => format!("votes up to {upto} in {view}"),
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
fn offence(offence: &Offence) -> String {
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

impl What {
    /// A candidate was cut.
    pub(crate) fn cut(candidate: &sbft::types::Candidate, workload: &Workload) -> Self {
        Self::Cut { digest: candidate.digest.to_string(), envelopes: names(workload, &candidate.envelopes) }
    }

    /// A block was appended.
    pub(crate) fn append(block: &sbft::types::CommittedBlock, workload: &Workload) -> Self {
        Self::Append {
            view: block.certificate.view.0,
            number: block.number().0,
            hash: sbft::header::header_hash(&block.certificate.header).to_string(),
            envelopes: names(workload, &block.data),
        }
    }

    /// A replica has proof of a lie.
    pub(crate) fn accuse(proof: &Offence) -> Self {
        Self::Accuse { text: offence(proof) }
    }

    /// What a replica says about itself, in the words of scripts; none for everything else.
    pub fn said(&self) -> Option<String> {
        Some(match self {
            Self::Accepted { view, number } => format!("accepted #{number} in v{view}"),
            Self::Prepared { view, number } => format!("prepared #{number} in v{view}"),
            Self::Committed { view, number, envelopes } => match envelopes.as_slice() {
                [only] if only.starts_with('(') => format!("committed #{number} in v{view} {only}"),
                names => format!("committed #{number} in v{view}: {}", names.join(" ")),
            },
            Self::Complains { view, reason } => format!("complains about v{view}: {reason}"),
            Self::Abstains { view, upto } => {
                format!("casts no new prepare in v{view} up to #{upto}: it may have cast some")
            }
            Self::Withdrew { view } => format!("has no complaint about v{view} any more"),
            Self::Suspected { view, reason } => format!("asks for v{view}: {reason}"),
            Self::Entered { view, primary, reproposed } => {
                format!("entered v{view} of r{primary}, {reproposed} proposed again")
            }
            Self::Halted { reason } => format!("halted: {reason}"),
            Self::AsksView { view, base, carried } => {
                let carried: Vec<String> =
                    carried.iter().map(|(number, view)| format!("#{number} of v{view}")).collect();
                let carrying = if carried.is_empty() {
                    String::new()
                } else {
                    format!(", carrying {}", carried.join(", "))
                };
                format!("view-change to v{view} above #{base}{carrying}")
            }
            Self::StartsView { view, from } => {
                let from: Vec<String> = from.iter().map(u16::to_string).collect();
                format!("new-view {} from view-changes of {}", format_args!("v{view}"), from.join(" "))
            }
            _ => return None,
        })
    }

    /// In words, without when and where. `names` are those of the bodies.
    pub fn words(&self, names: &[String]) -> String {
        let name = |body: &usize| names.get(*body).cloned().unwrap_or_else(|| format!("body {body}"));
        let all = |bodies: &[usize]| bodies.iter().map(name).collect::<Vec<_>>().join(" ");
        match self {
            Self::Submit { envelope } => format!("accepts {envelope}"),
            Self::Cut { digest, envelopes } => format!("cuts {digest} [{}]", envelopes.join(" ")),
            Self::Send { to, message, lost, arrives } => {
                let fate = match lost {
                    Some(why) => format!(" (lost: {why})"),
                    None if arrives.len() > 1 => " (twice)".to_owned(),
                    None => String::new(),
                };
                format!("-> {} {message}{fate}", name(to))
            }
            Self::Deliver { from, message, .. } => format!("<- {} {message}", name(from)),
            Self::Unheard { from, message, why, .. } => {
                format!("<- {} {message} (unheard: {why})", name(from))
            }
            Self::Own { message } => format!("<- itself {message}"),
            Self::Checked { digest, good } => {
                format!("found {digest} {}", if *good { "valid" } else { "invalid" })
            }
            Self::Persist { record } => format!("logs {record}"),
            Self::Sync { position } => format!("log synced to {position}"),
            Self::BlockSync { number } => format!("blocks synced to #{number}"),
            Self::Disk { fault, text } => format!("disk {fault}: {text}"),
            Self::Clock { fault, text } => format!("clock {fault}: {text}"),
            Self::Compact { records } => format!("compacts its log to {records} records"),
            Self::Start { number, records } => format!("starts at #{number} with {records} records"),
            Self::Crash { records, of_records, blocks, of_blocks } => format!(
                "is down; of what was not synced, {records} of {of_records} records and {blocks} of {of_blocks} blocks survive"
            ),
            Self::Wipe => "lost its disk".to_owned(),
            Self::Stumbled => "stumbled: its own core refused its lies".to_owned(),
            Self::Link { peer, up } => format!("link to r{peer} {}", if *up { "up" } else { "down" }),
            Self::Timer => "timer".to_owned(),
            Self::Append { view, number, hash, envelopes } => {
                format!("appends #{number} of v{view} {hash} [{}]", envelopes.join(" "))
            }
            Self::Release { digest, origin } => format!("releases {digest} of r{origin}"),
            Self::Accuse { text } => format!("accuses: {text}"),
            Self::Lie { attack, text } => format!("lies ({attack}): {text}"),
            Self::Fault { fault, text, from, to } => {
                let mut words = fault.clone();
                for part in [all(from), if to.is_empty() { String::new() } else { format!("to {}", all(to)) }]
                    .iter()
                    .chain([text])
                {
                    if !part.is_empty() {
                        words.push(' ');
                        words.push_str(part);
                    }
                }
                words
            }
            Self::State(state) => format!("{state}"),
            Self::Links { cut } => {
                let cut: Vec<String> =
                    cut.iter().map(|(from, to)| format!("{} to {}", name(from), all(to))).collect();
                if cut.is_empty() {
                    "all links work".to_owned()
                } else {
                    format!("links cut: {}", cut.join(", "))
                }
            }
            Self::Violation { class, check, text } => format!("FAILED {class} ({check}): {text}"),
            Self::Stopped { reason } => format!("stops: {reason}"),
            Self::Accepted { .. }
            | Self::Prepared { .. }
            | Self::Committed { .. }
            | Self::Suspected { .. }
            | Self::Complains { .. }
            | Self::Withdrew { .. }
            | Self::Abstains { .. }
            | Self::Entered { .. }
            | Self::Halted { .. }
            | Self::AsksView { .. }
            | Self::StartsView { .. } => format!("* {}", self.said().unwrap_or_default()),
        }
    }
}

impl Event {
    /// One line for people.
    pub fn line(&self, names: &[String]) -> String {
        let at = Time(Duration::from_micros(self.at));
        let words = self.what.words(names);
        match self.body {
            Some(body) => {
                let name = names.get(body).cloned().unwrap_or_else(|| format!("body {body}"));
                format!("{at} {name} {words}")
            }
            None => format!("{at} {words}"),
        }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.up {
            let active = if self.active { "active" } else { "inactive" };
            write!(f, "v{} {active}, accepted #{}, prepared #{}, ", self.view, self.accepted, self.prepared)?;
        } else {
            f.write_str("down, ")?;
        }
        let ((records, unsynced), (blocks, unstored)) = (self.records, self.blocks);
        let not = |count: u64| if count == 0 { String::new() } else { format!(" ({count} not synced)") };
        write!(f, "{blocks} blocks{}, {records} log records{}", not(unstored), not(unsynced as u64))
    }
}

impl std::fmt::Display for About {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.kind {
            Kind::Repair => "candidate (repair)",
            kind => Kind::NAMES.iter().find(|(known, _)| *known == kind).map_or("?", |(_, name)| name),
        })?;
        match self.kind {
            Kind::PrePrepare | Kind::Prepare | Kind::Commit => write!(f, " v{} #{}", self.view, self.number)?,
            Kind::ViewChange | Kind::NewView | Kind::Status | Kind::Offence => write!(f, " v{}", self.view)?,
            _ => {}
        }
        if let Some(digest) = &self.digest {
            write!(f, " {digest}")?;
        }
        if !self.more.is_empty() {
            write!(f, " {}", self.more)?;
        }
        if self.bad { f.write_str(" (bad)") } else { Ok(()) }
    }
}

/// What a replica's own broadcast is about.
pub(crate) fn about_own(message: &Message, label: Label) -> About {
    about(&Packet::Message(Rc::new(Letter { message: message.clone(), good: Ok(()), label })))
}

/// What a packet is about.
pub(crate) fn about(packet: &Packet) -> About {
    let label = packet.label();
    let mut about = About {
        kind: label.kind,
        view: label.view.0,
        number: label.number.0,
        digest: None,
        more: String::new(),
        bad: false,
    };
    match packet {
        Packet::Message(letter) => {
            about.bad = letter.good.is_err();
            match &letter.message {
                Message::PrePrepare(_) | Message::Prepare(_) | Message::Commit(_) => {
                    about.digest = Some(format!("{:08x}", label.tag >> 32));
                }
                Message::Status(status) => {
                    about.more = format!(
                        "{} committed {} accepted {} prepared {}",
                        if status.active { "active" } else { "inactive" },
                        status.committed,
                        status.accepted,
                        status.prepared
                    );
                }
                Message::ViewChange(change) => {
                    about.more = format!(
                        "of {} above {} with {} certificates",
                        change.signer,
                        change.body.base_number(),
                        change.body.prepared.len()
                    );
                }
                Message::NewView(new_view) => {
                    let changes = &new_view.body.view_changes;
                    let base =
                        changes.iter().map(|change| change.body.base_number()).max().unwrap_or(Number(0));
                    about.more = format!("base {base}");
                }
                Message::Offence(proof) => about.more = offence(proof),
            }
        }
        Packet::WantBlocks(first, last) => about.more = format!("{first}..{last}"),
        Packet::Blocks(blocks) => about.more = format!("{} ({})", label.number, blocks.len()),
        Packet::WantCandidates(digests) => {
            let digests: Vec<String> = digests.iter().map(ToString::to_string).collect();
            about.more = digests.join(" ");
        }
        Packet::Candidate(candidate) | Packet::Repair(candidate) => {
            about.digest = Some(candidate.digest.to_string());
            about.more = format!("of {}", candidate.origin);
        }
    }
    about
}

/// A duration as scripts write it.
pub fn span(duration: Duration) -> String {
    if duration.subsec_millis() == 0 && duration.subsec_micros() == 0 {
        format!("{}s", duration.as_secs())
    } else {
        format!("{}ms", duration.as_millis())
    }
}
