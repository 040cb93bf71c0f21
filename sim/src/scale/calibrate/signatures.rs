//! What signing and checking costs.

use bytes::Bytes;
use sbft::crypto::{EnvelopeCheck, KeyKind, SecretKey, verify_envelopes};
use sbft::pbft::message::{Message, PrepareVote};
use sbft::types::{Digest, Number, Place, View};

use super::cpu_us;
use crate::channel::Signatures;
use crate::draw::Draws;
use crate::real::{Arrival, RealKeys};
use crate::scale::Signature;
use crate::signing::Keys;
use crate::world::default_config;

/// Votes that are made ahead: each is checked once, since good signatures are remembered.
const VOTES: u64 = 4_000;
/// Envelopes checked together: a line goes through both.
const FEW: usize = 8;
const TOGETHER: usize = 32;

pub(super) fn measure(kind: Signatures) -> Result<Signature, String> {
    let domain = default_config(4).domain;
    let draws = Draws::new(1);
    let real = RealKeys::new(kind, draws, domain, 4).ok_or("no real keys")?;
    let keys = Keys::new(draws, domain, 4).with(Some(real.clone()));
    let me = Place(1);
    let mut number = 0;
    let mut sign = || {
        number += 1;
        let vote = PrepareVote { view: View(0), number: Number(number), digest: Digest([7; 32]) };
        Message::Prepare(keys.prepare(me, vote))
    };
    let sign_us = cpu_us(|| drop(std::hint::black_box(sign())))?;
    let votes: Vec<Message> = (0..VOTES).map(|_| sign()).collect();
    let mut next = votes.iter();
    let begun = super::thread_cpu()?;
    for vote in next.by_ref() {
        if !matches!(real.arrived(me, vote), Arrival::Good(_)) {
            return Err("a good vote is refused".to_owned());
        }
    }
    let vote_us = (super::thread_cpu()? - begun).as_secs_f64() * 1e6 / VOTES as f64;

    let kind = if kind == Signatures::Ecdsa { KeyKind::EcdsaP256 } else { KeyKind::Ed25519 };
    let secret = SecretKey::from_bytes(kind, &[0x37; 32])?;
    let public = secret.public_key().map_err(|error| error.to_string())?;
    let message = |index: usize| vec![index as u8; 950 + index];
    let signed: Vec<(Vec<u8>, Bytes)> = (0..TOGETHER)
        .map(|index| {
            let message = message(index);
            let signature = secret.sign(&message).map_err(|error| error.to_string())?;
            Ok((message, signature))
        })
        .collect::<Result<_, String>>()?;
    let checks: Vec<EnvelopeCheck<'_>> = signed
        .iter()
        .map(|(message, signature)| EnvelopeCheck { key: &public, message, signature })
        .collect();
    if !verify_envelopes(&checks).into_iter().all(|good| good) {
        return Err("a good signature is refused".to_owned());
    }
    // Not more than one chunk: others would be spread over threads whose time is not seen here.
    let of = |count: usize| cpu_us(|| drop(std::hint::black_box(verify_envelopes(&checks[..count]))));
    let (few, many) = (of(FEW)?, of(TOGETHER)?);
    let batched_us = (many - few) / (TOGETHER - FEW) as f64;
    let batch_us = (few - batched_us * FEW as f64).max(0.0);
    let (message, signature) = &signed[0];
    let alone = cpu_us(|| {
        std::hint::black_box(public.verify_envelope(message, signature));
    })?;
    Ok(Signature { sign_us, vote_us, envelope_us: alone, batched_us, batch_us })
}
