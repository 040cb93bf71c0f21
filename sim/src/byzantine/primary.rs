//! Lies of a primary about what comes next: A01 to A16, and some that only it can tell.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sbft::header::{data_hash, header_hash};
use sbft::pbft::message::{Message, PrePrepare, Proposal};
use sbft::types::{Candidate, CandidateRef, Digest, Header, Number, Place, Time, View};

use super::{Act, Alone, Attack, Bend, Stage, instead};
use crate::network::{Kind, Letter, Packet};

/// The core's own new proposal; proposals that it only passes on do not count.
fn own_proposal<'a>(stage: &Stage<'_>, letter: &'a Letter) -> Option<&'a PrePrepare> {
    match &letter.message {
        Message::PrePrepare(proposal) if proposal.view.primary(stage.n) == stage.me => Some(proposal),
        _ => None,
    }
}

/// Whom an equivocating primary tells the other story.
#[derive(Clone, Copy, Debug)]
enum Told {
    Half,
    One,
}

/// A01, A02: two blocks at one view and number, each told to some, and votes for both.
#[derive(Debug)]
struct Equivocate {
    told: Told,
    /// Where it told two stories, and to whom the other one.
    forks: BTreeMap<(View, Number), Vec<Place>>,
    /// Its other block at a number, to build the next one on.
    chain: BTreeMap<Number, Digest>,
}

pub(super) fn equivocate_halves() -> Box<dyn Attack> {
    Box::new(Equivocate { told: Told::Half, forks: BTreeMap::new(), chain: BTreeMap::new() })
}

pub(super) fn equivocate_one() -> Box<dyn Attack> {
    Box::new(Equivocate { told: Told::One, forks: BTreeMap::new(), chain: BTreeMap::new() })
}

impl Attack for Equivocate {
    fn say(&mut self, stage: &mut Stage<'_>, letter: &Letter, acts: &mut Vec<Act>) {
        let slot = (letter.label.view, letter.label.number);
        if let Some(told) = self.forks.get(&slot) {
            // The core's proposal and votes are for those who heard the core's story.
            if matches!(letter.label.kind, Kind::PrePrepare | Kind::Prepare | Kind::Commit) {
                acts.retain(|act| !told.contains(&act.to));
            }
        } else if let Some(pre_prepare) = own_proposal(stage, letter) {
            self.tell_two_stories(stage, pre_prepare, acts);
        }
    }
}

impl Equivocate {
    fn tell_two_stories(&mut self, stage: &mut Stage<'_>, pre_prepare: &PrePrepare, acts: &mut Vec<Act>) {
        let (view, number) = (pre_prepare.view, pre_prepare.proposal.number());
        let below = number.0.checked_sub(1).and_then(|below| self.chain.get(&Number(below)));
        let previous_hash = match below {
            Some(hash) if stage.chance(&[view.0, number.0, 23], 0.5) => Some(*hash),
            _ => pre_prepare.proposal.header.previous_hash,
        };
        let Some((candidate, proposal)) = stage.other_proposal(number, previous_hash) else { return };
        let told = match self.told {
            Told::Half => stage.some(view, number),
            Told::One => vec![stage.victim()],
        };
        self.chain.insert(number, header_hash(&proposal.header));
        acts.retain(|act| !told.contains(&act.to));
        for to in &told {
            tell(stage, *to, view, &candidate, &proposal);
        }
        let digest = proposal.digest(&stage.genesis());
        stage.known.proposals.insert((view, number, digest), proposal);
        stage.known.note_story(view, number, digest, told.clone());
        self.forks.insert((view, number), told);
        while self.forks.len() > 64 {
            self.forks.pop_first();
        }
    }
}

/// Tells one replica of a block as if it were the only one, with the primary's own votes.
fn tell(stage: &mut Stage<'_>, to: Place, view: View, candidate: &Arc<Candidate>, proposal: &Arc<Proposal>) {
    let digest = proposal.digest(&stage.genesis());
    stage.send(to, Packet::Repair(candidate.clone()));
    stage.send(to, stage.pre_prepare(view, proposal.clone()));
    stage.send(to, stage.commit(view, &proposal.header, digest));
}

/// A03: the other story only when the first is about to be prepared.
#[derive(Debug, Default)]
struct EquivocateLate {
    told: BTreeSet<(View, Number)>,
}

pub(super) fn equivocate_late() -> Box<dyn Attack> {
    Box::new(EquivocateLate::default())
}

impl Attack for EquivocateLate {
    fn hear(&mut self, stage: &mut Stage<'_>, _: Place, packet: &Packet) -> bool {
        let Packet::Message(letter) = packet else { return true };
        let Message::Prepare(prepare) = &letter.message else { return true };
        let (view, number) = (prepare.vote.view, prepare.vote.number);
        let votes = stage.known.prepares.get(&(view, number, prepare.vote.digest)).map_or(0, BTreeMap::len);
        if view.primary(stage.n) != stage.me
            || votes + 1 < stage.quorum()
            || number < stage.next_number()
            || !self.told.insert((view, number))
        {
            return true;
        }
        let first = stage.known.proposals.get(&(view, number, prepare.vote.digest)).cloned();
        let Some(first) = first else { return true };
        if let Some((candidate, other)) = stage.other_proposal(number, first.header.previous_hash) {
            for to in stage.some(view, number) {
                tell(stage, to, view, &candidate, &other);
            }
        }
        true
    }
}

/// A05: a second proposal for the same view and number, to everybody.
pub(super) fn reuse_number() -> Box<dyn Attack> {
    Box::new(Bend(|stage, letter, _| {
        let Some(pre_prepare) = own_proposal(stage, letter) else { return };
        let (view, number) = (pre_prepare.view, pre_prepare.proposal.number());
        if stage.known.digests_at(view, number).len() > 1 {
            return;
        }
        let previous_hash = pre_prepare.proposal.header.previous_hash;
        if let Some((candidate, proposal)) = stage.other_proposal(number, previous_hash) {
            stage.known.proposals.insert((view, number, proposal.digest(&stage.genesis())), proposal.clone());
            for to in stage.others() {
                tell(stage, to, view, &candidate, &proposal);
            }
        }
    }))
}

/// Makes something else of the core's proposal.
type Twist = fn(&mut Stage<'_>, &PrePrepare) -> Option<Proposal>;

/// Proposals that are not what an honest primary would propose: the same to everybody, and the
/// same whenever it is said again.
struct Misproposal {
    twist: Twist,
    made: BTreeMap<(View, Number), Option<Packet>>,
}

impl std::fmt::Debug for Misproposal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "twisted {} proposals", self.made.len())
    }
}

impl Attack for Misproposal {
    fn say(&mut self, stage: &mut Stage<'_>, letter: &Letter, acts: &mut Vec<Act>) {
        let Some(pre_prepare) = own_proposal(stage, letter) else { return };
        let slot = (pre_prepare.view, pre_prepare.proposal.number());
        let packet = match self.made.get(&slot) {
            Some(made) => made.clone(),
            None => {
                let twisted = (self.twist)(stage, pre_prepare);
                twisted.map(|proposal| stage.pre_prepare(pre_prepare.view, Arc::new(proposal)))
            }
        };
        if let Some(packet) = &packet {
            instead(acts, packet);
        }
        self.made.insert(slot, packet);
        while self.made.len() > 64 {
            self.made.pop_first();
        }
    }
}

fn misproposal(twist: Twist) -> Box<dyn Attack> {
    Box::new(Misproposal { twist, made: BTreeMap::new() })
}

fn with_header(pre_prepare: &PrePrepare, change: impl FnOnce(&mut Header)) -> Option<Proposal> {
    let mut proposal = pre_prepare.proposal.as_ref().clone();
    change(&mut proposal.header);
    Some(proposal)
}

fn skip(_: &mut Stage<'_>, pre_prepare: &PrePrepare) -> Option<Proposal> {
    with_header(pre_prepare, |header| header.number = header.number.next())
}

/// A04: the block has the number after the one that is due.
pub(super) fn skip_number() -> Box<dyn Attack> {
    misproposal(skip)
}

fn other_previous(_: &mut Stage<'_>, pre_prepare: &PrePrepare) -> Option<Proposal> {
    with_header(pre_prepare, |header| header.previous_hash = Some(Digest([0xee; 32])))
}

/// A06: the block extends one that nobody has.
pub(super) fn wrong_previous() -> Box<dyn Attack> {
    misproposal(other_previous)
}

fn other_data_hash(_: &mut Stage<'_>, pre_prepare: &PrePrepare) -> Option<Proposal> {
    with_header(pre_prepare, |header| header.data_hash = Digest([0xdd; 32]))
}

/// A07: the data hash is not that of the candidates.
pub(super) fn bad_body() -> Box<dyn Attack> {
    misproposal(other_data_hash)
}

fn of_candidate(stage: &mut Stage<'_>, pre_prepare: &PrePrepare, envelopes: Vec<Bytes>) -> Proposal {
    let candidate = stage.candidate_of(stage.me, envelopes);
    for to in stage.others() {
        stage.send(to, Packet::Repair(candidate.clone()));
    }
    let header = Header { data_hash: candidate.data_hash, ..pre_prepare.proposal.header.clone() };
    Proposal { header, candidates: vec![CandidateRef { origin: stage.me, digest: candidate.digest }] }
}

fn with_invalid(stage: &mut Stage<'_>, pre_prepare: &PrePrepare) -> Option<Proposal> {
    let old = stage.store.block(stage.store.last()).and_then(|block| block.data.first().cloned());
    let number = pre_prepare.proposal.number();
    let envelopes = match (old, stage.draw(&[pre_prepare.view.0, number.0], 3)) {
        (Some(duplicate), 0) => vec![duplicate],
        (_, 1) => vec![stage.envelope()?, Bytes::from_static(b"nobody submitted this")],
        _ => vec![Bytes::from_static(b"bad")],
    };
    Some(of_candidate(stage, pre_prepare, envelopes))
}

/// A08: an envelope in the block is no envelope, was submitted by nobody, or is in the chain.
pub(super) fn invalid_envelope() -> Box<dyn Attack> {
    misproposal(with_invalid)
}

fn too_large(stage: &mut Stage<'_>, pre_prepare: &PrePrepare) -> Option<Proposal> {
    let most = stage.config.max_message_count as usize;
    let mut proposal = pre_prepare.proposal.as_ref().clone();
    match stage.draw(&[pre_prepare.view.0, proposal.header.number.0], 3) {
        0 => {
            for which in 0..=most as u64 {
                let mut digest = [0xcc; 32];
                digest[..8].copy_from_slice(&which.to_be_bytes());
                proposal.candidates.push(CandidateRef { origin: stage.me, digest: Digest(digest) });
            }
            Some(proposal)
        }
        1 => {
            let envelopes: Option<Vec<Bytes>> = (0..=most).map(|_| stage.envelope()).collect();
            Some(of_candidate(stage, pre_prepare, envelopes?))
        }
        _ => {
            // Each of the two is as it should be; together they are too many.
            let mut data = Vec::new();
            proposal.candidates.clear();
            for _ in 0..2 {
                let half: Option<Vec<Bytes>> = (0..=most / 2).map(|_| stage.envelope()).collect();
                let half = of_candidate(stage, pre_prepare, half?).candidates;
                for named in &half {
                    data.extend(stage.known.stock.get(&named.digest)?.envelopes.iter().cloned());
                }
                proposal.candidates.extend(half);
            }
            proposal.header.data_hash = data_hash(&data);
            Some(proposal)
        }
    }
}

/// A09: more envelopes, or more candidates, than a block may have.
pub(super) fn oversize() -> Box<dyn Attack> {
    misproposal(too_large)
}

fn nothing(stage: &mut Stage<'_>, pre_prepare: &PrePrepare) -> Option<Proposal> {
    let mut proposal = pre_prepare.proposal.as_ref().clone();
    let committed = stage.store.block(stage.store.last()).map(|block| block.data.clone());
    match committed {
        // Everything in it falls out as a duplicate.
        Some(data) if stage.draw(&[proposal.header.number.0], 2) == 0 => {
            let mut proposal = of_candidate(stage, pre_prepare, data);
            proposal.header.data_hash = data_hash(&Vec::new());
            Some(proposal)
        }
        _ => {
            proposal.candidates.clear();
            proposal.header.data_hash = data_hash(&Vec::new());
            Some(proposal)
        }
    }
}

/// A10: blocks with nothing in them.
pub(super) fn empty_blocks() -> Box<dyn Attack> {
    misproposal(nothing)
}

fn far_ahead(stage: &mut Stage<'_>, pre_prepare: &PrePrepare) -> Option<Proposal> {
    let number = pre_prepare.proposal.number();
    let ahead = 1 + stage.config.window + stage.draw(&[number.0], 5 * stage.config.window);
    let far = if stage.draw(&[number.0, 1], 8) == 0 { u64::MAX } else { number.0 + ahead };
    with_header(pre_prepare, |header| header.number = Number(far))
}

/// A15: the block's number is beyond the window.
pub(super) fn future_number() -> Box<dyn Attack> {
    misproposal(far_ahead)
}

fn other_order(stage: &mut Stage<'_>, pre_prepare: &PrePrepare) -> Option<Proposal> {
    let mut proposal = pre_prepare.proposal.as_ref().clone();
    if proposal.candidates.len() > 1 {
        proposal.candidates.reverse();
    } else {
        // A later candidate of the same origin goes first.
        let first = proposal.candidates.first()?;
        let first = stage.known.candidates.get(&first.digest)?;
        let later = stage.known.candidates.values();
        let later = later.filter(|other| other.origin == first.origin && other.sequence > first.sequence);
        let later = later.max_by_key(|other| other.sequence)?;
        proposal.candidates = vec![CandidateRef { origin: later.origin, digest: later.digest }];
    }
    let mut data = Vec::new();
    for named in &proposal.candidates {
        data.extend(stage.known.candidates.get(&named.digest)?.envelopes.iter().cloned());
    }
    proposal.header.data_hash = data_hash(&data);
    Some(proposal)
}

/// A16: an origin's candidates in another order than it made them.
pub(super) fn reorder_fifo() -> Box<dyn Attack> {
    misproposal(other_order)
}

fn at_another_view(stage: &mut Stage<'_>, pre_prepare: &PrePrepare) -> Option<Proposal> {
    let packet = stage.pre_prepare(pre_prepare.view.next(), pre_prepare.proposal.clone());
    stage.send_all(&packet);
    None
}

fn twice(_: &mut Stage<'_>, pre_prepare: &PrePrepare) -> Option<Proposal> {
    let mut proposal = pre_prepare.proposal.as_ref().clone();
    proposal.candidates.extend(proposal.candidates.clone());
    Some(proposal)
}

/// B12: each proposal is for the view after the one it is made in.
pub(super) fn wrong_view() -> Box<dyn Attack> {
    Box::new(Bend(|stage, letter, acts| {
        let Some(pre_prepare) = own_proposal(stage, letter) else { return };
        let packet = stage.pre_prepare(pre_prepare.view.next(), pre_prepare.proposal.clone());
        instead(acts, &packet);
    }))
}

/// Each proposal breaks another rule, one in two at random.
pub(super) fn bad_proposals() -> Box<dyn Attack> {
    misproposal(|stage, pre_prepare| {
        let key = [pre_prepare.view.0, pre_prepare.proposal.number().0];
        let twists: [Twist; 9] = [
            skip,
            other_previous,
            other_data_hash,
            with_invalid,
            too_large,
            nothing,
            far_ahead,
            twice,
            at_another_view,
        ];
        let which = stage.draw(&[key[0], key[1], 24], 2 * twists.len() as u64) as usize;
        twists.get(which).and_then(|twist| twist(stage, pre_prepare))
    })
}

/// Candidates that are kept from the core, unless it asked for them because a proposal names them.
struct Censor {
    hides: fn(&Stage<'_>, &Candidate) -> bool,
    asked: BTreeSet<Digest>,
}

impl std::fmt::Debug for Censor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("hides candidates from its core")
    }
}

impl Attack for Censor {
    fn hear(&mut self, stage: &mut Stage<'_>, _: Place, packet: &Packet) -> bool {
        match packet {
            Packet::Candidate(candidate) | Packet::Repair(candidate) => {
                self.asked.contains(&candidate.digest) || !(self.hides)(stage, candidate)
            }
            _ => true,
        }
    }

    fn post(&mut self, _: &mut Stage<'_>, packet: &Packet, _: &mut Vec<Act>) {
        if let Packet::WantCandidates(digests) = packet {
            self.asked.extend(digests.iter().copied());
            while self.asked.len() > 256 {
                self.asked.pop_first();
            }
        }
    }
}

/// A11: the envelopes of one client.
pub(super) fn censor_client() -> Box<dyn Attack> {
    let hides = |stage: &Stage<'_>, candidate: &Candidate| {
        let victim = stage.against.first().map_or(0, |place| u64::from(place.0));
        candidate.ids.iter().any(|id| u64::from(id.0[7]) % 4 == victim % 4)
    };
    Box::new(Censor { hides, asked: BTreeSet::new() })
}

/// All candidates of one origin.
pub(super) fn censor_origin() -> Box<dyn Attack> {
    let hides = |stage: &Stage<'_>, candidate: &Candidate| candidate.origin == stage.victim();
    Box::new(Censor { hides, asked: BTreeSet::new() })
}

/// A12: proposes to just enough others for a quorum with itself.
pub(super) fn censor_half() -> Box<dyn Attack> {
    Box::new(Bend(|stage, letter, acts| {
        let Some(pre_prepare) = own_proposal(stage, letter) else { return };
        let few = stage.quorum() - 1;
        let first = stage.draw(&[pre_prepare.view.0, pre_prepare.proposal.number().0], stage.n as u64 - 1);
        let others = stage.others();
        let told =
            |place: &Place| (0..few).any(|step| others[(first as usize + step) % others.len()] == *place);
        acts.retain(|act| told(&act.to));
    }))
}

/// A13: proposes just before the others lose patience.
pub(super) fn slow_primary() -> Box<dyn Attack> {
    Box::new(Bend(|stage, letter, acts| {
        if own_proposal(stage, letter).is_some() {
            for act in acts {
                act.delay = stage.config.complain_timeout * 19 / 20;
            }
        }
    }))
}

/// How often a primary that crawls lets its core propose something: before it is found slow.
const CRAWL_EVERY: Duration = Duration::from_millis(100);
/// Candidates that it keeps at most.
const CRAWL_KEEPS: usize = 1024;

/// B13: its core gets one candidate at a time.
#[derive(Debug, Default)]
struct Crawl {
    kept: VecDeque<(Place, Arc<Candidate>)>,
    next: Time,
}

pub(super) fn crawl() -> Box<dyn Attack> {
    Box::new(Crawl::default())
}

impl Attack for Crawl {
    fn hear(&mut self, stage: &mut Stage<'_>, from: Place, packet: &Packet) -> bool {
        let (Packet::Candidate(candidate) | Packet::Repair(candidate)) = packet else { return true };
        if !stage.is_primary() {
            return true;
        }
        if self.kept.len() < CRAWL_KEEPS && self.kept.iter().all(|(_, kept)| kept.digest != candidate.digest)
        {
            self.kept.push_back((from, candidate.clone()));
        }
        false
    }

    fn wake(&mut self, stage: &mut Stage<'_>) {
        while !stage.is_primary() || self.next <= stage.now {
            let Some((from, candidate)) = self.kept.pop_front() else { return };
            self.next = stage.now.after(CRAWL_EVERY);
            stage.give_core(from, candidate);
        }
    }
}

/// A14: each proposal a little later than the last, and back a step when the others lost patience.
#[derive(Debug)]
struct Staircase {
    delay: Duration,
    left: View,
}

pub(super) fn staircase() -> Box<dyn Attack> {
    Box::new(Staircase { delay: Duration::from_millis(5), left: View(0) })
}

impl Attack for Staircase {
    fn say(&mut self, stage: &mut Stage<'_>, letter: &Letter, acts: &mut Vec<Act>) {
        if own_proposal(stage, letter).is_some() {
            for act in acts {
                act.delay = self.delay;
            }
            self.delay = (self.delay * 5 / 4).min(stage.config.view_change_timeout_cap);
        }
    }

    fn hear(&mut self, _: &mut Stage<'_>, _: Place, packet: &Packet) -> bool {
        let label = packet.label();
        if label.kind == Kind::ViewChange && label.view > self.left && label.view.0 < 1 << 20 {
            self.left = label.view;
            self.delay /= 2;
        }
        true
    }
}

/// Never proposes.
pub(super) fn silent_primary() -> Box<dyn Attack> {
    Box::new(Bend(|stage, letter, acts| {
        if own_proposal(stage, letter).is_some() {
            acts.clear();
        }
    }))
}

/// As a backup, proposes as if it were the primary.
pub(super) fn usurp() -> Box<dyn Attack> {
    Box::new(Alone(|stage| {
        let (view, number) = (stage.view(), stage.next_number());
        if stage.is_primary() || stage.draw(&[stage.instant()], 2) == 0 {
            return;
        }
        let last = stage.store.block(stage.store.last());
        let previous_hash =
            last.map_or_else(|| stage.genesis(), |block| header_hash(&block.certificate.header));
        if let Some((candidate, proposal)) = stage.other_proposal(number, Some(previous_hash)) {
            for to in stage.others() {
                tell(stage, to, view, &candidate, &proposal);
            }
        }
    }))
}
