//! The `solo` consenter and the channel support under it: acceptance cases of G1 and G9.
