//! The machines that the replicas run on: every piece of work takes a processor its time, every byte a
//! link, every sync a disk, and only then does the simulator do what the work was for.
//!
//! The lanes are the node's tasks and threads: the protocol task, the release task that signs, the log
//! thread, the block thread, a task for each stream from and to each peer, the worker threads
//! for signatures (without a lane: as many as there are processors).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use sbft::consenter::sbft::settled::Settled;
use sbft::pbft::message::Message;
use sbft::pbft::{Input, Record};
use sbft::types::{Candidate, CommittedBlock, Digest, Number, Verified};

use super::clients::Clients;
use super::cores::{Cores, Lane};
use super::costs::{Costs, Filtering, Signature, Way, micros_of};
use super::links::Links;
use super::meter;
use super::{Sharing, Signed};
use crate::draw::Purpose;
use crate::network::Packet;
use crate::workload::index_of;
use crate::world::{Event, Parcel, Promise, World};

/// Candidates this long are made on the worker threads; shorter ones where they are cut.
const LARGE_BATCH: usize = 64 << 10;
/// Candidates up to this length are judged where they are received; longer ones on the worker threads.
const SMALL_CANDIDATE: usize = 8 << 10;
/// Signatures of a candidate that one worker checks together.
const CHUNK: usize = sbft::crypto::ED25519_CHUNK;
/// Envelopes of a client that one worker judges together, and that are taken up at once; so few are judged
/// where they are received.
const JUDGED_TOGETHER: (usize, usize) = (8, 64);
const JUDGED_IN_PLACE: usize = 2;
const TAKEN_AT_ONCE: usize = 256;
/// Signatures below this count are checked one by one.
const WORTH_A_BATCH: usize = 4;
/// Bytes of QUIC, UDP and IP headers and of acknowledgements for a packet of 1,452 bytes.
const HEADERS: usize = 80;
const PACKET: usize = 1372;

const PROTOCOL: u8 = 0;
const RELEASE: u8 = 1;
const LOG: u8 = 2;
const BLOCKS: u8 = 3;
const ENCODE: u8 = 4;
const INGEST: u8 = 5;
const SEND: u8 = 6;
const SEND_BULK: u8 = 7;
const HEAR: u8 = 8;
const HEAR_BULK: u8 = 9;
/// The lanes of the ways, which share the threads of a replica's runtime.
const WAYS: [u8; 4] = [SEND, SEND_BULK, HEAR, HEAR_BULK];

/// What processor time went into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Ingest,
    Admit,
    Judge,
    Encode,
    Votes,
    Steps,
    Send,
    Receive,
    Log,
    Ledger,
    Wakes,
}

impl Part {
    /// All of them, in order, with their names.
    pub(super) const NAMES: [&'static str; 11] = [
        "clients",
        "filters",
        "filters of candidates",
        "encode",
        "votes",
        "steps",
        "send",
        "receive",
        "log",
        "ledger",
        "wake-ups",
    ];
}

/// What follows when a piece of work, a way or a sync is over.
#[derive(Clone, Debug)]
pub(crate) enum Task {
    /// Nothing: the work was done already.
    Nothing,
    /// The sender has handed it to its network card.
    Leave(Parcel, Duration),
    /// The receiver's card has all of it.
    Arrive(Parcel),
    /// The receiver has read and decoded it.
    Heard(Parcel),
    /// It has checked it.
    Vouched(Parcel),
    /// The protocol task has dealt with it.
    Receive(Parcel),
    /// One of several workers has done its share.
    Part(u64, Box<Self>),
    /// A candidate's envelopes were checked.
    Judged(Checked),
    /// The protocol task knows.
    Told(Checked),
    /// An own candidate is made.
    Encoded(usize, u32, Arc<Candidate>, u64),
    /// A promise is signed.
    Signed(usize, u32),
    /// An own message was sent, and checked.
    Own(usize, u32, Box<Verified<Message>>, u64),
    /// The protocol task has dealt with it.
    OwnStep(usize, u32, Box<Verified<Message>>, u64),
    /// The log's records are handed to the disk; up to this position.
    Sync(usize, u32, u64),
    /// They are durable.
    Synced(usize, u32, u64),
    /// Blocks have waited long enough for their sync.
    BlockSync(usize, u32, Number),
    /// They are durable.
    BlockSynced(usize, u32, Number),
    /// The protocol task knows.
    Durable(usize, u32, Number),
    /// A block is where readers find it.
    Written(usize, Arc<CommittedBlock>),
    /// A client has a block.
    Seen(usize, Arc<CommittedBlock>),
    /// It is time for a client's next envelope.
    Due,
    /// A client has made and sent an envelope.
    Sent(u64),
    /// It arrives.
    Ingest(usize, u64),
    /// It is read.
    Read(usize, u64),
    /// Envelopes were judged.
    Ready(usize, Vec<u64>),
    /// The protocol task takes them.
    Order(usize, Vec<u64>),
}

/// A candidate that was checked: by whom, in which life, whence it came, and the event that led to it.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    body: usize,
    incarnation: u32,
    from: sbft::types::Place,
    candidate: Arc<Candidate>,
    cause: u64,
}

/// Processors, links, disks and clients, and what they have done.
#[derive(Debug)]
pub(crate) struct Machine {
    n: usize,
    costs: Costs,
    signed: Signed,
    sharing: Sharing,
    cores: Cores<Task>,
    links: Links,
    pub(super) clients: Clients,
    /// Syncs under way on each disk.
    syncs: Vec<usize>,
    /// Syncs begun, for draws.
    synced: u64,
    /// Promises of each body that are signed and not sent.
    may_leave: Vec<usize>,
    /// Records, their bytes and the envelopes in them that wait for the log.
    records: Vec<(usize, usize, usize)>,
    parts: BTreeMap<u64, usize>,
    next_part: u64,
    /// Candidates that each body has judged before.
    known: Vec<BTreeSet<Digest>>,
    /// Envelopes that wait to be judged, and whether some are being judged.
    waiting: Vec<(VecDeque<u64>, bool)>,
    /// Processor time of each body by part; the clients' comes last.
    pub(super) spent: Vec<[Duration; Part::NAMES.len()]>,
    pub(super) client_spent: Duration,
    /// Bytes that each body has sent to others.
    pub(super) sent_bytes: Vec<u64>,
    /// Packets (messages and candidates) likewise.
    pub(super) sent: u64,
}

impl Machine {
    /// Machines for `n` replicas.
    pub(super) fn new(
        n: usize,
        costs: Costs,
        signed: Signed,
        sharing: Sharing,
        slice: Duration,
        links: Links,
        clients: Clients,
    ) -> Self {
        let processors = match sharing {
            Sharing::One(processors) => vec![processors],
            // The clients have as many as they need.
            Sharing::Each(processors) => {
                let mut sets = vec![processors; n];
                sets.push(4 * n + 4);
                sets
            }
        };
        let disks = if let Sharing::One(_) = sharing { 1 } else { n };
        Self {
            n,
            costs,
            signed,
            sharing,
            cores: Cores::new(&processors, slice),
            links,
            clients,
            syncs: vec![0; disks],
            synced: 0,
            may_leave: vec![0; n],
            records: vec![(0, 0, 0); n],
            parts: BTreeMap::new(),
            next_part: 0,
            known: vec![BTreeSet::new(); n],
            waiting: vec![(VecDeque::new(), false); n],
            spent: vec![Default::default(); n],
            client_spent: Duration::ZERO,
            sent_bytes: vec![0; n],
            sent: 0,
        }
    }

    /// The busiest set's processor time, and how many processors it has.
    pub(super) fn busy(&self) -> (Duration, usize) {
        match self.sharing {
            Sharing::One(processors) => (self.cores.busy(0), processors),
            Sharing::Each(processors) => {
                let most = (0..self.n).map(|body| self.cores.busy(body)).max();
                (most.unwrap_or_default(), processors)
            }
        }
    }

    /// What all replicas take in a second whatever happens, microseconds.
    pub(super) fn idle_us(&self) -> f64 {
        self.costs.idle_us * self.n as f64
    }

    fn set(&self, body: usize) -> usize {
        if let Sharing::One(_) = self.sharing { 0 } else { body }
    }

    fn disk(&self, body: usize) -> usize {
        if let Sharing::One(_) = self.sharing { 0 } else { body }
    }

    fn signature(&self) -> Signature {
        if self.signed == Signed::P256 { self.costs.p256 } else { self.costs.ed25519 }
    }

    fn filtering(&self) -> Filtering {
        match self.signed {
            Signed::Open => self.costs.filters.open,
            Signed::Ed25519 => self.costs.filters.ed25519,
            Signed::P256 => self.costs.filters.p256,
        }
    }

    fn step(&self, kind: &str) -> f64 {
        self.costs.step_us(self.n, kind)
    }

    /// Work for a body's lane; waking it costs something if it has none.
    fn work(&mut self, body: usize, lane: Option<(u8, usize)>, part: Part, us: f64, then: Task) {
        self.woken_work(body, lane, self.wake_us(body), &[(part, us)], then);
    }

    /// What waking a thread costs.
    fn wake_us(&self, body: usize) -> f64 {
        match self.cores.has_idle(self.set(body)) {
            true => self.costs.cold_wake_us,
            false => self.costs.wake_us,
        }
    }

    /// What a frame that is alone in its stream costs at one end, and waking that end if it sleeps.
    fn way_us(&self, body: usize, way: Way) -> f64 {
        let round_us = if self.cores.is_busy(body, &WAYS) { 0.0 } else { way.round_us };
        way.alone_us / 2.0 + round_us
    }

    /// The same, of several kinds, and with another price for waking the lane.
    fn woken_work(
        &mut self,
        body: usize,
        lane: Option<(u8, usize)>,
        wake_us: f64,
        parts: &[(Part, f64)],
        then: Task,
    ) {
        let lane: Option<Lane> = lane.map(|(kind, peer)| (body, kind, peer));
        let mut work = Duration::ZERO;
        if lane.is_none_or(|lane| self.cores.is_idle(&lane)) {
            work = micros_of(wake_us);
            self.spent[body][Part::Wakes as usize] += work;
        }
        for (part, us) in parts {
            self.spent[body][*part as usize] += micros_of(*us);
            work += micros_of(*us);
        }
        self.cores.submit(self.set(body), lane, work, then);
    }

    /// Work that a lane does besides, at once after what it has.
    fn charge(&mut self, body: usize, lane: u8, part: Part, us: f64) {
        let work = micros_of(us);
        self.spent[body][part as usize] += work;
        self.cores.submit(self.set(body), Some((body, lane, 0)), work, Task::Nothing);
    }

    /// Work in shares, each on a processor of its own.
    fn shares(&mut self, body: usize, part: Part, shares: Vec<f64>, then: Task) {
        self.next_part += 1;
        let id = self.next_part;
        self.parts.insert(id, shares.len());
        for us in shares {
            let (us, wake) = (micros_of(us), micros_of(self.wake_us(body)));
            self.spent[body][part as usize] += us;
            self.spent[body][Part::Wakes as usize] += wake;
            self.cores.submit(self.set(body), None, us + wake, Task::Part(id, Box::new(then.clone())));
        }
    }

    /// What judging so many envelopes of clients together takes.
    fn admit_us(&self, count: usize, bytes: usize) -> f64 {
        let filtering = self.filtering();
        match count < WORTH_A_BATCH {
            true => filtering.alone.us(count, bytes),
            false => filtering.together.us(count, bytes) + filtering.batch_us,
        }
    }

    /// What judging a candidate takes, or so many of its envelopes.
    fn judge_us(&self, count: usize, bytes: usize) -> f64 {
        let filtering = self.filtering();
        let together = filtering.candidate.us(count, bytes);
        match count < WORTH_A_BATCH {
            // One by one, and decoded and hashed besides.
            true => together.max(filtering.alone.us(count, bytes)),
            false => together + filtering.batch_us,
        }
    }

    /// A promise may leave as far as its signature goes.
    pub(crate) fn may_leave(&self, body: usize) -> bool {
        self.may_leave[body] > 0
    }

    /// A promise leaves.
    pub(crate) fn leaves(&mut self, body: usize) {
        self.may_leave[body] = self.may_leave[body].saturating_sub(1);
    }

    /// A record goes to the log.
    pub(crate) fn record(&mut self, body: usize, record: &Record) {
        let bytes = match record {
            Record::Payload(candidate) => candidate.encoding.len() + 8,
            Record::Accepted { proposal, .. } => 120 + 34 * proposal.candidates.len(),
            Record::Prepared(certificate) => {
                120 + 34 * certificate.proposal.candidates.len() + 70 * certificate.signatures.len()
            }
            _ => 300,
        };
        let records = &mut self.records[body];
        records.0 += 1;
        records.1 += bytes;
        if let Record::Payload(candidate) = record {
            records.2 += candidate.envelopes.len();
        }
    }

    /// Work done by the time a body sends a frame.
    fn send(&mut self, parcel: Parcel, takes: Duration) {
        let (bytes, bulk) = (parcel.packet.bytes(), is_bulk(&parcel.packet));
        let way = if bulk { self.costs.bulk } else { self.costs.message };
        let lane = Some((if bulk { SEND_BULK } else { SEND }, parcel.to));
        let parts = [(Part::Send, way.send.us(1, bytes))];
        let wake_us = self.way_us(parcel.from, way);
        self.woken_work(parcel.from, lane, wake_us, &parts, Task::Leave(parcel, takes));
    }

    /// A frame is at the receiver.
    fn hear(&mut self, parcel: Parcel) {
        let (bytes, bulk) = (parcel.packet.bytes(), is_bulk(&parcel.packet));
        let way = if bulk { self.costs.bulk } else { self.costs.message };
        let lane = Some((if bulk { HEAR_BULK } else { HEAR }, parcel.from));
        let decode = if bulk { 0.0 } else { self.signature().decode_us };
        let parts = [(Part::Receive, way.receive.us(1, bytes)), (Part::Votes, decode)];
        let wake_us = self.way_us(parcel.to, way);
        self.woken_work(parcel.to, lane, wake_us, &parts, Task::Heard(parcel));
    }

    /// A message was decoded: its signatures are checked, by the task that decoded it.
    fn check(&mut self, parcel: Parcel, signatures: usize) {
        let us = self.signature().check_us * signatures as f64;
        let lane = Some((HEAR, parcel.from));
        self.woken_work(parcel.to, lane, 0.0, &[(Part::Votes, us)], Task::Vouched(parcel));
    }
}

/// How many bytes these are on the wire.
fn on_the_wire(bytes: usize) -> usize {
    bytes + bytes.div_ceil(PACKET).max(1) * HEADERS
}

fn is_bulk(packet: &Packet) -> bool {
    matches!(packet, Packet::Candidate(_) | Packet::Repair(_) | Packet::Blocks(_))
}

/// Signatures in a message that its receiver checks.
fn signatures_in(message: &Message) -> usize {
    match message {
        Message::Status(_) => 0,
        Message::PrePrepare(_) | Message::Prepare(_) | Message::Commit(_) => 1,
        Message::Offence(_) => 2,
        Message::ViewChange(change) => {
            1 + change.body.prepared.iter().map(|it| it.signatures.len()).sum::<usize>()
        }
        Message::NewView(new_view) => {
            let changes = &new_view.body.view_changes;
            1 + changes.iter().map(|it| 1 + it.body.prepared.len()).sum::<usize>()
        }
    }
}

impl World {
    /// Lets the processors' slices that have begun end in their time.
    fn run_cores(&mut self) {
        let Some(machine) = &mut self.machine else { return };
        for (lasts, slot) in std::mem::take(&mut machine.cores.begun) {
            self.schedule(lasts, Event::Slice(slot));
        }
    }

    /// A processor's slice is over.
    pub(crate) fn slice_over(&mut self, slot: usize) {
        let Some(machine) = &mut self.machine else { return };
        let then = machine.cores.over(slot);
        self.run_cores();
        if let Some(task) = then {
            self.then(task);
        }
    }

    fn on_machine(&mut self, act: impl FnOnce(&mut Machine)) {
        if let Some(machine) = &mut self.machine {
            act(machine);
        }
        self.run_cores();
    }

    /// A packet is to be sent; it takes `takes` from card to card.
    pub(crate) fn send_work(&mut self, parcel: Parcel, takes: Duration) {
        self.on_machine(|machine| machine.send(parcel, takes));
    }

    /// A packet has come so far that only the receiver's card is in its way.
    pub(crate) fn arrive_work(&mut self, parcel: Parcel) {
        let now = self.now;
        let Some(machine) = &mut self.machine else { return };
        let at = machine.links.receive(now, parcel.to, on_the_wire(parcel.packet.bytes()));
        if at > now {
            self.schedule_at(at, Event::Then(Task::Arrive(parcel)));
        } else {
            self.then(Task::Arrive(parcel));
        }
    }

    /// The vote is beyond the quorum that it was for: the node does not look at it any more.
    fn is_surplus(&self, body: usize, message: &Message) -> bool {
        self.bodies[body]
            .core
            .as_ref()
            .is_some_and(|core| Settled::of(&core.outline()).makes_surplus(message))
    }

    /// A candidate is to be checked.
    pub(crate) fn check_work(&mut self, body: usize, from: sbft::types::Place, candidate: Arc<Candidate>) {
        let incarnation = self.bodies[body].incarnation;
        let cause = self.trace.cause;
        self.on_machine(|machine| {
            let again = !machine.known[body].insert(candidate.digest);
            let sizes: Vec<usize> = candidate.envelopes.iter().map(bytes::Bytes::len).collect();
            let share = |sizes: &[usize]| machine.judge_us(sizes.len(), sizes.iter().sum());
            let small = candidate.encoding.len() <= SMALL_CANDIDATE;
            let shares: Vec<f64> = match (again, small) {
                // It is hashed, and known then.
                (true, _) => vec![machine.costs.encode.us(0, candidate.encoding.len())],
                (false, true) => vec![share(&sizes)],
                (false, false) => sizes.chunks(CHUNK).map(share).collect(),
            };
            let then = Task::Judged(Checked { body, incarnation, from, candidate, cause });
            if small {
                let us = shares.iter().sum();
                let lane = Some((HEAR_BULK, from.index()));
                machine.woken_work(body, lane, 0.0, &[(Part::Judge, us)], then);
            } else {
                machine.shares(body, Part::Judge, shares, then);
            }
        });
    }

    /// A batch was cut: its candidate is to be made.
    pub(crate) fn encode_work(&mut self, body: usize, candidate: Arc<Candidate>, config_sequence: u64) {
        let incarnation = self.bodies[body].incarnation;
        self.on_machine(|machine| {
            let bytes = candidate.encoding.len();
            let us = machine.costs.encode.us(candidate.envelopes.len(), bytes);
            // Each waits for those before it, wherever it is made.
            let lane = if bytes > LARGE_BATCH { ENCODE } else { PROTOCOL };
            let then = Task::Encoded(body, incarnation, candidate, config_sequence);
            machine.work(body, Some((lane, 0)), Part::Encode, us, then);
        });
    }

    /// A promise is to be signed.
    pub(crate) fn sign_work(&mut self, body: usize, promise: &Promise) {
        let incarnation = self.bodies[body].incarnation;
        let us = matches!(promise, Promise::Broadcast(_));
        self.on_machine(|machine| {
            let us = if us { machine.signature().sign_us } else { 0.0 };
            machine.work(body, Some((RELEASE, 0)), Part::Votes, us, Task::Signed(body, incarnation));
        });
    }

    /// An own message has left, and comes back.
    pub(crate) fn own_work(&mut self, body: usize, message: Verified<Message>, cause: u64) {
        let incarnation = self.bodies[body].incarnation;
        self.on_machine(|machine| {
            let us = machine.signature().check_us;
            let then = Task::Own(body, incarnation, Box::new(message), cause);
            machine.work(body, Some((RELEASE, 0)), Part::Votes, us, then);
        });
    }

    /// The log's records up to this position are to be written and synced.
    pub(crate) fn log_work(&mut self, body: usize, incarnation: u32, position: u64) {
        self.on_machine(|machine| {
            let (records, bytes, envelopes) = std::mem::take(&mut machine.records[body]);
            let log = &machine.costs.log;
            let us = log.append.us(records, bytes) + log.sync_cpu_us;
            let encode = machine.step("encode:record") * envelopes as f64;
            machine.charge(body, PROTOCOL, Part::Encode, encode);
            let then = Task::Sync(body, incarnation, position);
            machine.work(body, Some((LOG, 0)), Part::Log, us, then);
        });
    }

    /// A block is committed: it is to be appended to the ledger, and the intake has forgotten its envelopes.
    pub(crate) fn block_work(&mut self, body: usize, block: Arc<CommittedBlock>) {
        self.on_machine(|machine| {
            let bytes = block.data.iter().map(bytes::Bytes::len).sum();
            let committed = machine.step("intake:committed") * block.data.len() as f64;
            machine.charge(body, PROTOCOL, Part::Steps, committed);
            let encode = machine.step("encode:block") * block.data.len() as f64;
            let us = machine.costs.ledger.append.us(1, bytes) + encode;
            machine.work(body, Some((BLOCKS, 0)), Part::Ledger, us, Task::Written(body, block));
        });
    }

    /// Blocks wait for their sync from now on.
    pub(crate) fn block_sync_work(&mut self, body: usize, incarnation: u32, number: Number) {
        let interval = self.settings.block_sync.0;
        self.schedule(interval, Event::Then(Task::BlockSync(body, incarnation, number)));
    }

    /// A core or intake has dealt with a deadline.
    pub(crate) fn tick_work(&mut self, body: usize) {
        self.on_machine(|machine| {
            let us = machine.step("tick");
            machine.charge(body, PROTOCOL, Part::Steps, us);
        });
    }

    fn disk_work(&mut self, body: usize, ledger: bool, then: Task) {
        let draws = self.draws;
        let Some(machine) = &mut self.machine else { return };
        let disk = machine.disk(body);
        machine.synced += 1;
        let decile = draws.below(Purpose::Sync, &[body as u64, machine.synced], 9);
        let costs = if ledger { &machine.costs.ledger } else { &machine.costs.log };
        let lasts = costs.sync(machine.syncs[disk], decile);
        machine.syncs[disk] += 1;
        self.schedule(lasts, Event::Then(then));
    }

    fn disk_done(&mut self, body: usize) {
        if let Some(machine) = &mut self.machine {
            let disk = machine.disk(body);
            machine.syncs[disk] = machine.syncs[disk].saturating_sub(1);
        }
    }

    fn lives(&self, body: usize, incarnation: u32) -> bool {
        self.bodies[body].is_up() && self.bodies[body].incarnation == incarnation
    }

    /// What follows when something is over.
    pub(crate) fn then(&mut self, task: Task) {
        match task {
            Task::Nothing => {}
            Task::Leave(parcel, takes) => {
                let now = self.now;
                let bytes = on_the_wire(parcel.packet.bytes());
                let Some(machine) = &mut self.machine else { return };
                machine.sent_bytes[parcel.from] += bytes as u64;
                machine.sent += 1;
                let bulk = is_bulk(&parcel.packet);
                let left = machine.links.send(now, parcel.from, parcel.to, bytes, bulk, takes);
                self.schedule_at(left.after(takes), Event::Deliver(parcel));
            }
            Task::Arrive(parcel) => self.on_machine(|machine| machine.hear(parcel)),
            Task::Heard(parcel) => match &parcel.packet {
                Packet::Message(letter) if self.is_surplus(parcel.to, &letter.message) => {}
                Packet::Message(letter) => {
                    let signatures = signatures_in(&letter.message);
                    self.on_machine(|machine| machine.check(parcel, signatures));
                }
                _ => self.receive(parcel),
            },
            Task::Vouched(parcel) => {
                let Packet::Message(letter) = &parcel.packet else { return };
                let kind = meter::kind_of(&letter.message);
                self.on_machine(|machine| {
                    let (body, us) = (parcel.to, machine.step(kind));
                    machine.work(body, Some((PROTOCOL, 0)), Part::Steps, us, Task::Receive(parcel));
                });
            }
            Task::Receive(parcel) => self.receive(parcel),
            Task::Part(id, then) => {
                let Some(machine) = &mut self.machine else { return };
                let left = machine.parts.get(&id).copied().unwrap_or(1) - 1;
                if left > 0 {
                    machine.parts.insert(id, left);
                } else {
                    machine.parts.remove(&id);
                    self.then(*then);
                }
            }
            Task::Judged(checked) => self.on_machine(|machine| {
                let seen = machine.step("intake:seen") * checked.candidate.envelopes.len() as f64;
                let us = machine.step("candidate") + seen;
                machine.work(checked.body, Some((PROTOCOL, 0)), Part::Steps, us, Task::Told(checked));
            }),
            Task::Told(Checked { body, incarnation, from, candidate, cause }) => {
                self.dispatch(Event::Checked { body, incarnation, from, candidate, cause });
            }
            Task::Encoded(body, incarnation, candidate, config_sequence) => {
                if self.lives(body, incarnation) {
                    let us = self.machine.as_ref().map_or(0.0, |machine| machine.step("candidate"));
                    self.on_machine(|machine| machine.charge(body, PROTOCOL, Part::Steps, us));
                    self.send_own(body, candidate, config_sequence);
                }
            }
            Task::Signed(body, incarnation) => {
                if self.lives(body, incarnation) {
                    if let Some(machine) = &mut self.machine {
                        machine.may_leave[body] += 1;
                    }
                    self.release_and_feed(body);
                }
            }
            Task::Own(body, incarnation, message, cause) => {
                let kind = meter::kind_of(message.get());
                self.on_machine(|machine| {
                    let us = machine.step(kind);
                    let then = Task::OwnStep(body, incarnation, message, cause);
                    machine.work(body, Some((PROTOCOL, 0)), Part::Steps, us, then);
                });
            }
            Task::OwnStep(body, incarnation, message, cause) => {
                if self.lives(body, incarnation) {
                    self.trace.cause = cause;
                    let from = self.bodies[body].place;
                    self.feed(body, Input::Message { from, message: *message });
                }
            }
            Task::Sync(body, incarnation, position) => {
                self.disk_work(body, false, Task::Synced(body, incarnation, position));
            }
            Task::Synced(body, incarnation, position) => {
                self.disk_done(body);
                // The release task hears of it.
                self.on_machine(|machine| machine.charge(body, RELEASE, Part::Wakes, machine.wake_us(body)));
                self.dispatch(Event::SyncDone { body, incarnation, position });
            }
            Task::BlockSync(body, incarnation, number) => {
                let us = self.machine.as_ref().map_or(0.0, |machine| machine.costs.ledger.sync_cpu_us);
                self.on_machine(|machine| machine.charge(body, BLOCKS, Part::Ledger, us));
                self.disk_work(body, true, Task::BlockSynced(body, incarnation, number));
            }
            Task::BlockSynced(body, incarnation, number) => {
                self.disk_done(body);
                self.on_machine(|machine| {
                    let us = machine.step("durable");
                    let then = Task::Durable(body, incarnation, number);
                    machine.work(body, Some((PROTOCOL, 0)), Part::Steps, us, then);
                });
            }
            Task::Durable(body, incarnation, number) => {
                self.dispatch(Event::BlockSyncDone { body, incarnation, number });
            }
            other => self.then_clients(other),
        }
    }

    /// The same, of what concerns clients.
    fn then_clients(&mut self, task: Task) {
        let now = self.now;
        match task {
            Task::Due => {
                let index = self.workload.submit_unnamed();
                let Some(machine) = &mut self.machine else { return };
                let next = machine.clients.sends(now, index);
                let lane = (machine.n, INGEST, machine.clients.via(index));
                let mut us = machine.costs.client.us(1, machine.clients.bytes);
                if machine.cores.is_idle(&lane) {
                    us += machine.costs.client_wake_us;
                }
                machine.client_spent += micros_of(us);
                let set = if let Sharing::One(_) = machine.sharing { 0 } else { machine.n };
                machine.cores.submit(set, Some(lane), micros_of(us), Task::Sent(index));
                self.run_cores();
                if let Some(next) = next {
                    self.schedule_at(next, Event::Then(Task::Due));
                }
            }
            Task::Sent(index) => {
                let Some(machine) = &self.machine else { return };
                let (way, body) = (machine.links.client, machine.clients.via(index));
                self.schedule(way, Event::Then(Task::Ingest(body, index)));
            }
            Task::Ingest(body, index) => self.on_machine(|machine| {
                let us = machine.costs.ingest.us(1, machine.clients.bytes);
                let (lane, wake_us) = (Some((INGEST, 0)), machine.costs.ingest_wake_us);
                machine.woken_work(body, lane, wake_us, &[(Part::Ingest, us)], Task::Read(body, index));
            }),
            Task::Read(body, index) => {
                let Some(machine) = &mut self.machine else { return };
                machine.waiting[body].0.push_back(index);
                self.judge_waiting(body);
            }
            Task::Ready(body, batch) => {
                self.on_machine(|machine| {
                    machine.waiting[body].1 = false;
                    let us = machine.step("intake:envelope") * batch.len() as f64;
                    machine.work(body, Some((PROTOCOL, 0)), Part::Steps, us, Task::Order(body, batch));
                });
                self.judge_waiting(body);
            }
            Task::Order(body, batch) => {
                let place = self.bodies[body].place;
                for index in batch {
                    self.submit(place, index, 0);
                }
            }
            Task::Written(body, block) => {
                let Some(machine) = &self.machine else { return };
                if machine.clients.reads(body) {
                    let way = machine.links.client;
                    self.schedule(way, Event::Then(Task::Seen(body, block)));
                }
            }
            Task::Seen(body, block) => {
                let Some(machine) = &mut self.machine else { return };
                let again = machine.clients.sees(now, body, block.data.iter().filter_map(index_of));
                for _ in 0..again {
                    self.schedule(Duration::ZERO, Event::Then(Task::Due));
                }
            }
            _ => {}
        }
    }

    /// Judges the envelopes that wait at a body, unless it is at it.
    fn judge_waiting(&mut self, body: usize) {
        self.on_machine(|machine| {
            let (waiting, judging) = &mut machine.waiting[body];
            if *judging || waiting.is_empty() {
                return;
            }
            *judging = true;
            let batch: Vec<u64> = waiting.drain(..waiting.len().min(TAKEN_AT_ONCE)).collect();
            let bytes = machine.clients.bytes;
            if batch.len() <= JUDGED_IN_PLACE {
                let us = machine.admit_us(batch.len(), batch.len() * bytes);
                let then = Task::Ready(body, batch);
                return machine.woken_work(body, Some((INGEST, 0)), 0.0, &[(Part::Admit, us)], then);
            }
            let processors = match machine.sharing {
                Sharing::One(processors) | Sharing::Each(processors) => processors,
            };
            let (least, most) = JUDGED_TOGETHER;
            let share = batch.len().div_ceil(processors.max(1)).clamp(least, most);
            let us = |chunk: &[u64]| machine.admit_us(chunk.len(), chunk.len() * bytes);
            let shares = batch.chunks(share).map(us).collect();
            machine.shares(body, Part::Admit, shares, Task::Ready(body, batch));
        });
    }

    /// Starts the clients.
    pub(super) fn start_clients(&mut self) {
        let Some(machine) = &self.machine else { return };
        for at in machine.clients.first() {
            self.schedule_at(at, Event::Then(Task::Due));
        }
    }
}
