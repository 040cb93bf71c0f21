//! Candidates that a proposal names and this replica lacks: asked from the primary, then the
//! origin, then everybody in turn. On a budget of their own, charged to nobody's quota.

use std::collections::BTreeMap;
use std::time::Duration;

use super::message::{MAX_CANDIDATES, Proposal};
use super::{Output, Replica};
use crate::types::{Digest, Number, Place, Time};

/// A candidate is usually on its way: it is not asked for before this time has passed.
const GRACE: Duration = Duration::from_millis(20);

/// Candidates served to one peer, in bytes a second: as much as blocks. One is served whatever its size.
const SERVED_PER_SECOND: u64 = 64 << 20;
/// Candidates served to one peer in one status interval, so that a peer that asks for many small ones
/// does not make this replica remember all of them.
const GIVEN_AT_ONCE: usize = MAX_CANDIDATES;

#[derive(Clone, Debug)]
struct Want {
    number: Number,
    origin: Place,
    asked: usize,
    next: Time,
}

/// What is being fetched. Bounded by the names in the proposals within reach.
#[derive(Clone, Debug, Default)]
pub(super) struct Fetches {
    wants: BTreeMap<Digest, Want>,
    due: Option<Time>,
}

impl Fetches {
    /// The number whose proposal names this candidate, if it is being fetched.
    pub(super) fn wanted_for(&self, digest: &Digest) -> Option<Number> {
        self.wants.get(digest).map(|want| want.number)
    }

    pub(super) fn found(&mut self, digest: &Digest) {
        self.wants.remove(digest);
    }

    /// Nothing is wanted for this number any more.
    pub(super) fn forget(&mut self, number: Number) {
        self.wants.retain(|_, want| want.number != number);
    }

    pub(super) fn forget_up_to(&mut self, number: Number) {
        self.wants.retain(|_, want| want.number > number);
    }

    pub(super) fn clear(&mut self) {
        self.wants.clear();
        self.due = None;
    }

    /// When to ask (again).
    pub(super) fn due(&self) -> Option<Time> {
        self.due.filter(|_| !self.wants.is_empty())
    }
}

impl Replica {
    /// The candidates of a proposal that are not held.
    pub(super) fn missing(&self, proposal: &Proposal) -> Vec<Digest> {
        let names = proposal.candidates.iter().map(|named| named.digest);
        names.filter(|digest| self.pool.get(digest).is_none()).collect()
    }

    /// True if all candidates of a proposal are held; fetches those that are not.
    pub(super) fn hold_or_fetch(&mut self, proposal: &Proposal, number: Number) -> bool {
        let mut complete = true;
        let next = self.now.after(GRACE.min(self.config.status_interval));
        for named in &proposal.candidates {
            if self.pool.get(&named.digest).is_some() {
                continue;
            }
            complete = false;
            let fetches = &mut self.fetches;
            fetches.wants.entry(named.digest).or_insert_with(|| {
                fetches.due = Some(fetches.due.map_or(next, |due| due.min(next)));
                Want { number, origin: named.origin, asked: 0, next }
            });
        }
        complete
    }

    /// Asks for what is due.
    pub(super) fn poll_fetches(&mut self, out: &mut Vec<Output>) {
        if self.fetches.due().is_none_or(|due| due > self.now) {
            return;
        }
        let (me, primary, now) = (self.config.me, self.primary(), self.now);
        let retry = now.after(self.config.status_interval.max(GRACE));
        let mut questions: BTreeMap<Place, Vec<Digest>> = BTreeMap::new();
        let mut due = None;
        for (digest, want) in &mut self.fetches.wants {
            if want.next <= now {
                let first = [primary, want.origin];
                let others = (0..self.config.n as u16).map(Place).filter(|place| !first.contains(place));
                let mut sources: Vec<_> = first.into_iter().chain(others).collect();
                sources.dedup();
                sources.retain(|place| *place != me && place.index() < self.config.n);
                if sources.is_empty() {
                    continue;
                }
                questions.entry(sources[want.asked % sources.len()]).or_default().push(*digest);
                want.asked += 1;
                want.next = retry;
            }
            due = Some(due.map_or(want.next, |due: Time| due.min(want.next)));
        }
        self.fetches.due = due;
        for (place, digests) in questions {
            out.push(Output::FetchCandidates(place, digests));
        }
    }

    /// Answers a peer's question with what is held, within the peer's budget. Who asks for the same
    /// candidate again within two status intervals gets it once: an honest one asks others first.
    pub(super) fn on_candidates_wanted(&mut self, from: Place, digests: &[Digest], out: &mut Vec<Output>) {
        if from == self.config.me || from.index() >= self.config.n {
            return;
        }
        let interval = self.config.status_interval.as_millis().try_into().unwrap_or(u64::MAX);
        let budget = (SERVED_PER_SECOND.saturating_mul(interval) / 1000).max(1);
        let peer = &mut self.peers[from.index()];
        for digest in digests {
            let Some(candidate) = self.pool.get(digest) else { continue };
            if peer.served >= budget || peer.given.len() == GIVEN_AT_ONCE {
                return;
            }
            if peer.given_before.contains(digest) || !peer.given.insert(*digest) {
                continue;
            }
            peer.served = peer.served.saturating_add(candidate.encoding.len() as u64);
            out.push(Output::SendCandidate(from, std::sync::Arc::clone(candidate)));
        }
    }
}
