//! Consensus type "BFT": cut envelopes into candidates, then order the candidates with PBFT.
//!
//! A chain drives one [`Replica`](crate::pbft::Replica) and one
//! [`Intake`](crate::intake::Intake), neither of which does any I/O:
//!
//! ```text
//!  order() ──────────────► ┌──────────┐ persist ──► log thread ──── durable ───┐
//!  receive: votes, bulk ──► │ protocol │ promise ──► release task: sign, wait, send, loop back
//!  repair: questions ─────► │   task   │ commit ───► block thread ──► sync thread
//!  durable blocks, timers ► └──────────┘ the rest ─► sent at once
//! ```
//!
//! What keeps the order of the core's outputs, which is the proof: all persists go to one log
//! thread in order, all promises to one release task in order, and a promise carries the number
//! of persists before it; it leaves when that many are durable. Nothing else makes promises.

mod blocks;
mod chain;
mod driver;
mod log;
mod members;
mod notes;
mod open;
mod reach;
mod receive;
mod release;
mod repair;
pub mod rules;
pub mod settled;
mod shared;
mod stale;
mod verdicts;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use prost::Message as _;

use super::{Chain, Consenter, ConsenterSupport, HandleChainError};
use crate::channel_config::Consensus;
use crate::crypto::PublicKey;
use crate::proto::common::Metadata;
use crate::proto::msp::SerializedIdentity;
use crate::transport::Transport;
use crate::types::Place;
use crate::wal::WalOptions;
use chain::SbftChain;
use members::PeerBook;

/// Settings of this node's replicas; none is a rule of the channel.
#[derive(Clone, Debug)]
pub struct SbftOptions {
    /// Bytes of accepted envelopes that wait for their commit, at most. Raising it takes more
    /// memory under overload and makes clients wait longer before they are told.
    pub pool_bytes: u64,
    /// How long appended blocks may wait for their sync. Raising it saves syncs and keeps more in
    /// the log meanwhile; nothing is lost in a crash either way.
    pub block_sync_interval: Duration,
    /// The log is compacted when this many bytes were appended since the last time. Raising it
    /// costs disk space and a longer restart.
    pub compact_bytes: u64,
    /// Settings of the log.
    pub log: WalOptions,
}

impl Default for SbftOptions {
    fn default() -> Self {
        Self {
            pool_bytes: 256 << 20,
            block_sync_interval: Duration::from_millis(40),
            compact_bytes: 64 << 20,
            log: WalOptions::default(),
        }
    }
}

/// Makes BFT chains; all share one transport.
pub struct SbftConsenter {
    transport: Arc<Transport>,
    options: SbftOptions,
    peers: PeerBook,
}

impl SbftConsenter {
    /// A consenter whose replicas talk over `transport`, which it tells the peers of all channels.
    pub fn new(transport: Arc<Transport>, options: SbftOptions) -> Self {
        Self { transport, options, peers: PeerBook::default() }
    }
}

#[async_trait]
impl Consenter for SbftConsenter {
    async fn handle_chain(
        &self,
        support: Arc<dyn ConsenterSupport>,
        _metadata: Metadata,
    ) -> Result<Arc<dyn Chain>, HandleChainError> {
        let channel = support.chain_id().to_owned();
        let refuse = |reason: String| HandleChainError::Config { channel: channel.clone(), reason };
        let config = support.shared_config();
        let Consensus::Sbft(rules) = &config.consensus else {
            return Err(refuse("its consensus type is not BFT".into()));
        };
        let me = own_place(&*support)?;
        let members =
            self.peers.members(&self.transport, &config, me).map_err(|error| refuse(error.to_string()))?;
        let link =
            self.transport.join(&channel, &members.peer_ids()).map_err(|error| refuse(error.to_string()))?;
        // The last block's metadata is not taken from the argument but from the block itself, and
        // with its signatures: what recovery stands on is read as strictly as what a peer sends.
        let (recovered, support) = {
            let (options, rules) = (self.options.clone(), rules.clone());
            tokio::task::spawn_blocking(move || (open::open(&*support, &options, &rules, me), support))
                .await
                .map_err(|error| refuse(format!("recovery stopped: {error}")))?
        };
        Ok(Arc::new(SbftChain::new(support, link, members, recovered?, self.options.clone())))
    }
}

/// This node's place among the channel's consenters: the one whose certificate has this node's
/// public key, so that a renewed certificate over the same key keeps the place.
fn own_place(support: &dyn ConsenterSupport) -> Result<Place, HandleChainError> {
    let channel = support.chain_id();
    let refuse = |reason: String| HandleChainError::Config { channel: channel.into(), reason };
    let identity = SerializedIdentity::decode(support.signer().creator())
        .map_err(|error| refuse(format!("this node's identity does not decode: {error}")))?;
    let certificate = pem::parse(&identity.id_bytes)
        .map_err(|error| refuse(format!("this node's certificate is not PEM: {error}")))?;
    let key = PublicKey::from_certificate_der(certificate.contents())
        .map_err(|error| refuse(format!("this node's certificate cannot be used: {error}")))?;
    let config = support.shared_config();
    let place = config.consenters.iter().position(|consenter| consenter.key == key);
    let place = place.ok_or_else(|| HandleChainError::NotAConsenter {
        channel: channel.into(),
        consenters: config.consenters.len(),
    })?;
    u16::try_from(place)
        .map(Place)
        .map_err(|_| refuse(format!("{} consenters are too many", config.consenters.len())))
}
