//! What signs for this node: a key file today, a remote signer or HSM behind the same trait.

use async_trait::async_trait;
use bytes::Bytes;
use ring::rand::{SecureRandom as _, SystemRandom};
use thiserror::Error;

use super::PublicKey;
use crate::proto::common::SignatureHeader;

/// Why a signature could not be made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SignError {
    /// The operating system gives no random bytes, which a nonce needs.
    #[error("the operating system gave no random bytes for a nonce")]
    NoRandomness,
    /// The key cannot sign; the text says why. A remote signer says here what failed.
    #[error("the signer could not sign: {0}")]
    Failed(String),
}

/// Signs as this node. Async and fallible, so that the key may live elsewhere.
#[async_trait]
pub trait LocalSigner: Send + Sync {
    /// A signature over `message` that [`super::PublicKey::verify_vote`] and
    /// [`super::PublicKey::verify_envelope`] accept: 64 bytes of Ed25519 over the raw message, or
    /// DER of ECDSA P-256 over its SHA-256, with low S.
    async fn sign(&self, message: &[u8]) -> Result<Bytes, SignError>;

    /// A signature header with this node as creator and a nonce that was never used before:
    /// [`NONCE_BYTES`] random bytes.
    async fn new_signature_header(&self) -> Result<SignatureHeader, SignError> {
        Ok(SignatureHeader { creator: self.creator(), nonce: new_nonce()? })
    }

    /// This node's identity: a serialized `msp.SerializedIdentity`.
    fn creator(&self) -> Bytes;

    /// The key that all signatures of [`sign`](Self::sign) are by, if they are made in this process by
    /// code that makes no others: then nobody need check them. None, the default, where a signature may
    /// come out wrong, as a remote signer's may.
    fn signs_by(&self) -> Option<&PublicKey> {
        None
    }
}

/// Random bytes in a nonce, as Fabric's tools make them.
pub const NONCE_BYTES: usize = 24;

fn new_nonce() -> Result<Bytes, SignError> {
    let mut nonce = [0; NONCE_BYTES];
    SystemRandom::new().fill(&mut nonce).map_err(|_| SignError::NoRandomness)?;
    Ok(Bytes::copy_from_slice(&nonce))
}
