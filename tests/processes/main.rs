//! Real processes over loopback: load, kill -9, restart, wipe, stop and go on.

mod liars;
mod network;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use network::Network;
use prost::Message as _;
use sbft::client::envelope::request_id;
use sbft::proto::common::{self, Block};

/// How long the tests wait for what the design gives two to five seconds; test machines are slow.
const PATIENCE: Duration = Duration::from_secs(60);

fn ids_of(block: &Block) -> Vec<String> {
    let data = block.data.as_ref().map_or(&[][..], |data| &data.data);
    data.iter()
        .filter_map(|bytes| request_id(&common::Envelope::decode(bytes.clone()).unwrap()))
        .map(|id| id.to_string())
        .collect()
}

/// How often each envelope is in these blocks.
fn occurrences(blocks: &[Block]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for id in blocks.iter().skip(1).flat_map(ids_of) {
        *counts.entry(id).or_insert(0) += 1;
    }
    counts
}

/// Envelopes that replicas other than `not` answered SUCCESS to.
fn accepted(log: &Path, not: &[u32]) -> Vec<String> {
    let text = std::fs::read_to_string(log).unwrap();
    text.lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (id, replica, status) = (words.next()?, words.next()?, words.next()?);
            (status == "SUCCESS" && !not.contains(&replica.parse().unwrap())).then(|| id.to_owned())
        })
        .collect()
}

fn load(network: &Network, arguments: &[&str]) -> Child {
    network
        .command(&[&["submit"], arguments].concat())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn same_headers(network: &Network, ids: &[u32]) {
    let headers =
        |id: u32| network.blocks(id, 0).into_iter().map(|block| block.header.unwrap()).collect::<Vec<_>>();
    let first = headers(ids[0]);
    for id in &ids[1..] {
        assert_eq!(headers(*id), first, "headers of replica {id} against those of {}", ids[0]);
    }
}

/// Acceptance case 69, and the network's first duty.
#[test]
fn case_69_four_processes_order_and_end_with_the_same_chain() {
    let mut network = Network::start(&[]);
    let text = network.submit(&["--count", "2000", "--size", "1024", "--wait"]);
    assert!(text.contains("committed 2000"), "{text}");
    network.settle(&[1, 2, 3, 4]);
    network.verify(&[1, 2, 3, 4]);
    same_headers(&network, &[1, 2, 3, 4]);
    let status = network.sbft(&["status"]);
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stdout));
}

/// Acceptance cases 38 and 39: each envelope to all four, and once more after its commit.
#[test]
fn cases_38_39_an_envelope_submitted_everywhere_is_ordered_once() {
    let mut network = Network::start(&["--key", "p256"]);
    network.submit(&["--count", "300", "--replica", "all", "--wait"]);
    network.settle(&[1, 2, 3, 4]);
    let counts = occurrences(&network.blocks(1, 0));
    assert_eq!(counts.len(), 300);
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");

    let blocks = network.blocks(2, 0);
    let envelope = blocks.last().unwrap().data.as_ref().unwrap().data[0].clone();
    let file = network.dir().join("again.bin");
    std::fs::write(&file, &envelope).unwrap();
    network.submit(&["--file", file.to_str().unwrap(), "--replica", "all"]);
    network.submit(&["--count", "5", "--wait"]);
    let counts = occurrences(&network.blocks(1, 0));
    assert_eq!(counts.len(), 305);
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
    network.verify(&[1, 2, 3, 4]);
}

/// Acceptance case 79 over real processes: the primary dies under load.
#[test]
fn commits_resume_after_kill_9_of_the_primary_and_nothing_accepted_is_lost() {
    let mut network = Network::start(&[]);
    let log = network.dir().join("accepted");
    let mut submit =
        load(&network, &["--rate", "300", "--count", "3000", "--accepted", log.to_str().unwrap()]);
    network.until("blocks commit", PATIENCE, |network| network.height(2) > 20);
    let primary = network.primary();
    let others: Vec<u32> = (1..=4).filter(|id| *id != primary).collect();
    let witness = others[0];
    network.kill(primary);
    let killed = Instant::now();
    let before = network.height(witness);
    network.until("commits resume", PATIENCE, |network| network.height(witness) > before + 3);
    println!("commits resumed {:?} after kill -9 of the primary", killed.elapsed());
    assert!(submit.wait().unwrap().success());
    // An answered envelope may still be on its way to its block.
    let ids = accepted(&log, &[primary]);
    assert!(ids.len() > 1_000, "{} envelopes accepted by survivors", ids.len());
    network.until("everything accepted is in a block", PATIENCE, |network| {
        let counts = occurrences(&network.blocks(witness, 0));
        ids.iter().all(|id| counts.contains_key(id))
    });
    let counts = occurrences(&network.blocks(witness, 0));
    assert!(counts.values().all(|count| *count == 1), "an envelope is in the chain twice");

    // The dead replica comes back, catches up and votes again.
    network.restart(primary);
    network.submit(&["--count", "200", "--rate", "200", "--wait"]);
    network.settle(&[1, 2, 3, 4]);
    network.until("the replica that came back signs blocks", PATIENCE, |network| {
        network.submit(&["--count", "5", "--wait"]);
        let from = network.height(witness) - 1;
        network.blocks(witness, from).iter().any(|block| signers(block).contains(&primary))
    });
    network.settle(&[1, 2, 3, 4]);
    network.verify(&[1, 2, 3, 4]);
    same_headers(&network, &[1, 2, 3, 4]);
}

fn signers(block: &Block) -> Vec<u32> {
    let slot = block.metadata.as_ref().unwrap().metadata[0].clone();
    let metadata = common::Metadata::decode(slot).unwrap();
    let id = |header| common::IdentifierHeader::decode(header).unwrap().identifier;
    metadata.signatures.into_iter().map(|signature| id(signature.identifier_header)).collect()
}

/// Acceptance cases 91 and 95.
#[test]
fn cases_91_95_kill_9_of_all_four_under_load_loses_no_delivered_block() {
    let mut network = Network::start(&[]);
    let mut submit = load(&network, &["--rate", "300", "--count", "100000", "--timeout", "5"]);
    network.until("blocks commit", PATIENCE, |network| network.height(1) > 20);
    let delivered = network.blocks(2, 0);
    for id in 1..=4 {
        network.kill(id);
    }
    submit.kill().unwrap();
    submit.wait().unwrap();
    for id in 1..=4 {
        network.restart(id);
    }
    network.until("all are up again", PATIENCE, |network| (1..=4).all(|id| network.status(id).is_some()));
    network.submit(&["--count", "100", "--wait"]);
    network.settle(&[1, 2, 3, 4]);
    for id in 1..=4 {
        let now = network.blocks(id, 0);
        assert!(now.len() > delivered.len());
        for (before, after) in delivered.iter().zip(&now) {
            assert_eq!(
                (&before.header, &before.data),
                (&after.header, &after.data),
                "a delivered block changed"
            );
        }
    }
    network.verify(&[1, 2, 3, 4]);
}

/// Acceptance cases 35 and 83: without a quorum nothing commits, clients are told why, and
/// with the quorum back what had been accepted is ordered.
#[test]
fn cases_35_83_without_a_quorum_clients_are_told_and_ordering_resumes_by_itself() {
    let mut network = Network::start(&[]);
    network.submit(&["--count", "50", "--wait"]);
    network.kill(4);
    network.submit(&["--count", "50", "--wait"]);

    network.kill(3);
    // For two seconds the replica still takes envelopes: promises that it must keep.
    let height = network.height(1);
    let log = network.dir().join("accepted");
    let mut promised = Vec::new();
    network.until("replica 1 tells clients that there is no quorum", PATIENCE, |network| {
        let output = network.sbft(&[
            "submit",
            "--count",
            "1",
            "--replica",
            "1",
            "--timeout",
            "1",
            "--accepted",
            log.to_str().unwrap(),
        ]);
        let answers = std::fs::read_to_string(&log).unwrap();
        promised.extend(accepted(&log, &[]));
        assert_eq!(output.status.success(), answers.contains("SUCCESS"), "{answers}");
        answers.contains("SERVICE_UNAVAILABLE no quorum: 2 of 4 reachable, 3 needed")
    });
    assert!(!promised.is_empty());
    let status = network.sbft(&["status"]);
    assert!(!status.status.success());
    assert!(String::from_utf8_lossy(&status.stdout).contains("no quorum: 2 of 4 reachable, 3 needed"));
    assert_eq!(network.height(1), height, "nothing commits without a quorum");

    network.restart(3);
    network.until("what was accepted before is ordered", PATIENCE, |network| {
        let counts = occurrences(&network.blocks(1, 0));
        promised.iter().all(|id| counts.get(id) == Some(&1))
    });
    network.submit(&["--count", "20", "--wait"]);
}

/// A wiped replica follows, serves, and says why it does not vote.
#[test]
fn a_wiped_replica_comes_back_as_a_follower_with_the_same_chain() {
    let mut network = Network::start(&[]);
    network.submit(&["--count", "200", "--wait"]);
    network.kill(2);
    let replica = network.file().replica(2).unwrap().clone();
    std::fs::remove_dir_all(replica.dir.join("data")).unwrap();
    network.restart(2);
    network
        .until("the wiped replica has the chain", PATIENCE, |network| network.height(2) == network.height(1));
    network.submit(&["--count", "100", "--wait"]);
    network.settle(&[1, 2, 3, 4]);
    same_headers(&network, &[1, 2, 3, 4]);
    let status = network.status(2).unwrap();
    assert_eq!(status["role"], "follower", "{status}");
    assert!(!status["reason"].as_str().unwrap().is_empty(), "{status}");
    let log = std::fs::read_to_string(replica.dir.join("node.log")).unwrap();
    assert!(log.contains("follower"), "the log says why it does not vote");
    let signed = network.blocks(1, network.height(3) - 1);
    assert!(!signers(&signed[0]).contains(&2), "a wiped replica votes no more");
    network.verify(&[1, 2, 3, 4]);
}

/// Acceptance case 72 over real processes: a replica that stands still holds nobody up.
#[test]
fn case_72_a_stopped_replica_slows_nobody_and_catches_up() {
    let mut network = Network::start(&[]);
    network.submit(&["--count", "50", "--wait"]);
    let slow = (1..=4).find(|id| *id != network.primary()).unwrap();
    network.signal(slow, "STOP");
    let address = (1..=4).find(|id| *id != slow).unwrap().to_string();
    network.submit(&["--count", "2000", "--replica", &address, "--wait"]);
    network.signal(slow, "CONT");
    network.submit(&["--count", "20", "--replica", &address, "--wait"]);
    network.settle(&[1, 2, 3, 4]);
    network.verify(&[1, 2, 3, 4]);
}

/// A node whose certificate is not the one in the channel configuration is told so.
#[test]
fn a_replica_with_a_wrong_certificate_is_refused_and_the_others_go_on() {
    let mut network = Network::start(&[]);
    network.kill(4);
    let dir = network.file().replica(4).unwrap().dir.clone();
    let config = std::fs::read_to_string(dir.join("node.toml")).unwrap();
    let other =
        config.replace("replica-4/tls", "replica-3/tls").replace("tls/", "../../crypto/replica-3/tls/");
    std::fs::write(dir.join("node.toml"), &other).unwrap();
    network.restart(4);
    network.submit(&["--count", "50", "--wait"]);
    let log = std::fs::read_to_string(dir.join("node.log")).unwrap();
    assert!(log.contains("certificate"), "the log names the certificate: {log}");
    std::fs::write(dir.join("node.toml"), &config).unwrap();
}
