//! How long a packet takes, as a distribution.
//!
//! Every value is the same on every platform: integers, the four operations, and `libm` (which is
//! written in Rust and compiled the same way everywhere) for the logarithm and its inverse. Every
//! distribution has an end, so that a bound on the whole run can be computed.

use std::time::Duration;

use crate::draw::{Draws, Purpose};

/// A standard normal variable is below this in 99 of 100 cases.
const NORMAL_P99: f64 = 2.326_347_874_040_841;

/// A distribution of delays.
#[derive(Clone, Debug, PartialEq)]
pub enum Delay {
    /// Always the same.
    Constant(Duration),
    /// Anything between two durations, all equally likely.
    Uniform {
        /// Shortest.
        least: Duration,
        /// Longest.
        most: Duration,
    },
    /// A least delay and an exponentially distributed rest, cut off at ten means.
    Exponential {
        /// Shortest.
        least: Duration,
        /// Mean of the rest.
        mean: Duration,
    },
    /// Lognormal: most near the median, a few far above; cut off at ten times the 99th percentile.
    Lognormal {
        /// Half of all take longer.
        median: Duration,
        /// One in a hundred takes longer; not below the median.
        p99: Duration,
    },
    /// Pareto: a heavy tail, where twice as long is `2^shape` times as rare.
    Pareto {
        /// Shortest.
        least: Duration,
        /// How fast the tail thins out; 1.2 is heavy, 3 is light.
        shape: f64,
        /// Longest: the tail is cut off here.
        most: Duration,
    },
    /// One machine room: 0.2 ms, rarely 1 ms.
    Lan,
    /// One city: 2 to 8 ms.
    Metro,
    /// Regions of the world: see [`Regions`].
    Wan(Regions),
}

/// Bodies in regions, and the way from each region to each other.
#[derive(Clone, Debug, PartialEq)]
pub struct Regions {
    /// Region of each body; bodies past the end go round the regions in turn.
    pub of: Vec<usize>,
    /// One way, milliseconds, from region (row) to region (column).
    pub one_way_ms: Vec<Vec<u32>>,
    /// The 99th percentile of a packet's delay over its median.
    pub jitter: f64,
}

impl Regions {
    /// Five regions: two coasts of North America, western Europe, South-East and East Asia.
    pub fn world() -> Self {
        let one_way_ms = [
            [1, 32, 38, 108, 78],
            [32, 1, 68, 86, 54],
            [38, 68, 1, 84, 112],
            [108, 86, 84, 1, 35],
            [78, 54, 112, 35, 1],
        ];
        Self { of: Vec::new(), one_way_ms: one_way_ms.map(Vec::from).into(), jitter: 1.5 }
    }

    fn region(&self, body: usize) -> usize {
        let count = self.one_way_ms.len().max(1);
        self.of.get(body).copied().unwrap_or(body) % count
    }

    fn median(&self, from: usize, to: usize) -> Duration {
        let row = self.one_way_ms.get(self.region(from));
        let millis = row.and_then(|row| row.get(self.region(to))).copied().unwrap_or(1);
        Duration::from_millis(u64::from(millis))
    }
}

impl Delay {
    /// One delay from body `from` to body `to`.
    pub fn sample(&self, draws: Draws, key: &[u64; 4], from: usize, to: usize) -> Duration {
        match self {
            Self::Constant(delay) => *delay,
            Self::Uniform { least, most } => draws.duration(Purpose::Delay, key, *least, *most),
            Self::Exponential { least, mean } => {
                *least + draws.exponential(Purpose::Delay, key, *mean).min(*mean * 10)
            }
            Self::Lognormal { median, p99 } => lognormal(draws, key, *median, ratio(*p99, *median)),
            Self::Pareto { least, shape, most } => {
                let factor = libm::pow(uniform(draws, key, 0), -1.0 / shape.max(0.05));
                scaled(*least, factor).min(*most)
            }
            Self::Lan => {
                let rest = lognormal(draws, key, Duration::from_micros(100), 9.0);
                Duration::from_micros(100) + rest
            }
            Self::Metro => {
                let rest = lognormal(draws, key, Duration::from_millis(2), 3.0);
                Duration::from_millis(2) + rest.min(Duration::from_millis(40))
            }
            Self::Wan(regions) => lognormal(draws, key, regions.median(from, to), regions.jitter),
        }
    }

    /// No packet takes less, or hardly any where the distribution has no least.
    pub fn least(&self) -> Duration {
        match self {
            Self::Constant(delay) => *delay,
            Self::Uniform { least, .. } | Self::Exponential { least, .. } | Self::Pareto { least, .. } => {
                *least
            }
            Self::Lognormal { median, .. } => *median / 2,
            Self::Lan => Duration::from_micros(100),
            Self::Metro => Duration::from_millis(2),
            Self::Wan(_) => Duration::from_millis(1),
        }
    }

    /// No packet takes longer.
    pub fn longest(&self) -> Duration {
        match self {
            Self::Constant(delay) => *delay,
            Self::Uniform { least, most } => *most.max(least),
            Self::Exponential { least, mean } => *least + *mean * 10,
            Self::Lognormal { median, p99 } => (*p99).max(*median) * 10,
            Self::Pareto { most, .. } => *most,
            Self::Lan => Duration::from_micros(9_100),
            Self::Metro => Duration::from_millis(42),
            Self::Wan(regions) => {
                let most = regions.one_way_ms.iter().flatten().copied().max().unwrap_or(1);
                scaled(Duration::from_millis(u64::from(most)), regions.jitter.max(1.0) * 10.0)
            }
        }
    }
}

/// Lognormal with this median, 99th percentile `p99` medians, cut off at ten times that.
fn lognormal(draws: Draws, key: &[u64; 4], median: Duration, p99: f64) -> Duration {
    let p99 = p99.max(1.0);
    let sigma = libm::log(p99) / NORMAL_P99;
    // Box and Muller: two uniform variables make a normal one.
    let radius = (-2.0 * libm::log(uniform(draws, key, 0))).sqrt();
    let normal = radius * libm::cos(std::f64::consts::TAU * uniform(draws, key, 1));
    scaled(median, libm::exp(sigma * normal).min(p99 * 10.0))
}

/// Uniform above 0 and at most 1, in steps of 2^-53.
fn uniform(draws: Draws, key: &[u64; 4], which: u64) -> f64 {
    let bits = draws.bits(Purpose::Delay, &[key[0], key[1], key[2], key[3], which]) >> 11;
    (bits + 1) as f64 / (1u64 << 53) as f64
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_micros() as f64 / other.as_micros().max(1) as f64
}

fn scaled(duration: Duration, factor: f64) -> Duration {
    Duration::from_micros((duration.as_micros() as f64 * factor) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: u64 = 20_000;

    fn sorted(delay: &Delay, from: usize, to: usize) -> Vec<Duration> {
        let draws = Draws::new(11);
        let mut all: Vec<_> = (0..COUNT).map(|key| delay.sample(draws, &[key, 0, 0, 0], from, to)).collect();
        all.sort_unstable();
        assert!(all[all.len() - 1] <= delay.longest(), "{delay:?}: {:?}", all[all.len() - 1]);
        all
    }

    /// The value that this share of all is below, milliseconds.
    fn percentile(sorted: &[Duration], share: f64) -> f64 {
        sorted[(sorted.len() as f64 * share) as usize].as_micros() as f64 / 1000.0
    }

    fn near(value: f64, expected: f64, what: &str) {
        assert!((value / expected - 1.0).abs() < 0.1, "{what}: {value} for {expected}");
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_constant_delay_is_constant_and_a_uniform_one_fills_its_range() {
        let all = sorted(&Delay::Constant(ms(3)), 0, 1);
        assert!(all.iter().all(|delay| *delay == ms(3)));
        let all = sorted(&Delay::Uniform { least: ms(2), most: ms(10) }, 0, 1);
        assert!(all[0] >= ms(2));
        near(percentile(&all, 0.25), 4.0, "quarter");
        near(percentile(&all, 0.75), 8.0, "three quarters");
    }

    #[test]
    fn an_exponential_delay_has_its_median_and_its_tail() {
        let all = sorted(&Delay::Exponential { least: ms(5), mean: ms(10) }, 0, 1);
        assert!(all[0] >= ms(5));
        near(percentile(&all, 0.5), 5.0 + 6.93, "median");
        near(percentile(&all, 0.99), 5.0 + 46.05, "99th percentile");
    }

    #[test]
    fn a_lognormal_delay_has_the_median_and_the_percentile_it_was_given() {
        let all = sorted(&Delay::Lognormal { median: ms(20), p99: ms(200) }, 0, 1);
        near(percentile(&all, 0.5), 20.0, "median");
        near(percentile(&all, 0.99), 200.0, "99th percentile");
        near(percentile(&all, 0.01), 2.0, "first percentile");
    }

    #[test]
    fn a_pareto_delay_has_a_heavy_tail_with_an_end() {
        let all = sorted(&Delay::Pareto { least: ms(2), shape: 1.5, most: ms(5000) }, 0, 1);
        assert!(all[0] >= ms(2));
        near(percentile(&all, 0.5), 2.0 * 1.587, "median");
        near(percentile(&all, 0.99), 2.0 * 21.54, "99th percentile");
        assert!(*all.last().expect("not empty") > ms(200), "a tail");
    }

    #[test]
    fn lan_metro_and_wan_are_what_their_names_say() {
        let all = sorted(&Delay::Lan, 0, 1);
        near(percentile(&all, 0.5), 0.2, "lan");
        near(percentile(&all, 0.99), 1.0, "lan, rarely");
        let all = sorted(&Delay::Metro, 0, 1);
        near(percentile(&all, 0.5), 4.0, "metro");
        near(percentile(&all, 0.99), 8.0, "metro, rarely");
        let wan = Delay::Wan(Regions::world());
        near(percentile(&sorted(&wan, 0, 2), 0.5), 38.0, "over the Atlantic");
        near(percentile(&sorted(&wan, 3, 0), 0.5), 108.0, "round the world");
        near(percentile(&sorted(&wan, 0, 5), 0.5), 1.0, "body 5 is in the region of body 0");
        let near_by = Delay::Wan(Regions { of: vec![1, 1], ..Regions::world() });
        near(percentile(&sorted(&near_by, 0, 1), 0.5), 1.0, "both in region 1");
    }

    #[test]
    fn delays_are_the_same_on_every_platform() {
        // Figures written down once; a different libm, rounding or draw would show here.
        let draws = Draws::new(3);
        let all = [
            Delay::Lan,
            Delay::Metro,
            Delay::Wan(Regions::world()),
            Delay::Lognormal { median: ms(20), p99: ms(200) },
            Delay::Pareto { least: ms(2), shape: 1.2, most: ms(9000) },
            Delay::Exponential { least: ms(1), mean: ms(7) },
        ];
        let micros: Vec<u128> =
            all.iter().map(|delay| delay.sample(draws, &[1, 2, 3, 4], 0, 1).as_micros()).collect();
        assert_eq!(micros, PINNED);
    }

    const PINNED: [u128; 6] = [175, 3738, 30386, 14907, 2341, 5053];
}
