//! A client of AtomicBroadcast: makes and signs envelopes, submits them, reads blocks.
//!
//! The command line and the tests use it; it knows nothing of replicas' insides, only what
//! Fabric-style clients know (fabric-spec B) and the network file that `sbft network` writes.

pub mod broadcast;
pub mod connect;
pub mod deliver;
pub mod envelope;
pub mod follow;
pub mod network_file;
pub mod operations;
pub mod raw;
pub mod replica_process;
pub mod submission;
