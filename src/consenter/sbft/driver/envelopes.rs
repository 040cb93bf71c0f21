//! What becomes of envelopes on their way through the protocol task: from orders to the intake,
//! from its batches to candidates, and the answers to those who wait.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::super::super::NotCommitted;
use super::super::rules::vouch_known;
use super::super::shared::{Event, Order, Shared, offload};
use super::Driver;
use super::own::Encoded;
use crate::intake::{Batch, IntakeInput, IntakeOutput};
use crate::pbft::Input;
use crate::phases;
use crate::transport::Class;
use crate::types::{Candidate, Number, Place, RequestId, Time};
use crate::wire::candidate;
use crate::wire::envelope::Parsed;

/// Batches longer than this are encoded and hashed on the worker threads.
const LARGE_BATCH: usize = 64 << 10;

impl Driver {
    /// Answers once the envelope is committed; at once if it is, or is not known (any more).
    pub(super) fn watch(&mut self, id: RequestId, reply: oneshot::Sender<Result<Number, NotCommitted>>) {
        let answer = match self.intake.committed_in(&id) {
            Some(number) => Ok(number),
            None if self.intake.is_waiting(&id) => {
                let waiting = self.waiters.entry(id).or_default();
                // Those who gave up must not add up while nothing commits.
                waiting.retain(|waiter| !waiter.is_closed());
                return waiting.push(reply);
            }
            None => Err(NotCommitted::Dropped),
        };
        // The one who asked may be gone.
        let _gone = reply.send(answer);
    }

    /// Gives orders to the intake: those that waited for room first.
    pub(super) fn order(&mut self, now: Time, orders: &mut Vec<Order>) {
        // Those before are given to the intake already; their answers wait to be worked off.
        let given = self.answering.len();
        self.stalled.retain(|order| !order.reply.is_closed());
        if !self.stalled.is_empty() && self.intake.has_room() {
            let stalled = std::mem::take(&mut self.stalled);
            self.answering.extend(stalled);
        }
        // Whoever has given up meanwhile was told that it was not accepted.
        self.answering.extend(orders.drain(..).filter(|order| !order.reply.is_closed()));
        if self.answering.len() == given {
            return;
        }
        let envelopes =
            self.answering.iter().skip(given).flat_map(|order| &order.envelopes).cloned().collect();
        self.intake.step(now, IntakeInput::Envelopes(envelopes), &mut self.intake_outputs);
    }

    /// Does what the intake asks for.
    pub(super) fn intake_output(&mut self, now: Time, output: IntakeOutput) {
        match output {
            IntakeOutput::Accepted(id) => self.answer(id, false),
            IntakeOutput::Duplicate { id, .. } => self.answer(id, true),
            IntakeOutput::Full(_) => self.stall(),
            IntakeOutput::Cut(batch) => self.cut(now, batch),
            IntakeOutput::Done { id, number, waited } => {
                self.meters.committed.record(waited);
                self.tell(&id, Ok(number));
            }
            IntakeOutput::Dropped(id) => {
                tracing::info!(channel = self.shared.channel(), %id, "dropped under the new configuration");
                self.tell(&id, Err(NotCommitted::Dropped));
            }
            IntakeOutput::Revalidate(envelopes) => {
                let again = revalidate(self.shared.clone(), envelopes, self.outlets.events.clone());
                self.shared.spawn(again);
            }
        }
    }

    /// The intake answers envelopes one by one, in order.
    fn answer(&mut self, id: RequestId, is_duplicate: bool) {
        if self.unasked > 0 {
            self.unasked -= 1;
            return; // it is given to the intake again
        }
        let Some(order) = self.answering.front_mut() else { return };
        let envelope = order.envelopes.pop_front();
        debug_assert_eq!(envelope.map(|envelope| envelope.id), Some(id), "answers come in order");
        let meter = if is_duplicate { &self.meters.duplicates } else { &self.meters.accepted };
        meter.increment(1);
        phases::of_envelope(phases::envelope::POOLED, &id);
        // The client may be gone; its envelope is ordered all the same.
        let _gone = order.reply.send(is_duplicate);
        if order.envelopes.is_empty() {
            self.answering.pop_front();
        }
    }

    /// There is no room for an envelope: it waits with those that came behind it in its order, and
    /// what the intake says of these is not heard, or they would be answered before it.
    fn stall(&mut self) {
        if self.unasked > 0 {
            self.unasked -= 1;
            return;
        }
        let Some(order) = self.answering.pop_front() else { return };
        self.unasked = order.envelopes.len() - 1;
        self.stalled.push_back(order);
    }

    fn tell(&mut self, id: &RequestId, outcome: Result<Number, NotCommitted>) {
        for waiter in self.waiters.remove(id).into_iter().flatten() {
            // The one who waits may be gone.
            let _gone = waiter.send(outcome);
        }
    }

    /// Makes a candidate of a batch: at once if it is small, on the worker threads if not.
    fn cut(&mut self, now: Time, batch: Batch) {
        let shared = &self.shared;
        let me = shared.members.me;
        let Batch { sequence, config_sequence, .. } = batch;
        self.meters.filled.record(batch.waited);
        phases::of_batch(me, sequence);
        self.own.cut(sequence);
        if batch.envelopes.iter().map(Bytes::len).sum::<usize>() <= LARGE_BATCH {
            let candidate = encode(me, batch);
            return self.encoded(now, sequence, Some((candidate, config_sequence)));
        }
        let events = self.outlets.events.clone();
        shared.spawn(async move {
            let encoded = offload(move || encode(me, batch)).await;
            let encoded = encoded.map(|candidate| (candidate, config_sequence));
            // The protocol task has ended when nobody receives it.
            let _ended = events.send(Event::Own { sequence, encoded }).await;
        });
    }

    /// Sends own candidates on the links that they have not gone out on, unless this replica is so far behind that
    /// nobody would know again what is in them.
    pub(super) fn carry(&mut self) {
        if !self.own.is_waiting() || !self.replica.knows_what_is_new() {
            return;
        }
        for (peer, candidates) in self.own.carry() {
            for candidate in candidates {
                self.shared.send(peer, Class::Bulk, candidate.encoding.clone());
            }
        }
    }

    /// Gives the candidates of this replica whose turn it is to the core, and sends them to the others.
    pub(super) fn encoded(&mut self, now: Time, sequence: u64, encoded: Encoded) {
        for (candidate, config_sequence) in self.own.encoded(sequence, encoded) {
            let input = IntakeInput::Own { sequence: candidate.sequence, digest: candidate.digest };
            self.intake.step(now, input, &mut self.intake_outputs);
            phases::of_candidate(candidate.origin, candidate.sequence, &candidate.ids);
            let candidate = vouch_known(candidate, config_sequence);
            let input = Input::Candidate { from: self.shared.members.me, candidate, config_sequence };
            self.replica.step(now, input, &mut self.outputs);
        }
        self.carry(); // after a step: the core knows what time it is
    }
}

/// What the intake cut was canonical when `order` took it, and says its ids and sizes.
fn encode(me: Place, batch: Batch) -> Arc<Candidate> {
    let Batch { sequence, envelopes, ids, sizes, is_config, .. } = batch;
    Arc::new(candidate::encode_known(me, sequence, &envelopes, ids, sizes, is_config))
}

/// Runs the filters over envelopes of the pool again.
async fn revalidate(shared: Arc<Shared>, envelopes: Vec<(RequestId, Bytes)>, events: mpsc::Sender<Event>) {
    for (id, frame) in envelopes {
        let processor = shared.support.processor();
        let config_sequence = shared.support.sequence();
        let verdict = offload(move || {
            Parsed::from_frame(frame)
                .is_ok_and(|parsed| processor.process_normal(&parsed, SystemTime::now()).is_ok())
        });
        let Some(valid) = verdict.await else { return };
        if events.send(Event::Revalidated { id, config_sequence, valid }).await.is_err() {
            return;
        }
    }
}
