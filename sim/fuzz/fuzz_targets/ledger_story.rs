//! See `sbft_sim::fuzzing::storage::ledger_story`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sbft_sim::fuzzing::storage::ledger_story(data));
