//! Listens to the stations of `sbft::phases` of all replicas of this process, and divides each envelope's
//! commit latency among the phases.
//!
//! A phase that a quorum goes through ends when the last of the fastest quorum has gone through it; what
//! the slower ones do costs nobody any time. So the phases of an envelope add up to its latency.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use hdrhistogram::Histogram;
use sbft::phases::{self, TARGET, block, candidate, envelope};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, reload};

use crate::client::Sample;
use crate::recorder::nanoseconds;

/// What was heard.
#[derive(Clone)]
pub(crate) struct Timeline {
    heard: Arc<Heard>,
    filter: reload::Handle<Targets, Registry>,
}

#[derive(Default)]
struct Heard {
    listening: AtomicBool,
    stations: Mutex<Vec<Station>>,
}

#[derive(Clone, Default)]
struct Station {
    at: Option<Instant>,
    station: String,
    replica: u64,
    number: u64,
    sequence: u64,
    envelope: u64,
}

impl Visit for Station {
    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "replica" => self.replica = value,
            "number" => self.number = value,
            "sequence" => self.sequence = value,
            "envelope" => self.envelope = value,
            _ => {}
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "station" {
            self.station = value.to_owned();
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

struct Listener(Arc<Heard>);

impl<S: Subscriber> Layer<S> for Listener {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if self.0.listening.load(Ordering::Relaxed) {
            let mut station = Station { at: Some(Instant::now()), ..Station::default() };
            event.record(&mut station);
            self.0.stations.lock().unwrap_or_else(PoisonError::into_inner).push(station);
        }
    }
}

/// The phases, in order, and what ends each.
pub(crate) const PHASES: [&str; 13] = [
    "client to replica (gRPC, TLS)",
    "filter (decode, signature, policy)",
    "pool (to the protocol task)",
    "cut",
    "disseminate (encode, send, proposed)",
    "sync and sign the proposal",
    "pre-prepare (to a quorum)",
    "sync and sign the prepares",
    "prepare (a quorum has a quorum)",
    "sync and sign the commits",
    "commit (a quorum of commits here)",
    "append to the ledger",
    "deliver (gRPC, TLS, to the client)",
];

/// Each phase's times, nanoseconds, over some envelopes.
pub(crate) struct Shares {
    /// As [`PHASES`].
    pub(crate) phases: Vec<Histogram<u64>>,
    /// Mean of each, nanoseconds; they add up to the mean of the latency.
    pub(crate) means: Vec<f64>,
    /// Envelopes whose way was heard whole.
    pub(crate) whole: usize,
}

impl Timeline {
    /// Sets up the process's log: warnings to standard error, and this, not yet listening.
    pub(crate) fn install() -> Self {
        let (filter, handle) = reload::Layer::new(Targets::new());
        let heard = Arc::<Heard>::default();
        let listener = Listener(Arc::clone(&heard)).with_filter(filter);
        // That peers come and go is what happens when networks start and stop.
        let told =
            Targets::new().with_default(LevelFilter::WARN).with_target("sbft::transport", LevelFilter::ERROR);
        let lines =
            tracing_subscriber::fmt::layer().with_ansi(false).with_writer(std::io::stderr).with_filter(told);
        tracing_subscriber::registry().with(listener).with(lines).init();
        Self { heard, filter: handle }
    }

    /// Listens from now on. Before, stations cost next to nothing.
    pub(crate) fn listen(&self) {
        self.filter.reload(Targets::new().with_target(TARGET, LevelFilter::TRACE)).expect("the log is there");
        self.heard.listening.store(true, Ordering::Relaxed);
    }

    /// Listens no more; divides the latencies of what was submitted to the replica at `place` among the
    /// phases, for a network whose primary is at `primary` and whose quorum is `quorum`.
    pub(crate) fn shares(&self, samples: &[Sample], place: u64, primary: u64, quorum: usize) -> Shares {
        self.heard.listening.store(false, Ordering::Relaxed);
        self.filter.reload(Targets::new()).expect("the log is there");
        let stations =
            std::mem::take(&mut *self.heard.stations.lock().unwrap_or_else(PoisonError::into_inner));
        let map = Map::of(&stations);
        let mut phases: Vec<Histogram<u64>> = PHASES.iter().map(|_| nanoseconds()).collect();
        let mut sums = vec![0.0; PHASES.len()];
        let mut whole = 0;
        for sample in samples {
            let Some(ends) = map.ends(sample, place, primary, quorum) else { continue };
            whole += 1;
            let mut begun = sample.due;
            for (phase, end) in ends.into_iter().enumerate() {
                let took = end.saturating_duration_since(begun).as_nanos() as f64
                    - begun.saturating_duration_since(end).as_nanos() as f64;
                sums[phase] += took;
                phases[phase].saturating_record(took.max(0.0) as u64);
                begun = end;
            }
        }
        let means = sums.into_iter().map(|sum| sum / whole.max(1) as f64).collect();
        Shares { phases, means, whole }
    }
}

/// Stations by what they are about.
#[derive(Default)]
struct Map {
    envelopes: HashMap<(String, u64), Instant>,
    batches: HashMap<(u64, u64), Instant>,
    batch_of: HashMap<u64, (u64, u64)>,
    /// By station and number: when each replica passed it.
    blocks: HashMap<(String, u64), Vec<(u64, Instant)>>,
}

impl Map {
    fn of(stations: &[Station]) -> Self {
        let mut map = Self::default();
        for heard in stations {
            let Some(at) = heard.at else { continue };
            match heard.station.as_str() {
                envelope::RECEIVED | envelope::FILTERED | envelope::POOLED => {
                    map.envelopes.entry((heard.station.clone(), heard.envelope)).or_insert(at);
                }
                candidate::CUT => {
                    map.batches.insert((heard.replica, heard.sequence), at);
                }
                candidate::SENT => {
                    map.batch_of.insert(heard.envelope, (heard.replica, heard.sequence));
                }
                _ => {
                    let passed = map.blocks.entry((heard.station.clone(), heard.number)).or_default();
                    if passed.iter().all(|(replica, _)| *replica != heard.replica) {
                        passed.push((heard.replica, at));
                    }
                }
            }
        }
        map
    }

    /// When each phase of an envelope ended.
    fn ends(&self, sample: &Sample, place: u64, primary: u64, quorum: usize) -> Option<Vec<Instant>> {
        let id = phases::short(&sample.id);
        let of_envelope = |station: &str| self.envelopes.get(&(station.to_owned(), id)).copied();
        let all = |station: &str| self.blocks.get(&(station.to_owned(), sample.block));
        let at = |station: &str, replica: u64| {
            all(station)?.iter().find(|(passed, _)| *passed == replica).map(|(_, at)| *at)
        };
        let by_quorum = |passed: &[(u64, Instant)]| {
            let mut times: Vec<Instant> = passed.iter().map(|(_, at)| *at).collect();
            times.sort_unstable();
            times.get(quorum - 1).copied()
        };
        // The proposal is its primary's prepare.
        let mut prepares = all(block::PREPARE_SENT).cloned().unwrap_or_default();
        let proposed = at(block::PRE_PREPARE_SENT, primary)?;
        prepares.push((primary, proposed));
        Some(vec![
            of_envelope(envelope::RECEIVED)?,
            of_envelope(envelope::FILTERED)?,
            of_envelope(envelope::POOLED)?,
            *self.batches.get(self.batch_of.get(&id)?)?,
            at(block::ACCEPTED, primary)?,
            proposed,
            by_quorum(all(block::ACCEPTED)?)?,
            by_quorum(&prepares)?,
            by_quorum(all(block::PREPARED)?)?,
            by_quorum(all(block::COMMIT_SENT)?)?,
            at(block::COMMITTED, place)?,
            at(block::APPENDED, place)?,
            sample.delivered,
        ])
    }
}
