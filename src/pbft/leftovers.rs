//! What a primary's proposals leave behind: how a primary that crawls is noticed.
//!
//! An honest primary that proposes takes all that waits and fits into the block, the lines of all
//! origins in turn. So a proposal with room to spare leaves nothing behind that the primary has had for
//! a while, however slow its disk, its machine or its links are, and however long the lines: under
//! overload its blocks are full. One that keeps proposing little, each time just before it would be
//! found slow, leaves something behind every time; if it is too large to fit beside that little, it leaves the
//! same candidate behind again and again, where the turns of an honest primary would have come to it. The pause between proposals says nothing about it.
//!
//! What the primary may not have is not held against it: only what this replica has sent it itself, two
//! complain timeouts ago. A few such proposals may have been under way; not sixteen in a row, over as
//! long a time again. So what fits a block waits for at most two forward timeouts and four
//! complain timeouts, or sixteen such proposals, and then the primary is complained about.

use std::time::Duration;

use super::complaint::Reason;
use super::message::{MAX_CANDIDATES, Proposal};
use super::pool::Limits;
use super::{Output, Phase, Replica};
use crate::types::{Digest, Place, Time};

/// Proposals in a row that left something of one origin behind before the primary crawls.
const BLOCKS: u32 = 16;
/// How long the primary is given with what it was sent, and how long it has to go on leaving it behind,
/// in complain timeouts.
const PATIENCE: u32 = 2;
/// What does not fit beside the rest of a block comes first in one of the next: all origins have had their turn
/// within so many blocks for each of them, and what is still left behind then could have been taken.
const TURNS: u32 = 2;
/// An origin that lies can keep a candidate of its own waiting, by a line that it fills in front of it
/// at the primary alone. With each view that was left for the sake of an origin, twice as much must be
/// left behind of it, at most so often.
const DOUBLINGS: u32 = 6;

/// What is left behind of one origin's candidates.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Leftovers {
    /// Proposals in a row with room for something that the primary was sent long ago.
    blocks: u32,
    /// When the first of them was accepted.
    since: Time,
    /// The first that has waited here for long, and how many proposals in a row passed it over.
    first: Option<Digest>,
    passed: u32,
    /// The last proposal had room for something that has waited here, sent to the primary or not.
    waits: bool,
    /// Views that were left on account of this origin's candidates.
    views: u32,
}

/// A waiting candidate of a line, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) digest: Digest,
    pub(super) arrived: Time,
    /// When it was first and last sent to this view's primary, if it was.
    pub(super) sent: Option<(Time, Time)>,
    /// It and all before it in its line are small enough for what was asked about.
    pub(super) fits: bool,
}

impl Replica {
    /// A view begins or ends, or this replica stood still: nothing has been left behind yet.
    pub(super) fn forget_leftovers(&mut self) {
        for left in &mut self.leftovers {
            *left = Leftovers { views: left.views, ..Leftovers::default() };
        }
    }

    /// Looks at what waits on, now that this proposal is accepted.
    pub(super) fn note_leftovers(&mut self, proposal: &Proposal) {
        let primary = self.primary();
        if primary == self.config.me || self.phase != Phase::Active || !self.votes() {
            return;
        }
        if self.peers[primary.index()].down || self.open_config.is_some() {
            return self.forget_leftovers(); // it can be sent nothing, or can take nothing
        }
        let (room, next) = (self.room_beside(proposal), proposal.number().next());
        let patience = self.complain_timeout() * PATIENCE;
        for origin in 0..self.leftovers.len() {
            let place = Place(origin as u16);
            let (mut left, mut held, mut waits) = (false, false, false);
            let mut first = None;
            for waiting in self.pool.line(place, self.view, room) {
                let fits = waiting.fits && self.pool.adds_something(&waiting.digest, next, &self.dedup);
                let long = self.now.since(waiting.arrived) >= self.forward_after(place);
                waits |= fits && long;
                if first.is_none() && long && self.pool.adds_something(&waiting.digest, next, &self.dedup) {
                    first = Some(waiting.digest);
                }
                if waiting.sent.is_some_and(|(first, _)| self.now.since(first) >= patience) {
                    held = true;
                    left |= fits;
                }
            }
            let turns = TURNS * self.config.n as u32;
            let leftovers = &mut self.leftovers[origin];
            leftovers.passed = if leftovers.first == first { leftovers.passed.saturating_add(1) } else { 0 };
            leftovers.first = first;
            let stuck = first.is_some() && leftovers.passed > turns;
            (left, waits) = (left || stuck, waits || stuck);
            leftovers.waits = waits;
            if !held {
                leftovers.blocks = 0;
            } else if left {
                if leftovers.blocks == 0 {
                    leftovers.since = self.now;
                }
                leftovers.blocks = leftovers.blocks.saturating_add(1);
            }
        }
    }

    /// What could have been in the block too. The primary aims at the preferred size.
    fn room_beside(&self, proposal: &Proposal) -> Limits {
        let limits = self.limits();
        let target = limits.preferred.min(limits.bytes);
        let mut room = Limits { envelopes: limits.envelopes, bytes: target, preferred: target };
        if proposal.candidates.len() >= MAX_CANDIDATES {
            room.envelopes = 0;
        }
        for candidate in proposal.candidates.iter().filter_map(|named| self.pool.get(&named.digest)) {
            room.envelopes = room.envelopes.saturating_sub(candidate.envelopes.len() as u64);
            room.bytes = room.bytes.saturating_sub(candidate.bytes());
        }
        room
    }

    /// How long a candidate waits before this replica sends it to the primary. The origin comes first;
    /// the others step in when it does not.
    pub(super) fn forward_after(&self, origin: Place) -> Duration {
        self.config.forward_timeout * if origin == self.config.me { 1 } else { 2 }
    }

    /// The primary left something of this origin behind, that it may not have.
    pub(super) fn is_left_waiting(&self, origin: Place) -> bool {
        self.leftovers[origin.index()].waits
    }

    /// What of the lines that are left waiting the primary is to be sent (again): no more at a time than
    /// it takes in from one that forwards.
    pub(super) fn to_be_sent(&self) -> Vec<Digest> {
        let again = self.complain_timeout();
        let (mut under_way, mut due) = (0, Vec::new());
        let (me, n) = (self.config.me.0, self.config.n as u16);
        // Its own first: nobody else knows of those what this replica does.
        for origin in (me..n).chain(0..me).map(Place) {
            for waiting in self.pool.line(origin, self.view, self.limits()) {
                let pause = match waiting.sent {
                    Some((_, last)) => {
                        under_way += 1;
                        self.now.since(last) >= again
                    }
                    None => self.now.since(waiting.arrived) >= self.forward_after(origin),
                };
                if pause && self.is_left_waiting(origin) {
                    due.push((waiting.sent.is_none(), waiting.digest));
                }
            }
        }
        let mut room = self.config.outstanding.saturating_sub(under_way);
        due.retain(|(new, _)| !new || room.checked_sub(1).inspect(|left| room = *left).is_some());
        due.into_iter().map(|(_, digest)| digest).collect()
    }

    /// Too much of this origin's has been left behind for too long.
    fn is_left_behind(&self, origin: Place) -> bool {
        let left = self.leftovers[origin.index()];
        let doublings = if origin == self.config.me { 0 } else { left.views };
        let patience = self.complain_timeout() * PATIENCE * (1 << doublings);
        left.blocks >= BLOCKS << doublings && self.now.since(left.since) >= patience
    }

    /// Complains about a primary that leaves behind what fits.
    pub(super) fn judge_leftovers(&mut self, out: &mut Vec<Output>) {
        let origin = (0..self.config.n as u16).map(Place).find(|origin| self.is_left_behind(*origin));
        match origin.filter(|_| self.phase == Phase::Active) {
            Some(origin) => {
                let blocks = self.leftovers[origin.index()].blocks;
                let text =
                    || format!("{blocks} proposals left behind what {origin} has waiting and would fit");
                self.raise(Reason::Crawls, text, out);
            }
            None => self.withdraw(Reason::Crawls),
        }
    }

    /// The view is left: if for the sake of some origin, it takes more of that origin the next time.
    pub(super) fn count_left_behind(&mut self) {
        for origin in 0..self.leftovers.len() {
            if self.is_left_behind(Place(origin as u16)) {
                let views = &mut self.leftovers[origin].views;
                *views = (*views + 1).min(DOUBLINGS);
            }
        }
    }
}
