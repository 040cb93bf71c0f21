//! Keys of consenters and their signatures: Ed25519 strict, ECDSA P-256 with low S only.

use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_SIG_ED25519};
use x509_parser::pem::Pem;

/// A consenter's public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// Ed25519.
    Ed25519(ed25519_dalek::VerifyingKey),
    /// ECDSA on P-256 with SHA-256: the uncompressed point.
    P256(Vec<u8>),
}

impl Key {
    /// The key of a PEM certificate, which must be the only thing in `pem`; or what is wrong.
    pub(super) fn from_certificate_pem(pem: &[u8]) -> Result<Self, String> {
        let (block, _) = Pem::read(std::io::Cursor::new(pem)).map_err(|error| format!("no PEM: {error}"))?;
        if block.label != "CERTIFICATE" {
            return Err(format!("PEM of {:?} and not of a certificate", block.label));
        }
        let certificate = block.parse_x509().map_err(|error| format!("no X.509 certificate: {error}"))?;
        let key = certificate.public_key();
        let algorithm = &key.algorithm;
        let bytes: &[u8] = &key.subject_public_key.data;
        if algorithm.algorithm == OID_SIG_ED25519 {
            let bytes: &[u8; 32] = bytes.try_into().map_err(|_| "an Ed25519 key is not 32 bytes")?;
            let key = ed25519_dalek::VerifyingKey::from_bytes(bytes);
            return key.map(Self::Ed25519).map_err(|_| "no Ed25519 key".into());
        }
        let curve = algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
        if algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY && curve == Some(OID_EC_P256) {
            if bytes.len() != 65 || bytes[0] != 4 {
                return Err("a P-256 key is not an uncompressed point".into());
            }
            return Ok(Self::P256(bytes.to_vec()));
        }
        Err(format!("key algorithm {} is neither Ed25519 nor ECDSA P-256", algorithm.algorithm))
    }

    /// Whether `signature` over `message` is this key's; if not, why.
    pub(super) fn check(&self, message: &[u8], signature: &[u8]) -> Result<(), &'static str> {
        match self {
            Self::Ed25519(key) => {
                let signature = ed25519_dalek::Signature::from_slice(signature)
                    .map_err(|_| "is not an Ed25519 signature of 64 bytes")?;
                key.verify_strict(message, &signature).map_err(|_| "does not verify (Ed25519)")
            }
            Self::P256(point) => {
                if !is_low_s(signature) {
                    return Err("is not DER with r, s and a low s (ECDSA)");
                }
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
                    .verify(message, signature)
                    .map_err(|_| "does not verify (ECDSA P-256)")
            }
        }
    }
}

/// Whether a DER signature has an s of at most half the group's order. Of two signatures that
/// differ in the sign of s only, one counts.
fn is_low_s(signature: &[u8]) -> bool {
    let Some(body) = der_value(signature, 0x30).filter(|(_, rest)| rest.is_empty()).map(|(body, _)| body)
    else {
        return false;
    };
    let Some((_, rest)) = der_value(body, 0x02) else { return false };
    let Some((s, [])) = der_value(rest, 0x02) else { return false };
    if s.len() > HALF_ORDER.len() || s.first().is_none_or(|first| *first >= 0x80) {
        return false; // a low s needs at most 32 bytes, and no leading zero pushes it to 33
    }
    let mut padded = [0; HALF_ORDER.len()];
    padded[HALF_ORDER.len() - s.len()..].copy_from_slice(s);
    padded <= HALF_ORDER
}

/// The value of the DER element with this tag at the start (its length in one byte), and the rest.
fn der_value(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let [found, len, rest @ ..] = bytes else { return None };
    (*found == tag && *len < 0x80).then(|| rest.split_at_checked(usize::from(*len))).flatten()
}

/// Half the order of P-256, rounded down.
const HALF_ORDER: [u8; 32] = [
    0x7f, 0xff, 0xff, 0xff, 0x80, 0x00, 0x00, 0x00, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xde,
    0x73, 0x7d, 0x56, 0xd3, 0x8b, 0xcf, 0x42, 0x79, 0xdc, 0xe5, 0x61, 0x7e, 0x31, 0x92, 0xa8,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_s_is_judged_by_the_half_order() {
        let signature = |s: &[u8]| {
            let mut bytes = vec![0x30, (3 + 2 + s.len()) as u8, 2, 1, 1, 2, s.len() as u8];
            bytes.extend(s);
            bytes
        };
        assert!(is_low_s(&signature(&HALF_ORDER)));
        assert!(is_low_s(&signature(&[1])));
        let mut above = HALF_ORDER;
        above[31] += 1;
        assert!(!is_low_s(&signature(&above)));
        assert!(!is_low_s(&signature(&[&[0xff; 32][..]].concat())));
        assert!(!is_low_s(&signature(&[&[0][..], &[0xff; 32]].concat())));
        assert!(!is_low_s(&signature(&[])));
        let mut trailing = signature(&[1]);
        trailing.push(0);
        assert!(!is_low_s(&trailing));
        for len in 0..trailing.len() - 1 {
            assert!(!is_low_s(&trailing[..len]));
        }
    }
}
