//! The filters that an envelope passes before it may be ordered. (Interface only, put here by the
//! consenter's side; the real room replaces this file.)

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use crate::channel_config::ChannelConfig;
use crate::proto::common::Status;
use crate::wire::envelope::Parsed;

/// Local settings of the filters.
#[derive(Clone, Debug)]
pub struct ProcessorOptions {
    /// Refuse envelopes of creators whose certificate has expired.
    pub check_expiration: bool,
}

/// One configuration's filters.
pub struct Processor {
    _config: Arc<ChannelConfig>,
}

/// Why an envelope is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{info}")]
pub struct Rejection {
    /// What to answer.
    pub status: Status,
    /// Why, for the client.
    pub info: String,
}

/// Why a candidate is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CandidateFault(String);

impl Processor {
    /// Filters for `config`.
    pub fn new(config: Arc<ChannelConfig>, _options: ProcessorOptions) -> Self {
        Self { _config: config }
    }

    /// Runs the filters over a normal envelope; the config sequence they ran under.
    pub fn process_normal(&self, _envelope: &Parsed, _now: SystemTime) -> Result<u64, Rejection> {
        Err(Rejection { status: Status::ServiceUnavailable, info: "the filters are not built yet".into() })
    }

    /// Runs those filters over a candidate's envelopes that read no clock and no local setting.
    pub fn check_candidate(&self, _envelopes: &[Bytes]) -> Result<u64, CandidateFault> {
        Err(CandidateFault("the filters are not built yet".into()))
    }
}
