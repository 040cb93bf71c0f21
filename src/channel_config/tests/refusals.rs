//! Each value that cannot be used is refused with its path.

use prost::Message as _;

use super::super::*;
use super::{edit, edit_options, genesis_group, group_at, parse};
use crate::proto::common::{
    BlockDataHashingStructure, Capabilities, ConfigGroup, ConfigPolicy, HashingAlgorithm, OrdererAddresses,
    Policy,
};
use crate::proto::orderer::smartbft;

/// The real genesis with one change is refused: at this path, for this reason.
fn check(path: &str, reason: &str, change: impl FnOnce(&mut ConfigGroup)) {
    let mut group = genesis_group();
    change(&mut group);
    match parse(group) {
        Ok(_) => panic!("{path}: accepted, though it should be refused because of: {reason}"),
        Err(error) => {
            assert_eq!(error.path, path, "{error}");
            assert!(error.reason.contains(reason), "expected {reason:?}, got {error}");
            assert!(error.to_string().starts_with(&format!("{path}: ")));
        }
    }
}

fn check_options(field: &str, reason: &str, change: impl FnOnce(&mut smartbft::Options)) {
    let path = format!("/Channel/Orderer/ConsensusType/metadata/{field}");
    check(&path, reason, |group| edit_options(group, change));
}

fn check_consenters(
    path: &str,
    reason: &str,
    change: impl FnOnce(&mut Vec<crate::proto::common::Consenter>),
) {
    let path = format!("/Channel/Orderer/Orderers{path}");
    check(&path, reason, |group| {
        edit::<Orderers>(orderer_of(group), "Orderers", |orderers| change(&mut orderers.consenter_mapping));
    });
}

fn orderer_of(group: &mut ConfigGroup) -> &mut ConfigGroup {
    group_at(group, &["Orderer"])
}

#[test]
fn missing_groups_values_and_policies_are_named() {
    for name in ["Orderer", "Application"] {
        check(&format!("/Channel/{name}"), "missing", |group| drop(group.groups.remove(name)));
    }
    for name in ["HashingAlgorithm", "BlockDataHashingStructure"] {
        check(&format!("/Channel/{name}"), "missing", |group| drop(group.values.remove(name)));
    }
    for name in ["BatchSize", "BatchTimeout", "ConsensusType", "Orderers"] {
        check(&format!("/Channel/Orderer/{name}"), "missing", |group| {
            orderer_of(group).values.remove(name);
        });
    }
    for name in ["Readers", "Writers", "Admins"] {
        check(&format!("/Channel/{name}"), "missing", |group| drop(group.policies.remove(name)));
    }
    for name in ["Readers", "Writers", "Admins", "BlockValidation"] {
        check(&format!("/Channel/Orderer/{name}"), "missing", |group| {
            orderer_of(group).policies.remove(name);
        });
    }
    check("/Channel/Orderer/OrdererOrg/MSP", "missing", |group| {
        group_at(group, &["Orderer", "OrdererOrg"]).values.remove("MSP");
    });
    check("/Channel/Application/Org1/MSP", "missing", |group| {
        group_at(group, &["Application", "Org1"]).values.remove("MSP");
    });
    check("/Channel/Orderer", "no orderer organization", |group| orderer_of(group).groups.clear());
}

#[test]
fn values_of_unknown_name_and_names_out_of_form_are_refused() {
    let value = || ConfigValueOf::default();
    check("/Channel/Surprise", "no value of this name", |group| {
        group.values.insert("Surprise".to_owned(), value());
    });
    check("/Channel/Orderer/BatchSizes", "no value of this name", |group| {
        orderer_of(group).values.insert("BatchSizes".to_owned(), value());
    });
    check("/Channel/Orderer/OrdererOrg/Msp", "no value of this name", |group| {
        group_at(group, &["Orderer", "OrdererOrg"]).values.insert("Msp".to_owned(), value());
    });
    check("/Channel/Orderer", "\"a b\"", |group| {
        orderer_of(group).groups.insert("a b".to_owned(), ConfigGroup::default());
    });
    check("/Channel", "\"..\"", |group| {
        group.policies.insert("..".to_owned(), ConfigPolicy::default());
    });
    check("/Channel/Consortiums", "system channels", |group| {
        group.groups.insert("Consortiums".to_owned(), ConfigGroup::default());
    });
}

type ConfigValueOf = crate::proto::common::ConfigValue;

#[test]
fn a_channel_id_out_of_form_is_refused() {
    let error =
        ChannelConfig::from_config_envelope("Bench", &ConfigEnvelope::default()).expect_err("refused");
    assert_eq!(error.path, "block.data[0].channel_header.channel_id");
    assert!(error.reason.contains("\"Bench\""));

    let error =
        ChannelConfig::from_config_envelope("bench", &ConfigEnvelope::default()).expect_err("refused");
    assert_eq!(error.path, "block.data[0].config_envelope.config");
    let empty = ConfigEnvelope { config: Some(Default::default()), last_update: None };
    assert_eq!(ChannelConfig::from_config_envelope("bench", &empty).expect_err("refused").path, "/Channel");
}

#[test]
fn a_value_that_cannot_be_decoded_is_refused() {
    for (path, name) in
        [(&[][..], "Capabilities"), (&["Orderer"][..], "BatchSize"), (&["Orderer"][..], "Orderers")]
    {
        let full: String = path.iter().fold("/Channel".to_owned(), |full, part| format!("{full}/{part}"));
        check(&format!("{full}/{name}"), "cannot be decoded", |group| {
            group_at(group, path).values.get_mut(name).expect("a value").value = vec![0x0a, 0xff].into();
        });
    }
    check("/Channel/Orderer/OrdererOrg/MSP", "cannot be decoded", |group| {
        edit::<MspConfig>(group_at(group, &["Orderer", "OrdererOrg"]), "MSP", |msp| {
            msp.config = vec![0xff].into()
        });
    });
    check("/Channel/Orderer/ConsensusType/metadata", "cannot be decoded", |group| {
        edit::<orderer::ConsensusType>(orderer_of(group), "ConsensusType", |it| {
            it.metadata = vec![0xff].into()
        });
    });
}

#[test]
fn hashing_is_sha_256_or_sha3_over_full_width() {
    check("/Channel/HashingAlgorithm", "\"MD5\"", |group| {
        edit::<HashingAlgorithm>(group, "HashingAlgorithm", |it| it.name = "MD5".to_owned());
    });
    check("/Channel/BlockDataHashingStructure", "width 4", |group| {
        edit::<BlockDataHashingStructure>(group, "BlockDataHashingStructure", |it| it.width = 4);
    });
    let mut group = genesis_group();
    edit::<HashingAlgorithm>(&mut group, "HashingAlgorithm", |it| it.name = "SHA3_256".to_owned());
    parse(group).expect("SHA3_256 is a known algorithm");
}

#[test]
fn case_107_capabilities_must_be_known_and_sufficient() {
    let insert = |it: &mut Capabilities, name: &str| {
        it.capabilities.insert(name.to_owned(), Default::default());
    };
    check("/Channel/Capabilities", "\"V4_0\" is unknown", |group| {
        edit::<Capabilities>(group, "Capabilities", |it| insert(it, "V4_0"));
    });
    check("/Channel/Orderer/Capabilities", "\"V3_0\" is unknown", |group| {
        edit::<Capabilities>(orderer_of(group), "Capabilities", |it| insert(it, "V3_0"));
    });
    check("/Channel/Capabilities", "V3_0 is missing", |group| {
        edit::<Capabilities>(group, "Capabilities", |it| it.capabilities.clear());
    });
    check("/Channel/Capabilities", "V3_0 is missing", |group| drop(group.values.remove("Capabilities")));
    check("/Channel/Orderer/Capabilities", "V2_0 is missing", |group| {
        edit::<Capabilities>(orderer_of(group), "Capabilities", |it| it.capabilities.clear());
    });
}

#[test]
fn case_107_addresses_are_those_of_the_organizations() {
    check("/Channel/OrdererAddresses", "no global addresses", |group| {
        edit::<OrdererAddresses>(group, "OrdererAddresses", |it| it.addresses.push("a:1".to_owned()));
    });
    check("/Channel/Orderer/OrdererOrg/Endpoints", "an address is missing", |group| {
        group_at(group, &["Orderer", "OrdererOrg"]).values.remove("Endpoints");
    });
    check("/Channel/Orderer/OrdererOrg/Endpoints", "an address is missing", |group| {
        let organization = group_at(group, &["Orderer", "OrdererOrg"]);
        edit::<OrdererAddresses>(organization, "Endpoints", |it| it.addresses.clear());
    });
    for wrong in ["", "host", "host:", ":7050", "host:0", "host:65536", "ho st:7050"] {
        check("/Channel/Orderer/OrdererOrg/Endpoints", "host:port", |group| {
            let organization = group_at(group, &["Orderer", "OrdererOrg"]);
            edit::<OrdererAddresses>(organization, "Endpoints", |it| it.addresses[1] = wrong.to_owned());
        });
    }
}

/// Acceptance case 22, at the start of a channel.
#[test]
fn case_22_batches_have_limits_that_fit_each_other() {
    let batch = |reason: &str, change: fn(&mut orderer::BatchSize)| {
        check("/Channel/Orderer/BatchSize", reason, |group| edit(orderer_of(group), "BatchSize", change));
    };
    batch("max_message_count 0", |it| it.max_message_count = 0);
    batch("absolute_max_bytes 0", |it| it.absolute_max_bytes = 0);
    batch("preferred_max_bytes 0", |it| it.preferred_max_bytes = 0);
    batch("preferred_max_bytes 2097152 is more than absolute_max_bytes 2097151", |it| {
        it.absolute_max_bytes = it.preferred_max_bytes - 1;
    });
    for (text, reason) in
        [("0s", "more than 0"), ("-1s", "negative"), ("", "not a Go duration"), ("2", "not a Go duration")]
    {
        check("/Channel/Orderer/BatchTimeout", reason, |group| {
            edit::<orderer::BatchTimeout>(orderer_of(group), "BatchTimeout", |it| {
                it.timeout = text.to_owned()
            });
        });
    }
}

#[test]
fn the_consensus_type_is_one_that_is_known() {
    for unknown in ["", "etcdraft", "bft", "SOLO"] {
        check("/Channel/Orderer/ConsensusType", "neither \"BFT\" nor \"solo\"", |group| {
            edit::<orderer::ConsensusType>(orderer_of(group), "ConsensusType", |it| {
                it.r#type = unknown.to_owned()
            });
        });
    }
    check("/Channel/Orderer/ConsensusType", "state 7", |group| {
        edit::<orderer::ConsensusType>(orderer_of(group), "ConsensusType", |it| it.state = 7);
    });
}

#[test]
fn every_duration_of_the_options_must_parse_and_be_positive() {
    type Field = fn(&mut smartbft::Options) -> &mut String;
    let fields: [(&str, Field); 8] = [
        ("request_batch_max_interval", |it| &mut it.request_batch_max_interval),
        ("request_forward_timeout", |it| &mut it.request_forward_timeout),
        ("request_complain_timeout", |it| &mut it.request_complain_timeout),
        ("request_auto_remove_timeout", |it| &mut it.request_auto_remove_timeout),
        ("view_change_resend_interval", |it| &mut it.view_change_resend_interval),
        ("view_change_timeout", |it| &mut it.view_change_timeout),
        ("leader_heartbeat_timeout", |it| &mut it.leader_heartbeat_timeout),
        ("collect_timeout", |it| &mut it.collect_timeout),
    ];
    for (name, field) in fields {
        for (text, reason) in
            [("", "not a Go duration"), ("soon", "not a Go duration"), ("0s", "more than 0")]
        {
            check_options(name, reason, |options| *field(options) = text.to_owned());
        }
    }
    check_options("view_change_timeout_cap", "not a Go duration", |it| {
        it.view_change_timeout_cap = "x".to_owned()
    });
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    check_options("request_forward_timeout", "21s is longer than request_complain_timeout 20s", |it| {
        it.request_forward_timeout = "21s".to_owned();
    });
    check_options("request_complain_timeout", "200s is longer than request_auto_remove_timeout 180s", |it| {
        it.request_complain_timeout = "200s".to_owned();
    });
    check_options("view_change_resend_interval", "21s is longer than view_change_timeout 20s", |it| {
        it.view_change_resend_interval = "21s".to_owned();
    });
    check_options("view_change_timeout", "20s is longer than view_change_timeout_cap 1500ms", |it| {
        it.view_change_timeout_cap = "1.5s".to_owned();
    });
    check_options("request_max_bytes", "more than absolute_max_bytes", |it| {
        it.request_max_bytes = 10_485_761
    });
    check_options("dedup_blocks", "9 is less than window 10", |it| it.dedup_blocks = 9);
}

#[test]
fn options_out_of_range_are_refused() {
    check_options("leader_rotation", "ROTATION_ON", |it| it.leader_rotation = 2);
    check_options("leader_rotation", "3 is no known value", |it| it.leader_rotation = 3);
    check_options("request_pool_size", "0 is not within", |it| it.request_pool_size = 0);
    check_options("request_pool_size", "10000001 is not within", |it| it.request_pool_size = 10_000_001);
    check_options("incoming_message_buffer_size", "0 is not", |it| it.incoming_message_buffer_size = 0);
    check_options("leader_heartbeat_count", "0 is not", |it| it.leader_heartbeat_count = 0);
    check_options("window", "257 is not within 1 to 256", |it| it.window = 257);
    check_options("dedup_blocks", "1000001 is not", |it| it.dedup_blocks = 1_000_001);
    check_options("dedup_envelopes", "10000001 is not", |it| it.dedup_envelopes = 10_000_001);
    check_options("candidates_outstanding", "1001 is not", |it| it.candidates_outstanding = 1001);
    check_options("slow_primary_factor", "is not within", |it| it.slow_primary_factor = u64::MAX);
}

#[test]
fn case_107_consenters_are_complete() {
    check_consenters("", "at least one consenter", Vec::clear);
    check_consenters("", "257 consenters", |mapping| mapping.resize(257, mapping[0].clone()));
    check_consenters("/consenter_mapping[2]/id", "ids start at 1", |mapping| mapping[2].id = 0);
    check_consenters("/consenter_mapping[0]/host", "no host name", |mapping| mapping[0].host.clear());
    check_consenters("/consenter_mapping[0]/host", "no host name", |mapping| mapping[0].host.push(' '));
    check_consenters("/consenter_mapping[3]/port", "0 is not", |mapping| mapping[3].port = 0);
    check_consenters("/consenter_mapping[3]/port", "65536 is not", |mapping| mapping[3].port = 65536);
    check_consenters("/consenter_mapping[1]/msp_id", "\"NoMSP\"", |mapping| {
        mapping[1].msp_id = "NoMSP".to_owned()
    });
    // An organization that has applications only does not order.
    check_consenters("/consenter_mapping[1]/msp_id", "\"Org1MSP\"", |mapping| {
        mapping[1].msp_id = "Org1MSP".to_owned();
    });
}

#[test]
fn certificates_of_consenters_are_one_pem_certificate_each() {
    type Field = fn(&mut crate::proto::common::Consenter) -> &mut bytes::Bytes;
    let fields: [(&str, Field); 3] = [
        ("identity", |it| &mut it.identity),
        ("client_tls_cert", |it| &mut it.client_tls_cert),
        ("server_tls_cert", |it| &mut it.server_tls_cert),
    ];
    for (name, field) in fields {
        let path = format!("/consenter_mapping[1]/{name}");
        let pem = |tag: &str, content: &[u8]| pem::encode(&pem::Pem::new(tag, content)).into_bytes();
        check_consenters(&path, "missing", |mapping| field(&mut mapping[1]).clear());
        check_consenters(&path, "PEM", |mapping| *field(&mut mapping[1]) = "no PEM".into());
        check_consenters(&path, "exactly one CERTIFICATE", |mapping| {
            let certificate = field(&mut mapping[1]);
            *certificate = [&certificate[..], &certificate[..]].concat().into();
        });
        check_consenters(&path, "exactly one CERTIFICATE", |mapping| {
            *field(&mut mapping[1]) = pem("PRIVATE KEY", b"secret").into();
        });
        check_consenters(&path, "no X.509 certificate", |mapping| {
            *field(&mut mapping[1]) = pem("CERTIFICATE", b"none").into();
        });
        check_consenters(&path, "bytes after", |mapping| {
            let certificate = field(&mut mapping[1]);
            let mut der = pem::parse(&certificate[..]).expect("a certificate").into_contents();
            der.push(0);
            *certificate = pem("CERTIFICATE", &der).into();
        });
    }
}

#[test]
fn a_consenter_of_a_foreign_authority_is_refused() {
    check_consenters("/consenter_mapping[1]/identity", "", |mapping| {
        // A TLS certificate comes from the TLS authority, which vouches for no member.
        mapping[1].identity = mapping[1].server_tls_cert.clone();
    });
}

#[test]
fn case_107_consenters_differ_in_everything_that_tells_them_apart() {
    check_consenters("/consenter_mapping[2]/id", "also that of consenter 1", |mapping| mapping[2].id = 1);
    check_consenters("/consenter_mapping[2]/identity", "also that of consenter 2", |mapping| {
        mapping[2].identity = mapping[1].identity.clone();
    });
    check_consenters("/consenter_mapping[3]/client_tls_cert", "also that of consenter 1", |mapping| {
        mapping[3].client_tls_cert = mapping[0].client_tls_cert.clone();
    });
    check_consenters("/consenter_mapping[3]/server_tls_cert", "also that of consenter 1", |mapping| {
        mapping[3].server_tls_cert = mapping[0].server_tls_cert.clone();
    });
    // One's server certificate is not another's client certificate either.
    check_consenters("/consenter_mapping[3]/client_tls_cert", "also that of consenter 1", |mapping| {
        mapping[0].client_tls_cert = mapping[0].identity.clone();
        mapping[3].client_tls_cert = mapping[0].server_tls_cert.clone();
    });
    check_consenters("/consenter_mapping[1]/host", "also that of consenter 1", |mapping| {
        mapping[1].port = mapping[0].port;
    });
}

#[test]
fn case_23_block_validation_is_the_policy_that_follows_from_the_consenters() {
    const PATH: &str = "/Channel/Orderer/BlockValidation";
    let replace = |group: &mut ConfigGroup, policy: Option<Policy>| {
        let entry = orderer_of(group).policies.get_mut("BlockValidation").expect("the policy");
        entry.policy = policy;
    };
    let change = |group: &mut ConfigGroup, change: &dyn Fn(&mut SignaturePolicyEnvelope)| {
        let entry = orderer_of(group).policies.get_mut("BlockValidation").expect("the policy");
        let policy = entry.policy.as_mut().expect("a policy");
        let mut envelope = SignaturePolicyEnvelope::decode(policy.value.clone()).expect("a signature policy");
        change(&mut envelope);
        policy.value = envelope.encode_to_vec().into();
    };
    check(PATH, "empty", |group| replace(group, None));
    check(PATH, "is not 1, SIGNATURE", |group| {
        let other = group.policies["Readers"].policy.clone();
        replace(group, other);
    });
    check(PATH, "cannot be decoded", |group| {
        replace(group, Some(Policy { r#type: 1, value: vec![0xff].into() }));
    });
    check(PATH, "is not 3 of the 4", |group| change(group, &|it| drop(it.identities.pop())));
    check(PATH, "is not 3 of the 4", |group| change(group, &|it| it.identities.swap(0, 1)));
    check(PATH, "is not 3 of the 4", |group| change(group, &|it| it.version = 1));
    check(PATH, "is not 3 of the 4", |group| {
        change(group, &|it| {
            use crate::proto::common::signature_policy::Type;
            if let Some(Type::NOutOf(n_out_of)) = it.rule.as_mut().and_then(|rule| rule.r#type.as_mut()) {
                n_out_of.n = 2;
            }
        });
    });
    // Taking a consenter out without touching the policy: 3 consenters need 2 of 3.
    check(PATH, "is not 2 of the 3", |group| {
        edit::<Orderers>(orderer_of(group), "Orderers", |it| drop(it.consenter_mapping.pop()));
    });
}

#[test]
fn msps_are_of_a_known_kind_named_and_defined_once() {
    check("/Channel/Orderer/OrdererOrg/MSP", "type 1 is not supported", |group| {
        edit::<MspConfig>(group_at(group, &["Orderer", "OrdererOrg"]), "MSP", |it| it.r#type = 1);
    });
    let edit_msp = |group: &mut ConfigGroup, path: &[&str], change: &dyn Fn(&mut FabricMspConfig)| {
        edit::<MspConfig>(group_at(group, path), "MSP", |it| {
            let mut config = FabricMspConfig::decode(it.config.clone()).expect("an MSP");
            change(&mut config);
            it.config = config.encode_to_vec().into();
        });
    };
    check("/Channel/Orderer/OrdererOrg/MSP", "no name", |group| {
        edit_msp(group, &["Orderer", "OrdererOrg"], &|it| it.name.clear());
    });
    check(
        "/Channel/Application/Org1/MSP",
        "defined differently at /Channel/Orderer/OrdererOrg/MSP",
        |group| {
            edit_msp(group, &["Application", "Org1"], &|it| it.name = "OrdererMSP".to_owned());
        },
    );
    check("/Channel/Orderer/OrdererOrg/MSP", "root", |group| {
        edit_msp(group, &["Orderer", "OrdererOrg"], &|it| it.root_certs.clear());
    });

    // One organization that orders and has applications is fine with one definition.
    let mut group = genesis_group();
    let both = group_at(&mut group, &["Orderer", "OrdererOrg"]).values["MSP"].clone();
    group_at(&mut group, &["Application", "Org1"]).values.insert("MSP".to_owned(), both);
    parse(group).expect("it loads");
}
