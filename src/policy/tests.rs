//! Policies over real identities: those of a Fabric network's blocks, and made-up ones.

use bytes::Bytes;
use prost::Message as _;

use super::*;
use crate::msp::testing::{Authority, Member, config, role_principal, serialized};
use crate::proto::common::implicit_meta_policy::Rule;
use crate::proto::common::msp_role::MspRoleType::{self, Admin, Client, Member as AnyMember, Peer};
use crate::proto::common::policy::PolicyType;
use crate::proto::common::signature_policy::{NOutOf, Type};
use crate::proto::common::{
    Block, ConfigEnvelope, ConfigGroup, ConfigPolicy, Envelope, IdentifierHeader, ImplicitMetaPolicy,
    Metadata, MspPrincipal, Orderers, Payload, SignatureHeader, SignaturePolicy, SignaturePolicyEnvelope,
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

fn signed_by(principal: i32) -> SignaturePolicy {
    SignaturePolicy { r#type: Some(Type::SignedBy(principal)) }
}

fn n_out_of(n: i32, rules: impl Into<Vec<SignaturePolicy>>) -> SignaturePolicy {
    SignaturePolicy { r#type: Some(Type::NOutOf(NOutOf { n, rules: rules.into() })) }
}

fn raw_policy(kind: i32, value: Vec<u8>) -> ConfigPolicy {
    let policy = crate::proto::common::Policy { r#type: kind, value: value.into() };
    ConfigPolicy { policy: Some(policy), ..ConfigPolicy::default() }
}

fn signature_policy(rule: SignaturePolicy, identities: Vec<MspPrincipal>) -> ConfigPolicy {
    let envelope = SignaturePolicyEnvelope { version: 0, rule: Some(rule), identities };
    raw_policy(PolicyType::Signature.into(), envelope.encode_to_vec())
}

fn meta_policy(rule: Rule, sub_policy: &str) -> ConfigPolicy {
    let policy = ImplicitMetaPolicy { sub_policy: sub_policy.to_owned(), rule: rule.into() };
    raw_policy(PolicyType::ImplicitMeta.into(), policy.encode_to_vec())
}

fn group(
    policies: impl IntoIterator<Item = (&'static str, ConfigPolicy)>,
    groups: impl IntoIterator<Item = (&'static str, ConfigGroup)>,
) -> ConfigGroup {
    ConfigGroup {
        policies: policies.into_iter().map(|(name, policy)| (name.to_owned(), policy)).collect(),
        groups: groups.into_iter().map(|(name, group)| (name.to_owned(), group)).collect(),
        ..ConfigGroup::default()
    }
}

/// Two organizations with an authority each.
struct World {
    orgs: [Authority; 2],
    msps: MspManager,
}

impl World {
    fn new() -> Self {
        let orgs = ["ca.org1", "ca.org2"].map(|name| Authority::root(name, crate::msp::testing::P256));
        let configs = vec![config("Org1", &[&orgs[0]]), config("Org2", &[&orgs[1]])];
        Self { orgs, msps: MspManager::new(configs, true).unwrap() }
    }

    fn identity(&self, member: &Member, msp_id: &str) -> Arc<Identity> {
        self.msps.identity(&member.serialized(msp_id)).unwrap()
    }

    /// A new member of Org1 or Org2.
    fn member(&self, org: usize, unit: &str) -> Arc<Identity> {
        let member = self.orgs[org - 1].member(&[unit]);
        self.identity(&member, ["Org1", "Org2"][org - 1])
    }

    /// Whether the identities satisfy the rule over these roles of Org1.
    fn holds(&self, rule: SignaturePolicy, roles: &[MspRoleType], identities: &[&Arc<Identity>]) -> bool {
        let principals = roles.iter().map(|role| role_principal("Org1", *role)).collect();
        let root = group([("P", signature_policy(rule, principals))], []);
        let policies = Policies::from_channel_group(&root).unwrap();
        let identities: Vec<Arc<Identity>> = identities.iter().map(|i| Arc::clone(i)).collect();
        let verdict = policies.get("/Channel/P").unwrap().evaluate(&self.msps, &identities);
        assert!(matches!(verdict, Ok(()) | Err(PolicyError::Denied { .. })), "{verdict:?}");
        verdict.is_ok()
    }
}

#[test]
fn a_client_is_refused_by_a_policy_for_peers() {
    let world = World::new();
    let (client, peer) = (world.member(1, "client"), world.member(1, "peer"));
    assert!(!world.holds(n_out_of(1, [signed_by(0)]), &[Peer], &[&client]));
    assert!(world.holds(n_out_of(1, [signed_by(0)]), &[Peer], &[&peer]));
    assert!(!world.holds(n_out_of(1, [signed_by(0)]), &[Peer], &[&world.member(2, "peer")]));
    let policy = signature_policy(signed_by(0), vec![role_principal("Org1", Peer)]);
    let policies = Policies::from_channel_group(&group([("P", policy)], [])).unwrap();
    let member = world.orgs[0].member(&["client"]);
    let signed =
        SignedData { data: b"data", identity: &member.serialized("Org1"), signature: &member.sign(b"data") };
    assert_eq!(
        policies.check_signed("/Channel/P", &world.msps, &[signed]).unwrap_err().to_string(),
        "policy /Channel/P: the signatures do not satisfy the policy: the identity is not a peer"
    );
}

#[test]
fn each_identity_counts_once() {
    let world = World::new();
    let (admin, client) = (world.member(1, "admin"), world.member(1, "client"));
    let both = || n_out_of(2, [signed_by(0), signed_by(1)]);
    assert!(!world.holds(both(), &[Admin, AnyMember], &[&admin]));
    assert!(!world.holds(both(), &[Admin, AnyMember], &[&admin, &admin]));
    assert!(world.holds(both(), &[Admin, AnyMember], &[&admin, &client]));
    // Greedy: the first rule takes the first that fits, though the second rule needed it.
    assert!(!world.holds(both(), &[AnyMember, Admin], &[&admin, &client]));
    assert!(world.holds(both(), &[AnyMember, Admin], &[&client, &admin]));
}

#[test]
fn a_group_of_rules_that_fails_gives_back_what_it_took() {
    let world = World::new();
    let (admin, client) = (world.member(1, "admin"), world.member(1, "client"));
    // (admin and peer) or admin: the admin that the first group took is free for the second.
    let rule = n_out_of(1, [n_out_of(2, [signed_by(0), signed_by(1)]), signed_by(0)]);
    assert!(world.holds(rule, &[Admin, Peer], &[&admin, &client]));
    // A group that holds keeps also what it took beyond need.
    let rule = n_out_of(2, [n_out_of(1, [signed_by(0), signed_by(1)]), signed_by(1)]);
    assert!(!world.holds(rule, &[Admin, Client], &[&admin, &client]));
}

#[test]
fn a_policy_that_needs_no_signature_accepts_anybody() {
    let world = World::new();
    assert!(world.holds(n_out_of(0, []), &[], &[]));
    assert!(world.holds(n_out_of(0, [signed_by(0)]), &[Admin], &[]));
    assert!(world.holds(n_out_of(0, []), &[], &[&world.member(2, "peer")]));
    let stranger = Authority::root("ca", crate::msp::testing::P256).member(&["client"]);
    let policy = signature_policy(n_out_of(0, []), Vec::new());
    let policies = Policies::from_channel_group(&group([("P", policy)], [])).unwrap();
    let signed =
        SignedData { data: b"data", identity: &stranger.serialized("Org9"), signature: b"no signature" };
    policies.check_signed("/Channel/P", &world.msps, &[signed]).unwrap();
    policies.check_signed("/Channel/P", &world.msps, &[]).unwrap();
}

#[test]
fn more_than_there_are_rules_can_never_hold() {
    let world = World::new();
    let (one, two) = (world.member(1, "client"), world.member(1, "client"));
    assert!(!world.holds(n_out_of(2, [signed_by(0)]), &[Client], &[&one, &two]));
    assert!(world.holds(n_out_of(2, [signed_by(0), signed_by(0)]), &[Client], &[&one, &two]));
}

#[test]
fn the_same_certificate_in_another_organization_or_wrapping_is_told_apart_rightly() {
    let shared = Authority::root("ca", crate::msp::testing::P256);
    let configs = vec![config("Org1", &[&shared]), config("Org2", &[&shared])];
    let msps = MspManager::new(configs, true).unwrap();
    let member = shared.member(&["client"]);
    let rule = n_out_of(2, [signed_by(0), signed_by(1)]);
    let of = |first: &str, second: &str| {
        let principals = vec![role_principal(first, Client), role_principal(second, Client)];
        let root = group([("P", signature_policy(rule.clone(), principals))], []);
        Policies::from_channel_group(&root).unwrap()
    };
    let signature = member.sign(b"data");
    let rewrapped = serialized("Org1", &format!("text before\n{}", member.pem));
    let check = |policies: &Policies, identities: [&Bytes; 2]| {
        let signed = identities.map(|identity| SignedData { data: b"data", identity, signature: &signature });
        policies.check_signed("/Channel/P", &msps, &signed).is_ok()
    };
    let (first, second) = (member.serialized("Org1"), member.serialized("Org2"));
    assert!(!check(&of("Org1", "Org1"), [&first, &rewrapped]));
    assert!(check(&of("Org1", "Org2"), [&first, &second]));
}

#[test]
fn invalid_signatures_and_identities_are_left_out_and_the_rest_counts() {
    let world = World::new();
    let rule = n_out_of(1, [signed_by(0)]);
    let policy = signature_policy(rule, vec![role_principal("Org1", Client)]);
    let policies = Policies::from_channel_group(&group([("P", policy)], [])).unwrap();
    let good = world.orgs[0].member(&["client"]);
    let foreign = Authority::root("ca.org1", crate::msp::testing::P256).member(&["client"]);
    let (good_id, foreign_id) = (good.serialized("Org1"), foreign.serialized("Org1"));
    let unknown_id = good.serialized("Org9");
    let (good_sig, foreign_sig) = (good.sign(b"data"), foreign.sign(b"data"));
    let signed = |identity, signature| SignedData { data: b"data", identity, signature };
    let check = |set: &[SignedData<'_>]| policies.check_signed("/Channel/P", &world.msps, set);
    let denied = |set: &[SignedData<'_>]| check(set).unwrap_err().to_string();
    let bad = [
        signed(&foreign_id, &foreign_sig),
        signed(&unknown_id, &good_sig),
        signed(b"garbage", &good_sig),
        // A wrong signature does not use up its creator.
        signed(&good_id, &foreign_sig),
    ];
    assert!(denied(&bad[..1]).contains("was not signed by any certification authority"));
    assert!(denied(&bad[1..2]).contains("MSP \"Org9\" is unknown"));
    assert!(denied(&bad[2..3]).contains("cannot be decoded"));
    assert!(denied(&bad[3..]).contains("not valid"));
    denied(&bad);
    check(&[&bad[..], &[signed(&good_id, &good_sig)]].concat()).unwrap();
}

#[test]
fn any_all_and_majority_count_the_groups_below() {
    let world = World::new();
    let org = |msp_id: &str| {
        let principals = vec![role_principal(msp_id, Client)];
        group([("Writers", signature_policy(n_out_of(1, [signed_by(0)]), principals))], [])
    };
    let of_rule = |rule| {
        let orgs = [("A", org("Org1")), ("B", org("Org2")), ("C", org("Org3"))];
        let root = group([("Writers", meta_policy(rule, "Writers"))], orgs);
        Policies::from_channel_group(&root).unwrap()
    };
    let (first, second) = (world.member(1, "client"), world.member(2, "client"));
    for (rule, needed) in [(Rule::Any, 1), (Rule::Majority, 2), (Rule::All, 3)] {
        let policies = of_rule(rule);
        let writers = policies.get("/Channel/Writers").unwrap();
        for satisfied in 0..=2 {
            let identities = [first.clone(), second.clone()];
            match writers.evaluate(&world.msps, &identities[..satisfied]) {
                Ok(()) => assert!(satisfied >= needed, "{rule:?} with {satisfied}"),
                Err(err) => {
                    assert!(satisfied < needed, "{rule:?} with {satisfied}");
                    assert_eq!(
                        err.to_string(),
                        format!(
                            "policy /Channel/Writers: implicit policy evaluation failed - \
                             {satisfied} sub-policies were satisfied, but this policy requires \
                             {needed} of the 'Writers' sub-policies to be satisfied"
                        )
                    );
                }
            }
        }
    }
}

#[test]
fn an_implicit_policy_over_no_group_accepts_anybody_but_a_group_without_the_policy_counts() {
    let world = World::new();
    for rule in [Rule::Any, Rule::All, Rule::Majority] {
        let alone = group([("Writers", meta_policy(rule, "Writers"))], []);
        let policies = Policies::from_channel_group(&alone).unwrap();
        policies.get("/Channel/Writers").unwrap().evaluate(&world.msps, &[]).unwrap();
        // Nobody satisfies a policy that is not there.
        let lacking = group([("Writers", meta_policy(rule, "Writers"))], [("A", group([], []))]);
        let policies = Policies::from_channel_group(&lacking).unwrap();
        let writers = policies.get("/Channel/Writers").unwrap();
        writers.evaluate(&world.msps, &[world.member(1, "client")]).unwrap_err();
    }
}

#[test]
fn an_unknown_policy_rejects_always() {
    let world = World::new();
    let policies = Policies::from_channel_group(&group([], [])).unwrap();
    assert!(policies.get("/Channel/Writers").is_none());
    assert_eq!(
        policies.check_signed("/Channel/Writers", &world.msps, &[]),
        Err(PolicyError::Missing { path: "/Channel/Writers".to_owned() })
    );
}

#[test]
fn malformed_policies_are_refused_with_their_path() {
    let principal = || vec![role_principal("Org1", Client)];
    let untyped = SignaturePolicy { r#type: None };
    let mut deep = signed_by(0);
    for _ in 0..40 {
        deep = n_out_of(1, [deep]);
    }
    let ruleless = SignaturePolicyEnvelope { version: 0, rule: None, identities: Vec::new() };
    let newer = SignaturePolicyEnvelope { version: 1, rule: Some(n_out_of(0, [])), identities: Vec::new() };
    let signature: i32 = PolicyType::Signature.into();
    let meta: i32 = PolicyType::ImplicitMeta.into();
    for (policy, reason) in [
        (ConfigPolicy::default(), "policy is missing"),
        (raw_policy(0, Vec::new()), "type UNKNOWN cannot be evaluated"),
        (raw_policy(2, Vec::new()), "type MSP cannot be evaluated"),
        (raw_policy(77, Vec::new()), "type 77 is unknown"),
        (raw_policy(signature, vec![0xff]), "not a SignaturePolicyEnvelope"),
        (raw_policy(signature, ruleless.encode_to_vec()), "rule is missing"),
        (raw_policy(signature, newer.encode_to_vec()), "version 1 is not supported"),
        (raw_policy(meta, vec![0xff]), "not an ImplicitMetaPolicy"),
        (raw_policy(meta, vec![0x10, 9]), "rule 9 is unknown"),
        (signature_policy(signed_by(1), principal()), "names principal 1 of 1"),
        (signature_policy(signed_by(-1), principal()), "names principal -1 of 1"),
        (signature_policy(n_out_of(-1, []), principal()), "negative"),
        (signature_policy(untyped, principal()), "a rule without a type"),
        (signature_policy(deep, principal()), "nested more than 32 deep"),
        (signature_policy(n_out_of(1, vec![signed_by(0); 5000]), principal()), "more than 4096 rules"),
        (
            signature_policy(signed_by(0), vec![role_principal("Org1", Client); 1025]),
            "more than 1024 principals",
        ),
    ] {
        let root = group([], [("Orderer", group([("Bad", policy)], []))]);
        let err = Policies::from_channel_group(&root).unwrap_err().to_string();
        assert!(err.starts_with("policy /Channel/Orderer/Bad: "), "{err}");
        assert!(err.contains(reason), "{err} does not contain {reason}");
    }
}

#[test]
fn groups_nested_too_deep_or_named_like_paths_are_refused() {
    let mut deep = group([], []);
    for _ in 0..20 {
        deep = group([], [("G", deep)]);
    }
    let err = Policies::from_channel_group(&deep).unwrap_err().to_string();
    assert!(err.contains("nested more than 16 deep"), "{err}");
    for name in ["", "A/B"] {
        let root = group([], [(name, group([], []))]);
        let err = Policies::from_channel_group(&root).unwrap_err().to_string();
        assert!(err.contains("cannot be a part of a path"), "{err}");
    }
    // Nor does a sub-policy's name reach deeper than the groups right below.
    let open = group([("P", signature_policy(n_out_of(0, []), Vec::new()))], []);
    let root =
        group([("Meta", meta_policy(Rule::Any, "Inner/P"))], [("Outer", group([], [("Inner", open)]))]);
    let policies = Policies::from_channel_group(&root).unwrap();
    let meta = policies.get("/Channel/Meta").unwrap();
    meta.evaluate(&World::new().msps, &[]).unwrap_err();
}

#[test]
fn one_evaluation_takes_a_bounded_number_of_signatures() {
    let world = World::new();
    let policy = signature_policy(n_out_of(0, []), Vec::new());
    let policies = Policies::from_channel_group(&group([("P", policy)], [])).unwrap();
    let signed = SignedData { data: b"", identity: b"", signature: b"" };
    let err = policies.check_signed("/Channel/P", &world.msps, &[signed; MAX_SIGNATURES + 1]).unwrap_err();
    assert!(matches!(err, PolicyError::TooManySignatures { found: 1025, .. }), "{err}");
    policies.check_signed("/Channel/P", &world.msps, &[signed; MAX_SIGNATURES]).unwrap();
}

#[test]
fn no_mutilated_configuration_or_signature_set_makes_it_panic() {
    use rand::{Rng as _, RngExt as _, SeedableRng as _};
    let channel = channel(GENESIS);
    let bytes = channel.group.encode_to_vec();
    let (payload, creator, signature) = signed_envelopes(&Block::decode(BLOCKS[0]).unwrap()).remove(0);
    let mut rng = rand::rngs::StdRng::seed_from_u64(2);
    let mut read = 0;
    for _ in 0..400 {
        let mut bytes = bytes.clone();
        match rng.random_range(0..8) {
            0 => bytes.truncate(rng.random_range(0..bytes.len())),
            1 => {
                let at = rng.random_range(0..bytes.len());
                rng.fill_bytes(&mut bytes[at..]);
            }
            _ => {
                let at = rng.random_range(0..bytes.len());
                bytes[at] ^= 1 << rng.random_range(0..8);
            }
        }
        let Ok(group) = ConfigGroup::decode(&bytes[..]) else { continue };
        let Ok(policies) = Policies::from_channel_group(&group) else { continue };
        read += 1;
        let mut set = Vec::new();
        for part in [&payload, &creator, &signature] {
            let mut part = part.to_vec();
            let at = rng.random_range(0..part.len());
            part[at] ^= rng.random_range(0..4);
            set.push(part);
        }
        let signed = SignedData { data: &set[0], identity: &set[1], signature: &set[2] };
        for path in policies.paths() {
            let _ = policies.check_signed(path, &channel.msps, &[signed]);
        }
    }
    assert!(read > 50, "only {read} could be read at all");
}
