//! Consensus type "solo": one node orders envelopes and cuts the stream into blocks. For
//! development, and as a floor in benches: it survives no fault.
//!
//! The flow is the other one of the two that the seams allow: order first, then cut.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::{
    Chain, ChainStatus, Consenter, ConsenterSupport, Errored, HandleChainError, Health, NotCommitted,
    NotReady, OrderError, ROOM_TIMEOUT, Receipt, RoleStatus, WriteError,
};
use crate::channel_config::Consensus;
use crate::intake::block_cutter::CutLimits;
use crate::metrics;
use crate::proto::common::Metadata;
use crate::types::{Number, View};
use crate::wire::envelope::Parsed;

/// Envelopes between `order` and the loop.
const QUEUE: usize = 1024;

/// Makes solo chains.
#[derive(Debug, Default)]
pub struct SoloConsenter;

#[async_trait]
impl Consenter for SoloConsenter {
    async fn handle_chain(
        &self,
        support: Arc<dyn ConsenterSupport>,
        _metadata: Metadata,
    ) -> Result<Arc<dyn Chain>, HandleChainError> {
        if support.shared_config().consensus != Consensus::Solo {
            let reason = "its consensus type is not solo".into();
            return Err(HandleChainError::Config { channel: support.chain_id().into(), reason });
        }
        Ok(Arc::new(SoloChain::new(support)))
    }
}

/// An envelope that was accepted, on its way to the cutter.
struct Ordered {
    envelope: Parsed,
    config_sequence: u64,
    committed: oneshot::Sender<Number>,
}

/// An envelope in the cutter.
pub struct Pending {
    frame: Bytes,
    committed: oneshot::Sender<Number>,
}

struct SoloChain {
    support: Arc<dyn ConsenterSupport>,
    queue: mpsc::Sender<Ordered>,
    /// Taken by `start`.
    receiver: std::sync::Mutex<Option<mpsc::Receiver<Ordered>>>,
    started: watch::Sender<bool>,
    health: Arc<watch::Sender<Health>>,
    /// Dropped by the loop when it ends.
    running: watch::Sender<bool>,
}

impl SoloChain {
    fn new(support: Arc<dyn ConsenterSupport>) -> Self {
        let (queue, receiver) = mpsc::channel(QUEUE);
        Self {
            support,
            queue,
            receiver: std::sync::Mutex::new(Some(receiver)),
            started: watch::Sender::new(false),
            health: Arc::new(watch::Sender::new(Health::Good)),
            running: watch::Sender::new(false),
        }
    }

    /// Why nothing can be ordered now, if so.
    fn check_running(&self) -> Result<(), OrderError> {
        let channel = self.support.chain_id();
        match &*self.health.borrow() {
            Health::Halted => {
                Err(OrderError::Stopped { channel: channel.into(), reason: "it was halted".into() })
            }
            Health::Failed(reason) => {
                Err(OrderError::Stopped { channel: channel.into(), reason: reason.clone() })
            }
            Health::Good if *self.started.borrow() => Ok(()),
            Health::Good => Err(OrderError::NotStarted { channel: channel.into() }),
        }
    }
}

#[async_trait]
impl Chain for SoloChain {
    async fn order(&self, envelope: Parsed, config_sequence: u64) -> Result<Receipt, OrderError> {
        self.check_running()?;
        let (committed, commit) = oneshot::channel();
        let ordered = Ordered { envelope, config_sequence, committed };
        let mut errored = self.errored();
        tokio::select! {
            sent = tokio::time::timeout(ROOM_TIMEOUT, self.queue.send(ordered)) => match sent {
                Ok(Ok(())) => {}
                Ok(Err(_closed)) => self.check_running()?,
                Err(_elapsed) => return Err(OrderError::PoolFull { limit: QUEUE, limit_bytes: u64::MAX }),
            },
            () = errored.wait() => self.check_running()?,
        }
        Ok(Receipt::new(false, async move { commit.await.map_err(|_| NotCommitted::Stopped) }))
    }

    async fn configure(&self, _envelope: Parsed, _config_sequence: u64) -> Result<Receipt, OrderError> {
        self.check_running()?;
        Err(OrderError::ConfigUpdatesNotServed)
    }

    async fn wait_ready(&self) -> Result<(), NotReady> {
        self.check_running().map_err(|error| NotReady { text: error.to_string() })
    }

    fn errored(&self) -> Errored {
        Errored::new(self.health.subscribe())
    }

    fn start(&self) {
        let receiver = self.receiver.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let Some(receiver) = receiver else { return };
        self.started.send_replace(true);
        self.running.send_replace(true);
        let run = Loop { support: self.support.clone(), queue: receiver, timer: None, waiting: Vec::new() };
        let (health, running) = (self.health.clone(), self.running.clone());
        tokio::spawn(async move {
            if let Err(error) = run.run(Errored::new(health.subscribe())).await {
                tracing::error!(%error, "the solo chain has stopped");
                health.send_if_modified(|health| fail(health, error.to_string()));
            }
            running.send_replace(false);
        });
    }

    fn halt(&self) {
        self.health.send_if_modified(|health| {
            let changes = *health == Health::Good;
            if changes {
                *health = Health::Halted;
            }
            changes
        });
    }

    async fn stopped(&self) {
        let mut running = self.running.subscribe();
        // The sender lives as long as `self`.
        let _ended = running.wait_for(|running| !running).await;
    }

    fn status(&self) -> ChainStatus {
        let health = self.health.borrow().clone();
        ChainStatus {
            view: View(0),
            primary: None,
            id: None,
            height: self.support.height(),
            active: health == Health::Good && *self.started.borrow(),
            role: RoleStatus::Voter,
            quorum: true,
            reachable: 1,
            needed: 1,
            consenters: 1,
            peers: Vec::new(),
            in_flight: 0,
            pool: QUEUE - self.queue.capacity(),
            failure: match health {
                Health::Failed(reason) => Some(reason),
                Health::Good | Health::Halted => None,
            },
        }
    }
}

fn fail(health: &mut Health, reason: String) -> bool {
    let changes = *health == Health::Good;
    if changes {
        *health = Health::Failed(reason);
    }
    changes
}

/// The one loop: takes envelopes in order, cuts them, writes blocks.
struct Loop {
    support: Arc<dyn ConsenterSupport>,
    queue: mpsc::Receiver<Ordered>,
    /// When the pending batch is cut (fabric-spec A.6); none while nothing is pending.
    timer: Option<Instant>,
    /// Envelopes in blocks handed over for writing, told when the height passes their number.
    waiting: Vec<(Number, Vec<oneshot::Sender<Number>>)>,
}

impl Loop {
    async fn run(mut self, mut health: Errored) -> Result<(), WriteError> {
        let mut height = self.support.watch_height();
        loop {
            let timer = self.timer;
            tokio::select! {
                // A halted chain orders nothing more, whatever waits.
                biased;
                () = health.wait() => break,
                ordered = self.queue.recv() => match ordered {
                    Some(ordered) => self.order(ordered).await?,
                    None => break,
                },
                () = sleep_until(timer) => {
                    self.timer = None;
                    self.write_pending().await?;
                }
                changed = height.changed(), if !self.waiting.is_empty() => {
                    if changed.is_err() {
                        break;
                    }
                    self.tell(*height.borrow_and_update());
                }
            }
        }
        // Whoever waits for a block that is being written hears of it, or that the chain stopped.
        while !self.waiting.is_empty() {
            self.tell(self.support.height());
            if self.waiting.is_empty() || tokio::time::timeout(ROOM_TIMEOUT, height.changed()).await.is_err()
            {
                break;
            }
        }
        Ok(())
    }

    async fn order(&mut self, ordered: Ordered) -> Result<(), WriteError> {
        let Ordered { envelope, config_sequence, committed } = ordered;
        if config_sequence < self.support.sequence()
            && let Err(rejection) = self.support.processor().process_normal(&envelope, SystemTime::now())
        {
            let channel = self.support.chain_id();
            tracing::info!(channel, id = %envelope.id, %rejection, "dropped under the new configuration");
            return Ok(());
        }
        let config = self.support.shared_config();
        let limits = CutLimits {
            max_message_count: config.batch.max_message_count,
            preferred_max_bytes: config.batch.preferred_max_bytes,
        };
        let pending = Pending { frame: envelope.frame, committed };
        let cut = { self.support.block_cutter().ordered(pending, envelope.size, limits) };
        for batch in cut.batches {
            self.write(batch).await?;
        }
        match (self.timer.is_some(), cut.pending) {
            (true, false) => self.timer = None,
            (false, true) => self.timer = Some(Instant::now() + config.batch_timeout),
            (true, true) | (false, false) => {}
        }
        Ok(())
    }

    async fn write_pending(&mut self) -> Result<(), WriteError> {
        let pending = self.support.block_cutter().cut();
        match pending {
            Some(batch) => self.write(batch).await,
            None => Ok(()),
        }
    }

    async fn write(&mut self, batch: Vec<Pending>) -> Result<(), WriteError> {
        let (frames, committed): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|pending| (pending.frame, pending.committed)).unzip();
        let envelopes = frames.len() as u64;
        let block = self.support.create_next_block(frames);
        let number = Number(block.header.as_ref().map_or(0, |header| header.number));
        self.support.clone().write_block(block, None).await?;
        self.waiting.push((number, committed));
        let channel = self.support.chain_id().to_owned();
        ::metrics::counter!(metrics::BLOCKS, "channel" => channel.clone()).increment(1);
        ::metrics::counter!(metrics::ORDERED, "channel" => channel).increment(envelopes);
        Ok(())
    }

    fn tell(&mut self, height: u64) {
        self.waiting.retain_mut(|(number, committed)| {
            if number.0 >= height {
                return true;
            }
            for committed in committed.drain(..) {
                // Nobody may wait for it any more.
                let _nobody = committed.send(*number);
            }
            false
        });
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
