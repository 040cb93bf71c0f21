//! Clients that send what must be refused, as fast as it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::client::broadcast;
use crate::client::connect::{Security, connect};
use crate::client::envelope::EnvelopeMaker;
use crate::proto::common;

/// Connections to each replica.
const CONNECTIONS: usize = 2;
/// Envelopes of a stream: a replica closes it at the first that it refuses, and has judged by then
/// what arrived with it.
const BURST: usize = 64;
/// Size of the signed ones, bytes.
const SIZE: usize = 1024;
/// Pause when a replica cannot be reached.
const RETRY: Duration = Duration::from_millis(100);

/// Clients at work until this is dropped.
pub(super) struct Garbage {
    refused: Arc<AtomicU64>,
    /// Ends with this.
    _tasks: JoinSet<()>,
}

impl Garbage {
    /// Clients of the replicas at `addresses`, who begin when `begin` says so.
    ///
    /// # Errors
    /// When no envelope can be made.
    pub(super) async fn prepare(
        addresses: &[String],
        security: &Security,
        maker: &EnvelopeMaker,
        begin: &watch::Receiver<bool>,
    ) -> anyhow::Result<Self> {
        let mut burst = Vec::with_capacity(BURST);
        for index in 0..BURST {
            burst.push(bad(maker, index).await?);
        }
        let burst: Arc<[common::Envelope]> = burst.into();
        let refused = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        for address in addresses.iter().flat_map(|address| std::iter::repeat_n(address, CONNECTIONS)) {
            let (address, security, burst) = (address.clone(), security.clone(), Arc::clone(&burst));
            let (refused, mut begin) = (Arc::clone(&refused), begin.clone());
            tasks.spawn(async move {
                // An error says that the run is over.
                if begin.wait_for(|begin| *begin).await.is_ok() {
                    client(&address, &security, &burst, &refused).await;
                }
            });
        }
        Ok(Self { refused, _tasks: tasks })
    }

    /// How many streams ended with a refusal.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

/// An envelope that no replica may order. Most have a signature that is not good, which costs most
/// to find out; one in eight is noise.
async fn bad(maker: &EnvelopeMaker, index: usize) -> anyhow::Result<common::Envelope> {
    if index % 8 == 7 {
        let mut noise = vec![0; SIZE];
        rand::fill(&mut noise[..]);
        return Ok(common::Envelope { payload: noise.into(), signature: Bytes::new() });
    }
    let mut envelope = maker.make(SIZE).await?.envelope;
    let mut signature = envelope.signature.to_vec();
    if let Some(last) = signature.last_mut() {
        *last ^= 1;
    }
    envelope.signature = signature.into();
    Ok(envelope)
}

async fn client(address: &str, security: &Security, burst: &[common::Envelope], refused: &AtomicU64) {
    loop {
        let Ok(channel) = connect(address, security).await else {
            tokio::time::sleep(RETRY).await;
            continue;
        };
        // Until the connection breaks.
        while let Ok((envelopes, mut answers)) = broadcast::open(channel.clone()).await {
            let send = async {
                for envelope in burst {
                    if envelopes.send(envelope.clone()).await.is_err() {
                        break; // it was refused already
                    }
                }
            };
            let read = async {
                while let Ok(Some(answer)) = answers.next().await {
                    if answer.status != common::Status::Success as i32 {
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                }
            };
            tokio::join!(send, read);
        }
        tokio::time::sleep(RETRY).await;
    }
}
