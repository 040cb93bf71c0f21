//! The options of consensus type "BFT": Fabric's fields where they fit, and ours from 1000 on.

use std::time::Duration;

use super::{ConfigError, go_duration};
use crate::dedup_window::DedupRule;
use crate::proto::orderer::smartbft;
use crate::wire::MAX_WINDOW;

/// The rules of a BFT channel's consensus, the same at all of its replicas.
///
/// The other fields of the options message are checked, and otherwise of no effect: they steer
/// parts of Fabric's consenter that this one does not have (request batches, heartbeats, leader
/// rotation, the collecting of state answers), or repeat the batch limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// A candidate that waits longer than this is sent to the primary (`request_forward_timeout`).
    pub forward_timeout: Duration,
    /// Nothing commits for this long while work waits: suspect the primary
    /// (`request_complain_timeout`).
    pub complain_timeout: Duration,
    /// How long a view change may take before the next one; doubles per failed view.
    pub view_change_timeout: Duration,
    /// Cap of that doubling (field 1004). Default: eight times the timeout, at least 30 s.
    pub view_change_timeout_cap: Duration,
    /// How often replicas exchange their status (`view_change_resend_interval`).
    pub resend_interval: Duration,
    /// Envelopes that may wait at one replica. Each costs its size in memory.
    pub request_pool_size: usize,
    /// Block numbers in flight above the last committed one (field 1000). Default 10.
    pub window: u64,
    /// Within which blocks an envelope is in the chain at most once: D (field 1001, default 1000) and E
    /// (field 1005, default 200,000).
    pub dedup: DedupRule,
    /// Candidates outstanding per origin (field 1002). Default 16.
    pub outstanding: usize,
    /// A primary is slow when it sits on a candidate for more than this many round times (field
    /// 1003). Default 20.
    pub slow_primary_factor: u32,
}

impl Options {
    /// Reads and judges the options; `path` is that of the ConsensusType value.
    pub(super) fn from_message(
        path: &str,
        message: &smartbft::Options,
        absolute_max_bytes: u32,
    ) -> Result<Self, ConfigError> {
        let fields = Fields { path };
        match smartbft::options::Rotation::try_from(message.leader_rotation) {
            Ok(smartbft::options::Rotation::On) => {
                let reason = "ROTATION_ON is not supported; set ROTATION_OFF".to_owned();
                return Err(fields.error("leader_rotation", reason));
            }
            Ok(_) => {}
            Err(_) => {
                let reason = format!("{} is no known value", message.leader_rotation);
                return Err(fields.error("leader_rotation", reason));
            }
        }
        fields.duration("request_batch_max_interval", &message.request_batch_max_interval)?;
        fields.duration("leader_heartbeat_timeout", &message.leader_heartbeat_timeout)?;
        fields.duration("collect_timeout", &message.collect_timeout)?;
        fields.within("incoming_message_buffer_size", message.incoming_message_buffer_size, 1, u64::MAX)?;
        fields.within("leader_heartbeat_count", message.leader_heartbeat_count, 1, u64::MAX)?;
        if message.request_max_bytes > u64::from(absolute_max_bytes) {
            let reason = format!(
                "{} is more than absolute_max_bytes {absolute_max_bytes} of the batch size",
                message.request_max_bytes
            );
            return Err(fields.error("request_max_bytes", reason));
        }

        let forward_timeout = fields.duration("request_forward_timeout", &message.request_forward_timeout)?;
        let complain_timeout =
            fields.duration("request_complain_timeout", &message.request_complain_timeout)?;
        let auto_remove =
            fields.duration("request_auto_remove_timeout", &message.request_auto_remove_timeout)?;
        let resend_interval =
            fields.duration("view_change_resend_interval", &message.view_change_resend_interval)?;
        let view_change_timeout = fields.duration("view_change_timeout", &message.view_change_timeout)?;
        let view_change_timeout_cap = if message.view_change_timeout_cap.is_empty() {
            view_change_timeout.saturating_mul(8).max(LEAST_DEFAULT_CAP)
        } else {
            fields.duration("view_change_timeout_cap", &message.view_change_timeout_cap)?
        };
        fields.ordered([
            ("request_forward_timeout", forward_timeout),
            ("request_complain_timeout", complain_timeout),
            ("request_auto_remove_timeout", auto_remove),
        ])?;
        fields.ordered([
            ("view_change_resend_interval", resend_interval),
            ("view_change_timeout", view_change_timeout),
            ("view_change_timeout_cap", view_change_timeout_cap),
        ])?;

        let or_default = |value: u64, default: u64| if value == 0 { default } else { value };
        let window =
            fields.within("window", or_default(message.window, DEFAULT_WINDOW), 1, MAX_WINDOW as u64)?;
        let dedup_blocks = or_default(message.dedup_blocks, DEFAULT_DEDUP_BLOCKS);
        if dedup_blocks < window {
            let reason = format!("{dedup_blocks} is less than window {window}");
            return Err(fields.error("dedup_blocks", reason));
        }
        let dedup_envelopes = or_default(message.dedup_envelopes, DEFAULT_DEDUP_ENVELOPES);
        let outstanding = or_default(message.candidates_outstanding, DEFAULT_OUTSTANDING);
        let factor = or_default(message.slow_primary_factor, DEFAULT_SLOW_PRIMARY_FACTOR);
        let pool_size = fields.within("request_pool_size", message.request_pool_size, 1, MAX_POOL_SIZE)?;

        Ok(Self {
            forward_timeout,
            complain_timeout,
            view_change_timeout,
            view_change_timeout_cap,
            resend_interval,
            request_pool_size: pool_size as usize,
            window,
            dedup: DedupRule {
                blocks: fields.within("dedup_blocks", dedup_blocks, 1, MAX_DEDUP_BLOCKS)?,
                envelopes: fields.within("dedup_envelopes", dedup_envelopes, 1, MAX_DEDUP_ENVELOPES)?,
            },
            outstanding: fields.within("candidates_outstanding", outstanding, 1, MAX_OUTSTANDING)? as usize,
            slow_primary_factor: fields.within("slow_primary_factor", factor, 1, u64::from(u32::MAX))? as u32,
        })
    }
}

/// Judges single fields, with their paths in the errors.
struct Fields<'a> {
    path: &'a str,
}

impl Fields<'_> {
    fn error(&self, field: &str, reason: String) -> ConfigError {
        ConfigError::new(format!("{}/metadata/{field}", self.path), reason)
    }

    fn duration(&self, field: &str, text: &str) -> Result<Duration, ConfigError> {
        match go_duration::parse(text) {
            Ok(Duration::ZERO) => Err(self.error(field, "must be more than 0".to_owned())),
            Ok(duration) => Ok(duration),
            Err(err) => Err(self.error(field, err.to_string())),
        }
    }

    fn within(&self, field: &str, value: u64, least: u64, most: u64) -> Result<u64, ConfigError> {
        if (least..=most).contains(&value) {
            return Ok(value);
        }
        Err(self.error(field, format!("{value} is not within {least} to {most}")))
    }

    /// Refuses a duration that is longer than the one after it.
    fn ordered<const N: usize>(&self, durations: [(&str, Duration); N]) -> Result<(), ConfigError> {
        for ((name, shorter), (longer_name, longer)) in durations.iter().zip(&durations[1..]) {
            if shorter > longer {
                let (shorter, longer) = (go_duration::format(*shorter), go_duration::format(*longer));
                return Err(self.error(name, format!("{shorter} is longer than {longer_name} {longer}")));
            }
        }
        Ok(())
    }
}

const LEAST_DEFAULT_CAP: Duration = Duration::from_secs(30);
const DEFAULT_WINDOW: u64 = 10;
const DEFAULT_DEDUP_BLOCKS: u64 = 1000;
const DEFAULT_DEDUP_ENVELOPES: u64 = 200_000;
const DEFAULT_OUTSTANDING: u64 = 16;
const DEFAULT_SLOW_PRIMARY_FACTOR: u64 = 20;

// What these multiply in a replica's memory: request ids of blocks kept, candidates kept per origin
// (of absolute_max_bytes each at worst), envelopes kept.
const MAX_DEDUP_BLOCKS: u64 = 1_000_000;
const MAX_DEDUP_ENVELOPES: u64 = 10_000_000;
const MAX_OUTSTANDING: u64 = 1000;
const MAX_POOL_SIZE: u64 = 10_000_000;
