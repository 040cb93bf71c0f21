//! The repair stream: candidates and blocks that a replica lacks, asked for and answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rayon::prelude::*;
use tokio::sync::{Semaphore, mpsc, watch};

use super::receive::{Ration, Untold, judge, refused, rest_after};
use super::rules::check_block;
use super::shared::{Event, Shared, offload};
use crate::transport::{Class, Inbox, PeerInbox};
use crate::types::{CommittedBlock, Number, Place, Verified};
use crate::wire::block;
use crate::wire::repair::{self, Repair};
use crate::wire::{MAX_BLOCKS_PER_ANSWER, VoteKeys as _};

/// Bytes of blocks in one answer; one block is sent whatever its size.
const ANSWER_BYTES: usize = 8 << 20;
/// What one peer may read of the ledger in a second, bytes.
const SERVED_PER_SECOND: u64 = 64 << 20;
/// Questions of one peer that are answered in a second.
const QUESTIONS_PER_SECOND: u32 = 200;

/// Bytes (in KiB) of one peer's answers, asked for or not, that may wait for the protocol task: a liar
/// must not fill the memory while a disk makes that task wait. One frame always fits.
const ROOM_KIB: u32 = 64 << 10;

/// Fetches of blocks that were sent and not answered, by place: blocks that nobody asked for are
/// not worth checking.
pub(super) struct Asked(Vec<AtomicU32>);

/// Unanswered fetches that are remembered; answers may be lost, and asking again is cheap.
const ASKED_MAX: u32 = 16;

impl Asked {
    pub(super) fn new(n: usize) -> Self {
        Self((0..n).map(|_| AtomicU32::new(0)).collect())
    }

    /// A fetch goes to `place`.
    pub(super) fn ask(&self, place: Place) {
        if let Some(asked) = self.0.get(place.index()) {
            asked
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |asked| Some((asked + 1).min(ASKED_MAX)))
                .ok();
        }
    }

    /// An answer came from `place`; false if nothing was asked.
    fn answered(&self, place: Place) -> bool {
        self.0.get(place.index()).is_some_and(|asked| {
            asked.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |asked| asked.checked_sub(1)).is_ok()
        })
    }
}

/// Starts a task for the repair frames of each peer. While one is behind, its stream is not read.
pub(super) fn inbox(shared: &Arc<Shared>, inbox: Inbox, asked: &Arc<Asked>, events: &mpsc::Sender<Event>) {
    for frames in inbox.split(&shared.members.peer_ids()) {
        let Some(from) = shared.members.place(frames.peer()) else { continue };
        shared.spawn(peer_frames(shared.clone(), from, frames, asked.clone(), events.clone()));
    }
}

async fn peer_frames(
    shared: Arc<Shared>,
    from: Place,
    mut frames: PeerInbox,
    asked: Arc<Asked>,
    events: mpsc::Sender<Event>,
) {
    let mut questions = Ration::new(Duration::from_secs(1), QUESTIONS_PER_SECOND);
    let room = Arc::new(Semaphore::new(ROOM_KIB as usize));
    let (wanted, newest) = watch::channel(None);
    shared.spawn(serve_newest(shared.clone(), from, newest));
    while let Some(frame) = frames.recv().await {
        shared.reach.heard(from);
        let kib = u32::try_from(frame.len() >> 10).unwrap_or(u32::MAX).clamp(1, ROOM_KIB);
        let mut pause = Duration::ZERO;
        let event = match repair::decode(frame) {
            Err(error) => {
                tracing::debug!(channel = shared.channel(), peer = %shared.members.id(from), %error, "repair refused");
                refused(&shared, from, "repair");
                continue;
            }
            Ok(Repair::FetchCandidates(digests)) if questions.allow() => Event::Wanted { from, digests },
            Ok(Repair::FetchBlocks { first, last }) if questions.allow() => {
                wanted.send_replace(Some((first, last)));
                continue;
            }
            Ok(Repair::FetchCandidates(_) | Repair::FetchBlocks { .. }) => {
                refused(&shared, from, "too many questions");
                continue;
            }
            Ok(Repair::Candidate(encoding)) => {
                let judged = judge(&shared, from, None, encoding, None).await;
                match judged.outcome {
                    Ok(event) => {
                        pause = rest_after(&event, judged.took);
                        event
                    }
                    Err(Untold::Ended) => return,
                    Err(untold) => {
                        tokio::time::sleep(untold.rest(judged.took)).await;
                        continue;
                    }
                }
            }
            Ok(Repair::Blocks(blocks)) => {
                if !asked.answered(from) {
                    refused(&shared, from, "blocks not asked for");
                    continue;
                }
                let context = shared.clone();
                let Some(blocks) = offload(move || check_blocks(&context, from, blocks)).await else {
                    return;
                };
                if blocks.is_empty() {
                    continue;
                }
                Event::Blocks { from, blocks }
            }
        };
        // The semaphore is never closed.
        let Ok(room) = room.clone().acquire_many_owned(kib).await else { return };
        let event = Box::new(event);
        if events.send(Event::Repaired { event, room }).await.is_err() {
            return;
        }
        if pause > Duration::ZERO {
            tokio::time::sleep(pause).await;
        }
    }
}

/// Answers a peer's newest question for blocks. Those that came before it and were not answered yet are of
/// no use to it any more: it asks again when it has what it asked for, or has got it from somebody else.
async fn serve_newest(
    shared: Arc<Shared>,
    from: Place,
    mut newest: watch::Receiver<Option<(Number, Number)>>,
) {
    while newest.changed().await.is_ok() {
        let question = *newest.borrow_and_update();
        if let Some((first, last)) = question {
            serve(&shared, from, first, last).await;
        }
    }
}

/// The good blocks before the first bad one. What is committed here already is left out: it was asked from
/// somebody else meanwhile.
fn check_blocks(shared: &Shared, from: Place, blocks: Vec<Bytes>) -> Vec<Verified<Arc<CommittedBlock>>> {
    let ids: Vec<_> = (0..shared.members.n())
        .map(|place| shared.checker.keys().consenter_id(Place(place as u16)))
        .collect();
    let committed = shared.settled().committed();
    let new = |bytes: &Bytes| block::number_of(bytes).is_none_or(|number| number > committed);
    let checked: Vec<Result<_, String>> =
        blocks.into_par_iter().filter(new).map(|bytes| check_block(bytes, &ids, &shared.checker)).collect();
    let mut good = Vec::with_capacity(checked.len());
    for verdict in checked {
        match verdict {
            Ok(block) => good.push(block),
            Err(reason) => {
                let (channel, peer) = (shared.channel(), shared.members.id(from));
                tracing::warn!(channel, %peer, reason, "fetched block refused");
                refused(shared, from, "block");
                break;
            }
        }
    }
    good
}

/// Answers a fetch of blocks with as many as fit, and takes its time for a peer that asks for a
/// lot: its next question waits behind this one.
async fn serve(shared: &Arc<Shared>, from: Place, first: Number, last: Number) {
    let context = shared.clone();
    let read = tokio::task::spawn_blocking(move || {
        let mut blocks = Vec::new();
        let mut bytes = 0;
        for number in (first.0..=last.0).take(MAX_BLOCKS_PER_ANSWER).map(Number) {
            match context.support.block(number) {
                Ok(Some(block)) if blocks.is_empty() || bytes + block.len() <= ANSWER_BYTES => {
                    bytes += block.len();
                    blocks.push(block);
                }
                Ok(_) => break,
                Err(error) => {
                    context.fail(error);
                    break;
                }
            }
        }
        (blocks, bytes)
    });
    // An error says that the process is ending.
    let Ok((blocks, bytes)) = read.await else { return };
    if blocks.is_empty() {
        return;
    }
    let (channel, peer) = (shared.channel(), shared.members.id(from));
    tracing::debug!(channel, %peer, %first, blocks = blocks.len(), bytes, "serving blocks");
    shared.send(from, Class::Repair, repair::encode(&Repair::Blocks(blocks)));
    tokio::time::sleep(Duration::from_micros(bytes as u64 * 1_000_000 / SERVED_PER_SECOND)).await;
}
