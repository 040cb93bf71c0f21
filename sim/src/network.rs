//! The network: every packet is lost, delayed, doubled or cut off by keyed draws and by rules.
//!
//! Endpoints are bodies (a replica, or one of two twins that share a key), not places.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sbft::pbft::message::{Message, Offence};
use sbft::types::{Candidate, CommittedBlock, Digest, Number, View};

use crate::draw::{Draws, Purpose, mix};
use crate::signing::Flaw;

/// What travels.
#[derive(Clone, Debug)]
pub enum Packet {
    /// A message of the ordering plane.
    Message(Rc<Letter>),
    /// A candidate from its origin, on the bulk stream.
    Candidate(Arc<Candidate>),
    /// A candidate on the repair stream.
    Repair(Arc<Candidate>),
    /// Please send these candidates.
    WantCandidates(Vec<Digest>),
    /// Please send these blocks.
    WantBlocks(Number, Number),
    /// Consecutive blocks.
    Blocks(Vec<Arc<CommittedBlock>>),
}

/// A message and what the network may know of it, worked out once for all receivers.
#[derive(Clone, Debug)]
pub struct Letter {
    /// The message.
    pub message: Message,
    /// The checker's verdict, which is the same for every receiver.
    pub good: Result<(), Flaw>,
    /// Its label.
    pub label: Label,
}

/// The kind of a packet, for rules and traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A proposal.
    PrePrepare,
    /// A prepare vote.
    Prepare,
    /// A commit vote.
    Commit,
    /// A vote for another view.
    ViewChange,
    /// The start of a view.
    NewView,
    /// A status.
    Status,
    /// Proof of a lie.
    Offence,
    /// A candidate on the bulk stream.
    Candidate,
    /// A candidate on the repair stream.
    Repair,
    /// A request for candidates.
    WantCandidates,
    /// A request for blocks.
    WantBlocks,
    /// Blocks.
    Blocks,
}

impl Kind {
    /// Every kind with its name in scenario files and traces.
    pub const NAMES: [(Self, &'static str); 12] = [
        (Self::PrePrepare, "pre-prepare"),
        (Self::Prepare, "prepare"),
        (Self::Commit, "commit"),
        (Self::ViewChange, "view-change"),
        (Self::NewView, "new-view"),
        (Self::Status, "status"),
        (Self::Offence, "offence"),
        (Self::Candidate, "candidate"),
        (Self::Repair, "repair"),
        (Self::WantCandidates, "want-candidates"),
        (Self::WantBlocks, "want-blocks"),
        (Self::Blocks, "blocks"),
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.iter().find(|(kind, _)| kind == self).map_or("?", |(_, name)| name);
        f.write_str(name)
    }
}

/// What a packet is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// Its kind.
    pub kind: Kind,
    /// Its view; 0 where it has none.
    pub view: View,
    /// Its number; 0 where it has none.
    pub number: Number,
    /// Tells its content from others', for draws and traces.
    pub tag: u64,
}

impl Packet {
    /// What it is about.
    pub fn label(&self) -> Label {
        match self {
            Self::Message(letter) => letter.label,
            Self::Candidate(candidate) => Label {
                kind: Kind::Candidate,
                view: View(0),
                number: Number(0),
                tag: short(&candidate.digest),
            },
            Self::Repair(candidate) => {
                Label { kind: Kind::Repair, view: View(0), number: Number(0), tag: short(&candidate.digest) }
            }
            Self::WantCandidates(digests) => Label {
                kind: Kind::WantCandidates,
                view: View(0),
                number: Number(0),
                tag: digests.first().map_or(0, short),
            },
            Self::WantBlocks(first, last) => {
                Label { kind: Kind::WantBlocks, view: View(0), number: *first, tag: last.0 }
            }
            Self::Blocks(blocks) => Label {
                kind: Kind::Blocks,
                view: View(0),
                number: blocks.first().map_or(Number(0), |block| block.number()),
                tag: blocks.len() as u64,
            },
        }
    }
}

/// The label of a message. `digest` is the proposal digest of a pre-prepare, which the caller
/// has at hand.
pub fn label(message: &Message, genesis: &Digest) -> Label {
    let (kind, view, number, tag) = match message {
        Message::PrePrepare(m) => {
            (Kind::PrePrepare, m.view, m.proposal.number(), short(&m.proposal.digest(genesis)))
        }
        Message::Prepare(m) => (Kind::Prepare, m.vote.view, m.vote.number, short(&m.vote.digest)),
        Message::Commit(m) => (Kind::Commit, m.vote.view, m.vote.header.number, short(&m.vote.digest)),
        Message::ViewChange(m) => (
            Kind::ViewChange,
            m.body.view,
            m.body.base_number(),
            mix(m.body.prepared.len() as u64, u64::from(m.signer.0)),
        ),
        Message::NewView(m) => {
            let tag = m.body.view_changes.iter().fold(0, |tag, change| mix(tag, u64::from(change.signer.0)));
            (Kind::NewView, m.body.view, Number(0), tag)
        }
        Message::Status(m) => {
            (Kind::Status, m.view, m.committed, mix(m.accepted.0, m.prepared.0 << 1 | u64::from(m.active)))
        }
        Message::Offence(offence) => {
            let view = match offence {
                Offence::Prepares(one, _) => one.vote.view,
                Offence::Commits(one, _) => one.vote.view,
                Offence::NewView(new_view) => new_view.body.view,
            };
            (Kind::Offence, view, Number(0), 0)
        }
    };
    Label { kind, view, number, tag }
}

/// The first eight bytes of a digest.
pub fn short(digest: &Digest) -> u64 {
    u64::from_be_bytes(digest.0[..8].try_into().expect("a digest has 32 bytes"))
}

/// How packets fare on every link.
#[derive(Clone, Debug)]
pub struct Conditions {
    /// Least delay.
    pub least: Duration,
    /// Mean of the exponentially distributed rest.
    pub mean: Duration,
    /// How often a packet takes up to `tail` longer.
    pub tail_chance: f64,
    /// The longest extra delay.
    pub tail: Duration,
    /// How often a packet is lost.
    pub loss: f64,
    /// How often a packet arrives twice.
    pub duplicate: f64,
    /// How often one phase (kind, view, number) reaches only some of the replicas.
    pub phase_cut: f64,
}

impl Conditions {
    /// A constant delay and nothing lost.
    pub fn steady(delay: Duration) -> Self {
        Self {
            least: delay,
            mean: Duration::ZERO,
            tail_chance: 0.0,
            tail: Duration::ZERO,
            loss: 0.0,
            duplicate: 0.0,
            phase_cut: 0.0,
        }
    }

    /// The longest delay that a packet can have, with the exponential part cut at ten means.
    pub fn longest(&self) -> Duration {
        self.least + self.mean * 10 + self.tail
    }
}

/// A rule about some packets. The first rule that matches a packet decides.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    /// Bodies it may come from; none means all.
    pub from: Option<Vec<usize>>,
    /// Bodies it may go to.
    pub to: Option<Vec<usize>>,
    /// Kinds; none means all.
    pub kinds: Option<Vec<Kind>>,
    /// View.
    pub view: Option<View>,
    /// Number.
    pub number: Option<Number>,
    /// How many packets it still takes; none means all.
    pub left: Option<u32>,
    /// What happens to them.
    pub fate: Fate,
}

/// What a rule does to a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fate {
    /// Lost.
    #[default]
    Drop,
    /// As if no later rule were there.
    Pass,
    /// Takes exactly this long.
    Delay(Duration),
}

impl Rule {
    /// The rule is about this packet.
    pub fn takes(&self, from: usize, to: usize, label: &Label) -> bool {
        self.left != Some(0)
            && self.from.as_ref().is_none_or(|bodies| bodies.contains(&from))
            && self.to.as_ref().is_none_or(|bodies| bodies.contains(&to))
            && self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&label.kind))
            && self.view.is_none_or(|view| view == label.view)
            && self.number.is_none_or(|number| number == label.number)
    }
}

/// The network's state.
#[derive(Debug)]
pub struct Network {
    draws: Draws,
    /// How packets fare now.
    pub conditions: Conditions,
    /// Rules, first match decides.
    pub rules: Vec<Rule>,
    /// `cut[from]` has bit `to` set: nothing gets through in that direction.
    cut: Vec<u64>,
    attempts: BTreeMap<u64, u32>,
}

impl Network {
    /// A network of `bodies` endpoints.
    pub fn new(draws: Draws, bodies: usize, conditions: Conditions) -> Self {
        assert!(bodies <= 64, "a set of bodies is a 64-bit mask");
        Self { draws, conditions, rules: Vec::new(), cut: vec![0; bodies], attempts: BTreeMap::new() }
    }

    /// Cuts every link from a body in `from` to a body in `to` (masks).
    pub fn cut(&mut self, from: u64, to: u64) {
        for (body, cut) in self.cut.iter_mut().enumerate() {
            if from >> body & 1 == 1 {
                *cut |= to & !(1 << body);
            }
        }
    }

    /// Mends every link from a body in `from` to a body in `to` (masks).
    pub fn mend(&mut self, from: u64, to: u64) {
        for (body, cut) in self.cut.iter_mut().enumerate() {
            if from >> body & 1 == 1 {
                *cut &= !to;
            }
        }
    }

    /// The link in this direction works.
    pub fn connected(&self, from: usize, to: usize) -> bool {
        self.cut[from] >> to & 1 == 0
    }

    /// When the copies of a packet arrive: none, one or two delays.
    pub fn fate(&mut self, from: usize, to: usize, label: &Label) -> [Option<Duration>; 2] {
        if !self.connected(from, to) {
            return [None, None];
        }
        if let Some(rule) = self.rules.iter_mut().find(|rule| rule.takes(from, to, label)) {
            if let Some(left) = &mut rule.left {
                *left -= 1;
            }
            match rule.fate {
                Fate::Drop => return [None, None],
                Fate::Delay(delay) => return [Some(delay), None],
                Fate::Pass => {}
            }
        }
        let conditions = &self.conditions;
        let about = mix(mix(label.kind as u64, label.view.0), mix(label.number.0, label.tag));
        let link = (from as u64) << 32 | to as u64;
        let vote = matches!(
            label.kind,
            Kind::PrePrepare | Kind::Prepare | Kind::Commit | Kind::ViewChange | Kind::NewView
        );
        if vote && conditions.phase_cut > 0.0 {
            let phase = [label.kind as u64, label.view.0, label.number.0];
            if self.draws.chance(Purpose::PhaseCut, &phase, conditions.phase_cut) {
                let reached = self.draws.bits(Purpose::PhaseCut, &[phase[0], phase[1], phase[2], 1]);
                if reached >> to & 1 == 0 {
                    return [None, None];
                }
            }
        }
        let attempt = self.attempts.entry(mix(about, link)).or_default();
        *attempt += 1;
        let key = [link, about, u64::from(*attempt)];
        if self.draws.chance(Purpose::Loss, &key, conditions.loss) {
            return [None, None];
        }
        let first = delay(self.draws, conditions, &key, 0);
        let second = self
            .draws
            .chance(Purpose::Duplicate, &key, conditions.duplicate)
            .then(|| delay(self.draws, conditions, &key, 1) + conditions.mean);
        [Some(first), second]
    }
}

fn delay(draws: Draws, conditions: &Conditions, key: &[u64; 3], copy: u64) -> Duration {
    let key = [key[0], key[1], key[2], copy];
    let rest = draws.exponential(Purpose::Delay, &key, conditions.mean).min(conditions.mean * 10);
    let tail = if draws.chance(Purpose::Tail, &key, conditions.tail_chance) {
        draws.duration(Purpose::Tail, &[key[0], key[1], key[2], copy, 1], Duration::ZERO, conditions.tail)
    } else {
        Duration::ZERO
    };
    conditions.least + rest + tail
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABEL: Label = Label { kind: Kind::Prepare, view: View(0), number: Number(1), tag: 9 };

    fn network(loss: f64) -> Network {
        let conditions = Conditions { loss, ..Conditions::steady(Duration::from_millis(1)) };
        Network::new(Draws::new(5), 4, conditions)
    }

    #[test]
    fn a_cut_is_one_way_until_it_is_mended() {
        let mut network = network(0.0);
        network.cut(0b0001, 0b0110);
        assert_eq!(network.fate(0, 1, &LABEL), [None, None]);
        assert_eq!(network.fate(1, 0, &LABEL), [Some(Duration::from_millis(1)), None]);
        assert!(network.connected(0, 3));
        network.mend(0b0001, 0b0010);
        assert!(network.connected(0, 1) && !network.connected(0, 2));
    }

    #[test]
    fn the_first_rule_that_takes_a_packet_decides() {
        let mut network = network(0.0);
        network.rules.push(Rule { kinds: Some(vec![Kind::Prepare]), left: Some(1), ..Rule::default() });
        assert_eq!(network.fate(0, 1, &LABEL), [None, None]);
        assert_eq!(network.fate(0, 1, &LABEL), [Some(Duration::from_millis(1)), None], "it took its one");
    }

    #[test]
    fn one_lost_packet_says_nothing_about_the_next_attempt() {
        let mut network = network(0.5);
        let arrived = (0..1000).filter(|_| network.fate(0, 1, &LABEL)[0].is_some()).count();
        assert!((400..600).contains(&arrived), "{arrived} of 1000 at loss 0.5");
    }
}
