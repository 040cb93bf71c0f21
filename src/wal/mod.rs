//! Append-only log of checksummed records: group sync, torn tails, compaction. Bytes only; what
//! they mean is the caller's business.
//!
//! A log is a directory of segment files, `%016x.wal`. One is being written; it was filled with
//! zeros (or another segment's records) and synced before, so that a sync changes no file
//! metadata, which halves its time or better. A segment appears under its name only when its
//! header, and what it starts with, are durable. A *base* segment starts the log anew: older ones are void from the
//! moment it appears, and are removed, or kept as spares to be written again.

mod recovery;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::disk::record::{self, FILE_HEADER, FileHeader, Kind, RECORD_HEADER};
use crate::disk::{Access, Disk, DiskFile, RealDisk};
use crate::plant::{Plant, Plants};

/// How a log behaves.
#[derive(Clone, Debug)]
pub struct WalOptions {
    /// Size of a segment file, bytes, at least 4 KiB. Each is written full of zeros once; raising
    /// it costs disk space (two or three segments) and a longer first start.
    pub segment_bytes: u64,
    /// Longest record that `append` takes, bytes. A longer one than a segment gets a segment of
    /// its own size.
    pub max_record_bytes: usize,
    /// Segments kept for writing again. With as many as there are between two compactions, none
    /// need be filled with zeros anew; each takes `segment_bytes` of disk.
    pub spares: usize,
    /// Rules taken away on purpose, for the tests of the tests.
    pub plants: Plants,
}

impl Default for WalOptions {
    fn default() -> Self {
        Self { segment_bytes: 16 << 20, max_record_bytes: 256 << 20, spares: 2, plants: Plants::NONE }
    }
}

/// What a log held when it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// There was no log in the directory, and one was made.
    pub created: bool,
    /// The records since the last compaction, its live records first, in order.
    pub records: Vec<Bytes>,
    /// Bytes of a torn tail that were cut off: the end of a batch that was never synced. In a
    /// recycled segment, only those that are surely of this log.
    pub cut_bytes: u64,
}

/// Why a log cannot be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// A system call failed. After a failed write or sync the log is closed for good.
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
    /// A segment was written by another version.
    #[error("log file {} has format version {found}; this program reads version {expected} only", file.display())]
    Version {
        /// The segment file.
        file: PathBuf,
        /// Its version.
        found: u32,
        /// The version that can be read.
        expected: u32,
    },
    /// A record that was once synced cannot be read any more. Nothing was changed.
    #[error(
        "log file {} is corrupt at byte {offset}: {reason}; restore it, or wipe this replica's data \
         directory and let it come back as a follower", file.display()
    )]
    Corrupt {
        /// The segment file.
        file: PathBuf,
        /// Where the bad record starts, bytes from the start of the file.
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
    #[error("the log in {} stopped after a failure ({cause}); mend the disk, then restart", path.display())]
    Stopped {
        /// The directory.
        path: PathBuf,
        /// The first failure.
        cause: String,
    },
}

/// An open log. One process at a time; dropping it loses what was appended and not synced.
#[derive(Debug)]
pub struct Wal {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: WalOptions,
    segment: Segment,
    /// Sequence of the next record to be written.
    next: u64,
    /// Files that may become segments, in order.
    spares: Vec<Spare>,
    /// Segments older than the one that is written, back to the base.
    older: Vec<String>,
    pending: Vec<Bytes>,
    bytes_since_compaction: u64,
    /// The first failure.
    failed: Option<String>,
    _lock: Box<dyn Any + Send + Sync>,
}

/// A file of a segment's size that no segment needs.
#[derive(Debug)]
struct Spare {
    name: String,
    /// Surely full of zeros.
    zeros: bool,
}

/// The segment that is being written.
#[derive(Debug)]
struct Segment {
    header: FileHeader,
    name: String,
    file: Arc<dyn DiskFile>,
    len: u64,
    /// Where the next record goes.
    end: u64,
}

impl Wal {
    /// Opens the log in `dir`, creating it if there is none, and reads all its records. A torn
    /// tail is cut off with a warning; corruption is an error and changes nothing.
    pub fn open(dir: impl AsRef<Path>, options: WalOptions) -> Result<(Self, Recovered), WalError> {
        Self::open_on(Arc::new(RealDisk), dir, options)
    }

    /// As [`Self::open`], on another disk than the machine's.
    pub fn open_on(
        disk: Arc<dyn Disk>,
        dir: impl AsRef<Path>,
        options: WalOptions,
    ) -> Result<(Self, Recovered), WalError> {
        recovery::open(disk, dir.as_ref(), options)
    }

    /// Adds a record; it is durable when the next [`Self::sync`] has returned. Buffers in memory
    /// only.
    pub fn append(&mut self, record: &[u8]) -> Result<(), WalError> {
        self.append_shared(Bytes::copy_from_slice(record))
    }

    /// As [`Self::append`], without a copy of the record.
    pub fn append_shared(&mut self, record: Bytes) -> Result<(), WalError> {
        self.check_running()?;
        let limit = self.options.max_record_bytes.min(u32::MAX as usize);
        if record.len() > limit {
            return Err(WalError::TooLong { bytes: record.len(), limit });
        }
        self.bytes_since_compaction += record::encoded_len(record.len()) as u64;
        self.pending.push(record);
        Ok(())
    }

    /// Writes every record appended since the last sync, and syncs once for all of them.
    pub fn sync(&mut self) -> Result<(), WalError> {
        self.check_running()?;
        let pending = std::mem::take(&mut self.pending);
        let outcome = self.write(&pending);
        self.fail_stop(outcome)
    }

    /// Forgets every record, appended and not yet synced ones too, and starts the log anew with
    /// `live`, durable when this returns. A crash on the way leaves the old log or the new one.
    pub fn compact(&mut self, live: &[Bytes]) -> Result<(), WalError> {
        self.check_running()?;
        self.pending.clear();
        let outcome = self.start_anew(live);
        self.fail_stop(outcome)
    }

    /// Bytes appended since the last compaction, or found after opening.
    pub fn bytes_since_compaction(&self) -> u64 {
        self.bytes_since_compaction
    }

    fn check_running(&self) -> Result<(), WalError> {
        match &self.failed {
            None => Ok(()),
            Some(cause) => Err(WalError::Stopped { path: self.dir.clone(), cause: cause.clone() }),
        }
    }

    /// After a failed write or sync nobody knows what is on the disk, and a second sync that
    /// succeeds would prove nothing: the system may have dropped the pages.
    fn fail_stop(&mut self, outcome: Result<(), WalError>) -> Result<(), WalError> {
        if self.options.plants.has(Plant::SyncFailureIgnored) {
            return Ok(());
        }
        if let Err(error) = &outcome {
            self.failed = Some(error.to_string());
        }
        outcome
    }

    fn write(&mut self, mut records: &[Bytes]) -> Result<(), WalError> {
        while !records.is_empty() {
            let room = self.segment.len - self.segment.end;
            let fit = count_that_fit(records, room);
            if fit == 0 {
                // The old segment is synced, and stays as it is.
                let capacity = self.options.segment_bytes - FILE_HEADER as u64;
                let fit = count_that_fit(records, capacity).max(1);
                let file_name = self.segment.name.clone();
                self.start_segment(&records[..fit], false)?;
                self.older.push(file_name);
                records = &records[fit..];
                continue;
            }
            let size: usize = records[..fit].iter().map(|record| record::encoded_len(record.len())).sum();
            let mut bytes = Vec::with_capacity(size + RECORD_HEADER);
            for (index, payload) in records[..fit].iter().enumerate() {
                let sequence = self.next + index as u64;
                record::encode(&mut bytes, &self.segment.header, sequence, self.next, payload);
            }
            let end = self.segment.end + bytes.len() as u64;
            put_terminator(&mut bytes, self.segment.len - end);
            let path = self.dir.join(&self.segment.name);
            self.segment.file.write_all_at(&bytes, self.segment.end).map_err(io_error("write", &path))?;
            if !self.options.plants.has(Plant::LogNotSynced) {
                self.segment.file.sync().map_err(io_error("sync", &path))?;
            }
            self.segment.end = end;
            self.next += fit as u64;
            records = &records[fit..];
        }
        Ok(())
    }

    /// Goes on in a new segment that starts with `records`.
    fn start_segment(&mut self, records: &[Bytes], base: bool) -> Result<(), WalError> {
        let header = FileHeader {
            kind: Kind::Log,
            id: self.segment.header.id + 1,
            first: self.next,
            initial: records.len() as u64,
            salt: record::random_salt(),
            base,
            recycled: false,
        };
        self.segment =
            create_segment(&*self.disk, &self.dir, &self.options, &mut self.spares, header, records)?;
        self.next += records.len() as u64;
        Ok(())
    }

    fn start_anew(&mut self, live: &[Bytes]) -> Result<(), WalError> {
        let mut void = std::mem::take(&mut self.older);
        void.push(self.segment.name.clone());
        self.start_segment(live, true)?;
        self.bytes_since_compaction = 0;
        retire(&*self.disk, &self.dir, &self.options, &mut self.spares, &void)
    }
}

/// Makes the segment that `header` describes (except for `recycled`, which is found here), with
/// `records` in it: durable with its name when this returns.
fn create_segment(
    disk: &dyn Disk,
    dir: &Path,
    options: &WalOptions,
    spares: &mut Vec<Spare>,
    header: FileHeader,
    records: &[Bytes],
) -> Result<Segment, WalError> {
    let needed: usize = records.iter().map(|record| record::encoded_len(record.len())).sum();
    let needed = (FILE_HEADER + needed) as u64;
    let spare = if needed <= options.segment_bytes { spares.pop() } else { None };
    let spare = match spare {
        Some(spare) => spare,
        None => {
            fill_file(disk, &dir.join(NEW), needed.max(options.segment_bytes))?;
            Spare { name: NEW.into(), zeros: true }
        }
    };
    let path = dir.join(&spare.name);
    let header = FileHeader { recycled: !spare.zeros, ..header };
    let file = disk.open(&path, Access::Write).map_err(io_error("open", &path))?;
    let len = file.len().map_err(io_error("read the length of", &path))?;
    let mut bytes = header.encode().to_vec();
    for (index, payload) in records.iter().enumerate() {
        record::encode(&mut bytes, &header, header.first + index as u64, header.first, payload);
    }
    let end = bytes.len() as u64;
    put_terminator(&mut bytes, len - end);
    file.write_all_at(&bytes, 0).map_err(io_error("write", &path))?;
    file.sync().map_err(io_error("sync", &path))?;
    let name = segment_name(header.id);
    disk.rename(&path, &dir.join(&name)).map_err(io_error("rename", &path))?;
    disk.sync_dir(dir).map_err(io_error("sync", dir))?;
    Ok(Segment { header, name, file, len, end })
}

/// Makes spares of void segments, or removes them. Durable before any of them is written again:
/// a name that came back after a crash must not show another segment's header.
fn retire(
    disk: &dyn Disk,
    dir: &Path,
    options: &WalOptions,
    spares: &mut Vec<Spare>,
    void: &[String],
) -> Result<(), WalError> {
    for name in void {
        let path = dir.join(name);
        let file = disk.open(&path, Access::Read).map_err(io_error("open", &path))?;
        let len = file.len().map_err(io_error("read the length of", &path))?;
        if spares.len() < options.spares && len == options.segment_bytes {
            let spare = Spare { name: format!("{name}{SPARE_SUFFIX}"), zeros: false };
            disk.rename(&path, &dir.join(&spare.name)).map_err(io_error("rename", &path))?;
            spares.push(spare);
        } else {
            disk.remove(&path).map_err(io_error("remove", &path))?;
        }
    }
    disk.sync_dir(dir).map_err(io_error("sync", dir))
}

/// How many of the first records fit into `room` bytes.
fn count_that_fit(records: &[Bytes], room: u64) -> usize {
    let mut left = room;
    let fits = |record: &&Bytes| match left.checked_sub(record::encoded_len(record.len()) as u64) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    };
    records.iter().take_while(fits).count()
}

/// Zeros where the next record will be, so that old bytes there do not look like a torn one.
fn put_terminator(bytes: &mut Vec<u8>, room: u64) {
    let zeros = RECORD_HEADER.min(usize::try_from(room).unwrap_or(RECORD_HEADER));
    bytes.resize(bytes.len() + zeros, 0);
}

/// A file full of zeros, synced.
fn fill_file(disk: &dyn Disk, path: &Path, len: u64) -> Result<(), WalError> {
    const CHUNK: u64 = 1 << 20;
    let file = disk.open(path, Access::Create).map_err(io_error("create", path))?;
    let zeros = vec![0; CHUNK.min(len) as usize];
    let mut position = 0;
    while position < len {
        let chunk = CHUNK.min(len - position) as usize;
        file.write_all_at(&zeros[..chunk], position).map_err(io_error("write", path))?;
        position += chunk as u64;
    }
    file.sync().map_err(io_error("sync", path))
}

fn segment_name(id: u64) -> String {
    format!("{id:016x}{SEGMENT_SUFFIX}")
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WalError {
    move |source| WalError::Io { action, path: path.to_owned(), source }
}

const SEGMENT_SUFFIX: &str = ".wal";
const SPARE_SUFFIX: &str = ".spare";
/// A spare that was never a segment.
const FRESH_SPARE: &str = "zeros.spare";
/// A file that is being filled.
const NEW: &str = "new.tmp";
const LOCK: &str = "lock";
