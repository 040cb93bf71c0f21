//! What peers send for the ordering plane: votes and candidates, checked here, off the protocol
//! task, in order for each peer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use super::rules::{Judged, judge_candidate, validate};
use super::shared::{Event, Permit, Shared, offload};
use crate::metrics;
use crate::pbft::message::Message;
use crate::transport::{Inbox, LinkEvent, PeerInbox};
use crate::types::{Candidate, Digest, Place};
use crate::wire::candidate;
use crate::wire::checker::Rejection;

/// Longer frames are view changes and new views, with many signatures: they are checked on the
/// worker threads.
const LONG_FRAME: usize = 4096;
/// Candidates up to this size, a few envelopes, are validated on the spot: at low load the way to
/// the worker threads and back takes longer than the work.
const SMALL_CANDIDATE: usize = 8 << 10;
/// After an invalid candidate its sender's stream is not read for this long: honest replicas send
/// none, except around a change of configuration.
const PENALTY: Duration = Duration::from_millis(200);
/// Work that a peer caused and that was for nothing is followed by so many times as long without reading
/// that stream of it: none takes more than a ninth of a core (of two, while signatures are checked) from
/// what others sent and from this replica's clients.
const REST: u32 = 8;
/// No rest is longer, so that a machine that stood still meanwhile silences nobody.
const LONGEST_REST: Duration = Duration::from_millis(400);

/// Statuses of one peer within one status interval that the core is told of. An honest replica sends
/// one, and another when something changes; they cost nothing to make, and a step of the core to hear.
const STATUSES_PER_INTERVAL: u32 = 16;

/// Starts a task for the votes of each peer. While one is behind, its stream is not read.
pub(super) fn votes(shared: &Arc<Shared>, inbox: Inbox, interval: Duration, events: &mpsc::Sender<Event>) {
    for frames in inbox.split(&shared.members.peer_ids()) {
        let Some(from) = shared.members.place(frames.peer()) else { continue };
        let statuses = Ration::new(interval, STATUSES_PER_INTERVAL);
        shared.spawn(peer_votes(shared.clone(), from, frames, statuses, events.clone()));
    }
}

async fn peer_votes(
    shared: Arc<Shared>,
    from: Place,
    mut frames: PeerInbox,
    mut statuses: Ration,
    events: mpsc::Sender<Event>,
) {
    while let Some(frame) = frames.recv().await {
        shared.reach.heard(from);
        let began = Instant::now();
        let verdict = if frame.len() > LONG_FRAME {
            let shared = shared.clone();
            match offload(move || shared.checker.check_frame(from, frame)).await {
                Some(verdict) => verdict,
                None => return,
            }
        } else {
            let decoded = shared.checker.decode_frame(frame);
            if decoded.as_ref().is_ok_and(|message| shared.settled().makes_surplus(message)) {
                continue;
            }
            decoded.and_then(|message| shared.checker.check(from, message))
        };
        let message = match verdict {
            Ok(message) => message,
            Err(Rejection { reason, proof }) => {
                tracing::debug!(channel = shared.channel(), peer = %shared.members.id(from), %reason, "message refused");
                refused(&shared, from, "message");
                tokio::time::sleep(rest(began.elapsed())).await;
                match proof {
                    Some(proof) => *proof,
                    None => continue,
                }
            }
        };
        if let Message::Status(status) = message.get() {
            if !statuses.allow() {
                refused(&shared, from, "too many statuses");
                continue;
            }
            shared.heard_status(from, status);
        }
        if events.send(Event::Message { from, message }).await.is_err() {
            return;
        }
    }
}

/// The links' comings and goings.
pub(super) async fn links(
    shared: Arc<Shared>,
    mut links: mpsc::Receiver<LinkEvent>,
    events: mpsc::Sender<Event>,
) {
    while let Some(LinkEvent { peer, up }) = links.recv().await {
        let Some(place) = shared.members.place(peer) else { continue };
        shared.reach.link(place, up);
        let id = shared.members.id(place);
        let reachable = shared.reach.count().reachable;
        let channel = shared.channel();
        tracing::info!(channel, peer = %id, up, reachable, "link");
        ::metrics::gauge!(metrics::REACHABLE, "channel" => channel.to_owned()).set(reachable as f64);
        if events.send(Event::Link { peer: place, up }).await.is_err() {
            return;
        }
    }
}

/// The candidates of one origin: room first, then the next frame.
pub(super) async fn bulk(
    shared: Arc<Shared>,
    from: Place,
    mut frames: mpsc::Receiver<Bytes>,
    outstanding: usize,
    events: mpsc::Sender<Event>,
) {
    let room = Arc::new(Semaphore::new(outstanding));
    loop {
        // The semaphore is never closed.
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let Some(frame) = frames.recv().await else { return };
        shared.reach.heard(from);
        let Judgement { outcome, took } = judge(&shared, from, Some(from), frame, Some(permit)).await;
        let mut pause = rest(took * shared.idle[from.index()].swap(0, Ordering::Relaxed));
        match outcome {
            Err(Untold::Ended) => return,
            // Its room is given back.
            Err(untold) => pause += untold.rest(took),
            Ok(event) => {
                pause += rest_after(&event, took);
                if events.send(event).await.is_err() {
                    return;
                }
            }
        }
        if pause > Duration::ZERO {
            tokio::time::sleep(pause).await;
        }
    }
}

/// How long a stream rests after so much work for nothing.
fn rest(worked: Duration) -> Duration {
    worked.saturating_mul(REST).min(LONGEST_REST)
}

/// Why the core is not told of a candidate.
pub(super) enum Untold {
    /// It came over a stream that is only for its origin's. It may be good, and another's.
    NotTheirs,
    /// All it has is in the chain.
    Stale,
    /// The process is ending.
    Ended,
}

impl Untold {
    /// How long its sender's stream rests, after the work that it took to find out.
    pub(super) fn rest(&self, took: Duration) -> Duration {
        match self {
            Self::NotTheirs => PENALTY.max(rest(took)),
            Self::Stale => rest(took),
            Self::Ended => Duration::ZERO,
        }
    }
}

/// How long the stream that this came over rests, after the work that it took to judge it.
pub(super) fn rest_after(event: &Event, took: Duration) -> Duration {
    match event {
        Event::Invalid { .. } => PENALTY.max(rest(took)),
        _ => Duration::ZERO,
    }
}

/// What came of a candidate's bytes, and how long it took to find out.
pub(super) struct Judgement {
    pub(super) outcome: Result<Event, Untold>,
    pub(super) took: Duration,
}

/// Decodes and validates a candidate, on the worker threads if it is large; gives what the core
/// must know of it. `origin` is who must have cut it, if the stream says so.
///
/// One that the core has not asked for, and all of which is in the chain, is not looked at: with new
/// candidates of old envelopes, whose signatures are all good, a liar would otherwise keep the workers busy.
pub(super) async fn judge(
    shared: &Arc<Shared>,
    from: Place,
    origin: Option<Place>,
    encoding: Bytes,
    permit: Option<Permit>,
) -> Judgement {
    let context = shared.clone();
    let is_small = encoding.len() <= SMALL_CANDIDATE;
    let judge = move || {
        let began = Instant::now();
        let verdict = verdict(&context, origin, encoding);
        (verdict, began.elapsed())
    };
    let judged = if is_small { Some(judge()) } else { offload(judge).await };
    let (verdict, took) = match judged {
        None => (Err(Untold::Ended), Duration::ZERO),
        Some((verdict, took)) => (verdict, took),
    };
    let (channel, peer) = (shared.channel(), shared.members.id(from));
    let outcome = match verdict {
        Err(Untold::NotTheirs) => {
            tracing::warn!(channel, %peer, "candidate of another origin refused");
            refused(shared, from, "another's candidate");
            Err(Untold::NotTheirs)
        }
        Err(Untold::Stale) => {
            refused(shared, from, "stale candidate");
            Err(Untold::Stale)
        }
        Err(Untold::Ended) => Err(Untold::Ended),
        Ok(Judged { verdict: Ok((candidate, config_sequence)), .. }) => {
            Ok(Event::Candidate { from, candidate, config_sequence, permit })
        }
        Ok(Judged { digest, config_sequence, verdict: Err(reason) }) => {
            tracing::warn!(channel, %peer, %digest, reason, "candidate refused");
            refused(shared, from, "candidate");
            Ok(Event::Invalid { from, digest, config_sequence, permit })
        }
    };
    Judgement { outcome, took }
}

fn verdict(shared: &Shared, origin: Option<Place>, encoding: Bytes) -> Result<Judged, Untold> {
    if shared.stale.covers(&encoding, &shared.limits) {
        return Err(Untold::Stale);
    }
    let processor = shared.support.processor();
    let digest = candidate::digest(&encoding);
    let config_sequence = processor.sequence();
    if let Some(known) = shared.verdicts.valid(&digest, config_sequence) {
        if origin.is_some_and(|origin| known.get().origin != origin) {
            return Err(Untold::NotTheirs);
        }
        return Ok(Judged { digest, config_sequence, verdict: Ok((known, config_sequence)) });
    }
    let judged = judge_candidate(digest, encoding, &shared.limits, origin, shared.members.n(), &processor)
        .ok_or(Untold::NotTheirs)?;
    if let Ok((candidate, config_sequence)) = &judged.verdict {
        shared.verdicts.remember(candidate, *config_sequence);
    }
    Ok(judged)
}

/// Runs the filters over a candidate again, under the configuration that holds now.
pub(super) async fn judge_again(shared: Arc<Shared>, candidate: Arc<Candidate>, events: mpsc::Sender<Event>) {
    let (from, digest) = (candidate.origin, candidate.digest);
    let context = shared.clone();
    let config_sequence = shared.support.sequence();
    let Some(verdict) = offload(move || validate(&context.support.processor(), candidate)).await else {
        return;
    };
    let event = match verdict {
        Ok((candidate, config_sequence)) => {
            Event::Candidate { from, candidate, config_sequence, permit: None }
        }
        Err(_) => Event::Invalid { from, digest, config_sequence, permit: None },
    };
    // The protocol task has ended when nobody receives it.
    let _ended = events.send(event).await;
}

/// Counts what was refused.
pub(super) fn refused(shared: &Shared, from: Place, reason: &'static str) {
    let (channel, peer) = (shared.channel().to_owned(), shared.members.id(from).to_string());
    ::metrics::counter!(metrics::REFUSED, "channel" => channel, "peer" => peer, "reason" => reason)
        .increment(1);
}

/// Names what a candidate is charged to.
pub(super) type Charge = (Place, Digest);

/// Limits what a peer may ask or say for free.
pub(super) struct Ration {
    interval: Duration,
    most: u32,
    since: Instant,
    count: u32,
}

impl Ration {
    /// At most `most` within each `interval`.
    pub(super) fn new(interval: Duration, most: u32) -> Self {
        Self { interval, most, since: Instant::now(), count: 0 }
    }

    /// One more; false if that is too many.
    pub(super) fn allow(&mut self) -> bool {
        if self.since.elapsed() >= self.interval {
            (self.since, self.count) = (Instant::now(), 0);
        }
        self.count = self.count.saturating_add(1);
        self.count <= self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_for_nothing_is_followed_by_eight_times_as_long_without_reading() {
        let ms = Duration::from_millis;
        assert_eq!(Untold::Stale.rest(ms(2)), ms(16));
        assert_eq!(Untold::Stale.rest(ms(60)), LONGEST_REST);
        assert_eq!(Untold::Ended.rest(ms(2)), Duration::ZERO);
        // What is wrong besides costs its sender no less than the penalty.
        assert_eq!(Untold::NotTheirs.rest(ms(2)), PENALTY);
        assert_eq!(Untold::NotTheirs.rest(ms(30)), ms(240));
    }

    #[test]
    fn a_ration_is_full_again_after_its_interval() {
        let mut ration = Ration::new(Duration::from_secs(3600), 3);
        assert_eq!((0..10).filter(|_| ration.allow()).count(), 3);
        ration.interval = Duration::ZERO; // over at once
        assert!((0..10).all(|_| ration.allow()));
    }
}
