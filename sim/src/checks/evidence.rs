//! I17: evidence is sound (nobody accuses an honest replica) and complete (who votes for two things
//! and lets one honest replica see both is accused there at once).

use std::collections::{BTreeMap, BTreeSet};

use sbft::pbft::message::{Message, Offence};
use sbft::types::{Digest, Number, Place, View};

use super::{Verdict, unsafe_because};
use crate::digests::digest_of;

/// A vote's kind, view, number and signer.
type Vote = (u8, View, Number, Place);

/// What each body heard of liars, and whom it accused.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    heard: BTreeMap<usize, BTreeMap<Vote, Digest>>,
    accused: BTreeMap<usize, BTreeSet<(Place, u8)>>,
}

/// A liar's second, different vote, which is about to be told to a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lie {
    kind: u8,
    signer: Place,
    view: View,
    number: Number,
}

const PREPARE: u8 = 0;
const COMMIT: u8 = 1;
const NEW_VIEW: u8 = 2;

/// Who is accused of what kind of lie.
pub(super) fn accused(offence: &Offence, n: usize) -> (Place, u8) {
    match offence {
        Offence::Prepares(one, _) => (one.signer, PREPARE),
        Offence::Commits(one, _) => (one.signer, COMMIT),
        Offence::NewView(new_view) => (new_view.body.view.primary(n), NEW_VIEW),
    }
}

impl Evidence {
    /// A body starts with no memory of what it heard.
    pub(super) fn started(&mut self, body: usize) {
        self.heard.remove(&body);
        self.accused.remove(&body);
    }

    /// A message that is about to be told to a body that stands in `view` above block `tip`; only
    /// votes of this view and of open numbers within the window must be remembered there.
    pub(super) fn hears(
        &mut self,
        body: usize,
        (view, tip, window): (View, Number, u64),
        message: &Message,
        n: usize,
        liars: &BTreeSet<Place>,
        genesis: &Digest,
    ) -> Option<Lie> {
        let vote = match message {
            Message::PrePrepare(m) => (PREPARE, m.view, m.proposal.number(), m.view.primary(n)),
            Message::Prepare(m) => (PREPARE, m.vote.view, m.vote.number, m.signer),
            Message::Commit(m) => (COMMIT, m.vote.view, m.vote.header.number, m.signer),
            _ => return None,
        };
        let (kind, at, number, signer) = vote;
        let open = number > tip && number.0 <= tip.0.saturating_add(window);
        if at != view || !open || !liars.contains(&signer) {
            return None;
        }
        let digest = match message {
            Message::PrePrepare(m) => digest_of(&m.proposal, genesis),
            Message::Prepare(m) => m.vote.digest,
            Message::Commit(m) => m.vote.digest,
            _ => return None,
        };
        let heard = self.heard.entry(body).or_default();
        // What it heard in other views or of blocks that are done it need not remember.
        if heard.len() > 1000 {
            heard.retain(|(_, at, number, _), _| *at == view && *number > tip);
        }
        let first = *heard.entry(vote).or_insert(digest);
        (first != digest).then_some(Lie { kind, signer, view: at, number })
    }

    /// A body accuses somebody.
    pub(super) fn accuses(
        &mut self,
        body: usize,
        accuser: Place,
        offence: &Offence,
        n: usize,
        liars: &BTreeSet<Place>,
    ) -> Verdict {
        let (liar, kind) = accused(offence, n);
        self.accused.entry(body).or_default().insert((liar, kind));
        if !liars.contains(&liar) {
            return unsafe_because("evidence", format!("{accuser} accuses the honest {liar}"));
        }
        Ok(())
    }

    /// The body was told the lie, and has answered.
    pub(super) fn answered(&self, body: usize, place: Place, lie: Lie) -> Verdict {
        let Lie { kind, signer, view, number } = lie;
        if self.accused.get(&body).is_some_and(|accused| accused.contains(&(signer, kind))) {
            return Ok(());
        }
        unsafe_because(
            "lies noticed",
            format!("{place} heard {signer} vote for two things at {number} in {view}, and accuses nobody"),
        )
    }
}

#[cfg(test)]
mod tests {
    use sbft::pbft::message::{Prepare, PrepareVote};
    use sbft::types::Signature;

    use super::*;
    use crate::checks::tests::named;

    fn prepare(signer: u16, view: u64, number: u64, digest: u8) -> Prepare {
        let vote = PrepareVote { view: View(view), number: Number(number), digest: Digest([digest; 32]) };
        Prepare { vote, signer: Place(signer), signature: Signature::default() }
    }

    fn liars() -> BTreeSet<Place> {
        BTreeSet::from([Place(3)])
    }

    #[test]
    fn i17_evidence_fires_on_an_accusation_of_an_honest_replica() {
        let mut evidence = Evidence::default();
        let of = |signer| {
            Offence::Prepares(Box::new(prepare(signer, 0, 1, 1)), Box::new(prepare(signer, 0, 1, 2)))
        };
        assert_eq!(evidence.accuses(0, Place(0), &of(3), 4, &liars()), Ok(()));
        assert_eq!(named(evidence.accuses(0, Place(0), &of(2), 4, &liars())), "I17 evidence");
    }

    #[test]
    fn i17_lies_noticed_fires_on_a_double_vote_that_is_let_pass() {
        let mut evidence = Evidence::default();
        let genesis = Digest::default();
        let hears = |evidence: &mut Evidence, vote: Prepare| {
            let stands = (View(0), Number(0), 8);
            evidence.hears(0, stands, &Message::Prepare(vote), 4, &liars(), &genesis)
        };
        assert_eq!(hears(&mut evidence, prepare(3, 0, 1, 1)), None);
        assert_eq!(hears(&mut evidence, prepare(3, 0, 1, 1)), None, "the same again is no lie");
        assert_eq!(hears(&mut evidence, prepare(3, 1, 1, 2)), None, "of another view");
        assert_eq!(hears(&mut evidence, prepare(3, 0, 99, 2)), None, "far away");
        let lie = hears(&mut evidence, prepare(3, 0, 1, 2)).expect("two things at one number");
        assert_eq!(named(evidence.answered(0, Place(0), lie)), "I17 lies noticed");
        let offence = Offence::Prepares(Box::new(prepare(3, 0, 1, 1)), Box::new(prepare(3, 0, 1, 2)));
        assert_eq!(evidence.accuses(0, Place(0), &offence, 4, &liars()), Ok(()));
        assert_eq!(evidence.answered(0, Place(0), lie), Ok(()));
        evidence.started(0);
        assert_eq!(hears(&mut evidence, prepare(3, 0, 1, 2)), None, "a restart forgets");
    }
}
