//! Append-only block store of one channel with an index by number and by header hash. Bytes in,
//! bytes out: what a block says is not checked here.
//!
//! A ledger is a directory: `format` names the version, `blocks_000000.bin` and so on hold the
//! blocks (see [`crate::disk::record`]; a payload is the header hash and then the block), and
//! `blocks_000000.idx` and so on the index of each file that is full. Only the last block file
//! is written, and what it holds is indexed in memory, from reading it when the ledger is opened.
//! An index is made from its block file whenever it is missing or wrong.

mod index;
mod reader;
mod recovery;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;

use crate::disk::record::{self, FILE_HEADER, FileHeader, Kind, RECORD_HEADER};
use crate::disk::{self, Access, Disk, DiskFile, RealDisk};
use crate::types::{Digest, Number};
use index::Index;
pub use reader::{Blocks, LedgerReader, UnfinishedTail};

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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerRecovered {
    /// There was no ledger in the directory, and one was made.
    pub created: bool,
    /// Bytes of a torn tail that were cut off: blocks that were never synced.
    pub cut_bytes: u64,
}

/// Why a ledger cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// A system call failed. After a failed write or sync nothing more is written.
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
    /// The directory holds no ledger.
    #[error("there is no ledger in {} (no file `format`)", path.display())]
    Missing {
        /// The directory.
        path: PathBuf,
    },
    /// The directory was written by another version, or is something else.
    #[error("{} says {found:?}; this program reads {expected:?} only", path.display())]
    Format {
        /// The file that says it.
        path: PathBuf,
        /// What it says.
        found: String,
        /// What it should say.
        expected: String,
    },
    /// A block that was once synced cannot be read any more. Nothing was changed.
    #[error(
        "ledger file {} is corrupt at byte {offset} ({what}): {reason}; restore it, or wipe this replica's \
         data directory and let it come back as a follower", file.display()
    )]
    Corrupt {
        /// The block file.
        file: PathBuf,
        /// Where the bad record starts, bytes from the start of the file.
        offset: u64,
        /// Which block it is, or that it is the file's header.
        what: String,
        /// What is wrong there.
        reason: String,
    },
    /// Blocks are appended in order, without gaps.
    #[error("block {got} cannot be appended: the next block is {expected}")]
    OutOfOrder {
        /// The number that comes next.
        expected: u64,
        /// The number given.
        got: u64,
    },
    /// No block may be as long as this.
    #[error("a block of {bytes} bytes is too long for a ledger")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// An earlier write or sync failed; what reached the disk since is unknown.
    #[error("the ledger in {} stopped after a failure ({cause}); mend the disk, then restart", path.display())]
    Stopped {
        /// The directory.
        path: PathBuf,
        /// The first failure.
        cause: String,
    },
}

/// An open ledger. One process at a time; any number of threads may read while one appends.
///
/// Memory: the index of the last file (about 100 bytes for each of its blocks), and a few words
/// for each full file.
#[derive(Debug)]
pub struct Ledger {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: LedgerOptions,
    /// Held while a block is appended.
    writer: Mutex<Writer>,
    /// What readers see; locked for moments only.
    state: RwLock<State>,
    /// Count of blocks that are synced.
    durable: AtomicU64,
    /// Full files used of late, newest first.
    cache: Mutex<VecDeque<(u64, Arc<FullFile>)>>,
    _lock: Box<dyn Any + Send + Sync>,
}

#[derive(Debug, Default)]
struct Writer {
    /// The first failure.
    failed: Option<String>,
}

#[derive(Debug)]
struct State {
    /// Number of the first block of each full file; a file's place is its number.
    full: Vec<u64>,
    active: ActiveFile,
}

/// The last block file.
#[derive(Clone, Debug)]
struct ActiveFile {
    header: FileHeader,
    file: Arc<dyn DiskFile>,
    /// Where the next record goes.
    end: u64,
    entries: Vec<Entry>,
    by_hash: HashMap<Digest, u64>,
}

/// Where a block is, and its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    offset: u64,
    /// Length of the record's payload: hash and block.
    len: u32,
    hash: Digest,
}

/// A full file, open.
#[derive(Debug)]
struct FullFile {
    header: FileHeader,
    file: Arc<dyn DiskFile>,
    index: Index,
}

impl Ledger {
    /// Opens the ledger in `dir`, creating an empty one if there is none. A torn tail is cut off
    /// with a warning; corruption is an error and changes nothing.
    pub fn open(
        dir: impl AsRef<Path>,
        options: LedgerOptions,
    ) -> Result<(Self, LedgerRecovered), LedgerError> {
        Self::open_on(Arc::new(RealDisk), dir, options)
    }

    /// As [`Self::open`], on another disk than the machine's.
    pub fn open_on(
        disk: Arc<dyn Disk>,
        dir: impl AsRef<Path>,
        options: LedgerOptions,
    ) -> Result<(Self, LedgerRecovered), LedgerError> {
        recovery::open(disk, dir.as_ref(), options)
    }

    /// Opens the ledger in `dir` for reading, without a lock and without changing anything: it may
    /// be in use by a running replica. Blocks appended later are not seen.
    pub fn open_read_only(dir: impl AsRef<Path>) -> Result<LedgerReader, LedgerError> {
        LedgerReader::open(Arc::new(RealDisk), dir.as_ref())
    }

    /// Appends the next block: visible to readers when this returns, durable after the next
    /// [`Self::sync`].
    pub fn append(&self, number: Number, header_hash: &Digest, block: &Bytes) -> Result<(), LedgerError> {
        let mut writer = self.writer();
        self.check_running(&writer)?;
        let expected = self.height();
        if number.0 != expected {
            return Err(LedgerError::OutOfOrder { expected, got: number.0 });
        }
        let len = u32::try_from(HASH + block.len());
        let len = len.map_err(|_| LedgerError::TooLong { bytes: block.len() })?;
        let outcome = self.write(header_hash, block, len, expected);
        if let Err(error) = &outcome {
            writer.failed = Some(error.to_string());
        }
        outcome
    }

    /// Makes every block that was appended before the call durable. Appends go on meanwhile.
    pub fn sync(&self) -> Result<(), LedgerError> {
        let (file, path, height) = {
            let writer = self.writer();
            self.check_running(&writer)?;
            let state = self.state();
            (
                Arc::clone(&state.active.file),
                self.dir.join(block_file(state.active.header.id)),
                state.height(),
            )
        };
        if self.durable_height() >= height {
            return Ok(());
        }
        // Blocks in earlier files were synced when those were closed.
        let outcome = file.sync().map_err(io_error("sync", &path));
        let mut writer = self.writer();
        if let Err(error) = outcome {
            // A second sync that succeeds would prove nothing: the system may have dropped the pages.
            writer.failed.get_or_insert_with(|| error.to_string());
            return Err(error);
        }
        self.check_running(&writer)?;
        self.durable.fetch_max(height, Ordering::SeqCst);
        Ok(())
    }

    /// Count of blocks; the next block's number.
    pub fn height(&self) -> u64 {
        self.state().height()
    }

    /// Count of blocks that are synced.
    pub fn durable_height(&self) -> u64 {
        self.durable.load(Ordering::SeqCst)
    }

    /// The block with this number; `None` at or above the height.
    pub fn block(&self, number: Number) -> Result<Option<Bytes>, LedgerError> {
        let place = {
            let state = self.state();
            if number.0 >= state.height() {
                return Ok(None);
            }
            let active = &state.active;
            match number.0.checked_sub(active.header.first) {
                Some(index) => Ok((Arc::clone(&active.file), active.header, active.entries[index as usize])),
                None => Err(state.full.partition_point(|first| *first <= number.0) as u64 - 1),
            }
        };
        match place {
            Ok((file, header, entry)) => self.read(&*file, &header, number.0, entry).map(Some),
            Err(id) => {
                let full = self.full_file(id)?;
                let entry = full.index.by_number(number.0 - full.header.first);
                let entry = entry.ok_or_else(|| self.corrupt(id, 0, number.0, "the index has no entry"))?;
                self.read(&*full.file, &full.header, number.0, entry).map(Some)
            }
        }
    }

    /// The number of the block with this header hash. Searches full files one after the other,
    /// the newest first: some dozen reads for each.
    pub fn number_of(&self, header_hash: &Digest) -> Result<Option<Number>, LedgerError> {
        let full = {
            let state = self.state();
            if let Some(number) = state.active.by_hash.get(header_hash) {
                return Ok(Some(Number(*number)));
            }
            state.full.len() as u64
        };
        for id in (0..full).rev() {
            let file = self.full_file(id)?;
            if let Some(index) = file.index.by_hash(header_hash) {
                return Ok(Some(Number(file.header.first + index)));
            }
        }
        Ok(None)
    }

    fn write(&self, hash: &Digest, block: &Bytes, len: u32, number: u64) -> Result<(), LedgerError> {
        // Only appending changes what is read here, and `writer` is held.
        let (header, file, end) = {
            let state = self.state();
            (state.active.header, Arc::clone(&state.active.file), state.active.end)
        };
        let size = record::encoded_len(len as usize) as u64;
        if end > FILE_HEADER as u64 && end + size > self.options.file_bytes {
            self.start_next_file(number)?;
            return self.write(hash, block, len, number);
        }
        let mut payload = Vec::with_capacity(len as usize);
        payload.extend(hash.0);
        payload.extend(block);
        let mut bytes = Vec::with_capacity(size as usize);
        record::encode(&mut bytes, &header, number, self.durable_height(), &payload);
        let path = self.dir.join(block_file(header.id));
        file.write_all_at(&bytes, end).map_err(io_error("write", &path))?;

        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.active.entries.push(Entry { offset: end, len, hash: *hash });
        state.active.by_hash.insert(*hash, number);
        state.active.end += size;
        Ok(())
    }

    /// Closes the active file and begins the next, whose first block has this number.
    fn start_next_file(&self, number: u64) -> Result<(), LedgerError> {
        let closed = self.state().active.clone();
        let id = closed.header.id;
        let path = self.dir.join(block_file(id));
        closed.file.sync().map_err(io_error("sync", &path))?;
        self.durable.fetch_max(number, Ordering::SeqCst);
        let index = Index::build(&closed.header, &closed.entries, closed.end);
        let path = self.dir.join(index_file(id));
        disk::replace(&*self.disk, &self.dir, &index_file(id), index.bytes())
            .map_err(io_error("write", &path))?;
        let next = create_block_file(&*self.disk, &self.dir, id + 1, number)?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.full.push(closed.header.first);
        state.active = next;
        Ok(())
    }

    fn full_file(&self, id: u64) -> Result<Arc<FullFile>, LedgerError> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let found = cache.iter().position(|(cached, _)| *cached == id);
        if let Some((_, file)) = found.and_then(|at| cache.remove(at)) {
            cache.push_front((id, Arc::clone(&file)));
            return Ok(file);
        }
        let (first, next) = {
            let state = self.state();
            let next = state.full.get(id as usize + 1).copied();
            (state.full[id as usize], next.unwrap_or(state.active.header.first))
        };
        let file = Arc::new(recovery::open_full_file(&*self.disk, &self.dir, id, first, next - first)?);
        cache.push_front((id, Arc::clone(&file)));
        cache.truncate(CACHED_FILES);
        Ok(file)
    }

    fn read(
        &self,
        file: &dyn DiskFile,
        header: &FileHeader,
        number: u64,
        entry: Entry,
    ) -> Result<Bytes, LedgerError> {
        let path = self.dir.join(block_file(header.id));
        let bytes = disk::read(file, entry.offset, RECORD_HEADER + entry.len as usize);
        let bytes = Bytes::from(bytes.map_err(io_error("read", &path))?);
        match record::record_at(&bytes, 0, header, number) {
            Ok((payload, _)) if payload.len() == entry.len as usize => Ok(bytes.slice(payload).slice(HASH..)),
            Ok(_) => Err(self.corrupt(header.id, entry.offset, number, "its length is not the index's")),
            Err(reason) => Err(self.corrupt(header.id, entry.offset, number, &reason)),
        }
    }

    fn corrupt(&self, id: u64, offset: u64, number: u64, reason: &str) -> LedgerError {
        LedgerError::Corrupt {
            file: self.dir.join(block_file(id)),
            offset,
            what: format!("block {number}"),
            reason: reason.into(),
        }
    }

    fn check_running(&self, writer: &Writer) -> Result<(), LedgerError> {
        match &writer.failed {
            None => Ok(()),
            Some(cause) => Err(LedgerError::Stopped { path: self.dir.clone(), cause: cause.clone() }),
        }
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn height(&self) -> u64 {
        self.active.header.first + self.active.entries.len() as u64
    }
}

/// An empty block file, durable with its name.
fn create_block_file(disk: &dyn Disk, dir: &Path, id: u64, first: u64) -> Result<ActiveFile, LedgerError> {
    let header = FileHeader {
        kind: Kind::Ledger,
        id,
        first,
        initial: 0,
        salt: record::random_salt(),
        base: false,
        recycled: false,
    };
    let name = block_file(id);
    let path = dir.join(&name);
    disk::replace(disk, dir, &name, &header.encode()).map_err(io_error("create", &path))?;
    let file = disk.open(&path, Access::Write).map_err(io_error("open", &path))?;
    Ok(ActiveFile { header, file, end: FILE_HEADER as u64, entries: Vec::new(), by_hash: HashMap::new() })
}

fn block_file(id: u64) -> String {
    format!("blocks_{id:06}.bin")
}

fn index_file(id: u64) -> String {
    format!("blocks_{id:06}.idx")
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LedgerError {
    move |source| LedgerError::Io { action, path: path.to_owned(), source }
}

/// Length of the header hash before a block.
const HASH: usize = 32;
const FORMAT_FILE: &str = "format";
const FORMAT: &str = "sbft-ledger 1";
const LOCK: &str = "lock";
/// Full files kept open, each with its index in memory.
const CACHED_FILES: usize = 8;
