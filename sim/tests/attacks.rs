//! Every attack of the catalogue has its scenario; each really happens, and breaks nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use sbft_sim::byzantine::{catalogue, find};
use sbft_sim::expect::Verdict;
use sbft_sim::plan::Show;
use sbft_sim::scenario::Scenario;

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/attacks");
    let entries = std::fs::read_dir(&folder).expect("the folder of attacks");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    files
}

#[test]
fn every_attack_happens_in_its_scenario_and_breaks_nothing() {
    let mut failed = Vec::new();
    for file in files() {
        let scenario = Scenario::read(&file).unwrap_or_else(|error| panic!("{error}"));
        let report = scenario.plan.run(Show::default());
        let verdict = scenario.plan.expect.judge(&report);
        if verdict != Verdict::Met {
            failed.push(format!("{}: {verdict:?}", file.display()));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn every_attack_has_a_scenario_that_expects_it_to_act() {
    let mut expected = BTreeSet::new();
    for file in files() {
        let scenario = Scenario::read(&file).unwrap_or_else(|error| panic!("{error}"));
        let stem = file.file_stem().expect("a name").to_string_lossy().into_owned();
        let info = find(&stem).unwrap_or_else(|| panic!("{stem} is no attack"));
        assert!(scenario.plan.expect.acted.get(info.name).is_some_and(|times| *times > 0), "{stem}");
        expected.insert(info.name);
    }
    for info in catalogue().iter().filter(|info| !info.needs_reconfiguration) {
        assert!(expected.contains(info.name), "no scenario of {}", info.name);
    }
}

/// What people copy from the documentation compiles and runs: it is the example, word for word.
#[test]
fn the_walk_through_shows_the_example_as_it_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |file: &str| std::fs::read_to_string(root.join(file)).expect(file);
    let (example, walk) = (read("examples/my_attack.rs"), read("docs/attacks.md"));
    let start = example.find("/// Votes prepare for the right block").expect("the attack");
    let end = example.find("fn main()").expect("the program");
    assert!(walk.contains(example[start..end].trim()), "sim/docs/attacks.md shows another example");
    let lines = example[start..end].lines().take_while(|line| !line.starts_with("fn run"));
    assert!(lines.count() < 30, "an attack is short");
}
