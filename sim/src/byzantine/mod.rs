//! Liars: wrappers round a real core that bend what it hears and says.
//!
//! A liar runs the real protocol, which keeps it close to the state of the others, holds its own
//! key and nobody else's, and lies by a few small named strategies that combine. It never makes
//! an honest replica's signature: it can only choose whom to tell what, when, and sign
//! contradictions itself.

mod proposals;
mod spec;
mod views;
mod votes;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sbft::pbft::message::{Message, Proposal, SignedViewChange, Status};
use sbft::types::{Candidate, CommittedBlock, Digest, Number, Place, Time, View};

use crate::disk::BlockStore;
use crate::draw::{Draws, Purpose};
use crate::network::{Kind, Letter, Packet, label};
use crate::signing::Keys;
use crate::workload::Workload;
pub use spec::{AttackSpec, Span, Trigger};

/// A way to lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strategy {
    /// Says nothing at all.
    Silent,
    /// As primary, proposes one block to some and another to the rest, and votes for both.
    EquivocateHalves,
    /// As primary, proposes another block to one victim, and votes for both.
    EquivocateOne,
    /// As primary, proposes to just enough others for a quorum with itself.
    ProposeToFew,
    /// As primary, proposes blocks that break a rule.
    BadProposals,
    /// As primary, never proposes.
    SilentPrimary,
    /// As primary, proposes late.
    SlowPrimary,
    /// Ignores the candidates of one origin.
    Censor,
    /// Never votes prepare.
    WithholdPrepare,
    /// Never votes commit.
    WithholdCommit,
    /// Lets only one other replica hear its votes.
    SelectiveVote,
    /// Votes prepare and commit for every proposal that anybody mentions.
    VoteForAll,
    /// Sends some votes late.
    LateVote,
    /// Hides certificates and blocks in its view-changes.
    StaleViewChange,
    /// Tells different replicas different view-changes.
    SplitViewChange,
    /// Sends view-changes and votes with bad or borrowed signatures and short certificates.
    Forge,
    /// As new primary, chooses the view-changes that say least.
    NewViewSubset,
    /// As new primary, tells different replicas different new-views.
    NewViewSplit,
    /// As new primary, sends no new-view.
    SilentNewPrimary,
    /// Asks for higher views all the time.
    ViewChangeSpam,
    /// Floods with votes for numbers and views far away.
    Flood,
    /// Lies about how far it is.
    LyingStatus,
    /// Serves altered blocks.
    LyingBlocks,
    /// Says again what it said or heard before.
    Replay,
    /// Comes back from a crash with an old disk.
    Rollback,
    /// Passes on candidates of its own making as another origin's.
    ForgeOrigin,
    /// Answers for blocks one at a time, and late.
    DripBlocks,
    /// Lets the primary have its candidates long after the others.
    LateToPrimary,
}

impl Strategy {
    /// All of them, with their names.
    pub const NAMES: [(Self, &'static str); 28] = [
        (Self::Silent, "silent"),
        (Self::EquivocateHalves, "equivocate-halves"),
        (Self::EquivocateOne, "equivocate-one"),
        (Self::ProposeToFew, "propose-to-few"),
        (Self::BadProposals, "bad-proposals"),
        (Self::SilentPrimary, "silent-primary"),
        (Self::SlowPrimary, "slow-primary"),
        (Self::Censor, "censor"),
        (Self::WithholdPrepare, "withhold-prepare"),
        (Self::WithholdCommit, "withhold-commit"),
        (Self::SelectiveVote, "selective-vote"),
        (Self::VoteForAll, "vote-for-all"),
        (Self::LateVote, "late-vote"),
        (Self::StaleViewChange, "stale-view-change"),
        (Self::SplitViewChange, "split-view-change"),
        (Self::Forge, "forge"),
        (Self::NewViewSubset, "new-view-subset"),
        (Self::NewViewSplit, "new-view-split"),
        (Self::SilentNewPrimary, "silent-new-primary"),
        (Self::ViewChangeSpam, "view-change-spam"),
        (Self::Flood, "flood"),
        (Self::LyingStatus, "lying-status"),
        (Self::LyingBlocks, "lying-blocks"),
        (Self::Replay, "replay"),
        (Self::Rollback, "rollback"),
        (Self::ForgeOrigin, "forge-origin"),
        (Self::DripBlocks, "drip-blocks"),
        (Self::LateToPrimary, "late-to-primary"),
    ];

    /// The strategy of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, known)| *known == name).map(|(strategy, _)| *strategy)
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAMES.iter().find(|(known, _)| known == self).map_or("?", |(_, name)| name))
    }
}

/// Something that a liar sends.
#[derive(Clone, Debug)]
pub struct Act {
    /// To whom.
    pub to: Place,
    /// How much later than an honest replica would.
    pub delay: Duration,
    /// What.
    pub packet: Packet,
}

/// What a liar may look at and use.
pub struct Stage<'a> {
    /// Virtual time.
    pub now: Time,
    /// Randomness.
    pub draws: Draws,
    /// The harness's keys; a liar signs with its own only.
    pub keys: &'a Keys,
    /// Clients are on the liar's side too: it may submit envelopes of its own.
    pub workload: &'a mut Workload,
    /// The liar's blocks.
    pub store: &'a BlockStore,
    /// How many replicas there are.
    pub n: usize,
    /// The network behaves.
    pub healed: bool,
}

impl Stage<'_> {
    pub(crate) fn packet(&self, message: Message) -> Packet {
        let label = label(&message, &self.keys.domain().genesis);
        Packet::Message(Rc::new(Letter { good: self.keys.judge(&message), label, message }))
    }

    pub(crate) fn others(&self, me: Place) -> Vec<Place> {
        (0..self.n as u16).map(Place).filter(|place| *place != me).collect()
    }
}

/// Another block at a view and number, and who is told of it instead of the core's own.
#[derive(Clone, Debug)]
pub(crate) struct Fork {
    pub(crate) told: Vec<Place>,
}

/// A liar and what it remembers.
#[derive(Clone, Debug)]
pub struct Liar {
    me: Place,
    strategies: Vec<Strategy>,
    dead: bool,
    /// Proposals heard or made, by digest.
    proposals: BTreeMap<Digest, Arc<Proposal>>,
    /// Where it tells two stories.
    forks: BTreeMap<(View, Number), Fork>,
    /// Header hash of its other block at a number, to build the next one on.
    other_chain: BTreeMap<Number, Digest>,
    /// Candidates that it made up; it answers for them when asked.
    stock: BTreeMap<Digest, Arc<Candidate>>,
    /// Votes it cast for all: (view, number, digest).
    voted: BTreeMap<(View, Number, Digest), bool>,
    /// Good view-changes heard, by view and signer.
    view_changes: BTreeMap<View, BTreeMap<Place, Arc<SignedViewChange>>>,
    /// The last letters it said or heard.
    memory: VecDeque<Packet>,
    highest_view: View,
    sequence: u64,
    /// Whom it tells the other story, if a test wants it to be somebody in particular.
    told: Option<Vec<Place>>,
}

const MEMORY: usize = 64;
/// A liar's clients stop submitting when there are so many envelopes, or a run would not end.
const FORGED_ENVELOPES: u64 = 400;

impl Liar {
    /// A liar at `me`. Without strategies it is one whose twin is the lie.
    pub fn new(me: Place, strategies: Vec<Strategy>) -> Self {
        Self {
            me,
            strategies,
            dead: false,
            proposals: BTreeMap::new(),
            forks: BTreeMap::new(),
            other_chain: BTreeMap::new(),
            stock: BTreeMap::new(),
            voted: BTreeMap::new(),
            view_changes: BTreeMap::new(),
            memory: VecDeque::new(),
            highest_view: View(0),
            sequence: 1 << 40,
            told: None,
        }
    }

    /// A liar at `me` with these attacks of the catalogue.
    pub fn of(me: Place, specs: &[AttackSpec]) -> Result<Self, String> {
        let strategy = |spec: &AttackSpec| {
            Strategy::named(&spec.name).ok_or_else(|| format!("no attack is called \"{}\"", spec.name))
        };
        Ok(Self::new(me, specs.iter().map(strategy).collect::<Result<_, _>>()?))
    }

    /// The same liar, telling its other story to these replicas and no others.
    #[must_use]
    pub fn telling(mut self, places: &[u16]) -> Self {
        self.told = Some(places.iter().copied().map(Place).collect());
        self
    }

    /// Whose key it holds.
    pub fn place(&self) -> Place {
        self.me
    }

    /// Its strategies.
    pub fn strategies(&self) -> &[Strategy] {
        &self.strategies
    }

    fn does(&self, strategy: Strategy) -> bool {
        self.strategies.contains(&strategy)
    }

    /// Its own core stumbled over its lies; it says nothing any more.
    pub fn dies(&mut self) {
        self.dead = true;
    }

    /// Its own core stumbled.
    pub fn is_dead(&self) -> bool {
        self.dead
    }

    /// After a crash: how many records of its log it comes back with, if not all.
    pub(crate) fn rolls_back(&self, draws: Draws, key: &[u64; 3], records: usize) -> Option<usize> {
        self.does(Strategy::Rollback).then(|| draws.below(Purpose::Lie, key, records as u64 + 1) as usize)
    }

    /// Something arrived. False when its core is not to know.
    pub(crate) fn hear(
        &mut self,
        stage: &mut Stage<'_>,
        from: Place,
        packet: &Packet,
        acts: &mut Vec<Act>,
    ) -> bool {
        match packet {
            Packet::Message(letter) => {
                if letter.good.is_ok() {
                    self.highest_view = self.highest_view.max(match letter.label.kind {
                        Kind::Status | Kind::Offence => View(0),
                        _ => letter.label.view,
                    });
                    self.learn(&letter.message);
                    if self.does(Strategy::VoteForAll) {
                        self.vote_for_all(stage, &letter.message, acts);
                    }
                    self.remember(packet);
                }
                true
            }
            Packet::WantCandidates(digests) => {
                for candidate in digests.iter().filter_map(|digest| self.stock.get(digest)) {
                    let packet = Packet::Repair(candidate.clone());
                    acts.push(Act { to: from, delay: Duration::ZERO, packet });
                }
                true
            }
            Packet::Candidate(candidate) | Packet::Repair(candidate) if self.does(Strategy::Censor) => {
                candidate.origin != self.victim(stage)
            }
            _ => true,
        }
    }

    /// Its core says `letter` to `to`; what it really says goes to `acts`.
    pub(crate) fn say(
        &mut self,
        stage: &mut Stage<'_>,
        letter: &Rc<Letter>,
        to: &[Place],
        acts: &mut Vec<Act>,
    ) {
        if self.does(Strategy::Silent) || self.dead {
            return;
        }
        let packet = Packet::Message(letter.clone());
        self.remember(&packet);
        self.learn(&letter.message);
        let mut mine: Vec<Act> = to
            .iter()
            .map(|place| Act { to: *place, delay: Duration::ZERO, packet: packet.clone() })
            .collect();
        match &letter.message {
            Message::PrePrepare(pre_prepare) => self.bend_proposal(stage, pre_prepare, &mut mine),
            Message::Prepare(_) | Message::Commit(_) => self.bend_vote(stage, &letter.label, &mut mine),
            Message::ViewChange(change) if change.signer == self.me => {
                self.bend_view_change(stage, change, &mut mine);
            }
            Message::NewView(new_view) => self.bend_new_view(stage, new_view, &mut mine),
            Message::Status(status) if self.does(Strategy::LyingStatus) => {
                self.bend_status(stage, status, &mut mine);
            }
            _ => {}
        }
        acts.append(&mut mine);
    }

    /// Its core sends anything else to one replica.
    pub(crate) fn post(&mut self, stage: &mut Stage<'_>, to: Place, packet: Packet, acts: &mut Vec<Act>) {
        if self.does(Strategy::Silent) || self.dead {
            return;
        }
        let packet = match packet {
            Packet::Blocks(blocks) if self.does(Strategy::LyingBlocks) => {
                Packet::Blocks(blocks.iter().map(|block| alter(stage, self.me, block)).collect())
            }
            other => other,
        };
        let (packet, delay) = match packet {
            Packet::Blocks(mut blocks) if self.does(Strategy::DripBlocks) => {
                blocks.truncate(1);
                (Packet::Blocks(blocks), Duration::from_millis(350))
            }
            Packet::Candidate(candidate)
                if self.does(Strategy::LateToPrimary) && to == self.highest_view.primary(stage.n) =>
            {
                (Packet::Candidate(candidate), Duration::from_millis(300))
            }
            other => (other, Duration::ZERO),
        };
        acts.push(Act { to, delay, packet });
    }

    /// Now and then it does something by itself.
    pub(crate) fn wake(&mut self, stage: &mut Stage<'_>, acts: &mut Vec<Act>) {
        if self.does(Strategy::Silent) || self.dead {
            return;
        }
        let key = [u64::from(self.me.0), stage.now.0.as_micros() as u64];
        let others = stage.others(self.me);
        if others.is_empty() {
            return;
        }
        let whom =
            others[stage.draws.below(Purpose::Lie, &[key[0], key[1], 1], others.len() as u64) as usize];
        if self.does(Strategy::Replay) && !self.memory.is_empty() {
            let which = stage.draws.below(Purpose::Lie, &[key[0], key[1], 2], self.memory.len() as u64);
            let packet = self.memory[which as usize].clone();
            acts.push(Act { to: whom, delay: Duration::ZERO, packet });
        }
        if self.does(Strategy::Flood) {
            self.flood(stage, &key, whom, acts);
        }
        if self.does(Strategy::ForgeOrigin) && stage.workload.len() < FORGED_ENVELOPES {
            self.forge_origin(stage, acts);
        }
        if self.does(Strategy::ViewChangeSpam) {
            self.spam_view_changes(stage, &key, acts);
        }
        if self.does(Strategy::Forge) {
            self.forge(stage, &key, whom, acts);
        }
        if self.does(Strategy::LyingStatus) {
            self.bend_status(stage, &Status::default(), acts);
        }
    }

    fn remember(&mut self, packet: &Packet) {
        if self.does(Strategy::Replay) {
            if self.memory.len() == MEMORY {
                self.memory.pop_front();
            }
            self.memory.push_back(packet.clone());
        }
    }

    /// Keeps the proposals and view-changes it may use later.
    fn learn(&mut self, message: &Message) {
        match message {
            Message::PrePrepare(pre_prepare) if self.does(Strategy::VoteForAll) => {
                let proposal = &pre_prepare.proposal;
                // The digest is only a name here; the header stands in for it.
                self.proposals.insert(sbft::header::header_hash(&proposal.header), proposal.clone());
            }
            Message::ViewChange(change)
                if self.does(Strategy::NewViewSubset) || self.does(Strategy::NewViewSplit) =>
            {
                let known = self.view_changes.entry(change.body.view).or_default();
                known.entry(change.signer).or_insert_with(|| change.clone());
                while self.view_changes.len() > 8 {
                    self.view_changes.pop_first();
                }
            }
            _ => {}
        }
    }

    fn bend_status(&self, stage: &Stage<'_>, status: &Status, acts: &mut Vec<Act>) {
        let key = [u64::from(self.me.0), stage.now.0.as_micros() as u64, 7];
        let draw =
            |which: u64, bound: u64| stage.draws.below(Purpose::Lie, &[key[0], key[1], key[2], which], bound);
        let lie = Status {
            view: View(status.view.0 + draw(0, 4)),
            active: draw(1, 2) == 0,
            follows: status.follows,
            complains: draw(6, 4) == 0,
            committed: match draw(5, 8) {
                0 => Number(1 << 60),
                _ => Number(draw(2, 2 + 2 * (stage.store.last().0 + 1))),
            },
            accepted: Number(draw(3, 100)),
            prepared: Number(draw(4, 100)),
        };
        let packet = stage.packet(Message::Status(lie));
        if acts.is_empty() {
            for to in stage.others(self.me) {
                acts.push(Act { to, delay: Duration::ZERO, packet: packet.clone() });
            }
        } else {
            for act in acts {
                act.packet = packet.clone();
            }
        }
    }

    /// The replica it is against.
    fn victim(&self, stage: &Stage<'_>) -> Place {
        let others = stage.others(self.me);
        let which = stage.draws.below(Purpose::Lie, &[u64::from(self.me.0), 99], others.len().max(1) as u64);
        others.get(which as usize).copied().unwrap_or(self.me)
    }

    /// Whom it tells the other story at a view and number: the same answer for all liars of a
    /// run, so that they work together.
    fn told_otherwise(&self, stage: &Stage<'_>, view: View, number: Number) -> Vec<Place> {
        if let Some(told) = &self.told {
            return told.clone();
        }
        let others = stage.others(self.me);
        if self.does(Strategy::EquivocateOne) {
            let which = stage.draws.below(Purpose::Lie, &[view.0, number.0, 11], others.len() as u64);
            return others.get(which as usize).copied().into_iter().collect();
        }
        let mask = stage.draws.bits(Purpose::Lie, &[view.0, number.0, 12]);
        others.into_iter().filter(|place| mask >> place.0 & 1 == 1).collect()
    }
}

/// A block that looks like `block` and is not.
fn alter(stage: &Stage<'_>, me: Place, block: &Arc<CommittedBlock>) -> Arc<CommittedBlock> {
    let mut altered = block.as_ref().clone();
    match stage.draws.below(
        Purpose::Lie,
        &[u64::from(me.0), block.number().0, stage.now.0.as_micros() as u64],
        4,
    ) {
        0 => altered.data.push(crate::workload::envelope(0, 9)),
        1 => {
            altered.certificate.signatures.pop();
        }
        2 => altered.certificate.view = altered.certificate.view.next(),
        _ => {
            if let Some(id) = altered.ids.first_mut() {
                *id = crate::workload::id_of(u64::MAX);
            }
        }
    }
    Arc::new(altered)
}
