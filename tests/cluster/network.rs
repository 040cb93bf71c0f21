//! A network of replicas in this process.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use prost::Message as _;
use sbft::channel_config::{ChannelConfig, Consenter as Entry};
use sbft::client::envelope::EnvelopeMaker;
use sbft::client::network_file::IdentityFiles;
use sbft::consenter::sbft::{SbftConsenter, SbftOptions};
use sbft::consenter::{Chain, Consenter, Receipt};
use sbft::crypto::{KeyFileSigner, KeyKind, LocalSigner, SignError};
use sbft::genesis::{
    APPLICATION_MSP, BatchSpec, ConsensusKind, Layout, NetworkMaterial, NetworkSpec, ORDERER_MSP,
    OptionsSpec, ReplicaAddress, Writers,
};
use sbft::ledger::LedgerOptions;
use sbft::msg_processor::ProcessorOptions;
use sbft::proto::common::Block;
use sbft::proto::msp::SerializedIdentity;
use sbft::registrar::{Channel, JoinError, Registrar, RegistrarOptions, channel_directory, mark_new};
use sbft::transport::{ChannelLink, Peer, Transport, TransportConfig, Tuning};
use sbft::types::{Number, RequestId};
use sbft::wal::WalOptions;
use sbft::wire::envelope::Parsed;
use tempfile::TempDir;

/// Anything that must happen happens within this time, also on a machine that is busy.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
const CHANNEL: &str = "first";

/// Rules under which nobody suspects a primary because the machine that runs the tests is busy; a
/// test of fail-over brings its own.
pub(crate) fn patient() -> OptionsSpec {
    OptionsSpec {
        complain_timeout: Duration::from_secs(10),
        view_change_timeout: Duration::from_secs(10),
        view_change_timeout_cap: Duration::from_secs(10),
        ..OptionsSpec::default()
    }
}

/// Replicas by consenter id, from 1.
pub(crate) struct Network {
    directory: TempDir,
    genesis: BTreeMap<String, Block>,
    layout: Layout,
    makers: BTreeMap<String, EnvelopeMaker>,
    ports: Vec<u16>,
    /// For the replicas started next.
    pub(crate) options: SbftOptions,
    running: BTreeMap<u32, Node>,
}

/// A key that can be out of reach.
struct DistantSigner {
    key: KeyFileSigner,
    reachable: Arc<AtomicBool>,
}

#[async_trait]
impl LocalSigner for DistantSigner {
    async fn sign(&self, message: &[u8]) -> Result<Bytes, SignError> {
        if self.reachable.load(Ordering::Relaxed) {
            self.key.sign(message).await
        } else {
            Err(SignError::Failed("the key is out of reach".into()))
        }
    }

    fn creator(&self) -> Bytes {
        self.key.creator()
    }
}

struct Node {
    signer: Arc<AtomicBool>,
    registrar: Registrar,
    transport: Arc<Transport>,
}

impl Network {
    pub(crate) async fn create(n: usize) -> Self {
        Self::create_channels(n, &[CHANNEL]).await
    }

    pub(crate) async fn create_channels(n: usize, channels: &[&str]) -> Self {
        Self::create_with(n, channels, patient()).await
    }

    pub(crate) async fn create_with(n: usize, channels: &[&str], rules: OptionsSpec) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        // Held until all are known, so that none is given twice.
        let sockets: Vec<UdpSocket> =
            (0..n).map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port")).collect();
        let ports: Vec<u16> =
            sockets.iter().map(|socket| socket.local_addr().expect("an address").port()).collect();
        drop(sockets);

        let spec = |channel: &str| NetworkSpec {
            channel: channel.into(),
            key_kind: KeyKind::Ed25519,
            consensus: ConsensusKind::Bft,
            replicas: ports
                .iter()
                .map(|port| ReplicaAddress { host: "127.0.0.1".into(), quic_port: *port, grpc_port: *port })
                .collect(),
            clients: 1,
            writers: Writers::Signed,
            batch: BatchSpec::default(),
            options: rules.clone(),
        };
        let material = NetworkMaterial::create(&spec(channels[0]), directory.path()).expect("a network");
        let layout = material.layout;
        let mut genesis = BTreeMap::new();
        let mut makers = BTreeMap::new();
        for channel in channels {
            let mut spec = material.spec.clone();
            spec.channel = (*channel).into();
            let block = sbft::genesis::genesis_block(&spec).expect("a genesis block");
            genesis.insert((*channel).to_owned(), block);
            let client = layout.application().client(1);
            let files =
                IdentityFiles { msp_id: APPLICATION_MSP.into(), cert: client.certificate, key: client.key };
            makers.insert((*channel).to_owned(), EnvelopeMaker::open(channel, &files).expect("a client"));
            for id in 1..=n as u32 {
                mark_new(&layout.replica(id).data(), channel).expect("a new directory");
            }
        }
        let options = SbftOptions {
            log: WalOptions { segment_bytes: 1 << 20, ..WalOptions::default() },
            compact_bytes: 256 << 10,
            ..SbftOptions::default()
        };
        Self { directory, genesis, layout, makers, ports, options, running: BTreeMap::new() }
    }

    pub(crate) async fn start_all(&mut self) {
        for id in 1..=self.ports.len() as u32 {
            self.start(id).await;
        }
    }

    pub(crate) async fn start(&mut self, id: u32) {
        self.try_start(id).await.expect("the replica starts");
    }

    pub(crate) async fn try_start(&mut self, id: u32) -> Result<(), JoinError> {
        let files = self.layout.replica(id);
        let certificate = fs::read(files.identity().certificate).expect("a certificate");
        let creator = SerializedIdentity { mspid: ORDERER_MSP.into(), id_bytes: certificate.into() };
        let key = KeyFileSigner::open(files.identity().key, creator.encode_to_vec().into()).expect("a key");
        let reachable = Arc::new(AtomicBool::new(true));
        let signer = DistantSigner { key, reachable: reachable.clone() };
        let transport = self.transport(id).await;
        let sbft = SbftConsenter::new(transport.clone(), self.options.clone());
        let consenter: Arc<dyn Consenter> = Arc::new(sbft);
        let registrar = Registrar::new(RegistrarOptions {
            data: files.data(),
            signer: Arc::new(signer),
            processor: ProcessorOptions { check_expiration: true },
            ledger: LedgerOptions::default(),
            consenters: BTreeMap::from([("BFT".to_owned(), consenter)]),
        });
        for genesis in self.genesis.values() {
            registrar.join(genesis.clone()).await?;
        }
        self.running.insert(id, Node { signer: reachable, registrar, transport });
        Ok(())
    }

    /// The replica's end of the connections, with its own certificate.
    async fn transport(&self, id: u32) -> Arc<Transport> {
        let files = self.layout.replica(id);
        let der =
            |path: PathBuf| pem::parse(fs::read(path).expect("a PEM file")).expect("PEM").contents().to_vec();
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports[id as usize - 1]));
        // The socket of the replica's life before goes a moment after its transport has closed.
        let transport = eventually("the address is free", || async {
            let config = TransportConfig {
                listen,
                certificate_der: der(files.cluster().certificate),
                key_der: der(files.cluster().key).into(),
                client: None,
                tuning: Tuning::default(),
            };
            Transport::start(config).ok()
        });
        Arc::new(transport.await)
    }

    /// Connects in the place of replica `id`, to say whatever the test wants; done when all
    /// others are connected.
    pub(crate) async fn impostor(&self, id: u32) -> (Arc<Transport>, ChannelLink) {
        let transport = self.transport(id).await;
        let config = ChannelConfig::from_block(&self.genesis[CHANNEL]).expect("a configuration");
        let others: Vec<&Entry> = config.consenters.iter().filter(|other| other.id.0 != id).collect();
        let peers = others.iter().map(|other| Peer {
            id: other.id.0,
            address: other.address(),
            server_cert_der: other.server_tls_der.clone(),
            client_cert_der: other.client_tls_der.clone(),
        });
        transport.set_peers(peers.collect()).expect("proper peers");
        let ids: Vec<u32> = others.iter().map(|other| other.id.0).collect();
        let link = transport.join(CHANNEL, &ids).expect("the channel");
        eventually("all are connected", || async { (link.connected().len() == ids.len()).then_some(()) })
            .await;
        (transport, link)
    }

    pub(crate) async fn stop(&mut self, id: u32) {
        let Some(node) = self.running.remove(&id) else { return };
        tokio::time::timeout(LIMIT, node.registrar.halt()).await.expect("the chains stop");
        node.transport.close().await;
    }

    pub(crate) async fn stop_all(&mut self) {
        for id in 1..=self.ports.len() as u32 {
            self.stop(id).await;
        }
    }

    /// The replica's key can be reached, or not.
    pub(crate) fn signer(&self, id: u32, reachable: bool) {
        self.running[&id].signer.store(reachable, Ordering::Relaxed);
    }

    pub(crate) fn wipe(&self, id: u32) {
        fs::remove_dir_all(self.layout.replica(id).data()).expect("a directory to wipe");
    }

    pub(crate) fn wipe_ledger(&self, id: u32) {
        let directory = channel_directory(&self.layout.replica(id).data(), CHANNEL).join("ledger");
        fs::remove_dir_all(directory).expect("a ledger to wipe");
    }

    pub(crate) fn wipe_log(&self, id: u32) {
        fs::remove_dir_all(self.log(id)).expect("a log to wipe");
    }

    pub(crate) fn swap_logs(&self, one: u32, other: u32) {
        let aside = self.directory.path().join("aside");
        fs::rename(self.log(one), &aside).expect("a log");
        fs::rename(self.log(other), self.log(one)).expect("another log");
        fs::rename(aside, self.log(other)).expect("a log");
    }

    fn log(&self, id: u32) -> PathBuf {
        channel_directory(&self.layout.replica(id).data(), CHANNEL).join("wal")
    }

    fn channel(&self, name: &str, id: u32) -> Arc<Channel> {
        self.running[&id].registrar.get(name).expect("the channel")
    }

    pub(crate) fn genesis(&self) -> &Block {
        &self.genesis[CHANNEL]
    }

    /// Where a replica's blocks are.
    pub(crate) fn ledger(&self, id: u32) -> PathBuf {
        channel_directory(&self.layout.replica(id).data(), CHANNEL).join("ledger")
    }

    pub(crate) fn watch_height(&self, id: u32) -> tokio::sync::watch::Receiver<u64> {
        self.channel(CHANNEL, id).watch_height()
    }

    /// All blocks that a replica has.
    pub(crate) fn blocks(&self, id: u32) -> Vec<Block> {
        read(&self.channel(CHANNEL, id)).0
    }

    pub(crate) fn chain(&self, id: u32) -> Arc<dyn Chain> {
        self.channel(CHANNEL, id).chain().clone()
    }

    pub(crate) async fn envelope(&self, size: usize) -> Parsed {
        self.envelope_on(CHANNEL, size).await
    }

    async fn envelope_on(&self, channel: &str, size: usize) -> Parsed {
        let made = self.makers[channel].make(size + 1100).await.expect("an envelope");
        Parsed::from_envelope(made.envelope).expect("a proper envelope")
    }

    pub(crate) async fn order(&self, id: u32, envelope: Parsed) -> Receipt {
        self.order_at(CHANNEL, id, envelope).await
    }

    async fn order_at(&self, channel: &str, id: u32, envelope: Parsed) -> Receipt {
        let channel = self.channel(channel, id);
        let sequence = channel
            .processor()
            .process_normal(&envelope, std::time::SystemTime::now())
            .expect("it passes the filters");
        channel.chain().order(envelope, sequence).await.expect("accepted")
    }

    pub(crate) async fn submit(&self, id: u32, size: usize) -> (RequestId, Receipt) {
        let envelope = self.envelope(size).await;
        (envelope.id, self.order(id, envelope).await)
    }

    /// Submits to one replica and waits for the commits.
    pub(crate) async fn order_some(&self, id: u32, count: usize) -> Vec<RequestId> {
        self.order_on(CHANNEL, id, count).await
    }

    pub(crate) async fn order_on(&self, channel: &str, id: u32, count: usize) -> Vec<RequestId> {
        let mut receipts = Vec::new();
        for _ in 0..count {
            let envelope = self.envelope_on(channel, 100).await;
            receipts.push((envelope.id, self.order_at(channel, id, envelope).await));
        }
        committed(receipts).await
    }

    /// All running replicas hold the same blocks, and in them each of `ids` once and nothing else.
    pub(crate) async fn agree_on(&self, ids: &[RequestId]) -> Vec<RequestId> {
        self.agree_on_channel(CHANNEL, ids).await
    }

    pub(crate) async fn agree_on_channel(&self, channel: &str, ids: &[RequestId]) -> Vec<RequestId> {
        let expected: BTreeSet<RequestId> = ids.iter().copied().collect();
        assert_eq!(expected.len(), ids.len(), "ids are distinct");
        let mut chains = Vec::new();
        for id in self.running.keys() {
            let channel = self.channel(channel, *id);
            let what = format!("replica {id} has all {} envelopes", ids.len());
            let chain = eventually(&what, || async {
                let (blocks, found) = read(&channel);
                (found.len() >= ids.len()).then_some((blocks, found))
            });
            chains.push((*id, chain.await));
        }
        let (_, (longest, order)) =
            chains.iter().max_by_key(|(_, (blocks, _))| blocks.len()).expect("some run");
        for (id, (blocks, found)) in &chains {
            let found_once: BTreeSet<RequestId> = found.iter().copied().collect();
            assert_eq!(found_once.len(), found.len(), "replica {id} has an envelope twice");
            assert_eq!(found_once, expected, "replica {id} has other envelopes");
            // Signatures differ from replica to replica; header and data never do.
            for (own, other) in blocks.iter().zip(longest) {
                assert_eq!((&own.header, &own.data), (&other.header, &other.data), "replica {id}");
            }
        }
        order.clone()
    }
}

fn read(channel: &Channel) -> (Vec<Block>, Vec<RequestId>) {
    let mut blocks = Vec::new();
    let mut ids = Vec::new();
    for number in 0..channel.height() {
        let bytes: Bytes = channel.block(Number(number)).expect("readable").expect("below the height");
        let block = Block::decode(bytes).expect("a block");
        if number > 0 {
            let data = block.data.as_ref().expect("data");
            ids.extend(
                data.data.iter().map(|frame| Parsed::from_frame(frame.clone()).expect("an envelope").id),
            );
        }
        blocks.push(block);
    }
    (blocks, ids)
}

/// Waits for the commits; the ids in the order given.
pub(crate) async fn committed(receipts: Vec<(RequestId, Receipt)>) -> Vec<RequestId> {
    let mut ids = Vec::new();
    for (id, receipt) in receipts {
        let committed = tokio::time::timeout(LIMIT, receipt.committed()).await;
        committed.expect("it commits in time").expect("it commits");
        ids.push(id);
    }
    ids
}

/// Waits for the commits; the blocks' numbers.
pub(crate) async fn numbers(receipts: Vec<Receipt>) -> Vec<Number> {
    let mut numbers = Vec::new();
    for receipt in receipts {
        let committed = tokio::time::timeout(LIMIT, receipt.committed()).await;
        numbers.push(committed.expect("it commits in time").expect("it commits"));
    }
    numbers
}

/// Asks until there is an answer.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut ask: impl FnMut() -> F,
) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begun.elapsed() < LIMIT, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
