//! The rules an envelope must pass at admission, in the order of fabric-spec A.8.

use std::time::SystemTime;

use super::authority::Authority;
use super::{EMPTY, Rejection};
use crate::channel_config::ChannelConfig;
use crate::proto::common::Status;
use crate::wire::envelope::Parsed;

/// What rules judge by.
pub struct Context<'a> {
    /// The channel's configuration.
    pub config: &'a ChannelConfig,
    /// This node's clock.
    pub now: SystemTime,
    pub(super) writers: &'a Authority,
}

/// One reason for which an envelope may be refused.
pub trait Rule: Send + Sync {
    /// Whether the envelope passes.
    ///
    /// # Errors
    /// The answer to the client.
    fn apply(&self, context: &Context<'_>, envelope: &Parsed) -> Result<(), Rejection>;

    /// [`Rule::apply`] on each envelope, in order. For rules that are cheaper on many at once,
    /// with the same verdicts.
    fn apply_all(&self, context: &Context<'_>, envelopes: &[&Parsed]) -> Vec<Result<(), Rejection>> {
        envelopes.iter().map(|envelope| self.apply(context, envelope)).collect()
    }
}

/// Rules, one after the other: the first that refuses gives the answer.
pub struct RuleSet {
    rules: Vec<Box<dyn Rule>>,
}

impl RuleSet {
    /// These rules, in this order.
    pub fn new(rules: Vec<Box<dyn Rule>>) -> Self {
        Self { rules }
    }

    /// Whether the envelope passes all rules.
    ///
    /// # Errors
    /// What the first rule says that refuses it.
    pub fn apply(&self, context: &Context<'_>, envelope: &Parsed) -> Result<(), Rejection> {
        self.rules.iter().try_for_each(|rule| rule.apply(context, envelope))
    }

    /// [`RuleSet::apply`] on each envelope; what one rule refuses, the next does not see.
    pub fn apply_all(&self, context: &Context<'_>, envelopes: &[&Parsed]) -> Vec<Result<(), Rejection>> {
        let mut verdicts = vec![Ok(()); envelopes.len()];
        for rule in &self.rules {
            let left: Vec<usize> = (0..envelopes.len()).filter(|index| verdicts[*index].is_ok()).collect();
            let batch: Vec<&Parsed> = left.iter().map(|index| envelopes[*index]).collect();
            for (index, verdict) in left.into_iter().zip(rule.apply_all(context, &batch)) {
                verdicts[index] = verdict;
            }
        }
        verdicts
    }
}

/// Refuses an envelope without a payload: BAD_REQUEST.
pub struct EmptyReject;

impl Rule for EmptyReject {
    fn apply(&self, _context: &Context<'_>, envelope: &Parsed) -> Result<(), Rejection> {
        if envelope.payload.is_empty() {
            return Err(Rejection::bad_request(EMPTY));
        }
        Ok(())
    }
}

/// Refuses an envelope whose payload and signature together have more bytes than the channel's
/// absolute_max_bytes: BAD_REQUEST.
pub struct SizeLimit;

impl Rule for SizeLimit {
    fn apply(&self, context: &Context<'_>, envelope: &Parsed) -> Result<(), Rejection> {
        let limit = context.config.batch.absolute_max_bytes;
        if envelope.size > limit {
            return Err(Rejection::bad_request(format!(
                "message payload is {} bytes and exceeds maximum allowed {limit} bytes",
                envelope.size
            )));
        }
        Ok(())
    }
}

/// Refuses a creator whose certificate has expired by this node's clock: BAD_REQUEST. A creator
/// that cannot be decoded has no expiry; the signature filter refuses it.
pub struct Expiration;

impl Rule for Expiration {
    fn apply(&self, context: &Context<'_>, envelope: &Parsed) -> Result<(), Rejection> {
        unexpired(context.config, &envelope.signature_header.creator, context.now)
            .map_err(Rejection::bad_request)
    }
}

/// Refuses what the channel's writers policy does not allow: FORBIDDEN. And refuses an unsigned
/// envelope even where the policy asks for no signature, because verifiers of blocks do:
/// BAD_REQUEST.
pub struct SignatureFilter;

impl Rule for SignatureFilter {
    fn apply(&self, context: &Context<'_>, envelope: &Parsed) -> Result<(), Rejection> {
        self.apply_all(context, &[envelope]).remove(0)
    }

    fn apply_all(&self, context: &Context<'_>, envelopes: &[&Parsed]) -> Vec<Result<(), Rejection>> {
        let verdicts = context.writers.judge(envelopes);
        let judged = envelopes.iter().zip(verdicts).map(|(envelope, verdict)| match verdict {
            Err(reason) => Err(Rejection::new(Status::Forbidden, reason)),
            Ok(()) if envelope.signature.is_empty() => Err(Rejection::bad_request("message is not signed")),
            Ok(()) => Ok(()),
        });
        judged.collect()
    }
}

/// Whether the certificate of a serialized identity is still good at `now`.
pub(super) fn unexpired(config: &ChannelConfig, creator: &[u8], now: SystemTime) -> Result<(), String> {
    match config.msps.identity(creator) {
        Ok(identity) if identity.expired_at(now) => {
            let ago = now.duration_since(identity.not_after).unwrap_or_default().as_secs();
            Err(format!("the client's identity expired {ago} s ago; enrol it again"))
        }
        _ => Ok(()),
    }
}
