//! QUIC between replicas: one authenticated connection per pair, for all channels.
