//! When each envelope was to be sent, and whether it has been seen in a block.
//!
//! In chunks, freed when all of a chunk's envelopes have been seen: memory grows with what is
//! outstanding, not with the run.

use std::collections::VecDeque;

/// Envelopes in a chunk.
const CHUNK: usize = 4_096;
/// The envelope was seen in a block.
const SEEN: u64 = u64::MAX;
/// It is given up: it counts no more as in flight, but may still be seen.
const GIVEN_UP: u64 = 1 << 63;

/// The envelopes sent so far. Times are nanoseconds since the run's start.
#[derive(Default)]
pub(super) struct Flight {
    /// The first chunk's number.
    base: u64,
    chunks: VecDeque<Option<Box<Chunk>>>,
    sent: u64,
    seen: u64,
    given_up: u64,
}

struct Chunk {
    times: [u64; CHUNK],
    /// Of those sent, how many are not seen; a full chunk at zero is freed.
    open: u32,
    filled: u32,
}

/// What it means that an envelope is in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sighting {
    /// Seen for the first time.
    First {
        /// When it was to be sent, nanoseconds since the start.
        intended: u64,
        /// It had been given up.
        late: bool,
    },
    /// It was seen before: the chain has it twice.
    Again,
    /// It was never sent.
    Unknown,
}

impl Flight {
    /// The next envelope is on its way; it was to be sent at `intended`.
    pub(super) fn send(&mut self, intended: u64) {
        debug_assert!(intended < GIVEN_UP);
        let (chunk, slot) = (self.sent / CHUNK as u64, (self.sent % CHUNK as u64) as usize);
        if slot == 0 {
            if self.chunks.is_empty() {
                self.base = chunk;
            }
            self.chunks.push_back(Some(Box::new(Chunk { times: [0; CHUNK], open: 0, filled: 0 })));
        }
        let chunk = self.chunks.back_mut().and_then(Option::as_mut).expect("the last chunk is not full yet");
        chunk.times[slot] = intended;
        chunk.open += 1;
        chunk.filled += 1;
        self.sent += 1;
    }

    /// Envelope `index` is in a block.
    pub(super) fn see(&mut self, index: u64) -> Sighting {
        if index >= self.sent {
            return Sighting::Unknown;
        }
        let Some(at) = (index / CHUNK as u64).checked_sub(self.base) else { return Sighting::Again };
        let Some(chunk) = self.chunks[at as usize].as_mut() else { return Sighting::Again };
        let time = &mut chunk.times[(index % CHUNK as u64) as usize];
        if *time == SEEN {
            return Sighting::Again;
        }
        let (intended, late) = (*time & !GIVEN_UP, *time & GIVEN_UP != 0);
        *time = SEEN;
        chunk.open -= 1;
        self.seen += 1;
        if late {
            self.given_up -= 1;
        }
        if chunk.open == 0 && chunk.filled as usize == CHUNK {
            self.chunks[at as usize] = None;
            while matches!(self.chunks.front(), Some(None)) {
                self.chunks.pop_front();
                self.base += 1;
            }
        }
        Sighting::First { intended, late }
    }

    /// Gives envelope `index` up; whether it was in flight until now.
    pub(super) fn give_up(&mut self, index: u64) -> bool {
        let Some(at) = (index / CHUNK as u64).checked_sub(self.base) else { return false };
        let Some(Some(chunk)) = self.chunks.get_mut(at as usize) else { return false };
        let time = &mut chunk.times[(index % CHUNK as u64) as usize];
        let open = index < self.sent && *time & GIVEN_UP == 0;
        if open {
            *time |= GIVEN_UP;
            self.given_up += 1;
        }
        open
    }

    /// Gives up what was to be sent before `before`; how many that are.
    pub(super) fn give_up_before(&mut self, before: u64) -> u64 {
        let mut count = 0;
        for chunk in self.chunks.iter_mut().flatten() {
            let filled = chunk.filled as usize;
            for time in &mut chunk.times[..filled] {
                if *time & GIVEN_UP == 0 && *time < before {
                    *time |= GIVEN_UP;
                    count += 1;
                }
            }
        }
        self.given_up += count;
        count
    }

    /// Whether envelope `index` was seen in a block.
    pub(super) fn is_seen(&self, index: u64) -> bool {
        let Some(at) = (index / CHUNK as u64).checked_sub(self.base) else { return true };
        match self.chunks.get(at as usize) {
            Some(Some(chunk)) => chunk.times[(index % CHUNK as u64) as usize] == SEEN,
            Some(None) => true,
            None => false,
        }
    }

    /// Of those not seen, how many were to be sent in `times`.
    pub(super) fn unseen_in(&self, times: std::ops::Range<u64>) -> u64 {
        let unseen = self.chunks.iter().flatten().flat_map(|chunk| {
            let filled = chunk.times[..chunk.filled as usize].iter();
            filled.filter(|time| **time != SEEN && times.contains(&(**time & !GIVEN_UP)))
        });
        unseen.count() as u64
    }

    /// Envelopes sent.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// Envelopes seen in blocks.
    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    /// Sent, not seen and not given up.
    pub(super) fn outstanding(&self) -> u64 {
        self.sent - self.seen - self.given_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_envelope_is_seen_first_once_and_then_again() {
        let mut flight = Flight::default();
        let count = 3 * CHUNK as u64 + 10;
        for index in 0..count {
            flight.send(index * 10);
        }
        assert_eq!(flight.see(count), Sighting::Unknown);
        // The second chunk before the first, so that chunks are freed out of order.
        for index in (CHUNK as u64..count).chain(0..CHUNK as u64) {
            assert!(!flight.is_seen(index));
            assert_eq!(flight.see(index), Sighting::First { intended: index * 10, late: false });
            assert!(flight.is_seen(index));
            assert_eq!(flight.see(index), Sighting::Again);
        }
        assert_eq!((flight.sent(), flight.seen(), flight.outstanding()), (count, count, 0));
        assert_eq!(flight.chunks.len(), 1, "full chunks are freed");
        flight.send(7);
        assert_eq!(flight.see(count), Sighting::First { intended: 7, late: false });
    }

    #[test]
    fn what_is_given_up_is_not_outstanding_and_may_still_come() {
        let mut flight = Flight::default();
        for index in 0..10 {
            flight.send(index);
        }
        assert_eq!(flight.give_up_before(3), 3);
        assert_eq!(flight.give_up_before(3), 0);
        assert!(flight.give_up(5) && !flight.give_up(5) && !flight.give_up(0) && !flight.give_up(99));
        assert_eq!(flight.outstanding(), 6);
        assert_eq!(flight.see(1), Sighting::First { intended: 1, late: true });
        assert_eq!((flight.outstanding(), flight.seen()), (6, 1));
        assert_eq!(flight.unseen_in(0..4), 3);
        assert_eq!(flight.unseen_in(4..100), 6);
    }

    #[test]
    fn a_chunk_that_fills_after_all_were_seen_makes_room_for_the_next() {
        let mut flight = Flight::default();
        for index in 0..(2 * CHUNK as u64 + 1) {
            flight.send(1);
            assert!(matches!(flight.see(index), Sighting::First { .. }));
        }
        assert_eq!(flight.outstanding(), 0);
    }
}
