//! Who may do what by one policy: signatures in batches, and the policy's verdict on each creator
//! remembered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::checked::{self, Checked};
use crate::channel_config::ChannelConfig;
use crate::crypto::{EnvelopeCheck, in_chunks, verify_chunk};
use crate::msp::Identity;
use crate::wire::envelope::Parsed;

/// One policy of one configuration.
///
/// The verdict on an envelope is the policy's on the set of its creator, if the signature is
/// valid, and on the empty set otherwise. It depends on nothing but the configuration and the
/// envelope, so it may be remembered for as long as the configuration stays.
pub(super) struct Authority {
    config: Arc<ChannelConfig>,
    path: &'static str,
    /// The policy's verdict on nobody.
    nobody: Result<(), String>,
    /// Creators that the policy lets pass when their signature is valid. Those it refuses are not
    /// kept, so that strangers cannot push members out.
    known: Mutex<HashMap<Bytes, Arc<Identity>>>,
    /// Envelopes whose signatures are valid.
    checked: Checked,
}

impl Authority {
    pub(super) fn new(config: Arc<ChannelConfig>, path: &'static str) -> Self {
        let nobody = evaluate(&config, path, &[]);
        Self { config, path, nobody, known: Mutex::default(), checked: Checked::default() }
    }

    /// The verdict on each envelope, in order; an error is the reason, for people.
    pub(super) fn judge(&self, envelopes: &[&Parsed]) -> Vec<Result<(), String>> {
        // A policy that the empty set satisfies lets anybody pass: more signatures never make
        // a policy fail, so there is nothing to verify.
        if self.nobody.is_ok() {
            return vec![Ok(()); envelopes.len()];
        }
        let mut of_this_batch: HashMap<&Bytes, Result<Arc<Identity>, String>> = HashMap::new();
        for envelope in envelopes {
            let creator = &envelope.signature_header.creator;
            if !of_this_batch.contains_key(creator) {
                of_this_batch.insert(creator, self.creator(creator));
            }
        }
        let creator_of = |envelope: &Parsed| &of_this_batch[&envelope.signature_header.creator];

        let (places, checks): (Vec<usize>, Vec<EnvelopeCheck<'_>>) = envelopes
            .iter()
            .enumerate()
            .filter_map(|(index, envelope)| {
                let identity = creator_of(envelope).as_ref().ok()?;
                let check = EnvelopeCheck {
                    key: &identity.key,
                    message: &envelope.payload,
                    signature: &envelope.signature,
                };
                Some((index, check))
            })
            .unzip();
        let valid = in_chunks(&checks, |chunk| {
            let names: Vec<_> = chunk.iter().map(|check| checked::name(envelopes[places[*check]])).collect();
            self.checked.verify(&names, |some| {
                let chunk: Vec<usize> = some.iter().map(|place| chunk[*place]).collect();
                verify_chunk(&checks, &chunk)
            })
        });
        let mut signed = vec![false; envelopes.len()];
        for (index, valid) in places.into_iter().zip(valid) {
            signed[index] = valid;
        }
        let verdicts = envelopes.iter().zip(signed).map(|(envelope, signed)| match creator_of(envelope) {
            Ok(_) if signed => Ok(()),
            Err(reason) => Err(reason.clone()),
            Ok(_) => self.nobody.clone(),
        });
        verdicts.collect()
    }

    /// The creator, if a valid signature by it satisfies the policy; otherwise why not.
    fn creator(&self, serialized: &Bytes) -> Result<Arc<Identity>, String> {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(identity) = known().get(serialized) {
            return Ok(identity.clone());
        }
        let Ok(identity) = self.config.msps.identity(serialized) else {
            return Err(evaluate(&self.config, self.path, &[])
                .err()
                .unwrap_or_else(|| UNDECODABLE.to_owned()));
        };
        evaluate(&self.config, self.path, std::slice::from_ref(&identity))?;
        if serialized.len() <= MAX_KEPT_BYTES {
            let mut known = known();
            if known.len() >= MAX_KEPT {
                known.clear();
            }
            // A copy of its own: the bytes received may be a slice of something large.
            known.insert(Bytes::copy_from_slice(serialized), identity.clone());
        }
        Ok(identity)
    }
}

fn evaluate(config: &ChannelConfig, path: &str, identities: &[Arc<Identity>]) -> Result<(), String> {
    let policy = config.policies.get(path).ok_or_else(|| format!("there is no policy {path}"))?;
    policy.evaluate(&config.msps, identities).map_err(|err| format!("{err}: permission denied"))
}

const UNDECODABLE: &str = "the creator is no identity of this channel's organizations";

/// How many creators are remembered; one that was forgotten costs its evaluation again.
const MAX_KEPT: usize = 4096;
/// A creator larger than this is not remembered. Usual ones have some 1,000 bytes.
const MAX_KEPT_BYTES: usize = 8 * 1024;
