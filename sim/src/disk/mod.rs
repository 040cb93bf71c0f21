//! A replica's disk: the node's own log and ledger over a disk in memory, with their encodings.
//!
//! What a crash leaves of what was not synced is the disk's doing; what a replica then finds, the
//! doing of the node's recovery. Beside each file stands what was written to it, so that what
//! comes back need not be decoded twice, and what the simulator looks at costs nothing.

mod faults;
mod image;
mod log;
mod store;
mod toll;

pub use faults::DiskFault;
pub use image::Image;
pub use log::Log;
pub use store::BlockStore;
pub use toll::TOLL;
pub(crate) use toll::add_wrongs;

/// What a crash does to one body's disk: a keyed source of numbers below a bound.
pub(crate) type Dice<'a> = &'a mut dyn FnMut(u64) -> u64;

/// Where the log is.
pub const LOG_DIRECTORY: &str = "wal";
/// Where the ledger is.
pub const LEDGER_DIRECTORY: &str = "blocks";
