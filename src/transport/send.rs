//! Sending: one task for each peer, channel and class, with a stream of its own.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, WriteError};
use tokio::sync::watch;

use super::backoff::Backoff;
use super::channel::{Channel, Member};
use super::frame::{Preamble, pack};
use super::link::Class;
use super::stats;

/// Sends what is queued for `member` over whatever connection there is, until the member is
/// removed or the channel left.
pub(super) async fn run(
    channel: Arc<Channel>,
    member: Arc<Member>,
    class: Class,
    mut connections: watch::Receiver<Option<Connection>>,
) {
    let removed = member.removed.clone();
    let work = async {
        loop {
            let connection = match connections.wait_for(Option::is_some).await {
                Ok(connection) => connection.clone(),
                Err(_) => return,
            };
            let Some(connection) = connection else { continue };
            over(&connection, &channel, &member, class).await;
            stats::dropped(member.id, class, member.queue(class).clear());
            let id = connection.stable_id();
            let other = |now: &Option<Connection>| now.as_ref().is_none_or(|it| it.stable_id() != id);
            if connections.wait_for(other).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = removed.cancelled() => {}
        () = work => {}
    }
}

/// Sends over one connection until it is lost, opening another stream when the peer refuses one.
async fn over(connection: &Connection, channel: &Channel, member: &Member, class: Class) {
    let mut backoff = Backoff::new(REOPEN_MIN, REOPEN_MAX);
    loop {
        // The vote stream says that we have joined. A peer that has not would refuse the others, and
        // what was written to them by then would be lost.
        if class != Class::Votes {
            tokio::select! {
                () = channel.until_heard(member.id) => {}
                _ = connection.closed() => return,
            }
        }
        let opened = tokio::time::Instant::now();
        // Only a refused stream is worth another attempt, and that is no error worth a log line:
        // the peer has not joined the channel yet, or says itself what it did not like.
        match stream(connection, channel, member, class).await {
            WriteError::Stopped(_) | WriteError::ClosedStream => {}
            WriteError::ConnectionLost(_) | WriteError::ZeroRttRejected => return,
        }
        if opened.elapsed() > REOPEN_MAX {
            backoff.reset();
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.next()) => {}
            () = member.joined.notified() => {}
            _ = connection.closed() => return,
        }
    }
}

/// Sends on one stream, and says why that ended.
async fn stream(connection: &Connection, channel: &Channel, member: &Member, class: Class) -> WriteError {
    let mut stream = match connection.open_uni().await {
        Ok(stream) => stream,
        Err(lost) => return WriteError::ConnectionLost(lost),
    };
    if stream.set_priority(priority(class)).is_err() {
        return WriteError::ClosedStream;
    }
    let stopped = stream.stopped();
    let preamble = Preamble::Channel { class, channel: channel.name.clone() }.encode();
    let queue = member.queue(class);
    let work = async {
        stream.write_chunk(preamble).await?;
        loop {
            let frames = queue.take(BATCH).await;
            let (count, bytes) = (frames.len(), frames.iter().map(|frame| frame.len()).sum());
            stream.write_all_chunks(&mut pack(frames)).await?;
            stats::sent(member.id, class, count, bytes);
        }
    };
    tokio::select! {
        result = work => {
            let Err(error): Result<Infallible, _> = result;
            error
        }
        reason = stopped => match reason {
            Ok(code) => WriteError::Stopped(code.unwrap_or_default()),
            Err(_) => WriteError::ClosedStream,
        },
    }
}

/// Votes before repair before bulk.
fn priority(class: Class) -> i32 {
    match class {
        Class::Votes => 2,
        Class::Repair => 1,
        Class::Bulk => 0,
    }
}

/// Bytes of frames in one write, about.
const BATCH: usize = 256 << 10;
/// Wait before a refused stream is opened again, at first.
const REOPEN_MIN: Duration = Duration::from_millis(50);
/// The same, at most.
const REOPEN_MAX: Duration = Duration::from_secs(1);
