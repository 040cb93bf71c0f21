//! The blocks of a running Fabric network (tests/fabric-vectors): our hashes, metadata bytes and
//! signature checks give what Fabric's did, and `verify` accepts the blocks and no others.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bytes::Bytes;
use prost::Message as _;
use sbft::channel_config::{ChannelConfig, Consensus};
use sbft::crypto::{EnvelopeCheck, verify_envelopes};
use sbft::header::{data_hash, header_bytes, header_hash, sha256};
use sbft::proto::common::{Block, Metadata, OrdererBlockMetadata};
use sbft::types::{Header, Number};
use sbft::verify::Verifier;
use sbft::wire::block::{header_of, metadata_slots, orderer_metadata, signing_bytes};
use sbft::wire::envelope::{Parsed, check_canonical};
use serde_json::Value;

const FILES: [&str; 5] = ["genesis.pb", "block1.pb", "block2.pb", "block3.pb", "config-block4.pb"];

fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fabric-vectors").join(file)
}

fn bytes_of(file: &str) -> Bytes {
    std::fs::read(path(file)).unwrap_or_else(|error| panic!("{file}: {error}")).into()
}

fn block(file: &str) -> Block {
    Block::decode(bytes_of(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Each file with its block, and what the vectors say about it.
fn vectors() -> Vec<(&'static str, Block, Value)> {
    let all: Value = serde_json::from_slice(&bytes_of("vectors.json")).expect("vectors.json");
    let blocks = all["blocks"].as_array().expect("blocks").clone();
    FILES.into_iter().zip(blocks).map(|(file, vector)| (file, block(file), vector)).collect()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("{field} is no text"))
}

fn header(block: &Block) -> Header {
    header_of(block).expect("a header")
}

fn data(block: &Block) -> &[Bytes] {
    &block.data.as_ref().expect("data").data
}

fn slots(block: &Block) -> &[Bytes] {
    &block.metadata.as_ref().expect("metadata").metadata
}

fn genesis_config() -> ChannelConfig {
    ChannelConfig::from_block(&block("genesis.pb")).expect("the genesis block loads unchanged")
}

/// Acceptance cases 60 and 61, on Fabric's own blocks.
#[test]
fn case_60_61_header_bytes_header_hashes_and_data_hashes_are_fabric_s() {
    let mut previous = None;
    for (file, block, vector) in vectors() {
        assert_eq!(text(&vector, "file"), file);
        let header = header(&block);
        assert_eq!(hex::encode(header_bytes(&header)), text(&vector, "header_der"), "{file}");
        assert_eq!(hex::encode(header_hash(&header).0), text(&vector, "header_hash"), "{file}");
        assert_eq!(hex::encode(data_hash(data(&block)).0), text(&vector, "computed_data_hash"), "{file}");
        assert_eq!(data_hash(data(&block)), header.data_hash, "{file}");
        assert_eq!(header.previous_hash, previous, "{file}");
        previous = Some(header_hash(&header));
    }
}

/// Acceptance case 64, on Fabric's own blocks.
#[test]
fn case_64_metadata_slots_are_byte_for_byte_what_we_write() {
    for (file, block, vector) in vectors() {
        let signed = Metadata::decode(slots(&block)[0].clone()).expect("slot 0");
        let value = OrdererBlockMetadata::decode(signed.value.clone()).expect("the value of slot 0");
        let last_config = Number(value.last_config.expect("a last config").index);
        let written = orderer_metadata(last_config, value.consenter_metadata);
        assert_eq!(hex::encode(&written), text(&vector, "orderer_block_metadata"), "{file}");
        let written = metadata_slots(written, signed.signatures, last_config);
        let expected: Vec<&str> = vector["metadata_slots_hex"]
            .as_array()
            .expect("slots")
            .iter()
            .map(|slot| slot.as_str().expect("hex"))
            .collect();
        assert_eq!(written.iter().map(hex::encode).collect::<Vec<_>>(), expected, "{file}");
        let header = header(&block);
        let is_config = header.number == Number(0) || header.number == Number(4);
        assert_eq!(last_config, if is_config { header.number } else { Number(0) }, "{file}");
    }
}

/// Acceptance cases 63 and 65, on Fabric's own blocks.
#[test]
fn case_63_65_every_orderer_signature_verifies_over_the_very_bytes_of_the_vectors() {
    let config = genesis_config();
    let mut count = 0;
    for (file, block, vector) in vectors() {
        let signed = Metadata::decode(slots(&block)[0].clone()).expect("slot 0");
        let expected = vector["signatures"].as_array().cloned().unwrap_or_default();
        assert_eq!(signed.signatures.len(), expected.len(), "{file}");
        let mut nonces = Vec::new();
        for (signature, expected) in signed.signatures.iter().zip(&expected) {
            assert!(signature.signature_header.is_empty(), "{file}");
            let message = signing_bytes(&signed.value, &signature.identifier_header, &header(&block));
            assert_eq!(hex::encode(&message), text(expected, "signed_bytes"), "{file}");
            let id = sbft::wire::block::signer_of(&signature.identifier_header).expect("an identifier");
            assert_eq!(u64::from(id.0), expected["identifier"].as_u64().expect("an id"), "{file}");
            let key = &config.consenter(config.place_of(id).expect("a place")).expect("a consenter").key;
            assert!(key.verify_vote(&message, &signature.signature), "{file}: consenter {id}");
            let mut flipped = message.clone();
            flipped[count % message.len()] ^= 1;
            assert!(!key.verify_vote(&flipped, &signature.signature), "{file}: consenter {id}");
            nonces.push(signature.identifier_header.clone());
            count += 1;
        }
        nonces.sort();
        nonces.dedup();
        assert_eq!(nonces.len(), expected.len(), "{file}: identifier headers differ");
    }
    assert_eq!(count, 12);
}

#[test]
fn every_client_signature_verifies_alone_and_in_a_batch() {
    let config = genesis_config();
    let mut signed = Vec::new();
    for (file, block, vector) in vectors().into_iter().skip(1) {
        for (bytes, expected) in data(&block).iter().zip(vector["txs"].as_array().expect("txs")) {
            let parsed = Parsed::decode(bytes.clone()).unwrap_or_else(|error| panic!("{file}: {error}"));
            assert_eq!(parsed.frame, *bytes, "{file}: our canonical frame is what Fabric stored");
            check_canonical(bytes).unwrap_or_else(|error| panic!("{file}: {error}"));
            assert_eq!(hex::encode(sha256(&parsed.payload).0), text(expected, "signed_bytes_sha256"));
            assert_eq!(hex::encode(&parsed.signature), text(expected, "signature"));
            let identity = config.msps.identity(&parsed.signature_header.creator).expect("a known creator");
            assert!(identity.key.verify_envelope(&parsed.payload, &parsed.signature), "{file}");
            signed.push((identity, parsed));
        }
    }
    assert_eq!(signed.len(), 12);
    let checks: Vec<EnvelopeCheck<'_>> = signed
        .iter()
        .map(|(identity, parsed)| EnvelopeCheck {
            key: &identity.key,
            message: &parsed.payload,
            signature: &parsed.signature,
        })
        .collect();
    assert_eq!(verify_envelopes(&checks), vec![true; 12]);
}

/// Request ids are Fabric's transaction ids: SHA-256 of nonce and creator.
#[test]
fn request_ids_of_ordinary_envelopes_are_fabric_s_transaction_ids() {
    for (file, block, vector) in vectors() {
        for (bytes, expected) in data(&block).iter().zip(vector["txs"].as_array().expect("txs")) {
            if text(expected, "type") == "ENDORSER_TRANSACTION" {
                let parsed = Parsed::decode(bytes.clone()).expect("an envelope");
                assert_eq!(parsed.id.to_string(), text(expected, "tx_id"), "{file}");
                assert_eq!(parsed.channel_header.tx_id, text(expected, "tx_id"), "{file}");
            }
        }
    }
}

#[test]
fn the_configuration_of_the_genesis_block_is_read_as_fabric_does() {
    let all: Value = serde_json::from_slice(&bytes_of("vectors.json")).expect("vectors.json");
    let config = genesis_config();
    assert_eq!(config.channel_id, text(&all, "channel_id"));
    assert_eq!(Some(u64::from(config.batch.max_message_count)), all["batch_max_message_count"].as_u64());
    assert_eq!(Some(u64::from(config.batch.absolute_max_bytes)), all["batch_absolute_max_bytes"].as_u64());
    assert!(config.v3 && matches!(config.consensus, Consensus::Sbft(_)));
    let consenters = all["consenters"].as_array().expect("consenters");
    assert_eq!(config.consenters.len(), consenters.len());
    let after = ChannelConfig::from_block(&block("config-block4.pb")).expect("the later configuration");
    assert_eq!(after.sequence, config.sequence + 1);
    assert_ne!(after.batch, config.batch);
}

#[test]
fn verify_accepts_the_whole_chain_and_the_later_configuration() {
    let mut verifier = Verifier::from_genesis(&block("genesis.pb")).expect("the genesis block");
    verifier.check_genesis(&bytes_of("genesis.pb")).expect("block 0");
    for file in &FILES[1..] {
        let checked = verifier.check(&bytes_of(file)).unwrap_or_else(|fault| panic!("{file}: {fault}"));
        assert_eq!((checked.signatures, checked.quorum), (3, 3), "{file}");
    }
    assert_eq!(verifier.next(), 5);
}

/// "It is done when" 9 and acceptance case 63: any flipped byte of any block is refused.
#[test]
fn case_63_verify_refuses_every_flipped_byte() {
    let mut verifier = Verifier::from_genesis(&block("genesis.pb")).expect("the genesis block");
    for file in &FILES[1..] {
        let bytes = bytes_of(file);
        // Every byte of the small block; of the others, every seventh and their metadata whole.
        for at in 0..bytes.len() {
            if *file != "block1.pb" && at % 7 != 0 && at < bytes.len() - 340 {
                continue;
            }
            let mut flipped = bytes.to_vec();
            flipped[at] ^= 1 << (at % 8);
            assert!(verifier.clone().check(&flipped).is_err(), "{file}: byte {at}");
        }
        verifier.check(&bytes).expect("good as it is");
    }
    let genesis = bytes_of("genesis.pb");
    let content = genesis.len() - 16; // header and data; the metadata come last
    for at in (0..content).step_by(11) {
        let mut flipped = genesis.to_vec();
        flipped[at] ^= 1 << (at % 8);
        assert!(verifier.check_genesis(&flipped).is_err(), "genesis.pb: byte {at}");
    }
}

fn run_verify(arguments: &[&Path]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sbft"));
    command.arg("verify").args(arguments).arg("--genesis").arg(path("genesis.pb"));
    command.output().expect("sbft runs")
}

#[test]
fn the_command_accepts_the_blocks_and_names_block_and_reason_when_it_does_not() {
    let dir = tempfile::tempdir().expect("a directory");
    let files: Vec<PathBuf> = FILES.iter().rev().map(|file| path(file)).collect();
    let all: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    let good = run_verify(&all);
    let printed = String::from_utf8_lossy(&good.stdout);
    assert!(good.status.success(), "{printed}{}", String::from_utf8_lossy(&good.stderr));
    assert!(printed.contains("5 blocks, at least 3 valid signatures each (3 of 4 needed)"), "{printed}");

    let without_block_2: Vec<&Path> =
        all.iter().copied().filter(|path| !path.ends_with("block2.pb")).collect();
    let missing = run_verify(&without_block_2);
    let printed = String::from_utf8_lossy(&missing.stdout);
    assert_eq!(missing.status.code(), Some(1));
    assert!(printed.contains("block 2: it is missing"), "{printed}");

    let mut bytes = bytes_of("block1.pb").to_vec();
    let at = bytes.len() - 20;
    bytes[at] ^= 1;
    let flipped = dir.path().join("1.block");
    std::fs::write(&flipped, bytes).expect("write");
    let refused = run_verify(&[&flipped, Path::new("--json")]);
    assert_eq!(refused.status.code(), Some(1));
    let json: Value = serde_json::from_slice(&refused.stdout).expect("JSON");
    assert_eq!(json["ok"], false);
    assert_eq!(json["reports"][0]["failure"]["block"], 1);
    assert!(text(&json["reports"][0]["failure"], "reason").starts_with("block 1: "), "{json}");

    for path in ["/no/such/ledger", "/dev/zero"] {
        let nothing = run_verify(&[Path::new(path)]);
        assert_eq!(nothing.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&nothing.stderr).contains(path));
    }
}
