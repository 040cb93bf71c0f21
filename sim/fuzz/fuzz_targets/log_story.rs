//! See `sbft_sim::fuzzing::storage::log_story`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sbft_sim::fuzzing::storage::log_story(data));
