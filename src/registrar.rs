//! The channels of this node, by name.
//!
//! Each channel has a directory of its own, `<data>/channels/<name>`, with its `ledger` and what
//! its chain keeps. A channel that cannot run is reported and the others are served.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use prost::Message as _;
use tokio::sync::watch;

use crate::channel_config::{ChannelConfig, Consensus};
use crate::consenter::support::{ChannelSupport, NEW_MARK, SupportParts};
use crate::consenter::{Chain, Consenter, ConsenterSupport as _, HandleChainError, last_consenter_metadata};
use crate::crypto::LocalSigner;
use crate::header::{data_hash, header_hash};
use crate::ledger::{Ledger, LedgerError, LedgerOptions};
use crate::msg_processor::{Processor, ProcessorOptions};
use crate::proto::common::{Block, BlockMetadataIndex, LastConfig, Metadata, OrdererBlockMetadata};
use crate::types::{Digest, Header, Number};
use crate::wire::WireError;
use crate::wire::block::header_of as header_of_block;

/// What the channels of a node share.
pub struct RegistrarOptions {
    /// The node's data directory; channels live in `channels` below it.
    pub data: PathBuf,
    /// Signs as this node.
    pub signer: Arc<dyn LocalSigner>,
    /// Local settings of the filters.
    pub processor: ProcessorOptions,
    /// Settings of the block stores.
    pub ledger: LedgerOptions,
    /// By name of the consensus type: "BFT", "solo".
    pub consenters: BTreeMap<String, Arc<dyn Consenter>>,
}

/// The channels of this node.
pub struct Registrar {
    options: RegistrarOptions,
    channels: RwLock<BTreeMap<String, Arc<Channel>>>,
}

/// One channel: configuration, filters, ledger and chain.
pub struct Channel {
    support: Arc<ChannelSupport>,
    chain: Arc<dyn Chain>,
}

/// Why a channel cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// It is served already.
    #[error("channel {channel} is served already")]
    Exists {
        /// The channel.
        channel: String,
    },
    /// The block given is not the genesis block of a channel.
    #[error("the genesis block cannot be used: {reason}")]
    Genesis {
        /// Why, and what to do.
        reason: String,
    },
    /// The channel's directory holds another chain.
    #[error(
        "{directory} holds another chain named {channel}: its genesis block has hash {found}, the one given {given}; \
         use another data directory or the genesis block that belongs to this one"
    )]
    OtherChain {
        /// The channel.
        channel: String,
        /// Where.
        directory: String,
        /// Of the stored genesis block, in hex.
        found: String,
        /// Of the one given, in hex.
        given: String,
    },
    /// No consenter of this node knows the consensus type.
    #[error("channel {channel} has consensus type {found}, which this node does not run")]
    ConsensusType {
        /// The channel.
        channel: String,
        /// The type.
        found: String,
    },
    /// A file or directory cannot be used.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The ledger cannot be opened or read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The stored chain cannot be understood.
    #[error("channel {channel}: block {number} of the ledger cannot be used: {reason}")]
    Block {
        /// The channel.
        channel: String,
        /// Which block.
        number: Number,
        /// Why.
        reason: String,
    },
    /// The consenter refused the channel.
    #[error(transparent)]
    Chain(#[from] HandleChainError),
}

impl Registrar {
    /// A registrar without channels.
    pub fn new(options: RegistrarOptions) -> Self {
        Self { options, channels: RwLock::default() }
    }

    /// The channel of this name, if this node serves it.
    pub fn get(&self, name: &str) -> Option<Arc<Channel>> {
        self.channels.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// All channels, in order of name.
    pub fn channels(&self) -> Vec<Arc<Channel>> {
        self.channels.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Serves the channel that `genesis` begins: opens its directory (made if there is none),
    /// stores the genesis block if the ledger is empty, and lets its consenter make the chain.
    /// The chain is started.
    ///
    /// # Errors
    /// See [`JoinError`]; other channels are not affected.
    pub async fn join(&self, genesis: Block) -> Result<Arc<Channel>, JoinError> {
        let config = ChannelConfig::from_block(&genesis)
            .map_err(|error| JoinError::Genesis { reason: error.to_string() })?;
        let name = config.channel_id.clone();
        if self.get(&name).is_some() {
            return Err(JoinError::Exists { channel: name });
        }
        let support = self.open(&name, genesis, config)?;
        let config = support.shared_config();
        let kind = match &config.consensus {
            Consensus::Sbft(_) => "BFT",
            Consensus::Solo => "solo",
        };
        let consenter = self
            .options
            .consenters
            .get(kind)
            .ok_or_else(|| JoinError::ConsensusType { channel: name.clone(), found: kind.into() })?;
        let last = stored(&support, Number(support.height().saturating_sub(1)))?;
        let chain = consenter.handle_chain(support.clone(), last_consenter_metadata(&last)).await?;

        let channel = Arc::new(Channel { support, chain });
        {
            let mut channels = self.channels.write().unwrap_or_else(PoisonError::into_inner);
            if channels.contains_key(&name) {
                return Err(JoinError::Exists { channel: name });
            }
            channels.insert(name, channel.clone());
        }
        channel.chain.start();
        Ok(channel)
    }

    /// Halts all chains and waits until they hold nothing any more. Channels stay readable.
    pub async fn halt(&self) {
        let channels = self.channels();
        for channel in &channels {
            channel.chain.halt();
        }
        for channel in &channels {
            channel.chain.stopped().await;
            channel.support.written().await;
        }
    }

    fn open(
        &self,
        name: &str,
        genesis: Block,
        config: ChannelConfig,
    ) -> Result<Arc<ChannelSupport>, JoinError> {
        let bad_genesis = |error: WireError| JoinError::Genesis { reason: error.to_string() };
        let genesis_header = header_of_block(&genesis).map_err(bad_genesis)?;
        if genesis_header.number != Number(0) || genesis_header.previous_hash.is_some() {
            return Err(JoinError::Genesis { reason: "it is not block 0 of a chain".into() });
        }
        let data = genesis.data.as_ref().map_or(&[][..], |data| &data.data);
        if data_hash(data) != genesis_header.data_hash {
            return Err(JoinError::Genesis { reason: "its data hash does not fit its data".into() });
        }

        let directory = channel_directory(&self.options.data, name);
        make_directory(&directory)?;
        let (ledger, recovered) = Ledger::open(directory.join("ledger"), self.options.ledger.clone())?;
        if recovered.cut_bytes > 0 {
            tracing::warn!(channel = name, cut_bytes = recovered.cut_bytes, "cut a torn tail off the ledger");
        }
        let hash = header_hash(&genesis_header);
        if ledger.height() == 0 {
            ledger.append(Number(0), &hash, &Bytes::from(genesis.encode_to_vec()))?;
            ledger.sync()?;
        }
        let height = ledger.height();
        let first = read(&ledger, name, Number(0))?;
        let found = header_hash(&header_of(&first, name, Number(0))?);
        if found != hash {
            return Err(JoinError::OtherChain {
                channel: name.into(),
                directory: directory.display().to_string(),
                found: hex::encode(found.0),
                given: hex::encode(hash.0),
            });
        }

        let last_number = Number(height - 1);
        let last = read(&ledger, name, last_number)?;
        let last_config = last_config_of(&last, name, last_number)?;
        let config = if last_config == Number(0) {
            config
        } else {
            ChannelConfig::from_block(&read(&ledger, name, last_config)?).map_err(|error| {
                JoinError::Block { channel: name.into(), number: last_config, reason: error.to_string() }
            })?
        };
        let config = Arc::new(config);
        let processor = Arc::new(Processor::new(config.clone(), self.options.processor.clone()));
        Ok(Arc::new(ChannelSupport::new(SupportParts {
            directory,
            config,
            processor,
            signer: self.options.signer.clone(),
            ledger: Arc::new(ledger),
            genesis: genesis_header,
            last: header_of(&last, name, last_number)?,
            last_config,
        })))
    }
}

impl Channel {
    /// The channel's name.
    pub fn id(&self) -> &str {
        self.support.chain_id()
    }

    /// The configuration that holds now; ask again instead of keeping it.
    pub fn config(&self) -> Arc<ChannelConfig> {
        self.support.shared_config()
    }

    /// The filters of the configuration that holds now.
    pub fn processor(&self) -> Arc<Processor> {
        self.support.processor()
    }

    /// The channel's ordering.
    pub fn chain(&self) -> &Arc<dyn Chain> {
        &self.chain
    }

    /// How many blocks the ledger has.
    pub fn height(&self) -> u64 {
        self.support.height()
    }

    /// [`Self::height`], watched: it changes once a block can be read with [`Self::block`].
    pub fn watch_height(&self) -> watch::Receiver<u64> {
        self.support.watch_height()
    }

    /// The encoding (`common.Block`) of block `number`; `None` at and above the height. Reads a
    /// file: a few microseconds when the block is recent, a disk access when it is not.
    ///
    /// # Errors
    /// The store failed or is corrupt.
    pub fn block(&self, number: Number) -> Result<Option<Bytes>, LedgerError> {
        self.support.ledger().block(number)
    }

    /// The number of the block with this header hash.
    ///
    /// # Errors
    /// The store failed.
    pub fn number_of(&self, header_hash: &Digest) -> Result<Option<Number>, LedgerError> {
        self.support.ledger().number_of(header_hash)
    }
}

/// The directory of channel `name` below a node's data directory.
pub fn channel_directory(data: &Path, name: &str) -> PathBuf {
    data.join("channels").join(name)
}

/// Marks the directory of channel `name` below the data directory of a *new* node as new, durably,
/// and makes it if there is none. Only for commands that create a network: a replica that finds
/// neither a log nor this mark takes it that its log was lost, and does not vote.
///
/// # Errors
/// The directory or the mark cannot be made.
pub fn mark_new(data: &Path, name: &str) -> Result<(), JoinError> {
    let directory = channel_directory(data, name);
    make_directory(&directory)?;
    let mark = directory.join(NEW_MARK);
    let failed = |source| JoinError::Io { action: "create", path: mark.display().to_string(), source };
    let text = "This replica has not run yet. It removes this file when its log exists.\n";
    fs::write(&mark, text).map_err(failed)?;
    File::open(&mark).and_then(|file| file.sync_all()).map_err(failed)?;
    sync_directory(&directory)
}

fn make_directory(directory: &Path) -> Result<(), JoinError> {
    fs::create_dir_all(directory).map_err(|source| JoinError::Io {
        action: "create",
        path: directory.display().to_string(),
        source,
    })?;
    // Its own entry must survive a crash too, and so must those of the two directories above.
    directory.ancestors().take(3).filter(|path| path.is_dir()).try_for_each(sync_directory)
}

fn sync_directory(directory: &Path) -> Result<(), JoinError> {
    File::open(directory).and_then(|file| file.sync_all()).map_err(|source| JoinError::Io {
        action: "sync",
        path: directory.display().to_string(),
        source,
    })
}

fn read(ledger: &Ledger, channel: &str, number: Number) -> Result<Block, JoinError> {
    let fault = |reason: String| JoinError::Block { channel: channel.into(), number, reason };
    let bytes = ledger.block(number)?.ok_or_else(|| fault("it is missing".into()))?;
    Block::decode(bytes).map_err(|error| fault(error.to_string()))
}

fn stored(support: &ChannelSupport, number: Number) -> Result<Block, JoinError> {
    read(support.ledger(), support.chain_id(), number)
}

fn header_of(block: &Block, channel: &str, number: Number) -> Result<Header, JoinError> {
    header_of_block(block).map_err(|error| JoinError::Block {
        channel: channel.into(),
        number,
        reason: error.to_string(),
    })
}

/// Number of the last config block at `block`, from slot 0; 0 for a genesis block.
fn last_config_of(block: &Block, channel: &str, number: Number) -> Result<Number, JoinError> {
    if number == Number(0) {
        return Ok(number);
    }
    let fault = |reason: String| JoinError::Block { channel: channel.into(), number, reason };
    let slots = block.metadata.as_ref().map_or(&[][..], |metadata| &metadata.metadata);
    let slot = slots.get(BlockMetadataIndex::Signatures as usize).cloned().unwrap_or_default();
    let signatures = Metadata::decode(slot).map_err(|error| fault(format!("metadata slot 0: {error}")))?;
    let value = OrdererBlockMetadata::decode(signatures.value)
        .map_err(|error| fault(format!("value of metadata slot 0: {error}")))?;
    let LastConfig { index } =
        value.last_config.ok_or_else(|| fault("metadata slot 0 names no last config block".into()))?;
    if index > number.0 {
        return Err(fault(format!("its last config block {index} is above it")));
    }
    Ok(Number(index))
}
