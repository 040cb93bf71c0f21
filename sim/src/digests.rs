//! Proposal digests, worked out once for all who ask about the same proposal.
//!
//! Every check, every label and every log asks for the digest of each proposal, some thirty times
//! for a block. A proposal is never changed in place (whoever wants another one clones it), so the
//! same shared value has the same digest.

use std::cell::RefCell;
use std::sync::Arc;

use sbft::pbft::message::Proposal;
use sbft::types::Digest;

/// So many proposals are in use at one time; a run's older ones are worked out again.
const REMEMBERED: usize = 16;

#[derive(Default)]
struct Ring {
    /// Holding them keeps anything else from taking their addresses.
    entries: Vec<(Arc<Proposal>, Digest, Digest)>,
    next: usize,
}

thread_local! {
    static RING: RefCell<Ring> = RefCell::default();
}

/// What [`Proposal::digest`] says.
pub(crate) fn digest_of(proposal: &Arc<Proposal>, genesis: &Digest) -> Digest {
    RING.with_borrow_mut(|ring| {
        let known = ring.entries.iter().find(|(known, of, _)| Arc::ptr_eq(known, proposal) && of == genesis);
        if let Some((_, _, digest)) = known {
            return *digest;
        }
        let entry = (Arc::clone(proposal), *genesis, proposal.digest(genesis));
        let digest = entry.2;
        if ring.entries.len() < REMEMBERED {
            ring.entries.push(entry);
        } else {
            ring.entries[ring.next] = entry;
            ring.next = (ring.next + 1) % REMEMBERED;
        }
        digest
    })
}

#[cfg(test)]
mod tests {
    use sbft::types::{Header, Number};

    use super::*;

    #[test]
    fn what_is_remembered_is_what_would_be_worked_out() {
        let (one, other) = (Digest([1; 32]), Digest([2; 32]));
        let proposals: Vec<Arc<Proposal>> = (0..3 * REMEMBERED as u64)
            .map(|number| {
                let header = Header { number: Number(number), previous_hash: None, data_hash: one };
                Arc::new(Proposal { header, candidates: Vec::new() })
            })
            .collect();
        for _ in 0..2 {
            for proposal in &proposals {
                for genesis in [one, other] {
                    assert_eq!(digest_of(proposal, &genesis), proposal.digest(&genesis));
                    assert_eq!(digest_of(proposal, &genesis), proposal.digest(&genesis), "remembered");
                }
            }
        }
    }
}
