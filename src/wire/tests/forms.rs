//! What goes out comes back the same, and what must be refused is refused by name.

use super::*;
use crate::types::RequestId;
use crate::wire::candidate::{CandidateError, Limits};
use crate::wire::envelope::{EnvelopeError, Parsed, check_canonical, request_id};

#[test]
fn random_messages_records_and_repairs_come_back_the_same() {
    for seed in 0..2000 {
        let mut random = Random::new(seed);
        let (era, message) = (Era(random.number()), random.message());
        let frame = message::encode(&message, era);
        assert_eq!(message::decode(frame), Ok((era, message)), "seed {seed}");
        let record = random.record();
        assert_eq!(record::decode(record::encode(&record)), Ok(record), "seed {seed}");
        let repair = random.repair();
        assert_eq!(repair::decode(repair::encode(&repair)), Ok(repair), "seed {seed}");
    }
}

#[test]
fn signed_messages_and_records_of_each_kind_come_back_the_same() {
    let consenters = Consenters::new(4);
    for message in consenters.messages() {
        let frame = message::encode(&message, Era(2));
        assert_eq!(message::decode(frame), Ok((Era(2), message)));
    }
    for record in consenters.records() {
        assert_eq!(record::decode(record::encode(&record)), Ok(record));
    }
}

#[test]
fn case_86_an_error_names_the_field() {
    let check = |message: Message, change: fn(&mut crate::proto::sbft::ReplicaMessage), expected: &str| {
        let frame = message::encode(&message, Era(2));
        let mut proto = crate::proto::sbft::ReplicaMessage::decode(frame).expect("decodes");
        change(&mut proto);
        let error = message::decode(proto.encode_to_vec().into()).expect_err(expected);
        assert_eq!(error.to_string(), expected);
    };
    use crate::proto::sbft::replica_message::Body;
    let consenters = Consenters::new(4);
    let prepare = || Message::Prepare(consenters.prepare(Place(1), 4, &consenters.proposal(9, 1)));
    let new_view = || Message::NewView(consenters.new_view(consenters.new_view_body()));
    check(prepare(), |message| message.body = None, "body: is missing");
    check(
        prepare(),
        |message| {
            if let Some(Body::Prepare(prepare)) = &mut message.body {
                prepare.signer = 70_000;
            }
        },
        "prepare.signer: is 70000, must be at most 65535",
    );
    check(
        prepare(),
        |message| {
            if let Some(Body::Prepare(prepare)) = &mut message.body {
                prepare.digest = Bytes::from_static(b"short");
            }
        },
        "prepare.digest: is 5 bytes long, must be 32 to 32",
    );
    check(
        prepare(),
        |message| {
            if let Some(Body::Prepare(prepare)) = &mut message.body {
                prepare.signature = Bytes::new();
            }
        },
        "prepare.signature: is missing",
    );
    check(
        new_view(),
        |message| {
            if let Some(Body::NewView(new_view)) = &mut message.body {
                let certificate = &mut new_view.view_changes[0].prepared[1];
                certificate.signatures[2].signature = vec![1; 200].into();
            }
        },
        "new_view.view_changes[0].prepared[1].signatures[2].signature: is 200 bytes long, must be 1 to 128",
    );
    check(
        new_view(),
        |message| {
            if let Some(Body::NewView(new_view)) = &mut message.body {
                let certificate = &mut new_view.view_changes[0].prepared[1];
                let one = certificate.signatures[0].clone();
                certificate.signatures = vec![one; MAX_REPLICAS + 1];
            }
        },
        "new_view.view_changes[0].prepared[1].signatures: more than 256 elements",
    );
    check(
        new_view(),
        |message| {
            if let Some(Body::NewView(new_view)) = &mut message.body {
                let base = new_view.view_changes[0].base.as_mut().expect("a base");
                base.header.as_mut().expect("a header").number = 0;
            }
        },
        "new_view.view_changes[0].base.header.number: is missing",
    );
}

#[test]
fn bytes_that_protobuf_would_let_pass_are_refused() {
    let good = message::encode(&Message::Status(Status { view: View(1), ..Status::default() }), Era(2));
    assert_eq!(*good, *b"\x08\x02\x3a\x02\x08\x01");
    let bad: [(&[u8], &str); 8] = [
        (b"\x08\x82\x00\x3a\x02\x08\x01", "a number is not in its shortest encoding"),
        (b"\x08\x00\x3a\x02\x08\x01", "a default value must be left out"),
        (b"\x3a\x02\x08\x01\x08\x02", "is repeated or out of order"),
        (b"\x08\x02\x08\x02\x3a\x02\x08\x01", "is repeated or out of order"),
        (b"\x08\x02\x3a\x02\x08\x01\x3a\x00", "is repeated or out of order"),
        (b"\x08\x02\x1a\x00\x3a\x02\x08\x01", "is repeated or out of order"),
        (b"\x08\x02\x3a\x02\x08\x01\x78\x01", "unknown field 15"),
        (b"\x08\x02\x3d\x02\x08\x01\x00", "has wire type 5, which this field never has"),
    ];
    for (bytes, expected) in bad {
        let error = message::decode(Bytes::from_static(bytes)).expect_err(expected);
        assert_eq!(error.problem.to_string(), expected, "{bytes:?}");
    }
}

#[test]
fn a_candidate_comes_back_the_same_and_its_envelopes_are_not_copied() {
    let envelopes = vec![frame(b"one", b"a"), frame(b"two", b"b")];
    let candidate = candidate::encode(Place(0), 0, envelopes.clone()).expect("good");
    assert_eq!(candidate.envelopes, envelopes);
    assert_eq!(candidate.digest, sha256(&candidate.encoding));
    assert_eq!(candidate.data_hash, data_hash(&envelopes));
    assert_eq!(candidate.ids, [request_id(b"a", b"creator"), request_id(b"b", b"creator")]);
    let proto = crate::proto::sbft::Candidate { origin: 0, sequence: 0, envelopes };
    assert_eq!(candidate.encoding, proto.encode_to_vec(), "as the .proto file says");
    let decoded = candidate::decode(candidate.encoding.clone(), &Limits::NONE).expect("good");
    assert_eq!(decoded, candidate);
    let within = candidate.encoding.as_ptr_range();
    assert!(decoded.envelopes.iter().all(|envelope| within.contains(&envelope.as_ptr())));
    // Lengths on both sides of where a length takes one more byte.
    let envelopes: Vec<Bytes> =
        [1, 100, 113, 114, 115, 127, 128, 20_000].map(|length| frame(&vec![7; length], b"n")).into();
    let long = candidate::encode(Place(3), 300, envelopes.clone()).expect("good");
    let known =
        candidate::encode_known(Place(3), 300, &envelopes, long.ids.clone(), long.sizes.clone(), false);
    assert_eq!(known, long, "as it is, if it is known already what is in it");
    for (origin, sequence) in [(1, 0), (0, u64::MAX), (u16::MAX, 1)] {
        let candidate = candidate::encode(Place(origin), sequence, vec![frame(b"x", b"y")]).expect("good");
        assert_eq!((candidate.origin, candidate.sequence), (Place(origin), sequence));
    }
}

#[test]
fn a_candidate_keeps_the_limits() {
    let candidate = some_candidate();
    let decode = |max_count, max_bytes| {
        candidate::decode(candidate.encoding.clone(), &Limits { max_count, max_bytes }).map(|_| ())
    };
    let bytes = candidate.bytes();
    assert_eq!(decode(3, bytes), Ok(()));
    assert_eq!(decode(2, bytes), Err(CandidateError::TooMany { max: 2 }));
    assert_eq!(decode(3, bytes - 1), Err(CandidateError::TooLarge { bytes, max: bytes - 1 }));
    assert_eq!(candidate::encode(Place(0), 0, Vec::new()), Err(CandidateError::Empty));
    let config = config_frame("replica", b"update");
    let alone = candidate::encode(Place(0), 0, vec![config.clone()]).expect("good");
    assert!(alone.is_config);
    let together = candidate::encode(Place(0), 0, vec![frame(b"x", b"y"), config]);
    assert_eq!(together, Err(CandidateError::ConfigNotAlone { index: 1 }));
    let unsigned = Envelope { payload: Bytes::from_static(b"x"), signature: Bytes::new() };
    let unsigned = candidate::encode(Place(0), 0, vec![unsigned.encode_to_vec().into()]);
    let error = EnvelopeError::Unsigned;
    assert_eq!(unsigned, Err(CandidateError::Envelope { index: 0, error }));
}

#[test]
fn an_envelopes_identity_is_nonce_and_creator_and_for_config_its_update() {
    let parsed = Parsed::from_frame(frame(b"data", b"nonce")).expect("good");
    assert_eq!(parsed.id, RequestId(sha256(b"noncecreator").0));
    assert_eq!(parsed.size as usize, parsed.payload.len() + parsed.signature.len());
    assert_eq!(parsed.data, "data");
    assert_eq!(parsed.channel_header.channel_id, "orders");
    let same = Parsed::from_frame(frame(b"other data", b"nonce")).expect("good");
    assert_eq!(parsed.id, same.id, "whatever else it carries");
    let one = Parsed::from_frame(config_frame("one", b"update")).expect("good");
    let two = Parsed::from_frame(config_frame("two", b"update")).expect("good");
    let other = Parsed::from_frame(config_frame("two", b"another update")).expect("good");
    assert!(one.is_config() && one.frame != two.frame);
    assert_eq!(one.id, two.id, "one update, signed by two replicas");
    assert_ne!(one.id, other.id);
}

#[test]
fn case_67_an_envelope_is_framed_canonically_once_and_its_parts_are_kept() {
    let canonical = frame(b"data", b"nonce");
    assert_eq!(check_canonical(&canonical), Ok(()));
    let padded: Bytes = [&canonical[..], b"\x1a\x04more"].concat().into();
    assert!(matches!(check_canonical(&padded), Err(EnvelopeError::NotCanonical(_))));
    let parsed = Parsed::decode(padded).expect("an envelope");
    assert_eq!(parsed.frame, canonical);
    let Envelope { payload, signature } = Envelope::decode(canonical).expect("an envelope");
    assert_eq!((parsed.payload, parsed.signature), (payload.clone(), signature.clone()));
    let swapped = [
        Envelope { payload: Bytes::new(), signature }.encode_to_vec(),
        Envelope { payload, signature: Bytes::new() }.encode_to_vec(),
    ];
    assert_eq!(check_canonical(&swapped[0]), Err(EnvelopeError::EmptyPayload));
    assert_eq!(check_canonical(&swapped[1]), Err(EnvelopeError::Unsigned));
    assert!(check_canonical(&[&swapped[0][..], &swapped[1]].concat()).is_err());
    assert_eq!(Parsed::decode(Bytes::new()), Err(EnvelopeError::EmptyPayload));
    let unsigned = Parsed::decode(swapped[1].clone().into()).expect("the filter refuses it, not the parser");
    assert!(unsigned.signature.is_empty());
}

/// What the block cutter counts, whatever the encoding around the two adds.
#[test]
fn case_6_an_envelopes_size_is_that_of_payload_and_signature() {
    for length in [0, 1, 100, 127, 128, 20_000] {
        let canonical = frame(&vec![7; length], b"nonce");
        let Envelope { payload, signature } = Envelope::decode(canonical.clone()).expect("an envelope");
        let padded: Bytes = [&canonical[..], b"\x1a\x04more"].concat().into();
        for bytes in [canonical, padded] {
            let parsed = Parsed::decode(bytes.clone()).expect("an envelope");
            assert_eq!(parsed.size as usize, payload.len() + signature.len());
            assert!(bytes.len() > parsed.size as usize);
        }
    }
}

#[test]
fn undecodable_envelopes_say_what_does_not_decode() {
    let check = |payload: Vec<u8>, expected: &str| {
        let envelope = Envelope { payload: payload.into(), signature: Bytes::from_static(b"s") };
        let error = Parsed::from_envelope(envelope).expect_err(expected);
        assert!(error.to_string().starts_with(expected), "{error}");
    };
    let payload = |channel_header: &[u8], signature_header: &[u8], data: &[u8]| {
        let header = crate::proto::common::Header {
            channel_header: Bytes::copy_from_slice(channel_header),
            signature_header: Bytes::copy_from_slice(signature_header),
        };
        Payload { header: Some(header), data: Bytes::copy_from_slice(data) }.encode_to_vec()
    };
    let config = [8, HeaderType::Config as u8];
    check(b"\xff".to_vec(), "could not determine channel ID: payload does not decode");
    check(
        Payload { header: None, data: Bytes::from_static(b"x") }.encode_to_vec(),
        "could not determine channel ID: header not set",
    );
    check(payload(b"\xff", b"", b""), "could not determine channel ID: channel header does not decode");
    check(payload(b"", b"\xff", b""), "signature header does not decode");
    check(payload(&config, b"", b"\xff"), "config envelope carries no update");
    check(payload(&config, b"", b""), "config envelope carries no update: last_update not set");
}

#[test]
fn a_block_comes_back_the_same() {
    let consenters = Consenters::new(4);
    for is_config in [false, true] {
        let block = consenters.block(is_config);
        let bytes = block::encode(&block);
        assert_eq!(block::decode(bytes, &consenters.ids()), Ok(block));
    }
}

#[test]
fn a_block_that_is_not_as_it_must_be_is_refused() {
    use crate::proto::common::{Block, Metadata};
    let consenters = Consenters::new(4);
    let check_of = |block: CommittedBlock, change: &dyn Fn(&mut Block), expected: &str| {
        let mut proto = Block::decode(block::encode(&block)).expect("a block");
        change(&mut proto);
        let error = block::decode(proto.encode_to_vec().into(), &consenters.ids()).expect_err(expected);
        assert!(error.to_string().contains(expected), "{error}, expected {expected}");
    };
    let check = |change: &dyn Fn(&mut Block), expected| check_of(consenters.block(false), change, expected);
    let slots = |block: &mut Block| block.metadata.as_mut().expect("metadata").metadata.clone();
    let set = |block: &mut Block, slots| block.metadata.as_mut().expect("metadata").metadata = slots;
    let change_slot_0 = |block: &mut Block, change: &dyn Fn(&mut Metadata)| {
        let mut all = slots(block);
        let mut slot = Metadata::decode(all[0].clone()).expect("metadata");
        change(&mut slot);
        all[0] = slot.encode_to_vec().into();
        set(block, all);
    };
    check(&|block| block.header = None, "header: is missing");
    check(&|block| block.data = None, "data: is missing");
    check(&|block| block.metadata = None, "metadata: is missing");
    check(&|block| block.header.as_mut().expect("header").number += 1, "consenter_metadata.number: is 9");
    check(&|block| block.data.as_mut().expect("data").data.truncate(2), "data hash of block #9");
    check(&|block| block.data.as_mut().expect("data").data.clear(), "at least one envelope");
    check(
        &|block| block.data.as_mut().expect("data").data[0] = Bytes::from_static(b"\x0a\x01x\x0a\x01y"),
        "envelope 0 of block #9",
    );
    check(
        &|block| {
            let mut all = slots(block);
            all.pop();
            set(block, all);
        },
        "five metadata slots",
    );
    check(
        &|block| {
            let mut all = slots(block);
            all[3] = Bytes::from_static(b"x");
            set(block, all);
        },
        "slots 2 to 4 must be empty",
    );
    check(
        &|block| {
            let mut all = slots(block);
            all[1] = Bytes::new();
            set(block, all);
        },
        "metadata[1]: must hold the last config of slot 0",
    );
    check(&|block| change_slot_0(block, &|slot| slot.signatures.swap(0, 1)), "stand in order");
    check(
        &|block| {
            change_slot_0(block, &|slot| {
                let nonce = [1; NONCE_BYTES];
                slot.signatures[0].identifier_header = block::identifier_header(ConsenterId(99), &nonce);
            });
        },
        "signed by 99, who is no consenter",
    );
    check(
        &|block| {
            change_slot_0(block, &|slot| slot.signatures[0].signature_header = Bytes::from_static(b"x"));
        },
        "unknown field 1",
    );
    check(
        &|block| {
            change_slot_0(block, &|slot| {
                slot.value = block::orderer_metadata(Number(8), Bytes::from_static(b"\x08\x01"));
            });
        },
        "consenter_metadata.number: is 0",
    );
    let mut ordinary = consenters.block(false);
    ordinary.certificate.last_config = Number(9);
    check_of(ordinary, &|_| {}, "in config blocks only");
    let mut config = consenters.block(true);
    config.certificate.last_config = Number(8);
    check_of(config, &|_| {}, "in config blocks only");
}

#[test]
fn quorum_is_the_table_of_the_specification() {
    let table = [
        (1, 1),
        (2, 2),
        (3, 2),
        (4, 3),
        (5, 4),
        (6, 4),
        (7, 5),
        (8, 6),
        (9, 6),
        (10, 7),
        (11, 8),
        (12, 8),
        (13, 9),
        (16, 11),
    ];
    for (n, q) in table {
        assert_eq!(quorum(n), q, "n = {n}");
    }
}

/// The transport refuses frames beyond 16 MiB; a new-view that does not fit would stop a network.
#[test]
fn a_large_networks_new_view_fits_into_a_frame() {
    let (n, window, candidates) = (31, 10, 40);
    let mut random = Random::new(1);
    let q = quorum(n);
    let place = |index: usize| Place(index as u16);
    let mut signature = || Signature(random.bytes(72, 72));
    let prepared = Arc::new(PreparedCertificate {
        view: View(u64::MAX),
        signatures: (0..q).map(|index| (place(index), signature())).collect(),
        proposal: Arc::new(Proposal {
            header: Random::new(2).header(),
            candidates: vec![CandidateRef { origin: Place(30), digest: Digest([1; 32]) }; candidates],
        }),
    });
    let change = Arc::new(SignedViewChange {
        body: ViewChange { view: View(u64::MAX), base: None, prepared: vec![prepared; window] },
        signer: Place(30),
        signature: signature(),
    });
    let body = NewViewBody { view: View(u64::MAX), view_changes: vec![change; q] };
    let message = Message::NewView(Arc::new(NewView { body, signature: signature() }));
    let bytes = message::encode(&message, Era(1)).len();
    assert!(bytes < 1 << 20, "{bytes}");
}
