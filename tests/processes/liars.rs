//! One replica lies, over the real network: the others order all the same, and agree.
//!
//! The simulator judges what lies may do to safety. This is about the liars of measurements: that each
//! really acts, and that what is measured under it is ordering.

use sbft::client::operations;

use super::network::Network;
use super::{occurrences, same_headers};

const ENVELOPES: usize = 100;

impl Network {
    /// How often the liar says that it lied.
    fn acted(&self, id: u32, lie: &str) -> u64 {
        let address = self.file().replica(id).unwrap().ops.clone();
        let (code, text) = self.block_on(operations::get(&address, "/metrics")).unwrap();
        assert_eq!(code, 200);
        let name = format!("{}{{lie=\"{lie}\"}} ", sbft::liar::ACTED);
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        line.unwrap_or_else(|| panic!("no {name} in:\n{text}")).parse().unwrap()
    }
}

/// This replica lies (1 is the first primary); all that is submitted to the others is ordered once.
fn ordered_all_the_same(liar: u32, lies: &[&str]) {
    let mut network = Network::start(&["--liar", &format!("{liar}={}", lies.join(","))]);
    let honest: Vec<u32> = (1..=4).filter(|id| *id != liar).collect();
    for replica in &honest {
        // One after the other: what is in the chain already is what some lies are made of.
        let count = (ENVELOPES / honest.len() + 1).to_string();
        let text = network.submit(&["--count", &count, "--replica", &replica.to_string(), "--wait"]);
        assert!(text.contains(&format!("committed {count}")), "{text}");
    }
    for lie in lies {
        let name = lie.split(':').next().unwrap();
        assert!(network.acted(liar, name) > 0, "{name} did nothing");
    }
    network.settle(&honest);
    let counts = occurrences(&network.blocks(honest[0], 0));
    assert!(counts.len() >= ENVELOPES, "{}", counts.len());
    assert!(counts.values().all(|times| *times == 1), "{counts:?}");
    network.verify(&honest);
    same_headers(&network, &honest);
}

#[test]
fn a_silent_replica_holds_nobody_up() {
    ordered_all_the_same(1, &["silent"]);
}

#[test]
fn a_primary_that_never_proposes_is_left() {
    ordered_all_the_same(1, &["silent-primary"]);
}

#[test]
fn under_a_slow_primary_all_is_ordered() {
    ordered_all_the_same(1, &["slow-primary:60ms"]);
}

#[test]
fn under_a_primary_that_proposes_one_envelope_at_a_time_all_is_ordered() {
    ordered_all_the_same(1, &["crawl:10ms"]);
}

#[test]
fn a_primary_that_tells_halves_different_things_splits_nobody() {
    ordered_all_the_same(1, &["equivocate-halves"]);
}

#[test]
fn withheld_votes_are_not_missed() {
    ordered_all_the_same(2, &["withhold-prepare", "withhold-commit"]);
}

#[test]
fn noise_floods_questions_and_complaints_stop_nobody() {
    ordered_all_the_same(2, &["garbage", "flood-bulk", "flood-fetch", "storm-bait", "complain-bait"]);
}

/// Every replica checked five hundred good signatures for each such candidate, without end.
#[test]
fn candidates_of_committed_envelopes_are_dropped_before_their_signatures_are_checked() {
    let network = Network::start(&["--liar", "2=flood-bulk"]);
    network.submit(&["--count", "20", "--replica", "1", "--wait"]);
    let address = network.file().replica(1).unwrap().ops.clone();
    let dropped = || {
        let (_, text) = network.block_on(operations::get(&address, "/metrics")).unwrap();
        text.lines().any(|line| line.starts_with("sbft_") && line.contains("reason=\"stale candidate\""))
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !dropped() {
        assert!(std::time::Instant::now() < deadline, "none was dropped");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

#[test]
fn a_liar_that_is_no_replica_is_refused() {
    let output = Network::command_alone(&["network", "--dir", "/nonexistent/x", "--liar", "9=silent"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("there is no replica 9"), "{text}");
    let output = Network::command_alone(&["network", "--liar", "1=polite"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && text.contains("there is no lie \"polite\""), "{text}");
}

/// The instrument itself: a row is measured next to the fault-free one, and its attack acted.
#[test]
fn a_row_of_the_robustness_table_is_one_command() {
    let _turn = super::network::turn();
    let base = super::network::free_ports().to_string();
    let output = Network::command_alone(&[
        "robustness",
        "--only",
        "withheld-votes",
        "--json",
        "--before=1",
        "--seconds=3",
        "--rate=50",
        "--in-flight=20",
        "--clients=2",
        "--base-port",
        &base,
    ]);
    let (text, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}\n{said}");
    let found: serde_json::Value = serde_json::from_str(&text).unwrap();
    let rows = found["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    for row in rows {
        for pace in ["open", "closed"] {
            let measured = &row[pace]["measured"];
            assert!(measured["committed_per_s"].as_f64().unwrap() > 0.0, "{text}");
            assert!(measured["p99_ms"].as_f64().unwrap() > 0.0, "{text}");
            let attacks = row["row"] != "fault-free";
            assert_eq!(measured["acted"].as_u64().unwrap() > 0, attacks, "{text}");
        }
        assert!(row["ratio"].as_f64().unwrap() > 0.0, "{text}");
    }

    let output = Network::command_alone(&["robustness", "--only", "kindness"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("no row \"kindness\""), "{text}");
}
