//! The candidates that a replica holds, and the order in which they wait to be proposed.
//!
//! A candidate is held while at least one of these is so: it is charged to its origin's quota (it
//! came over the origin's own link and is not done), it is charged to whoever forwarded it, it is
//! wanted for a proposal, or it is pinned by a proposal that may still need it. So what is held is
//! bounded: `outstanding` for each origin, as many for each forwarder, and the proposals in reach.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Output;
use super::dedup::Dedup;
use super::leftovers::Waiting;
use super::message::{MAX_CANDIDATES, Proposal};
use crate::plant::{Plant, Plants};
use crate::types::{Candidate, CandidateRef, Digest, Number, Place, Time, View};

/// Where a candidate stands in a line: a generation (an origin that restarts counts from 0 again),
/// then the origin's own count. The digest tells apart what a liar numbers alike. What did not come
/// over its origin's link has generation 0 and is counted as it comes.
type Turn = (u64, u64, Digest);

/// A candidate held, and why.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) candidate: Arc<Candidate>,
    /// The config sequence it was found valid under.
    config_sequence: u64,
    charged: bool,
    forwarder: Option<Place>,
    /// A proposal for this number names it and is not accepted yet.
    wanted: Option<Number>,
    pins: usize,
    /// Its payload is in the log.
    pub(super) logged: bool,
    done: bool,
    in_flight: bool,
    parked: bool,
    turn: Turn,
    /// The line it waits in, if it does.
    line: Option<Place>,
    /// All ids before this one are committed.
    cursor: usize,
    arrived: Time,
    /// For suspicion; reset in each view.
    pub(super) watch: Watch,
}

/// How a waiting candidate fares in a view.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Watch {
    /// The view this is about.
    pub(super) view: View,
    /// Candidates ordered before the watch began.
    pub(super) began: u64,
    /// Others that may well go first: its place in the line, times the origins.
    pub(super) ahead: u64,
    /// How often it was sent to the primary, when last, and when first.
    pub(super) forwards: u32,
    pub(super) forwarded: Time,
    pub(super) first_forwarded: Time,
    /// How often it was due to be sent while this replica was alone with it.
    pub(super) alone: u32,
    /// Candidates ordered before it was sent for the second time.
    pub(super) passed_from: u64,
}

/// Candidates by name, and the lines they wait in.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    outstanding: usize,
    config_sequence: u64,
    held: BTreeMap<Digest, Held>,
    charged: Vec<usize>,
    forwarded: Vec<usize>,
    /// Highest generation and sequence seen of each origin.
    newest: Vec<(u64, u64)>,
    /// How many candidates came over other links than their origin's.
    strays: u64,
    /// Those that may be proposed. A candidate waits in the line of whoever is known to have sent it:
    /// its origin if it came over the origin's link, else its forwarder; or a liar could forge
    /// candidates of another, and stand before the other's own.
    ready: BTreeMap<Place, BTreeSet<Turn>>,
    ready_count: usize,
    ready_envelopes: u64,
    ready_bytes: u64,
    /// Not done, but all they have is in proposals in flight.
    parked: BTreeSet<Digest>,
    /// Whose turn it is when the next block is put together.
    next_origin: Place,
    /// Rules taken away.
    plants: Plants,
}

/// How a candidate came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) now: Time,
    /// The link.
    pub(super) from: Place,
    /// What it was found valid under.
    pub(super) config_sequence: u64,
    /// The number whose proposal it was fetched for, if it was.
    pub(super) wanted: Option<Number>,
}

/// What merging may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) envelopes: u64,
    pub(super) bytes: u64,
    pub(super) preferred: u64,
}

impl Pool {
    pub(super) fn new(n: usize, outstanding: usize, config_sequence: u64) -> Self {
        Self {
            outstanding,
            config_sequence,
            held: BTreeMap::new(),
            charged: vec![0; n],
            forwarded: vec![0; n],
            newest: vec![(1, 0); n],
            strays: 0,
            ready: BTreeMap::new(),
            ready_count: 0,
            ready_envelopes: 0,
            ready_bytes: 0,
            parked: BTreeSet::new(),
            next_origin: Place(0),
            plants: Plants::NONE,
        }
    }

    /// The same, without these rules.
    pub(super) fn planted(self, plants: Plants) -> Self {
        Self { plants, ..self }
    }

    /// Takes in a valid candidate that came from `from`. One that came over its origin's link is
    /// charged to the origin's quota, and released exactly once; past the quota it is dropped (the
    /// driver reads no further anyway, and a candidate that the primary needs is forwarded to it).
    pub(super) fn insert(
        &mut self,
        candidate: &Arc<Candidate>,
        arrival: Arrival,
        dedup: &Dedup,
        out: &mut Vec<Output>,
    ) {
        let Arrival { now, from, config_sequence, wanted } = arrival;
        let (origin, digest) = (candidate.origin, candidate.digest);
        let release = Output::Release { origin, digest };
        if let Some(held) = self.held.get_mut(&digest) {
            held.config_sequence = held.config_sequence.max(config_sequence);
            if from == origin && held.done {
                out.push(release);
            } else if from == origin && !held.charged {
                // Within the quota or not: it is here anyway, and the driver has counted it.
                held.charged = true;
                self.charged[origin.index()] += 1;
                if let Some(forwarder) = held.forwarder.take() {
                    self.forwarded[forwarder.index()] -= 1;
                }
                self.leave_line(&digest);
                let turn = self.turn_of(candidate);
                self.held.get_mut(&digest).expect("it is held").turn = turn;
            }
            self.sort(&digest);
            return;
        }

        let charged = from == origin && self.charged[origin.index()] < self.outstanding;
        let unbounded = self.plants.has(Plant::ForwardedUnbounded);
        let forwarded = from != origin && (self.forwarded[from.index()] < self.outstanding || unbounded);
        let cursor = committed_prefix(candidate, 0, dedup);
        let done = cursor == candidate.ids.len();
        if from == origin && (!charged || done) {
            out.push(release);
        }
        if wanted.is_none() && (done || !charged && !forwarded) {
            return;
        }
        let charged = charged && !done;
        let forwarder = (forwarded && wanted.is_none()).then_some(from);
        self.charged[origin.index()] += usize::from(charged);
        if let Some(forwarder) = forwarder {
            self.forwarded[forwarder.index()] += 1;
        }
        let turn = if from == origin {
            self.turn_of(candidate)
        } else {
            self.strays += 1;
            (0, self.strays, digest)
        };
        let held = Held {
            candidate: Arc::clone(candidate),
            config_sequence,
            charged,
            forwarder,
            wanted,
            pins: 0,
            logged: false,
            done,
            in_flight: false,
            parked: false,
            turn,
            line: None,
            cursor,
            arrived: now,
            watch: Watch::default(),
        };
        self.held.insert(digest, held);
        self.sort(&digest);
    }

    /// Puts back a payload that the log held.
    pub(super) fn restore(&mut self, now: Time, candidate: &Arc<Candidate>, dedup: &Dedup) {
        let sequence = self.config_sequence;
        let wanted = Some(Number(0));
        let arrival = Arrival { now, from: candidate.origin, config_sequence: sequence, wanted };
        self.insert(candidate, arrival, dedup, &mut Vec::new());
        let held = self.held.get_mut(&candidate.digest).expect("wanted candidates are always taken in");
        held.logged = true;
        if std::mem::take(&mut held.charged) {
            self.charged[candidate.origin.index()] -= 1;
        }
    }

    fn turn_of(&mut self, candidate: &Candidate) -> Turn {
        let (generation, newest) = &mut self.newest[candidate.origin.index()];
        let reordered = 2 * self.outstanding as u64;
        if candidate.sequence.saturating_add(reordered) < *newest {
            // Further back than links reorder: the origin counts anew. What it cut before waits
            // first, or it would be passed over for ever.
            *generation += 1;
            *newest = candidate.sequence;
        }
        *newest = candidate.sequence.max(*newest);
        (*generation, candidate.sequence, candidate.digest)
    }

    /// The candidate, if it is held and valid under the present config sequence.
    pub(super) fn valid(&self, digest: &Digest) -> Option<&Arc<Candidate>> {
        let held = self.held.get(digest)?;
        (held.config_sequence >= self.config_sequence).then_some(&held.candidate)
    }

    /// The candidate, valid or not (any more).
    pub(super) fn get(&self, digest: &Digest) -> Option<&Arc<Candidate>> {
        self.held.get(digest).map(|held| &held.candidate)
    }

    /// All candidates of a proposal, if all are held.
    pub(super) fn all_of(&self, proposal: &Proposal) -> Option<Vec<Arc<Candidate>>> {
        proposal.candidates.iter().map(|named| self.get(&named.digest).cloned()).collect()
    }

    /// Whose candidates a proposal names that came over their origin's link, and when the first of
    /// each origin did.
    pub(super) fn arrivals(&self, proposal: &Proposal) -> BTreeMap<Place, Time> {
        let mut first = BTreeMap::new();
        for held in proposal.candidates.iter().filter_map(|named| self.held.get(&named.digest)) {
            if held.charged {
                let arrived = first.entry(held.candidate.origin).or_insert(held.arrived);
                *arrived = held.arrived.min(*arrived);
            }
        }
        first
    }

    /// Keeps the proposal's candidates until [`Self::unpin`]. All are held.
    pub(super) fn pin(&mut self, proposal: &Proposal) {
        for named in &proposal.candidates {
            let held = self.held.get_mut(&named.digest).expect("only what is held is pinned");
            held.pins += 1;
            held.wanted = None;
        }
    }

    /// The proposal needs its candidates no more.
    pub(super) fn unpin(&mut self, proposal: &Proposal) {
        for named in &proposal.candidates {
            let held = self.held.get_mut(&named.digest).expect("what is pinned is held");
            held.pins -= 1;
            held.logged &= held.pins > 0;
            self.sort(&named.digest);
        }
    }

    /// Marks the payload as being in the log; true if it was not before.
    pub(super) fn log(&mut self, digest: &Digest) -> bool {
        let held = self.held.get_mut(digest).expect("only what is held is logged");
        !std::mem::replace(&mut held.logged, true)
    }

    /// The candidates are in a proposal of this view from here on.
    pub(super) fn take_flight(&mut self, proposal: &Proposal) {
        for named in &proposal.candidates {
            if let Some(held) = self.held.get_mut(&named.digest) {
                held.in_flight = true;
                self.sort(&named.digest);
            }
        }
    }

    /// No proposal is in flight any more; what was goes back to waiting. What was fetched for one is
    /// let go, but for `again`, which is about to be proposed again.
    pub(super) fn land_all(&mut self, again: &BTreeSet<Digest>) {
        let digests: Vec<_> = self.held.keys().copied().collect();
        for digest in digests {
            let held = self.held.get_mut(&digest).expect("just listed");
            held.in_flight &= self.plants.has(Plant::FlightNeverLands);
            held.parked = false;
            held.wanted = held.wanted.filter(|_| again.contains(&digest));
            self.sort(&digest);
        }
        self.parked.clear();
    }

    /// The proposal for this number that named them is refused.
    pub(super) fn forget_wanted(&mut self, number: Number) {
        let wanted = self.held.iter_mut().filter(|(_, held)| held.wanted == Some(number));
        let digests: Vec<_> = wanted
            .map(|(digest, held)| {
                held.wanted = None;
                *digest
            })
            .collect();
        for digest in digests {
            self.sort(&digest);
        }
    }

    /// After a block: those whose every id is in the chain are done, and released once.
    pub(super) fn settle(
        &mut self,
        number: Number,
        named: &[CandidateRef],
        dedup: &Dedup,
        out: &mut Vec<Output>,
    ) {
        // All ids of a candidate that the block is made of are in the dedup window: those that
        // fell out as duplicates were, and the others just came.
        for named in named {
            self.finish(&named.digest, out);
        }
        let mut touched = std::mem::take(&mut self.parked);
        for (digest, held) in &mut self.held {
            if held.wanted.is_some_and(|wanted| wanted <= number) {
                held.wanted = None; // nothing that could still be accepted names it
                touched.insert(*digest);
            }
            if !held.done {
                held.cursor = committed_prefix(&held.candidate, held.cursor, dedup);
                if held.cursor == held.candidate.ids.len() {
                    touched.insert(*digest);
                }
            }
        }
        for digest in touched {
            let Some(held) = self.held.get_mut(&digest) else { continue };
            held.parked = false;
            if !held.done && held.cursor == held.candidate.ids.len() {
                self.finish(&digest, out);
            }
            self.sort(&digest);
        }
    }

    /// The candidate is invalid, or can never be proposed: nobody's room is taken by it any more.
    /// True if that released some of its origin's.
    pub(super) fn finish(&mut self, digest: &Digest, out: &mut Vec<Output>) -> bool {
        let Some(held) = self.held.get_mut(digest) else { return false };
        (held.done, held.parked) = (true, false);
        self.parked.remove(digest);
        let origin = held.candidate.origin;
        let released = std::mem::take(&mut held.charged);
        if released {
            self.charged[origin.index()] -= 1;
            out.push(Output::Release { origin, digest: *digest });
        }
        if let Some(forwarder) = held.forwarder.take() {
            self.forwarded[forwarder.index()] -= 1;
        }
        self.sort(digest);
        released
    }

    /// A config block committed: what waits must be validated again under `sequence`.
    pub(super) fn configure(&mut self, sequence: u64, out: &mut Vec<Output>) {
        self.config_sequence = sequence;
        let digests: Vec<_> = self.held.keys().copied().collect();
        for digest in digests {
            self.sort(&digest);
            if let Some(held) = self.held.get(&digest)
                && !held.done
            {
                out.push(Output::Validate(Arc::clone(&held.candidate)));
            }
        }
    }

    /// The next block's candidates: whole, in each origin's order, the origins taking turns. One
    /// that would add nothing is left waiting. One that does not fit any more closes its line and comes
    /// first next time; the other lines go on, so nothing is left behind that would fit. Empty if
    /// nothing is ready.
    pub(super) fn merge(&mut self, number: Number, limits: Limits, dedup: &Dedup) -> Vec<Arc<Candidate>> {
        let mut taken: Vec<Arc<Candidate>> = Vec::new();
        let (mut envelopes, mut bytes) = (0u64, 0u64);
        let n = self.charged.len() as u16;
        let mut after: BTreeMap<Place, Turn> = BTreeMap::new();
        let mut idle = 0;
        let mut closed: Vec<Place> = Vec::new();
        while idle < n && taken.len() < MAX_CANDIDATES {
            let origin = self.next_origin;
            let open = !closed.contains(&origin);
            let next = self.ready.get(&origin).filter(|_| open).and_then(|line| match after.get(&origin) {
                None => line.first(),
                Some(turn) => {
                    line.range((std::ops::Bound::Excluded(turn), std::ops::Bound::Unbounded)).next()
                }
            });
            let Some(turn) = next.copied() else {
                idle += 1;
                self.next_origin = Place((origin.0 + 1) % n);
                continue;
            };
            let candidate = Arc::clone(&self.held[&turn.2].candidate);
            after.insert(origin, turn);
            if !dedup.adds_something(number, &candidate) {
                self.park(&turn.2);
                continue;
            }
            let (more, size) = (candidate.envelopes.len() as u64, candidate.bytes());
            let full =
                envelopes + more > limits.envelopes || bytes + size > limits.preferred.min(limits.bytes);
            if !taken.is_empty() && (full || candidate.is_config) {
                closed.push(origin);
                continue;
            }
            idle = 0;
            self.next_origin = Place((origin.0 + 1) % n);
            (envelopes, bytes) = (envelopes + more, bytes + size);
            let alone = candidate.is_config;
            taken.push(candidate);
            if alone {
                break;
            }
        }
        if let Some(first) = closed.first() {
            self.next_origin = *first;
        }
        taken
    }

    fn park(&mut self, digest: &Digest) {
        let held = self.held.get_mut(digest).expect("it is in a line");
        held.parked = true;
        self.parked.insert(*digest);
        self.sort(digest);
    }

    /// Puts a candidate where it belongs after a change: into its line, out of it, or out of here.
    fn sort(&mut self, digest: &Digest) {
        let Some(held) = self.held.get(digest) else { return };
        let keep = held.charged || held.forwarder.is_some() || held.wanted.is_some() || held.pins > 0;
        let valid = held.config_sequence >= self.config_sequence;
        let ready = valid && !held.done && !held.in_flight && !held.parked;
        let from_origin = held.charged || held.forwarder.is_none() && held.pins > 0;
        let line = if from_origin { Some(held.candidate.origin) } else { held.forwarder };
        let line = line.filter(|_| ready);
        if held.line != line {
            self.leave_line(digest);
            self.enter_line(digest, line);
        }
        if !keep {
            self.parked.remove(digest);
            self.held.remove(digest);
        }
    }

    fn enter_line(&mut self, digest: &Digest, line: Option<Place>) {
        let Some(held) = self.held.get_mut(digest) else { return };
        held.line = line;
        if let Some(place) = line {
            self.ready.entry(place).or_default().insert(held.turn);
            self.ready_count += 1;
            self.ready_envelopes += held.candidate.envelopes.len() as u64;
            self.ready_bytes += held.candidate.bytes();
        }
    }

    fn leave_line(&mut self, digest: &Digest) {
        let Some(held) = self.held.get_mut(digest) else { return };
        if let Some(place) = held.line.take() {
            self.ready.entry(place).or_default().remove(&held.turn);
            self.ready_count -= 1;
            self.ready_envelopes -= held.candidate.envelopes.len() as u64;
            self.ready_bytes -= held.candidate.bytes();
        }
    }

    /// A whole block waits.
    pub(super) fn fills(&self, limits: Limits) -> bool {
        self.ready_envelopes >= limits.envelopes || self.ready_bytes >= limits.preferred
    }

    /// Some candidate may be proposed.
    pub(super) fn has_ready(&self) -> bool {
        self.ready_count > 0
    }

    /// Candidates not done and not in flight.
    pub(super) fn waiting(&self) -> usize {
        self.ready_count + self.parked.len()
    }

    /// Candidates held.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// The first of each origin's line, with how many it has to let go first if all take turns.
    pub(super) fn heads(&self) -> Vec<Digest> {
        self.ready.values().filter_map(|line| line.first()).map(|turn| turn.2).collect()
    }

    /// What waits of an origin's candidates that came over its own link, in its turn; and whether it
    /// would fit into `room`, as all before it.
    pub(super) fn line(&self, origin: Place, view: View, room: Limits) -> impl Iterator<Item = Waiting> {
        let mut fits = true;
        let line = self.ready.get(&origin).into_iter().flatten();
        line.filter_map(move |(_, _, digest)| {
            let held = self.held.get(digest)?;
            let candidate = &held.candidate;
            fits &= !candidate.is_config
                && candidate.envelopes.len() as u64 <= room.envelopes
                && candidate.bytes() <= room.bytes.min(room.preferred);
            let watch = Some(&held.watch).filter(|watch| watch.view == view && watch.forwards > 0);
            let sent = watch.map(|watch| (watch.first_forwarded, watch.forwarded));
            let waiting = Waiting { digest: *digest, arrived: held.arrived, sent, fits };
            held.charged.then_some(waiting)
        })
    }

    /// The held candidate has something that block `number` could still take.
    pub(super) fn adds_something(&self, digest: &Digest, number: Number, dedup: &Dedup) -> bool {
        self.held.get(digest).is_some_and(|held| dedup.adds_something(number, &held.candidate))
    }

    /// The held candidate's watch in `view`, begun anew if it was about another.
    pub(super) fn watch(
        &mut self,
        digest: &Digest,
        view: View,
        ordered: u64,
    ) -> Option<(&mut Watch, &Candidate, Time)> {
        let charged: usize = self.charged.iter().sum();
        let held = self.held.get_mut(digest)?;
        if held.watch.view != view || held.watch.ahead == 0 {
            let ahead = charged as u64 + self.charged.len() as u64;
            held.watch = Watch { view, began: ordered, ahead, ..Watch::default() };
        }
        Some((&mut held.watch, &held.candidate, held.arrived))
    }
}

fn committed_prefix(candidate: &Candidate, from: usize, dedup: &Dedup) -> usize {
    candidate.ids[from..]
        .iter()
        .position(|id| !dedup.is_committed(id))
        .map_or(candidate.ids.len(), |at| from + at)
}
