//! Four whole nodes of a BFT channel in this process, over QUIC and gRPC.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use prost::Message as _;
use sbft::client::operations::get;
use sbft::genesis::{BatchSpec, ConsensusKind, NetworkMaterial, Writers};
use sbft::node::{Node, Telemetry};
use sbft::node_config::{NodeConfig, Success};
use sbft::proto::common::{Envelope, Status};
use sbft::registrar::mark_new;
use tempfile::TempDir;

use crate::client::Client;
use crate::node::config;
use crate::world::{APPLICATION, CHANNEL, DEADLINE, Member, OLDEST, at, material_at, range};

/// Keys, genesis and configurations of four nodes that do not run yet.
struct Network {
    material: NetworkMaterial,
    configs: Vec<NodeConfig>,
    _directory: TempDir,
}

fn network() -> Network {
    let directory = tempfile::tempdir().unwrap();
    // Kept open until all are chosen, so that no port comes twice.
    let sockets: Vec<UdpSocket> = (0..4).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    let ports: Vec<SocketAddr> = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
    let quic: Vec<u16> = ports.iter().map(SocketAddr::port).collect();
    let material = material_at(&directory, ConsensusKind::Bft, &quic, BatchSpec::default(), Writers::Signed);
    let configs = (1..)
        .zip(ports)
        .map(|(id, quic)| {
            let mut config = config(&material, id, &directory.path().join(format!("node-{id}")));
            config.listen.quic = quic;
            mark_new(&config.data_dir, CHANNEL).unwrap();
            config
        })
        .collect();
    Network { material, configs, _directory: directory }
}

impl Network {
    async fn start(&self, id: usize) -> Node {
        Node::start(self.configs[id - 1].clone(), Telemetry::detached()).await.unwrap()
    }

    fn member(&self) -> Member {
        Member::open(&self.material.layout.application().client(1), APPLICATION)
    }
}

/// Waits until the node's health is `code`; the body.
async fn health(node: &Node, code: u16) -> String {
    let ops = node.ops_address().to_string();
    let asked = async {
        loop {
            match get(&ops, "/healthz").await {
                Ok((found, body)) if found == code => break body,
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    tokio::time::timeout(DEADLINE, asked).await.expect("health comes in time")
}

/// Where in the node's chain `envelope` is, once `height` blocks are there.
async fn blocks_with(node: &Node, envelope: &Envelope, height: u64) -> Vec<u64> {
    let channel = node.registrar().get(CHANNEL).unwrap();
    let mut watch = channel.watch_height();
    let reached = tokio::time::timeout(DEADLINE, watch.wait_for(|now| *now >= height)).await;
    reached.expect("blocks come in time").unwrap();
    let frame = envelope.encode_to_vec();
    let mut found = Vec::new();
    for number in 0..channel.height() {
        let bytes = channel.block(sbft::types::Number(number)).unwrap().unwrap();
        let block = sbft::proto::common::Block::decode(bytes).unwrap();
        found.extend(block.data.unwrap().data.iter().filter(|data| ***data == frame[..]).map(|_| number));
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn case_35_without_a_quorum_clients_are_told_so_and_with_one_ordering_goes_on() {
    let network = network();
    let (first, second) = (network.start(1).await, network.start(2).await);
    let member = network.member();
    let body = health(&first, 503).await;
    assert!(body.contains("failed_checks"), "{body}");

    // Two of four see each other, and after two seconds without a third say so.
    let told = async {
        loop {
            let client = Client::connect(first.grpc_address()).await;
            let (status, info) = client.broadcast().await.submit(member.envelope(b"too early").await).await;
            if status == Status::ServiceUnavailable && info == "no quorum: 2 of 4 reachable, 3 needed" {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(DEADLINE, told).await.expect("clients are told in time");

    let third = network.start(3).await;
    for node in [&first, &second, &third] {
        health(node, 200).await;
    }
    let client = Client::connect(first.grpc_address()).await;
    let envelope = member.envelope(b"in time").await;
    client.broadcast().await.accepted(envelope.clone()).await;
    let mut stream = Client::connect(third.grpc_address()).await.deliver().await;
    stream.send(member.seek(&range(OLDEST, at(u64::MAX))).await);
    let delivered = async {
        let frame = envelope.encode_to_vec();
        while !stream.block().await.data.unwrap().data.iter().any(|data| **data == frame[..]) {}
    };
    tokio::time::timeout(DEADLINE, delivered).await.expect("the envelope is delivered in time");
    for node in [first, second, third] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cases_38_and_39_what_is_submitted_everywhere_and_again_is_ordered_once() {
    let mut network = network();
    for config in &mut network.configs {
        config.broadcast.success = Success::Committed;
    }
    let mut nodes = Vec::new();
    for id in 1..=4 {
        nodes.push(network.start(id).await);
    }
    let mut streams = Vec::new();
    for node in &nodes {
        health(node, 200).await;
        streams.push(Client::connect(node.grpc_address()).await.broadcast().await);
    }
    let envelope = network.member().envelope(b"once").await;
    for stream in &streams {
        stream.send(envelope.clone());
    }
    let mut numbers = Vec::new();
    for stream in &mut streams {
        let (status, info) = stream.answer().await;
        assert_eq!(status, Status::Success, "{info}");
        numbers.push(info.parse::<u64>().expect("the number of a block"));
    }
    assert!(numbers.iter().all(|number| *number == numbers[0]), "{numbers:?}");
    // Again, right after the commit, and then something to come after it.
    for stream in &mut streams {
        assert_eq!(stream.submit(envelope.clone()).await, (Status::Success, numbers[0].to_string()));
    }
    let (status, last) = streams[1].submit(network.member().envelope(b"after").await).await;
    assert_eq!(status, Status::Success);
    for node in &nodes {
        let found = blocks_with(node, &envelope, last.parse::<u64>().unwrap() + 1).await;
        assert_eq!(found, [numbers[0]]);
    }
    for node in nodes {
        node.stop().await;
    }
}
