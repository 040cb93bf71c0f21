//! Generated networks load, sign and verify, and nothing is ever overwritten.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use futures::FutureExt as _;
use prost::Message as _;
use tempfile::TempDir;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::*;
use crate::channel_config::{ChannelConfig, Consensus};
use crate::crypto::{KeyFileSigner, KeyKind, LocalSigner as _};
use crate::msp::Identity;
use crate::proto::common::Block;
use crate::proto::msp::SerializedIdentity;
use crate::wire::quorum;

fn network(kind: KeyKind, replicas: u16) -> NetworkSpec {
    let address = |index| ReplicaAddress {
        host: "127.0.0.1".to_owned(),
        quic_port: 7100 + index,
        grpc_port: 7050 + index,
    };
    NetworkSpec {
        channel: "sbft".to_owned(),
        key_kind: kind,
        consensus: ConsensusKind::Bft,
        replicas: (0..replicas).map(address).collect(),
        clients: 2,
        writers: Writers::Signed,
        batch: BatchSpec::default(),
        options: OptionsSpec::default(),
    }
}

fn create(spec: &NetworkSpec) -> (TempDir, NetworkMaterial, ChannelConfig) {
    let directory = tempfile::tempdir().expect("a directory");
    let material = NetworkMaterial::create(spec, directory.path()).expect("a network");
    let config = ChannelConfig::from_block(&material.genesis).expect("the genesis loads");
    (directory, material, config)
}

fn serialized(msp_id: &str, files: &KeyAndCertificate) -> Bytes {
    let certificate = fs::read(&files.certificate).expect("a certificate");
    let identity = SerializedIdentity { mspid: msp_id.to_owned(), id_bytes: certificate.into() };
    identity.encode_to_vec().into()
}

fn member(config: &ChannelConfig, msp_id: &str, files: &KeyAndCertificate) -> Arc<Identity> {
    config.msps.identity(&serialized(msp_id, files)).expect("an identity")
}

fn allows(config: &ChannelConfig, path: &str, identities: &[Arc<Identity>]) -> bool {
    let policy = config.policies.get(path).expect("a policy");
    policy.evaluate(&config.msps, identities).is_ok()
}

#[test]
fn networks_of_any_size_and_key_load() {
    for kind in [KeyKind::Ed25519, KeyKind::EcdsaP256] {
        for n in [1, 4, 7] {
            let (_directory, material, config) = create(&network(kind, n));
            assert_eq!(config.consenters.len(), usize::from(n));
            assert_eq!(config.channel_id, "sbft");
            assert!(config.consenters.iter().all(|consenter| consenter.key.kind() == kind));
            let Consensus::Sbft(options) = &config.consensus else { panic!("a BFT channel") };
            assert_eq!(options.complain_timeout.as_millis(), 500);
            assert_eq!(options.view_change_timeout_cap.as_secs(), 8);

            let written = fs::read(material.layout.genesis_block()).expect("the block's file");
            assert_eq!(Block::decode(&written[..]).expect("a block"), material.genesis);
        }
    }
}

#[test]
fn a_solo_network_loads() {
    let spec = NetworkSpec { consensus: ConsensusKind::Solo, ..network(KeyKind::Ed25519, 1) };
    let (_directory, _material, config) = create(&spec);
    assert_eq!(config.consensus, Consensus::Solo);
    assert_eq!(config.consenters.len(), 1);
}

#[test]
fn members_may_do_what_their_unit_says() {
    for kind in [KeyKind::Ed25519, KeyKind::EcdsaP256] {
        let (_directory, material, config) = create(&network(kind, 4));
        let layout = &material.layout;
        let client = [member(&config, APPLICATION_MSP, &layout.application().client(2))];
        let admin = [member(&config, APPLICATION_MSP, &layout.application().admin())];
        let orderer_admin = [member(&config, ORDERER_MSP, &layout.orderer().admin())];
        let replicas: Vec<_> =
            (1..=4).map(|id| member(&config, ORDERER_MSP, &layout.replica(id).identity())).collect();

        for identity in client.iter().chain(&admin).chain(&orderer_admin).chain(&replicas) {
            config.msps.validate(identity).expect("a valid member");
            assert!(allows(&config, "/Channel/Readers", std::slice::from_ref(identity)));
            assert!(allows(&config, "/Channel/Writers", std::slice::from_ref(identity)));
        }
        assert!(!allows(&config, "/Channel/Application/Admins", &client));
        assert!(allows(&config, "/Channel/Application/Admins", &admin));
        assert!(allows(&config, "/Channel/Orderer/Admins", &orderer_admin));
        assert!(!allows(&config, "/Channel/Orderer/Admins", &admin));
        assert!(!allows(&config, "/Channel/Orderer/Writers", &client));
        assert!(!allows(&config, "/Channel/Application/Endorsement", &client));

        let q = quorum(4);
        assert!(allows(&config, "/Channel/Orderer/BlockValidation", &replicas[..q]));
        assert!(!allows(&config, "/Channel/Orderer/BlockValidation", &replicas[..q - 1]));
        assert!(!allows(&config, "/Channel/Writers", &[]));
    }
}

#[test]
fn open_writers_ask_for_no_signature() {
    let spec = NetworkSpec { writers: Writers::Open, ..network(KeyKind::Ed25519, 1) };
    let (_directory, _material, config) = create(&spec);
    assert!(allows(&config, "/Channel/Writers", &[]));
    assert!(!allows(&config, "/Channel/Readers", &[]));
}

#[test]
fn keys_are_for_their_owner_only_and_sign_for_their_certificate() {
    for kind in [KeyKind::Ed25519, KeyKind::EcdsaP256] {
        let (_directory, material, config) = create(&network(kind, 1));
        let layout = &material.layout;
        let all = [
            (ORDERER_MSP, layout.replica(1).identity()),
            (ORDERER_MSP, layout.orderer().admin()),
            (APPLICATION_MSP, layout.application().client(1)),
        ];
        for (msp_id, files) in all {
            let mode = fs::metadata(&files.key).expect("a key file").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", files.key.display());
            let signer = KeyFileSigner::open(&files.key, serialized(msp_id, &files)).expect("a signer");
            let signature = signer.sign(b"message").now_or_never().expect("at once").expect("a signature");
            let key = &member(&config, msp_id, &files).key;
            assert!(key.verify_vote(b"message", &signature));
            assert!(key.verify_envelope(b"message", &signature));
        }
        for files in [layout.replica(1).tls(), layout.replica(1).cluster(), layout.orderer().ca()] {
            let mode = fs::metadata(&files.key).expect("a key file").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", files.key.display());
        }
    }
}

#[test]
fn certificates_say_what_they_are_for_and_have_low_s() {
    let mut spec = network(KeyKind::EcdsaP256, 1);
    spec.replicas[0].host = "orderer1.example.com".to_owned();
    let (_directory, material, config) = create(&spec);
    let layout = &material.layout;

    let tls = pem::parse(read_bytes(&layout.replica(1).cluster().certificate).expect("a file")).expect("PEM");
    assert_eq!(tls.contents(), config.consenters[0].server_tls_der);
    assert_eq!(tls.contents(), config.consenters[0].client_tls_der);
    let (_, certificate) = X509Certificate::from_der(tls.contents()).expect("a certificate");
    let names = certificate.subject_alternative_name().expect("well-formed").expect("present");
    let shown: Vec<String> = names.value.general_names.iter().map(shown).collect();
    assert_eq!(shown, ["localhost", "127.0.0.1", "::1", "orderer1.example.com"]);
    let usage = certificate.extended_key_usage().expect("well-formed").expect("present");
    assert!(usage.value.server_auth && usage.value.client_auth);

    // Peers and this engine compare identities after bringing S low; here that changes nothing.
    let identity = layout.replica(1).identity();
    let der = pem::parse(read_bytes(&identity.certificate).expect("a file")).expect("PEM");
    assert_eq!(der.contents(), config.consenters[0].identity_der);
    let (_, certificate) = X509Certificate::from_der(der.contents()).expect("a certificate");
    let unit = certificate.subject().iter_organizational_unit().next().expect("a unit");
    assert_eq!(unit.as_str(), Ok("orderer"));
    assert!(!certificate.is_ca());

    let ca = pem::parse(read_bytes(&layout.orderer().ca().certificate).expect("a file")).expect("PEM");
    let (_, certificate) = X509Certificate::from_der(ca.contents()).expect("a certificate");
    assert!(certificate.is_ca());
    assert!(certificate.key_usage().expect("well-formed").expect("present").value.key_cert_sign());
}

fn shown(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(name) => (*name).to_owned(),
        GeneralName::IPAddress(bytes) => match <[u8; 4]>::try_from(*bytes) {
            Ok(v4) => std::net::Ipv4Addr::from(v4).to_string(),
            Err(_) => std::net::Ipv6Addr::from(<[u8; 16]>::try_from(*bytes).expect("16 bytes")).to_string(),
        },
        other => format!("{other:?}"),
    }
}

#[test]
fn the_block_has_the_shape_of_a_real_genesis() {
    let real = include_bytes!("../../tests/fabric-vectors/genesis.pb");
    let real = Block::decode(&real[..]).expect("a block");
    let (_directory, material, _config) = create(&network(KeyKind::Ed25519, 4));
    assert_eq!(material.genesis.metadata, real.metadata);
    let header = material.genesis.header.expect("a header");
    assert_eq!((header.number, header.previous_hash.len()), (0, 0));
    assert_eq!(material.genesis.data.expect("data").data.len(), 1);
}

#[test]
fn nothing_is_overwritten() {
    let (directory, material, _config) = create(&network(KeyKind::Ed25519, 1));
    let key = material.layout.replica(1).identity().key;
    let before = fs::read(&key).expect("a key");

    let again = NetworkMaterial::create(&network(KeyKind::Ed25519, 1), directory.path());
    let error = again.expect_err("refused").to_string();
    assert!(error.contains("genesis.block exists already"), "{error}");
    let orderer = material.layout.orderer();
    let files = material.layout.replica(1);
    create_replica(&orderer, &files, KeyKind::Ed25519, "replica-1", &[]).expect_err("refused");
    create_organization(&orderer, KeyKind::Ed25519, "Other").expect_err("refused");
    write_genesis(&material.layout.genesis_block(), &material.genesis).expect_err("refused");

    assert_eq!(fs::read(&key).expect("a key"), before);
}

/// Several hosts: each organization makes its own keys, and only certificates meet in the
/// specification.
#[test]
fn a_genesis_of_two_orderer_organizations_is_made_from_a_specification() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path();
    for (name, kind) in [("A", KeyKind::Ed25519), ("B", KeyKind::EcdsaP256), ("C", KeyKind::EcdsaP256)] {
        let organization = OrganizationLayout::new(root.join(name));
        create_organization(&organization, kind, &format!("{name}MSP")).expect("an organization");
        if name != "C" {
            for number in 1..=2 {
                let files = ReplicaLayout::new(organization.root.join(format!("replica-{number}")));
                let host = format!("{number}.{name}.example.com").to_lowercase();
                create_replica(&organization, &files, kind, "replica", &[&host]).expect("a replica");
            }
        }
    }
    let mut text = "channel = \"two-orgs\"\n[batch]\ntimeout = \"1.5s\"\n".to_owned();
    for (name, role) in [("A", "orderer"), ("B", "orderer"), ("C", "application")] {
        text += &format!(
            "[[organization]]\nrole = \"{role}\"\nname = \"{name}\"\nmsp_id = \"{name}MSP\"\n\
             ca = [\"{name}/ca/cert.pem\"]\n"
        );
    }
    for (id, name, number) in [(1, "A", 1), (2, "A", 2), (7, "B", 1), (9, "B", 2)] {
        let host = format!("{number}.{name}.example.com").to_lowercase();
        text += &format!(
            "[[replica]]\nid = {id}\nmsp_id = \"{name}MSP\"\nhost = \"{host}\"\nport = 7051\n\
             endpoint = \"{host}:7050\"\nidentity = \"{name}/replica-{number}/identity/cert.pem\"\n\
             cluster = \"{name}/replica-{number}/cluster/cert.pem\"\n"
        );
    }
    let path = root.join("genesis.toml");
    fs::write(&path, &text).expect("written");

    let spec = GenesisSpec::load(&path).expect("a specification");
    let config = ChannelConfig::from_block(&genesis_block(&spec).expect("a block")).expect("it loads");
    assert_eq!(config.batch_timeout.as_millis(), 1500);
    let ids: Vec<u32> = config.consenters.iter().map(|consenter| consenter.id.0).collect();
    assert_eq!(ids, [1, 2, 7, 9]);
    assert_eq!(config.endpoints["B"], ["1.b.example.com:7050", "2.b.example.com:7050"]);

    let again: GenesisSpec = toml::from_str(&spec.to_toml()).expect("what is written is read");
    assert_eq!(again, spec);
}

#[test]
fn a_specification_with_a_mistake_is_refused_with_its_place() {
    let (directory, material, _config) = create(&network(KeyKind::Ed25519, 4));
    let path = material.layout.genesis_spec();
    let text = fs::read_to_string(&path).expect("the specification");
    let check = |change: &dyn Fn(&str) -> String, expected: &str| {
        let path = directory.path().join("changed.toml");
        fs::write(&path, change(&text)).expect("written");
        let error = match GenesisSpec::load(&path) {
            Ok(spec) => genesis_block(&spec).expect_err(expected),
            Err(error) => error,
        };
        assert!(error.to_string().contains(expected), "expected {expected:?}, got {error}");
    };
    check(&|text| text.replace("window = 10", "windows = 10"), "windows");
    check(&|text| text.replace("\"500ms\"", "\"500\""), "not a Go duration");
    check(&|text| text.replace("\"500ms\"", "\"100ms\""), "/metadata/request_forward_timeout");
    check(
        &|text| text.replace("max_message_count = 500", "max_message_count = 0"),
        "/Channel/Orderer/BatchSize",
    );
    check(&|text| text.replace("channel = \"sbft\"", "channel = \"Sbft\""), "channel_id");
    check(&|text| text.replace("replica-2/identity", "replica-1/identity"), "also that of consenter 1");
    check(&|text| text.replace("replica-2/identity", "replica-9/identity"), "cannot read");
    check(&|text| text.replace("id = 2\n", "id = 0\n"), "consenter_mapping[1]/id");
    check(&|text| text.replace("role = \"orderer\"", "role = \"judge\""), "judge");
}

#[test]
fn an_authority_whose_key_is_open_to_others_is_refused() {
    let (_directory, material, _config) = create(&network(KeyKind::Ed25519, 1));
    let ca = material.layout.orderer().ca();
    CertificateAuthority::load(&ca).expect("as it was written");
    fs::set_permissions(&ca.key, fs::Permissions::from_mode(0o640)).expect("changed");
    let error = CertificateAuthority::load(&ca).err().expect("refused").to_string();
    assert!(error.contains("chmod 600"), "{error}");
}

#[test]
fn a_host_that_is_no_name_is_refused() {
    let mut spec = network(KeyKind::Ed25519, 1);
    spec.replicas[0].host = "b\u{fc}ro".to_owned();
    let directory = tempfile::tempdir().expect("a directory");
    let error = NetworkMaterial::create(&spec, directory.path()).expect_err("refused");
    assert!(error.to_string().contains("ASCII"), "{error}");
}
