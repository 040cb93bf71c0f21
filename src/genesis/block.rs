//! The genesis block of a specification (fabric-spec B.6).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

use bytes::Bytes;
use prost::Message;
use ring::rand::{SecureRandom as _, SystemRandom};

use super::spec::{
    ConsensusKind, GenesisSpec, OptionsSpec, OrganizationRole, OrganizationSpec, ReplicaSpec, Writers,
};
use super::{GenesisError, Unit, read_bytes};
use crate::channel_config::{ChannelConfig, derived_policy, format_go_duration};
use crate::header::{data_hash, sha256};
use crate::proto::common::{
    Block, BlockData, BlockDataHashingStructure, BlockHeader, BlockMetadata, Capabilities, Capability,
    ChannelHeader, Config, ConfigEnvelope, ConfigGroup, ConfigPolicy, ConfigValue, Consenter, Envelope,
    HashingAlgorithm, Header, HeaderType, ImplicitMetaPolicy, LastConfig, Metadata, MspPrincipal, MspRole,
    OrdererAddresses, OrdererBlockMetadata, Orderers, Payload, Policy, SignatureHeader, SignaturePolicy,
    SignaturePolicyEnvelope, implicit_meta_policy, msp_principal, msp_role, policy, signature_policy,
};
use crate::proto::msp::{FabricCryptoConfig, FabricMspConfig, FabricNodeOUs, FabricOuIdentifier, MspConfig};
use crate::proto::orderer;

/// The genesis block of `spec`, whose certificates are read from their files. It was checked: a
/// node that reads it finds nothing wrong. Timestamp and nonce make each one unique.
///
/// # Errors
/// A certificate cannot be read, or the specification makes no consistent configuration; the
/// error then has the path of the value.
pub fn genesis_block(spec: &GenesisSpec) -> Result<Block, GenesisError> {
    let envelope = ConfigEnvelope {
        config: Some(Config { sequence: 0, channel_group: Some(channel_group(spec)?) }),
        last_update: None,
    };
    let block = wrap(&spec.channel, &envelope)?;
    ChannelConfig::from_block(&block).map_err(GenesisError::Config)?;
    Ok(block)
}

/// A block 0 around a configuration: one unsigned CONFIG envelope, five metadata slots.
fn wrap(channel: &str, envelope: &ConfigEnvelope) -> Result<Block, GenesisError> {
    let mut nonce = [0; 24];
    SystemRandom::new().fill(&mut nonce).map_err(|_| GenesisError::NoRandomness)?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_err(|_| GenesisError::Clock)?;
    let channel_header = ChannelHeader {
        r#type: HeaderType::Config as i32,
        version: 1,
        timestamp: Some(prost_types::Timestamp { seconds: now.as_secs() as i64, nanos: 0 }),
        channel_id: channel.to_owned(),
        tx_id: hex::encode(sha256(&nonce).0), // over nonce and creator, of which there is none
        ..ChannelHeader::default()
    };
    let signature_header = SignatureHeader { creator: Bytes::new(), nonce: Bytes::copy_from_slice(&nonce) };
    let payload = Payload {
        header: Some(Header {
            channel_header: encoded(&channel_header),
            signature_header: encoded(&signature_header),
        }),
        data: encoded(envelope),
    };
    let envelope = Envelope { payload: encoded(&payload), signature: Bytes::new() };
    let data = vec![encoded(&envelope)];

    let last_config = LastConfig { index: 0 };
    let metadata = OrdererBlockMetadata { last_config: Some(last_config), consenter_metadata: Bytes::new() };
    let slot = |value: Bytes| encoded(&Metadata { value, signatures: Vec::new() });
    let slots =
        vec![slot(encoded(&metadata)), slot(encoded(&last_config)), Bytes::new(), Bytes::new(), Bytes::new()];
    Ok(Block {
        header: Some(BlockHeader {
            number: 0,
            previous_hash: Bytes::new(),
            data_hash: Bytes::copy_from_slice(&data_hash(&data).0),
        }),
        data: Some(BlockData { data }),
        metadata: Some(BlockMetadata { metadata: slots }),
    })
}

fn channel_group(spec: &GenesisSpec) -> Result<ConfigGroup, GenesisError> {
    let writers = match spec.writers {
        Writers::Signed => implicit("Writers", implicit_meta_policy::Rule::Any),
        Writers::Open => no_signature(),
    };
    Ok(group(
        [("Orderer", orderer_group(spec)?), ("Application", application_group(spec)?)],
        [
            ("HashingAlgorithm", encoded(&HashingAlgorithm { name: "SHA256".to_owned() })),
            ("BlockDataHashingStructure", encoded(&BlockDataHashingStructure { width: u32::MAX })),
            ("Capabilities", capabilities("V3_0")),
        ],
        [
            ("Readers", implicit("Readers", implicit_meta_policy::Rule::Any)),
            ("Writers", writers),
            ("Admins", implicit("Admins", implicit_meta_policy::Rule::Majority)),
        ],
    ))
}

fn orderer_group(spec: &GenesisSpec) -> Result<ConfigGroup, GenesisError> {
    let consenters = spec.replicas.iter().map(consenter).collect::<Result<Vec<_>, _>>()?;
    let consensus = match spec.consensus {
        ConsensusKind::Bft => orderer::ConsensusType {
            r#type: "BFT".to_owned(),
            metadata: encoded(&options(spec)),
            state: orderer::consensus_type::State::Normal as i32,
        },
        ConsensusKind::Solo => {
            orderer::ConsensusType { r#type: "solo".to_owned(), ..orderer::ConsensusType::default() }
        }
    };
    let batch = orderer::BatchSize {
        max_message_count: spec.batch.max_message_count,
        absolute_max_bytes: spec.batch.absolute_max_bytes,
        preferred_max_bytes: spec.batch.preferred_max_bytes,
    };
    let timeout = orderer::BatchTimeout { timeout: format_go_duration(spec.batch.timeout) };
    let block_validation = derived_policy(&consenters);

    let mut organizations = Vec::new();
    for organization in with_role(spec, OrganizationRole::Orderer) {
        let replicas = spec.replicas.iter().filter(|replica| replica.msp_id == organization.msp_id);
        let endpoints =
            OrdererAddresses { addresses: replicas.map(|replica| replica.endpoint.clone()).collect() };
        let member = || roles(&organization.msp_id, &[msp_role::MspRoleType::Member]);
        organizations.push((
            organization.name.as_str(),
            group(
                [],
                [("MSP", msp(organization)?), ("Endpoints", encoded(&endpoints))],
                [
                    ("Readers", member()),
                    ("Writers", member()),
                    ("Admins", roles(&organization.msp_id, &[msp_role::MspRoleType::Admin])),
                ],
            ),
        ));
    }
    Ok(group(
        organizations,
        [
            ("ConsensusType", encoded(&consensus)),
            ("BatchSize", encoded(&batch)),
            ("BatchTimeout", encoded(&timeout)),
            ("ChannelRestrictions", encoded(&orderer::ChannelRestrictions::default())),
            ("Capabilities", capabilities("V2_0")),
            ("Orderers", encoded(&Orderers { consenter_mapping: consenters })),
        ],
        [
            ("Readers", implicit("Readers", implicit_meta_policy::Rule::Any)),
            ("Writers", implicit("Writers", implicit_meta_policy::Rule::Any)),
            ("Admins", implicit("Admins", implicit_meta_policy::Rule::Majority)),
            ("BlockValidation", block_validation),
        ],
    ))
}

fn application_group(spec: &GenesisSpec) -> Result<ConfigGroup, GenesisError> {
    use msp_role::MspRoleType::{Admin, Client, Peer};

    let mut organizations = Vec::new();
    for organization in with_role(spec, OrganizationRole::Application) {
        let id = &organization.msp_id;
        organizations.push((
            organization.name.as_str(),
            group(
                [],
                [("MSP", msp(organization)?)],
                [
                    ("Readers", roles(id, &[Admin, Peer, Client])),
                    ("Writers", roles(id, &[Admin, Client])),
                    ("Admins", roles(id, &[Admin])),
                    ("Endorsement", roles(id, &[Peer])),
                ],
            ),
        ));
    }
    Ok(group(
        organizations,
        [("Capabilities", capabilities("V2_5"))],
        [
            ("Readers", implicit("Readers", implicit_meta_policy::Rule::Any)),
            ("Writers", implicit("Writers", implicit_meta_policy::Rule::Any)),
            ("Admins", implicit("Admins", implicit_meta_policy::Rule::Majority)),
            ("Endorsement", implicit("Endorsement", implicit_meta_policy::Rule::Majority)),
            ("LifecycleEndorsement", implicit("Endorsement", implicit_meta_policy::Rule::Majority)),
        ],
    ))
}

fn with_role(spec: &GenesisSpec, role: OrganizationRole) -> impl Iterator<Item = &OrganizationSpec> {
    spec.organizations.iter().filter(move |organization| organization.role == role)
}

fn consenter(replica: &ReplicaSpec) -> Result<Consenter, GenesisError> {
    let cluster = read_bytes(&replica.cluster)?;
    Ok(Consenter {
        id: replica.id,
        host: replica.host.clone(),
        port: u32::from(replica.port),
        msp_id: replica.msp_id.clone(),
        identity: read_bytes(&replica.identity)?,
        client_tls_cert: cluster.clone(),
        server_tls_cert: cluster,
    })
}

/// Fields of parts that this engine does not have get values that Fabric's tools accept.
fn options(spec: &GenesisSpec) -> orderer::smartbft::Options {
    let OptionsSpec {
        request_pool_size,
        forward_timeout,
        complain_timeout,
        view_change_timeout,
        view_change_timeout_cap,
        resend_interval,
        window,
        dedup_blocks,
        dedup_envelopes,
        candidates_outstanding,
        slow_primary_factor,
    } = spec.options;
    let auto_remove = complain_timeout.max(std::time::Duration::from_secs(180));
    orderer::smartbft::Options {
        request_batch_max_count: u64::from(spec.batch.max_message_count),
        request_batch_max_bytes: u64::from(spec.batch.absolute_max_bytes),
        request_batch_max_interval: format_go_duration(spec.batch.timeout),
        incoming_message_buffer_size: 200,
        request_pool_size,
        request_forward_timeout: format_go_duration(forward_timeout),
        request_complain_timeout: format_go_duration(complain_timeout),
        request_auto_remove_timeout: format_go_duration(auto_remove),
        request_max_bytes: 0,
        view_change_resend_interval: format_go_duration(resend_interval),
        view_change_timeout: format_go_duration(view_change_timeout),
        leader_heartbeat_timeout: "1m0s".to_owned(),
        leader_heartbeat_count: 10,
        collect_timeout: "1s".to_owned(),
        sync_on_start: false,
        speed_up_view_change: false,
        leader_rotation: orderer::smartbft::options::Rotation::Off as i32,
        decisions_per_leader: 0,
        window,
        dedup_blocks,
        dedup_envelopes,
        candidates_outstanding,
        slow_primary_factor,
        view_change_timeout_cap: format_go_duration(view_change_timeout_cap),
    }
}

/// An organization's MSP: its authorities, and node OUs, so that roles go by the organizational
/// unit of a member's certificate.
fn msp(organization: &OrganizationSpec) -> Result<Bytes, GenesisError> {
    let read = |files: &[PathBuf]| files.iter().map(|file| read_bytes(file)).collect::<Result<Vec<_>, _>>();
    let unit = |unit: Unit| {
        Some(FabricOuIdentifier {
            certificate: Bytes::new(), // of any of the organization's authorities
            organizational_unit_identifier: unit.name().to_owned(),
        })
    };
    let config = FabricMspConfig {
        name: organization.msp_id.clone(),
        root_certs: read(&organization.ca)?,
        intermediate_certs: read(&organization.intermediate_ca)?,
        crypto_config: Some(FabricCryptoConfig {
            signature_hash_family: "SHA2".to_owned(),
            identity_identifier_hash_function: "SHA256".to_owned(),
        }),
        tls_root_certs: read(&organization.tls_ca)?,
        fabric_node_ous: Some(FabricNodeOUs {
            enable: true,
            client_ou_identifier: unit(Unit::Client),
            peer_ou_identifier: unit(Unit::Peer),
            admin_ou_identifier: unit(Unit::Admin),
            orderer_ou_identifier: unit(Unit::Orderer),
        }),
        ..FabricMspConfig::default()
    };
    Ok(encoded(&MspConfig { r#type: 0, config: encoded(&config) }))
}

fn group<'a>(
    groups: impl IntoIterator<Item = (&'a str, ConfigGroup)>,
    values: impl IntoIterator<Item = (&'a str, Bytes)>,
    policies: impl IntoIterator<Item = (&'a str, Policy)>,
) -> ConfigGroup {
    let value = |value: Bytes| ConfigValue { version: 0, value, mod_policy: ADMINS.to_owned() };
    let policy =
        |policy: Policy| ConfigPolicy { version: 0, policy: Some(policy), mod_policy: ADMINS.to_owned() };
    ConfigGroup {
        version: 0,
        groups: groups.into_iter().map(|(name, group)| (name.to_owned(), group)).collect(),
        values: values.into_iter().map(|(name, bytes)| (name.to_owned(), value(bytes))).collect(),
        policies: policies.into_iter().map(|(name, it)| (name.to_owned(), policy(it))).collect(),
        mod_policy: ADMINS.to_owned(),
    }
}

fn implicit(sub_policy: &str, rule: implicit_meta_policy::Rule) -> Policy {
    let meta = ImplicitMetaPolicy { sub_policy: sub_policy.to_owned(), rule: rule as i32 };
    Policy { r#type: policy::PolicyType::ImplicitMeta as i32, value: encoded(&meta) }
}

/// One signature by a member of the organization in any of these roles.
fn roles(msp_id: &str, roles: &[msp_role::MspRoleType]) -> Policy {
    let principals = roles.iter().map(|role| MspPrincipal {
        principal_classification: msp_principal::Classification::Role as i32,
        principal: encoded(&MspRole { msp_identifier: msp_id.to_owned(), role: *role as i32 }),
    });
    let signed_by = |index| SignaturePolicy { r#type: Some(signature_policy::Type::SignedBy(index)) };
    signature(1, (0..).take(roles.len()).map(signed_by).collect(), principals.collect())
}

/// A policy that is satisfied by no signature at all.
fn no_signature() -> Policy {
    signature(0, Vec::new(), Vec::new())
}

fn signature(n: i32, rules: Vec<SignaturePolicy>, identities: Vec<MspPrincipal>) -> Policy {
    let n_out_of = signature_policy::NOutOf { n, rules };
    let envelope = SignaturePolicyEnvelope {
        version: 0,
        rule: Some(SignaturePolicy { r#type: Some(signature_policy::Type::NOutOf(n_out_of)) }),
        identities,
    };
    Policy { r#type: policy::PolicyType::Signature as i32, value: encoded(&envelope) }
}

fn capabilities(name: &str) -> Bytes {
    encoded(&Capabilities { capabilities: BTreeMap::from([(name.to_owned(), Capability {})]) })
}

fn encoded(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

/// The policy that may change an element, relative to its group.
const ADMINS: &str = "Admins";
