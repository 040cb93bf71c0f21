//! Builds a node from its configuration and runs it until told to stop.
