//! Implicit-meta policies: any, all or most of the policies of one name in the groups below.

use std::sync::Arc;

use prost::Message as _;

use super::Policy;
use crate::msp::{Identity, MspManager};
use crate::proto::common::ImplicitMetaPolicy;
use crate::proto::common::implicit_meta_policy::Rule;

#[derive(Clone, Debug)]
pub(super) struct ImplicitMeta {
    sub_policy: String,
    /// How many must be satisfied; 0 where there is no group below.
    threshold: usize,
    /// One for each group below; `None` where a group has no such policy, and nothing satisfies
    /// that.
    sub_policies: Vec<Option<Arc<Policy>>>,
}

impl ImplicitMeta {
    /// Decodes an `ImplicitMetaPolicy`; `find` gives each group's policy of a name, in the order
    /// of the groups. The error says what is wrong.
    pub(super) fn parse(
        bytes: impl Into<bytes::Bytes>,
        find: impl Fn(&str) -> Vec<Option<Arc<Policy>>>,
    ) -> Result<Self, String> {
        let policy = ImplicitMetaPolicy::decode(bytes.into())
            .map_err(|err| format!("not an ImplicitMetaPolicy: {err}"))?;
        let rule = Rule::try_from(policy.rule).map_err(|_| format!("rule {} is unknown", policy.rule))?;
        let sub_policies = find(&policy.sub_policy);
        // Groups without such a policy count too: left out, they would make a majority of fewer,
        // and a channel whose organizations all lack a policy would be open to everybody.
        let groups = sub_policies.len();
        let threshold = match rule {
            _ if groups == 0 => 0,
            Rule::Any => 1,
            Rule::All => groups,
            Rule::Majority => groups / 2 + 1,
        };
        Ok(Self { sub_policy: policy.sub_policy, threshold, sub_policies })
    }

    /// Whether distinct identities satisfy enough of them; otherwise why not.
    pub(super) fn satisfied_by(&self, msps: &MspManager, identities: &[&Identity]) -> Result<(), String> {
        let satisfied = self
            .sub_policies
            .iter()
            .flatten()
            .filter(|policy| policy.satisfied_by(msps, identities).is_ok())
            .take(self.threshold)
            .count();
        if satisfied == self.threshold {
            return Ok(());
        }
        // These words are what clients of Fabric know and look for.
        Err(format!(
            "implicit policy evaluation failed - {satisfied} sub-policies were satisfied, but \
             this policy requires {} of the '{}' sub-policies to be satisfied",
            self.threshold, self.sub_policy
        ))
    }
}
