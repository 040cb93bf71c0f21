//! A ledger as it was at one moment, for reading only: no lock, nothing changed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::recovery::{ReadFile, check_count, check_format, check_tail, headers, read_block_file};
use super::{HASH, LedgerError, block_file, io_error};
use crate::disk::record::{FileHeader, Tail};
use crate::disk::{Access, Disk};

/// A ledger as it was when it was opened; a replica may be writing to it. Reads block files from
/// end to end and uses no index.
#[derive(Debug)]
pub struct LedgerReader {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    headers: Vec<FileHeader>,
    /// Bytes of the last file that hold whole blocks.
    end: u64,
    height: u64,
    tail: Option<UnfinishedTail>,
    /// The last file is corrupt after `height`.
    broken: bool,
}

/// Bytes after the last whole block: a block that is being written, or one that a crash tore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnfinishedTail {
    /// The block file.
    pub file: PathBuf,
    /// Where it starts, bytes from the start of the file.
    pub offset: u64,
    /// How many bytes it has.
    pub bytes: u64,
}

impl LedgerReader {
    /// Opens the ledger in `dir`.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<Self, LedgerError> {
        check_format(&*disk, dir)?;
        let headers = headers(&*disk, dir)?;
        let mut reader =
            Self { disk, dir: dir.to_owned(), headers, end: 0, height: 0, tail: None, broken: false };
        if let Some(last) = reader.headers.last() {
            let read = reader.read_file(last, None)?;
            reader.height = last.first + read.scan.records.len() as u64;
            reader.end = read.scan.end as u64;
            reader.broken = matches!(read.scan.tail, Tail::Corrupt(_));
            if read.len > reader.end && !reader.broken {
                let file = reader.dir.join(block_file(last.id));
                reader.tail = Some(UnfinishedTail { file, offset: reader.end, bytes: read.len - reader.end });
            }
        }
        Ok(reader)
    }

    /// Count of whole blocks: up to the first that cannot be read, where `blocks` ends in an error.
    pub fn height(&self) -> u64 {
        self.height
    }

    /// What follows the last whole block, if anything does.
    pub fn tail(&self) -> Option<&UnfinishedTail> {
        self.tail.as_ref()
    }

    /// All blocks from number 0, in order, each with the number it is stored under, up to the
    /// first that is corrupt: then an error, and the end. Holds one block file in memory at a time.
    pub fn blocks(&self) -> Blocks<'_> {
        Blocks { reader: self, file: 0, number: 0, read: Vec::new().into_iter(), error: None }
    }

    fn read_file(&self, header: &FileHeader, len: Option<u64>) -> Result<ReadFile, LedgerError> {
        let path = self.dir.join(block_file(header.id));
        let file = self.disk.open(&path, Access::Read).map_err(io_error("open", &path))?;
        read_block_file(&*file, &path, header, len)
    }
}

/// The blocks of a [`LedgerReader`].
#[derive(Debug)]
pub struct Blocks<'a> {
    reader: &'a LedgerReader,
    file: usize,
    number: u64,
    read: std::vec::IntoIter<Bytes>,
    /// What comes after `read`.
    error: Option<LedgerError>,
}

impl Blocks<'_> {
    fn read_next_file(&mut self) -> Result<bool, LedgerError> {
        let headers = &self.reader.headers;
        let Some(header) = headers.get(self.file) else { return Ok(false) };
        let next = headers.get(self.file + 1);
        let len = if next.is_none() { Some(self.reader.end) } else { None };
        let read = self.reader.read_file(header, if self.reader.broken { None } else { len })?;
        let count = next.map_or(self.reader.height, |next| next.first) - header.first;
        let path = self.reader.dir.join(block_file(header.id));
        self.error = check_tail(&path, header, &read.scan)
            .and_then(|()| check_count(&path, header, &read.scan, count))
            .err();
        self.file += 1;
        self.number = header.first;
        self.read = read.scan.records.into_iter();
        Ok(true)
    }
}

impl Iterator for Blocks<'_> {
    type Item = Result<(u64, Bytes), LedgerError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            // A record shorter than a hash is what `error` is about.
            if let Some(payload) = self.read.next().filter(|payload| payload.len() >= HASH) {
                self.number += 1;
                return Some(Ok((self.number - 1, payload.slice(HASH..))));
            }
            if let Some(error) = self.error.take() {
                self.file = self.reader.headers.len();
                self.read = Vec::new().into_iter();
                return Some(Err(error));
            }
            match self.read_next_file() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    self.file = self.reader.headers.len();
                    return Some(Err(error));
                }
            }
        }
    }
}
