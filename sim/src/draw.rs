//! Keyed randomness: every draw is a hash of the seed, a purpose and what it is about.
//!
//! There is no stream of random numbers that one draw could shift for the next: take one fault
//! away, and all other faults stay exactly where they were. Integer arithmetic only, so that a
//! seed means the same on every platform.

use std::time::Duration;

/// What a draw decides. Two purposes never share a draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Order of events at one instant.
    Tie = 1,
    /// How long a packet takes.
    Delay,
    /// Whether a packet takes exceptionally long.
    Tail,
    /// Whether a packet is lost.
    Loss,
    /// Whether a packet arrives twice.
    Duplicate,
    /// Which replicas hear one phase of one number.
    PhaseCut,
    /// How long a log sync takes.
    Sync,
    /// How long until the block store is synced.
    BlockSync,
    /// Whether a replica crashes at one of its outputs.
    Crash,
    /// How many unsynced records survive a crash.
    Torn,
    /// How many unsynced blocks survive a crash.
    TornBlocks,
    /// How long a crashed replica stays down.
    Restart,
    /// How long the check of a candidate takes.
    Validate,
    /// Whether the log is compacted now.
    Compact,
    /// A replica's secret key.
    Secret,
    /// A nonce in a signature.
    Nonce,
    /// The shape of a whole schedule.
    Plan,
    /// What a liar does.
    Lie,
    /// Where a replica's own clock starts.
    Clock,
    /// What may trouble a schedule, and how much.
    Profile,
    /// Whether, and how long, a packet is kept back to be overtaken.
    Reorder,
    /// Which packet a full queue loses.
    Victim,
    /// Whether a link is clogged.
    Clog,
    /// When a replica leaves and comes back in a swizzle.
    Swizzle,
    /// Where a disk is damaged.
    DiskFault,
    /// How a clock's rate drifts.
    Drift,
    /// How the bytes of a fuzz corpus are changed.
    Mutation,
    /// How large an envelope is.
    Size,
}

/// The source of all draws of one run.
#[derive(Clone, Copy, Debug)]
pub struct Draws {
    seed: u64,
}

impl Draws {
    /// All draws of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// 64 random bits for this purpose and these keys.
    pub fn bits(self, purpose: Purpose, keys: &[u64]) -> u64 {
        let mut state = mix(self.seed ^ 0x9e37_79b9_7f4a_7c15, purpose as u64);
        for key in keys {
            state = mix(state, *key);
        }
        mix(state, 0x5bf0_3635)
    }

    /// True with this probability (0 to 1).
    pub fn chance(self, purpose: Purpose, keys: &[u64], probability: f64) -> bool {
        // 53 bits and a power of two: exact in every rounding mode and on every platform.
        probability > 0.0 && ((self.bits(purpose, keys) >> 11) as f64) / ((1u64 << 53) as f64) < probability
    }

    /// Uniform in `0..bound`; 0 when `bound` is 0.
    pub fn below(self, purpose: Purpose, keys: &[u64], bound: u64) -> u64 {
        ((u128::from(self.bits(purpose, keys)) * u128::from(bound)) >> 64) as u64
    }

    /// Uniform in `low..=high`.
    pub fn between(self, purpose: Purpose, keys: &[u64], low: u64, high: u64) -> u64 {
        low + self.below(purpose, keys, high.saturating_sub(low).saturating_add(1))
    }

    /// Uniform between two durations, to the microsecond.
    pub fn duration(self, purpose: Purpose, keys: &[u64], low: Duration, high: Duration) -> Duration {
        Duration::from_micros(self.between(purpose, keys, low.as_micros() as u64, high.as_micros() as u64))
    }

    /// Exponentially distributed with this mean (the logarithm is linear between powers of two,
    /// which is near enough and needs no floating-point library).
    pub fn exponential(self, purpose: Purpose, keys: &[u64], mean: Duration) -> Duration {
        let bits = self.bits(purpose, keys) | 1;
        let zeros = u64::from(bits.leading_zeros());
        let mantissa = (bits << zeros) >> 48 & 0x7fff; // fraction above the leading one, of 2^15
        let log2 = ((zeros + 1) << 15) - mantissa; // -log2(u), of 2^15
        let micros = u128::from(mean.as_micros() as u64) * u128::from(log2) * 45_426 / (1u128 << 31);
        Duration::from_micros(micros as u64)
    }
}

/// Mixes `value` into `state`; every bit of both reaches every bit of the result.
pub fn mix(state: u64, value: u64) -> u64 {
    let product = u128::from(state ^ 0xa076_1d64_78bd_642f) * u128::from(value ^ 0xe703_7ed1_a0b4_28db);
    let folded = (product >> 64) as u64 ^ product as u64 ^ state.rotate_left(23);
    let product = u128::from(folded) * 0x8ebc_6af0_9c88_c6e3;
    (product >> 64) as u64 ^ product as u64 ^ value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_depends_on_seed_purpose_and_keys_only() {
        let draws = Draws::new(7);
        assert_eq!(draws.bits(Purpose::Loss, &[1, 2]), Draws::new(7).bits(Purpose::Loss, &[1, 2]));
        assert_ne!(draws.bits(Purpose::Loss, &[1, 2]), draws.bits(Purpose::Loss, &[2, 1]));
        assert_ne!(draws.bits(Purpose::Loss, &[1, 2]), draws.bits(Purpose::Delay, &[1, 2]));
        assert_ne!(draws.bits(Purpose::Loss, &[1, 2]), Draws::new(8).bits(Purpose::Loss, &[1, 2]));
    }

    #[test]
    fn chances_and_means_come_out_right() {
        let draws = Draws::new(1);
        let hits = (0..100_000).filter(|key| draws.chance(Purpose::Loss, &[*key], 0.2)).count();
        assert!((19_000..21_000).contains(&hits), "{hits} of 100000 at 0.2");
        let mean = Duration::from_millis(10);
        let sum: Duration = (0..100_000).map(|key| draws.exponential(Purpose::Delay, &[key], mean)).sum();
        let average = sum / 100_000;
        assert!((9_000..11_000).contains(&average.as_micros()), "mean {average:?} for 10 ms");
    }
}
