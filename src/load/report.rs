//! What a run found, as `--json` prints it.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::series::Series;

/// A run's findings. Rates and latencies are of the measurement, without the warm-up; latencies
/// are those of envelopes that were to be sent in it, whenever they came.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Envelopes that were to be sent, a second.
    pub offered_per_s: f64,
    /// Envelopes in blocks that were delivered, a second.
    pub committed_per_s: f64,
    /// Envelopes that were to be sent and did not come: refused, lost, or late beyond the drain.
    pub errors: u64,
    /// From the intended time of sending to the delivered block.
    pub latency_ms: Latency,
    /// Longest time without a delivered block with envelopes of the run.
    pub longest_gap_ms: f64,
    /// CPU (user and system) of all replicas' processes, for each envelope committed; 0 if their
    /// processes are not known.
    pub cpu_us_per_envelope: f64,
    /// Resident memory of each replica's process at the end, by id; empty if not known.
    pub rss_mb: Vec<f64>,
    /// The largest that was seen of each.
    pub rss_peak_mb: Vec<f64>,
    /// CPU seconds of each replica's process.
    pub cpu_s: Vec<f64>,
    /// The load generator itself.
    pub client: Client,
    /// Envelopes sent, warm-up included.
    pub sent: u64,
    /// Envelopes seen in blocks, warm-up and drain included.
    pub committed: u64,
    /// Of `errors`, those that were due and never sent, because replicas took envelopes too slowly.
    pub unsent: u64,
    /// Answers other than SUCCESS, by their text, also those after which an envelope was sent
    /// again. A refusal of what is in a block already is not counted.
    pub refused: BTreeMap<String, u64>,
    /// Envelopes that the chain has twice. Always 0, or the network is broken.
    pub ordered_twice: u64,
    /// Blocks with envelopes of the run, delivered a second.
    pub blocks_per_s: f64,
    /// Envelopes of the run in each.
    pub envelopes_per_block: f64,
    /// What was done to replicas, and what came of it.
    pub faults: Vec<FaultReport>,
    /// What else the machine did.
    pub machine: MachineReport,
    /// What this was measured under.
    pub settings: Settings,
    /// The run over time.
    #[serde(skip)]
    pub series: Option<Series>,
    /// All latencies, microseconds.
    #[serde(skip)]
    pub histogram: Option<Histogram<u64>>,
    /// CPU and memory over time.
    #[serde(skip)]
    pub samples: Vec<Sample>,
}

impl Report {
    /// What makes the figures doubtful, for people; empty for a good run.
    pub fn doubts(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        let machine = &self.machine;
        if machine.other_cpus > 0.1 || machine.steal_cpus > 0.1 {
            doubts.push(format!(
                "warning: the machine was not quiet: {:.1} of {} CPUs went to other programs, {:.1} to the hypervisor",
                machine.other_cpus, self.settings.cpus, machine.steal_cpus
            ));
        }
        if !self.settings.optimized {
            doubts.push("warning: not an optimised build; use cargo build --release to measure".to_owned());
        }
        if self.client.latest_ms > 50.0 {
            doubts.push(format!(
                "warning: the generator fell {:.0} ms behind its schedule{}",
                self.client.latest_ms,
                if self.client.held_back { ", because replicas took envelopes too slowly" } else { "" }
            ));
        }
        if self.errors > 0 {
            doubts.push(format!(
                "warning: {} envelopes were due and did not come; the latencies are those of the others",
                self.errors
            ));
        }
        if self.ordered_twice > 0 {
            doubts.push(format!("error: {} envelopes are in the chain twice", self.ordered_twice));
        }
        doubts
    }
}

/// Percentiles, ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    /// Median.
    pub p50: f64,
    /// 90%.
    pub p90: f64,
    /// 99%.
    pub p99: f64,
    /// 99.9%.
    pub p999: f64,
    /// 99.99%.
    pub p9999: f64,
    /// The largest.
    pub max: f64,
}

impl Latency {
    /// Of a histogram of microseconds.
    pub(super) fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.9999),
            max: histogram.max() as f64 / 1e3,
        }
    }
}

/// What the load generator used and how it kept up.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Client {
    /// CPU seconds in the measurement, with the signing that was left for it.
    pub cpu_s: f64,
    /// Resident memory at the end; envelopes that wait to be sent are most of it.
    pub rss_mb: f64,
    /// Envelopes that were ready before the run began.
    pub made_before: u64,
    /// The latest that an envelope was handed to its stream after its time, ms. It is in the
    /// latencies; if it is large the generator itself is what was measured.
    pub latest_ms: f64,
    /// Sending paused because too much waited for replicas to take it.
    pub held_back: bool,
}

/// A fault of the run.
#[derive(Clone, Debug, Serialize)]
pub struct FaultReport {
    /// What was done.
    pub what: String,
    /// To which replica.
    pub replica: Option<u32>,
    /// When, seconds from the beginning of the measurement.
    pub at_s: f64,
    /// The longest time without a delivered block that ended after it, ms.
    pub stall_ms: f64,
}

/// The machine during the measurement, in CPUs (1 is one CPU all the time).
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct MachineReport {
    /// Busy with anything.
    pub busy_cpus: f64,
    /// Busy with neither replicas nor this program. More than a tenth makes a run doubtful.
    pub other_cpus: f64,
    /// Taken by the hypervisor. More than a tenth makes a run doubtful.
    pub steal_cpus: f64,
}

/// What a run was measured under.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Settings {
    /// `open` or `closed` loop.
    pub pace: String,
    /// Envelopes a second, of an open loop.
    pub rate: Option<f64>,
    /// Envelopes in flight, of a closed loop.
    pub in_flight: Option<u64>,
    /// Encoded envelopes, bytes.
    pub envelope_bytes: usize,
    /// Client identities that took turns.
    pub clients: usize,
    /// Where envelopes were sent.
    pub to: String,
    /// Broadcast streams to each replica.
    pub streams: usize,
    /// Replica whose blocks were read.
    pub deliver_from: u32,
    /// Seconds.
    pub warm_up_s: f64,
    /// Seconds.
    pub duration_s: f64,
    /// Replicas.
    pub n: usize,
    /// `ed25519`, `ecdsa-p256`, or `none`.
    pub client_signatures: String,
    /// Whether replicas checked them: the channel's Writers policy asks for a signature.
    pub client_signatures_checked: bool,
    /// Whether clients use TLS.
    pub tls: bool,
    /// When replicas sync votes to disk, as their settings say.
    pub sync: String,
    /// What SUCCESS of Broadcast means there.
    pub success: String,
    /// The channel's limits.
    pub block: BlockLimits,
    /// Replicas' version.
    pub version: String,
    /// Replicas' commit.
    pub commit: String,
    /// Whether this load generator was built with optimisation; replicas usually are the same program.
    pub optimized: bool,
    /// CPUs of the machine.
    pub cpus: usize,
    /// Their name.
    pub cpu_model: String,
}

/// The channel's limits of a block.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct BlockLimits {
    /// Envelopes.
    pub max_message_count: u32,
    /// Bytes, of more than one envelope.
    pub preferred_max_bytes: u32,
    /// Bytes.
    pub absolute_max_bytes: u32,
    /// Longest wait of an envelope for others, ms.
    pub timeout_ms: f64,
}

/// CPU and memory at one time.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Seconds since the run's start.
    pub at_s: f64,
    /// CPU seconds of each replica so far.
    pub cpu_s: Vec<f64>,
    /// Memory of each replica, MB.
    pub rss_mb: Vec<f64>,
    /// CPU seconds of this program so far.
    pub client_cpu_s: f64,
    /// CPU seconds of the machine, and those taken by the hypervisor.
    pub machine_s: (f64, f64),
}

/// Several equal runs: of each number the median, and each run.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Medians; what has no order (settings, faults) is that of the run in the middle.
    #[serde(flatten)]
    pub median: Report,
    /// The smallest and largest of what people quote; absent for a single run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<Range>,
    /// Each run; absent for a single one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<Report>,
}

/// Smallest and largest of several runs.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Range {
    /// Envelopes committed a second.
    pub committed_per_s: [f64; 2],
    /// Median latency, ms.
    pub p50_ms: [f64; 2],
    /// 99%, ms.
    pub p99_ms: [f64; 2],
    /// Largest latency, ms.
    pub max_ms: [f64; 2],
    /// Longest gap, ms.
    pub longest_gap_ms: [f64; 2],
    /// CPU for each envelope, us.
    pub cpu_us_per_envelope: [f64; 2],
}

impl Summary {
    /// Of one or more runs.
    ///
    /// # Panics
    /// If there is none.
    pub fn of(mut runs: Vec<Report>) -> Self {
        assert!(!runs.is_empty(), "a summary needs a run");
        if runs.len() == 1 {
            return Self { median: runs.remove(0), range: None, runs };
        }
        // The run in the middle carries what has no median: its pictures, faults and settings.
        let mut order: Vec<&Report> = runs.iter().collect();
        order.sort_by(|a, b| a.latency_ms.p50.total_cmp(&b.latency_ms.p50));
        let mut median = order[(runs.len() - 1) / 2].clone();
        let middle = |of: &dyn Fn(&Report) -> f64| {
            let mut values: Vec<f64> = runs.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            let half = values.len() / 2;
            match values.len() % 2 {
                0 => f64::midpoint(values[half - 1], values[half]),
                _ => values[half],
            }
        };
        let range = |of: &dyn Fn(&Report) -> f64| {
            let values = runs.iter().map(of);
            [values.clone().fold(f64::INFINITY, f64::min), values.fold(f64::NEG_INFINITY, f64::max)]
        };
        median.offered_per_s = middle(&|run| run.offered_per_s);
        median.committed_per_s = middle(&|run| run.committed_per_s);
        // Errors are not averaged away: what one run lost, the runs lost.
        median.errors = runs.iter().map(|run| run.errors).sum();
        median.ordered_twice = runs.iter().map(|run| run.ordered_twice).sum();
        median.longest_gap_ms = middle(&|run| run.longest_gap_ms);
        median.cpu_us_per_envelope = middle(&|run| run.cpu_us_per_envelope);
        median.latency_ms = Latency {
            p50: middle(&|run| run.latency_ms.p50),
            p90: middle(&|run| run.latency_ms.p90),
            p99: middle(&|run| run.latency_ms.p99),
            p999: middle(&|run| run.latency_ms.p999),
            p9999: middle(&|run| run.latency_ms.p9999),
            max: middle(&|run| run.latency_ms.max),
        };
        let range = Range {
            committed_per_s: range(&|run| run.committed_per_s),
            p50_ms: range(&|run| run.latency_ms.p50),
            p99_ms: range(&|run| run.latency_ms.p99),
            max_ms: range(&|run| run.latency_ms.max),
            longest_gap_ms: range(&|run| run.longest_gap_ms),
            cpu_us_per_envelope: range(&|run| run.cpu_us_per_envelope),
        };
        Self { median, range: Some(range), runs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_has_the_fields_that_others_read() {
        let json = serde_json::to_value(Summary::of(vec![Report::default()])).unwrap();
        for field in
            ["offered_per_s", "committed_per_s", "errors", "longest_gap_ms", "cpu_us_per_envelope", "rss_mb"]
        {
            assert!(!json[field].is_null(), "{field}");
        }
        for field in ["p50", "p90", "p99", "p999", "max"] {
            assert!(json["latency_ms"][field].is_number(), "{field}");
        }
        assert!(json["settings"].is_object());
        assert!(json.get("runs").is_none() && json.get("range").is_none());
    }

    #[test]
    fn of_several_runs_the_median_is_told_and_all_errors() {
        let run = |rate: f64, p50: f64, errors: u64| Report {
            committed_per_s: rate,
            errors,
            latency_ms: Latency { p50, ..Latency::default() },
            ..Report::default()
        };
        let summary = Summary::of(vec![run(300.0, 1.0, 0), run(100.0, 9.0, 2), run(200.0, 2.0, 1)]);
        assert_eq!((summary.median.committed_per_s, summary.median.latency_ms.p50), (200.0, 2.0));
        assert_eq!(summary.median.errors, 3);
        assert_eq!(summary.range.unwrap().committed_per_s, [100.0, 300.0]);
        assert_eq!(summary.runs.len(), 3);
    }
}
