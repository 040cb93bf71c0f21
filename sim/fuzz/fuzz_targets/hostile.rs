//! See `sbft_sim::fuzzing::hostile::run`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sbft_sim::fuzzing::hostile::run(data));
