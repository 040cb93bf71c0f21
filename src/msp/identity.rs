//! One identity: what its bytes say, and the verdict on it.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use super::error::IdentityError;
use super::principal::Role;
use crate::crypto::PublicKey;
use crate::types::Digest;

/// A member as its certificate describes it; not necessarily a valid one. Only
/// [`super::MspManager::identity`] makes one.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The organization it claims.
    pub msp_id: String,
    /// The certificate, with the CA's signature in its low-S form if the CA is known.
    pub certificate_der: Bytes,
    /// SHA-256 of `certificate_der`. With `msp_id` it tells identities apart.
    pub fingerprint: Digest,
    /// The subject's key.
    pub key: PublicKey,
    /// The certificate's last valid moment.
    pub not_after: SystemTime,
    /// Organizational units of the certificate's subject, in its order.
    pub organizational_units: Vec<String>,
    /// The identity as received.
    pub(super) serialized: Bytes,
    pub(super) verdict: Result<Membership, IdentityError>,
    /// The configuration whose verdict it is.
    pub(super) judge: Arc<Judge>,
}

impl Identity {
    /// Whether the certificate has run out at `now`: its last valid moment is now or past.
    ///
    /// This is for admission only. Whether an envelope that others ordered is valid must not
    /// depend on a clock.
    pub fn expired_at(&self, now: SystemTime) -> bool {
        self.not_after <= now
    }

    /// The identity as received: a serialized `msp.SerializedIdentity`.
    pub fn serialized(&self) -> &Bytes {
        &self.serialized
    }
}

/// What a valid identity is in its organization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Membership {
    /// By the one node OU of its certificate; `None` where the organization does not use them.
    pub(super) role: Option<Role>,
    /// In the organization's list of administrators.
    pub(super) listed_admin: bool,
    /// Names the chain above the certificate, as principals of organizational units do.
    pub(super) chain_id: Digest,
}

/// Identifies one manager: a verdict counts only with the manager that made it.
#[derive(Debug)]
pub(super) struct Judge;
