//! sbft: a Byzantine-fault-tolerant block-ordering engine.

pub mod channel_config;
pub mod cli;
pub mod client;
pub mod consenter;
pub mod crypto;
pub mod dedup_window;
pub mod disk;
pub mod genesis;
pub mod header;
mod id_map;
pub mod intake;
pub mod ledger;
#[cfg(feature = "liar")]
pub mod liar;
pub mod load;
pub mod metrics;
pub mod msg_processor;
pub mod msp;
pub mod node;
pub mod node_config;
pub mod pbft;
pub mod phases;
pub mod plant;
pub mod policy;
pub mod proto;
pub mod registrar;
pub mod service;
pub mod transport;
pub mod types;
pub mod verify;
pub mod wal;
pub mod wire;
