//! The ways between machines: delays, network cards, and what QUIC lets be under way.

use std::time::Duration;

use sbft::types::Time;

use crate::network::{Conditions, Delay, Regions};

/// Where the replicas stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// All on one machine: packets take no time of their own.
    Loopback,
    /// One machine room, a card of 1 Gbit/s for each: 50 microseconds one way.
    Lan1g,
    /// Five regions of the world, a card of 1 Gbit/s for each; see [`Regions::world`].
    Wan5,
}

/// Bytes a second that fit through a card of 1 Gbit/s in each direction.
const GIGABIT: u64 = 125_000_000;

impl Model {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::Lan1g => "lan-1g",
            Self::Wan5 => "wan5",
        }
    }

    /// The delays of packets once they have left.
    pub(super) fn conditions(self) -> Conditions {
        let delay = match self {
            Self::Loopback => Delay::Constant(Duration::ZERO),
            Self::Lan1g => Delay::Constant(Duration::from_micros(50)),
            // No jitter: the order in which packets arrive is that of their streams.
            Self::Wan5 => Delay::Wan(Regions { jitter: 1.0, ..Regions::world() }),
        };
        Conditions::clean(delay)
    }

    /// From a client to its replica, one way.
    fn client(self) -> Duration {
        match self {
            Self::Loopback => Duration::ZERO,
            Self::Lan1g => Duration::from_micros(50),
            // A client uses a replica of its own region.
            Self::Wan5 => Duration::from_micros(500),
        }
    }

    fn bandwidth(self) -> Option<u64> {
        (self != Self::Loopback).then_some(GIGABIT)
    }
}

/// Cards and links of a run.
#[derive(Debug)]
pub(super) struct Links {
    n: usize,
    bandwidth: Option<u64>,
    /// Bytes that a stream may have under way.
    window: u64,
    /// One way between a client and its replica.
    pub(super) client: Duration,
    /// When each card has sent, and received, all that it has.
    out: Vec<Time>,
    into: Vec<Time>,
    /// When each bulk stream may send again.
    streams: Vec<Time>,
}

impl Links {
    pub(super) fn new(model: Model, n: usize) -> Self {
        Self {
            n,
            bandwidth: model.bandwidth(),
            window: sbft::transport::Tuning::default().stream_window.into(),
            client: model.client(),
            out: vec![Time::ZERO; n],
            into: vec![Time::ZERO; n],
            streams: vec![Time::ZERO; n * n],
        }
    }

    /// When the last of so many bytes has left the card. What is small overtakes what is bulk, as the
    /// streams' priorities have it, and takes its bandwidth all the same. `takes` is the way to the
    /// other end: a bulk stream sends no more than its window in a round trip.
    pub(super) fn send(
        &mut self,
        now: Time,
        from: usize,
        to: usize,
        bytes: usize,
        bulk: bool,
        takes: Duration,
    ) -> Time {
        let Some(bandwidth) = self.bandwidth else { return now };
        let lasts = nanos(bytes, bandwidth);
        let out = &mut self.out[from];
        if !bulk {
            *out = (*out).max(now).after(lasts);
            return now.after(lasts);
        }
        let stream = &mut self.streams[from * self.n + to];
        let begins = (*out).max(now);
        *out = begins.after(lasts);
        let round_trip = (2 * takes).max(Duration::from_micros(1)).as_nanos();
        let paced = Duration::from_nanos((bytes as u128 * round_trip / u128::from(self.window)) as u64);
        let begins = begins.max(*stream);
        *stream = begins.after(paced);
        begins.after(lasts)
    }

    /// When the receiver's card has all of a packet whose last byte arrives now if nothing else does.
    pub(super) fn receive(&mut self, now: Time, to: usize, bytes: usize) -> Time {
        let Some(bandwidth) = self.bandwidth else { return now };
        let into = &mut self.into[to];
        *into = now.max((*into).after(nanos(bytes, bandwidth)));
        *into
    }
}

fn nanos(bytes: usize, bandwidth: u64) -> Duration {
    Duration::from_nanos((bytes as u128 * 1_000_000_000 / u128::from(bandwidth)) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us(micros: u64) -> Time {
        Time(Duration::from_micros(micros))
    }

    #[test]
    fn a_card_of_a_gigabit_carries_125_bytes_in_a_microsecond() {
        let mut links = Links::new(Model::Lan1g, 3);
        let way = Duration::from_micros(50);
        assert_eq!(links.send(us(0), 0, 1, 125_000, true, way), us(1_000));
        assert_eq!(links.send(us(0), 0, 2, 125_000, true, way), us(2_000), "one card for all peers");
        assert_eq!(links.send(us(0), 0, 1, 125, false, way), us(1), "votes overtake candidates");
        assert_eq!(links.receive(us(1_050), 1, 125_000), us(1_050));
        assert_eq!(links.receive(us(1_050), 1, 125_000), us(2_050));
    }

    #[test]
    fn a_stream_over_a_long_way_sends_its_window_in_a_round_trip() {
        let mut links = Links::new(Model::Wan5, 2);
        let window = usize::try_from(links.window).expect("small");
        let way = Duration::from_millis(100);
        for _ in 0..10 {
            links.send(us(0), 0, 1, window / 10, true, way);
        }
        let next = links.send(us(0), 0, 1, 1, true, way);
        assert!((us(199_000)..us(201_000)).contains(&next), "{next}");
    }
}
