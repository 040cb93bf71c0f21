//! Measures what each piece of work costs on this machine, with the node's own code.
//!
//! Processor time is that of the measuring thread, so that other work on the machine disturbs it
//! little; only the times of syncs are wall time. What cannot be called by itself, the clients' way through
//! gRPC, is what a network of one replica takes more than all the rest ([`clients`]).

mod clients;
mod signatures;
mod storage;
mod transport;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sbft::consenter::sbft::rules;
use sbft::types::Place;
use sbft::wire;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

use super::network::Binary;
use super::{Costs, Line, Load, Model, Setup, Sharing, Signed, Steps};
use crate::channel::{Filters, Signatures};
use crate::draw::Draws;
use crate::workload::Workload;
use crate::world::default_config;

/// Sizes of envelopes that lines are drawn through, bytes.
const SIZES: (usize, usize) = (512, 4096);
/// Envelopes of a candidate that is measured.
const BATCH: usize = 100;
/// How long a piece of work is repeated, of processor time.
const REPEATED: Duration = Duration::from_millis(200);

/// Measures everything. `note` hears what is being measured. Files go into `folder`, which must be on
/// the disk that is meant, and are deleted again. `sizes` are those of networks for which the
/// core's steps are measured.
///
/// # Errors
/// What could not be measured, and why.
pub fn measure(
    binary: &Binary,
    folder: &Path,
    sizes: &[usize],
    note: &mut dyn FnMut(&str),
) -> Result<Costs, String> {
    let mut costs = Costs {
        processor: processor(),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        version: format!("sbft {}", env!("CARGO_PKG_VERSION")),
        ..Costs::default()
    };
    note("signatures");
    costs.ed25519 = signatures::measure(Signatures::Ed25519)?;
    costs.p256 = signatures::measure(Signatures::Ecdsa)?;
    note("envelopes and candidates");
    (costs.form, costs.encode, costs.decode) = candidates()?;
    note("wake-ups and QUIC");
    costs.wake_us = wake()?;
    (costs.message, costs.bulk) = transport::measure(costs.wake_us)?;
    note("log and ledger");
    (costs.log, costs.ledger) = storage::measure(folder)?;
    for n in sizes {
        note(&format!("the core's steps with {n} replicas"));
        costs.steps.push(steps(*n)?);
    }
    note("a network of one replica");
    (costs.ingest, costs.client) = clients::measure(binary, folder, &costs)?;
    Ok(costs)
}

/// Microseconds of this thread's processor time that one of `work`'s calls takes.
fn cpu_us(mut work: impl FnMut()) -> Result<f64, String> {
    work();
    let (begun, mut calls) = (thread_cpu()?, 0u32);
    loop {
        for _ in 0..8 {
            work();
        }
        calls += 8;
        let spent = thread_cpu()?.saturating_sub(begun);
        if spent >= REPEATED {
            return Ok(spent.as_secs_f64() * 1e6 / f64::from(calls));
        }
    }
}

/// Processor time of this thread so far.
pub(super) fn thread_cpu() -> Result<Duration, String> {
    let file = "/proc/thread-self/schedstat";
    let text = fs::read_to_string(file).map_err(|error| format!("cannot read {file}: {error}"))?;
    let nanos = text.split_whitespace().next().and_then(|first| first.parse().ok());
    nanos.map(Duration::from_nanos).ok_or_else(|| format!("{file} says {text:?}, which is no time"))
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

/// A runtime for what one thread does.
fn runtime() -> Result<Runtime, String> {
    Builder::new_current_thread().enable_all().build().map_err(|error| format!("no runtime: {error}"))
}

/// Envelopes of a size, as clients send them, without real signatures.
fn envelopes(size: usize) -> Vec<Bytes> {
    let config = default_config(4);
    let size = size as u64;
    let workload = Workload::new(Signatures::Simulated, &config).sized(Draws::new(1), (size, size));
    (0..BATCH as u64).map(|index| workload.envelope(index, 0)).collect()
}

/// What the form of an envelope, making a candidate and decoding one cost.
fn candidates() -> Result<(Line, Line, Line), String> {
    let mut config = default_config(4);
    config.max_message_count = 500;
    config.absolute_max_bytes = 10 << 20;
    config.preferred_max_bytes = 2 << 20;
    let filters = Filters::of(Signatures::Simulated, &config);
    let each = |us: f64| us / BATCH as f64;
    let one = |size: usize| -> Result<[(usize, f64); 3], String> {
        let batch = envelopes(size);
        let form = cpu_us(|| {
            for envelope in &batch {
                std::hint::black_box(filters.admit(envelope.clone()).is_ok());
            }
        })?;
        let made = || wire::candidate::encode(Place(1), 1, batch.clone()).map_err(|error| error.to_string());
        let candidate = Arc::new(made()?);
        let encode = cpu_us(|| drop(std::hint::black_box(made())))?;
        let judge = || {
            let encoding = candidate.encoding.clone();
            let digest = wire::candidate::digest(&encoding);
            rules::judge_candidate(digest, encoding, &filters.limits, Some(Place(1)), 4, &filters.processor)
        };
        if judge().is_none_or(|judged| judged.verdict.is_err()) {
            return Err("a candidate of good envelopes is refused".to_owned());
        }
        let decode = cpu_us(|| drop(std::hint::black_box(judge())))?;
        Ok([form, encode, decode].map(|us| (size, each(us))))
    };
    let (low, high) = (one(SIZES.0)?, one(SIZES.1)?);
    let line = |index: usize| Line::through(low[index], high[index]);
    Ok((line(0), line(1), line(2)))
}

/// What it costs to wake a task on another thread: two that wake each other in turn.
fn wake() -> Result<f64, String> {
    const HOPS: usize = 20_000;
    let (ping, mut pings) = mpsc::unbounded_channel::<()>();
    let (pong, mut pongs) = mpsc::unbounded_channel::<()>();
    let other = std::thread::spawn(move || -> Result<Duration, String> {
        let runtime = runtime()?;
        let begun = thread_cpu()?;
        runtime.block_on(async { while pings.recv().await.is_some() && pong.send(()).is_ok() {} });
        Ok(thread_cpu()? - begun)
    });
    let runtime = runtime()?;
    let begun = thread_cpu()?;
    runtime.block_on(async {
        for _ in 0..HOPS {
            if ping.send(()).is_err() || pongs.recv().await.is_none() {
                return Err("the other thread has ended".to_owned());
            }
        }
        drop(ping);
        Ok(())
    })?;
    let mine = thread_cpu()? - begun;
    let others = other.join().map_err(|_| "the other thread panicked".to_owned())??;
    Ok((mine + others).as_secs_f64() * 1e6 / (2 * HOPS) as f64)
}

/// What the steps of core and intake take with `n` replicas: a run in which nothing else takes time.
fn steps(n: usize) -> Result<Steps, String> {
    let free = Costs { steps: vec![Steps { n, ..Steps::default() }], ..Costs::default() };
    let setup = Setup {
        model: Model::Lan1g,
        sharing: Sharing::Each(4),
        signed: Signed::Open,
        warm_up: Duration::from_millis(100),
        lasts: Duration::from_millis(300),
        ..Setup::new(n, Load::Rate(4_000.0))
    };
    let us = super::metered(&setup, &free)?;
    Ok(Steps { n, us })
}
