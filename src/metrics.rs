//! Names of all metrics, and how they are recorded.
