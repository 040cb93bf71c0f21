//! The codecs: messages arrive as bytes, and blocks go out as the ledger holds them.
//!
//! Requests are decoded where they are judged, so that bytes that are no envelope are answered
//! like any other bad request. A `DeliverResponse` that carries a block is one tag, one length and
//! the block's own encoding, so a stored block is framed without being decoded.

use std::marker::PhantomData;

use bytes::{Buf as _, BufMut, Bytes};
use prost::Message as _;
use prost::encoding::{encode_varint, encoded_len_varint};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use crate::proto::common::{self, Block, BlockData, Envelope, HeaderType, Payload};
use crate::proto::orderer::BroadcastResponse;

/// Tag of `DeliverResponse.status`: field 1, varint.
const STATUS_TAG: u8 = 1 << 3;
/// Tag of `DeliverResponse.block`: field 2, length-delimited.
const BLOCK_TAG: u8 = (2 << 3) | 2;

/// One `DeliverResponse`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// Ends a request.
    Status(common::Status),
    /// A serialized `common.Block`.
    Block(Bytes),
}

/// What a codec of this service can send.
pub(super) trait Outgoing: Send + 'static {
    /// Length of the encoding, bytes.
    fn length(&self) -> usize;

    /// Writes the encoding.
    fn write(&self, buffer: &mut impl BufMut);
}

impl Outgoing for Reply {
    fn length(&self) -> usize {
        match self {
            Self::Status(status) => 1 + encoded_len_varint(*status as u64),
            Self::Block(block) => 1 + encoded_len_varint(block.len() as u64) + block.len(),
        }
    }

    fn write(&self, buffer: &mut impl BufMut) {
        match self {
            Self::Status(status) => {
                buffer.put_u8(STATUS_TAG);
                encode_varint(*status as u64, buffer);
            }
            Self::Block(block) => {
                buffer.put_u8(BLOCK_TAG);
                encode_varint(block.len() as u64, buffer);
                buffer.put_slice(block);
            }
        }
    }
}

impl Outgoing for BroadcastResponse {
    fn length(&self) -> usize {
        self.encoded_len()
    }

    fn write(&self, buffer: &mut impl BufMut) {
        self.encode_raw(buffer);
    }
}

/// Bytes in, `T` out.
pub(super) struct RawCodec<T>(PhantomData<fn(T)>);

impl<T> Default for RawCodec<T> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T: Outgoing> Codec for RawCodec<T> {
    type Encode = T;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self::default()
    }

    fn decoder(&mut self) -> Self {
        Self::default()
    }
}

impl<T: Outgoing> Encoder for RawCodec<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(item.length());
        item.write(buffer);
        Ok(())
    }
}

impl<T: Outgoing> Decoder for RawCodec<T> {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// The encoding of `block` without its data, or `block` itself if it is a config block, which
/// those who follow headers need whole to know who may sign the next one.
///
/// # Errors
/// `block` is not the encoding of a block.
pub(super) fn without_data(block: Bytes) -> Result<Bytes, prost::DecodeError> {
    let mut decoded = Block::decode(block.clone())?;
    if is_config(decoded.data.as_ref()) {
        return Ok(block);
    }
    decoded.data = None;
    Ok(decoded.encode_to_vec().into())
}

fn is_config(data: Option<&BlockData>) -> bool {
    let Some([envelope]) = data.map(|data| &data.data[..]) else { return false };
    let kind = |envelope: &Bytes| {
        let envelope = Envelope::decode(envelope.clone()).ok()?;
        let header = Payload::decode(envelope.payload).ok()?.header?;
        Some(common::ChannelHeader::decode(header.channel_header).ok()?.r#type)
    };
    kind(envelope) == Some(HeaderType::Config as i32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::common::{BlockHeader, BlockMetadata, ChannelHeader, Header};
    use crate::proto::orderer::{DeliverResponse, deliver_response};

    fn block(kinds: &[HeaderType]) -> Block {
        let envelope = |kind: &HeaderType| {
            let channel_header = ChannelHeader { r#type: *kind as i32, ..ChannelHeader::default() };
            let header =
                Header { channel_header: channel_header.encode_to_vec().into(), ..Header::default() };
            let payload = Payload { header: Some(header), data: Bytes::from_static(b"data") };
            let envelope = Envelope { payload: payload.encode_to_vec().into(), signature: Bytes::new() };
            Bytes::from(envelope.encode_to_vec())
        };
        Block {
            header: Some(BlockHeader { number: 7, previous_hash: Bytes::new(), data_hash: Bytes::new() }),
            data: Some(BlockData { data: kinds.iter().map(envelope).collect() }),
            metadata: Some(BlockMetadata { metadata: vec![Bytes::from_static(b"m"); 5] }),
        }
    }

    fn frame(item: &impl Outgoing) -> Vec<u8> {
        let mut frame = Vec::new();
        item.write(&mut frame);
        assert_eq!(frame.len(), item.length());
        frame
    }

    #[test]
    fn frames_are_what_prost_would_write() {
        let block = block(&[HeaderType::EndorserTransaction, HeaderType::Message]);
        let encoding = Bytes::from(block.encode_to_vec());
        let response = DeliverResponse { r#type: Some(deliver_response::Type::Block(block)) };
        assert_eq!(frame(&Reply::Block(encoding)), response.encode_to_vec());
        for status in [common::Status::Success, common::Status::ServiceUnavailable] {
            let response = DeliverResponse { r#type: Some(deliver_response::Type::Status(status as i32)) };
            assert_eq!(frame(&Reply::Status(status)), response.encode_to_vec());
            let response = BroadcastResponse { status: status as i32, info: "why".to_owned() };
            assert_eq!(frame(&response), response.encode_to_vec());
        }
    }

    #[test]
    fn an_ordinary_block_loses_its_data_field_and_a_config_block_stays_whole() {
        let ordinary = block(&[HeaderType::EndorserTransaction]);
        let stripped = without_data(ordinary.encode_to_vec().into()).unwrap();
        assert_eq!(Block::decode(stripped).unwrap(), Block { data: None, ..ordinary });
        let config = Bytes::from(block(&[HeaderType::Config]).encode_to_vec());
        assert_eq!(without_data(config.clone()).unwrap(), config);
        let two = block(&[HeaderType::Config, HeaderType::Config]);
        assert_eq!(Block::decode(without_data(two.encode_to_vec().into()).unwrap()).unwrap().data, None);
    }

    #[test]
    fn a_block_that_does_not_decode_is_an_error() {
        assert!(without_data(Bytes::from_static(b"\xff\xff")).is_err());
    }
}
