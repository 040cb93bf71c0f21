//! Capabilities: names of behaviour that every node of a channel must know.

use std::collections::BTreeSet;

use super::ConfigError;
use super::tree::Node;
use crate::proto::common::Capabilities;

/// The capabilities that a configuration names, by part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapabilitySet {
    /// Of the channel as a whole.
    pub channel: BTreeSet<String>,
    /// Of its orderers.
    pub orderer: BTreeSet<String>,
    /// Of its applications. Peers' concern: an orderer knows them all.
    pub application: BTreeSet<String>,
}

impl CapabilitySet {
    /// Reads the three values; refuses a name that an orderer must know and this one does not.
    pub(super) fn from_groups(
        channel: &Node<'_>,
        orderer: &Node<'_>,
        application: &Node<'_>,
    ) -> Result<Self, ConfigError> {
        let set =
            Self { channel: names(channel)?, orderer: names(orderer)?, application: names(application)? };
        known(channel, &set.channel, &KNOWN_CHANNEL)?;
        known(orderer, &set.orderer, &KNOWN_ORDERER)?;
        if !set.orderer.contains("V2_0") {
            return Err(ConfigError::new(orderer.path_of("Capabilities"), "V2_0 is missing"));
        }
        Ok(set)
    }
}

fn names(group: &Node<'_>) -> Result<BTreeSet<String>, ConfigError> {
    let value: Option<Capabilities> = group.value("Capabilities")?;
    Ok(value.unwrap_or_default().capabilities.into_keys().collect())
}

fn known(group: &Node<'_>, names: &BTreeSet<String>, known: &[&str]) -> Result<(), ConfigError> {
    match names.iter().find(|name| !known.contains(&name.as_str())) {
        Some(name) => {
            let shown: String = name.chars().take(40).collect();
            let reason = format!("capability {shown:?} is unknown; known are {}", known.join(", "));
            Err(ConfigError::new(group.path_of("Capabilities"), reason))
        }
        None => Ok(()),
    }
}

const KNOWN_CHANNEL: [&str; 6] = ["V1_1", "V1_3", "V1_4_2", "V1_4_3", "V2_0", "V3_0"];
const KNOWN_ORDERER: [&str; 3] = ["V1_1", "V1_4_2", "V2_0"];
