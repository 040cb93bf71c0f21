//! Finds a run's own envelopes in delivered blocks without decoding them.
//!
//! The last [`LEN`] bytes of each payload are the run's tag and the envelope's index. Payload is
//! an envelope's first field, so two lengths lead to them; the tag is 128 random bits, so nothing
//! else passes for ours.

use prost::encoding::decode_varint;

/// Bytes at the end of a payload: tag and index.
pub(super) const LEN: usize = TAG + 8;
const TAG: usize = 16;

/// What all envelopes of one run have in common, and no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag([u8; TAG]);

impl Tag {
    /// One that nobody had before.
    pub(super) fn random() -> Self {
        Self(rand::random())
    }

    /// Writes the marker of envelope `index` over the end of `payload`.
    pub(super) fn stamp(&self, payload: &mut [u8], index: u64) {
        let at = payload.len() - LEN;
        payload[at..at + TAG].copy_from_slice(&self.0);
        payload[at + TAG..].copy_from_slice(&index.to_be_bytes());
    }

    /// The index of a serialized envelope, if it is one of this run.
    pub(super) fn index(&self, envelope: &[u8]) -> Option<u64> {
        let mut rest = envelope;
        let payload = field(&mut rest, 1)?;
        let marker = payload.get(payload.len().checked_sub(LEN)?..)?;
        let (tag, index) = marker.split_at(TAG);
        (tag == self.0).then(|| u64::from_be_bytes(index.try_into().expect("a marker ends in 8 bytes")))
    }
}

/// What a block holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Scanned {
    /// The block's number.
    pub(super) number: u64,
    /// Envelopes in it, ours and others'.
    pub(super) envelopes: usize,
}

/// Walks a serialized `common.Block` and calls `found` with the index of each envelope of `tag`'s run.
/// `None` if it is no block.
pub(super) fn scan(block: &[u8], tag: &Tag, mut found: impl FnMut(u64)) -> Option<Scanned> {
    let mut rest = block;
    let mut header = field(&mut rest, 1)?;
    let mut scanned = Scanned { number: number(&mut header)?, envelopes: 0 };
    let mut data = field(&mut rest, 2)?;
    while !data.is_empty() {
        let envelope = field(&mut data, 1)?;
        scanned.envelopes += 1;
        if let Some(index) = tag.index(envelope) {
            found(index);
        }
    }
    Some(scanned)
}

/// Takes field `number` (bytes) off the front.
fn field<'a>(rest: &mut &'a [u8], number: u64) -> Option<&'a [u8]> {
    if decode_varint(rest).ok()? != (number << 3 | 2) {
        return None;
    }
    let len = usize::try_from(decode_varint(rest).ok()?).ok()?;
    let (field, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(field)
}

/// A block header's first field; block 0 leaves it out.
fn number(header: &mut &[u8]) -> Option<u64> {
    match header.first() {
        Some(8) => {
            *header = &header[1..];
            decode_varint(header).ok()
        }
        _ => Some(0),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use prost::Message as _;

    use super::*;
    use crate::proto::common::{Block, BlockData, BlockHeader, BlockMetadata, Envelope};

    #[test]
    fn a_block_gives_up_the_indices_of_its_own_run_only() {
        let (ours, theirs) = (Tag::random(), Tag::random());
        let envelope = |tag: &Tag, index| {
            let mut payload = vec![7u8; 300];
            tag.stamp(&mut payload, index);
            let envelope = Envelope { payload: payload.into(), signature: Bytes::from_static(b"s") };
            Bytes::from(envelope.encode_to_vec())
        };
        let short = Envelope { payload: Bytes::from_static(b"p"), signature: Bytes::from_static(b"s") };
        let data = vec![
            envelope(&ours, 5),
            envelope(&theirs, 6),
            Bytes::from(short.encode_to_vec()),
            envelope(&ours, u64::MAX),
        ];
        let block = |number| Block {
            header: Some(BlockHeader { number, previous_hash: Bytes::new(), data_hash: vec![1; 32].into() }),
            data: Some(BlockData { data: data.clone() }),
            metadata: Some(BlockMetadata { metadata: vec![Bytes::from_static(b"m"); 5] }),
        };
        for number in [0, 1, 1 << 40] {
            let mut indices = Vec::new();
            let bytes = block(number).encode_to_vec();
            let scanned = scan(&bytes, &ours, |index| indices.push(index));
            assert_eq!(scanned, Some(Scanned { number, envelopes: 4 }));
            assert_eq!(indices, [5, u64::MAX]);
        }
        for cut in 0..40 {
            assert_eq!(scan(&block(1).encode_to_vec()[..cut], &ours, |_| {}), None, "{cut} bytes");
        }
    }
}
