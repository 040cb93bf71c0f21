//! Receiving: one task for each stream that a peer opens.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quinn::Connection;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::Shared;
use super::channel::{Channel, Member};
use super::frame::{FrameError, FrameReader, MAX_PREAMBLE, Preamble};
use super::link::Class;
use super::stats;

/// The streams of one connection that are being read. A peer has one for each channel and class;
/// opening another ends the one before, so that it cannot make this replica hold many frames.
type Streams = Arc<Mutex<BTreeMap<(String, Class), CancellationToken>>>;

/// Reads every stream that the peer opens, until the connection is lost.
pub(super) async fn run(shared: Arc<Shared>, peer: u32, connection: Connection) {
    let streams = Streams::default();
    while let Ok(stream) = connection.accept_uni().await {
        let reader = FrameReader::new(stream);
        tokio::spawn(read(Arc::clone(&shared), peer, reader, Arc::clone(&streams)));
    }
}

async fn read(shared: Arc<Shared>, peer: u32, mut reader: FrameReader, streams: Streams) {
    let preamble = match tokio::time::timeout(PREAMBLE_TIMEOUT, reader.next(MAX_PREAMBLE)).await {
        Ok(Ok(Some(preamble))) => preamble,
        Ok(Ok(None) | Err(FrameError::Read(_))) => return,
        Ok(Err(error)) => return refuse(&shared, peer, &mut reader, "preamble", &error.to_string()),
        Err(_) => return refuse(&shared, peer, &mut reader, "preamble", "none came in time"),
    };
    let (class, name) = match Preamble::decode(&preamble) {
        Ok(Preamble::Channel { class, channel }) => (class, channel),
        Ok(Preamble::Greeting { .. }) => {
            return refuse(&shared, peer, &mut reader, "preamble", "a second greeting");
        }
        Err(error) => return refuse(&shared, peer, &mut reader, "preamble", &error.to_string()),
    };
    let joined = shared.channel(&name);
    let Some((channel, member)) = joined.and_then(|it| it.member(peer).map(|member| (it, member))) else {
        // Usual while a network starts: the peer comes back when it hears that we joined.
        debug!(peer, channel = name, "stream for a channel not joined, or without this peer");
        stats::stream_reset(peer, "channel");
        return reader.stop(UNKNOWN_CHANNEL);
    };
    let ended = member.removed.child_token();
    let before = streams.lock().unwrap_or_else(PoisonError::into_inner).insert((name, class), ended.clone());
    if let Some(before) = before {
        before.cancel();
    }
    let frames = frames(&shared, &channel, &member, class, &mut reader);
    tokio::select! {
        () = ended.cancelled() => {}
        () = frames => return,
    }
    reader.stop(UNKNOWN_CHANNEL);
}

/// Reads a channel's stream to its end.
async fn frames(
    shared: &Shared,
    channel: &Arc<Channel>,
    member: &Member,
    class: Class,
    reader: &mut FrameReader,
) {
    let _heard = (class == Class::Votes).then(|| channel.hear(member));
    let max = channel.limits(class).max_frame;
    loop {
        match reader.next(max).await {
            Ok(Some(frame)) => {
                stats::received(member.id, class, frame.len());
                if !channel.deliver(member, class, frame).await {
                    stats::dropped(member.id, class, 1);
                }
            }
            Ok(None) | Err(FrameError::Read(_)) => return,
            Err(error) => return refuse(shared, member.id, reader, "frame", &error.to_string()),
        }
    }
}

/// Resets this stream; the peer's others, and all other peers, go on.
fn refuse(shared: &Shared, peer: u32, reader: &mut FrameReader, reason: &'static str, problem: &str) {
    stats::stream_reset(peer, reason);
    if let Some(held_back) = shared.bad_streams.allow() {
        warn!(peer, problem, held_back, "stream of a peer reset");
    }
    reader.stop(BAD_STREAM);
}

/// A stream that says nothing for this long is reset.
const PREAMBLE_TIMEOUT: Duration = Duration::from_secs(5);
/// Not joined, or the peer is no member.
const UNKNOWN_CHANNEL: u32 = 1;
/// A preamble or frame that cannot be.
const BAD_STREAM: u32 = 2;
