//! What a replica knows of one block number: its own vote, its certificate, and others' votes.
//!
//! Bounded: votes are kept for this view and the next (commits for a few older views as well), one
//! of a kind by each sender, and only for numbers within `Config::reach`.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::dedup::Content;
use super::message::{Commit, PrePrepare, PreparedCertificate, Proposal};
use crate::types::{Digest, Number, Place, Signature, View};

/// Commits are kept for this many views of a number, the newest.
const COMMIT_VIEWS: usize = 4;

/// A proposal and what this replica worked out about it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) proposal: Arc<Proposal>,
    /// The proposal digest.
    pub(super) digest: Digest,
    /// The header's hash.
    pub(super) hash: Digest,
    /// The block's data; none if it was not worked out (yet), or the block is committed.
    pub(super) content: Option<Arc<Content>>,
    /// Its candidates are pinned in the pool on account of this.
    pub(super) pinned: bool,
}

/// The proposal that this replica accepted last at a number, and so voted for.
#[derive(Clone, Debug)]
pub(super) struct Voted {
    pub(super) view: View,
    pub(super) known: Known,
    /// Its prepare was cast. A replica that abstains accepts all the same, to see the block prepared.
    pub(super) cast: bool,
    /// The block below became another than the one it was proposed on.
    pub(super) abandoned: bool,
}

/// The certificate of the highest view that this replica holds for a number.
#[derive(Clone, Debug)]
pub(super) struct Certified {
    pub(super) certificate: Arc<PreparedCertificate>,
    pub(super) known: Known,
}

/// Everything about one number.
#[derive(Clone, Debug, Default)]
pub(super) struct Slot {
    pub(super) voted: Option<Voted>,
    pub(super) certified: Option<Certified>,
    /// Proposals that arrived before they could be accepted, of this view and the next.
    pub(super) pending: BTreeMap<View, PrePrepare>,
    /// The view whose proposal here was found wrong, on top of this parent: it is not looked at again.
    pub(super) refused: Option<(View, Digest)>,
    /// What the current view's new-view proposes again here, while it is not accepted.
    pub(super) reproposed: Option<Arc<Proposal>>,
    /// By view, then signer: digest and signature. The primary's pre-prepare is its prepare.
    pub(super) prepares: BTreeMap<View, BTreeMap<Place, (Digest, Signature)>>,
    /// By view, then signer.
    pub(super) commits: BTreeMap<View, BTreeMap<Place, Arc<Commit>>>,
}

impl Slot {
    /// The vote cast in `view`, if one was.
    pub(super) fn voted_in(&self, view: View) -> Option<&Voted> {
        self.voted.as_ref().filter(|voted| voted.view == view)
    }

    /// There is a certificate of `view`.
    pub(super) fn certified_in(&self, view: View) -> bool {
        self.certified.as_ref().is_some_and(|certified| certified.certificate.view == view)
    }

    /// The prepares for `digest` in these views (in one, but for tests of the tests).
    pub(super) fn prepares_for(
        &self,
        views: RangeInclusive<View>,
        digest: &Digest,
    ) -> impl Iterator<Item = (Place, &Signature)> {
        let votes = self.prepares.range(views).flat_map(|(_, votes)| votes);
        votes.filter(move |(_, (vote, _))| vote == digest).map(|(place, (_, signature))| (*place, signature))
    }

    /// Makes room for a commit of `view`; false if it is older than all that are kept.
    pub(super) fn admit_commits_of(&mut self, view: View) -> bool {
        if self.commits.contains_key(&view) || self.commits.len() < COMMIT_VIEWS {
            return true;
        }
        let oldest = *self.commits.keys().next().expect("it is not empty");
        if oldest < view {
            self.commits.remove(&oldest);
        }
        oldest < view
    }

    /// Keeps this replica's own commits only.
    pub(super) fn forget_commits_of_others(&mut self, me: Place) {
        self.commits.retain(|_, votes| {
            votes.retain(|signer, _| *signer == me);
            !votes.is_empty()
        });
    }

    /// Keeps only what this replica voted, its certificate, and their payload.
    pub(super) fn forget_others(&mut self, me: Place) {
        self.pending.clear();
        self.reproposed = None;
        self.forget_commits_of_others(me);
        self.prepares.retain(|_, votes| {
            votes.retain(|signer, _| *signer == me);
            !votes.is_empty()
        });
    }

    /// Votes and proposals held.
    pub(super) fn messages(&self) -> usize {
        self.pending.len()
            + self.prepares.values().map(BTreeMap::len).sum::<usize>()
            + self.commits.values().map(BTreeMap::len).sum::<usize>()
            + usize::from(self.voted.is_some())
            + usize::from(self.certified.is_some())
            + usize::from(self.reproposed.is_some())
    }
}

/// What must be remembered of a committed block to help others with it.
#[derive(Clone, Debug)]
pub(super) struct Sealed {
    /// The view of its certificate.
    pub(super) view: View,
    pub(super) digest: Digest,
    pub(super) last_config: Number,
}
