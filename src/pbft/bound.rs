//! How far a replica may vote without a sync for each vote, and what it may vote on after a restart.
//!
//! A prepare must not be contradicted after a crash. Instead of recording each one durably before it
//! leaves, the log says ahead of time up to which number this replica may cast prepares in its view
//! ([`Record::Bound`]), as a counter is reserved in blocks. A replica that restarts in that view does
//! not know which of them it cast, and so casts none there up to the bound: it *abstains*, but for
//! what the log happens to say it accepted (those records are written, and no vote waits for them). It
//! accepts, so that it holds the payload and commits what others prepare. That leaves one sync in a row
//! on a block's way: the one of the prepared certificate, before the commit.
//!
//! The numbers that the view's new-view settled are no secret after a restart: the new-view is in the
//! log before any vote in the view, and there is only one thing to vote for. There nobody abstains.
//!
//! A primary that would have to abstain can propose nothing: it *resigns*, by an ordinary view-change,
//! and the others need not wait for a timeout to follow it.
//!
//! The price is that a restarted backup is no help to a quorum of prepares for up to [`AHEAD`] blocks,
//! or until the view changes, whichever comes first.

use super::{Note, Output, Record, Replica};
use crate::plant::Plant;
use crate::types::{Number, View};

/// Numbers that one record allows to be voted on. More means fewer records, and a longer abstention.
const AHEAD: u64 = 32;
/// With fewer numbers left than this the next record is written, with one that is synced anyway.
const LOW: u64 = AHEAD / 2;

/// In this view prepares may have been cast up to this number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bound {
    pub(super) view: View,
    pub(super) upto: Number,
}

impl Replica {
    /// It may have cast a prepare here in this view that it does not know of any more.
    pub(super) fn abstains(&self, number: Number) -> bool {
        let forgotten = self.forgotten.view == self.view && number <= self.forgotten.upto;
        let proposes = self.primary() == self.config.me && self.planted(Plant::ProposesAfterRestart);
        forgotten && number > self.settled() && !proposes
    }

    /// What must be durable before the prepare for this number leaves.
    pub(super) fn bound_before_vote(&mut self, number: Number) -> Option<Record> {
        let allowed = self.bound.view == self.view && number <= self.bound.upto;
        if allowed { None } else { self.raise_bound(number) }
    }

    /// The next bound, when there is little left of this one: written along with a certificate, long
    /// before a vote has to wait for it.
    pub(super) fn bound_ahead(&mut self) -> Option<Record> {
        let low = self.bound.view == self.view && self.accepted_top.0.saturating_add(LOW) > self.bound.upto.0;
        if low { self.raise_bound(self.accepted_top) } else { None }
    }

    fn raise_bound(&mut self, number: Number) -> Option<Record> {
        self.bound = Bound { view: self.view, upto: Number(number.0.saturating_add(AHEAD)) };
        let Bound { view, upto } = self.bound;
        (!self.planted(Plant::BoundNotPersisted)).then_some(Record::Bound { view, upto })
    }

    /// At a restart: what may have been voted on before it.
    pub(super) fn remember_bound(&mut self, out: &mut Vec<Output>) {
        if self.planted(Plant::VoteAgainAfterRestart) {
            return;
        }
        self.forgotten = self.bound;
        let Bound { view, upto } = self.forgotten;
        if view == self.view && upto > self.tip.number {
            out.push(Output::Note(Note::Abstains { view, upto }));
        }
    }

    /// A primary that does not know what it proposed cannot lead: it leaves the view. What its new-view
    /// settled is proposed again all the same, so it is the number after that which counts.
    pub(super) fn resign_if_unsure(&mut self, out: &mut Vec<Output>) {
        let next = self.accepted_top.max(self.settled()).next();
        if self.primary() == self.config.me && self.abstains(next) {
            self.suspect(
                "it restarted as the view's primary and may have proposed what it does not know".into(),
                out,
            );
        }
    }
}
