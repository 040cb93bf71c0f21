//! What the tasks and threads of one chain share.

use std::collections::VecDeque;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::{ConsenterSupport, Health, NotCommitted};
use super::driver::Encoded;
use super::members::Members;
use super::reach::Reach;
use super::settled::Settled;
use super::stale::Stale;
use super::verdicts::Verdicts;
use crate::intake::{Envelope, IntakeProbe};
use crate::pbft::message::{Message, Status};
use crate::pbft::{Probe, Role};
use crate::transport::{Class, LinkSender};
use crate::types::{Candidate, CommittedBlock, Digest, Era, Number, Place, RequestId, Time, Verified};
use crate::wire::candidate::Limits;
use crate::wire::{Checker, KeyRing, message};

/// Verified messages and finished checks between the edge and the protocol task.
pub(super) const EVENTS: usize = 4096;
/// Orders between `order` and the protocol task; what the task takes at once, too.
pub(super) const ORDERS: usize = 1024;
/// Promises between the protocol task and the release task.
pub(super) const PROMISES: usize = 4096;
/// Batches of records between the protocol task and the log thread.
pub(super) const LOG_JOBS: usize = 1024;
/// Blocks between the protocol task and the block thread.
pub(super) const BLOCK_JOBS: usize = 256;

/// One chain, as all its parts see it.
pub(super) struct Shared {
    pub(super) support: Arc<dyn ConsenterSupport>,
    pub(super) link: LinkSender,
    pub(super) members: Members,
    pub(super) reach: Reach,
    pub(super) checker: Checker<KeyRing>,
    pub(super) verdicts: Verdicts,
    pub(super) stale: Stale,
    /// Candidates of each origin, since it was asked last, that were checked and added nothing.
    pub(super) idle: Vec<AtomicU32>,
    pub(super) era: Era,
    pub(super) limits: Limits,
    pub(super) role: Role,
    pub(super) health: watch::Sender<Health>,
    pub(super) snapshot: watch::Sender<Snapshot>,
    /// What needs no more votes.
    pub(super) settled: Mutex<Settled>,
    pub(super) begun: Instant,
    /// Every task and thread of the chain; `stopped` waits for it.
    pub(super) tracker: TaskTracker,
    /// Cancelled when the protocol task has ended.
    pub(super) ended: CancellationToken,
}

/// What the protocol task tells the rest of the node, refreshed a few times a second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub(super) replica: Probe,
    pub(super) intake: IntakeProbe,
}

/// What happens to the protocol task, besides orders.
pub(super) enum Event {
    /// A message found good. Its frame was heard from this place.
    Message { from: Place, message: Verified<Message> },
    /// A candidate found valid under this config sequence.
    Candidate {
        from: Place,
        candidate: Verified<Arc<Candidate>>,
        config_sequence: u64,
        permit: Option<Permit>,
    },
    /// A candidate found invalid.
    Invalid { from: Place, digest: Digest, config_sequence: u64, permit: Option<Permit> },
    /// A batch of this replica's intake became a candidate; none if it cannot be one.
    Own { sequence: u64, encoded: Encoded },
    /// A peer asks for candidates.
    Wanted { from: Place, digests: Vec<Digest> },
    /// Fetched blocks found good.
    Blocks { from: Place, blocks: Vec<Verified<Arc<CommittedBlock>>> },
    /// What came over a repair stream, and the room that it takes until it is dealt with.
    Repaired { event: Box<Self>, room: Permit },
    /// The block store is durable up to here.
    Durable(Number),
    /// A link came up or went down.
    Link { peer: Place, up: bool },
    /// The filters ran again over an envelope of the pool.
    Revalidated { id: RequestId, config_sequence: u64, valid: bool },
    /// Somebody waits for the commit of an accepted envelope.
    Watch { id: RequestId, reply: oneshot::Sender<Result<Number, NotCommitted>> },
    /// The time for a liar to act by itself.
    #[cfg(feature = "liar")]
    Lie,
}

/// Room for one candidate of an origin, or for bytes on a repair stream; dropping it lets the next
/// in.
pub(super) type Permit = tokio::sync::OwnedSemaphorePermit;

/// Envelopes on their way into the pool, in order.
pub(super) struct Order {
    /// Those that were not answered yet; at least one.
    pub(super) envelopes: VecDeque<Envelope>,
    /// An answer for each, in order. `true`: the id was known.
    pub(super) reply: mpsc::UnboundedSender<bool>,
}

impl Shared {
    /// The channel's name.
    pub(super) fn channel(&self) -> &str {
        self.support.chain_id()
    }

    /// The chain's clock.
    pub(super) fn now(&self) -> Time {
        Time(self.begun.elapsed())
    }

    /// Runs a task that ends with the protocol task at the latest.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let ended = self.ended.clone();
        self.tracker.spawn(async move {
            tokio::select! {
                () = ended.cancelled() => {}
                () = work => {}
            }
        });
    }

    /// Stops the chain because of a failure. The first reason counts.
    pub(super) fn fail(&self, reason: impl ToString) {
        let reason = reason.to_string();
        let channel = self.channel();
        let first = self.health.send_if_modified(|health| {
            let first = *health == Health::Good;
            if first {
                *health = Health::Failed(reason.clone());
            }
            first
        });
        if first {
            tracing::error!(
                channel,
                reason,
                "the chain has stopped; clients can read, and nothing is ordered here"
            );
        }
    }

    /// Sends to one replica; what cannot be sent is lost, and repaired by status.
    pub(super) fn send(&self, to: Place, class: Class, frame: Bytes) {
        #[cfg(feature = "liar")]
        if self.is_mute() {
            return;
        }
        if let Some(peer) = self.members.get(to).and_then(|member| member.peer) {
            // The transport counts what it drops.
            let _sent = self.link.send(peer, class, frame);
        }
    }

    /// Sends to all others.
    pub(super) fn send_all(&self, class: Class, frame: &Bytes) {
        #[cfg(feature = "liar")]
        if self.is_mute() {
            return;
        }
        for (_, _, peer) in self.members.others() {
            // The transport counts what it drops.
            let _sent = self.link.send(peer, class, frame.clone());
        }
    }

    /// It is a liar that says nothing now.
    #[cfg(feature = "liar")]
    fn is_mute(&self) -> bool {
        crate::liar::Liar::of_this_process().is_some_and(|liar| liar.mutes())
    }

    /// The vote frame of a message.
    pub(super) fn frame(&self, message: &Message) -> Bytes {
        message::encode(message, self.era)
    }

    /// How far the core has come. No code panics while it holds the lock.
    pub(super) fn settled(&self) -> MutexGuard<'_, Settled> {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A status heard from a peer, for people.
    pub(super) fn heard_status(&self, from: Place, status: &Status) {
        self.reach.told(from, status);
    }
}

/// Runs `work` on the pool of worker threads, so that signatures and hashes over whole candidates
/// hold up no task.
pub(super) async fn offload<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (done, result) = oneshot::channel();
    rayon::spawn(move || {
        // The task that asked may have been stopped.
        let _stopped = done.send(work());
    });
    result.await.ok()
}
