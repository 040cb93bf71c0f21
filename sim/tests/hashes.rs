//! One seed is one run, in debug and in release: `hashes.txt` holds what came of some dozens of
//! seeds, and every build must come to the same. A float whose last bit differs, an overflow that
//! only a debug build notices, or an order that depends on addresses would show here.
//!
//! `cargo test -p sbft-sim --test hashes` compares the build that the test is part of;
//! `cargo test --release …` the release build; and `SBFT_SIM=target/release/sbft-sim cargo test …`
//! that program too. After a change that is meant to change runs: `UPDATE=1 cargo test -p sbft-sim
//! --test hashes`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use sbft_sim::plan::{Plan, Show};

/// Every schedule of these is compared by its hash.
const SEEDS: u64 = 48;
/// These are run with all their events, whose text is compared as well.
const WHOLE: u64 = 8;

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hashes.txt")
}

/// What is compared of a trace: every event, and not the lines about who wrote it.
fn digest_of_events(trace: &str) -> String {
    let events = trace.split_once('\n').map_or("", |(_, events)| events);
    sbft::header::sha256(events.as_bytes()).0.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn line(seed: u64, events: u64, hash: &str, trace: Option<&str>) -> String {
    let trace = trace.map(|trace| format!(" trace {}", digest_of_events(trace))).unwrap_or_default();
    format!("seed {seed} events {events} hash {hash}{trace}\n")
}

/// The runs of this build.
fn here(seed: u64) -> String {
    let whole = seed < WHOLE;
    let report = Plan::draw(seed).run(Show { record: whole, ..Show::default() });
    let trace = report.recording.map(|recording| {
        let mut bytes = Vec::new();
        recording.write(&mut bytes).expect("memory can be written");
        String::from_utf8(bytes).expect("JSON is text")
    });
    line(seed, report.events, &format!("{:016x}", report.hash), trace.as_deref())
}

/// The same runs of a program.
fn there(program: &Path, seed: u64) -> String {
    let trace = env::temp_dir().join(format!("sbft-sim-hashes-{}-{seed}.ndjson", std::process::id()));
    let whole = seed < WHOLE;
    let mut command = Command::new(program);
    command.args(["run", "--json", "--seed", &seed.to_string()]);
    if whole {
        command.arg("--trace").arg(&trace);
    }
    let output = command.output().unwrap_or_else(|error| panic!("SBFT_SIM: {}: {error}", program.display()));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("seed {seed}: {error}: {}", String::from_utf8_lossy(&output.stderr));
    });
    let text = whole.then(|| {
        let text = fs::read_to_string(&trace).unwrap_or_else(|error| panic!("{}: {error}", trace.display()));
        fs::remove_file(&trace).unwrap_or_else(|error| panic!("{}: {error}", trace.display()));
        text
    });
    let events = report["events"].as_u64().expect("events are counted");
    line(seed, events, report["hash"].as_str().expect("a run has a hash"), text.as_deref())
}

fn compare(what: &str, run: impl Fn(u64) -> String) {
    let known = fs::read_to_string(file()).unwrap_or_default();
    let found: Vec<String> = (0..SEEDS).map(run).collect();
    assert_eq!(known.lines().count(), found.len(), "hashes.txt has a line for each seed");
    let differ: Vec<String> = known
        .lines()
        .zip(&found)
        .filter(|(known, found)| *known != found.trim_end())
        .map(|(known, found)| format!("- {known}\n+ {found}"))
        .collect();
    assert!(
        differ.is_empty(),
        "{what} gives other runs for {} of {SEEDS} seeds. If runs are meant to change: UPDATE=1 cargo test \
         -p sbft-sim --test hashes. If they are not, or debug and release differ: that is a bug.\n{}",
        differ.len(),
        differ.concat()
    );
}

#[test]
fn every_build_gives_the_runs_that_were_written_down() {
    if env::var_os("UPDATE").is_some() {
        let text: String = (0..SEEDS).map(here).collect();
        fs::write(file(), text).expect("hashes.txt can be written");
    }
    let build = if cfg!(debug_assertions) { "the debug build" } else { "the release build" };
    compare(build, here);
    if let Some(program) = env::var_os("SBFT_SIM") {
        let program = fs::canonicalize(&program)
            .or_else(|_| fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(&program)))
            .unwrap_or_else(|error| panic!("SBFT_SIM: {}: {error}", program.display()));
        compare("SBFT_SIM", |seed| there(&program, seed));
    }
}
