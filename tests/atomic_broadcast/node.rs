//! A whole node from its configuration file, and its operations listener.

use std::path::Path;

use sbft::client::operations::get;
use sbft::genesis::{BatchSpec, ConsensusKind, NetworkMaterial, Writers};
use sbft::node::{Node, NodeError, Telemetry};
use sbft::node_config::NodeConfig;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::client::Client;
use crate::world::{APPLICATION, Member, ORDERER, material, material_at};

pub(crate) fn network() -> (TempDir, NetworkMaterial, NodeConfig) {
    let directory = tempfile::tempdir().unwrap();
    let batch = BatchSpec { max_message_count: 1, ..BatchSpec::default() };
    let material = material(&directory, batch, Writers::Signed);
    let config = config(&material, 1, directory.path());
    (directory, material, config)
}

pub(crate) fn config(material: &NetworkMaterial, id: u32, directory: &Path) -> NodeConfig {
    let files = material.layout.replica(id);
    let mut config = NodeConfig::with_defaults(id, ORDERER);
    config.genesis = material.layout.genesis_block();
    config.data_dir = directory.join("data");
    config.identity.certificate = files.identity().certificate;
    config.identity.key = files.identity().key;
    config.cluster.certificate = files.cluster().certificate;
    config.cluster.key = files.cluster().key;
    let any = "127.0.0.1:0".parse().unwrap();
    (config.listen.grpc, config.listen.quic, config.listen.ops) = (any, any, any);
    config
}

async fn start(config: &NodeConfig) -> Result<Node, NodeError> {
    Node::start(config.clone(), Telemetry::detached()).await
}

async fn refusal(config: &NodeConfig) -> String {
    start(config).await.err().expect("the node must not start").to_string()
}

#[tokio::test]
async fn case_106_a_node_orders_shows_its_state_and_keeps_its_chain_over_a_restart() {
    let (_directory, material, config) = network();
    let member = Member::open(&material.layout.application().client(1), APPLICATION);
    let node = start(&config).await.unwrap();
    let client = Client::connect(node.grpc_address()).await;
    client.broadcast().await.accepted(member.envelope(b"x").await).await;
    let mut height = node.registrar().channels()[0].watch_height();
    height.wait_for(|height| *height == 2).await.unwrap();

    let ops = node.ops_address().to_string();
    let (code, body) = get(&ops, "/healthz").await.unwrap();
    assert_eq!(code, 200, "{body}");
    assert!(body.contains("\"OK\""), "{body}");
    let (code, body) = get(&ops, "/status").await.unwrap();
    assert_eq!(code, 200);
    let status: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status["ready"], true);
    assert_eq!(status["id"], 1);
    assert_eq!(status["channels"][0]["height"], 2);
    assert_eq!(status["channels"][0]["quorum"], true);
    let (code, body) = get(&ops, "/version").await.unwrap();
    assert_eq!(code, 200);
    assert!(body.contains(env!("CARGO_PKG_VERSION")), "{body}");
    assert_eq!(get(&ops, "/metrics").await.unwrap().0, 200);
    assert_eq!(get(&ops, "/nothing").await.unwrap().0, 404);
    node.stop().await;

    let node = start(&config).await.unwrap();
    assert_eq!(node.registrar().channels()[0].height(), 2);
    node.stop().await;
}

#[tokio::test]
async fn case_106_the_log_filter_changes_while_the_node_runs() {
    let (_directory, _material, config) = network();
    let node = start(&config).await.unwrap();
    let ops = node.ops_address().to_string();
    assert_eq!(get(&ops, "/logspec").await.unwrap(), (200, "{\"spec\":\"info\"}".to_owned()));
    let answer = request(&ops, "PUT", "/logspec", "{\"spec\":\"warn\"}").await;
    assert!(answer.starts_with("HTTP/1.0 204"), "{answer}");
    assert_eq!(get(&ops, "/logspec").await.unwrap().1, "{\"spec\":\"warn\"}");
    for bad in ["{\"spec\":\"info,=,\"}", "not json", "{\"spec\":7}"] {
        let answer = request(&ops, "PUT", "/logspec", bad).await;
        assert!(answer.starts_with("HTTP/1.0 400") && answer.contains("\"error\""), "{answer}");
    }
    assert_eq!(get(&ops, "/logspec").await.unwrap().1, "{\"spec\":\"warn\"}");
    let answer = request(&ops, "DELETE", "/version", "").await;
    assert!(answer.starts_with("HTTP/1.0 400"), "{answer}");
    node.stop().await;
}

async fn request(address: &str, method: &str, path: &str, body: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.0\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn what_keeps_a_node_from_starting_is_named() {
    let (directory, material, config) = network();
    let running = start(&config).await.unwrap();
    let text = refusal(&config).await;
    assert!(text.contains("in use by another process"), "{text}");

    let mut other = config.clone();
    other.data_dir = directory.path().join("other");
    other.listen.grpc = running.grpc_address();
    let text = refusal(&other).await;
    assert!(text.contains("listen.grpc") && text.contains("port is in use"), "{text}");
    other.listen.grpc = config.listen.grpc;
    other.listen.ops = running.ops_address();
    let text = refusal(&other).await;
    assert!(text.contains("listen.ops") && text.contains("port is in use"), "{text}");
    other.listen.ops = config.listen.ops;

    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    other.listen.quic = taken.local_addr().unwrap();
    let text = refusal(&other).await;
    assert!(text.contains("listen.quic") && text.contains("port is in use"), "{text}");
    other.listen.quic = config.listen.quic;

    other.identity.key = material.layout.application().client(1).key;
    let text = refusal(&other).await;
    assert!(text.contains("does not belong to the certificate"), "{text}");
    other.identity.key = config.identity.key.clone();

    other.genesis = directory.path().join("nothing.block");
    let text = refusal(&other).await;
    assert!(text.contains("nothing.block") && text.contains("genesis"), "{text}");
    std::fs::write(&other.genesis, b"\xff\xff\xff").unwrap();
    let text = refusal(&other).await;
    assert!(text.contains("nothing.block"), "{text}");
    other.genesis = config.genesis.clone();

    other.limits.max_message_bytes = 1 << 20;
    let text = refusal(&other).await;
    assert!(text.contains("limits.max_message_bytes") && text.contains("absolute_max_bytes"), "{text}");
    running.stop().await;
}

#[tokio::test]
async fn a_node_that_is_not_the_consenter_it_says_is_told_both_sides() {
    let directory = tempfile::tempdir().unwrap();
    let material =
        material_at(&directory, ConsensusKind::Bft, &[1, 2, 3, 4], BatchSpec::default(), Writers::Signed);
    let good = config(&material, 1, directory.path());

    let stranger = NodeConfig { id: 9, ..good.clone() };
    let text = refusal(&stranger).await;
    assert!(text.contains("id = 9") && text.contains("1, 2, 3, 4"), "{text}");

    let other = NodeConfig { id: 2, ..good.clone() };
    let text = refusal(&other).await;
    for part in ["identity.certificate", "replica-1", "replica-2", "enrolment", "consenter 1's"] {
        assert!(text.contains(part), "{part} is missing: {text}");
    }

    let mut wrong_tls = good.clone();
    wrong_tls.cluster.certificate = material.layout.replica(3).cluster().certificate;
    let text = refusal(&wrong_tls).await;
    for part in ["cluster.certificate", "TLS server", "consenter 3's"] {
        assert!(text.contains(part), "{part} is missing: {text}");
    }

    let mut key_for_certificate = good;
    key_for_certificate.identity.certificate = key_for_certificate.identity.key.clone();
    let text = refusal(&key_for_certificate).await;
    assert!(text.contains("holds no PEM CERTIFICATE"), "{text}");
}
