//! Consenters that sign, and blocks made by hand.

use bytes::Bytes;
use prost::Message;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
use ring::signature::Ed25519KeyPair;
use sha2::{Digest as _, Sha256};

use super::super::{Reason, Verifier};
use crate::proto::common::{
    Block, BlockData, BlockHeader, BlockMetadata, Capabilities, Capability, ChannelHeader, Config,
    ConfigEnvelope, ConfigGroup, ConfigValue, Consenter, Envelope, Header, IdentifierHeader, LastConfig,
    Metadata, MetadataSignature, OrdererBlockMetadata, Orderers, Payload,
};
use crate::proto::sbft::ConsenterMetadata;

/// A consenter that signs.
pub(super) struct Signer {
    pub(super) id: u32,
    pub(super) key: KeyPair,
    pub(super) certificate: String,
}

impl Signer {
    pub(super) fn new(id: u32, ed25519: bool) -> Self {
        let algorithm = if ed25519 { &PKCS_ED25519 } else { &PKCS_ECDSA_P256_SHA256 };
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let params = CertificateParams::new(vec![format!("consenter{id}")]).expect("parameters");
        let certificate = params.self_signed(&key).expect("a certificate").pem();
        Self { id, key, certificate }
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
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
pub(super) struct Network {
    pub(super) signers: Vec<Signer>,
    pub(super) genesis: Block,
    pub(super) tip: Block,
    pub(super) last_config: u64,
}

impl Network {
    pub(super) fn new(n: u32) -> Self {
        let signers: Vec<Signer> = (1..=n).map(|id| Signer::new(id, id % 2 == 1)).collect();
        let consenters = consenters(&signers);
        let genesis = block(0, &[], vec![config(0, consenters).encode_to_vec().into()], Vec::new());
        Self { signers, tip: genesis.clone(), genesis, last_config: 0 }
    }

    /// The next block's header and data, without metadata.
    pub(super) fn next(&self, data: Vec<Bytes>) -> Block {
        let header = self.tip.header.as_ref().expect("a header");
        block(header.number + 1, &header_hash(header), data, Vec::new())
    }

    pub(super) fn ordinary(&self) -> Block {
        self.next(vec![envelope(b"one"), envelope(b"two")])
    }

    /// The metadata value for this block in this view.
    pub(super) fn value(&self, block: &Block, view: u64) -> Vec<u8> {
        let number = block.header.as_ref().expect("a header").number;
        let consenter_metadata = ConsenterMetadata { view, number, proposal: vec![7; 32].into() };
        OrdererBlockMetadata {
            last_config: Some(LastConfig { index: self.last_config }),
            consenter_metadata: consenter_metadata.encode_to_vec().into(),
        }
        .encode_to_vec()
    }

    pub(super) fn signature(&self, block: &Block, value: &[u8], signer: &Signer) -> MetadataSignature {
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
    pub(super) fn seal(&self, mut block: Block, value: &[u8], signatures: Vec<MetadataSignature>) -> Block {
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
    pub(super) fn signed_by(&self, block: Block, places: &[usize]) -> Block {
        let value = self.value(&block, 3);
        let signatures =
            places.iter().map(|place| self.signature(&block, &value, &self.signers[*place])).collect();
        self.seal(block, &value, signatures)
    }

    pub(super) fn verifier(&self) -> Verifier {
        Verifier::from_genesis(&self.genesis).expect("a genesis block")
    }

    /// Why the verifier refuses this block as the next one.
    pub(super) fn refusal(&self, block: &Block) -> Reason {
        let fault = self.verifier().check(&block.encode_to_vec()).expect_err("refused");
        assert_eq!(fault.block, 1);
        assert!(fault.to_string().starts_with("block 1: "), "{fault}");
        fault.reason
    }
}

pub(super) fn consenters(signers: &[Signer]) -> Vec<Consenter> {
    let consenter = |signer: &Signer| Consenter {
        id: signer.id,
        identity: signer.certificate.clone().into_bytes().into(),
        ..Consenter::default()
    };
    signers.iter().map(consenter).collect()
}

pub(super) fn config(sequence: u64, consenters: Vec<Consenter>) -> Envelope {
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

pub(super) fn payload_of_type(r#type: i32, data: Vec<u8>, signature: &'static [u8]) -> Envelope {
    let channel_header = ChannelHeader { r#type, channel_id: "test".into(), ..ChannelHeader::default() };
    let header =
        Header { channel_header: channel_header.encode_to_vec().into(), signature_header: Bytes::new() };
    let payload = Payload { header: Some(header), data: data.into() };
    Envelope { payload: payload.encode_to_vec().into(), signature: Bytes::from_static(signature) }
}

pub(super) fn envelope(data: &[u8]) -> Bytes {
    payload_of_type(3, data.to_vec(), b"signed").encode_to_vec().into()
}

pub(super) fn block(number: u64, previous: &[u8], data: Vec<Bytes>, slots: Vec<Bytes>) -> Block {
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

pub(super) fn header_der(header: &BlockHeader) -> Vec<u8> {
    assert!(header.number < 128, "one byte is enough here");
    let mut bytes = vec![2, 1, header.number as u8, 4, header.previous_hash.len() as u8];
    bytes.extend(&header.previous_hash);
    bytes.extend([4, header.data_hash.len() as u8]);
    bytes.extend(&header.data_hash);
    bytes.splice(0..0, [0x30, bytes.len() as u8]);
    bytes
}

pub(super) fn header_hash(header: &BlockHeader) -> Vec<u8> {
    Sha256::digest(header_der(header)).to_vec()
}

/// A chain of `count` good blocks after the genesis block, all of them serialized.
pub(super) fn chain(network: &mut Network, count: usize) -> Vec<Bytes> {
    let mut blocks = vec![network.genesis.encode_to_vec().into()];
    for _ in 0..count {
        network.tip = network.signed_by(network.ordinary(), &[0, 2, 3]);
        blocks.push(network.tip.encode_to_vec().into());
    }
    blocks
}
