//! The commands as people and other programs call them: how each ends, what it prints, and what it
//! says about mistakes.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// What a command came to.
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

/// Calls it in a directory of this test's own.
fn call(test: &str, arguments: &[&str]) -> Ended {
    let output = Command::new(env!("CARGO_BIN_EXE_sbft-sim"))
        .args(arguments)
        .current_dir(directory(test))
        .output()
        .expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it prints text");
    Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

fn directory(test: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    std::fs::create_dir_all(&directory).expect("a directory for this test");
    directory
}

/// The path of a scenario of this repository.
fn scenario(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(name).display().to_string()
}

/// Writes a file into the test's directory.
fn file(test: &str, name: &str, text: &str) {
    std::fs::write(directory(test).join(name), text).expect("a file");
}

/// A scenario that expects to fail, without that expectation.
fn unexpecting(name: &str) -> String {
    let text = std::fs::read_to_string(scenario(name)).expect(name);
    let (before, rest) = text.split_once("[expect]\n").expect("it says what it expects");
    let after = rest.find("\n[").map_or("", |at| &rest[at..]);
    format!("{before}{after}")
}

#[test]
fn each_way_to_fail_has_its_exit_code() {
    let test = "exit-codes";
    let good = call(test, &["run", &scenario("smoke/quiet.toml"), "--verify-determinism"]);
    assert_eq!((good.code, good.err.as_str()), (Some(0), ""));
    assert!(good.out.contains("deterministic: the second run has the same"), "{}", good.out);
    for (plant, code, class) in [
        ("P01", 10, "safety broken"),
        ("P15", 11, "liveness broken"),
        ("X16", 12, "storm broken"),
        ("P20", 13, "panic broken"),
    ] {
        let name = format!("{plant}.toml");
        file(test, &name, &unexpecting(&format!("plants/{name}")));
        let failed = call(test, &["run", &name]);
        assert_eq!(failed.code, Some(code), "{plant}: {}", failed.out);
        assert!(failed.out.contains(class) && failed.out.contains("reproduce: "), "{}", failed.out);
        assert!(failed.out.lines().count() <= 25, "{plant}: a report is short:\n{}", failed.out);
        // What was expected is no failure.
        assert_eq!(call(test, &["run", &scenario(&format!("plants/{name}"))]).code, Some(0), "{plant}");
    }
    file(test, "unmet.toml", "[expect]\nmin_blocks = 5\n");
    let unmet = call(test, &["run", "unmet.toml"]);
    assert_eq!(unmet.code, Some(1));
    assert!(unmet.out.contains("blocks: 0, expected 5 at least"), "{}", unmet.out);
}

#[test]
fn a_mistake_in_a_file_is_told_with_its_line_and_key() {
    let test = "mistakes";
    for (text, told) in [
        ("[cluster]\nn = 4\nquorum = 3\n", ":3: quorum: unknown field"),
        (
            "[run]\nseed = 1\n\n[[faults]]\nat = \"1s\"\nkind = \"crashx\"\n",
            ":6: faults[0].kind: no fault is called",
        ),
        ("[workload]\nrate = \"5/s\"\n", ":1: workload.until: must be there"),
        ("[workload]\nuntil = \"5s\"\n", ":1: workload.rate: must be there"),
        (
            "[workload]\nrate = \"5/s\"\nuntil = \"1s\"\nsize = \"9MB\"\n",
            ":4: workload.size: every replica would refuse",
        ),
        ("[workload]\nsize = [\"9KB\", \"1KB\"]\n", ":2: size: the first of the two sizes"),
        ("[expect]\nstopped = { x = \"full\" }\n", ":2: expect.stopped: `x` is no replica"),
        ("[expect]\ncaught_up = [7]\n", ":2: expect.caught_up: there is no replica 7"),
        ("[expect]\ndisk = { fire = 1 }\n", ":2: expect.disk: disks do nothing called `fire`"),
        ("[expect]\nacted = { equivocate = 1 }\n", ":2: expect.acted: no attack is called `equivocate`"),
        ("[expect]\nviolates = \"agrement\"\n", ":2: expect.violates: no check is called `agrement`"),
        ("[run\n", ":1: "),
    ] {
        file(test, "bad.toml", text);
        let refused = call(test, &["run", "bad.toml"]);
        assert_eq!((refused.code, refused.out.as_str()), (Some(2), ""), "{text}");
        assert!(refused.err.starts_with("error: bad.toml"), "{}", refused.err);
        assert!(refused.err.contains(told), "{text}: {}", refused.err);
    }
}

#[test]
fn a_wrong_call_ends_with_2_and_says_what_is_right() {
    let quiet = scenario("smoke/quiet.toml");
    for (arguments, told) in [
        (&["run"][..], "<FILE>"),
        (&["run", "none.toml"], "none.toml: cannot be read"),
        (&["run", "--seed", "abc"], "`abc` is no seed; give a number"),
        (&["run", "--seed", "5", "--plant", "P99"], "`sbft-sim plants --list` shows all"),
        (&["run", &quiet, "--n", "4"], "--n is for a drawn schedule"),
        (&["run", &quiet, "--html", "none/x.html"], "cannot write none/x.html"),
        (&["replay", &quiet, "--until", "soon"], "`soon` is no time; write it like"),
        (&["swarm", "--profile", "foo"], "`foo` is no profile; there are all, net"),
        (&["swarm", "--seed-base", "zz"], "`zz` is no seed base: give a number"),
        (&["swarm", "--n", "99"], "give 1 to 31"),
        (&["twins", "--rounds", "0"], "0 is not in 1..=5"),
        (&["plants", "--only", "P99"], "`sbft-sim plants --list` shows all"),
        (&["attacks", "--explain", "none"], "`sbft-sim attacks --list` shows all"),
        (&["shrink", &quiet], "does not fail, so there is nothing to shrink"),
        (&["diff", "a", "b"], "cannot read a"),
        (&["bogus"], "unrecognized subcommand"),
    ] {
        let refused = call("calls", arguments);
        assert_eq!(refused.code, Some(2), "{arguments:?}: {}{}", refused.out, refused.err);
        assert!(refused.err.contains(told), "{arguments:?}: {}", refused.err);
    }
}

#[test]
fn what_was_found_is_told_and_kept_in_the_exit_code_though_a_file_cannot_be_written() {
    let test = "unwritten";
    file(test, "taken", "no directory");
    let swarm = call(test, &["swarm", "--seeds", "3", "--jobs", "1", "--plant", "P01", "--out", "taken"]);
    assert_eq!(swarm.code, Some(10), "{}", swarm.err);
    assert!(swarm.out.contains("reproduce: "), "{}", swarm.out);
    assert!(swarm.err.contains("cannot write taken"), "{}", swarm.err);
    file(test, "P01.toml", &unexpecting("plants/P01.toml"));
    let run = call(test, &["run", "P01.toml", "--html", "taken/x.html"]);
    assert_eq!(run.code, Some(10), "{}", run.err);
    assert!(
        run.out.contains("safety broken") && run.err.contains("cannot write taken/x.html"),
        "{}",
        run.err
    );
    let replay = call(test, &["replay", "P01.toml", "--until", "10s"]);
    assert_eq!(replay.code, Some(10), "it stops where a check fails: {}", replay.out);
}

#[test]
fn envelopes_that_clients_submit_later_are_no_storm() {
    let test = "patient-clients";
    file(
        test,
        "many.toml",
        "[run]\nchaos = \"0s\"\n[[submit]]\nat = \"1s\"\ncount = 30000\nevery = \"1us\"\n",
    );
    let stopped = call(test, &["replay", "many.toml", "--until", "900ms"]);
    assert_eq!(stopped.code, Some(0), "{}", stopped.out);
}

fn json(test: &str, arguments: &[&str]) -> Value {
    let ended = call(test, arguments);
    assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.err);
    serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{arguments:?}: {error}:\n{}", ended.out))
}

#[test]
fn other_programs_find_the_keys_that_they_look_for() {
    let test = "json";
    let has = |value: &Value, keys: &[&str]| {
        for key in keys {
            assert!(value.get(key).is_some(), "no `{key}` in {value}");
        }
    };
    let swarm = json(test, &["swarm", "--seeds", "3", "--jobs", "1", "--json"]);
    has(&swarm, &["schedules", "violations", "schedules_per_s", "states", "seed_base", "failures"]);
    assert_eq!((&swarm["schedules"], &swarm["violations"]), (&Value::from(3), &Value::from(0)));
    let run = json(test, &["run", &scenario("storage/full-disk.toml"), "--json"]);
    has(&run, &["ok", "exit", "violation", "events", "blocks", "hash", "attacks", "disk", "reproduce"]);
    assert_eq!(run["disk"]["full"], Value::from(1));
    let plants = json(test, &["plants", "--only", "P01", "--budget", "60s", "--jobs", "1", "--json"]);
    has(&plants[0], &["plant", "found", "seeds", "seconds", "check"]);
    assert_eq!(plants[0]["plant"], Value::from("P01"));
    let attacks = json(test, &["attacks", "--list", "--json"]);
    let attacks = attacks.as_array().expect("a list");
    attacks.iter().for_each(|attack| has(attack, &["id", "name", "does", "aim", "needs_reconfiguration"]));
    for number in 1..=59 {
        let id = format!("A{number:02}");
        assert!(attacks.iter().any(|attack| attack["id"] == id.as_str()), "{id} is not listed");
    }
}

#[test]
fn a_trace_can_be_drawn_and_compared_without_running_anything() {
    let test = "traces";
    let attack = scenario("attacks/equivocate-halves.toml");
    assert_eq!(call(test, &["run", &attack, "--trace", "a.ndjson", "--html", "a.html"]).code, Some(0));
    assert_eq!(call(test, &["run", &attack, "--trace", "b.ndjson"]).code, Some(0));
    let quiet = scenario("smoke/quiet.toml");
    assert_eq!(call(test, &["run", &quiet, "--trace", "c.ndjson"]).code, Some(0));
    assert_eq!(call(test, &["diff", "a.ndjson", "b.ndjson"]).code, Some(0));
    assert_eq!(call(test, &["diff", "a.ndjson", "c.ndjson"]).code, Some(1));
    assert_eq!(call(test, &["draw", "a.ndjson", "--html", "drawn.html"]).code, Some(0));
    let page = |name: &str| std::fs::read_to_string(directory(test).join(name)).expect(name);
    assert_eq!(page("a.html"), page("drawn.html"));
    assert!(!page("a.html").contains("http://") && !page("a.html").contains("https://"), "needs no network");
}

/// A vote that contradicts a block is shown together with that block.
#[test]
fn both_sides_of_a_contradiction_are_shown() {
    let test = "contradiction";
    file(test, "P05.toml", &unexpecting("plants/P05.toml"));
    let failed = call(test, &["run", "P05.toml"]);
    assert_eq!(failed.code, Some(10), "{}", failed.out);
    let (_, shown) = failed.out.split_once("what shows it:").expect("it shows why");
    let (shown, _) = shown.split_once("where they stood:").expect("and then the replicas");
    let first = shown.lines().nth(1).unwrap_or_default();
    assert!(first.contains("* committed #") || first.contains("* prepared #"), "{shown}");
}

/// The code of a document between the first fence of this kind and the next.
fn fenced(document: &str, kind: &str) -> String {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(document)).expect(document);
    let (_, rest) = text.split_once(&format!("```{kind}\n")).expect("it has an example");
    rest.split_once("```").expect("which ends").0.to_owned()
}

#[test]
fn the_example_of_the_documentation_comes_to_what_it_says() {
    let test = "documentation";
    file(test, "story.toml", &fenced("docs/scenarios.md", "toml"));
    let story = call(test, &["run", "story.toml"]);
    assert_eq!(story.code, Some(0), "{}{}", story.out, story.err);
    assert!(story.out.contains("equivocate-halves acted"), "{}", story.out);
}
