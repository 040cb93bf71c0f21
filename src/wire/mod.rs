//! Bytes in, domain types out, and back: messages, candidates, blocks, log records, and the checker.
