//! One run from beginning to end: make envelopes, connect, send, watch, wait, tell.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::LoadError;
use super::fault::{Fault, Injector};
use super::lane::{Lanes, Spread};
use super::marker::Tag;
use super::mint::Stock;
use super::pace::{Sender, Work};
use super::plan::{Pace, Plan, To};
use super::process::{self, Meter};
use super::record::{Findings, Record};
use super::report::{BlockLimits, Client, FaultReport, Latency, MachineReport, Report, Sample, Settings};
use super::target::{Target, checks_signatures};
use super::watch::Watch;
use crate::channel_config::ChannelConfig;

/// Between the moment at which all is ready and the first envelope.
const LEAD: Duration = Duration::from_millis(50);
/// Longest wait for streams to open.
const OPEN: Duration = Duration::from_secs(15);
/// How often processes are looked at; longer for a long run.
const SAMPLE: Duration = Duration::from_millis(250);
/// More samples than this are of no use.
const SAMPLES: u32 = 1_200;
/// An envelope that has not come for this long no longer counts as in flight, so that a closed
/// loop goes on without what was lost.
const PATIENCE: Duration = Duration::from_secs(10);
/// Throughputs for which envelopes are made ahead in a closed loop, signed and not: more are made
/// while the run goes on.
const GUESS_SIGNED: f64 = 30_000.0;
const GUESS_UNSIGNED: f64 = 120_000.0;
/// How late a sender on a busy machine may end.
const SENDER_LATE: Duration = Duration::from_millis(500);
/// A queue of one stream is never longer than this, whatever the memory, or than all of it.
const LEAST_BACKLOG: usize = 10_000;

/// What a run is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Making envelopes: so many of so many.
    Making(u64, u64),
    /// Load that does not count yet.
    WarmUp,
    /// Load that counts.
    Measuring,
    /// Waiting for what is outstanding.
    Draining,
}

/// Is told how a run goes.
pub trait Observer: Send + Sync {
    /// Several times a second: the phase, how long the load has been on, envelopes seen in blocks
    /// and outstanding.
    fn progress(&self, phase: Phase, elapsed: Duration, committed: u64, outstanding: u64);
    /// Something that people should know.
    fn note(&self, text: &str);
}

/// An observer that does not care.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn progress(&self, _phase: Phase, _elapsed: Duration, _committed: u64, _outstanding: u64) {}
    fn note(&self, _text: &str) {}
}

/// Makes one run. What it did to replicas it undoes before it returns, but replicas that it
/// started again stop with it.
///
/// # Errors
/// When the plan cannot be carried out, no replica can be reached, or not one envelope came.
pub async fn run(target: &mut Target, plan: &Plan, observer: &dyn Observer) -> Result<Report, LoadError> {
    Ok(runs(target, plan, 1, observer).await?.remove(0))
}

/// Makes `count` equal runs, one after the other. Between them replicas that were killed come back.
///
/// # Errors
/// As [`run`].
pub async fn runs(
    target: &mut Target,
    plan: &Plan,
    count: usize,
    observer: &dyn Observer,
) -> Result<Vec<Report>, LoadError> {
    plan.check()?;
    let mut injector = Injector::default();
    let mut reports = Vec::with_capacity(count);
    for number in 1..=count {
        if number > 1 {
            injector.mend(target).await?;
        }
        if count > 1 {
            observer.note(&format!("run {number} of {count}"));
        }
        reports.push(one(target, plan, &mut injector, observer).await?);
    }
    for config in injector.left_down() {
        observer.note(&format!(
            "a replica that was killed is down; start it again with: sbft node --config {}",
            config.display()
        ));
    }
    if !plan.faults.is_empty() {
        injector.stop().await;
    }
    Ok(reports)
}

/// The smallest envelope that this load can have with the network's identities, bytes.
///
/// # Errors
/// When no replica can be reached or an identity cannot be used.
pub async fn smallest_size(target: &Target, plan: &Plan) -> Result<usize, LoadError> {
    let signed = match plan.signed {
        Some(signed) => signed,
        None => checks_signatures(&target.config(&target.reader()?).await?),
    };
    // Certificates differ in length: each client's smallest is asked for until all are content.
    let mut size = 0;
    loop {
        match target.templates(plan.clients, size, signed) {
            Err(LoadError::Size { smallest, .. }) if smallest > size => size = smallest,
            Err(error) => return Err(error),
            Ok(_) => return Ok(size),
        }
    }
}

async fn one(
    target: &mut Target,
    plan: &Plan,
    injector: &mut Injector,
    observer: &dyn Observer,
) -> Result<Report, LoadError> {
    target.refresh()?;
    let reader = target.reader()?;
    let config = target.config(&reader).await?;
    let checked = checks_signatures(&config);
    let signed = plan.signed.unwrap_or(checked);
    let templates = target.templates(plan.clients, plan.size, signed)?;
    let mut settings = settings(target, plan, &config, checked).await;
    settings.clients = templates.len();
    settings.client_signatures = templates.first().map_or("none", |template| template.scheme()).to_owned();

    let tag = Tag::random();
    let expected = expected(plan, signed);
    let total = match plan.pace {
        Pace::Open { .. } => expected,
        Pace::Closed { .. } => u64::MAX,
    };
    let (stock, ahead) = Stock::new(templates, tag, expected, total, plan.memory);
    let made = stock.made();
    while made.count() < ahead && !made.ended() {
        observer.progress(Phase::Making(made.count(), ahead), Duration::ZERO, 0, 0);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let primary = target.primary().await.ok();
    let reading = reading_order(target, plan, primary)?;
    settings.deliver_from = target.replicas[reading[0]].id;
    let addresses: Vec<String> = reading.iter().map(|index| target.replicas[*index].grpc.clone()).collect();
    let from = crate::client::follow::height(&addresses, &target.security, &reader)
        .await
        .map_err(|error| LoadError::Unreachable(format!("{error:#}")))?;

    let (spread, order) = sending_order(target, plan)?;
    let lanes = Lanes::new(&order, plan.streams, spread);
    let record = Arc::new(Record::new(tag, plan.warm_up..plan.length()));
    let (open, opened) = watch::channel(false);
    let security = target.security.clone();
    let reading =
        Watch { addresses, security: security.clone(), reader, from, record: Arc::clone(&record), open };
    // Both end when this function does, however it does.
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    let reading = tokio::spawn(stop.clone().run_until_cancelled_owned(reading.run()));
    let sending = tokio::spawn(Arc::clone(&lanes).run(security, Arc::clone(&record), stop.clone()));
    let mut stage = Stage { plan, target, injector, observer, record, lanes, made_before: made.count() };
    stage.wait_until_open(opened).await?;
    let measured = stage.carry_out(stock).await?;
    let findings = stage.record.findings();
    stop.cancel();
    for task in [reading.map(drop).boxed(), sending.map(drop).boxed()] {
        task.await;
    }

    if findings.seen == 0 {
        let refusals: Vec<String> =
            findings.refused.iter().map(|(answer, count)| format!("{answer} ({count} times)")).collect();
        return Err(LoadError::Nothing(format!(
            "of {} envelopes sent, none came in a block{}{}",
            findings.sent,
            if refusals.is_empty() { "" } else { "; replicas answered: " },
            refusals.join("; ")
        )));
    }
    Ok(report(plan, settings, findings, measured))
}

/// How many envelopes a run takes, or may take.
fn expected(plan: &Plan, signed: bool) -> u64 {
    let rate = match plan.pace {
        Pace::Open { per_second } => per_second,
        Pace::Closed { .. } if signed => GUESS_SIGNED,
        Pace::Closed { .. } => GUESS_UNSIGNED,
    };
    (rate * plan.length().as_secs_f64()).ceil() as u64
}

/// Replicas by place: whom to send to, as lanes want it.
fn sending_order(target: &Target, plan: &Plan) -> Result<(Spread, Vec<(u32, String)>), LoadError> {
    let mut order: Vec<(u32, String)> =
        target.replicas.iter().map(|replica| (replica.id, replica.grpc.clone())).collect();
    let spread = match plan.to {
        To::One(id) => {
            target.replica(id)?;
            order.sort_by_key(|(replica, _)| *replica != id);
            Spread::First
        }
        To::RoundRobin => Spread::Turns,
        To::All => Spread::All,
    };
    Ok((spread, order))
}

/// Replicas by place: whom to read blocks from first.
fn reading_order(target: &Target, plan: &Plan, primary: Option<u32>) -> Result<Vec<usize>, LoadError> {
    let first = match plan.deliver_from {
        Some(id) => Some(target.replica(id)?.id),
        None => target.replicas.iter().map(|replica| replica.id).find(|id| Some(*id) != primary),
    };
    let mut order: Vec<usize> = (0..target.replicas.len()).collect();
    order.sort_by_key(|index| Some(target.replicas[*index].id) != first);
    Ok(order)
}

/// What a run works with once it is prepared.
struct Stage<'a> {
    plan: &'a Plan,
    target: &'a mut Target,
    injector: &'a mut Injector,
    observer: &'a dyn Observer,
    record: Arc<Record>,
    lanes: Arc<Lanes>,
    made_before: u64,
}

/// What was measured besides the record.
struct Measured {
    /// Envelopes that were due and never handed to a stream.
    unsent: u64,
    replicas: Vec<Meter>,
    cpu: Vec<Duration>,
    processes_known: bool,
    client_cpu: Duration,
    client_rss: u64,
    machine_busy: Duration,
    machine_steal: Duration,
    samples: Vec<Sample>,
    faults: Vec<(Fault, Option<u32>, Duration)>,
    made_before: u64,
    latest: Duration,
    held_back: bool,
}

impl Stage<'_> {
    async fn wait_until_open(&self, mut opened: watch::Receiver<bool>) -> Result<(), LoadError> {
        let settled = async {
            self.lanes.settled().await?;
            opened.wait_for(|open| *open).await.map(drop).map_err(|_| "no blocks can be read".to_owned())
        };
        match tokio::time::timeout(OPEN, settled).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(reason)) => Err(LoadError::Unreachable(reason)),
            Err(_) => Err(LoadError::Unreachable(format!("no stream opened within {} s", OPEN.as_secs()))),
        }
    }

    /// Sends, samples, injects faults and waits for what is outstanding.
    async fn carry_out(&mut self, stock: Stock) -> Result<Measured, LoadError> {
        let start = Instant::now() + LEAD;
        self.record.begin(start);
        stock.run_begins();
        let (opens, closes) = (start + self.plan.warm_up, start + self.plan.length());
        let sender = Arc::<Sender>::default();
        let work = Work {
            pace: self.plan.pace,
            until: self.plan.length(),
            backlog: (self.plan.memory / self.plan.size.max(1)).max(LEAST_BACKLOG),
            stock,
            lanes: Arc::clone(&self.lanes),
            record: Arc::clone(&self.record),
            sender: Arc::clone(&sender),
        };
        let _stops = StopOnDrop(Arc::clone(&sender));
        let thread = std::thread::Builder::new()
            .name("load-send".to_owned())
            .spawn(move || work.run())
            .map_err(|error| LoadError::Internal(error.to_string()))?;

        let mut gauges = Gauges::new(self.target);
        let mut faults: Vec<Fault> = self.plan.faults.clone();
        faults.sort_by_key(|fault| fault.at);
        let mut pending = faults.into_iter().peekable();
        let mut done = Vec::new();
        let step = SAMPLE.max(self.plan.length() / SAMPLES);
        let mut next_sample = start;
        let mut before = None;
        loop {
            let now = Instant::now();
            if before.is_none() && now >= opens {
                before = Some(gauges.read(self.target, start));
            }
            if now >= closes {
                break;
            }
            if let Some(fault) = pending.next_if(|fault| opens + fault.at <= now) {
                let at = self.record.fault();
                let replica = self.injector.inject(fault.action, self.target).await?;
                let whom = replica.map_or_else(|| "nobody".to_owned(), |id| format!("replica {id}"));
                self.observer.note(&format!(
                    "{:.1} s: {}: {whom}",
                    fault.at.as_secs_f64(),
                    fault.action.name()
                ));
                done.push((fault, replica, at));
                continue;
            }
            if now >= next_sample {
                gauges.sample(self.target, start);
                self.record.give_up(PATIENCE);
                let phase = if now < opens { Phase::WarmUp } else { Phase::Measuring };
                self.tell(phase, start);
                next_sample = now + step;
            }
            if thread.is_finished()
                && now + Duration::from_millis(100) < closes
                && !open_loop_done(self.plan, now - start)
            {
                break; // it failed: its error is told below
            }
            let due = pending.peek().map(|fault| opens + fault.at);
            let wake = [Some(closes), Some(next_sample), before.is_none().then_some(opens), due];
            let wake = wake.into_iter().flatten().min().unwrap_or(closes);
            tokio::time::sleep_until(wake.into()).await;
        }
        let after = gauges.read(self.target, start);
        let before = before.unwrap_or_else(|| after.clone());
        // What is due is still sent if the sender itself is a little late; not what replicas would not take.
        let patience = Instant::now() + SENDER_LATE;
        while matches!(self.plan.pace, Pace::Open { .. })
            && !thread.is_finished()
            && Instant::now() < patience
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        sender.stop();
        let due = tokio::task::spawn_blocking(move || thread.join())
            .await
            .map_err(|error| LoadError::Internal(error.to_string()))?
            .map_err(|_| LoadError::Internal("its sending thread panicked".to_owned()))??;
        self.drain(start, &mut gauges).await;
        let unsent = due.saturating_sub(self.record.sent_count());
        Ok(Measured {
            unsent,
            cpu: after
                .replicas
                .iter()
                .zip(&before.replicas)
                .map(|(after, before)| after.saturating_sub(*before))
                .collect(),
            processes_known: gauges.meters.iter().all(|meter| meter.peak > 0),
            replicas: gauges.meters,
            client_cpu: after.client.saturating_sub(before.client),
            client_rss: after.client_rss,
            machine_busy: after.machine.busy.saturating_sub(before.machine.busy),
            machine_steal: after.machine.steal.saturating_sub(before.machine.steal),
            samples: gauges.samples,
            faults: done,
            made_before: self.made_before,
            latest: sender.latest(),
            held_back: sender.held_back(),
        })
    }

    /// Waits until all that was sent has come, or no longer.
    async fn drain(&self, start: Instant, gauges: &mut Gauges) {
        let deadline = Instant::now() + self.plan.drain;
        let mut next_sample = Instant::now();
        while self.record.progress().1 > 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
            if Instant::now() >= next_sample {
                gauges.sample(self.target, start);
                self.tell(Phase::Draining, start);
                next_sample = Instant::now() + SAMPLE;
            }
        }
    }

    fn tell(&self, phase: Phase, start: Instant) {
        let (committed, outstanding) = self.record.progress();
        self.observer.progress(phase, start.elapsed(), committed, outstanding);
    }
}

/// An open loop has nothing more to send once its last envelope is.
fn open_loop_done(plan: &Plan, elapsed: Duration) -> bool {
    match plan.pace {
        Pace::Open { per_second } => elapsed.as_secs_f64() + 1.0 / per_second >= plan.length().as_secs_f64(),
        Pace::Closed { .. } => false,
    }
}

/// Stops the sending thread when a run ends early.
struct StopOnDrop(Arc<Sender>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// What processes and machine used so far.
#[derive(Clone)]
struct Reading {
    replicas: Vec<Duration>,
    client: Duration,
    client_rss: u64,
    machine: process::Machine,
}

struct Gauges {
    meters: Vec<Meter>,
    samples: Vec<Sample>,
}

impl Gauges {
    fn new(target: &Target) -> Self {
        let meters = target.replicas.iter().map(|replica| {
            let mut meter = Meter::default();
            meter.read(replica.pid);
            meter
        });
        Self { meters: meters.collect(), samples: Vec::new() }
    }

    fn read(&mut self, target: &Target, start: Instant) -> Reading {
        for (meter, replica) in self.meters.iter_mut().zip(&target.replicas) {
            meter.read(replica.pid);
        }
        let own = process::usage(std::process::id()).unwrap_or_default();
        let machine = process::machine();
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        self.samples.push(Sample {
            at_s: start.elapsed().as_secs_f64(),
            cpu_s: self.meters.iter().map(|meter| meter.cpu.as_secs_f64()).collect(),
            rss_mb: self.meters.iter().map(|meter| megabytes(meter.rss)).collect(),
            client_cpu_s: own.cpu.as_secs_f64(),
            machine_s: (machine.busy.as_secs_f64(), machine.steal.as_secs_f64()),
        });
        Reading {
            replicas: self.meters.iter().map(|meter| meter.cpu).collect(),
            client: own.cpu,
            client_rss: own.rss,
            machine,
        }
    }

    fn sample(&mut self, target: &Target, start: Instant) {
        self.read(target, start);
    }
}

async fn settings(target: &Target, plan: &Plan, config: &ChannelConfig, checked: bool) -> Settings {
    let (sync, success) = target.node_settings().unwrap_or(("not known from here", "not known from here"));
    let unknown = || ("unknown".to_owned(), "unknown".to_owned());
    let (version, commit) = target.version().await.unwrap_or_else(unknown);
    let (pace, rate, in_flight) = match plan.pace {
        Pace::Open { per_second } => ("open", Some(per_second), None),
        Pace::Closed { in_flight } => ("closed", None, Some(in_flight)),
    };
    Settings {
        pace: pace.to_owned(),
        rate,
        in_flight,
        envelope_bytes: plan.size,
        clients: 0,
        to: match plan.to {
            To::One(id) => format!("one (replica {id})"),
            To::RoundRobin => "round-robin".to_owned(),
            To::All => "all".to_owned(),
        },
        streams: plan.streams,
        deliver_from: 0,
        warm_up_s: plan.warm_up.as_secs_f64(),
        duration_s: plan.duration.as_secs_f64(),
        n: config.consenters.len(),
        client_signatures: String::new(),
        client_signatures_checked: checked,
        tls: target.security.ca.is_some(),
        sync: sync.to_owned(),
        success: success.to_owned(),
        block: BlockLimits {
            max_message_count: config.batch.max_message_count,
            preferred_max_bytes: config.batch.preferred_max_bytes,
            absolute_max_bytes: config.batch.absolute_max_bytes,
            timeout_ms: config.batch_timeout.as_secs_f64() * 1e3,
        },
        version,
        commit,
        optimized: !cfg!(debug_assertions),
        cpus: std::thread::available_parallelism().map_or(0, usize::from),
        cpu_model: process::cpu_model(),
    }
}

fn report(plan: &Plan, settings: Settings, findings: Findings, measured: Measured) -> Report {
    let seconds = plan.duration.as_secs_f64();
    let committed = findings.counts.committed_in_window;
    let cpu: Duration = measured.cpu.iter().sum();
    let offered = match plan.pace {
        Pace::Open { per_second } => per_second,
        Pace::Closed { .. } => findings.counts.sent_in_window as f64 / seconds,
    };
    let round = |value: f64| (value * 1e3).round() / 1e3;
    let megabytes = |bytes: u64| round(bytes as f64 / 1e6);
    let faults =
        measured.faults.iter().zip(&findings.stalls).map(|((fault, replica, at), stall)| FaultReport {
            what: fault.action.name().to_owned(),
            replica: *replica,
            at_s: round(at.saturating_sub(plan.warm_up).as_secs_f64()),
            stall_ms: round(stall.as_secs_f64() * 1e3),
        });
    let known = measured.processes_known;
    let per_replica = |of: &dyn Fn(&Meter) -> u64| -> Vec<f64> {
        if known { measured.replicas.iter().map(|meter| megabytes(of(meter))).collect() } else { Vec::new() }
    };
    let ours = cpu + measured.client_cpu;
    Report {
        offered_per_s: round(offered),
        committed_per_s: round(committed as f64 / seconds),
        errors: findings.unseen_in_window + measured.unsent,
        latency_ms: Latency::of(&findings.latency),
        longest_gap_ms: round(findings.longest_gap.as_secs_f64() * 1e3),
        cpu_us_per_envelope: match committed {
            0 => 0.0,
            _ => round(cpu.as_secs_f64() * 1e6 / committed as f64),
        },
        rss_mb: per_replica(&|meter| meter.rss),
        rss_peak_mb: per_replica(&|meter| meter.peak),
        cpu_s: if known {
            measured.cpu.iter().map(|cpu| round(cpu.as_secs_f64())).collect()
        } else {
            Vec::new()
        },
        client: Client {
            cpu_s: round(measured.client_cpu.as_secs_f64()),
            rss_mb: megabytes(measured.client_rss),
            made_before: measured.made_before,
            latest_ms: round(measured.latest.as_secs_f64() * 1e3),
            held_back: measured.held_back,
        },
        sent: findings.sent,
        committed: findings.seen,
        unsent: measured.unsent,
        refused: findings.refused,
        ordered_twice: findings.counts.twice,
        blocks_per_s: round(findings.counts.blocks_in_window as f64 / seconds),
        envelopes_per_block: match findings.counts.blocks_in_window {
            0 => 0.0,
            blocks => round(committed as f64 / blocks as f64),
        },
        faults: faults.collect(),
        machine: MachineReport {
            busy_cpus: round(measured.machine_busy.as_secs_f64() / seconds),
            other_cpus: round(measured.machine_busy.saturating_sub(ours).as_secs_f64() / seconds),
            steal_cpus: round(measured.machine_steal.as_secs_f64() / seconds),
        },
        settings,
        series: Some(findings.series),
        histogram: Some(findings.latency),
        samples: measured.samples,
    }
}
