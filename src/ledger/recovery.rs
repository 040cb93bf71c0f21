//! Opening a ledger: format, files in order, the last one read whole, a torn tail cut off.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, RwLock};

use bytes::Bytes;

use super::{
    ActiveFile, Entry, FORMAT, FORMAT_FILE, FullFile, HASH, Index, LOCK, Ledger, LedgerError, LedgerOptions,
    LedgerRecovered, State, Writer, block_file, create_block_file, index_file, io_error,
};
use crate::disk::record::{self, BadHeader, FILE_HEADER, FileHeader, Kind, Scan, Tail};
use crate::disk::{self, Access, Disk, DiskFile};
use crate::types::Digest;

pub(super) fn open(
    disk: Arc<dyn Disk>,
    dir: &Path,
    options: LedgerOptions,
) -> Result<(Ledger, LedgerRecovered), LedgerError> {
    disk.create_dirs(dir).map_err(io_error("create", dir))?;
    let lock_file = dir.join(LOCK);
    let lock = disk.lock(&lock_file).map_err(io_error("lock", &lock_file))?;
    let Some(lock) = lock else { return Err(LedgerError::Locked { path: dir.to_owned() }) };

    let mut recovered = LedgerRecovered::default();
    let mut headers = match check_format(&*disk, dir) {
        Ok(()) => headers(&*disk, dir)?,
        Err(LedgerError::Missing { path }) => {
            let names = disk.list(dir).map_err(io_error("list", dir))?;
            if names.iter().any(|name| block_file_id(name).is_some()) {
                return Err(LedgerError::Missing { path });
            }
            let path = dir.join(FORMAT_FILE);
            let text = format!("{FORMAT}\n");
            disk::replace(&*disk, dir, FORMAT_FILE, text.as_bytes()).map_err(io_error("write", &path))?;
            recovered.created = true;
            Vec::new()
        }
        Err(other) => return Err(other),
    };
    let active = match headers.pop() {
        None => create_block_file(&*disk, dir, 0, 0)?,
        Some(header) => open_active(&*disk, dir, header, &mut recovered)?,
    };
    let height = active.header.first + active.entries.len() as u64;
    let ledger = Ledger {
        disk,
        dir: dir.to_owned(),
        options,
        writer: Mutex::new(Writer::default()),
        state: RwLock::new(State { full: headers.iter().map(|header| header.first).collect(), active }),
        durable: AtomicU64::new(height),
        cache: Mutex::new(VecDeque::new()),
        _lock: lock,
    };
    Ok((ledger, recovered))
}

/// Errs unless the directory is a ledger that this program can read.
pub(super) fn check_format(disk: &dyn Disk, dir: &Path) -> Result<(), LedgerError> {
    let path = dir.join(FORMAT_FILE);
    let file = match disk.open(&path, Access::Read) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Err(LedgerError::Missing { path: dir.to_owned() });
        }
        Err(error) => return Err(io_error("open", &path)(error)),
    };
    let bytes = disk::read(&*file, 0, 64).map_err(io_error("read", &path))?;
    let found = String::from_utf8_lossy(&bytes).trim_end().to_owned();
    if found != FORMAT {
        return Err(LedgerError::Format { path, found, expected: FORMAT.into() });
    }
    Ok(())
}

/// The headers of all block files, in order.
pub(super) fn headers(disk: &dyn Disk, dir: &Path) -> Result<Vec<FileHeader>, LedgerError> {
    let names = disk.list(dir).map_err(io_error("list", dir))?;
    let mut ids: Vec<u64> = names.iter().filter_map(|name| block_file_id(name)).collect();
    ids.sort_unstable();
    let mut headers: Vec<FileHeader> = Vec::new();
    for (expected, id) in (0..).zip(&ids) {
        let path = dir.join(block_file(expected));
        let corrupt = |reason: String| LedgerError::Corrupt {
            file: path.clone(),
            offset: 0,
            what: "the file's header".into(),
            reason,
        };
        if *id != expected {
            return Err(corrupt("the file is missing, though later ones are there".into()));
        }
        let file = disk.open(&path, Access::Read).map_err(io_error("open", &path))?;
        let bytes = disk::read(&*file, 0, FILE_HEADER).map_err(io_error("read", &path))?;
        let header = match FileHeader::decode(Kind::Ledger, &bytes) {
            Ok(header) => header,
            Err(BadHeader::Unreadable) => return Err(corrupt("it cannot be read".into())),
            Err(BadHeader::Version(version)) => {
                let found = format!("version {version}");
                let expected = format!("version {}", record::VERSION);
                return Err(LedgerError::Format { path, found, expected });
            }
        };
        let below = headers.last().map_or(0, |below| below.first);
        if header.id != *id || header.first < below || (*id == 0 && header.first != 0) {
            let (id, first) = (header.id, header.first);
            return Err(corrupt(format!("it says that this is file {id} and starts with block {first}")));
        }
        headers.push(header);
    }
    Ok(headers)
}

/// A block file as it is read.
pub(super) struct ReadFile {
    pub(super) scan: Scan,
    pub(super) bytes: Bytes,
    /// The file's own length; `bytes` is filled up to a multiple of 8.
    pub(super) len: u64,
}

/// Reads the first `len` bytes of a block file, all of it if `None`. How it ends is for
/// [`check_tail`] to judge.
pub(super) fn read_block_file(
    file: &dyn DiskFile,
    path: &Path,
    header: &FileHeader,
    len: Option<u64>,
) -> Result<ReadFile, LedgerError> {
    let len = match len {
        Some(len) => len,
        None => file.len().map_err(io_error("read the length of", path))?,
    };
    let mut bytes = disk::read(file, 0, len as usize).map_err(io_error("read", path))?;
    bytes.resize(bytes.len().max(FILE_HEADER).next_multiple_of(8), 0);
    let bytes = Bytes::from(bytes);
    let scan = record::scan(&bytes, header);
    Ok(ReadFile { scan, bytes, len })
}

/// Errs if a block that was once synced cannot be read.
pub(super) fn check_tail(path: &Path, header: &FileHeader, scan: &Scan) -> Result<(), LedgerError> {
    if let Tail::Corrupt(reason) = &scan.tail {
        return Err(corrupt_block(path, header, scan, reason.clone()));
    }
    if let Some(short) = scan.records.iter().position(|payload| payload.len() < HASH) {
        return Err(LedgerError::Corrupt {
            file: path.to_owned(),
            offset: scan.positions[short] as u64,
            what: format!("block {}", header.first.saturating_add(short as u64)),
            reason: "the record is shorter than a hash".into(),
        });
    }
    Ok(())
}

/// Errs unless the file holds exactly `count` blocks.
pub(super) fn check_count(
    path: &Path,
    header: &FileHeader,
    scan: &Scan,
    count: u64,
) -> Result<(), LedgerError> {
    if scan.records.len() as u64 == count {
        return Ok(());
    }
    let next = header.first + count;
    Err(corrupt_block(path, header, scan, format!("the next file starts with block {next}")))
}

/// Opens a full file and its index, which is made anew if it is missing or wrong.
pub(super) fn open_full_file(
    disk: &dyn Disk,
    dir: &Path,
    id: u64,
    first: u64,
    count: u64,
) -> Result<FullFile, LedgerError> {
    let path = dir.join(block_file(id));
    let file = disk.open(&path, Access::Read).map_err(io_error("open", &path))?;
    let len = file.len().map_err(io_error("read the length of", &path))?;
    let bytes = disk::read(&*file, 0, FILE_HEADER).map_err(io_error("read", &path))?;
    let header = FileHeader::decode(Kind::Ledger, &bytes).ok().filter(|header| header.first == first);
    let Some(header) = header else {
        return Err(LedgerError::Corrupt {
            file: path,
            offset: 0,
            what: "the file's header".into(),
            reason: "it changed since the ledger was opened".into(),
        });
    };
    let index_path = dir.join(index_file(id));
    let found = match disk.open(&index_path, Access::Read) {
        Ok(index) => {
            let index_len = index.len().map_err(io_error("read the length of", &index_path))?;
            let bytes = disk::read(&*index, 0, index_len as usize).map_err(io_error("read", &index_path))?;
            Index::decode(bytes, &header, count, len)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(io_error("open", &index_path)(error)),
    };
    if let Some(index) = found {
        return Ok(FullFile { header, file, index });
    }
    let read = read_block_file(&*file, &path, &header, Some(len))?;
    check_tail(&path, &header, &read.scan)?;
    check_count(&path, &header, &read.scan, count)?;
    let index = Index::build(&header, &entries(&read.scan), len);
    tracing::warn!(file = %index_path.display(), blocks = count, "index missing or wrong: made anew from its block file");
    disk::replace(disk, dir, &index_file(id), index.bytes()).map_err(io_error("write", &index_path))?;
    Ok(FullFile { header, file, index })
}

/// Opens the last file for appending: no torn tail, and all that it holds durable.
fn open_active(
    disk: &dyn Disk,
    dir: &Path,
    header: FileHeader,
    recovered: &mut LedgerRecovered,
) -> Result<ActiveFile, LedgerError> {
    let path = dir.join(block_file(header.id));
    let file = disk.open(&path, Access::Write).map_err(io_error("open", &path))?;
    let read = read_block_file(&*file, &path, &header, None)?;
    check_tail(&path, &header, &read.scan)?;
    let end = read.scan.end as u64;
    if read.len > end {
        recovered.cut_bytes = read.len - end;
        tracing::warn!(
            file = %path.display(), offset = end, bytes = recovered.cut_bytes,
            "cut off a torn tail: blocks that were never synced"
        );
        file.set_len(end).map_err(io_error("cut", &path))?;
    }
    // What may be unsynced is written once more: an earlier process may have seen its sync fail,
    // and then these bytes can be read, but need not be on the disk, whatever a sync says now.
    let start = read.scan.maybe_unsynced;
    file.write_all_at(&read.bytes[start..read.scan.end], start as u64).map_err(io_error("write", &path))?;
    file.sync().map_err(io_error("sync", &path))?;
    disk.sync_dir(dir).map_err(io_error("sync", dir))?;
    let entries = entries(&read.scan);
    let by_hash: HashMap<Digest, u64> =
        entries.iter().zip(header.first..).map(|(entry, number)| (entry.hash, number)).collect();
    Ok(ActiveFile { header, file, end, entries, by_hash })
}

fn entries(scan: &Scan) -> Vec<Entry> {
    let entry = |(payload, position): (&Bytes, &usize)| Entry {
        offset: *position as u64,
        len: payload.len() as u32,
        hash: Digest::from_slice(&payload[..HASH]).expect("32 bytes"),
    };
    scan.records.iter().zip(&scan.positions).map(entry).collect()
}

fn corrupt_block(path: &Path, header: &FileHeader, scan: &Scan, reason: String) -> LedgerError {
    LedgerError::Corrupt {
        file: path.to_owned(),
        offset: scan.end as u64,
        what: format!("block {}", header.first.saturating_add(scan.records.len() as u64)),
        reason,
    }
}

fn block_file_id(name: &str) -> Option<u64> {
    let id = name.strip_prefix("blocks_")?.strip_suffix(".bin")?.parse().ok()?;
    (block_file(id) == name).then_some(id)
}
