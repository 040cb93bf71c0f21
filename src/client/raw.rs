//! Broadcast and Deliver with messages as bytes, for programs that cannot afford to encode and
//! decode each one: a load generator shares the machine with the replicas that it measures.

use bytes::{Buf as _, BufMut as _, Bytes};
use futures::Stream;
use prost::encoding::decode_varint;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

use super::deliver::{DeliverError, MAX_BLOCK, Seek, seek_info};
use super::envelope::EnvelopeMaker;
use crate::proto::common;

/// Largest answer of Broadcast that is taken, bytes.
const MAX_ANSWER: usize = 1 << 20;

/// Bytes in, bytes out.
#[derive(Clone, Copy, Debug, Default)]
pub struct RawCodec;

impl Codec for RawCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(item.len());
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// Opens a Broadcast stream that sends `envelopes`, each a serialized `common.Envelope`; what
/// comes out are serialized `orderer.BroadcastResponse`s, in order.
///
/// # Errors
/// When the server refuses the call or the connection breaks.
pub async fn broadcast(
    channel: Channel,
    envelopes: impl Stream<Item = Bytes> + Send + 'static,
) -> Result<Streaming<Bytes>, Status> {
    let mut grpc = Grpc::new(channel).max_decoding_message_size(MAX_ANSWER);
    ready(&mut grpc).await?;
    let path = PathAndQuery::from_static("/orderer.AtomicBroadcast/Broadcast");
    Ok(grpc.streaming(Request::new(envelopes), path, RawCodec).await?.into_inner())
}

async fn ready(grpc: &mut Grpc<Channel>) -> Result<(), Status> {
    grpc.ready().await.map_err(|error| Status::unavailable(super::connect::chain_of_causes(&error)))
}

/// What a Deliver stream of bytes yields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A serialized `common.Block`.
    Block(Bytes),
    /// The end of the seek: its status.
    End(common::Status),
}

/// An open Deliver stream with one seek on it.
pub struct Blocks {
    responses: Streaming<Bytes>,
    // Held so that the request stream stays open: closing it would end the call.
    _requests: mpsc::Sender<Bytes>,
}

/// Opens a Deliver stream and seeks.
///
/// # Errors
/// When the seek cannot be signed or the server refuses the call.
pub async fn deliver(channel: Channel, maker: &EnvelopeMaker, seek: Seek) -> Result<Blocks, DeliverError> {
    let (sender, receiver) = mpsc::channel(4);
    let request = maker.sign(common::HeaderType::DeliverSeekInfo, seek_info(seek)).await?;
    let request = Bytes::from(prost::Message::encode_to_vec(&request.envelope));
    sender.try_send(request).expect("the queue was made with room for this");
    let mut grpc = Grpc::new(channel).max_decoding_message_size(MAX_BLOCK);
    ready(&mut grpc).await?;
    let path = PathAndQuery::from_static("/orderer.AtomicBroadcast/Deliver");
    let responses =
        grpc.streaming(Request::new(ReceiverStream::new(receiver)), path, RawCodec).await?.into_inner();
    Ok(Blocks { responses, _requests: sender })
}

impl Blocks {
    /// The next block or the end of the seek; `None` when the server has closed the stream.
    ///
    /// # Errors
    /// When the connection breaks or the server sends nonsense.
    pub async fn next(&mut self) -> Result<Option<Item>, DeliverError> {
        let Some(mut response) = self.responses.message().await? else { return Ok(None) };
        match parse(&mut response) {
            Some(item) => Ok(Some(item)),
            None => Err(DeliverError::Empty),
        }
    }
}

/// A `DeliverResponse` is one field: a status (1, varint) or a block (2, bytes).
fn parse(response: &mut Bytes) -> Option<Item> {
    const STATUS: u64 = 1 << 3;
    const BLOCK: u64 = (2 << 3) | 2;
    match decode_varint(response).ok()? {
        STATUS => {
            let status = i32::try_from(decode_varint(response).ok()?).ok()?;
            Some(Item::End(common::Status::try_from(status).unwrap_or(common::Status::Unknown)))
        }
        BLOCK => {
            let len = usize::try_from(decode_varint(response).ok()?).ok()?;
            (len <= response.len()).then(|| Item::Block(response.split_to(len)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::proto::orderer::{DeliverResponse, deliver_response};

    #[test]
    fn a_response_is_taken_apart_as_prost_would() {
        let block = common::Block {
            header: Some(common::BlockHeader { number: 300, ..Default::default() }),
            ..Default::default()
        };
        let encode = |kind| Bytes::from(DeliverResponse { r#type: Some(kind) }.encode_to_vec());
        let mut response = encode(deliver_response::Type::Block(block.clone()));
        assert_eq!(parse(&mut response), Some(Item::Block(block.encode_to_vec().into())));
        let mut response = encode(deliver_response::Type::Status(common::Status::NotFound as i32));
        assert_eq!(parse(&mut response), Some(Item::End(common::Status::NotFound)));
        for nonsense in [&b""[..], b"\x12\x09abc", b"\xff"] {
            assert_eq!(parse(&mut Bytes::from_static(nonsense)), None);
        }
    }
}
