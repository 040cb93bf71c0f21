//! The consenters that a configuration names, with their keys.

use std::collections::BTreeMap;

use prost::Message as _;

use super::signature::Key;
use crate::proto::common::{
    Capabilities, ChannelHeader, ConfigEnvelope, ConfigGroup, Envelope, Orderers, Payload,
};

/// What the verifier needs of a configuration.
#[derive(Clone, Debug)]
pub(super) struct Era {
    pub(super) channel: String,
    /// The configuration's sequence.
    pub(super) sequence: u64,
    /// By consenter id.
    pub(super) keys: BTreeMap<u32, Key>,
}

impl Era {
    /// From the envelope of a config block; or what is wrong with it.
    pub(super) fn from_config(envelope: &Envelope) -> Result<Self, String> {
        let undecodable = |what: &'static str| move |_| format!("the {what} cannot be decoded");
        let payload = Payload::decode(envelope.payload.clone()).map_err(undecodable("payload"))?;
        let header = payload.header.ok_or("the payload has no header")?;
        let channel = ChannelHeader::decode(header.channel_header).map_err(undecodable("channel header"))?;
        let config = ConfigEnvelope::decode(payload.data).map_err(undecodable("config envelope"))?;
        let config = config.config.ok_or("there is no Config")?;
        let group = config.channel_group.ok_or("there is no channel group")?;

        let capabilities: Capabilities = value(&group, "/Channel", "Capabilities")?;
        if !capabilities.capabilities.contains_key("V3_0") {
            return Err("/Channel/Capabilities lacks V3_0, without which nobody counts signatures by \
                        consenter id"
                .into());
        }
        let orderer = group.groups.get("Orderer").ok_or("/Channel/Orderer is missing")?;
        let orderers: Orderers = value(orderer, "/Channel/Orderer", "Orderers")?;
        let mut keys: BTreeMap<u32, Key> = BTreeMap::new();
        for consenter in orderers.consenter_mapping {
            let id = consenter.id;
            let key = Key::from_certificate_pem(&consenter.identity)
                .map_err(|what| format!("/Channel/Orderer/Orderers: identity of consenter {id}: {what}"))?;
            if id == 0 || keys.contains_key(&id) {
                return Err(format!("/Channel/Orderer/Orderers: consenter id {id} is zero or there twice"));
            }
            if let Some((other, _)) = keys.iter().find(|(_, known)| **known == key) {
                return Err(format!("/Channel/Orderer/Orderers: consenters {other} and {id} have one key"));
            }
            keys.insert(id, key);
        }
        if keys.is_empty() {
            return Err("/Channel/Orderer/Orderers has no consenter".into());
        }
        Ok(Self { channel: channel.channel_id, sequence: config.sequence, keys })
    }

    /// The least number of signatures of a block: ceil((n + f + 1) / 2) with f = (n - 1) / 3.
    pub(super) fn quorum(&self) -> usize {
        let n = self.keys.len();
        let f = (n - 1) / 3;
        (n + f + 1).div_ceil(2)
    }
}

fn value<T: prost::Message + Default>(group: &ConfigGroup, path: &str, name: &str) -> Result<T, String> {
    let value = group.values.get(name).ok_or_else(|| format!("{path}/{name} is missing"))?;
    T::decode(value.value.clone()).map_err(|_| format!("{path}/{name} cannot be decoded"))
}
