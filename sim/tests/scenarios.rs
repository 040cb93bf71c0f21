//! Every file in sim/scenarios is run, and comes to what it says must come of it.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use sbft_sim::expect::Verdict;
use sbft_sim::plan::Show;
use sbft_sim::scenario::Scenario;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}

/// All scenario files, in order of their paths.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder is part of the repository") {
        let path = entry.expect("a folder that can be read").path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// What is wrong with the run of a file; none if it came to what it says.
fn complaint(file: &Path) -> Option<String> {
    let scenario = match Scenario::read(file) {
        Ok(scenario) => scenario,
        Err(error) => return Some(error.to_string()),
    };
    let name = file.display();
    if scenario.name.is_none() || scenario.about.is_none() {
        return Some(format!("{name}: every file here has a name and says what it is about"));
    }
    let expect = &scenario.plan.expect;
    let lies = !scenario.plan.liars.is_empty();
    let folder = file.parent().and_then(Path::file_name).and_then(|folder| folder.to_str());
    if folder == Some("controls") && expect.violates.is_none() {
        return Some(format!("{name}: a control says what it violates"));
    }
    if folder == Some("attacks") && lies && expect.acted.is_empty() {
        return Some(format!(
            "{name}: an attack's scenario says how often it must have acted ([expect] acted)"
        ));
    }
    let report = scenario.plan.run(Show::default());
    match expect.judge(&report) {
        Verdict::Met => None,
        Verdict::Broke(violation) => Some(format!("{name}: {violation}")),
        Verdict::Missed(missed) => Some(format!(
            "{name}: {} (blocks {}, highest view {}, attacks {:?})",
            missed.join("; "),
            report.seen.blocks,
            report.seen.highest_view,
            report.attacks
        )),
    }
}

#[test]
fn every_scenario_comes_to_what_it_says() {
    let files = files(&root());
    assert!(files.len() >= 5, "where are they? {files:?}");
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, complaints) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Some(complaint) = complaint(file) {
                        complaints.lock().expect("nobody panics while holding it").push(complaint);
                    }
                }
            });
        }
    });
    let mut complaints = complaints.into_inner().expect("all threads are done");
    complaints.sort();
    assert!(
        complaints.is_empty(),
        "{} of {} scenarios:\n{}",
        complaints.len(),
        files.len(),
        complaints.join("\n")
    );
}

#[test]
fn a_written_scenario_is_the_same_run() {
    for file in files(&root()) {
        let scenario = Scenario::read(&file).unwrap_or_else(|error| panic!("{error}"));
        let text = scenario.to_toml();
        let again =
            Scenario::parse(&text).unwrap_or_else(|error| panic!("{}: {error}\n{text}", file.display()));
        let (one, other) = (scenario.plan.run(Show::default()), again.plan.run(Show::default()));
        assert_eq!((one.hash, one.events), (other.hash, other.events), "{}:\n{text}", file.display());
        assert_eq!(again.plan.expect, scenario.plan.expect, "{}", file.display());
    }
}

#[test]
fn with_too_many_liars_the_chain_forks_and_with_too_many_silent_it_stalls() {
    // The controls: a simulator that finds nothing here would find nothing anywhere.
    for (file, class) in [("fork-f-plus-1.toml", "Safety"), ("stall-f-plus-1-silent.toml", "Liveness")] {
        let scenario =
            Scenario::read(&root().join("controls").join(file)).unwrap_or_else(|error| panic!("{error}"));
        let violation = scenario.plan.run(Show::default()).violation;
        let violation = violation.unwrap_or_else(|| panic!("{file}: no check noticed"));
        assert_eq!(format!("{:?}", violation.class), class, "{file}: {violation}");
    }
}
