//! I13 and I14: what a replica holds is bounded by the configuration, and what it says is bounded by
//! what it hears.

use std::time::Duration;

use sbft::pbft::{Config, Probe};
use sbft::types::{Place, Time};

use super::{Verdict, unsafe_because};
use crate::violation::{Class, Violation};

/// Events that may be under way at one time; runs in which nothing is wrong stay below 3,000.
const MOST_QUEUED: usize = 20_000;
/// Ticks that a body may have at one instant.
const MOST_TICKS: u32 = 1000;
/// Packets out for each one in, on top of what time alone brings, at most: a vote may complete a
/// certificate and a block, and each of those is told to all others.
const PACKETS_OUT_PER_IN: u64 = 4;
/// The same for bytes, on top of one answer of blocks for each packet in.
const BYTES_OUT_PER_IN: u64 = 16;

/// What one body did within the present second.
#[derive(Clone, Copy, Debug, Default)]
struct Traffic {
    heard: u64,
    heard_bytes: u64,
    sent: u64,
    sent_bytes: u64,
}

/// The limits, computed from the configuration, and the present second.
#[derive(Debug)]
pub(super) struct Load {
    n: u64,
    limits: Limits,
    traffic: Vec<Traffic>,
    ticks: (usize, Time, u32),
    /// The most that any body sent within one second, for people.
    pub(super) busiest: u64,
}

/// What is kept of a number whose block is committed and not durable: what was accepted, the
/// certificate, own prepares in two views and own commits in four.
const OWN_MESSAGES: usize = 8;

/// What a replica may hold and say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Candidates: those charged to their origins, those charged to forwarders, and those that the
    /// accepted proposal or the certificate of a number within reach names.
    pub(super) candidates: usize,
    /// Candidates that the accepted proposal and the certificate of one number name.
    pub(super) named: usize,
    /// Votes, proposals and certificates of the numbers that are kept, and a view-change of each.
    pub(super) messages: usize,
    /// Outputs of one step.
    pub(super) outputs: usize,
    /// Packets and bytes that time alone brings each second: statuses, repairs and forwards.
    packets: u64,
    bytes: u64,
}

impl Limits {
    pub(super) fn of(config: &Config) -> Self {
        let n = config.n;
        let window = config.window as usize;
        let reach = config.reach() as usize;
        let numbers = window + reach + 1; // below the tip, and above it
        // Two proposals for each number; one names at most as many as envelopes fit a block.
        let named = 2 * (config.max_message_count as usize).min(sbft::pbft::message::MAX_CANDIDATES);
        // Prepares of this view and the next, commits of four views; two proposals, what was voted
        // for, the certificate, what is proposed again.
        let per_number = 2 * n + 4 * n + 5;
        let statuses = Duration::from_secs(1).as_micros() / config.status_interval.as_micros().max(1) + 1;
        // Twice in an interval a peer that is stuck may get all votes of the numbers in reach.
        let repairs = statuses as u64 * n as u64 * (4 + 2 * 3 * numbers as u64);
        Self {
            candidates: 2 * n * config.outstanding + numbers * named,
            named,
            messages: n + numbers * per_number,
            outputs: 200 + 4 * (window + 4) * (n + 8),
            packets: 500 + repairs,
            bytes: 1_000_000
                + repairs * 1_000
                + statuses as u64 * n as u64 * config.absolute_max_bytes.saturating_mul(config.window),
        }
    }
}

fn storm(check: &'static str, text: String) -> Verdict {
    Err(Violation::new(Class::Storm, check, text))
}

impl Load {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            n: config.n as u64,
            limits: Limits::of(config),
            traffic: Vec::new(),
            ticks: (usize::MAX, Time::ZERO, 0),
            busiest: 0,
        }
    }

    fn of(&mut self, body: usize) -> &mut Traffic {
        if self.traffic.len() <= body {
            self.traffic.resize(body + 1, Traffic::default());
        }
        &mut self.traffic[body]
    }

    /// A core took an input and has this many outputs for it.
    pub(super) fn stepped(&mut self, place: Place, outputs: usize) -> Verdict {
        let most = self.limits.outputs;
        if outputs > most {
            return storm(
                "output",
                format!("{place} answers one input with {outputs} outputs, more than {most}"),
            );
        }
        Ok(())
    }

    /// What a core holds while so many of its blocks are committed and not durable.
    pub(super) fn holds(&self, place: Place, probe: &Probe, unsynced: usize) -> Verdict {
        let candidates = self.limits.candidates + unsynced * self.limits.named;
        let messages = self.limits.messages + unsynced * OWN_MESSAGES;
        if probe.candidates_held > candidates || probe.messages_held > messages {
            return unsafe_because(
                "bounded memory",
                format!(
                    "{place} holds {} candidates (at most {candidates}) and {} messages (at most {messages})",
                    probe.candidates_held, probe.messages_held
                ),
            );
        }
        Ok(())
    }

    /// A deadline has come; it must not come again and again at one instant.
    pub(super) fn ticked(&mut self, body: usize, now: Time) -> Verdict {
        if (self.ticks.0, self.ticks.1) != (body, now) {
            self.ticks = (body, now, 0);
        }
        self.ticks.2 += 1;
        if self.ticks.2 > MOST_TICKS {
            return storm("ticks", format!("body {body} ticks without end at {now}"));
        }
        Ok(())
    }

    /// A packet, a candidate or a client's envelope came.
    pub(super) fn heard(&mut self, body: usize, bytes: usize) {
        let traffic = self.of(body);
        traffic.heard += 1;
        traffic.heard_bytes += bytes as u64;
    }

    /// A packet leaves. What a body sends within a second follows from what it heard and from time.
    pub(super) fn sent(&mut self, body: usize, place: Place, bytes: usize) -> Verdict {
        let (n, limits) = (self.n, self.limits);
        let traffic = self.of(body);
        traffic.sent += 1;
        traffic.sent_bytes += bytes as u64;
        let Traffic { heard, heard_bytes, sent, sent_bytes } = *traffic;
        self.busiest = self.busiest.max(sent);
        let most = limits.packets + PACKETS_OUT_PER_IN * n * heard;
        if sent > most {
            return storm(
                "sends",
                format!(
                    "{place} sends {sent} packets within a second in which it heard {heard}, more than {most}"
                ),
            );
        }
        let most = limits.bytes + BYTES_OUT_PER_IN * n * (heard_bytes + heard * 1_000);
        if sent_bytes > most {
            return storm(
                "bytes",
                format!(
                    "{place} sends {sent_bytes} bytes within a second in which it heard {heard_bytes}, more than {most}"
                ),
            );
        }
        Ok(())
    }

    /// The clock moves on.
    pub(super) fn time_passes(&mut self, now: Time, next: Time, queued: usize) -> Verdict {
        if next.0.as_secs() != now.0.as_secs() {
            self.traffic.fill(Traffic::default());
        }
        if queued > MOST_QUEUED {
            return storm("in flight", format!("{queued} events are queued"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sbft::types::{Number, View};

    use super::*;
    use crate::checks::tests::named;
    use crate::world::default_config;

    fn probe(candidates_held: usize, messages_held: usize) -> Probe {
        Probe {
            view: View(0),
            active: true,
            complains: false,
            primary: Place(0),
            committed: Number(0),
            accepted: Number(0),
            prepared: Number(0),
            in_flight: 0,
            waiting: 0,
            candidates_held,
            messages_held,
            halted: false,
        }
    }

    #[test]
    fn i13_bounded_memory_fires_above_what_the_configuration_allows() {
        let load = Load::new(&default_config(4));
        let Limits { candidates, messages, .. } = load.limits;
        assert_eq!(load.holds(Place(1), &probe(candidates, messages), 0), Ok(()));
        assert_eq!(named(load.holds(Place(1), &probe(candidates + 1, 0), 0)), "I13 bounded memory");
        assert_eq!(named(load.holds(Place(1), &probe(0, messages + 1), 0)), "I13 bounded memory");
        // Blocks that are not durable yet: what was voted and certified there is kept.
        let more = messages + 20 * OWN_MESSAGES;
        assert_eq!(load.holds(Place(1), &probe(0, more), 20), Ok(()));
        assert_eq!(named(load.holds(Place(1), &probe(0, more + 1), 20)), "I13 bounded memory");
    }

    #[test]
    fn i14_storm_fires_on_endless_outputs_ticks_packets_bytes_and_events() {
        let mut load = Load::new(&default_config(4));
        let limits = load.limits;
        assert_eq!(load.stepped(Place(0), limits.outputs), Ok(()));
        assert_eq!(named(load.stepped(Place(0), limits.outputs + 1)), "I14 output");
        let now = Time(Duration::from_millis(100));
        let ticks = (0..=MOST_TICKS).map(|_| load.ticked(0, now)).find(Result::is_err);
        assert_eq!(named(ticks.expect("it ticks without end")), "I14 ticks");
        assert_eq!(load.ticked(1, now), Ok(()), "another one's tick is another one's");

        let sends =
            |load: &mut Load| (0..limits.packets * 2).map(|_| load.sent(0, Place(0), 1)).find(Result::is_err);
        assert_eq!(named(sends(&mut load).expect("nothing it heard explains this")), "I14 sends");
        let second = Time(Duration::from_secs(1));
        assert_eq!(load.time_passes(now, second, 10), Ok(()));
        for _ in 0..limits.packets {
            load.heard(0, 100);
        }
        assert_eq!(sends(&mut load), None, "as much as it was asked for");
        assert_eq!(named(load.sent(1, Place(1), usize::MAX / 2)), "I14 bytes");
        assert_eq!(named(load.time_passes(now, second, MOST_QUEUED + 1)), "I14 in flight");
    }
}
