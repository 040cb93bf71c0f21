//! Judging the envelopes of another replica's candidate.

use bytes::Bytes;

use super::{Class, Processor, classify};
use crate::wire::envelope::Parsed;

/// Why a candidate is invalid. Any honest replica with the same configuration finds the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CandidateFault {
    /// It has no envelope.
    #[error("the candidate is empty")]
    Empty,
    /// It has more envelopes than a batch may have.
    #[error("the candidate has {count} envelopes, and a batch at most {limit}")]
    TooMany {
        /// Envelopes in the candidate.
        count: usize,
        /// The channel's max_message_count.
        limit: u32,
    },
    /// Its envelopes have more bytes together than a block may have.
    #[error("the candidate's envelopes have {bytes} bytes, and a batch at most {limit}")]
    TooLarge {
        /// Payload plus signature of all envelopes.
        bytes: u64,
        /// The channel's absolute_max_bytes.
        limit: u32,
    },
    /// One of its envelopes may not be ordered.
    #[error("envelope {index} of the candidate: {reason}")]
    Envelope {
        /// Which one, from 0.
        index: usize,
        /// Why, for people.
        reason: String,
    },
}

impl Processor {
    /// Judges the envelopes of a candidate, of whatever origin: their form, channel, type and
    /// size, their signatures (in batches) and the writers policy. Returns the config sequence
    /// that the verdict is by.
    ///
    /// It reads no clock and no local setting, so the verdict is a function of configuration and
    /// bytes: an expired certificate was a matter for the replica that admitted the envelope.
    ///
    /// A config envelope is a fault as long as config updates are not supported, since nothing
    /// here could tell a rightful one from one that a faulty replica made up. It blocks for as
    /// long as the signatures take, so async callers want it on a worker thread.
    ///
    /// # Errors
    /// The first fault found.
    pub fn check_candidate(&self, envelopes: &[Bytes]) -> Result<u64, CandidateFault> {
        self.check_count(envelopes.len())?;
        let mut parsed = Vec::with_capacity(envelopes.len());
        for (index, frame) in envelopes.iter().enumerate() {
            // `from_frame` refuses what is not canonical, unsigned ones among it.
            let envelope = Parsed::from_frame(frame.clone())
                .map_err(|err| CandidateFault::Envelope { index, reason: err.to_string() })?;
            parsed.push(envelope);
        }
        self.check_parsed(&parsed)
    }

    /// The same, on envelopes that [`Parsed::from_frame`] took apart before.
    ///
    /// # Errors
    /// The first fault found.
    pub fn check_parsed(&self, parsed: &[Parsed]) -> Result<u64, CandidateFault> {
        self.check_count(parsed.len())?;
        for (index, envelope) in parsed.iter().enumerate() {
            self.check_form(envelope).map_err(|reason| CandidateFault::Envelope { index, reason })?;
        }
        let bytes: u64 = parsed.iter().map(|envelope| u64::from(envelope.size)).sum();
        let limit = self.config.batch.absolute_max_bytes;
        if bytes > u64::from(limit) {
            return Err(CandidateFault::TooLarge { bytes, limit });
        }

        let references: Vec<&Parsed> = parsed.iter().collect();
        for (index, verdict) in self.writers.judge(&references).into_iter().enumerate() {
            verdict.map_err(|reason| CandidateFault::Envelope { index, reason })?;
        }
        Ok(self.config.sequence)
    }

    fn check_count(&self, count: usize) -> Result<(), CandidateFault> {
        let limit = self.config.batch.max_message_count;
        if count == 0 {
            return Err(CandidateFault::Empty);
        }
        if count > limit as usize {
            return Err(CandidateFault::TooMany { count, limit });
        }
        Ok(())
    }

    fn check_form(&self, envelope: &Parsed) -> Result<(), String> {
        let channel = &envelope.channel_header.channel_id;
        if *channel != self.config.channel_id {
            let shown: String = channel.chars().take(40).collect();
            return Err(format!("it is for channel {shown:?}, not {:?}", self.config.channel_id));
        }
        match classify(&envelope.channel_header) {
            Class::Normal if self.config.maintenance => Err("the channel is in maintenance mode".to_owned()),
            Class::Normal => Ok(()),
            Class::Config => Err("config updates are not supported yet".to_owned()),
            Class::ConfigUpdate => Err("a CONFIG_UPDATE is never ordered itself".to_owned()),
            Class::Unsupported => Err("an ORDERER_TRANSACTION is never ordered".to_owned()),
        }
    }
}
