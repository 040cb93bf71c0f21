//! Reading the configuration tree: groups and values by name, each knowing its path for errors.

use prost::Message;

use super::ConfigError;
use crate::proto::common::{ConfigGroup, Policy};

/// A group of the tree and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node<'a> {
    pub(super) path: String,
    group: &'a ConfigGroup,
}

impl<'a> Node<'a> {
    /// The channel group. Refuses element names that are not well-formed anywhere below.
    pub(super) fn root(group: &'a ConfigGroup) -> Result<Self, ConfigError> {
        let root = Self { path: "/Channel".to_owned(), group };
        check_names(&root)?;
        Ok(root)
    }

    /// The path of an element of this group.
    pub(super) fn path_of(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }

    pub(super) fn child(&self, name: &str) -> Option<Self> {
        let group = self.group.groups.get(name)?;
        Some(Self { path: self.path_of(name), group })
    }

    pub(super) fn required_child(&self, name: &str) -> Result<Self, ConfigError> {
        self.child(name).ok_or_else(|| ConfigError::new(self.path_of(name), "this group is missing"))
    }

    /// The groups in this one by name, in order of the name.
    pub(super) fn children(&self) -> impl Iterator<Item = (&'a str, Self)> {
        self.group
            .groups
            .iter()
            .map(|(name, group)| (name.as_str(), Self { path: self.path_of(name), group }))
    }

    /// A value, decoded; `None` if the group has none of this name.
    pub(super) fn value<T: Message + Default>(&self, name: &str) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.group.values.get(name) else { return Ok(None) };
        T::decode(value.value.clone())
            .map(Some)
            .map_err(|err| ConfigError::new(self.path_of(name), format!("cannot be decoded: {err}")))
    }

    pub(super) fn required_value<T: Message + Default>(&self, name: &str) -> Result<T, ConfigError> {
        self.value(name)?.ok_or_else(|| ConfigError::new(self.path_of(name), "this value is missing"))
    }

    /// Refuses a value whose name is none of `known`: its author means a rule that would not be kept.
    pub(super) fn only_values(&self, known: &[&str]) -> Result<(), ConfigError> {
        match self.group.values.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(ConfigError::new(self.path_of(name), "no value of this name is known here")),
            None => Ok(()),
        }
    }

    /// Refuses a group that lacks one of these policies.
    pub(super) fn required_policies(&self, names: &[&str]) -> Result<(), ConfigError> {
        match names.iter().find(|name| !self.group.policies.contains_key(**name)) {
            Some(name) => Err(ConfigError::new(self.path_of(name), "this policy is missing")),
            None => Ok(()),
        }
    }

    /// A policy's type and bytes; `None` if the group has none of this name.
    pub(super) fn policy(&self, name: &str) -> Option<&'a Policy> {
        self.group.policies.get(name)?.policy.as_ref()
    }
}

/// An element's name: 1 to 249 of `[a-zA-Z0-9.-]`, and not "." or "..".
pub fn is_element_id(name: &str) -> bool {
    (1..=MAX_ID_LENGTH).contains(&name.len())
        && name != "."
        && name != ".."
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-')
}

/// A channel's id: a lower-case letter, then `[a-z0-9.-]`, at most 249 in all.
pub fn is_channel_id(id: &str) -> bool {
    id.len() <= MAX_ID_LENGTH
        && id.bytes().next().is_some_and(|first| first.is_ascii_lowercase())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'.' || byte == b'-')
}

/// Depth is bounded by prost's recursion limit at decoding.
fn check_names(node: &Node<'_>) -> Result<(), ConfigError> {
    let values = node.group.values.keys().chain(node.group.policies.keys());
    for name in values.chain(node.group.groups.keys()) {
        if !is_element_id(name) {
            let shown: String = name.chars().take(40).collect();
            return Err(ConfigError::new(
                node.path.clone(),
                format!("the name {shown:?} is not 1 to {MAX_ID_LENGTH} letters, digits, dots and hyphens"),
            ));
        }
    }
    for (_, child) in node.children() {
        check_names(&child)?;
    }
    Ok(())
}

const MAX_ID_LENGTH: usize = 249;
