//! `sbft load`: measures a network's latency and throughput.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{block_on, say};
use crate::client::connect::Security;
use crate::client::network_file::IdentityFiles;
use crate::load::{
    Action, Endpoint, Fault, Observer, Pace, Phase, Plan, Summary, Sweep, SweepPlan, Target, To, Victim,
    page, runs, smallest_size, sweep,
};

/// Arguments of `sbft load`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sbft load --network network --rate 100               latency at 100 a second, open loop
  sbft load --network network --in-flight 2000         throughput, closed loop
  sbft load --rate 500 --kill-primary-at 5s            how long commits stall when the primary dies
  sbft load --in-flight 2000 --to all --runs 5 --json  median of five runs, for programs
  sbft load --sweep --html sweep.html                  throughput against latency, as a page

Latency is from the time at which an envelope was to be sent to its delivered block. Envelopes are
made before the run; those for which --memory has no room are made by one thread while it goes on.")]
pub(super) struct Args {
    /// The network's directory
    #[arg(long, value_name = "DIR", default_value = "network", conflicts_with = "address")]
    network: PathBuf,
    /// A replica's gRPC address instead, once for each; needs --cert and --key
    #[arg(long, value_name = "HOST:PORT", requires_all = ["cert", "key"])]
    address: Vec<String>,
    /// Channel, with --address
    #[arg(long, value_name = "ID", default_value = "sbft")]
    channel: String,
    /// The client's organization, with --address
    #[arg(long, value_name = "MSP", default_value = "Org1MSP")]
    msp_id: String,
    /// A client's certificate (PEM), with --address; once for each client
    #[arg(long, value_name = "FILE")]
    cert: Vec<PathBuf>,
    /// Its private key (PKCS#8 PEM), in the same order
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
    /// CA of the replicas' TLS certificates (PEM), with --address; plaintext without
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,

    /// Open loop: envelopes a second, at fixed times whatever becomes of them
    #[arg(long, value_name = "N", conflicts_with_all = ["in_flight", "sweep"])]
    rate: Option<f64>,
    /// Closed loop: envelopes on their way at any time
    #[arg(long, value_name = "N", conflicts_with = "sweep")]
    in_flight: Option<u64>,
    /// Measure at many rates from low to beyond saturation, with `size` for several sizes too
    #[arg(long, value_name = "rate[,size]", num_args = 0..=1, default_missing_value = "rate",
          value_delimiter = ',')]
    sweep: Vec<Axis>,
    /// The sweep's rates [default: 1% to 120% of what a closed loop reaches]
    #[arg(long, value_name = "N,...", value_delimiter = ',', requires = "sweep")]
    rates: Vec<f64>,
    /// The sweep's sizes, bytes [default: --size; with `--sweep rate,size` 256, 1024 and 4096, or the
    /// smallest possible]
    #[arg(long, value_name = "BYTES,...", value_delimiter = ',', requires = "sweep")]
    sizes: Vec<usize>,
    /// Size of each encoded envelope, bytes (with ECDSA within two)
    #[arg(long, value_name = "BYTES", default_value_t = 1024)]
    size: usize,
    /// Client identities that take turns [default: all of the network's]
    #[arg(long, value_name = "N")]
    clients: Option<usize>,
    /// Send to one replica (see --replica), to each in turn, or every envelope to all
    #[arg(long, value_name = "one|round-robin|all", default_value = "round-robin")]
    to: Spread,
    /// The replica of `--to one`; while it is down the others stand in [default: 1]
    #[arg(long, value_name = "ID")]
    replica: Option<u32>,
    /// Broadcast streams to each replica, each over a connection of its own
    #[arg(long, value_name = "N", default_value_t = 2)]
    streams: usize,
    /// Read blocks from this replica [default: the first that is not primary]
    #[arg(long, value_name = "ID")]
    deliver_from: Option<u32>,
    /// Load before the measurement
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration)]
    warm_up: Duration,
    /// Length of the measurement
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    duration: Duration,
    /// Longest wait for what is outstanding at the end; what has not come then is an error
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    drain: Duration,
    /// Memory for envelopes that are made ahead, MiB
    #[arg(long, value_name = "MIB", default_value_t = 512)]
    memory: usize,
    /// Repeat so many times; the median of each number is told, and the smallest and largest
    #[arg(long, value_name = "N", default_value_t = 1)]
    runs: usize,

    /// kill -9 the primary, so long after the measurement begins
    #[arg(long, value_name = "TIME", value_parser = duration)]
    kill_primary_at: Option<Duration>,
    /// kill -9 a replica that is not primary
    #[arg(long, value_name = "TIME", value_parser = duration)]
    kill_backup_at: Option<Duration>,
    /// Start what was killed again; it stops when this program ends
    #[arg(long, value_name = "TIME", value_parser = duration)]
    restart_at: Option<Duration>,
    /// Stop the primary's process (SIGSTOP)
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pause_primary_at: Option<Duration>,
    /// Let it go on (SIGCONT)
    #[arg(long, value_name = "TIME", value_parser = duration, requires = "pause_primary_at")]
    resume_at: Option<Duration>,

    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
    /// Write a page with pictures to this file; it needs nothing else
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// `--sweep`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Axis {
    Rate,
    Size,
}

/// `--to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Spread {
    One,
    RoundRobin,
    All,
}

/// `5s`, `250ms`, `2m`.
fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let wrong = || format!("{text:?} is no time; write 5s, 250ms or 2m");
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "ms" => number / 1e3,
        "s" => number,
        "m" => number * 60.0,
        _ => return Err(wrong()),
    };
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

/// Runs it. Exit status 1 when the chain has an envelope twice, or nothing could be measured.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let plan = plan(&args)?;
    plan.check()?;
    if !(1..=1_000).contains(&args.runs) {
        bail!("--runs {} is not between 1 and 1000", args.runs);
    }
    // A page that cannot be written is better known before an hour of measuring.
    if let Some(path) = &args.html {
        write_page(path, "<!doctype html><title>sbft load</title><p>The measurement is not over yet.</p>\n")?;
    }
    let mut target = target(&args)?;
    if !args.sweep.is_empty() {
        return block_on(sweep_over(&args, plan, &mut target));
    }
    block_on(async {
        let progress = Progress::new(&plan);
        let outcome = runs(&mut target, &plan, args.runs, &progress).await;
        progress.0.finish_and_clear();
        let summary = Summary::of(outcome?);
        if let Some(path) = &args.html {
            write_page(path, &page::of_runs(&summary, &command_line()))?;
        }
        if args.json {
            say(serde_json::to_string_pretty(&summary).context("the report cannot be printed")?)?;
        } else {
            print(&summary)?;
        }
        Ok(exit_code(summary.median.ordered_twice == 0))
    })
}

fn exit_code(good: bool) -> ExitCode {
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn sweep_over(args: &Args, plan: Plan, target: &mut Target) -> anyhow::Result<ExitCode> {
    let sizes = match (args.sizes.is_empty(), args.sweep.contains(&Axis::Size)) {
        (false, _) => args.sizes.clone(),
        (true, false) => vec![args.size],
        (true, true) => grid(target, &plan).await?,
    };
    let progress = Progress::new(&plan);
    let asked = SweepPlan { plan, sizes, rates: args.rates.clone(), runs: args.runs };
    let outcome = sweep(target, &asked, &progress).await;
    progress.0.finish_and_clear();
    let found = outcome?;
    if let Some(path) = &args.html {
        write_page(path, &page::of_sweep(&found, &command_line()))?;
    }
    if args.json {
        say(serde_json::to_string_pretty(&found).context("the report cannot be printed")?)?;
    } else {
        print_sweep(&found)?;
    }
    Ok(exit_code(found.steps.iter().all(|step| step.report.ordered_twice == 0)))
}

/// 256, 1024 and 4096 bytes; the smallest possible instead of those that are too small.
async fn grid(target: &Target, plan: &Plan) -> anyhow::Result<Vec<usize>> {
    let smallest = smallest_size(target, plan).await?;
    let mut sizes: Vec<usize> = [256, 1024, 4096].into_iter().map(|size: usize| size.max(smallest)).collect();
    sizes.dedup();
    Ok(sizes)
}

fn write_page(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// How this program was called, to stand on the page.
fn command_line() -> String {
    let program = "sbft".to_owned();
    let arguments = std::env::args().skip(1);
    std::iter::once(program).chain(arguments).collect::<Vec<_>>().join(" ")
}

fn print_sweep(sweep: &Sweep) -> anyhow::Result<()> {
    say(format_args!(
        "{:>7}  {:>9}  {:>11}  {:>8}  {:>8}  {:>8}  {:>8}  {:>8}  {:>7}  {:>6}",
        "bytes", "offered/s", "committed/s", "p50 ms", "p99", "p99.9", "max", "gap ms", "CPU us", "errors"
    ))?;
    for step in &sweep.steps {
        let report = &step.report;
        say(format_args!(
            "{:>7}  {:>9.0}  {:>11.0}  {:>8.2}  {:>8.2}  {:>8.2}  {:>8.2}  {:>8.0}  {:>7.1}  {:>6}",
            step.size,
            step.offered,
            report.committed_per_s,
            report.latency_ms.p50,
            report.latency_ms.p99,
            report.latency_ms.p999,
            report.latency_ms.max,
            report.longest_gap_ms,
            report.cpu_us_per_envelope,
            report.errors
        ))?;
    }
    let noisy = sweep
        .steps
        .iter()
        .filter(|step| step.report.machine.other_cpus > 0.1 || step.report.machine.steal_cpus > 0.1);
    match noisy.count() {
        0 => Ok(()),
        count => say(format_args!(
            "warning: the machine was not quiet in {count} of {} measurements",
            sweep.steps.len()
        )),
    }
}

fn plan(args: &Args) -> anyhow::Result<Plan> {
    let pace = match (args.rate, args.in_flight) {
        (Some(per_second), None) => Pace::Open { per_second },
        (None, Some(in_flight)) => Pace::Closed { in_flight },
        // A sweep sets the pace of each of its measurements.
        (None, None) if !args.sweep.is_empty() => Pace::Open { per_second: 1.0 },
        _ => bail!("say how much: --rate N (open loop), --in-flight N (closed loop) or --sweep"),
    };
    let to = match (args.to, args.replica) {
        (Spread::One, id) => To::One(id.unwrap_or(1)),
        (_, Some(_)) => bail!("--replica goes with --to one"),
        (Spread::RoundRobin, None) => To::RoundRobin,
        (Spread::All, None) => To::All,
    };
    let faults = [
        (args.kill_primary_at, Action::Kill(Victim::Primary)),
        (args.kill_backup_at, Action::Kill(Victim::Backup)),
        (args.restart_at, Action::Restart),
        (args.pause_primary_at, Action::Pause(Victim::Primary)),
        (args.resume_at, Action::Resume),
    ];
    if args.restart_at.is_some() && args.kill_primary_at.is_none() && args.kill_backup_at.is_none() {
        bail!("--restart-at needs --kill-primary-at or --kill-backup-at: nothing else is down");
    }
    Ok(Plan {
        pace,
        size: args.size,
        clients: args.clients,
        to,
        streams: args.streams,
        warm_up: args.warm_up,
        duration: args.duration,
        drain: args.drain,
        memory: args.memory.saturating_mul(1 << 20),
        signed: None,
        deliver_from: args.deliver_from,
        faults: faults.into_iter().filter_map(|(at, action)| Some(Fault { at: at?, action })).collect(),
    })
}

fn target(args: &Args) -> anyhow::Result<Target> {
    if args.address.is_empty() {
        return Ok(Target::network(&args.network)?);
    }
    if args.cert.len() != args.key.len() {
        bail!(
            "--cert was given {} times and --key {} times; each client needs both",
            args.cert.len(),
            args.key.len()
        );
    }
    let read = |path: &PathBuf| {
        std::fs::read_to_string(path).with_context(|| format!("cannot read the TLS CA {}", path.display()))
    };
    let replicas = (1..).zip(&args.address).map(|(id, address)| Endpoint {
        id,
        grpc: address.clone(),
        ops: None,
        pid: None,
        dir: None,
    });
    let clients = args.cert.iter().zip(&args.key).map(|(cert, key)| IdentityFiles {
        msp_id: args.msp_id.clone(),
        cert: cert.clone(),
        key: key.clone(),
    });
    Ok(Target {
        dir: None,
        channel: args.channel.clone(),
        replicas: replicas.collect(),
        clients: clients.collect(),
        security: Security { ca: args.tls_ca.as_ref().map(read).transpose()?, identity: None },
    })
}

/// A line on a terminal.
struct Progress(ProgressBar);

impl Progress {
    fn new(plan: &Plan) -> Self {
        let target = if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr_with_hz(4)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(plan.length().as_millis() as u64), target);
        let style = ProgressStyle::with_template("{bar:30} {msg}").expect("the template is well-formed");
        bar.set_style(style);
        Self(bar)
    }
}

impl Observer for Progress {
    fn progress(&self, phase: Phase, elapsed: Duration, committed: u64, outstanding: u64) {
        self.0.set_position(elapsed.as_millis() as u64);
        let text = match phase {
            Phase::Making(made, of) => format!("making envelopes: {made} of {of}"),
            Phase::WarmUp => format!("warm-up  {committed} committed  {outstanding} on their way"),
            Phase::Measuring => {
                format!("{:.0} s  {committed} committed  {outstanding} on their way", elapsed.as_secs_f64())
            }
            Phase::Draining => format!("waiting for {outstanding}"),
        };
        self.0.set_message(text);
    }

    fn note(&self, text: &str) {
        self.0.suspend(|| eprintln!("{text}"));
    }
}

fn print(summary: &Summary) -> anyhow::Result<()> {
    let report = &summary.median;
    let settings = &report.settings;
    let latency = &report.latency_ms;
    say(format_args!(
        "offered {:.0}/s  committed {:.0}/s  errors {}  ({} B, {} signatures{}, {} clients, to {}, n = {}, TLS {})",
        report.offered_per_s,
        report.committed_per_s,
        report.errors,
        settings.envelope_bytes,
        settings.client_signatures,
        if settings.client_signatures_checked { " checked" } else { "" },
        settings.clients,
        settings.to,
        settings.n,
        if settings.tls { "on" } else { "off" },
    ))?;
    say(format_args!(
        "latency ms  p50 {:.2}  p90 {:.2}  p99 {:.2}  p99.9 {:.2}  p99.99 {:.2}  max {:.2}",
        latency.p50, latency.p90, latency.p99, latency.p999, latency.p9999, latency.max
    ))?;
    say(format_args!(
        "longest gap {:.0} ms  {:.1} blocks/s of {:.1} envelopes",
        report.longest_gap_ms, report.blocks_per_s, report.envelopes_per_block
    ))?;
    if !report.rss_mb.is_empty() {
        let list = |values: &[f64], digits: usize| {
            values.iter().map(|value| format!("{value:.digits$}")).collect::<Vec<_>>().join(" ")
        };
        say(format_args!(
            "CPU {:.1} us/envelope (replicas {} s, client {:.1} s)  memory {} MB (peak {})",
            report.cpu_us_per_envelope,
            list(&report.cpu_s, 1),
            report.client.cpu_s,
            list(&report.rss_mb, 0),
            list(&report.rss_peak_mb, 0),
        ))?;
    }
    if let Some(range) = &summary.range {
        say(format_args!(
            "{} runs, smallest to largest: committed {:.0} to {:.0}/s  p50 {:.2} to {:.2}  p99 {:.2} to {:.2}",
            summary.runs.len(),
            range.committed_per_s[0],
            range.committed_per_s[1],
            range.p50_ms[0],
            range.p50_ms[1],
            range.p99_ms[0],
            range.p99_ms[1],
        ))?;
    }
    for fault in summary.runs.iter().flat_map(|run| &run.faults).chain(if summary.runs.is_empty() {
        report.faults.iter()
    } else {
        [].iter()
    }) {
        let whom = fault.replica.map_or_else(|| "nobody".to_owned(), |id| format!("replica {id}"));
        say(format_args!(
            "{:.1} s: {} ({whom}): longest time without a block after it {:.0} ms",
            fault.at_s, fault.what, fault.stall_ms
        ))?;
    }
    for (answer, count) in &report.refused {
        say(format_args!("refused {count} times: {answer}"))?;
    }
    for doubt in report.doubts() {
        say(doubt)?;
    }
    Ok(())
}
