//! The protocol between a few replicas whose messages arrive at once, or as a seed decides.

mod abuse;
mod accept;
mod complaint;
mod harness;
mod properties;
mod random;
mod restart;
mod stories;
mod suspicion;
mod two_new_views;
