//! The filters' verdicts, status by status; and that a candidate's verdict has no clock in it.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use prost::Message as _;
use tempfile::TempDir;

use super::*;
use crate::crypto::{KeyFileSigner, KeyKind, LocalSigner};
use crate::genesis::{
    APPLICATION_MSP, BatchSpec, CertificateAuthority, CertificateRequest, ConsensusKind, KeyAndCertificate,
    Layout, NetworkMaterial, NetworkSpec, ORDERER_MSP, OptionsSpec, OrganizationLayout, Purpose,
    ReplicaAddress, Unit, Writers, create_member, create_organization,
};
use crate::proto::common::{
    Block, ConfigEnvelope, ConfigGroup, ConfigPolicy, Envelope, Header, MspPrincipal, MspRole, Payload,
    Policy, SignaturePolicy, SignaturePolicyEnvelope, msp_principal, msp_role, signature_policy,
};
use crate::proto::msp::SerializedIdentity;
use crate::proto::orderer;

/// A network of one replica on disk, and its filters.
struct Fixture {
    directory: TempDir,
    layout: Layout,
    genesis: Block,
}

impl Fixture {
    fn new(kind: KeyKind, writers: Writers) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let replica = ReplicaAddress { host: "127.0.0.1".to_owned(), quic_port: 7051, grpc_port: 7050 };
        let spec = NetworkSpec {
            channel: "sbft".to_owned(),
            key_kind: kind,
            consensus: ConsensusKind::Bft,
            replicas: vec![replica],
            clients: 2,
            writers,
            batch: BatchSpec {
                max_message_count: 4,
                absolute_max_bytes: 20_000,
                preferred_max_bytes: 10_000,
                ..BatchSpec::default()
            },
            options: OptionsSpec::default(),
        };
        let material = NetworkMaterial::create(&spec, directory.path()).expect("a network");
        Self { directory, layout: material.layout, genesis: material.genesis }
    }

    fn processor(&self) -> Processor {
        self.changed(|_| {})
    }

    /// Filters under the genesis configuration with a change.
    fn changed(&self, change: impl FnOnce(&mut ConfigGroup)) -> Processor {
        self.with_options(change, ProcessorOptions::default())
    }

    fn with_options(&self, change: impl FnOnce(&mut ConfigGroup), options: ProcessorOptions) -> Processor {
        let envelope = self.genesis.data.as_ref().expect("data").data[0].clone();
        let payload = Envelope::decode(envelope).expect("an envelope").payload;
        let payload = Payload::decode(payload).expect("a payload");
        let mut config = ConfigEnvelope::decode(payload.data).expect("a config envelope");
        let inner = config.config.as_mut().expect("a configuration");
        inner.sequence = 7;
        change(inner.channel_group.as_mut().expect("a channel group"));
        let config = ChannelConfig::from_config_envelope("sbft", &config).expect("it loads");
        Processor::new(Arc::new(config), options)
    }

    fn client(&self, number: usize) -> KeyFileSigner {
        signer(APPLICATION_MSP, &self.layout.application().client(number))
    }

    fn admin(&self) -> KeyFileSigner {
        signer(APPLICATION_MSP, &self.layout.application().admin())
    }

    fn replica(&self) -> KeyFileSigner {
        signer(ORDERER_MSP, &self.layout.replica(1).identity())
    }

    /// A client whose certificate was valid until `ago` before now.
    fn expired_client(&self, ago: Duration) -> KeyFileSigner {
        let authority = CertificateAuthority::load(&self.layout.application().ca()).expect("a CA");
        let now = SystemTime::now();
        let request = CertificateRequest {
            not_before: now - ago - HOUR,
            not_after: now - ago,
            ..CertificateRequest::new("late", Purpose::Member(Unit::Client))
        };
        let issued = authority.issue(KeyKind::Ed25519, &request).expect("a certificate");
        let files = KeyAndCertificate::in_directory(self.directory.path());
        crate::crypto::write_key_file(&files.key, &issued.key).expect("written");
        std::fs::write(&files.certificate, &issued.certificate).expect("written");
        signer(APPLICATION_MSP, &files)
    }

    /// A client of an authority that is not the organization's, though it says so.
    fn foreign_client(&self) -> KeyFileSigner {
        let foreign = OrganizationLayout::new(self.directory.path().join("foreign"));
        create_organization(&foreign, KeyKind::Ed25519, "Org1MSP").expect("an organization");
        create_member(&foreign, &foreign.client(1), KeyKind::Ed25519, "client-1", Unit::Client)
            .expect("a member");
        signer(APPLICATION_MSP, &foreign.client(1))
    }
}

fn signer(msp_id: &str, files: &KeyAndCertificate) -> KeyFileSigner {
    let certificate = std::fs::read(Path::new(&files.certificate)).expect("a certificate");
    let identity = SerializedIdentity { mspid: msp_id.to_owned(), id_bytes: certificate.into() };
    KeyFileSigner::open(&files.key, identity.encode_to_vec().into()).expect("a signer")
}

/// An envelope of this type and data for the channel, signed.
fn envelope(signer: &KeyFileSigner, kind: i32, channel: &str, data: &[u8]) -> Envelope {
    let channel_header =
        ChannelHeader { r#type: kind, channel_id: channel.to_owned(), ..ChannelHeader::default() };
    let signature_header = signer.new_signature_header().now_or_never().expect("at once").expect("a header");
    let header = Header {
        channel_header: channel_header.encode_to_vec().into(),
        signature_header: signature_header.encode_to_vec().into(),
    };
    let payload = Payload { header: Some(header), data: Bytes::copy_from_slice(data) }.encode_to_vec();
    let signature = signer.sign(&payload).now_or_never().expect("at once").expect("a signature");
    Envelope { payload: payload.into(), signature }
}

fn transaction(signer: &KeyFileSigner) -> Envelope {
    envelope(signer, HeaderType::EndorserTransaction as i32, "sbft", b"data")
}

fn parsed(envelope: Envelope) -> Parsed {
    Parsed::from_envelope(envelope).expect("it parses")
}

fn frame(envelope: Envelope) -> Bytes {
    parsed(envelope).frame
}

fn process(processor: &Processor, envelope: Envelope) -> Result<u64, Rejection> {
    processor.process(&parsed(envelope), SystemTime::now())
}

#[track_caller]
fn check_rejected(verdict: Result<u64, Rejection>, status: Status, text: &str) {
    let rejection = verdict.expect_err("it should be rejected");
    assert_eq!(rejection.status, status, "{rejection}");
    assert!(rejection.info.contains(text), "expected {text:?} in {:?}", rejection.info);
}

fn flipped(mut envelope: Envelope) -> Envelope {
    let mut signature = envelope.signature.to_vec();
    let end = signature.len();
    for byte in &mut signature[end - 3..] {
        *byte ^= 0xff;
    }
    envelope.signature = signature.into();
    envelope
}

fn set_state(group: &mut ConfigGroup) {
    let value = group.groups.get_mut("Orderer").and_then(|group| group.values.get_mut("ConsensusType"));
    let value = value.expect("a value");
    let mut consensus = orderer::ConsensusType::decode(value.value.clone()).expect("a consensus type");
    consensus.state = orderer::consensus_type::State::Maintenance as i32;
    value.value = consensus.encode_to_vec().into();
}

/// Makes /Channel/Writers ask for a peer of Org1.
fn only_peers_write(group: &mut ConfigGroup) {
    let role =
        MspRole { msp_identifier: APPLICATION_MSP.to_owned(), role: msp_role::MspRoleType::Peer as i32 };
    let principal = MspPrincipal {
        principal_classification: msp_principal::Classification::Role as i32,
        principal: role.encode_to_vec().into(),
    };
    let rule = SignaturePolicy { r#type: Some(signature_policy::Type::SignedBy(0)) };
    let policy = SignaturePolicyEnvelope { version: 0, rule: Some(rule), identities: vec![principal] };
    let policy = Policy { r#type: 1, value: policy.encode_to_vec().into() };
    group.policies.insert(
        "Writers".to_owned(),
        ConfigPolicy { version: 0, policy: Some(policy), mod_policy: "Admins".to_owned() },
    );
}

#[test]
fn classes_follow_the_type_in_the_channel_header() {
    let class = |kind: i32| classify(&ChannelHeader { r#type: kind, ..ChannelHeader::default() });
    assert_eq!(class(1), Class::Config);
    assert_eq!(class(2), Class::ConfigUpdate);
    assert_eq!(class(4), Class::Unsupported);
    for normal in [0, 3, 5, 6, 7, 8, 9, 99, -1, i32::MIN] {
        assert_eq!(class(normal), Class::Normal, "type {normal}");
    }
}

#[test]
fn case_25_members_envelopes_of_every_normal_type_are_taken() {
    for kind in [KeyKind::Ed25519, KeyKind::EcdsaP256] {
        let fixture = Fixture::new(kind, Writers::Signed);
        let processor = fixture.processor();
        for signer in [fixture.client(1), fixture.client(2), fixture.admin(), fixture.replica()] {
            assert_eq!(process(&processor, transaction(&signer)), Ok(7));
        }
        for kind in [0, 3, 5, 6, 7, 99] {
            let envelope = envelope(&fixture.client(1), kind, "sbft", b"data");
            assert_eq!(process(&processor, envelope.clone()), Ok(7), "type {kind}");
            // What is taken is never stalled: other replicas accept it in a candidate.
            assert_eq!(processor.check_candidate(&[frame(envelope)]), Ok(7), "type {kind}");
        }
    }
}

#[test]
fn cases_26_27_32_what_cannot_be_decoded_is_a_bad_request() {
    let refusal = |bytes: &[u8]| {
        Rejection::from(Parsed::decode(Bytes::copy_from_slice(bytes)).expect_err("it does not parse"))
    };
    let encoded = |payload: &[u8]| {
        Envelope { payload: Bytes::copy_from_slice(payload), signature: Bytes::from_static(b"s") }
            .encode_to_vec()
    };
    for (bytes, text) in [
        (vec![0xff; 9], "could not determine channel ID"),
        (encoded(b"garbage"), "could not determine channel ID"),
        (
            encoded(&Payload { header: None, data: Bytes::from_static(b"x") }.encode_to_vec()),
            "header not set",
        ),
        (encoded(b""), "Message was empty"),
    ] {
        let rejection = refusal(&bytes);
        assert_eq!(rejection.status, Status::BadRequest);
        assert!(rejection.info.contains(text), "expected {text:?} in {:?}", rejection.info);
    }
}

#[test]
fn case_28_another_channel_does_not_exist() {
    let fixture = Fixture::new(KeyKind::Ed25519, Writers::Signed);
    let envelope = envelope(&fixture.client(1), 3, "other", b"");
    check_rejected(process(&fixture.processor(), envelope), Status::BadRequest, "channel does not exist");
}

#[test]
fn case_29_config_and_orderer_transaction_cannot_be_submitted() {
    let fixture = Fixture::new(KeyKind::Ed25519, Writers::Signed);
    let processor = fixture.processor();
    let update = ConfigEnvelope { config: None, last_update: Some(Envelope::default()) }.encode_to_vec();
    let config = envelope(&fixture.admin(), 1, "sbft", &update);
    check_rejected(process(&processor, config), Status::BadRequest, "CONFIG");
    let transaction = envelope(&fixture.admin(), 4, "sbft", b"");
    check_rejected(process(&processor, transaction), Status::BadRequest, "ORDERER_TRANSACTION");
}

#[test]
fn case_30_a_corrupted_signature_is_forbidden() {
    for kind in [KeyKind::Ed25519, KeyKind::EcdsaP256] {
        let fixture = Fixture::new(kind, Writers::Signed);
        let corrupted = flipped(transaction(&fixture.client(1)));
        check_rejected(process(&fixture.processor(), corrupted), Status::Forbidden, SUB_POLICIES);

        let mut other = transaction(&fixture.client(1));
        other.payload = transaction(&fixture.client(1)).payload;
        check_rejected(process(&fixture.processor(), other), Status::Forbidden, SUB_POLICIES);
    }
}

#[test]
fn case_31_a_creator_outside_of_the_policy_is_forbidden() {
    let fixture = Fixture::new(KeyKind::Ed25519, Writers::Signed);
    let foreign = transaction(&fixture.foreign_client());
    check_rejected(process(&fixture.processor(), foreign), Status::Forbidden, SUB_POLICIES);

    let peers_only = fixture.changed(only_peers_write);
    let of_client = transaction(&fixture.client(1));
    check_rejected(process(&peers_only, of_client), Status::Forbidden, "/Channel/Writers");

    let mut unknown = transaction(&fixture.client(1));
    let mut payload = Payload::decode(unknown.payload).expect("a payload");
    payload.header.as_mut().expect("a header").signature_header = Bytes::new();
    unknown.payload = payload.encode_to_vec().into();
    check_rejected(process(&fixture.processor(), unknown), Status::Forbidden, SUB_POLICIES);
}

#[test]
fn case_32_an_empty_payload_is_a_bad_request() {
    let fixture = Fixture::new(KeyKind::Ed25519, Writers::Signed);
    let mut envelope = parsed(transaction(&fixture.client(1)));
    envelope.payload = Bytes::new();
    check_rejected(
        fixture.processor().process(&envelope, SystemTime::now()),
        Status::BadRequest,
        "Message was empty",
    );
}

#[test]
fn case_33_payload_and_signature_together_have_a_limit_that_may_be_reached() {
    let fixture = Fixture::new(KeyKind::Ed25519, Writers::Signed);
    let processor = fixture.processor();
    let client = fixture.client(1);
    let sized = |size: usize| {
        // The length of a length takes bytes too, so close in on the size.
        let mut data = size - 1200;
        loop {
            let envelope = envelope(&client, 3, "sbft", &vec![7; data]);
            let reached = envelope.payload.len() + envelope.signature.len();
            if reached == size {
                return envelope;
            }
            data = data + size - reached;
        }
    };
    assert_eq!(process(&processor, sized(20_000)), Ok(7));
    assert_eq!(processor.check_candidate(&[frame(sized(20_000))]), Ok(7));
    let larger = sized(20_001);
    check_rejected(process(&processor, larger.clone()), Status::BadRequest, "20001 bytes");
    let fault = CandidateFault::TooLarge { bytes: 20_001, limit: 20_000 };
    assert_eq!(processor.check_candidate(&[frame(larger)]), Err(fault));
}

#[test]
fn case_34_an_expired_creator_is_a_bad_request_unless_the_check_is_off() {
    let fixture = Fixture::new(KeyKind::Ed25519, Writers::Signed);
    let late = fixture.expired_client(HOUR);
    check_rejected(process(&fixture.processor(), transaction(&late)), Status::BadRequest, "expired");

    let lenient = fixture.with_options(|_| {}, ProcessorOptions { check_expiration: false });
    assert_eq!(process(&lenient, transaction(&late)), Ok(7));
}

/// The order of fabric-spec A.8: empty, size, expiration, signature. Each envelope here breaks the
/// rule named and all those after it.
#[test]
fn the_first_rule_that_refuses_gives_the_answer() {
    let fixture = Fixture::new(KeyKind::Ed25519, Writers::Signed);
    let processor = fixture.processor();
    let late = fixture.expired_client(HOUR);
    let large = parsed(flipped(envelope(&late, 3, "sbft", &[0; 20_000])));
    let empty = Parsed { payload: Bytes::new(), ..large.clone() };
    let expired = parsed(flipped(transaction(&late)));
    let forged = parsed(flipped(transaction(&fixture.client(1))));
    let cases = [
        (empty, Status::BadRequest, "empty"),
        (large, Status::BadRequest, "exceeds maximum"),
        (expired, Status::BadRequest, "expired"),
        (forged, Status::Forbidden, SUB_POLICIES),
    ];
    let now = SystemTime::now();
    let all: Vec<&Parsed> = cases.iter().map(|(envelope, ..)| envelope).collect();
    let together = processor.process_all(&all, now);
    for ((envelope, status, text), verdict) in cases.iter().zip(together) {
        check_rejected(processor.process(envelope, now), *status, text);
        check_rejected(verdict, *status, text);
    }
}

/// Validation of a candidate reads no clock: the same certificate that is refused at admission is
/// good in a candidate.
#[test]
fn an_expired_creator_is_no_fault_of_a_candidate() {
    let fixture = Fixture::new(KeyKind::Ed25519, Writers::Signed);
    let envelope = transaction(&fixture.expired_client(HOUR));
    assert_eq!(fixture.processor().check_candidate(&[frame(envelope)]), Ok(7));
}

#[test]
fn case_36_maintenance_mode_rejects_normal_envelopes() {
    let fixture = Fixture::new(KeyKind::Ed25519, Writers::Signed);
    let processor = fixture.changed(set_state);
    let normal = transaction(&fixture.client(1));
    check_rejected(process(&processor, normal.clone()), Status::ServiceUnavailable, "maintenance mode");
    let normal = parsed(normal);
    let verdict = processor.process_all(&[&normal], SystemTime::now()).remove(0);
    check_rejected(verdict, Status::ServiceUnavailable, "maintenance mode");

    // The orderers' own writers pass the filters, clients do not.
    let update = envelope(&fixture.replica(), 2, "sbft", b"");
    check_rejected(process(&processor, update), Status::NotImplemented, "not support");
    let update = envelope(&fixture.client(1), 2, "sbft", b"");
    check_rejected(process(&processor, update), Status::Forbidden, "/Channel/Orderer/Writers");
}

#[test]
fn a_config_update_that_passes_the_filters_is_not_implemented() {
    let fixture = Fixture::new(KeyKind::Ed25519, Writers::Signed);
    let processor = fixture.processor();
    let update = |signer: &KeyFileSigner, data: &[u8]| envelope(signer, 2, "sbft", data);
    check_rejected(
        process(&processor, update(&fixture.admin(), b"u")),
        Status::NotImplemented,
        "does not support config updates",
    );
    check_rejected(
        process(&processor, update(&fixture.foreign_client(), b"u")),
        Status::Forbidden,
        SUB_POLICIES,
    );
    check_rejected(
        process(&processor, update(&fixture.admin(), &[0; 20_000])),
        Status::BadRequest,
        "exceeds maximum",
    );
}

#[test]
fn open_writers_take_any_signature_but_not_none() {
    let fixture = Fixture::new(KeyKind::Ed25519, Writers::Open);
    let processor = fixture.processor();
    for envelope in [transaction(&fixture.foreign_client()), flipped(transaction(&fixture.client(1)))] {
        assert_eq!(process(&processor, envelope.clone()), Ok(7));
        assert_eq!(processor.check_candidate(&[frame(envelope)]), Ok(7));
    }
    let mut unsigned = transaction(&fixture.client(1));
    unsigned.signature = Bytes::new();
    check_rejected(process(&processor, unsigned.clone()), Status::BadRequest, "not signed");
    let fault = processor.check_candidate(&[frame(unsigned)]).expect_err("a fault");
    assert!(matches!(fault, CandidateFault::Envelope { index: 0, .. }), "{fault}");
}

#[test]
fn an_unsigned_envelope_is_forbidden_where_writers_sign() {
    let fixture = Fixture::new(KeyKind::Ed25519, Writers::Signed);
    let mut unsigned = transaction(&fixture.client(1));
    unsigned.signature = Bytes::new();
    check_rejected(process(&fixture.processor(), unsigned), Status::Forbidden, SUB_POLICIES);
}

/// Many at once get the verdicts they would get alone, whatever stands beside them.
#[test]
fn many_envelopes_at_once_get_their_own_verdicts() {
    for kind in [KeyKind::Ed25519, KeyKind::EcdsaP256] {
        let fixture = Fixture::new(kind, Writers::Signed);
        let processor = fixture.processor();
        let good = [fixture.client(1), fixture.client(2)];
        let foreign = fixture.foreign_client();
        let late = fixture.expired_client(HOUR);
        let mut envelopes = Vec::new();
        for round in 0..30 {
            envelopes.push(parsed(match round % 7 {
                0 => flipped(transaction(&good[0])),
                1 => transaction(&foreign),
                2 => transaction(&late),
                3 => envelope(&good[0], 2, "sbft", b"update"),
                4 => envelope(&good[0], 3, "sbft", &[0; 20_000]),
                _ => transaction(&good[round % 2]),
            }));
        }
        let now = SystemTime::now();
        // The expiry says how many seconds ago, so all are asked at one time.
        let alone: Vec<_> = envelopes.iter().map(|envelope| processor.process(envelope, now)).collect();
        let references: Vec<&Parsed> = envelopes.iter().collect();
        assert_eq!(fixture.processor().process_all(&references, now), alone);
        assert_eq!(processor.process_all(&references, now), alone, "by one that has judged them before");
        assert_eq!(alone.iter().filter(|verdict| verdict.is_ok()).count(), 8);
        assert!(processor.process_all(&[], now).is_empty());
    }
}

/// A signature that was found valid vouches for the very same bytes only, and for nothing but the signature.
#[test]
fn what_passed_before_is_judged_anew_in_all_but_its_signature() {
    for kind in [KeyKind::Ed25519, KeyKind::EcdsaP256] {
        let fixture = Fixture::new(kind, Writers::Signed);
        let processor = fixture.processor();
        let good = transaction(&fixture.client(1));
        assert_eq!(processor.check_candidate(&[frame(good.clone())]), Ok(7));
        assert_eq!(process(&processor, good.clone()), Ok(7));

        check_rejected(process(&processor, flipped(good.clone())), Status::Forbidden, SUB_POLICIES);
        let mut longer = good.clone();
        longer.payload = [&good.payload[..], &[0x22, 0]].concat().into(); // an unknown field, empty
        check_rejected(process(&processor, longer), Status::Forbidden, SUB_POLICIES);
        let fault = processor.check_candidate(&[frame(flipped(good))]).expect_err("not its signature");
        assert!(matches!(fault, CandidateFault::Envelope { index: 0, .. }), "{fault}");

        // In another's candidate the clock says nothing; at the door it does, though the signature is known.
        let late = transaction(&fixture.expired_client(HOUR));
        assert_eq!(processor.check_candidate(&[frame(late.clone())]), Ok(7));
        check_rejected(process(&processor, late), Status::BadRequest, "expired");

        // Under another configuration its creator may be nobody.
        let other = Fixture::new(kind, Writers::Signed);
        let stranger = transaction(&fixture.client(1));
        assert_eq!(process(&processor, stranger.clone()), Ok(7));
        check_rejected(process(&other.processor(), stranger), Status::Forbidden, SUB_POLICIES);
    }
}

#[test]
fn cases_67_76_faults_of_candidates_name_the_envelope_and_the_reason() {
    let fixture = Fixture::new(KeyKind::Ed25519, Writers::Signed);
    let processor = fixture.processor();
    let client = fixture.client(1);
    let good = || frame(transaction(&client));
    assert_eq!(processor.check_candidate(&[good(), good(), good(), good()]), Ok(7));
    assert_eq!(processor.check_candidate(&[]), Err(CandidateFault::Empty));
    assert_eq!(
        processor.check_candidate(&[good(), good(), good(), good(), good()]),
        Err(CandidateFault::TooMany { count: 5, limit: 4 })
    );
    let large = || frame(envelope(&client, 3, "sbft", &[0; 9_500]));
    let fault = processor.check_candidate(&[large(), large()]).expect_err("too large together");
    assert!(matches!(fault, CandidateFault::TooLarge { limit: 20_000, .. }), "{fault}");

    let mut trailing = good().to_vec();
    trailing.extend([0x18, 1]);
    let mut unsigned = transaction(&client);
    unsigned.signature = Bytes::new();
    let update = ConfigEnvelope { config: None, last_update: Some(Envelope::default()) }.encode_to_vec();
    let cases: [(Bytes, &str); 10] = [
        (Bytes::from_static(b"garbage"), "canonical"),
        (trailing.into(), "canonical"),
        ([good(), good()].concat().into(), "canonical"),
        (frame(unsigned), "signed"),
        (frame(envelope(&client, 3, "other", b"")), "\"other\""),
        (frame(envelope(&fixture.admin(), 2, "sbft", b"")), "CONFIG_UPDATE"),
        (frame(envelope(&fixture.admin(), 4, "sbft", b"")), "ORDERER_TRANSACTION"),
        (frame(envelope(&fixture.replica(), 1, "sbft", &update)), "config updates are not supported"),
        (frame(flipped(transaction(&client))), SUB_POLICIES),
        (frame(transaction(&fixture.foreign_client())), SUB_POLICIES),
    ];
    for (bad, text) in cases {
        match processor.check_candidate(&[good(), bad, good()]) {
            Err(CandidateFault::Envelope { index: 1, reason }) => {
                assert!(reason.contains(text), "expected {text:?} in {reason:?}");
            }
            other => panic!("expected a fault of envelope 1 because of {text:?}, got {other:?}"),
        }
    }
}

#[test]
fn hostile_bytes_in_a_candidate_never_panic() {
    let fixture = Fixture::new(KeyKind::Ed25519, Writers::Signed);
    let processor = fixture.processor();
    let good = frame(transaction(&fixture.client(1)));
    for length in 0..good.len() {
        processor.check_candidate(&[good.slice(..length)]).expect_err("truncated");
    }
    for bit in 0..good.len() * 8 {
        let mut flipped = good.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        // Payload, creator and signature are all under the signature, so no flip is accepted.
        processor.check_candidate(&[flipped.into()]).expect_err("a flipped bit");
    }
}

#[test]
fn readers_are_members_with_an_unexpired_certificate() {
    let fixture = Fixture::new(KeyKind::Ed25519, Writers::Open);
    let processor = fixture.processor();
    let now = SystemTime::now();
    let read = |envelope: Envelope| processor.check_reader(&parsed(envelope), now);
    let seek = |signer: &KeyFileSigner| envelope(signer, HeaderType::DeliverSeekInfo as i32, "sbft", b"");

    assert_eq!(read(seek(&fixture.client(1))), Ok(7));
    check_rejected(read(flipped(seek(&fixture.client(1)))), Status::Forbidden, SUB_POLICIES);
    check_rejected(read(seek(&fixture.foreign_client())), Status::Forbidden, SUB_POLICIES);

    // Case 52: it ran out while the stream was open.
    let late = fixture.expired_client(HOUR);
    check_rejected(read(seek(&late)), Status::Forbidden, "expired");
    let request = parsed(seek(&late));
    processor.check_reader_expiry(&request, now - HOUR - HOUR / 2).expect("it was good then");
    let rejection = processor.check_reader_expiry(&request, now).expect_err("it is not now");
    assert_eq!(rejection.status, Status::Forbidden);

    let lenient = fixture.with_options(|_| {}, ProcessorOptions { check_expiration: false });
    assert_eq!(lenient.check_reader(&request, now), Ok(7));
    let maintenance = fixture.changed(set_state);
    let request = parsed(seek(&fixture.client(1)));
    check_rejected(maintenance.check_reader(&request, now), Status::Forbidden, "/Channel/Orderer/Readers");
}

/// The whole way with keys that a Fabric network made: its envelopes pass under its genesis.
#[test]
fn envelopes_of_a_fabric_network_pass_under_its_own_genesis() {
    let block = |bytes: &[u8]| Block::decode(bytes).expect("a block");
    let genesis = block(include_bytes!("../../tests/fabric-vectors/genesis.pb"));
    let config = ChannelConfig::from_block(&genesis).expect("it loads");
    let processor = Processor::new(Arc::new(config), ProcessorOptions::default());
    for bytes in [
        &include_bytes!("../../tests/fabric-vectors/block1.pb")[..],
        include_bytes!("../../tests/fabric-vectors/block2.pb"),
        include_bytes!("../../tests/fabric-vectors/block3.pb"),
    ] {
        let data = block(bytes).data.expect("data").data;
        assert_eq!(processor.check_candidate(&data), Ok(0));
    }
}

const SUB_POLICIES: &str = "implicit policy evaluation failed - 0 sub-policies were satisfied";
const HOUR: Duration = Duration::from_secs(60 * 60);
