//! See `sbft_sim::fuzzing::decoders::record`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sbft_sim::fuzzing::decoders::record(data));
