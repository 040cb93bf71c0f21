//! Policies over real identities: those of a Fabric network's blocks, and made-up ones.

use bytes::Bytes;
use prost::Message as _;

use super::*;
use crate::msp::testing::serialized;
use crate::proto::common::{
    Block, ConfigEnvelope, ConfigGroup, Envelope, IdentifierHeader, Metadata, Orderers, Payload,
    SignatureHeader,
};
use crate::proto::msp::{FabricMspConfig, MspConfig};

const GENESIS: &[u8] = include_bytes!("../../tests/fabric-vectors/genesis.pb");
const CONFIG_BLOCK: &[u8] = include_bytes!("../../tests/fabric-vectors/config-block4.pb");
const BLOCKS: [&[u8]; 3] = [
    include_bytes!("../../tests/fabric-vectors/block1.pb"),
    include_bytes!("../../tests/fabric-vectors/block2.pb"),
    include_bytes!("../../tests/fabric-vectors/block3.pb"),
];

const VECTORS: &str = include_str!("../../tests/fabric-vectors/vectors.json");

struct Channel {
    group: ConfigGroup,
    msps: MspManager,
    policies: Policies,
}

/// The channel that the config block in `bytes` describes.
fn channel(bytes: &[u8]) -> Channel {
    let block = Block::decode(bytes).unwrap();
    let envelope = Envelope::decode(block.data.unwrap().data[0].clone()).unwrap();
    let payload = Payload::decode(envelope.payload).unwrap();
    let config = ConfigEnvelope::decode(payload.data).unwrap().config.unwrap();
    let group = config.channel_group.unwrap();
    let mut definitions = Vec::new();
    msp_definitions(&group, &mut definitions);
    let msps = MspManager::new(definitions, true).unwrap();
    let policies = Policies::from_channel_group(&group).unwrap();
    Channel { group, msps, policies }
}

fn msp_definitions(group: &ConfigGroup, found: &mut Vec<FabricMspConfig>) {
    if let Some(value) = group.values.get("MSP") {
        let config = MspConfig::decode(value.value.clone()).unwrap();
        assert_eq!(config.r#type, 0);
        found.push(FabricMspConfig::decode(config.config).unwrap());
    }
    for below in group.groups.values() {
        msp_definitions(below, found);
    }
}

/// Payload, creator and signature of each of the block's envelopes.
fn signed_envelopes(block: &Block) -> Vec<(Bytes, Bytes, Bytes)> {
    let signed = |data: &Bytes| {
        let envelope = Envelope::decode(data.clone()).unwrap();
        let header = Payload::decode(envelope.payload.clone()).unwrap().header.unwrap();
        let creator = SignatureHeader::decode(header.signature_header).unwrap().creator;
        (envelope.payload, creator, envelope.signature)
    };
    block.data.as_ref().unwrap().data.iter().map(signed).collect()
}

#[test]
fn the_genesis_of_a_fabric_network_has_its_organizations_and_policies() {
    for bytes in [GENESIS, CONFIG_BLOCK] {
        let channel = channel(bytes);
        assert_eq!(channel.msps.msp_ids().collect::<Vec<_>>(), ["OrdererMSP", "Org1MSP"]);
        for path in [
            "/Channel/Readers",
            "/Channel/Writers",
            "/Channel/Admins",
            "/Channel/Orderer/BlockValidation",
            "/Channel/Orderer/OrdererOrg/Writers",
            "/Channel/Application/Org1/Endorsement",
        ] {
            assert_eq!(channel.policies.get(path).map(Policy::path), Some(path));
        }
        assert_eq!(channel.policies.paths().count(), 19);
    }
}

#[test]
fn writers_accept_the_creators_of_a_fabric_networks_envelopes() {
    let channel = channel(GENESIS);
    let writers = channel.policies.get("/Channel/Writers").unwrap();
    let mut envelopes = 0;
    for bytes in BLOCKS {
        for (payload, creator, signature) in signed_envelopes(&Block::decode(bytes).unwrap()) {
            envelopes += 1;
            let signed = SignedData { data: &payload, identity: &creator, signature: &signature };
            writers.check_signed(&channel.msps, &[signed]).unwrap();
            let creator = channel.msps.identity(&creator).unwrap();
            writers.evaluate(&channel.msps, &[creator]).unwrap();
        }
    }
    // The config block's envelope is the twelfth, signed by an orderer.
    for (payload, creator, signature) in signed_envelopes(&Block::decode(CONFIG_BLOCK).unwrap()) {
        envelopes += 1;
        let signed = SignedData { data: &payload, identity: &creator, signature: &signature };
        writers.check_signed(&channel.msps, &[signed]).unwrap();
    }
    assert_eq!(envelopes, 12);
}

#[test]
fn a_flipped_bit_in_payload_or_signature_is_denied_in_fabrics_words() {
    let channel = channel(GENESIS);
    let (payload, creator, signature) = signed_envelopes(&Block::decode(BLOCKS[0]).unwrap()).remove(0);
    let mut other_payload = payload.to_vec();
    other_payload[10] ^= 1;
    let mut other_signature = signature.to_vec();
    *other_signature.last_mut().unwrap() ^= 1;
    for (data, signature) in [(&other_payload[..], &signature[..]), (&payload[..], &other_signature[..])] {
        let signed = SignedData { data, identity: &creator, signature };
        let err = channel.policies.check_signed("/Channel/Writers", &channel.msps, &[signed]).unwrap_err();
        assert_eq!(
            err.to_string(),
            "policy /Channel/Writers: implicit policy evaluation failed - 0 sub-policies were \
             satisfied, but this policy requires 1 of the 'Writers' sub-policies to be \
             satisfied; signature 0: not valid"
        );
    }
}

/// The block's signatures as a policy takes them: signed bytes, consenter's identity, signature.
fn block_signatures(channel: &Channel, block: &Block) -> Vec<(Vec<u8>, Bytes, Bytes)> {
    let orderers = &channel.group.groups["Orderer"].values["Orderers"];
    let consenters = Orderers::decode(orderers.value.clone()).unwrap().consenter_mapping;
    let slot = block.metadata.as_ref().unwrap().metadata[0].clone();
    let metadata = Metadata::decode(slot).unwrap();
    let number = block.header.as_ref().unwrap().number as usize;
    let vectors: serde_json::Value = serde_json::from_str(VECTORS).unwrap();
    let header = hex::decode(vectors["blocks"][number]["header_der"].as_str().unwrap()).unwrap();
    let of_signer = |signature: &crate::proto::common::MetadataSignature| {
        let id = IdentifierHeader::decode(signature.identifier_header.clone()).unwrap().identifier;
        let consenter = consenters.iter().find(|consenter| consenter.id == id).unwrap();
        let pem = std::str::from_utf8(&consenter.identity).unwrap();
        let message = [&metadata.value[..], &signature.identifier_header[..], &header].concat();
        (message, serialized(&consenter.msp_id, pem), signature.signature.clone())
    };
    metadata.signatures.iter().map(of_signer).collect()
}

#[test]
fn twelve_orderer_signatures_verify_and_three_but_not_two_satisfy_block_validation() {
    let channel = channel(GENESIS);
    let policy = channel.policies.get("/Channel/Orderer/BlockValidation").unwrap();
    let mut verified = 0;
    for bytes in BLOCKS.iter().chain([&CONFIG_BLOCK]) {
        let block = Block::decode(*bytes).unwrap();
        let signatures = block_signatures(&channel, &block);
        assert_eq!(signatures.len(), 3);
        for (message, identity, signature) in &signatures {
            let key = &channel.msps.identity(identity).unwrap().key;
            assert!(key.verify_vote(message, signature));
            assert!(!key.verify_vote(&message[1..], signature));
            verified += 1;
        }
        let signed: Vec<SignedData<'_>> = signatures
            .iter()
            .map(|(data, identity, signature)| SignedData { data, identity, signature })
            .collect();
        policy.check_signed(&channel.msps, &signed).unwrap();
        for left_out in 0..3 {
            let mut two = signed.clone();
            two.remove(left_out);
            let err = policy.check_signed(&channel.msps, &two).unwrap_err();
            assert!(matches!(err, PolicyError::Denied { .. }), "{err}");
            // One that signs twice is still one.
            two.push(two[0]);
            policy.check_signed(&channel.msps, &two).unwrap_err();
        }
    }
    assert_eq!(verified, 12);
}
