//! What each piece of work costs: measured once, kept in a file, so that a prediction can be made again.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A cost that grows with size: so much for each, and so much for every 1,024 bytes. Microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// For each, whatever its size.
    pub each_us: f64,
    /// For every 1,024 bytes.
    pub kib_us: f64,
}

impl Line {
    /// The line through two measurements, (bytes, microseconds) each. A slope below zero is noise, and
    /// taken for none.
    pub fn through((small, low): (usize, f64), (large, high): (usize, f64)) -> Self {
        let kib = (large.saturating_sub(small)).max(1) as f64 / 1024.0;
        let kib_us = ((high - low) / kib).max(0.0);
        Self { each_us: (low - kib_us * small as f64 / 1024.0).max(0.0), kib_us }
    }

    /// Microseconds for `count` of `bytes` in all.
    pub fn us(&self, count: usize, bytes: usize) -> f64 {
        self.each_us * count as f64 + self.kib_us * bytes as f64 / 1024.0
    }
}

/// Votes' signatures of one kind. Microseconds of one processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// Making one.
    pub sign_us: f64,
    /// Decoding a vote that arrived.
    pub decode_us: f64,
    /// Checking it.
    pub check_us: f64,
}

/// What the filters take, signatures of clients included. Microseconds of one processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filtering {
    /// An envelope from a client that is judged alone.
    pub alone: Line,
    /// One of many that are judged together,
    pub together: Line,
    /// one of another replica's candidate, and its share of the candidate's decoding and hashing,
    pub candidate: Line,
    /// and what so many together take besides.
    pub batch_us: f64,
}

/// A way over the network, at both ends. Microseconds of one processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Way {
    /// What a replica takes besides when it is woken: by a frame, or to send one.
    pub round_us: f64,
    /// What a frame takes besides, at both ends together, when none went before it in its stream.
    pub alone_us: f64,
    /// Sending a frame, one after the other.
    pub send: Line,
    /// Receiving it.
    pub receive: Line,
}

/// A disk. Microseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// Processor time for appending a record and its share of a write.
    pub append: Line,
    /// Processor time of a sync.
    pub sync_cpu_us: f64,
    /// How long a sync takes while so many others of the machine go on at the same time (0, 1, 2 ...):
    /// each row has nine deciles, the shortest first.
    pub sync_us: Vec<Vec<f64>>,
}

/// The steps of core and intake at one n, by what is stepped. Microseconds of one processor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Steps {
    /// How many replicas.
    pub n: usize,
    /// By kind of input; `intake:` are the intake's, for each envelope, and `encode:` the making of a log
    /// record or of a block, for each envelope in it.
    pub us: BTreeMap<String, f64>,
}

/// The filters, by who must sign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filters {
    /// Nobody.
    pub open: Filtering,
    /// Clients, with Ed25519.
    pub ed25519: Filtering,
    /// Clients, with ECDSA P-256.
    pub p256: Filtering,
}

/// What was measured, on which machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Costs {
    /// The processor's name.
    pub processor: String,
    /// How many there were.
    pub processors: usize,
    /// The program that was measured.
    pub version: String,
    /// Waking a thread that waits while all processors have work. Charged when a lane has none.
    pub wake_us: f64,
    /// The same while a processor has nothing to do, which is to be woken too.
    pub cold_wake_us: f64,
    /// What a replica takes in a second in which it has nothing to do.
    pub idle_us: f64,
    /// Making a candidate, for each envelope.
    pub encode: Line,
    /// A client's envelope from the socket to the filters, its answer, and its share of the blocks
    /// delivered: at the replica.
    pub ingest: Line,
    /// The same at the client.
    pub client: Line,
    /// What it takes the replica besides when no other came just before,
    pub ingest_wake_us: f64,
    /// and the client.
    pub client_wake_us: f64,
    /// Votes and all that is small.
    pub message: Way,
    /// Candidates.
    pub bulk: Way,
    /// The log.
    pub log: Disk,
    /// The ledger, for each block.
    pub ledger: Disk,
    /// Votes with Ed25519.
    pub ed25519: Signature,
    /// Votes with ECDSA P-256.
    pub p256: Signature,
    /// The filters, by who must sign.
    pub filters: Filters,
    /// Core and intake.
    pub steps: Vec<Steps>,
}

impl Costs {
    /// Reads a cost file.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn parse(text: &str) -> Result<Self, String> {
        let costs: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        if costs.steps.is_empty() {
            return Err(
                "it has no [[steps]]: measure it anew with `sbft-sim scale --calibrate FILE`".to_owned()
            );
        }
        if [&costs.log, &costs.ledger].iter().any(|disk| disk.sync_us.iter().any(|row| row.len() != 9)) {
            return Err("each row of `sync_us` has nine deciles".to_owned());
        }
        Ok(costs)
    }

    /// The file's text.
    ///
    /// # Errors
    /// When it cannot be written as TOML.
    pub fn text(&self) -> Result<String, String> {
        toml::to_string(self).map_err(|error| error.to_string())
    }

    /// What a step of this kind costs with `n` replicas: as measured, or on the line between the two
    /// measurements nearest to `n`. An input that was never seen costs as much as a vote.
    pub(super) fn step_us(&self, n: usize, kind: &str) -> f64 {
        let mut known: Vec<(usize, f64)> =
            self.steps.iter().filter_map(|steps| Some((steps.n, *steps.us.get(kind)?))).collect();
        known.sort_by_key(|(n, _)| *n);
        let below = known.iter().rev().find(|(m, _)| *m <= n);
        let above = known.iter().find(|(m, _)| *m >= n);
        match (below, above) {
            (Some((m, low)), Some((k, high))) if k > m => {
                low + (high - low) * (n - m) as f64 / (k - m) as f64
            }
            (Some((_, us)), _) | (_, Some((_, us))) => *us,
            (None, None) if kind != "prepare" && !kind.contains(':') => self.step_us(n, "prepare"),
            (None, None) => 0.0,
        }
    }
}

impl Disk {
    /// How long a sync takes while `others` go on, at this point of the distribution (0 to 8).
    pub(super) fn sync(&self, others: usize, decile: u64) -> Duration {
        let row = self.sync_us.get(others).or_else(|| self.sync_us.last());
        let micros = row.and_then(|row| row.get(decile as usize)).copied().unwrap_or(0.0);
        micros_of(micros)
    }
}

/// A duration of so many microseconds, to the nanosecond.
pub(super) fn micros_of(micros: f64) -> Duration {
    Duration::from_nanos((micros.max(0.0) * 1000.0).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_through_its_two_measurements() {
        let line = Line::through((256, 3.0), (4096, 9.0));
        assert!((line.us(1, 256) - 3.0).abs() < 1e-9 && (line.us(1, 4096) - 9.0).abs() < 1e-9);
        let noise = Line::through((256, 3.0), (4096, 2.9));
        assert_eq!((noise.each_us, noise.kib_us), (3.0, 0.0));
    }

    #[test]
    fn steps_between_two_measured_sizes_lie_on_the_line_between_them() {
        let steps = |n, us: f64| Steps { n, us: BTreeMap::from([("commit".to_owned(), us)]) };
        let costs = Costs { steps: vec![steps(16, 5.0), steps(4, 2.0)], ..Costs::default() };
        for (n, us) in [(3, 2.0), (4, 2.0), (7, 2.75), (10, 3.5), (16, 5.0), (31, 5.0)] {
            assert!((costs.step_us(n, "commit") - us).abs() < 1e-9, "{n}");
        }
    }

    #[test]
    fn a_cost_file_reads_as_it_was_written_and_says_what_is_wrong() {
        let costs = Costs {
            processor: "a".to_owned(),
            log: Disk { sync_us: vec![vec![1.5; 9]], ..Disk::default() },
            steps: vec![Steps { n: 4, us: BTreeMap::from([("intake:committed".to_owned(), 0.1)]) }],
            ..Costs::default()
        };
        let text = costs.text().expect("it has a text");
        assert_eq!(Costs::parse(&text), Ok(costs));
        assert!(Costs::parse(&text.replace("wake_us", "wake")).is_err_and(|error| error.contains("wake")));
    }
}
