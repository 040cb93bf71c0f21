//! C2 to C4: an adversary with a goal, that scores its next move by looking at everybody's state
//! and asking copies of their cores what they would do next.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sbft::pbft::message::{Message, PrePrepare, Status, Unsigned, ViewChange};
use sbft::pbft::{Note, Output, Record};
use sbft::types::{Digest, Header, Number, Place, View};

use super::{Act, Attack, Stage};
use crate::network::{Kind, Letter, Packet};
use crate::world::Body;

/// Copies of cores asked in one search: what a search may cost.
const QUESTIONS: usize = 24;
/// Searches at most this often.
const PAUSE: Duration = Duration::from_millis(2);

/// The other bodies that run, without the liars'.
fn honest<'a>(stage: &Stage<'a>) -> impl Iterator<Item = &'a Body> + use<'a> {
    let me = stage.me;
    stage.bodies.iter().filter(move |body| body.place != me && body.is_honest() && body.is_up())
}

/// What a body has accepted at a view and number, as far as its log says.
fn accepted_at(body: &Body, view: View, number: Number) -> Option<Digest> {
    let (from, to) = ((view, number, Digest([0; 32])), (view, number, Digest([0xff; 32])));
    body.log.image().accepted.range(from..=to).next().map(|(_, _, digest)| *digest)
}

/// A pause between searches.
#[derive(Debug, Default)]
struct Clock {
    last: Option<Duration>,
}

impl Clock {
    fn strikes(&mut self, stage: &Stage<'_>) -> bool {
        let now = stage.now.0;
        let strikes = self.last.is_none_or(|last| now >= last + PAUSE);
        if strikes {
            self.last = Some(now);
        }
        strikes
    }
}

/// C2: keeps two digests as near to a quorum as it can, and brings each replica over the line for
/// the digest that others are not at.
#[derive(Debug, Default)]
struct Fork {
    clock: Clock,
    /// Votes sent, so that each is sent once.
    sent: BTreeMap<(View, Number, Digest), u64>,
    /// The other story of a slot, and who is told it.
    told: BTreeMap<(View, Number), Vec<Place>>,
}

pub(super) fn fork() -> Box<dyn Attack> {
    Box::new(Fork::default())
}

impl Attack for Fork {
    fn say(&mut self, stage: &mut Stage<'_>, letter: &Letter, acts: &mut Vec<Act>) {
        let slot = (letter.label.view, letter.label.number);
        match &letter.message {
            Message::PrePrepare(m) if m.view.primary(stage.n) == stage.me => match self.told.get(&slot) {
                Some(told) => acts.retain(|act| !told.contains(&act.to)),
                None => self.split(stage, m, acts),
            },
            Message::Prepare(_) | Message::Commit(_) => {
                if let Some(told) = self.told.get(&slot) {
                    acts.retain(|act| !told.contains(&act.to));
                }
            }
            Message::ViewChange(change) if change.signer == stage.me => {
                let body = poorest_for(stage, &change.body);
                if body != change.body {
                    let packet = stage.packet(Message::ViewChange(stage.view_change(body)));
                    super::instead(acts, &packet);
                }
            }
            _ => {}
        }
    }

    fn hear(&mut self, stage: &mut Stage<'_>, _: Place, packet: &Packet) -> bool {
        let vote =
            matches!(packet.label().kind, Kind::PrePrepare | Kind::Prepare | Kind::Commit | Kind::NewView);
        if vote && self.clock.strikes(stage) {
            self.push(stage);
        }
        true
    }

    fn wake(&mut self, stage: &mut Stage<'_>) {
        self.push(stage);
    }
}

impl Fork {
    /// Two blocks for one slot: tells the second one to that part of the others which brings both
    /// as near to a quorum as can be, counting only who would accept it.
    fn split(&mut self, stage: &mut Stage<'_>, first: &PrePrepare, acts: &mut Vec<Act>) {
        let (view, number) = (first.view, first.proposal.number());
        let Some((candidate, other)) = stage.other_proposal(number, first.proposal.header.previous_hash)
        else {
            return;
        };
        let packet = stage.pre_prepare(view, other.clone());
        let repair = Packet::Repair(candidate);
        let would_accept: Vec<Place> = stage
            .others()
            .into_iter()
            .filter(|place| {
                let Some((outputs, _)) = stage.imagine(*place, &[&repair, &packet]) else { return false };
                outputs.iter().any(|output| matches!(output, Output::Persist(Record::Accepted { .. })))
            })
            .collect();
        let (q, total) = (stage.quorum(), stage.n - 1);
        // Its own vote counts for both; the second digest counts double, for it is the rarer one.
        let score = |second: usize| (total - second + 1).min(q) + 2 * (second + 1).min(q);
        let Some(size) =
            (1..=would_accept.len().min(total - 1)).max_by_key(|size| (score(*size), total - size))
        else {
            return;
        };
        let told: Vec<Place> = would_accept.into_iter().take(size).collect();
        acts.retain(|act| !told.contains(&act.to));
        for to in &told {
            stage.send(*to, repair.clone());
            stage.send(*to, packet.clone());
        }
        let digest = other.digest(&stage.genesis());
        stage.known.proposals.insert((view, number, digest), other);
        stage.known.note_story(view, number, digest, told.clone());
        self.told.insert((view, number), told);
        while self.told.len() > 64 {
            self.told.pop_first();
        }
    }

    /// Votes for each digest where that brings a replica forward on a story of its own.
    fn push(&mut self, stage: &mut Stage<'_>) {
        let (view, next) = (stage.view(), honest(stage).map(|body| body.store.last().next()).min());
        let Some(next) = next else { return };
        let from = (view, next, Digest([0; 32]));
        let to = (view, Number(u64::MAX), Digest([0xff; 32]));
        let known: Vec<_> = stage
            .known
            .proposals
            .range(from..=to)
            .map(|(slot, known)| (*slot, known.clone()))
            .take(6)
            .collect();
        let mut questions = 0;
        for ((view, number, digest), proposal) in known {
            let rivals = stage.known.digests_at(view, number).len() > 1;
            let votes = [stage.prepare(view, number, digest), stage.commit(view, &proposal.header, digest)];
            let places: Vec<Place> = honest(stage).map(|body| body.place).collect();
            for place in places {
                let done = self.sent.get(&(view, number, digest)).copied().unwrap_or_default();
                if done >> place.0 & 1 == 1 || questions >= QUESTIONS {
                    continue;
                }
                questions += 1;
                if fork_score(stage, place, (view, number, digest), &votes, rivals) > 0 {
                    for vote in &votes {
                        stage.send(place, vote.clone());
                    }
                    *self.sent.entry((view, number, digest)).or_default() |= 1 << place.0;
                }
            }
        }
        while self.sent.len() > 256 {
            self.sent.pop_first();
        }
    }
}

/// How much nearer to a fork these votes bring this replica.
fn fork_score(
    stage: &Stage<'_>,
    place: Place,
    (view, number, digest): (View, Number, Digest),
    votes: &[Packet; 2],
    rivals: bool,
) -> i64 {
    let Some((outputs, _)) = stage.imagine(place, &[&votes[0], &votes[1]]) else { return 0 };
    let elsewhere = honest(stage).filter(|body| body.place != place);
    let at_another = elsewhere
        .filter_map(|body| accepted_at(body, view, number))
        .filter(|accepted| *accepted != digest)
        .count() as i64;
    let mine =
        honest(stage).find(|body| body.place == place).and_then(|body| accepted_at(body, view, number));
    // A vote for what it has accepted keeps its story alive; one for the other story is an offence
    // that it would see.
    let mut score = i64::from(rivals && mine == Some(digest));
    for output in &outputs {
        score += match output {
            Output::CommitBlock(_) => 50 + 50 * at_another,
            Output::Note(Note::Prepared { .. }) => 2 + 10 * at_another,
            Output::Accuse(_) => -20,
            Output::Note(Note::Suspected { .. }) => -3,
            _ => 0,
        };
    }
    score
}

/// Of the ways to say less in a view-change, the one after which the next primary would propose
/// least again.
fn poorest_for(stage: &Stage<'_>, body: &ViewChange) -> ViewChange {
    let primary = body.view.primary(stage.n);
    let mut ways = vec![body.clone()];
    ways.push(ViewChange { prepared: Vec::new(), ..body.clone() });
    ways.push(ViewChange { prepared: Vec::new(), base: None, view: body.view });
    let carried = |way: &ViewChange| {
        let packet = stage.packet(Message::ViewChange(stage.view_change(way.clone())));
        let outputs = stage.imagine(primary, &[&packet]).map(|(outputs, _)| outputs).unwrap_or_default();
        outputs
            .iter()
            .find_map(|output| match output {
                Output::Broadcast(Unsigned::NewView(body)) => {
                    Some(body.view_changes.iter().map(|change| change.body.prepared.len()).sum::<usize>())
                }
                _ => None,
            })
            .unwrap_or(way.prepared.len())
    };
    let best = ways.iter().enumerate().min_by_key(|(which, way)| (carried(way), *which));
    best.map_or_else(|| body.clone(), |(_, way)| way.clone())
}

/// C3: keeps back every vote that would matter, proposes as late as patience allows, and pushes
/// replicas out of their views one at a time.
#[derive(Debug, Default)]
struct Stall {
    clock: Clock,
}

pub(super) fn stall() -> Box<dyn Attack> {
    Box::new(Stall::default())
}

impl Attack for Stall {
    fn say(&mut self, stage: &mut Stage<'_>, letter: &Letter, acts: &mut Vec<Act>) {
        match &letter.message {
            Message::PrePrepare(m) if m.view.primary(stage.n) == stage.me => {
                // As late as can be without being deposed for it.
                for act in acts {
                    act.delay = stage.config.complain_timeout * 9 / 10;
                }
            }
            Message::NewView(_) => acts.clear(),
            Message::Prepare(_) | Message::Commit(_) => {
                let helps = |act: &Act| {
                    let Some((outputs, _)) = stage.imagine(act.to, &[&act.packet]) else { return false };
                    outputs.iter().any(|output| {
                        matches!(output, Output::CommitBlock(_) | Output::Note(Note::Prepared { .. }))
                    })
                };
                acts.retain(|act| !helps(act));
            }
            _ => {}
        }
    }

    fn wake(&mut self, stage: &mut Stage<'_>) {
        if !self.clock.strikes(stage) {
            return;
        }
        // The one whose departure leaves the others furthest apart.
        let mut best: Option<(u64, Place, Packet)> = None;
        let places: Vec<Place> = honest(stage).map(|body| body.place).collect();
        for place in &places {
            let Some(probe) = honest(stage)
                .find(|body| body.place == *place)
                .and_then(|body| body.core.as_ref().map(|core| core.probe()))
            else {
                continue;
            };
            let packet = stage.empty_view_change(probe.view.next());
            let Some((_, after)) = stage.imagine(*place, &[&packet]) else { continue };
            if after.view <= probe.view {
                continue;
            }
            let spread: u64 = honest(stage)
                .filter_map(|body| body.core.as_ref())
                .map(|core| core.probe().view.0.abs_diff(after.view.0))
                .sum();
            if best.as_ref().is_none_or(|(score, ..)| spread + 1 > *score) {
                best = Some((spread + 1, *place, packet));
            }
        }
        if let Some((_, place, packet)) = best {
            stage.send(place, packet);
        }
    }
}

/// C4: tries every kind of junk on every replica's copy, and sends what makes it hold or say most.
#[derive(Debug, Default)]
struct Bloat {
    clock: Clock,
}

pub(super) fn bloat() -> Box<dyn Attack> {
    Box::new(Bloat::default())
}

impl Attack for Bloat {
    fn wake(&mut self, stage: &mut Stage<'_>) {
        if !self.clock.strikes(stage) {
            return;
        }
        let places: Vec<Place> = honest(stage).map(|body| body.place).collect();
        let victim = stage.draw(&[stage.instant()], places.len().max(1) as u64) as usize;
        let Some(victim) = places.get(victim).copied() else { return };
        let Some((_, before)) = stage.imagine(victim, &[]) else { return };
        let held = before.messages_held + before.candidates_held;
        let mut scored: Vec<(usize, usize, Packet)> = Vec::new();
        for (which, packet) in junk(stage).into_iter().enumerate() {
            let Some((outputs, after)) = stage.imagine(victim, &[&packet]) else { return };
            let grown = (after.messages_held + after.candidates_held).saturating_sub(held);
            scored.push((grown * 4 + outputs.len(), which, packet));
        }
        scored.sort_by(|one, other| (other.0, one.1).cmp(&(one.0, other.1)));
        for (score, _, packet) in scored.into_iter().take(3) {
            if score > 0 {
                stage.send(victim, packet);
            }
        }
    }
}

/// One of each kind of junk, new each time.
fn junk(stage: &mut Stage<'_>) -> Vec<Packet> {
    let now = stage.instant();
    let bits = stage.draw(&[now, 1], u64::MAX);
    let digest = sbft::header::sha256(&bits.to_be_bytes());
    let view = View(stage.view().0 + stage.draw(&[now, 2], 2));
    let ahead = stage.draw(&[now, 3], stage.config.reach());
    let number = Number(stage.next_number().0 + ahead);
    let header = Header { number, previous_hash: Some(digest), data_hash: digest };
    let proposal = sbft::pbft::message::Proposal {
        header: header.clone(),
        candidates: vec![sbft::types::CandidateRef { origin: stage.me, digest }],
    };
    let far = View(view.0 + 1 + stage.draw(&[now, 4], 1000));
    let mut all = vec![
        stage.prepare(view, number, digest),
        stage.commit(view, &header, digest),
        stage.pre_prepare(view, Arc::new(proposal)),
        stage.empty_view_change(far),
        stage.packet(Message::Status(Status { view: View(0), ..Status::default() })),
        stage.packet(Message::Status(Status { view, active: true, ..Status::default() })),
    ];
    if !stage.healed
        && let Some(envelope) = stage.envelope()
    {
        all.push(Packet::Candidate(stage.candidate_of(stage.me, vec![envelope])));
    }
    all
}
