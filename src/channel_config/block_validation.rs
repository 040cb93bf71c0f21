//! The policy that blocks of a BFT channel satisfy, which follows from the consenters (C.5).

use prost::Message as _;

use crate::proto::common::{
    Consenter, MspPrincipal, Policy, SignaturePolicy, SignaturePolicyEnvelope, msp_principal, policy,
    signature_policy,
};
use crate::proto::msp::SerializedIdentity;

/// f: how many of `n` consenters may be faulty.
pub fn max_faulty(n: usize) -> usize {
    n.saturating_sub(1) / 3
}

/// q: how many of `n` consenters make a quorum, ceil((n + f + 1) / 2).
pub fn quorum(n: usize) -> usize {
    (n + max_faulty(n) + 1).div_ceil(2)
}

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
    let signed_by = |index: usize| SignaturePolicy {
        r#type: Some(signature_policy::Type::SignedBy(i32::try_from(index).unwrap_or(i32::MAX))),
    };
    let n_out_of = signature_policy::NOutOf {
        n: i32::try_from(quorum(mapping.len())).unwrap_or(i32::MAX),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quorums_are_those_of_the_table() {
        let table = [1, 2, 2, 3, 4, 4, 5, 6, 6, 7, 8, 8, 9];
        for (index, q) in table.into_iter().enumerate() {
            assert_eq!(quorum(index + 1), q, "n = {}", index + 1);
        }
        assert_eq!(quorum(16), 11);
    }
}
