//! Reading, writing, and mistakes.

use std::time::Duration;

use sbft::types::{Number, Place, Time, View};

use super::Scenario;
use crate::expect::Verdict;
use crate::network::{Fate, Kind, Rule};
use crate::plan::{CrashAt, Moment, Plan, Show};
use crate::world::Fault;

fn written(plan: &Plan) -> String {
    Scenario { name: None, about: None, plan: plan.clone() }.to_toml()
}

fn read(text: &str) -> Plan {
    Scenario::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}")).plan
}

#[test]
fn a_drawn_plan_is_the_same_run_after_it_was_written_and_read() {
    for seed in 0..400 {
        let plan = Plan::draw(seed);
        let text = written(&plan);
        let again = read(&text);
        assert_eq!(written(&again), text, "seed {seed}: written, read and written again");
        let (one, other) = (plan.run(Show::default()), again.run(Show::default()));
        assert_eq!((one.hash, one.events), (other.hash, other.events), "seed {seed}:\n{text}");
    }
}

#[test]
fn what_no_seed_draws_is_written_and_read_too() {
    let mut plan = Plan::draw(3);
    plan.twins = vec![Place(2)];
    plan.liars.retain(|(place, _)| *place != Place(2));
    plan.crashes = vec![
        CrashAt { body: 1, moment: Moment::Output(17), down_for: Some(Duration::from_millis(300)) },
        CrashAt {
            body: 4,
            moment: Moment::Send {
                kind: Kind::Commit,
                view: Some(View(0)),
                number: Some(Number(3)),
                after: true,
            },
            down_for: None,
        },
    ];
    plan.cuts = vec![
        Rule { kinds: Some(vec![Kind::Commit]), to: Some(vec![0, 4]), ..Rule::default() },
        Rule {
            from: Some(vec![1]),
            skip: 2,
            left: Some(1),
            fate: Fate::Delay(Duration::from_micros(1500)),
            ..Rule::default()
        },
        Rule {
            view: Some(View(0)),
            fate: Fate::Copy { delay: None, later: Duration::from_millis(5) },
            left: Some(9),
            ..Rule::default()
        },
    ];
    plan.faults.push((Time(Duration::from_millis(7)), Fault::CrashFor(4, Duration::from_millis(60))));
    plan.expect.acted.insert("twins".to_owned(), 1);
    plan.expect.violates = Some("agreement".to_owned());
    let text = written(&plan);
    let again = read(&text);
    assert_eq!(written(&again), text);
    assert!(text.contains("to = [0, \"2b\"]"), "{text}");
    assert_eq!((&again.crashes, &again.cuts.len(), &again.expect), (&plan.crashes, &3, &plan.expect));
    assert_eq!(again.run(Show::default()).hash, plan.run(Show::default()).hash);
}

#[test]
fn a_file_means_what_its_reader_guesses() {
    let plan = read(
        r#"
        name = "a story"
        [cluster]
        n = 4
        timeouts = { complain = "250ms", cap = "2s" }
        [run]
        seed = 42
        chaos = "3s"
        [workload]
        clients = 2
        rate = "10/s"
        until = "1s"
        to = "one"
        [network]
        delay = { kind = "lognormal", median = "5ms", p99 = "50ms" }
        loss = 0.02
        dup = 0.01
        [[faults]]
        at = "1.2s"
        kind = "partition"
        groups = [[0, 1], [2, 3]]
        for = "900ms"
        [[faults]]
        on = { replica = 2, send = "commit", number = 3 }
        kind = "crash"
        for = "300ms"
        [[cuts]]
        phase = "commit"
        view = 0
        number = 3
        only_to = [1]
        [[byzantine]]
        replica = 3
        attack = "equivocate-halves"
        when = { views = [0] }
        [expect]
        max_view = 6
        "#,
    );
    assert_eq!(plan.settings.config.complain_timeout, Duration::from_millis(250));
    assert_eq!(plan.submissions.len(), 10);
    let to: Vec<u16> = plan.submissions.iter().map(|s| s.place.0).collect();
    assert_eq!(to, [0, 1, 0, 1, 0, 1, 0, 1, 0, 1], "each client has its replica");
    assert_eq!(plan.submissions[9].at, Time(Duration::from_secs(1)));
    assert_eq!(plan.cuts[0].to.as_deref(), Some([0, 2, 3].as_slice()));
    assert_eq!(plan.expect.max_view, Some(6));
    assert_eq!((plan.liars.len(), plan.faults.len(), plan.crashes.len()), (1, 1, 1));
    let report = plan.run(Show::default());
    assert_eq!(report.violation, None);
}

#[test]
fn a_mistake_is_told_with_its_line_and_key() {
    for (text, expected) in [
        ("[cluster]\nn = 4\nwindows = 3\n", "scenario:3: windows: unknown field `windows`"),
        ("[cluster]\nn = 40\n", "scenario:2: cluster.n: 40 replicas; give 1 to 31"),
        ("[cluster]\nwindow = 0\n", "scenario:2: cluster.window: must be 1 or more"),
        ("[run]\nchaos = \"3 hours\"\n", "scenario:2: chaos: `3 hours` is no time"),
        ("[run]\ndeadline = \"soon\"\n", "scenario:2: deadline: `soon` is neither \"auto\""),
        ("[network]\nloss = 1.5\n", "scenario:2: loss: 1.5 is no probability"),
        ("[network]\ndelay = \"fast\"\n", "scenario:2: delay: expected a time such as"),
        (
            "[network]\ndelay = { kind = \"lognormal\", median = \"5ms\" }\n",
            "scenario:2: network.delay: `p99` is missing",
        ),
        (
            "[network]\ndelay = { kind = \"lan\", mean = \"5ms\" }\n",
            "scenario:2: network.delay: `mean` means nothing for a lan delay",
        ),
        (
            "[[faults]]\nat = \"1s\"\nkind = \"explode\"\n",
            "scenario:3: faults[0].kind: no fault is called `explode`",
        ),
        ("[[faults]]\nat = \"1s\"\nkind = \"crash\"\n", "scenario:1: faults[0]: `replica` is missing"),
        (
            "[[faults]]\nat = \"1s\"\nkind = \"crash\"\nreplica = 4\n",
            "scenario:4: faults[0].replica: there is no replica 4; the places are 0 to 3",
        ),
        (
            "[[faults]]\nat = \"1s\"\nkind = \"crash\"\nreplica = 1\ngroups = [[0]]\n",
            "scenario:5: faults[0].groups: `groups` means nothing for a fault of kind `crash`",
        ),
        (
            "[run]\nchaos = \"1s\"\n[[faults]]\nat = \"2s\"\nkind = \"crash\"\nreplica = 1\n",
            "scenario:4: faults[0].at: 2s is after the network heals at 1s",
        ),
        (
            "[[cuts]]\nphase = \"comit\"\n",
            "scenario:2: cuts[0].phase: no message is called `comit`; there are: pre-prepare, prepare",
        ),
        (
            "[[byzantine]]\nreplica = 3\nattack = \"teleport\"\n",
            "scenario:3: byzantine[0].attack: no attack is called \"teleport\"",
        ),
        (
            "[[byzantine]]\nreplica = 9\nattack = \"silent\"\n",
            "scenario:2: byzantine[0].replica: there is no replica 9",
        ),
        ("[workload]\nrate = \"5\"\nuntil = \"1s\"\n", "scenario:2: rate: `5` is no rate"),
        ("[[submit]]\nto = 7\nat = \"1ms\"\n", "scenario:2: submit[0].to: there is no replica 7"),
        ("[cluster]\nplants = [\n  \"NoSuchBug\",\n]\n", "scenario:3: cluster.plants: "),
        ("[[cuts]]\ntimes = 3\n", "scenario:1: cuts[0]: say which packets: one or more of phase"),
        ("[cluster\n", "scenario:1: "),
    ] {
        let error = Scenario::parse(text).expect_err(text).to_string();
        assert!(error.starts_with(expected), "{text}\n  expected {expected}\n  got      {error}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let file = std::path::Path::new("no/such/file.toml");
    let error = Scenario::read(file).expect_err("there is none").to_string();
    assert!(error.starts_with("no/such/file.toml: cannot be read: "), "{error}");
}

#[test]
fn what_is_expected_is_judged() {
    let plan = read("[[submit]]\nat = \"10ms\"\ncount = 5\n[expect]\nmin_blocks = 1\nmax_view = 0\n");
    assert_eq!(plan.expect.judge(&plan.run(Show::default())), Verdict::Met);
    let mut wants = plan.clone();
    wants.expect.min_view = Some(3);
    wants.expect.max_view = None;
    wants.expect.acted.insert("silent".to_owned(), 1);
    let Verdict::Missed(missed) = wants.expect.judge(&wants.run(Show::default())) else {
        panic!("nothing was missed")
    };
    assert_eq!(
        missed,
        ["highest view: 0, expected 3 at least", "times that silent acted: 0, expected 1 at least"]
    );
}

#[test]
fn a_control_must_violate_what_it_says() {
    // Without a quorum nothing commits.
    let silent = "[run]\nchaos = \"1s\"\n[[submit]]\nat = \"10ms\"\n\
        [[byzantine]]\nreplica = 2\nattack = \"silent\"\n[[byzantine]]\nreplica = 3\nattack = \"silent\"\n";
    let plan = read(&format!("{silent}[expect]\nviolates = \"liveness\"\n"));
    let report = plan.run(Show::default());
    assert_eq!(plan.expect.judge(&report), Verdict::Met);
    assert!(matches!(read(silent).expect.judge(&report), Verdict::Broke(_)));
    let quiet = read("[expect]\nviolates = \"agreement\"\n");
    let verdict = quiet.expect.judge(&quiet.run(Show::default()));
    assert_eq!(
        verdict,
        Verdict::Missed(vec!["`agreement` should have been violated and was not".to_owned()])
    );
}

#[test]
fn the_example_of_the_documentation_is_a_scenario_that_passes() {
    let guide = include_str!("../../docs/scenarios.md");
    let (_, rest) = guide.split_once("```toml\n").expect("there is an example");
    let (example, _) = rest.split_once("```").expect("it ends");
    let plan = read(example);
    assert_eq!(plan.settings.seed, 42);
    assert_eq!(plan.run(Show::default()).violation, None);
}

#[test]
fn the_documentation_names_every_kind_of_fault() {
    let guide = include_str!("../../docs/scenarios.md");
    let error =
        Scenario::parse("[[faults]]\nat = \"1s\"\nkind = \"?\"\n").expect_err("no such kind").to_string();
    let (_, kinds) = error.split_once("there are: ").expect("the message lists them");
    for kind in kinds.split(", ") {
        assert!(guide.contains(&format!("`{kind}`")), "{kind}");
    }
}
