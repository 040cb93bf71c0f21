//! The historical suite of simplebft (fabric-spec D.10), each case by name, with its expectation
//! restated for our protocol: what is ordered and in which order, not the shape of batches.
//! `CASES.md` says what has no counterpart, and why.

mod net;

use net::{Net, liar, settings};
use sbft::types::View;
use sbft_sim::network::{Fate, Kind};
use sbft_sim::signing::Keys;

/// Acceptance case 71.
#[test]
fn test_quorum_sizes_case_71_two_quorums_share_an_honest_replica() {
    for n in 1..100 {
        let keys = Keys::new(sbft_sim::draw::Draws::new(0), sbft_sim::world::default_config(n).domain, n);
        let (f, q) = (keys.f(), keys.quorum());
        assert_eq!(f, (n - 1) / 3, "f for n = {n}");
        assert!(2 * q - n > f, "two quorums of {q} of {n} share f + 1");
        assert!(q <= n - f, "a quorum of {q} of {n} is there without the f liars");
        if n % 3 == 1 {
            assert_eq!(q, 2 * f + 1, "n = {n}");
        }
    }
}

#[test]
fn test_sbft_orders_what_different_replicas_accept() {
    let mut net = Net::new(4);
    net.submit("r1", &[0]).run(500).expect(0..4, &["r1"]);
    net.submit("r2", &[1]).run(5).submit("r3", &[1]).run(1000).expect(0..4, &["r1", "r2", "r3"]);
    assert_eq!(net.view(0), 0);
}

/// Acceptance case 72.
#[test]
fn test_sbft_delayed_case_72_a_replica_behind_slow_links_executes_the_same() {
    let mut net = Net::new(4);
    net.delay(200, &[], &[3], &[1, 2]).delay(200, &[], &[1, 2], &[3]);
    net.submit("r1", &[0]).run(700).submit("r2", &[1]).run(2000).expect(0..4, &["r1", "r2"]);
}

#[test]
fn test_n1_one_replica_executes_alone() {
    let mut net = Net::new(1);
    net.submit("r1", &[0]).run(100).expect(0..1, &["r1"]);
}

/// Acceptance case 84, first half.
#[test]
fn test_monotonic_views_case_84_a_restart_never_lowers_the_view() {
    let mut net = Net::new(4);
    net.drop_in_view(&[Kind::Commit], 0).submit("r1", &[0, 1, 2, 3]);
    net.run_until(5000, |net| net.view(0) >= 1);
    let before = net.view(0);
    net.crash(0).run(50).restart(0);
    assert!(net.view(0) >= before, "view {} after the restart, {before} before", net.view(0));
    net.run(3000).expect(0..4, &["r1"]);
}

/// Acceptance case 75, a majority hears the altered block.
#[test]
fn test_byz_primary_n4_case_75_an_altered_block_to_a_majority() {
    let liar = liar(0, &["equivocate-halves"], &[2, 3]);
    let mut net = Net::with(settings(4), vec![liar]);
    net.submit("r1", &[1]).run(15_000).expect_each_once(1..4, &["r1"]);
    assert_eq!(net.chain(1), net.chain(2));
    assert_eq!(net.chain(1), net.chain(3));
    assert!(net.view(1) >= 1, "the liar was deposed");
}

#[test]
fn test_new_primary_handling_view_change_that_lacks_the_block() {
    // Replicas 2 to 6 hear another block than 1 does, who is primary next.
    let liar = liar(0, &["equivocate-halves"], &[2, 3, 4, 5, 6]);
    let mut net = Net::with(settings(7), vec![liar]);
    net.submit("r1", &[1]).run(30_000).expect_each_once(1..7, &["r1"]);
    for place in 2..7 {
        assert_eq!(net.chain(1), net.chain(place), "replica {place}");
    }
}

/// Acceptance case 75, one victim hears the altered block.
#[test]
fn test_byz_primary_bullying_single_replica_case_75() {
    let liar = liar(0, &["equivocate-one"], &[1]);
    let mut net = Net::with(settings(10), vec![liar]);
    net.submit("r1", &[2]).run(8000).expect_each_once(2..10, &["r1"]);
    net.expect_each_once(1..2, &["r1"]);
}

/// Acceptance case 80, commits.
#[test]
fn test_view_change_case_80_all_commits_of_view_0_lost() {
    let mut net = Net::new(4);
    net.drop_in_view(&[Kind::Commit], 0).submit("r1", &[0]).run(5000).expect(0..4, &["r1"]);
    assert_eq!(net.blocks(0), 1);
    assert!((0..4).all(|place| net.view(place) >= 1), "everyone left view 0");
}

/// Acceptance case 73, first half.
#[test]
fn test_msg_reordering_case_73_the_pre_prepare_comes_last() {
    let mut net = Net::new(4);
    net.delay(300, &[Kind::PrePrepare], &[0], &[1]);
    net.drop(&[Kind::Prepare, Kind::Commit], &[0], &[1]);
    net.submit("r1", &[0]).run(3000).expect(0..4, &["r1"]);
}

/// Acceptance case 73, second half.
#[test]
fn test_backlog_reordering_case_73_votes_come_before_the_pre_prepare() {
    let mut net = Net::new(4);
    net.delay(200, &[Kind::PrePrepare], &[0], &[1]);
    net.submit("r1", &[0]).run(3000).expect(0..4, &["r1"]);
    assert_eq!(net.view(1), 0, "the votes were kept until the pre-prepare came");
}

/// Acceptance case 80, prepares.
#[test]
fn test_view_change_with_retransmission_case_80_all_prepares_of_view_0_lost() {
    let mut net = Net::new(4);
    net.drop_in_view(&[Kind::Prepare], 0).submit("r1", &[0]).run(5000).expect(0..4, &["r1"]);
    assert!((0..4).all(|place| net.view(place) >= 1), "everyone left view 0");
}

#[test]
fn test_view_change_xset_a_chain_of_lost_phases() {
    let mut net = Net::new(4);
    net.submit("r1", &[0]).run(500).expect(0..4, &["r1"]);
    net.drop_in_view(&[Kind::Prepare], 0);
    net.drop_in_view(&[Kind::Commit], 1);
    // Replica 3 hears nothing until the new-view of view 2.
    net.rule(&[], &[], &[3], Some(View(0)), Fate::Drop).rule(&[], &[], &[3], Some(View(1)), Fate::Drop);
    net.submit("r2", &[0, 1]).run(10_000).expect(0..3, &["r1", "r2"]);
    net.mend().run(2000).expect(0..4, &["r1", "r2"]);
}

#[test]
fn test_restart_after_a_view_change() {
    let mut net = Net::new(4);
    net.drop_in_view(&[Kind::Commit], 0).submit("r1", &[0]).run(4000).mend().expect(0..4, &["r1"]);
    net.crash(0).run(200).restart(0).run(300);
    net.submit("r2", &[1]).run(5).submit("r3", &[1]).run(2000).expect(0..4, &["r1", "r2", "r3"]);
}

#[test]
fn test_abdicating_primary_that_hears_only_view_changes() {
    let mut net = Net::new(4);
    net.rule(&[Kind::ViewChange, Kind::Candidate], &[], &[0], None, Fate::Pass);
    net.drop(&[], &[], &[0]);
    net.submit("r1", &[0, 1]).run(3000);
    net.mend().run(3000).expect(0..4, &["r1"]);
}

fn restart_when_it_sends(kind: Kind) {
    for after in [false, true] {
        let mut net = Net::new(4);
        net.submit("r1", &[0]).run(500).expect(0..4, &["r1"]);
        net.crash_at(0, kind, 2, after).submit("r2", &[1]).run_until(3000, |net| !net.is_up(0));
        net.run(20).restart(0).run(100);
        net.submit("r3", &[1]).run(6000).expect(0..4, &["r1", "r2", "r3"]);
    }
}

#[test]
fn test_restart_after_prepare_case_89() {
    restart_when_it_sends(Kind::PrePrepare);
}

#[test]
fn test_restart_of_a_backup_after_prepare_case_89() {
    for after in [false, true] {
        let mut net = Net::new(4);
        net.submit("r1", &[0]).run(500).expect(0..4, &["r1"]);
        net.crash_at(2, Kind::Prepare, 2, after).submit("r2", &[1]).run_until(3000, |net| !net.is_up(2));
        net.run(20).restart(2).run(100);
        net.submit("r3", &[1]).run(6000).expect(0..4, &["r1", "r2", "r3"]);
    }
}

#[test]
fn test_restart_after_commit_case_89() {
    restart_when_it_sends(Kind::Commit);
}

/// There are no checkpoints here; what comes closest is a block that is in the ledger and not synced.
#[test]
fn test_restart_after_checkpoint_with_a_block_that_was_not_synced() {
    let mut settings = settings(4);
    settings.block_sync = (std::time::Duration::from_secs(5), std::time::Duration::from_secs(5));
    let mut net = Net::with(settings, Vec::new());
    net.submit("r1", &[0]).run(500).expect(0..4, &["r1"]);
    net.submit("r2", &[1]).run_until(2000, |net| net.blocks(0) == 2);
    net.crash(0).run(20).restart(0).run(100);
    net.submit("r3", &[1]).run(6000).expect(0..4, &["r1", "r2", "r3"]);
}

#[test]
fn test_erroneous_view_change_after_links_came_back_one_by_one() {
    for order in [[1, 2, 3], [3, 2, 1], [2, 1, 3]] {
        let mut net = Net::new(4);
        net.submit("r1", &[0]).run(500);
        net.submit("r2", &[1]).run_until(2000, |net| net.blocks(0) == 2);
        net.crash(0).cut(0).run(20).restart(0);
        for peer in order {
            net.world.network.mend(1 << 0 | 1 << peer, 1 << 0 | 1 << peer);
            net.world.link(0, peer, true);
            net.run(60);
        }
        net.submit("r3", &[1]).run(6000).expect(0..4, &["r1", "r2", "r3"]);
    }
}

#[test]
fn test_restart_missed_view_change() {
    let mut net = Net::new(4);
    net.submit("r1", &[0]).run(500).expect(0..4, &["r1"]);
    net.cut(0).submit("r2", &[1]).run(4000).expect(1..4, &["r1", "r2"]);
    assert!(net.view(1) >= 1);
    net.crash(0).mend().run(50).restart(0).run(500);
    net.submit("r3", &[1]).run(3000).expect(0..4, &["r1", "r2", "r3"]);
}

/// Acceptance case 74 as well: the backlog of what may come is bounded (the simulator's memory
/// check holds all along), and votes for far-away numbers do no harm.
#[test]
fn test_full_backlog_case_74_votes_far_ahead_and_one_request_ten_times() {
    let mut net = Net::with_liar(4, 0, &["flood"]);
    let names: Vec<String> = (0..10).map(|k| format!("r{k}")).collect();
    for name in &names {
        net.submit(name, &[0, 1]).run(50).submit(name, &[2]).run(50);
    }
    net.run(5000);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    net.expect_each_once(1..4, &names);
    assert_eq!(net.chain(1).len(), 10, "ten requests, however often they came");
}

/// There is no hello; a status brings a restarted replica what it missed.
#[test]
fn test_hello_msg_a_restarted_replica_gets_what_it_missed() {
    let mut net = Net::new(4);
    net.drop(&[Kind::Prepare, Kind::Commit, Kind::Status], &[], &[1]);
    net.submit("r1", &[0]).run(300).expect([0, 2, 3], &["r1"]);
    net.expect([1], &[]);
    net.mend().crash(1).run(10).restart(1).run(1000).expect([1], &["r1"]);
    net.submit("r2", &[0]).run(1000).expect(0..4, &["r1", "r2"]);
}

/// Acceptance case 85.
#[test]
fn test_view_change_timer_case_85_one_replica_alone_moves_nobody() {
    let mut net = Net::with_liar(4, 3, &["vc-spam"]);
    net.submit("r1", &[0]).run(600_000).expect(0..3, &["r1"]);
    assert!((0..3).all(|place| net.view(place) == 0), "nobody followed it for ten minutes");
    net.submit("r2", &[0]).run(5).submit("r3", &[0]).run(1000).expect(0..3, &["r1", "r2", "r3"]);
}

/// The second half: once another one asks too, f + 1 do, and the others join.
#[test]
fn test_view_change_timer_the_others_join_f_plus_1() {
    let mut net = Net::with_liar(4, 3, &["vc-spam"]);
    net.submit("r1", &[0]).run(500).expect(0..3, &["r1"]);
    // Replica 2 hears of nothing that happens and loses patience.
    net.rule(&[Kind::ViewChange, Kind::NewView], &[], &[2], None, Fate::Pass).drop(&[], &[], &[2]);
    net.submit("r2", &[2]).run_until(5000, |net| net.view(0) >= 1 && net.view(1) >= 1);
    net.mend().submit("r3", &[1]).run(5000);
    net.expect_each_once(0..3, &["r1", "r2", "r3"]);
    for place in 0..3 {
        assert!((1..=4).contains(&net.view(place)), "replica {place} is in view {}", net.view(place));
    }
}

#[test]
fn test_resend_view_change_the_first_ones_are_lost() {
    let mut net = Net::new(4);
    net.drop_in_view(&[Kind::Commit], 0);
    net.world.network.rules.push(sbft_sim::network::Rule {
        kinds: Some(vec![Kind::ViewChange]),
        left: Some(12),
        ..Default::default()
    });
    net.submit("r1", &[0]).run(8000).expect(0..4, &["r1"]);
}

#[test]
fn test_ten_replicas_bombed_with_requests() {
    let mut net = Net::new(10);
    let names: Vec<String> = (0..11).map(|k| format!("r{k}")).collect();
    for name in &names {
        net.submit(name, &[2]);
    }
    net.run(3000);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    net.expect_each_once(0..10, &names);
    for place in 0..10 {
        assert_eq!(net.chain(place).len(), 11, "exactly eleven at replica {place}");
        assert_eq!(net.chain(place), net.chain(0), "replica {place}");
    }
}
