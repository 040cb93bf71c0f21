//! The machines that the replicas run on: every piece of work takes a processor its time, every byte a
//! link, every sync a disk, and only then does the simulator do what the work was for.
//!
//! The lanes are the node's tasks and threads: the protocol task, the release task that signs, the log
//! thread, the block thread, a task for each stream from and to each peer, the worker threads
//! for signatures (without a lane: as many as there are processors).

mod world;

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
