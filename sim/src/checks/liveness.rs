//! I18: how long it may take, once the network behaves, until everything owed is committed everywhere
//! although f replicas go on lying. Computed from the configuration and shown when it is exceeded.

use std::fmt;
use std::time::Duration;

use sbft::pbft::Config;

/// The bound, by its parts.
///
/// All timers may stand at their cap when the network heals. In the worst case all f liars are
/// primaries in a row. Each costs the time until f + 1 honest replicas complain (twice: what waits may
/// first have to be spread to them) and the time until its failed view is given up. A replica that just
/// missed a view change goes round once more. Then the last ones catch up: a status to learn of
/// what they lack, and blocks in ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Views that may fail, or be missed.
    pub views: u32,
    /// What each costs.
    pub one_view: Duration,
    /// Until everyone has everything after that.
    pub catching_up: Duration,
}

impl Bound {
    /// For these rules and timers.
    pub fn of(config: &Config) -> Self {
        let f = (config.n as u32).saturating_sub(1) / 3;
        let cap = config.view_change_timeout_cap.max(config.view_change_timeout);
        Self {
            views: 2 * (f + 1),
            one_view: config.complain_timeout + cap * 2,
            catching_up: config.status_interval * 40 + Duration::from_secs(2),
        }
    }

    /// All of it.
    pub fn total(&self) -> Duration {
        self.one_view * self.views + self.catching_up
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} = {} views of {} and {} to catch up",
            crate::trace::span(self.total()),
            self.views,
            crate::trace::span(self.one_view),
            crate::trace::span(self.catching_up)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::default_config;

    #[test]
    fn i18_the_bound_grows_with_the_liars_and_the_timers_and_says_what_it_is_made_of() {
        let four = Bound::of(&default_config(4));
        assert_eq!(four.total(), Duration::from_millis(33_200));
        assert!(Bound::of(&default_config(7)).total() > four.total());
        let mut slow = default_config(4);
        slow.view_change_timeout_cap *= 2;
        assert!(Bound::of(&slow).total() > four.total());
        let text = four.to_string();
        assert!(text.contains("4 views"), "{text}");
    }
}
