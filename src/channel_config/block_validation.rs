//! The policy that blocks of a BFT channel satisfy, which follows from the consenters (C.5).

use prost::Message as _;

use crate::proto::common::{
    Consenter, MspPrincipal, Policy, SignaturePolicy, SignaturePolicyEnvelope, msp_principal, policy,
    signature_policy,
};
use crate::proto::msp::SerializedIdentity;
use crate::wire::quorum;

/// The one BlockValidation policy that fits a consenter mapping: q of the consenters' identities,
/// in order of the mapping.
pub fn derived(mapping: &[Consenter]) -> SignaturePolicyEnvelope {
    let identities = mapping.iter().map(|consenter| {
        let identity =
            SerializedIdentity { mspid: consenter.msp_id.clone(), id_bytes: consenter.identity.clone() };
        MspPrincipal {
            principal_classification: msp_principal::Classification::Identity as i32,
            principal: identity.encode_to_vec().into(),
        }
    });
    // Of no consenters one is needed: such a policy is never satisfied, and not always.
    let needed = quorum(mapping.len().max(1));
    let signed_by = |index: usize| SignaturePolicy {
        r#type: Some(signature_policy::Type::SignedBy(i32::try_from(index).unwrap_or(i32::MAX))),
    };
    let n_out_of = signature_policy::NOutOf {
        n: i32::try_from(needed).unwrap_or(i32::MAX),
        rules: (0..mapping.len()).map(signed_by).collect(),
    };
    SignaturePolicyEnvelope {
        version: 0,
        rule: Some(SignaturePolicy { r#type: Some(signature_policy::Type::NOutOf(n_out_of)) }),
        identities: identities.collect(),
    }
}

/// [`derived`] as a policy of the configuration tree.
pub fn derived_policy(mapping: &[Consenter]) -> Policy {
    Policy { r#type: policy::PolicyType::Signature as i32, value: derived(mapping).encode_to_vec().into() }
}
