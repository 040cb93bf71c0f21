//! Whether an envelope may be ordered on a channel: at admission, and in another's candidate.
//!
//! At admission a replica goes through the rules of fabric-spec A.8, with its clock and its local
//! settings. A candidate is judged without either, because all honest replicas must come to the
//! same verdict; see [`Processor::check_candidate`].

mod authority;
mod candidate;
mod checked;
mod rules;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

pub use candidate::CandidateFault;
pub use rules::{Context, EmptyReject, Expiration, Rule, RuleSet, SignatureFilter, SizeLimit};

use crate::channel_config::ChannelConfig;
use crate::proto::common::{ChannelHeader, HeaderType, Status};
use crate::wire::envelope::{EnvelopeError, Parsed};
use authority::Authority;

/// What kind of message an envelope carries, by the type in its channel header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Ordered as it is: every type but those below, known or not.
    Normal,
    /// CONFIG_UPDATE: asks for a new configuration.
    ConfigUpdate,
    /// CONFIG: a configuration, which only replicas make.
    Config,
    /// ORDERER_TRANSACTION: created channels in former times.
    Unsupported,
}

/// The class of an envelope with this header (fabric-spec A.8).
pub fn classify(header: &ChannelHeader) -> Class {
    match HeaderType::try_from(header.r#type) {
        Ok(HeaderType::ConfigUpdate) => Class::ConfigUpdate,
        Ok(HeaderType::Config) => Class::Config,
        Ok(HeaderType::OrdererTransaction) => Class::Unsupported,
        _ => Class::Normal,
    }
}

/// Why an envelope is not taken, as a client is told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {info}", status.as_str_name())]
pub struct Rejection {
    /// The answer's status.
    pub status: Status,
    /// The answer's text.
    pub info: String,
}

impl Rejection {
    /// An answer `status` with the text `info`.
    pub fn new(status: Status, info: impl Into<String>) -> Self {
        Self { status, info: info.into() }
    }

    fn bad_request(info: impl Into<String>) -> Self {
        Self::new(Status::BadRequest, info)
    }
}

impl From<EnvelopeError> for Rejection {
    /// What cannot be decoded is a BAD_REQUEST, whatever it is.
    fn from(error: EnvelopeError) -> Self {
        match error {
            EnvelopeError::EmptyPayload => Self::bad_request(EMPTY),
            EnvelopeError::Envelope(_) => {
                Self::bad_request(format!("could not determine channel ID: {error}"))
            }
            _ => Self::bad_request(error.to_string()),
        }
    }
}

/// Local settings of the filters. They count at admission only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessorOptions {
    /// Refuse creators and readers whose certificate has expired.
    pub check_expiration: bool,
}

impl Default for ProcessorOptions {
    fn default() -> Self {
        Self { check_expiration: true }
    }
}

/// The filters of one channel under one configuration. A new configuration gets a new processor;
/// whoever holds an old one gets verdicts with the old config sequence, and can tell.
pub struct Processor {
    config: Arc<ChannelConfig>,
    options: ProcessorOptions,
    writers: Authority,
    readers: Authority,
    rules: RuleSet,
}

impl fmt::Debug for Processor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Processor")
            .field("channel", &self.config.channel_id)
            .field("sequence", &self.config.sequence)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Processor {
    /// The filters of the channel that `config` describes.
    pub fn new(config: Arc<ChannelConfig>, options: ProcessorOptions) -> Self {
        // In maintenance only orderers' own organizations may write and read.
        let (writers, readers) = if config.maintenance {
            ("/Channel/Orderer/Writers", "/Channel/Orderer/Readers")
        } else {
            ("/Channel/Writers", "/Channel/Readers")
        };
        let mut rules: Vec<Box<dyn Rule>> = vec![Box::new(EmptyReject), Box::new(SizeLimit)];
        if options.check_expiration {
            rules.push(Box::new(Expiration));
        }
        rules.push(Box::new(SignatureFilter));
        Self {
            writers: Authority::new(config.clone(), writers),
            readers: Authority::new(config.clone(), readers),
            rules: RuleSet::new(rules),
            config,
            options,
        }
    }

    /// The configuration that the verdicts are by.
    pub fn config(&self) -> &Arc<ChannelConfig> {
        &self.config
    }

    /// The config sequence that the verdicts are by.
    pub fn sequence(&self) -> u64 {
        self.config.sequence
    }

    /// Judges an envelope that a client submits, by its class; `now` is this node's clock. The
    /// config sequence of the verdict, or the answer to the client.
    ///
    /// # Errors
    /// BAD_REQUEST, FORBIDDEN, SERVICE_UNAVAILABLE or NOT_IMPLEMENTED, as fabric-spec A.9 has it.
    pub fn process(&self, envelope: &Parsed, now: SystemTime) -> Result<u64, Rejection> {
        match self.ordinary(envelope) {
            Ok(Class::ConfigUpdate) => match self.process_config_update(envelope, now)? {},
            Ok(_) => self.process_normal(envelope, now),
            Err(rejection) => Err(rejection),
        }
    }

    /// As [`Processor::process`], on many envelopes at once, whose signatures are then checked
    /// together. One verdict for each, in order, the same as it would get alone.
    pub fn process_all(&self, envelopes: &[&Parsed], now: SystemTime) -> Vec<Result<u64, Rejection>> {
        let mut verdicts: Vec<Result<u64, Rejection>> = Vec::with_capacity(envelopes.len());
        let mut normal = Vec::new();
        for (index, envelope) in envelopes.iter().enumerate() {
            verdicts.push(match self.ordinary(envelope) {
                Ok(Class::Normal) if !self.config.maintenance => {
                    normal.push(index);
                    Ok(self.config.sequence)
                }
                _ => self.process(envelope, now),
            });
        }
        let batch: Vec<&Parsed> = normal.iter().map(|index| envelopes[*index]).collect();
        for (index, verdict) in normal.into_iter().zip(self.rules.apply_all(&self.context(now), &batch)) {
            if let Err(rejection) = verdict {
                verdicts[index] = Err(rejection);
            }
        }
        verdicts
    }

    /// Judges a normal envelope: the config sequence it was found good under, taken before the
    /// first filter.
    ///
    /// # Errors
    /// SERVICE_UNAVAILABLE in maintenance mode, otherwise what the first rule says that refuses it.
    pub fn process_normal(&self, envelope: &Parsed, now: SystemTime) -> Result<u64, Rejection> {
        let sequence = self.config.sequence;
        if self.config.maintenance {
            return Err(Rejection::new(
                Status::ServiceUnavailable,
                "normal transactions are rejected: maintenance mode",
            ));
        }
        self.rules.apply(&self.context(now), envelope)?;
        Ok(sequence)
    }

    /// Judges a CONFIG_UPDATE envelope by the filters. None can be carried out yet.
    ///
    /// # Errors
    /// What the filters say; NOT_IMPLEMENTED when all of them let it pass.
    pub fn process_config_update(&self, envelope: &Parsed, now: SystemTime) -> Result<Infallible, Rejection> {
        self.rules.apply(&self.context(now), envelope)?;
        Err(Rejection::new(
            Status::NotImplemented,
            "this orderer does not support config updates yet; the channel keeps its configuration",
        ))
    }

    /// Judges whether the signer of a Deliver request may read the channel now: /Channel/Readers
    /// over the request's payload, and an unexpired certificate. The config sequence of the
    /// verdict, so that the caller knows when to ask again.
    ///
    /// # Errors
    /// FORBIDDEN, with the reason.
    pub fn check_reader(&self, request: &Parsed, now: SystemTime) -> Result<u64, Rejection> {
        self.check_reader_expiry(request, now)?;
        match self.readers.judge(&[request]).remove(0) {
            Ok(()) => Ok(self.config.sequence),
            Err(reason) => Err(Rejection::new(Status::Forbidden, reason)),
        }
    }

    /// The part of [`Processor::check_reader`] that must hold before every block: the reader's
    /// certificate has not expired.
    ///
    /// # Errors
    /// FORBIDDEN.
    pub fn check_reader_expiry(&self, request: &Parsed, now: SystemTime) -> Result<(), Rejection> {
        if !self.options.check_expiration {
            return Ok(());
        }
        rules::unexpired(&self.config, &request.signature_header.creator, now)
            .map_err(|reason| Rejection::new(Status::Forbidden, reason))
    }

    /// The class of an envelope for this channel that a client may submit.
    fn ordinary(&self, envelope: &Parsed) -> Result<Class, Rejection> {
        if envelope.channel_header.channel_id != self.config.channel_id {
            return Err(Rejection::bad_request("channel does not exist"));
        }
        match classify(&envelope.channel_header) {
            Class::Config => Err(Rejection::bad_request(
                "a message of type CONFIG cannot be submitted; submit the CONFIG_UPDATE it is made from",
            )),
            Class::Unsupported => {
                Err(Rejection::bad_request("messages of type ORDERER_TRANSACTION are not supported"))
            }
            class => Ok(class),
        }
    }

    fn context(&self, now: SystemTime) -> Context<'_> {
        Context { config: &self.config, now, writers: &self.writers }
    }
}

const EMPTY: &str = "Message was empty";
