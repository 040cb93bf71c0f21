//! What clients see: gRPC Broadcast and Deliver, health, reflection, and the operations listener.

pub mod ops;
