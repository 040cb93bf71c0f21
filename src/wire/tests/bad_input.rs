//! Every decoder, fed truncated, changed and random bytes: an error or a value, never a panic,
//! and a value only if its encoding is exactly those bytes, so that a digest names one thing.

use super::*;
use crate::wire::candidate::Limits;
use crate::wire::envelope::Parsed;

/// Decodes; the encoding of what it found, if it found anything.
type Decoder<'a> = &'a dyn Fn(Bytes) -> Option<Bytes>;

/// Feeds `decoder` all that can become of `good` on its way.
fn feed(what: &str, good: &Bytes, decoder: Decoder<'_>) {
    let check = |bytes: Vec<u8>| {
        let bytes = Bytes::from(bytes);
        if let Some(encoded) = decoder(bytes.clone()) {
            assert_eq!(encoded, bytes, "{what}: two encodings of one value");
        }
    };
    assert_eq!(decoder(good.clone()).as_ref(), Some(good), "{what}");
    // Every place of a short input, a sample of a long one: it would take minutes.
    let step = |all: usize, most: usize| (all / most).max(1) | 1;
    for end in (0..good.len()).step_by(step(good.len(), 1000)) {
        check(good[..end].to_vec());
    }
    for bit in (0..good.len() * 8).step_by(step(good.len() * 8, 4000)) {
        let mut bytes = good.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        check(bytes);
    }
    let mut random = Random::new(good.len() as u64);
    for _ in 0..300 {
        let mut bytes = good.to_vec();
        for _ in 0..=random.up_to(3) {
            let at = random.up_to(bytes.len() - 1);
            match random.up_to(3) {
                0 => bytes[at] = random.number() as u8,
                1 => bytes.insert(at, random.number() as u8),
                2 => bytes.truncate(at.max(1)),
                _ => {
                    let from = random.up_to(at);
                    let part = bytes[from..at].to_vec();
                    bytes.splice(at..at, part);
                }
            }
        }
        check(bytes);
    }
    for _ in 0..300 {
        check(random.bytes(0, 200).to_vec());
    }
}

#[test]
fn replica_messages() {
    let decoder: Decoder<'_> = &|bytes| {
        let (era, message) = message::decode(bytes).ok()?;
        Some(message::encode(&message, era))
    };
    for message in Consenters::new(4).messages() {
        feed("message", &message::encode(&message, Era(2)), decoder);
    }
    for seed in 0..40 {
        feed("message", &message::encode(&Random::new(seed).message(), Era(seed)), decoder);
    }
}

#[test]
fn repair_messages() {
    let decoder: Decoder<'_> = &|bytes| repair::decode(bytes).ok().map(|it| repair::encode(&it));
    for seed in 0..40 {
        feed("repair", &repair::encode(&Random::new(seed).repair()), decoder);
    }
}

#[test]
fn log_records() {
    let decoder: Decoder<'_> = &|bytes| record::decode(bytes).ok().map(|it| record::encode(&it));
    for record in Consenters::new(4).records() {
        feed("record", &record::encode(&record), decoder);
    }
}

#[test]
fn candidates() {
    let decoder: Decoder<'_> = &|bytes| {
        let found = candidate::decode(bytes, &Limits { max_count: 4, max_bytes: 1 << 20 }).ok()?;
        let again = candidate::encode(found.origin, found.sequence, found.envelopes.clone());
        assert_eq!(again.as_ref(), Ok(&found));
        Some(found.encoding)
    };
    feed("candidate", &some_candidate().encoding, decoder);
    let config = candidate::encode(Place(0), 0, vec![config_frame("one", b"update")]).expect("good");
    feed("candidate", &config.encoding, decoder);
}

#[test]
fn envelopes() {
    let strict: Decoder<'_> = &|bytes| {
        let parsed = Parsed::from_frame(bytes).ok()?;
        let Parsed { payload, signature, .. } = parsed;
        Some(Envelope { payload, signature }.encode_to_vec().into())
    };
    for good in [frame(b"data", b"nonce"), config_frame("one", b"update")] {
        feed("envelope", &good, strict);
        // What clients send may be in any form; what comes out is in one.
        for bit in 0..good.len() * 8 {
            let mut bytes = good.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(parsed) = Parsed::decode(bytes.into()) {
                let again = Parsed::decode(parsed.frame.clone()).expect("its own frame");
                assert_eq!(again, parsed);
            }
        }
    }
}

#[test]
fn blocks() {
    let consenters = Consenters::new(4);
    let ids = consenters.ids();
    let decoder: Decoder<'_> = &|bytes| block::decode(bytes, &ids).ok().map(|it| block::encode(&it));
    for is_config in [false, true] {
        feed("block", &block::encode(&consenters.block(is_config)), decoder);
    }
    assert!(block::decode(block::encode(&consenters.block(false)), &[]).is_err(), "no consenters");
    let block = consenters.block(false);
    assert_eq!(block::number_of(&block::encode(&block)), Some(block.number()));
    for bytes in [&[][..], &[0x0a], &[0x0a, 3, 8], &[0x12, 0], &[0xff; 12]] {
        assert_eq!(block::number_of(bytes), None, "{bytes:?}");
    }
}

#[test]
fn identifier_headers() {
    let decoder: Decoder<'_> = &|bytes| {
        let id = block::signer_of(&bytes).ok()?;
        let nonce = bytes[bytes.len() - NONCE_BYTES..].try_into().expect("a nonce at the end");
        Some(block::identifier_header(id, &nonce))
    };
    feed("identifier header", &block::identifier_header(ConsenterId(300), &[5; NONCE_BYTES]), decoder);
}

/// Two bytes of input must not become a hundred in memory: the counts are checked first.
#[test]
fn lists_of_nothing_are_refused_before_they_take_memory() {
    let mut element = vec![0x1a, 0]; // an empty prepared certificate
    element = element.repeat(MAX_PREPARED + 1);
    let frame = |field: u8, body: &[u8]| {
        let mut bytes = vec![field << 3 | 2];
        prost::encoding::encode_varint(body.len() as u64, &mut bytes);
        bytes.extend(body);
        Bytes::from(bytes)
    };
    let error = message::decode(frame(5, &element)).expect_err("too many");
    assert_eq!(error.problem, Problem::TooMany { max: MAX_PREPARED });
    let digests = frame(1, &[10, 0].repeat(1 << 20));
    assert!(repair::decode(digests).is_err());
    let candidate = Bytes::from([0x1a, 0].repeat(1 << 20));
    let limits = Limits { max_count: 500, max_bytes: 1 << 20 };
    let error = candidate::decode(candidate, &limits).expect_err("too many");
    assert_eq!(error, candidate::CandidateError::TooMany { max: 500 });
}
