//! From accepted envelopes to this replica's candidates: pool, cutter, batch timer, eager cut.

pub mod block_cutter;
