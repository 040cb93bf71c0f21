//! What an attack may look at and use.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sbft::pbft::message::{
    CommitVote, Message, NewViewBody, PrepareVote, Proposal, SignedViewChange, Unsigned, ViewChange,
};
use sbft::pbft::{Config, Input, Output, Probe};
use sbft::types::{Candidate, CandidateRef, Digest, Header, Number, Place, Time, View};

use super::{Act, Knowledge};
use crate::disk::BlockStore;
use crate::draw::{Draws, Purpose};
use crate::network::{Letter, Packet, label};
use crate::signing::{self, Keys};
use crate::workload::{self, Workload};
use crate::world::Body;

/// A run's liars stop making envelopes up when there are so many, or it would not end.
const ENVELOPES: u64 = 400;

/// Something that a liar wants to happen to itself or its clients.
#[derive(Clone, Debug)]
pub(crate) enum Wish {
    /// It crashes, and comes back after this long.
    Crash(Duration),
    /// Its link to this replica goes down and comes up again.
    Flap(Place),
    /// Its client submits this envelope to that replica.
    Submit(Place, u64, u8),
    /// Its core is given this candidate, as if it had just come from there.
    Take(Place, Arc<Candidate>),
}

/// What is left on the stage when the liar goes.
pub(crate) struct Left {
    pub(crate) known: Knowledge,
    pub(crate) acts: Vec<Act>,
    pub(crate) wishes: Vec<Wish>,
    /// Which of its attacks acted, by index, and how often.
    pub(crate) lies: Vec<(usize, u64)>,
}

/// What an attack may look at and use, each time it is asked.
///
/// Everything that is random must be drawn here, so that the same seed gives the same run: see
/// [`Stage::draw`] and [`Stage::chance`].
pub struct Stage<'a> {
    /// Virtual time.
    pub now: Time,
    /// Whose key the liar holds.
    pub me: Place,
    /// Which body it is: twins share a place and not a body.
    pub body: usize,
    /// How many replicas there are.
    pub n: usize,
    /// The network has healed: from here on liveness is expected in spite of the liars.
    pub healed: bool,
    /// The channel's rules and timers.
    pub config: &'a Config,
    /// The liar's blocks.
    pub store: &'a BlockStore,
    /// Every body of the run, for an adversary that looks at everything.
    pub bodies: &'a [Body],
    /// What the liar has heard and said.
    pub known: Knowledge,
    /// The replicas that this attack is against, if its spec says.
    pub against: Vec<Place>,
    pub(crate) draws: Draws,
    pub(crate) keys: &'a Keys,
    pub(crate) workload: &'a mut Workload,
    pub(super) out: Vec<Act>,
    pub(crate) wishes: Vec<Wish>,
    pub(super) salt: u64,
    pub(super) count: u64,
    /// Which of the liar's attacks acted this time, and how often.
    pub(super) lies: Vec<(usize, u64)>,
}

impl<'a> Stage<'a> {
    pub(crate) fn new(
        body: usize,
        bodies: &'a [Body],
        draws: Draws,
        keys: &'a Keys,
        workload: &'a mut Workload,
        config: &'a Config,
        (now, healed): (Time, bool),
    ) -> Self {
        Self {
            now,
            me: bodies[body].place,
            body,
            n: config.n,
            healed,
            config,
            store: &bodies[body].store,
            bodies,
            known: Knowledge::default(),
            against: Vec::new(),
            draws,
            keys,
            workload,
            out: Vec::new(),
            wishes: Vec::new(),
            salt: 0,
            count: 0,
            lies: Vec::new(),
        }
    }

    pub(crate) fn leave(self) -> Left {
        Left { known: self.known, acts: self.out, wishes: self.wishes, lies: self.lies }
    }

    // ---- Who is there, and how far they are. ----

    /// All other replicas.
    pub fn others(&self) -> Vec<Place> {
        (0..self.n as u16).map(Place).filter(|place| *place != self.me).collect()
    }

    /// How many replicas may lie.
    pub fn f(&self) -> usize {
        self.keys.f()
    }

    /// How many votes make a certificate.
    pub fn quorum(&self) -> usize {
        self.keys.quorum()
    }

    /// The state of the liar's own core; none while it is down.
    pub fn probe(&self) -> Option<Probe> {
        self.bodies[self.body].core.as_ref().map(|core| core.probe())
    }

    /// The view that the liar's own core is in or has asked for.
    pub fn view(&self) -> View {
        self.bodies[self.body].core.as_ref().map_or(View(0), |core| core.stands().0)
    }

    /// The liar is the primary of the view that its core is in.
    pub fn is_primary(&self) -> bool {
        self.view().primary(self.n) == self.me
    }

    /// The number of the next block to commit, as the liar knows it.
    pub fn next_number(&self) -> Number {
        self.store.last().next()
    }

    /// The genesis hash, which proposal digests are over.
    pub fn genesis(&self) -> Digest {
        self.keys.domain().genesis
    }

    // ---- Randomness, keyed. ----

    /// Uniform below `bound`, and the same whenever this attack of this liar asks with these keys.
    pub fn draw(&self, keys: &[u64], bound: u64) -> u64 {
        let mut all = vec![u64::from(self.me.0), self.salt];
        all.extend(keys);
        self.draws.below(Purpose::Lie, &all, bound)
    }

    /// True with this probability, and always the same for these keys.
    pub fn chance(&self, keys: &[u64], probability: f64) -> bool {
        (self.draw(keys, 1 << 53) as f64) / ((1u64 << 53) as f64) < probability
    }

    /// Microseconds since the start, to key a draw that is made anew every time.
    pub fn instant(&self) -> u64 {
        self.now.0.as_micros() as u64
    }

    /// One of the others.
    pub fn pick(&self, keys: &[u64]) -> Place {
        let others = self.others();
        let which = self.draw(keys, others.len().max(1) as u64) as usize;
        others.get(which).copied().unwrap_or(self.me)
    }

    /// The one replica that this attack is against: the first of `against`, or one drawn for good.
    pub fn victim(&self) -> Place {
        self.against.first().copied().unwrap_or_else(|| self.pick(&[0x0bad]))
    }

    /// Some of the others and not all of them: `against`, or a draw that is the same for all
    /// liars of a run, so that they tell the same replicas the same story.
    pub fn some(&self, view: View, number: Number) -> Vec<Place> {
        if !self.against.is_empty() {
            return self.against.clone();
        }
        let others = self.others();
        let mask = self.draws.bits(Purpose::Lie, &[view.0, number.0, 12]);
        let some: Vec<Place> = others.iter().copied().filter(|place| mask >> place.0 & 1 == 1).collect();
        if some.is_empty() || some.len() == others.len() {
            return others[..others.len() / 2].to_vec();
        }
        some
    }

    // ---- Signing, with the liar's own key. ----

    /// A packet of this message.
    pub fn packet(&self, message: Message) -> Packet {
        let label = label(&message, &self.genesis());
        Packet::Message(Rc::new(Letter { good: self.keys.judge(&message), label, message }))
    }

    /// A proposal as the primary of `view`, signed by the liar whether it is that or not.
    pub fn pre_prepare(&self, view: View, proposal: Arc<Proposal>) -> Packet {
        self.packet(self.keys.seal(self.me, Unsigned::PrePrepare { view, proposal }, 0))
    }

    /// A prepare vote.
    pub fn prepare(&self, view: View, number: Number, digest: Digest) -> Packet {
        self.packet(Message::Prepare(self.keys.prepare(self.me, PrepareVote { view, number, digest })))
    }

    /// A commit vote, which is a signature over the block.
    pub fn commit(&self, view: View, header: &Header, digest: Digest) -> Packet {
        let nonce = self.draws.bits(Purpose::Nonce, &[u64::from(self.me.0), view.0, header.number.0, 5]);
        let last_config = self.config.last_config;
        let vote = CommitVote { view, header: header.clone(), digest, last_config };
        self.packet(Message::Commit(Arc::new(self.keys.commit(self.me, vote, nonce))))
    }

    /// A view-change with the liar's signature.
    pub fn view_change(&self, body: ViewChange) -> Arc<SignedViewChange> {
        Arc::new(self.keys.view_change(self.me, body))
    }

    /// A view-change that asks for `view` and says nothing else.
    pub fn empty_view_change(&self, view: View) -> Packet {
        let body = ViewChange { view, base: None, prepared: Vec::new() };
        self.packet(Message::ViewChange(self.view_change(body)))
    }

    /// A new-view with the liar's signature.
    pub fn new_view(&self, view: View, mut view_changes: Vec<Arc<SignedViewChange>>) -> Packet {
        view_changes.sort_by_key(|change| change.signer);
        let body = NewViewBody { view, view_changes };
        self.packet(self.keys.seal(self.me, Unsigned::NewView(body), 0))
    }

    /// A good prepared certificate for this proposal in this view, if the liar knows of a quorum
    /// of votes for it.
    pub(super) fn certificate(
        &self,
        view: View,
        proposal: &Arc<Proposal>,
    ) -> Option<sbft::pbft::message::PreparedCertificate> {
        let digest = proposal.digest(&self.genesis());
        let votes = self.known.prepares.get(&(view, proposal.number(), digest))?;
        if votes.len() < self.quorum() {
            return None;
        }
        let signatures = votes.iter().take(self.quorum()).map(|(who, sig)| (*who, sig.clone())).collect();
        Some(sbft::pbft::message::PreparedCertificate { view, proposal: proposal.clone(), signatures })
    }

    pub(super) fn keys(&self) -> &Keys {
        self.keys
    }

    // ---- Envelopes and candidates: clients are on the liar's side too. ----

    /// An envelope that a client of the liar's submits, which is therefore valid; none when there
    /// are too many already.
    pub fn envelope(&mut self) -> Option<Bytes> {
        self.envelope_index().map(|index| self.workload.envelope(index, 0))
    }

    /// A candidate of these envelopes as `origin`'s, which the liar will hand out when asked.
    pub fn candidate_of(&mut self, origin: Place, envelopes: Vec<Bytes>) -> Arc<Candidate> {
        self.known.made += 1;
        // The real intake counts from 0 and never comes this far.
        let candidate = workload::candidate(origin, (1 << 40) + self.known.made, envelopes);
        self.known.stock.insert(candidate.digest, candidate.clone());
        while self.known.stock.len() > 512 {
            self.known.stock.pop_first();
        }
        candidate
    }

    /// A block of one new envelope on top of `previous_hash`; its candidate still has to be sent.
    pub fn other_proposal(
        &mut self,
        number: Number,
        previous_hash: Option<Digest>,
    ) -> Option<(Arc<Candidate>, Arc<Proposal>)> {
        let envelope = self.envelope()?;
        let candidate = self.candidate_of(self.me, vec![envelope]);
        let header = Header { number, previous_hash, data_hash: candidate.data_hash };
        let named = CandidateRef { origin: self.me, digest: candidate.digest };
        Some((candidate, Arc::new(Proposal { header, candidates: vec![named] })))
    }

    /// A client of the liar's submits an envelope to `to`, the same request in other bytes for
    /// another `variant`.
    pub(super) fn submit(&mut self, to: Place, index: u64, variant: u8) {
        self.wishes.push(Wish::Submit(to, index, variant));
        self.count += 1;
    }

    /// Gives the liar's own core a candidate that was kept from it, as if it came from `from` now.
    pub(super) fn give_core(&mut self, from: Place, candidate: Arc<Candidate>) {
        self.wishes.push(Wish::Take(from, candidate));
        self.count += 1;
    }

    /// A new envelope's index, to submit; none when there are too many.
    pub(super) fn envelope_index(&mut self) -> Option<u64> {
        (self.workload.len() < ENVELOPES).then(|| self.workload.submit_unnamed())
    }

    // ---- Doing something. ----

    /// Sends a packet. Counts as an act.
    pub fn send(&mut self, to: Place, packet: Packet) {
        self.send_later(to, packet, Duration::ZERO);
    }

    /// Sends a packet that much later. Counts as an act.
    pub fn send_later(&mut self, to: Place, packet: Packet, delay: Duration) {
        self.count += 1;
        self.out.push(Act { to, delay, packet });
    }

    /// Sends a packet to all others. Counts as an act for each.
    pub fn send_all(&mut self, packet: &Packet) {
        for to in self.others() {
            self.send(to, packet.clone());
        }
    }

    /// The liar crashes and comes back after this long. Counts as an act.
    pub fn crash(&mut self, back_after: Duration) {
        self.count += 1;
        self.wishes.push(Wish::Crash(back_after));
    }

    /// The link to `peer` goes down and comes up again at once. Counts as an act.
    pub fn flap(&mut self, peer: Place) {
        self.count += 1;
        self.wishes.push(Wish::Flap(peer));
    }

    /// Counts an act that the simulator cannot see.
    pub fn acted(&mut self) {
        self.count += 1;
    }

    // ---- Looking one step ahead. ----

    /// What the replica at `place` would do next, if it got these messages now: a copy of its
    /// core is asked. None while it is down.
    pub fn imagine(&self, place: Place, packets: &[&Packet]) -> Option<(Vec<Output>, Probe)> {
        let body = self.bodies.iter().find(|body| body.place == place && body.is_up())?;
        let mut core = body.core.clone()?;
        let now = body.local(self.now);
        let mut outputs = Vec::new();
        for packet in packets {
            let input = match packet {
                Packet::Message(letter) => {
                    let Some(message) = signing::verified(letter) else { continue };
                    Input::Message { from: self.me, message }
                }
                Packet::Candidate(candidate) | Packet::Repair(candidate) => {
                    let config_sequence = self.config.config_sequence;
                    match signing::verified_candidate(self.workload, candidate) {
                        Some(candidate) => Input::Candidate { from: self.me, candidate, config_sequence },
                        None => continue,
                    }
                }
                _ => continue,
            };
            core.step(now, input, &mut outputs);
        }
        Some((outputs, core.probe()))
    }
}
