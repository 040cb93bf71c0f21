//! Every fuzz target on its corpus, and on thousands of mutations of it: no panic, and nothing that
//! the target asserts is false. A finding of a fuzzer becomes a file in the corpus.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use sbft::plant::{Plant, Plants};
use sbft_sim::fuzzing::{self, Target, mutated};

/// The corpus of a target: file and content, in order of name.
fn corpus(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target.name);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), std::fs::read(path).expect("a file"))).collect()
}

fn replay(name: &str) {
    let target = fuzzing::named(name).expect("a target of this name");
    let corpus = corpus(target);
    assert!(corpus.len() >= 7, "{name} has only {} files", corpus.len());
    for (path, data) in &corpus {
        guarded(target, data, &|| path.display().to_string());
    }
    for round in 0..target.mutations {
        let pick = |nth: u64| &corpus[((round * 31 + nth * 17) % corpus.len() as u64) as usize];
        let (path, data) = pick(0);
        let changed = mutated(data, &pick(round % 5 + 1).1, round);
        guarded(target, &changed, &|| format!("mutation {round} of {}", path.display()));
    }
}

/// Runs the target; what it panics with is kept together with where it came from and the bytes.
fn guarded(target: &Target, data: &[u8], from: &dyn Fn() -> String) {
    if let Err(cause) = catch_unwind(AssertUnwindSafe(|| (target.run)(data))) {
        let text = cause
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| cause.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_default();
        let hex: String = data.iter().take(2000).map(|byte| format!("{byte:02x}")).collect();
        panic!("{}: {}\n{text}\nbytes: {hex}", target.name, from());
    }
}

macro_rules! replays {
    ($($test:ident: $target:literal,)*) => {
        $(#[test]
        fn $test() {
            replay($target);
        })*

        #[test]
        fn every_target_is_replayed() {
            let replayed = [$($target),*];
            for target in &fuzzing::TARGETS {
                assert!(replayed.contains(&target.name), "{}", target.name);
            }
        }
    };
}

replays! {
    frames_of_the_ordering_plane: "message",
    log_records: "record",
    candidates: "candidate",
    envelopes: "envelope",
    blocks: "block",
    frames_of_the_repair_stream: "repair",
    config_blocks: "config",
    directories_of_a_log: "log_files",
    logs_through_writes_and_crashes: "log_story",
    directories_of_a_ledger: "ledger_files",
    ledgers_through_blocks_and_crashes: "ledger_story",
    a_liar_that_does_as_the_bytes_say: "hostile",
}

/// A corpus that every decoder refuses would test its first line only.
#[test]
fn the_corpora_hold_values_that_decode() {
    use bytes::Bytes;
    use sbft::wire;
    let good = |name: &str, decodes: &dyn Fn(Bytes) -> bool| {
        let corpus = corpus(fuzzing::named(name).expect("a target"));
        let good = corpus.iter().filter(|(_, data)| decodes(data.clone().into())).count();
        assert!(good >= 4, "{good} of {} in {name} decode", corpus.len());
    };
    good("message", &|data| wire::message::decode(data).is_ok());
    good("record", &|data| wire::record::decode(data).is_ok());
    good("candidate", &|data| wire::candidate::decode(data, &wire::candidate::Limits::NONE).is_ok());
    good("envelope", &|data| wire::envelope::Parsed::from_frame(data).is_ok());
    good("block", &|data| wire::block::decode(data, &fuzzing::decoders::CONSENTERS).is_ok());
    good("repair", &|data| wire::repair::decode(data).is_ok());
}

/// A liar that hardly acts, or a network that hardly notices, would test nothing.
#[test]
fn hostile_scripts_reach_the_cores() {
    let target = fuzzing::named("hostile").expect("a target");
    let (mut acts, mut blocks, mut views, mut accused) = (0, 0, 0, 0);
    for (_, data) in corpus(target) {
        let report = fuzzing::hostile::report(&data, Plants::NONE);
        acts += report.attacks.get("scripted").copied().unwrap_or(0);
        blocks += report.seen.blocks;
        views += u64::from(report.seen.highest_view > 0);
        accused += report.seen.accusations;
    }
    println!("{acts} acts, {blocks} blocks, {views} runs with a view change, {accused} accusations");
    assert!(acts > 500 && blocks > 300 && views > 5 && accused > 5);
}

/// With a rule gone, the same scripts, or some mutations of them, break something.
#[test]
fn hostile_scripts_find_bugs_that_were_planted() {
    let corpus: Vec<_> =
        corpus(fuzzing::named("hostile").expect("a target")).into_iter().map(|(_, d)| d).collect();
    for plant in [
        Plant::QuorumTooSmall,
        Plant::DuplicateVotesCounted,
        Plant::CommitCountsAnyDigest,
        Plant::ProposalByAnyone,
        Plant::WindowNotEnforced,
        Plant::VotesUnbounded,
    ] {
        let plants = Plants::NONE.with(plant);
        let changed = (0..400u64).map(|round| {
            let pick = |nth: u64| &corpus[((round + nth) % corpus.len() as u64) as usize];
            mutated(pick(0), pick(1), round)
        });
        let mut all = corpus.iter().cloned().chain(changed);
        let broken = all.find_map(|data| fuzzing::hostile::report(&data, plants).violation);
        println!("{plant:?}: {:?}", broken.as_ref().map(ToString::to_string));
        assert!(broken.is_some(), "{plant:?} was not noticed");
    }
}

#[test]
fn every_target_has_its_binary_for_a_fuzzer() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = std::fs::read_to_string(fuzz.join("Cargo.toml")).expect("its manifest");
    let readme = std::fs::read_to_string(fuzz.join("README.md")).expect("its README");
    for target in &fuzzing::TARGETS {
        let name = target.name;
        let binary = format!("name = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"");
        assert!(manifest.contains(&binary), "{name} has no binary in Cargo.toml");
        let source =
            std::fs::read_to_string(fuzz.join(format!("fuzz_targets/{name}.rs"))).expect("its source");
        assert!(source.contains("fuzz_target!(|data: &[u8]| sbft_sim::fuzzing::"), "{name}");
        assert!(readme.contains(&format!("`{name}`")), "{name} is not in the README");
    }
}
