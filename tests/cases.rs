//! `CASES.md` against the sources: every acceptance case and every test of the historical suite
//! has its row, every test named there exists, and every test with a number is named there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The groups that must have tests now: batches (G1), Broadcast (G3), Deliver (G4), blocks (G5),
/// Byzantine behaviour (G6), recovery (G7), the chain interface (G9).
const NOW: [std::ops::RangeInclusive<u32>; 7] =
    [1..=12, 25..=39, 40..=59, 60..=69, 70..=88, 89..=95, 108..=114];
/// Of these, what needs a config update or a change of membership.
const LATER: [u32; 5] = [8, 12, 36, 51, 68];
const LAST: u32 = 114;

/// simplebft's tests (fabric-spec D.10).
const HISTORICAL: [&str; 36] = [
    "TestMultiChain",
    "TestSBFT",
    "TestQuorumSizes",
    "TestSBFTDelayed",
    "TestN1",
    "TestMonotonicViews",
    "TestByzPrimaryN4",
    "TestNewPrimaryHandlingViewChange",
    "TestByzPrimaryBullyingSingleReplica",
    "TestViewChange",
    "TestMsgReordering",
    "TestBacklogReordering",
    "TestViewChangeWithRetransmission",
    "TestViewChangeXset",
    "TestRestart",
    "TestAbdicatingPrimary",
    "TestRestartAfterPrepare",
    "TestRestartAfterCommit",
    "TestRestartAfterCheckpoint",
    "TestErroneousViewChange",
    "TestRestartMissedViewChange",
    "TestFullBacklog",
    "TestHelloMsg",
    "TestViewChangeTimer",
    "TestResendViewChange",
    "TestTenReplicasBombedWithRequests",
    "TestXsetNoByz",
    "TestXsetNoNew",
    "TestXsetByz0",
    "TestXsetByz2",
    "TestMerkleHash",
    "TestSys",
    "sign and verify",
    "codec, persistence",
    "certificate pinning",
    "TestLedgerReadWrite",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// One row of a table: its first cell, what it says, and where it is shown.
struct Row {
    name: String,
    words: String,
    shown: String,
    line: usize,
}

/// The rows of all tables under the heading that starts with `section`, up to the next such heading.
fn rows(text: &str, section: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut inside = false;
    for (index, line) in text.lines().enumerate() {
        if let Some(heading) = line.strip_prefix("# ") {
            inside = heading.starts_with(section);
        }
        let Some(cells) = line.strip_prefix("| ").and_then(|line| line.strip_suffix(" |")) else { continue };
        let cells: Vec<&str> = cells.split(" | ").map(str::trim).collect();
        if !inside || cells[0].starts_with("---") || cells[0] == "case" || cells[0] == "test" {
            continue;
        }
        let [name, words, shown] = cells[..] else {
            panic!("CASES.md:{}: a row has three cells, this has {}", index + 1, cells.len());
        };
        assert!(words.len() > 10 && shown.len() > 10, "CASES.md:{}: an empty cell", index + 1);
        rows.push(Row {
            name: name.to_owned(),
            words: words.to_owned(),
            shown: shown.to_owned(),
            line: index + 1,
        });
    }
    rows
}

/// The tests that a cell names: words in backticks, of which one that ends in `.rs` is the file of
/// those after it.
fn named(row: &Row) -> Vec<(String, String)> {
    let mut file = None;
    let mut tests = Vec::new();
    for (index, word) in row.shown.split('`').enumerate() {
        match index % 2 {
            0 => {}
            _ if word.ends_with(".rs") => file = Some(word.to_owned()),
            _ => {
                let file = file.clone();
                let file = file.unwrap_or_else(|| panic!("CASES.md:{}: {word} has no file", row.line));
                tests.push((file, word.to_owned()));
            }
        }
    }
    tests
}

/// Names of the test functions in a source.
fn tests_in(source: &str) -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    let mut marked = false;
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            marked = true;
        } else if let Some((before, after)) = line.split_once("fn ")
            && (before.is_empty() || before == "async ")
        {
            let name: String = after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if std::mem::take(&mut marked) {
                tests.insert(name);
            }
        } else if !line.starts_with("#[") && !line.starts_with("//") && !line.is_empty() {
            marked = false;
        }
    }
    tests
}

/// The numbers in a test's name: `case_9_...`, `cases_38_and_39_...`, `..._case_71_...`.
fn numbers(test: &str) -> Vec<u32> {
    let mut words = test.split('_').skip_while(|word| *word != "case" && *word != "cases");
    words.next();
    words.take_while(|word| *word == "and" || word.parse::<u32>().is_ok()).flat_map(str::parse).collect()
}

fn sources(directory: &Path, found: &mut BTreeMap<PathBuf, BTreeSet<String>>) {
    for entry in fs::read_dir(directory).expect("a directory of the sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let tests = tests_in(&fs::read_to_string(&path).expect("a source"));
            let path = path.strip_prefix(root()).expect("below the root").to_owned();
            found.insert(path, tests);
        }
    }
}

fn all_sources() -> BTreeMap<PathBuf, BTreeSet<String>> {
    let mut found = BTreeMap::new();
    for directory in ["src", "tests", "sim"] {
        sources(&root().join(directory), &mut found);
    }
    assert!(found.values().map(BTreeSet::len).sum::<usize>() > 300, "these are not all sources");
    found
}

fn cases_md() -> String {
    fs::read_to_string(root().join("tests/CASES.md")).expect("tests/CASES.md")
}

#[test]
fn every_case_has_a_row_and_those_of_this_version_have_tests_that_carry_its_number() {
    let sources = all_sources();
    let mut seen = BTreeSet::new();
    let mut problems = Vec::new();
    for row in rows(&cases_md(), "Acceptance cases") {
        let number: u32 = row.name.parse().expect("the number of a case");
        if !seen.insert(number) {
            problems.push(format!("line {}: case {number} stands twice", row.line));
        }
        let tests = named(&row);
        let later = row.shown.contains("later issue");
        let now = NOW.iter().any(|group| group.contains(&number)) && !LATER.contains(&number);
        if tests.is_empty() && (now || !later) {
            problems.push(format!("line {}: case {number} has no test, and no later issue either", row.line));
        }
        for (file, test) in tests {
            if !numbers(&test).contains(&number) {
                problems.push(format!("line {}: {test} does not carry the number {number}", row.line));
            }
            if !sources.get(Path::new(&file)).is_some_and(|tests| tests.contains(&test)) {
                problems.push(format!("line {}: there is no test {test} in {file}", row.line));
            }
        }
    }
    for number in 1..=LAST {
        if !seen.contains(&number) {
            problems.push(format!("case {number} has no row"));
        }
    }
    assert!(problems.is_empty(), "tests/CASES.md:\n{}", problems.join("\n"));
}

#[test]
fn every_test_that_carries_a_number_is_named_in_its_cases_row() {
    let mut listed = BTreeSet::new();
    for row in rows(&cases_md(), "Acceptance cases") {
        let number: u32 = row.name.parse().expect("the number of a case");
        listed.extend(named(&row).into_iter().map(|(file, test)| (PathBuf::from(file), test, number)));
    }
    let mut problems = Vec::new();
    for (file, tests) in all_sources() {
        for test in tests {
            for number in numbers(&test) {
                if !listed.contains(&(file.clone(), test.clone(), number)) {
                    problems.push(format!("case {number}: {} {test}", file.display()));
                }
            }
        }
    }
    assert!(problems.is_empty(), "not in tests/CASES.md:\n{}", problems.join("\n"));
}

#[test]
fn every_test_of_the_historical_suite_has_a_row_with_a_test_or_a_reason() {
    let sources = all_sources();
    let mut missing: BTreeSet<&str> = HISTORICAL.into();
    let mut problems = Vec::new();
    for row in rows(&cases_md(), "The historical suite") {
        if !missing.remove(row.name.as_str()) {
            problems.push(format!("line {}: {} is not in the suite, or twice", row.line, row.name));
        }
        let tests = named(&row);
        if tests.is_empty() && !row.shown.starts_with("no counterpart: ") {
            problems.push(format!("line {}: {} has neither test nor reason", row.line, row.name));
        }
        for (file, test) in tests {
            if !sources.get(Path::new(&file)).is_some_and(|tests| tests.contains(&test)) {
                problems.push(format!("line {}: there is no test {test} in {file}", row.line));
            }
        }
    }
    problems.extend(missing.into_iter().map(|name| format!("{name} has no row")));
    assert!(problems.is_empty(), "tests/CASES.md:\n{}", problems.join("\n"));
}

#[test]
fn the_parsing_above_finds_what_it_must() {
    assert_eq!(numbers("case_9_the_first"), [9]);
    assert_eq!(numbers("cases_38_and_39_what"), [38, 39]);
    assert_eq!(numbers("test_quorum_sizes_case_71_two_quorums"), [71]);
    assert_eq!(numbers("case_70_a_stream_through_1_4_7"), [70]);
    assert_eq!(numbers("in_any_case_it_ends"), [] as [u32; 0]);
    let source =
        "#[test]\nfn one() {}\n\nfn helper() {}\n#[tokio::test(flavor = \"x\")]\n/// Doc.\nasync fn two() {";
    assert_eq!(tests_in(source), BTreeSet::from(["one".to_owned(), "two".to_owned()]));
    let table = "# T\n| case | what | tests |\n| --- | --- | --- |\n| 7 | words and words | `a.rs`: `b`, `c`; `d.rs`: `e` |\n";
    let rows = rows(table, "T");
    assert_eq!((rows.len(), rows[0].name.as_str(), rows[0].words.as_str()), (1, "7", "words and words"));
    let pair = |file: &str, test: &str| (file.to_owned(), test.to_owned());
    assert_eq!(named(&rows[0]), [pair("a.rs", "b"), pair("a.rs", "c"), pair("d.rs", "e")]);
}
