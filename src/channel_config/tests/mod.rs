//! Real configurations load; each refusal has its path; no bytes make the parser panic.

mod hostile_bytes;
mod refusals;

use std::time::Duration;

use prost::Message as _;

use super::*;
use crate::dedup_window::DedupRule;
use crate::header::data_hash as hash_of;
use crate::proto::common::{Config, ConfigGroup, ConfigValue};

const GENESIS: &[u8] = include_bytes!("../../../tests/fabric-vectors/genesis.pb");
const CONFIG_BLOCK_4: &[u8] = include_bytes!("../../../tests/fabric-vectors/config-block4.pb");
const BLOCK_1: &[u8] = include_bytes!("../../../tests/fabric-vectors/block1.pb");

fn block(bytes: &[u8]) -> Block {
    Block::decode(bytes).expect("a vector is a block")
}

/// The configuration tree of the real genesis block.
fn genesis_group() -> ConfigGroup {
    let data = block(GENESIS).data.expect("data").data;
    let envelope = Envelope::decode(data[0].clone()).expect("envelope");
    let payload = Payload::decode(envelope.payload).expect("payload");
    let envelope = ConfigEnvelope::decode(payload.data).expect("config envelope");
    envelope.config.expect("config").channel_group.expect("channel group")
}

fn parse(group: ConfigGroup) -> Result<ChannelConfig, ConfigError> {
    let config = Config { sequence: 0, channel_group: Some(group) };
    ChannelConfig::from_config_envelope("bench", &ConfigEnvelope { config: Some(config), last_update: None })
}

/// The group at `path` below the channel group, such as `["Orderer", "OrdererOrg"]`.
fn group_at<'a>(group: &'a mut ConfigGroup, path: &[&str]) -> &'a mut ConfigGroup {
    path.iter().fold(group, |group, name| group.groups.get_mut(*name).expect("a group of the genesis"))
}

/// Changes one value of a group, which may have been missing.
fn edit<T: prost::Message + Default>(group: &mut ConfigGroup, name: &str, change: impl FnOnce(&mut T)) {
    let mut value = group
        .values
        .get(name)
        .map_or_else(T::default, |value| T::decode(value.value.clone()).expect("a value of the genesis"));
    change(&mut value);
    let value = ConfigValue { value: value.encode_to_vec().into(), ..ConfigValue::default() };
    group.values.insert(name.to_owned(), value);
}

fn edit_options(group: &mut ConfigGroup, change: impl FnOnce(&mut orderer::smartbft::Options)) {
    edit::<orderer::ConsensusType>(group_at(group, &["Orderer"]), "ConsensusType", |consensus| {
        let mut options =
            orderer::smartbft::Options::decode(consensus.metadata.clone()).expect("options of the genesis");
        change(&mut options);
        consensus.metadata = options.encode_to_vec().into();
    });
}

fn options_of(config: &ChannelConfig) -> &Options {
    match &config.consensus {
        Consensus::Sbft(options) => options,
        Consensus::Solo => panic!("a BFT channel"),
    }
}

/// Part 4 of the issue: a genesis that Fabric's tools made loads as it is.
#[test]
fn the_genesis_of_a_fabric_network_loads_unchanged() {
    let config = ChannelConfig::from_block(&block(GENESIS)).expect("it loads");

    assert_eq!(config.channel_id, "bench");
    assert_eq!(config.sequence, 0);
    assert!(config.v3);
    assert!(!config.maintenance);
    let batch =
        BatchSize { max_message_count: 500, absolute_max_bytes: 10_485_760, preferred_max_bytes: 2_097_152 };
    assert_eq!(config.batch, batch);
    assert_eq!(config.batch_timeout, Duration::from_millis(200));
    let seconds = Duration::from_secs;
    let options = Options {
        forward_timeout: seconds(5),
        complain_timeout: seconds(20),
        view_change_timeout: seconds(20),
        view_change_timeout_cap: seconds(160),
        resend_interval: seconds(5),
        request_pool_size: 100_000,
        window: 10,
        dedup: DedupRule { blocks: 1000, envelopes: 200_000 },
        outstanding: 16,
        slow_primary_factor: 20,
    };
    assert_eq!(config.consensus, Consensus::Sbft(options));
    let endpoints: Vec<String> = (1..=4).map(|id| format!("127.0.0.1:705{id}")).collect();
    assert_eq!(config.endpoints, BTreeMap::from([("OrdererOrg".to_owned(), endpoints.clone())]));
    let addresses: Vec<String> = config.consenters.iter().map(Consenter::address).collect();
    assert_eq!(addresses, endpoints);
    for (place, consenter) in (0..).map(Place).zip(&config.consenters) {
        assert_eq!(consenter.id, ConsenterId(u32::from(place.0) + 1));
        assert_eq!(consenter.msp_id, "OrdererMSP");
        assert_eq!(config.place_of(consenter.id), Some(place));
        assert_eq!(config.place_of_key(&consenter.key), Some(place));
        assert_eq!(config.consenter(place).map(|consenter| consenter.id), Some(consenter.id));
    }
    assert_eq!(config.place_of(ConsenterId(5)), None);
    assert!(config.consenter(Place(4)).is_none());
    for path in
        ["/Channel/Readers", "/Channel/Writers", "/Channel/Admins", "/Channel/Orderer/BlockValidation"]
    {
        assert!(config.policies.get(path).is_some(), "{path}");
    }
}

#[test]
fn a_later_config_block_of_a_fabric_network_loads_unchanged() {
    let config = ChannelConfig::from_block(&block(CONFIG_BLOCK_4)).expect("it loads");

    assert_eq!(config.sequence, 1);
    assert_eq!(config.batch.preferred_max_bytes, 4_000_000);
    assert_eq!(config.consenters.len(), 4);
}

#[test]
fn solo_needs_neither_consenters_nor_options_nor_channel_v3() {
    let mut group = genesis_group();
    edit::<orderer::ConsensusType>(group_at(&mut group, &["Orderer"]), "ConsensusType", |consensus| {
        *consensus = orderer::ConsensusType { r#type: "solo".to_owned(), ..Default::default() };
    });
    group_at(&mut group, &["Orderer"]).values.remove("Orderers");
    group_at(&mut group, &["Orderer", "OrdererOrg"]).values.remove("Endpoints");
    edit::<crate::proto::common::Capabilities>(&mut group, "Capabilities", |capabilities| {
        capabilities.capabilities.clear();
        capabilities.capabilities.insert("V2_0".to_owned(), Default::default());
    });

    let config = parse(group).expect("it loads");
    assert_eq!(config.consensus, Consensus::Solo);
    assert!(config.consenters.is_empty());
    assert!(!config.v3);
}

#[test]
fn own_options_are_read_and_default_where_they_are_left_out() {
    let mut group = genesis_group();
    edit_options(&mut group, |options| {
        options.view_change_timeout = "1m30s".to_owned();
        options.window = 7;
        (options.dedup_blocks, options.dedup_envelopes) = (70, 700);
        options.candidates_outstanding = 3;
        options.slow_primary_factor = 5;
        options.view_change_timeout_cap = "2m".to_owned();
    });
    let config = parse(group).expect("it loads");
    let options = options_of(&config);
    assert_eq!(options.view_change_timeout, Duration::from_secs(90));
    assert_eq!(options.view_change_timeout_cap, Duration::from_secs(120));
    assert_eq!((options.window, options.dedup), (7, DedupRule { blocks: 70, envelopes: 700 }));
    assert_eq!((options.outstanding, options.slow_primary_factor), (3, 5));

    let mut group = genesis_group();
    edit_options(&mut group, |options| {
        options.view_change_timeout = "1s".to_owned();
        options.view_change_resend_interval = "100ms".to_owned();
    });
    let config = parse(group).expect("it loads");
    let cap = options_of(&config).view_change_timeout_cap;
    assert_eq!(cap, Duration::from_secs(30), "the default is not less than 30 s");
}

#[test]
fn maintenance_mode_is_seen() {
    let mut group = genesis_group();
    edit::<orderer::ConsensusType>(group_at(&mut group, &["Orderer"]), "ConsensusType", |consensus| {
        consensus.state = orderer::consensus_type::State::Maintenance as i32;
    });
    assert!(parse(group).expect("it loads").maintenance);
}

#[test]
fn an_application_capability_of_the_future_is_the_peers_concern() {
    let mut group = genesis_group();
    let application = group_at(&mut group, &["Application"]);
    edit::<crate::proto::common::Capabilities>(application, "Capabilities", |capabilities| {
        capabilities.capabilities.insert("V9_9".to_owned(), Default::default());
    });
    parse(group).expect("it loads");
}

#[test]
fn the_derived_policy_is_the_one_that_fabric_derived() {
    let group = genesis_group();
    let orderer = &group.groups["Orderer"];
    let mapping = Orderers::decode(orderer.values["Orderers"].value.clone()).expect("consenters");
    let policy = orderer.policies["BlockValidation"].policy.clone().expect("a policy");
    assert_eq!(derived_policy(&mapping.consenter_mapping), policy);
}

#[test]
fn ids_are_well_formed_or_not() {
    for id in ["a", "bench", "a.b-c9", &"a".repeat(249)] {
        assert!(is_channel_id(id), "{id}");
    }
    for id in ["", "A", "9a", "-a", "a_b", "a/b", "aB", "\u{e4}", &"a".repeat(250)] {
        assert!(!is_channel_id(id), "{id}");
    }
    for id in ["a", "Org1", "9", "a.b", "...", &"Z".repeat(249)] {
        assert!(is_element_id(id), "{id}");
    }
    for id in ["", ".", "..", "a b", "a_b", "a/b", "\u{e4}", &"Z".repeat(250)] {
        assert!(!is_element_id(id), "{id}");
    }
}

#[test]
fn the_block_itself_is_refused_when_it_is_no_config_block() {
    let check = |change: &dyn Fn(&mut Block), path: &str, reason: &str| {
        let mut changed = block(GENESIS);
        change(&mut changed);
        let error = ChannelConfig::from_block(&changed).expect_err(path);
        assert_eq!(error.path, path, "{error}");
        assert!(error.reason.contains(reason), "{error}");
    };
    check(&|block| block.header = None, "block.header", "missing");
    check(&|block| block.data = None, "block.data", "exactly one envelope, and this block has 0");
    check(
        &|block| {
            let data = block.data.as_mut().expect("data");
            data.data.push(data.data[0].clone());
        },
        "block.data",
        "has 2",
    );
    check(
        &|block| block.header.as_mut().expect("header").data_hash = vec![0; 32].into(),
        "block.header.data_hash",
        "not the hash",
    );
    check(
        &|block| block.header.as_mut().expect("header").previous_hash = vec![0; 32].into(),
        "block.header.previous_hash",
        "0 bytes",
    );
    check(
        &|block| block.header.as_mut().expect("header").number = 7,
        "block.header.previous_hash",
        "32 bytes",
    );
    check(
        &|changed| {
            changed.data = block(BLOCK_1).data;
            let hash = hash_of(&changed.data.as_ref().expect("data").data);
            changed.header.as_mut().expect("header").data_hash = hash.0.to_vec().into();
        },
        "block.data[0].channel_header.type",
        "is 3",
    );
}
