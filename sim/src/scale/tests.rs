//! Runs with costs that were made up, so that what comes of them is known.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;

/// Round numbers, not those of any machine.
fn costs() -> Costs {
    let line = |each_us: f64, kib_us: f64| Line { each_us, kib_us };
    let votes = Signature { sign_us: 20.0, decode_us: 2.0, check_us: 38.0 };
    let open = Filtering {
        alone: line(2.0, 0.5),
        together: line(2.0, 0.5),
        candidate: line(0.5, 1.5),
        batch_us: 0.0,
    };
    let signed = Filtering {
        alone: line(42.0, 0.5),
        together: line(22.0, 0.5),
        candidate: line(20.5, 1.5),
        batch_us: 80.0,
    };
    let disk = Disk { append: line(5.0, 1.0), sync_cpu_us: 20.0, sync_us: vec![vec![300.0; 9]] };
    let kinds = ["candidate", "pre-prepare", "prepare", "commit", "status", "durable", "tick"];
    let mut us: BTreeMap<String, f64> = kinds.iter().map(|kind| ((*kind).to_owned(), 3.0)).collect();
    for kind in ["intake:envelope", "intake:seen", "intake:committed"] {
        us.insert(kind.to_owned(), 0.5);
    }
    Costs {
        wake_us: 4.0,
        cold_wake_us: 4.0,
        encode: line(0.5, 1.0),
        ingest: line(8.0, 1.0),
        client: line(20.0, 1.0),
        message: Way { round_us: 4.0, alone_us: 4.0, send: line(6.0, 0.5), receive: line(6.0, 0.5) },
        bulk: Way { round_us: 4.0, alone_us: 4.0, send: line(10.0, 0.8), receive: line(10.0, 0.8) },
        log: disk.clone(),
        ledger: disk,
        ed25519: votes,
        p256: votes,
        filters: Filters { open, ed25519: signed, p256: signed },
        steps: vec![Steps { n: 4, us }],
        ..Costs::default()
    }
}

fn short(n: usize, load: Load) -> Setup {
    Setup {
        warm_up: Duration::from_millis(200),
        lasts: Duration::from_millis(300),
        block: 100,
        bytes: 512,
        ..Setup::new(n, load)
    }
}

#[test]
fn a_run_is_the_same_twice_with_the_same_costs_and_another_with_others() {
    let setup = short(4, Load::Rate(1_000.0));
    let once = run(&setup, &costs()).expect("commits");
    assert_eq!(once, run(&setup, &costs()).expect("commits"));
    let dearer = Costs { wake_us: 8.0, cold_wake_us: 8.0, ..costs() };
    assert_ne!(once.hash, run(&setup, &dearer).expect("commits").hash);
}

#[test]
fn below_saturation_what_is_offered_is_committed_and_each_replicas_processors_are_as_busy_as_its_work() {
    let outcome = run(&short(4, Load::Rate(1_000.0)), &costs()).expect("commits");
    assert!((outcome.committed_per_s - 1_000.0).abs() < 30.0, "{outcome:?}");
    assert_eq!(outcome.view_changes, 0);
    // Utilisation is rate times work, per replica and processor; the primary has a little more.
    let expected = outcome.committed_per_s * outcome.cpu_us_per_envelope / 1e6 / 4.0 / 4.0;
    assert!((outcome.busy / expected - 1.0).abs() < 0.1, "{} for {expected}", outcome.busy);
    // Three ways, two syncs and the client's ways at least.
    assert!(outcome.p50_ms > 0.7 && outcome.p50_ms < 5.0, "{outcome:?}");
}

#[test]
fn on_one_machine_throughput_falls_with_n_as_the_work_for_each_envelope_grows() {
    let at = |n| {
        let sharing = Sharing::One(4);
        let setup = Setup { sharing, model: Model::Loopback, ..short(n, Load::InFlight(2_000)) };
        run(&setup, &costs()).expect("commits")
    };
    let (four, seven) = (at(4), at(7));
    assert!(four.busy > 0.95 && seven.busy > 0.95, "{four:?} {seven:?}");
    // Every replica checks every envelope: throughput times n stays about the same.
    let ratio = four.committed_per_s / seven.committed_per_s;
    assert!((1.4..2.0).contains(&ratio), "{ratio}");
    for outcome in [&four, &seven] {
        let work = outcome.cpu_us_per_envelope + outcome.client_us_per_envelope;
        let most = 4.0 * 1e6 / work;
        let reached = outcome.committed_per_s / most;
        assert!((0.9..1.05).contains(&reached), "{reached} of what four processors can do");
    }
}

#[test]
fn with_a_machine_each_throughput_does_not_fall_as_it_does_on_one() {
    let each = |n| run(&short(n, Load::InFlight(4_000)), &costs()).expect("commits").committed_per_s;
    let ratio = each(4) / each(7);
    assert!((0.7..1.35).contains(&ratio), "{ratio}");
}

#[test]
fn over_five_regions_an_envelope_takes_three_ways_to_a_quorum() {
    let setup = Setup {
        model: Model::Wan5,
        warm_up: Duration::from_millis(1_000),
        lasts: Duration::from_millis(2_000),
        ..short(7, Load::Rate(200.0))
    };
    let outcome = run(&setup, &costs()).expect("commits");
    assert_eq!(outcome.view_changes, 0);
    assert!((100.0..600.0).contains(&outcome.p50_ms), "{outcome:?}");
}
