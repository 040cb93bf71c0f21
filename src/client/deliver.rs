//! A Deliver stream: seek, then read blocks.

use bytes::Bytes;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use super::envelope::{EnvelopeMaker, MakeError};
use crate::proto::common;
use crate::proto::orderer::atomic_broadcast_client::AtomicBroadcastClient;
use crate::proto::orderer::{self, deliver_response, seek_position};

/// Largest block that this client takes, bytes.
pub(super) const MAX_BLOCK: usize = 200 << 20;

/// Where a seek starts or stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// The genesis block.
    Oldest,
    /// The last block at the time of the request.
    Newest,
    /// This block.
    Number(u64),
    /// The block that commits next after the request.
    NextCommit,
}

/// What to read.
#[derive(Clone, Copy, Debug)]
pub struct Seek {
    /// First block.
    pub start: Position,
    /// Last block.
    pub stop: Position,
    /// Wait for blocks that do not exist yet instead of failing.
    pub wait: bool,
}

impl Seek {
    /// From `start` on, without end.
    pub fn follow(start: Position) -> Self {
        Self { start, stop: Position::Number(u64::MAX), wait: true }
    }
}

/// What a Deliver stream yields.
#[derive(Clone, Debug)]
pub enum Item {
    /// A block.
    Block(common::Block),
    /// The end of the seek: its status.
    End(common::Status),
}

/// Why a seek could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    /// The seek could not be signed.
    #[error(transparent)]
    Make(#[from] MakeError),
    /// The server refused the call, or the connection broke.
    #[error("the Deliver stream broke: {0}")]
    Stream(#[from] tonic::Status),
    /// The server sent something that is neither block nor status.
    #[error("the replica sent an empty Deliver response")]
    Empty,
}

/// An open Deliver stream with one seek on it.
pub struct Blocks {
    responses: tonic::Streaming<orderer::DeliverResponse>,
    // Held so that the request stream stays open: closing it would end the call.
    _requests: mpsc::Sender<common::Envelope>,
}

/// Opens a Deliver stream and seeks.
///
/// # Errors
/// When the seek cannot be signed or the server refuses the call.
pub async fn open(channel: Channel, maker: &EnvelopeMaker, seek: Seek) -> Result<Blocks, DeliverError> {
    let (sender, receiver) = mpsc::channel(4);
    let request = maker.sign(common::HeaderType::DeliverSeekInfo, seek_info(seek)).await?;
    sender.try_send(request.envelope).expect("the queue was made with room for this");
    let mut client = AtomicBroadcastClient::new(channel).max_decoding_message_size(MAX_BLOCK);
    let responses = client.deliver(ReceiverStream::new(receiver)).await?.into_inner();
    Ok(Blocks { responses, _requests: sender })
}

impl Blocks {
    /// The next block or the end of the seek; `None` when the server has closed the stream.
    ///
    /// # Errors
    /// When the connection breaks or the server sends nonsense.
    pub async fn next(&mut self) -> Result<Option<Item>, DeliverError> {
        let Some(response) = self.responses.message().await? else { return Ok(None) };
        match response.r#type {
            Some(deliver_response::Type::Block(block)) => Ok(Some(Item::Block(block))),
            Some(deliver_response::Type::Status(status)) => {
                Ok(Some(Item::End(common::Status::try_from(status).unwrap_or(common::Status::Unknown))))
            }
            None => Err(DeliverError::Empty),
        }
    }
}

pub(super) fn seek_info(seek: Seek) -> Bytes {
    let position = |position| {
        let kind = match position {
            Position::Oldest => seek_position::Type::Oldest(orderer::SeekOldest {}),
            Position::Newest => seek_position::Type::Newest(orderer::SeekNewest {}),
            Position::Number(number) => seek_position::Type::Specified(orderer::SeekSpecified { number }),
            Position::NextCommit => seek_position::Type::NextCommit(orderer::SeekNextCommit {}),
        };
        Some(orderer::SeekPosition { r#type: Some(kind) })
    };
    let behavior = if seek.wait {
        orderer::seek_info::SeekBehavior::BlockUntilReady
    } else {
        orderer::seek_info::SeekBehavior::FailIfNotReady
    };
    orderer::SeekInfo {
        start: position(seek.start),
        stop: position(seek.stop),
        behavior: behavior as i32,
        error_response: orderer::seek_info::SeekErrorResponse::Strict as i32,
        content_type: orderer::seek_info::SeekContentType::Block as i32,
    }
    .encode_to_vec()
    .into()
}
