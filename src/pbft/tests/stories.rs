//! Whole stories in few words.

use std::time::Duration;

use super::harness::{World, candidate, given};
use crate::pbft::message::Message;
use crate::pbft::{Input, Output, Role};
use crate::types::{Digest, Number, Place, Time, View};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// Acceptance case 70.
#[test]
fn case_70_one_to_ten_replicas_order_a_stream_and_all_chains_are_the_same() {
    for n in 1..=10 {
        let mut world = World::new(n);
        let mut sent = Vec::new();
        for step in 0..12u64 {
            let name = format!("e{step}");
            world.submit(&candidate((step % n as u64) as u16, step, &[&name]));
            sent.push(name);
            world.settle();
        }
        world.run(SECOND);
        for me in 0..n {
            assert_eq!(world.chain(me), sent, "chain of r{me} of {n}");
            assert_eq!(world.probe(me).waiting, 0);
            assert_eq!(world.probe(me).view, View(0));
        }
        for node in &world.nodes {
            assert!(node.released.values().all(|times| *times == 1), "each candidate is released once");
            assert_eq!(node.released.len(), 12);
        }
    }
}

#[test]
fn thirty_one_replicas_order_with_ten_of_them_silent() {
    let mut world = World::new(31);
    for silent in 21..31 {
        world.stop(silent);
    }
    world.submit(&candidate(3, 0, &["a", "b"]));
    world.run(SECOND);
    for me in 0..21 {
        assert_eq!(world.chain(me), ["a", "b"]);
    }
}

#[test]
fn the_same_envelope_in_two_candidates_is_ordered_once_and_both_are_released() {
    let mut world = World::new(4);
    world.submit(&candidate(1, 0, &["a", "b"]));
    world.submit(&candidate(2, 0, &["b", "a"]));
    world.submit(&candidate(3, 0, &["b", "c"]));
    world.run(SECOND);
    for me in 0..4 {
        assert_eq!(world.chain(me), ["a", "b", "c"]);
        assert_eq!(world.nodes[me].released.len(), 3);
    }
}

#[test]
fn an_origin_is_told_once_that_its_candidate_is_in_a_proposal_and_before_it_is_committed() {
    let mut world = World::new(4);
    let theirs = [candidate(0, 0, &["a"]), candidate(2, 0, &["b"])];
    for candidate in &theirs {
        world.submit(candidate);
    }
    world.run(SECOND);
    for place in (0..4).map(Place) {
        let of = |wanted: fn(&Output) -> Option<Digest>| {
            let outputs = world.outputs.iter().filter(|(from, _)| *from == place);
            outputs.filter_map(|(_, output)| wanted(output)).collect::<Vec<_>>()
        };
        let told = of(|output| if let Output::Proposed(digest) = output { Some(*digest) } else { None });
        let own = theirs.iter().filter(|candidate| candidate.origin == place);
        assert_eq!(told, own.map(|candidate| candidate.digest).collect::<Vec<_>>());
        let mut order = world.outputs.iter().filter(|(from, output)| {
            let released = matches!(output, Output::Release { origin, .. } if *origin == place);
            *from == place && (released || matches!(output, Output::Proposed(_)))
        });
        assert!(told.is_empty() || matches!(order.next(), Some((_, Output::Proposed(_)))));
    }
}

/// A world in which blocks have taken 8 ms lately, 8 ms after the last proposal.
fn paced() -> (World, impl Fn(&mut World, &[&str])) {
    let hand_in = |world: &mut World, names: &[&str]| {
        let candidate = candidate(0, world.outputs.len() as u64, names);
        for to in 0..4 {
            world.step(to, given(0, &candidate));
        }
    };
    let mut world = World::new(4);
    for block in 0..40 {
        hand_in(&mut world, &[&format!("block {block}")]);
        world.now = world.now.after(8 * MILLISECOND);
        for me in 0..4 {
            world.step(me, Input::Tick);
        }
        world.settle();
    }
    assert_eq!(world.probe(0).committed, Number(40));
    (world, hand_in)
}

fn proposals(world: &World) -> usize {
    let primarys = world.outputs.iter().filter(|(from, _)| *from == Place(0));
    primarys.filter(|(_, output)| matches!(output, Output::Proposed(_))).count()
}

#[test]
fn the_primary_waits_as_long_as_a_block_takes_and_twice_as_long_beside_another() {
    let (mut world, hand_in) = paced();
    let deadline =
        |world: &World| world.nodes[0].replica.as_ref().and_then(crate::pbft::Replica::next_deadline);
    hand_in(&mut world, &["a"]);
    let first = world.now;
    assert_eq!(proposals(&world), 41, "the last proposal is old enough");
    world.now = first.after(MILLISECOND);
    hand_in(&mut world, &["b"]);
    let about = |at: Option<Time>, millis: u32| {
        at.is_some_and(|at| {
            at > first.after((millis - 1) * MILLISECOND) && at <= first.after(millis * MILLISECOND)
        })
    };
    assert!(about(deadline(&world), 16), "beside one under way: {:?}", deadline(&world));
    world.now = first.after(2 * MILLISECOND);
    world.settle(); // the first is committed
    let due = deadline(&world);
    assert!(about(due, 7), "alone, and blocks take (3 * 8 + 2) / 4 ms: {due:?}");
    assert_eq!(proposals(&world), 41);
    world.now = due.expect("a moment");
    world.step(0, Input::Tick);
    assert_eq!(proposals(&world), 42);
}

#[test]
fn a_full_block_is_proposed_without_a_pause() {
    let (mut world, hand_in) = paced();
    hand_in(&mut world, &["a"]);
    hand_in(&mut world, &["1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    assert_eq!(proposals(&world), 41);
    hand_in(&mut world, &["10"]);
    assert_eq!(proposals(&world), 43);
}

#[test]
fn a_silent_primary_is_replaced_and_nothing_is_lost() {
    let mut world = World::new(4);
    world.stop(0);
    world.submit(&candidate(1, 0, &["a"]));
    world.submit(&candidate(2, 0, &["b"]));
    world.run(5 * SECOND);
    for me in 1..4 {
        let mut chain = world.chain(me);
        chain.sort();
        assert_eq!(chain, ["a", "b"]);
        assert_eq!(world.probe(me).view, View(1));
    }
    world.start(0);
    world.run(2 * SECOND);
    assert_eq!(world.chain(0), world.chain(1));
    assert_eq!(world.probe(0).view, View(1));
    assert!(world.probe(0).active);
}

#[test]
fn a_block_prepared_but_not_committed_is_proposed_again_in_the_next_view() {
    let mut world = World::new(4);
    world.lose = Box::new(|_, _, input| match input {
        Input::Message { message, .. } => {
            matches!(message.get(), Message::Commit(commit) if commit.vote.view == View(0))
        }
        _ => false,
    });
    world.submit(&candidate(1, 0, &["a"]));
    world.submit(&candidate(2, 0, &["b"]));
    world.run(5 * SECOND);
    for me in 0..4 {
        assert_eq!(world.chain(me), ["a", "b"]);
        assert_eq!(world.nodes[me].ledger[0].certificate.view, View(1));
        assert_eq!(world.probe(me).view, View(1));
    }
}

#[test]
fn prepares_of_a_view_lost_lead_to_the_next_view_and_each_envelope_is_ordered_once() {
    let mut world = World::new(4);
    world.lose = Box::new(|_, _, input| match input {
        Input::Message { message, .. } => {
            matches!(message.get(), Message::Prepare(vote) if vote.vote.view == View(0))
        }
        _ => false,
    });
    world.submit(&candidate(1, 0, &["a"]));
    world.run(5 * SECOND);
    for me in 0..4 {
        assert_eq!(world.chain(me), ["a"]);
    }
}

#[test]
fn one_replica_alone_in_a_higher_view_moves_nobody_and_still_follows() {
    let mut world = World::new(4);
    world.lose = Box::new(|from, to, _| to == Place(3) && from == Place(0));
    world.submit(&candidate(1, 0, &["a"]));
    world.run(3 * SECOND);
    for step in 1..5u64 {
        let name = format!("e{step}");
        world.submit(&candidate(1, step, &[&name]));
        world.run(SECOND);
    }
    for me in 0..4 {
        assert_eq!(world.chain(me).len(), 5, "r{me}");
    }
    for me in 0..3 {
        assert_eq!(world.probe(me).view, View(0), "r{me}");
    }
}

#[test]
fn a_replica_that_was_away_fetches_blocks_and_votes_again() {
    let mut world = World::new(4);
    world.stop(3);
    for step in 0..150u64 {
        let name = format!("e{step}");
        world.submit(&candidate(0, step, &[&name]));
        world.settle();
    }
    world.start(3);
    world.run(SECOND);
    assert_eq!(world.chain(3), world.chain(0));
    world.stop(2);
    world.submit(&candidate(0, 150, &["last"]));
    world.run(SECOND);
    assert_eq!(world.chain(0).len(), 151, "with one down the returned one's votes are needed");
}

#[test]
fn a_follower_commits_with_the_others_and_casts_no_vote() {
    let mut configs: Vec<_> = (0..4).map(|me| super::harness::config(4, me)).collect();
    configs[3].role = Role::Follower("its log was lost".to_owned());
    let mut world = World::with(configs);
    world.submit(&candidate(0, 0, &["a"]));
    world.run(SECOND);
    assert_eq!(world.chain(3), ["a"]);
    assert!(world.nodes[3].votes.is_empty() && world.nodes[3].log.is_empty());
    world.stop(1);
    world.submit(&candidate(0, 1, &["b"]));
    world.run(SECOND);
    assert_eq!(world.chain(0), ["a"], "a follower is as good as down");
    world.start(1);
    world.stop(0);
    world.run(3 * SECOND);
    world.start(0);
    world.run(3 * SECOND);
    assert_eq!(world.chain(3), ["a", "b"]);
    let follower = &world.nodes[3];
    assert!(follower.votes.is_empty() && follower.log.is_empty(), "whatever views it went through");
}

#[test]
fn case_64_a_config_block_is_alone_and_nothing_is_proposed_above_it_until_it_commits() {
    let mut world = World::new(4);
    world.submit(&candidate(1, 0, &["a"]));
    world.submit(&candidate(2, 0, &["config"]));
    world.submit(&candidate(3, 0, &["b"]));
    world.settle();
    let blocks: Vec<_> =
        world.nodes[0].ledger.iter().map(|block| (block.is_config, block.data.len())).collect();
    assert!(blocks.contains(&(true, 1)), "{blocks:?}");
    let config = world.nodes[0].ledger.iter().find(|block| block.is_config).expect("it committed");
    assert_eq!(config.certificate.last_config, config.number());
    for block in world.nodes[0].ledger.iter().filter(|block| block.number() < config.number()) {
        assert_eq!(block.certificate.last_config, Number(0));
    }
}
