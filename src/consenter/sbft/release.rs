//! The release task: signs promises, waits until what forbids contradicting them is durable, sends
//! them, and feeds them back. In order, but that prepares overtake what waits for a sync.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesOrdered;
use rand::Rng as _;
use tokio::sync::{mpsc, watch};

use super::shared::Shared;
use crate::pbft::message::{Message, Unsigned};
use crate::phases::{block, of_block};
use crate::transport::Class;
use crate::types::{Place, Verified};
use crate::wire::signing::Signing;
use crate::wire::{Checker, KeyRing, NONCE_BYTES};

/// Something that leaves once `after` records are durable.
pub(super) struct Promise {
    pub(super) after: u64,
    pub(super) to: To,
    pub(super) what: What,
}

/// Where a promise goes.
pub(super) enum To {
    /// To all others, and back to this replica.
    All,
    /// To one replica.
    One(Place),
    /// A liar's: to some, and back to this replica only if it is its own core's.
    #[cfg(feature = "liar")]
    Only { to: Vec<Place>, own: bool },
}

/// What a promise says.
pub(super) enum What {
    /// Still to be signed.
    Unsigned(Unsigned),
    /// Signed before, by this replica or another.
    Signed(Message),
}

impl What {
    /// It waits for fewer records than all others.
    pub(super) fn is_prepare(&self) -> bool {
        match self {
            Self::Unsigned(unsigned) => unsigned.is_prepare(),
            Self::Signed(message) => message.is_prepare(),
        }
    }
}

/// Promises that are being signed or wait for a sync at the same time. The signing matters when the key is
/// far away.
const UNDER_WAY: usize = 64;
/// Waits before a signature is tried again. While the signer is down each promise is tried once.
const RETRIES: [Duration; 3] =
    [Duration::from_millis(50), Duration::from_millis(150), Duration::from_millis(400)];

/// Signs as this replica.
struct Hand {
    shared: Arc<Shared>,
    signing: Signing,
    /// The last promise could not be signed.
    down: AtomicBool,
}

/// Runs until the sender of `promises` is gone or the chain fails.
///
/// Own promises come back on a queue without a limit: the protocol task waits for room in the
/// queue of this task, so this task must never wait for the protocol task. What bounds it is that
/// each entry answers one promise of the core.
pub(super) async fn run(
    shared: Arc<Shared>,
    mut promises: mpsc::Receiver<Promise>,
    mut durable: watch::Receiver<u64>,
    loopback: mpsc::UnboundedSender<Verified<Message>>,
) {
    let me = shared.members.me;
    let signing = Signing { domain: *shared.checker.domain(), place: me, consenter: shared.members.id(me) };
    let hand = Hand { shared: shared.clone(), signing, down: AtomicBool::new(false) };
    let mut signing = FuturesOrdered::new();
    let mut signed = VecDeque::new();
    loop {
        let known = *durable.borrow_and_update();
        let mut waiting = VecDeque::with_capacity(signed.len());
        for (after, to, message) in signed.drain(..) {
            if after <= known {
                send(&shared, &to, message, &loopback);
            } else {
                waiting.push_back((after, to, message));
            }
        }
        signed = waiting;
        tokio::select! {
            biased;
            promise = promises.recv(), if signing.len() + signed.len() < UNDER_WAY => match promise {
                Some(promise) => signing.push_back(hand.sign(promise)),
                None => break,
            },
            Some(promise) = signing.next() => signed.extend(promise),
            changed = durable.changed(), if !signed.is_empty() => if changed.is_err() {
                break; // the log thread has ended: nothing more becomes durable
            }
        }
    }
}

fn send(shared: &Shared, to: &To, message: Message, loopback: &mpsc::UnboundedSender<Verified<Message>>) {
    match to {
        To::One(place) => shared.send(*place, Class::Votes, shared.frame(&message)),
        To::All => {
            shared.send_all(Class::Votes, &shared.frame(&message));
            passed(shared.members.me, &message);
            hear(shared, message, loopback);
        }
        #[cfg(feature = "liar")]
        To::Only { to, own } => {
            for place in to {
                shared.send(*place, Class::Votes, shared.frame(&message));
            }
            if *own {
                hear(shared, message, loopback);
            }
        }
    }
}

/// One's own vote takes the way of anyone's, so that a key that does not fit the channel is noticed
/// here and not in a block; but where it is known to fit.
fn hear(shared: &Shared, message: Message, loopback: &mpsc::UnboundedSender<Verified<Message>>) {
    let me = shared.members.me;
    let by = shared.support.signer().signs_by();
    let fits = by.is_some() && by == shared.checker.keys().key(me);
    let checked = if fits { Ok(Checker::<KeyRing>::own(message)) } else { shared.checker.check(me, message) };
    match checked {
        // The protocol task has ended when nobody receives it.
        Ok(verified) => drop(loopback.send(verified)),
        Err(rejection) => shared.fail(format!(
            "what this replica signs is refused ({rejection}): its key does not fit its certificate in \
             the channel's configuration"
        )),
    }
}

/// Tells who watches that a vote for a block is on its way.
fn passed(me: Place, message: &Message) {
    match message {
        Message::PrePrepare(message) => of_block(block::PRE_PREPARE_SENT, me, message.proposal.number()),
        Message::Prepare(message) => of_block(block::PREPARE_SENT, me, message.vote.number),
        Message::Commit(message) => of_block(block::COMMIT_SENT, me, message.vote.header.number),
        Message::ViewChange(_) | Message::NewView(_) | Message::Status(_) | Message::Offence(_) => {}
    }
}

impl Hand {
    /// The signed promise; none if it could not be signed, which is as if it were lost on the way.
    async fn sign(&self, promise: Promise) -> Option<(u64, To, Message)> {
        let Promise { after, to, what } = promise;
        let unsigned = match what {
            What::Signed(message) => return Some((after, to, message)),
            What::Unsigned(unsigned) => unsigned,
        };
        let mut nonce = [0; NONCE_BYTES];
        rand::rng().fill_bytes(&mut nonce);
        let to_sign = self.signing.to_sign(unsigned, &nonce);
        let mut retries = RETRIES.iter();
        loop {
            match self.shared.support.signer().sign(to_sign.bytes()).await {
                Ok(signature) => {
                    self.down.store(false, Ordering::Relaxed);
                    return Some((after, to, to_sign.signed(signature)));
                }
                Err(error) => {
                    let channel = self.shared.channel();
                    let was_down = self.down.load(Ordering::Relaxed);
                    match retries.next().filter(|_| !was_down) {
                        Some(wait) => {
                            tracing::warn!(channel, %error, "cannot sign; trying again");
                            tokio::time::sleep(*wait).await;
                        }
                        None => {
                            if !was_down {
                                tracing::error!(channel, %error, "cannot sign; this replica is silent until it can");
                            }
                            self.down.store(true, Ordering::Relaxed);
                            return None;
                        }
                    }
                }
            }
        }
    }
}
