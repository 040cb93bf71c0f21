//! `sbft load` against a real network of processes: its figures agree with the ledger, faults show
//! as gaps, errors say what to do. Never a time: test machines are slow.

#[allow(dead_code, reason = "the tests of processes use all of it")]
#[path = "processes/network.rs"]
mod network;

use std::process::Output;

use network::Network;
use serde_json::Value;

/// A short measurement.
const SHORT: [&str; 6] = ["--warm-up", "200ms", "--duration", "1500ms", "--drain", "30s"];

fn load(network: &Network, arguments: &[&str]) -> Output {
    network.sbft(&[&["load"], arguments].concat())
}

/// The object that a successful run prints.
fn report(network: &Network, arguments: &[&str]) -> Value {
    let output = load(network, &[arguments, &["--json"]].concat());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "load {arguments:?}: {errors}\n{}", network.said());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Envelopes in the chain, without the genesis block's.
fn in_ledger(network: &mut Network) -> u64 {
    network.settle(&[1, 2, 3, 4]);
    let blocks = network.blocks(1, 0);
    blocks.iter().skip(1).map(|block| block.data.as_ref().map_or(0, |data| data.data.len() as u64)).sum()
}

/// What must hold of every report of a network without faults.
fn consistent(report: &Value) {
    assert_eq!(report["errors"], 0, "{report}");
    assert_eq!(report["ordered_twice"], 0, "{report}");
    assert_eq!(report["sent"], report["committed"], "{report}");
    assert!(report["committed_per_s"].as_f64().unwrap() > 0.0, "{report}");
    let latency: Vec<f64> = ["p50", "p90", "p99", "p999", "p9999", "max"]
        .iter()
        .map(|name| report["latency_ms"][name].as_f64().unwrap())
        .collect();
    assert!(latency[0] > 0.0 && latency.is_sorted(), "{latency:?}");
    assert_eq!(report["rss_mb"].as_array().unwrap().len(), 4);
    assert!(report["rss_mb"][0].as_f64().unwrap() > 1.0, "{report}");
    let settings = &report["settings"];
    assert_eq!((&settings["n"], &settings["tls"]), (&4.into(), &true.into()), "{settings}");
}

#[test]
fn what_load_reports_is_what_the_ledger_holds() {
    let mut network = Network::start(&["--clients", "3"]);
    let open = report(&network, &[&["--rate", "200"], &SHORT[..]].concat());
    consistent(&open);
    assert_eq!(open["offered_per_s"], 200.0);
    assert_eq!(open["sent"], 340, "1.7 s at 200 a second: {open}");
    assert_eq!(open["settings"]["client_signatures"], "ed25519");
    assert_eq!(open["settings"]["client_signatures_checked"], true);
    assert_eq!(open["settings"]["clients"], 3);
    assert_eq!(in_ledger(&mut network), 340);

    let closed = report(&network, &[&["--in-flight", "50", "--size", "2000"], &SHORT[..]].concat());
    consistent(&closed);
    let sent = closed["sent"].as_u64().unwrap();
    assert!(sent > 50, "{closed}");
    assert_eq!(in_ledger(&mut network), 340 + sent);
    let newest = network.blocks(1, network.height(1) - 1);
    assert_eq!(newest[0].data.as_ref().unwrap().data[0].len(), 2_000, "encoded size");

    // Each envelope to all four is ordered once, and the copies are no errors.
    let page = network.dir().join("page.html");
    let html = ["--in-flight", "50", "--to", "all", "--runs", "2", "--html", page.to_str().unwrap()];
    let all = report(&network, &[&html, &SHORT[..]].concat());
    let runs = all["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 2);
    runs.iter().for_each(consistent);
    let to_all: u64 = runs.iter().map(|run| run["sent"].as_u64().unwrap()).sum();
    assert_eq!(in_ledger(&mut network), 340 + sent + to_all);

    let text = std::fs::read_to_string(page).unwrap();
    assert!(text.contains("<svg") && text.ends_with("</html>\n"));
    for outside in ["http://", "https://", "<script", "<link", "src="] {
        assert!(!text.contains(outside), "the page needs {outside}");
    }
}

#[test]
fn a_killed_primary_shows_as_a_stall_and_comes_back() {
    let network = Network::start(&[]);
    let primary = network.primary();
    let faults = ["--rate", "200", "--kill-primary-at", "500ms", "--restart-at", "2500ms"];
    let run = report(
        &network,
        &[&faults[..], &["--warm-up", "200ms", "--duration", "4s", "--drain", "30s"]].concat(),
    );
    let kill = &run["faults"][0];
    assert_eq!((&kill["what"], &kill["replica"]), (&"kill primary".into(), &primary.into()), "{run}");
    let stall = kill["stall_ms"].as_f64().unwrap();
    let gap = run["longest_gap_ms"].as_f64().unwrap();
    assert!(stall > 0.0 && gap >= stall.min(3_000.0) * 0.999, "{run}");
    assert_eq!(run["faults"][1]["what"], "restart");
    assert_eq!(run["ordered_twice"], 0);
    assert!(network.status(primary).is_none(), "a replica that the load started stops with it");
}

#[test]
fn open_writers_are_noticed_and_small_envelopes_are_possible_there() {
    let mut network = Network::start(&["--writers", "open"]);
    let run = report(&network, &[&["--in-flight", "40", "--size", "256"], &SHORT[..]].concat());
    consistent(&run);
    assert_eq!(run["settings"]["client_signatures"], "none");
    assert_eq!(run["settings"]["client_signatures_checked"], false);
    assert_eq!(in_ledger(&mut network), run["sent"].as_u64().unwrap());
    let newest = network.blocks(1, network.height(1) - 1);
    assert_eq!(newest[0].data.as_ref().unwrap().data[0].len(), 256);

    // A sweep measures each rate with each size.
    let sweep = [&["--sweep", "--rates", "50,100", "--sizes", "256,700"], &SHORT[..]].concat();
    let page = network.dir().join("sweep.html");
    let output = load(&network, &[&sweep[..], &["--json", "--html", page.to_str().unwrap()]].concat());
    let sweep: Value = serde_json::from_slice(&output.stdout).unwrap();
    let steps = sweep["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 4);
    steps.iter().for_each(|step| consistent(&step["report"]));
    let text = std::fs::read_to_string(page).unwrap();
    for stated in ["4 measurements with 50 to 100 a second", "256, 700 B encoded"] {
        assert!(text.contains(stated), "{stated}");
    }
}

#[test]
fn errors_say_what_to_do() {
    let network = Network::start(&[]);
    let cases: [(&[&str], &str); 8] = [
        (&[], "--rate N (open loop), --in-flight N (closed loop)"),
        (&["--rate", "10", "--size", "300"], "--size 300 is too small"),
        (&["--rate", "10", "--clients", "5"], "sbft network --fresh --clients 5"),
        (&["--rate", "0"], "is not between 0.001 and"),
        (&["--rate", "10", "--to", "one", "--replica", "9"], "there is no replica 9"),
        (&["--rate", "10", "--kill-primary-at", "60s"], "after the end of the measurement"),
        (&["--rate", "10", "--restart-at", "1s"], "--kill-primary-at or --kill-backup-at"),
        (&["--rate", "10", "--html", "/nowhere/page.html"], "cannot write /nowhere/page.html"),
    ];
    for (arguments, expected) in cases {
        let output = load(&network, arguments);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
        assert!(text.contains(expected), "{arguments:?}: {text}");
    }
    let output = load(&network, &["--rate", "10", "--duration", "soon"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("write 5s, 250ms or 2m"));

    let nowhere = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_sbft"))
        .args(["load", "--rate", "10", "--network", nowhere.path().to_str().unwrap()])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("start one with: sbft network"));
}
