//! The chain: what clients and operators reach of a replica, and its start and end.

use std::collections::VecDeque;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::{
    Chain, ChainStatus, ConsenterSupport, Errored, Health, NotCommitted, NotReady, OrderError, PeerStatus,
    ROOM_TIMEOUT, Receipt, RoleStatus,
};
use super::SbftOptions;
use super::driver::{Driver, Inlets, Outlets};
use super::members::Members;
use super::open::{Recovered, checker};
use super::reach::Reach;
use super::repair::Asked;
use super::rules::accepted;
use super::shared::{BLOCK_JOBS, EVENTS, Event, LOG_JOBS, ORDERS, Order, PROMISES, Shared, Snapshot};
use super::stale::Stale;
use super::verdicts::Verdicts;
use super::{blocks, log, receive, release, repair};
use crate::intake::{Envelope, Intake, IntakeConfig, IntakeProbe};
use crate::pbft::{Probe, Replica, Role};
use crate::transport::ChannelLink;
use crate::types::{RequestId, Time, View};
use crate::wire::candidate::Limits;
use crate::wire::envelope::{Parsed, check_canonical};

/// One channel's replica.
pub(super) struct SbftChain {
    shared: Arc<Shared>,
    orders: mpsc::Sender<Order>,
    events: mpsc::Sender<Event>,
    started: watch::Sender<bool>,
    pool: (usize, u64),
    /// Taken by `start`.
    parts: Mutex<Option<Parts>>,
}

/// What `start` sets to work.
struct Parts {
    link: ChannelLink,
    recovered: Recovered,
    options: SbftOptions,
    orders: mpsc::Receiver<Order>,
    events: mpsc::Receiver<Event>,
}

impl SbftChain {
    pub(super) fn new(
        support: Arc<dyn ConsenterSupport>,
        link: ChannelLink,
        members: Members,
        recovered: Recovered,
        options: SbftOptions,
    ) -> Self {
        let config = support.shared_config();
        let rules = &recovered.config;
        let snapshot = Snapshot {
            replica: Probe {
                view: View(0),
                active: false,
                complains: false,
                primary: View(0).primary(rules.n),
                committed: recovered.tip.number,
                accepted: recovered.tip.number,
                prepared: recovered.tip.number,
                in_flight: 0,
                waiting: 0,
                candidates_held: 0,
                messages_held: 0,
                halted: false,
            },
            intake: IntakeProbe { pool: 0, pool_bytes: 0, outstanding: 0, takes_turns: false },
        };
        let shared = Arc::new(Shared {
            link: link.sender(),
            reach: Reach::new(rules.n, rules.me, rules.role == Role::Voter, rules.status_interval),
            checker: checker(&config, rules.domain),
            verdicts: Verdicts::default(),
            stale: Stale::new(rules.dedup, &recovered.tip.recent),
            idle: (0..rules.n).map(|_| AtomicU32::new(0)).collect(),
            era: rules.domain.era,
            limits: Limits {
                max_count: rules.max_message_count as usize,
                max_bytes: rules.absolute_max_bytes,
            },
            role: rules.role.clone(),
            health: watch::Sender::new(Health::Good),
            snapshot: watch::Sender::new(snapshot),
            settled: Mutex::default(),
            begun: Instant::now(),
            tracker: TaskTracker::new(),
            ended: CancellationToken::new(),
            support,
            members,
        });
        let (orders, orders_in) = mpsc::channel(ORDERS);
        let (events, events_in) = mpsc::channel(EVENTS);
        let IntakeConfig { pool_count, pool_bytes, .. } = recovered.intake;
        Self {
            shared,
            orders,
            events: events.clone(),
            started: watch::Sender::new(false),
            pool: (pool_count, pool_bytes),
            parts: Mutex::new(Some(Parts { link, recovered, options, orders: orders_in, events: events_in })),
        }
    }

    /// Why nothing can be ordered now, if so.
    fn check_running(&self) -> Result<(), OrderError> {
        let stopped = |reason: &str| OrderError::Stopped {
            channel: self.shared.channel().into(),
            reason: reason.into(),
        };
        match &*self.shared.health.borrow() {
            Health::Halted => Err(stopped("it was halted")),
            Health::Failed(reason) => Err(stopped(reason)),
            Health::Good if *self.started.borrow() => Ok(()),
            Health::Good => Err(OrderError::NotStarted { channel: self.shared.channel().into() }),
        }
    }

    /// What the intake takes of an envelope that passed the filters under `config_sequence`.
    fn admit(&self, envelope: Parsed, mut config_sequence: u64) -> Result<Envelope, OrderError> {
        self.check_running()?;
        let support = &self.shared.support;
        if config_sequence < support.sequence() {
            config_sequence = support
                .processor()
                .process_normal(&envelope, SystemTime::now())
                .map_err(|rejection| OrderError::Invalid { reason: rejection.to_string() })?;
        }
        check_canonical(&envelope.frame)
            .map_err(|error| OrderError::Invalid { reason: error.to_string() })?;
        Ok(accepted(envelope, config_sequence))
    }

    /// Gives envelopes to the protocol task and waits for its answers, up to the first failure. As
    /// long as answers come there is no hurry.
    async fn place(&self, envelopes: VecDeque<Envelope>, outcomes: &mut Vec<Result<Receipt, OrderError>>) {
        let ids: Vec<RequestId> = envelopes.iter().map(|envelope| envelope.id).collect();
        let (reply, mut answers) = mpsc::unbounded_channel();
        let order = Order { envelopes, reply };
        match tokio::time::timeout(ROOM_TIMEOUT, self.orders.send(order)).await {
            Ok(Ok(())) => {}
            Ok(Err(_closed)) => return outcomes.push(Err(self.ended())),
            Err(_elapsed) => return outcomes.push(Err(self.full())),
        }
        let mut ids = ids.into_iter();
        let mut duplicates = Vec::new();
        while ids.len() > 0 {
            let received = answers.recv_many(&mut duplicates, ids.len());
            match tokio::time::timeout(ROOM_TIMEOUT, received).await {
                Ok(0) => return outcomes.push(Err(self.ended())),
                Ok(_) => {}
                Err(_elapsed) => return outcomes.push(Err(self.full())),
            }
            for (duplicate, id) in duplicates.drain(..).zip(&mut ids) {
                outcomes.push(Ok(self.receipt(id, duplicate)));
            }
        }
    }

    fn full(&self) -> OrderError {
        let (limit, limit_bytes) = self.pool;
        OrderError::PoolFull { limit, limit_bytes }
    }

    fn receipt(&self, id: RequestId, duplicate: bool) -> Receipt {
        let events = self.events.clone();
        let mut height = self.shared.support.watch_height();
        Receipt::new(duplicate, async move {
            let (reply, answer) = oneshot::channel();
            events.send(Event::Watch { id, reply }).await.map_err(|_| NotCommitted::Stopped)?;
            let number = answer.await.map_err(|_| NotCommitted::Stopped)??;
            height.wait_for(|height| *height > number.0).await.map_err(|_| NotCommitted::Stopped)?;
            Ok(number)
        })
    }

    /// The chain has ended, although it was running a moment ago.
    fn ended(&self) -> OrderError {
        self.check_running().err().unwrap_or_else(|| OrderError::Stopped {
            channel: self.shared.channel().into(),
            reason: "it is ending".into(),
        })
    }

    fn run(&self, parts: Parts) -> std::io::Result<()> {
        let Parts { mut link, recovered, options, orders, events } = parts;
        let Recovered { log, epoch, records, tip, config, intake } = recovered;
        let shared = &self.shared;
        let (outstanding, window, interval) = (config.outstanding, config.window, config.status_interval);
        let (log_jobs, log_jobs_in) = mpsc::channel(LOG_JOBS);
        let (promises, promises_in) = mpsc::channel(PROMISES);
        let (block_jobs, block_jobs_in) = mpsc::channel(BLOCK_JOBS);
        let (loopback, loopback_in) = mpsc::unbounded_channel();
        let durable = watch::Sender::new(0);
        let asked = Arc::new(Asked::new(config.n));

        let intake = Intake::new(intake, tip.recent.clone());
        let mut outputs = Vec::new();
        let replica = Replica::recover(config, tip, records, Time(shared.begun.elapsed()), &mut outputs);

        let release = release::run(shared.clone(), promises_in, durable.subscribe(), loopback);
        log::spawn(shared.clone(), log, log_jobs_in, durable)?;
        blocks::spawn(shared, block_jobs_in, self.events.clone(), options.block_sync_interval, window)?;
        shared.tracker.spawn(release);

        for (place, _, peer) in shared.members.others() {
            if let Some(frames) = link.bulk(peer) {
                shared.spawn(receive::bulk(shared.clone(), place, frames, outstanding, self.events.clone()));
            }
        }
        let ChannelLink { votes, repair, events: links, .. } = link;
        receive::votes(shared, votes, interval, &self.events);
        repair::inbox(shared, repair, &asked, &self.events);
        shared.spawn(receive::links(shared.clone(), links, self.events.clone()));

        let outlets = Outlets { log: log_jobs, promises, blocks: block_jobs, events: self.events.clone() };
        let driver = Driver::new(
            shared.clone(),
            (replica, outputs),
            intake,
            outlets,
            asked,
            epoch,
            options.compact_bytes,
        );
        let inlets = Inlets { events, loopback: loopback_in, orders };
        shared.tracker.spawn(driver.run(inlets, self.errored()));
        Ok(())
    }
}

#[async_trait]
impl Chain for SbftChain {
    async fn order(&self, envelope: Parsed, config_sequence: u64) -> Result<Receipt, OrderError> {
        let outcome = self.order_all(vec![(envelope, config_sequence)]).await.pop();
        outcome.unwrap_or_else(|| Err(self.ended()))
    }

    async fn order_all(&self, envelopes: Vec<(Parsed, u64)>) -> Vec<Result<Receipt, OrderError>> {
        let mut outcomes = Vec::with_capacity(envelopes.len());
        let mut good = VecDeque::with_capacity(envelopes.len());
        let mut refusal = None;
        for (envelope, config_sequence) in envelopes {
            match self.admit(envelope, config_sequence) {
                Ok(envelope) => good.push_back(envelope),
                Err(error) => {
                    refusal = Some(error);
                    break;
                }
            }
        }
        if !good.is_empty() {
            self.place(good, &mut outcomes).await;
        }
        if outcomes.iter().all(Result::is_ok) {
            outcomes.extend(refusal.map(Err));
        }
        outcomes
    }

    async fn configure(&self, _envelope: Parsed, _config_sequence: u64) -> Result<Receipt, OrderError> {
        self.check_running()?;
        Err(OrderError::ConfigUpdatesNotServed)
    }

    async fn wait_ready(&self) -> Result<(), NotReady> {
        self.check_running().map_err(|error| NotReady { text: error.to_string() })?;
        match self.shared.reach.count().refusal() {
            Some(text) => Err(NotReady { text }),
            None => Ok(()),
        }
    }

    fn errored(&self) -> Errored {
        Errored::new(self.shared.health.subscribe())
    }

    fn start(&self) {
        let Some(parts) = self.parts.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        if *self.shared.health.borrow() != Health::Good {
            return; // halted before it was started
        }
        self.started.send_replace(true);
        if let Err(error) = self.run(parts) {
            self.shared.fail(format!("cannot start a thread: {error}"));
        }
    }

    fn halt(&self) {
        self.shared.health.send_if_modified(|health| {
            let changes = *health == Health::Good;
            if changes {
                *health = Health::Halted;
            }
            changes
        });
        // What was never started holds a log and a link, too.
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.shared.tracker.close();
    }

    async fn stopped(&self) {
        self.shared.tracker.wait().await;
    }

    fn status(&self) -> ChainStatus {
        let shared = &self.shared;
        let Snapshot { replica, intake } = shared.snapshot.borrow().clone();
        let health = shared.health.borrow().clone();
        let reach = shared.reach.count();
        let peers = shared.members.others().map(|(place, member, _)| {
            let status = shared.reach.status(place);
            PeerStatus {
                id: member.id,
                address: member.address.clone(),
                connected: shared.reach.is_reachable(place),
                view: status.as_ref().map(|status| status.view),
                active: status.as_ref().map(|status| status.active),
                committed: status.as_ref().map(|status| status.committed),
            }
        });
        let running = health == Health::Good && *self.started.borrow();
        ChainStatus {
            view: replica.view,
            primary: Some(shared.members.id(replica.primary)),
            id: Some(shared.members.id(shared.members.me)),
            height: shared.support.height(),
            active: running && replica.active,
            role: match &shared.role {
                Role::Voter => RoleStatus::Voter,
                Role::Follower(reason) => RoleStatus::Follower(reason.clone()),
            },
            quorum: reach.reachable >= reach.needed,
            reachable: reach.reachable,
            needed: reach.needed,
            consenters: reach.n,
            peers: peers.collect(),
            in_flight: replica.in_flight,
            pool: intake.pool,
            failure: match health {
                Health::Failed(reason) => Some(reason),
                Health::Good | Health::Halted => None,
            },
        }
    }
}
