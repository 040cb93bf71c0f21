//! Identities of organizations' members: X.509 chains, revocation, node OUs, principals.
//!
//! An organization is known by its MSP id and defined by a `FabricMSPConfig` in the channel
//! configuration. [`MspManager`] holds the organizations of one configuration and answers three
//! questions about bytes that claim to be an identity: what do they say ([`MspManager::identity`]),
//! is that a valid member ([`MspManager::validate`]), and is that member what a policy asks for
//! ([`MspManager::satisfies`]).
//!
//! The answers are part of consensus, so they follow from the configuration and the bytes alone:
//! no clock is read, and the cache changes how long an answer takes but never the answer. Whether
//! a certificate has expired is therefore a separate question, [`Identity::expired_at`], which is
//! asked once, at admission.

mod cache;
mod certificate;
mod error;
mod identity;
mod manager;
mod organization;
mod principal;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use error::{IdentityError, MspError};
pub use identity::Identity;
pub use manager::{MAX_IDENTITY_BYTES, MspManager};
pub use principal::{Principal, Role};
