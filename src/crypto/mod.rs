//! Keys, the local signer, and which signatures count.
//!
//! Which signatures count is a rule of consensus, so there is one code path for each of the two
//! rules, and every replica takes it, whether it checks one signature or many:
//!
//! | what was signed | Ed25519 | ECDSA P-256 over SHA-256 |
//! | --- | --- | --- |
//! | votes, proposals, view changes, blocks: [`PublicKey::verify_vote`] | strict | strict DER, low S |
//! | clients' envelopes: [`PublicKey::verify_envelope`], [`verify_envelopes`] | ZIP-215 | the same |
//!
//! ZIP-215 is the one Ed25519 rule whose single and batch verdicts agree by construction. The
//! usual batch equation without the cofactor lets a key's owner craft signatures whose verdict
//! changes with the batch they are in; one such client could make honest replicas disagree.
//!
//! Keys come as X.509 certificates or PKCS#8 files. Chains and revocation are `msp`'s business.

mod batch;
mod key_file;
mod low_s;
mod public_key;
mod signer;
#[cfg(test)]
mod tests;

pub use batch::{ED25519_CHUNK, EnvelopeCheck, in_chunks, verify_chunk, verify_envelopes};
pub use key_file::{KeyFileError, KeyFileSigner, SecretKey, generate_key_pem, write_key_file};
pub use low_s::{Curve, EcdsaSignature, SignatureForm};
pub use public_key::{KeyError, KeyKind, PublicKey};
pub use signer::{LocalSigner, NONCE_BYTES, SignError};
