//! `sbft submit`: signs and submits envelopes, or sends given ones.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufWriter, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use prost::Message as _;
use tokio::sync::mpsc;

use super::{block_on, say};
use crate::client::connect::Security;
use crate::client::envelope::{EnvelopeMaker, request_id};
use crate::client::follow::{follow, height};
use crate::client::network_file::{NetworkFile, ReplicaEntry};
use crate::client::submission::{Event, Item, Queue, lane};
use crate::proto::common;
use crate::types::RequestId;

/// Envelopes made and not yet taken by a stream.
const READY: usize = 2_000;
/// Longest latency told apart, microseconds: an hour.
const LONGEST: u64 = 3_600_000_000;

/// An accepted envelope that is in no block after this long is sent again: the replica that
/// accepted it may have died with it. Replicas know it by its request id, so that is harmless.
const RESEND: Duration = Duration::from_secs(5);

/// Arguments of `sbft submit`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sbft submit --network network --count 100 --wait        100 envelopes of 1 KiB, wait for their blocks
  sbft submit --network network --rate 500 --count 5000   500 a second for ten seconds
  sbft submit --network network --replica all --count 10  each to every replica, as Fabric's gateway does
  sbft submit --network network --file envelope.bin       a serialized envelope, as it is")]
pub(super) struct Args {
    /// The network's directory
    #[arg(long, value_name = "DIR", default_value = "network")]
    network: PathBuf,
    /// Submit to this replica only, or each envelope to `all`; default: to any that answers
    #[arg(long, value_name = "ID|all")]
    replica: Option<Target>,
    /// How many envelopes to make
    #[arg(long, value_name = "N", default_value_t = 1)]
    count: u64,
    /// Envelopes a second; default: as fast as they are accepted
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// Size of each encoded envelope, bytes
    #[arg(long, value_name = "BYTES", default_value_t = 1024)]
    size: usize,
    /// Send this serialized envelope as it is instead (`-`: a varint-delimited stream of them on
    /// standard input)
    #[arg(long, value_name = "PATH|-", conflicts_with_all = ["size"])]
    file: Option<PathBuf>,
    /// Return when all are in delivered blocks, and print commit latencies
    #[arg(long)]
    wait: bool,
    /// Write request id, replica, status and info of each answer to this file, a line each
    #[arg(long, value_name = "FILE")]
    accepted: Option<PathBuf>,
    /// Give up when nothing is accepted or committed for this long, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
}

/// Where envelopes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    One(u32),
    All,
}

impl std::str::FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::All);
        }
        match text.parse() {
            Ok(id) if id > 0 => Ok(Self::One(id)),
            _ => Err("a replica's id (from 1) or `all`".to_owned()),
        }
    }
}

/// Runs it.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let Some(rate) = args.rate {
        check_rate("--rate", rate)?;
    }
    if args.count == 0 && args.file.is_none() {
        bail!("--count 0 asks for nothing; give 1 or more");
    }
    block_on(submit(args))
}

/// A rate that a schedule can be made of: one a week at the slowest.
///
/// # Errors
/// When it is not; names the flag.
pub(super) fn check_rate(flag: &str, rate: f64) -> anyhow::Result<()> {
    const RANGE: std::ops::RangeInclusive<f64> = 1e-6..=1e9;
    anyhow::ensure!(
        RANGE.contains(&rate),
        "{flag} {rate:e} is no number of envelopes a second between {} and {}",
        RANGE.start(),
        RANGE.end()
    );
    Ok(())
}

async fn submit(args: Args) -> anyhow::Result<ExitCode> {
    let network = NetworkFile::load(&args.network)?;
    let security = security(&network)?;
    let maker = EnvelopeMaker::open(&network.channel, &network.client)?;
    let replicas: Vec<&ReplicaEntry> = match args.replica {
        Some(Target::One(id)) => vec![network.replica(id)?],
        Some(Target::All) | None => network.replicas.iter().collect(),
    };
    let given = args.file.as_deref().map(read_given).transpose()?;
    let total = given.as_ref().map_or(args.count, |items| items.len() as u64);
    let log = args.accepted.as_deref().map(AnswerLog::create).transpose()?;

    let (blocks_in, blocks) = mpsc::channel(64);
    if args.wait {
        // A replica that is down must not keep us from reading: all of them are asked in turn.
        let mut addresses: Vec<String> = replicas.iter().map(|replica| replica.grpc.clone()).collect();
        addresses.extend(network.replicas.iter().map(|replica| replica.grpc.clone()));
        let from = height(&addresses, &security, &maker).await.context("cannot read the chain's height")?;
        tokio::spawn(follow(addresses, security.clone(), maker.clone(), from, blocks_in));
    }

    let (events_in, events) = mpsc::channel(4_096);
    let to_all = args.replica == Some(Target::All);
    let queues: Vec<Arc<Queue>> =
        (0..if to_all { replicas.len() } else { 1 }).map(|_| Queue::new(READY)).collect();
    for (index, replica) in replicas.iter().enumerate() {
        let queue = Arc::clone(&queues[if to_all { index } else { 0 }]);
        tokio::spawn(lane(replica.id, replica.grpc.clone(), security.clone(), queue, events_in.clone()));
    }
    drop(events_in);

    // With --wait the queues stay open until all is delivered: something may have to be sent again.
    let producer =
        tokio::spawn(produce(maker, given, total, args.size, args.rate, queues.clone(), !args.wait));
    let mut run = Run {
        total,
        queues: queues.clone(),
        copies: queues.len() as u64,
        wait: args.wait,
        timeout: Duration::from_secs(args.timeout),
        progress: progress(total, args.wait),
        log,
        ..Run::new()
    };
    let finished = run.watch(events, blocks).await;
    run.progress.finish_and_clear();
    for queue in &queues {
        queue.abandon();
    }
    if producer.is_finished() {
        producer.await.context("the producer stopped")??;
    } else {
        producer.abort();
    }
    if let Some(log) = run.log.take() {
        log.finish()?;
    }
    let printed = run.print();
    finished?;
    printed?;
    Ok(if run.refused == 0 && run.twice == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How to reach the network's replicas.
pub(super) fn security(network: &NetworkFile) -> anyhow::Result<Security> {
    let ca = network
        .tls_ca
        .as_ref()
        .map(|path| {
            std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the TLS CA {}", path.display()))
        })
        .transpose()?;
    Ok(Security { ca, identity: None })
}

fn read_given(path: &Path) -> anyhow::Result<Vec<Item>> {
    let item = |envelope: common::Envelope| Item { id: request_id(&envelope), envelope };
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).context("cannot read envelopes from standard input")?;
        let mut bytes = Bytes::from(bytes);
        let mut items = Vec::new();
        while !bytes.is_empty() {
            let envelope = common::Envelope::decode_length_delimited(&mut bytes).with_context(|| {
                format!(
                    "envelope {} on standard input is no varint-delimited serialized envelope",
                    items.len() + 1
                )
            })?;
            items.push(item(envelope));
        }
        return Ok(items);
    }
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let envelope = common::Envelope::decode(Bytes::from(bytes))
        .with_context(|| format!("{} is no serialized envelope", path.display()))?;
    Ok(vec![item(envelope)])
}

/// Makes the envelopes, or takes the given ones, and hands them to the lanes at the rate asked for.
async fn produce(
    maker: EnvelopeMaker,
    given: Option<Vec<Item>>,
    total: u64,
    size: usize,
    rate: Option<f64>,
    queues: Vec<Arc<Queue>>,
    close: bool,
) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut given = given.map(Vec::into_iter);
    let mut outcome = Ok(());
    for index in 0..total {
        let item = match &mut given {
            Some(items) => items.next().expect("total is the number of given items"),
            None => match maker.make(size).await {
                Ok(made) => made.into(),
                Err(error) => {
                    outcome = Err(error.into());
                    break;
                }
            },
        };
        if let Some(rate) = rate {
            let due = start + Duration::from_secs_f64(index as f64 / rate);
            tokio::time::sleep_until(due.into()).await;
        }
        for queue in &queues {
            queue.push(item.clone()).await;
        }
    }
    if close || outcome.is_err() {
        for queue in &queues {
            queue.close();
        }
    }
    outcome
}

fn progress(total: u64, wait: bool) -> ProgressBar {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr_with_hz(4)
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(total), target);
    let verb = if wait { "committed" } else { "accepted" };
    let style = ProgressStyle::with_template(&format!(
        "{{bar:30}} {{pos}}/{{len}} {verb}  {{per_sec}}  {{msg}}  {{eta}} left"
    ))
    .expect("the template is well-formed");
    bar.set_style(style);
    bar
}

/// An envelope on its way into a block.
struct Pending {
    envelope: common::Envelope,
    /// When it was sent first.
    sent: Instant,
    /// When it was sent last.
    last: Instant,
    /// Final answers to it.
    answers: u64,
}

/// What happened so far.
struct Run {
    total: u64,
    queues: Vec<Arc<Queue>>,
    /// How many replicas get each envelope.
    copies: u64,
    wait: bool,
    timeout: Duration,
    progress: ProgressBar,
    log: Option<AnswerLog>,
    started: Instant,
    /// Sent and not yet seen in a block.
    pending: BTreeMap<RequestId, Pending>,
    /// Those that were sent again: further answers to them are not counted.
    resent: BTreeSet<RequestId>,
    committed: BTreeMap<RequestId, u64>,
    accepted: u64,
    refused: u64,
    first_refusal: Option<String>,
    twice: u64,
    latency: Histogram<u64>,
    first_block: Option<u64>,
    last_block: u64,
    /// Replicas that could not be reached and why, latest reason.
    down: BTreeMap<u32, String>,
    elapsed: Duration,
}

impl Run {
    fn new() -> Self {
        Self {
            total: 0,
            queues: Vec::new(),
            copies: 1,
            wait: false,
            timeout: Duration::ZERO,
            progress: ProgressBar::hidden(),
            log: None,
            started: Instant::now(),
            pending: BTreeMap::new(),
            resent: BTreeSet::new(),
            committed: BTreeMap::new(),
            accepted: 0,
            refused: 0,
            first_refusal: None,
            twice: 0,
            latency: Histogram::new_with_bounds(1, LONGEST, 3).expect("the bounds are a range"),
            first_block: None,
            last_block: 0,
            down: BTreeMap::new(),
            elapsed: Duration::ZERO,
        }
    }

    async fn watch(
        &mut self,
        mut events: mpsc::Receiver<Event>,
        mut blocks: mpsc::Receiver<common::Block>,
    ) -> anyhow::Result<()> {
        let mut lanes_done = false;
        let mut progressed = Instant::now();
        let mut ticks = tokio::time::interval(Duration::from_millis(500));
        loop {
            let answered = self.accepted + self.refused >= self.total * self.copies || lanes_done;
            if answered && (!self.wait || self.pending.is_empty()) {
                self.elapsed = self.started.elapsed();
                return Ok(());
            }
            tokio::select! {
                // Events first: an envelope is reported as sent before its block can arrive.
                biased;
                event = events.recv(), if !lanes_done => match event {
                    Some(event) => {
                        if self.on_event(event)? {
                            progressed = Instant::now();
                        }
                    }
                    None => lanes_done = true,
                },
                Some(block) = blocks.recv(), if self.wait => {
                    if self.on_block(block)? {
                        progressed = Instant::now();
                    }
                }
                _ = ticks.tick() => {
                    self.resend();
                    if self.pending.is_empty() && self.queues.iter().all(|queue| queue.is_idle()) {
                        progressed = Instant::now(); // nothing is open: there is nothing to wait for
                    }
                    if progressed.elapsed() < self.timeout {
                        continue;
                    }
                    self.elapsed = self.started.elapsed();
                    let reasons: Vec<String> =
                        self.down.iter().map(|(id, reason)| format!("replica {id}: {reason}")).collect();
                    bail!(
                        "nothing accepted or committed for {} s; {} of {} still open{}{}",
                        self.timeout.as_secs(),
                        // What was never sent is open too.
                        (self.total * self.copies).saturating_sub(self.accepted + self.refused).max(self.pending.len() as u64),
                        self.total * self.copies,
                        if reasons.is_empty() { "" } else { "; " },
                        reasons.join("; "),
                    );
                }
            }
        }
    }

    /// Returns whether this is progress.
    fn on_event(&mut self, event: Event) -> anyhow::Result<bool> {
        match event {
            Event::Sent { id, envelope, at } => {
                if let Some(id) = id
                    && self.wait
                    && !self.committed.contains_key(&id)
                {
                    let new = Pending { envelope, sent: at, last: at, answers: 0 };
                    self.pending.entry(id).or_insert(new).last = at;
                }
                Ok(false)
            }
            Event::Answered { id, replica, status, info, again } => {
                self.down.remove(&replica);
                if let Some(log) = &mut self.log {
                    log.write(id, replica, status, &info)?;
                }
                if again {
                    self.down.insert(replica, format!("{status:?}: {info}"));
                    return Ok(false);
                }
                if let Some(id) = id {
                    if self.resent.contains(&id) {
                        return Ok(false);
                    }
                    if let Some(pending) = self.pending.get_mut(&id) {
                        pending.answers += 1;
                    }
                }
                if status == common::Status::Success {
                    self.accepted += 1;
                } else {
                    self.refused += 1;
                    self.first_refusal
                        .get_or_insert_with(|| format!("replica {replica}: {status:?}: {info}"));
                    if let Some(id) = id {
                        self.pending.remove(&id);
                    }
                }
                if !self.wait {
                    self.progress.set_position((self.accepted + self.refused) / self.copies);
                }
                Ok(true)
            }
            Event::Down { replica, reason } => {
                self.progress.set_message(format!("replica {replica}: {reason}"));
                self.down.insert(replica, reason);
                Ok(false)
            }
        }
    }

    /// Sends again what was accepted long ago and is in no block.
    fn resend(&mut self) {
        for (id, pending) in &mut self.pending {
            if pending.answers < self.copies || pending.last.elapsed() < RESEND {
                continue;
            }
            pending.last = Instant::now();
            self.resent.insert(*id);
            for queue in &self.queues {
                // A full queue has room at the next look.
                queue.try_push(Item { id: Some(*id), envelope: pending.envelope.clone() });
            }
        }
    }

    /// Returns whether one of ours was in it.
    fn on_block(&mut self, block: common::Block) -> anyhow::Result<bool> {
        let now = Instant::now();
        let number = block.header.as_ref().map_or(0, |header| header.number);
        let mut ours = false;
        for data in block.data.unwrap_or_default().data {
            let Some(id) = common::Envelope::decode(data).ok().as_ref().and_then(request_id) else {
                continue;
            };
            if let Some(first) = self.committed.get(&id) {
                self.twice += 1;
                eprintln!("sbft: envelope {id} is in block {first} and again in block {number}");
                continue;
            }
            if let Some(Pending { sent, .. }) = self.pending.remove(&id) {
                ours = true;
                self.latency.saturating_record(now.duration_since(sent).as_micros() as u64);
                self.first_block.get_or_insert(number);
                self.last_block = number;
                self.committed.insert(id, number);
                self.progress.set_position(self.committed.len() as u64);
            }
        }
        Ok(ours)
    }

    fn print(&self) -> anyhow::Result<()> {
        let seconds = self.elapsed.as_secs_f64().max(1e-9);
        say(format!(
            "accepted {} of {}{} in {seconds:.2} s ({:.0}/s), refused {}",
            self.accepted,
            self.total * self.copies,
            if self.copies > 1 {
                format!(" ({} envelopes to {} replicas)", self.total, self.copies)
            } else {
                String::new()
            },
            self.accepted as f64 / seconds,
            self.refused,
        ))?;
        if let Some(reason) = &self.first_refusal {
            say(format!("first refusal: {reason}"))?;
        }
        if !self.wait {
            return Ok(());
        }
        let Some(first) = self.first_block else {
            say("committed none")?;
            return Ok(());
        };
        say(format!(
            "committed {} ({:.0}/s) in blocks {} to {}{}",
            self.committed.len(),
            self.committed.len() as f64 / seconds,
            first,
            self.last_block,
            if self.twice > 0 { format!(", {} TWICE", self.twice) } else { String::new() },
        ))?;
        if !self.resent.is_empty() {
            say(format!(
                "sent again: {}, whose replica had accepted them and died or fell behind",
                self.resent.len()
            ))?;
        }
        let ms = |quantile| self.latency.value_at_quantile(quantile) as f64 / 1_000.0;
        say(format!(
            "commit latency (client send to delivered block), ms: p50 {:.2}  p90 {:.2}  p99 {:.2}  p99.9 {:.2}  max {:.2}",
            ms(0.5),
            ms(0.9),
            ms(0.99),
            ms(0.999),
            self.latency.max() as f64 / 1_000.0,
        ))?;
        Ok(())
    }
}

/// The file of `--accepted`.
struct AnswerLog {
    path: PathBuf,
    file: BufWriter<std::fs::File>,
}

impl AnswerLog {
    fn create(path: &Path) -> anyhow::Result<Self> {
        let file =
            std::fs::File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { path: path.to_owned(), file: BufWriter::new(file) })
    }

    fn write(
        &mut self,
        id: Option<RequestId>,
        replica: u32,
        status: common::Status,
        info: &str,
    ) -> anyhow::Result<()> {
        let id = id.map_or_else(|| "-".to_owned(), |id| id.to_string());
        let line = format!("{id} {replica} {} {}", status.as_str_name(), info);
        writeln!(self.file, "{}", line.trim_end())
            .with_context(|| format!("cannot write {}", self.path.display()))
    }

    fn finish(mut self) -> anyhow::Result<()> {
        self.file.flush().with_context(|| format!("cannot write {}", self.path.display()))
    }
}
