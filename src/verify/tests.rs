//! Chains made here, right and wrong in one way each.

mod files;
mod network;

use bytes::Bytes;
use prost::Message;

use super::*;
use crate::proto::common::{
    Block, Consenter, Envelope, LastConfig, Metadata, MetadataSignature, OrdererBlockMetadata,
};
use crate::proto::sbft::ConsenterMetadata;
use network::{Network, Signer, block, chain, config, consenters, envelope};

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
fn case_68_a_config_block_is_verified_under_the_consenters_before_it_and_the_next_under_its_own() {
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
fn our_consenter_metadata_must_be_encoded_canonically() {
    let network = Network::new(4);
    let block = network.ordinary();
    let right = ConsenterMetadata { view: 3, number: 1, proposal: vec![7; 32].into() };
    let value = OrdererBlockMetadata {
        last_config: Some(LastConfig { index: 0 }),
        consenter_metadata: [right.encode_to_vec(), vec![0x18, 1]].concat().into(),
    }
    .encode_to_vec();
    let signatures = [0, 1, 2].map(|place| network.signature(&block, &value, &network.signers[place]));
    let reason = network.refusal(&network.seal(block, &value, signatures.into()));
    assert_eq!(reason, Reason::NotCanonical("the consenter metadata"));
}

#[test]
fn a_configuration_of_another_channel_is_refused() {
    let mut network = Network::new(4);
    network.last_config = 1;
    let bytes = config(1, consenters(&network.signers)).encode_to_vec();
    let at = bytes.windows(4).position(|window| window == b"test").expect("a channel id");
    let mut other = bytes;
    other[at] = b'r';
    let block = network.next(vec![other.into()]);
    let reason = network.refusal(&network.signed_by(block, &[0, 1, 2]));
    assert_eq!(reason, Reason::Config("it is for channel \"rest\"".into()));
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
