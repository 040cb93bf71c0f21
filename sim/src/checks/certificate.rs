//! I5 and I6: a verifier of block certificates that shares no counting with the core or the edge, and
//! that knows more than any verifier can: who really signed what.

use std::collections::{BTreeMap, BTreeSet};

use sbft::types::{BlockCertificate, Digest, Number, Place, View};

use super::{Verdict, unsafe_because};
use crate::signing::Keys;

/// Judges certificates, and remembers who cast which commit.
#[derive(Debug)]
pub(super) struct Certificates {
    keys: Keys,
    f: usize,
    quorum: usize,
    cast: BTreeMap<(Number, View, Digest), BTreeSet<Place>>,
}

/// The fewest whose every two sets share more than `f` of `n`: found by trying, not by the formula.
fn smallest_quorum(n: usize, f: usize) -> usize {
    (1..=n).find(|q| 2 * q > n + f).unwrap_or(n)
}

impl Certificates {
    pub(super) fn new(keys: Keys) -> Self {
        let n = keys.n();
        let f = (0..n).rev().find(|f| 3 * f < n).unwrap_or(0);
        Self { keys, f, quorum: smallest_quorum(n, f), cast: BTreeMap::new() }
    }

    /// An honest replica lets go a commit.
    pub(super) fn cast(&mut self, place: Place, view: View, number: Number, digest: Digest) {
        self.cast.entry((number, view, digest)).or_default().insert(place);
    }

    /// At least q distinct members signed this header in this one view; each of them that is honest
    /// really did, and that is at least f + 1. Nobody of `dishonest` counts as honest.
    pub(super) fn judge(
        &self,
        place: Place,
        certificate: &BlockCertificate,
        dishonest: &BTreeSet<Place>,
    ) -> Verdict {
        let number = certificate.header.number;
        let signers: BTreeSet<Place> = certificate.signatures.iter().map(|(signer, _)| *signer).collect();
        let members = signers.iter().all(|signer| signer.index() < self.keys.n());
        if signers.len() != certificate.signatures.len() || !members || signers.len() < self.quorum {
            return unsafe_because(
                "certificate",
                format!(
                    "{place} commits {number} with {} signatures by {} members, {} are a quorum",
                    certificate.signatures.len(),
                    signers.len(),
                    self.quorum
                ),
            );
        }
        for (signer, signature) in &certificate.signatures {
            if let Err(flaw) = self.keys.judge_block_signature(
                *signer,
                signature,
                certificate.view,
                &certificate.header,
                &certificate.proposal,
                certificate.last_config.0,
            ) {
                return unsafe_because(
                    "certificate",
                    format!("{place} commits {number} and the signature of {signer} is bad: {flaw:?}"),
                );
            }
        }
        let none = BTreeSet::new();
        let cast = self.cast.get(&(number, certificate.view, certificate.proposal)).unwrap_or(&none);
        let honest: BTreeSet<Place> = signers.difference(dishonest).copied().collect();
        if let Some(ghost) = honest.difference(cast).next() {
            return unsafe_because(
                "ghost vote",
                format!("{place} commits {number} by a vote of {ghost} that {ghost} never cast"),
            );
        }
        if honest.len() <= self.f && dishonest.len() <= self.f {
            return unsafe_because(
                "ghost vote",
                format!("{place} commits {number} and only {} honest replicas voted for it", honest.len()),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sbft::pbft::message::CommitVote;
    use sbft::types::Header;

    use super::*;
    use crate::checks::tests::named;
    use crate::draw::Draws;
    use crate::world::default_config;

    fn keys(n: usize) -> Keys {
        Keys::new(Draws::new(1), default_config(n).domain, n)
    }

    /// A certificate for block 1 signed by these.
    fn signed(keys: &Keys, view: u64, by: &[u16]) -> BlockCertificate {
        let header = Header { number: Number(1), previous_hash: None, data_hash: Digest([3; 32]) };
        let (digest, last_config) = (Digest([4; 32]), Number(0));
        let vote = CommitVote { view: View(view), header: header.clone(), digest, last_config };
        let signatures = by
            .iter()
            .map(|place| (Place(*place), keys.commit(Place(*place), vote.clone(), 7).signature))
            .collect();
        BlockCertificate { view: View(view), header, proposal: digest, last_config, signatures }
    }

    fn all_cast(keys: &Keys, view: u64) -> Certificates {
        let mut certificates = Certificates::new(keys.clone());
        for place in 0..keys.n() as u16 {
            certificates.cast(Place(place), View(view), Number(1), Digest([4; 32]));
        }
        certificates
    }

    #[test]
    fn the_quorum_found_by_trying_is_the_one_of_the_design() {
        for (n, q) in (1..).zip([1, 2, 2, 3, 4, 4, 5, 6, 6, 7, 8, 8, 9]) {
            assert_eq!(Certificates::new(keys(n)).quorum, q, "n = {n}");
        }
    }

    #[test]
    fn i5_certificate_fires_on_too_few_on_one_twice_on_strangers_and_on_two_views() {
        let keys = keys(4);
        let certificates = all_cast(&keys, 0);
        let judge =
            |certificate: &BlockCertificate| certificates.judge(Place(0), certificate, &BTreeSet::new());
        assert_eq!(judge(&signed(&keys, 0, &[0, 1, 3])), Ok(()));
        assert_eq!(named(judge(&signed(&keys, 0, &[0, 1]))), "I5 certificate");
        assert_eq!(named(judge(&signed(&keys, 0, &[0, 1, 1]))), "I5 certificate");
        let mut mixed = signed(&keys, 0, &[0, 1]);
        mixed.signatures.extend(signed(&keys, 1, &[2]).signatures);
        assert_eq!(named(judge(&mixed)), "I5 certificate", "signatures of two views");
        let mut borrowed = signed(&keys, 0, &[0, 1, 2]);
        borrowed.signatures[2].0 = Place(3);
        assert_eq!(named(judge(&borrowed)), "I5 certificate");
        let mut stranger = signed(&keys, 0, &[0, 1, 2]);
        stranger.signatures[2].0 = Place(9);
        assert_eq!(named(judge(&stranger)), "I5 certificate");
    }

    #[test]
    fn i6_ghost_vote_fires_on_an_honest_signature_that_its_owner_never_made() {
        let keys = keys(4);
        let mut certificates = Certificates::new(keys.clone());
        for place in [0, 1] {
            certificates.cast(Place(place), View(0), Number(1), Digest([4; 32]));
        }
        let certificate = signed(&keys, 0, &[0, 1, 3]);
        let judge = |liars: &[u16]| {
            certificates.judge(Place(0), &certificate, &liars.iter().map(|liar| Place(*liar)).collect())
        };
        assert_eq!(judge(&[3]), Ok(()), "a liar signs what it likes");
        assert_eq!(named(judge(&[2])), "I6 ghost vote");
        assert_eq!(judge(&[1, 3]), Ok(()), "with more than f liars nothing can be said");
    }
}
