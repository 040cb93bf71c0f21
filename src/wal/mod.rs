//! Append-only log of checksummed records: group sync, torn tails, compaction. Bytes only; what
//! they mean is the caller's business.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

/// How a log behaves.
#[derive(Clone, Debug)]
pub struct WalOptions {
    /// Size of a segment file, bytes. Each is written full of zeros once, so that a sync later
    /// changes no file metadata; raising it costs disk space and a longer first start.
    pub segment_bytes: u64,
    /// Longest record that `append` takes, bytes.
    pub max_record_bytes: usize,
}

impl Default for WalOptions {
    fn default() -> Self {
        Self { segment_bytes: 16 << 20, max_record_bytes: 256 << 20 }
    }
}

/// What a log held when it was opened.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// The records since the last compaction, its live records first, in order.
    pub records: Vec<Bytes>,
    /// Bytes of a torn tail that were cut off: the end of a batch that was never synced.
    pub cut_bytes: u64,
}

/// Why a log cannot be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// An operating system call failed. After a failed write or sync the log is closed for good.
    #[error("log: cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has the directory.
    #[error("log directory {} is in use by another process; stop it first", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// A record that was once synced cannot be read any more.
    #[error("log file {} is corrupt at byte {offset}: {reason}", file.display())]
    Corrupt {
        /// The segment file.
        file: PathBuf,
        /// Byte offset of the first bad byte's record.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// The record is longer than the options allow.
    #[error("a log record of {bytes} bytes is over the limit of {limit}")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// An earlier write or sync failed; what reached the disk since is unknown.
    #[error("log in {} has stopped after an earlier failure ({cause}); mend the disk and restart", path.display())]
    Stopped {
        /// The directory.
        path: PathBuf,
        /// The first failure.
        cause: String,
    },
}

/// An open log. One process at a time.
#[derive(Debug)]
pub struct Wal {
    dir: PathBuf,
}

impl Wal {
    /// Opens the log in `dir`, creating it if there is none, and reads all its records.
    pub fn open(dir: impl AsRef<Path>, options: WalOptions) -> Result<(Self, Recovered), WalError> {
        let _ = options;
        Ok((Self { dir: dir.as_ref().to_owned() }, Recovered::default()))
    }

    /// Adds a record; it is durable when the next `sync` has returned. Buffers in memory only.
    pub fn append(&mut self, record: &[u8]) -> Result<(), WalError> {
        let _ = record;
        Err(WalError::Stopped { path: self.dir.clone(), cause: "not yet built".into() })
    }

    /// Writes every record appended since the last sync, and syncs once for all of them.
    pub fn sync(&mut self) -> Result<(), WalError> {
        Err(WalError::Stopped { path: self.dir.clone(), cause: "not yet built".into() })
    }

    /// Forgets every record (appended and not yet synced ones too) and starts a new segment with
    /// `live` instead, durable when this returns. A crash on the way leaves the old log or the new one.
    pub fn compact(&mut self, live: &[Bytes]) -> Result<(), WalError> {
        let _ = live;
        Err(WalError::Stopped { path: self.dir.clone(), cause: "not yet built".into() })
    }

    /// Bytes appended since the last compaction (or that recovery found after it).
    pub fn bytes_since_compaction(&self) -> u64 {
        0
    }
}
