//! Append-only block store of one channel with an index by number and by header hash. Bytes in,
//! bytes out: what a block says is not checked here.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::types::{Digest, Number};

/// How a ledger behaves.
#[derive(Clone, Debug)]
pub struct LedgerOptions {
    /// A block file is closed, and the next begun, when it has this many bytes. Opening reads
    /// the last file whole; raising it makes that slower.
    pub file_bytes: u64,
}

impl Default for LedgerOptions {
    fn default() -> Self {
        Self { file_bytes: 64 << 20 }
    }
}

/// What opening a ledger found.
#[derive(Clone, Debug, Default)]
pub struct LedgerRecovered {
    /// Bytes of a torn tail that were cut off: blocks that were never synced.
    pub cut_bytes: u64,
}

/// Why a ledger cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// An operating system call failed. After a failed write or sync nothing more is written.
    #[error("ledger: cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has the directory.
    #[error("ledger directory {} is in use by another process; stop it first", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The directory was written by another version.
    #[error("ledger directory {} has format {found:?}; this program reads {expected:?} only", path.display())]
    Format {
        /// The directory.
        path: PathBuf,
        /// What its format file says.
        found: String,
        /// What it should say.
        expected: &'static str,
    },
    /// A block that was once synced cannot be read any more.
    #[error("ledger file {} is corrupt at byte {offset} (block {number}): {reason}", file.display())]
    Corrupt {
        /// The block file.
        file: PathBuf,
        /// Byte offset of the block's record.
        offset: u64,
        /// The block's number.
        number: u64,
        /// What is wrong there.
        reason: String,
    },
    /// Blocks are appended in order, without gaps.
    #[error("block {got} cannot follow a ledger of {expected} blocks")]
    OutOfOrder {
        /// The number that comes next.
        expected: u64,
        /// The number given.
        got: u64,
    },
    /// An earlier write or sync failed; what reached the disk since is unknown.
    #[error("ledger in {} has stopped after an earlier failure ({cause}); mend the disk and restart", path.display())]
    Stopped {
        /// The directory.
        path: PathBuf,
        /// The first failure.
        cause: String,
    },
}

/// An open ledger. One process at a time; any number of threads may read while one appends.
#[derive(Debug)]
pub struct Ledger {
    dir: PathBuf,
}

impl Ledger {
    /// Opens the ledger in `dir`, creating an empty one if there is none.
    pub fn open(
        dir: impl AsRef<Path>,
        options: LedgerOptions,
    ) -> Result<(Self, LedgerRecovered), LedgerError> {
        let _ = options;
        Ok((Self { dir: dir.as_ref().to_owned() }, LedgerRecovered::default()))
    }

    /// Opens the ledger in `dir` for reading, without a lock and without changing anything: it may
    /// be in use by a running replica. Blocks appended later are not seen.
    pub fn open_read_only(dir: impl AsRef<Path>) -> Result<LedgerReader, LedgerError> {
        let _ = dir;
        Ok(LedgerReader {})
    }

    /// Appends the next block: visible to readers at once, durable after the next [`Self::sync`].
    pub fn append(&self, number: Number, header_hash: &Digest, block: &Bytes) -> Result<(), LedgerError> {
        let _ = (number, header_hash, block);
        Err(LedgerError::Stopped { path: self.dir.clone(), cause: "not yet built".into() })
    }

    /// Makes every block appended so far durable. Appends go on meanwhile.
    pub fn sync(&self) -> Result<(), LedgerError> {
        Err(LedgerError::Stopped { path: self.dir.clone(), cause: "not yet built".into() })
    }

    /// Count of blocks; the next block's number.
    pub fn height(&self) -> u64 {
        0
    }

    /// Count of blocks that are synced.
    pub fn durable_height(&self) -> u64 {
        0
    }

    /// The block with this number; `None` above the end.
    pub fn block(&self, number: Number) -> Result<Option<Bytes>, LedgerError> {
        let _ = number;
        Ok(None)
    }

    /// The number of the block with this header hash.
    pub fn number_of(&self, header_hash: &Digest) -> Result<Option<Number>, LedgerError> {
        let _ = header_hash;
        Ok(None)
    }
}

/// A ledger as it was at one moment, for reading only.
#[derive(Debug)]
pub struct LedgerReader {}

impl LedgerReader {
    /// Count of whole blocks.
    pub fn height(&self) -> u64 {
        0
    }
}
