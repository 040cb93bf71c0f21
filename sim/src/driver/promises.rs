//! Promises and the syncs of the log that they wait for.

use std::collections::VecDeque;
use std::time::Duration;

use sbft::pbft::Input;
use sbft::plant::Plant;

use super::Caused;
use crate::draw::Purpose;
use crate::network::{Label, Packet, Ticket, label};
use crate::signing;
use crate::trace::{self, What};
use crate::world::{CrashWhen, Event, Parcel, Promise, World};

impl World {
    pub(super) fn promise(&mut self, body: usize, promise: Promise) {
        let position =
            if promise.is_prepare() { self.bodies[body].binding } else { self.bodies[body].log.end() };
        if self.settings.config.plants.has(Plant::OwnVoteBeforeDurable)
            && let Promise::Broadcast(unsigned) = &promise
        {
            let message = self.keys.seal(self.bodies[body].place, unsigned.clone(), position);
            let packet = Packet::Message(self.letter_of(body, true, message));
            let parcel = Parcel { from: body, to: body, packet, sent: 0, ticket: Ticket::SURE };
            self.schedule(Duration::ZERO, Event::Deliver(parcel));
        }
        if self.machine.is_some() {
            self.sign_work(body, &promise);
        }
        self.bodies[body].outbox.push_back((position, promise, self.trace.cause));
    }

    /// How much longer a sync takes than it should.
    pub(super) fn slow_disk(&mut self, body: usize) -> Duration {
        let longer = self.bodies[body].slow_disk;
        if !longer.is_zero() {
            *self.toll.entry("slow-sync").or_default() += 1;
        }
        longer
    }

    pub(super) fn begin_sync(&mut self, body: usize) {
        let state = &mut self.bodies[body];
        // What nobody waits for is synced with what somebody waits for next.
        let durable = state.log.durable();
        let waits = state.outbox.iter().any(|(after, ..)| *after > durable);
        if state.syncing.is_some() || !waits {
            return;
        }
        let position = state.log.end();
        state.syncing = Some(position);
        let incarnation = state.incarnation;
        if self.machine.is_some() {
            return self.log_work(body, incarnation, position);
        }
        let (low, high) = self.settings.sync;
        let key = [body as u64, u64::from(incarnation), position];
        let delay = self.draws.duration(Purpose::Sync, &key, low, high) + self.slow_disk(body);
        self.schedule(delay, Event::SyncDone { body, incarnation, position });
    }

    pub(crate) fn log_synced(&mut self, body: usize, position: u64) {
        self.trace.cause = self.trace.event_from(0, self.now, Some(body), || What::Sync { position });
        self.bodies[body].syncing = None;
        if let Err(error) = self.bodies[body].log.sync(position) {
            return self.stop(body, error.to_string());
        }
        self.release_and_feed(body);
        // The node compacts when it has dealt with all that came along with the news of a durable
        // block: more blocks may be committed by then, and not be durable.
        if self.bodies[body].is_up() && self.bodies[body].store.unsynced() > 0 {
            let key = [body as u64, u64::from(self.bodies[body].incarnation), position, 1];
            if self.draws.chance(Purpose::Compact, &key, self.settings.compact_rate) {
                self.compact(body, &key);
            }
        }
    }

    /// Lets out what may leave, and feeds what comes back of it.
    pub(crate) fn release_and_feed(&mut self, body: usize) {
        let mut inputs = std::mem::take(&mut self.input_buffer);
        if self.release(body, &mut inputs) {
            self.feed_all(body, inputs);
        }
    }

    /// Lets out every promise whose records are synced, in order; prepares overtake what still waits.
    /// False when the body died on the way.
    pub(super) fn release(&mut self, body: usize, inputs: &mut VecDeque<Caused>) -> bool {
        let dealt_with = self.trace.cause;
        let durable = self.bodies[body].log.durable();
        while let Some(next) = self.bodies[body].outbox.iter().position(|(position, ..)| *position <= durable)
        {
            if let Some(machine) = &mut self.machine {
                if !machine.may_leave(body) {
                    break;
                }
                machine.leaves(body);
            }
            if self.dies_here(body) {
                return false;
            }
            let Some((_, promise, cause)) = self.bodies[body].outbox.remove(next) else { break };
            self.trace.cause = cause;
            let place = self.bodies[body].place;
            let nonce = self.draws.bits(Purpose::Nonce, &[body as u64, self.bodies[body].ordinal]);
            let (message, to, own) = match promise {
                Promise::Broadcast(unsigned) => {
                    (self.keys.seal(place, unsigned, nonce), self.others(place), true)
                }
                Promise::Repeat(to, message) => (message, vec![to], false),
            };
            let label = label(&message, &self.settings.config.domain.genesis);
            let crash = self.crash_planned(body, &label);
            if let Some(when) = crash.as_ref().filter(|when| !when.after) {
                self.crash_for(body, when.down_for);
                return false;
            }
            if self.bodies[body].is_honest() {
                let verdict = self.checks.released(&self.bodies[body], &message);
                self.fail(verdict);
                if self.violation.is_some() {
                    return false;
                }
            }
            if own {
                self.trace.promised(cause, self.now, body, &message);
                let own = self
                    .trace
                    .event(self.now, Some(body), || What::Own { message: trace::about_own(&message, label) });
                let message = signing::own(message.clone());
                if self.machine.is_some() {
                    self.own_work(body, message, own);
                } else {
                    inputs.push_back((own, Input::Message { from: place, message }));
                }
            }
            self.say(body, message, own, &to);
            if let Some(when) = crash {
                self.crash_for(body, when.down_for);
                return false;
            }
        }
        self.trace.cause = dealt_with;
        true
    }

    /// A crash that a script wants at a send like this.
    pub(super) fn crash_planned(&mut self, body: usize, label: &Label) -> Option<CrashWhen> {
        let which = self.crash_when.iter().position(|when| {
            when.body == body
                && when.kind == label.kind
                && when.view.is_none_or(|view| view == label.view)
                && when.number.is_none_or(|number| number == label.number)
        })?;
        Some(self.crash_when.remove(which))
    }
}
