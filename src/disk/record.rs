//! Files of checksummed records, and how a torn tail is told from corruption.
//!
//! A file (a segment of the log, a file of the ledger) starts with a header of 64 bytes; records
//! follow at multiples of 8 bytes, each a header of 32 bytes and the payload. All numbers are
//! little-endian.
//!
//! | record bytes | meaning |
//! | --- | --- |
//! | 0..4 | CRC-32 of the file's salt and id and of bytes 4..32 |
//! | 4..8 | payload length |
//! | 8..16 | sequence: counts all records, over all files |
//! | 16..24 | durable: every record with a lower sequence was synced before this one was written |
//! | 24..28 | CRC-32 of the payload |
//! | 28..32 | zero |
//!
//! **Torn or corrupt?** A crash may lose any part of what was not synced, so a bad record with a
//! good one after it can be an ordinary power failure: neither was synced. The field `durable`
//! tells: if any record further on says that the bad one had been synced before, its loss is
//! corruption; if none does, it is the torn tail of something that nobody relied on.
//!
//! **Stale bytes.** A recycled file is full of earlier records. The salt, random for each file,
//! keeps them from counting, and also what a client may have put into a payload to look like a
//! record.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::ops::Range;

use bytes::Bytes;

/// Length of a file's header.
pub const FILE_HEADER: usize = 64;
/// Length of a record's header.
pub const RECORD_HEADER: usize = 32;
/// Format version in the file header.
pub const VERSION: u32 = 1;

const BASE: u32 = 1;
const RECYCLED: u32 = 2;

/// What a file is for; part of its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A segment of a log.
    Log,
    /// A file of a ledger.
    Ledger,
}

impl Kind {
    fn magic(self) -> [u8; 8] {
        match self {
            Self::Log => *b"SBFT-WAL",
            Self::Ledger => *b"SBFT-BLK",
        }
    }
}

/// What a file's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileHeader {
    /// What the file is for.
    pub kind: Kind,
    /// The file's number; its name says the same.
    pub id: u64,
    /// Sequence of its first record.
    pub first: u64,
    /// How many records it had when it got its name, and so durable from the start.
    pub initial: u64,
    /// Part of every checksum in it.
    pub salt: u64,
    /// The log starts here: what older files hold is void.
    pub base: bool,
    /// It held other records before, whose bytes may follow the last of these.
    pub recycled: bool,
}

/// Why a file's header is no good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadHeader {
    /// Too short, or magic or checksum are wrong.
    Unreadable,
    /// Good, but of this other version.
    Version(u32),
}

impl FileHeader {
    /// The header's bytes.
    pub fn encode(&self) -> [u8; FILE_HEADER] {
        let flags = if self.base { BASE } else { 0 } | if self.recycled { RECYCLED } else { 0 };
        let mut bytes = [0; FILE_HEADER];
        bytes[0..8].copy_from_slice(&self.kind.magic());
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&flags.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.id.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.first.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.salt.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.initial.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..60]);
        bytes[60..64].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads the header of a file that should be of this kind.
    pub fn decode(kind: Kind, bytes: &[u8]) -> Result<Self, BadHeader> {
        let Some(bytes) = bytes.get(..FILE_HEADER) else { return Err(BadHeader::Unreadable) };
        if bytes[..8] != kind.magic() || u32_at(bytes, 60) != crc32fast::hash(&bytes[..60]) {
            return Err(BadHeader::Unreadable);
        }
        let version = u32_at(bytes, 8);
        if version != VERSION {
            return Err(BadHeader::Version(version));
        }
        let flags = u32_at(bytes, 12);
        Ok(Self {
            kind,
            id: u64_at(bytes, 16),
            first: u64_at(bytes, 24),
            salt: u64_at(bytes, 32),
            initial: u64_at(bytes, 40),
            base: flags & BASE != 0,
            recycled: flags & RECYCLED != 0,
        })
    }
}

/// Bytes that a record with a payload of this length takes.
pub fn encoded_len(payload: usize) -> usize {
    RECORD_HEADER + payload.next_multiple_of(8)
}

/// Appends a record to `out`.
pub fn encode(out: &mut Vec<u8>, file: &FileHeader, sequence: u64, durable: u64, payload: &[u8]) {
    let mut header = [0; RECORD_HEADER];
    header[4..8].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    header[8..16].copy_from_slice(&sequence.to_le_bytes());
    header[16..24].copy_from_slice(&durable.to_le_bytes());
    header[24..28].copy_from_slice(&crc32fast::hash(payload).to_le_bytes());
    let checksum = header_checksum(file, &header);
    header[0..4].copy_from_slice(&checksum.to_le_bytes());
    out.extend(header);
    out.extend(payload);
    out.resize(out.len().next_multiple_of(8), 0);
}

/// What a file holds.
#[derive(Debug, PartialEq, Eq)]
pub struct Scan {
    /// The payloads of the good records from the start, in order.
    pub records: Vec<Bytes>,
    /// Where each record starts.
    pub positions: Vec<usize>,
    /// Where the next record belongs.
    pub end: usize,
    /// Position of the first record that may be unsynced; `end` if there is none.
    pub maybe_unsynced: usize,
    /// What comes after `end`.
    pub tail: Tail,
}

/// What follows the last good record of a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Tail {
    /// Nothing, or old bytes.
    Clean,
    /// What is left of records that were never synced: this many bytes.
    Torn(usize),
    /// A record that had been synced is gone, and why that is known.
    Corrupt(String),
}

/// Reads a file's bytes, whose length is a multiple of 8, by its header's word.
pub fn scan(bytes: &Bytes, file: &FileHeader) -> Scan {
    let mut records = Vec::new();
    let mut positions = Vec::new();
    assert!(bytes.len().is_multiple_of(8), "records start at multiples of 8 bytes");
    let mut end = FILE_HEADER.min(bytes.len());
    let mut durable = file.first;
    let mut reason = String::from("the file ends");
    while end < bytes.len() {
        match record_at(bytes, end, file, file.first.saturating_add(records.len() as u64)) {
            Ok((payload, says)) => {
                positions.push(end);
                records.push(bytes.slice(payload.clone()));
                durable = says;
                end = payload.end.next_multiple_of(8);
            }
            Err(why) => {
                reason = why;
                break;
            }
        }
    }
    let expected = file.first.saturating_add(records.len() as u64);
    // The last record's word says how far the log was durable before its batch.
    let durable = durable.max(file.first.saturating_add(file.initial)) - file.first;
    let maybe_unsynced = usize::try_from(durable).ok().and_then(|index| positions.get(index)).copied();
    let maybe_unsynced = maybe_unsynced.unwrap_or(end);
    let tail = judge_tail(bytes, end, file, expected, reason);
    Scan { records, positions, end, maybe_unsynced, tail }
}

fn judge_tail(bytes: &Bytes, end: usize, file: &FileHeader, expected: u64, reason: String) -> Tail {
    if expected < file.first.saturating_add(file.initial) {
        return Tail::Corrupt(format!("{reason}, and the file was made with it"));
    }
    let most = (bytes.len() / RECORD_HEADER) as u64;
    let mut torn_to = end;
    // Mostly zeros are left, and a header of nothing but zeros is none.
    let not_zero = bytes[end..].chunks_exact(8).rposition(|word| word != [0; 8]);
    let Some(not_zero) = not_zero else { return Tail::Clean };
    let not_zero = end + 8 * not_zero + 8;
    for position in (end..not_zero).step_by(8) {
        let Some(header) = Header::decode(bytes, position, file) else { continue };
        if header.sequence < expected || header.sequence - expected > most {
            continue;
        }
        if header.durable > expected {
            return Tail::Corrupt(format!(
                "{reason}, and the record at byte {position} says that it had been synced"
            ));
        }
        torn_to = torn_to.max(position + encoded_len(header.len)).min(bytes.len());
    }
    if !file.recycled {
        let last = bytes[end..not_zero].iter().rposition(|byte| *byte != 0);
        torn_to = torn_to.max(last.map_or(end, |last| end + last + 1));
    }
    if torn_to == end { Tail::Clean } else { Tail::Torn(torn_to - end) }
}

/// The range of the payload of record `expected`, which should start at `position`, and its word
/// `durable`; or what is wrong there.
pub fn record_at(
    bytes: &[u8],
    position: usize,
    file: &FileHeader,
    expected: u64,
) -> Result<(Range<usize>, u64), String> {
    let Some(header) = Header::decode(bytes, position, file) else {
        return Err(format!("there is no record {expected}"));
    };
    if header.sequence != expected {
        return Err(format!("there is record {} instead of {expected}", header.sequence));
    }
    let start = position + RECORD_HEADER;
    let Some(payload) = bytes.get(start..start + header.len) else {
        return Err(format!("record {expected} ends after the file"));
    };
    if crc32fast::hash(payload) != header.payload_checksum {
        return Err(format!("the checksum of record {expected} is wrong"));
    }
    Ok((start..start + header.len, header.durable))
}

/// The payload of a record that may be torn, by its header alone. For tests that take away the rule
/// that its checksum must be right.
pub fn torn_payload(bytes: &[u8], position: usize, file: &FileHeader) -> Option<Range<usize>> {
    let header = Header::decode(bytes, position, file)?;
    let start = position + RECORD_HEADER;
    bytes.get(start..start + header.len).map(|_| start..start + header.len)
}

struct Header {
    len: usize,
    sequence: u64,
    durable: u64,
    payload_checksum: u32,
}

impl Header {
    fn decode(bytes: &[u8], position: usize, file: &FileHeader) -> Option<Self> {
        let header: &[u8; RECORD_HEADER] = bytes.get(position..position + RECORD_HEADER)?.try_into().ok()?;
        // Cheap tests first: this runs at every eighth byte after the last record, and those are
        // mostly zeros. Only the first record of all could look like that, if it were empty.
        if *header == [0; RECORD_HEADER] {
            return None;
        }
        let (sequence, durable) = (u64_at(header, 8), u64_at(header, 16));
        if durable > sequence || durable < file.first || u32_at(header, 28) != 0 {
            return None;
        }
        if u32_at(header, 0) != header_checksum(file, header) {
            return None;
        }
        Some(Self {
            len: u32_at(header, 4) as usize,
            sequence,
            durable,
            payload_checksum: u32_at(header, 24),
        })
    }
}

/// No secret, but nothing that a client could guess and put into an envelope.
pub fn random_salt() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn header_checksum(file: &FileHeader, header: &[u8; RECORD_HEADER]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&file.salt.to_le_bytes());
    hasher.update(&file.id.to_le_bytes());
    hasher.update(&header[4..]);
    hasher.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
