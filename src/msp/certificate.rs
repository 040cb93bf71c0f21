//! A certificate in its one encoding: strictly framed, the CA's ECDSA signature with low S.
//!
//! Identities are compared, and counted apart, by the bytes of their certificates. Whoever could
//! write one certificate in two ways could count twice in a policy. The signed part cannot be
//! changed; what surrounds it is therefore held to the one form that DER allows, and of the two
//! signatures that ECDSA always leaves, the low one stands for both.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use x509_parser::extensions::ParsedExtension;
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_SIG_ECDSA_WITH_SHA256,
    OID_SIG_ECDSA_WITH_SHA384, OID_SIG_ED25519, OID_X509_EXT_BASIC_CONSTRAINTS, OID_X509_EXT_KEY_USAGE,
    OID_X509_EXT_NAME_CONSTRAINTS, Oid,
};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::crypto::{Curve, EcdsaSignature, KeyError, PublicKey};
use crate::types::Digest;

/// What is used of a certificate. It is well formed, but not necessarily validly signed.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    /// All of it.
    pub(super) der: Bytes,
    /// The DER of the subject's and the issuer's names, which are compared as they are.
    pub(super) subject: Vec<u8>,
    pub(super) issuer: Vec<u8>,
    /// Without leading zeros.
    pub(super) serial: Vec<u8>,
    /// Seconds since 1970.
    pub(super) not_before: i64,
    pub(super) not_after: i64,
    /// The DER of the subject's key.
    spki: Vec<u8>,
    pub(super) algorithm: KeyAlgorithm,
    signed_with_ecdsa: bool,
    /// Basic constraints say that it is a certification authority's.
    pub(super) is_authority: bool,
    /// How many authorities may stand between this one and an identity.
    pub(super) path_length: Option<u32>,
    /// Key usage is absent or includes the signing of certificates.
    pub(super) may_sign_certificates: bool,
    pub(super) has_name_constraints: bool,
    /// In the order of the certificate, repetitions included.
    pub(super) organizational_units: Vec<String>,
}

/// The algorithm of a certificate's key, as far as it matters for signatures by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeyAlgorithm {
    Ecdsa(Curve),
    Ed25519,
    /// One that cannot be used; the text names it.
    Other(String),
}

impl Certificate {
    /// Reads a certificate from PEM. The error is for whoever supplied it.
    pub(super) fn from_pem(pem: &[u8]) -> Result<Self, String> {
        let block = pem::parse(pem).map_err(|err| format!("no PEM block: {err}"))?;
        if block.tag() != "CERTIFICATE" {
            return Err(format!("a PEM block {:?} instead of CERTIFICATE", block.tag()));
        }
        Self::from_der(block.contents().to_vec().into())
    }

    /// Reads a certificate from DER.
    pub(super) fn from_der(der: Bytes) -> Result<Self, String> {
        let frame = Frame::of(&der).ok_or("it is not a certificate in strict DER")?;
        let Ok(([], parsed)) = X509Certificate::from_der(&der) else {
            return Err("it is not an X.509 certificate".to_owned());
        };
        if frame.outer_algorithm != frame.inner_algorithm {
            return Err("it names two different signature algorithms".to_owned());
        }
        check_extensions(&parsed)?;
        let constraints = parsed.basic_constraints().map_err(|err| err.to_string())?;
        let key_usage = parsed.key_usage().map_err(|err| err.to_string())?;
        let signature_algorithm = &parsed.signature_algorithm.algorithm;
        let units: Result<Vec<String>, _> = parsed
            .subject()
            .iter_organizational_unit()
            .map(|unit| unit.as_str().map(str::to_owned))
            .collect();
        Ok(Self {
            subject: parsed.subject().as_raw().to_vec(),
            issuer: parsed.issuer().as_raw().to_vec(),
            serial: without_leading_zeros(parsed.tbs_certificate.raw_serial()),
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
            spki: parsed.public_key().raw.to_vec(),
            algorithm: KeyAlgorithm::of(parsed.public_key()),
            signed_with_ecdsa: *signature_algorithm == OID_SIG_ECDSA_WITH_SHA256
                || *signature_algorithm == OID_SIG_ECDSA_WITH_SHA384,
            is_authority: constraints.as_ref().is_some_and(|found| found.value.ca),
            path_length: constraints.and_then(|found| found.value.path_len_constraint),
            may_sign_certificates: key_usage.is_none_or(|usage| usage.value.key_cert_sign()),
            has_name_constraints: parsed
                .extensions()
                .iter()
                .any(|e| matches!(e.parsed_extension(), ParsedExtension::NameConstraints(_))),
            organizational_units: units
                .map_err(|_| "an organizational unit is in an unusual string encoding")?,
            der,
        })
    }

    /// The subject's key, if identities may have one like it.
    pub(super) fn public_key(&self) -> Result<PublicKey, KeyError> {
        PublicKey::from_spki_der(&self.spki)
    }

    /// This certificate with the S of its signature lowered, if `authority` signed it.
    pub(super) fn signed_by(&self, authority: &Self) -> Option<Self> {
        let Ok((_, parsed)) = X509Certificate::from_der(&self.der) else { return None };
        let Ok((_, key)) = SubjectPublicKeyInfo::from_der(&authority.spki) else { return None };
        match authority.algorithm {
            KeyAlgorithm::Other(_) => None,
            KeyAlgorithm::Ed25519 => {
                (*parsed.signature_algorithm.oid() == OID_SIG_ED25519).then_some(())?;
                parsed.verify_signature(Some(&key)).ok()?;
                Some(self.clone())
            }
            KeyAlgorithm::Ecdsa(curve) => {
                self.signed_with_ecdsa.then_some(())?;
                let signature = EcdsaSignature::from_der(curve, &parsed.signature_value.data).ok()?;
                parsed.verify_signature(Some(&key)).ok()?;
                if signature.has_low_s() {
                    return Some(self.clone());
                }
                let der = Frame::of(&self.der)?.with_signature(&signature.with_low_s().to_der());
                Some(Self { der, ..self.clone() })
            }
        }
    }

    /// Whether this certificate's key signed the revocation list.
    pub(super) fn signed(&self, list: &CertificateRevocationList<'_>) -> bool {
        // RSA is refused wherever it could count.
        !matches!(self.algorithm, KeyAlgorithm::Other(_))
            && SubjectPublicKeyInfo::from_der(&self.spki)
                .is_ok_and(|(_, key)| list.verify_signature(&key).is_ok())
    }

    /// SHA-256 of the DER.
    pub(super) fn fingerprint(&self) -> Digest {
        Digest(Sha256::digest(&self.der).into())
    }

    /// The serial number in hex.
    pub(super) fn serial_hex(&self) -> String {
        hex::encode(&self.serial)
    }

    /// The last moment at which it is valid.
    pub(super) fn last_moment(&self) -> SystemTime {
        let distance = Duration::from_secs(self.not_after.unsigned_abs());
        let moment = if self.not_after < 0 {
            UNIX_EPOCH.checked_sub(distance)
        } else {
            UNIX_EPOCH.checked_add(distance)
        };
        // Certificates cannot name a year beyond 9999, which every clock type can hold; whatever
        // could not be held would count as long expired.
        moment.unwrap_or(UNIX_EPOCH)
    }

    /// The subject's name as people read it, for messages.
    pub(super) fn subject_text(&self) -> String {
        let mut text = String::new();
        if let Ok((_, parsed)) = X509Certificate::from_der(&self.der) {
            // Writing to a String cannot fail.
            let _ = write!(text, "{}", parsed.subject());
        }
        text
    }
}

impl KeyAlgorithm {
    fn of(key: &SubjectPublicKeyInfo<'_>) -> Self {
        let algorithm = &key.algorithm.algorithm;
        if *algorithm == OID_SIG_ED25519 {
            return Self::Ed25519;
        }
        if *algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY {
            let curve = key.algorithm.parameters.as_ref().and_then(|value| value.as_oid().ok());
            return match curve {
                Some(curve) if curve == OID_EC_P256 => Self::Ecdsa(Curve::P256),
                Some(curve) if curve == OID_NIST_EC_P384 => Self::Ecdsa(Curve::P384),
                Some(curve) => Self::Other(format!("ECDSA on curve {curve}")),
                None => Self::Other("ECDSA without a named curve".to_owned()),
            };
        }
        Self::Other(algorithm.to_id_string())
    }
}

/// Refuses what validation would have to understand and does not.
fn check_extensions(parsed: &X509Certificate<'_>) -> Result<(), String> {
    parsed.extensions_map().map_err(|err| err.to_string())?;
    for extension in parsed.extensions() {
        let understood = match extension.parsed_extension() {
            ParsedExtension::BasicConstraints(_)
            | ParsedExtension::KeyUsage(_)
            | ParsedExtension::ExtendedKeyUsage(_)
            | ParsedExtension::NameConstraints(_)
            | ParsedExtension::SubjectAlternativeName(_)
            | ParsedExtension::IssuerAlternativeName(_)
            | ParsedExtension::SubjectKeyIdentifier(_)
            | ParsedExtension::AuthorityKeyIdentifier(_)
            | ParsedExtension::CertificatePolicies(_) => true,
            // Whatever else a certificate carries may be as its owner likes.
            ParsedExtension::ParseError { .. } if DECISIVE.contains(&extension.oid) => {
                return Err(format!("its extension {} is malformed", extension.oid));
            }
            _ => false,
        };
        if extension.critical && !understood {
            return Err(format!("its critical extension {} is not supported", extension.oid));
        }
    }
    Ok(())
}

/// Leading zeros of a serial number mean nothing.
pub(super) fn without_leading_zeros(number: &[u8]) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number[zeros..].to_vec()
}

/// The parts of a certificate's outermost DER, each with its own tag and length.
struct Frame<'a> {
    signed_part: &'a [u8],
    inner_algorithm: &'a [u8],
    outer_algorithm: &'a [u8],
}

impl<'a> Frame<'a> {
    /// `SEQUENCE { signed part, algorithm, BIT STRING }` with every length in its shortest form
    /// and nothing left over.
    fn of(der: &'a [u8]) -> Option<Self> {
        let outer = Element::only(der, SEQUENCE)?;
        let (signed_part, rest) = Element::first(outer.content)?;
        let (algorithm, rest) = Element::first(rest)?;
        let bits = Element::only(rest, BIT_STRING)?;
        if signed_part.tag != SEQUENCE || algorithm.tag != SEQUENCE {
            return None;
        }
        // The first byte counts unused bits; a signature has none.
        if bits.content.first() != Some(&0) {
            return None;
        }
        let (first, rest) = Element::first(signed_part.content)?;
        // A version before the serial number, in all but the oldest certificates.
        let rest = if first.tag == VERSION { Element::first(rest)?.1 } else { rest };
        let (inner_algorithm, _) = Element::first(rest)?;
        Some(Self {
            signed_part: signed_part.all,
            inner_algorithm: inner_algorithm.all,
            outer_algorithm: algorithm.all,
        })
    }

    /// The same certificate with another signature.
    fn with_signature(&self, signature: &[u8]) -> Bytes {
        let mut bits = vec![0];
        bits.extend_from_slice(signature);
        let mut content = [self.signed_part, self.outer_algorithm].concat();
        put_element(&mut content, BIT_STRING, &bits);
        let mut der = Vec::with_capacity(content.len() + 6);
        put_element(&mut der, SEQUENCE, &content);
        der.into()
    }
}

/// One DER element.
struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    all: &'a [u8],
}

impl<'a> Element<'a> {
    /// The first element of `der` and what follows it; `None` unless its length is in the
    /// shortest form, below 2^24, and there.
    fn first(der: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (&tag, rest) = der.split_first()?;
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (&short, rest) = rest.split_first()?;
        let (length, rest) = match short {
            0..=0x7f => (usize::from(short), rest),
            0x81..=0x83 => {
                let digits = usize::from(short & 0x7f);
                let (encoded, rest) = rest.split_at_checked(digits)?;
                let length = encoded.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
                let shortest = if digits == 1 { length >= 0x80 } else { encoded[0] != 0 };
                shortest.then_some((length, rest))?
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        Some((Self { tag, content, all: &der[..der.len() - rest.len()] }, rest))
    }

    /// The element that is all of `der` and has this tag.
    fn only(der: &'a [u8], tag: u8) -> Option<Self> {
        let (element, rest) = Self::first(der)?;
        (rest.is_empty() && element.tag == tag).then_some(element)
    }
}

fn put_element(der: &mut Vec<u8>, tag: u8, content: &[u8]) {
    der.push(tag);
    let length = content.len() as u64;
    if length < 0x80 {
        der.push(length as u8);
    } else {
        let digits = without_leading_zeros(&length.to_be_bytes());
        der.push(0x80 | digits.len() as u8);
        der.extend_from_slice(&digits);
    }
    der.extend_from_slice(content);
}

/// Extensions that the verdict on a chain follows from.
const DECISIVE: [Oid<'_>; 3] =
    [OID_X509_EXT_BASIC_CONSTRAINTS, OID_X509_EXT_KEY_USAGE, OID_X509_EXT_NAME_CONSTRAINTS];

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
/// `[0] EXPLICIT`, which holds a certificate's version.
const VERSION: u8 = 0xa0;
