//! Which votes are of no use to a core any more, so that nobody checks their signatures.

use crate::pbft::Probe;
use crate::pbft::message::{Message, PrepareVote};
use crate::types::{Number, View};

/// How far the core has come, which says what votes are of no use to it any more. What is wrong here
/// for a moment, because the core has moved on, loses a vote at worst, and statuses repair that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    committed: Number,
    view: View,
    /// Up to here it has a quorum of prepares of that view.
    prepared: Number,
}

impl Settled {
    /// What the core says of itself.
    pub fn of(probe: &Probe) -> Self {
        Self { committed: probe.committed, view: probe.view, prepared: probe.prepared }
    }

    /// The last committed block.
    pub fn committed(&self) -> Number {
        self.committed
    }

    /// The vote is beyond the quorum that it was for. To leave it out is as if it had been lost on
    /// the way, and saves the checking of a signature, which is much of what a small block costs.
    pub fn makes_surplus(&self, message: &Message) -> bool {
        match message {
            // Not where it is committed: a later view may propose the block again, for those who lack it,
            // and then the core needs the prepares of that view, and no status would bring them back.
            Message::Prepare(prepare) => {
                let PrepareVote { view, number, .. } = prepare.vote;
                view == self.view && self.committed < number && number <= self.prepared
            }
            // The core takes none there.
            Message::Commit(commit) => commit.vote.header.number <= self.committed,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::pbft::message::{Commit, CommitVote, Prepare};
    use crate::types::{BlockSignature, Digest, Header, Place, Signature};

    fn prepare(view: u64, number: u64) -> Message {
        let vote = PrepareVote { view: View(view), number: Number(number), digest: Digest([1; 32]) };
        Message::Prepare(Prepare { vote, signer: Place(1), signature: Signature(Bytes::new()) })
    }

    fn commit(view: u64, number: u64) -> Message {
        let header = Header { number: Number(number), previous_hash: None, data_hash: Digest([2; 32]) };
        let vote = CommitVote { view: View(view), header, digest: Digest([1; 32]), last_config: Number(0) };
        let signature =
            BlockSignature { identifier_header: Bytes::new(), signature: Signature(Bytes::new()) };
        Message::Commit(Arc::new(Commit { vote, signer: Place(1), signature }))
    }

    #[test]
    fn votes_are_surplus_once_their_quorum_is_there_and_no_sooner() {
        let settled = Settled { committed: Number(4), view: View(2), prepared: Number(6) };
        for (message, surplus) in [
            (prepare(2, 6), true),
            (prepare(2, 7), false),
            (prepare(3, 5), false), // of the next view, where nothing is prepared yet
            (prepare(1, 5), false),
            (prepare(2, 4), false), // committed, and perhaps proposed again in this view
            (prepare(9, 4), false),
            (commit(2, 4), true),
            (commit(2, 5), false),
        ] {
            assert_eq!(settled.makes_surplus(&message), surplus, "{message:?}");
        }
    }
}
