//! A client of AtomicBroadcast: makes and signs envelopes, submits, reads blocks.
