//! Where a replica meets the network: what leaves it, what arrives, and what is checked before
//! the core hears of it. A liar stands here, between its core and everybody else.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sbft::intake::IntakeInput;
use sbft::pbft::Input;
use sbft::pbft::message::Message;
use sbft::plant::Plant;
use sbft::types::{Candidate, Number, Place, Verified};

use crate::byzantine::{Act, Left, Liar, Stage, Wish};
use crate::draw::Purpose;
use crate::network::{Letter, Packet, Ticket, label};
use crate::real::Arrival;
use crate::signing;
use crate::trace::{self, What};
use crate::violation::{Class, Violation};
use crate::world::{Event, Fault, Parcel, World};

/// Blocks that a replica sends in answer to one request.
const BLOCKS_PER_ANSWER: u64 = 16;
/// Candidates of one origin that wait unread at a receiver; a stream would hold no more either.
const UNREAD_LIMIT: usize = 64;

impl World {
    pub(crate) fn others(&self, place: Place) -> Vec<Place> {
        (0..self.settings.n as u16).map(Place).filter(|other| *other != place).collect()
    }

    /// Sends a message to some replicas, or lets the liar do with it as it likes. `sealed`: the body
    /// has just signed it.
    pub(crate) fn say(&mut self, body: usize, message: Message, sealed: bool, to: &[Place]) {
        if !self.bodies[body].lies() {
            let message = match self.encodings.message.map(|through| (through.0)(&message)) {
                None => message,
                Some(Ok(decoded)) if decoded == message => decoded,
                Some(other) => {
                    let place = self.bodies[body].place;
                    let text = format!("{place}: {message:?} does not survive its encoding: {other:?}");
                    return self.fail(Err(Violation::new(Class::Safety, "encoding", text)));
                }
            };
            let letter = self.letter_of(body, sealed, message);
            for place in to {
                self.transmit(body, *place, Packet::Message(letter.clone()), Duration::ZERO);
            }
        } else {
            let letter = self.letter_of(body, sealed, message);
            let acts = self.on_stage(body, |liar, stage| liar.say(stage, &letter, to));
            self.perform(body, acts.unwrap_or_default());
        }
    }

    /// Sends anything else to one replica.
    pub(crate) fn post(&mut self, body: usize, to: Place, packet: Packet) {
        if !self.bodies[body].lies() {
            self.transmit(body, to, packet, Duration::ZERO);
        } else {
            let acts = self.on_stage(body, |liar, stage| liar.post(stage, to, packet));
            self.perform(body, acts.unwrap_or_default());
        }
    }

    /// The message with what the network and the checkers may know of it.
    pub(crate) fn letter_of(&self, body: usize, sealed: bool, message: Message) -> Rc<Letter> {
        let label = label(&message, &self.settings.config.domain.genesis);
        let good = self.keys.judge_sent(self.bodies[body].place, sealed, &message);
        Rc::new(Letter { good, label, message })
    }

    pub(crate) fn wake(&mut self, body: usize) {
        if self.bodies[body].is_up() {
            self.on_stage(body, |liar, stage| liar.wake(stage));
        }
        self.schedule(Duration::from_millis(25), Event::Wake { body });
    }

    /// Lets the body's liar act, and does what it wants done; what `play` gives back is not sent.
    pub(crate) fn on_stage<T>(
        &mut self,
        body: usize,
        play: impl FnOnce(&mut Liar, &mut Stage<'_>) -> T,
    ) -> Option<T> {
        let mut liar = self.bodies[body].liar.take()?;
        let when = (self.now, self.healed);
        let config = &self.settings.config;
        let mut stage =
            Stage::new(body, &self.bodies, self.draws, &self.keys, &mut self.workload, config, when);
        let colludes = liar.has("collude");
        stage.known = if colludes { std::mem::take(&mut self.colluders) } else { liar.take_known() };
        let played = play(&mut liar, &mut stage);
        let Left { known, acts, wishes, lies } = stage.leave();
        if colludes {
            self.colluders = known;
        } else {
            liar.give_known(known);
        }
        for (attack, times) in lies {
            self.trace.event(self.now, Some(body), || What::Lie {
                attack: liar.attack_name(attack).to_owned(),
                text: if times == 1 { String::new() } else { format!("{times} times") },
            });
        }
        self.bodies[body].liar = Some(liar);
        self.perform(body, acts);
        for wish in wishes {
            self.grant(body, wish);
        }
        Some(played)
    }

    /// Sends what a liar says.
    fn perform(&mut self, body: usize, acts: Vec<Act>) {
        for act in acts {
            // A lie that has no encoding, or none that a decoder accepts, cannot be told.
            if let (Packet::Message(letter), Some(through)) = (&act.packet, self.encodings.message)
                && (through.0)(&letter.message).is_err()
            {
                continue;
            }
            self.transmit(body, act.to, act.packet, act.delay);
        }
    }

    fn grant(&mut self, body: usize, wish: Wish) {
        match wish {
            Wish::Crash(back_after) => {
                // Not at once: its core may be in the middle of something.
                self.schedule(Duration::ZERO, Event::Fault(Fault::Crash(body)));
                self.schedule(back_after.max(Duration::from_micros(1)), Event::Fault(Fault::Restart(body)));
            }
            Wish::Flap(peer) => {
                let peers: Vec<usize> = self.bodies_at(peer, body).collect();
                for peer in peers {
                    self.schedule(Duration::ZERO, Event::Fault(Fault::LinkDown(body, peer)));
                    self.schedule(Duration::from_micros(1), Event::Fault(Fault::LinkUp(body, peer)));
                }
            }
            Wish::Submit(place, index, variant) => {
                self.schedule(Duration::ZERO, Event::Submit { place, index, variant });
            }
            Wish::Take(from, candidate) => self.begin_check(body, from, candidate),
        }
    }

    /// Puts a packet on its links, to every body of a place.
    fn transmit(&mut self, from: usize, to: Place, packet: Packet, extra: Duration) {
        if to.index() >= self.settings.n || to == self.bodies[from].place {
            return;
        }
        let label = packet.label();
        let bytes = packet.bytes();
        let verdict = self.checks.sent(from, &self.bodies[from], bytes);
        self.fail(verdict);
        for body in self.bodies_at(to, from) {
            let fare = self.network.send(self.now, from, body, &label, bytes);
            let sent = self.trace.event(self.now, Some(from), || What::Send {
                to: body,
                message: trace::about(&packet),
                arrives: fare
                    .legs()
                    .map(|leg| self.now.after(leg.takes + extra).0.as_micros() as u64)
                    .collect(),
                lost: fare.lost().map(|why| why.to_string()),
            });
            for leg in fare.legs() {
                let parcel = Parcel { from, to: body, packet: packet.clone(), sent, ticket: leg.ticket };
                if let Some(kept) = &mut self.kept {
                    // By hand each arrives once.
                    kept.push(Parcel { ticket: Ticket::SURE, ..parcel });
                    break;
                }
                if self.machine.is_some() {
                    self.send_work(parcel, leg.takes + extra);
                } else {
                    self.schedule(leg.takes + extra, Event::Deliver(parcel));
                }
            }
        }
    }

    /// A packet has arrived.
    pub(crate) fn receive(&mut self, parcel: Parcel) {
        let Parcel { from, to: body, packet, sent, .. } = parcel;
        if !self.bodies[body].is_up() {
            self.unheard(body, from, sent, &packet, "down");
            return;
        }
        self.trace.cause = self.trace.event_from(sent, self.now, Some(body), || What::Deliver {
            from,
            sent,
            message: trace::about(&packet),
        });
        self.checks.heard(body, packet.bytes());
        let place = self.bodies[from].place;
        if self.bodies[body].lies() {
            let heard = self.on_stage(body, |liar, stage| liar.hear(stage, place, &packet));
            if heard == Some(false) {
                self.unheard(body, from, sent, &packet, "turns a deaf ear");
                return;
            }
        }
        match packet {
            Packet::Message(letter) => {
                if let Some(message) = self.at_the_edge(place, from, &letter) {
                    let lie = self.checks.hears(body, &self.bodies[body], message.get());
                    self.feed(body, Input::Message { from: place, message });
                    if let Some(lie) = lie {
                        let verdict = self.checks.answered(body, &self.bodies[body], lie);
                        self.fail(verdict);
                    }
                }
            }
            Packet::Candidate(candidate) => {
                if candidate.origin == place {
                    self.bulk_arrives(body, place, candidate);
                }
            }
            Packet::Repair(candidate) => self.begin_check(body, place, candidate),
            Packet::WantCandidates(digests) => {
                self.feed(body, Input::CandidatesWanted { from: place, digests });
            }
            Packet::WantBlocks(first, last) => self.serve_blocks(body, place, first, last),
            Packet::Blocks(blocks) => {
                let verified = signing::verified_blocks(&self.keys, &blocks);
                if !verified.is_empty() {
                    self.feed(body, Input::Blocks { from: place, blocks: verified });
                }
            }
        }
    }

    /// What the checker of a node lets through of a letter.
    fn at_the_edge(&mut self, place: Place, from: usize, letter: &Letter) -> Option<Verified<Message>> {
        let Some(real) = self.keys.real().cloned() else { return signing::verified(letter) };
        match real.arrived(place, &letter.message) {
            Arrival::Good(message) | Arrival::Proof(message) => Some(message),
            Arrival::Refused(_) if self.bodies[from].lies() => None,
            Arrival::Refused(reason) => {
                let text = format!("what the honest {place} says is refused: {reason}");
                self.fail(Err(Violation::new(Class::Safety, "encoding", text)));
                None
            }
        }
    }

    fn unheard(&mut self, body: usize, from: usize, sent: u64, packet: &Packet, why: &str) {
        self.trace.event_from(sent, self.now, Some(body), || What::Unheard {
            from,
            sent,
            message: trace::about(packet),
            why: why.to_owned(),
        });
    }

    fn serve_blocks(&mut self, body: usize, to: Place, first: Number, last: Number) {
        let last = last.0.min(first.0.saturating_add(BLOCKS_PER_ANSWER - 1));
        let mut blocks = Vec::new();
        for number in (first.0..=last).map(Number) {
            match self.bodies[body].store.read(number) {
                Ok(Some(block)) => blocks.push(block),
                Ok(None) => break,
                Err(reason) => return self.stop(body, reason),
            }
        }
        if !blocks.is_empty() {
            self.post(body, to, Packet::Blocks(blocks));
        }
    }

    /// A receiver reads an origin's bulk stream only while that origin has room.
    fn bulk_arrives(&mut self, body: usize, origin: Place, candidate: Arc<Candidate>) {
        let limit = self.settings.config.outstanding;
        let held = self.bodies[body].held.entry(origin).or_default();
        if held.contains(&candidate.digest) {
            return;
        }
        if held.len() < limit {
            held.insert(candidate.digest);
            self.begin_check(body, origin, candidate);
        } else {
            let unread = self.bodies[body].unread.entry(origin).or_default();
            if unread.len() < UNREAD_LIMIT {
                unread.push_back(candidate);
            }
        }
    }

    pub(crate) fn room_for(&mut self, body: usize, origin: Place, digest: &sbft::types::Digest) {
        if !self.bodies[body].held.entry(origin).or_default().remove(digest) {
            return;
        }
        if let Some(next) = self.bodies[body].unread.entry(origin).or_default().pop_front() {
            self.bulk_arrives(body, origin, next);
        }
    }

    pub(crate) fn begin_check(&mut self, body: usize, from: Place, candidate: Arc<Candidate>) {
        if self.machine.is_some() {
            return self.check_work(body, from, candidate);
        }
        let (low, high) = self.settings.validate;
        let key = [body as u64, crate::network::short(&candidate.digest)];
        let delay = self.draws.duration(Purpose::Validate, &key, low, high);
        let incarnation = self.bodies[body].incarnation;
        let cause = self.trace.cause;
        self.schedule(delay, Event::Checked { body, incarnation, from, candidate, cause });
    }

    pub(crate) fn candidate_checked(&mut self, body: usize, from: Place, candidate: Arc<Candidate>) {
        let config_sequence = self.workload.config_sequence();
        let verified = match self.settings.config.plants.has(Plant::EnvelopesNotChecked) {
            true => Some(signing::unchecked_candidate(&candidate)),
            false => self.workload.judge(&candidate, self.settings.n),
        };
        let input = match verified {
            Some(verified) => {
                let state = &mut self.bodies[body];
                // Only what came from its origin is released by the core one day.
                if from == candidate.origin && from != state.place && state.is_up() {
                    let now = state.local(self.now);
                    let seen = IntakeInput::Seen(verified.get().clone());
                    let begun = self.meter.as_ref().map(|_| Instant::now());
                    state.intake.step(now, seen, &mut state.intake_outputs);
                    if let (Some(meter), Some(begun)) = (&mut self.meter, begun) {
                        meter.add("intake:seen", verified.get().envelopes.len(), begun);
                    }
                }
                Input::Candidate { from, candidate: verified, config_sequence }
            }
            None => Input::InvalidCandidate { from, digest: candidate.digest, config_sequence },
        };
        self.trace.cause = self.trace.event(self.now, Some(body), || What::Checked {
            digest: candidate.digest.to_string(),
            good: matches!(input, Input::Candidate { .. }),
        });
        self.feed(body, input);
    }
}
