//! Broadcast streams: each lane is one stream over a connection of its own to one replica.
//!
//! What a broken stream left unanswered is sent again over another lane, unless every replica
//! gets every envelope: replicas know an envelope that they have seen, so that is harmless. An
//! envelope keeps the time at which it was first to be sent.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt as _, Stream};
use prost::Message as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use super::mint::Item;
use super::record::Record;
use crate::client::connect::{Security, connect};
use crate::client::raw;
use crate::proto::common::Status;
use crate::proto::orderer::BroadcastResponse;

/// Pause before a lane tries its replica again.
const RETRY: Duration = Duration::from_millis(200);
/// An envelope that is unanswered for one to two of these is sent over another lane: its replica
/// stands still and does not know it.
const SILENCE: Duration = Duration::from_secs(1);
/// Envelopes that are handed to one lane at a time at least, if there are as many: what is sent
/// together travels and is judged together.
const TOGETHER: usize = 16;
/// Envelopes kept for a replica that is down, when every replica gets every envelope; beyond it
/// the oldest are dropped, for the others have them.
const KEPT: usize = 20_000;
/// SUCCESS without a text, the answer to nearly everything.
const SUCCESS: &[u8] = &[0x08, 0xc8, 0x01];

/// All lanes of a run.
pub(super) struct Lanes {
    lanes: Vec<Arc<Lane>>,
    /// Lanes of one replica, for each replica that is sent to.
    groups: Vec<Vec<usize>>,
    /// Each envelope goes to one lane of every group; otherwise to one lane.
    to_all: bool,
    /// Only the first group is used while it can be; the others stand in for it.
    prefer_first: bool,
    cursor: AtomicU64,
    /// Told whenever a lane's state changes.
    changed: watch::Sender<()>,
}

/// One stream to one replica.
struct Lane {
    replica: u32,
    address: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    link: Link,
    /// To be sent.
    waiting: VecDeque<Item>,
    /// Sent and not answered, in order.
    unanswered: VecDeque<Item>,
    /// The request stream that waits for something to send.
    waker: Option<Waker>,
    /// Tells an old stream of this lane that it is over.
    generation: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Link {
    #[default]
    Connecting,
    Up,
    Down(String),
}

impl Lane {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds this lock")
    }

    fn push(&self, items: impl IntoIterator<Item = Item>) {
        let waker = {
            let mut state = self.lock();
            state.waiting.extend(items);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Where envelopes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spread {
    /// To the first replica; to others while it cannot be reached.
    First,
    /// To the replicas in turn.
    Turns,
    /// Each to all replicas.
    All,
}

impl Lanes {
    /// `streams` lanes to each of `replicas` (id and address).
    pub(super) fn new(replicas: &[(u32, String)], streams: usize, spread: Spread) -> Arc<Self> {
        let lane = |(replica, address): &(u32, String)| {
            Arc::new(Lane { replica: *replica, address: address.clone(), state: Mutex::default() })
        };
        let lanes = replicas.iter().flat_map(|replica| (0..streams).map(move |_| lane(replica))).collect();
        let groups =
            (0..replicas.len()).map(|group| (group * streams..(group + 1) * streams).collect()).collect();
        Arc::new(Self {
            lanes,
            groups,
            to_all: spread == Spread::All,
            prefer_first: spread == Spread::First,
            cursor: AtomicU64::new(0),
            changed: watch::Sender::new(()),
        })
    }

    /// Runs all lanes until `stop`.
    pub(super) async fn run(
        self: Arc<Self>,
        security: Security,
        record: Arc<Record>,
        stop: CancellationToken,
    ) {
        let lanes = (0..self.lanes.len()).map(|index| {
            let lanes = Arc::clone(&self);
            let (security, record, stop) = (security.clone(), Arc::clone(&record), stop.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = lanes.serve(index, &security, &record) => {}
                    () = stop.cancelled() => {}
                }
            })
        });
        for lane in lanes.collect::<Vec<_>>() {
            if let Err(error) = lane.await {
                tracing::error!(%error, "a lane of the load failed");
            }
        }
    }

    /// Waits until every lane is up or has failed.
    ///
    /// # Errors
    /// Why not, when none is up.
    pub(super) async fn settled(&self) -> Result<(), String> {
        let mut changed = self.changed.subscribe();
        loop {
            let links: Vec<Link> = self.lanes.iter().map(|lane| lane.lock().link.clone()).collect();
            if !links.contains(&Link::Connecting) {
                if links.contains(&Link::Up) {
                    return Ok(());
                }
                let mut reasons: Vec<String> = (self.lanes.iter().zip(&links))
                    .filter_map(|(lane, link)| match link {
                        Link::Down(reason) => Some(format!("replica {}: {reason}", lane.replica)),
                        _ => None,
                    })
                    .collect();
                reasons.dedup();
                return Err(reasons.join("; "));
            }
            changed.changed().await.map_err(|_| "all lanes ended".to_owned())?;
        }
    }

    /// Hands envelopes to the lanes.
    pub(super) fn push(&self, items: &mut Vec<Item>) {
        if self.to_all {
            for group in &self.groups {
                self.spread(items.iter().cloned(), items.len(), group);
            }
            items.clear();
            return;
        }
        let count = items.len();
        self.spread(items.drain(..), count, &self.usable());
    }

    /// The lanes that take envelopes, for who sends each to one replica.
    fn usable(&self) -> Vec<usize> {
        let up = |index: &usize| self.lanes[*index].lock().link == Link::Up;
        if self.prefer_first {
            for group in &self.groups {
                let up: Vec<usize> = group.iter().copied().filter(up).collect();
                if !up.is_empty() {
                    return up;
                }
            }
        }
        (0..self.lanes.len()).filter(up).collect()
    }

    fn spread(&self, mut items: impl Iterator<Item = Item>, count: usize, lanes: &[usize]) {
        // With no lane up they wait in one that is not, and move when another comes up.
        let all: Vec<usize>;
        let lanes = if lanes.is_empty() {
            all = (0..self.lanes.len()).collect();
            &all
        } else {
            lanes
        };
        let share = count.div_ceil(lanes.len()).max(TOGETHER);
        let mut left = count;
        while left > 0 {
            let turn = self.cursor.fetch_add(1, Ordering::Relaxed) as usize % lanes.len();
            self.lanes[lanes[turn]].push(items.by_ref().take(share));
            left = left.saturating_sub(share);
        }
    }

    /// Envelopes that no stream has taken yet.
    pub(super) fn backlog(&self) -> usize {
        self.lanes.iter().map(|lane| lane.lock().waiting.len()).sum()
    }

    async fn serve(self: &Arc<Self>, index: usize, security: &Security, record: &Arc<Record>) {
        let lane = &self.lanes[index];
        loop {
            let reason = match connect(&lane.address, security).await {
                Ok(channel) => loop {
                    match self.stream(index, channel.clone(), record).await {
                        // The stream ended with its answer; the connection is still good.
                        Ended::Refused { wait: false } => {}
                        Ended::Refused { wait: true } => {
                            self.down(index, "it answers SERVICE_UNAVAILABLE".to_owned(), record);
                            tokio::time::sleep(RETRY).await;
                        }
                        Ended::Broken(reason) => break reason,
                    }
                },
                Err(error) => error.to_string(),
            };
            self.down(index, reason, record);
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Runs one stream to its end.
    async fn stream(
        self: &Arc<Self>,
        index: usize,
        channel: tonic::transport::Channel,
        record: &Record,
    ) -> Ended {
        let lane = &self.lanes[index];
        let generation = {
            let mut state = lane.lock();
            state.generation += 1;
            // What the stream before left unanswered goes first.
            let mut again = std::mem::take(&mut state.unanswered);
            again.append(&mut state.waiting);
            state.waiting = again;
            state.generation
        };
        let requests = Requests { lane: Arc::clone(lane), generation };
        let answers = match raw::broadcast(channel, requests).await {
            Ok(answers) => answers,
            Err(status) => return Ended::Broken(status.message().to_owned()),
        };
        lane.lock().link = Link::Up;
        self.changed.send_replace(());
        lane.answers(answers, record, self.to_all).await
    }

    /// The lane cannot send: what it has goes over another one.
    fn down(self: &Arc<Self>, index: usize, reason: String, record: &Record) {
        let lane = &self.lanes[index];
        let mut stranded: VecDeque<Item> = {
            let mut state = lane.lock();
            state.link = Link::Down(reason);
            state.generation += 1;
            let mut again = std::mem::take(&mut state.unanswered);
            again.append(&mut state.waiting);
            again
        };
        self.changed.send_replace(());
        stranded.retain(|item| !record.is_seen(item.index));
        if self.to_all {
            stranded.drain(..stranded.len().saturating_sub(KEPT));
            lane.push(stranded);
        } else if !stranded.is_empty() {
            let count = stranded.len();
            self.spread(stranded.into_iter(), count, &self.usable());
        }
    }
}

/// How a stream ended.
enum Ended {
    /// With an answer that was not SUCCESS.
    Refused {
        /// The replica cannot take envelopes now.
        wait: bool,
    },
    /// Without an answer.
    Broken(String),
}

impl Lane {
    async fn answers(&self, mut answers: Streaming<Bytes>, record: &Record, to_all: bool) -> Ended {
        let mut taken = Vec::new();
        let mut oldest = None;
        loop {
            let Ok(mut next) = tokio::time::timeout(SILENCE, answers.message()).await else {
                let now_oldest = self.lock().unanswered.front().map(|item| item.index);
                if now_oldest.is_some() && now_oldest == oldest {
                    return Ended::Broken("it does not answer".to_owned());
                }
                oldest = now_oldest;
                continue;
            };
            let mut successes = 0;
            // What has arrived together is noted together.
            let odd = loop {
                match next {
                    Ok(Some(answer)) if answer[..] == *SUCCESS => successes += 1,
                    Ok(Some(answer)) => break Some(Ok(answer)),
                    Ok(None) => break Some(Err("it closed the stream".to_owned())),
                    Err(status) => break Some(Err(status.message().to_owned())),
                }
                next = match answers.message().now_or_never() {
                    Some(next) => next,
                    None => break None,
                };
            };
            {
                let mut state = self.lock();
                let known = successes.min(state.unanswered.len());
                taken.extend(state.unanswered.drain(..known));
            }
            // Their memory is freed outside of the lock.
            taken.clear();
            let answer = match odd {
                None => continue,
                Some(Err(reason)) => return Ended::Broken(reason),
                Some(Ok(answer)) => answer,
            };
            let Ok(BroadcastResponse { status, info }) = BroadcastResponse::decode(answer) else {
                return Ended::Broken("it answered something that is no BroadcastResponse".to_owned());
            };
            let Some(item) = self.lock().unanswered.pop_front() else {
                return Ended::Broken("it answered more than it was sent".to_owned());
            };
            let status = Status::try_from(status).unwrap_or(Status::Unknown);
            if status == Status::Success {
                continue;
            }
            let wait = status == Status::ServiceUnavailable;
            let text = match info.is_empty() {
                true => status.as_str_name().to_owned(),
                false => format!("{}: {info}", status.as_str_name()),
            };
            // Another replica may take what this one refuses: then only the chain knows.
            record.refused(item.index, text, !wait && !to_all);
            if wait {
                self.lock().unanswered.push_front(item);
            }
            return Ended::Refused { wait };
        }
    }
}

/// The request side of a lane's stream. A stream that was replaced ends.
struct Requests {
    lane: Arc<Lane>,
    generation: u64,
}

impl Stream for Requests {
    type Item = Bytes;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut state = self.lane.lock();
        if state.generation != self.generation {
            return Poll::Ready(None);
        }
        match state.waiting.pop_front() {
            Some(item) => {
                let bytes = item.bytes.clone();
                state.unanswered.push_back(item);
                Poll::Ready(Some(bytes))
            }
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}
