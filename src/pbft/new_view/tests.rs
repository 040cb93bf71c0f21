//! What follows from a set of view-changes, case by case; the historical xset cases (fabric-spec
//! D.10) restated for certificates and numbers.

use bytes::Bytes;

use super::*;
use crate::pbft::message::{Proposal, ViewChange};
use crate::types::{CandidateRef, Header, Place, Signature};

const GENESIS: Digest = Digest([7; 32]);

/// A chain of proposals; the letter tells alternatives at one number apart.
fn proposal(number: u64, letter: u8, parent: Digest) -> Arc<Proposal> {
    Arc::new(Proposal {
        header: Header {
            number: Number(number),
            previous_hash: Some(parent),
            data_hash: Digest([letter; 32]),
        },
        candidates: vec![CandidateRef { origin: Place(0), digest: Digest([letter; 32]) }],
    })
}

fn chain(letters: &[u8]) -> Vec<Arc<Proposal>> {
    let mut parent = GENESIS;
    let mut proposals = Vec::new();
    for (number, letter) in (1..).zip(letters) {
        let next = proposal(number, *letter, parent);
        parent = header_hash(&next.header);
        proposals.push(next);
    }
    proposals
}

fn certificate(view: u64, proposal: &Arc<Proposal>) -> Arc<PreparedCertificate> {
    Arc::new(PreparedCertificate { view: View(view), proposal: Arc::clone(proposal), signatures: Vec::new() })
}

fn block(view: u64, proposal: &Proposal) -> Arc<BlockCertificate> {
    Arc::new(BlockCertificate {
        view: View(view),
        header: proposal.header.clone(),
        proposal: proposal.digest(&GENESIS),
        last_config: Number(0),
        signatures: Vec::new(),
    })
}

fn change(
    signer: u16,
    base: Option<Arc<BlockCertificate>>,
    prepared: Vec<Arc<PreparedCertificate>>,
) -> Arc<SignedViewChange> {
    let body = ViewChange { view: View(9), base, prepared };
    Arc::new(SignedViewChange { body, signer: Place(signer), signature: Signature(Bytes::new()) })
}

/// The letters proposed again above the base, and its number.
fn check(set: &[Arc<SignedViewChange>], base: u64, again: &[u8]) {
    for turn in 0..set.len() {
        let mut turned = set.to_vec();
        turned.rotate_left(turn);
        let outcome = follow(&turned, &GENESIS, Plants::NONE).expect("nothing contradicts");
        let letters: Vec<u8> =
            outcome.again.iter().map(|certificate| certificate.proposal.header.data_hash.0[0]).collect();
        assert_eq!((outcome.base_number().0, letters.as_slice()), (base, again), "in any order");
        assert_eq!(outcome.last().0, base + again.len() as u64);
    }
}

#[test]
fn nothing_prepared_means_nothing_again() {
    check(&[change(0, None, vec![]), change(1, None, vec![]), change(2, None, vec![])], 0, b"");
}

#[test]
fn case_87_the_certificate_of_the_highest_view_wins_at_a_number() {
    let (old, new) = (chain(b"a"), chain(b"b"));
    let set = [
        change(0, None, vec![certificate(1, &old[0])]),
        change(1, None, vec![certificate(2, &new[0])]),
        change(2, None, vec![]),
    ];
    check(&set, 0, b"b");
}

#[test]
fn case_87_what_is_prepared_at_or_below_the_highest_committed_block_does_not_count() {
    let blocks = chain(b"ab");
    let set = [
        change(0, Some(block(1, &blocks[1])), vec![]),
        change(1, Some(block(1, &blocks[0])), vec![certificate(1, &blocks[1])]),
        change(2, Some(block(1, &blocks[0])), vec![]),
    ];
    check(&set, 2, b"");
}

#[test]
fn case_87_one_certificate_is_enough_and_an_empty_view_change_does_not_outvote_it() {
    let blocks = chain(b"a");
    let set =
        [change(0, None, vec![certificate(1, &blocks[0])]), change(1, None, vec![]), change(3, None, vec![])];
    check(&set, 0, b"a");
}

#[test]
fn a_newer_but_shorter_certificate_does_not_cut_off_what_may_be_committed_above_it() {
    let blocks = chain(b"abc");
    let old = vec![certificate(1, &blocks[0]), certificate(1, &blocks[1]), certificate(1, &blocks[2])];
    let set =
        [change(0, None, old), change(1, None, vec![certificate(3, &blocks[0])]), change(2, None, vec![])];
    check(&set, 0, b"abc");
}

#[test]
fn it_stops_at_a_gap_and_at_what_does_not_extend_without_falling_back() {
    let (blocks, other) = (chain(b"abc"), chain(b"xyz"));
    let gap = change(0, None, vec![certificate(1, &blocks[0]), certificate(1, &blocks[2])]);
    check(&[gap, change(1, None, vec![]), change(2, None, vec![])], 0, b"a");

    // At 2 the highest view's certificate extends another block 1; the lower one that would
    // extend was overtaken.
    let set = [
        change(0, None, vec![certificate(3, &blocks[0]), certificate(1, &blocks[1])]),
        change(1, None, vec![certificate(2, &other[1])]),
        change(2, None, vec![]),
    ];
    check(&set, 0, b"a");
}

#[test]
fn two_digests_at_one_view_mean_that_too_many_are_faulty() {
    let (one, other) = (chain(b"a"), chain(b"b"));
    let set = [
        change(0, None, vec![certificate(1, &one[0])]),
        change(1, None, vec![certificate(1, &other[0])]),
        change(2, None, vec![]),
    ];
    assert!(follow(&set, &GENESIS, Plants::NONE).is_err());
    let set = [
        change(0, Some(block(1, &one[0])), vec![]),
        change(1, Some(block(1, &other[0])), vec![]),
        change(2, None, vec![]),
    ];
    assert!(follow(&set, &GENESIS, Plants::NONE).is_err());
}

#[test]
fn the_highest_base_in_the_set_is_taken_and_what_is_above_it_goes_on_from_there() {
    let blocks = chain(b"abcd");
    let set = [
        change(0, Some(block(0, &blocks[1])), vec![certificate(0, &blocks[2]), certificate(0, &blocks[3])]),
        change(1, None, vec![certificate(0, &blocks[0]), certificate(0, &blocks[1])]),
        change(2, Some(block(0, &blocks[0])), vec![]),
    ];
    check(&set, 2, b"cd");
}
