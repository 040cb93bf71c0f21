//! See `sbft_sim::fuzzing::storage::ledger_files`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sbft_sim::fuzzing::storage::ledger_files(data));
