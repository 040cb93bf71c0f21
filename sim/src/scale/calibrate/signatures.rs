//! What signing and checking votes costs.

use sbft::pbft::message::{Message, PrepareVote};
use sbft::types::{Digest, Number, Place, View};
use sbft::wire;

use super::cpu_us;
use crate::channel::Signatures;
use crate::draw::Draws;
use crate::real::{Arrival, RealKeys};
use crate::scale::Signature;
use crate::signing::Keys;
use crate::world::default_config;

/// Votes that are made ahead: each is checked once, since good signatures are remembered.
const VOTES: u64 = 2_000;

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
    let begun = super::thread_cpu()?;
    for vote in &votes {
        if !matches!(real.arrived(me, vote), Arrival::Good(_)) {
            return Err("a good vote is refused".to_owned());
        }
    }
    let arrived_us = (super::thread_cpu()? - begun).as_secs_f64() * 1e6 / VOTES as f64;
    // They were encoded, decoded and checked.
    let mut turn = votes.iter().cycle();
    let encode_us = cpu_us(|| {
        std::hint::black_box(turn.next().map(|vote| wire::message::encode(vote, domain.era)));
    })?;
    let frames: Vec<_> = votes.iter().map(|vote| wire::message::encode(vote, domain.era)).collect();
    let mut turn = frames.iter().cycle();
    let decode_us = cpu_us(|| {
        std::hint::black_box(turn.next().map(|frame| wire::message::decode(frame.clone()).is_ok()));
    })?;
    let check_us = (arrived_us - encode_us - decode_us).max(0.0);
    Ok(Signature { sign_us: sign_us + encode_us, decode_us, check_us })
}
