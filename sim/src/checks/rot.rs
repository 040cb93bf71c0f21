//! Rot: a synced record in the middle of a log or a ledger is no longer what was written.
//!
//! Where files of records are concerned, the format leaves one excuse: the last records may never
//! have been synced, and a crash may tear those. Each record says how many records were synced
//! before it was written. So of a record below the highest such word that can still be read, it is
//! known that it was there; a replica that starts without it has forgotten a promise, or a block,
//! and does not know. The reading here is the simulator's own.

use std::ops::Range;
use std::path::PathBuf;

use super::{Verdict, unsafe_because};
use crate::world::Body;

/// The files of a log or a ledger, in order, as they were before.
pub(crate) type Files = Vec<(PathBuf, Vec<u8>)>;

const FILE_HEADER: usize = 64;
const RECORD_HEADER: usize = 32;

/// A record where it stands, of header and payload.
struct Record {
    file: usize,
    bytes: Range<usize>,
    sequence: u64,
    /// All records below this one were synced when it was written.
    synced_below: u64,
}

fn number(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}

fn short_number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// The log starts with this file, and what older ones hold is void.
fn is_base(file: &[u8]) -> bool {
    short_number(file, 12) & 1 == 1
}

/// All records of files with which nothing was wrong yet.
fn records(files: &Files) -> Vec<Record> {
    let mut records = Vec::new();
    for (file, (_, bytes)) in files.iter().enumerate() {
        let mut sequence = number(bytes, 24);
        let salt_and_id = [bytes.get(32..40), bytes.get(16..24)].map(Option::unwrap_or_default);
        let mut at = FILE_HEADER;
        while let Some(header) = bytes.get(at..at + RECORD_HEADER) {
            let end = at + RECORD_HEADER + short_number(header, 4) as usize;
            let synced_below = number(header, 16);
            let empty = header.iter().all(|byte| *byte == 0);
            // A crash may have torn what was not synced, and left a header that is none.
            let mut checksum = crc32fast::Hasher::new();
            salt_and_id.iter().chain([&&header[4..]]).for_each(|part| checksum.update(part));
            let torn = checksum.finalize() != short_number(header, 0);
            if empty || torn || number(header, 8) != sequence || synced_below > sequence || end > bytes.len()
            {
                break;
            }
            records.push(Record { file, bytes: at..end, sequence, synced_below });
            sequence += 1;
            at = end.next_multiple_of(8);
        }
    }
    records
}

/// Which synced record is lost when the file of this place among `before` becomes `after`; none if
/// there is no way to know that it was synced.
pub(crate) fn rotted(before: &Files, which: usize, after: &[u8]) -> Option<String> {
    let base = before.iter().rposition(|(_, bytes)| is_base(bytes)).unwrap_or(0);
    if which < base {
        return None;
    }
    let is_hit = |record: &Record| {
        record.file == which && before[which].1.get(record.bytes.clone()) != after.get(record.bytes.clone())
    };
    let all: Vec<Record> = records(before).into_iter().filter(|record| record.file >= base).collect();
    let intact = all.iter().filter(|record| !is_hit(record));
    let synced = intact.map(|record| record.synced_below).max().unwrap_or(0);
    let hit = all.iter().find(|record| record.sequence < synced && is_hit(record))?;
    Some(format!("record {} at byte {} of {}", hit.sequence, hit.bytes.start, before[which].0.display()))
}

/// A replica starts, its log and its ledger being open.
pub(crate) fn rot_noticed(body: &Body) -> Verdict {
    match &body.rotted {
        Some(record) if !body.lies() => {
            unsafe_because("rot noticed", format!("{} starts, and does not miss {record}", body.place))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use sbft::disk::record::{FileHeader, Kind, encode};

    use super::*;

    /// A file of records, each with the word for how many were synced before it.
    fn file(id: u64, first: u64, base: bool, synced: &[u64]) -> (PathBuf, Vec<u8>) {
        let header = FileHeader { kind: Kind::Log, id, first, initial: 0, salt: 9, base, recycled: false };
        let mut bytes = header.encode().to_vec();
        for (nth, synced) in synced.iter().enumerate() {
            encode(&mut bytes, &header, first + nth as u64, *synced, b"a payload of some length");
        }
        bytes.resize(bytes.len() + 512, 0);
        (PathBuf::from(format!("{id:016x}.wal")), bytes)
    }

    /// Says what is missed when a bit of record `nth` of the file flips.
    fn flip(files: &Files, which: usize, nth: usize) -> Option<String> {
        let mut after = files[which].1.clone();
        after[FILE_HEADER + nth * 56 + 40] ^= 4;
        rotted(files, which, &after)
    }

    #[test]
    fn only_what_is_known_to_have_been_synced_is_missed() {
        // Two batches: 0 and 1, then 2 and 3.
        let files = vec![file(1, 0, true, &[0, 0, 2, 2])];
        assert!(flip(&files, 0, 0).is_some_and(|text| text.contains("record 0 at byte 64")));
        assert!(flip(&files, 0, 1).is_some());
        assert_eq!(flip(&files, 0, 2), None, "the last batch may be torn");
        assert_eq!(flip(&files, 0, 3), None);
        let mut padding = files[0].1.clone();
        *padding.last_mut().expect("a file") ^= 1;
        assert_eq!(rotted(&files, 0, &padding), None, "nothing is written there");
    }

    #[test]
    fn a_later_file_speaks_for_those_before_it_and_a_base_makes_them_void() {
        let later = |base| vec![file(1, 0, true, &[0, 0]), file(2, 2, base, &[2])];
        assert!(flip(&later(false), 0, 1).is_some());
        assert_eq!(flip(&later(true), 0, 1), None);
    }

    #[test]
    fn what_only_lost_records_say_is_not_known() {
        let files = vec![file(1, 0, true, &[0, 1])];
        let mut after = files[0].1.clone();
        after[64..].fill(0);
        assert_eq!(rotted(&files, 0, &after), None, "it looks like a log that was never written");
    }
}
