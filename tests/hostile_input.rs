//! Files that people and programs hand to sbft, truncated, changed and random: an error that names
//! the file, or a value, and never a panic. The decoders of what peers and clients send, and of log
//! and ledger, are fed by the tests beside them (`CASES.md` has the list).

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use prost::Message as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sbft::client::envelope::request_id;
use sbft::client::network_file::{IdentityFiles, NetworkFile, ReplicaEntry};
use sbft::client::operations::get;
use sbft::crypto::KeyKind;
use sbft::genesis::{
    BatchSpec, ConsensusKind, GenesisSpec, NetworkMaterial, NetworkSpec, OptionsSpec, ReplicaAddress,
    Writers, genesis_block,
};
use sbft::header::header_hash;
use sbft::ledger::{Ledger, LedgerOptions};
use sbft::node_config::{NodeConfig, parse_filter};
use sbft::proto::common::{Block, Envelope};
use sbft::types::Number;
use sbft::verify::{VerifyOptions, verify_paths};
use sbft::wire::block::header_of;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Every truncation of `good`, and `rounds` changes of all kinds.
fn changed(good: &[u8], rounds: usize) -> impl Iterator<Item = Vec<u8>> + '_ {
    let step = (good.len() / 300).max(1);
    let truncated = (0..good.len()).step_by(step).map(|end| good[..end].to_vec());
    let mut random = StdRng::seed_from_u64(good.len() as u64);
    let lines: Vec<&[u8]> = good.split_inclusive(|byte| *byte == b'\n').collect();
    let changes = (0..rounds).map(move |round| {
        let mut bytes = good.to_vec();
        match round % 6 {
            0 => {
                for _ in 0..random.random_range(1..6) {
                    let at = random.random_range(0..bytes.len());
                    bytes[at] ^= 1 << random.random_range(0..8);
                }
            }
            1 => {
                let at = random.random_range(0..bytes.len());
                bytes.splice(at..at, (0..random.random_range(1..20)).map(|_| random.random::<u8>()));
            }
            2 => {
                let (a, b) = (random.random_range(0..bytes.len()), random.random_range(0..bytes.len()));
                bytes.drain(a.min(b)..a.max(b));
            }
            3 => bytes = (0..random.random_range(0..400)).map(|_| random.random::<u8>()).collect(),
            // What people do: a line twice, a line less, a number that is none.
            4 => {
                let mut lines = lines.clone();
                let (from, to) = (random.random_range(0..lines.len()), random.random_range(0..lines.len()));
                if round % 12 == 4 {
                    lines.insert(to, lines[from]);
                } else {
                    lines.remove(from);
                }
                bytes = lines.concat();
            }
            _ => {
                let digits: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at].is_ascii_digit()).collect();
                if let Some(at) = digits.get(random.random_range(0..digits.len().max(1))) {
                    let odd =
                        [&b"-1"[..], b"99999999999999999999", b"0", b"1e9", b"\"x\"", b"4294967296", b""];
                    bytes.splice(*at..=*at, odd[random.random_range(0..odd.len())].iter().copied());
                }
            }
        }
        bytes
    });
    truncated.chain(changes)
}

fn network(directory: &Path) -> NetworkMaterial {
    let address =
        |port| ReplicaAddress { host: "127.0.0.1".to_owned(), quic_port: port, grpc_port: port + 100 };
    let spec = NetworkSpec {
        channel: "orders".to_owned(),
        key_kind: KeyKind::Ed25519,
        consensus: ConsensusKind::Bft,
        replicas: (7051..7055).map(address).collect(),
        clients: 1,
        writers: Writers::Signed,
        batch: BatchSpec::default(),
        options: OptionsSpec::default(),
    };
    NetworkMaterial::create(&spec, directory).expect("a network")
}

#[test]
fn node_configurations() {
    let good = NodeConfig::with_defaults(1, "OrdererMSP").to_toml();
    let path = Path::new("some/node.toml");
    assert!(NodeConfig::parse(&good, path).is_ok());
    let mut refused = 0;
    for bytes in changed(good.as_bytes(), 3000) {
        let source = String::from_utf8_lossy(&bytes);
        match NodeConfig::parse(&source, path) {
            Ok(config) => assert_eq!(NodeConfig::parse(&config.to_toml(), path).as_ref().ok(), Some(&config)),
            Err(error) => {
                refused += 1;
                assert!(error.to_string().starts_with("some/node.toml"), "{error}");
            }
        }
    }
    assert!(refused > 1000, "{refused} were refused");
}

#[test]
fn genesis_specifications() {
    let directory = tempfile::tempdir().expect("a directory");
    let material = network(directory.path());
    let good = fs::read(material.layout.genesis_spec()).expect("the specification");
    let path = material.layout.genesis_spec().with_file_name("changed.toml");
    let (mut made, mut refused) = (0, 0);
    for bytes in changed(&good, 1200) {
        fs::write(&path, &bytes).expect("written");
        // Some changes hit a comment or a value that may be anything: then there is a block.
        match GenesisSpec::load(&path).and_then(|spec| genesis_block(&spec)) {
            Ok(block) => {
                made += 1;
                sbft::channel_config::ChannelConfig::from_block(&block).expect("what is made can be loaded");
            }
            Err(error) => {
                refused += 1;
                assert!(!error.to_string().is_empty());
            }
        }
    }
    assert!(refused > 600, "{refused} were refused, {made} made a block");
}

#[test]
fn network_files() {
    let directory = tempfile::tempdir().expect("a directory");
    let identity =
        IdentityFiles { msp_id: "Org1MSP".into(), cert: "/n/c.pem".into(), key: "/n/k.pem".into() };
    let entry = |id: u32| ReplicaEntry {
        id,
        grpc: format!("127.0.0.1:{}", 7050 + 10 * id),
        quic: format!("127.0.0.1:{}", 7051 + 10 * id),
        ops: format!("127.0.0.1:{}", 7052 + 10 * id),
        pid: Some(4000 + id),
        dir: format!("/n/replica-{id}").into(),
        ledger: format!("/n/replica-{id}/data/ledger").into(),
    };
    let file = NetworkFile {
        channel: "sbft".into(),
        genesis: "/n/genesis.block".into(),
        replicas: (1..=4).map(entry).collect(),
        client: identity.clone(),
        clients: vec![identity.clone()],
        admin: identity,
        tls_ca: Some("/n/ca.pem".into()),
    };
    file.store(directory.path()).expect("written");
    let path = directory.path().join("network.json");
    let good = fs::read(&path).expect("the file");
    let mut refused = 0;
    for bytes in changed(&good, 3000) {
        fs::write(&path, &bytes).expect("written");
        match NetworkFile::load(directory.path()) {
            Ok(found) => drop(found.replica(1)),
            Err(error) => {
                refused += 1;
                assert!(error.to_string().contains("network.json"), "{error}");
            }
        }
    }
    assert!(refused > 1000, "{refused} were refused");
}

fn vectors() -> Vec<Bytes> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fabric-vectors");
    let files = ["genesis.pb", "block1.pb", "block2.pb", "block3.pb"];
    files.iter().map(|file| fs::read(directory.join(file)).expect("a vector").into()).collect()
}

/// Whatever happens to a ledger's or a block's file, it is called good only if all that is in it is.
#[test]
fn ledgers_and_block_files_that_are_verified() {
    let directory = tempfile::tempdir().expect("a directory");
    let (genesis, path) = (directory.path().join("genesis.pb"), directory.path().join("ledger"));
    let blocks = vectors();
    fs::write(&genesis, &blocks[0]).expect("written");
    {
        let (ledger, _) = Ledger::open(&path, LedgerOptions::default()).expect("a new ledger");
        for (number, bytes) in (0..).zip(&blocks) {
            let header = header_of(&Block::decode(bytes.clone()).expect("a block")).expect("a header");
            ledger.append(Number(number), &header_hash(&header), bytes).expect("appended");
        }
        ledger.sync().expect("synced");
    }
    let verify = |path: &PathBuf| {
        verify_paths(std::slice::from_ref(path), &genesis, VerifyOptions { strict_tail: true })
    };
    let whole = verify(&path).expect("checked").remove(0);
    assert!(whole.ok && whole.blocks == 4, "{whole:?}");

    let data = fs::read_dir(&path).expect("the ledger").map(|entry| entry.expect("an entry").path());
    let data = data.max_by_key(|path| fs::metadata(path).expect("its size").len()).expect("a file");
    let good = fs::read(&data).expect("its blocks");
    let mut refused = 0;
    for bytes in changed(&good, 600) {
        fs::write(&data, &bytes).expect("written");
        match verify(&path) {
            Ok(reports) => {
                let report = &reports[0];
                refused += usize::from(!report.ok);
                // What is left of a file that was cut between two blocks is good, and shorter.
                assert!(!report.ok || report.blocks < 4 || bytes == good, "{report:?}");
            }
            Err(error) => {
                refused += 1;
                assert!(!error.to_string().is_empty());
            }
        }
    }
    assert!(refused > 600, "{refused} were refused");
    fs::write(&data, &good).expect("written");

    let file = directory.path().join("1.block");
    for bytes in changed(&blocks[1], 600) {
        fs::write(&file, &bytes).expect("written");
        let good = verify(&file).is_ok_and(|reports| reports[0].ok);
        assert!(!good || bytes == blocks[1]);
    }
    // And a genesis block that is none: nothing is good under it.
    for bytes in changed(&blocks[0], 300) {
        fs::write(&genesis, &bytes).expect("written");
        let good = verify_paths(std::slice::from_ref(&path), &genesis, VerifyOptions::default())
            .is_ok_and(|reports| reports[0].ok);
        let same = Block::decode(&bytes[..]).is_ok_and(|block| {
            let original = Block::decode(blocks[0].clone()).expect("a block");
            (block.header, block.data) == (original.header, original.data)
        });
        assert!(!good || same);
    }
}

/// `sbft submit --file` takes envelopes that anybody made.
#[test]
fn envelopes_that_are_submitted_from_a_file() {
    let blocks = vectors();
    let block = Block::decode(blocks[1].clone()).expect("a block");
    let envelope = block.data.expect("data").data.remove(0);
    let good = Envelope::decode(envelope.clone()).expect("an envelope");
    assert!(request_id(&good).is_some());
    let mut stream = Vec::new();
    for _ in 0..3 {
        prost::encoding::encode_varint(envelope.len() as u64, &mut stream);
        stream.extend(&envelope);
    }
    for bytes in changed(&envelope, 2000) {
        if let Ok(found) = Envelope::decode(&bytes[..]) {
            let id = request_id(&found);
            assert!(id.is_none() || !found.payload.is_empty());
        }
    }
    for bytes in changed(&stream, 2000) {
        let mut rest = Bytes::from(bytes);
        while let (false, Ok(found)) = (rest.is_empty(), Envelope::decode_length_delimited(&mut rest)) {
            assert!(request_id(&found).is_none_or(|id| id.0 != [0; 32]));
        }
    }
}

/// A replica's operations listener may be anything that listens there.
#[tokio::test]
async fn answers_of_an_operations_listener() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let good = b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{\"id\": 1}";
    let answers: Vec<Vec<u8>> = changed(good, 200).collect();
    let server = tokio::spawn({
        let answers = answers.clone();
        async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.expect("a caller");
                let mut request = [0; 4];
                stream.read_exact(&mut request).await.expect("a request");
                assert_eq!(&request, b"GET ");
                stream.write_all(&answer).await.expect("answered");
            }
        }
    });
    for answer in answers {
        match get(&address, "/status").await {
            Ok((_, body)) => assert!(String::from_utf8_lossy(&answer).ends_with(&body)),
            Err(error) => assert!(error.to_string().contains("/status"), "{error}"),
        }
    }
    server.await.expect("all were asked for");
}

#[test]
fn log_filters() {
    assert!(parse_filter("info,sbft::pbft=debug").is_ok());
    for bytes in changed(b"info,sbft::pbft[span{field=7}]=debug,quinn=warn", 3000) {
        drop(parse_filter(&String::from_utf8_lossy(&bytes)));
    }
}
