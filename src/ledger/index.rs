//! The index of a full block file: by number, and by header hash.
//!
//! A header (magic, version, file number, first block, count, length of the block file, CRC-32 of
//! all that follows the header), then for each block its offset, length and hash in order of
//! number, then the blocks' places in order of hash. Always made from the block file, and never
//! trusted further than the checksum goes.

use super::{Entry, FileHeader};
use crate::types::Digest;

/// An index whose checksum is good.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Index {
    bytes: Vec<u8>,
    count: usize,
}

impl Index {
    /// Makes the index of a block file that is `file_len` bytes long.
    pub(super) fn build(header: &FileHeader, entries: &[Entry], file_len: u64) -> Self {
        let mut body = Vec::with_capacity(entries.len() * (ENTRY + PLACE));
        for entry in entries {
            body.extend(entry.offset.to_le_bytes());
            body.extend(entry.len.to_le_bytes());
            body.extend(entry.hash.0);
        }
        let mut places: Vec<u32> = (0..entries.len() as u32).collect();
        places.sort_unstable_by_key(|place| entries[*place as usize].hash);
        for place in places {
            body.extend(place.to_le_bytes());
        }
        let mut bytes = Self::header(header, entries.len(), file_len, &body);
        bytes.extend(body);
        Self { bytes, count: entries.len() }
    }

    /// Reads the index of a block file with this header, count of blocks and length; `None` if it
    /// is not that.
    pub(super) fn decode(bytes: Vec<u8>, header: &FileHeader, count: u64, file_len: u64) -> Option<Self> {
        let count = usize::try_from(count).ok()?;
        let body = bytes.get(HEADER..)?;
        let good = body.len() == count.checked_mul(ENTRY + PLACE)?
            && bytes[..HEADER] == Self::header(header, count, file_len, body);
        good.then_some(Self { bytes, count })
    }

    /// The file's bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The file's block at this place, counted from 0.
    pub(super) fn by_number(&self, place: u64) -> Option<Entry> {
        let place = usize::try_from(place).ok().filter(|place| *place < self.count)?;
        let entry = &self.bytes[HEADER + place * ENTRY..][..ENTRY];
        Some(Entry {
            offset: u64::from_le_bytes(entry[..8].try_into().ok()?),
            len: u32::from_le_bytes(entry[8..12].try_into().ok()?),
            hash: Digest::from_slice(&entry[12..])?,
        })
    }

    /// The place of the block with this hash.
    pub(super) fn by_hash(&self, hash: &Digest) -> Option<u64> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            let at = HEADER + self.count * ENTRY + middle * PLACE;
            let place = u64::from(u32::from_le_bytes(self.bytes[at..at + PLACE].try_into().ok()?));
            match self.by_number(place)?.hash.cmp(hash) {
                std::cmp::Ordering::Equal => return Some(place),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    fn header(header: &FileHeader, count: usize, file_len: u64, body: &[u8]) -> Vec<u8> {
        let mut bytes = b"SBFT-IDX".to_vec();
        for word in [VERSION, header.id, header.first, header.salt, count as u64, file_len] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(u64::from(crc32fast::hash(body)).to_le_bytes());
        bytes
    }
}

const VERSION: u64 = 1;
const HEADER: usize = 64;
const ENTRY: usize = 44;
const PLACE: usize = 4;
