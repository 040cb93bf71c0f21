//! The decoders. What they accept has one encoding, and decodes to the same value again.

use bytes::Bytes;
use prost::Message as _;
use sbft::channel_config::ChannelConfig;
use sbft::proto::common::{Block, Envelope};
use sbft::types::ConsenterId;
use sbft::verify::Verifier;
use sbft::wire::candidate::Limits;
use sbft::wire::{self, envelope::Parsed};

/// The ids of the consenters that blocks of the corpus were signed by.
pub const CONSENTERS: [ConsenterId; 4] = [ConsenterId(1), ConsenterId(2), ConsenterId(3), ConsenterId(4)];

fn bytes(data: &[u8]) -> Bytes {
    Bytes::copy_from_slice(data)
}

/// A frame of the ordering plane.
pub fn message(data: &[u8]) {
    if let Ok((era, message)) = wire::message::decode(bytes(data)) {
        assert_eq!(wire::message::encode(&message, era), data, "{message:?} has two encodings");
    }
}

/// A log record.
pub fn record(data: &[u8]) {
    if let Ok(record) = wire::record::decode(bytes(data)) {
        assert_eq!(wire::record::encode(&record), data, "{record:?} has two encodings");
    }
}

/// A candidate, with and without limits.
pub fn candidate(data: &[u8]) {
    let Ok(candidate) = wire::candidate::decode(bytes(data), &Limits::NONE) else { return };
    assert_eq!(candidate.encoding, data);
    let count = candidate.envelopes.len();
    assert!(count > 0 && candidate.ids.len() == count && candidate.sizes.len() == count);
    let again = wire::candidate::encode(candidate.origin, candidate.sequence, candidate.envelopes.clone());
    assert_eq!(again.as_ref(), Ok(&candidate), "a candidate has two encodings");
    let total = candidate.bytes();
    for (max_count, max_bytes, fits) in
        [(count, total, true), (count - 1, total, false), (count, total.saturating_sub(1), total == 0)]
    {
        let limited = wire::candidate::decode(bytes(data), &Limits { max_count, max_bytes });
        assert_eq!(
            limited.is_ok(),
            fits,
            "{count} envelopes of {total} bytes under {max_count} of {max_bytes}"
        );
    }
}

/// An envelope as a client sends it, and as it stands in a block.
pub fn envelope(data: &[u8]) {
    let sent = Parsed::decode(bytes(data));
    let canonical = wire::envelope::check_canonical(data);
    let held = Parsed::from_frame(bytes(data));
    if let Ok(held) = &held {
        assert_eq!(canonical, Ok(()));
        assert_eq!(held.frame, data);
        let sent = sent.as_ref().expect("what stands in a block could have been sent");
        assert_eq!((sent.id, sent.size, &sent.frame), (held.id, held.size, &held.frame));
    }
    // Whatever was sent is held in its canonical frame, under the same identity.
    if let Ok(sent) = sent
        && let Ok(held) = Parsed::from_frame(sent.frame.clone())
    {
        assert_eq!((held.id, held.size), (sent.id, sent.size));
    }
}

/// A committed block of four consenters.
pub fn block(data: &[u8]) {
    if let Ok(block) = wire::block::decode(bytes(data), &CONSENTERS) {
        assert_eq!(wire::block::encode(&block), data, "block {} has two encodings", block.number());
        assert_eq!(block.ids.len(), block.data.len());
    }
}

/// A frame of the repair stream.
pub fn repair(data: &[u8]) {
    if let Ok(repair) = wire::repair::decode(bytes(data)) {
        assert_eq!(wire::repair::encode(&repair), data, "{repair:?} has two encodings");
    }
}

/// A genesis or config block: the configuration in it, and the one who verifies.
pub fn config(data: &[u8]) {
    let Ok(block) = Block::decode(data) else { return };
    let read = ChannelConfig::from_block(&block);
    if let Err(error) = &read {
        assert!(!error.to_string().is_empty());
    }
    if let Ok(mut verifier) = Verifier::from_genesis(&block) {
        // The genesis block may come before block 1, and nothing else is good yet.
        if let Ok(checked) = verifier.check(data) {
            assert_eq!(checked.number, 0);
        }
        assert_eq!(verifier.next(), 1);
    }
    for envelope in block.data.iter().flat_map(|data| &data.data) {
        drop(Envelope::decode(envelope.clone()));
    }
}
