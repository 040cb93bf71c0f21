//! Measures what each piece of work costs on this machine, with the node's own code.
//!
//! Processor time is that of the measuring thread, so that other work on the machine disturbs it
//! little; only the times of syncs are wall time. What cannot be called by itself, the clients' way through
//! gRPC, is what a network of one replica takes more than all the rest (`clients`).

mod clients;
mod filters;
mod signatures;
mod storage;
mod transport;

use std::fs;
use std::path::Path;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

use super::network::Binary;
use super::{Costs, Load, Model, Setup, Sharing, Signed, Steps};
use crate::channel::Signatures;

/// How long a piece of work is repeated, of processor time.
const REPEATED: Duration = Duration::from_millis(100);
/// How often two threads wake each other, without and with a pause, and the pause: long enough to sleep.
const HOPS: usize = 20_000;
const COLD_HOPS: usize = 500;
const PAUSE: Duration = Duration::from_millis(2);

/// Measures everything. `note` hears what is being measured. Files go into `folder`, which must be on
/// the disk that is meant, and are deleted again. `sizes` are those of networks for which the
/// core's steps are measured; the network of one replica has ports from `base_port` on.
///
/// The processors are those that this process may use: under `taskset -c 0,1` it measures a machine of two.
///
/// # Errors
/// What could not be measured, and why.
pub fn measure(
    binary: &Binary,
    folder: &Path,
    sizes: &[usize],
    base_port: u16,
    note: &mut dyn FnMut(&str),
) -> Result<Costs, String> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut costs = Costs {
        processor: processor(),
        processors,
        version: format!("sbft {}", env!("CARGO_PKG_VERSION")),
        ..Costs::default()
    };
    filters::in_a_crowd(processors - 1, || {
        note("signatures of votes");
        costs.ed25519 = signatures::measure(Signatures::Ed25519)?;
        costs.p256 = signatures::measure(Signatures::Ecdsa)?;
        note("filters and candidates");
        costs.filters.open = filters::measure(Signatures::Simulated)?;
        costs.filters.ed25519 = filters::measure(Signatures::Ed25519)?;
        costs.filters.p256 = filters::measure(Signatures::Ecdsa)?;
        costs.encode = filters::encode()?;
        for n in sizes {
            note(&format!("the core's steps with {n} replicas"));
            costs.steps.push(steps(*n)?);
        }
        Ok(())
    })?;
    note("wake-ups and QUIC");
    costs.wake_us = wake(HOPS, Duration::ZERO)?;
    costs.cold_wake_us = wake(COLD_HOPS, PAUSE)?;
    (costs.message, costs.bulk) = transport::measure(processors)?;
    note("log and ledger");
    (costs.log, costs.ledger) = storage::measure(folder)?;
    note("a network of one replica");
    clients::measure(binary, folder, base_port, &mut costs)?;
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
fn thread_cpu() -> Result<Duration, String> {
    Ok(schedule(Path::new("/proc/thread-self/schedstat"))?.0)
}

/// How long this thread has waited so far for a processor that others had.
fn thread_waited() -> Result<Duration, String> {
    Ok(schedule(Path::new("/proc/thread-self/schedstat"))?.1)
}

/// What a thread's `schedstat` says: how long it ran, and how long it waited to.
fn schedule(file: &Path) -> Result<(Duration, Duration), String> {
    let shown = file.display();
    let text = fs::read_to_string(file).map_err(|error| format!("cannot read {shown}: {error}"))?;
    let mut fields = text.split_whitespace().map(|field| field.parse().map(Duration::from_nanos));
    match (fields.next(), fields.next()) {
        (Some(Ok(ran)), Some(Ok(waited))) => Ok((ran, waited)),
        _ => Err(format!("{shown} says {text:?}, which is no time")),
    }
}

/// Processor time so far of this process's threads of this name.
fn named_cpu(name: &str) -> Result<Duration, String> {
    let tasks = "/proc/self/task";
    let cannot = |error: std::io::Error| format!("cannot read {tasks}: {error}");
    let mut sum = Duration::ZERO;
    for task in fs::read_dir(tasks).map_err(cannot)? {
        let path = task.map_err(cannot)?.path();
        // A thread may have ended meanwhile; those that are measured have not.
        if fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim_end() == name) {
            sum += schedule(&path.join("schedstat"))?.0;
        }
    }
    Ok(sum)
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

/// What it costs to wake a task on another thread: two that wake each other in turn, with a pause each time
/// they have. The pause's own wake-up is one more.
fn wake(hops: usize, pause: Duration) -> Result<f64, String> {
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
        for _ in 0..hops {
            if !pause.is_zero() {
                std::thread::sleep(pause);
            }
            if ping.send(()).is_err() || pongs.recv().await.is_none() {
                return Err("the other thread has ended".to_owned());
            }
        }
        drop(ping);
        Ok(())
    })?;
    let mine = thread_cpu()? - begun;
    let others = other.join().map_err(|_| "the other thread panicked".to_owned())??;
    let wakes = hops * if pause.is_zero() { 2 } else { 3 };
    Ok((mine + others).as_secs_f64() * 1e6 / wakes as f64)
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
