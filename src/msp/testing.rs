//! Organizations and members made up for tests, of this room and of those above it.

use bytes::Bytes;
use prost::Message as _;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension, DistinguishedName,
    DnType, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
    SignatureAlgorithm, date_time_ymd,
};

use crate::crypto::EcdsaSignature;
use crate::proto::common::msp_principal::Classification;
use crate::proto::common::msp_role::MspRoleType;
use crate::proto::common::{MspPrincipal, MspRole};
use crate::proto::msp::{FabricMspConfig, FabricNodeOUs, FabricOuIdentifier, SerializedIdentity};

pub(crate) static P256: &SignatureAlgorithm = &rcgen::PKCS_ECDSA_P256_SHA256;
pub(crate) static P384: &SignatureAlgorithm = &rcgen::PKCS_ECDSA_P384_SHA384;
pub(crate) static ED25519: &SignatureAlgorithm = &rcgen::PKCS_ED25519;

/// A certification authority with its private key.
pub(crate) struct Authority {
    params: CertificateParams,
    key: KeyPair,
    pub(crate) pem: String,
}

/// A certificate with its private key.
pub(crate) struct Member {
    key: KeyPair,
    pub(crate) pem: String,
    pub(crate) der: Vec<u8>,
}

impl Authority {
    pub(crate) fn root(name: &str, algorithm: &'static SignatureAlgorithm) -> Self {
        Self::root_with(authority_params(name), algorithm)
    }

    pub(crate) fn root_with(params: CertificateParams, algorithm: &'static SignatureAlgorithm) -> Self {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { params, key, pem }
    }

    pub(crate) fn intermediate(&self, name: &str, algorithm: &'static SignatureAlgorithm) -> Self {
        self.intermediate_with(authority_params(name), algorithm)
    }

    pub(crate) fn intermediate_with(
        &self,
        params: CertificateParams,
        algorithm: &'static SignatureAlgorithm,
    ) -> Self {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let pem = params.signed_by(&key, &self.issuer()).unwrap().pem();
        Self { params, key, pem }
    }

    /// A certificate for a new key.
    pub(crate) fn issue(&self, params: &CertificateParams, algorithm: &'static SignatureAlgorithm) -> Member {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate = params.signed_by(&key, &self.issuer()).unwrap();
        Member { key, pem: certificate.pem(), der: certificate.der().to_vec() }
    }

    /// A P-256 member with these organizational units.
    pub(crate) fn member(&self, units: &[&str]) -> Member {
        self.issue(&member_params(units), P256)
    }

    /// Another certificate of this authority's name and key.
    pub(crate) fn revocation_list(&self, serials: &[&[u8]]) -> String {
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2024, 2, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials
                .iter()
                .map(|serial| RevokedCertParams {
                    serial_number: SerialNumber::from_slice(serial),
                    revocation_time: date_time_ymd(2024, 1, 1),
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer()).unwrap().pem().unwrap()
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }
}

impl Member {
    /// A member as an authority of its own, which it has no right to be.
    pub(crate) fn as_authority(&self, units: &[&str]) -> Authority {
        let key = KeyPair::from_pem(&self.key.serialize_pem()).unwrap();
        Authority { params: member_params(units), key, pem: self.pem.clone() }
    }

    pub(crate) fn serialized(&self, msp_id: &str) -> Bytes {
        serialized(msp_id, &self.pem)
    }

    /// A signature that verifiers accept.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        use rcgen::SigningKey as _;
        let signature = self.key.sign(message).unwrap();
        if std::ptr::eq(self.key.algorithm(), ED25519) {
            return signature;
        }
        let signature = EcdsaSignature::from_der(crate::crypto::Curve::P256, &signature).unwrap();
        signature.with_low_s().to_der()
    }

    pub(crate) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }
}

pub(crate) fn serialized(msp_id: &str, pem: &str) -> Bytes {
    let identity = SerializedIdentity { mspid: msp_id.to_owned(), id_bytes: pem.to_owned().into() };
    identity.encode_to_vec().into()
}

pub(crate) fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = date_time_ymd(2020, 1, 1);
    params
}

/// Serial number 7; valid from 2021 until 4096.
pub(crate) fn member_params(units: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "member");
    // The builder keeps one value for each type of name, and takes these for different types.
    let types = [DnType::OrganizationalUnitName, DnType::CustomDnType(vec![2, 5, 4, 11])];
    assert!(units.len() <= types.len(), "the builder takes no more units");
    for (kind, unit) in types.into_iter().zip(units) {
        params.distinguished_name.push(kind, *unit);
    }
    params.serial_number = Some(SerialNumber::from(MEMBER_SERIAL));
    params.not_before = date_time_ymd(2021, 1, 1);
    params
}

pub(crate) fn critical_extension(oid: &[u64]) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(oid, vec![0x05, 0x00]);
    extension.set_criticality(true);
    extension
}

/// An organization with these roots and no node OUs.
pub(crate) fn plain_config(msp_id: &str, roots: &[&Authority]) -> FabricMspConfig {
    FabricMspConfig {
        name: msp_id.to_owned(),
        root_certs: roots.iter().map(|root| root.pem.clone().into()).collect(),
        ..FabricMspConfig::default()
    }
}

/// An organization with these roots and the usual node OUs, given by any authority.
pub(crate) fn config(msp_id: &str, roots: &[&Authority]) -> FabricMspConfig {
    let unit = |name: &str| {
        Some(FabricOuIdentifier {
            certificate: Bytes::new(),
            organizational_unit_identifier: name.to_owned(),
        })
    };
    FabricMspConfig {
        fabric_node_ous: Some(FabricNodeOUs {
            enable: true,
            client_ou_identifier: unit("client"),
            peer_ou_identifier: unit("peer"),
            admin_ou_identifier: unit("admin"),
            orderer_ou_identifier: unit("orderer"),
        }),
        ..plain_config(msp_id, roots)
    }
}

pub(crate) fn role_principal(msp_id: &str, role: MspRoleType) -> MspPrincipal {
    let principal = MspRole { msp_identifier: msp_id.to_owned(), role: role.into() };
    MspPrincipal {
        principal_classification: Classification::Role.into(),
        principal: principal.encode_to_vec().into(),
    }
}

pub(crate) const MEMBER_SERIAL: u64 = 7;
