//! The story of each attack, as a text that a reviewer can read: sim/tests/golden/NAME.txt is the
//! transcript of sim/scenarios/attacks/NAME.toml.
//!
//! After a change that is meant to tell another story: `UPDATE_GOLDEN=1 cargo test -p sbft-sim
//! --test golden`, and read what changed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use sbft_sim::plan::Show;
use sbft_sim::report::golden::transcript;
use sbft_sim::scenario::Scenario;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The names of a folder's files with this ending.
fn names(folder: &Path, ending: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries
        .map(|entry| entry.expect("a folder that can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == ending))
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect()
}

fn told(name: &str) -> String {
    let file = folder("scenarios/attacks").join(format!("{name}.toml"));
    let scenario = Scenario::read(&file).unwrap_or_else(|error| panic!("{error}"));
    let report = scenario.plan.run(Show { record: true, ..Show::default() });
    let about: String =
        scenario.about.iter().flat_map(|text| text.lines()).map(|line| format!("# {line}\n")).collect();
    about + &transcript(&report.recording.expect("it was to be kept"))
}

#[test]
fn each_attack_tells_the_story_that_was_reviewed() {
    let golden = folder("tests/golden");
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    if update {
        fs::create_dir_all(&golden).expect("a folder for the transcripts");
    }
    let scenarios = names(&folder("scenarios/attacks"), "toml");
    assert!(!scenarios.is_empty(), "there are attacks");
    let mut wrong = Vec::new();
    for name in &scenarios {
        let (file, text) = (golden.join(format!("{name}.txt")), told(name));
        if update {
            fs::write(&file, &text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        } else if fs::read_to_string(&file).unwrap_or_default() != text {
            wrong.push(format!("{name}.txt should be\n{text}"));
        }
    }
    let stale: Vec<String> = names(&golden, "txt").difference(&scenarios).cloned().collect();
    assert!(stale.is_empty(), "transcripts of attacks that are no more: {}", stale.join(", "));
    assert!(
        wrong.is_empty(),
        "{} transcripts differ; if that is meant: UPDATE_GOLDEN=1 cargo test -p sbft-sim --test golden\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
