//! Within which blocks an envelope is ordered at most once.
//!
//! Blocks are of one envelope or of thousands, so neither of the two counts does alone: so many blocks of
//! one envelope pass in seconds, and so many envelopes are a single block. The window reaches as far back
//! as the longer of the two says. It is a pure function of the chain below a block, so every replica,
//! whenever it started, has the same one.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::types::{Number, RequestId};

/// D and E: block `b` is in the window of block `n` above it if `n - b` is at most D, or if there are at
/// most E envelopes in the blocks from `b` to `n - 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DedupRule {
    /// D: the last so many blocks are in the window, whatever is in them.
    pub blocks: u64,
    /// E: and as many more as have this many envelopes in all.
    pub envelopes: u64,
}

impl DedupRule {
    /// Whether a block is in the window that is this many blocks back, when it and those between have this
    /// many envelopes.
    pub fn reaches(self, blocks: u64, envelopes: u64) -> bool {
        blocks <= self.blocks || envelopes <= self.envelopes
    }

    /// Most ids in the window, given the most envelopes in a block.
    pub(crate) fn most_ids(self, block_count: u32) -> u64 {
        self.blocks.saturating_mul(u64::from(block_count)).max(self.envelopes)
    }
}

/// A block's number and the ids in it.
pub type BlockIds = (Number, Arc<[RequestId]>);

/// The blocks in the window of the one that comes next, and the ids in them.
#[derive(Clone, Debug)]
pub(crate) struct DedupWindow {
    rule: DedupRule,
    /// Of consecutive numbers.
    blocks: VecDeque<Held>,
    /// Number of the next block.
    next: Number,
    /// Envelopes in the blocks below it, counted from any block on: only differences mean something.
    envelopes: u64,
}

#[derive(Clone, Debug)]
struct Held {
    ids: Arc<[RequestId]>,
    /// Envelopes in the blocks below this one.
    below: u64,
}

impl DedupWindow {
    pub(crate) fn new(rule: DedupRule) -> Self {
        Self { rule, blocks: VecDeque::new(), next: Number(0), envelopes: 0 }
    }

    /// Adds the next block. [`Self::pop`] then gives what is in the window no longer.
    pub(crate) fn push(&mut self, number: Number, ids: Arc<[RequestId]>) {
        let below = self.envelopes;
        self.envelopes += ids.len() as u64;
        self.next = number.next();
        self.blocks.push_back(Held { ids, below });
    }

    /// Takes out the oldest block, if it is beyond the window.
    pub(crate) fn pop(&mut self) -> Option<BlockIds> {
        let oldest = self.first();
        if self.reaches(oldest, self.next, 0) {
            return None;
        }
        self.blocks.pop_front().map(|held| (oldest, held.ids))
    }

    pub(crate) fn set_rule(&mut self, rule: DedupRule) {
        self.rule = rule;
    }

    /// Number of the oldest block held; that of the next, if none is.
    fn first(&self) -> Number {
        Number(self.next.0 - self.blocks.len() as u64)
    }

    /// The block is one of those held.
    pub(crate) fn holds(&self, number: Number) -> bool {
        (self.first()..self.next).contains(&number)
    }

    /// Whether the held block `older` is in the window of block `number`, between which and the last held
    /// block there are others with so many envelopes.
    pub(crate) fn reaches(&self, older: Number, number: Number, above: u64) -> bool {
        let Some(held) = self.blocks.get((older.0 - self.first().0) as usize) else { return true };
        self.rule.reaches(number.0 - older.0, self.envelopes - held.below + above)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(rule: DedupRule, sizes: &[usize]) -> DedupWindow {
        let mut window = DedupWindow::new(rule);
        for (number, size) in (1..).zip(sizes) {
            window.push(Number(number), vec![RequestId([0; 32]); *size].into());
            while window.pop().is_some() {}
        }
        window
    }

    #[test]
    fn the_longer_of_the_two_says_how_far_the_window_reaches() {
        let rule = |blocks, envelopes| DedupRule { blocks, envelopes };
        let sizes = [1, 5, 2, 1, 1];
        assert_eq!(window(rule(2, 0), &sizes).first(), Number(4), "the last 2 blocks");
        assert_eq!(window(rule(2, 3), &sizes).first(), Number(4), "4 envelopes from 3 on");
        assert_eq!(window(rule(2, 4), &sizes).first(), Number(3));
        assert_eq!(window(rule(1, 8), &sizes).first(), Number(3), "9 from 2 on");
        assert_eq!(window(rule(1, 9), &sizes).first(), Number(2));
        assert_eq!(window(rule(4, 1), &sizes).first(), Number(2));
        assert_eq!(window(rule(1, 100), &sizes).first(), Number(1));
    }

    #[test]
    fn proposals_above_push_the_window_on() {
        let window = window(DedupRule { blocks: 2, envelopes: 9 }, &[1, 5, 2, 1, 1]);
        assert!(window.reaches(Number(2), Number(6), 0));
        assert!(!window.reaches(Number(2), Number(7), 1), "10 envelopes, 5 blocks");
        assert!(window.reaches(Number(5), Number(7), 100), "2 blocks");
        assert!(!window.reaches(Number(5), Number(8), 100));
    }
}
