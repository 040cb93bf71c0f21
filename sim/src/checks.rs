//! What must never break, checked after every event.
//!
//! Written from design.md, "What must never break", and not from the core: the checks share no
//! code with it beyond the types and the bytes that signatures cover. One family of invariants a
//! file; `names` lists them all. The first check that fails ends the run.

mod acceptance;
mod certificate;
mod chain;
mod evidence;
mod ghost;
mod liveness;
mod load;
mod names;
mod promises;
mod rot;
mod seen;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use sbft::pbft::message::{Message, Offence};
use sbft::pbft::{Config, Note, Output, Record, Replica};
use sbft::types::{CommittedBlock, Digest, Number, Place, RequestId, Time, View};

use crate::digests::digest_of;
use crate::draw::mix;
use crate::signing::Keys;
use crate::violation::{Class, Violation};
use crate::workload::{Workload, index_of};
use crate::world::Body;

use acceptance::Acceptance;
use certificate::Certificates;
use chain::Chain;
use evidence::Evidence;
pub(crate) use evidence::Lie;
use ghost::Ghost;
pub use liveness::Bound;
use load::Load;
pub use names::{CHECKS, Check, invariant_of};
use promises::{Promises, Slot};
pub(crate) use rot::{Files, rot_noticed, rotted};
pub use seen::{SOMETIMES, Seen, Sometimes};

type Verdict = Result<(), Violation>;

fn unsafe_because(check: &'static str, text: String) -> Verdict {
    Err(Violation::new(Class::Safety, check, text))
}

/// All invariants and what they remember.
#[derive(Debug)]
pub struct Checks {
    keys: Keys,
    genesis: Digest,
    window: u64,
    /// Liars, and replicas that lost their disk.
    dishonest: BTreeSet<Place>,
    faulty: BTreeSet<Place>,
    wiped: BTreeSet<Place>,
    now: Time,
    chain: Chain,
    certificates: Certificates,
    promises: BTreeMap<Place, Promises>,
    ghost: Ghost,
    acceptance: Acceptance,
    evidence: Evidence,
    load: Load,
    steps: u64,
    /// How long an accepted envelope may wait once the network behaves.
    pub patience: Duration,
    /// Envelopes of the candidates and proposals that honest replicas recorded, for [`Seen`].
    sizes: BTreeMap<Digest, usize>,
    /// Views entered, view-changes with certificates and so on, for campaigns.
    pub seen: Seen,
}

impl Checks {
    pub(crate) fn new(keys: Keys, config: &Config, faulty: BTreeSet<Place>) -> Self {
        Self {
            genesis: config.domain.genesis,
            window: config.window,
            dishonest: faulty.clone(),
            faulty,
            wiped: BTreeSet::new(),
            now: Time::ZERO,
            chain: Chain::new(config.domain.genesis, config.dedup),
            certificates: Certificates::new(keys.clone()),
            promises: BTreeMap::new(),
            ghost: Ghost::new(keys.clone(), config),
            acceptance: Acceptance::default(),
            evidence: Evidence::default(),
            load: Load::new(config),
            steps: 0,
            patience: Bound::of(config).total(),
            sizes: BTreeMap::new(),
            seen: Seen::default(),
            keys,
        }
    }

    /// How many blocks the chain has above the genesis block.
    pub fn chain_len(&self) -> u64 {
        self.chain.len()
    }

    /// The hash of block `number`'s header.
    pub fn chain_hash(&self, number: Number) -> Option<Digest> {
        self.chain.hash(number)
    }

    /// Envelopes that an honest replica accepted and stayed up for, and that are in no block.
    pub fn owed(&self) -> impl Iterator<Item = u64> + '_ {
        self.acceptance.owed()
    }

    /// The most packets that an honest replica sent within one second.
    pub fn busiest(&self) -> u64 {
        self.load.busiest
    }

    /// Agreement, chain links, validity, integrity, certificates: at every block that an honest
    /// replica commits.
    pub(crate) fn committed(
        &mut self,
        body: &Body,
        block: &Arc<CommittedBlock>,
        workload: &Workload,
    ) -> Verdict {
        if !body.is_honest() {
            return Ok(());
        }
        let (place, number, certificate) = (body.place, block.number(), &block.certificate);
        if !self.wiped.contains(&place) {
            self.ghost.committed(body, block)?;
        }
        self.certificates.judge(place, certificate, &self.dishonest)?;
        if let Err(flaw) = self.keys.judge_block(block) {
            return unsafe_because("certificate", format!("{place} commits {number} with a flaw: {flaw:?}"));
        }
        self.see_committed(place, block);
        let new =
            self.chain.committed(place, body.store.last(), block, |envelope| workload.valid(envelope))?;
        if new {
            self.ghost.progressed(false);
            self.seen.blocks += 1;
            for index in block.data.iter().filter_map(index_of) {
                self.acceptance.settled(index);
            }
        }
        Ok(())
    }

    fn see_committed(&mut self, place: Place, block: &CommittedBlock) {
        let (number, certificate) = (block.number(), &block.certificate);
        let voted = Slot::Prepare(certificate.view, number);
        let promises = self.promises.entry(place).or_default();
        self.seen.caught_up += u64::from(!promises.votes.contains_key(&voted));
        self.seen.after_wipe += u64::from(self.wiped.contains(&place));
        let whole = self.sizes.get(&certificate.proposal);
        self.seen.duplicates += u64::from(whole.is_some_and(|whole| *whole > block.data.len()));
    }

    /// An honest replica writes a record.
    fn see_record(&mut self, body: &Body, record: &Record) {
        match record {
            Record::Payload(candidate) => {
                self.sizes.insert(candidate.digest, candidate.ids.len());
            }
            Record::Accepted { proposal, .. } => {
                let named = proposal.candidates.iter().map(|named| self.sizes.get(&named.digest));
                if let Some(whole) = named.sum::<Option<usize>>() {
                    self.sizes.insert(digest_of(proposal, &self.genesis), whole);
                }
                self.seen.merged += u64::from(proposal.candidates.len() > 1);
                let last = body.store.last().0.saturating_add(self.window);
                self.seen.window_full += u64::from(proposal.number().0 == last);
            }
            Record::Prepared(certificate) => {
                let key = (certificate.proposal.number(), digest_of(&certificate.proposal, &self.genesis));
                let before = body.log.image().prepared.get(&key);
                self.seen.certified_again += u64::from(before.is_some_and(|view| *view < certificate.view));
            }
            Record::NewView(new_view) => {
                let carries =
                    new_view.body.view_changes.iter().any(|change| !change.body.prepared.is_empty());
                self.seen.carried_in += u64::from(carries);
            }
            Record::Bound { .. } | Record::ViewChange(_) | Record::NewViewChosen(_) => {}
        }
    }

    /// A replica has started again.
    pub(crate) fn recovered(&mut self, index: usize, body: &Body, core: &Replica) -> Verdict {
        if !body.is_honest() {
            return Ok(());
        }
        let place = body.place;
        self.evidence.started(index);
        let last = body.store.last();
        let hash = body.store.block(last).map(|block| sbft::header::header_hash(&block.certificate.header));
        self.chain.found(place, last, hash)?;
        self.disk_changed(body)?;
        if self.wiped.contains(&place) {
            return Ok(());
        }
        self.remember(body);
        let Some(promises) = self.promises.get(&place) else { return Ok(()) };
        let (view, _) = core.stands();
        if view < promises.view {
            return unsafe_because(
                "view monotone",
                format!("{place} restarts in {view} and had voted or asked in {}", promises.view),
            );
        }
        self.seen.recoveries += u64::from(!promises.commits.is_empty() || view > View(0));
        Ok(())
    }

    /// A replica does not start from what its disk holds. After crashes alone it must: what is torn is
    /// cut off.
    pub(crate) fn refused(&self, body: &Body, reason: &str) -> Verdict {
        // A disk that cannot be read or written keeps its replica from starting, and rightly.
        if !body.is_honest() || body.suspect_disk {
            return Ok(());
        }
        unsafe_because("torn tail", format!("{} does not start, and nothing rotted: {reason}", body.place))
    }

    /// After every step: memory and output are bounded, and nothing accepted is forgotten.
    pub(crate) fn stepped(
        &mut self,
        _index: usize,
        body: &Body,
        core: &Replica,
        outputs: &[Output],
    ) -> Verdict {
        if !body.is_honest() {
            return Ok(());
        }
        self.load.stepped(body.place, outputs.len())?;
        self.steps += 1;
        if !self.steps.is_multiple_of(16) {
            return Ok(());
        }
        if outputs.is_empty() && body.owes_nothing() {
            self.acceptance.idle(body.place)?;
        }
        self.load.holds(body.place, &core.probe(), body.store.unsynced())
    }

    /// A deadline has come; it must not come again and again at one instant.
    pub(crate) fn ticked(&mut self, index: usize, now: Time) -> Verdict {
        self.load.ticked(index, now)
    }

    /// A packet came to a body, or a client's envelope.
    pub(crate) fn heard(&mut self, index: usize, bytes: usize) {
        self.load.heard(index, bytes);
    }

    /// An honest replica sends a packet.
    pub(crate) fn sent(&mut self, index: usize, body: &Body, bytes: usize) -> Verdict {
        if !body.is_honest() {
            return Ok(());
        }
        self.seen.sent += 1;
        self.load.sent(index, body.place, bytes)
    }

    /// The clock moves on.
    pub(crate) fn time_passes(&mut self, now: Time, next: Time, queued: usize) -> Verdict {
        (self.now, self.ghost.now) = (next, next);
        if next.0.as_secs() != now.0.as_secs() {
            self.acceptance.in_time(next, self.patience)?;
        }
        self.load.time_passes(now, next, queued)
    }

    /// The network has behaved since `healed`: whoever is up and honest has joined the others.
    pub(crate) fn has_joined(&self, healed: Time, up: impl Iterator<Item = Place>) -> Verdict {
        let honest: Vec<_> = up.filter(|place| !self.dishonest.contains(place)).collect();
        self.ghost.has_joined(healed, &honest)
    }

    /// The network behaves from here on.
    pub(crate) fn healed(&mut self) {
        self.ghost.progressed(true);
        self.acceptance.healed(self.now);
    }

    /// A body is about to be told something; what it must notice, if it must.
    pub(crate) fn hears(&mut self, index: usize, body: &Body, message: &Message) -> Option<Lie> {
        let core = body.core.as_ref().filter(|_| body.is_honest() && !self.faulty.is_empty())?;
        let (view, tip) = core.stands();
        let stands = (view, tip, self.window);
        self.evidence.hears(index, stands, message, self.keys.n(), &self.faulty, &self.genesis)
    }

    /// The body was told, and is still up.
    pub(crate) fn answered(&mut self, index: usize, body: &Body, lie: Lie) -> Verdict {
        if !body.is_up() {
            return Ok(());
        }
        self.evidence.answered(index, body.place, lie)
    }

    /// Nobody accuses an honest replica.
    pub(crate) fn accused(&mut self, index: usize, body: &Body, offence: &Offence) -> Verdict {
        if !body.is_honest() {
            return Ok(());
        }
        self.seen.accusations += 1;
        self.evidence.accuses(index, body.place, offence, self.keys.n(), &self.dishonest)
    }

    /// What a replica says about itself.
    pub(crate) fn noted(&mut self, body: &Body, note: &Note) -> Verdict {
        if !body.is_honest() {
            return Ok(());
        }
        match note {
            Note::EnteredView { view, reproposed, .. } => {
                self.seen.highest_view = self.seen.highest_view.max(view.0);
                self.seen.reproposed += *reproposed as u64;
            }
            Note::Complains { .. } => self.seen.complaints += 1,
            Note::Withdrew { .. } => self.seen.withdrawn += 1,
            Note::Halted { reason } => {
                return unsafe_because("halted", format!("{} halts: {reason}", body.place));
            }
            _ => {}
        }
        Ok(())
    }

    /// An honest replica accepted an envelope; it owes it while it stays up.
    pub(crate) fn accepted(&mut self, place: Place, _incarnation: u32, index: u64, id: &RequestId) {
        if !self.faulty.contains(&place) && !self.chain.contains(id) {
            self.acceptance.accepted(place, index, self.now);
        }
    }

    /// A body is about to die.
    pub(crate) fn crashes(&mut self, body: &Body) {
        if body.is_honest() {
            self.seen.crashes += 1;
            self.seen.crashes_before_sync += u64::from(body.log.unsynced() > 0);
            self.chain.synced(body.place, body.store.durable());
        }
    }

    /// A replica went down: it owes nothing any more.
    pub(crate) fn went_down(&mut self, place: Place) {
        self.acceptance.went_down(place);
    }

    /// A replica lost its disk.
    pub(crate) fn wiped(&mut self, place: Place) {
        self.wiped.insert(place);
        self.dishonest.insert(place);
        self.chain.wiped(place);
    }

    /// At the end, when all is settled: everyone has the whole chain, and the same.
    pub(crate) fn ended(&self, bodies: &[Body]) -> Verdict {
        for body in bodies.iter().filter(|body| body.is_honest()) {
            let blocks = (1..=body.store.last().0).map_while(|number| body.store.block(Number(number)));
            let hashes = blocks.map(|block| sbft::header::header_hash(&block.certificate.header));
            self.chain.converged(body.place, hashes)?;
        }
        Ok(())
    }

    /// A replica's disk may have made it forget what it promised: it is one of the f.
    pub(crate) fn damaged(&mut self, place: Place) {
        self.faulty.insert(place);
        self.dishonest.insert(place);
    }

    /// The trace hash's companion: one number for everything that the honest replicas committed.
    pub fn chain_digest(&self) -> u64 {
        self.chain.hashes().iter().fold(0, |hash, block| mix(hash, crate::network::short(block)))
    }
}

#[cfg(test)]
mod tests;
