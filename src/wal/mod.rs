//! Append-only log of checksummed records: group sync, torn tails, compaction.
