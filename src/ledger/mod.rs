//! Append-only block store of one channel with an index by number and by header hash.
