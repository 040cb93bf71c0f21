//! What a run is to do.

use std::time::Duration;

use super::LoadError;
use super::fault::Fault;

/// When envelopes are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// Open loop: so many a second at fixed times, whatever becomes of them. Latency counts from
    /// the time at which an envelope was *to be* sent, so a stall shows in all that it delays.
    Open {
        /// Envelopes a second.
        per_second: f64,
    },
    /// Closed loop: so many are on their way at any time; the next is sent when one has landed.
    Closed {
        /// Envelopes sent and not yet seen in a block.
        in_flight: u64,
    },
}

/// Which replicas are sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// This one; the others while it cannot be reached.
    One(u32),
    /// All, each envelope to one of them.
    RoundRobin,
    /// Each envelope to every one, as Fabric's gateway does.
    All,
}

/// A run: what to send, where to, for how long.
#[derive(Clone, Debug)]
pub struct Plan {
    /// When to send.
    pub pace: Pace,
    /// Encoded size of each envelope, bytes.
    pub size: usize,
    /// Client identities that take turns; all that the target has if none.
    pub clients: Option<usize>,
    /// Where to send.
    pub to: To,
    /// Broadcast streams to each replica, each over its own connection.
    pub streams: usize,
    /// Load before the measurement.
    pub warm_up: Duration,
    /// Length of the measurement.
    pub duration: Duration,
    /// Longest wait for what is outstanding when sending has ended.
    pub drain: Duration,
    /// Envelopes ready to be sent may take so much memory, bytes.
    pub memory: usize,
    /// Sign, or do not; by default as the channel's Writers policy asks.
    pub signed: Option<bool>,
    /// Blocks are read from this replica first; by default one that is not the primary.
    pub deliver_from: Option<u32>,
    /// What is done to replicas meanwhile.
    pub faults: Vec<Fault>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            pace: Pace::Open { per_second: 100.0 },
            size: 1024,
            clients: None,
            to: To::RoundRobin,
            streams: 2,
            warm_up: Duration::from_secs(2),
            duration: Duration::from_secs(10),
            drain: Duration::from_secs(10),
            memory: 512 << 20,
            signed: None,
            deliver_from: None,
            faults: Vec::new(),
        }
    }
}

impl Plan {
    /// Checks what can be checked without a network.
    ///
    /// # Errors
    /// What cannot be done.
    pub fn check(&self) -> Result<(), LoadError> {
        let wrong = |what: String| Err(LoadError::Plan(what));
        match self.pace {
            Pace::Open { per_second } if !(1e-3..=1e7).contains(&per_second) => {
                return wrong(format!(
                    "a rate of {per_second:e} envelopes a second is not between 0.001 and 10,000,000"
                ));
            }
            Pace::Closed { in_flight: 0 } => {
                return wrong("nothing in flight is no load; 1 or more".to_owned());
            }
            Pace::Closed { in_flight } if in_flight > 10_000_000 => {
                return wrong(format!("{in_flight} envelopes in flight are too many; at most 10,000,000"));
            }
            Pace::Open { .. } | Pace::Closed { .. } => {}
        }
        if self.duration < Duration::from_millis(100) {
            return wrong("a measurement shorter than 100 ms says nothing; make it longer".to_owned());
        }
        if self.length() > Duration::from_secs(7 * 24 * 3600) {
            return wrong("a run is at most a week long".to_owned());
        }
        if !(1..=64).contains(&self.streams) {
            return wrong(format!("{} streams to a replica; 1 to 64 are possible", self.streams));
        }
        if self.clients == Some(0) {
            return wrong("a load needs a client; 1 or more".to_owned());
        }
        for fault in &self.faults {
            if fault.at >= self.duration {
                return wrong(format!(
                    "{} at {:?} is after the end of the measurement, which lasts {:?}",
                    fault.action.name(),
                    fault.at,
                    self.duration
                ));
            }
        }
        Ok(())
    }

    /// Warm-up and measurement.
    pub fn length(&self) -> Duration {
        self.warm_up + self.duration
    }
}
