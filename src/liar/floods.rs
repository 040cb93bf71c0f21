//! Lies that cost the others work: noise, floods and questions.

use std::collections::VecDeque;

use bytes::Bytes;
use rand::Rng as _;
use rand::RngExt as _;

use super::attack::{Attack, Scene};
use crate::pbft::message::{Message, Status};
use crate::transport::Class;
use crate::types::{Digest, Number};
use crate::wire::repair::{self, Repair};
use crate::wire::{MAX_BLOCKS_PER_ANSWER, MAX_CANDIDATES_PER_FETCH, message};

/// Noise on every stream. Much of it are votes of others with a bit flipped: what looks like a vote
/// costs a check of its signature.
#[derive(Default)]
pub(super) struct Garbage {
    heard: VecDeque<Message>,
    turn: usize,
}

/// Messages that are remembered, to be sent damaged.
const HEARD: usize = 32;
/// Vote frames for each of the others in a millisecond.
const VOTES: usize = 4;
/// Longest random frame of votes and repair, bytes.
const SHORT: usize = 2 << 10;
/// A random candidate, bytes.
const LONG: usize = 64 << 10;

fn noise(len: usize) -> Bytes {
    let mut bytes = vec![0; len];
    rand::rng().fill_bytes(&mut bytes);
    bytes.into()
}

impl Attack for Garbage {
    fn message(&mut self, _: &mut Scene, message: &Message) {
        if matches!(message, Message::Prepare(_) | Message::Commit(_) | Message::PrePrepare(_)) {
            if self.heard.len() == HEARD {
                self.heard.pop_front();
            }
            self.heard.push_back(message.clone());
        }
    }

    fn wake(&mut self, scene: &mut Scene) {
        let mut rng = rand::rng();
        for place in scene.others() {
            for _ in 0..VOTES {
                self.turn += 1;
                let heard = self.heard.get(self.turn % HEARD).filter(|_| self.turn.is_multiple_of(2));
                let frame = match heard {
                    Some(heard) => {
                        let mut frame = message::encode(heard, scene.era).to_vec();
                        // Near the end of a vote is its signature.
                        let at = frame.len() - 1 - rng.random_range(0..frame.len().min(48));
                        frame[at] ^= 1 << rng.random_range(0..8);
                        frame.into()
                    }
                    None => noise(rng.random_range(1..SHORT)),
                };
                scene.send(place, Class::Votes, frame);
            }
            scene.send(place, Class::Repair, noise(rng.random_range(1..SHORT)));
            if self.turn.is_multiple_of(16) {
                scene.send(place, Class::Bulk, noise(LONG));
            }
        }
    }
}

/// New candidates of envelopes that are in the chain already, or of what others just cut: every
/// signature in them is good, and nothing in them can be ordered again.
#[derive(Default)]
pub(super) struct Bulk {
    turn: usize,
}

/// Milliseconds between two such candidates.
const BULK_EVERY: usize = 4;
/// Envelopes in each.
const BULK_COUNT: usize = 500;

impl Attack for Bulk {
    fn wake(&mut self, scene: &mut Scene) {
        self.turn += 1;
        if !self.turn.is_multiple_of(BULK_EVERY) || scene.old.is_empty() {
            return;
        }
        let start = rand::rng().random_range(0..scene.old.len());
        let envelopes: Vec<_> =
            scene.old.iter().cycle().skip(start).take(BULK_COUNT.min(scene.old.len())).cloned().collect();
        let Some(candidate) = scene.candidate(envelopes) else { return };
        for place in scene.others() {
            scene.send(place, Class::Bulk, candidate.encoding.clone());
        }
    }
}

/// Questions for blocks from the first on, and for candidates that others hold.
pub(super) struct Fetch;

impl Attack for Fetch {
    fn wake(&mut self, scene: &mut Scene) {
        let last = Number(MAX_BLOCKS_PER_ANSWER as u64);
        let blocks = repair::encode(&Repair::FetchBlocks { first: Number(1), last });
        let digests: Vec<Digest> = scene.stock.keys().take(MAX_CANDIDATES_PER_FETCH).copied().collect();
        let candidates = (!digests.is_empty()).then(|| repair::encode(&Repair::FetchCandidates(digests)));
        for place in scene.others() {
            scene.send(place, Class::Repair, blocks.clone());
            if let Some(candidates) = &candidates {
                scene.send(place, Class::Repair, candidates.clone());
            }
        }
    }
}

/// Statuses that claim nothing, so that the others send again whatever they have.
#[derive(Default)]
pub(super) struct StormBait {
    turn: usize,
}

/// Milliseconds between two.
const STORM_EVERY: usize = 5;

impl Attack for StormBait {
    fn wake(&mut self, scene: &mut Scene) {
        self.turn += 1;
        if !self.turn.is_multiple_of(STORM_EVERY) {
            return;
        }
        let nothing = Message::Status(Status { active: true, ..Status::default() });
        let frame = message::encode(&nothing, scene.era);
        for place in scene.others() {
            scene.send(place, Class::Votes, frame.clone());
        }
    }
}
