//! What all consenters of a channel agree on, parsed once from a config block.
