//! Broadcast and Deliver over real gRPC, against the solo consenter (or a chain made up for a
//! test) in this process. Numbers in names are the acceptance cases of `tests/CASES.md`.

mod broadcast;
mod chain;
mod client;
mod deliver;
mod garbage;
mod limits;
mod node;
mod process;
mod quorum;
mod status_codes;
mod tls;
mod world;
