//! The consenters' public keys as [`VoteKeys`].

use super::VoteKeys;
use crate::crypto::PublicKey;
use crate::types::{ConsenterId, Place};

/// Ids and keys of a channel's consenters, in order of place.
#[derive(Clone, Debug)]
pub struct KeyRing {
    consenters: Vec<(ConsenterId, PublicKey)>,
}

impl KeyRing {
    /// The consenters of an era, in the order of the channel's consenter mapping.
    pub fn new(consenters: Vec<(ConsenterId, PublicKey)>) -> Self {
        Self { consenters }
    }

    /// The ids, in order of place: what [`block::decode`](super::block::decode) needs.
    pub fn ids(&self) -> Vec<ConsenterId> {
        self.consenters.iter().map(|(id, _)| *id).collect()
    }

    /// The key of the consenter at `place`, if there is such a place.
    pub fn key(&self, place: Place) -> Option<&PublicKey> {
        self.consenters.get(place.index()).map(|(_, key)| key)
    }
}

impl VoteKeys for KeyRing {
    fn verify(&self, place: Place, message: &[u8], signature: &[u8]) -> bool {
        let key = self.consenters.get(place.index());
        key.is_some_and(|(_, key)| key.verify_vote(message, signature))
    }

    fn consenter_id(&self, place: Place) -> ConsenterId {
        self.consenters[place.index()].0
    }

    fn n(&self) -> usize {
        self.consenters.len()
    }
}
