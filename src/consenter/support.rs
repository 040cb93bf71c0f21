//! What a chain may use of its channel: [`ChannelSupport`] over ledger, filters and signer.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use prost::Message as _;
use tokio::sync::{OwnedMutexGuard, watch};

use super::{ConsenterSupport, Pending, WriteError};
use crate::channel_config::ChannelConfig;
use crate::crypto::{LocalSigner, SignError};
use crate::header::header_hash;
use crate::intake::block_cutter::BlockCutter;
use crate::ledger::Ledger;
use crate::metrics;
use crate::msg_processor::Processor;
use crate::proto::common::Block;
use crate::types::{Digest, Header, Number};
use crate::wire::WireError;
use crate::wire::block::{fill_signed_by_one, header_of, next_block, orderer_metadata, signing_bytes};

/// The file that marks a channel's directory as new.
pub(crate) const NEW_MARK: &str = "NEW";

/// The last block handed over for writing.
#[derive(Clone, Copy, Debug)]
struct Last {
    number: Number,
    hash: Digest,
    last_config: Number,
}

/// What one write at a time may touch; the lock is held until the block is appended.
#[derive(Debug, Default)]
struct Writer {
    failed: Option<String>,
}

/// A channel's parts, as its chain sees them.
pub struct ChannelSupport {
    channel: String,
    directory: PathBuf,
    config: Mutex<(Arc<ChannelConfig>, Arc<Processor>)>,
    cutter: Mutex<BlockCutter<Pending>>,
    signer: Arc<dyn LocalSigner>,
    ledger: Arc<Ledger>,
    genesis: Digest,
    last: Mutex<Last>,
    writer: Arc<tokio::sync::Mutex<Writer>>,
    height: watch::Sender<u64>,
}

/// What a [`ChannelSupport`] is made of.
pub struct SupportParts {
    /// The channel's directory, for the consenter's own files.
    pub directory: PathBuf,
    /// The configuration at the last block.
    pub config: Arc<ChannelConfig>,
    /// Its filters.
    pub processor: Arc<Processor>,
    /// Signs as this node.
    pub signer: Arc<dyn LocalSigner>,
    /// The ledger; it holds the genesis block at least.
    pub ledger: Arc<Ledger>,
    /// Header of the genesis block.
    pub genesis: Header,
    /// Header of the last block.
    pub last: Header,
    /// Number of the last config block.
    pub last_config: Number,
}

/// The value behind a lock whose holder cannot have left it half changed.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ChannelSupport {
    /// Puts a channel together.
    pub fn new(parts: SupportParts) -> Self {
        let height = watch::Sender::new(parts.ledger.height());
        let last = Last {
            number: parts.last.number,
            hash: header_hash(&parts.last),
            last_config: parts.last_config,
        };
        Self {
            channel: parts.config.channel_id.clone(),
            directory: parts.directory,
            cutter: Mutex::new(BlockCutter::new()),
            config: Mutex::new((parts.config, parts.processor)),
            signer: parts.signer,
            ledger: parts.ledger,
            genesis: header_hash(&parts.genesis),
            last: Mutex::new(last),
            writer: Arc::default(),
            height,
        }
    }

    /// The ledger, for readers.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    fn ledger_error(&self, error: &impl ToString) -> WriteError {
        WriteError::Ledger { channel: self.channel.clone(), reason: error.to_string() }
    }

    /// Fills slots 0 and 1 where slot 0 is empty.
    async fn finish(
        &self,
        block: &mut Block,
        header: &Header,
        last_config: Number,
        consenter_metadata: Option<Bytes>,
    ) -> Result<(), WriteError> {
        if !block
            .metadata
            .as_ref()
            .is_none_or(|metadata| metadata.metadata.first().is_none_or(Bytes::is_empty))
        {
            return Ok(()); // the consenter has filled its slots itself
        }
        let sign_error =
            |error: SignError| WriteError::Sign { number: header.number, reason: error.to_string() };
        let value = orderer_metadata(last_config, consenter_metadata.unwrap_or_default());
        let signature_header = self.signer.new_signature_header().await.map_err(sign_error)?;
        let signature_header = Bytes::from(signature_header.encode_to_vec());
        let message = signing_bytes(&value, &signature_header, header);
        let signature = self.signer.sign(&message).await.map_err(sign_error)?;
        fill_signed_by_one(block, value, signature_header, signature, last_config);
        Ok(())
    }

    /// Everything after [`ConsenterSupport::write_block`] has returned.
    async fn complete(
        self: Arc<Self>,
        mut block: Block,
        header: Header,
        last_config: Number,
        consenter_metadata: Option<Bytes>,
        mut writer: OwnedMutexGuard<Writer>,
    ) {
        let outcome = match self.finish(&mut block, &header, last_config, consenter_metadata).await {
            Err(error) => Err(error),
            Ok(()) => {
                let encoding = Bytes::from(block.encode_to_vec());
                let support = self.clone();
                let written = tokio::task::spawn_blocking(move || {
                    support.append(header.number, header_hash(&header), &encoding)?;
                    support.ledger.sync().map_err(|error| support.ledger_error(&error))
                });
                written.await.unwrap_or_else(|error| Err(self.ledger_error(&error)))
            }
        };
        if let Err(error) = outcome {
            tracing::error!(channel = %self.channel, number = header_number(&block), %error, "cannot write the block");
            writer.failed = Some(error.to_string());
        }
        // In this order: whoever gets the lock next may rely on this task holding no file.
        drop(self);
        drop(writer);
    }

    /// Returns once no block is being written in the background.
    pub async fn written(&self) {
        drop(self.writer.lock().await);
    }

    fn append(&self, number: Number, hash: Digest, encoding: &Bytes) -> Result<(), WriteError> {
        let begun = Instant::now();
        self.ledger.append(number, &hash, encoding).map_err(|error| self.ledger_error(&error))?;
        let height = number.0 + 1;
        self.height.send_replace(height);
        ::metrics::histogram!(metrics::LEDGER_COMMIT_TIME, "channel" => self.channel.clone())
            .record(begun.elapsed());
        ::metrics::gauge!(metrics::LEDGER_BLOCKCHAIN_HEIGHT, "channel" => self.channel.clone())
            .set(height as f64);
        Ok(())
    }
}

fn header_number(block: &Block) -> u64 {
    block.header.as_ref().map_or(0, |header| header.number)
}

#[async_trait]
impl ConsenterSupport for ChannelSupport {
    fn signer(&self) -> &Arc<dyn LocalSigner> {
        &self.signer
    }

    fn processor(&self) -> Arc<Processor> {
        locked(&self.config).1.clone()
    }

    fn block_cutter(&self) -> MutexGuard<'_, BlockCutter<Pending>> {
        locked(&self.cutter)
    }

    fn shared_config(&self) -> Arc<ChannelConfig> {
        locked(&self.config).0.clone()
    }

    fn create_next_block(&self, envelopes: Vec<Bytes>) -> Block {
        let last = *locked(&self.last);
        next_block(last.number.next(), last.hash, envelopes)
    }

    async fn write_block(
        self: Arc<Self>,
        block: Block,
        consenter_metadata: Option<Bytes>,
    ) -> Result<(), WriteError> {
        let malformed = |error: WireError| WriteError::Malformed { reason: error.to_string() };
        let header = header_of(&block).map_err(malformed)?;
        if block.data.is_none() {
            return Err(WriteError::Malformed { reason: "it has no data".into() });
        }
        let writer = self.writer.clone().lock_owned().await;
        if let Some(reason) = &writer.failed {
            return Err(WriteError::Earlier { channel: self.channel.clone(), reason: reason.clone() });
        }
        let last_config = {
            let mut last = locked(&self.last);
            let expected = last.number.next();
            if header.number != expected || header.previous_hash != Some(last.hash) {
                return Err(WriteError::OutOfOrder {
                    channel: self.channel.clone(),
                    found: header.number,
                    expected,
                });
            }
            *last = Last { number: header.number, hash: header_hash(&header), last_config: last.last_config };
            last.last_config
        };
        tokio::spawn(self.complete(block, header, last_config, consenter_metadata, writer));
        Ok(())
    }

    async fn write_config_block(
        self: Arc<Self>,
        _block: Block,
        _consenter_metadata: Option<Bytes>,
    ) -> Result<(), WriteError> {
        Err(WriteError::ConfigUpdatesNotServed)
    }

    fn append_finished(&self, number: Number, hash: Digest, encoding: &Bytes) -> Result<(), WriteError> {
        {
            let mut last = locked(&self.last);
            let expected = last.number.next();
            if number != expected {
                return Err(WriteError::OutOfOrder {
                    channel: self.channel.clone(),
                    found: number,
                    expected,
                });
            }
            *last = Last { number, hash, last_config: last.last_config };
        }
        self.append(number, hash, encoding)
    }

    fn sync_ledger(&self) -> Result<Number, WriteError> {
        let last = Number(self.ledger.height().saturating_sub(1));
        let begun = Instant::now();
        self.ledger.sync().map_err(|error| self.ledger_error(&error))?;
        ::metrics::histogram!(metrics::SYNC_SECONDS, "channel" => self.channel.clone(), "file" => "ledger")
            .record(begun.elapsed());
        Ok(last)
    }

    fn block(&self, number: Number) -> Result<Option<Bytes>, WriteError> {
        self.ledger.block(number).map_err(|error| self.ledger_error(&error))
    }

    fn sequence(&self) -> u64 {
        locked(&self.config).0.sequence
    }

    fn chain_id(&self) -> &str {
        &self.channel
    }

    fn height(&self) -> u64 {
        *self.height.borrow()
    }

    fn watch_height(&self) -> watch::Receiver<u64> {
        self.height.subscribe()
    }

    fn genesis_hash(&self) -> Digest {
        self.genesis
    }

    fn directory(&self) -> &Path {
        &self.directory
    }

    fn is_marked_new(&self) -> bool {
        self.directory.join(NEW_MARK).exists()
    }

    fn remove_new_mark(&self) -> std::io::Result<()> {
        match fs::remove_file(self.directory.join(NEW_MARK)) {
            Ok(()) => File::open(&self.directory)?.sync_all(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}
