//! A body's clocks: a monotonic one that may run too fast or too slow, and wall time that jumps.
//!
//! The core sees the monotonic clock only. It begins anywhere at each start, its rate may change,
//! and it never goes back. Wall time decides nothing in consensus; it enters where a replica
//! judges at admission whether something has expired.

use std::time::Duration;

use sbft::types::Time;

/// The most that a clock may be off its rate, in millionths: ten in a hundred.
pub const MOST_PPM: i32 = 100_000;

/// Wall time when a run begins, seconds since 1970.
const WALL_START: Duration = Duration::from_secs(1_800_000_000);

/// Both clocks of one body.
#[derive(Clone, Debug)]
pub struct Clock {
    /// When the rate changed last, in the run's time.
    since: Time,
    /// What the clock showed then.
    showed: Time,
    ppm: i32,
    /// How far wall time is off, milliseconds.
    wall_off: i64,
}

impl Default for Clock {
    fn default() -> Self {
        Self { since: Time::ZERO, showed: Time::ZERO, ppm: 0, wall_off: 0 }
    }
}

impl Clock {
    /// The monotonic clock begins again, at `shows`. Its rate and the wall time stay as they are:
    /// they belong to the machine.
    pub fn restart(&mut self, now: Time, shows: Duration) {
        self.since = now;
        self.showed = Time(shows);
    }

    /// What it shows at `now`.
    pub fn local(&self, now: Time) -> Time {
        let real = now.since(self.since);
        if self.ppm == 0 {
            return self.showed.after(real);
        }
        let nanos = match small(real) {
            Some(nanos) => u128::from(nanos * self.rate() as u64 / 1_000_000),
            None => real.as_nanos() * self.rate() / 1_000_000,
        };
        self.showed.after(span(nanos))
    }

    /// The first moment at which it shows `local` or more.
    pub fn global(&self, local: Time) -> Time {
        let shown = local.since(self.showed);
        if self.ppm == 0 {
            return self.since.after(shown);
        }
        let nanos = match small(shown) {
            Some(nanos) => u128::from((nanos * 1_000_000).div_ceil(self.rate() as u64)),
            None => (shown.as_nanos() * 1_000_000).div_ceil(self.rate()),
        };
        self.since.after(span(nanos))
    }

    /// From now on it runs this many millionths too fast, or too slow if negative.
    pub fn set_rate(&mut self, now: Time, ppm: i32) {
        self.showed = self.local(now);
        self.since = now;
        self.ppm = ppm.clamp(-MOST_PPM, MOST_PPM);
    }

    /// How many millionths too fast it runs.
    pub fn ppm(&self) -> i32 {
        self.ppm
    }

    /// The monotonic clock jumps like wall time, which it never does: for planted bugs.
    pub fn jump_monotonic(&mut self, now: Time, millis: i64) {
        let by = Duration::from_millis(millis.unsigned_abs());
        let showed = self.local(now).0;
        self.since = now;
        self.showed = Time(if millis < 0 { showed.saturating_sub(by) } else { showed.saturating_add(by) });
    }

    /// Wall time jumps by so many milliseconds.
    pub fn jump_wall(&mut self, millis: i64) {
        self.wall_off = self.wall_off.saturating_add(millis);
    }

    /// Wall time at `now`, since 1970.
    pub fn wall(&self, now: Time) -> Duration {
        let off = Duration::from_millis(self.wall_off.unsigned_abs());
        let right = WALL_START + now.0;
        if self.wall_off < 0 { right.saturating_sub(off) } else { right.saturating_add(off) }
    }

    fn rate(&self) -> u128 {
        (1_000_000 + i64::from(self.ppm)) as u128
    }
}

/// The nanoseconds of a time so short (two hours and more) that they can be multiplied by a rate in
/// 64 bits: a division of 128 bits is slow, and clocks are read all the time.
fn small(time: Duration) -> Option<u64> {
    let nanos = u64::try_from(time.as_nanos()).ok()?;
    (nanos < 1 << 43).then_some(nanos)
}

fn span(nanos: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Time {
        Time(Duration::from_millis(millis))
    }

    #[test]
    fn a_clock_that_runs_fast_shows_more_time_than_passed() {
        let mut clock = Clock::default();
        clock.restart(ms(100), Duration::from_secs(5));
        assert_eq!(clock.local(ms(1100)), ms(6000));
        clock.set_rate(ms(1100), 100_000);
        assert_eq!(clock.local(ms(2100)), ms(7100));
        clock.set_rate(ms(2100), -100_000);
        assert_eq!(clock.local(ms(3100)), ms(8000));
    }

    #[test]
    fn a_clock_never_goes_back_whatever_its_rate_does() {
        let mut clock = Clock::default();
        let mut last = clock.local(Time::ZERO);
        for step in 1..2000u64 {
            let now = Time(Duration::from_micros(step * 7));
            clock.set_rate(now, ((step * 7919) % 400_001) as i32 - 200_000);
            clock.jump_wall(if step % 2 == 0 { -60_000 } else { 10_000 });
            assert!(clock.ppm().abs() <= MOST_PPM);
            assert!(clock.local(now) >= last, "at {now}");
            last = clock.local(now);
        }
    }

    #[test]
    fn a_deadline_has_come_at_the_moment_that_its_global_time_says_and_not_a_microsecond_before() {
        for ppm in [-100_000, -333, 0, 17, 99_999] {
            let mut clock = Clock::default();
            clock.restart(ms(12), Duration::from_micros(777));
            clock.set_rate(ms(13), ppm);
            for micros in [13_001, 50_000, 1_234_567, 60_000_000] {
                let deadline = clock.local(Time(Duration::from_micros(micros)));
                let moment = clock.global(deadline);
                assert!(clock.local(moment) >= deadline, "{ppm} {micros}");
                let before = Time(moment.0.saturating_sub(Duration::from_micros(1)));
                assert!(clock.local(before) < deadline, "{ppm} {micros}");
            }
        }
    }

    #[test]
    fn wall_time_jumps_and_the_monotonic_clock_does_not_notice() {
        let mut clock = Clock::default();
        let (wall, local) = (clock.wall(ms(50)), clock.local(ms(50)));
        clock.jump_wall(-3_600_000);
        assert_eq!(clock.wall(ms(50)), wall - Duration::from_secs(3600));
        clock.jump_wall(3_600_500);
        assert_eq!(clock.wall(ms(50)), wall + Duration::from_millis(500));
        assert_eq!(clock.local(ms(50)), local);
    }
}
