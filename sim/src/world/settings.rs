//! What a world is made of: sizes, timers, and how slow and how faulty everything is.

use std::time::Duration;

use sbft::dedup_window::DedupRule;
use sbft::header::sha256;
use sbft::intake::block_cutter::CutLimits;
use sbft::intake::{BACKLOG_AFTER, EAGER_CANDIDATES, IntakeConfig};
use sbft::pbft::message::Domain;
use sbft::pbft::{Config, Role};
use sbft::plant::Plants;
use sbft::types::{Era, Number, Place};

use crate::channel::Signatures;
use crate::network::Conditions;

/// What a world is made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The seed of every draw.
    pub seed: u64,
    /// How many replicas.
    pub n: usize,
    /// The rules and timers; `domain`, `n`, `me` and `role` are filled in for each replica.
    pub config: Config,
    /// How packets fare at first.
    pub conditions: Conditions,
    /// Shortest and longest log sync.
    pub sync: (Duration, Duration),
    /// Shortest and longest time from a block's append to its sync.
    pub block_sync: (Duration, Duration),
    /// Shortest and longest check of a candidate.
    pub validate: (Duration, Duration),
    /// Shortest and longest time that a crashed replica stays down.
    pub restart: (Duration, Duration),
    /// How often an output of a replica is the one it crashes at, until [`World::heal`](super::World::heal).
    pub crash_rate: f64,
    /// How often a replica compacts its log after a block was synced.
    pub compact_rate: f64,
    /// Most envelopes that a replica's block cutter puts into a candidate.
    pub cut_count: usize,
    /// How long a partial batch waits while another candidate of the same origin is under way.
    pub batch_timeout: Duration,
    /// Envelopes that may wait at one replica.
    pub pool: usize,
    /// How signatures are made and judged.
    pub signatures: Signatures,
    /// Fewest and most bytes of an envelope; one that would be larger anyway stays as it is.
    pub envelope_bytes: (u64, u64),
    /// Replicas that crash come back by themselves.
    pub restarts: bool,
}

/// The default rules and timers: a LAN, with a failover well under a second.
pub fn default_config(n: usize) -> Config {
    Config {
        domain: Domain { genesis: sha256(b"sbft-sim genesis"), era: Era(0) },
        n,
        me: Place(0),
        role: Role::Voter,
        last_config: Number(0),
        config_sequence: 0,
        window: 8,
        dedup: DedupRule { blocks: 50, envelopes: 0 },
        outstanding: 4,
        max_message_count: 10,
        absolute_max_bytes: 1_000_000,
        preferred_max_bytes: 100_000,
        forward_timeout: Duration::from_millis(150),
        complain_timeout: Duration::from_millis(400),
        view_change_timeout: Duration::from_millis(400),
        view_change_timeout_cap: Duration::from_millis(3200),
        status_interval: Duration::from_millis(100),
        slow_primary_factor: 10,
        plants: Plants::NONE,
    }
}

impl Settings {
    /// Four honest replicas, one millisecond apart, whose disks take no time.
    pub fn calm(seed: u64, n: usize) -> Self {
        Self {
            seed,
            n,
            config: default_config(n),
            conditions: Conditions::steady(Duration::from_millis(1)),
            sync: (Duration::ZERO, Duration::ZERO),
            block_sync: (Duration::from_millis(20), Duration::from_millis(20)),
            validate: (Duration::ZERO, Duration::ZERO),
            restart: (Duration::from_millis(100), Duration::from_millis(500)),
            crash_rate: 0.0,
            compact_rate: 0.0,
            cut_count: 10,
            batch_timeout: Duration::ZERO,
            pool: 10_000,
            signatures: Signatures::Simulated,
            envelope_bytes: (0, 0),
            restarts: true,
        }
    }
}

/// What the intake of the replica at `me` goes by.
pub(crate) fn intake_config(settings: &Settings, me: Place) -> IntakeConfig {
    let config = &settings.config;
    let count = config.max_message_count.min(u32::try_from(settings.cut_count).unwrap_or(u32::MAX)).max(1);
    IntakeConfig {
        n: settings.n,
        me,
        limits: CutLimits {
            max_message_count: count,
            preferred_max_bytes: u32::try_from(config.preferred_max_bytes).unwrap_or(u32::MAX),
        },
        batch_timeout: settings.batch_timeout,
        outstanding: config.outstanding,
        eager: EAGER_CANDIDATES,
        backlog_after: config.forward_timeout * BACKLOG_AFTER,
        pool_count: settings.pool,
        pool_bytes: 256 << 20,
        dedup: config.dedup,
        config_sequence: config.config_sequence,
        plants: config.plants,
    }
}
