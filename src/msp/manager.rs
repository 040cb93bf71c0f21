//! The organizations of one channel configuration, and the verdicts on identities.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use prost::Message as _;

use super::cache::Cache;
use super::certificate::Certificate;
use super::error::{IdentityError, MspError};
use super::identity::{Identity, Judge, Membership};
use super::organization::Organization;
use super::principal::{Principal, Role};
use crate::proto::common::MspPrincipal;
use crate::proto::msp::{FabricMspConfig, SerializedIdentity};

/// All organizations of a channel configuration. To be used from many threads.
#[derive(Debug)]
pub struct MspManager {
    organizations: BTreeMap<String, Organization>,
    judge: Arc<Judge>,
    cache: Mutex<Cache>,
}

impl MspManager {
    /// Loads the organizations. One that is defined twice, as an organization that both orders
    /// and uses the channel is, must be the same both times. Ed25519 keys, of authorities and
    /// members, need `ed25519_allowed`: the channel capability V3_0.
    pub fn new(configs: Vec<FabricMspConfig>, ed25519_allowed: bool) -> Result<Self, MspError> {
        let mut by_id: BTreeMap<&str, &FabricMspConfig> = BTreeMap::new();
        let mut organizations = BTreeMap::new();
        for config in &configs {
            match by_id.insert(&config.name, config) {
                Some(known) if known == config => continue,
                Some(_) => {
                    return Err(MspError {
                        msp_id: config.name.clone(),
                        field: "name".to_owned(),
                        reason: "two different definitions have this name".to_owned(),
                    });
                }
                None => {}
            }
            let organization = Organization::load(config, ed25519_allowed)?;
            organizations.insert(config.name.clone(), organization);
        }
        Ok(Self { organizations, judge: Arc::new(Judge), cache: Mutex::default() })
    }

    /// Ids of the organizations, in order.
    pub fn msp_ids(&self) -> impl Iterator<Item = &str> {
        self.organizations.keys().map(String::as_str)
    }

    /// DER of the certificates that organization's members' TLS certificates may be signed by:
    /// roots and intermediates; none if there is no such organization.
    pub fn tls_authorities(&self, msp_id: &str) -> &[Bytes] {
        self.organizations.get(msp_id).map_or(&[], Organization::tls_authorities)
    }

    /// Decodes a serialized `msp.SerializedIdentity` of an organization of this channel, of at
    /// most [`MAX_IDENTITY_BYTES`]. It may be invalid: see [`Self::validate`].
    pub fn identity(&self, serialized: &[u8]) -> Result<Arc<Identity>, IdentityError> {
        if serialized.len() > MAX_IDENTITY_BYTES {
            return Err(IdentityError::TooLarge(serialized.len()));
        }
        let cache = || self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = cache().find(serialized) {
            return Ok(known);
        }
        let identity = Arc::new(self.judged(serialized)?);
        if identity.verdict.is_ok() {
            cache().keep(&identity);
        }
        Ok(identity)
    }

    /// Decodes an identity and finds the verdict on it.
    fn judged(&self, serialized: &[u8]) -> Result<Identity, IdentityError> {
        let serialized = Bytes::copy_from_slice(serialized);
        let SerializedIdentity { mspid, id_bytes } = SerializedIdentity::decode(serialized.clone())
            .map_err(|err| IdentityError::Malformed(err.to_string()))?;
        let Some(organization) = self.organizations.get(&mspid) else {
            return Err(IdentityError::UnknownMsp(mspid.chars().take(64).collect()));
        };
        let certificate = Certificate::from_pem(&id_bytes).map_err(IdentityError::Certificate)?;
        let key = certificate.public_key()?;
        let (certificate, signed_by) = organization.with_authorities(&certificate);
        let verdict = organization.membership(&certificate, &signed_by);
        Ok(Identity {
            msp_id: mspid,
            fingerprint: certificate.fingerprint(),
            key,
            not_after: certificate.last_moment(),
            organizational_units: certificate.organizational_units,
            certificate_der: certificate.der,
            serialized,
            verdict,
            judge: Arc::clone(&self.judge),
        })
    }

    /// Whether the identity is a valid member of its organization: its certificate chains to one
    /// of the organization's roots through authorities that may sign certificates, is not an
    /// authority's itself, was not revoked, has an admissible key, and has exactly one node OU
    /// where the organization uses them. Expiry is not looked at: [`Identity::expired_at`].
    pub fn validate(&self, identity: &Identity) -> Result<(), IdentityError> {
        self.membership(identity).map(|_| ())
    }

    /// Whether the identity is valid and what `principal` asks for.
    pub fn satisfies(&self, identity: &Identity, principal: &MspPrincipal) -> Result<(), IdentityError> {
        self.satisfies_parsed(identity, &Principal::parse(principal))
    }

    /// [`Self::satisfies`] for a principal that is asked about often.
    pub fn satisfies_parsed(&self, identity: &Identity, principal: &Principal) -> Result<(), IdentityError> {
        match principal {
            Principal::Role { msp_id, role } => {
                let membership = self.membership_in(identity, msp_id)?;
                self.has_role(&identity.msp_id, &membership, *role)
            }
            Principal::Unit { msp_id, unit, chain_id } => {
                let membership = self.membership_in(identity, msp_id)?;
                let given =
                    *chain_id == Some(membership.chain_id) && identity.organizational_units.contains(unit);
                given.then_some(()).ok_or_else(|| IdentityError::NotInUnit(unit.clone()))
            }
            Principal::Identity(serialized) => {
                // Most often it is the very same bytes.
                if *serialized != identity.serialized {
                    let named = self.identity(serialized)?;
                    if named.msp_id != identity.msp_id || named.certificate_der != identity.certificate_der {
                        return Err(IdentityError::OtherIdentity);
                    }
                }
                self.validate(identity)
            }
            Principal::Unsupported(reason) => Err(IdentityError::Principal(reason.clone())),
        }
    }

    fn membership_in(&self, identity: &Identity, msp_id: &str) -> Result<Membership, IdentityError> {
        if identity.msp_id != msp_id {
            return Err(IdentityError::OtherMsp {
                found: identity.msp_id.clone(),
                wanted: msp_id.to_owned(),
            });
        }
        self.membership(identity)
    }

    fn membership(&self, identity: &Identity) -> Result<Membership, IdentityError> {
        if Arc::ptr_eq(&identity.judge, &self.judge) {
            return identity.verdict.clone();
        }
        // Decoded under another configuration, whose verdict says nothing about this one.
        self.identity(&identity.serialized)?.verdict.clone()
    }

    fn has_role(&self, msp_id: &str, membership: &Membership, role: Role) -> Result<(), IdentityError> {
        let holds = match role {
            Role::Member => true,
            Role::Admin => membership.listed_admin || membership.role == Some(Role::Admin),
            Role::Client | Role::Peer | Role::Orderer => {
                let organization = self.organizations.get(msp_id);
                if !organization.is_some_and(Organization::uses_node_units) {
                    return Err(IdentityError::NoNodeUnits(msp_id.to_owned()));
                }
                membership.role == Some(role)
            }
        };
        holds.then_some(()).ok_or(IdentityError::NotInRole(role))
    }

    #[cfg(test)]
    pub(super) fn cached(&self) -> usize {
        self.cache.lock().expect("no test panics while holding it").len()
    }
}

/// An identity has about 1 KiB; the rest leaves room for attributes and longer chains of names.
pub const MAX_IDENTITY_BYTES: usize = 64 << 10;
