//! One organization: its certification authorities, and which certificates make members.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;

use super::certificate::{Certificate, KeyAlgorithm, without_leading_zeros};
use super::error::{IdentityError, MspError};
use super::identity::Membership;
use super::principal::Role;
use crate::proto::msp::{FabricMspConfig, FabricNodeOUs, FabricOuIdentifier};
use crate::types::Digest;

/// A loaded `FabricMSPConfig`.
#[derive(Debug)]
pub(super) struct Organization {
    msp_id: String,
    ed25519_allowed: bool,
    /// Roots first. Each has a chain to a root, of authorities that may sign certificates.
    authorities: Vec<Authority>,
    /// DER of administrators' certificates, with low S.
    admins: BTreeSet<Bytes>,
    /// If there are any, a member has one of these units, given by one of these authorities.
    demanded_units: BTreeMap<String, Vec<usize>>,
    /// `None` where the organization does not use node OUs.
    node_units: Option<BTreeMap<String, NodeUnit>>,
    tls_authorities: Vec<Bytes>,
}

#[derive(Debug)]
struct Authority {
    certificate: Certificate,
    /// Places in `Organization::authorities`, from this one to its root.
    chain: Vec<usize>,
    /// SHA-256 over the certificates of `chain`.
    chain_id: Digest,
    /// Serial numbers that it revoked.
    revoked: BTreeSet<Vec<u8>>,
}

#[derive(Debug)]
struct NodeUnit {
    role: Role,
    /// The place of the only authority that may give it; `None` if any may.
    authority: Option<usize>,
}

impl Organization {
    pub(super) fn load(config: &FabricMspConfig, ed25519_allowed: bool) -> Result<Self, MspError> {
        let mut organization = Self {
            msp_id: config.name.clone(),
            ed25519_allowed,
            authorities: Vec::new(),
            admins: BTreeSet::new(),
            demanded_units: BTreeMap::new(),
            node_units: None,
            tls_authorities: Vec::new(),
        };
        organization.load_all(config).map_err(|(field, reason)| MspError {
            msp_id: config.name.clone(),
            field,
            reason,
        })?;
        Ok(organization)
    }

    fn load_all(&mut self, config: &FabricMspConfig) -> Result<(), (String, String)> {
        if config.name.is_empty() {
            return Err(("name".to_owned(), "is missing".to_owned()));
        }
        check_hash_functions(config)?;
        self.load_authorities(config)?;
        for (index, list) in config.revocation_list.iter().enumerate() {
            self.load_revocation_list(list)
                .map_err(|reason| (format!("revocation_list[{index}]"), reason))?;
        }
        for (index, unit) in config.organizational_unit_identifiers.iter().enumerate() {
            self.load_demanded_unit(unit)
                .map_err(|reason| (format!("organizational_unit_identifiers[{index}]"), reason))?;
        }
        if let Some(units) = &config.fabric_node_ous {
            self.node_units = self.load_node_units(units)?;
        }
        for (index, pem) in config.admins.iter().enumerate() {
            let admin = Certificate::from_pem(pem).map_err(|reason| (format!("admins[{index}]"), reason))?;
            // An admin whom validation refuses is none, as an admin must be valid too; that need
            // not stop the channel.
            self.admins.insert(self.with_authorities(&admin).0.der);
        }
        for (field, certificates) in [
            ("tls_root_certs", &config.tls_root_certs),
            ("tls_intermediate_certs", &config.tls_intermediate_certs),
        ] {
            for (index, pem) in certificates.iter().enumerate() {
                let field = || format!("{field}[{index}]");
                let certificate = Certificate::from_pem(pem).map_err(|reason| (field(), reason))?;
                check_authority(&certificate).map_err(|reason| (field(), reason))?;
                self.tls_authorities.push(certificate.der);
            }
        }
        Ok(())
    }

    fn load_authorities(&mut self, config: &FabricMspConfig) -> Result<(), (String, String)> {
        if config.root_certs.is_empty() {
            return Err(("root_certs".to_owned(), "there must be at least one".to_owned()));
        }
        if config.root_certs.len() + config.intermediate_certs.len() > MAX_AUTHORITIES {
            let reason = format!("more than {MAX_AUTHORITIES} certification authorities");
            return Err(("root_certs".to_owned(), reason));
        }
        for (index, pem) in config.root_certs.iter().enumerate() {
            let root =
                self.authority_certificate(pem).map_err(|reason| (format!("root_certs[{index}]"), reason))?;
            // A root is trusted as it stands here; its own signature proves nothing, and is
            // looked at only to lower its S.
            let root = root.signed_by(&root).unwrap_or(root);
            self.add_authority(root, &[]);
        }
        // In whatever order they are listed, each follows the one that signed it.
        let mut waiting = Vec::new();
        for (index, pem) in config.intermediate_certs.iter().enumerate() {
            let field = format!("intermediate_certs[{index}]");
            match self.authority_certificate(pem) {
                Ok(certificate) => waiting.push((field, certificate)),
                Err(reason) => return Err((field, reason)),
            }
        }
        while !waiting.is_empty() {
            let before = waiting.len();
            waiting.retain(|(_, certificate)| {
                let (certificate, above) = self.with_authorities(certificate);
                let Some(above) = above.into_iter().find(|above| self.may_be_above(*above)) else {
                    return true;
                };
                let chain = self.authorities[above].chain.clone();
                self.add_authority(certificate, &chain);
                false
            });
            if waiting.len() == before {
                let (field, _) = waiting.swap_remove(0);
                return Err((field, "no root certificate stands above it".to_owned()));
            }
        }
        Ok(())
    }

    fn authority_certificate(&self, pem: &[u8]) -> Result<Certificate, String> {
        let certificate = Certificate::from_pem(pem)?;
        check_authority(&certificate)?;
        match &certificate.algorithm {
            KeyAlgorithm::Ecdsa(_) => {}
            KeyAlgorithm::Ed25519 if self.ed25519_allowed => {}
            KeyAlgorithm::Ed25519 => return Err(IdentityError::Ed25519NeedsV3.to_string()),
            KeyAlgorithm::Other(name) => {
                return Err(format!("its key is of algorithm {name}; use ECDSA P-256, P-384 or Ed25519"));
            }
        }
        Ok(certificate)
    }

    /// Whether the path length allows another authority right below this one, and the chain
    /// above allows all of that.
    fn may_be_above(&self, place: usize) -> bool {
        let chain = &self.authorities[place].chain;
        chain.iter().enumerate().all(|(below, place)| {
            let limit = self.authorities[*place].certificate.path_length;
            limit.is_none_or(|limit| limit as usize > below)
        })
    }

    fn add_authority(&mut self, certificate: Certificate, chain_above: &[usize]) {
        if self.authorities.iter().any(|known| known.certificate.der == certificate.der) {
            return;
        }
        let place = self.authorities.len();
        let mut hasher = Sha256::new();
        hasher.update(&certificate.der);
        for above in chain_above {
            hasher.update(&self.authorities[*above].certificate.der);
        }
        self.authorities.push(Authority {
            certificate,
            chain: [&[place], chain_above].concat(),
            chain_id: Digest(hasher.finalize().into()),
            revoked: BTreeSet::new(),
        });
    }

    fn load_revocation_list(&mut self, bytes: &[u8]) -> Result<(), String> {
        let block = pem::parse(bytes);
        let der = block.as_ref().map_or(bytes, |block| block.contents());
        let Ok(([], list)) = CertificateRevocationList::from_der(der) else {
            return Err("not a PEM or DER revocation list".to_owned());
        };
        let issuer = list.issuer().as_raw();
        let mut found = false;
        for authority in &mut self.authorities {
            // One authority may have several certificates; the list counts for all of them.
            if authority.certificate.subject == issuer && authority.certificate.signed(&list) {
                found = true;
                authority.revoked.extend(
                    list.iter_revoked_certificates()
                        .map(|revoked| without_leading_zeros(revoked.raw_serial())),
                );
            }
        }
        // A list that is silently left out would let revoked members in.
        found
            .then_some(())
            .ok_or_else(|| "not signed by any certification authority of this organization".to_owned())
    }

    fn load_demanded_unit(&mut self, unit: &FabricOuIdentifier) -> Result<(), String> {
        if unit.organizational_unit_identifier.is_empty() {
            return Err("organizational_unit_identifier is missing".to_owned());
        }
        let authority = self.authority_of_unit(unit)?.ok_or("certificate is missing")?;
        self.demanded_units.entry(unit.organizational_unit_identifier.clone()).or_default().push(authority);
        Ok(())
    }

    fn load_node_units(
        &self,
        units: &FabricNodeOUs,
    ) -> Result<Option<BTreeMap<String, NodeUnit>>, (String, String)> {
        if !units.enable {
            return Ok(None);
        }
        let mut loaded = BTreeMap::new();
        for (name, role, unit) in [
            ("client", Role::Client, &units.client_ou_identifier),
            ("peer", Role::Peer, &units.peer_ou_identifier),
            ("admin", Role::Admin, &units.admin_ou_identifier),
            ("orderer", Role::Orderer, &units.orderer_ou_identifier),
        ] {
            let field = || format!("fabric_node_ous.{name}_ou_identifier");
            let Some(unit) = unit else { continue };
            if unit.organizational_unit_identifier.is_empty() {
                continue;
            }
            let authority = self.authority_of_unit(unit).map_err(|reason| (field(), reason))?;
            let name = unit.organizational_unit_identifier.clone();
            if loaded.insert(name, NodeUnit { role, authority }).is_some() {
                let unit = &unit.organizational_unit_identifier;
                return Err((field(), format!("unit {unit:?} stands for two roles")));
            }
        }
        // Enabled without a single unit is the same as not enabled.
        Ok((!loaded.is_empty()).then_some(loaded))
    }

    /// The place of the authority that a unit's definition names, if it names one.
    fn authority_of_unit(&self, unit: &FabricOuIdentifier) -> Result<Option<usize>, String> {
        if unit.certificate.is_empty() {
            return Ok(None);
        }
        let named =
            Certificate::from_pem(&unit.certificate).map_err(|reason| format!("certificate: {reason}"))?;
        let (named, _) = self.with_authorities(&named);
        let named = named.signed_by(&named).unwrap_or(named);
        self.authorities
            .iter()
            .position(|authority| authority.certificate.der == named.der)
            .map(Some)
            .ok_or_else(|| "certificate: not one of the organization's authorities".to_owned())
    }

    /// The certificate with the S of its signature lowered, and the places of the authorities
    /// that signed it: several where one authority has several certificates.
    pub(super) fn with_authorities(&self, certificate: &Certificate) -> (Certificate, Vec<usize>) {
        let mut lowered = None;
        let mut places = Vec::new();
        for (place, authority) in self.authorities.iter().enumerate() {
            if authority.certificate.subject == certificate.issuer
                && let Some(signed) = certificate.signed_by(&authority.certificate)
            {
                lowered.get_or_insert(signed);
                places.push(place);
            }
        }
        (lowered.unwrap_or_else(|| certificate.clone()), places)
    }

    /// Whether a certificate that these authorities signed makes its subject a member, and what
    /// kind of member. Whether it has expired is not asked.
    pub(super) fn membership(
        &self,
        certificate: &Certificate,
        signed_by: &[usize],
    ) -> Result<Membership, IdentityError> {
        if certificate.algorithm == KeyAlgorithm::Ed25519 && !self.ed25519_allowed {
            return Err(IdentityError::Ed25519NeedsV3);
        }
        if certificate.is_authority {
            return Err(IdentityError::IsAuthority);
        }
        let mut verdict = Err(IdentityError::UnknownAuthority(self.msp_id.clone()));
        for place in signed_by {
            verdict = self.check_chain(certificate, *place).map(|()| *place);
            if verdict.is_ok() {
                break;
            }
        }
        let authority = verdict?;
        self.check_demanded_units(certificate, authority)?;
        Ok(Membership {
            role: self.node_role(certificate, authority)?,
            listed_admin: self.admins.contains(&certificate.der),
            chain_id: self.authorities[authority].chain_id,
        })
    }

    /// The authorities' own certificates were checked when they were loaded. What is left
    /// depends on the certificate: revocation, and that all above it were valid when it was made.
    fn check_chain(&self, certificate: &Certificate, place: usize) -> Result<(), IdentityError> {
        let mut below = certificate;
        for place in &self.authorities[place].chain {
            let authority = &self.authorities[*place];
            // A root ends the chain; it revokes itself only by being taken out of the list.
            if authority.revoked.contains(&below.serial) {
                return Err(IdentityError::Revoked { serial: below.serial_hex() });
            }
            below = &authority.certificate;
            // Clocks play no part; verifiers outside take the certificate's first second as now.
            let made = certificate.not_before.saturating_add(1);
            if made < below.not_before || made > below.not_after {
                let subject = below.subject_text();
                return Err(IdentityError::Authority(format!(
                    "{subject} was not valid at the beginning of the certificate's validity"
                )));
            }
        }
        Ok(())
    }

    fn check_demanded_units(&self, certificate: &Certificate, authority: usize) -> Result<(), IdentityError> {
        let has_one = self.demanded_units.is_empty()
            || certificate
                .organizational_units
                .iter()
                .any(|unit| self.demanded_units.get(unit).is_some_and(|by| by.contains(&authority)));
        has_one.then_some(()).ok_or_else(|| IdentityError::OrganizationalUnit(self.msp_id.clone()))
    }

    /// The role of the one node OU in the certificate.
    fn node_role(&self, certificate: &Certificate, authority: usize) -> Result<Option<Role>, IdentityError> {
        let Some(units) = &self.node_units else {
            return Ok(None);
        };
        let mut roles = Vec::new();
        for name in &certificate.organizational_units {
            let Some(unit) = units.get(name) else { continue };
            if unit.authority.is_some_and(|only| only != authority) {
                return Err(IdentityError::UnitAuthority(name.clone()));
            }
            roles.push(unit.role);
        }
        match roles[..] {
            [role] => Ok(Some(role)),
            _ => Err(IdentityError::NodeUnits(roles.len())),
        }
    }

    pub(super) fn uses_node_units(&self) -> bool {
        self.node_units.is_some()
    }

    pub(super) fn tls_authorities(&self) -> &[Bytes] {
        &self.tls_authorities
    }
}

/// Whether a certificate may stand above others at all.
fn check_authority(certificate: &Certificate) -> Result<(), String> {
    if !certificate.is_authority {
        return Err("not the certificate of a certification authority (basic constraints)".into());
    }
    if !certificate.may_sign_certificates {
        return Err("its key usage does not include signing certificates".into());
    }
    if certificate.has_name_constraints {
        return Err("name constraints are not supported".into());
    }
    Ok(())
}

fn check_hash_functions(config: &FabricMspConfig) -> Result<(), (String, String)> {
    let Some(crypto) = &config.crypto_config else {
        return Ok(());
    };
    for (name, value, only) in [
        ("signature_hash_family", &crypto.signature_hash_family, "SHA2"),
        ("identity_identifier_hash_function", &crypto.identity_identifier_hash_function, "SHA256"),
    ] {
        if !value.is_empty() && value != only {
            let reason = format!("{value:?} is not supported; use {only:?}");
            return Err((format!("crypto_config.{name}"), reason));
        }
    }
    Ok(())
}

/// Root and intermediate certificates of one organization.
const MAX_AUTHORITIES: usize = 256;
