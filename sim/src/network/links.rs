//! What a link remembers in one direction: order, bandwidth, what is under way, and resets.

use std::rc::Rc;
use std::time::Duration;

use sbft::types::Time;

use super::conditions::Conditions;
use super::packet::Kind;

/// Names one copy of a packet on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Counts the copies of a run; 0 for one that was never under way.
    pub id: u64,
    /// The life of the connection that it travels in; none for one that arrives in any case.
    pub(super) life: Option<u32>,
}

impl Ticket {
    /// For packets that a script hands over itself.
    pub const SURE: Self = Self { id: 0, life: None };
}

/// The streams of a connection, each with an order of its own.
const STREAMS: usize = 3;

fn stream(kind: Kind) -> usize {
    match kind {
        Kind::Candidate => 1,
        Kind::Repair | Kind::WantCandidates | Kind::WantBlocks | Kind::Blocks => 2,
        _ => 0,
    }
}

/// One direction of a link between two bodies.
#[derive(Clone, Debug, Default)]
pub(super) struct Link {
    /// Counts the connections there were.
    pub(super) life: u32,
    /// Conditions of its own.
    pub(super) conditions: Option<Rc<Conditions>>,
    /// Nothing sent before this moment arrives before it.
    pub(super) clogged_until: Time,
    /// The last byte that was sent so far has left.
    free_at: Time,
    /// When the last packet of each stream arrives.
    last: [Time; STREAMS],
    /// Copies under way and when they arrive; kept only where their number is limited.
    under_way: Vec<(u64, Time)>,
}

impl Link {
    /// How much longer a packet takes because the link is busy with others.
    pub(super) fn transmit(&mut self, now: Time, bytes: usize, bandwidth: Option<u64>) -> Duration {
        let Some(bandwidth) = bandwidth else { return Duration::ZERO };
        let nanos = bytes as u128 * 1_000_000_000 / u128::from(bandwidth.max(1));
        self.free_at = self.free_at.max(now).after(Duration::from_nanos(nanos as u64));
        self.free_at.since(now)
    }

    /// The arrival of a packet that would arrive at `at`, behind those of its stream.
    pub(super) fn in_order(&mut self, kind: Kind, at: Time) -> Time {
        let last = &mut self.last[stream(kind)];
        *last = at.max(last.after(Duration::from_micros(1)));
        *last
    }

    /// Enters a copy into what is under way. With more than `limit`, one has to go: the one that
    /// `pick` chooses of so many, this one included. Gives the one that is lost.
    pub(super) fn enter(
        &mut self,
        now: Time,
        id: u64,
        arrives: Time,
        limit: usize,
        pick: impl FnOnce(u64) -> u64,
    ) -> Option<u64> {
        self.under_way.retain(|(_, arrives)| *arrives > now);
        self.under_way.push((id, arrives));
        if self.under_way.len() <= limit {
            return None;
        }
        let victim = pick(self.under_way.len() as u64) as usize;
        Some(self.under_way.remove(victim).0)
    }

    /// A new connection: what was under way in the old one is lost, and so is its order.
    pub(super) fn reset(&mut self) {
        self.life += 1;
        self.free_at = Time::ZERO;
        self.last = [Time::ZERO; STREAMS];
        self.under_way.clear();
    }
}
