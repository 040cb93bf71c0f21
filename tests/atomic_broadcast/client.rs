//! A gRPC client that sends whatever bytes it is given.

use std::marker::PhantomData;
use std::net::SocketAddr;

use bytes::{Buf as _, BufMut as _, Bytes};
use prost::Message;
use sbft::proto::common::{Block, Envelope, Status};
use sbft::proto::orderer::deliver_response::Type;
use sbft::proto::orderer::{BroadcastResponse, DeliverResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder, Streaming};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};

use crate::world::DEADLINE;

/// One connection.
#[derive(Clone)]
pub(crate) struct Client {
    channel: Channel,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::over(Endpoint::from_shared(format!("http://{address}")).unwrap()).await.unwrap()
    }

    pub(crate) async fn over(endpoint: Endpoint) -> Result<Self, tonic::transport::Error> {
        Ok(Self { channel: endpoint.connect().await? })
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub(crate) async fn broadcast(&self) -> Stream<BroadcastResponse> {
        self.open("/orderer.AtomicBroadcast/Broadcast").await.unwrap()
    }

    pub(crate) async fn deliver(&self) -> Stream<DeliverResponse> {
        self.open("/orderer.AtomicBroadcast/Deliver").await.unwrap()
    }

    pub(crate) async fn open<T: Message + Default + 'static>(
        &self,
        path: &'static str,
    ) -> Result<Stream<T>, tonic::Status> {
        let mut grpc = Grpc::new(self.channel.clone()).max_decoding_message_size(usize::MAX);
        let (sender, requests) = mpsc::unbounded_channel();
        grpc.ready().await.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
        let codec = BytesOut::<T>(PhantomData);
        let request = tonic::Request::new(UnboundedReceiverStream::new(requests));
        let call = grpc.streaming(request, PathAndQuery::from_static(path), codec);
        let answers = tokio::time::timeout(DEADLINE, call).await.expect("an answer in time")?.into_inner();
        Ok(Stream { requests: Some(sender), answers })
    }
}

/// Both directions of one call.
pub(crate) struct Stream<T> {
    requests: Option<mpsc::UnboundedSender<Bytes>>,
    answers: Streaming<T>,
}

impl<T: Message + Default + std::fmt::Debug + 'static> Stream<T> {
    pub(crate) fn send(&self, envelope: Envelope) {
        self.send_bytes(envelope.encode_to_vec().into());
    }

    pub(crate) fn send_bytes(&self, message: Bytes) {
        // The server may have closed the stream; the test then looks at what it answered.
        let _closed = self.requests.as_ref().unwrap().send(message);
    }

    /// Half-close: no more requests.
    pub(crate) fn finish(&mut self) {
        self.requests = None;
    }

    /// The next answer; `None` at a clean end.
    pub(crate) async fn next(&mut self) -> Result<Option<T>, tonic::Status> {
        tokio::time::timeout(DEADLINE, self.answers.message()).await.expect("an answer in time")
    }

    /// Asserts that the server ended the stream cleanly.
    pub(crate) async fn ended(&mut self) {
        let next = self.next().await;
        assert!(matches!(next, Ok(None)), "the stream goes on: {next:?}");
    }
}

impl Stream<BroadcastResponse> {
    pub(crate) async fn answer(&mut self) -> (Status, String) {
        let response = self.next().await.unwrap().expect("an answer");
        (Status::try_from(response.status).unwrap(), response.info)
    }

    pub(crate) async fn submit(&mut self, envelope: Envelope) -> (Status, String) {
        self.send(envelope);
        self.answer().await
    }

    /// Submits and asserts SUCCESS.
    pub(crate) async fn accepted(&mut self, envelope: Envelope) {
        assert_eq!(self.submit(envelope).await, (Status::Success, String::new()));
    }

    /// Submits, asserts this status and that the server then ends the stream; the answer's text.
    pub(crate) async fn refused(mut self, envelope: Envelope, expected: Status) -> String {
        let (status, info) = self.submit(envelope).await;
        assert_eq!(status, expected, "{info}");
        assert!(!info.is_empty(), "a refusal says why");
        self.ended().await;
        info
    }
}

impl Stream<DeliverResponse> {
    /// The next answer is a block.
    pub(crate) async fn block(&mut self) -> Block {
        match self.reply().await {
            Type::Block(block) => block,
            Type::Status(status) => panic!("status {status} where a block belongs"),
        }
    }

    /// The next answer is a block of this number.
    pub(crate) async fn number(&mut self, number: u64) {
        assert_eq!(self.block().await.header.unwrap().number, number);
    }

    /// The next answer is a status.
    pub(crate) async fn status(&mut self) -> Status {
        match self.reply().await {
            Type::Status(status) => Status::try_from(status).unwrap(),
            Type::Block(block) => panic!("block {:?} where a status belongs", block.header),
        }
    }

    /// The next answer is this status, and then the server ends the stream.
    pub(crate) async fn refused(mut self, expected: Status) {
        assert_eq!(self.status().await, expected);
        self.ended().await;
    }

    pub(crate) async fn reply(&mut self) -> Type {
        self.next().await.unwrap().expect("an answer").r#type.expect("a response has a type")
    }
}

/// Sends bytes as they are, decodes answers.
struct BytesOut<T>(PhantomData<fn() -> T>);

impl<T: Message + Default + 'static> Codec for BytesOut<T> {
    type Encode = Bytes;
    type Decode = T;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self(PhantomData)
    }

    fn decoder(&mut self) -> Self {
        Self(PhantomData)
    }
}

impl<T: 'static> Encoder for BytesOut<T> {
    type Item = Bytes;
    type Error = tonic::Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), tonic::Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl<T: Message + Default + 'static> Decoder for BytesOut<T> {
    type Item = T;
    type Error = tonic::Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<T>, tonic::Status> {
        let bytes = buffer.copy_to_bytes(buffer.remaining());
        T::decode(bytes).map(Some).map_err(|error| tonic::Status::internal(error.to_string()))
    }
}
