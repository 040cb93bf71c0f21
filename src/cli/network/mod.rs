//! `sbft network`: a network of replicas on this machine, one process each.
//!
//! Makes keys and genesis block if there are none, starts the replicas, waits until all are
//! ready, shows where they are and how they do, and stops them when it is told to.

mod directory;
mod load;
mod process;
#[cfg(feature = "liar")]
pub(super) mod running;
mod watch;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::signal::unix::{SignalKind, signal};

use super::Key;
use super::lies::Liar;
use super::submit::check_rate;
use super::{block_on, say};
use crate::client::network_file::{FILE_NAME, NetworkFile};
use directory::{Directory, Settings};
use process::Processes;
use watch::Watch;

/// Longest wait for all replicas to be ready.
const READY: Duration = Duration::from_secs(60);
/// How often replicas are asked how they do.
const INTERVAL: Duration = Duration::from_secs(1);

/// Arguments of `sbft network`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sbft network --load 50              four replicas in ./network, 50 envelopes a second
  sbft network --dir /tmp/n --fresh   a new network, whatever was there before is deleted
  sbft submit --network network --count 1000 --wait      (in another terminal)
  sbft status --network network

The network keeps its keys and data between runs. Ctrl-C or SIGTERM stops all replicas.")]
pub(super) struct Args {
    /// How many replicas [default: 4]
    #[arg(long, value_name = "N")]
    replicas: Option<u32>,
    /// Directory for keys, configurations, logs and data
    #[arg(long, value_name = "DIR", default_value = "network")]
    dir: PathBuf,
    /// First port; replica i uses three from base + 10 (i - 1): gRPC, QUIC (UDP), operations
    /// [default: 7050]
    #[arg(long, value_name = "PORT")]
    base_port: Option<u16>,
    /// Delete what an earlier network left in the directory, and begin anew
    #[arg(long)]
    fresh: bool,
    /// Submit this many envelopes of 1 KiB a second, all the time
    #[arg(long, value_name = "RATE")]
    load: Option<f64>,
    /// Kind of the replicas' and clients' signing keys [default: ed25519]
    #[arg(long, value_name = "ed25519|p256")]
    key: Option<Key>,
    /// How many client identities to make [default: 1]
    #[arg(long, value_name = "N")]
    clients: Option<u32>,
    /// Who may submit: whom the organizations certify, or anyone [default: signed]
    #[arg(long, value_name = "signed|open")]
    writers: Option<Writers>,
    /// No TLS between clients and replicas (between replicas there always is)
    #[arg(long)]
    plaintext: bool,
    /// Start replicas again when they die
    #[arg(long)]
    restart: bool,
    /// Let this replica lie, for measurements; only in builds with the feature `liar`
    #[arg(long, value_name = "ID=LIE[,LIE]", value_parser = Liar::parse, hide = cfg!(not(feature = "liar")))]
    liar: Vec<Liar>,
}

/// `--writers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Writers {
    Signed,
    Open,
}

/// Runs it.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let Some(rate) = args.load {
        check_rate("--load", rate)?;
    }
    let settings = Settings::from_args(&args)?;
    if let Some(liar) = args.liar.iter().find(|liar| !settings.has_replica(liar.id)) {
        bail!("--liar {liar}: there is no replica {}", liar.id);
    }
    let directory = Directory::prepare(&args.dir, args.fresh, &settings)?;
    block_on(supervise(args, directory))
}

async fn supervise(args: Args, directory: Directory) -> anyhow::Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let started = Instant::now();
    let mut network = directory.network_file();
    directory.check_ports()?;
    if directory.path().join(FILE_NAME).exists() {
        // An earlier network may have been killed: its process ids are nobody's any more.
        network.store(directory.path())?;
    }
    let mut processes = Processes::start(&network, args.restart, &args.liar)?;

    let ready = async {
        wait_until_ready(&network, &mut processes).await?;
        Ok::<_, anyhow::Error>(())
    };
    let ready = tokio::select! {
        ready = ready => ready,
        _ = interrupt.recv() => Err(anyhow::anyhow!("interrupted before the replicas were ready")),
        _ = terminate.recv() => Err(anyhow::anyhow!("stopped before the replicas were ready")),
    };
    if let Err(error) = ready {
        processes.stop(&network).await;
        return Err(error);
    }
    processes.note_pids(&mut network);
    let mut load = None;
    let watched = tokio::select! {
        watched = async {
            network.store(directory.path())?;
            print_table(&network, directory.settings(), started.elapsed())?;
            load = args.load.map(|rate| load::Load::start(&network, rate)).transpose()?;
            watch_over(&mut network, &mut processes, load.as_ref(), directory.path()).await
        } => watched,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    // Whatever ended it, the replicas are stopped in order and the file says so.
    let said = say(format_args!("stopping {} replicas", network.replicas.len()));
    if let Some(load) = load {
        load.stop().await;
    }
    let clean = processes.stop(&network).await;
    processes.note_pids(&mut network);
    network.store(directory.path())?;
    watched.and(said)?;
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Says what changes and keeps the network's file true, without end.
///
/// # Errors
/// When a replica cannot be watched or started, the file cannot be written, or nobody reads our
/// output any more.
async fn watch_over(
    network: &mut NetworkFile,
    processes: &mut Processes,
    load: Option<&load::Load>,
    directory: &Path,
) -> anyhow::Result<()> {
    let mut watch = Watch::new();
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => watch.look(network, load).await?,
            change = processes.changed(network) => {
                processes.note_pids(network);
                network.store(directory)?;
                say(change?)?;
            }
        }
    }
}

async fn wait_until_ready(network: &NetworkFile, processes: &mut Processes) -> anyhow::Result<()> {
    let deadline = Instant::now() + READY;
    let mut poll = tokio::time::interval(Duration::from_millis(50));
    loop {
        tokio::select! {
            _ = poll.tick() => {
                let waiting = watch::not_ready(network).await;
                if waiting.is_empty() {
                    return Ok(());
                }
                if Instant::now() > deadline {
                    bail!(
                        "replicas not ready after {} s: {}; their logs are node.log in {}",
                        READY.as_secs(),
                        waiting.join("; "),
                        network.replicas[0].dir.parent().unwrap_or(&network.replicas[0].dir).display(),
                    );
                }
            }
            change = processes.died(network) => bail!("{}", change?),
        }
    }
}

fn print_table(network: &NetworkFile, settings: &Settings, took: Duration) -> anyhow::Result<()> {
    say(format_args!(
        "network of {} replicas ready in {:.1} s: channel {}, {} keys, writers {}, {}\n",
        network.replicas.len(),
        took.as_secs_f64(),
        network.channel,
        settings.key,
        settings.writers,
        if network.tls_ca.is_some() { "client TLS on" } else { "client TLS off" },
    ))?;
    say(format_args!(
        "{:>7}  {:<21}  {:<21}  {:<21}  {:>7}",
        "replica", "gRPC", "QUIC", "operations", "pid"
    ))?;
    for replica in &network.replicas {
        say(format_args!(
            "{:>7}  {:<21}  {:<21}  {:<21}  {:>7}",
            replica.id,
            replica.grpc,
            replica.quic,
            replica.ops,
            replica.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
        ))?;
    }
    say("")
}
