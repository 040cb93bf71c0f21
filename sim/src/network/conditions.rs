//! How packets fare on a link: everything that chance does to them.

use std::time::Duration;

use super::delay::Delay;

/// How packets fare on every link, or on one.
#[derive(Clone, Debug, PartialEq)]
pub struct Conditions {
    /// How long a packet takes.
    pub delay: Delay,
    /// How often a packet takes up to `tail` longer.
    pub tail_chance: f64,
    /// The longest extra delay.
    pub tail: Duration,
    /// How often a packet is lost.
    pub loss: f64,
    /// How often a packet arrives twice.
    pub duplicate: f64,
    /// How often one phase (kind, view, number) reaches only some of the replicas, or one
    /// sender's part in it does.
    pub phase_cut: f64,
    /// How often a packet is kept back so long that later ones overtake it, also where packets
    /// of one stream keep their order.
    pub reorder: f64,
    /// The longest that it is kept back.
    pub reorder_by: Duration,
    /// Packets of one stream on one link arrive in the order in which they were sent (but for
    /// those that `duplicate` and `reorder` take).
    pub fifo: bool,
    /// Bytes a second that fit through a link in one direction; none for no limit.
    pub bandwidth: Option<u64>,
    /// Packets under way on a link in one direction; with one more, a random one of them is
    /// lost. None for no limit.
    pub queue: Option<usize>,
    /// How often a link is clogged, of all spans of `clog_for`: what was sent meanwhile arrives
    /// when the span is over.
    pub clog: f64,
    /// How long a clogged link stays so.
    pub clog_for: Duration,
}

impl Conditions {
    /// A constant delay and nothing lost.
    pub fn steady(delay: Duration) -> Self {
        Self::clean(Delay::Constant(delay))
    }

    /// Delays like these and nothing lost.
    pub fn clean(delay: Delay) -> Self {
        Self {
            delay,
            tail_chance: 0.0,
            tail: Duration::ZERO,
            loss: 0.0,
            duplicate: 0.0,
            phase_cut: 0.0,
            reorder: 0.0,
            reorder_by: Duration::ZERO,
            fifo: false,
            bandwidth: None,
            queue: None,
            clog: 0.0,
            clog_for: Duration::ZERO,
        }
    }

    /// The longest delay that a packet can have, but for waiting behind others.
    pub fn longest(&self) -> Duration {
        self.delay.longest() + self.tail + self.reorder_by + self.clog_for
    }
}
