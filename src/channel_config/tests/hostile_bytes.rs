//! Whatever the bytes are, the answer is a configuration or an error, never a panic.

use bytes::Bytes;
use prost::Message as _;

use super::*;
use crate::proto::common::{BlockData, BlockHeader};

/// A block with this data and whatever header it needs, so that the parser gets past the hash.
fn with_data(data: Vec<Bytes>) -> Block {
    let header =
        BlockHeader { number: 0, previous_hash: Bytes::new(), data_hash: hash_of(&data).0.to_vec().into() };
    Block { header: Some(header), data: Some(BlockData { data }), metadata: None }
}

fn parse_envelope(bytes: &[u8]) -> Result<ChannelConfig, ConfigError> {
    ChannelConfig::from_block(&with_data(vec![Bytes::copy_from_slice(bytes)]))
}

fn genesis_envelope() -> Vec<u8> {
    block(GENESIS).data.expect("data").data[0].to_vec()
}

/// Small, fast and the same at each run; no more is needed to choose bits.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % limit
    }
}

#[test]
fn truncated_configurations_are_refused() {
    let envelope = genesis_envelope();
    parse_envelope(&envelope).expect("whole it loads");
    // Every length near both ends, and every 97th between.
    for length in (0..envelope.len()).filter(|n| *n < 300 || *n + 300 > envelope.len() || n % 97 == 0) {
        parse_envelope(&envelope[..length]).expect_err("truncated it is refused");
    }
}

#[test]
fn bit_flips_never_panic() {
    let envelope = genesis_envelope();
    let mut random = Random(1);
    for _ in 0..400 {
        let mut flipped = envelope.clone();
        for _ in 0..=random.below(3) {
            let place = random.below(flipped.len());
            flipped[place] ^= 1 << random.below(8);
        }
        // Many a flip is in a name or a certificate's text and changes nothing that counts.
        let _ = parse_envelope(&flipped);
    }
}

#[test]
fn flipped_bits_of_single_values_never_panic() {
    let mut random = Random(2);
    for round in 0..400 {
        let mut group = genesis_group();
        let path: &[&str] =
            [&[][..], &["Orderer"], &["Orderer", "OrdererOrg"], &["Application", "Org1"]][round % 4];
        let values = &mut group_at(&mut group, path).values;
        let which = random.below(values.len());
        let value = values.values_mut().nth(which).expect("a value");
        let mut bytes = value.value.to_vec();
        if !bytes.is_empty() {
            let place = random.below(bytes.len());
            bytes[place] ^= 1 << random.below(8);
        }
        value.value = bytes.into();
        let _ = parse(group);
    }
}

#[test]
fn random_bytes_are_refused() {
    let mut random = Random(3);
    for _ in 0..2000 {
        let length = random.below(200);
        let bytes: Vec<u8> = (0..length).map(|_| random.below(256) as u8).collect();
        parse_envelope(&bytes).expect_err("random bytes are refused");
        if let Ok(block) = Block::decode(&bytes[..]) {
            ChannelConfig::from_block(&block).expect_err("random bytes are refused");
        }
    }
}

/// The recursion limit of the decoder bounds the depth of the tree, so that the walk over it, which
/// is recursive too, cannot exhaust the stack.
#[test]
fn a_very_deep_tree_is_refused_by_the_decoder() {
    let mut group = ConfigGroup::default().encode_to_vec();
    for _ in 0..2000 {
        // groups { key: "g" value: group }, by hand, since the encoder is recursive too
        let mut entry = vec![0x0a, 1, b'g', 0x12];
        prost::encoding::encode_varint(group.len() as u64, &mut entry);
        entry.extend(&group);
        group = vec![0x12];
        prost::encoding::encode_varint(entry.len() as u64, &mut group);
        group.extend(entry);
    }
    ConfigGroup::decode(&group[..]).expect_err("too deep");

    let mut deep = genesis_group();
    let mut innermost = &mut deep;
    for _ in 0..40 {
        innermost = innermost.groups.entry("g".to_owned()).or_default();
    }
    // As deep as the decoder allows it is refused or taken, without a panic.
    let _ = parse(deep);
}
