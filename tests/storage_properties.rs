//! Log and ledger beside a list, through generated scripts of writes, syncs, failures and crashes.
//! What a script means and what must hold stands in `sbft_sim::fuzzing::storage`; here scripts are
//! generated, and a failing one is made small.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use sbft_sim::fuzzing::storage::{ledger_story, log_story};

fn cases() -> ProptestConfig {
    let set = ProptestConfig::default();
    let rng_seed = match set.rng_seed {
        RngSeed::Random => RngSeed::Fixed(5),
        fixed => fixed,
    };
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { set.cases } else { 1500 };
    ProptestConfig { cases, rng_seed, failure_persistence: None, ..set }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn a_log_holds_what_was_synced_and_a_prefix_of_the_rest_after_any_crash(script in vec(any::<u8>(), 0..300)) {
        log_story(&script);
    }

    #[test]
    fn a_ledger_holds_what_was_synced_and_a_prefix_of_the_rest_after_any_crash(script in vec(any::<u8>(), 0..300)) {
        ledger_story(&script);
    }
}
