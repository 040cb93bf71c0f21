//! What happens to links, clocks and running replicas from outside: partitions, broken
//! connections, clocks that drift, replicas that stand still.

use std::time::Duration;

use sbft::pbft::Input;
use sbft::plant::Plant;
use sbft::types::Place;

use crate::draw::Purpose;
use crate::network::{Partition, Shape, Ticket};
use crate::trace::{self, What};
use crate::world::{Event, Parcel, World};

/// Packets that wait for a replica that stands still; its receive buffers hold no more.
const FROZEN_LIMIT: usize = 4096;

impl World {
    /// A partition begins.
    pub(crate) fn part(&mut self, partition: Partition) {
        self.partitions += 1;
        let key = self.partitions;
        self.network.part(key, partition, self.now);
        self.turn(key);
    }

    /// A partition begins, changes or ends.
    pub(crate) fn turn(&mut self, partition: u64) {
        let turned = self.network.turn(partition, self.now);
        if let Some(next) = turned.next {
            self.schedule_at(next, Event::Turn { partition });
        }
        for (links, up) in [(turned.down, false), (turned.up, true)] {
            for (one, other) in links {
                if !up {
                    self.network.reset(one, other);
                }
                self.link(one, other, up);
            }
        }
    }

    /// The connection of two bodies breaks and is back after a while.
    pub(crate) fn reset(&mut self, one: usize, other: usize, down: Duration) {
        self.network.reset(one, other);
        let shape = Shape::Split { groups: vec![1 << one, 1 << other], one_way: false };
        self.part(Partition {
            noticed: true,
            ..Partition::steady(shape, down.max(Duration::from_micros(1)))
        });
    }

    /// A body's clock runs at another rate from now on.
    pub(crate) fn set_clock_rate(&mut self, body: usize, ppm: i32) {
        let now = self.now;
        let state = &mut self.bodies[body];
        state.clock.set_rate(now, ppm);
        let ppm = state.clock.ppm();
        self.trace.event(now, Some(body), || What::Clock {
            fault: "rate".to_owned(),
            text: format!("runs {ppm} millionths too fast"),
        });
        let state = &mut self.bodies[body];
        // The tick that was set comes at the wrong moment now.
        state.tick = None;
        if state.is_up() {
            self.arm(body);
        }
    }

    /// A body's wall time jumps.
    pub(crate) fn jump_wall(&mut self, body: usize, millis: i64) {
        self.bodies[body].clock.jump_wall(millis);
        if self.settings.config.plants.has(Plant::TimersFollowWallTime) {
            self.bodies[body].clock.jump_monotonic(self.now, millis);
        }
        self.trace.event(self.now, Some(body), || What::Clock {
            fault: "jump".to_owned(),
            text: format!("wall time jumps by {millis} ms"),
        });
    }

    /// A replica notices that a link came up or went down.
    pub(crate) fn notice(&mut self, body: usize, peer: Place, up: bool) {
        if self.bodies[body].is_up() {
            let caused = self.trace.cause;
            self.trace.cause = self.trace.event(self.now, Some(body), || What::Link { peer: peer.0, up });
            self.feed(body, Input::Link { peer, up });
            self.trace.cause = caused;
        }
    }

    /// A body's clock drifts: another rate now, and again after a while.
    pub(crate) fn drift(&mut self, body: usize, most: u32, every: Duration) {
        if self.healed {
            return;
        }
        let most = i64::from(most);
        let key = [body as u64, self.now.0.as_micros() as u64];
        let ppm = self.draws.below(Purpose::Drift, &key, 2 * most as u64 + 1) as i64 - most;
        self.set_clock_rate(body, i32::try_from(ppm).unwrap_or(i32::MAX));
        self.schedule(every.max(Duration::from_millis(1)), Event::Drift { body, most: most as u32, every });
    }

    /// A body stands still for a while.
    pub(crate) fn pause(&mut self, body: usize, lasts: Duration) {
        if !self.bodies[body].is_up() || self.bodies[body].frozen.is_some() {
            return;
        }
        self.trace.event(self.now, Some(body), || What::Clock {
            fault: "pause".to_owned(),
            text: format!("stands still for {}", trace::span(lasts)),
        });
        self.bodies[body].frozen = Some(Vec::new());
        let incarnation = self.bodies[body].incarnation;
        self.schedule(lasts, Event::Resume { body, incarnation });
    }

    /// A body that stood still goes on, with everything that has come meanwhile.
    pub(crate) fn resume(&mut self, body: usize) {
        let Some(waiting) = self.bodies[body].frozen.take() else { return };
        self.trace.event(self.now, Some(body), || What::Clock {
            fault: "resume".to_owned(),
            text: format!("goes on, with {} things waiting", waiting.len()),
        });
        let caused = self.trace.cause;
        for event in waiting {
            self.trace.cause = 0;
            self.dispatch(event);
        }
        self.trace.cause = caused;
    }

    /// The event, unless it never arrives or has to wait for a body that stands still.
    pub(crate) fn unless_paused(&mut self, event: Event) -> Option<Event> {
        let body = match &event {
            Event::Deliver(Parcel { from, to, packet, sent, ticket }) => {
                if let Err(why) = self.network.arrives(*from, *to, *ticket) {
                    self.trace.event_from(*sent, self.now, Some(*to), || What::Unheard {
                        from: *from,
                        sent: *sent,
                        message: trace::about(packet),
                        why: why.to_string(),
                    });
                    return None;
                }
                *to
            }
            Event::Submit { place, .. } => place.index(),
            Event::Checked { body, .. }
            | Event::SyncDone { body, .. }
            | Event::BlockSyncDone { body, .. }
            | Event::Tick { body, .. }
            | Event::Wake { body }
            | Event::Link { body, .. } => *body,
            Event::Turn { .. }
            | Event::Drift { .. }
            | Event::Resume { .. }
            | Event::Fault(_)
            | Event::Slice(_)
            | Event::Then(_) => {
                return Some(event);
            }
        };
        let Some(frozen) = &mut self.bodies[body].frozen else { return Some(event) };
        let event = match event {
            // Its ticket was taken.
            Event::Deliver(parcel) => Event::Deliver(Parcel { ticket: Ticket::SURE, ..parcel }),
            other => other,
        };
        if frozen.len() < FROZEN_LIMIT || !matches!(event, Event::Deliver(_)) {
            frozen.push(event);
        }
        None
    }
}
