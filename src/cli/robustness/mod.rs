//! `sbft robustness`: what one attacker of each kind costs, over the real network. Only in builds with
//! the feature `liar`.
//!
//! Each row is measured twice, each time on a new network: in an open loop at a fixed rate, which
//! shows what latency becomes, and in a closed loop, which shows what throughput becomes.

mod clients;
mod measure;
mod rows;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Serialize;

use super::network::running::Made;
use super::{Key, block_on, say};
use crate::load::Pace;
use measure::{Measured, Setup, measure};
use rows::{FAULT_FREE, Row, rows};

/// Arguments of `sbft robustness`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo run --release --features liar -- robustness
  cargo run --release --features liar -- robustness --only slow-primary
  cargo run --release --features liar -- robustness --list

A liar is honest for the first seconds of load. Throughput under attack is counted from one second
after it begins; latencies and the longest gap from its beginning.")]
pub(super) struct Args {
    /// Measure these rows only, next to the fault-free one
    #[arg(long, value_name = "ROW", value_delimiter = ',')]
    only: Vec<String>,
    /// Print the rows that there are, and end
    #[arg(long)]
    list: bool,
    /// Rate of the open loop, envelopes a second
    #[arg(long, value_name = "N", default_value_t = 1_000.0)]
    rate: f64,
    /// Envelopes in flight in the closed loop
    #[arg(long, value_name = "N", default_value_t = 4_000)]
    in_flight: u64,
    /// Length of each attack, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(3..=3600))]
    seconds: u64,
    /// Measure each row so often, each time on a new network, and print medians
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Load before each attack, in which the liar is honest, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=3600))]
    before: u64,
    /// Encoded size of each envelope, bytes
    #[arg(long, value_name = "BYTES", default_value_t = 1024)]
    size: usize,
    /// How many replicas; one of them lies
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(4..=31))]
    replicas: u32,
    /// Client identities
    #[arg(long, value_name = "N", default_value_t = 8)]
    clients: u32,
    /// Kind of all keys
    #[arg(long, value_name = "ed25519|p256", default_value = "ed25519")]
    key: Key,
    /// First port of the networks
    #[arg(long, value_name = "PORT", default_value_t = 17_050)]
    base_port: u16,
    /// Directory for the networks, deleted before each [default: one in the system's for temporary
    /// files, deleted at the end]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Print JSON instead of the table
    #[arg(long)]
    json: bool,
    /// Write the table to this file, as one HTML page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// A measured row.
#[derive(Clone, Debug, Serialize)]
struct Found {
    row: &'static str,
    attack: &'static str,
    open: Outcome,
    closed: Outcome,
    /// Throughput under attack, as a part of the fault-free row's.
    ratio: Option<f64>,
}

/// What came of a measurement.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "there are few, and most are the large one")]
enum Outcome {
    Measured(Measured),
    Failed(String),
}

impl Outcome {
    fn measured(&self) -> Option<&Measured> {
        match self {
            Self::Measured(measured) => Some(measured),
            Self::Failed(_) => None,
        }
    }
}

/// A network may be disturbed before its attack begins: another is tried so often.
const TRIES: u32 = 2;

/// Measures and prints. Exit status 1 when a row could not be measured: its attack did nothing, or the
/// honest replicas were harmed.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let all = rows();
    if args.list {
        for row in &all {
            say(format_args!("{:<20} {}", row.name, row.what))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(wrong) = args.only.iter().find(|name| all.iter().all(|row| row.name != **name)) {
        bail!("there is no row \"{wrong}\"; `sbft robustness --list` prints those there are");
    }
    let wanted = |row: &Row| {
        args.only.is_empty() || row.name == FAULT_FREE || args.only.iter().any(|name| name == row.name)
    };
    let rows: Vec<_> = all.into_iter().filter(wanted).collect();
    let temporary = std::env::temp_dir().join(format!("sbft-robustness-{}", std::process::id()));
    let setup = Setup {
        dir: args.dir.clone().unwrap_or_else(|| temporary.clone()),
        made: Made {
            replicas: args.replicas,
            base_port: args.base_port,
            key: args.key,
            clients: args.clients,
        },
        size: args.size,
        before: Duration::from_secs(args.before),
        duration: Duration::from_secs(args.seconds),
    };
    let found = block_on(measure_all(&args, &setup, &rows));
    if args.dir.is_none() && temporary.exists() {
        std::fs::remove_dir_all(&temporary)
            .with_context(|| format!("cannot delete {}", temporary.display()))?;
    }
    let found = found?;
    if let Some(path) = &args.html {
        std::fs::write(path, table::html(&args, &found))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if args.json {
        let settings = serde_json::json!({
            "replicas": args.replicas, "envelope_bytes": args.size, "clients": args.clients,
            "key": format!("{:?}", args.key).to_lowercase(), "rate": args.rate,
            "in_flight": args.in_flight, "attack_s": args.seconds, "before_s": args.before,
            "runs": args.runs,
        });
        let json = serde_json::json!({ "settings": settings, "rows": found });
        say(serde_json::to_string_pretty(&json)?)?;
    } else {
        say(table::text(&args, &found))?;
    }
    let failed = |it: &Found| it.open.measured().is_none() || it.closed.measured().is_none();
    Ok(if found.iter().any(failed) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn measure_all(args: &Args, setup: &Setup, rows: &[Row]) -> anyhow::Result<Vec<Found>> {
    let mut found: Vec<Found> = Vec::with_capacity(rows.len());
    for (number, row) in rows.iter().enumerate() {
        eprintln!("row {} of {}: {}: {}", number + 1, rows.len(), row.name, row.what);
        let open = outcome(setup, row, Pace::Open { per_second: args.rate }, args.runs).await;
        let closed = outcome(setup, row, Pace::Closed { in_flight: args.in_flight }, args.runs).await;
        let per_s = |outcome: &Outcome| outcome.measured().map(|it| it.committed_per_s);
        let whole = found.first().map_or_else(|| per_s(&closed), |first| per_s(&first.closed));
        let ratio = per_s(&closed).zip(whole).map(|(part, whole)| part / whole);
        found.push(Found { row: row.name, attack: row.what, open, closed, ratio });
    }
    Ok(found)
}

async fn outcome(setup: &Setup, row: &Row, pace: Pace, runs: u32) -> Outcome {
    let mut all = Vec::new();
    for _ in 0..runs {
        match one(setup, row, pace).await {
            Ok(measured) => all.push(measured),
            Err(reason) => return Outcome::Failed(reason),
        }
    }
    Measured::median(all)
        .map_or_else(|| Outcome::Failed("no run was asked for".to_owned()), Outcome::Measured)
}

async fn one(setup: &Setup, row: &Row, pace: Pace) -> Result<Measured, String> {
    let mut reason = String::new();
    for attempt in 1..=TRIES {
        match measure(setup, row, pace).await {
            Ok(measured) => return Ok(measured),
            Err(error) => reason = format!("{error:#}"),
        }
        eprintln!("  attempt {attempt} of {TRIES}: {reason}");
    }
    Err(reason)
}
