//! Replicas in one process: real transport over loopback, real log and ledger in temporary
//! directories, real signatures. What only whole processes can show (kill -9, gRPC) is tested
//! elsewhere.

#[path = "cluster/blocks.rs"]
mod blocks;
#[path = "cluster/chain_interface.rs"]
mod chain_interface;
#[path = "cluster/network.rs"]
mod network;
#[path = "cluster/solo.rs"]
mod solo;

use std::time::Duration;

use bytes::Bytes;
use network::{LIMIT, Network, eventually};
use sbft::consenter::{Health, OrderError, RoleStatus};
use sbft::genesis::OptionsSpec;
use sbft::transport::Class;
use sbft::types::{ConsenterId, Number, Place, RequestId};
use sbft::wire::repair::{self, Repair};
use sbft::wire::{block, candidate};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn four_replicas_order_what_each_of_them_accepts_into_one_chain() {
    let mut network = Network::create(4).await;
    network.start_all().await;
    let mut receipts = Vec::new();
    for round in 0..10 {
        for id in 1..=4 {
            receipts.push(network.submit(id, 200 + round).await);
        }
    }
    let ids = network::committed(receipts).await;
    assert_eq!(ids.len(), 40);
    network.agree_on(&ids).await;
    network.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn large_batches_go_through_the_worker_threads_and_keep_their_order() {
    let mut network = Network::create(4).await;
    network.start_all().await;
    let mut receipts = Vec::new();
    for _ in 0..1500 {
        receipts.push(network.submit(2, 1024).await);
    }
    let ids = network::committed(receipts).await;
    assert_eq!(network.agree_on(&ids).await, ids, "one client, one replica: its order is kept");
    network.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn case_38_an_envelope_submitted_to_all_replicas_is_in_the_chain_once() {
    let mut network = Network::create(4).await;
    network.start_all().await;
    let mut ids = Vec::new();
    for _ in 0..30 {
        let envelope = network.envelope(300).await;
        ids.push(envelope.id);
        let mut receipts = Vec::new();
        for id in 1..=4 {
            receipts.push(network.order(id, envelope.clone()).await);
        }
        let numbers = network::numbers(receipts).await;
        assert!(numbers.windows(2).all(|pair| pair[0] == pair[1]), "one block for all: {numbers:?}");
    }
    network.agree_on(&ids).await;

    // Case 39: right after the commit it is known, too.
    let envelope = network.envelope(300).await;
    network::committed(vec![(envelope.id, network.order(1, envelope.clone()).await)]).await;
    let again = network.order(1, envelope.clone()).await;
    assert!(again.is_duplicate());
    ids.push(envelope.id);
    network.agree_on(&ids).await;
    network.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_backup_that_was_down_catches_up_and_votes_again() {
    let mut network = Network::create(4).await;
    network.start_all().await;
    let mut ids = network.order_some(1, 5).await;
    network.stop(4).await;
    ids.extend(network.order_some(1, 20).await);
    network.start(4).await;
    network.agree_on(&ids).await;
    // With another one down, nothing is ordered without the vote of the one that came back.
    network.stop(3).await;
    ids.extend(network.order_some(1, 5).await);
    network.start(3).await;
    network.agree_on(&ids).await;
    network.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn when_the_primary_is_gone_the_others_go_on_in_the_next_view() {
    let mut network = Network::create_with(4, &["first"], OptionsSpec::default()).await;
    network.start_all().await;
    let mut ids = network.order_some(2, 5).await;
    // Whoever it is: on a busy machine the first one may have been suspected already.
    let status = network.chain(2).status();
    let (view, ConsenterId(primary)) = (status.view, status.primary.expect("a primary"));
    network.stop(primary).await;
    let others: Vec<u32> = (1..=4).filter(|id| *id != primary).collect();
    for id in &others {
        ids.extend(network.order_some(*id, 5).await);
    }
    let status = network.chain(others[0]).status();
    assert!(status.view > view && status.primary != Some(ConsenterId(primary)), "{status:?}");
    network.start(primary).await;
    network.agree_on(&ids).await;
    network.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_a_quorum_nothing_commits_and_clients_are_told_and_it_goes_on_by_itself() {
    let mut network = Network::create(4).await;
    network.start_all().await;
    let mut ids = network.order_some(1, 3).await;
    network.stop(3).await;
    network.stop(4).await;
    let accepted = network.submit(1, 100).await;
    let chain = network.chain(1);
    let text = eventually("clients are told", || async {
        chain.wait_ready().await.err().map(|not_ready| not_ready.text)
    });
    assert_eq!(text.await, "no quorum: 2 of 4 reachable, 3 needed");
    let status = chain.status();
    assert_eq!((status.quorum, status.reachable, status.needed), (false, 2, 3));
    network.start(3).await;
    ids.extend(network::committed(vec![accepted]).await);
    eventually("clients are served again", || async { chain.wait_ready().await.ok() }).await;
    network.start(4).await;
    network.agree_on(&ids).await;
    network.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn all_stopped_and_started_again_go_on_where_they_were() {
    let mut network = Network::create(4).await;
    network.start_all().await;
    let mut ids = network.order_some(1, 10).await;
    network.agree_on(&ids).await;
    for _ in 0..2 {
        network.stop_all().await;
        network.start_all().await;
        ids.extend(network.order_some(3, 5).await);
        network.agree_on(&ids).await;
    }
    network.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_wiped_replica_follows_and_says_why_also_after_a_restart() {
    let mut network = Network::create(4).await;
    network.start_all().await;
    let mut ids = network.order_some(1, 10).await;
    network.stop(4).await;
    network.wipe(4);
    network.start(4).await;
    for _ in 0..2 {
        let status = network.chain(4).status();
        let RoleStatus::Follower(why) = &status.role else { panic!("it may not vote: {status:?}") };
        assert!(why.contains("wiped"), "{why}");
        ids.extend(network.order_some(1, 3).await);
        network.agree_on(&ids).await;
        network.stop(4).await;
        network.start(4).await;
    }
    // What it accepts is ordered by the others.
    ids.extend(network.order_some(4, 3).await);
    network.agree_on(&ids).await;
    network.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_replica_without_its_log_follows_although_it_has_its_blocks() {
    let mut network = Network::create(4).await;
    network.start_all().await;
    let mut ids = network.order_some(1, 3).await;
    network.agree_on(&ids).await;
    network.stop(2).await;
    network.wipe_log(2);
    network.start(2).await;
    assert!(matches!(network.chain(2).status().role, RoleStatus::Follower(_)));
    ids.extend(network.order_some(1, 3).await);
    network.agree_on(&ids).await;
    network.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_replica_that_cannot_sign_is_silent_and_votes_again_when_it_can() {
    let mut network = Network::create(4).await;
    network.start_all().await;
    let mut ids = network.order_some(1, 3).await;
    network.signer(3, false);
    ids.extend(network.order_some(3, 10).await);
    network.agree_on(&ids).await;
    network.signer(3, true);
    network.stop(2).await;
    // Without the second, each block needs the third's signature.
    ids.extend(network.order_some(1, 5).await);
    network.agree_on(&ids).await;
    network.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn case_100_two_channels_share_one_transport_and_do_not_mix() {
    let mut network = Network::create_channels(4, &["first", "second"]).await;
    network.start_all().await;
    let first = network.order_on("first", 1, 5).await;
    let second = network.order_on("second", 2, 7).await;
    network.agree_on_channel("first", &first).await;
    network.agree_on_channel("second", &second).await;
    network.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn other_sizes_of_network_order_too() {
    for n in [1, 2, 7] {
        let mut network = Network::create(n).await;
        network.start_all().await;
        let ids = network.order_some(n as u32, 5).await;
        network.agree_on(&ids).await;
        network.stop_all().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_log_of_another_replica_is_refused_with_its_directory() {
    let mut network = Network::create(4).await;
    network.start_all().await;
    network.stop_all().await;
    network.swap_logs(1, 2);
    let error = network.try_start(1).await.expect_err("the log is another's").to_string();
    assert!(error.contains("another channel, era or consenter") && error.contains("wal"), "{error}");
}

/// The log forgets what the ledger holds: with the ledger gone, a voter would take the numbers of
/// committed blocks for free.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_replica_whose_ledger_is_gone_while_its_log_is_there_does_not_start() {
    let mut network = Network::create(4).await;
    network.start_all().await;
    for _ in 0..12 {
        network.order_some(1, 150).await;
    }
    network.stop(4).await;
    network.wipe_ledger(4);
    let error = network.try_start(4).await.expect_err("the ledger is gone").to_string();
    assert!(error.contains("it has 1 blocks, and had those up to"), "{error}");
    network.wipe(4);
    network.start(4).await;
    assert!(matches!(network.chain(4).status().role, RoleStatus::Follower(_)));
    network.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_halted_chain_lets_go_of_its_files() {
    let mut network = Network::create(4).await;
    network.start_all().await;
    let chain = network.chain(1);
    let mut errored = chain.errored();
    drop(chain);
    network.stop(1).await;
    tokio::time::timeout(LIMIT, errored.wait()).await.expect("it tells");
    assert_eq!(errored.health(), Health::Halted);
    network.start(1).await;
    network.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_full_pool_makes_clients_wait_and_then_says_so_and_takes_more_once_it_can() {
    let rules = OptionsSpec { request_pool_size: 5, ..network::patient() };
    let mut network = Network::create_with(4, &["first"], rules).await;
    network.start_all().await;
    network.stop(3).await;
    network.stop(4).await;
    let mut accepted = Vec::new();
    for _ in 0..5 {
        accepted.push(network.submit(1, 100).await);
    }
    let chain = network.chain(1);
    let sixth = network.envelope(100).await;
    let error = tokio::time::timeout(LIMIT, chain.order(sixth.clone(), 0)).await.expect("not for ever");
    let error = error.expect_err("no room");
    assert!(matches!(error, OrderError::PoolFull { limit: 5, .. }), "{error}");
    assert!(error.to_string().starts_with("the pool is full"), "{error}");
    // One that is known needs no room.
    network.start(3).await;
    network.start(4).await;
    let mut ids = network::committed(accepted).await;
    ids.extend(network::committed(vec![(sixth.id, network.order(1, sixth).await)]).await);
    network.agree_on(&ids).await;
    network.stop_all().await;
}

/// What is handed over faster than it is proposed waits outside the pool: under overload the processors are for
/// the ordering.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_replica_whose_envelopes_wait_long_to_be_proposed_takes_no_more_until_they_are() {
    let rules = OptionsSpec { window: 1, ..network::patient() };
    let mut network = Network::create_with(4, &["first"], rules).await;
    network.start(1).await;
    network.start(2).await;
    let chain = network.chain(1);
    // Two of four commit nothing: one block is proposed, and nothing after it.
    let (mut ids, mut refused) = (Vec::new(), None);
    while refused.is_none() {
        assert!(ids.len() < 20_000, "the pool has room for 100,000");
        let envelope = network.envelope(100).await;
        match tokio::time::timeout(LIMIT, chain.order(envelope.clone(), 0)).await.expect("not for ever") {
            Ok(_) => ids.push(envelope.id),
            Err(error) => {
                assert!(matches!(error, OrderError::PoolFull { .. }), "{error}");
                refused = Some(envelope);
            }
        }
    }
    assert!(ids.len() >= 500, "less than a block waits: {}", ids.len());
    network.start(3).await;
    network.start(4).await;
    let refused = refused.expect("the last one");
    ids.extend(network::committed(vec![(refused.id, network.order(1, refused).await)]).await);
    network.agree_on(&ids).await;
    drop(chain);
    network.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_envelopes_ordered_together_none_is_taken_after_one_that_is_not() {
    let rules = OptionsSpec { request_pool_size: 3, ..network::patient() };
    let mut network = Network::create_with(4, &["first"], rules).await;
    network.start(1).await;
    network.start(2).await;
    let chain = network.chain(1);
    let mut envelopes = Vec::new();
    for _ in 0..5 {
        envelopes.push(network.envelope(100).await);
    }
    envelopes.insert(1, envelopes[0].clone());
    envelopes.push(envelopes[0].clone());
    let ids: Vec<RequestId> = envelopes.iter().map(|envelope| envelope.id).collect();
    // Alone, it is known to the pool and taken; behind one without room it must not be.
    let outcomes = chain.order_all(envelopes.iter().map(|envelope| (envelope.clone(), 0)).collect());
    let mut outcomes = tokio::time::timeout(LIMIT, outcomes).await.expect("not for ever");
    let error = outcomes.pop().expect("an outcome").expect_err("no room");
    assert!(matches!(error, OrderError::PoolFull { limit: 3, .. }), "{error}");
    let duplicates: Vec<bool> =
        outcomes.iter().map(|outcome| outcome.as_ref().expect("there was room").is_duplicate()).collect();
    assert_eq!(duplicates, [false, true, false, false]);
    // With the others there the three commit, and nothing else.
    network.start(3).await;
    network.start(4).await;
    network.agree_on(&[ids[0], ids[2], ids[3]]).await;
    // Now there is room for all at once, and again.
    let rest: Vec<_> = envelopes[4..].iter().map(|envelope| (envelope.clone(), 0)).collect();
    let outcomes = chain.order_all(rest).await;
    assert_eq!(outcomes.len(), 3);
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    network.agree_on(&[ids[0], ids[2], ids[3], ids[4], ids[5]]).await;
    drop(chain);
    network.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_replica_whose_log_fails_stops_with_the_reason_and_the_others_go_on() {
    let mut network = Network::create(4).await;
    for id in 1..=3 {
        network.start(id).await;
    }
    // The fourth's log takes no record that is longer than its first.
    network.options.log.max_record_bytes = 64;
    network.start(4).await;
    let mut ids = network.order_some(1, 5).await;
    let chain = network.chain(4);
    let mut errored = chain.errored();
    // What the others ordered before its links were up it only fetches; it votes on what comes later.
    let given_up = tokio::time::Instant::now() + LIMIT;
    while tokio::time::timeout(Duration::from_millis(200), errored.wait()).await.is_err() {
        assert!(tokio::time::Instant::now() < given_up, "it stops");
        ids.extend(network.order_some(1, 1).await);
    }
    let Health::Failed(reason) = errored.health() else { panic!("{:?}", errored.health()) };
    assert!(reason.contains("the log cannot be written"), "{reason}");
    let refused = chain.order(network.envelope(100).await, 0).await.expect_err("it takes nothing");
    assert!(matches!(refused, OrderError::Stopped { .. }), "{refused}");
    assert!(chain.wait_ready().await.is_err());
    assert_eq!(chain.status().failure, Some(reason));
    drop(chain);
    network.options.log.max_record_bytes = 1 << 20;
    network.stop(4).await;
    network.start(4).await;
    network.agree_on(&ids).await;
    network.stop_all().await;
}

/// Found with a replica that was throttled under load: its peers went on answering, megabytes each, what it had
/// asked for and given up long ago, so that its next question waited behind all of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_questions_for_blocks_the_newest_is_answered_and_those_it_overtook_are_not() {
    let mut network = Network::create(4).await;
    for id in 1..=3 {
        network.start(id).await;
    }
    for _ in 0..3 {
        network::committed(vec![network.submit(1, 1 << 20).await]).await;
    }
    let (transport, mut link) = network.impostor(4).await;
    let ask = |number: u64| {
        let number = Number(number);
        link.send(1, Class::Repair, repair::encode(&Repair::FetchBlocks { first: number, last: number }));
    };
    let questions: Vec<u64> = [1, 2].repeat(20).into_iter().chain([3]).collect();
    questions.iter().copied().for_each(ask);
    let mut answers = Vec::new();
    while answers.last() != Some(&Number(3)) {
        let (from, frame) =
            tokio::time::timeout(LIMIT, link.repair.recv()).await.expect("an answer").expect("it is open");
        if let Ok(Repair::Blocks(blocks)) = repair::decode(frame)
            && from == 1
        {
            answers.push(block::number_of(&blocks[0]).expect("a block"));
        }
    }
    assert!(answers.len() <= questions.len() / 2, "of {} questions: {answers:?}", questions.len());
    drop(link);
    transport.close().await;
    network.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_peer_that_talks_nonsense_on_every_stream_changes_nothing() {
    let mut network = Network::create(4).await;
    for id in 1..=3 {
        network.start(id).await;
    }
    let mut ids = network.order_some(1, 3).await;
    let (transport, link) = network.impostor(4).await;

    let good = network.envelope(100).await;
    let mut forged = network.envelope(100).await.frame.to_vec();
    *forged.last_mut().expect("a signature") ^= 1;
    // A candidate that replica 1 will really cut, one with a bad signature, one of nobody.
    let anothers = candidate::encode(Place(0), 3, vec![good.frame.clone()]).expect("a candidate");
    let invalid =
        |sequence| candidate::encode(Place(3), sequence, vec![forged.clone().into()]).expect("a form");
    let nobodys = candidate::encode(Place(60_000), 0, vec![good.frame.clone()]).expect("a form");
    let noise: Vec<Bytes> =
        (0..64_u8).map(|byte| vec![byte.wrapping_mul(37); usize::from(byte) * 5].into()).collect();
    for to in 1..=3 {
        link.send(to, Class::Bulk, anothers.encoding.clone());
        link.send(to, Class::Bulk, nobodys.encoding.clone());
        for sequence in 0..40 {
            link.send(to, Class::Bulk, invalid(sequence).encoding);
        }
        for encoding in [&anothers.encoding, &nobodys.encoding, &invalid(77).encoding] {
            link.send(to, Class::Repair, repair::encode(&Repair::Candidate(encoding.clone())));
        }
        link.send(to, Class::Repair, repair::encode(&Repair::Blocks(vec![noise[3].clone()])));
        for noise in &noise {
            for class in [Class::Votes, Class::Bulk, Class::Repair] {
                link.send(to, class, noise.clone());
            }
        }
    }
    ids.extend(network.order_some(2, 5).await);
    ids.extend(network::committed(vec![(good.id, network.order(1, good).await)]).await);
    ids.extend(network.order_some(1, 5).await);
    network.agree_on(&ids).await;
    assert_eq!(network.chain(1).status().view.0, 0, "nobody was suspected for it");
    drop(link);
    transport.close().await;
    drop(transport);
    network.start(4).await;
    ids.extend(network.order_some(4, 3).await);
    network.agree_on(&ids).await;
    network.stop_all().await;
}
