//! Identities of organizations' members: X.509 chains, revocation, node OUs, principals.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use thiserror::Error;

use crate::crypto::PublicKey;
use crate::proto::common::MspPrincipal;
use crate::proto::msp::FabricMspConfig;
use crate::types::Digest;

/// Why an organization's definition (its MSP) is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("MSP {msp_id:?}, {field}: {reason}")]
pub struct MspError {
    /// The organization's MSP id.
    pub msp_id: String,
    /// The field of `FabricMSPConfig`, with an index where it is a list.
    pub field: String,
    /// What is wrong.
    pub reason: String,
}

/// Why an identity is refused, or is not what a principal asks for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IdentityError {
    /// Not decided yet.
    #[error("not yet")]
    NotYet,
}

/// The organizations of one channel configuration.
#[derive(Debug)]
pub struct MspManager {
    configs: Vec<FabricMspConfig>,
}

impl MspManager {
    /// Loads the organizations.
    pub fn new(configs: Vec<FabricMspConfig>, ed25519_allowed: bool) -> Result<Self, MspError> {
        let _ = ed25519_allowed;
        Ok(Self { configs })
    }

    /// Ids of the organizations, in order.
    pub fn msp_ids(&self) -> impl Iterator<Item = &str> {
        self.configs.iter().map(|config| config.name.as_str())
    }

    /// Decodes a serialized `msp.SerializedIdentity`; it is not validated yet.
    pub fn identity(&self, _serialized: &[u8]) -> Result<Arc<Identity>, IdentityError> {
        Err(IdentityError::NotYet)
    }

    /// Whether the identity is a valid member of its organization. Expiry is not looked at.
    pub fn validate(&self, _identity: &Identity) -> Result<(), IdentityError> {
        Err(IdentityError::NotYet)
    }

    /// Whether the identity is valid and what `principal` asks for.
    pub fn satisfies(&self, _identity: &Identity, _principal: &MspPrincipal) -> Result<(), IdentityError> {
        Err(IdentityError::NotYet)
    }
}

/// A member as its certificate describes it; not necessarily a valid one.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The organization it claims.
    pub msp_id: String,
    /// The certificate, with the CA's signature in its low-S form.
    pub certificate_der: Bytes,
    /// SHA-256 of `certificate_der`.
    pub fingerprint: Digest,
    /// The subject's key.
    pub key: PublicKey,
    /// The certificate's last valid moment.
    pub not_after: SystemTime,
}

impl Identity {
    /// Whether the certificate has run out at `now`: its last valid moment is now or past.
    pub fn expired_at(&self, now: SystemTime) -> bool {
        self.not_after <= now
    }
}
