//! Policies of a channel: signature and implicit-meta, really evaluated.
