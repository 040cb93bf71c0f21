//! The arrows between rooms, as a test: a module may import what this table gives it, and nothing
//! else of ours. A wrong arrow fails here, with file, line and the arrow.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Room, and the rooms it may import. Every room under `src/` has its line.
const ARROWS: &[(&str, &[&str])] = &[
    ("plant", &[]),
    ("types", &[]),
    ("id_map", &["types"]),
    ("dedup_window", &["types"]),
    ("proto", &[]),
    ("metrics", &[]),
    ("disk", &["metrics"]),
    ("phases", &["types"]),
    ("wal", &["disk", "plant"]),
    ("header", &["types"]),
    ("pbft", &["types", "header", "id_map", "dedup_window", "plant"]),
    ("intake", &["types", "id_map", "dedup_window", "plant"]),
    ("crypto", &["types", "proto"]),
    ("msp", &["types", "proto", "crypto"]),
    ("policy", &["types", "proto", "crypto", "msp"]),
    ("wire", &["types", "header", "proto", "crypto", "pbft", "plant"]),
    ("channel_config", &["types", "header", "dedup_window", "proto", "crypto", "msp", "policy", "wire"]),
    ("genesis", &["types", "header", "proto", "crypto", "msp", "policy", "wire", "channel_config"]),
    ("msg_processor", &["types", "header", "proto", "crypto", "msp", "policy", "wire", "channel_config"]),
    ("ledger", &["types", "header", "proto", "disk"]),
    ("transport", &["types", "metrics"]),
    // Only with the feature of this name.
    ("liar", &["types", "header", "wire", "pbft", "transport"]),
    (
        "consenter",
        &[
            "types",
            "header",
            "dedup_window",
            "plant",
            "liar",
            "proto",
            "crypto",
            "wire",
            "channel_config",
            "msg_processor",
            "phases",
            "pbft",
            "intake",
            "disk",
            "wal",
            "ledger",
            "transport",
            "metrics",
        ],
    ),
    (
        "registrar",
        &[
            "types",
            "header",
            "proto",
            "crypto",
            "wire",
            "channel_config",
            "msg_processor",
            "ledger",
            "transport",
            "consenter",
            "metrics",
        ],
    ),
    ("node_config", &["types"]),
    (
        "service",
        &[
            "types",
            "header",
            "proto",
            "crypto",
            "wire",
            "msp",
            "policy",
            "channel_config",
            "msg_processor",
            "ledger",
            "consenter",
            "registrar",
            "phases",
            "node_config",
            "metrics",
        ],
    ),
    (
        "node",
        &[
            "types",
            "proto",
            "crypto",
            "wire",
            "channel_config",
            "msg_processor",
            "ledger",
            "transport",
            "consenter",
            "registrar",
            "service",
            "node_config",
            "metrics",
        ],
    ),
    ("client", &["types", "proto", "crypto"]),
    // Measures from outside, as a client; what the run was made under is in the genesis block and
    // the nodes' settings.
    ("load", &["types", "proto", "crypto", "client", "channel_config", "node_config"]),
    // Whoever checks shares no code with what it checks.
    ("verify", &["proto", "ledger"]),
    (
        "cli",
        &[
            "types",
            "proto",
            "client",
            "load",
            "genesis",
            "crypto",
            "verify",
            "node",
            "node_config",
            "channel_config",
            "registrar",
            "metrics",
            "liar",
        ],
    ),
];

/// Words that must not occur in these rooms outside of comments.
const BANNED: &[(&str, &[&str])] = &[
    ("pbft", PURE),
    ("intake", PURE),
    ("header", PURE),
    ("types", PURE),
    ("wal", &["tokio", "prost", "pbft"]),
    ("ledger", &["tokio"]),
    ("verify", &["crate::header", "crate::wire", "crate::crypto", "crate::channel_config", "crate::pbft"]),
];

/// A state machine does no I/O and knows no clock, chance, thread or random order.
const PURE: &[&str] = &[
    "tokio",
    "prost",
    "crate::proto",
    "std::fs",
    "std::net",
    "std::thread",
    "std::io",
    "Instant",
    "SystemTime",
    "HashMap",
    "HashSet",
    "rand::",
    "quinn",
    "async ",
    ".await",
];

/// Only these files may vouch for a value; a test module inside `pbft` stands in for the checker.
const CHECKERS: &[&str] = &["src/wire/checker.rs", "src/types.rs", "sim/src/signing.rs"];

#[test]
fn every_arrow_between_rooms_is_in_the_table() {
    let table: BTreeMap<&str, BTreeSet<&str>> =
        ARROWS.iter().map(|(room, may)| (*room, may.iter().copied().collect())).collect();
    let mut wrong = Vec::new();
    for source in sources("src") {
        let Some(may) = table.get(source.room.as_str()) else {
            if !matches!(source.room.as_str(), "lib" | "main") {
                wrong.push(format!(
                    "{}: room `{}` has no line in the table",
                    source.path.display(),
                    source.room
                ));
            }
            continue;
        };
        for (line, text) in &source.code {
            for target in imports(text) {
                if target != source.room && table.contains_key(target) && !may.contains(target) {
                    wrong.push(format!(
                        "{}:{line}: {} may not import {target}",
                        source.path.display(),
                        source.room
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "wrong arrows:\n{}", wrong.join("\n"));
}

#[test]
fn the_table_has_no_cycle() {
    // Rooms are listed bottom up: an arrow to a later line would close a circle.
    let order: BTreeMap<&str, usize> = ARROWS.iter().enumerate().map(|(at, (room, _))| (*room, at)).collect();
    for (at, (room, may)) in ARROWS.iter().enumerate() {
        for target in *may {
            assert!(order[target] < at, "{room} imports {target}, which stands above it");
        }
    }
}

#[test]
fn pure_rooms_have_no_words_of_the_outside_world() {
    let mut wrong = Vec::new();
    for source in sources("src") {
        for (room, words) in BANNED {
            if source.room != *room {
                continue;
            }
            for (line, text) in &source.code {
                for word in words.iter().filter(|word| text.contains(**word)) {
                    wrong.push(format!("{}:{line}: `{word}` in {room}: {text}", source.path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_checkers_vouch() {
    let mut wrong = Vec::new();
    for source in sources("src").into_iter().chain(sources("sim/src")) {
        if CHECKERS.iter().any(|checker| source.path.ends_with(checker)) {
            continue;
        }
        for (line, text) in source.code.iter().filter(|(_, text)| text.contains("Verified::vouch")) {
            wrong.push(format!("{}:{line}: {text}", source.path.display()));
        }
    }
    assert!(wrong.is_empty(), "Verified::vouch outside a checker:\n{}", wrong.join("\n"));
}

#[test]
fn the_import_reader_sees_what_it_should() {
    assert_eq!(imports("use crate::wire::message;"), ["wire"]);
    assert_eq!(
        imports("use crate::{pbft::Replica, types::{View, Place}, header};"),
        ["pbft", "types", "header"]
    );
    assert_eq!(imports("let x = crate::header::sha256(b) + crate::types::f();"), ["header", "types"]);
}

struct Source {
    path: PathBuf,
    room: String,
    /// Line number and text, without comments and without test modules.
    code: Vec<(usize, String)>,
}

fn sources(root: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(root);
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                // Files of tests may reach for what they test with.
                let name = path.file_stem().unwrap().to_string_lossy().into_owned();
                if name == "tests"
                    || name.ends_with("_tests")
                    || path.components().any(|part| part.as_os_str() == "tests")
                {
                    continue;
                }
                found.push(read(&root, path));
            }
        }
    }
    assert!(!found.is_empty(), "there are sources under {}", root.display());
    found
}

fn read(root: &Path, path: PathBuf) -> Source {
    let text = std::fs::read_to_string(&path).unwrap();
    let inside = path.strip_prefix(root).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_string_lossy();
    let room = first.trim_end_matches(".rs").to_owned();
    let mut code = Vec::new();
    let mut test_module = None;
    let mut depth = 0i64;
    for (index, line) in text.lines().enumerate() {
        let line = line.split("//").next().unwrap_or_default();
        if line.contains("#[cfg(test)]") {
            test_module = Some(depth);
        }
        let opens = line.matches('{').count() as i64 - line.matches('}').count() as i64;
        if test_module.is_none() && !line.trim().is_empty() {
            code.push((index + 1, line.to_owned()));
        }
        depth += opens;
        // The module (or `mod tests;`) behind the attribute is over.
        if let Some(outer) = test_module
            && depth <= outer
            && !line.contains("#[cfg(test)]")
            && (opens != 0 || line.trim_end().ends_with(';'))
        {
            test_module = None;
        }
    }
    Source { path, room, code }
}

/// The rooms that a line of code names: after `crate::` or `sbft::`, or in a top-level
/// `use crate::{a, b}` list.
fn imports(line: &str) -> Vec<&str> {
    let mut rooms = Vec::new();
    for prefix in ["crate::", "sbft::"] {
        for (at, _) in line.match_indices(prefix) {
            if line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let rest = &line[at + prefix.len()..];
            if let Some(list) = rest.strip_prefix('{') {
                let mut depth = 0;
                for part in list.split_inclusive([',', '{', '}']) {
                    let name = part.trim().trim_end_matches([',', '{', '}']);
                    let name = name.split("::").next().unwrap_or_default().trim();
                    if depth == 0 && !name.is_empty() {
                        rooms.push(name);
                    }
                    depth += part.matches('{').count() as i32 - part.matches('}').count() as i32;
                    if depth < 0 {
                        break;
                    }
                }
            } else {
                rooms.push(rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default());
            }
        }
    }
    rooms
}
