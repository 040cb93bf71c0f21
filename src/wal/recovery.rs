//! Opening a log: finding its base, reading it, cutting off a torn tail.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::{
    FRESH_SPARE, LOCK, NEW, Recovered, SEGMENT_SUFFIX, SPARE_SUFFIX, Segment, Spare, Wal, WalError,
    WalOptions, create_segment, fill_file, io_error, retire, segment_name,
};
use crate::disk::record::{self, BadHeader, FILE_HEADER, FileHeader, Kind, RECORD_HEADER, Tail};
use crate::disk::{self, Access, Disk};
use crate::plant::{Plant, Plants};

pub(super) fn open(
    disk: Arc<dyn Disk>,
    dir: &Path,
    options: WalOptions,
) -> Result<(Wal, Recovered), WalError> {
    let segment_bytes = options.segment_bytes.max(MIN_SEGMENT_BYTES).next_multiple_of(8);
    let options = WalOptions { segment_bytes, ..options };
    disk.create_dirs(dir).map_err(io_error("create", dir))?;
    let lock_file = dir.join(LOCK);
    let lock = disk.lock(&lock_file).map_err(io_error("lock", &lock_file))?;
    let Some(lock) = lock else { return Err(WalError::Locked { path: dir.to_owned() }) };

    let names = disk.list(dir).map_err(io_error("list", dir))?;
    let mut ids: Vec<u64> = names.iter().filter_map(|name| segment_id(name)).collect();
    ids.sort_unstable();
    let mut log = read_log(&*disk, dir, &ids, segment_bytes)?;
    if let Some(last) = log.as_mut().and_then(|log| log.segments.last_mut()) {
        plant_in_tail(dir, last, options.plants)?;
    }

    // All is readable; only from here on the directory is changed.
    let mut spares = tidy(&*disk, dir, &names, &options)?;
    let mut recovered = Recovered::default();
    let (segment, next, older) = match log {
        None => {
            recovered.created = true;
            let header = FileHeader {
                kind: Kind::Log,
                id: 1,
                first: 0,
                initial: 0,
                salt: record::random_salt(),
                base: true,
                recycled: false,
            };
            (create_segment(&*disk, dir, &options, &mut spares, header, &[])?, 0, Vec::new())
        }
        Some(log) => {
            let (segment, next) = mend_last(&*disk, dir, &log, segment_bytes, &mut recovered)?;
            let base = log.segments[0].header.id;
            let void: Vec<String> = ids.iter().filter(|id| **id < base).map(|id| segment_name(*id)).collect();
            retire(&*disk, dir, &options, &mut spares, &void)?;
            let count = log.segments.len();
            let older = log.segments[..count - 1].iter().map(|read| segment_name(read.header.id)).collect();
            recovered.records = log.segments.into_iter().flat_map(|read| read.scan.records).collect();
            (segment, next, older)
        }
    };
    if spares.is_empty() {
        fill_file(&*disk, &dir.join(NEW), segment_bytes)?;
        disk.rename(&dir.join(NEW), &dir.join(FRESH_SPARE)).map_err(io_error("rename", &dir.join(NEW)))?;
        disk.sync_dir(dir).map_err(io_error("sync", dir))?;
        spares.push(Spare { name: FRESH_SPARE.into(), zeros: true });
    }
    let lengths = recovered.records.iter().map(|record| record::encoded_len(record.len()) as u64);
    let wal = Wal {
        disk,
        dir: dir.to_owned(),
        options,
        segment,
        next,
        spares,
        older,
        pending: Vec::new(),
        bytes_since_compaction: lengths.sum(),
        failed: None,
        _lock: lock,
    };
    Ok((wal, recovered))
}

/// The segments from the base to the last, each read.
struct Log {
    segments: Vec<ReadSegment>,
}

struct ReadSegment {
    header: FileHeader,
    bytes: Bytes,
    scan: record::Scan,
    /// The file's own length; `bytes` is filled up with zeros.
    file_len: u64,
}

/// Reads the log without changing anything; `None` if there is none.
fn read_log(disk: &dyn Disk, dir: &Path, ids: &[u64], segment_bytes: u64) -> Result<Option<Log>, WalError> {
    let Some(last) = ids.last() else { return Ok(None) };
    let mut segments: Vec<ReadSegment> = Vec::new();
    for id in ids.iter().rev() {
        let missing = segments.last().map(|above| above.header.id - 1).filter(|below| below != id);
        if let Some(missing) = missing {
            return Err(missing_segment(dir, missing));
        }
        let segment = read_segment(disk, dir, *id, segment_bytes)?;
        let base = segment.header.base;
        check_end(dir, &segment, segments.last().map(|above| above.header.first))?;
        segments.push(segment);
        if base {
            segments.reverse();
            return Ok(Some(Log { segments }));
        }
    }
    Err(missing_segment(dir, ids.first().unwrap_or(last).saturating_sub(1)))
}

fn read_segment(disk: &dyn Disk, dir: &Path, id: u64, segment_bytes: u64) -> Result<ReadSegment, WalError> {
    let path = dir.join(segment_name(id));
    let file = disk.open(&path, Access::Read).map_err(io_error("open", &path))?;
    let file_len = file.len().map_err(io_error("read the length of", &path))?;
    let mut bytes = disk::read(&*file, 0, file_len as usize).map_err(io_error("read", &path))?;
    let corrupt = |reason: &str| WalError::Corrupt { file: path.clone(), offset: 0, reason: reason.into() };
    let header = match FileHeader::decode(Kind::Log, &bytes) {
        Ok(header) => header,
        Err(BadHeader::Version(found)) => {
            return Err(WalError::Version { file: path, found, expected: record::VERSION });
        }
        Err(BadHeader::Unreadable) => return Err(corrupt("the file's header cannot be read")),
    };
    if header.id != id {
        return Err(corrupt(&format!("this is the file of segment {:016x}", header.id)));
    }
    // What a truncated file lost reads as zeros; a last segment is filled up again in `mend_last`.
    bytes.resize(bytes.len().max(segment_bytes as usize).next_multiple_of(8), 0);
    let bytes = Bytes::from(bytes);
    let scan = record::scan(&bytes, &header);
    Ok(ReadSegment { header, bytes, scan, file_len })
}

/// A segment with another after it was synced whole; only the last may end in a torn batch.
fn check_end(dir: &Path, segment: &ReadSegment, next_first: Option<u64>) -> Result<(), WalError> {
    let corrupt = |reason: String| WalError::Corrupt {
        file: dir.join(segment_name(segment.header.id)),
        offset: segment.scan.end as u64,
        reason,
    };
    if let Tail::Corrupt(reason) = &segment.scan.tail {
        return Err(corrupt(reason.clone()));
    }
    let count = segment.header.first + segment.scan.records.len() as u64;
    match next_first {
        Some(first) if first != count => Err(corrupt(format!(
            "record {count} cannot be read here, though the next file goes on with record {first}"
        ))),
        _ => Ok(()),
    }
}

/// For tests that take away the rule that a torn tail is cut off, and nothing else.
fn plant_in_tail(dir: &Path, last: &mut ReadSegment, plants: Plants) -> Result<(), WalError> {
    let end = last.scan.end;
    if !matches!(last.scan.tail, Tail::Torn(_)) {
        return Ok(());
    }
    if plants.has(Plant::TornTailRefused) {
        let file = dir.join(segment_name(last.header.id));
        return Err(WalError::Corrupt { file, offset: end as u64, reason: "the tail is torn".into() });
    }
    if plants.has(Plant::TornTailAccepted)
        && let Some(payload) = record::torn_payload(&last.bytes, end, &last.header)
    {
        last.scan.records.push(last.bytes.slice(payload.clone()));
        last.scan.end = payload.end.next_multiple_of(8);
        last.scan.tail = Tail::Clean;
    }
    Ok(())
}

/// Makes the last segment ready to be written: no torn tail, and what can be read is durable.
fn mend_last(
    disk: &dyn Disk,
    dir: &Path,
    log: &Log,
    segment_bytes: u64,
    recovered: &mut Recovered,
) -> Result<(Segment, u64), WalError> {
    let read = log.segments.last().expect("a log has a base segment");
    let name = segment_name(read.header.id);
    let path = dir.join(&name);
    let (start, end) = (read.scan.maybe_unsynced, read.scan.end);
    // The last batch is written once more: an earlier process may have seen its sync fail, and
    // then these bytes can be read, but need not be on the disk, whatever a sync says now.
    let mut bytes = read.bytes[start..end].to_vec();
    if let Tail::Torn(cut) = read.scan.tail {
        tracing::warn!(
            file = %path.display(), offset = end, bytes = cut,
            "cut off a torn tail: the end of a batch that was never synced"
        );
        recovered.cut_bytes = cut as u64;
        bytes.resize(bytes.len() + cut, 0);
    }
    let len = (read.bytes.len() as u64).max(segment_bytes);
    let to_fill = if read.file_len < len { (len as usize) - start } else { bytes.len() + RECORD_HEADER };
    bytes.resize(to_fill.max(bytes.len()).min(len as usize - start), 0);
    assert!(start >= FILE_HEADER, "the header is never written again");

    let file = disk.open(&path, Access::Write).map_err(io_error("open", &path))?;
    file.write_all_at(&bytes, start as u64).map_err(io_error("write", &path))?;
    file.sync().map_err(io_error("sync", &path))?;
    disk.sync_dir(dir).map_err(io_error("sync", dir))?;
    let next = read.header.first + read.scan.records.len() as u64;
    Ok((Segment { header: read.header, name, file, len, end: end as u64 }, next))
}

/// Removes unfinished files, and spares that do not fit; answers the others.
fn tidy(disk: &dyn Disk, dir: &Path, names: &[String], options: &WalOptions) -> Result<Vec<Spare>, WalError> {
    let mut spares = Vec::new();
    for name in names {
        let path = dir.join(name);
        if name.ends_with(SPARE_SUFFIX) && spares.len() < options.spares {
            let file = disk.open(&path, Access::Read).map_err(io_error("open", &path))?;
            if file.len().map_err(io_error("read the length of", &path))? == options.segment_bytes {
                // Even one that was never a segment may have been half made into one.
                spares.push(Spare { name: name.clone(), zeros: false });
                continue;
            }
        }
        if name.ends_with(SPARE_SUFFIX) || name == NEW {
            disk.remove(&path).map_err(io_error("remove", &path))?;
        }
    }
    Ok(spares)
}

fn segment_id(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SEGMENT_SUFFIX)?;
    let id = u64::from_str_radix(digits, 16).ok()?;
    (segment_name(id) == name).then_some(id)
}

fn missing_segment(dir: &Path, id: u64) -> WalError {
    WalError::Corrupt {
        file: dir.join(segment_name(id)),
        offset: 0,
        reason: "the file is missing, though later ones need it".into(),
    }
}

const MIN_SEGMENT_BYTES: u64 = 4096;
