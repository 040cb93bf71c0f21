//! The local settings of one node (TOML).
