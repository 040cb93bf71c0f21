//! The chain: each block on the one before, signed by a quorum of the configuration in force.

use std::collections::BTreeSet;

use prost::Message as _;

use super::block::{Fault, Reason, SignedMetadata, check_content, check_metadata, decode_canonical};
use super::config::Era;
use crate::proto::common::{Block, BlockHeader};

/// Checks a chain of blocks, one after the other, from the genesis block on.
#[derive(Clone, Debug)]
pub struct Verifier {
    genesis: Block,
    era: Era,
    /// Number of the next block; block 0 need not be shown.
    next: u64,
    hash: [u8; 32],
    last_config: u64,
    /// A block before was ours and not Fabric's.
    ours: bool,
}

/// A block that is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Its number.
    pub number: u64,
    /// Its header hash.
    pub hash: [u8; 32],
    /// How many consenters signed it; 0 for the genesis block.
    pub signatures: usize,
    /// The quorum that was needed; 0 for the genesis block.
    pub quorum: usize,
}

impl Verifier {
    /// Starts with `genesis`, which is trusted, but must be a config block 0 that hangs together.
    pub fn from_genesis(genesis: &Block) -> Result<Self, Fault> {
        let fault = |reason| Fault { block: 0, reason };
        let parts = check_content(genesis, 0, None).map_err(fault)?;
        let config = parts.config.ok_or_else(|| fault(Reason::Without("configuration")))?;
        let era = Era::from_config(&config).map_err(|what| fault(Reason::Config(what)))?;
        Ok(Self { genesis: genesis.clone(), era, next: 1, hash: parts.hash, last_config: 0, ours: false })
    }

    /// Number of the block that [`Self::check`] expects next (block 0 is accepted before block 1).
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Header hash of the last block that was found good.
    pub fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    /// How many consenters the configuration in force has, and how many signatures a block needs.
    pub fn consenters_and_quorum(&self) -> (usize, usize) {
        (self.era.keys.len(), self.era.quorum())
    }

    /// Compares block 0 with the genesis block, by header and data.
    pub fn check_genesis(&self, bytes: &[u8]) -> Result<Checked, Fault> {
        let fault = |reason| Fault { block: 0, reason };
        let block = Block::decode(bytes).map_err(|_| fault(Reason::Undecodable("the block")))?;
        if block.header != self.genesis.header {
            return Err(fault(Reason::NotGenesis("header")));
        }
        if block.data != self.genesis.data {
            return Err(fault(Reason::NotGenesis("data")));
        }
        let parts = check_content(&block, 0, None).map_err(fault)?;
        Ok(Checked { number: 0, hash: parts.hash, signatures: 0, quorum: 0 })
    }

    /// Checks the next block, a serialized `common.Block`. Nothing changes if it is refused.
    pub fn check(&mut self, bytes: &[u8]) -> Result<Checked, Fault> {
        let number = self.next;
        self.check_next(bytes).map_err(|reason| Fault { block: number, reason })
    }

    fn check_next(&mut self, bytes: &[u8]) -> Result<Checked, Reason> {
        let block: Block = decode_canonical(bytes, "the block")?;
        let parts = check_content(&block, self.next, Some(&self.hash))?;
        let metadata = check_metadata(&block, self.next, self.ours)?;
        let expected = if parts.config.is_some() { self.next } else { self.last_config };
        if metadata.last_config != expected {
            return Err(Reason::LastConfig { found: metadata.last_config, expected });
        }
        self.check_signatures(&metadata, &parts.header_bytes)?;
        // Only now the configuration in it counts: it was signed under the one before.
        let next_era = parts.config.map(|config| self.next_era(&config)).transpose()?;

        let checked = Checked {
            number: self.next,
            hash: parts.hash,
            signatures: metadata.signatures.len(),
            quorum: self.era.quorum(),
        };
        if let Some(era) = next_era {
            self.era = era;
        }
        self.hash = parts.hash;
        self.last_config = metadata.last_config;
        self.ours = metadata.ours;
        self.next = parts.header.number + 1;
        Ok(checked)
    }

    fn check_signatures(&self, metadata: &SignedMetadata, header_bytes: &[u8]) -> Result<(), Reason> {
        let mut signers = BTreeSet::new();
        for (place, signature) in metadata.signatures.iter().enumerate() {
            let id = signature.id;
            let key = self.era.keys.get(&id).ok_or(Reason::Stranger { place, id })?;
            if !signers.insert(id) {
                return Err(Reason::SignedTwice(id));
            }
            let signed = [&metadata.value, &signature.identifier_header, header_bytes].concat();
            key.check(&signed, &signature.signature).map_err(|what| Reason::Signature {
                id,
                what,
                view: metadata.view,
            })?;
        }
        let (found, needed) = (signers.len(), self.era.quorum());
        if found < needed {
            return Err(Reason::TooFew { found, needed });
        }
        Ok(())
    }

    fn next_era(&self, config: &crate::proto::common::Envelope) -> Result<Era, Reason> {
        let era = Era::from_config(config).map_err(Reason::Config)?;
        if era.channel != self.era.channel {
            return Err(Reason::Config(format!("it is for channel {:?}", era.channel)));
        }
        if Some(era.sequence) != self.era.sequence.checked_add(1) {
            let (found, before) = (era.sequence, self.era.sequence);
            return Err(Reason::Config(format!("its sequence is {found}, and {before} before it")));
        }
        Ok(era)
    }
}

/// The number in a serialized block's header, unchecked; `None` if it cannot be read.
pub(super) fn number_in(bytes: &[u8]) -> Option<u64> {
    let block = Block::decode(bytes).ok()?;
    block.header.map(|header: BlockHeader| header.number)
}
