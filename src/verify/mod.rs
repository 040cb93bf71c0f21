//! Offline check of ledgers and block files; shares no code with the core's certificate checks.
