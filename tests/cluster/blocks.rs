//! What the blocks of a running network look like from outside, and where they are first: groups
//! G5 and G7.

use std::collections::BTreeSet;

use prost::Message as _;
use sbft::ledger::Ledger;
use sbft::proto::common::{Block, IdentifierHeader, LastConfig, Metadata, OrdererBlockMetadata};
use sbft::proto::sbft::ConsenterMetadata;
use sbft::types::ConsenterId;
use sbft::verify::Verifier;

use crate::network::{LIMIT, Network, committed, eventually};

fn slots(block: &Block) -> (Metadata, OrdererBlockMetadata) {
    let slot = Metadata::decode(block.metadata.as_ref().expect("metadata").metadata[0].clone());
    let slot = slot.expect("slot 0");
    let value = OrdererBlockMetadata::decode(slot.value.clone()).expect("its value");
    (slot, value)
}

fn view_of(block: &Block) -> u64 {
    let (_, value) = slots(block);
    ConsenterMetadata::decode(value.consenter_metadata).expect("consenter metadata").view
}

/// Checks a chain with a verifier that shares no code with the replicas, and then its slots.
fn check(network: &Network, blocks: &[Block]) {
    let mut verifier = Verifier::from_genesis(&blocks[0]).expect("the genesis block");
    assert_eq!(&blocks[0], network.genesis());
    let mut identifiers = BTreeSet::new();
    for (number, block) in blocks.iter().enumerate().skip(1) {
        let checked = verifier.check(&block.encode_to_vec()).expect("a good block");
        assert_eq!((checked.number, checked.quorum), (number as u64, 3));
        assert!(checked.signatures >= 3);
        let (slot, value) = slots(block);
        assert_eq!(value.last_config, Some(LastConfig { index: 0 }));
        let second = Metadata::decode(block.metadata.as_ref().expect("metadata").metadata[1].clone());
        let second = second.expect("slot 1");
        assert_eq!(LastConfig::decode(second.value), Ok(LastConfig { index: 0 }));
        assert!(second.signatures.is_empty());
        let mut signers = BTreeSet::new();
        for signature in slot.signatures {
            assert!(signature.signature_header.is_empty());
            let identifier = IdentifierHeader::decode(signature.identifier_header.clone()).expect("a header");
            assert_eq!(identifier.nonce.len(), 24);
            assert!((1..=4).contains(&identifier.identifier) && signers.insert(identifier.identifier));
            assert!(identifiers.insert(signature.identifier_header), "block {number}: a header comes again");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn cases_63_64_65_69_blocks_of_four_replicas_verify_and_stay_as_they_are_over_a_restart() {
    let mut network = Network::create(4).await;
    network.start_all().await;
    let mut ids = network.order_some(1, 8).await;
    network.agree_on(&ids).await;
    let before: Vec<Vec<Block>> = (1..=4).map(|id| network.blocks(id)).collect();
    network.stop_all().await;
    network.start_all().await;
    ids.extend(network.order_some(2, 3).await);
    network.agree_on(&ids).await;
    let first = network.blocks(1);
    for (id, before) in (1..).zip(before) {
        let after = network.blocks(id);
        assert!(after.len() > before.len());
        assert_eq!(after[..before.len()], before[..], "replica {id}: with the metadata, byte for byte");
        check(&network, &after);
        for (own, other) in after.iter().zip(&first) {
            assert_eq!((&own.header, &own.data), (&other.header, &other.data), "replica {id}");
        }
    }
    network.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn case_94_a_restarted_network_goes_on_at_the_next_number_and_not_below_the_last_blocks_view() {
    let mut network = Network::create(4).await;
    network.start_all().await;
    let mut ids = network.order_some(2, 3).await;
    network.stop(1).await;
    ids.extend(network.order_some(2, 3).await);
    network.start(1).await;
    network.agree_on(&ids).await;
    let last = network.blocks(2).pop().expect("blocks");
    assert!(view_of(&last) >= 1, "the first primary was gone");
    network.stop_all().await;

    network.start_all().await;
    for id in 1..=4 {
        let chain = network.chain(id);
        let what = format!("replica {id} is in the view of its last block or above");
        eventually(&what, || async { (chain.status().view.0 >= view_of(&last)).then_some(()) }).await;
    }
    ids.extend(network.order_some(3, 1).await);
    network.agree_on(&ids).await;
    let chain = network.blocks(4);
    let number = last.header.as_ref().expect("a header").number + 1;
    let next = &chain[number as usize];
    assert_eq!(next.header.as_ref().expect("a header").number, number);
    assert!(view_of(next) >= view_of(&last), "{} after {}", view_of(next), view_of(&last));
    check(&network, &chain);
    assert_eq!(network.chain(4).status().id, Some(ConsenterId(4)));
    network.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn case_95_a_block_is_in_the_ledgers_files_before_anybody_is_told_of_it() {
    let mut network = Network::create(4).await;
    network.start_all().await;
    let mut heights = network.watch_height(3);
    let directory = network.ledger(3);
    let watcher = tokio::spawn(async move {
        let mut seen = Vec::new();
        while seen.len() <= 5 || seen.last().is_none_or(|height| *height < 20) {
            let changed = tokio::time::timeout(LIMIT, heights.changed()).await;
            changed.expect("blocks come in time").expect("the channel is there");
            let told = *heights.borrow_and_update();
            let reader = Ledger::open_read_only(&directory).expect("a ledger that others may read");
            assert!(reader.height() >= told, "told of {told} blocks, {} are there", reader.height());
            seen.push(told);
        }
        seen
    });
    let mut receipts = Vec::new();
    while !watcher.is_finished() {
        receipts.push(network.submit(1, 100).await);
        if receipts.len() % 3 == 0 {
            committed(std::mem::take(&mut receipts)).await;
        }
    }
    let seen = watcher.await.expect("every block was there");
    assert!(seen.len() > 5 && seen.is_sorted(), "{seen:?}");
    assert!(network.blocks(3).len() >= 20);
    network.stop_all().await;
}
