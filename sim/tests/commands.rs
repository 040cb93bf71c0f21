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
        (
            "[run]\nchaos = \"500h\"\n",
            ":2: run.chaos: the network would heal after 1800000s; 3600s is the longest",
        ),
        ("[run]\ndeadline = \"2h\"\n", ":2: run.deadline: a stall would be noticed after 7200s"),
        (
            "[[faults]]\nat = \"1s\"\nkind = \"crash\"\nreplica = 1\nfor = \"9h\"\n",
            "bad.toml: run.chaos: must be given, for what the faults speak of goes on until 32401s",
        ),
        ("[workload]\nrate = \"1/m\"\nuntil = \"9h\"\n", ":3: workload.until: 3600s is the longest"),
        (
            "[[submit]]\nat = \"1s\"\ncount = 9\nevery = \"1h\"\n",
            ":4: submit[0].every: the last would come after",
        ),
        ("[[submit]]\nat = \"1s\"\ncount = 0\n", ":3: submit[0].count: must be 1 or more"),
        ("[[submit]]\nat = \"1s\"\nto = []\n", ":3: submit[0].to: an empty list means nobody"),
        (
            "[workload]\nrate = \"5/s\"\nuntil = \"1s\"\nto = []\n",
            ":4: workload.to: an empty list means nobody",
        ),
        ("[[cuts]]\nphase = \"commit\"\nto = []\n", ":3: cuts[0].to: an empty list means nobody"),
        ("[[cuts]]\nphase = []\n", ":2: cuts[0].phase: an empty list means no message"),
        ("[[cuts]]\nphase = \"commit\"\ntimes = 0\n", ":3: cuts[0].times: a cut that takes nothing"),
        ("[[cuts]]\nphase = \"commit\"\nonly_to = \"all\"\n", ":3: cuts[0].only_to: everybody gets it"),
        (
            "[[byzantine]]\nreplica = 1\nattack = \"silent\"\nwhen = { kinds = [] }\n",
            ":4: byzantine[0].when: `kinds` is an empty list, so the attack would never act",
        ),
    ] {
        file(test, "bad.toml", text);
        let refused = call(test, &["run", "bad.toml"]);
        assert_eq!((refused.code, refused.out.as_str()), (Some(2), ""), "{text}");
        assert!(refused.err.starts_with("error: bad.toml"), "{}", refused.err);
        assert!(refused.err.contains(told), "{text}: {}", refused.err);
    }
}

#[test]
fn a_fault_that_nothing_comes_of_is_refused() {
    let test = "empty-faults";
    for (kind, keys, told) in [
        ("reset", "link = [1, 2, 9]", ":4: faults[0].link: 3 ends; a link has two, such as [0, 2]"),
        ("reset", "link = [1]", ":4: faults[0].link: 1 ends"),
        ("link-down", "link = [1, 9]", ":4: faults[0].link: there is no replica 9; the places are 0 to 3"),
        (
            "partition",
            "groups = []",
            ":4: faults[0].groups: give two groups or more, such as [[0, 1], [2, 3]]",
        ),
        ("partition", "groups = [[0, 1]]", ":4: faults[0].groups: give two groups or more"),
        ("partition", "groups = [[], [0]]", ":4: faults[0].groups: an empty list means nobody"),
        ("partition", "groups = [[0], [1, 9]]", ":4: faults[0].groups: there is no replica 9"),
        ("one-way", "to = [1]\nfrom = []", ":5: faults[0].from: an empty list means nobody"),
        ("isolate", "replicas = []", ":4: faults[0].replicas: an empty list means nobody"),
        ("bridge", "over = 1\nleft = []", ":5: faults[0].left: an empty list means nobody"),
        (
            "ring",
            "flapping = { on = \"0s\", off = \"1s\" }",
            ":4: faults[0].flapping: `on` and `off` must be 1ms",
        ),
    ] {
        file(test, "bad.toml", &format!("[[faults]]\nat = \"1s\"\nkind = \"{kind}\"\n{keys}\n"));
        let refused = call(test, &["run", "bad.toml"]);
        assert_eq!((refused.code, refused.out.as_str()), (Some(2), ""), "{keys}");
        assert!(refused.err.contains(told), "{keys}: {}", refused.err);
    }
    // Who means nobody can say so.
    file(test, "good.toml", "[[faults]]\nat = \"1s\"\nkind = \"isolate\"\nreplicas = \"none\"\n");
    assert_eq!(call(test, &["run", "good.toml"]).code, Some(0));
}

#[test]
fn a_deadline_of_ones_own_is_named_when_it_ends_a_run() {
    let test = "deadline";
    file(test, "short.toml", "[run]\ndeadline = \"100ms\"\n");
    let calm = call(test, &["run", "short.toml"]);
    assert_eq!(calm.code, Some(11), "{}", calm.out);
    for told in [
        "all was settled 0s after",
        "must stay so for 200ms",
        "the `deadline` in [run] is 100ms",
        "would be 33200ms",
    ] {
        assert!(calm.out.replace("\n  ", " ").contains(told), "{told}: {}", calm.out);
    }
    let behind = "[run]\ndeadline = \"0s\"\n[[submit]]\nat = \"1500ms\"\n[[faults]]\nat = \"1s\"\nkind = \"isolate\"\nreplica = 2\n";
    file(test, "behind.toml", behind);
    let behind = call(test, &["run", "behind.toml"]);
    assert_eq!(behind.code, Some(11), "{}", behind.out);
    assert!(behind.out.contains("owed: no envelope, but r2 has 0 of 1 blocks"), "{}", behind.out);
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
        (&["run", "43"], "43: cannot be read"),
        (&["run", "43"], "the schedule of a seed is run with --seed 43"),
        (&["run", &quiet, "--json", "--print"], "cannot be used with"),
        (&["run", &quiet, "--json", "--plan"], "cannot be used with"),
        (&["run", &quiet, "--json", "--golden"], "cannot be used with"),
        (&["run", &quiet, "--same-as", "12"], "`12` is no hash"),
        (&["swarm", "--seeds", "0"], "0 is not in 1.."),
        (&["twins", "--sample", "0"], "0 is not in 1.."),
        (&["twins", "--rounds", "1", "--html", "x.html"], "say which with --only INDEX"),
        (&["draw", "a.ndjson"], "<--html <FILE>|--golden>"),
        (&["shrink", &quiet, "-o", "nodir/min.toml"], "there is no folder nodir; make it first"),
        (&["shrink", &quiet, "--budget", "1h"], "does not fail, so there is nothing to shrink"),
    ] {
        let refused = call("calls", arguments);
        assert_eq!(refused.code, Some(2), "{arguments:?}: {}{}", refused.out, refused.err);
        assert!(refused.err.contains(told), "{arguments:?}: {}", refused.err);
    }
}

#[test]
fn a_run_that_is_not_the_one_of_elsewhere_ends_with_14() {
    let test = "elsewhere";
    let quiet = scenario("smoke/quiet.toml");
    let here = call(test, &["run", &quiet]);
    let (_, hash) = here.out.trim().rsplit_once("hash ").expect("it prints its hash");
    let same = call(test, &["run", &quiet, "--same-as", hash]);
    assert_eq!(same.code, Some(0), "{}", same.out);
    let other = call(test, &["run", &quiet, "--seed", "77", "--same-as", hash]);
    assert_eq!(other.code, Some(14), "{}", other.out);
    assert!(other.out.contains("NOT DETERMINISTIC: the hash is"), "{}", other.out);
    let other = call(test, &["run", &quiet, "--seed", "77", "--same-as", hash, "--json"]);
    let value: Value = serde_json::from_str(&other.out).expect("JSON");
    assert_eq!(
        (other.code, &value["exit"], &value["deterministic"]),
        (Some(14), &Value::from(14), &Value::from(false))
    );
}

#[test]
fn a_file_that_is_run_with_other_options_is_not_written_again() {
    let test = "file-with-options";
    let failed = call(test, &["run", &scenario("smoke/quiet.toml"), "--plant", "P01"]);
    assert_eq!(failed.code, Some(10), "{}", failed.out);
    assert!(failed.out.contains("--plant QuorumTooSmall"), "{}", failed.out);
    assert!(!directory(test).join("sbft-sim-failures").exists(), "it is in a file already");
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

#[test]
fn ticks_that_nobody_waits_for_any_more_are_no_storm() {
    let test = "busy";
    // Each block makes a later tick useless; 20,000 of them lay in the queue after nine seconds.
    file(test, "busy.toml", "[workload]\nrate = \"2000/s\"\nuntil = \"10s\"\n[run]\nchaos = \"1s\"\n");
    let ran = call(test, &["run", "busy.toml"]);
    assert_eq!(ran.code, Some(0), "{}", ran.out);
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
    let listed = json(test, &["plants", "--list", "--only", "P01", "--json"]);
    has(&listed[0], &["plant", "name", "does"]);
    let twins = json(test, &["twins", "--rounds", "1", "--only", "3", "--json"]);
    has(&twins, &["index", "does", "ok", "violation", "events", "hash", "reproduce"]);
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
    assert_eq!(call(test, &["replay", &attack, "--trace", "d.ndjson", "--html", "d.html"]).code, Some(0));
    assert_eq!(call(test, &["diff", "a.ndjson", "d.ndjson"]).code, Some(0));
    assert_eq!(call(test, &["replay", &attack, "--until", "20ms", "--html", "e.html"]).code, Some(0));
    let page = |name: &str| std::fs::read_to_string(directory(test).join(name)).expect(name);
    assert_eq!(page("a.html"), page("drawn.html"));
    assert_eq!(page("a.html"), page("d.html"));
    assert!(page("e.html").contains("20.00 ms of simulated time"), "it shows what was up to then");
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

/// Costs that are round numbers.
const COSTS: &str = include_str!("scale-costs.toml");

#[test]
fn a_prediction_is_the_same_twice_and_says_what_is_wrong_with_its_cost_file() {
    let test = "scale";
    file(test, "costs.toml", COSTS);
    let arguments =
        ["scale", "--costs", "costs.toml", "--n", "4", "--rate", "400", "--lasts", "200ms", "--json"];
    let once = call(test, &arguments);
    assert_eq!(once.code, Some(0), "{}", once.err);
    assert_eq!(once.out, call(test, &arguments).out);
    let report: Value = serde_json::from_str(&once.out).expect("an object");
    let row = &report["rows"][0]["predicted"];
    assert_eq!(row["view_changes"], 0);
    assert!((row["committed_per_s"].as_f64().expect("a number") - 400.0).abs() < 60.0, "{row}");

    file(test, "bad.toml", &COSTS.replace("wake_us", "wakes_us"));
    let bad = call(test, &["scale", "--costs", "bad.toml"]);
    assert_eq!(bad.code, Some(2));
    assert!(bad.err.contains("bad.toml") && bad.err.contains("wakes_us"), "{}", bad.err);
    let none = call(test, &["scale", "--costs", "none.toml"]);
    assert!(none.code == Some(2) && none.err.contains("none.toml"), "{}", none.err);
    let wrong = call(test, &["scale", "--costs", "costs.toml", "--measure", "--sbft", "no-such-program"]);
    assert!(wrong.code == Some(2) && wrong.err.contains("no-such-program"), "{}", wrong.err);
}
