//! Public keys, and the two rules by which their signatures are judged.

use std::fmt;
use std::sync::Arc;

use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use thiserror::Error;
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_SIG_ED25519};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::x509::SubjectPublicKeyInfo;

use super::low_s::{Curve, EcdsaSignature};

/// The kinds of keys that identities may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyKind {
    /// Ed25519 over the raw message.
    Ed25519,
    /// ECDSA over NIST P-256 and SHA-256.
    EcdsaP256,
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ed25519 => "Ed25519",
            Self::EcdsaP256 => "ECDSA P-256",
        })
    }
}

/// Why a public key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// The bytes are no DER certificate, or something follows it.
    #[error("not a DER-encoded X.509 certificate")]
    NotACertificate,
    /// The bytes are no DER SubjectPublicKeyInfo, or something follows it.
    #[error("not a DER-encoded SubjectPublicKeyInfo")]
    NotAPublicKey,
    /// An algorithm or curve that identities may not have, such as RSA.
    #[error("a key of algorithm {0}; use Ed25519 or ECDSA P-256")]
    Unsupported(String),
    /// The bytes are no point of the curve, or not in the usual encoding.
    #[error("the bytes of the {0} key are no point of its curve in the usual encoding")]
    NotAPoint(KeyKind),
    /// An Ed25519 point of small order, for which anybody can make signatures.
    #[error("the Ed25519 key is a point of small order, for which anybody can sign")]
    Weak,
}

/// A public key, decoded once; cheap to clone.
#[derive(Clone)]
pub struct PublicKey(Inner);

#[derive(Clone)]
enum Inner {
    Ed25519(Arc<Ed25519Key>),
    /// The uncompressed SEC1 point, which needs no decompression.
    EcdsaP256(Arc<[u8; P256_POINT_BYTES]>),
}

/// One key in the decompressed forms of the two libraries, one for each rule.
struct Ed25519Key {
    strict: ed25519_dalek::VerifyingKey,
    zip215: ed25519_zebra::VerificationKey,
}

impl PublicKey {
    /// The subject's key of a DER certificate. Nothing else of the certificate is judged.
    pub fn from_certificate_der(der: &[u8]) -> Result<Self, KeyError> {
        match X509Certificate::from_der(der) {
            Ok(([], certificate)) => Self::from_spki(certificate.public_key()),
            _ => Err(KeyError::NotACertificate),
        }
    }

    /// The key of a DER SubjectPublicKeyInfo.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, KeyError> {
        match SubjectPublicKeyInfo::from_der(der) {
            Ok(([], spki)) => Self::from_spki(&spki),
            _ => Err(KeyError::NotAPublicKey),
        }
    }

    /// The key of a parsed SubjectPublicKeyInfo.
    pub(crate) fn from_spki(spki: &SubjectPublicKeyInfo<'_>) -> Result<Self, KeyError> {
        let algorithm = &spki.algorithm.algorithm;
        let bytes = &*spki.subject_public_key.data;
        if *algorithm == OID_SIG_ED25519 {
            return Self::from_ed25519_bytes(bytes);
        }
        if *algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY {
            let parameters = spki.algorithm.parameters.as_ref();
            let curve = parameters.and_then(|parameters| parameters.as_oid().ok());
            return match curve {
                Some(curve) if curve == OID_EC_P256 => Self::from_p256_point(bytes),
                Some(curve) => Err(KeyError::Unsupported(format!("ECDSA on curve {curve}"))),
                None => Err(KeyError::Unsupported("ECDSA without a named curve".into())),
            };
        }
        Err(KeyError::Unsupported(algorithm.to_id_string()))
    }

    pub(super) fn from_ed25519_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        const NOT_A_POINT: KeyError = KeyError::NotAPoint(KeyKind::Ed25519);
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| NOT_A_POINT)?;
        let strict = ed25519_dalek::VerifyingKey::from_bytes(&bytes).map_err(|_| NOT_A_POINT)?;
        let zip215 = ed25519_zebra::VerificationKey::try_from(bytes).map_err(|_| NOT_A_POINT)?;
        if strict.is_weak() {
            return Err(KeyError::Weak);
        }
        Ok(Self(Inner::Ed25519(Arc::new(Ed25519Key { strict, zip215 }))))
    }

    pub(super) fn from_p256_point(bytes: &[u8]) -> Result<Self, KeyError> {
        const NOT_A_POINT: KeyError = KeyError::NotAPoint(KeyKind::EcdsaP256);
        // Fabric's verifiers take uncompressed points only, and so must whoever agrees with them.
        let point: [u8; P256_POINT_BYTES] = bytes.try_into().map_err(|_| NOT_A_POINT)?;
        p256::ecdsa::VerifyingKey::from_sec1_bytes(&point).map_err(|_| NOT_A_POINT)?;
        Ok(Self(Inner::EcdsaP256(Arc::new(point))))
    }

    /// The kind of key.
    pub fn kind(&self) -> KeyKind {
        match &self.0 {
            Inner::Ed25519(_) => KeyKind::Ed25519,
            Inner::EcdsaP256(_) => KeyKind::EcdsaP256,
        }
    }

    /// The key's bytes as a certificate holds them: 32 (Ed25519), or the 65 of an uncompressed
    /// point (P-256).
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Inner::Ed25519(key) => key.strict.as_bytes(),
            Inner::EcdsaP256(point) => &point[..],
        }
    }

    /// Whether `signature` over `message` counts as a vote or block signature: Ed25519 by the
    /// strict rule (64 bytes; no small order, no other encoding, no cofactor), ECDSA as strict
    /// DER with low S.
    pub fn verify_vote(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.0 {
            Inner::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.strict.verify_strict(message, &signature).is_ok()),
            Inner::EcdsaP256(point) => verify_p256(point, message, signature),
        }
    }

    /// Whether `signature` over `message` counts as a client's: Ed25519 by the ZIP-215 rule
    /// (64 bytes), ECDSA as strict DER with low S. [`super::verify_envelopes`] says the same of
    /// many at once.
    pub fn verify_envelope(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.0 {
            Inner::Ed25519(key) => ed25519_zebra::Signature::from_slice(signature)
                .is_ok_and(|signature| key.zip215.verify(&signature, message).is_ok()),
            Inner::EcdsaP256(point) => verify_p256(point, message, signature),
        }
    }

    /// The key as the batch equation takes it, if it is an Ed25519 key.
    pub(super) fn ed25519_bytes(&self) -> Option<ed25519_zebra::VerificationKeyBytes> {
        match &self.0 {
            Inner::Ed25519(key) => Some(key.zip215.into()),
            Inner::EcdsaP256(_) => None,
        }
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    /// The kind and all bytes in hex; a public key is no secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({}, {})", self.kind(), hex::encode(self.as_bytes()))
    }
}

fn verify_p256(point: &[u8; P256_POINT_BYTES], message: &[u8], signature: &[u8]) -> bool {
    let Ok(signature) = EcdsaSignature::from_der(Curve::P256, signature) else {
        return false;
    };
    signature.has_low_s()
        && UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
            .verify(message, &signature.to_p256_fixed())
            .is_ok()
}

const P256_POINT_BYTES: usize = 65;
