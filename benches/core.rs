//! The protocol core alone: `cargo bench --bench core`.
//!
//! Replicas of `src/pbft` on one thread, with a queue between them in place of a network. Messages are
//! typed values; nothing is encoded, signed, checked, written or synced, so what is left is the protocol's
//! own work. A step is one input to one replica. CPU is for a block at *all* n replicas together, and for
//! one of them; criterion's figures are for a block at all of them, by the clock.

#[path = "support/terms.rs"]
mod terms;

use std::collections::VecDeque;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput};
use sbft::dedup_window::DedupRule;
use sbft::header::{data_hash, sha256};
use sbft::pbft::message::{
    Commit, Domain, Message, NewView, PrePrepare, Prepare, SignedViewChange, Unsigned,
};
use sbft::pbft::{ChainTip, Config, Input, Output, Replica, Role};
use sbft::plant::Plants;
use sbft::types::{
    BlockSignature, Candidate, Digest, Era, Number, Place, RequestId, Signature, Time, Verified,
};
use terms::{Terms, is_short};

const GENESIS: Digest = Digest([7; 32]);
const SIZES: [usize; 6] = [4, 7, 16, 31, 64, 100];
/// Envelopes in a block.
const ENVELOPES: u64 = 100;
/// Blocks within which an envelope is ordered once; few, so that 100 replicas fit into memory.
const DEDUP: DedupRule = DedupRule { blocks: 20, envelopes: 0 };

/// Replicas and what is under way between them.
struct Cluster {
    replicas: Vec<Replica>,
    queue: VecDeque<(Place, Input)>,
    outputs: Vec<Output>,
    now: Time,
    steps: u64,
    candidates: u64,
    /// Of each replica.
    committed: Vec<u64>,
}

impl Cluster {
    fn new(n: usize) -> Self {
        let mut cluster = Self {
            replicas: Vec::new(),
            queue: VecDeque::new(),
            outputs: Vec::new(),
            now: Time::ZERO,
            steps: 0,
            candidates: 0,
            committed: vec![0; n],
        };
        for me in 0..n as u16 {
            let tip = ChainTip { hash: GENESIS, number: Number(0), certificate: None, recent: Vec::new() };
            let mut outputs = Vec::new();
            let replica = Replica::recover(config(n, me), tip, Vec::new(), Time::ZERO, &mut outputs);
            cluster.replicas.push(replica);
            cluster.outputs = outputs;
            cluster.perform(Place(me), n);
        }
        cluster.settle();
        cluster
    }

    /// A candidate of the primary's, given to all.
    fn submit(&mut self) {
        let candidate = candidate(self.candidates);
        self.candidates += 1;
        for to in 0..self.replicas.len() as u16 {
            let candidate = Verified::vouch(Arc::clone(&candidate));
            self.queue
                .push_back((Place(to), Input::Candidate { from: Place(0), candidate, config_sequence: 0 }));
        }
    }

    /// Delivers everything under way, first in, first out.
    fn settle(&mut self) {
        let n = self.replicas.len();
        while let Some((to, input)) = self.queue.pop_front() {
            self.steps += 1;
            self.replicas[to.index()].step(self.now, input, &mut self.outputs);
            self.perform(to, n);
        }
        self.now = self.now.after(Duration::from_micros(100));
    }

    fn perform(&mut self, from: Place, n: usize) {
        for output in self.outputs.drain(..) {
            let send = |to: Place, message: Message| {
                (to, Input::Message { from, message: Verified::vouch(message) })
            };
            match output {
                Output::Broadcast(unsigned) => {
                    let message = sign(from, unsigned);
                    self.queue.extend((0..n as u16).map(|to| send(Place(to), message.clone())));
                }
                Output::TellAll(message) => {
                    let others = (0..n as u16).map(Place).filter(|to| *to != from);
                    self.queue.extend(others.map(|to| send(to, message.clone())));
                }
                Output::Repeat(to, message) | Output::Tell(to, message) => {
                    self.queue.push_back(send(to, message))
                }
                Output::CommitBlock(block) => {
                    let number = block.number();
                    self.committed[from.index()] += 1;
                    assert_eq!(number.0, self.committed[from.index()], "blocks commit in order");
                    self.queue.push_back((from, Input::BlocksDurable(number)));
                }
                Output::Persist(_) | Output::Proposed(_) | Output::Release { .. } | Output::Note(_) => {}
                Output::SendCandidate(..)
                | Output::FetchCandidates(..)
                | Output::FetchBlocks { .. }
                | Output::Validate(_)
                | Output::Accuse(_) => panic!("nothing is lost here, and nobody lies"),
            }
        }
    }

    fn assert_all_committed(&self) {
        assert!(self.committed.iter().all(|committed| *committed == self.candidates), "{:?}", self.committed);
    }
}

fn config(n: usize, me: u16) -> Config {
    Config {
        domain: Domain { genesis: GENESIS, era: Era(0) },
        n,
        me: Place(me),
        role: Role::Voter,
        last_config: Number(0),
        config_sequence: 0,
        window: 10,
        dedup: DEDUP,
        outstanding: 16,
        max_message_count: ENVELOPES as u32,
        absolute_max_bytes: 10 << 20,
        preferred_max_bytes: 2 << 20,
        forward_timeout: Duration::from_millis(200),
        complain_timeout: Duration::from_millis(500),
        view_change_timeout: Duration::from_secs(1),
        view_change_timeout_cap: Duration::from_secs(8),
        status_interval: Duration::from_millis(100),
        slow_primary_factor: 20,
        plants: Plants::NONE,
    }
}

/// The core looks at ids, sizes and digests only.
fn candidate(sequence: u64) -> Arc<Candidate> {
    let name = |index: u64| Bytes::from(format!("envelope {index} of candidate {sequence}"));
    let envelopes: Vec<Bytes> = (0..ENVELOPES).map(name).collect();
    let encoding = Bytes::from(format!("candidate {sequence}"));
    Arc::new(Candidate {
        origin: Place(0),
        sequence,
        digest: sha256(&encoding),
        encoding,
        ids: envelopes.iter().map(|envelope| RequestId(sha256(envelope).0)).collect(),
        sizes: vec![1024; envelopes.len()],
        data_hash: data_hash(&envelopes),
        is_config: false,
        envelopes,
    })
}

/// Signatures are opaque to the core.
fn sign(me: Place, unsigned: Unsigned) -> Message {
    let signature = Signature(Bytes::from(vec![me.0 as u8; 64]));
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

/// Time that this thread has had on a core, where the system tells; by the clock where not.
fn on_core(begun: Instant) -> Duration {
    let told = fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = told.and_then(|stat| stat.split(' ').next()?.parse().ok());
    nanos.map_or_else(|| begun.elapsed(), Duration::from_nanos)
}

fn main() {
    let terms = Terms {
        n: 0,
        payload: format!("blocks of {ENVELOPES} envelopes, by name only; n is in each line"),
        signatures: "none: votes carry 64 bytes that nobody checks",
        sync: "none: nothing is stored",
        transport: "none: one thread, a queue in memory, no status messages",
    };
    println!("\nthe protocol core alone\n{terms}");
    println!(
        "  blocks under way |    n |  steps a second | steps a block | CPU us a block, all n | of one replica"
    );
    println!(
        "  ----------------:|-----:|----------------:|--------------:|----------------------:|---------------:"
    );
    for under_way in [1, 10] {
        for n in SIZES {
            let rounds = if is_short() { 1 } else { (60_000 / (n * n)).max(8) };
            let mut cluster = Cluster::new(n);
            cluster.submit();
            cluster.settle();
            let (begun, steps, blocks) = (Instant::now(), cluster.steps, cluster.candidates);
            let before = on_core(begun);
            for _ in 0..rounds {
                for _ in 0..under_way {
                    cluster.submit();
                }
                cluster.settle();
            }
            let spent = match on_core(begun).saturating_sub(before) {
                // The system counts in ticks of some milliseconds, which the short mode stays below.
                Duration::ZERO => begun.elapsed(),
                spent => spent,
            }
            .as_secs_f64();
            cluster.assert_all_committed();
            let (steps, blocks) = ((cluster.steps - steps) as f64, (cluster.candidates - blocks) as f64);
            println!(
                "  {under_way:16} |{n:5} |{:16.0} |{:14.0} |{:22.1} |{:15.2}",
                steps / spent,
                steps / blocks,
                spent * 1e6 / blocks,
                spent * 1e6 / blocks / n as f64
            );
        }
    }
    let mut criterion = Criterion::default()
        .configure_from_args()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    let mut group = criterion.benchmark_group("core");
    for n in SIZES {
        let mut cluster = Cluster::new(n);
        group.throughput(Throughput::Elements(1));
        group.bench_with_input(BenchmarkId::new("a block at all replicas, n", n), &n, |bencher, _| {
            bencher.iter(|| {
                cluster.submit();
                cluster.settle();
            });
        });
        cluster.assert_all_committed();
    }
    group.finish();
    criterion.final_summary();
}
