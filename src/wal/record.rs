//! The bytes of a segment: header, records, and how a torn tail is told from corruption.
//!
//! A segment starts with a header of 64 bytes; records follow at multiples of 8 bytes, each a
//! header of 32 bytes and the payload. All numbers are little-endian.
//!
//! | record bytes | meaning |
//! | --- | --- |
//! | 0..4 | CRC-32 of segment id, salt and bytes 4..32 |
//! | 4..8 | payload length |
//! | 8..16 | sequence: counts the log's records and never starts again |
//! | 16..24 | durable: every record with a lower sequence was synced before this one was written |
//! | 24..28 | CRC-32 of the payload |
//! | 28..32 | zero |
//!
//! **Torn or corrupt?** A crash may lose any part of what was not synced, so a bad record with a
//! good one after it can be an ordinary power failure: both were in one unsynced batch. The field
//! `durable` tells: if any record further on says that the bad one had been synced before, its
//! loss is corruption; if none does, it is the torn tail of a batch that nobody relied on.
//!
//! **Stale bytes.** A recycled segment is full of an earlier segment's records. The salt, random
//! for each segment, keeps them from counting, and also what a client may have put into a payload
//! to look like a record.

use bytes::Bytes;

/// Length of a segment's header.
pub(super) const SEGMENT_HEADER: usize = 64;
/// Length of a record's header.
pub(super) const RECORD_HEADER: usize = 32;
/// Format version in the segment header.
pub(super) const VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"SBFT-WAL";
const BASE: u32 = 1;
const RECYCLED: u32 = 2;

/// What a segment's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// The segment's number; its file name says the same.
    pub(super) id: u64,
    /// Sequence of its first record.
    pub(super) first: u64,
    /// How many records it had when it got its name, and so durable from the start.
    pub(super) initial: u64,
    /// Part of every checksum in it.
    pub(super) salt: u64,
    /// The log starts here: what older segments hold is void.
    pub(super) base: bool,
    /// The file held another segment before, whose bytes may follow the last record.
    pub(super) recycled: bool,
}

/// Why a segment's header is no good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadHeader {
    /// Too short, or magic or checksum are wrong.
    Unreadable,
    /// Good, but of this other version.
    Version(u32),
}

impl SegmentHeader {
    /// The header's bytes.
    pub(super) fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let flags = if self.base { BASE } else { 0 } | if self.recycled { RECYCLED } else { 0 };
        let mut bytes = [0; SEGMENT_HEADER];
        bytes[0..8].copy_from_slice(&MAGIC);
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

    /// Reads a header.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, BadHeader> {
        let Some(bytes) = bytes.get(..SEGMENT_HEADER) else { return Err(BadHeader::Unreadable) };
        if bytes[..8] != MAGIC || u32_at(bytes, 60) != crc32fast::hash(&bytes[..60]) {
            return Err(BadHeader::Unreadable);
        }
        let version = u32_at(bytes, 8);
        if version != VERSION {
            return Err(BadHeader::Version(version));
        }
        let flags = u32_at(bytes, 12);
        Ok(Self {
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
pub(super) fn encoded_len(payload: usize) -> usize {
    RECORD_HEADER + payload.next_multiple_of(8)
}

/// Appends a record to `out`.
pub(super) fn encode(
    out: &mut Vec<u8>,
    segment: &SegmentHeader,
    sequence: u64,
    durable: u64,
    payload: &[u8],
) {
    let mut header = [0; RECORD_HEADER];
    header[4..8].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    header[8..16].copy_from_slice(&sequence.to_le_bytes());
    header[16..24].copy_from_slice(&durable.to_le_bytes());
    header[24..28].copy_from_slice(&crc32fast::hash(payload).to_le_bytes());
    let checksum = header_checksum(segment, &header);
    header[0..4].copy_from_slice(&checksum.to_le_bytes());
    out.extend(header);
    out.extend(payload);
    out.resize(out.len().next_multiple_of(8), 0);
}

/// What a segment holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scan {
    /// The good records from the start, in order.
    pub(super) records: Vec<Bytes>,
    /// Where the next record belongs.
    pub(super) end: usize,
    /// Position of the first record that may be unsynced; `end` if there is none.
    pub(super) maybe_unsynced: usize,
    /// What comes after `end`.
    pub(super) tail: Tail,
}

/// What follows the last good record of a segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// Nothing.
    Clean,
    /// The rest of a batch that was never synced: this many bytes.
    Torn(usize),
    /// A record that had been synced is gone, and why that is known.
    Corrupt(String),
}

/// Reads a segment's bytes, whose length is a multiple of 8, by its header's word.
pub(super) fn scan(bytes: &Bytes, segment: &SegmentHeader) -> Scan {
    let mut records = Vec::new();
    let mut positions = Vec::new();
    assert!(bytes.len().is_multiple_of(8), "records start at multiples of 8 bytes");
    let mut end = SEGMENT_HEADER.min(bytes.len());
    let mut durable = segment.first;
    let mut reason = String::from("the file ends");
    while end < bytes.len() {
        match record_at(bytes, end, segment, segment.first + records.len() as u64) {
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
    let expected = segment.first + records.len() as u64;
    // The last record's word says how far the log was durable before its batch.
    let durable = durable.max(segment.first.saturating_add(segment.initial)) - segment.first;
    let maybe_unsynced = usize::try_from(durable).ok().and_then(|index| positions.get(index)).copied();
    let maybe_unsynced = maybe_unsynced.unwrap_or(end);
    let tail = judge_tail(bytes, end, segment, expected, reason);
    Scan { records, end, maybe_unsynced, tail }
}

fn judge_tail(bytes: &Bytes, end: usize, segment: &SegmentHeader, expected: u64, reason: String) -> Tail {
    if expected < segment.first.saturating_add(segment.initial) {
        return Tail::Corrupt(format!("{reason}, and the segment was written with it"));
    }
    let mut torn_to = end;
    for position in (end..bytes.len()).step_by(8) {
        let Some(header) = Header::decode(bytes, position, segment) else { continue };
        if header.sequence < expected {
            continue;
        }
        if header.durable > expected {
            return Tail::Corrupt(format!(
                "{reason}, and the record at byte {position} says that it had been synced"
            ));
        }
        torn_to = torn_to.max(position + encoded_len(header.len)).min(bytes.len());
    }
    if !segment.recycled {
        let last = bytes[end..].iter().rposition(|byte| *byte != 0);
        torn_to = torn_to.max(last.map_or(end, |last| end + last + 1));
    }
    if torn_to == end { Tail::Clean } else { Tail::Torn(torn_to - end) }
}

fn record_at(
    bytes: &Bytes,
    position: usize,
    segment: &SegmentHeader,
    expected: u64,
) -> Result<(std::ops::Range<usize>, u64), String> {
    let Some(header) = Header::decode(bytes, position, segment) else {
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

struct Header {
    len: usize,
    sequence: u64,
    durable: u64,
    payload_checksum: u32,
}

impl Header {
    fn decode(bytes: &[u8], position: usize, segment: &SegmentHeader) -> Option<Self> {
        let header: &[u8; RECORD_HEADER] = bytes.get(position..position + RECORD_HEADER)?.try_into().ok()?;
        let (sequence, durable) = (u64_at(header, 8), u64_at(header, 16));
        // Cheap tests first: this runs at every eighth byte after the last record.
        if durable > sequence || durable < segment.first || u32_at(header, 28) != 0 {
            return None;
        }
        if sequence - segment.first > (bytes.len() / RECORD_HEADER) as u64 {
            return None;
        }
        if u32_at(header, 0) != header_checksum(segment, header) {
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

fn header_checksum(segment: &SegmentHeader, header: &[u8; RECORD_HEADER]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&segment.salt.to_le_bytes());
    hasher.update(&segment.id.to_le_bytes());
    hasher.update(&header[4..]);
    hasher.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
