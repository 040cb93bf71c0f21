//! The block store.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use sbft::consenter::sbft::rules;
use sbft::dedup_window::DedupRule;
use sbft::disk::MemoryDisk;
use sbft::header::header_hash;
use sbft::ledger::{Ledger, LedgerError, LedgerOptions};
use sbft::pbft::ChainTip;
use sbft::types::{CommittedBlock, ConsenterId, Digest, Number};
use sbft::wire::block;

use super::LEDGER_DIRECTORY;

/// Small files: a run goes through several.
const FILE_BYTES: u64 = 8 << 10;

/// The node's ledger, and the blocks in it. The genesis block is implied; `blocks[0]` is block 1.
#[derive(Debug)]
pub struct BlockStore {
    disk: MemoryDisk,
    /// Open while the replica runs.
    ledger: Option<Ledger>,
    blocks: Vec<(Arc<CommittedBlock>, Bytes)>,
    synced: usize,
    /// The consenters, in order of place.
    ids: Vec<ConsenterId>,
}

impl BlockStore {
    /// The store on `disk` of a replica in a channel with `n`.
    pub(crate) fn new(disk: MemoryDisk, n: usize) -> Self {
        let ids = (1..=n as u32).map(ConsenterId).collect();
        Self { disk, ledger: None, blocks: Vec::new(), synced: 0, ids }
    }

    /// Opens the ledger and reads its blocks; a new one gets the genesis block first.
    ///
    /// # Errors
    /// What keeps a node from starting.
    pub(crate) fn open(&mut self, genesis: Digest) -> Result<(), String> {
        let opened = Ledger::open_on(Arc::new(self.disk.clone()), Path::new(LEDGER_DIRECTORY), options());
        let (ledger, _) = opened.map_err(|error| error.to_string())?;
        if ledger.height() == 0 {
            let appended = ledger.append(Number(0), &genesis, &Bytes::from_static(b"genesis"));
            appended.and_then(|()| ledger.sync()).map_err(|error| error.to_string())?;
        }
        // The node reads its genesis block at every start, too.
        ledger.block(Number(0)).map_err(|error| error.to_string())?;
        let mut blocks = Vec::with_capacity(ledger.height() as usize);
        for number in 1..ledger.height() {
            let bytes = ledger
                .block(Number(number))
                .map_err(|error| error.to_string())?
                .ok_or_else(|| format!("block {number} is missing"))?;
            // What it says is decoded once, when it comes back as it was written.
            let block = match self.blocks.get(number as usize - 1) {
                Some((known, written)) if *written == bytes => known.clone(),
                _ => Arc::new(block::decode(bytes.clone(), &self.ids).map_err(|error| error.to_string())?),
            };
            blocks.push((block, bytes));
        }
        self.blocks = blocks;
        self.synced = self.blocks.len();
        self.ledger = Some(ledger);
        Ok(())
    }

    /// Number of the last block; 0 for the genesis block.
    pub fn last(&self) -> Number {
        Number(self.blocks.len() as u64)
    }

    /// Number of the last synced block.
    pub fn durable(&self) -> Number {
        Number(self.synced as u64)
    }

    /// Blocks, the genesis block among them.
    pub fn height(&self) -> u64 {
        self.last().0 + 1
    }

    /// Appends; the caller has checked the number.
    pub(crate) fn append(&mut self, block: Arc<CommittedBlock>) -> Result<(), LedgerError> {
        let encoded = block::encode(&block);
        let hash = header_hash(&block.certificate.header);
        let number = block.number();
        self.blocks.push((block, encoded.clone()));
        match &self.ledger {
            Some(ledger) => ledger.append(number, &hash, &encoded),
            None => Ok(()),
        }
    }

    /// Syncs; gives the last durable number.
    pub(crate) fn sync(&mut self) -> Result<Number, LedgerError> {
        if let Some(ledger) = &self.ledger {
            ledger.sync()?;
            self.synced = (ledger.durable_height().saturating_sub(1) as usize).min(self.blocks.len());
        }
        Ok(self.durable())
    }

    /// The power goes off. The disk crashes after this; then comes [`Self::find`].
    pub(crate) fn down(&mut self) {
        self.ledger = None;
    }

    /// Looks what a crash has left, without changing it; gives the bytes of a torn tail.
    pub(crate) fn find(&mut self) -> u64 {
        let copy = Arc::new(self.disk.fork());
        let found = Ledger::open_on(copy, LEDGER_DIRECTORY, options());
        let (height, torn) = found.map_or((0, 0), |(ledger, found)| (ledger.height(), found.cut_bytes));
        self.blocks.truncate(height.saturating_sub(1) as usize);
        self.synced = self.blocks.len();
        torn
    }

    /// How many blocks are not synced.
    pub fn unsynced(&self) -> usize {
        self.blocks.len() - self.synced
    }

    /// Block `number`, if it is here.
    pub fn block(&self, number: Number) -> Option<&Arc<CommittedBlock>> {
        number.0.checked_sub(1).and_then(|index| self.blocks.get(index as usize)).map(|(block, _)| block)
    }

    /// Block `number` as the ledger gives it out.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn read(&self, number: Number) -> Result<Option<Arc<CommittedBlock>>, String> {
        let (Some(ledger), Some((block, written))) =
            (&self.ledger, number.0.checked_sub(1).and_then(|index| self.blocks.get(index as usize)))
        else {
            return Ok(None);
        };
        match ledger.block(number) {
            Ok(Some(bytes)) if bytes == *written => Ok(Some(block.clone())),
            Ok(_) => Err(format!("block {number} is not what was written")),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Where the chain ends, as recovery wants it.
    pub(crate) fn tip(&self, genesis: Digest, rule: DedupRule) -> ChainTip {
        let last = self.last();
        let recent = rules::recent_blocks(last, rule, |range| {
            let blocks = &self.blocks[*range.start() as usize - 1..*range.end() as usize];
            Ok::<_, Infallible>(
                blocks.iter().map(|(block, _)| (block.number(), Arc::clone(&block.ids))).collect(),
            )
        });
        let Ok(recent) = recent;
        let certificate = self.blocks.last().map(|(block, _)| Arc::new(block.certificate.clone()));
        rules::tip(genesis, last, recent, certificate).expect("every block has its certificate")
    }
}

fn options() -> LedgerOptions {
    LedgerOptions { file_bytes: FILE_BYTES }
}
