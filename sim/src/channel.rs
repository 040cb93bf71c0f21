//! The simulated channel: a configuration that the node's own tools made (`sim/channel`), and the
//! filters of the node under it.
//!
//! Where signatures are simulated, the channel's Writers policy asks for none, so that the filters
//! judge form, channel, type and size, and [`crate::workload`] whether a client made the envelope.
//! Where they are real, so is the policy.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use prost::Message as _;
use sbft::channel_config::{BatchSize, ChannelConfig};
use sbft::consenter::sbft::rules;
use sbft::intake::Envelope;
use sbft::msg_processor::{Processor, ProcessorOptions};
use sbft::pbft::Config;
use sbft::proto::common::{self, ConfigEnvelope, Payload};
use sbft::proto::orderer;
use sbft::wire::candidate::Limits;
use sbft::wire::envelope::{Parsed, check_canonical};

/// The channel's name.
pub const NAME: &str = "sim";

/// How signatures are made and judged in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signatures {
    /// Keyed hashes under secrets of the harness.
    #[default]
    Simulated,
    /// Ed25519, through the node's checker and the real bytes of every message.
    Ed25519,
    /// ECDSA P-256, likewise.
    Ecdsa,
}

/// The filters of one configuration.
#[derive(Debug)]
pub struct Filters {
    /// The node's filters.
    pub processor: Processor,
    /// What a candidate may hold.
    pub limits: Limits,
}

impl Filters {
    /// The filters of the channel with the batch limits of `config`. Reading a configuration
    /// takes a while, so each is read once in a process.
    pub fn of(signatures: Signatures, config: &Config) -> Arc<Self> {
        type Known = BTreeMap<(Signatures, u32, u32, u32), Arc<Filters>>;
        static KNOWN: OnceLock<Mutex<Known>> = OnceLock::new();
        let absolute = clamp(config.absolute_max_bytes);
        let preferred = clamp(config.preferred_max_bytes).min(absolute);
        let key = (signatures, config.max_message_count, absolute, preferred);
        let mut known = KNOWN.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
        let batch = BatchSize {
            max_message_count: config.max_message_count,
            absolute_max_bytes: absolute,
            preferred_max_bytes: preferred,
        };
        Arc::clone(known.entry(key).or_insert_with(|| Arc::new(Self::new(signatures, batch))))
    }

    /// The same as [`Self::of`], read anew: they remember no signature that others have checked.
    pub(crate) fn fresh(signatures: Signatures, config: &Config) -> Self {
        let absolute = clamp(config.absolute_max_bytes);
        let batch = BatchSize {
            max_message_count: config.max_message_count,
            absolute_max_bytes: absolute,
            preferred_max_bytes: clamp(config.preferred_max_bytes).min(absolute),
        };
        Self::new(signatures, batch)
    }

    fn new(signatures: Signatures, batch: BatchSize) -> Self {
        let config = Arc::new(read(signatures, batch));
        // The certificates of the simulated clients must not make a run depend on today's date.
        let processor = Processor::new(config, ProcessorOptions { check_expiration: false });
        let limits = Limits {
            max_count: batch.max_message_count as usize,
            max_bytes: batch.absolute_max_bytes.into(),
        };
        Self { processor, limits }
    }

    /// What the service and the chain of a node do with an envelope that a client hands in.
    ///
    /// # Errors
    /// The answer to the client.
    pub fn admit(&self, bytes: Bytes) -> Result<Envelope, String> {
        let parsed = Parsed::decode(bytes).map_err(|error| error.to_string())?;
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        let sequence = self.processor.process(&parsed, now).map_err(|rejection| rejection.to_string())?;
        check_canonical(&parsed.frame).map_err(|error| error.to_string())?;
        Ok(rules::accepted(parsed, sequence))
    }
}

fn clamp(bytes: u64) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// The configuration in the genesis block, with these batch limits.
fn read(signatures: Signatures, batch: BatchSize) -> ChannelConfig {
    let block: &[u8] = match signatures {
        Signatures::Simulated => include_bytes!("../channel/open.block"),
        Signatures::Ed25519 => include_bytes!("../channel/ed25519.block"),
        Signatures::Ecdsa => include_bytes!("../channel/ecdsa.block"),
    };
    let broken = "sim/channel holds genesis blocks; make them anew with the example make_channel";
    let block = common::Block::decode(block).expect(broken);
    let envelope = block.data.and_then(|data| data.data.into_iter().next()).expect(broken);
    let envelope = common::Envelope::decode(envelope).expect(broken);
    let payload = Payload::decode(envelope.payload).expect(broken);
    let mut envelope = ConfigEnvelope::decode(payload.data).expect(broken);
    let size = orderer::BatchSize {
        max_message_count: batch.max_message_count,
        absolute_max_bytes: batch.absolute_max_bytes,
        preferred_max_bytes: batch.preferred_max_bytes,
    };
    let value = envelope
        .config
        .as_mut()
        .and_then(|config| config.channel_group.as_mut())
        .and_then(|channel| channel.groups.get_mut("Orderer"))
        .and_then(|orderer| orderer.values.get_mut("BatchSize"))
        .expect(broken);
    value.value = size.encode_to_vec().into();
    match ChannelConfig::from_config_envelope(NAME, &envelope) {
        Ok(config) => config,
        Err(error) => panic!("{broken}: {error}"),
    }
}
