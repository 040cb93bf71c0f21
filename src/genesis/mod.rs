//! Key material and genesis blocks for new networks.
