//! Blocks of a running Fabric network: what we build and sign is, byte for byte, what it does.

use serde_json::Value;

use super::*;
use crate::header::header_bytes;
use crate::proto::common::{Block, Metadata};

fn file(name: &str) -> Bytes {
    let path = format!("{}/tests/fabric-vectors/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}")).into()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("{key} in {value}"))
}

fn bytes(value: &Value, key: &str) -> Bytes {
    hex::decode(text(value, key)).expect("hex").into()
}

fn vectors() -> Value {
    serde_json::from_slice(&file("vectors.json")).expect("json")
}

fn blocks(vectors: &Value) -> impl Iterator<Item = (&Value, Block)> {
    let blocks = vectors["blocks"].as_array().expect("blocks");
    blocks.iter().map(|block| (block, Block::decode(file(text(block, "file"))).expect("a block")))
}

#[test]
fn metadata_value_and_slots_are_rebuilt_exactly() {
    for (vector, block) in blocks(&vectors()) {
        let decoded = &vector["orderer_block_metadata_decoded"];
        let last_config = Number(decoded["last_config_index"].as_u64().expect("an index"));
        let value = block::orderer_metadata(last_config, bytes(decoded, "consenter_metadata"));
        assert_eq!(value, bytes(vector, "orderer_block_metadata"), "{}", vector["file"]);
        let stored = block.metadata.expect("metadata").metadata;
        let signatures = Metadata::decode(stored[0].clone()).expect("metadata").signatures;
        assert_eq!(block::metadata_slots(value, signatures, last_config), stored, "{}", vector["file"]);
        for (slot, stored) in vector["metadata_slots_hex"].as_array().expect("slots").iter().zip(&stored) {
            assert_eq!(slot.as_str(), Some(hex::encode(stored).as_str()));
        }
    }
}

#[test]
fn signed_bytes_and_signatures_are_right() {
    let vectors = vectors();
    let consenters = vectors["consenters"].as_array().expect("consenters");
    let key = |consenter: &Value| {
        let pem = pem::parse(text(consenter, "identity_pem")).expect("pem");
        let id = ConsenterId(consenter["id"].as_u64().expect("an id") as u32);
        (id, PublicKey::from_certificate_der(pem.contents()).expect("a key"))
    };
    let ring = KeyRing::new(consenters.iter().map(key).collect());
    let mut checked = 0;
    for (vector, block) in blocks(&vectors) {
        let header = block::header_of(&block).expect("a header");
        assert_eq!(header_bytes(&header)[..], bytes(vector, "header_der")[..]);
        let value = bytes(vector, "orderer_block_metadata");
        for signature in vector["signatures"].as_array().into_iter().flatten() {
            let identifier_header = bytes(signature, "identifier_header");
            let id = block::signer_of(&identifier_header).expect("canonical");
            assert_eq!(u64::from(id.0), signature["identifier"].as_u64().expect("an id"));
            let nonce: [u8; NONCE_BYTES] = bytes(signature, "nonce")[..].try_into().expect("24 bytes");
            assert_eq!(block::identifier_header(id, &nonce), identifier_header);
            let signed = block::signing_bytes(&value, &identifier_header, &header);
            assert_eq!(signed, bytes(signature, "signed_bytes"));
            let place = ring.ids().iter().position(|other| *other == id).expect("a consenter");
            let place = Place(place as u16);
            assert!(ring.verify(place, &signed, &bytes(signature, "signature")));
            assert!(!ring.verify(Place(place.0 ^ 1), &signed, &bytes(signature, "signature")));
            checked += 1;
        }
    }
    assert_eq!(checked, 12);
}

#[test]
fn their_blocks_are_no_blocks_of_ours_and_say_so() {
    let ids = [1, 2, 3, 4].map(ConsenterId);
    for (vector, block) in blocks(&vectors()) {
        let error = block::decode(block.encode_to_vec().into(), &ids).expect_err("no proposal digest");
        assert!(!error.to_string().is_empty(), "{}", vector["file"]);
    }
}

#[test]
fn their_envelopes_have_the_identity_that_their_clients_know() {
    for (vector, block) in blocks(&vectors()) {
        let data = block.data.expect("data").data;
        for (tx, envelope) in vector["txs"].as_array().expect("txs").iter().zip(data) {
            if text(tx, "type") != "ENDORSER_TRANSACTION" {
                continue;
            }
            let parsed = envelope::Parsed::from_frame(envelope).expect("canonical");
            assert_eq!(parsed.id.to_string(), text(tx, "tx_id"));
        }
    }
}

/// A consenter id, a last config and a view that are not 0, in the form of a block of ours.
#[test]
fn our_own_metadata_keeps_fabrics_field_numbers() {
    let value = block::metadata_value(View(3), Number(300), &Digest([0xee; 32]), Number(7));
    let digest = "ee".repeat(32);
    assert_eq!(hex::encode(value), format!("0a0208071228080310ac02820120{digest}"));
}

/// One signer with a signature header, as Fabric's other consenters have it.
#[test]
fn a_block_of_one_signer_has_five_slots_and_a_signature_header() {
    let data = vec![frame(b"one", b"a")];
    let mut block = block::next_block(Number(5), Digest([4; 32]), data.clone());
    let header = block::header_of(&block).expect("a header");
    assert_eq!((header.number, header.data_hash), (Number(5), data_hash(&data)));
    assert_eq!(block.metadata.as_ref().expect("metadata").metadata, vec![Bytes::new(); block::SLOTS]);
    let value = block::orderer_metadata(Number(0), Bytes::new());
    assert_eq!(value, Bytes::from_static(b"\x0a\0"));
    let (creator, signature) = (Bytes::from_static(b"header"), Bytes::from_static(b"signature"));
    block::fill_signed_by_one(&mut block, value.clone(), creator.clone(), signature.clone(), Number(0));
    let slots = block.metadata.expect("metadata").metadata;
    assert_eq!(slots.len(), block::SLOTS);
    let slot = Metadata::decode(slots[0].clone()).expect("metadata");
    assert_eq!(slot.value, value);
    assert_eq!(slot.signatures[0].signature_header, creator);
    assert_eq!(slot.signatures[0].signature, signature);
    assert!(slot.signatures[0].identifier_header.is_empty());
    assert!(slots[1..].iter().all(Bytes::is_empty), "last config 0 is empty");
}
