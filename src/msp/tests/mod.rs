//! Who is a member, in which role, and who is refused for what.

mod chains;
mod encodings;
mod roles;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost::Message as _;
use rcgen::{BasicConstraints, IsCa, KeyUsagePurpose, date_time_ymd};

use super::testing::*;
use super::*;
use crate::crypto::{Curve, EcdsaSignature};
use crate::proto::common::msp_principal::Classification;
use crate::proto::common::msp_role::MspRoleType;
use crate::proto::common::{MspPrincipal, OrganizationUnit};
use crate::proto::msp::{FabricCryptoConfig, FabricMspConfig, FabricOuIdentifier};

fn manager(config: FabricMspConfig) -> MspManager {
    MspManager::new(vec![config], true).unwrap()
}

/// The verdict on a member of Org1.
fn verdict(msps: &MspManager, member: &Member) -> Result<(), IdentityError> {
    msps.validate(&*msps.identity(&member.serialized("Org1"))?)
}

fn load_error(config: FabricMspConfig) -> String {
    MspManager::new(vec![config], true).unwrap_err().to_string()
}

fn pem_of(der: &[u8]) -> String {
    pem::encode(&pem::Pem::new("CERTIFICATE", der))
}
