//! Where a liar's attacks stand: between the two state machines and all else. Only in builds with the
//! feature `liar`.

use std::sync::Arc;

use super::super::release::{To, What};
use super::super::rules::vouch_known;
use super::super::shared::{Event, Shared};
use super::{Driver, Outlets};
use crate::liar::{Act, Liar, Player, WAKE};
use crate::pbft::{Input, Output};
use crate::types::Time;

/// A liar's attacks, and what its core has not heard yet.
pub(super) struct Lies {
    player: Player,
    /// Oldest first.
    kept: Vec<Event>,
}

/// Events that are kept from the core at a time; the oldest are heard when there are more.
const KEPT: usize = 1024;

impl Lies {
    /// Those of this process, if it is a liar; they are woken through the driver's queue of events.
    pub(super) fn of_this_process(shared: &Arc<Shared>, outlets: &Outlets) -> Option<Self> {
        let liar = Liar::of_this_process()?;
        let events = outlets.events.clone();
        shared.spawn(async move {
            let mut ticks = tokio::time::interval(WAKE);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                if events.send(Event::Lie).await.is_err() {
                    return;
                }
            }
        });
        let player = Player::new(liar, shared.members.me, shared.members.n(), shared.era);
        Some(Self { player, kept: Vec::new() })
    }
}

impl Driver {
    fn player(&mut self, now: Time) -> Option<&mut Player> {
        let leads = self.replica.stands().0.primary(self.shared.members.n()) == self.shared.members.me;
        let lies = self.lies.as_mut()?;
        lies.player.set(now, leads);
        Some(&mut lies.player)
    }

    /// What is left of an event for the core.
    pub(super) fn hear(&mut self, now: Time, event: Event) -> Option<Event> {
        let Some(player) = self.player(now) else { return Some(event) };
        let heard = match &event {
            Event::Message { message, .. } => {
                player.message(message.get());
                true
            }
            Event::Candidate { candidate, .. } => player.hear(candidate.get()),
            Event::Own { encoded: Some((candidate, _)), .. } => player.hear(candidate),
            _ => true,
        };
        self.act(now);
        let lies = self.lies.as_mut()?;
        if heard {
            return Some(event);
        }
        lies.kept.push(event);
        (lies.kept.len() > KEPT).then(|| lies.kept.remove(0))
    }

    /// What is left of an output for the rest of the node.
    pub(super) fn bend(&mut self, now: Time, output: Output) -> Option<Output> {
        let Some(player) = self.player(now) else { return Some(output) };
        let left = player.say(output);
        self.act(now);
        left
    }

    /// A millisecond has passed.
    pub(super) fn lie(&mut self, now: Time) {
        let Some(player) = self.player(now) else { return };
        player.wake();
        let lets_in = player.lets_in();
        self.act(now);
        if lets_in {
            let kept = self.lies.as_mut().map(|lies| std::mem::take(&mut lies.kept));
            for event in kept.into_iter().flatten() {
                self.event(now, event);
            }
        }
    }

    fn act(&mut self, now: Time) {
        let acts = self.lies.as_mut().map(|lies| lies.player.acts());
        for act in acts.into_iter().flatten() {
            match act {
                Act::Output(output) => self.output(now, output),
                Act::Only { to, what, own } => self.promise(To::Only { to, own }, What::Unsigned(what)),
                Act::Frame(place, class, frame) => self.shared.send(place, class, frame),
                Act::Candidate(candidate) => {
                    for (place, _, _) in self.shared.members.others() {
                        self.shared.send(place, crate::transport::Class::Bulk, candidate.encoding.clone());
                    }
                    let config_sequence = self.shared.support.sequence();
                    let candidate = vouch_known(candidate, config_sequence);
                    let from = self.shared.members.me;
                    let input = Input::Candidate { from, candidate, config_sequence };
                    self.replica.step(now, input, &mut self.outputs);
                }
            }
        }
    }
}
