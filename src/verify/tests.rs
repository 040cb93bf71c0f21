//! Chains made here, right and wrong in one way each, and the blocks of Fabric's own network.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use prost::Message;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
use ring::signature::Ed25519KeyPair;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::ledger::{Ledger, LedgerOptions};
use crate::proto::common::{
    Block, BlockData, BlockHeader, BlockMetadata, Capabilities, Capability, ChannelHeader, Config,
    ConfigEnvelope, ConfigGroup, ConfigValue, Consenter, Envelope, Header, IdentifierHeader, LastConfig,
    Metadata, MetadataSignature, OrdererBlockMetadata, Orderers, Payload,
};
use crate::proto::sbft::ConsenterMetadata;
use crate::types::{Digest, Number};

/// A consenter that signs.
struct Signer {
    id: u32,
    key: KeyPair,
    certificate: String,
}

impl Signer {
    fn new(id: u32, ed25519: bool) -> Self {
        let algorithm = if ed25519 { &PKCS_ED25519 } else { &PKCS_ECDSA_P256_SHA256 };
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let params = CertificateParams::new(vec![format!("consenter{id}")]).expect("parameters");
        let certificate = params.self_signed(&key).expect("a certificate").pem();
        Self { id, key, certificate }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        use p256::ecdsa::signature::Signer as _;
        use p256::pkcs8::DecodePrivateKey as _;
        let der = self.key.serialize_der();
        if self.key.algorithm() == &PKCS_ED25519 {
            let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).expect("a key");
            return key.sign(message).as_ref().to_vec();
        }
        let key = p256::ecdsa::SigningKey::from_pkcs8_der(&der).expect("a key");
        let signature: p256::ecdsa::Signature = key.sign(message);
        signature.normalize_s().to_der().as_bytes().to_vec()
    }
}

/// A network of consenters with ids from 1, its genesis block, and a chain on top of it.
struct Network {
    signers: Vec<Signer>,
    genesis: Block,
    tip: Block,
    last_config: u64,
}

impl Network {
    fn new(n: u32) -> Self {
        let signers: Vec<Signer> = (1..=n).map(|id| Signer::new(id, id % 2 == 1)).collect();
        let consenters = consenters(&signers);
        let genesis = block(0, &[], vec![config(0, consenters).encode_to_vec().into()], Vec::new());
        Self { signers, tip: genesis.clone(), genesis, last_config: 0 }
    }

    /// The next block's header and data, without metadata.
    fn next(&self, data: Vec<Bytes>) -> Block {
        let header = self.tip.header.as_ref().expect("a header");
        block(header.number + 1, &header_hash(header), data, Vec::new())
    }

    fn ordinary(&self) -> Block {
        self.next(vec![envelope(b"one"), envelope(b"two")])
    }

    /// The metadata value for this block in this view.
    fn value(&self, block: &Block, view: u64) -> Vec<u8> {
        let number = block.header.as_ref().expect("a header").number;
        let consenter_metadata = ConsenterMetadata { view, number, proposal: vec![7; 32].into() };
        OrdererBlockMetadata {
            last_config: Some(LastConfig { index: self.last_config }),
            consenter_metadata: consenter_metadata.encode_to_vec().into(),
        }
        .encode_to_vec()
    }

    fn signature(&self, block: &Block, value: &[u8], signer: &Signer) -> MetadataSignature {
        let nonce: [u8; 24] = [signer.id as u8; 24];
        let identifier_header =
            IdentifierHeader { identifier: signer.id, nonce: nonce.to_vec().into() }.encode_to_vec();
        let header = header_der(block.header.as_ref().expect("a header"));
        let signature = signer.sign(&[value, &identifier_header, &header].concat());
        MetadataSignature {
            signature_header: Bytes::new(),
            signature: signature.into(),
            identifier_header: identifier_header.into(),
        }
    }

    /// The block with this value and these signatures.
    fn seal(&self, mut block: Block, value: &[u8], signatures: Vec<MetadataSignature>) -> Block {
        let last_config = LastConfig { index: self.last_config }.encode_to_vec();
        let slots = [
            Metadata { value: value.to_vec().into(), signatures }.encode_to_vec(),
            Metadata { value: last_config.into(), signatures: Vec::new() }.encode_to_vec(),
            Vec::new(),
            Vec::new(),
            Vec::new(),
        ];
        block.metadata = Some(BlockMetadata { metadata: slots.map(Bytes::from).to_vec() });
        block
    }

    /// The block signed in view 3 by the consenters with these places.
    fn signed_by(&self, block: Block, places: &[usize]) -> Block {
        let value = self.value(&block, 3);
        let signatures =
            places.iter().map(|place| self.signature(&block, &value, &self.signers[*place])).collect();
        self.seal(block, &value, signatures)
    }

    fn verifier(&self) -> Verifier {
        Verifier::from_genesis(&self.genesis).expect("a genesis block")
    }

    /// Why the verifier refuses this block as the next one.
    fn refusal(&self, block: &Block) -> Reason {
        let fault = self.verifier().check(&block.encode_to_vec()).expect_err("refused");
        assert_eq!(fault.block, 1);
        assert!(fault.to_string().starts_with("block 1: "), "{fault}");
        fault.reason
    }
}

fn consenters(signers: &[Signer]) -> Vec<Consenter> {
    let consenter = |signer: &Signer| Consenter {
        id: signer.id,
        identity: signer.certificate.clone().into_bytes().into(),
        ..Consenter::default()
    };
    signers.iter().map(consenter).collect()
}

fn config(sequence: u64, consenters: Vec<Consenter>) -> Envelope {
    let value = |message: Vec<u8>| ConfigValue { value: message.into(), ..ConfigValue::default() };
    let orderers = Orderers { consenter_mapping: consenters }.encode_to_vec();
    let orderer =
        ConfigGroup { values: [("Orderers".to_owned(), value(orderers))].into(), ..ConfigGroup::default() };
    let capabilities = Capabilities { capabilities: [("V3_0".to_owned(), Capability {})].into() };
    let group = ConfigGroup {
        groups: [("Orderer".to_owned(), orderer)].into(),
        values: [("Capabilities".to_owned(), value(capabilities.encode_to_vec()))].into(),
        ..ConfigGroup::default()
    };
    let config =
        ConfigEnvelope { config: Some(Config { sequence, channel_group: Some(group) }), last_update: None };
    payload_of_type(1, config.encode_to_vec(), b"")
}

fn payload_of_type(r#type: i32, data: Vec<u8>, signature: &'static [u8]) -> Envelope {
    let channel_header = ChannelHeader { r#type, channel_id: "test".into(), ..ChannelHeader::default() };
    let header =
        Header { channel_header: channel_header.encode_to_vec().into(), signature_header: Bytes::new() };
    let payload = Payload { header: Some(header), data: data.into() };
    Envelope { payload: payload.encode_to_vec().into(), signature: Bytes::from_static(signature) }
}

fn envelope(data: &[u8]) -> Bytes {
    payload_of_type(3, data.to_vec(), b"signed").encode_to_vec().into()
}

fn block(number: u64, previous: &[u8], data: Vec<Bytes>, slots: Vec<Bytes>) -> Block {
    let data_hash = Sha256::digest(data.concat()).to_vec();
    Block {
        header: Some(BlockHeader {
            number,
            previous_hash: previous.to_vec().into(),
            data_hash: data_hash.into(),
        }),
        data: Some(BlockData { data }),
        metadata: Some(BlockMetadata { metadata: slots }),
    }
}

fn header_der(header: &BlockHeader) -> Vec<u8> {
    assert!(header.number < 128, "one byte is enough here");
    let mut bytes = vec![2, 1, header.number as u8, 4, header.previous_hash.len() as u8];
    bytes.extend(&header.previous_hash);
    bytes.extend([4, header.data_hash.len() as u8]);
    bytes.extend(&header.data_hash);
    bytes.splice(0..0, [0x30, bytes.len() as u8]);
    bytes
}

fn header_hash(header: &BlockHeader) -> Vec<u8> {
    Sha256::digest(header_der(header)).to_vec()
}

/// A chain of `count` good blocks after the genesis block, all of them serialized.
fn chain(network: &mut Network, count: usize) -> Vec<Bytes> {
    let mut blocks = vec![network.genesis.encode_to_vec().into()];
    for _ in 0..count {
        network.tip = network.signed_by(network.ordinary(), &[0, 2, 3]);
        blocks.push(network.tip.encode_to_vec().into());
    }
    blocks
}

#[test]
fn case_63_blocks_with_a_quorum_of_ed25519_and_ecdsa_signatures_are_good() {
    for (n, quorum) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 4), (6, 4), (7, 5)] {
        let network = Network::new(n);
        let all: Vec<usize> = (0..n as usize).collect();
        for count in 0..=n as usize {
            let block = network.signed_by(network.ordinary(), &all[..count]);
            let outcome = network.verifier().check(&block.encode_to_vec());
            match outcome {
                Ok(checked) => {
                    assert!(count >= quorum, "{count} of {n}");
                    assert_eq!((checked.number, checked.signatures, checked.quorum), (1, count, quorum));
                }
                Err(fault) => {
                    assert!(count < quorum, "{count} of {n}: {fault}");
                    assert_eq!(fault.reason, Reason::TooFew { found: count, needed: quorum });
                }
            }
        }
    }
}

#[test]
fn case_63_one_signature_too_few_is_refused() {
    let network = Network::new(4);
    let block = network.signed_by(network.ordinary(), &[1, 3]);
    assert_eq!(network.refusal(&block), Reason::TooFew { found: 2, needed: 3 });
}

#[test]
fn case_63_a_consenter_that_signs_twice_is_refused() {
    let network = Network::new(4);
    let block = network.signed_by(network.ordinary(), &[1, 3, 1]);
    assert_eq!(network.refusal(&block), Reason::SignedTwice(2));
}

#[test]
fn case_63_an_unknown_consenter_id_is_refused_even_beside_a_quorum() {
    let mut network = Network::new(4);
    network.signers.push(Signer::new(9, true));
    let block = network.signed_by(network.ordinary(), &[0, 1, 2, 4]);
    assert_eq!(network.refusal(&block), Reason::Stranger { place: 3, id: 9 });
}

#[test]
fn a_stranger_s_signature_under_a_consenter_s_id_is_refused() {
    for ed25519 in [true, false] {
        let mut network = Network::new(4);
        let id = if ed25519 { 1 } else { 2 };
        network.signers.push(Signer::new(id, ed25519));
        let block = network.signed_by(network.ordinary(), &[2, 3, 4]);
        let reason = network.refusal(&block);
        assert!(matches!(reason, Reason::Signature { id: named, view: 3, .. } if named == id), "{reason}");
    }
}

#[test]
fn case_63_a_signature_with_a_high_s_is_refused() {
    let network = Network::new(4);
    let mut block = network.ordinary();
    let value = network.value(&block, 3);
    let mut signatures: Vec<MetadataSignature> =
        [0, 1, 2].map(|place| network.signature(&block, &value, &network.signers[place])).into();
    let low = p256::ecdsa::Signature::from_der(&signatures[1].signature).expect("a signature");
    let (r, s) = low.split_scalars();
    let high = p256::ecdsa::Signature::from_scalars(r.to_bytes(), (-*s).to_bytes()).expect("a signature");
    signatures[1].signature = high.to_der().as_bytes().to_vec().into();
    block = network.seal(block, &value, signatures);
    let reason = network.refusal(&block);
    assert!(reason.to_string().contains("low s"), "{reason}");
}

#[test]
fn signatures_from_two_views_are_refused() {
    let network = Network::new(4);
    let block = network.ordinary();
    let (value, other) = (network.value(&block, 3), network.value(&block, 4));
    let mut signatures: Vec<MetadataSignature> =
        [0, 1].map(|place| network.signature(&block, &value, &network.signers[place])).into();
    signatures.push(network.signature(&block, &other, &network.signers[2]));
    let reason = network.refusal(&network.seal(block, &value, signatures));
    assert!(matches!(reason, Reason::Signature { id: 3, view: 3, .. }), "{reason}");
    assert!(reason.to_string().contains("view 3"), "{reason}");
}

#[test]
fn case_64_the_last_config_must_be_the_last_config_block() {
    let mut network = Network::new(4);
    network.last_config = 1;
    let block = network.signed_by(network.ordinary(), &[0, 1, 2]);
    assert_eq!(network.refusal(&block), Reason::LastConfig { found: 1, expected: 0 });
}

#[test]
fn case_65_a_signature_header_beside_the_identifier_is_refused() {
    let network = Network::new(4);
    let block = network.ordinary();
    let value = network.value(&block, 3);
    let mut signatures: Vec<MetadataSignature> =
        [0, 1, 2].map(|place| network.signature(&block, &value, &network.signers[place])).into();
    signatures[2].signature_header = Bytes::from_static(b"x");
    assert_eq!(network.refusal(&network.seal(block, &value, signatures)), Reason::SignatureHeader(2));
}

#[test]
fn case_66_without_capability_v3_0_signatures_by_consenter_id_do_not_count() {
    let mut network = Network::new(4);
    let data = &network.genesis.data.as_ref().expect("data").data[0];
    let without = String::from_utf8_lossy(b"V3_0");
    let at = data.windows(4).position(|window| window == without.as_bytes()).expect("a capability");
    let mut bytes = data.to_vec();
    bytes[at + 3] = b'1';
    network.genesis = block(0, &[], vec![bytes.into()], Vec::new());
    let fault = Verifier::from_genesis(&network.genesis).expect_err("refused");
    assert!(fault.to_string().contains("/Channel/Capabilities lacks V3_0"), "{fault}");
}

#[test]
fn case_67_envelopes_that_are_not_in_the_one_proper_form_are_refused() {
    let network = Network::new(4);
    let whole = envelope(b"one");
    let proper = Envelope::decode(whole.clone()).expect("an envelope");
    let unsigned = Envelope { signature: Bytes::new(), ..proper.clone() };
    let empty = Envelope { payload: Bytes::new(), ..proper };
    let config_beside = config(1, consenters(&network.signers));
    let config_beside = Envelope { signature: Bytes::from_static(b"signed"), ..config_beside };
    for (bad, what) in [
        ([&whole[..], &[0x18, 1]].concat(), "canonically"),
        ([&whole[..], &whole[..]].concat(), "canonically"),
        ([&whole[..], &[0xff]].concat(), "decoded"),
        (unsigned.encode_to_vec(), "signature"),
        (empty.encode_to_vec(), "payload"),
        (config_beside.encode_to_vec(), "not alone"),
    ] {
        let block = network.next(vec![envelope(b"good"), bad.into()]);
        let reason = network.refusal(&network.signed_by(block, &[0, 1, 2]));
        assert!(matches!(reason, Reason::Envelope { place: 1, .. }), "{reason}");
        assert!(reason.to_string().contains(what), "{reason}");
    }
    let empty = network.next(Vec::new());
    assert_eq!(network.refusal(&network.signed_by(empty, &[0, 1, 2])), Reason::Without("data"));
}

/// Acceptance case 68, for the verifier.
#[test]
fn a_config_block_is_verified_under_the_consenters_before_it_and_the_next_under_its_own() {
    let mut network = Network::new(4);
    network.signers.push(Signer::new(5, true));
    let data = config(1, consenters(&network.signers)).encode_to_vec();
    let mut verifier = network.verifier();
    let block = network.next(vec![data.into()]);
    network.last_config = 1;
    let by_the_new_one = network.signed_by(block.clone(), &[0, 1, 4]);
    assert_eq!(network.refusal(&by_the_new_one), Reason::Stranger { place: 2, id: 5 });
    let block = network.signed_by(block, &[0, 1, 2]);
    verifier.check(&block.encode_to_vec()).expect("good");
    assert_eq!(verifier.consenters_and_quorum(), (5, 4));
    network.tip = block;
    let block = network.signed_by(network.ordinary(), &[0, 1, 2]);
    let fault = verifier.check(&block.encode_to_vec()).expect_err("3 of 5");
    assert_eq!(fault, Fault { block: 2, reason: Reason::TooFew { found: 3, needed: 4 } });
    let block = network.signed_by(network.ordinary(), &[0, 1, 2, 4]);
    verifier.check(&block.encode_to_vec()).expect("good");
}

#[test]
fn a_configuration_that_does_not_follow_is_refused() {
    let mut network = Network::new(4);
    network.last_config = 1;
    for (sequence, list, what) in [
        (0, consenters(&network.signers), "sequence"),
        (2, consenters(&network.signers), "sequence"),
        (1, Vec::new(), "no consenter"),
        (1, [consenters(&network.signers), consenters(&network.signers)].concat(), "twice"),
        (1, vec![Consenter { id: 1, identity: Bytes::from_static(b"x"), ..Consenter::default() }], "PEM"),
    ] {
        let block = network.next(vec![config(sequence, list).encode_to_vec().into()]);
        let reason = network.refusal(&network.signed_by(block, &[0, 1, 2]));
        assert!(matches!(&reason, Reason::Config(text) if text.contains(what)), "{reason}");
    }
}

#[test]
fn metadata_slots_must_be_five_and_the_last_three_empty_and_slot_1_as_slot_0_says() {
    let network = Network::new(4);
    let good = network.signed_by(network.ordinary(), &[0, 1, 2]);
    let with_slots = |change: &dyn Fn(&mut Vec<Bytes>)| {
        let mut block = good.clone();
        change(&mut block.metadata.as_mut().expect("metadata").metadata);
        network.refusal(&block)
    };
    assert_eq!(with_slots(&|slots| slots.truncate(4)), Reason::Slots(4));
    assert_eq!(with_slots(&|slots| slots.push(Bytes::new())), Reason::Slots(6));
    for slot in 2..5 {
        assert_eq!(
            with_slots(&|slots| slots[slot] = Bytes::from_static(b"\n\0")),
            Reason::SlotNotEmpty(slot)
        );
    }
    let last_config =
        |index| Metadata { value: LastConfig { index }.encode_to_vec().into(), signatures: Vec::new() };
    assert_eq!(with_slots(&|slots| slots[1] = last_config(1).encode_to_vec().into()), Reason::Slot1(0));
    assert_eq!(with_slots(&|slots| slots[1] = Bytes::from_static(b"\n\0")), Reason::Slot1(0));
    let append = |slots: &mut Vec<Bytes>| slots[0] = [&slots[0][..], &[0x18, 1]].concat().into();
    assert_eq!(with_slots(&append), Reason::NotCanonical("metadata slot 0"));
    assert_eq!(
        with_slots(&|slots| slots[0] = Bytes::from_static(b"\xff")),
        Reason::Undecodable("metadata slot 0")
    );
}

/// Acceptance case 88: what is signed must be encoded canonically, however many sign it.
#[test]
fn case_88_a_metadata_value_that_is_not_canonical_is_refused_even_with_a_quorum() {
    let network = Network::new(4);
    let block = network.ordinary();
    let value = [network.value(&block, 3), vec![0x18, 1]].concat();
    let signatures = [0, 1, 2].map(|place| network.signature(&block, &value, &network.signers[place]));
    let reason = network.refusal(&network.seal(block, &value, signatures.into()));
    assert_eq!(reason, Reason::NotCanonical("the value of metadata slot 0"));
}

#[test]
fn our_consenter_metadata_must_name_the_block_and_a_proposal() {
    let mut network = Network::new(4);
    let block = network.ordinary();
    let refusal = |metadata: ConsenterMetadata, network: &Network, verifier: &mut Verifier, block: &Block| {
        let value = OrdererBlockMetadata {
            last_config: Some(LastConfig { index: 0 }),
            consenter_metadata: metadata.encode_to_vec().into(),
        }
        .encode_to_vec();
        let signatures = [0, 1, 2].map(|place| network.signature(block, &value, &network.signers[place]));
        let sealed = network.seal(block.clone(), &value, signatures.into());
        verifier.check(&sealed.encode_to_vec()).err().map(|fault| fault.reason)
    };
    let right = ConsenterMetadata { view: 3, number: 1, proposal: vec![7; 32].into() };
    let mut verifier = network.verifier();
    let other_number = ConsenterMetadata { number: 2, ..right.clone() };
    assert_eq!(refusal(other_number, &network, &mut verifier, &block), Some(Reason::ConsenterNumber(2)));
    let short = ConsenterMetadata { proposal: vec![7; 31].into(), ..right.clone() };
    assert_eq!(refusal(short, &network, &mut verifier, &block), Some(Reason::ProposalDigest(31)));
    // Fabric's have no proposal, but after a block of ours there is no going back.
    let none = ConsenterMetadata { proposal: Bytes::new(), ..right.clone() };
    assert_eq!(refusal(none.clone(), &network, &mut verifier.clone(), &block), None);
    assert_eq!(refusal(right, &network, &mut verifier, &block), None);
    network.tip = network.signed_by(block, &[0, 1, 2]);
    let next = network.ordinary();
    let fabric = ConsenterMetadata { number: 2, ..none };
    assert_eq!(refusal(fabric, &network, &mut verifier, &next), Some(Reason::NoProposal));
}

#[test]
fn a_block_of_another_place_or_chain_is_refused() {
    let mut network = Network::new(4);
    let blocks = chain(&mut network, 2);
    let fault = network.verifier().check(&blocks[2]).expect_err("too early");
    assert_eq!(fault.reason, Reason::Number(2));
    let mut other = Network::new(4);
    let others = chain(&mut other, 1);
    let fault = network.verifier().check(&others[1]).expect_err("another chain");
    assert!(matches!(fault.reason, Reason::PreviousHash { .. }), "{fault}");
}

/// Writes a ledger, the genesis file, and each block as a file.
fn write_all(dir: &Path, blocks: &[Bytes]) -> (PathBuf, PathBuf, Vec<PathBuf>) {
    let (ledger, _) = Ledger::open(dir.join("ledger"), LedgerOptions { file_bytes: 5000 }).expect("open");
    let mut files = Vec::new();
    for (number, bytes) in (0..).zip(blocks) {
        let header = Block::decode(bytes.clone()).expect("a block").header.expect("a header");
        let hash = Digest::from_slice(&header_hash(&header)).expect("32 bytes");
        ledger.append(Number(number), &hash, bytes).expect("append");
        let file = dir.join(format!("{number}.block"));
        std::fs::write(&file, bytes).expect("write");
        files.push(file);
    }
    ledger.sync().expect("sync");
    (dir.join("ledger"), dir.join("0.block"), files)
}

fn verify(paths: &[PathBuf], genesis: &Path, strict_tail: bool) -> Vec<Report> {
    verify_paths(paths, genesis, VerifyOptions { strict_tail }).expect("a verdict")
}

fn failure(report: &Report) -> (u64, &str) {
    assert!(!report.ok);
    let failure = report.failure.as_ref().expect("a failure");
    assert!(failure.reason.starts_with(&format!("block {}", failure.block)), "{}", failure.reason);
    (failure.block, &failure.reason)
}

#[test]
fn a_ledger_a_directory_of_block_files_and_files_in_any_order_are_good() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut network = Network::new(4);
    let (ledger, genesis, mut files) = write_all(dir.path(), &chain(&mut network, 12));
    files.reverse();
    let all = [vec![ledger, dir.path().to_owned()], files.clone()].concat();
    let reports = verify(&all, &genesis, true);
    assert_eq!(reports.len(), 3);
    for report in &reports {
        assert!(report.ok, "{report:?}");
        assert_eq!((report.blocks, report.min_signatures, report.quorum), (13, Some(3), 3));
    }
    files.pop(); // the genesis block is known
    assert!(verify(&files, &genesis, true)[0].ok);
}

#[test]
fn a_missing_block_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut network = Network::new(4);
    let (_, genesis, mut files) = write_all(dir.path(), &chain(&mut network, 5));
    files.remove(3);
    let report = &verify(&files, &genesis, false)[0];
    assert_eq!(failure(report), (3, "block 3: it is missing"));
    assert_eq!(report.blocks, 3);
    let twice = [files[1].clone(), files[1].clone()];
    assert_eq!(failure(&verify(&twice, &genesis, false)[0]).0, 1);
}

#[test]
fn two_properly_signed_chains_that_differ_are_a_fork() {
    let (one, two) = (tempfile::tempdir().expect("one"), tempfile::tempdir().expect("two"));
    let mut network = Network::new(4);
    let mut blocks = chain(&mut network, 3);
    let (first, genesis, _) = write_all(one.path(), &blocks);
    let third = Block::decode(blocks.pop().expect("a block")).expect("a block");
    network.tip = Block::decode(blocks[2].clone()).expect("a block");
    let other = network.next(vec![envelope(b"something else")]);
    assert_ne!(third.header, other.header);
    blocks.push(network.signed_by(other, &[0, 1, 2]).encode_to_vec().into());
    let (second, ..) = write_all(two.path(), &blocks);
    let reports = verify(&[first.clone(), second], &genesis, false);
    assert!(reports[0].ok);
    let (number, reason) = failure(&reports[1]);
    assert!(number == 3 && reason.contains(&first.display().to_string()), "{reason}");
}

#[test]
fn an_unfinished_tail_is_reported_and_refused_only_when_asked() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut network = Network::new(4);
    let (ledger, genesis, _) = write_all(dir.path(), &chain(&mut network, 5));
    let last = std::fs::read_dir(&ledger).expect("list").map(|entry| entry.expect("an entry").path());
    let last = last.filter(|path| path.extension().is_some_and(|extension| extension == "bin")).max();
    let path = last.expect("a block file");
    let mut bytes = std::fs::read(&path).expect("read");
    bytes.extend([1; 77]);
    std::fs::write(&path, &bytes).expect("write");
    let report = &verify(std::slice::from_ref(&ledger), &genesis, false)[0];
    let offset = bytes.len() as u64 - 77;
    assert_eq!(report.unfinished_tail, Some(Tail { file: path, offset, bytes: 77 }));
    assert!(report.ok && report.blocks == 6);
    let report = &verify(&[ledger], &genesis, true)[0];
    assert_eq!(failure(report).0, 6);
}

#[test]
fn a_corrupt_ledger_names_the_block_the_file_and_the_offset() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut network = Network::new(4);
    let (ledger, genesis, _) = write_all(dir.path(), &chain(&mut network, 12));
    let path = ledger.join("blocks_000000.bin");
    let mut bytes = std::fs::read(&path).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).expect("write");
    let report = &verify(&[ledger], &genesis, false)[0];
    let (number, reason) = failure(report);
    assert_eq!(number, report.blocks, "all before it are good");
    assert!(
        reason.contains(&format!("(block {number})")) && reason.contains("blocks_000000.bin"),
        "{reason}"
    );
}

#[test]
fn another_genesis_block_or_a_ledger_of_another_channel_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut network = Network::new(4);
    let (ledger, ..) = write_all(dir.path(), &chain(&mut network, 2));
    let other = dir.path().join("other.pb");
    std::fs::write(&other, Network::new(4).genesis.encode_to_vec()).expect("write");
    let report = &verify(std::slice::from_ref(&ledger), &other, false)[0];
    assert_eq!(failure(report).0, 0);
    std::fs::write(&other, b"\xff no block").expect("write");
    let options = VerifyOptions::default();
    assert!(matches!(
        verify_paths(std::slice::from_ref(&ledger), &other, options),
        Err(VerifyError::NotABlock { .. })
    ));
    let ordinary = network.tip.encode_to_vec();
    std::fs::write(&other, ordinary).expect("write");
    assert!(matches!(verify_paths(&[ledger], &other, options), Err(VerifyError::Genesis { .. })));
}

/// Part of "It is done when" 9: any flipped byte, in header, data, metadata or signature.
#[test]
fn case_63_every_flipped_byte_of_a_block_is_refused() {
    let mut network = Network::new(4);
    let blocks = chain(&mut network, 1);
    let verifier = network.verifier();
    verifier.clone().check(&blocks[1]).expect("good as it is");
    for at in 0..blocks[1].len() {
        for bit in [1, 0x80] {
            let mut bytes = blocks[1].to_vec();
            bytes[at] ^= bit;
            assert!(verifier.clone().check(&bytes).is_err(), "bit {bit} of byte {at}");
        }
    }
    for len in 0..blocks[1].len() {
        assert!(verifier.clone().check(&blocks[1][..len]).is_err(), "truncated to {len}");
    }
}

#[test]
fn random_bytes_never_panic() {
    let mut network = Network::new(4);
    let blocks = chain(&mut network, 1);
    let verifier = network.verifier();
    let mut state = 88_172_645_463_325_252_u64;
    let mut random = |limit: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize % limit
    };
    for round in 0..20_000 {
        let mut bytes = blocks[round % 2].to_vec();
        for _ in 0..random(8) {
            let at = random(bytes.len());
            bytes[at] = random(256) as u8;
        }
        if round % 5 == 0 {
            bytes = (0..random(200)).map(|_| random(256) as u8).collect();
        }
        let _ = verifier.clone().check(&bytes);
        let _ = verifier.check_genesis(&bytes);
        if let Ok(block) = Block::decode(bytes.as_slice()) {
            let _ = Verifier::from_genesis(&block);
        }
        // A config envelope in which something is wrong, with hashes that are right.
        let mut data = network.genesis.data.as_ref().expect("data").data[0].to_vec();
        for _ in 0..=random(4) {
            let at = random(data.len());
            data[at] = random(256) as u8;
        }
        let _ = Verifier::from_genesis(&block(0, &[], vec![data.into()], Vec::new()));
    }
}
