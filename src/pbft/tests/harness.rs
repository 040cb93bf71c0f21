//! A handful of replicas, a log and a ledger each, and a queue of what is under way. Signatures are
//! opaque to the core, so any bytes do.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::dedup_window::DedupRule;
use crate::header::{data_hash, sha256};
use crate::pbft::message::{
    Commit, Domain, Message, NewView, PrePrepare, Prepare, SignedViewChange, Unsigned,
};
use crate::pbft::{ChainTip, Config, Input, Output, Record, Replica, Role};
use crate::plant::Plants;
use crate::types::{
    BlockSignature, Candidate, CommittedBlock, Digest, Era, Number, Place, RequestId, Signature, Time,
    Verified,
};

pub(super) const GENESIS: Digest = Digest([7; 32]);

pub(super) fn config(n: usize, me: u16) -> Config {
    Config {
        domain: Domain { genesis: GENESIS, era: Era(0) },
        n,
        me: Place(me),
        role: Role::Voter,
        last_config: Number(0),
        config_sequence: 0,
        window: 4,
        dedup: DedupRule { blocks: 100, envelopes: 0 },
        outstanding: 8,
        max_message_count: 10,
        absolute_max_bytes: 10_000,
        preferred_max_bytes: 5_000,
        forward_timeout: Duration::from_millis(200),
        complain_timeout: Duration::from_millis(500),
        view_change_timeout: Duration::from_millis(500),
        view_change_timeout_cap: Duration::from_secs(8),
        status_interval: Duration::from_millis(100),
        slow_primary_factor: 10,
        plants: Plants::NONE,
    }
}

/// A candidate of `origin` whose envelopes are `names`; a name is an envelope's identity too.
pub(super) fn candidate(origin: u16, sequence: u64, names: &[&str]) -> Arc<Candidate> {
    let envelopes: Vec<Bytes> = names.iter().map(|name| Bytes::copy_from_slice(name.as_bytes())).collect();
    let encoding = Bytes::from(format!("{origin}/{sequence}/{names:?}"));
    Arc::new(Candidate {
        origin: Place(origin),
        sequence,
        digest: sha256(&encoding),
        encoding,
        ids: names.iter().map(|name| RequestId(sha256(name.as_bytes()).0)).collect(),
        sizes: names.iter().map(|name| name.len() as u32).collect(),
        data_hash: data_hash(&envelopes),
        is_config: names.iter().any(|name| name.starts_with("config")),
        envelopes,
    })
}

pub(super) fn sign(me: Place, unsigned: Unsigned) -> Message {
    let signature = Signature(Bytes::from(format!("signed by {me}")));
    match unsigned {
        Unsigned::PrePrepare { view, proposal } => {
            Message::PrePrepare(PrePrepare { view, proposal, signature })
        }
        Unsigned::Prepare(vote) => Message::Prepare(Prepare { vote, signer: me, signature }),
        Unsigned::Commit(vote) => {
            let signature = BlockSignature { identifier_header: Bytes::new(), signature };
            Message::Commit(Arc::new(Commit { vote, signer: me, signature }))
        }
        Unsigned::ViewChange(body) => {
            Message::ViewChange(Arc::new(SignedViewChange { body, signer: me, signature }))
        }
        Unsigned::NewView(body) => Message::NewView(Arc::new(NewView { body, signature })),
    }
}

pub(super) fn message(from: u16, message: Message) -> Input {
    Input::Message { from: Place(from), message: Verified::vouch(message) }
}

pub(super) fn given(from: u16, candidate: &Arc<Candidate>) -> Input {
    Input::Candidate {
        from: Place(from),
        candidate: Verified::vouch(Arc::clone(candidate)),
        config_sequence: 0,
    }
}

pub(super) fn recovered(config: Config, records: Vec<Record>) -> (Replica, Vec<Output>) {
    let mut outputs = Vec::new();
    let tip = ChainTip { hash: GENESIS, number: Number(0), certificate: None, recent: Vec::new() };
    let replica = Replica::recover(config, tip, records, Time::ZERO, &mut outputs);
    (replica, outputs)
}

/// One replica with its log and ledger.
pub(super) struct Node {
    pub(super) replica: Option<Replica>,
    pub(super) log: Vec<Record>,
    pub(super) ledger: Vec<Arc<CommittedBlock>>,
    pub(super) released: BTreeMap<Digest, usize>,
    pub(super) votes: BTreeMap<(u8, u64, u64), Digest>,
}

/// What may be done to a message under way: `true` loses it.
pub(super) type Filter = Box<dyn FnMut(Place, Place, &Input) -> bool>;

/// All replicas.
pub(super) struct World {
    pub(super) nodes: Vec<Node>,
    pub(super) configs: Vec<Config>,
    pub(super) now: Time,
    pub(super) queue: VecDeque<(Place, Place, Input)>,
    pub(super) lose: Filter,
    pub(super) outputs: Vec<(Place, Output)>,
}

impl World {
    pub(super) fn new(n: usize) -> Self {
        Self::with((0..n).map(|me| config(n, me as u16)).collect())
    }

    pub(super) fn with(configs: Vec<Config>) -> Self {
        let nodes = configs.iter().map(|_| Node {
            replica: None,
            log: Vec::new(),
            ledger: Vec::new(),
            released: BTreeMap::new(),
            votes: BTreeMap::new(),
        });
        let mut world = Self {
            nodes: nodes.collect(),
            configs,
            now: Time::ZERO,
            queue: VecDeque::new(),
            lose: Box::new(|_, _, _| false),
            outputs: Vec::new(),
        };
        for me in 0..world.nodes.len() {
            world.start(me);
        }
        world
    }

    /// Starts a replica from what its log and ledger hold.
    pub(super) fn start(&mut self, me: usize) {
        let node = &mut self.nodes[me];
        let last = node.ledger.last();
        let tip = ChainTip {
            hash: last.map_or(GENESIS, |block| crate::header::header_hash(&block.certificate.header)),
            number: last.map_or(Number(0), |block| block.number()),
            certificate: last.map(|block| Arc::new(block.certificate.clone())),
            recent: node.ledger.iter().map(|block| (block.number(), Arc::clone(&block.ids))).collect(),
        };
        let mut outputs = Vec::new();
        let replica =
            Replica::recover(self.configs[me].clone(), tip, node.log.clone(), self.now, &mut outputs);
        node.replica = Some(replica);
        self.perform(me, outputs);
    }

    pub(super) fn stop(&mut self, me: usize) {
        self.nodes[me].replica = None;
    }

    pub(super) fn step(&mut self, me: usize, mut input: Input) {
        if let Input::Candidate { config_sequence, .. } = &mut input {
            // The driver validates under what this replica committed.
            *config_sequence = self.nodes[me].ledger.iter().filter(|block| block.is_config).count() as u64;
        }
        let Some(replica) = &mut self.nodes[me].replica else { return };
        let mut outputs = Vec::new();
        replica.step(self.now, input, &mut outputs);
        self.perform(me, outputs);
    }

    fn perform(&mut self, me: usize, outputs: Vec<Output>) {
        let (from, n) = (Place(me as u16), self.nodes.len());
        let everyone = (0..n as u16).map(Place);
        for output in outputs {
            self.outputs.push((from, output.clone()));
            match output {
                Output::Persist(record) => self.nodes[me].log.push(record),
                Output::Broadcast(unsigned) => {
                    self.check_vote(me, &unsigned);
                    let message = sign(from, unsigned);
                    for to in everyone.clone() {
                        self.send(from, to, message.clone());
                    }
                }
                Output::Repeat(to, message) | Output::Tell(to, message) => self.send(from, to, message),
                Output::TellAll(message) => {
                    for to in everyone.clone().filter(|to| *to != from) {
                        self.send(from, to, message.clone());
                    }
                }
                Output::SendCandidate(to, candidate) => {
                    self.queue.push_back((from, to, given(from.0, &candidate)))
                }
                Output::FetchCandidates(to, digests) => {
                    self.queue.push_back((from, to, Input::CandidatesWanted { from, digests }));
                }
                Output::FetchBlocks { from: source, first, last } => {
                    let ledger = &self.nodes[source.index()].ledger;
                    let range = (first.0 as usize - 1).min(ledger.len())..(last.0 as usize).min(ledger.len());
                    let blocks =
                        ledger[range].iter().map(|block| Verified::vouch(Arc::clone(block))).collect();
                    self.queue.push_back((source, from, Input::Blocks { from: source, blocks }));
                }
                Output::CommitBlock(block) => {
                    let number = block.number();
                    assert_eq!(number.0 as usize, self.nodes[me].ledger.len() + 1);
                    for other in &self.nodes {
                        if let Some(theirs) = other.ledger.get(number.0 as usize - 1) {
                            assert_eq!(
                                theirs.certificate.header, block.certificate.header,
                                "agreement on {number}"
                            );
                        }
                    }
                    self.nodes[me].ledger.push(block);
                    self.queue.push_back((from, from, Input::BlocksDurable(number)));
                }
                Output::Release { digest, .. } => *self.nodes[me].released.entry(digest).or_default() += 1,
                Output::Validate(candidate) => {
                    self.queue.push_back((from, from, given(candidate.origin.0, &candidate)))
                }
                Output::Proposed(_) | Output::Accuse(_) | Output::Note(_) => {}
            }
        }
    }

    /// An honest replica never votes for two things at one view and number, and no vote leaves
    /// before the records that forbid contradicting it.
    fn check_vote(&mut self, me: usize, unsigned: &Unsigned) {
        let (kind, view, number, digest) = match unsigned {
            Unsigned::PrePrepare { view, proposal } => {
                (0, view, proposal.number(), proposal.digest(&GENESIS))
            }
            Unsigned::Prepare(vote) => (0, &vote.view, vote.number, vote.digest),
            Unsigned::Commit(vote) => (1, &vote.view, vote.header.number, vote.digest),
            Unsigned::ViewChange(_) | Unsigned::NewView(_) => return,
        };
        let node = &mut self.nodes[me];
        let first = *node.votes.entry((kind, view.0, number.0)).or_insert(digest);
        assert_eq!(first, digest, "r{me} votes for two proposals {number} in {view}");
        let recorded = node.log.iter().any(|record| match record {
            Record::Bound { view: at, upto } => kind == 0 && at == view && number <= *upto,
            Record::Prepared(held) => {
                kind == 1 && held.view == *view && held.proposal.digest(&GENESIS) == digest
            }
            _ => false,
        });
        assert!(recorded, "r{me} votes for {number} in {view} before that is in its log");
    }

    fn send(&mut self, from: Place, to: Place, message: Message) {
        self.queue.push_back((from, to, Input::Message { from, message: Verified::vouch(message) }));
    }

    /// Delivers everything under way, in order, until nothing is.
    pub(super) fn settle(&mut self) {
        let mut steps = 0;
        while let Some((from, to, input)) = self.queue.pop_front() {
            steps += 1;
            assert!(steps < 100_000, "the storm never ends");
            if !(self.lose)(from, to, &input) {
                self.step(to.index(), input);
            }
        }
    }

    /// Lets time pass, ticking every replica when it is due.
    pub(super) fn run(&mut self, duration: Duration) {
        let end = self.now.after(duration);
        loop {
            self.settle();
            let due = self.nodes.iter().filter_map(|node| node.replica.as_ref()?.next_deadline()).min();
            let Some(due) = due.filter(|due| *due <= end) else { break };
            self.now = due.max(self.now.after(Duration::from_micros(1)));
            for me in 0..self.nodes.len() {
                self.step(me, Input::Tick);
            }
        }
        self.now = end;
    }

    /// Hands a candidate to its origin's replica and sends it to all others.
    pub(super) fn submit(&mut self, candidate: &Arc<Candidate>) {
        for to in 0..self.nodes.len() as u16 {
            self.queue.push_back((candidate.origin, Place(to), given(candidate.origin.0, candidate)));
        }
    }

    /// The envelopes of a replica's chain, in order.
    pub(super) fn chain(&self, me: usize) -> Vec<String> {
        let data = self.nodes[me].ledger.iter().flat_map(|block| &block.data);
        data.map(|envelope| String::from_utf8_lossy(envelope).into_owned()).collect()
    }

    pub(super) fn probe(&self, me: usize) -> crate::pbft::Probe {
        self.nodes[me].replica.as_ref().expect("it is up").probe()
    }
}
