//! Generated networks.
