//! `--load`: envelopes at a steady rate, spread over the replicas that answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::cli::submit::security;
use crate::client::envelope::EnvelopeMaker;
use crate::client::network_file::NetworkFile;
use crate::client::submission::{Event, Queue, lane};
use crate::proto::common;

/// Size of an envelope of the load, bytes.
const SIZE: usize = 1024;
/// Envelopes waiting for a replica to take them; more are not made, and counted as skipped.
const WAITING: usize = 5_000;

/// A running load.
pub(super) struct Load {
    queue: Arc<Queue>,
    counts: Arc<Counts>,
    tasks: JoinSet<()>,
}

#[derive(Default)]
struct Counts {
    accepted: AtomicU64,
    refused: AtomicU64,
    skipped: AtomicU64,
}

impl Load {
    /// Starts submitting `rate` envelopes a second in the names of all the network's clients.
    ///
    /// # Errors
    /// When the clients' identities cannot be used.
    pub(super) fn start(network: &NetworkFile, rate: f64) -> anyhow::Result<Self> {
        let security = security(network)?;
        let makers = network
            .clients
            .iter()
            .map(|client| EnvelopeMaker::open(&network.channel, client))
            .collect::<Result<Vec<_>, _>>()?;
        let queue = Queue::new(WAITING);
        let counts = Arc::new(Counts::default());
        let mut tasks = JoinSet::new();
        let (events_in, events) = mpsc::channel(1_024);
        for replica in &network.replicas {
            tasks.spawn(lane(
                replica.id,
                replica.grpc.clone(),
                security.clone(),
                Arc::clone(&queue),
                events_in.clone(),
            ));
        }
        tasks.spawn(count(events, Arc::clone(&counts)));
        tasks.spawn(produce(makers, rate, Arc::clone(&queue), Arc::clone(&counts)));
        Ok(Self { queue, counts, tasks })
    }

    /// What came of it so far, for people.
    pub(super) fn progress(&self) -> String {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let mut text = format!("{} accepted", read(&self.counts.accepted));
        for (count, word) in [(&self.counts.refused, "refused"), (&self.counts.skipped, "skipped")] {
            if read(count) > 0 {
                text += &format!(", {} {word}", read(count));
            }
        }
        text
    }

    /// Stops submitting.
    pub(super) async fn stop(mut self) {
        self.queue.abandon();
        self.tasks.shutdown().await;
    }
}

async fn produce(makers: Vec<EnvelopeMaker>, rate: f64, queue: Arc<Queue>, counts: Arc<Counts>) {
    let start = Instant::now();
    for (index, maker) in makers.iter().cycle().enumerate() {
        let due = start + Duration::from_secs_f64(index as f64 / rate);
        tokio::time::sleep_until(due.into()).await;
        match maker.make(SIZE).await {
            Ok(made) => {
                if !queue.try_push(made.into()) {
                    counts.skipped.fetch_add(1, Ordering::Relaxed);
                }
            }
            Err(error) => {
                eprintln!("the load stops: {error}");
                return;
            }
        }
    }
}

async fn count(mut events: mpsc::Receiver<Event>, counts: Arc<Counts>) {
    while let Some(event) = events.recv().await {
        if let Event::Answered { status, again, .. } = event
            && !again
        {
            let count = if status == common::Status::Success { &counts.accepted } else { &counts.refused };
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}
