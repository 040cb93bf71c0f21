//! A deterministic simulator for sbft: one seed, virtual time, the real protocol core.
//!
//! [`world::World`] runs replicas over a network and disks that fail by keyed draws
//! ([`draw`]), with liars among them ([`byzantine`]), and checks after every event what must
//! never break ([`checks`]). [`plan`] is a whole run as plain data, and [`schedule`] draws one from a
//! seed; [`script`] runs one from a text that reads like a story.

pub mod byzantine;
pub mod channel;
pub mod checks;
mod clients;
pub mod clock;
mod coverage;
mod digests;
pub mod disk;
pub mod draw;
mod driver;
mod edge;
pub mod expect;
pub mod fuzzing;
pub mod model;
pub mod network;
mod outside;
pub mod plan;
pub mod plants;
mod queue;
mod real;
pub mod report;
pub mod scale;
pub mod scenario;
pub mod schedule;
pub mod script;
pub mod shrink;
pub mod signing;
pub mod swarm;
pub mod trace;
pub mod twins;
pub mod violation;
pub mod workload;
pub mod world;
