//! How the engine scales: the same replicas in the same virtual time, on machines whose processors,
//! cards and disks take as long as was measured.
//!
//! `costs` is what was measured (by `calibrate`), `cores` who waits for a processor, `links` the
//! ways, `machine` puts work in front of everything that a replica does, `clients` are the load.
//! A run is deterministic given its [`Costs`]. docs/scale.md has the model and what it leaves out.

pub mod calibrate;
mod clients;
mod cores;
mod costs;
mod links;
mod machine;
pub(crate) mod meter;
pub mod network;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use sbft::dedup_window::DedupRule;
use sbft::genesis::{BatchSpec, OptionsSpec};
use sbft::node_config::StorageConfig;
use sbft::types::Time;
use serde::Serialize;

pub use clients::Load;
pub use costs::{Costs, Disk, Filtering, Filters, Line, Signature, Steps, Way};
pub use links::Model;
pub(crate) use machine::{Machine, Task};

use crate::channel::Signatures;
use crate::violation::Violation;
use crate::world::{Settings, World, default_config};
use links::Links;
use machine::Part;
use meter::Meter;

/// Whose processors are whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// All replicas and the clients are on one machine with so many processors, and one disk.
    One(usize),
    /// Each replica has a machine of its own with so many processors; the clients' have enough.
    Each(usize),
}

/// How clients and replicas sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signed {
    /// Anyone may write: clients' signatures are not checked; replicas sign with Ed25519.
    Open,
    /// All sign with Ed25519.
    Ed25519,
    /// All sign with ECDSA P-256.
    P256,
}

impl Signed {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Ed25519 => "ed25519",
            Self::P256 => "p256",
        }
    }
}

/// A run.
#[derive(Clone, Debug)]
pub struct Setup {
    /// How many replicas.
    pub n: usize,
    /// Where they stand.
    pub model: Model,
    /// Whose processors are whose.
    pub sharing: Sharing,
    /// How clients and replicas sign.
    pub signed: Signed,
    /// What the clients do.
    pub load: Load,
    /// Bytes of an envelope.
    pub bytes: usize,
    /// Most envelopes of a block.
    pub block: u32,
    /// Virtual time before measuring begins.
    pub warm_up: Duration,
    /// Virtual time measured.
    pub lasts: Duration,
    /// How long a job may keep a processor while others wait.
    pub slice: Duration,
    /// The seed of what is drawn.
    pub seed: u64,
}

impl Setup {
    /// The usual run with `n` replicas, at this load.
    pub fn new(n: usize, load: Load) -> Self {
        Self {
            n,
            model: Model::Lan1g,
            sharing: Sharing::Each(4),
            signed: Signed::Ed25519,
            load,
            bytes: 1024,
            block: BatchSpec::default().max_message_count,
            warm_up: Duration::from_millis(500),
            lasts: Duration::from_secs(1),
            slice: Duration::from_millis(1),
            seed: 1,
        }
    }
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// How many replicas.
    pub n: usize,
    /// Envelopes that clients saw in blocks, a second.
    pub committed_per_s: f64,
    /// From when it was due to when its client saw it in a block, milliseconds.
    pub p50_ms: f64,
    /// The same, 99 of 100.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
    /// Processor time of all replicas for each envelope, microseconds.
    pub cpu_us_per_envelope: f64,
    /// The same of the clients.
    pub client_us_per_envelope: f64,
    /// What the replicas' went into.
    pub parts_us: Vec<(String, f64)>,
    /// Bytes that a replica sends to others for each envelope, headers included.
    pub bytes_per_envelope: f64,
    /// Frames likewise.
    pub frames_per_envelope: f64,
    /// Envelopes in a block, on average.
    pub block: f64,
    /// How busy the busiest machine's processors were, 0 to 1.
    pub busy: f64,
    /// View changes, which a run without faults should not have.
    pub view_changes: u64,
    /// Hash of all events.
    pub hash: u64,
}

/// The world of a run: the node's default rules and timers, and disks, processors and links by `setup`.
fn world(setup: &Setup) -> World {
    let rules = OptionsSpec::default();
    let batch = BatchSpec::default();
    // Over the world all timeouts are several round trips, as the node's documentation asks for.
    let times = if setup.model == Model::Wan5 { 5 } else { 1 };
    let mut config = default_config(setup.n);
    config.window = rules.window;
    config.dedup = DedupRule { blocks: rules.dedup_blocks, envelopes: rules.dedup_envelopes };
    config.outstanding = rules.candidates_outstanding as usize;
    config.max_message_count = setup.block;
    config.absolute_max_bytes = batch.absolute_max_bytes.into();
    config.preferred_max_bytes = batch.preferred_max_bytes.into();
    config.forward_timeout = rules.forward_timeout * times;
    config.complain_timeout = rules.complain_timeout * times;
    config.view_change_timeout = rules.view_change_timeout * times;
    config.view_change_timeout_cap = rules.view_change_timeout_cap * times;
    config.status_interval = rules.resend_interval * times;
    config.slow_primary_factor = u32::try_from(rules.slow_primary_factor).unwrap_or(u32::MAX);
    let interval = StorageConfig::default().block_sync_interval;
    let settings = Settings {
        config,
        conditions: setup.model.conditions(),
        block_sync: (interval, interval),
        cut_count: setup.block as usize,
        batch_timeout: batch.timeout,
        pool: rules.request_pool_size as usize,
        signatures: Signatures::Simulated,
        envelope_bytes: (setup.bytes as u64, setup.bytes as u64),
        restarts: false,
        ..Settings::calm(setup.seed, setup.n)
    };
    let mut world = World::new(settings, Vec::new(), &[]);
    // Nobody fails here: what is owed is owed for as long as the clients' queues are.
    world.checks.patience = Duration::from_secs(3600);
    world
}

/// Runs it.
///
/// # Errors
/// A check of the simulator that failed, or nothing that was committed.
pub fn run(setup: &Setup, costs: &Costs) -> Result<Outcome, String> {
    run_metered(setup, costs, None).map(|(outcome, _)| outcome)
}

/// Runs it and gives how long the steps of core and intake really took, microseconds by kind.
fn metered(setup: &Setup, costs: &Costs) -> Result<BTreeMap<String, f64>, String> {
    let (_, meter) = run_metered(setup, costs, Some(Box::default()))?;
    Ok(meter.map(|meter| meter.means()).unwrap_or_default())
}

fn run_metered(
    setup: &Setup,
    costs: &Costs,
    meter: Option<Box<Meter>>,
) -> Result<(Outcome, Option<Box<Meter>>), String> {
    let mut world = world(setup);
    world.meter = meter;
    let one_reader = matches!(setup.sharing, Sharing::One(_));
    let begin = Time(Duration::from_millis(100));
    let clients = clients::Clients::new(setup.load, setup.n, setup.bytes, one_reader, begin);
    let links = Links::new(setup.model, setup.n);
    let machine =
        Machine::new(setup.n, costs.clone(), setup.signed, setup.sharing, setup.slice, links, clients);
    world.machine = Some(Box::new(machine));
    world.start();
    world.start_clients();
    let warm = begin.after(setup.warm_up);
    world.run_until(warm);
    let before = Snapshot::of(&world);
    if let Some(machine) = &mut world.machine {
        machine.clients.measuring = true;
    }
    world.run_until(warm.after(setup.lasts));
    if let Some(violation) = world.violation() {
        return Err(told(violation));
    }
    let outcome = Snapshot::of(&world).since(&before, setup, &mut world)?;
    Ok((outcome, world.meter.take()))
}

fn told(violation: &Violation) -> String {
    format!("{:?} ({}) at {}: {}", violation.class, violation.check, violation.at, violation.text)
}

/// Counters at one moment.
struct Snapshot {
    spent: Vec<[Duration; Part::NAMES.len()]>,
    client: Duration,
    sent_bytes: u64,
    sent: u64,
    busy: (Duration, usize),
    blocks: u64,
}

impl Snapshot {
    fn of(world: &World) -> Self {
        let machine = world.machine.as_ref().expect("the run has machines");
        Self {
            spent: machine.spent.clone(),
            client: machine.client_spent,
            sent_bytes: machine.sent_bytes.iter().sum(),
            sent: machine.sent,
            busy: machine.busy(),
            blocks: world.checks.chain_len(),
        }
    }

    fn since(self, before: &Self, setup: &Setup, world: &mut World) -> Result<Outcome, String> {
        let machine = world.machine.as_mut().expect("the run has machines");
        let mut latencies = std::mem::take(&mut machine.clients.latencies);
        latencies.sort_unstable();
        let count = latencies.len();
        if count == 0 {
            return Err(format!(
                "nothing was committed within {:?} with {} replicas; give more time",
                setup.lasts, setup.n
            ));
        }
        let quantile = |share: f64| latencies[((count - 1) as f64 * share) as usize] as f64 / 1000.0;
        let each = |total: f64| total / count as f64;
        let part = |index: usize| {
            let sum = |spent: &[[Duration; Part::NAMES.len()]]| -> f64 {
                spent.iter().map(|parts| parts[index].as_secs_f64() * 1e6).sum()
            };
            each(sum(&self.spent) - sum(&before.spent))
        };
        let mut parts_us: Vec<(String, f64)> =
            Part::NAMES.iter().enumerate().map(|(index, name)| ((*name).to_owned(), part(index))).collect();
        parts_us.push(("idle".to_owned(), each(machine.idle_us() * setup.lasts.as_secs_f64())));
        let views = world.bodies.iter().filter_map(|body| body.core.as_ref()).map(|core| core.probe().view.0);
        Ok(Outcome {
            n: setup.n,
            committed_per_s: count as f64 / setup.lasts.as_secs_f64(),
            p50_ms: quantile(0.5),
            p99_ms: quantile(0.99),
            max_ms: quantile(1.0),
            cpu_us_per_envelope: parts_us.iter().map(|(_, us)| us).sum(),
            client_us_per_envelope: each((self.client - before.client).as_secs_f64() * 1e6),
            parts_us,
            bytes_per_envelope: each((self.sent_bytes - before.sent_bytes) as f64) / setup.n as f64,
            frames_per_envelope: each((self.sent - before.sent) as f64) / setup.n as f64,
            block: count as f64 / (self.blocks - before.blocks).max(1) as f64,
            busy: (self.busy.0 - before.busy.0).as_secs_f64()
                / (setup.lasts.as_secs_f64() * self.busy.1.max(1) as f64),
            view_changes: views.max().unwrap_or(0),
            hash: world.trace.hash(),
        })
    }
}
