//! Clients: they sign envelopes ahead of time, send them over Broadcast streams and read blocks from a
//! Deliver stream. A latency is from the moment an envelope was *due* to the moment its block came out of
//! the Deliver stream, so a generator that falls behind makes figures worse, never better.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use prost::Message as _;
use sbft::client::broadcast::{self, Envelopes};
use sbft::client::connect::connect;
use sbft::client::deliver::{self, Item, Position, Seek};
use sbft::client::envelope::{EnvelopeMaker, Made, request_id};
use sbft::proto::common::{Block, Envelope, HeaderType, Status};
use sbft::types::RequestId;
use tokio::sync::{Semaphore, mpsc};

use crate::network::Network;
use crate::recorder::nanoseconds;

/// What is sent and in no block after this long is lost.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time between the call and the first envelope.
const HEAD_START: Duration = Duration::from_millis(20);

/// Which replicas get envelopes; one connection and stream for each lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// All to the replica at this place, over so many lanes.
    One(usize, usize),
    /// In turn, over two lanes to each.
    RoundRobin,
}

/// Lanes to a network and a Deliver stream from it.
pub(crate) struct Client {
    lanes: Vec<Arc<Envelopes>>,
    blocks: mpsc::UnboundedReceiver<(Instant, Block)>,
    refused: Arc<AtomicU64>,
    /// All that were sent so far.
    pub(crate) sent: Vec<RequestId>,
}

/// One envelope's way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) id: RequestId,
    pub(crate) due: Instant,
    pub(crate) delivered: Instant,
    pub(crate) block: u64,
}

/// What a load gave.
pub(crate) struct Outcome {
    pub(crate) samples: Vec<Sample>,
    /// Nanoseconds from due to delivered.
    pub(crate) latency: Histogram<u64>,
}

impl Outcome {
    fn of(samples: Vec<Sample>) -> Self {
        let mut latency = nanoseconds();
        for sample in &samples {
            let took = sample.delivered.saturating_duration_since(sample.due);
            latency.saturating_record(took.as_nanos() as u64);
        }
        Self { samples, latency }
    }

    /// Committed envelopes a second, without the first quarter of the time.
    pub(crate) fn per_second(&self) -> f64 {
        let first = self.samples.iter().map(|sample| sample.delivered).min();
        let last = self.samples.iter().map(|sample| sample.delivered).max();
        let (Some(first), Some(last)) = (first, last) else { return 0.0 };
        let from = first + (last - first) / 4;
        let counted = self.samples.iter().filter(|sample| sample.delivered > from).count();
        counted as f64 / (last - from).as_secs_f64().max(1e-9)
    }
}

/// Envelopes of exactly `size` encoded bytes, by the network's clients in turn; `None` if there are none
/// so small.
pub(crate) async fn make(makers: &[EnvelopeMaker], size: usize, count: usize) -> Option<Vec<Made>> {
    let trial = makers[0].make(size).await.ok()?;
    let payload = sbft::proto::common::Payload::decode(trial.envelope.payload).expect("a payload");
    let filler = payload.data.len();
    let workers = makers.len().max(1);
    let tasks: Vec<_> = (0..workers)
        .map(|worker| {
            let maker = makers[worker].clone();
            let mine = count / workers + usize::from(worker < count % workers);
            tokio::spawn(async move {
                let mut made = Vec::with_capacity(mine);
                for _ in 0..mine {
                    let mut data = vec![0; filler];
                    rand::fill(&mut data[..]);
                    let one = maker.sign(HeaderType::EndorserTransaction, data.into()).await;
                    made.push(one.expect("a signature"));
                }
                made
            })
        })
        .collect();
    let mut by_worker = Vec::new();
    for task in tasks {
        by_worker.push(task.await.expect("no panic").into_iter());
    }
    let made: Vec<Made> =
        (0..count).map(|index| by_worker[index % workers].next().expect("as many as asked for")).collect();
    assert!(
        made.iter().all(|one| one.envelope.encoded_len().abs_diff(size) <= 2),
        "all have the size asked for"
    );
    Some(made)
}

/// The smallest envelope that a client of this network can sign, encoded bytes.
pub(crate) async fn smallest(maker: &EnvelopeMaker) -> usize {
    let made = maker.sign(HeaderType::EndorserTransaction, bytes::Bytes::new()).await.expect("a signature");
    made.envelope.encoded_len()
}

impl Client {
    /// Connects lanes, and a Deliver stream from the replica that gets envelopes first.
    pub(crate) async fn connect(network: &Network, target: Target) -> Self {
        let places: Vec<usize> = match target {
            Target::One(place, lanes) => vec![place; lanes],
            Target::RoundRobin => (0..2 * network.spec.n).map(|lane| lane % network.spec.n).collect(),
        };
        let refused = Arc::new(AtomicU64::new(0));
        let mut lanes = Vec::new();
        for place in &places {
            let channel = connect(&network.address(*place), &network.security).await.expect("a connection");
            let (envelopes, mut answers) = broadcast::open(channel).await.expect("a Broadcast stream");
            lanes.push(Arc::new(envelopes));
            let refused = Arc::clone(&refused);
            tokio::spawn(async move {
                while let Ok(Some(answer)) = answers.next().await {
                    if answer.status != Status::Success as i32 {
                        refused.fetch_add(1, Ordering::Relaxed);
                        eprintln!("refused: {} {}", answer.status, answer.info);
                    }
                }
            });
        }
        let channel = connect(&network.address(places[0]), &network.security).await.expect("a connection");
        let from = network.height(places[0]);
        let seek = Seek::follow(Position::Number(from));
        let mut stream = deliver::open(channel, &network.makers[0], seek).await.expect("a Deliver stream");
        let (arrived, blocks) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(Some(Item::Block(block))) = stream.next().await {
                if arrived.send((Instant::now(), block)).is_err() {
                    return;
                }
            }
        });
        Self { lanes, blocks, refused, sent: Vec::new() }
    }

    /// Sends at a fixed rate, whatever comes back.
    pub(crate) async fn open_loop(&mut self, envelopes: Vec<Made>, rate: f64) -> Outcome {
        let begin = Instant::now() + HEAD_START;
        let due = move |index: usize| begin + Duration::from_secs_f64(index as f64 / rate);
        let waiting: HashMap<RequestId, Instant> =
            envelopes.iter().enumerate().map(|(index, made)| (made.id, due(index))).collect();
        self.sent.extend(envelopes.iter().map(|made| made.id));
        let lanes = self.lanes.clone();
        let runtime = tokio::runtime::Handle::current();
        // A thread of its own: the runtime's timers are no finer than a millisecond.
        let sender = std::thread::spawn(move || {
            for (index, made) in envelopes.into_iter().enumerate() {
                std::thread::sleep(due(index).saturating_duration_since(Instant::now()));
                runtime.block_on(lanes[index % lanes.len()].send(made.envelope)).expect("an open stream");
            }
        });
        let outcome = self.delivered(waiting).await;
        sender.join().expect("the sender ends");
        outcome
    }

    /// Keeps `outstanding` envelopes on the way until all were sent or `time` is over. An envelope is due
    /// when it is sent.
    pub(crate) async fn closed_loop(
        &mut self,
        envelopes: Vec<Made>,
        outstanding: usize,
        time: Duration,
    ) -> Outcome {
        let room = Arc::new(Semaphore::new(outstanding));
        let (told, mut sent) = mpsc::unbounded_channel();
        let (lanes, permits) = (self.lanes.clone(), Arc::clone(&room));
        let begun = Instant::now();
        let sender = tokio::spawn(async move {
            for (index, made) in envelopes.into_iter().enumerate() {
                permits.acquire().await.expect("never closed").forget();
                if begun.elapsed() >= time {
                    return;
                }
                // Told before it is sent, so that nobody sees its block first.
                told.send((made.id, Instant::now())).expect("the receiver is held below");
                lanes[index % lanes.len()].send(made.envelope).await.expect("an open stream");
            }
        });
        let mut waiting: HashMap<RequestId, Instant> = HashMap::new();
        let mut samples = Vec::new();
        loop {
            let next = tokio::select! {
                biased;
                Some((id, at)) = sent.recv() => {
                    self.sent.push(id);
                    waiting.insert(id, at);
                    continue;
                }
                next = tokio::time::timeout(PATIENCE, self.blocks.recv()), if !waiting.is_empty() => next,
                else => break,
            };
            let (at, block) = next.expect("blocks go on coming").expect("the Deliver stream stays open");
            while let Ok((id, at)) = sent.try_recv() {
                self.sent.push(id);
                waiting.insert(id, at);
            }
            let before = samples.len();
            take(&mut waiting, at, &block, &mut samples);
            room.add_permits(samples.len() - before);
        }
        sender.await.expect("the sender ends");
        self.check();
        Outcome::of(samples)
    }

    /// Reads blocks until all have come.
    async fn delivered(&mut self, mut waiting: HashMap<RequestId, Instant>) -> Outcome {
        let mut samples = Vec::with_capacity(waiting.len());
        while !waiting.is_empty() {
            let next = tokio::time::timeout(PATIENCE, self.blocks.recv()).await;
            let (at, block) = next.expect("blocks go on coming").expect("the Deliver stream stays open");
            take(&mut waiting, at, &block, &mut samples);
        }
        self.check();
        Outcome::of(samples)
    }

    fn check(&self) {
        assert_eq!(self.refused.load(Ordering::Relaxed), 0, "envelopes were refused");
    }
}

fn take(waiting: &mut HashMap<RequestId, Instant>, at: Instant, block: &Block, samples: &mut Vec<Sample>) {
    let number = block.header.as_ref().expect("a header").number;
    for bytes in &block.data.as_ref().expect("data").data {
        let envelope = Envelope::decode(bytes.clone()).expect("an envelope");
        let id = request_id(&envelope).expect("an id");
        if let Some(due) = waiting.remove(&id) {
            samples.push(Sample { id, due, delivered: at, block: number });
        }
    }
}
