//! What all consenters of a channel agree on, parsed once from a config block.
//!
//! A missing, unknown or contradictory value is refused with its path. What is not judged here:
//! whether a config *update* may be made (its signatures and versions), and whether the block
//! itself has a quorum of signatures.

mod block_validation;
mod capabilities;
mod consenters;
mod go_duration;
mod options;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::BTreeMap;
use std::time::Duration;

use prost::Message as _;

pub use block_validation::{derived, derived_policy};
pub use capabilities::CapabilitySet;
pub use consenters::Consenter;
pub use go_duration::{GoDurationError, format as format_go_duration, parse as parse_go_duration};
pub use options::Options;
pub use tree::{is_channel_id, is_element_id};

use crate::header::data_hash;
use crate::msp::MspManager;
use crate::policy::{Policies, PolicyError};
use crate::proto::common::{
    Block, BlockDataHashingStructure, ChannelHeader, ConfigEnvelope, Envelope, HashingAlgorithm, HeaderType,
    OrdererAddresses, Orderers, Payload, SignaturePolicyEnvelope, policy,
};
use crate::proto::msp::{FabricMspConfig, MspConfig};
use crate::proto::orderer;
use crate::types::{ConsenterId, Place};
use crate::wire::quorum;
use tree::Node;

/// A value of a configuration that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct ConfigError {
    /// Where it stands: `/Channel/…` in the configuration tree, `block.…` outside of it.
    pub path: String,
    /// What is wrong with it.
    pub reason: String,
}

impl ConfigError {
    fn new(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { path: path.into(), reason: reason.into() }
    }
}

/// A channel's configuration, whole and consistent.
#[derive(Debug)]
pub struct ChannelConfig {
    /// The channel's id.
    pub channel_id: String,
    /// Version of the configuration; grows by one with each config block.
    pub sequence: u64,
    /// How blocks come about.
    pub consensus: Consensus,
    /// ConsensusType.state is not NORMAL: normal envelopes are refused.
    pub maintenance: bool,
    /// How large batches and envelopes may be.
    pub batch: BatchSize,
    /// How long an envelope may wait for others before a batch is cut; more than 0.
    pub batch_timeout: Duration,
    /// Who orders the channel, by place. At least one with consensus type BFT.
    pub consenters: Vec<Consenter>,
    /// Endpoints (`host:port`) of the orderer organizations, by the group's name.
    pub endpoints: BTreeMap<String, Vec<String>>,
    /// Capabilities of the channel, its orderers and its applications.
    pub capabilities: CapabilitySet,
    /// Channel capability V3_0: consenter ids in block signatures, Ed25519 identities.
    pub v3: bool,
    /// Judges identities of the channel's organizations.
    pub msps: MspManager,
    /// All policies of the tree.
    pub policies: Policies,
}

/// How blocks of a channel come about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Consensus {
    /// ConsensusType "BFT": cut, then ordered by PBFT.
    Sbft(Options),
    /// ConsensusType "solo": one node orders alone.
    Solo,
}

/// Limits of batches and envelopes. All are more than 0, and preferred is at most absolute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSize {
    /// Envelopes per batch.
    pub max_message_count: u32,
    /// Bytes (payload plus signature) that one envelope may have, and a block's envelopes together.
    pub absolute_max_bytes: u32,
    /// Bytes that a batch of more than one envelope may have.
    pub preferred_max_bytes: u32,
}

impl ChannelConfig {
    /// Reads the configuration in a config block: the genesis block or a later one.
    ///
    /// # Errors
    /// The first value that is missing, unknown or contradicts another, with its path.
    pub fn from_block(block: &Block) -> Result<Self, ConfigError> {
        let header = block.header.as_ref().ok_or_else(|| ConfigError::new("block.header", "is missing"))?;
        let data = block.data.as_ref().map_or(&[][..], |data| &data.data);
        let [envelope] = data else {
            let reason =
                format!("a config block has exactly one envelope, and this block has {}", data.len());
            return Err(ConfigError::new("block.data", reason));
        };
        if header.data_hash != data_hash(data).0[..] {
            return Err(ConfigError::new("block.header.data_hash", "is not the hash of the block's data"));
        }
        let previous_length = if header.number == 0 { 0 } else { 32 };
        if header.previous_hash.len() != previous_length {
            let reason = format!(
                "block {} must have {previous_length} bytes here, and has {}",
                header.number,
                header.previous_hash.len()
            );
            return Err(ConfigError::new("block.header.previous_hash", reason));
        }

        let envelope = Envelope::decode(envelope.clone()).map_err(|err| undecodable("envelope", &err))?;
        let payload = Payload::decode(envelope.payload).map_err(|err| undecodable("payload", &err))?;
        let channel_header = payload.header.unwrap_or_default().channel_header;
        let channel_header =
            ChannelHeader::decode(channel_header).map_err(|err| undecodable("channel_header", &err))?;
        if channel_header.r#type != HeaderType::Config as i32 {
            let reason = format!("is {}, and a config block carries 1, CONFIG", channel_header.r#type);
            return Err(ConfigError::new("block.data[0].channel_header.type", reason));
        }
        let envelope =
            ConfigEnvelope::decode(payload.data).map_err(|err| undecodable("config_envelope", &err))?;
        Self::from_config_envelope(&channel_header.channel_id, &envelope)
    }

    /// Reads the configuration in a config envelope of the channel `channel_id`.
    ///
    /// # Errors
    /// As [`ChannelConfig::from_block`].
    pub fn from_config_envelope(channel_id: &str, envelope: &ConfigEnvelope) -> Result<Self, ConfigError> {
        if !is_channel_id(channel_id) {
            let shown: String = channel_id.chars().take(40).collect();
            let reason = format!(
                "{shown:?} is no channel id: a lower-case letter, then lower-case letters, digits, dots and \
                 hyphens, at most 249 in all"
            );
            return Err(ConfigError::new("block.data[0].channel_header.channel_id", reason));
        }
        let config = envelope
            .config
            .as_ref()
            .ok_or_else(|| ConfigError::new("block.data[0].config_envelope.config", "is missing"))?;
        let group = config
            .channel_group
            .as_ref()
            .ok_or_else(|| ConfigError::new("/Channel", "this group is missing"))?;
        let channel = Node::root(group)?;
        if let Some(consortiums) = channel.child("Consortiums") {
            return Err(ConfigError::new(consortiums.path, "system channels are not supported"));
        }
        let orderer = channel.required_child("Orderer")?;
        let application = channel.required_child("Application")?;
        channel.only_values(&CHANNEL_VALUES)?;
        orderer.only_values(&ORDERER_VALUES)?;
        channel.required_policies(&["Readers", "Writers", "Admins"])?;
        orderer.required_policies(&["Readers", "Writers", "Admins", "BlockValidation"])?;

        let capabilities = CapabilitySet::from_groups(&channel, &orderer, &application)?;
        let v3 = capabilities.channel.contains("V3_0");
        check_hashing(&channel)?;
        let batch = batch_size(&orderer)?;
        let batch_timeout = batch_timeout(&orderer)?;
        let (consensus, maintenance) = consensus(&orderer, batch, v3)?;
        let endpoints = endpoints(&channel, &orderer, v3)?;
        let (msps, orderer_msps) = organizations(&orderer, &application, v3)?;
        let consenters = consenters(&orderer, &consensus, &msps, &orderer_msps)?;
        let policies = Policies::from_channel_group(group).map_err(|err| match err {
            PolicyError::Malformed { path, reason } => ConfigError { path, reason },
            other => ConfigError::new("/Channel", other.to_string()),
        })?;

        Ok(Self {
            channel_id: channel_id.to_owned(),
            sequence: config.sequence,
            consensus,
            maintenance,
            batch,
            batch_timeout,
            consenters,
            endpoints,
            capabilities,
            v3,
            msps,
            policies,
        })
    }

    /// The place of the consenter with this id.
    pub fn place_of(&self, id: ConsenterId) -> Option<Place> {
        self.place_where(|consenter| consenter.id == id)
    }

    /// The place of the consenter whose key this is: how a node finds out which one it is.
    pub fn place_of_key(&self, key: &crate::crypto::PublicKey) -> Option<Place> {
        self.place_where(|consenter| consenter.key == *key)
    }

    /// The consenter at a place.
    pub fn consenter(&self, place: Place) -> Option<&Consenter> {
        self.consenters.get(place.index())
    }

    fn place_where(&self, test: impl Fn(&Consenter) -> bool) -> Option<Place> {
        let index = self.consenters.iter().position(test)?;
        u16::try_from(index).ok().map(Place)
    }
}

fn undecodable(what: &str, err: &prost::DecodeError) -> ConfigError {
    ConfigError::new(format!("block.data[0].{what}"), format!("cannot be decoded: {err}"))
}

fn check_hashing(channel: &Node<'_>) -> Result<(), ConfigError> {
    let algorithm: HashingAlgorithm = channel.required_value("HashingAlgorithm")?;
    if !["SHA256", "SHA3_256"].contains(&algorithm.name.as_str()) {
        let reason = format!("{:?} is neither \"SHA256\" nor \"SHA3_256\"", algorithm.name);
        return Err(ConfigError::new(channel.path_of("HashingAlgorithm"), reason));
    }
    let structure: BlockDataHashingStructure = channel.required_value("BlockDataHashingStructure")?;
    if structure.width != u32::MAX {
        let reason = format!("width {} is not {}", structure.width, u32::MAX);
        return Err(ConfigError::new(channel.path_of("BlockDataHashingStructure"), reason));
    }
    Ok(())
}

fn batch_size(orderer: &Node<'_>) -> Result<BatchSize, ConfigError> {
    let size: orderer::BatchSize = orderer.required_value("BatchSize")?;
    let refuse = |reason: String| Err(ConfigError::new(orderer.path_of("BatchSize"), reason));
    for (name, value) in [
        ("max_message_count", size.max_message_count),
        ("absolute_max_bytes", size.absolute_max_bytes),
        ("preferred_max_bytes", size.preferred_max_bytes),
    ] {
        if value == 0 {
            return refuse(format!("{name} 0 must be more than 0"));
        }
    }
    if size.preferred_max_bytes > size.absolute_max_bytes {
        return refuse(format!(
            "preferred_max_bytes {} is more than absolute_max_bytes {}",
            size.preferred_max_bytes, size.absolute_max_bytes
        ));
    }
    Ok(BatchSize {
        max_message_count: size.max_message_count,
        absolute_max_bytes: size.absolute_max_bytes,
        preferred_max_bytes: size.preferred_max_bytes,
    })
}

fn batch_timeout(orderer: &Node<'_>) -> Result<Duration, ConfigError> {
    let value: orderer::BatchTimeout = orderer.required_value("BatchTimeout")?;
    let refuse = |reason: String| Err(ConfigError::new(orderer.path_of("BatchTimeout"), reason));
    match go_duration::parse(&value.timeout) {
        Ok(Duration::ZERO) => refuse(format!("timeout {:?} must be more than 0", value.timeout)),
        Ok(timeout) => Ok(timeout),
        Err(err) => refuse(err.to_string()),
    }
}

/// The kind of consensus, and whether the channel is in maintenance.
fn consensus(orderer: &Node<'_>, batch: BatchSize, v3: bool) -> Result<(Consensus, bool), ConfigError> {
    let path = orderer.path_of("ConsensusType");
    let value: orderer::ConsensusType = orderer.required_value("ConsensusType")?;
    let maintenance = match orderer::consensus_type::State::try_from(value.state) {
        Ok(state) => state != orderer::consensus_type::State::Normal,
        Err(_) => return Err(ConfigError::new(path, format!("state {} is unknown", value.state))),
    };
    let consensus = match value.r#type.as_str() {
        "solo" => Consensus::Solo,
        "BFT" => {
            if !v3 {
                return Err(ConfigError::new(
                    "/Channel/Capabilities",
                    "V3_0 is missing, which consensus type \"BFT\" needs",
                ));
            }
            let message = orderer::smartbft::Options::decode(value.metadata).map_err(|err| {
                ConfigError::new(format!("{path}/metadata"), format!("cannot be decoded: {err}"))
            })?;
            Consensus::Sbft(Options::from_message(&path, &message, batch.absolute_max_bytes)?)
        }
        unknown => {
            let shown: String = unknown.chars().take(40).collect();
            return Err(ConfigError::new(path, format!("type {shown:?} is neither \"BFT\" nor \"solo\"")));
        }
    };
    Ok((consensus, maintenance))
}

fn endpoints(
    channel: &Node<'_>,
    orderer: &Node<'_>,
    v3: bool,
) -> Result<BTreeMap<String, Vec<String>>, ConfigError> {
    if v3
        && let Some(global) = channel.value::<OrdererAddresses>("OrdererAddresses")?
        && !global.addresses.is_empty()
    {
        return Err(ConfigError::new(
            channel.path_of("OrdererAddresses"),
            "no global addresses with channel capability V3_0; each orderer organization has its Endpoints",
        ));
    }
    let mut endpoints = BTreeMap::new();
    for (name, organization) in orderer.children() {
        let path = organization.path_of("Endpoints");
        let addresses = organization
            .value::<OrdererAddresses>("Endpoints")?
            .map_or_else(Vec::new, |value| value.addresses);
        if v3 && addresses.is_empty() {
            return Err(ConfigError::new(path, "an address is missing, which channel capability V3_0 needs"));
        }
        if let Some(wrong) = addresses.iter().find(|address| !is_address(address)) {
            let shown: String = wrong.chars().take(80).collect();
            return Err(ConfigError::new(path, format!("{shown:?} is not of the form host:port")));
        }
        endpoints.insert(name.to_owned(), addresses);
    }
    Ok(endpoints)
}

fn is_address(address: &str) -> bool {
    address.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty()
            && !host.chars().any(|c| c.is_whitespace() || c.is_control())
            && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

/// The channel's organizations, and the MSP ids of those that order.
fn organizations(
    orderer: &Node<'_>,
    application: &Node<'_>,
    v3: bool,
) -> Result<(MspManager, Vec<String>), ConfigError> {
    let mut configs: BTreeMap<String, (String, FabricMspConfig)> = BTreeMap::new();
    let mut orderer_msps = Vec::new();
    if orderer.children().next().is_none() {
        return Err(ConfigError::new(orderer.path.clone(), "no orderer organization stands in this group"));
    }
    for (is_orderer, parent) in [(true, orderer), (false, application)] {
        for (_, organization) in parent.children() {
            let known: &[&str] = if is_orderer { &["MSP", "Endpoints"] } else { &["MSP", "AnchorPeers"] };
            organization.only_values(known)?;
            let path = organization.path_of("MSP");
            let config = msp_config(&organization, &path)?;
            if is_orderer {
                orderer_msps.push(config.name.clone());
            }
            match configs.get(&config.name) {
                // An organization may both order and have applications, with one definition.
                Some((_, same)) if *same == config => {}
                Some((other, _)) => {
                    let reason = format!("MSP {:?} is defined differently at {other}", config.name);
                    return Err(ConfigError::new(path, reason));
                }
                None => {
                    // Each by itself first, so that the error has the path of the wrong one.
                    MspManager::new(vec![config.clone()], v3)
                        .map_err(|err| ConfigError::new(path.clone(), err.to_string()))?;
                    configs.insert(config.name.clone(), (path, config));
                }
            }
        }
    }
    let configs = configs.into_values().map(|(_, config)| config).collect();
    let msps = MspManager::new(configs, v3).map_err(|err| ConfigError::new("/Channel", err.to_string()))?;
    Ok((msps, orderer_msps))
}

fn msp_config(organization: &Node<'_>, path: &str) -> Result<FabricMspConfig, ConfigError> {
    let value: MspConfig = organization.required_value("MSP")?;
    if value.r#type != 0 {
        let reason = format!("type {} is not supported; only 0, X.509", value.r#type);
        return Err(ConfigError::new(path, reason));
    }
    let config = FabricMspConfig::decode(value.config)
        .map_err(|err| ConfigError::new(path, format!("config cannot be decoded: {err}")))?;
    if config.name.is_empty() {
        return Err(ConfigError::new(path, "the MSP has no name"));
    }
    Ok(config)
}

/// The consenters; with BFT there is at least one, and BlockValidation fits them.
fn consenters(
    orderer: &Node<'_>,
    consensus: &Consensus,
    msps: &MspManager,
    orderer_msps: &[String],
) -> Result<Vec<Consenter>, ConfigError> {
    let path = orderer.path_of("Orderers");
    let mapping = match consensus {
        Consensus::Sbft(_) => orderer.required_value::<Orderers>("Orderers")?.consenter_mapping,
        Consensus::Solo => orderer.value::<Orderers>("Orderers")?.unwrap_or_default().consenter_mapping,
    };
    let consenters = consenters::from_mapping(&path, &mapping, msps, orderer_msps)?;
    if matches!(consensus, Consensus::Solo) {
        return Ok(consenters);
    }
    if consenters.is_empty() {
        return Err(ConfigError::new(path, "a BFT channel has at least one consenter"));
    }

    let path = orderer.path_of("BlockValidation");
    let Some(policy) = orderer.policy("BlockValidation") else {
        return Err(ConfigError::new(path, "this policy is empty"));
    };
    if policy.r#type != policy::PolicyType::Signature as i32 {
        let reason = format!("type {} is not 1, SIGNATURE, as consensus type \"BFT\" needs", policy.r#type);
        return Err(ConfigError::new(path, reason));
    }
    let policy = SignaturePolicyEnvelope::decode(policy.value.clone())
        .map_err(|err| ConfigError::new(path.clone(), format!("cannot be decoded: {err}")))?;
    if policy != derived(&mapping) {
        let reason = format!(
            "is not {} of the {} identities of the consenter mapping, in its order",
            quorum(mapping.len()),
            mapping.len()
        );
        return Err(ConfigError::new(path, reason));
    }
    Ok(consenters)
}

const CHANNEL_VALUES: [&str; 5] =
    ["HashingAlgorithm", "BlockDataHashingStructure", "OrdererAddresses", "Consortium", "Capabilities"];
const ORDERER_VALUES: [&str; 7] = [
    "ConsensusType",
    "BatchSize",
    "BatchTimeout",
    "KafkaBrokers",
    "ChannelRestrictions",
    "Capabilities",
    "Orderers",
];
