//! What must never break, checked after every event.
//!
//! Written from design.md, "What must never break", and not from the core: the checks share no
//! code with it beyond the types and the bytes that signatures cover. Each failing check has a
//! name; the first one that fails ends the run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sbft::header::header_hash;
use sbft::pbft::message::{Message, Offence};
use sbft::pbft::{Config, Note, Output, Record, Replica};
use sbft::types::{CommittedBlock, Digest, Number, Place, RequestId, Time, View};

use crate::draw::mix;
use crate::ghost::Ghost;
use crate::signing::Keys;
use crate::violation::{Class, Violation};
use crate::workload::{Workload, index_of};
use crate::world::Body;

type Verdict = Result<(), Violation>;

fn unsafe_because(check: &'static str, text: String) -> Verdict {
    Err(Violation::new(Class::Safety, check, text))
}

/// A vote's place in the order: nobody may vote twice at one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Slot {
    Prepare(View, Number),
    Commit(View, Number),
    NewView(View),
}

/// What an honest replica has told others, over all its lives.
#[derive(Debug, Default)]
struct Promises {
    votes: BTreeMap<Slot, Digest>,
    /// Highest view it asked for by a view-change.
    asked: View,
    /// Highest view it voted or asked in.
    view: View,
    /// Commit votes of blocks that may not be durable here, by number.
    commits: BTreeMap<Number, (View, Digest)>,
    /// Packets sent within the present second.
    sent: u64,
}

/// All invariants and what they remember.
#[derive(Debug)]
pub struct Checks {
    keys: Keys,
    genesis: Digest,
    dedup_blocks: u64,
    window: u64,
    outstanding: usize,
    faulty: BTreeSet<Place>,
    wiped: BTreeSet<Place>,
    /// Both.
    dishonest: BTreeSet<Place>,
    /// The one chain, as the first honest replica to commit each block gave it.
    chain: Vec<Digest>,
    /// The blocks in the chain that hold each id, by number.
    places_of: BTreeMap<RequestId, Number>,
    promises: BTreeMap<Place, Promises>,
    /// Envelopes accepted and still promised: who accepted, in which life.
    promised: BTreeMap<u64, BTreeSet<Place>>,
    ticks_now: (usize, Time, u32),
    steps: u64,
    ghost: Ghost,
    /// Views entered, view-changes with certificates and so on, for campaigns.
    pub seen: Seen,
}

/// What happened at least once in a run; a campaign in which something never does is broken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Blocks in the chain.
    pub blocks: u64,
    /// Highest view an honest replica entered.
    pub highest_view: u64,
    /// View-changes that carried a certificate.
    pub carried: u64,
    /// Blocks proposed again in a later view.
    pub reproposed: u64,
    /// Crashes of honest replicas.
    pub crashes: u64,
    /// Honest replicas that accused somebody.
    pub accusations: u64,
    /// Messages sent by honest replicas.
    pub sent: u64,
}

impl Checks {
    pub(crate) fn new(keys: Keys, config: &Config, faulty: BTreeSet<Place>) -> Self {
        Self {
            genesis: config.domain.genesis,
            dedup_blocks: config.dedup_blocks,
            window: config.window,
            outstanding: config.outstanding,
            keys: keys.clone(),
            dishonest: faulty.clone(),
            faulty,
            wiped: BTreeSet::new(),
            chain: Vec::new(),
            places_of: BTreeMap::new(),
            promises: BTreeMap::new(),
            promised: BTreeMap::new(),
            ticks_now: (0, Time::ZERO, 0),
            steps: 0,
            ghost: Ghost::new(keys.clone(), config),
            seen: Seen::default(),
        }
    }

    /// How many blocks the chain has above the genesis block.
    pub fn chain_len(&self) -> u64 {
        self.chain.len() as u64
    }

    /// The hash of block `number`'s header.
    pub fn chain_hash(&self, number: Number) -> Option<Digest> {
        number.0.checked_sub(1).and_then(|index| self.chain.get(index as usize)).copied()
    }

    /// Envelopes that an honest replica accepted and stayed up for, and that are in no block.
    pub fn owed(&self) -> impl Iterator<Item = u64> + '_ {
        self.promised.keys().copied()
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
        let place = body.place;
        let number = block.number();
        let expected = body.store.last().next();
        if number != expected {
            return unsafe_because("gapless", format!("{place} commits {number} where {expected} is next"));
        }
        if !self.wiped.contains(&place) {
            self.ghost.committed(body, block)?;
        }
        if let Err(flaw) = self.keys.judge_block(block) {
            return unsafe_because("certificate", format!("{place} commits {number} with a flaw: {flaw:?}"));
        }
        let hash = header_hash(&block.certificate.header);
        if let Some(known) = self.chain_hash(number) {
            if known != hash {
                return unsafe_because(
                    "agreement",
                    format!("{place} commits {number} {hash}, others {known}"),
                );
            }
            return Ok(());
        }
        let parent = if number.0 == 1 { self.genesis } else { self.chain[number.0 as usize - 2] };
        if block.certificate.header.previous_hash != Some(parent) {
            return unsafe_because("chain", format!("{number} does not extend {parent}"));
        }
        self.chain.push(hash);
        self.ghost.progressed(false);
        self.seen.blocks += 1;
        if block.data.is_empty() {
            return unsafe_because("validity", format!("{number} is empty"));
        }
        for envelope in &block.data {
            if !workload.valid(envelope) {
                return unsafe_because(
                    "validity",
                    format!("{number} holds an envelope that nobody submitted"),
                );
            }
        }
        for id in &block.ids {
            if let Some(before) = self.places_of.insert(*id, number)
                && number.0 - before.0 <= self.dedup_blocks
            {
                return unsafe_because("integrity", format!("{number} holds {id}, which is in {before} too"));
            }
        }
        for index in block.data.iter().filter_map(index_of) {
            self.promised.remove(&index);
        }
        Ok(())
    }

    /// A vote leaves an honest replica: it contradicts nothing that this replica ever said, and
    /// the synced part of its log covers it.
    pub(crate) fn released(&mut self, body: &Body, message: &Message) -> Verdict {
        let place = body.place;
        let votes = match message {
            Message::PrePrepare(m) if m.view.primary(self.keys.n()) == place => {
                let digest = m.proposal.digest(&self.genesis);
                Some((Slot::Prepare(m.view, m.proposal.number()), digest))
            }
            Message::Prepare(m) if m.signer == place => {
                Some((Slot::Prepare(m.vote.view, m.vote.number), m.vote.digest))
            }
            Message::Commit(m) if m.signer == place => {
                Some((Slot::Commit(m.vote.view, m.vote.header.number), m.vote.digest))
            }
            Message::NewView(m) if m.body.view.primary(self.keys.n()) == place => {
                let bytes = m.body.signing_bytes(self.keys.domain(), place);
                Some((Slot::NewView(m.body.view), sbft::header::sha256(&bytes)))
            }
            _ => None,
        };
        if let Some((slot, digest)) = votes {
            return self.voted(body, slot, digest);
        }
        if let Message::ViewChange(change) = message
            && change.signer == place
        {
            return self.asked(body, change.body.view, &change.body);
        }
        Ok(())
    }

    fn voted(&mut self, body: &Body, slot: Slot, digest: Digest) -> Verdict {
        let place = body.place;
        let wiped = self.wiped.contains(&place);
        let promises = self.promises.entry(place).or_default();
        match promises.votes.get(&slot) {
            Some(before) if *before == digest => return Ok(()), // said again, and no new promise
            _ if wiped => {
                return unsafe_because("wiped", format!("{place} lost its log and votes again: {slot:?}"));
            }
            Some(before) => {
                return unsafe_because(
                    "one vote",
                    format!("{place} votes for {digest} at {slot:?}, where it voted for {before}"),
                );
            }
            None => {}
        }
        let view = match slot {
            Slot::Prepare(view, _) | Slot::Commit(view, _) | Slot::NewView(view) => view,
        };
        if view < promises.asked {
            let asked = promises.asked;
            return unsafe_because(
                "no vote back",
                format!("{place} votes at {slot:?} after it asked for {asked}"),
            );
        }
        if view < promises.view {
            let before = promises.view;
            return unsafe_because("view monotone", format!("{place} votes at {slot:?} after {before}"));
        }
        promises.view = view;
        promises.votes.insert(slot, digest);
        match slot {
            Slot::Prepare(view, number) => {
                self.ghost.prepares(place, view, number, digest, &self.dishonest)?;
            }
            Slot::Commit(view, number) => self.ghost.commits(place, view, number, digest),
            Slot::NewView(_) => {}
        }
        let promises = self.promises.entry(place).or_default();
        // A vote for a block that is committed here already adds nothing: q logs hold it.
        if let Slot::Commit(view, number) = slot
            && number > body.store.last()
        {
            promises.commits.insert(number, (view, digest));
        }
        self.covered(body, slot, digest)
    }

    /// The synced part of the log forbids contradicting this vote.
    fn covered(&self, body: &Body, slot: Slot, digest: Digest) -> Verdict {
        let place = body.place;
        let image = body.log.image();
        let durable = body.store.durable();
        let (view, number) = match slot {
            Slot::Prepare(view, number) | Slot::Commit(view, number) => (view, number),
            Slot::NewView(view) => (view, Number(u64::MAX)),
        };
        if number <= durable {
            return Ok(());
        }
        // A record that forbids any vote in this view forbids contradicting this one, which left
        // late. What it may have committed must be there all the same.
        let superseded = image.entered.last().copied().unwrap_or_default().max(image.asked) > view;
        if superseded && !matches!(slot, Slot::Commit(..)) {
            return Ok(());
        }
        if view > View(0)
            && !superseded
            && !image.entered.contains(&view)
            && !matches!(slot, Slot::NewView(_))
        {
            return unsafe_because(
                "persist first",
                format!("{place} votes at {slot:?} and has no new-view synced"),
            );
        }
        match slot {
            Slot::Prepare(..) => {
                // Having left the view forbids another vote there just as well.
                let left = image.asked.max(image.entered.last().copied().unwrap_or_default()) > view;
                if !left && !image.accepted.contains(&(view, number, digest)) {
                    return unsafe_because(
                        "persist first",
                        format!("{place} votes at {slot:?} and no acceptance of {digest} is synced"),
                    );
                }
            }
            Slot::Commit(..) => {
                let held = image.prepared.get(&(number, digest)).is_some_and(|held| *held >= view);
                let committed = number <= body.store.last();
                if !held || !committed && !image.holds_payload(&digest) {
                    return unsafe_because(
                        "persist first",
                        format!(
                            "{place} votes at {slot:?} and certificate or payload of {digest} is not synced"
                        ),
                    );
                }
                // Below it: certificates too, or the block itself, whose q commits say that q
                // logs hold a certificate.
                for below in body.store.last().0 + 1..number.0 {
                    if !image.holds_certificate_and_payload(Number(below)) {
                        return unsafe_because(
                            "persist first",
                            format!("{place} votes at {slot:?} and nothing synced holds {}", Number(below)),
                        );
                    }
                }
            }
            Slot::NewView(_) => {
                if !image.chosen.contains(&digest) && !image.entered.contains(&view) {
                    return unsafe_because(
                        "persist first",
                        format!("{place} sends {slot:?} and has not synced it"),
                    );
                }
            }
        }
        Ok(())
    }

    fn asked(&mut self, body: &Body, view: View, change: &sbft::pbft::message::ViewChange) -> Verdict {
        let place = body.place;
        if self.wiped.contains(&place) {
            return unsafe_because("wiped", format!("{place} lost its log and asks for {view}"));
        }
        self.ghost.asks(place, view, &self.dishonest)?;
        let image = body.log.image();
        if image.asked.max(image.entered.last().copied().unwrap_or_default()) < view {
            return unsafe_because(
                "persist first",
                format!("{place} asks for {view} and has not synced that"),
            );
        }
        if !change.prepared.is_empty() {
            self.seen.carried += 1;
        }
        let promises = self.promises.entry(place).or_default();
        // Whatever it voted commit for and did not commit must be among its certificates.
        for (number, (committed_in, digest)) in &promises.commits {
            if *number <= change.base_number() || *committed_in >= view {
                continue;
            }
            let carried = change.prepared.iter().any(|certificate| {
                certificate.proposal.number() == *number
                    && (certificate.view > *committed_in
                        || certificate.proposal.digest(&self.genesis) == *digest)
            });
            if !carried {
                return unsafe_because(
                    "certificates kept",
                    format!(
                        "{place} asks for {view} and hides that it voted commit for {number} in {committed_in}"
                    ),
                );
            }
        }
        promises.asked = promises.asked.max(view);
        promises.view = promises.view.max(view);
        Ok(())
    }

    /// The network behaves from now on.
    pub(crate) fn healed(&mut self) {
        self.ghost.progressed(true);
    }

    /// The network has behaved since `healed`: whoever is up and honest has joined the others.
    pub(crate) fn has_joined(&self, healed: Time, up: impl Iterator<Item = Place>) -> Verdict {
        let honest: Vec<_> = up.filter(|place| !self.dishonest.contains(place)).collect();
        self.ghost.has_joined(healed, &honest)
    }

    /// An honest replica writes a record.
    pub(crate) fn persisted(&mut self, body: &Body, record: &Record) -> Verdict {
        if !body.is_honest() || self.wiped.contains(&body.place) {
            return Ok(());
        }
        self.ghost.persisted(body, record, &self.dishonest)
    }

    /// After recovery, and whenever the log was rewritten: what this replica promised is there.
    pub(crate) fn disk_changed(&mut self, body: &Body) -> Verdict {
        if !body.is_honest() || self.wiped.contains(&body.place) {
            return Ok(());
        }
        let durable = body.store.durable();
        let Some(promises) = self.promises.get_mut(&body.place) else { return Ok(()) };
        promises.commits.retain(|number, _| *number > durable);
        let image = body.log.image();
        for (number, (view, _)) in &promises.commits {
            if !image.holds_certificate_and_payload(*number) {
                return unsafe_because(
                    "certificates kept",
                    format!(
                        "{} voted commit for {number} in {view} and its disk holds no certificate",
                        body.place
                    ),
                );
            }
        }
        let entered = image.entered.last().copied().unwrap_or_default();
        for (slot, digest) in &promises.votes {
            // What forbids voting in a lower view forbids contradicting a vote there, too.
            if let Slot::Prepare(view, number) = slot
                && *view >= entered.max(image.asked)
                && *number > durable
                && !image.accepted.contains(&(*view, *number, *digest))
            {
                return unsafe_because(
                    "votes kept",
                    format!("{} voted prepare for {number} in {view} and its disk forgot", body.place),
                );
            }
        }
        Ok(())
    }

    /// A replica has started again.
    pub(crate) fn recovered(&mut self, _index: usize, body: &Body, core: &Replica) -> Verdict {
        if !body.is_honest() {
            return Ok(());
        }
        self.disk_changed(body)?;
        let place = body.place;
        if self.wiped.contains(&place) {
            return Ok(());
        }
        let probe = core.probe();
        if let Some(promises) = self.promises.get(&place)
            && probe.view < promises.view
        {
            return unsafe_because(
                "view monotone",
                format!("{place} restarts in {} and had voted or asked in {}", probe.view, promises.view),
            );
        }
        Ok(())
    }

    /// After every step: memory and output are bounded.
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
        let n = self.keys.n();
        let window = self.window as usize;
        let bound = 200 + (window + 4) * (n + 8) * 4;
        if outputs.len() > bound {
            return Err(Violation::new(
                Class::Storm,
                "output",
                format!("{} answers one input with {} outputs, more than {bound}", body.place, outputs.len()),
            ));
        }
        self.steps += 1;
        if !self.steps.is_multiple_of(16) {
            return Ok(());
        }
        let probe = core.probe();
        // Candidates: a few outstanding per origin, those that proposals name, those of kept blocks.
        let candidates = 64 + n * self.outstanding * 4 + window * n * self.outstanding * 4;
        let messages = 64 + 8 * n * (window + 2) * 4;
        if probe.candidates_held > candidates || probe.messages_held > messages {
            return unsafe_because(
                "bounded memory",
                format!(
                    "{} holds {} candidates (at most {candidates}) and {} messages (at most {messages})",
                    body.place, probe.candidates_held, probe.messages_held
                ),
            );
        }
        Ok(())
    }

    /// A deadline has come; it must not come again and again at one instant.
    pub(crate) fn ticked(&mut self, index: usize, now: Time) -> Verdict {
        if (self.ticks_now.0, self.ticks_now.1) != (index, now) {
            self.ticks_now = (index, now, 0);
        }
        self.ticks_now.2 += 1;
        if self.ticks_now.2 > 1000 {
            return Err(Violation::new(
                Class::Storm,
                "ticks",
                format!("body {index} ticks without end at {now}"),
            ));
        }
        Ok(())
    }

    /// An honest replica sends a packet.
    pub(crate) fn sent(&mut self, body: &Body, _healed: bool) -> Verdict {
        if !body.is_honest() {
            return Ok(());
        }
        self.seen.sent += 1;
        let n = self.keys.n() as u64;
        let promises = self.promises.entry(body.place).or_default();
        promises.sent += 1;
        let bound = 3000 + 3000 * n;
        if promises.sent > bound {
            return Err(Violation::new(
                Class::Storm,
                "sends",
                format!("{} sends more than {bound} packets within a second", body.place),
            ));
        }
        Ok(())
    }

    /// The clock moves on.
    pub(crate) fn time_passes(&mut self, now: Time, next: Time, queued: usize) -> Verdict {
        self.ghost.now = next;
        if next.0.as_secs() != now.0.as_secs() {
            for promises in self.promises.values_mut() {
                promises.sent = 0;
            }
        }
        if queued > 100_000 {
            return Err(Violation::new(Class::Storm, "in flight", format!("{queued} events are queued")));
        }
        Ok(())
    }

    /// Nobody accuses an honest replica.
    pub(crate) fn accused(&mut self, honest: bool, accuser: Place, offence: &Offence) -> Verdict {
        if !honest {
            return Ok(());
        }
        self.seen.accusations += 1;
        let accused = match offence {
            Offence::Prepares(one, _) => one.signer,
            Offence::Commits(one, _) => one.signer,
            Offence::NewView(new_view) => new_view.body.view.primary(self.keys.n()),
        };
        if !self.faulty.contains(&accused) && !self.wiped.contains(&accused) {
            return unsafe_because("evidence", format!("{accuser} accuses the honest {accused}"));
        }
        Ok(())
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
            Note::Halted { reason } => {
                return unsafe_because("halted", format!("{} halts: {reason}", body.place));
            }
            _ => {}
        }
        Ok(())
    }

    /// An honest replica accepted an envelope; it owes it while it stays up.
    pub(crate) fn accepted(&mut self, place: Place, _incarnation: u32, index: u64, id: &RequestId) {
        if self.faulty.contains(&place) || self.places_of.contains_key(id) {
            return;
        }
        self.promised.entry(index).or_default().insert(place);
    }

    /// A replica went down: it owes nothing any more.
    pub(crate) fn went_down(&mut self, place: Place) {
        if !self.faulty.contains(&place) {
            self.seen.crashes += 1;
        }
        self.promised.retain(|_, owed_by| {
            owed_by.remove(&place);
            !owed_by.is_empty()
        });
    }

    /// A replica lost its disk.
    pub(crate) fn wiped(&mut self, place: Place) {
        self.wiped.insert(place);
        self.dishonest.insert(place);
    }

    /// The trace hash's companion: one number for everything that the honest replicas committed.
    pub fn chain_digest(&self) -> u64 {
        self.chain.iter().fold(0, |hash, block| mix(hash, crate::network::short(block)))
    }
}
