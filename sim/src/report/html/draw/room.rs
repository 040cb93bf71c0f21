//! Where labels stand, so that none covers another.

use std::collections::BTreeMap;

use super::{HALF, LETTER};
use crate::report::html::axis::ROW;

/// Where labels stand. Slot 0 is the margin; then each lane has one on its left and one on its
/// right, and a long label takes up the next lane's as well.
pub(super) struct Room {
    pub(super) positions: Vec<usize>,
    pub(super) gap: f64,
}

impl Room {
    /// The first and last slot that a label takes up.
    pub(super) fn slots(&self, body: usize, left: bool, text: &str) -> (usize, usize) {
        let position = self.positions.get(body).copied().unwrap_or(0);
        let own = 1 + position * 2 + usize::from(!left);
        let wide = text.chars().count() as f64 * LETTER > self.gap / 2.0 - HALF - 4.0;
        match (wide, left) {
            (false, _) => (own, own),
            (true, true) => (own.saturating_sub(1).max(1), own),
            (true, false) => (own, own + 1),
        }
    }
}

/// How many labels stand in a slot at a moment.
pub(super) type Rows = BTreeMap<(usize, u64), usize>;

/// How far below its moment a label stands: labels of one moment stand below each other.
pub(super) fn below(rows: &mut Rows, (first, last): (usize, usize), at: u64) -> f64 {
    let row = (first..=last).filter_map(|slot| rows.get(&(slot, at))).max().copied().unwrap_or(0);
    for slot in first..=last {
        rows.insert((slot, at), row + 1);
    }
    row as f64 * ROW
}
