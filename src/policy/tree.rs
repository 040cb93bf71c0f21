//! All policies of a channel configuration by their absolute paths.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::implicit_meta::ImplicitMeta;
use super::signature::SignatureRule;
use super::{Kind, Policy, PolicyError, SignedData};
use crate::msp::MspManager;
use crate::proto::common::policy::PolicyType;
use crate::proto::common::{ConfigGroup, ConfigPolicy};

/// All policies of one channel configuration.
#[derive(Clone, Debug)]
pub struct Policies {
    by_path: BTreeMap<String, Arc<Policy>>,
}

impl Policies {
    /// Reads every group's policies, from the channel group, whose path is `/Channel`. Groups
    /// nested deeper than 16 and policies of an unknown kind are refused.
    pub fn from_channel_group(group: &ConfigGroup) -> Result<Self, PolicyError> {
        let mut policies = Self { by_path: BTreeMap::new() };
        policies.read(group, "/Channel", MAX_GROUP_DEPTH)?;
        Ok(policies)
    }

    /// Reads the groups below first, as implicit-meta policies refer to theirs.
    fn read(&mut self, group: &ConfigGroup, path: &str, depth: usize) -> Result<(), PolicyError> {
        let malformed = |path: &str, reason| PolicyError::Malformed { path: path.to_owned(), reason };
        let Some(depth) = depth.checked_sub(1) else {
            let reason = format!("groups nested more than {MAX_GROUP_DEPTH} deep");
            return Err(malformed(path, reason));
        };
        for name in group.groups.keys().chain(group.policies.keys()) {
            if name.is_empty() || name.contains('/') {
                let reason = format!("{name:?} cannot be a part of a path");
                return Err(malformed(path, reason));
            }
        }
        for (name, below) in &group.groups {
            self.read(below, &format!("{path}/{name}"), depth)?;
        }
        for (name, config) in &group.policies {
            let policy_path = format!("{path}/{name}");
            let kind = self.parse(group, path, config).map_err(|reason| malformed(&policy_path, reason))?;
            let policy = Arc::new(Policy { path: policy_path.clone(), kind });
            self.by_path.insert(policy_path, policy);
        }
        Ok(())
    }

    fn parse(&self, group: &ConfigGroup, path: &str, config: &ConfigPolicy) -> Result<Kind, String> {
        let policy = config.policy.as_ref().ok_or("policy is missing")?;
        match PolicyType::try_from(policy.r#type) {
            Ok(PolicyType::Signature) => SignatureRule::parse(policy.value.clone()).map(Kind::Signature),
            Ok(PolicyType::ImplicitMeta) => {
                let find = |sub_policy: &str| {
                    let of_group = |name| format!("{path}/{name}/{sub_policy}");
                    let names = group.groups.keys();
                    // A name with a slash would reach deeper than the groups right below.
                    let found = |name| {
                        (!sub_policy.contains('/'))
                            .then(|| self.by_path.get(&of_group(name)).cloned())
                            .flatten()
                    };
                    names.map(found).collect()
                };
                ImplicitMeta::parse(policy.value.clone(), find).map(Kind::ImplicitMeta)
            }
            Ok(kind @ (PolicyType::Unknown | PolicyType::Msp)) => {
                Err(format!("a policy of type {} cannot be evaluated", kind.as_str_name()))
            }
            Err(_) => Err(format!("policy type {} is unknown", policy.r#type)),
        }
    }

    /// The policy of an absolute path, such as `/Channel/Application/Org1/Readers`.
    pub fn get(&self, path: &str) -> Option<&Policy> {
        self.by_path.get(path).map(|policy| &**policy)
    }

    /// Absolute paths of all policies, in order.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.by_path.keys().map(String::as_str)
    }

    /// [`Policy::check_signed`] of the policy of this path. A policy that does not exist is an
    /// error of its own, and is satisfied by nobody.
    pub fn check_signed(
        &self,
        path: &str,
        msps: &MspManager,
        signed: &[SignedData<'_>],
    ) -> Result<(), PolicyError> {
        let policy = self.get(path).ok_or_else(|| PolicyError::Missing { path: path.to_owned() })?;
        policy.check_signed(msps, signed)
    }
}

/// Groups within groups; a channel configuration has four at most.
const MAX_GROUP_DEPTH: usize = 16;
