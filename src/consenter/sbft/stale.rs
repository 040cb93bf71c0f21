//! Ids that were committed lately, as the tasks at the edge can look them up: a candidate all of whose
//! envelopes are in the chain adds nothing, so its signatures need not be checked.
//!
//! Whether it is valid does not come into it: it is as if it had been lost on the way, which the core
//! bears from anybody, and one that the core asked for is always checked. What is here is never more than
//! what the core knows as committed within the dedup window, and mostly half of that.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError, RwLock};

use bytes::Bytes;

use crate::dedup_window::{BlockIds, DedupRule};
use crate::types::{Digest, Number, RequestId};
use crate::wire::candidate::{self, Limits};

/// Ids in one generation, of which there are two: 16 bytes or so each.
const GENERATION: usize = 1 << 17;
/// Candidates that the core asked for and that are remembered as such.
const WANTED: usize = 4096;

/// Ids of the last blocks, and which candidates are wanted all the same.
#[derive(Debug)]
pub(super) struct Stale {
    committed: RwLock<Generations>,
    wanted: Mutex<Wanted>,
}

#[derive(Debug, Default)]
struct Wanted {
    digests: HashSet<Digest>,
    /// Oldest first.
    order: VecDeque<Digest>,
}

#[derive(Debug)]
struct Generations {
    rule: DedupRule,
    /// Envelopes in all blocks until now.
    envelopes: u64,
    young: HashSet<u64>,
    young_since: Since,
    old: HashSet<u64>,
    old_since: Since,
}

/// Where a generation begins.
#[derive(Clone, Copy, Debug, Default)]
struct Since {
    number: Number,
    /// Envelopes in the blocks below.
    below: u64,
}

impl Generations {
    /// Whether all blocks from there to `number`, the last one, are within `share` of the next one's window.
    fn reaches(&self, since: Since, number: Number, share: u64) -> bool {
        let half = DedupRule { blocks: self.rule.blocks / share, envelopes: self.rule.envelopes / share };
        half.reaches(number.next().0 - since.number.0, self.envelopes - since.below)
    }
}

impl Stale {
    /// Begins with the blocks that the ledger ends with, oldest first.
    pub(super) fn new(rule: DedupRule, recent: &[BlockIds]) -> Self {
        let committed = RwLock::new(Generations {
            rule,
            envelopes: 0,
            young: HashSet::new(),
            young_since: Since::default(),
            old: HashSet::new(),
            old_since: Since::default(),
        });
        let stale = Self { committed, wanted: Mutex::default() };
        for (number, ids) in recent {
            stale.commit(*number, ids);
        }
        stale
    }

    /// The next block was committed.
    pub(super) fn commit(&self, number: Number, ids: &[RequestId]) {
        let mut all = self.committed.write().unwrap_or_else(PoisonError::into_inner);
        let here = Since { number, below: all.envelopes };
        all.envelopes += ids.len() as u64;
        if all.young.is_empty() {
            all.young_since = here;
        } else if !all.reaches(all.young_since, number, 2) || all.young.len() >= GENERATION {
            // Half of the window for each, and no more than all of it for both.
            all.old = std::mem::take(&mut all.young);
            all.old_since = std::mem::replace(&mut all.young_since, here);
        }
        if !all.reaches(all.old_since, number, 1) {
            all.old.clear();
        }
        if all.reaches(here, number, 1) {
            all.young.extend(ids.iter().map(short));
        }
    }

    /// The core asks for these candidates.
    pub(super) fn want(&self, digests: &[Digest]) {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        for digest in digests {
            if wanted.digests.insert(*digest) {
                wanted.order.push_back(*digest);
            }
            if wanted.order.len() > WANTED
                && let Some(oldest) = wanted.order.pop_front()
            {
                wanted.digests.remove(&oldest);
            }
        }
    }

    /// Whether the candidate with this encoding may be dropped unseen: all its envelopes are in the last
    /// blocks, and the core has not asked for it since it came last.
    pub(super) fn covers(&self, encoding: &Bytes, limits: &Limits) -> bool {
        candidate::has_only(encoding, limits, |id| self.holds(id))
            && !self.take_wanted(&candidate::digest(encoding))
    }

    fn take_wanted(&self, digest: &Digest) -> bool {
        // Its place in the order stays taken until it is the oldest, which forgets it a little early if it
        // is asked for again: then it is asked for once more.
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).digests.remove(digest)
    }

    /// The id is in one of the last blocks. Some that are may not be known.
    fn holds(&self, id: &RequestId) -> bool {
        let all = self.committed.read().unwrap_or_else(PoisonError::into_inner);
        let short = short(id);
        all.young.contains(&short) || all.old.contains(&short)
    }
}

/// Part of an id. It is a hash over a nonce that its client chose, so whoever wants another client's
/// next one to look committed has to guess it.
fn short(id: &RequestId) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&id.0[8..16]);
    u64::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::header::sha256;
    use crate::proto::common::{ChannelHeader, Envelope, Header, Payload, SignatureHeader};
    use crate::types::{Candidate, Place};

    /// One of replica 1's, whose envelopes have these nonces.
    fn candidate_of(sequence: u64, nonces: &[u8]) -> Candidate {
        let envelope = |nonce: &u8| {
            let signature_header = SignatureHeader { creator: vec![1].into(), nonce: vec![*nonce].into() };
            let header = Header {
                channel_header: ChannelHeader::default().encode_to_vec().into(),
                signature_header: signature_header.encode_to_vec().into(),
            };
            let payload = Payload { header: Some(header), data: Bytes::from_static(b"data") };
            let payload = payload.encode_to_vec().into();
            Bytes::from(Envelope { payload, signature: Bytes::from_static(b"signed") }.encode_to_vec())
        };
        candidate::encode(Place(1), sequence, nonces.iter().map(envelope).collect()).expect("it is in form")
    }

    #[test]
    fn a_candidate_of_committed_envelopes_is_dropped_unless_the_core_asks_for_it() {
        let stale = Stale::new(blocks(1000), &[]);
        let (done, half) = (candidate_of(7, &[1, 2]), candidate_of(8, &[2, 3]));
        assert!(!stale.covers(&done.encoding, &Limits::NONE), "nothing is committed");
        stale.commit(Number(1), &done.ids);
        assert!(stale.covers(&done.encoding, &Limits::NONE));
        assert!(!stale.covers(&half.encoding, &Limits::NONE), "it has something new");
        assert!(
            !stale.covers(&Bytes::from_static(b"noise"), &Limits::NONE),
            "that is for those who judge it"
        );
        stale.want(&[done.digest]);
        assert!(!stale.covers(&done.encoding, &Limits::NONE), "a proposal may need it");
        assert!(stale.covers(&done.encoding, &Limits::NONE), "it was given, and nobody asked again");
    }

    #[test]
    fn of_candidates_that_are_wanted_the_oldest_are_forgotten() {
        let stale = Stale::new(blocks(1000), &[]);
        let digests: Vec<_> = (0..=WANTED as u64).map(|nth| sha256(&nth.to_be_bytes())).collect();
        for digest in &digests {
            stale.want(&[*digest, *digest]);
        }
        assert!(!stale.take_wanted(&digests[0]) && stale.take_wanted(&digests[1]));
        let wanted = stale.wanted.lock().expect("not poisoned");
        assert!(wanted.order.len() == WANTED && wanted.digests.len() < WANTED);
    }

    fn blocks(blocks: u64) -> DedupRule {
        DedupRule { blocks, envelopes: 0 }
    }

    fn id(number: u64) -> RequestId {
        RequestId(sha256(&number.to_be_bytes()).0)
    }

    #[test]
    fn ids_are_known_for_half_of_the_window_at_least_and_never_beyond_it() {
        let depth = 10;
        let recent: Vec<_> = (1..4).map(|number| (Number(number), vec![id(number)].into())).collect();
        let stale = Stale::new(blocks(depth), &recent);
        for tip in 4..100 {
            stale.commit(Number(tip), &[id(tip)]);
            for number in 1..=tip + 1 {
                let age = (tip + 1).saturating_sub(number);
                assert!(age == 0 || age > depth / 2 || stale.holds(&id(number)), "{number} at {tip}");
                assert!((1..=depth).contains(&age) || !stale.holds(&id(number)), "{number} at {tip}");
            }
        }
    }

    #[test]
    fn many_ids_push_out_the_oldest() {
        let stale = Stale::new(blocks(1_000_000), &[]);
        for block in 0..5u64 {
            let ids: Vec<_> = (0..GENERATION as u64 / 2).map(|nth| id(block << 32 | nth)).collect();
            stale.commit(Number(block + 1), &ids);
        }
        assert!(stale.holds(&id(4 << 32)) && stale.holds(&id(2 << 32)) && !stale.holds(&id(1)));
        let all = stale.committed.read().expect("not poisoned");
        assert!(all.young.len() + all.old.len() <= 2 * GENERATION);
    }

    #[test]
    fn a_window_of_one_block_knows_the_last_one() {
        let stale = Stale::new(blocks(1), &[(Number(1), vec![id(1)].into())]);
        stale.commit(Number(2), &[id(2)]);
        assert!(!stale.holds(&id(1)) && stale.holds(&id(2)));
    }

    #[test]
    fn with_few_envelopes_in_blocks_it_is_they_that_count() {
        // Blocks of one envelope, then of ten, then of one again.
        let rule = DedupRule { blocks: 6, envelopes: 40 };
        let stale = Stale::new(rule, &[]);
        let size = |number: u64| if (100..120).contains(&number) { 10 } else { 1 };
        let ids = |number: u64| (0..size(number)).map(|nth| id(number << 8 | nth)).collect::<Vec<_>>();
        for tip in 1..300 {
            stale.commit(Number(tip), &ids(tip));
            let mut envelopes = 0;
            for number in (1..=tip).rev() {
                envelopes += size(number);
                let known = ids(number).iter().all(|id| stale.holds(id));
                let blocks = tip + 1 - number;
                assert!(!known || rule.reaches(blocks, envelopes), "{number} at {tip}");
                let half = DedupRule { blocks: 3, envelopes: 20 };
                assert!(known || !half.reaches(blocks, envelopes), "{number} at {tip}");
            }
        }
    }
}
