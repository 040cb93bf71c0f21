//! From accepted envelopes to this replica's candidates: pool, cutter, batch timer, eager cut.
//!
//! A state machine without I/O beside the core: `step(now, input, outputs)`, and
//! [`Intake::next_deadline`] says when the next [`IntakeInput::Tick`] is due. The driver feeds it
//! the envelopes that passed the filters, the valid candidates that the core is given, and what
//! the core commits and releases; it answers each envelope and hands out batches, each of which
//! the driver makes a candidate of.
//!
//! An accepted envelope stays in the pool until it is committed. It is in one of these places:
//!
//! ```text
//!            ┌──────────► pausing ─┐ (another replica's turn)
//! accepted ──┤                     ▼
//!            └──────────────► queue ──► cutter ──► ready ──► own candidate ──► committed
//!                               ▲ seen in another's candidate, from any place on the left
//!                               │                 ▼
//!                               └─ released ── held back ────────────────────► committed
//! ```

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod block_cutter;
mod known;
mod turns;
mod values;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::dedup_window::BlockIds;
use crate::id_map::IdMap;
use crate::plant::Plant;
use crate::types::{Candidate, CommittedBlock, Digest, Number, RequestId, Time};
use block_cutter::{BlockCutter, CutLimits};
use known::{Committed, Seen};
use turns::Turns;
pub use values::{Batch, Envelope, IntakeConfig, IntakeInput, IntakeOutput, IntakeProbe};

/// What a replica sets [`IntakeConfig::eager`] to.
pub const EAGER_CANDIDATES: usize = 2;
/// What a replica sets [`IntakeConfig::backlog_after`] to, in forward timeouts.
pub const BACKLOG_AFTER: u32 = 3;
/// While a candidate waits to be proposed, a partial batch is cut at once only if all that waits has at most so
/// many envelopes: under load candidates are large, and what comes while one waits makes the next.
const EAGER_ENVELOPES: usize = 8;
/// Envelopes that the pool is laid out for; a pool of more works as well.
const POOL_EXPECTED: usize = 1 << 15;

/// Where in the intake an envelope of the pool is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// In `pausing`, until this time: another replica's turn.
    Pausing(Time),
    /// In `queue`.
    Queued,
    /// In the cutter, or cut and in `ready`. The token tells it from an older stay.
    Cutting(u64),
    /// In the own candidate of this sequence.
    Own(u64),
    /// Left to another's candidate.
    Held,
    /// Being validated again.
    Checking,
}

#[derive(Clone, Debug)]
struct Entry {
    envelope: Envelope,
    /// Place in the order of arrival.
    arrival: u64,
    since: Time,
    stage: Stage,
    /// Counted for the share of envelopes that come in everywhere.
    sampled: bool,
}

/// An own candidate on its way.
#[derive(Clone, Debug)]
struct OwnCandidate {
    ids: Vec<RequestId>,
    bytes: u64,
    cut_at: Time,
    /// A proposal has it, or had it in a view that ended.
    proposed: bool,
}

/// One replica's intake.
///
/// Invariants: every id in `queue` and `pausing` is in the pool with that stage; `pool_bytes` is
/// the sum over the pool and `queued_bytes` that over the queue; an id of the pool is not committed; at most `outstanding` candidates
/// are in `own`.
#[derive(Clone, Debug)]
pub struct Intake {
    config: IntakeConfig,
    now: Time,
    pool: IdMap<Entry>,
    pool_bytes: u64,
    arrivals: u64,
    /// By arrival, and since when each is here.
    queue: BTreeMap<u64, (RequestId, Time)>,
    queued_bytes: u64,
    pausing: BTreeMap<(Time, u64), RequestId>,
    cutter: BlockCutter<(RequestId, u64)>,
    tokens: u64,
    timer: Option<Time>,
    ready: VecDeque<Vec<(RequestId, u64)>>,
    own: BTreeMap<u64, OwnCandidate>,
    own_digests: BTreeMap<Digest, u64>,
    sequence: u64,
    seen: Seen,
    committed: Committed,
    turns: Turns,
}

impl Intake {
    /// An empty intake. `recent` are the request ids of the blocks in the dedup window at least, oldest
    /// block first.
    pub fn new(config: IntakeConfig, recent: Vec<BlockIds>) -> Self {
        let block_count = config.limits.max_message_count;
        let mut committed = Committed::new(config.dedup, block_count);
        for (number, ids) in recent {
            committed.add(number, ids);
        }
        Self {
            turns: Turns::new(config.n, config.me),
            seen: Seen::new(config.outstanding, (config.n as u64).saturating_mul(block_count.into())),
            pool: IdMap::new(config.pool_count.min(POOL_EXPECTED) as u64),
            pool_bytes: 0,
            arrivals: 0,
            queue: BTreeMap::new(),
            queued_bytes: 0,
            now: Time::ZERO,
            pausing: BTreeMap::new(),
            cutter: BlockCutter::new(),
            tokens: 0,
            timer: None,
            ready: VecDeque::new(),
            own: BTreeMap::new(),
            own_digests: BTreeMap::new(),
            sequence: 0,
            committed,
            config,
        }
    }

    /// Takes one input; appends what the driver must do.
    pub fn step(&mut self, now: Time, input: IntakeInput, outputs: &mut Vec<IntakeOutput>) {
        self.now = now;
        match input {
            IntakeInput::Envelopes(envelopes) => {
                for envelope in envelopes {
                    self.accept(now, envelope, outputs);
                }
            }
            IntakeInput::Own { sequence, digest } => {
                if self.own.contains_key(&sequence) {
                    self.own_digests.insert(digest, sequence);
                }
            }
            IntakeInput::Seen(candidate) => self.see(&candidate),
            IntakeInput::Proposed(digest) => {
                if let Some(own) =
                    self.own_digests.get(&digest).and_then(|sequence| self.own.get_mut(sequence))
                {
                    own.proposed = true;
                }
            }
            IntakeInput::Released(digest) => self.release(digest, outputs),
            IntakeInput::Committed(block) => self.commit(now, &block, outputs),
            IntakeInput::Configured(config) => self.configure(config, outputs),
            IntakeInput::Revalidated { id, config_sequence, valid } => {
                self.revalidated(id, config_sequence, valid, outputs);
            }
            IntakeInput::Tick => {}
        }
        self.pump(now, outputs);
    }

    /// When [`IntakeInput::Tick`] is due next, if nothing else happens before.
    pub fn next_deadline(&self) -> Option<Time> {
        let pause = self.pausing.keys().next().map(|(until, _)| *until);
        [self.timer, pause].into_iter().flatten().min()
    }

    /// Whether the next envelope would be accepted, if its id is new. The driver stops taking
    /// envelopes from its clients while there is no room.
    pub fn has_room(&self) -> bool {
        self.pool.len() < self.config.pool_count && self.pool_bytes < self.config.pool_bytes
    }

    /// A block's worth of what this replica took in waits to be proposed, and the first of it for too long. The
    /// driver stops taking envelopes from its clients then, too: to check what cannot be ordered yet takes the
    /// processors from the ordering, so that under overload less and less would be ordered.
    pub fn is_backlogged(&self, now: Time) -> bool {
        let queued = self.queue.values().next().map(|(_, since)| *since);
        let (mut envelopes, mut bytes, mut first) = (self.queue.len(), self.queued_bytes, queued);
        for own in self.own.values().filter(|own| !own.proposed) {
            envelopes += own.ids.len();
            bytes += own.bytes;
            first = first.into_iter().chain([own.cut_at]).min();
        }
        let CutLimits { max_message_count, preferred_max_bytes } = self.config.limits;
        let much = envelopes >= max_message_count as usize || bytes >= u64::from(preferred_max_bytes);
        much && first.is_some_and(|first| now.since(first) >= self.config.backlog_after)
    }

    /// The block that holds `id`, if that is in the dedup window.
    pub fn committed_in(&self, id: &RequestId) -> Option<Number> {
        self.committed.number_of(id)
    }

    /// `id` was accepted here and waits for its commit.
    pub fn is_waiting(&self, id: &RequestId) -> bool {
        self.pool.contains_key(id)
    }

    /// A snapshot for metrics.
    pub fn probe(&self) -> IntakeProbe {
        IntakeProbe {
            pool: self.pool.len(),
            pool_bytes: self.pool_bytes,
            outstanding: self.own.len(),
            takes_turns: self.turns.taken(),
        }
    }

    fn accept(&mut self, now: Time, envelope: Envelope, outputs: &mut Vec<IntakeOutput>) {
        let id = envelope.id;
        if let Some(number) = self.committed.number_of(&id) {
            outputs.push(IntakeOutput::Duplicate { id, committed: Some(number) });
            return;
        }
        if self.pool.contains_key(&id) {
            outputs.push(IntakeOutput::Duplicate { id, committed: None });
            return;
        }
        let size = u64::from(envelope.size);
        if !self.has_room() {
            outputs.push(IntakeOutput::Full(id));
            return;
        }

        if self.config.plants.has(Plant::AcceptedAndNotKept) && self.seen.holds(&id) {
            outputs.push(IntakeOutput::Accepted(id));
            return;
        }
        let arrival = self.arrivals;
        self.arrivals += 1;
        self.pool_bytes += size;
        let stage = Stage::Queued; // until `place` says where it goes
        self.pool.insert(id, Entry { envelope, arrival, since: now, stage, sampled: false });
        outputs.push(IntakeOutput::Accepted(id));
        if self.seen.holds(&id) {
            self.sample(&id, true);
        } else if let Some(pause) = self.turns.pause(&id) {
            self.set_stage(&id, Stage::Pausing(now.after(pause)));
            return;
        }
        let mut stale = Vec::new();
        self.place(id, &mut stale);
        if !stale.is_empty() {
            outputs.push(IntakeOutput::Revalidate(stale));
        }
    }

    /// Puts an envelope that is in no candidate of ours where it belongs now: back to the
    /// filters if the configuration is newer than its validation, aside if another's candidate
    /// holds it, else into the queue.
    fn place(&mut self, id: RequestId, stale: &mut Vec<(RequestId, Bytes)>) {
        let Some(entry) = self.pool.get(&id) else { return };
        let stage = if entry.envelope.config_sequence < self.config.config_sequence {
            stale.push((id, entry.envelope.frame.clone()));
            Stage::Checking
        } else if self.seen.holds(&id) {
            Stage::Held
        } else {
            Stage::Queued
        };
        self.set_stage(&id, stage);
    }

    /// The one place where an envelope changes its stage, and `queue` and `pausing` with it.
    fn set_stage(&mut self, id: &RequestId, stage: Stage) {
        let Some(entry) = self.pool.get_mut(id) else { return };
        match entry.stage {
            Stage::Queued => {
                if self.queue.remove(&entry.arrival).is_some() {
                    self.queued_bytes -= u64::from(entry.envelope.size);
                }
            }
            Stage::Pausing(until) => {
                self.pausing.remove(&(until, entry.arrival));
            }
            Stage::Cutting(_) | Stage::Own(_) | Stage::Held | Stage::Checking => {}
        }
        entry.stage = stage;
        match stage {
            Stage::Queued => {
                self.queue.insert(entry.arrival, (*id, self.now));
                self.queued_bytes += u64::from(entry.envelope.size);
            }
            Stage::Pausing(until) => {
                self.pausing.insert((until, entry.arrival), *id);
            }
            Stage::Cutting(_) | Stage::Own(_) | Stage::Held | Stage::Checking => {}
        }
    }

    fn sample(&mut self, id: &RequestId, elsewhere: bool) {
        if let Some(entry) = self.pool.get_mut(id)
            && !entry.sampled
        {
            entry.sampled = true;
            self.turns.sample(id, elsewhere);
        }
    }

    /// Takes an envelope out of the pool; it tells the stage it was in.
    fn remove(&mut self, id: &RequestId) -> Option<Entry> {
        let stage = self.pool.get(id)?.stage;
        self.set_stage(id, Stage::Held); // out of queue and pausing
        let entry = self.pool.remove(id)?;
        self.pool_bytes -= u64::from(entry.envelope.size);
        Some(Entry { stage, ..entry })
    }

    fn see(&mut self, candidate: &Candidate) {
        if !self.seen.add(candidate) {
            return;
        }
        for id in &candidate.ids {
            self.sample(id, true);
            match self.pool.get(id).map(|entry| entry.stage) {
                Some(Stage::Pausing(_) | Stage::Queued | Stage::Cutting(_)) => {
                    self.set_stage(id, Stage::Held);
                }
                Some(Stage::Own(_) | Stage::Held | Stage::Checking) | None => {}
            }
        }
    }

    fn release(&mut self, digest: Digest, outputs: &mut Vec<IntakeOutput>) {
        let mut free = self.seen.remove(&digest);
        if let Some(sequence) = self.own_digests.remove(&digest)
            && let Some(own) = self.own.remove(&sequence)
        {
            free.extend(
                own.ids
                    .into_iter()
                    .filter(|id| self.pool.get(id).is_some_and(|entry| entry.stage == Stage::Own(sequence))),
            );
        } else {
            free.retain(|id| self.pool.get(id).is_some_and(|entry| entry.stage == Stage::Held));
        }
        let mut stale = Vec::new();
        for id in free {
            self.place(id, &mut stale);
        }
        if !stale.is_empty() {
            outputs.push(IntakeOutput::Revalidate(stale));
        }
    }

    fn commit(&mut self, now: Time, block: &CommittedBlock, outputs: &mut Vec<IntakeOutput>) {
        let number = block.number();
        for id in block.ids.iter() {
            // Not seen anywhere else until now: only we cut it, or it came by catching up.
            self.sample(id, false);
            let Some(entry) = self.remove(id) else { continue };
            let waited = now.since(entry.since);
            outputs.push(IntakeOutput::Done { id: *id, number, waited });
            if let Stage::Own(sequence) = entry.stage
                && let Some(own) = self.own.get(&sequence)
            {
                // It keeps its room until the core lets it go, all committed or not: with more room
                // here than there, what is cut would be let go as fast as it is cut.
                self.turns.committed_after(now.since(own.cut_at));
            }
        }
        self.committed.add(number, Arc::clone(&block.ids));
    }

    fn configure(&mut self, config: IntakeConfig, outputs: &mut Vec<IntakeOutput>) {
        self.committed.set_rule(config.dedup);
        self.turns.configure(config.n, config.me);
        self.seen.configure(config.outstanding);
        self.config = config;
        self.ready.clear();
        self.cutter.cut();
        self.timer = None;
        let mut stale = Vec::new();
        let ids: Vec<RequestId> = self.pool.keys().copied().collect();
        for id in ids {
            if self.pool.get(&id).is_some_and(|entry| !matches!(entry.stage, Stage::Own(_))) {
                self.place(id, &mut stale);
            }
        }
        if !stale.is_empty() {
            outputs.push(IntakeOutput::Revalidate(stale));
        }
    }

    fn revalidated(&mut self, id: RequestId, sequence: u64, valid: bool, outputs: &mut Vec<IntakeOutput>) {
        let Some(entry) = self.pool.get_mut(&id) else { return };
        if entry.stage != Stage::Checking || sequence < self.config.config_sequence {
            return;
        }
        if !valid {
            self.remove(&id);
            outputs.push(IntakeOutput::Dropped(id));
            return;
        }
        entry.envelope.config_sequence = sequence;
        self.place(id, &mut Vec::new());
    }

    /// Moves envelopes on as far as the rules allow.
    fn pump(&mut self, now: Time, outputs: &mut Vec<IntakeOutput>) {
        while let Some((&(until, _), &id)) = self.pausing.first_key_value()
            && until <= now
        {
            self.sample(&id, false);
            let mut stale = Vec::new();
            self.place(id, &mut stale);
            if !stale.is_empty() {
                outputs.push(IntakeOutput::Revalidate(stale));
            }
        }
        if self.timer.is_some_and(|timer| timer <= now) {
            self.timer = None;
            self.ready.extend(self.cutter.cut());
        }
        loop {
            self.emit(now, outputs);
            if !self.ready.is_empty() || self.own.len() >= self.config.outstanding {
                return; // no room for another candidate: the rest keeps its place in the queue
            }
            let Some((_, &(id, _))) = self.queue.first_key_value() else { break };
            self.feed(now, id);
        }
        // Eager cut: nothing or little of ours waits to be proposed, so a partial batch need not wait either.
        let waiting = self.own.values().filter(|own| !own.proposed);
        let (candidates, envelopes) = waiting.fold((0, 0), |(c, e), own| (c + 1, e + own.ids.len()));
        if candidates == 0 || candidates < self.config.eager && envelopes <= EAGER_ENVELOPES {
            self.timer = None;
            self.ready.extend(self.cutter.cut());
            self.emit(now, outputs);
        }
    }

    /// Gives one envelope of the queue to the cutter, and runs the batch timer (fabric-spec A.6).
    fn feed(&mut self, now: Time, id: RequestId) {
        let token = self.tokens;
        self.tokens += 1;
        self.set_stage(&id, Stage::Cutting(token));
        let Some(entry) = self.pool.get(&id) else { return };
        if entry.envelope.is_config {
            self.ready.extend(self.cutter.cut());
            self.ready.push_back(vec![(id, token)]);
            self.timer = None;
            return;
        }
        let ordered = self.cutter.ordered((id, token), entry.envelope.size, self.config.limits);
        self.ready.extend(ordered.batches);
        if !ordered.pending {
            self.timer = None;
        } else if self.timer.is_none() {
            self.timer = Some(now.after(self.config.batch_timeout));
        }
    }

    /// Turns batches that are ready into candidates while own candidates have room.
    fn emit(&mut self, now: Time, outputs: &mut Vec<IntakeOutput>) {
        while self.own.len() < self.config.outstanding {
            let Some(batch) = self.ready.pop_front() else { return };
            let sequence = self.sequence;
            let mut cut = Batch {
                sequence,
                envelopes: Vec::with_capacity(batch.len()),
                ids: Vec::with_capacity(batch.len()),
                sizes: Vec::with_capacity(batch.len()),
                is_config: false,
                config_sequence: self.config.config_sequence,
                waited: Duration::ZERO,
            };
            for (id, token) in batch {
                // What another's candidate took over, or a block, since it was given to the cutter
                // is left out.
                let Some(entry) = self.pool.get_mut(&id).filter(|entry| entry.stage == Stage::Cutting(token))
                else {
                    continue;
                };
                entry.stage = Stage::Own(sequence);
                cut.envelopes.push(entry.envelope.frame.clone());
                cut.ids.push(id);
                cut.sizes.push(entry.envelope.size);
                cut.is_config |= entry.envelope.is_config;
                cut.waited = cut.waited.max(now.since(entry.since));
            }
            if cut.ids.is_empty() {
                continue;
            }
            self.sequence += 1;
            let bytes = cut.sizes.iter().map(|size| u64::from(*size)).sum();
            let own = OwnCandidate { ids: cut.ids.clone(), bytes, cut_at: now, proposed: false };
            self.own.insert(sequence, own);
            outputs.push(IntakeOutput::Cut(cut));
        }
    }
}

#[cfg(test)]
mod tests;
