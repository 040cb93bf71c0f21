//! Real keys: what a share of the runs sign and check with, through the node's own encodings and
//! its own checker.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use sbft::consenter::sbft::rules;
use sbft::crypto::{KeyKind, PublicKey, SecretKey};
use sbft::header::sha256;
use sbft::pbft::message::{Domain, Message};
use sbft::types::{CommittedBlock, ConsenterId, Digest, Place, Signature, Verified};
use sbft::wire::{self, Checker, KeyRing};

use crate::channel::Signatures;
use crate::draw::{Draws, Purpose};

/// The replicas' keys, and the node's checker under them.
pub(crate) struct RealKeys {
    secrets: Vec<SecretKey>,
    publics: Vec<PublicKey>,
    checker: Checker<KeyRing>,
    ids: Vec<ConsenterId>,
    domain: Domain,
    /// Verdicts given: the checks of the simulator look at the same signature again and again.
    known: Mutex<BTreeMap<Digest, bool>>,
}

impl fmt::Debug for RealKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RealKeys").field("publics", &self.publics).finish_non_exhaustive()
    }
}

impl RealKeys {
    /// The keys of `n` replicas; none where signatures are simulated.
    pub(crate) fn new(signatures: Signatures, draws: Draws, domain: Domain, n: usize) -> Option<Arc<Self>> {
        let kind = match signatures {
            Signatures::Simulated => return None,
            Signatures::Ed25519 => KeyKind::Ed25519,
            Signatures::Ecdsa => KeyKind::EcdsaP256,
        };
        let secrets: Vec<SecretKey> = (0..n as u64).map(|place| secret(kind, draws, place)).collect();
        let publics: Vec<PublicKey> =
            secrets.iter().map(|key| key.public_key().expect("a key made of a hash is not weak")).collect();
        let ids: Vec<ConsenterId> = (1..=n as u32).map(ConsenterId).collect();
        let ring = KeyRing::new(ids.iter().copied().zip(publics.iter().cloned()).collect());
        let checker = Checker::new(domain, ring);
        Some(Arc::new(Self { secrets, publics, checker, ids, domain, known: Mutex::default() }))
    }

    pub(crate) fn sign(&self, place: Place, message: &[u8]) -> Signature {
        Signature(self.secrets[place.index()].sign(message).expect("a key in memory signs"))
    }

    pub(crate) fn good(&self, place: Place, message: &[u8], signature: &Signature) -> bool {
        let Some(key) = self.publics.get(place.index()) else { return false };
        let name = sha256(&[&place.0.to_be_bytes()[..], &sha256(message).0, &signature.0].concat());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        *known.entry(name).or_insert_with(|| key.verify_vote(message, &signature.0))
    }

    /// What the node makes of a message that arrives: its bytes, decoded and checked.
    pub(crate) fn arrived(&self, from: Place, message: &Message) -> Arrival {
        let frame = wire::message::encode(message, self.domain.era);
        match self.checker.check_frame(from, frame) {
            Ok(verified) => Arrival::Good(verified),
            Err(rejection) => match rejection.proof {
                Some(proof) => Arrival::Proof(*proof),
                None => Arrival::Refused(rejection.to_string()),
            },
        }
    }

    /// The good blocks before the first bad one.
    pub(crate) fn blocks(&self, blocks: &[Arc<CommittedBlock>]) -> Vec<Verified<Arc<CommittedBlock>>> {
        let check = |block: &Arc<CommittedBlock>| {
            let bytes: Bytes = wire::block::encode(block);
            rules::check_block(bytes, &self.ids, &self.checker).ok()
        };
        blocks.iter().map_while(check).collect()
    }
}

/// What became of a message at the edge of a node.
pub(crate) enum Arrival {
    /// It counts.
    Good(Verified<Message>),
    /// It does not, and proves that its signer lied.
    Proof(Verified<Message>),
    /// It does not; why.
    Refused(String),
}

fn secret(kind: KeyKind, draws: Draws, place: u64) -> SecretKey {
    let mut bytes = [0; 32];
    for (word, chunk) in bytes.chunks_mut(8).enumerate() {
        chunk.copy_from_slice(&draws.bits(Purpose::Secret, &[place, 1 + word as u64]).to_be_bytes());
    }
    // Below the order of P-256, whose first bytes are all ones.
    bytes[0] &= 0x7f;
    SecretKey::from_bytes(kind, &bytes).expect("a hash is a key")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Plan, Show};

    #[test]
    fn runs_with_real_keys_keep_every_rule_and_commit() {
        for (seed, signatures) in [
            (3, Signatures::Ed25519),
            (5, Signatures::Ed25519),
            (8, Signatures::Ed25519),
            (6, Signatures::Ecdsa),
        ] {
            let mut plan = Plan::draw(seed);
            plan.settings.signatures = signatures;
            let report = plan.run(Show::default());
            assert_eq!(report.violation, None, "seed {seed}, {signatures:?}");
            assert!(report.seen.blocks > 0, "seed {seed}, {signatures:?}");
            let again = plan.run(Show::default());
            assert_eq!(report.hash, again.hash, "seed {seed}: the same run twice");
        }
    }

    #[test]
    fn the_nodes_checker_refuses_what_another_replica_signed() {
        let domain = crate::world::default_config(4).domain;
        let keys = crate::signing::Keys::new(Draws::new(1), domain, 4);
        let keys = keys.with(RealKeys::new(Signatures::Ed25519, Draws::new(1), domain, 4));
        let vote = sbft::pbft::message::PrepareVote {
            view: sbft::types::View(0),
            number: sbft::types::Number(1),
            digest: Digest([1; 32]),
        };
        let good = keys.prepare(Place(1), vote);
        let bad = sbft::pbft::message::Prepare { signer: Place(2), ..good.clone() };
        let arrived = |prepare| keys.real().expect("real keys").arrived(Place(1), &Message::Prepare(prepare));
        assert!(matches!(arrived(good.clone()), Arrival::Good(_)));
        assert!(matches!(arrived(bad.clone()), Arrival::Refused(_)));
        assert!(keys.judge(&Message::Prepare(good)).is_ok() && keys.judge(&Message::Prepare(bad)).is_err());
    }
}
