//! The protocol between a few replicas whose messages arrive at once, or as a seed decides.

mod abuse;
mod accept;
mod catch_up;
mod complaint;
mod harness;
mod leftovers;
mod new_views;
mod properties;
mod random;
mod restart;
mod stories;
mod suspicion;
