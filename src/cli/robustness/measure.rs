//! One measurement: a new network, load, the attack in the middle of it, and a look at the ledgers.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;

use super::clients::Garbage;
use super::rows::{Attacker, Row};
use crate::cli::lies::Liar;
use crate::cli::network::running::{Made, Running};
use crate::client::envelope::EnvelopeMaker;
use crate::client::network_file::NetworkFile;
use crate::client::operations;
use crate::liar::ACTED;
use crate::load::{self, Observer, Pace, Phase, Plan, Report, Settings, Target, To};
use crate::verify::{VerifyOptions, verify_paths};

/// The others may take so long to notice the attack; throughput is counted from then on.
const NOTICE: f64 = 1.0;
/// Longest wait until the honest replicas have the same blocks.
const SETTLE: Duration = Duration::from_secs(30);

/// What all measurements of a table have in common.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) dir: PathBuf,
    pub(super) made: Made,
    pub(super) size: usize,
    /// Load before the attack begins.
    pub(super) before: Duration,
    /// Length of the attack.
    pub(super) duration: Duration,
}

/// What came of one measurement, or the medians of several.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Measured {
    /// Envelopes committed a second, from one second after the attack began.
    pub(super) committed_per_s: f64,
    /// The same in the load before it began.
    pub(super) before_per_s: f64,
    /// Latencies of the envelopes sent since the attack began, ms.
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    /// Longest time without a block since the attack began, ms.
    pub(super) longest_gap_ms: f64,
    /// Envelopes that did not come.
    pub(super) errors: u64,
    /// How often the attack acted.
    pub(super) acted: u64,
    /// The view at the end, 0 if the first primary was never left.
    pub(super) view: u64,
    /// CPU of the replicas that are sent to, for each envelope committed, microseconds.
    pub(super) cpu_us_per_envelope: f64,
    /// CPUs that the liar and anything else on the machine took.
    pub(super) other_cpus: f64,
    /// What it was measured under.
    pub(super) settings: Settings,
}

impl Measured {
    /// Of one or more equal measurements: the median of each figure, all errors, the least that the
    /// attack acted, and the highest view.
    pub(super) fn median(mut all: Vec<Self>) -> Option<Self> {
        let middle = |of: fn(&Self) -> f64| {
            let mut values: Vec<f64> = all.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            let upper = *values.get(values.len() / 2)?;
            let lower = *values.get((values.len() - 1) / 2)?;
            Some(f64::midpoint(lower, upper))
        };
        let found = Self {
            committed_per_s: middle(|it| it.committed_per_s)?,
            before_per_s: middle(|it| it.before_per_s)?,
            p50_ms: middle(|it| it.p50_ms)?,
            p99_ms: middle(|it| it.p99_ms)?,
            longest_gap_ms: middle(|it| it.longest_gap_ms)?,
            errors: all.iter().map(|it| it.errors).sum(),
            acted: all.iter().map(|it| it.acted).min()?,
            view: all.iter().map(|it| it.view).max()?,
            cpu_us_per_envelope: middle(|it| it.cpu_us_per_envelope)?,
            other_cpus: middle(|it| it.other_cpus)?,
            settings: all.pop()?.settings,
        };
        Some(found)
    }
}

/// Begins the attack when the measurement begins.
struct Begin {
    /// The liar's process.
    liar: Option<Pid>,
    clients: watch::Sender<bool>,
    begun: Mutex<Option<Begun>>,
}

/// Seconds after the load's start, or why it did not begin.
type Begun = Result<f64, String>;

impl Observer for Begin {
    fn progress(&self, phase: Phase, elapsed: Duration, _committed: u64, _outstanding: u64) {
        if phase != Phase::Measuring {
            return;
        }
        let mut begun = self.begun.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if begun.is_some() {
            return;
        }
        self.clients.send_replace(true);
        let told = self.liar.map_or(Ok(()), |pid| kill_process(pid, Signal::USR1));
        *begun = Some(told.map(|()| elapsed.as_secs_f64()).map_err(|error| error.to_string()));
    }

    fn note(&self, text: &str) {
        eprintln!("{text}");
    }
}

/// Measures a row at one pace.
///
/// # Errors
/// When the network cannot be run, the attack did nothing, or the honest replicas do not agree.
pub(super) async fn measure(setup: &Setup, row: &Row, pace: Pace) -> anyhow::Result<Measured> {
    let liar = match row.attacker {
        Attacker::Primary(_) => Some(1),
        Attacker::Backup(_) => Some(setup.made.replicas),
        Attacker::Nobody | Attacker::Everywhere | Attacker::Garbage => None,
    };
    let lies = row.attacker.lies().to_vec();
    let liars: Vec<_> = liar.map(|id| Liar { id, lies, on_signal: true }).into_iter().collect();
    let network = Running::start(&setup.dir, setup.made, &liars).await?;
    let measured = attack(setup, row, pace, network.file(), liar).await;
    let clean = network.stop().await;
    let (measured, honest) = measured?;
    ensure!(clean, "not all replicas stopped as they should");
    agree(&honest, setup)?;
    Ok(measured)
}

async fn attack(
    setup: &Setup,
    row: &Row,
    pace: Pace,
    network: &NetworkFile,
    liar: Option<u32>,
) -> anyhow::Result<(Measured, NetworkFile)> {
    let mut target = Target::network(&setup.dir)?;
    let primary = target.primary().await?;
    ensure!(primary == 1, "replica {primary} is primary before anything began; the machine is too busy");
    // The same replicas in every row, also without a liar: one that lies owes its clients nothing.
    let aside = liar.unwrap_or(1);
    if !matches!(row.attacker, Attacker::Everywhere) {
        target.dir = None; // its list of replicas is another one now
        target.replicas.retain(|replica| replica.id != aside);
    }
    let pid = |id: u32| {
        let pid = network.replicas.iter().find(|replica| replica.id == id)?.pid?;
        Pid::from_raw(i32::try_from(pid).ok()?)
    };
    let liar_pid = liar.map(|id| pid(id).context("the liar has no process")).transpose()?;
    let (clients, begin) = watch::channel(false);
    let garbage = match row.attacker {
        Attacker::Garbage => {
            let addresses: Vec<_> = target.replicas.iter().map(|replica| replica.grpc.clone()).collect();
            let maker = EnvelopeMaker::open(&network.channel, &network.client)?;
            Some(Garbage::prepare(&addresses, &target.security, &maker, &begin).await?)
        }
        _ => None,
    };
    let plan = Plan {
        pace,
        size: setup.size,
        to: if matches!(row.attacker, Attacker::Everywhere) { To::All } else { To::RoundRobin },
        warm_up: setup.before,
        duration: setup.duration,
        ..Plan::default()
    };
    let observer = Begin { liar: liar_pid, clients, begun: Mutex::default() };
    let report = load::run(&mut target, &plan, &observer).await?;
    let begun = observer.begun.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let begun = begun.context("the attack was never begun")?.map_err(anyhow::Error::msg)?;
    let acted = match (&row.attacker, liar, garbage) {
        (Attacker::Nobody, ..) => 0,
        (Attacker::Everywhere, ..) => report.sent,
        (_, Some(id), _) => acted(network, id, row).await?,
        (.., Some(garbage)) => garbage.refused(),
        _ => bail!("{} has no attacker", row.name),
    };
    ensure!(
        acted > 0 || matches!(row.attacker, Attacker::Nobody),
        "the attack did nothing, so this row would say nothing"
    );
    ensure!(report.ordered_twice == 0, "{} envelopes are in the chain twice", report.ordered_twice);
    let mut honest = network.clone();
    honest.replicas.retain(|replica| Some(replica.id) != liar);
    let view = settle(&honest).await?;
    Ok((measured(&report, setup, begun, acted, view)?, honest))
}

fn measured(report: &Report, setup: &Setup, begun: f64, acted: u64, view: u64) -> anyhow::Result<Measured> {
    let end = (setup.before + setup.duration).as_secs_f64();
    let series = report.series.as_ref().context("the load kept no series")?;
    // The first interval begins at 0.
    let width = series.points().next().context("the load kept no series")?.at_s * 2.0;
    let mean = |from: f64, to: f64| {
        let inside = series.points().filter(|point| point.at_s >= from && point.at_s <= to);
        let (sum, count) = inside.fold((0.0, 0u32), |(sum, count), it| (sum + it.committed_per_s, count + 1));
        // Where nothing committed any more the series ends early: that is 0, not less to divide by.
        let intervals = ((to - from) / width).floor().max(f64::from(count)).max(1.0);
        sum / intervals
    };
    Ok(Measured {
        committed_per_s: mean(begun + NOTICE, end),
        // The first third is for connections and caches to warm up.
        before_per_s: mean(begun / 3.0, begun),
        p50_ms: report.latency_ms.p50,
        p99_ms: report.latency_ms.p99,
        longest_gap_ms: report.longest_gap_ms,
        errors: report.errors,
        acted,
        view,
        cpu_us_per_envelope: report.cpu_us_per_envelope,
        other_cpus: report.machine.other_cpus,
        settings: report.settings.clone(),
    })
}

/// How often the liar's lies acted: that which acted least often.
async fn acted(network: &NetworkFile, liar: u32, row: &Row) -> anyhow::Result<u64> {
    let entry =
        network.replicas.iter().find(|replica| replica.id == liar).context("the liar is no replica")?;
    let (_, text) = operations::get(&entry.ops, "/metrics").await?;
    let counts = row.attacker.lies().iter().map(|lie| {
        let name = format!("{ACTED}{{lie=\"{}\"}} ", lie.name());
        let count = text.lines().find_map(|line| line.strip_prefix(&name));
        count.and_then(|count| count.parse().ok()).with_context(|| format!("the liar does not say {name}"))
    });
    Ok(counts.collect::<anyhow::Result<Vec<u64>>>()?.into_iter().min().unwrap_or(0))
}

/// Waits until the honest replicas have the same height; gives their view.
async fn settle(honest: &NetworkFile) -> anyhow::Result<u64> {
    let deadline = Instant::now() + SETTLE;
    loop {
        let mut stands = Vec::new();
        for replica in &honest.replicas {
            let (_, body) = operations::get(&replica.ops, "/status").await?;
            let status: Value = serde_json::from_str(&body).context("a status is no JSON")?;
            let channel = &status["channels"][0];
            stands.push((channel["height"].as_u64(), channel["view"].as_u64()));
        }
        if stands.windows(2).all(|pair| pair[0].0 == pair[1].0) {
            return Ok(stands.iter().filter_map(|(_, view)| *view).max().unwrap_or(0));
        }
        ensure!(Instant::now() < deadline, "the honest replicas do not come to one height: {stands:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Checks the honest replicas' ledgers, and that no two have different blocks of one number.
fn agree(honest: &NetworkFile, setup: &Setup) -> anyhow::Result<()> {
    let ledgers: Vec<PathBuf> = honest.replicas.iter().map(|replica| replica.ledger.clone()).collect();
    let genesis: &Path = &honest.genesis;
    let reports = verify_paths(&ledgers, genesis, VerifyOptions::default())
        .with_context(|| format!("the ledgers in {}", setup.dir.display()))?;
    for report in &reports {
        if let Some(failure) = &report.failure {
            bail!("{} is refused: {}", report.path.display(), failure.reason);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(committed_per_s: f64, errors: u64, acted: u64) -> Measured {
        Measured {
            committed_per_s,
            before_per_s: 0.0,
            p50_ms: 0.0,
            p99_ms: 0.0,
            longest_gap_ms: 0.0,
            errors,
            acted,
            view: 0,
            cpu_us_per_envelope: 0.0,
            other_cpus: 0.0,
            settings: Settings::default(),
        }
    }

    #[test]
    fn of_several_runs_the_median_is_told_and_the_worst_of_what_is_counted() {
        let found = Measured::median(vec![run(300.0, 0, 5), run(100.0, 2, 9), run(200.0, 1, 7)]).unwrap();
        assert_eq!((found.committed_per_s, found.errors, found.acted), (200.0, 3, 5));
        let found = Measured::median(vec![run(300.0, 0, 1), run(100.0, 0, 1)]).unwrap();
        assert_eq!(found.committed_per_s, 200.0);
        assert!(Measured::median(Vec::new()).is_none());
    }
}
