//! The run over time: in equal intervals, what committed and how long it took.

/// Buckets of a decade: each is a quarter of a bit wide, some 10% of its value.
const PER_DECADE: usize = 24;
/// The smallest latency told apart, milliseconds.
const SMALLEST_MS: f64 = 0.1;
/// 0.1 ms to 1000 s.
const BUCKETS: usize = PER_DECADE * 7;
/// More intervals than this are of no use on a page.
const MOST: usize = 3_000;

/// Intervals of a run.
#[derive(Clone, Debug)]
pub struct Series {
    /// Length of an interval, nanoseconds.
    width: u64,
    intervals: Vec<Interval>,
}

#[derive(Clone, Debug)]
struct Interval {
    committed: u32,
    /// Latencies of the envelopes that were to be sent in it.
    latencies: Box<[u32; BUCKETS]>,
    count: u32,
    max_ms: f64,
}

/// An interval, for who draws it.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// Its middle, seconds since the run's start.
    pub at_s: f64,
    /// Envelopes in blocks that were delivered in it, a second.
    pub committed_per_s: f64,
    /// Percentiles 50 and 99 and maximum of the latencies of the envelopes that were to be sent
    /// in it, ms; none if none of those committed.
    pub latency_ms: Option<[f64; 3]>,
}

impl Series {
    /// For a run of about `length` nanoseconds: intervals of 100 ms, wider for a long run.
    pub(super) fn new(length: u64) -> Self {
        let width = 100_000_000;
        Self { width: width.max(length.div_ceil(MOST as u64)), intervals: Vec::new() }
    }

    /// `count` envelopes came in a block at `at` (nanoseconds since the start).
    pub(super) fn committed(&mut self, at: u64, count: u32) {
        if let Some(interval) = self.at(at) {
            interval.committed += count;
        }
    }

    /// An envelope that was to be sent at `intended` took `latency` nanoseconds.
    pub(super) fn latency(&mut self, intended: u64, latency: u64) {
        let ms = latency as f64 / 1e6;
        if let Some(interval) = self.at(intended) {
            interval.latencies[bucket(ms)] += 1;
            interval.count += 1;
            interval.max_ms = interval.max_ms.max(ms);
        }
    }

    fn at(&mut self, at: u64) -> Option<&mut Interval> {
        let index = (at / self.width) as usize;
        // A drain may last longer than the run; it is not drawn for ever.
        if index >= 2 * MOST {
            return None;
        }
        if index >= self.intervals.len() {
            let empty = Interval { committed: 0, latencies: Box::new([0; BUCKETS]), count: 0, max_ms: 0.0 };
            self.intervals.resize(index + 1, empty);
        }
        self.intervals.get_mut(index)
    }

    /// The intervals, in order.
    pub fn points(&self) -> impl Iterator<Item = Point> {
        let seconds = self.width as f64 / 1e9;
        self.intervals.iter().enumerate().map(move |(index, interval)| Point {
            at_s: (index as f64 + 0.5) * seconds,
            committed_per_s: f64::from(interval.committed) / seconds,
            latency_ms: (interval.count > 0)
                .then(|| [interval.quantile(0.5), interval.quantile(0.99), interval.max_ms]),
        })
    }
}

impl Interval {
    fn quantile(&self, quantile: f64) -> f64 {
        let wanted = (f64::from(self.count) * quantile).ceil().max(1.0) as u32;
        let mut before = 0;
        for (index, count) in self.latencies.iter().enumerate() {
            before += count;
            if before >= wanted {
                let middle = SMALLEST_MS * 10f64.powf((index as f64 + 0.5) / PER_DECADE as f64);
                return middle.min(self.max_ms);
            }
        }
        self.max_ms
    }
}

fn bucket(ms: f64) -> usize {
    let index = (ms / SMALLEST_MS).max(1.0).log10() * PER_DECADE as f64;
    (index as usize).min(BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_stand_where_they_were_to_be_sent_and_commits_where_they_came() {
        let mut series = Series::new(10_000_000_000);
        for step in 0..100u64 {
            series.latency(50_000_000, (step + 1) * 1_000_000);
        }
        series.committed(250_000_000, 40);
        let points: Vec<Point> = series.points().collect();
        assert_eq!(points.len(), 3);
        let [p50, p99, max] = points[0].latency_ms.unwrap();
        assert!((45.0..56.0).contains(&p50), "{p50}");
        assert!((90.0..101.0).contains(&p99), "{p99}");
        assert_eq!((max, points[0].committed_per_s), (100.0, 0.0));
        assert!(points[1].latency_ms.is_none());
        assert_eq!(points[2].committed_per_s, 400.0);
    }

    #[test]
    fn long_runs_have_wider_intervals_and_the_largest_latency_fits() {
        let series = Series::new(3_000_000_000_000);
        assert_eq!(series.width, 1_000_000_000);
        assert!(bucket(1e9) < BUCKETS && bucket(0.0) == 0);
    }
}
