//! Bodies of the fuzz targets: bytes in, and either nothing happens or it panics.
//!
//! Each is an ordinary function, so that `cargo test` replays the corpora in `sim/fuzz/corpus`
//! and some thousands of mutations of them without any fuzzer ([`mutated`]); `sim/fuzz` hands the
//! same functions to libFuzzer. A function that finds something wrong panics and says what.
//!
//! * [`decoders`]: everything that reads bytes of a peer, a client or an administrator.
//! * [`storage`]: log and ledger, opened on files that hold anything, and carried through
//!   scripts of writes and crashes beside a plain model.
//! * [`hostile`]: a network of four with a liar whose every act the bytes decide, under all checks.

pub mod corpus;
pub mod decoders;
pub mod hostile;
mod reader;
pub mod storage;

use crate::draw::{Draws, Purpose};

pub use reader::Reader;

/// A fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: that of its binary in `sim/fuzz` and of its folder in `sim/fuzz/corpus`.
    pub name: &'static str,
    /// Panics on a finding.
    pub run: fn(&[u8]),
    /// How many mutations of its corpus `cargo test` runs: fewer where one takes long.
    pub mutations: u64,
}

const fn target(name: &'static str, run: fn(&[u8]), mutations: u64) -> Target {
    Target { name, run, mutations }
}

/// All of them.
pub const TARGETS: [Target; 12] = [
    target("message", decoders::message, 20_000),
    target("record", decoders::record, 15_000),
    target("candidate", decoders::candidate, 15_000),
    target("envelope", decoders::envelope, 15_000),
    target("block", decoders::block, 15_000),
    target("repair", decoders::repair, 15_000),
    target("config", decoders::config, 600),
    target("log_files", storage::log_files, 5000),
    target("log_story", storage::log_story, 5000),
    target("ledger_files", storage::ledger_files, 5000),
    target("ledger_story", storage::ledger_story, 5000),
    target("hostile", hostile::run, 600),
];

/// The target of this name.
pub fn named(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// `data` changed in one to four places, always the same for the same `round`: bits and bytes
/// flipped, odd values put in, pieces cut out, doubled or taken from `other`.
pub fn mutated(data: &[u8], other: &[u8], round: u64) -> Vec<u8> {
    /// Values that lengths and counts go wrong at.
    const ODD: [&[u8]; 8] = [
        &[0],
        &[0x7f],
        &[0x80],
        &[0xff],
        &[0xff; 4],
        &[0xff; 8],
        &[0x80, 0],
        &[0xff, 0xff, 0xff, 0xff, 0x0f],
    ];
    let draws = Draws::new(round);
    let mut bytes = data.to_vec();
    for nth in 0..1 + draws.below(Purpose::Mutation, &[0], 4) {
        let below =
            |what: u64, bound: usize| draws.below(Purpose::Mutation, &[1, nth, what], bound as u64) as usize;
        let at = below(1, bytes.len().max(1));
        let end = (at + 1 + below(2, 24)).min(bytes.len());
        match below(0, 8) {
            _ if bytes.is_empty() => bytes.push(below(3, 256) as u8),
            0 => bytes[at] ^= 1 << below(3, 8),
            1 => bytes[at] = below(3, 256) as u8,
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            5 => drop(bytes.splice(at..end, ODD[below(3, ODD.len())].iter().copied())),
            6 if !other.is_empty() => {
                let from = below(4, other.len());
                let to = (from + 1 + below(5, 200)).min(other.len());
                bytes.splice(at..end, other[from..to].iter().copied());
            }
            _ => {
                let random = (0..below(3, 12) as u64).map(|which| below(10 + which, 256) as u8);
                bytes.splice(at..at, random);
            }
        }
    }
    bytes
}
