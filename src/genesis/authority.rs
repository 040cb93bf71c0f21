//! A certificate authority of one organization: makes itself, and certificates for keys.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

use super::GenesisError;
use super::layout::KeyAndCertificate;
use crate::crypto::{Curve, EcdsaSignature, KeyKind, generate_key_pem};

/// What a member is in its organization: the organizational unit of its certificate, which the
/// channel's policies go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Submits and reads.
    Client,
    /// Endorses and reads.
    Peer,
    /// Changes the configuration.
    Admin,
    /// Orders.
    Orderer,
}

impl Unit {
    /// The organizational unit as the certificate and the MSP name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Peer => "peer",
            Self::Admin => "admin",
            Self::Orderer => "orderer",
        }
    }
}

/// A certificate to be made.
#[derive(Clone, Debug)]
pub struct CertificateRequest {
    /// The subject's common name.
    pub common_name: String,
    /// What the certificate is for.
    pub purpose: Purpose,
    /// The first moment it is valid, to the second.
    pub not_before: SystemTime,
    /// The last moment it is valid, to the second.
    pub not_after: SystemTime,
}

/// What a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Signing as a member of the organization.
    Member(Unit),
    /// TLS as client and server under these names and addresses.
    Tls(Vec<String>),
}

impl CertificateRequest {
    /// A certificate valid from an hour ago (clocks differ) for ten years.
    pub fn new(common_name: impl Into<String>, purpose: Purpose) -> Self {
        let now = SystemTime::now();
        Self { common_name: common_name.into(), purpose, not_before: now - HOUR, not_after: now + LEAF_LIFE }
    }
}

/// A certificate and its private key, both PEM.
#[derive(Debug)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// The private key, PKCS#8. Zeroed when dropped.
    pub key: Zeroizing<String>,
}

/// A certificate authority with its key in memory.
pub struct CertificateAuthority {
    certificate: String,
    key: Zeroizing<String>,
    issuer: Issuer<'static, KeyPair>,
    organization: String,
}

impl CertificateAuthority {
    /// A new root for `organization` (a name for people), valid for twenty years.
    ///
    /// # Errors
    /// The organization's name cannot stand in a certificate, or there is no randomness.
    pub fn create(kind: KeyKind, organization: &str, common_name: &str) -> Result<Self, GenesisError> {
        let key = new_key(kind)?;
        let pair = key_pair(&key)?;
        let mut params = CertificateParams::default();
        let now = SystemTime::now();
        // Chains are checked at the moment a member's certificate begins: an authority begins earlier.
        validity(&mut params, now - DAY, now + CA_LIFE)?;
        params.serial_number = Some(serial_number()?);
        params.distinguished_name = distinguished_name(organization, None, common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let certificate = low_s(|| params.self_signed(&pair))?;
        Self::from_parts(certificate, key, organization)
    }

    /// Reads an authority that [`CertificateAuthority::write`] wrote.
    ///
    /// # Errors
    /// A file cannot be read, is not PEM, or is open to others than its owner.
    pub fn load(files: &KeyAndCertificate) -> Result<Self, GenesisError> {
        let certificate = super::read_text(&files.certificate)?;
        let mode = fs::metadata(&files.key).map_err(|source| GenesisError::read(&files.key, source))?.mode();
        if mode & 0o077 != 0 {
            let reason = "is open to others than its owner; run `chmod 600` on it";
            return Err(GenesisError::unusable(&files.key, reason));
        }
        let key = Zeroizing::new(super::read_text(&files.key)?);
        let organization = organization_of(&certificate).ok_or_else(|| {
            GenesisError::unusable(&files.certificate, "names no organization in its subject")
        })?;
        Self::from_parts(certificate, key, &organization)
            .map_err(|err| GenesisError::unusable(&files.certificate, &err.to_string()))
    }

    /// Writes certificate and key; neither file may exist.
    ///
    /// # Errors
    /// A file exists or cannot be written.
    pub fn write(&self, files: &KeyAndCertificate) -> Result<(), GenesisError> {
        files.write(&self.certificate, &self.key)
    }

    /// The authority's own certificate, PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A new key and a certificate for it.
    ///
    /// # Errors
    /// A name in the request cannot stand in a certificate, or there is no randomness.
    pub fn issue(&self, kind: KeyKind, request: &CertificateRequest) -> Result<Issued, GenesisError> {
        let key = new_key(kind)?;
        let pair = key_pair(&key)?;
        let mut params = CertificateParams::default();
        validity(&mut params, request.not_before, request.not_after)?;
        params.serial_number = Some(serial_number()?);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let unit = match &request.purpose {
            Purpose::Member(unit) => Some(unit.name()),
            Purpose::Tls(names) => {
                params.subject_alt_names =
                    names.iter().map(|name| alt_name(name)).collect::<Result<_, _>>()?;
                params.extended_key_usages =
                    vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
                None
            }
        };
        params.distinguished_name = distinguished_name(&self.organization, unit, &request.common_name);
        let certificate = low_s(|| params.signed_by(&pair, &self.issuer))?;
        Ok(Issued { certificate, key })
    }

    fn from_parts(
        certificate: String,
        key: Zeroizing<String>,
        organization: &str,
    ) -> Result<Self, GenesisError> {
        let issuer = Issuer::from_ca_cert_pem(&certificate, key_pair(&key)?)?;
        Ok(Self { certificate, key, issuer, organization: organization.to_owned() })
    }
}

/// TLS keys are P-256 whatever the identities are: many clients' TLS accepts no Ed25519.
pub(super) const TLS_KEY: KeyKind = KeyKind::EcdsaP256;

fn new_key(kind: KeyKind) -> Result<Zeroizing<String>, GenesisError> {
    Ok(generate_key_pem(kind)?)
}

fn key_pair(pem: &str) -> Result<KeyPair, GenesisError> {
    Ok(KeyPair::from_pem(pem)?)
}

/// Random, positive, 16 bytes.
fn serial_number() -> Result<SerialNumber, GenesisError> {
    let mut serial = [0_u8; 16];
    SystemRandom::new().fill(&mut serial).map_err(|_| GenesisError::NoRandomness)?;
    serial[0] = (serial[0] & 0x7f) | 0x40;
    Ok(SerialNumber::from_slice(&serial))
}

fn distinguished_name(organization: &str, unit: Option<&str>, common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, organization);
    if let Some(unit) = unit {
        name.push(DnType::OrganizationalUnitName, unit);
    }
    name.push(DnType::CommonName, common_name);
    name
}

fn alt_name(name: &str) -> Result<SanType, GenesisError> {
    Ok(match name.parse::<IpAddr>() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) => SanType::DnsName(name.try_into()?),
    })
}

/// The certificate, with S low if its signature is ECDSA. Verifiers of identities compare
/// certificates after bringing S into that form; here it is so from the start.
fn low_s(sign: impl Fn() -> Result<rcgen::Certificate, rcgen::Error>) -> Result<String, GenesisError> {
    for _ in 0..MAX_TRIES {
        let certificate = sign()?;
        if !has_high_s(certificate.der()) {
            return Ok(certificate.pem());
        }
    }
    Err(GenesisError::NoRandomness) // each try fails with probability 1/2
}

fn has_high_s(der: &[u8]) -> bool {
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(der) else { return false };
    let is_ecdsa = certificate.signature_algorithm.algorithm.to_id_string() == ECDSA_WITH_SHA256;
    let signature = EcdsaSignature::from_der(Curve::P256, &certificate.signature_value.data);
    is_ecdsa && signature.is_ok_and(|signature| !signature.has_low_s())
}

fn organization_of(certificate: &str) -> Option<String> {
    let pem = pem::parse(certificate).ok()?;
    let (_, certificate) = x509_parser::parse_x509_certificate(pem.contents()).ok()?;
    certificate.subject().iter_organization().next()?.as_str().ok().map(str::to_owned)
}

fn validity(params: &mut CertificateParams, from: SystemTime, to: SystemTime) -> Result<(), GenesisError> {
    let at = |time: SystemTime| {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| GenesisError::Clock)?;
        Ok::<_, GenesisError>(rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(since.as_secs()))
    };
    params.not_before = at(from)?;
    params.not_after = at(to)?;
    Ok(())
}

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const YEAR: Duration = Duration::from_secs(365 * DAY.as_secs());
const CA_LIFE: Duration = Duration::from_secs(20 * YEAR.as_secs());
const LEAF_LIFE: Duration = Duration::from_secs(10 * YEAR.as_secs());
const ECDSA_WITH_SHA256: &str = "1.2.840.10045.4.3.2";
const MAX_TRIES: usize = 128;
