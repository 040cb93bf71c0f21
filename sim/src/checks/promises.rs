//! I7, I8 and I11: what an honest replica promised, over all its lives, and that its disk knows it.
//!
//! A vote leaves only when the synced part of the log forbids contradicting it; no vote is cast twice
//! at one view and number, none in a view below one that was asked for; and whatever happens to the
//! disk, what was promised is found there again.

use std::collections::{BTreeMap, BTreeSet};

use sbft::pbft::Record;
use sbft::pbft::message::{Message, ViewChange};
use sbft::types::{Digest, Number, View};

use super::{Checks, Verdict, unsafe_because};
use crate::digests::digest_of;
use crate::world::Body;

/// A vote's place in the order: nobody may vote twice at one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Slot {
    Prepare(View, Number),
    Commit(View, Number),
    NewView(View),
}

/// What an honest replica has told others, over all its lives.
#[derive(Debug, Default)]
pub(super) struct Promises {
    pub(super) votes: BTreeMap<Slot, Digest>,
    /// Highest view it asked for by a view-change.
    pub(super) asked: View,
    /// Highest view it voted or asked in.
    pub(super) view: View,
    /// How far it may have voted in which view before it started last, by what its disk said then; and
    /// what it said to have voted for.
    pub(super) unsure: Option<(View, Number)>,
    pub(super) sure: BTreeSet<(View, Number, Digest)>,
    /// Commit votes of blocks that may not be durable here, by number.
    pub(super) commits: BTreeMap<Number, (View, Digest)>,
}

impl Promises {
    /// It may have voted here before it started last, and its disk did not say for what.
    fn is_unsure(&self, view: View, number: Number, digest: Digest) -> bool {
        self.unsure.is_some_and(|(of, upto)| of == view && number <= upto)
            && !self.sure.contains(&(view, number, digest))
    }
}

impl Checks {
    /// A vote leaves an honest replica: it contradicts nothing that this replica ever said, and
    /// the synced part of its log covers it.
    pub(crate) fn released(&mut self, body: &Body, message: &Message) -> Verdict {
        let place = body.place;
        let votes = match message {
            Message::PrePrepare(m) if m.view.primary(self.keys.n()) == place => {
                let digest = digest_of(&m.proposal, &self.genesis);
                Some((Slot::Prepare(m.view, m.proposal.number()), digest))
            }
            Message::Prepare(m) if m.signer == place => {
                Some((Slot::Prepare(m.vote.view, m.vote.number), m.vote.digest))
            }
            Message::Commit(m) if m.signer == place => {
                Some((Slot::Commit(m.vote.view, m.vote.header.number), m.vote.digest))
            }
            Message::NewView(m) if m.body.view.primary(self.keys.n()) == place => {
                let bytes = m.body.signing_bytes(self.keys.domain(), place);
                Some((Slot::NewView(m.body.view), sbft::header::sha256(&bytes)))
            }
            _ => None,
        };
        if let Some((slot, digest)) = votes {
            return self.voted(body, slot, digest);
        }
        if let Message::ViewChange(change) = message
            && change.signer == place
        {
            return self.asked(body, change.body.view, &change.body);
        }
        Ok(())
    }

    fn voted(&mut self, body: &Body, slot: Slot, digest: Digest) -> Verdict {
        let place = body.place;
        let wiped = self.wiped.contains(&place);
        let promises = self.promises.entry(place).or_default();
        match promises.votes.get(&slot) {
            Some(before) if *before == digest => return Ok(()), // said again, and no new promise
            _ if wiped => {
                return unsafe_because("wiped", format!("{place} lost its log and votes again: {slot:?}"));
            }
            Some(before) => {
                return unsafe_because(
                    "one vote",
                    format!("{place} votes for {digest} at {slot:?}, where it voted for {before}"),
                );
            }
            None => {}
        }
        let view = match slot {
            Slot::Prepare(view, _) | Slot::Commit(view, _) | Slot::NewView(view) => view,
        };
        if view < promises.asked {
            let asked = promises.asked;
            return unsafe_because(
                "no vote back",
                format!("{place} votes at {slot:?} after it asked for {asked}"),
            );
        }
        if view < promises.view {
            let before = promises.view;
            return unsafe_because("view monotone", format!("{place} votes at {slot:?} after {before}"));
        }
        if let Slot::Prepare(view, number) = slot
            && promises.is_unsure(view, number, digest)
            && !self.ghost.is_settled(view, number, digest)
        {
            return unsafe_because(
                "abstains",
                format!("{place} votes at {slot:?} after a restart, and may have voted there before"),
            );
        }
        promises.view = view;
        promises.votes.insert(slot, digest);
        match slot {
            Slot::Prepare(view, number) => {
                self.ghost.prepares(place, view, number, digest, &self.dishonest)?;
            }
            Slot::Commit(view, number) => {
                self.ghost.commits(place, view, number, digest);
                self.certificates.cast(place, view, number, digest);
            }
            Slot::NewView(_) => {}
        }
        let promises = self.promises.entry(place).or_default();
        // A vote for a block that is committed here already adds nothing: q logs hold it.
        if let Slot::Commit(view, number) = slot
            && number > body.store.last()
        {
            promises.commits.insert(number, (view, digest));
        }
        self.covered(body, slot, digest)
    }

    /// The synced part of the log forbids contradicting this vote.
    fn covered(&self, body: &Body, slot: Slot, digest: Digest) -> Verdict {
        let place = body.place;
        let image = body.log.image();
        let durable = body.store.durable();
        let (view, number) = match slot {
            Slot::Prepare(view, number) | Slot::Commit(view, number) => (view, number),
            Slot::NewView(view) => (view, Number(u64::MAX)),
        };
        if number <= durable {
            return Ok(());
        }
        // A record that forbids any vote in this view forbids contradicting this one, which left
        // late. What it may have committed must be there all the same.
        let superseded = image.entered.last().copied().unwrap_or_default().max(image.asked) > view;
        if superseded && !matches!(slot, Slot::Commit(..)) {
            return Ok(());
        }
        if view > View(0)
            && !superseded
            && !image.entered.contains(&view)
            && !matches!(slot, Slot::NewView(_))
        {
            return unsafe_because(
                "persist first",
                format!("{place} votes at {slot:?} and has no new-view synced"),
            );
        }
        match slot {
            Slot::Prepare(..) => {
                // Having left the view forbids another vote there just as well.
                let left = image.asked.max(image.entered.last().copied().unwrap_or_default()) > view;
                if !left && !image.allows(view, number) {
                    return unsafe_because(
                        "persist first",
                        format!("{place} votes at {slot:?} and no bound that allows it is synced"),
                    );
                }
            }
            Slot::Commit(..) => {
                let held = image.prepared.get(&(number, digest)).is_some_and(|held| *held >= view);
                let committed = number <= body.store.last();
                // It may leave late, when a higher view has certified another proposal there. That view
                // began with a quorum that knew of no certificate for this one and votes for it no
                // more, so this commit decides nothing, and the newer certificate is what counts.
                let at = (number, Digest([0; 32]))..=(number, Digest([0xff; 32]));
                let mut certified = image.prepared.range(at);
                if certified.any(|((_, newer), held)| *held > view && image.holds_payload(newer)) {
                    return Ok(());
                }
                if !held || !committed && !image.holds_payload(&digest) {
                    return unsafe_because(
                        "persist first",
                        format!(
                            "{place} votes at {slot:?} and certificate or payload of {digest} is not synced"
                        ),
                    );
                }
                // Below it: certificates too, or the block itself, whose q commits say that q
                // logs hold a certificate.
                for below in body.store.last().0 + 1..number.0 {
                    if !image.holds_certificate_and_payload(Number(below)) {
                        return unsafe_because(
                            "persist first",
                            format!("{place} votes at {slot:?} and nothing synced holds {}", Number(below)),
                        );
                    }
                }
            }
            Slot::NewView(_) => {
                if !image.chosen.contains(&digest) && !image.entered.contains(&view) {
                    return unsafe_because(
                        "persist first",
                        format!("{place} sends {slot:?} and has not synced it"),
                    );
                }
            }
        }
        Ok(())
    }

    fn asked(&mut self, body: &Body, view: View, change: &ViewChange) -> Verdict {
        let place = body.place;
        if self.wiped.contains(&place) {
            return unsafe_because("wiped", format!("{place} lost its log and asks for {view}"));
        }
        self.ghost.asks(place, view, &self.dishonest)?;
        let image = body.log.image();
        if image.asked.max(image.entered.last().copied().unwrap_or_default()) < view {
            return unsafe_because(
                "persist first",
                format!("{place} asks for {view} and has not synced that"),
            );
        }
        if !change.prepared.is_empty() {
            self.seen.carried += 1;
        }
        let promises = self.promises.entry(place).or_default();
        // Whatever it voted commit for and did not commit must be among its certificates.
        for (number, (committed_in, digest)) in &promises.commits {
            if *number <= change.base_number() || *committed_in >= view {
                continue;
            }
            let carried = change.prepared.iter().any(|certificate| {
                certificate.proposal.number() == *number
                    && (certificate.view > *committed_in
                        || digest_of(&certificate.proposal, &self.genesis) == *digest)
            });
            if !carried {
                return unsafe_because(
                    "certificates kept",
                    format!(
                        "{place} asks for {view} and hides that it voted commit for {number} in {committed_in}"
                    ),
                );
            }
        }
        promises.asked = promises.asked.max(view);
        promises.view = promises.view.max(view);
        Ok(())
    }

    /// An honest replica writes a record.
    pub(crate) fn persisted(&mut self, body: &Body, record: &Record) -> Verdict {
        if !body.is_honest() || self.wiped.contains(&body.place) {
            return Ok(());
        }
        self.see_record(body, record);
        if let Record::Accepted { view, proposal } = record {
            // The next restart would take it for a vote, and cast it again.
            let (number, digest) = (proposal.number(), digest_of(proposal, &self.genesis));
            let unsure = self.promises.get(&body.place).is_some_and(|p| p.is_unsure(*view, number, digest));
            if unsure && !self.ghost.is_settled(*view, number, digest) {
                return unsafe_because(
                    "abstains",
                    format!("{} records a vote at {number} in {view} that it cannot cast", body.place),
                );
            }
        }
        self.ghost.persisted(body, record, &self.dishonest)
    }

    /// At a start: how far the replica may have voted by what its disk says, and what it knows of that.
    pub(super) fn remember(&mut self, body: &Body) {
        let Some(promises) = self.promises.get_mut(&body.place) else { return };
        let image = body.log.image();
        promises.unsure = image.bounds.last_key_value().map(|(view, upto)| (*view, *upto));
        promises.sure.clone_from(&image.accepted);
    }

    /// After recovery, and whenever the log was rewritten: what this replica promised is there.
    pub(crate) fn disk_changed(&mut self, body: &Body) -> Verdict {
        if !body.is_honest() || self.wiped.contains(&body.place) {
            return Ok(());
        }
        let durable = body.store.durable();
        let Some(promises) = self.promises.get_mut(&body.place) else { return Ok(()) };
        promises.commits.retain(|number, _| *number > durable);
        let image = body.log.image();
        for (number, (view, _)) in &promises.commits {
            if !image.holds_certificate_and_payload(*number) {
                return unsafe_because(
                    "certificates kept",
                    format!(
                        "{} voted commit for {number} in {view} and its disk holds no certificate",
                        body.place
                    ),
                );
            }
        }
        let entered = image.entered.last().copied().unwrap_or_default();
        for slot in promises.votes.keys() {
            // What forbids voting in a lower view forbids contradicting a vote there, too.
            if let Slot::Prepare(view, number) = slot
                && *view >= entered.max(image.asked)
                && *number > durable
                && !image.allows(*view, *number)
            {
                return unsafe_because(
                    "votes kept",
                    format!("{} voted prepare for {number} in {view} and its disk forgot", body.place),
                );
            }
        }
        Ok(())
    }
}
