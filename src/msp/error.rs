//! Why organizations and identities are refused.

use thiserror::Error;

use super::principal::Role;
use crate::crypto::KeyError;

/// Why an organization's definition is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("MSP {msp_id:?}, {field}: {reason}")]
pub struct MspError {
    /// The organization's MSP id.
    pub msp_id: String,
    /// The field of `FabricMSPConfig`, with an index where it is a list.
    pub field: String,
    /// What is wrong.
    pub reason: String,
}

/// Why an identity is refused, or is not what a principal asks for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IdentityError {
    /// More bytes than an identity may have.
    #[error("an identity of {0} bytes is larger than any may be")]
    TooLarge(usize),
    /// The bytes are no `msp.SerializedIdentity` with a PEM certificate in it.
    #[error("the identity cannot be decoded: {0}")]
    Malformed(String),
    /// No organization of the channel has this MSP id.
    #[error("MSP {0:?} is unknown to this channel")]
    UnknownMsp(String),
    /// The certificate is malformed, or needs something that is not supported.
    #[error("the certificate is refused: {0}")]
    Certificate(String),
    /// The certificate's key is of a kind that identities may not have, such as RSA.
    #[error("the certificate's key is refused: {0}")]
    Key(#[from] KeyError),
    /// Ed25519 needs the channel capability V3_0.
    #[error("Ed25519 identities need the channel capability V3_0")]
    Ed25519NeedsV3,
    /// A certification authority's certificate, which cannot be used as an identity.
    #[error("a certificate of a certification authority cannot be used as an identity")]
    IsAuthority,
    /// No certification authority of the organization signed the certificate.
    #[error("the certificate was not signed by any certification authority of MSP {0:?}")]
    UnknownAuthority(String),
    /// The authority that signed it may not, or was not valid then.
    #[error("the certification authority that signed the certificate is refused: {0}")]
    Authority(String),
    /// The certificate, or that of an intermediate authority above it, was revoked.
    #[error("certificate {serial} was revoked by its certification authority")]
    Revoked {
        /// Its serial number in hex.
        serial: String,
    },
    /// None of the organizational units that the organization demands is in the certificate.
    #[error("the certificate has none of the organizational units that MSP {0:?} demands")]
    OrganizationalUnit(String),
    /// The certificate has not exactly one of the units client, peer, admin, orderer.
    #[error(
        "the certificate has {0} of the organizational units for client, peer, admin and \
         orderer, and must have exactly one"
    )]
    NodeUnits(usize),
    /// A unit for a role was given by another certification authority than the demanded one.
    #[error("the organizational unit {0:?} was not given by the certification authority for it")]
    UnitAuthority(String),
    /// The principal is of another organization.
    #[error("the identity is of MSP {found:?}, not of {wanted:?}")]
    OtherMsp {
        /// The identity's.
        found: String,
        /// The principal's.
        wanted: String,
    },
    /// A valid member, but not in this role.
    #[error("the identity is not {0}")]
    NotInRole(Role),
    /// Client, peer and orderer are told apart by node OUs, which the organization does not use.
    #[error("MSP {0:?} does not use node OUs, which tell clients, peers and orderers apart")]
    NoNodeUnits(String),
    /// Another certificate than the principal's.
    #[error("the identity is not the one that the principal names")]
    OtherIdentity,
    /// The certificate does not have the principal's organizational unit.
    #[error("the certificate does not have the organizational unit {0:?}")]
    NotInUnit(String),
    /// A principal that nothing can satisfy here; the text says what it is.
    #[error("the principal cannot be evaluated: {0}")]
    Principal(String),
}
