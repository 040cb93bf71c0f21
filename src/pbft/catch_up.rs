//! Blocks in ranges from whoever has them.
//!
//! Statuses (and the bases of view-changes) say who is ahead. What is in flight is given a moment
//! to arrive by itself: messages for four windows are held, and a gap of more than two is fetched at
//! once. One range is asked for at a time, from one peer after the other, so a peer that only claims
//! to be ahead costs one timeout in its turn; a range that came by itself meanwhile is not waited for.

use std::sync::Arc;

use super::{Output, Replica};
use crate::plant::Plant;
use crate::types::{CommittedBlock, Number, Place, Time, Verified};

/// Blocks asked for at once.
const BLOCKS_AT_ONCE: u64 = 64;

/// Who answers ends an answer at some size. So many bytes, and so many in a second, are as good as all blocks
/// that were asked for.
const MUCH: usize = 2 << 20;
const MUCH_PER_SECOND: usize = 10 << 20;

/// The range asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    peer: Place,
    last: Number,
    at: Time,
    /// Ask another one then.
    pub(super) until: Time,
}

impl Replica {
    /// Asks a peer that is ahead for the next blocks, if that is called for.
    pub(super) fn try_catch_up(&mut self, out: &mut Vec<Output>) {
        let once = self.planted(Plant::CatchUpAsksOnce);
        // What the votes on their way brought meanwhile need not be waited for.
        let open = |asked: Asked| asked.last > self.tip.number && self.now < asked.until;
        if self.asked.is_some_and(|asked| open(asked) || once && asked.until > Time::ZERO) {
            return;
        }
        self.asked = None;
        let tip = self.tip.number;
        let ahead = self.peers.iter().map(|peer| peer.claimed).max().unwrap_or_default();
        if ahead <= tip {
            self.behind_since = None;
            return;
        }
        let since = (*self.behind_since.get_or_insert(self.now)).max(self.last_progress);
        let late = self.now.since(since) >= self.config.status_interval;
        let n = self.config.n as u16;
        let order = (0..n).map(|step| Place((self.next_source.0 + step) % n));
        let Some(peer) = order.into_iter().find(|place| {
            let peer = &self.peers[place.index()];
            // Each by its own claim: one liar that is far ahead must not make this replica fetch from the
            // others what is on its way.
            let due = late || self.is_behind(peer.claimed);
            *place != self.config.me && peer.claimed > tip && !peer.down && due
        }) else {
            return;
        };
        let last = Number(self.peers[peer.index()].claimed.0.min(tip.0 + BLOCKS_AT_ONCE));
        if !self.planted(Plant::SourceNotRotated) {
            self.next_source = Place((peer.0 + 1) % n);
        }
        let until = self.now.after(self.config.status_interval * 4);
        self.asked = Some(Asked { peer, last, at: self.now, until });
        out.push(Output::FetchBlocks { from: peer, first: tip.next(), last });
    }

    /// This block is further ahead than what is on its way by itself.
    pub(super) fn is_behind(&self, claimed: Number) -> bool {
        claimed.0.saturating_sub(self.tip.number.0) > self.config.window.saturating_mul(2)
    }

    /// Blocks whose own certificates were checked. They must extend the chain, one after the other.
    pub(super) fn on_blocks(
        &mut self,
        from: Place,
        blocks: Vec<Verified<Arc<CommittedBlock>>>,
        out: &mut Vec<Output>,
    ) {
        let (before, mut bytes) = (self.tip.number, 0);
        let full = blocks.len() as u64 >= BLOCKS_AT_ONCE;
        for block in blocks {
            let block = block.into_inner();
            let header = &block.certificate.header;
            if header.number <= self.tip.number {
                continue;
            }
            if header.number != self.tip.number.next() || header.previous_hash != Some(self.tip.hash) {
                break;
            }
            bytes += block.data.iter().map(bytes::Bytes::len).sum::<usize>();
            self.commit(block, out);
        }
        let progress = self.tip.number > before;
        if let Some(asked) = self.asked.filter(|asked| asked.peer == from) {
            // An answer that brought nothing must not be answered by the next question at once.
            let until = if progress { Time::ZERO } else { self.now.after(self.config.status_interval) };
            self.asked = Some(Asked { until, ..asked });
            // It gave all it was asked for: the most that is ever asked for, or what it claimed, soon; or it
            // gave much. One that drips, or claims little and takes its time for that, loses its turn.
            let took = self.now.since(asked.at);
            let soon = took <= self.config.status_interval / 2;
            let much = bytes >= MUCH && took.as_secs_f64() * MUCH_PER_SECOND as f64 <= bytes as f64;
            if self.tip.number >= asked.last && (full || soon) || much {
                self.next_source = from;
            }
        }
        if progress {
            self.behind_since = None;
        }
    }
}
