//! The floor: the least that any protocol of three message delays with the same promises costs here.
//!
//! Bare QUIC endpoints, as many as there are replicas, one connection a pair with the engine's parameters
//! and TLS. A block is: a proposal with the envelopes from one to all; a signed prepare from all to all; a
//! signed commit from all to all. Every signature is made and checked as the engine does, clients' too;
//! the envelopes are hashed. Everyone syncs its log before its prepare and before its commit (or, as asked,
//! before its commit only, or never), many blocks in one sync, into a file that was written and synced
//! before; the one that proposes sends while it syncs. Blocks go to a second file that is synced 40 ms
//! later. There is no client path, no framing in gRPC, no filter, no timer, no repair.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc as threads};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use prost::Message as _;
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use sbft::client::envelope::Made;
use sbft::crypto::{EnvelopeCheck, KeyKind, PublicKey, SecretKey, generate_key_pem, verify_envelopes};
use sbft::header::sha256;
use sbft::proto::{common, msp};
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};

use crate::endpoint::endpoint;
use crate::network::temporary_directory;
use crate::recorder::nanoseconds;

/// Length of the log file; it is written round and round.
const LOG_BYTES: u64 = 16 << 20;
/// What a record of the log has besides the envelopes: headers, digests, signatures.
const RECORD: usize = 400;
/// How long a block waits for the sync of the second file.
const LEDGER_INTERVAL: Duration = Duration::from_millis(40);
/// What is not done after this long never will be.
const PATIENCE: Duration = Duration::from_secs(30);
const SIGNATURE: usize = 64;
/// Kind, number, signer, digest, and room up to what a vote of the engine has.
const VOTE: usize = 128;

/// How many syncs of the log a block takes at each replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Syncs {
    /// Before the prepare and before the commit.
    Two,
    /// Before the commit.
    One,
    /// Never.
    None,
}

/// The endpoints.
pub(crate) struct Bare {
    replicas: Vec<Arc<Replica>>,
    done: mpsc::UnboundedReceiver<(u64, Instant)>,
    next: u64,
    _directory: TempDir,
}

struct Replica {
    place: usize,
    n: usize,
    key: SecretKey,
    keys: Vec<PublicKey>,
    /// Creators' keys by creator, as the engine caches them.
    clients: Mutex<HashMap<bytes::Bytes, Arc<PublicKey>>>,
    out: Vec<tokio::sync::Mutex<Option<SendStream>>>,
    slots: Mutex<HashMap<u64, Slot>>,
    log: Option<threads::Sender<Job>>,
    ledger: threads::Sender<Vec<u8>>,
    syncs: Syncs,
    log_syncs: Arc<AtomicU64>,
    ledger_syncs: Arc<AtomicU64>,
    committed: AtomicU64,
    /// At the one that proposes.
    done: mpsc::UnboundedSender<(u64, Instant)>,
}

#[derive(Default)]
struct Slot {
    payload: Vec<u8>,
    prepares: usize,
    commits: usize,
    prepared: bool,
    committed: bool,
}

struct Job {
    bytes: Vec<u8>,
    durable: oneshot::Sender<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Propose = 0,
    Prepare = 1,
    Commit = 2,
}

/// What the floor took.
pub(crate) struct Floor {
    /// Nanoseconds from when a block was due to its commit at the one that proposed it.
    pub(crate) latency: Histogram<u64>,
    /// Syncs of the log for each block and replica.
    pub(crate) log_syncs: f64,
    /// Syncs of the second file for each block and replica.
    pub(crate) ledger_syncs: f64,
}

impl Bare {
    /// Opens and connects `n` endpoints.
    pub(crate) async fn start(n: usize, syncs: Syncs) -> Self {
        let directory = temporary_directory();
        let secrets: Vec<SecretKey> = (0..n)
            .map(|_| {
                let pem = generate_key_pem(KeyKind::Ed25519).expect("a key");
                SecretKey::from_pem(&pem).expect("a key")
            })
            .collect();
        let keys: Vec<PublicKey> =
            secrets.iter().map(|key| key.public_key().expect("its public half")).collect();
        let identity = rcgen::generate_simple_self_signed(vec!["replica".to_owned()]).expect("a certificate");
        let endpoints: Vec<Endpoint> = (0..n).map(|_| endpoint(&identity)).collect();
        let (done, done_in) = mpsc::unbounded_channel();
        let mut replicas = Vec::new();
        for (place, key) in secrets.into_iter().enumerate() {
            let directory = directory.path().join(place.to_string());
            std::fs::create_dir(&directory).expect("a new directory");
            let (log_syncs, ledger_syncs) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
            replicas.push(Replica {
                place,
                n,
                key,
                keys: keys.clone(),
                clients: Mutex::default(),
                out: (0..n).map(|_| tokio::sync::Mutex::new(None)).collect(),
                slots: Mutex::default(),
                log: (syncs != Syncs::None).then(|| log_thread(&directory, Arc::clone(&log_syncs))),
                ledger: ledger_thread(&directory, Arc::clone(&ledger_syncs)),
                syncs,
                log_syncs,
                ledger_syncs,
                committed: AtomicU64::new(0),
                done: done.clone(),
            });
        }
        let replicas: Vec<Arc<Replica>> = replicas.into_iter().map(Arc::new).collect();
        for one in 0..n {
            for other in one + 1..n {
                let address = endpoints[other].local_addr().expect("an address");
                let connecting = endpoints[one].connect(address, "replica").expect("a call");
                let (dialled, incoming) = tokio::join!(connecting, async {
                    endpoints[other].accept().await.expect("a call comes").await
                });
                let (dialled, accepted) = (dialled.expect("connected"), incoming.expect("connected"));
                join(&replicas[one], other, dialled).await;
                join(&replicas[other], one, accepted).await;
            }
        }
        // The endpoints live on in their connections.
        Self { replicas, done: done_in, next: 1, _directory: directory }
    }

    /// How many syncs of the log a block takes.
    pub(crate) fn syncs(&self) -> Syncs {
        self.replicas[0].syncs
    }

    /// One block after the other.
    pub(crate) async fn one_at_a_time(&mut self, payload: &[Made], blocks: u64) -> Floor {
        let before = self.counts();
        let mut latency = nanoseconds();
        let payload = encode(payload);
        for _ in 0..blocks {
            let begun = Instant::now();
            let done = self.commit(payload.clone()).await;
            latency.saturating_record(done.duration_since(begun).as_nanos() as u64);
        }
        self.floor(latency, before, blocks).await
    }

    /// One block; returns when it was committed.
    pub(crate) async fn commit(&mut self, payload: Vec<u8>) -> Instant {
        let number = self.next;
        self.next += 1;
        Arc::clone(&self.replicas[0]).propose(number, payload).await;
        let (committed, at) =
            tokio::time::timeout(PATIENCE, self.done.recv()).await.expect("in time").expect("open");
        assert_eq!(committed, number, "one block is under way");
        at
    }

    /// Blocks at a fixed rate.
    pub(crate) async fn open_loop(&mut self, payload: &[Made], blocks: u64, rate: f64) -> Floor {
        let before = self.counts();
        let first = self.next;
        self.next += blocks;
        let begin = Instant::now() + Duration::from_millis(20);
        let due = move |number: u64| begin + Duration::from_secs_f64((number - first) as f64 / rate);
        let (payload, primary) = (encode(payload), Arc::clone(&self.replicas[0]));
        let runtime = tokio::runtime::Handle::current();
        let sender = std::thread::spawn(move || {
            for number in first..first + blocks {
                std::thread::sleep(due(number).saturating_duration_since(Instant::now()));
                runtime.spawn(Arc::clone(&primary).propose(number, payload.clone()));
            }
        });
        let mut latency = nanoseconds();
        for _ in 0..blocks {
            let (number, at) =
                tokio::time::timeout(PATIENCE, self.done.recv()).await.expect("in time").expect("open");
            latency.saturating_record(at.saturating_duration_since(due(number)).as_nanos() as u64);
        }
        sender.join().expect("the sender ends");
        self.floor(latency, before, blocks).await
    }

    fn counts(&self) -> (u64, u64) {
        let sum = |count: fn(&Replica) -> &AtomicU64| {
            self.replicas.iter().map(|replica| count(replica).load(Ordering::Relaxed)).sum()
        };
        (sum(|replica| &replica.log_syncs), sum(|replica| &replica.ledger_syncs))
    }

    async fn floor(&self, latency: Histogram<u64>, before: (u64, u64), blocks: u64) -> Floor {
        // Everybody commits everything, or it was not what was to be measured.
        let begun = Instant::now();
        while self.replicas.iter().any(|replica| replica.committed.load(Ordering::Relaxed) < self.next - 1) {
            assert!(begun.elapsed() < PATIENCE, "an endpoint does not commit all blocks");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let after = self.counts();
        let each = |count: u64| count as f64 / (blocks * self.replicas.len() as u64) as f64;
        Floor { latency, log_syncs: each(after.0 - before.0), ledger_syncs: each(after.1 - before.1) }
    }
}

/// The envelopes of a block, one after the other.
pub(crate) fn encode(envelopes: &[Made]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for made in envelopes {
        made.envelope.encode_length_delimited(&mut bytes).expect("a vector grows");
    }
    bytes
}

impl Replica {
    fn quorum(&self) -> usize {
        sbft::wire::quorum(self.n)
    }

    async fn propose(self: Arc<Self>, number: u64, payload: Vec<u8>) {
        // Admission: the client's signatures.
        let digest = self.admit(&payload);
        let frame = self.signed(Kind::Propose, number, &digest, &payload);
        self.send_all(&frame).await;
        self.accepted(number, digest, payload).await;
    }

    /// Checks the envelopes' signatures, hashes them.
    fn admit(&self, payload: &[u8]) -> [u8; 32] {
        let mut rest = bytes::Bytes::copy_from_slice(payload);
        let mut envelopes = Vec::new();
        while !rest.is_empty() {
            let envelope = common::Envelope::decode_length_delimited(&mut rest).expect("an envelope");
            let key = self.creator(&envelope);
            envelopes.push((envelope, key));
        }
        let checks: Vec<EnvelopeCheck<'_>> = envelopes
            .iter()
            .map(|(envelope, key)| EnvelopeCheck {
                key,
                message: &envelope.payload,
                signature: &envelope.signature,
            })
            .collect();
        assert!(verify_envelopes(&checks).into_iter().all(|holds| holds), "clients' signatures are good");
        sha256(payload).0
    }

    fn creator(&self, envelope: &common::Envelope) -> Arc<PublicKey> {
        let payload = common::Payload::decode(envelope.payload.clone()).expect("a payload");
        let header = payload.header.expect("a header");
        let creator = common::SignatureHeader::decode(header.signature_header).expect("a header").creator;
        let mut known = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let key = known.entry(creator).or_insert_with_key(|creator| {
            let identity = msp::SerializedIdentity::decode(creator.clone()).expect("an identity");
            let certificate = pem::parse(&identity.id_bytes).expect("PEM");
            Arc::new(PublicKey::from_certificate_der(certificate.contents()).expect("a certificate"))
        });
        Arc::clone(key)
    }

    /// Has the proposal: makes that durable, and prepares. The proposal is the prepare of who proposes.
    async fn accepted(self: Arc<Self>, number: u64, digest: [u8; 32], payload: Vec<u8>) {
        if self.syncs == Syncs::Two {
            let mut record = payload.clone();
            record.resize(record.len() + RECORD, 1);
            self.make_durable(record).await;
        }
        self.slots().entry(number).or_default().payload = payload;
        if self.place != 0 {
            let frame = self.signed(Kind::Prepare, number, &digest, &[]);
            self.send_all(&frame).await;
        }
        self.count(Kind::Prepare, number, digest);
    }

    async fn prepared(self: Arc<Self>, number: u64, digest: [u8; 32]) {
        if self.syncs != Syncs::None {
            self.make_durable(vec![2; RECORD]).await;
        }
        let frame = self.signed(Kind::Commit, number, &digest, &[]);
        self.send_all(&frame).await;
        self.count(Kind::Commit, number, digest);
    }

    /// Counts a vote, own or heard.
    fn count(self: &Arc<Self>, kind: Kind, number: u64, digest: [u8; 32]) {
        let quorum = self.quorum();
        let mut slots = self.slots();
        let slot = slots.entry(number).or_default();
        match kind {
            Kind::Propose | Kind::Prepare => slot.prepares += 1,
            Kind::Commit => slot.commits += 1,
        }
        if slot.prepares >= quorum && !slot.prepared && !slot.payload.is_empty() {
            slot.prepared = true;
            tokio::spawn(Arc::clone(self).prepared(number, digest));
        }
        if slot.commits >= quorum && slot.prepared && !slot.committed {
            slot.committed = true;
            let mut block = std::mem::take(&mut slot.payload);
            drop(slots);
            if self.place == 0 {
                // Nobody listens when the run has failed.
                let _failed = self.done.send((number, Instant::now()));
            }
            block.resize(block.len() + RECORD, 3);
            self.ledger.send(block).expect("the thread lives as long as this");
            self.committed.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn make_durable(&self, bytes: Vec<u8>) {
        let (durable, told) = oneshot::channel();
        let log = self.log.as_ref().expect("there is a log where syncs are asked for");
        log.send(Job { bytes, durable }).expect("the thread lives as long as this");
        told.await.expect("the thread answers");
    }

    fn slots(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Length, signature, vote, content.
    fn signed(&self, kind: Kind, number: u64, digest: &[u8; 32], content: &[u8]) -> Vec<u8> {
        let vote = vote(kind, number, self.place, digest);
        let signature = self.key.sign(&vote).expect("a signature");
        let mut frame = Vec::with_capacity(4 + SIGNATURE + VOTE + content.len());
        frame.extend(((SIGNATURE + VOTE + content.len()) as u32).to_be_bytes());
        frame.extend_from_slice(&signature);
        frame.extend(vote);
        frame.extend(content);
        frame
    }

    async fn send_all(&self, frame: &[u8]) {
        for out in &self.out {
            if let Some(stream) = out.lock().await.as_mut() {
                stream.write_all(frame).await.expect("an open stream");
            }
        }
    }

    async fn read(self: Arc<Self>, from: usize, mut stream: RecvStream) {
        let mut length = [0; 4];
        // The stream ends with the run.
        while stream.read_exact(&mut length).await.is_ok() {
            let mut frame = vec![0; u32::from_be_bytes(length) as usize];
            if stream.read_exact(&mut frame).await.is_err() {
                return;
            }
            let (signature, rest) = frame.split_at(SIGNATURE);
            let (vote, content) = rest.split_at(VOTE);
            assert!(self.keys[from].verify_vote(vote, signature), "replicas' signatures are good");
            let number = u64::from_be_bytes(vote[1..9].try_into().expect("eight bytes"));
            let digest: [u8; 32] = vote[9..41].try_into().expect("thirty-two bytes");
            match vote[0] {
                0 => {
                    assert_eq!(self.admit(content), digest, "the proposal is what was signed");
                    self.count(Kind::Propose, number, digest);
                    tokio::spawn(Arc::clone(&self).accepted(number, digest, content.to_vec()));
                }
                1 => self.count(Kind::Prepare, number, digest),
                _ => self.count(Kind::Commit, number, digest),
            }
        }
    }
}

fn vote(kind: Kind, number: u64, place: usize, digest: &[u8; 32]) -> Vec<u8> {
    let mut vote = vec![kind as u8];
    vote.extend(number.to_be_bytes());
    vote.extend(digest);
    vote.push(place as u8);
    vote.resize(VOTE, 0);
    vote
}

/// One stream each way.
async fn join(replica: &Arc<Replica>, other: usize, connection: Connection) {
    let mut stream = connection.open_uni().await.expect("a stream");
    // A stream exists for the other side once something is on it: an empty frame is none.
    stream.write_all(&[]).await.expect("an open stream");
    *replica.out[other].lock().await = Some(stream);
    let replica = Arc::clone(replica);
    tokio::spawn(async move {
        if let Ok(stream) = connection.accept_uni().await {
            replica.read(other, stream).await;
        }
    });
}

/// A file full of zeros, synced.
fn prepared_file(path: &Path, length: u64) -> File {
    let file = OpenOptions::new().create_new(true).write(true).open(path).expect("a new file");
    let zeros = vec![0; 1 << 20];
    for chunk in 0..length.div_ceil(1 << 20) {
        file.write_all_at(&zeros, chunk << 20).expect("room on the disk");
    }
    file.sync_all().expect("a sync");
    file
}

/// Takes all that waits, writes it, syncs once.
fn log_thread(directory: &Path, syncs: Arc<AtomicU64>) -> threads::Sender<Job> {
    let file = prepared_file(&directory.join("log"), LOG_BYTES);
    let (jobs, waiting) = threads::channel::<Job>();
    std::thread::spawn(move || {
        let mut end = 0;
        while let Ok(first) = waiting.recv() {
            let mut bytes = first.bytes;
            let mut durable = vec![first.durable];
            while let Ok(job) = waiting.try_recv() {
                bytes.extend(job.bytes);
                durable.push(job.durable);
            }
            if end + bytes.len() as u64 > LOG_BYTES {
                end = 0;
            }
            file.write_all_at(&bytes, end).expect("room on the disk");
            file.sync_data().expect("a sync");
            end += bytes.len() as u64;
            syncs.fetch_add(1, Ordering::Relaxed);
            for durable in durable {
                // Who waited is gone when the run has failed.
                let _gone = durable.send(());
            }
        }
    });
    jobs
}

/// Appends blocks, and syncs those of 40 ms together.
fn ledger_thread(directory: &Path, syncs: Arc<AtomicU64>) -> threads::Sender<Vec<u8>> {
    let file = File::create_new(directory.join("ledger")).expect("a new file");
    let (blocks, waiting) = threads::channel::<Vec<u8>>();
    std::thread::spawn(move || {
        let mut end = 0;
        while let Ok(first) = waiting.recv() {
            let due = Instant::now() + LEDGER_INTERVAL;
            let mut next = Some(first);
            while let Some(block) = next {
                file.write_all_at(&block, end).expect("room on the disk");
                end += block.len() as u64;
                next = waiting.recv_timeout(due.saturating_duration_since(Instant::now())).ok();
            }
            file.sync_data().expect("a sync");
            syncs.fetch_add(1, Ordering::Relaxed);
        }
    });
    blocks
}
