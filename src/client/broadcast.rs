//! A Broadcast stream: envelopes go in, one answer for each comes out, in order.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use crate::proto::common;
use crate::proto::orderer::BroadcastResponse;
use crate::proto::orderer::atomic_broadcast_client::AtomicBroadcastClient;

/// Envelopes sent and not yet taken by the connection; a full queue makes the sender wait.
const QUEUE: usize = 256;

/// The sending half. Dropping it ends the stream cleanly.
pub struct Envelopes(mpsc::Sender<common::Envelope>);

/// The answering half.
pub struct Answers(tonic::Streaming<BroadcastResponse>);

/// The stream is closed: what was not answered was not necessarily accepted.
#[derive(Debug, thiserror::Error)]
#[error("the replica closed the Broadcast stream")]
pub struct Closed;

/// Opens a Broadcast stream.
///
/// # Errors
/// When the server refuses the call.
pub async fn open(channel: Channel) -> Result<(Envelopes, Answers), tonic::Status> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let mut client = AtomicBroadcastClient::new(channel).max_decoding_message_size(1 << 20);
    let answers = client.broadcast(ReceiverStream::new(receiver)).await?.into_inner();
    Ok((Envelopes(sender), Answers(answers)))
}

impl Envelopes {
    /// Hands one envelope to the stream; waits while the server is slower than the caller.
    ///
    /// # Errors
    /// When the stream is closed.
    pub async fn send(&self, envelope: common::Envelope) -> Result<(), Closed> {
        self.0.send(envelope).await.map_err(|_| Closed)
    }
}

impl Answers {
    /// The next answer; `None` when the server has closed the stream.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn next(&mut self) -> Result<Option<BroadcastResponse>, tonic::Status> {
        self.0.message().await
    }
}
