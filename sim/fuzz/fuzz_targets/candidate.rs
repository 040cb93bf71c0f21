//! See `sbft_sim::fuzzing::decoders::candidate`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sbft_sim::fuzzing::decoders::candidate(data));
