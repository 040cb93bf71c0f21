//! Policies of a channel: signature and implicit-meta, really evaluated.
//!
//! A policy is named by its absolute path in the channel configuration, such as
//! `/Channel/Application/Org1/Writers`. It is one of two kinds: a *signature* policy is a tree of
//! "n out of" over principals; an *implicit-meta* policy asks for any, all or most of the
//! policies of one name in the groups below its own.
//!
//! Evaluation has two halves, so that many envelopes' signatures can be verified in one batch:
//! [`Policy::evaluate`] takes identities whose signatures were verified already, and
//! [`Policies::check_signed`] verifies a set of signatures one by one and then evaluates.
//!
//! The verdict follows from the configuration and the identities alone; no clock is read.

mod implicit_meta;
mod signature;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::BTreeSet;
use std::sync::Arc;

use thiserror::Error;
use tracing::debug;

use crate::msp::{Identity, MspManager};
use implicit_meta::ImplicitMeta;
use signature::SignatureRule;
pub use tree::Policies;

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
    /// More signatures than one evaluation takes.
    #[error("policy {path}: {found} signatures are more than the {MAX_SIGNATURES} that one evaluation takes")]
    TooManySignatures {
        /// Absolute path.
        path: String,
        /// How many there are.
        found: usize,
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

/// One policy.
#[derive(Clone, Debug)]
pub struct Policy {
    path: String,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Signature(SignatureRule),
    ImplicitMeta(ImplicitMeta),
}

impl Policy {
    /// Its absolute path.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether `identities`, whose signatures were verified, satisfy the policy. Identities need
    /// not have been validated: one that is not valid satisfies nothing. One that is there twice
    /// counts once. At most [`MAX_SIGNATURES`] are taken.
    pub fn evaluate(&self, msps: &MspManager, identities: &[Arc<Identity>]) -> Result<(), PolicyError> {
        self.check_count(identities.len())?;
        let mut seen = BTreeSet::new();
        let distinct: Vec<&Identity> = identities
            .iter()
            .map(|identity| &**identity)
            .filter(|identity| seen.insert((&identity.msp_id, identity.fingerprint)))
            .collect();
        self.satisfied_by(msps, &distinct)
            .map_err(|reason| PolicyError::Denied { path: self.path.clone(), reason })
    }

    fn check_count(&self, found: usize) -> Result<(), PolicyError> {
        if found > MAX_SIGNATURES {
            return Err(PolicyError::TooManySignatures { path: self.path.clone(), found });
        }
        Ok(())
    }

    /// Whether distinct identities satisfy the policy; otherwise why not.
    fn satisfied_by(&self, msps: &MspManager, identities: &[&Identity]) -> Result<(), String> {
        match &self.kind {
            Kind::Signature(rule) => rule.satisfied_by(msps, identities),
            Kind::ImplicitMeta(meta) => meta.satisfied_by(msps, identities),
        }
    }

    /// Whether those of `signed` whose identity can be decoded and whose signature is valid, by
    /// the rule for envelopes, satisfy the policy. The others are left out, and say so in the
    /// error. At most [`MAX_SIGNATURES`] are taken.
    pub fn check_signed(&self, msps: &MspManager, signed: &[SignedData<'_>]) -> Result<(), PolicyError> {
        self.check_count(signed.len())?;
        let mut seen = BTreeSet::new();
        let mut identities = Vec::new();
        let mut left_out = Vec::new();
        for (index, SignedData { data, identity, signature }) in signed.iter().enumerate() {
            let identity = match msps.identity(identity) {
                Ok(identity) => identity,
                Err(err) => {
                    left_out.push(format!("signature {index}: {err}"));
                    continue;
                }
            };
            // Asked before the signature is looked at, so that nobody is made to verify the same
            // one a thousand times.
            let who = (identity.msp_id.clone(), identity.fingerprint);
            if seen.contains(&who) {
                continue;
            }
            if !identity.key.verify_envelope(data, signature) {
                left_out.push(format!("signature {index}: not valid"));
                continue;
            }
            if let Err(err) = msps.validate(&identity) {
                left_out.push(format!("signature {index}: {err}"));
            }
            seen.insert(who);
            identities.push(identity);
        }
        self.evaluate(msps, &identities).map_err(|err| {
            debug!(policy = self.path, ?left_out, %err, "policy not satisfied");
            match (err, left_out.first()) {
                (PolicyError::Denied { path, reason }, Some(first)) => {
                    PolicyError::Denied { path, reason: format!("{reason}; {first}") }
                }
                (err, _) => err,
            }
        })
    }
}

/// Signatures that one evaluation takes; a channel has far fewer administrators.
pub const MAX_SIGNATURES: usize = 1024;
