//! What a policy asks of an identity.

use std::fmt;

use bytes::Bytes;
use prost::Message as _;

use crate::proto::common::msp_principal::Classification;
use crate::proto::common::msp_role::MspRoleType;
use crate::proto::common::{MspPrincipal, MspRole, OrganizationUnit};
use crate::types::Digest;

/// A member's role in its organization.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Any valid identity of the organization.
    Member,
    /// By node OU or by the organization's list of administrators.
    Admin,
    /// By node OU.
    Client,
    /// By node OU.
    Peer,
    /// By node OU.
    Orderer,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Member => "a member",
            Self::Admin => "an admin",
            Self::Client => "a client",
            Self::Peer => "a peer",
            Self::Orderer => "an orderer",
        })
    }
}

/// A decoded `MSPPrincipal`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// Any identity of the organization in this role.
    Role {
        /// The organization.
        msp_id: String,
        /// The role.
        role: Role,
    },
    /// Any identity of the organization in this organizational unit.
    Unit {
        /// The organization.
        msp_id: String,
        /// The unit.
        unit: String,
        /// SHA-256 over the certificates above the identity's, from its CA to the root; `None`
        /// (as bytes of another length) is satisfied by nobody.
        chain_id: Option<Digest>,
    },
    /// The one identity with this certificate: a serialized `msp.SerializedIdentity`.
    Identity(Bytes),
    /// One that nothing satisfies here: undecodable, or of a kind that is not supported. The
    /// text says which.
    Unsupported(String),
}

impl Principal {
    /// Decodes a principal. What cannot be decoded becomes one that nothing satisfies, as a
    /// policy that names it beside others may still be satisfied by those.
    pub fn parse(principal: &MspPrincipal) -> Self {
        let bytes = principal.principal.clone();
        match Classification::try_from(principal.principal_classification) {
            Ok(Classification::Role) => match MspRole::decode(bytes) {
                Ok(role) => Self::role(role),
                Err(err) => Self::Unsupported(format!("a malformed MSPRole: {err}")),
            },
            Ok(Classification::OrganizationUnit) => match OrganizationUnit::decode(bytes) {
                Ok(unit) => Self::Unit {
                    msp_id: unit.msp_identifier,
                    unit: unit.organizational_unit_identifier,
                    chain_id: Digest::from_slice(&unit.certifiers_identifier),
                },
                Err(err) => Self::Unsupported(format!("a malformed OrganizationUnit: {err}")),
            },
            Ok(Classification::Identity) => Self::Identity(bytes),
            Ok(kind @ (Classification::Anonymity | Classification::Combined)) => {
                Self::Unsupported(format!("{} is not supported", kind.as_str_name()))
            }
            Err(_) => {
                Self::Unsupported(format!("classification {} is unknown", principal.principal_classification))
            }
        }
    }

    fn role(principal: MspRole) -> Self {
        let role = match MspRoleType::try_from(principal.role) {
            Ok(MspRoleType::Member) => Role::Member,
            Ok(MspRoleType::Admin) => Role::Admin,
            Ok(MspRoleType::Client) => Role::Client,
            Ok(MspRoleType::Peer) => Role::Peer,
            Ok(MspRoleType::Orderer) => Role::Orderer,
            Err(_) => return Self::Unsupported(format!("role {} is unknown", principal.role)),
        };
        Self::Role { msp_id: principal.msp_identifier, role }
    }
}
