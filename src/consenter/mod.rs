//! The seams of an ordering service: [`Consenter`] makes a [`Chain`] for each channel, and the
//! chain reaches its channel through a [`ConsenterSupport`] (fabric-spec A.1 to A.4).
//!
//! Two consenters live here: `sbft` cuts envelopes into candidate blocks and then orders the
//! blocks (PBFT), and [`solo`] orders envelopes and then cuts them (one node, for development and
//! as a floor in benches). A third, over a stream that exists already, needs only these traits.

pub mod error;
pub mod sbft;
pub mod solo;
pub mod status;
pub mod support;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use crate::channel_config::ChannelConfig;
use crate::crypto::LocalSigner;
use crate::intake::block_cutter::BlockCutter;
use crate::msg_processor::Processor;
use crate::proto::common::{Block, Metadata};
use crate::types::{Digest, Number};
use crate::wire::envelope::Parsed;
pub use error::{HandleChainError, NotCommitted, NotReady, OrderError, WriteError};
pub use solo::Pending;
pub use status::{ChainStatus, PeerStatus, RoleStatus};

/// Makes chains. One for each consensus type; the registrar looks it up by the name that the
/// channel configuration's ConsensusType gives.
#[async_trait]
pub trait Consenter: Send + Sync {
    /// A chain for the channel behind `support`. Called once for each channel and process: at
    /// start for every channel on disk, and when a channel is joined. `metadata` is what the last
    /// block carries for the orderer ([`last_consenter_metadata`]); its value is empty for a
    /// chain that has only its genesis block.
    ///
    /// The chain does not run before [`Chain::start`].
    ///
    /// # Errors
    /// Anything that keeps this channel from running: the registrar reports it and goes on
    /// serving the others.
    async fn handle_chain(
        &self,
        support: Arc<dyn ConsenterSupport>,
        metadata: Metadata,
    ) -> Result<Arc<dyn Chain>, HandleChainError>;
}

/// One channel's ordering. All methods may be called from any task at any time; none panics.
#[async_trait]
pub trait Chain: Send + Sync {
    /// Accepts one normal envelope that passed the channel's filters when the config sequence was
    /// `config_sequence`. `Ok` means accepted for ordering, not committed; an envelope whose
    /// request id is waiting or was committed already is accepted too
    /// ([`Receipt::is_duplicate`]). If the sequence has advanced since, the filters run again.
    ///
    /// Waits while there is no room, but not for ever.
    ///
    /// # Errors
    /// Not accepted: not started, halted, no room in time, or it does not pass the filters of the
    /// configuration that holds now.
    async fn order(&self, envelope: Parsed, config_sequence: u64) -> Result<Receipt, OrderError>;

    /// Accepts envelopes, each as [`Self::order`] does, in order. The outcomes are those of the
    /// envelopes up to the first that is not accepted; none after it is ordered.
    async fn order_all(&self, envelopes: Vec<(Parsed, u64)>) -> Vec<Result<Receipt, OrderError>> {
        let mut outcomes = Vec::with_capacity(envelopes.len());
        for (envelope, config_sequence) in envelopes {
            let outcome = self.order(envelope, config_sequence).await;
            let accepted = outcome.is_ok();
            outcomes.push(outcome);
            if !accepted {
                break;
            }
        }
        outcomes
    }

    /// The same as [`Self::order`] for a config envelope made from a config update.
    ///
    /// # Errors
    /// Always [`OrderError::ConfigUpdatesNotServed`] so far: config updates are validated and then
    /// answered NOT_IMPLEMENTED before they reach a chain. Before start and after halt the
    /// error is that of [`Self::order`].
    async fn configure(&self, envelope: Parsed, config_sequence: u64) -> Result<Receipt, OrderError>;

    /// Whether it makes sense to accept envelopes now.
    ///
    /// # Errors
    /// Not started, halted, failed, or no quorum reachable; the text is for the client.
    async fn wait_ready(&self) -> Result<(), NotReady>;

    /// Tells when the chain is in error or halted; open while it is healthy (and before start).
    fn errored(&self) -> Errored;

    /// Lets it run. Does not block; a second call does nothing.
    fn start(&self);

    /// Stops it and frees what it holds; what was accepted and is not yet in a candidate is lost
    /// with the process. Repeated calls do nothing. [`Self::stopped`] waits for the end.
    fn halt(&self);

    /// Returns once a halted chain holds no file, thread or task any more.
    async fn stopped(&self);

    /// A snapshot for people and metrics.
    fn status(&self) -> ChainStatus;
}

/// What a chain may use of its channel: the signer, the filters, the cutter, the configuration
/// and the ledger.
#[async_trait]
pub trait ConsenterSupport: Send + Sync {
    /// Signs as this node.
    fn signer(&self) -> &Arc<dyn LocalSigner>;

    /// The channel's filters, for the configuration that holds now.
    fn processor(&self) -> Arc<Processor>;

    /// The channel's block cutter, for consenters that cut after ordering. Hold the guard for
    /// single calls, never across an await.
    fn block_cutter(&self) -> MutexGuard<'_, BlockCutter<Pending>>;

    /// The configuration that holds now; ask again instead of keeping it.
    fn shared_config(&self) -> Arc<ChannelConfig>;

    /// The next block over `envelopes`: number and previous hash follow the last block that was
    /// handed to [`Self::write_block`] (on disk or not), five empty metadata slots. Changes
    /// nothing: called twice without a write in between it gives the same number twice. A
    /// consenter that pipelines keeps its own count.
    fn create_next_block(&self, envelopes: Vec<Bytes>) -> Block;

    /// Hands over a block to write. Returns once the *previous* block is appended; this one is
    /// then the last block for [`Self::create_next_block`], and is finished in the background:
    /// if slot 0 is empty the value is made from the last config block's number and
    /// `consenter_metadata`, and signed in the non-BFT form (fabric-spec C.3); slot 1 is filled
    /// the same way; append and sync follow.
    ///
    /// # Errors
    /// The block does not follow the last one, or an earlier write failed: the chain must stop.
    async fn write_block(
        self: Arc<Self>,
        block: Block,
        consenter_metadata: Option<Bytes>,
    ) -> Result<(), WriteError>;

    /// Writes a block that holds one config envelope, and installs the configuration first.
    ///
    /// # Errors
    /// Always [`WriteError::ConfigUpdatesNotServed`] so far: no part of this engine makes such a
    /// block yet; the genesis block is appended when a channel is joined.
    async fn write_config_block(
        self: Arc<Self>,
        block: Block,
        consenter_metadata: Option<Bytes>,
    ) -> Result<(), WriteError>;

    /// Appends a block that the consenter finished itself, signatures and all, without a sync:
    /// `encoding` is the exact `common.Block`. Readers see it at once. Blocks the calling thread
    /// for the write.
    ///
    /// # Errors
    /// It does not follow the last block, or the store failed.
    fn append_finished(
        &self,
        number: Number,
        header_hash: Digest,
        encoding: &Bytes,
    ) -> Result<(), WriteError>;

    /// Makes everything appended so far durable; returns the number of the last durable block.
    /// Blocks the calling thread.
    ///
    /// # Errors
    /// The store failed; nothing that was not durable before may be relied on.
    fn sync_ledger(&self) -> Result<Number, WriteError>;

    /// The encoding of block `number`; `None` at and above the height. Blocks the calling thread.
    ///
    /// # Errors
    /// The store failed or is corrupt.
    fn block(&self, number: Number) -> Result<Option<Bytes>, WriteError>;

    /// Config sequence of the configuration that holds now.
    fn sequence(&self) -> u64;

    /// The channel's name.
    fn chain_id(&self) -> &str;

    /// How many blocks the ledger has.
    fn height(&self) -> u64;

    /// [`Self::height`], watched.
    fn watch_height(&self) -> watch::Receiver<u64>;

    /// Header hash of the genesis block.
    fn genesis_hash(&self) -> Digest;

    /// Directory for the consenter's own files of this channel.
    fn directory(&self) -> &std::path::Path;

    /// The directory was marked as new by the command that made it and has not been used yet; a
    /// log that is missing although this is false was lost.
    fn is_marked_new(&self) -> bool;

    /// Takes the mark of [`Self::is_marked_new`] away, durably. Called once the log exists.
    ///
    /// # Errors
    /// The file cannot be removed.
    fn remove_new_mark(&self) -> std::io::Result<()>;
}

/// The answer to an accepted envelope.
pub struct Receipt {
    duplicate: bool,
    committed: Pin<Box<dyn Future<Output = Result<Number, NotCommitted>> + Send>>,
}

impl Receipt {
    /// For chains: `committed` is only polled if somebody asks for it.
    pub fn new(
        duplicate: bool,
        committed: impl Future<Output = Result<Number, NotCommitted>> + Send + 'static,
    ) -> Self {
        Self { duplicate, committed: Box::pin(committed) }
    }

    /// The request id was known already, waiting or committed.
    pub fn is_duplicate(&self) -> bool {
        self.duplicate
    }

    /// Waits until the envelope is in a committed block that this node has appended; gives the
    /// block's number. Without a limit of its own: wrap it in a timeout.
    ///
    /// # Errors
    /// The chain stopped, or dropped the envelope because a new configuration forbids it.
    pub async fn committed(self) -> Result<Number, NotCommitted> {
        self.committed.await
    }
}

impl std::fmt::Debug for Receipt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receipt").field("duplicate", &self.duplicate).finish_non_exhaustive()
    }
}

/// Health of a chain as Deliver consults it.
#[derive(Clone, Debug)]
pub struct Errored(watch::Receiver<Health>);

/// Whether a chain works, for [`Errored`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// It works or has not been started.
    #[default]
    Good,
    /// It was halted.
    Halted,
    /// It stopped by itself; the text says why and what to do.
    Failed(String),
}

impl Errored {
    /// For chains.
    pub fn new(health: watch::Receiver<Health>) -> Self {
        Self(health)
    }

    /// What holds now.
    pub fn health(&self) -> Health {
        self.0.borrow().clone()
    }

    /// The chain is halted or failed.
    pub fn is_errored(&self) -> bool {
        *self.0.borrow() != Health::Good
    }

    /// Returns once the chain is halted or failed (or was dropped).
    pub async fn wait(&mut self) {
        // An error says that the chain is gone, which is what we wait for.
        let _gone = self.0.wait_for(|health| *health != Health::Good).await;
    }
}

/// How long [`Chain::order`] waits for room before it gives up.
pub const ROOM_TIMEOUT: Duration = Duration::from_secs(5);

/// What `block` carries for the orderer: the consenter metadata of slot 0 as a `Metadata` value,
/// or, where slot 0 has no value, what slot 3 holds; empty for a genesis block. Slots that cannot
/// be decoded count as empty: the consenter reads its own block more strictly.
pub fn last_consenter_metadata(block: &Block) -> Metadata {
    use crate::proto::common::{BlockMetadataIndex, OrdererBlockMetadata};
    use prost::Message as _;

    let slot = |index: BlockMetadataIndex| -> Metadata {
        let slots = block.metadata.as_ref().map_or(&[][..], |metadata| &metadata.metadata);
        let bytes = slots.get(index as usize).cloned().unwrap_or_default();
        Metadata::decode(bytes).unwrap_or_default()
    };
    let signatures = slot(BlockMetadataIndex::Signatures);
    if signatures.value.is_empty() {
        return slot(BlockMetadataIndex::Orderer);
    }
    let value = OrdererBlockMetadata::decode(signatures.value)
        .map(|metadata| metadata.consenter_metadata)
        .unwrap_or_default();
    Metadata { value, signatures: Vec::new() }
}
