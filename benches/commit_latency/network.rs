//! A network of whole nodes in this process: real QUIC, gRPC with TLS, logs and ledgers on disk.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use prost::Message as _;
use sbft::client::connect::Security;
use sbft::client::envelope::{EnvelopeMaker, request_id};
use sbft::client::network_file::IdentityFiles;
use sbft::crypto::KeyKind;
use sbft::genesis::{
    APPLICATION_MSP, BatchSpec, ConsensusKind, KeyAndCertificate, Layout, NetworkMaterial, NetworkSpec,
    ORDERER_MSP, OptionsSpec, ReplicaAddress, Writers,
};
use sbft::node::{Node, Telemetry};
use sbft::node_config::{ClusterConfig, IdentityConfig, ListenConfig, NodeConfig, TlsConfig};
use sbft::proto::common::{Block, Envelope};
use sbft::registrar::{Channel, channel_directory, mark_new};
use sbft::types::{Number, RequestId};
use sbft::verify::{VerifyOptions, verify_paths};
use tempfile::TempDir;

/// The channel's id.
const CHANNEL: &str = "bench";
/// Client identities.
pub(crate) const CLIENTS: usize = 8;
/// Whatever must happen happens within this time, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a network is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spec {
    /// Replicas.
    pub(crate) n: usize,
    /// Envelopes per block.
    pub(crate) limit: u32,
    /// How they order.
    pub(crate) consensus: ConsensusKind,
}

/// A running network.
pub(crate) struct Network {
    _directory: TempDir,
    layout: Layout,
    nodes: Vec<Node>,
    /// One for each client identity.
    pub(crate) makers: Vec<EnvelopeMaker>,
    /// How clients connect.
    pub(crate) security: Security,
    /// What it is made of.
    pub(crate) spec: Spec,
}

/// Where networks and floors keep their files: below `target/`, or where `SBFT_BENCH_DIR` says.
pub(crate) fn temporary_directory() -> TempDir {
    let parent = std::env::var_os("SBFT_BENCH_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    TempDir::new_in(&parent).unwrap_or_else(|error| {
        panic!("no temporary directory in {}: {error}; set SBFT_BENCH_DIR", parent.display())
    })
}

/// Whether syncs to this directory cost nothing, so that no latency counts.
pub(crate) fn is_in_memory(path: &Path) -> bool {
    const TMPFS: u64 = 0x0102_1994;
    rustix::fs::statfs(path).is_ok_and(|system| system.f_type as u64 == TMPFS)
}

impl Network {
    /// Makes keys and a genesis block, and starts all nodes; done when all are connected.
    pub(crate) async fn start(spec: Spec) -> Self {
        let directory = temporary_directory();
        // Held until all are known, so that none is given twice.
        let sockets: Vec<UdpSocket> =
            (0..spec.n).map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port")).collect();
        let ports: Vec<u16> =
            sockets.iter().map(|socket| socket.local_addr().expect("an address").port()).collect();
        drop(sockets);
        let address =
            |port: &u16| ReplicaAddress { host: "127.0.0.1".into(), quic_port: *port, grpc_port: *port };
        let material = NetworkMaterial::create(
            &NetworkSpec {
                channel: CHANNEL.into(),
                key_kind: KeyKind::Ed25519,
                consensus: spec.consensus,
                replicas: ports.iter().map(address).collect(),
                clients: CLIENTS,
                writers: Writers::Signed,
                batch: BatchSpec { max_message_count: spec.limit, ..BatchSpec::default() },
                options: OptionsSpec::default(),
            },
            directory.path(),
        )
        .expect("a network");
        let layout = material.layout;
        let mut nodes = Vec::new();
        for (id, port) in (1..).zip(&ports) {
            mark_new(&layout.replica(id).data(), CHANNEL).expect("a new directory");
            let config = node_config(&layout, id, *port);
            nodes.push(Node::start(config, Telemetry::detached()).await.expect("a node"));
        }
        let identity = |files: KeyAndCertificate| IdentityFiles {
            msp_id: APPLICATION_MSP.into(),
            cert: files.certificate,
            key: files.key,
        };
        let makers = (1..=CLIENTS).map(|number| {
            EnvelopeMaker::open(CHANNEL, &identity(layout.application().client(number))).expect("a client")
        });
        let ca = std::fs::read_to_string(layout.orderer().tls_ca().certificate).expect("a CA");
        let network = Self {
            makers: makers.collect(),
            security: Security { ca: Some(ca), identity: None },
            _directory: directory,
            layout,
            nodes,
            spec,
        };
        network.connected().await;
        network
    }

    async fn connected(&self) {
        let begun = Instant::now();
        loop {
            let ready = self.nodes.iter().all(|node| {
                let status = channel(node).chain().status();
                status.active && status.reachable == status.consenters
            });
            if ready {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "the replicas do not connect");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Where clients reach the replica at this place.
    pub(crate) fn address(&self, place: usize) -> String {
        self.nodes[place].grpc_address().to_string()
    }

    /// The primary's place, as the first replica knows it, and the view.
    pub(crate) fn primary(&self) -> (usize, u64) {
        let status = channel(&self.nodes[0]).chain().status();
        (status.primary.map_or(0, |id| id.0 as usize - 1), status.view.0)
    }

    /// Blocks at the replica of this place.
    pub(crate) fn height(&self, place: usize) -> u64 {
        channel(&self.nodes[place]).height()
    }

    /// All replicas hold the same blocks, and in them each of `ids` once and nothing else; then stops the
    /// nodes and checks their ledgers as `sbft verify` does: hashes, and a quorum of signatures on each
    /// block (not those of the solo consenter, which have no quorum). Returns how many blocks there are, without the genesis block.
    pub(crate) async fn stop_and_verify(self, ids: &[RequestId]) -> u64 {
        let begun = Instant::now();
        let height = self.height(0);
        while self.nodes.iter().any(|node| channel(node).height() < height) {
            assert!(begun.elapsed() < PATIENCE, "a replica does not catch up");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let mut first: Vec<Block> = Vec::new();
        for (place, node) in self.nodes.iter().enumerate() {
            let channel = channel(node);
            for number in 1..height {
                let bytes = channel.block(Number(number)).expect("readable").expect("below the height");
                let block = Block::decode(bytes).expect("a block");
                if place == 0 {
                    first.push(block);
                } else {
                    let other = &first[number as usize - 1];
                    assert!(
                        block.header == other.header && block.data == other.data,
                        "block {number} is not the same at place {place} as at place 0"
                    );
                }
            }
        }
        let mut seen: HashMap<RequestId, u64> = HashMap::new();
        for block in &first {
            let data = block.data.as_ref().expect("data");
            assert!(data.data.len() <= self.spec.limit as usize, "a block is larger than its limit");
            for bytes in &data.data {
                let envelope = Envelope::decode(bytes.clone()).expect("an envelope");
                *seen.entry(request_id(&envelope).expect("an id")).or_default() += 1;
            }
        }
        assert!(seen.values().all(|times| *times == 1), "an envelope was ordered twice");
        assert_eq!(seen.len(), ids.len(), "envelopes in blocks, and envelopes sent");
        assert!(ids.iter().all(|id| seen.contains_key(id)), "an envelope that was sent is in no block");

        let stopping = futures::future::join_all(self.nodes.into_iter().map(Node::stop));
        tokio::time::timeout(PATIENCE, stopping).await.expect("all nodes stop");
        if self.spec.consensus == ConsensusKind::Solo {
            // Its blocks carry one signature in another form, which is none that `sbft verify` takes.
            return height - 1;
        }
        let ledgers: Vec<PathBuf> = (1..=self.spec.n as u32)
            .map(|id| channel_directory(&self.layout.replica(id).data(), CHANNEL).join("ledger"))
            .collect();
        let genesis = self.layout.genesis_block();
        let verify = move || verify_paths(&ledgers, &genesis, VerifyOptions { strict_tail: true });
        let reports = tokio::task::spawn_blocking(verify).await.expect("no panic").expect("readable ledgers");
        for report in &reports {
            assert!(report.ok, "{}: {report:?}", report.path.display());
            assert_eq!(report.blocks, height, "{}", report.path.display());
        }
        height - 1
    }
}

fn channel(node: &Node) -> std::sync::Arc<Channel> {
    node.registrar().get(CHANNEL).expect("the channel")
}

fn node_config(layout: &Layout, id: u32, quic: u16) -> NodeConfig {
    let files = layout.replica(id);
    let (identity, cluster, tls) = (files.identity(), files.cluster(), files.tls());
    let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let defaults = NodeConfig::with_defaults(id, ORDERER_MSP);
    NodeConfig {
        genesis: layout.genesis_block(),
        data_dir: files.data(),
        identity: IdentityConfig {
            msp_id: ORDERER_MSP.into(),
            certificate: identity.certificate,
            key: identity.key,
        },
        listen: ListenConfig { grpc: loopback(0), quic: loopback(quic), ops: loopback(0) },
        tls: Some(TlsConfig { certificate: tls.certificate, key: tls.key, client_ca: None }),
        cluster: ClusterConfig { certificate: cluster.certificate, key: cluster.key, ..defaults.cluster },
        ..defaults
    }
}
