//! `Deliver`: answers seek requests with blocks (fabric-spec A.10).
//!
//! One request after the other, each ended by a status; any status but SUCCESS ends the stream.
//! Blocks are read a few at a time and sent as the ledger holds them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::stream::StreamExt as _;
use metrics::counter;
use prost::Message as _;
use tokio::sync::mpsc;
use tonic::{Status as GrpcStatus, Streaming};
use tracing::{debug, error};

use super::Shared;
use super::access::Access;
use super::codec::{Reply, without_data};
use super::grpc::unreadable;
use super::seek::{Seek, SeekFault};
use crate::metrics::{
    DELIVER_BLOCKS_SENT, DELIVER_REQUESTS_COMPLETED, DELIVER_REQUESTS_RECEIVED, DELIVER_STREAMS_CLOSED,
    DELIVER_STREAMS_OPENED,
};
use crate::msg_processor::Rejection;
use crate::proto::common::Status;
use crate::proto::orderer::SeekInfo;
use crate::proto::orderer::seek_info::SeekErrorResponse;
use crate::registrar::Channel;
use crate::types::{Digest, Number};
use crate::wire::envelope::Parsed;

/// Where replies go.
type Replies = mpsc::Sender<Result<Reply, GrpcStatus>>;

/// Why a request is not answered with SUCCESS.
struct Refusal {
    status: Status,
    reason: String,
}

/// The client has gone: nobody is left to answer.
struct Gone;

/// How a request ended before its last block.
enum Stop {
    Refused(Refusal),
    Gone,
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Gone> for Stop {
    fn from(Gone: Gone) -> Self {
        Self::Gone
    }
}

fn refusal(status: Status, reason: impl Into<String>) -> Refusal {
    Refusal { status, reason: reason.into() }
}

/// Serves one stream. `certificate` is the hash of the client's TLS certificate, if it has one.
pub(super) async fn serve(
    shared: Arc<Shared>,
    certificate: Option<Digest>,
    mut requests: Streaming<Bytes>,
    replies: Replies,
) {
    counter!(DELIVER_STREAMS_OPENED).increment(1);
    let _closed = CountClosed;
    loop {
        let request = tokio::select! {
            request = requests.next() => request,
            () = replies.closed() => return,
            () = shared.stopping.cancelled() => Some(Err(GrpcStatus::unavailable("the node is stopping"))),
        };
        let status = match request {
            None => return,
            Some(Err(error)) => {
                // Nobody is left to tell if the client is gone.
                let _gone = replies.send(Err(unreadable(error))).await;
                return;
            }
            Some(Ok(request)) => match answer(&shared, certificate, request, &replies).await {
                Ok(()) => Status::Success,
                Err(Stop::Gone) => return,
                Err(Stop::Refused(Refusal { status, reason })) => {
                    debug!(status = status.as_str_name(), reason, "deliver request ended");
                    status
                }
            },
        };
        if replies.send(Ok(Reply::Status(status))).await.is_err() || status != Status::Success {
            return;
        }
    }
}

/// Counts the stream as closed however it ends.
struct CountClosed;

impl Drop for CountClosed {
    fn drop(&mut self) {
        counter!(DELIVER_STREAMS_CLOSED).increment(1);
    }
}

/// Answers one request; the checks stand in Fabric's order.
async fn answer(
    shared: &Shared,
    certificate: Option<Digest>,
    request: Bytes,
    replies: &Replies,
) -> Result<(), Stop> {
    let bad = |reason: String| refusal(Status::BadRequest, reason);
    let request = Parsed::decode(request).map_err(|error| bad(error.to_string()))?;
    check_header(shared, certificate, &request).map_err(bad)?;
    let channel = shared
        .registrar
        .get(&request.channel_header.channel_id)
        .ok_or_else(|| refusal(Status::NotFound, "channel does not exist"))?;
    let meter = Meter { channel: channel.id() };
    meter.received();
    let outcome = send_blocks(shared, &channel, &request, replies, &meter).await;
    meter.completed(outcome.is_ok());
    outcome
}

/// Time and TLS binding of a request's channel header.
fn check_header(shared: &Shared, certificate: Option<Digest>, request: &Parsed) -> Result<(), String> {
    let header = &request.channel_header;
    let timestamp = header.timestamp.as_ref().ok_or("the channel header has no timestamp")?;
    let sent = i128::from(timestamp.seconds) * 1_000_000_000 + i128::from(timestamp.nanos);
    let window = shared.options.deliver.time_window;
    let apart = sent.abs_diff(unix_nanos(shared.options.clock.now()));
    if apart > window.as_nanos() {
        let apart = Duration::from_millis(u64::try_from(apart / 1_000_000).unwrap_or(u64::MAX));
        return Err(format!("the timestamp is {apart:?} away from this node's clock; {window:?} is allowed"));
    }
    // Only mutual TLS binds requests to connections.
    if shared.options.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some()) {
        let shown = certificate.ok_or("the client showed no TLS certificate")?;
        if header.tls_cert_hash != shown.0[..] {
            return Err("tls_cert_hash is not the SHA-256 of the client's TLS certificate".to_owned());
        }
    }
    Ok(())
}

fn unix_nanos(time: SystemTime) -> i128 {
    let nanos = |duration: Duration| i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX);
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => nanos(after),
        Err(before) => -nanos(before.duration()),
    }
}

async fn send_blocks(
    shared: &Shared,
    channel: &Arc<Channel>,
    request: &Parsed,
    replies: &Replies,
    meter: &Meter<'_>,
) -> Result<(), Stop> {
    let info = SeekInfo::decode(request.data.clone())
        .map_err(|error| refusal(Status::BadRequest, format!("the seek info does not decode: {error}")))?;
    let best_effort = info.error_response == SeekErrorResponse::BestEffort as i32;
    let mut errored = channel.chain().errored();
    let unavailable = || refusal(Status::ServiceUnavailable, "the chain has stopped");
    if !best_effort && errored.is_errored() {
        return Err(unavailable().into());
    }
    let forbidden = |Rejection { status, info }| refusal(status, info);
    let mut access = Access::new(channel, request, &shared.options.clock);
    access.check().map_err(forbidden)?;
    let mut height = channel.watch_height();
    let seek = Seek::resolve(&info, *height.borrow_and_update()).map_err(|fault| {
        let status = match fault {
            SeekFault::Missing(_) | SeekFault::Backwards { .. } => Status::BadRequest,
            SeekFault::Beyond { .. } => Status::NotFound,
        };
        refusal(status, fault.to_string())
    })?;

    let mut ahead = VecDeque::new();
    let mut number = seek.first;
    loop {
        if !best_effort && errored.is_errored() {
            return Err(unavailable().into());
        }
        let available = *height.borrow_and_update();
        if number >= available {
            if seek.fail_if_not_ready {
                return Err(refusal(Status::NotFound, format!("block {number} is not there yet")).into());
            }
            tokio::select! {
                changed = height.changed() => changed.map_err(|_| unavailable())?,
                () = errored.wait(), if !best_effort => {}
                () = replies.closed() => return Err(Gone.into()),
                () = shared.stopping.cancelled() => {
                    return Err(refusal(Status::ServiceUnavailable, "the node is stopping").into());
                }
            }
            continue;
        }
        if ahead.is_empty() {
            let end = available.min(seek.last.saturating_add(1));
            ahead = read(channel, number, end, shared.options.deliver.read_ahead_bytes).await?;
        }
        let Some(block) = ahead.pop_front() else {
            return Err(refusal(Status::ServiceUnavailable, format!("block {number} cannot be read")).into());
        };
        access.check().map_err(forbidden)?;
        let block = match seek.header_only {
            true => without_data(block).map_err(|fault| broken(channel, number, &fault))?,
            false => block,
        };
        replies.send(Ok(Reply::Block(block))).await.map_err(|_| Gone)?;
        meter.sent();
        if number == seek.last {
            return Ok(());
        }
        number += 1;
    }
}

/// Blocks `first..end`, as many as fit into `bytes` and at least one. The newest block alone is
/// read in place, since it is in the system's cache; a longer stretch may wait for the disk.
async fn read(
    channel: &Arc<Channel>,
    first: u64,
    end: u64,
    bytes: usize,
) -> Result<VecDeque<Bytes>, Refusal> {
    if end == first + 1 {
        return read_now(channel, first, end, bytes);
    }
    let channel = Arc::clone(channel);
    match tokio::task::spawn_blocking(move || read_now(&channel, first, end, bytes)).await {
        Ok(blocks) => blocks,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(refusal(Status::ServiceUnavailable, "the node is stopping")),
        },
    }
}

fn read_now(channel: &Channel, first: u64, end: u64, bytes: usize) -> Result<VecDeque<Bytes>, Refusal> {
    let mut blocks = VecDeque::new();
    let mut total = 0;
    for number in first..end {
        let Some(block) = channel.block(Number(number)).map_err(|fault| broken(channel, number, &fault))?
        else {
            break;
        };
        total += block.len();
        blocks.push_back(block);
        if total >= bytes {
            break;
        }
    }
    Ok(blocks)
}

fn broken(channel: &Channel, number: u64, fault: &dyn std::fmt::Display) -> Refusal {
    error!(channel = channel.id(), number, %fault, "a block cannot be read for a client");
    refusal(Status::ServiceUnavailable, format!("block {number} cannot be read"))
}

/// Fabric's metrics of one request.
struct Meter<'a> {
    channel: &'a str,
}

impl Meter<'_> {
    fn labels(&self) -> [(&'static str, String); 3] {
        [
            ("channel", self.channel.to_owned()),
            ("filtered", "false".to_owned()),
            ("data_type", "block".to_owned()),
        ]
    }

    fn received(&self) {
        counter!(DELIVER_REQUESTS_RECEIVED, &self.labels()).increment(1);
    }

    fn completed(&self, success: bool) {
        let [channel, filtered, data_type] = self.labels();
        let labels = [channel, filtered, data_type, ("success", success.to_string())];
        counter!(DELIVER_REQUESTS_COMPLETED, &labels).increment(1);
    }

    fn sent(&self) {
        counter!(DELIVER_BLOCKS_SENT, &self.labels()).increment(1);
    }
}
