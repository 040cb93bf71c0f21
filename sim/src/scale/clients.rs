//! The clients of a run: what they send when, and how long it takes until they see it in a block.

use std::time::Duration;

use sbft::types::Time;

/// How clients send.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// So many a second, evenly, whatever comes of it: latency counts from when it was due.
    Rate(f64),
    /// So many are always under way; when one is seen in a block the next is sent.
    InFlight(usize),
}

/// All clients together. Envelopes go to the replicas in turn.
#[derive(Debug)]
pub(crate) struct Clients {
    load: Load,
    n: usize,
    /// Bytes of an envelope.
    pub(super) bytes: usize,
    /// All read one replica's blocks, or each those of the replica that it sent to.
    one_reader: bool,
    begin: Time,
    /// When each envelope was due.
    sent: Vec<Time>,
    /// Seen since measuring began: microseconds each took.
    pub(super) latencies: Vec<u64>,
    pub(super) measuring: bool,
}

impl Clients {
    pub(super) fn new(load: Load, n: usize, bytes: usize, one_reader: bool, begin: Time) -> Self {
        Self { load, n, bytes, one_reader, begin, sent: Vec::new(), latencies: Vec::new(), measuring: false }
    }

    /// When the first envelopes are due.
    pub(super) fn first(&self) -> Vec<Time> {
        match self.load {
            Load::Rate(_) => vec![self.begin],
            // Not all at one instant.
            Load::InFlight(count) => {
                let at =
                    |index| self.begin.after(Duration::from_millis(50) * index as u32 / count.max(1) as u32);
                (0..count).map(at).collect()
            }
        }
    }

    /// Envelope `index` is due now; gives when the next is, if that is known.
    pub(super) fn sends(&mut self, now: Time, index: u64) -> Option<Time> {
        debug_assert_eq!(index as usize, self.sent.len());
        self.sent.push(now);
        match self.load {
            Load::Rate(rate) => {
                Some(self.begin.after(Duration::from_secs_f64((index + 1) as f64 / rate)).max(now))
            }
            Load::InFlight(_) => None,
        }
    }

    /// The replica that an envelope goes to.
    pub(super) fn via(&self, index: u64) -> usize {
        (index % self.n as u64) as usize
    }

    /// Somebody reads this replica's blocks: one that is not primary, or each client its own.
    pub(super) fn reads(&self, body: usize) -> bool {
        !self.one_reader || body == 1.min(self.n - 1)
    }

    /// A block with these envelopes was read from a replica; gives how many are to be sent for them.
    pub(super) fn sees(&mut self, now: Time, body: usize, indices: impl Iterator<Item = u64>) -> usize {
        let mut seen = 0;
        for index in indices {
            if !self.one_reader && self.via(index) != body {
                continue;
            }
            let Some(sent) = self.sent.get(index as usize) else { continue };
            seen += 1;
            if self.measuring {
                self.latencies.push(now.since(*sent).as_micros() as u64);
            }
        }
        if let Load::InFlight(_) = self.load { seen } else { 0 }
    }
}
