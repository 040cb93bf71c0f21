//! Ledger directories and block files: what to check, and the report.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use prost::Message as _;
use serde::Serialize;

use super::block::{Fault, Reason};
use super::chain::{Checked, Verifier, number_in};
use crate::ledger::{Ledger, LedgerError};
use crate::proto::common::Block;

/// How strict a check is.
#[derive(Clone, Copy, Debug, Default)]
pub struct VerifyOptions {
    /// An unfinished tail of a ledger is a failure; otherwise it is reported and ignored, as a
    /// running replica may be writing it.
    pub strict_tail: bool,
}

/// Why nothing could be checked at all.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A file or directory cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The genesis file is no block.
    #[error("{} is no genesis block: it is not a serialized common.Block", path.display())]
    NotABlock {
        /// The file.
        path: PathBuf,
    },
    /// The genesis block is no good.
    #[error("genesis block {}: {fault}", path.display())]
    Genesis {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: Fault,
    },
}

/// What was found in one ledger, one directory of block files, or all block files given.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What was checked.
    pub path: PathBuf,
    /// All is well.
    pub ok: bool,
    /// How many blocks were found good, the genesis block included.
    pub blocks: u64,
    /// The fewest signatures that one of them has (without the genesis block).
    pub min_signatures: Option<usize>,
    /// Consenters in the last configuration.
    pub consenters: usize,
    /// Signatures that a block needs in the last configuration.
    pub quorum: usize,
    /// Header hash of the last good block, hex.
    pub last_hash: String,
    /// Bytes after the last whole block of a ledger: one that is being written, or was torn.
    pub unfinished_tail: Option<Tail>,
    /// The first failure; checking stops there.
    pub failure: Option<Failure>,
    /// Header hashes of the good blocks, from number 0.
    #[serde(skip)]
    hashes: Vec<[u8; 32]>,
}

/// Bytes after the last whole block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tail {
    /// The block file.
    pub file: PathBuf,
    /// Where it starts, bytes from the start of the file.
    pub offset: u64,
    /// How many bytes it has.
    pub bytes: u64,
}

/// The first thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The block's number.
    pub block: u64,
    /// What is wrong with it, as a sentence that names the block.
    pub reason: String,
}

/// Checks every ledger and directory among `paths` by itself, and all block files together as one
/// chain; then that no two of them have different blocks of one number.
pub fn verify_paths(
    paths: &[PathBuf],
    genesis: &Path,
    options: VerifyOptions,
) -> Result<Vec<Report>, VerifyError> {
    let verifier = read_genesis(genesis)?;
    let mut reports = Vec::new();
    let mut files = Vec::new();
    for path in paths {
        let kind = std::fs::metadata(path).map_err(io_error(path))?;
        if kind.is_dir() {
            reports.push(verify_directory(path, verifier.clone(), options)?);
        } else if kind.is_file() {
            files.push(path.clone());
        } else {
            let source = io::Error::other("it is neither a directory nor a file");
            return Err(VerifyError::Io { path: path.clone(), source });
        }
    }
    if let [first, ..] = files.as_slice() {
        let name = if files.len() == 1 { first.clone() } else { PathBuf::from("block files") };
        reports.push(verify_files(name, &files, verifier)?);
    }
    find_fork(&mut reports);
    Ok(reports)
}

fn read_genesis(path: &Path) -> Result<Verifier, VerifyError> {
    let bytes = std::fs::read(path).map_err(io_error(path))?;
    let block = Block::decode(bytes.as_slice()).map_err(|_| VerifyError::NotABlock { path: path.into() })?;
    Verifier::from_genesis(&block).map_err(|fault| VerifyError::Genesis { path: path.into(), fault })
}

fn verify_directory(path: &Path, verifier: Verifier, options: VerifyOptions) -> Result<Report, VerifyError> {
    match Ledger::open_read_only(path) {
        Ok(reader) => {
            let mut check = Check::new(path.to_owned(), verifier);
            for block in reader.blocks() {
                match block {
                    Ok((number, bytes)) => check.block(number, &bytes),
                    Err(error) => check.fail(check.next(), format!("block {}: {error}", check.next())),
                }
                if check.report.failure.is_some() {
                    break;
                }
            }
            if let Some(tail) = reader.tail() {
                let (file, offset, bytes) = (tail.file.clone(), tail.offset, tail.bytes);
                if options.strict_tail && check.report.failure.is_none() {
                    let text = format!("unfinished: {bytes} bytes at byte {offset} of {}", file.display());
                    check.fail(check.next(), format!("block {}: {text}", check.next()));
                }
                check.report.unfinished_tail = Some(Tail { file, offset, bytes });
            }
            if check.report.blocks == 0 && check.report.failure.is_none() {
                check.fail(0, format!("block 0: {}", Reason::Missing));
            }
            Ok(check.finish())
        }
        Err(LedgerError::Missing { .. }) => {
            let mut files = Vec::new();
            for entry in std::fs::read_dir(path).map_err(io_error(path))? {
                let file = entry.map_err(io_error(path))?.path();
                // Only N.block: a network's own directory has a genesis.block, and to call that
                // one block good would be taken for a word on the network's ledgers.
                if file.extension().is_some_and(|extension| extension == "block")
                    && file.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok()).is_some()
                {
                    files.push(file);
                }
            }
            if files.is_empty() {
                let mut check = Check::new(path.to_owned(), verifier);
                check.fail(0, "block 0: the directory holds neither a ledger nor N.block files (a replica's ledger is below its data directory: channels/CHANNEL/ledger)".into());
                return Ok(check.finish());
            }
            verify_files(path.to_owned(), &files, verifier)
        }
        Err(error) => {
            let mut check = Check::new(path.to_owned(), verifier);
            check.fail(0, format!("block 0: {error}"));
            Ok(check.finish())
        }
    }
}

/// Checks block files in the order of their numbers. Block 0 may be missing: the genesis block is
/// known.
fn verify_files(name: PathBuf, files: &[PathBuf], verifier: Verifier) -> Result<Report, VerifyError> {
    let mut check = Check::new(name, verifier);
    let mut by_number: BTreeMap<u64, PathBuf> = BTreeMap::new();
    for file in files {
        let bytes = std::fs::read(file).map_err(io_error(file))?;
        let named = || file.file_stem()?.to_str()?.parse().ok();
        let Some(number) = number_in(&bytes).or_else(named) else {
            check.fail(check.next(), format!("{} is not a serialized common.Block", file.display()));
            continue;
        };
        if let Some(other) = by_number.insert(number, file.clone()) {
            let (other, file) = (other.display(), file.display());
            check.fail(number, format!("block {number}: it is in both {other} and {file}"));
        }
    }
    for (number, file) in &by_number {
        if check.report.failure.is_some() {
            break;
        }
        let bytes = std::fs::read(file).map_err(io_error(file))?;
        check.block(*number, &Bytes::from(bytes));
    }
    Ok(check.finish())
}

/// Two chains with proper signatures and different blocks: more than f consenters lied.
fn find_fork(reports: &mut [Report]) {
    for index in 1..reports.len() {
        let (before, after) = reports.split_at_mut(index);
        let report = &mut after[0];
        for other in before {
            let differs = |(left, right)| left != right;
            let fork = report.hashes.iter().zip(&other.hashes).position(differs);
            if let Some(block) = fork.filter(|_| report.failure.is_none()) {
                let fault =
                    Fault { block: block as u64, reason: Reason::Fork(other.path.display().to_string()) };
                report.ok = false;
                report.failure = Some(Failure { block: fault.block, reason: fault.to_string() });
            }
        }
    }
}

/// One chain being checked.
struct Check {
    verifier: Verifier,
    report: Report,
}

impl Check {
    fn new(path: PathBuf, verifier: Verifier) -> Self {
        let report = Report {
            path,
            ok: false,
            blocks: 0,
            min_signatures: None,
            consenters: 0,
            quorum: 0,
            last_hash: String::new(),
            unfinished_tail: None,
            failure: None,
            hashes: vec![*verifier.hash()],
        };
        Self { verifier, report }
    }

    /// The number of the block that comes next.
    fn next(&self) -> u64 {
        if self.report.blocks == 0 { 0 } else { self.verifier.next() }
    }

    /// Checks the block that is stored as `number`.
    fn block(&mut self, number: u64, bytes: &Bytes) {
        let outcome = if number == 0 {
            self.verifier.check_genesis(bytes)
        } else if number != self.verifier.next() {
            Err(Fault { block: self.verifier.next(), reason: Reason::Missing })
        } else {
            self.verifier.check(bytes)
        };
        match outcome {
            Ok(checked) => self.count(checked),
            Err(fault) => self.fail(fault.block, fault.to_string()),
        }
    }

    fn count(&mut self, checked: Checked) {
        self.report.blocks += 1;
        if checked.number > 0 {
            let least = self.report.min_signatures.unwrap_or(usize::MAX);
            self.report.min_signatures = Some(least.min(checked.signatures));
            self.report.hashes.push(checked.hash);
        }
    }

    fn fail(&mut self, block: u64, reason: String) {
        self.report.failure.get_or_insert(Failure { block, reason });
    }

    fn finish(self) -> Report {
        let (consenters, quorum) = self.verifier.consenters_and_quorum();
        Report {
            ok: self.report.failure.is_none(),
            consenters,
            quorum,
            last_hash: hex::encode(self.verifier.hash()),
            ..self.report
        }
    }
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> VerifyError {
    let path = path.to_owned();
    move |source| VerifyError::Io { path, source }
}
