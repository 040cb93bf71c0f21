//! Acceptance cases of fabric-spec G6 and G7 that fit virtual time; each test carries the number
//! of its case, and `CASES.md` says each in a line. Cases that the historical suite covers are
//! in `historical.rs`.

mod net;

use std::time::Duration;

use net::{Net, liar, settings};
use sbft::types::View;
use sbft_sim::network::{Delay, Fate, Kind};
use sbft_sim::world::{Fault, Settings};

fn stream(net: &mut Net, to: &[u16], count: usize) -> Vec<String> {
    let names: Vec<String> = (0..count).map(|k| format!("r{k}")).collect();
    for (k, name) in names.iter().enumerate() {
        net.submit(name, &[to[k % to.len()]]).run(7);
    }
    names
}

fn same_chains(net: &Net, places: &[usize]) {
    for place in places {
        assert_eq!(net.chain(places[0]), net.chain(*place), "replicas {} and {place}", places[0]);
    }
}

fn once(net: &mut Net, places: &[usize], names: &[String]) {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    net.expect_each_once(places.iter().copied(), &names);
    same_chains(net, places);
}

#[test]
fn case_70_a_stream_through_1_4_7_and_10_replicas_with_f_of_them_silent() {
    for n in [1, 4, 7, 10] {
        let f = (n - 1) / 3;
        let silent = (n - f..n).map(|place| liar(place as u16, &["silent"], &[])).collect();
        let mut net = Net::with(settings(n), silent);
        let to: Vec<u16> = (0..(n - f) as u16).collect();
        let names = stream(&mut net, &to, 40);
        net.run(3000);
        let honest: Vec<usize> = (0..n - f).collect();
        once(&mut net, &honest, &names);
    }
}

#[test]
fn case_73_duplicated_and_reordered_messages_change_nothing() {
    let mut settings = settings(4);
    settings.conditions.duplicate = 1.0;
    settings.conditions.delay =
        Delay::Exponential { least: Duration::from_millis(1), mean: Duration::from_millis(30) };
    let mut net = Net::with(settings, Vec::new());
    let names = stream(&mut net, &[0, 1, 2, 3], 20);
    net.run(6000);
    once(&mut net, &[0, 1, 2, 3], &names);
}

#[test]
fn case_75_equivocation_to_every_set_of_victims() {
    for mask in 1..8u16 {
        let told: Vec<u16> = (1..4).filter(|place| mask >> (place - 1) & 1 == 1).collect();
        let liar = liar(0, &["equivocate-halves", "vote-for-all"], &told);
        let mut net = Net::with(settings(4), vec![liar]);
        let names = stream(&mut net, &[1, 2, 3], 6);
        net.run(8000);
        once(&mut net, &[1, 2, 3], &names);
    }
}

/// Wrong previous hash, wrong data hash, wrong number, no candidates, one twice, an unknown one,
/// the wrong view, an envelope that no client submitted. Some of it proves nothing (a number far
/// off), and a liar who then proposes properly may stay; `new_view_cases.rs` takes each by itself.
#[test]
fn case_76_bad_proposals_are_refused_and_the_primary_deposed() {
    let mut deposed = 0;
    for seed in 0..12 {
        let settings = Settings { seed, ..settings(4) };
        let mut net = Net::with(settings, vec![liar(0, &["bad-proposals"], &[])]);
        let names = stream(&mut net, &[1, 2, 3], 12);
        net.run(8000);
        once(&mut net, &[1, 2, 3], &names);
        deposed += usize::from((1..4).all(|place| net.view(place) >= 1));
    }
    assert!(deposed >= 9, "deposed in {deposed} of 12 stories");
}

#[test]
fn case_77_a_primary_that_never_proposes_is_deposed_in_time() {
    let mut net = Net::with_liar(4, 0, &["silent-primary"]);
    net.submit("r1", &[2]).run_until(2000, |net| (1..4).all(|place| net.blocks(place) == 1));
    net.expect(1..4, &["r1"]);
    assert!(net.view(1) >= 1);
}

#[test]
fn case_78_a_primary_that_censors_one_origin_is_deposed() {
    for seed in 0..6 {
        let settings = Settings { seed, ..settings(4) };
        let mut net = Net::with(settings, vec![liar(0, &["censor-origin"], &[])]);
        // The other origins keep it busy all the time, so that it is never silent; it goes for what
        // it passes over, and not only when the others have nothing left.
        let names = stream(&mut net, &[1, 2, 3], 600);
        assert!((1..4).all(|place| net.view(place) >= 1), "seed {seed}: everyone left the censor's view");
        net.run(5000);
        once(&mut net, &[1, 2, 3], &names);
    }
}

#[test]
fn case_79_the_primary_dies_in_the_middle_of_a_block() {
    // After its proposal, after the prepares, after its commit, and after a commit that only some
    // of the others hear.
    for (kind, after, deaf) in [
        (Kind::PrePrepare, true, &[][..]),
        (Kind::Commit, false, &[]),
        (Kind::Commit, true, &[]),
        (Kind::Commit, true, &[2]),
        (Kind::Commit, true, &[2, 3]),
    ] {
        let mut net = Net::new(4);
        net.submit("r1", &[1]).run(500);
        if !deaf.is_empty() {
            net.drop(&[Kind::Commit], &[0, 3], deaf);
        }
        net.crash_at(0, kind, 2, after).submit("r2", &[1]).run(4000);
        assert!(!net.is_up(0), "it died at its {kind}");
        net.expect(1..4, &["r1", "r2"]);
        net.mend().restart(0).run(2000).expect(0..4, &["r1", "r2"]);
    }
}

/// One replica alone commits a block; two view changes later it is the same block everywhere.
#[test]
fn case_81_two_view_changes_after_one_replica_alone_committed() {
    let mut net = Net::new(4);
    net.submit("r0", &[0]).run(500);
    net.rule(&[Kind::Commit], &[], &[0, 1, 3], Some(View(0)), Fate::Drop);
    net.submit("r1", &[0]).run_until(1000, |net| net.blocks(2) == 2);
    net.cut(2).drop_in_view(&[Kind::Commit], 1);
    net.submit("r2", &[3]).run(8000).expect([0, 1, 3], &["r0", "r1", "r2"]);
    assert!(net.view(1) >= 2, "two view changes");
    net.mend().run(2000).expect(0..4, &["r0", "r1", "r2"]);
}

#[test]
fn case_82_the_new_primary_lacks_the_block_in_flight_and_gets_it() {
    let mut net = Net::new(4);
    net.drop(&[Kind::Candidate], &[], &[1]).drop_in_view(&[Kind::Commit], 0);
    net.rule(&[Kind::PrePrepare, Kind::Repair], &[0], &[1], None, Fate::Drop);
    net.submit("r1", &[3]).run(5000).expect(0..4, &["r1"]);
    assert!(net.view(2) >= 1);
}

#[test]
fn case_83_f_crashed_goes_on_f_plus_1_stops_and_comes_back() {
    let mut net = Net::new(4);
    net.crash(3).submit("r1", &[0]).run(1000).expect(0..3, &["r1"]);
    net.crash(2).submit("r2", &[0]).run(5000).expect(0..2, &["r1"]);
    net.restart(2).run(8000).expect(0..3, &["r1", "r2"]);
    net.restart(3).run(3000).expect(0..4, &["r1", "r2"]);
}

#[test]
fn case_84_view_change_timeouts_grow_and_fall_back() {
    let mut net = Net::new(4);
    // No view can be entered for a while, so the timeouts double.
    net.drop(&[Kind::NewView], &[], &[]).crash(0).submit("r1", &[1]).run(6000);
    let reached = net.view(1);
    assert!((2..=9).contains(&reached), "{reached} views in six seconds: timeouts grow");
    net.mend().run(15_000).expect(1..4, &["r1"]);
    // After progress the next failure costs a normal timeout again.
    let primary = (net.view(1) % 4) as usize;
    if primary != 0 {
        net.restart(0).run(1000).crash(primary);
    }
    let survivor = (1..4).find(|place| *place != primary).expect("three of them");
    let blocks = net.blocks(survivor);
    net.submit("r2", &[survivor as u16]).run_until(3500, |net| net.blocks(survivor) > blocks);
}

#[test]
fn case_86_forged_and_borrowed_signatures_are_ignored() {
    for seed in 0..4 {
        let settings = Settings { seed, ..settings(4) };
        let liar = liar(1, &["forge", "replay-all", "lying-block"], &[]);
        let mut net = Net::with(settings, vec![liar]);
        net.drop_in_view(&[Kind::Commit], 0);
        let names = stream(&mut net, &[0, 2, 3], 12);
        net.run(10_000);
        once(&mut net, &[0, 2, 3], &names);
    }
}

/// Kills one replica at every single output it carries out, and before every send it releases.
#[test]
fn case_89_a_crash_at_every_point_loses_nothing_and_contradicts_nothing() {
    for body in [0, 2] {
        let story = |point: Option<u64>| {
            let mut settings = settings(4);
            settings.sync = (Duration::from_millis(2), Duration::from_millis(2));
            settings.compact_rate = 0.5;
            let mut net = Net::with(settings, Vec::new());
            net.world.crash_points.extend(point.map(|point| (body, point)));
            let names: Vec<String> = (0..4).map(|k| format!("r{k}")).collect();
            for (k, name) in names.iter().enumerate() {
                net.submit(name, &[1]).run(if k == 0 { 60 } else { 250 });
                if !net.is_up(body) {
                    net.restart(body);
                }
            }
            let end = net.now().after(Duration::from_secs(9));
            while (0..4).any(|place| net.chain(place).len() < 4) {
                assert!(net.now() < end, "crash of {body} at {point:?}: not settled");
                net.run(50);
                if !net.is_up(body) {
                    net.restart(body);
                }
            }
            once(&mut net, &[0, 1, 2, 3], &names);
            net.world.bodies[body].ordinal
        };
        let points = story(None);
        assert!(points > 50, "{points} points to crash at");
        for point in 1..=points {
            story(Some(point));
        }
    }
}

#[test]
fn case_91_all_replicas_restart_at_once_and_go_on() {
    for when in [20, 45, 65, 85, 105, 300] {
        let mut net = Net::new(4);
        net.submit("r1", &[0]).run(400).expect(0..4, &["r1"]);
        let views: Vec<u64> = (0..4).map(|place| net.view(place)).collect();
        net.submit("r2", &[1]).run(when);
        for place in 0..4 {
            net.world.plan(net.now(), Fault::Crash(place));
        }
        net.run(100);
        for place in 0..4 {
            net.world.plan(net.now(), Fault::Restart(place));
        }
        net.run(300);
        assert!((0..4).all(|place| net.view(place) >= views[place]), "no view went back");
        net.submit("r3", &[2]).run(5000).expect_each_once(0..4, &["r1", "r3"]);
        same_chains(&net, &[0, 1, 2, 3]);
    }
}

#[test]
fn case_92_a_replica_that_was_down_fetches_full_blocks_and_votes_again() {
    let mut net = Net::new(4);
    net.crash(3);
    let names = stream(&mut net, &[0, 1, 2], 60);
    net.run(1000).restart(3).run(3000);
    once(&mut net, &[0, 1, 2, 3], &names);
    // Now its vote is needed.
    net.crash(2).submit("last", &[0]).run(3000).expect_each_once([0, 1, 3], &["last"]);
}

#[test]
fn case_93_replicas_ahead_and_behind_at_a_view_change() {
    let mut net = Net::new(4);
    net.submit("r0", &[0]).run(400);
    // Replica 1 is behind by many, replica 2 ahead by one, and then the view changes.
    net.cut(1);
    let names = stream(&mut net, &[0], 20);
    net.run(1000);
    net.rule(&[Kind::Commit], &[], &[0, 3], None, Fate::Drop);
    net.submit("last", &[0]).run(100).crash(0);
    net.mend().run(8000);
    once(&mut net, &[1, 2, 3], &names);
    net.expect_each_once(1..4, &["last"]);
}

#[test]
fn case_93_blocks_from_a_liar_are_not_believed() {
    let mut net = Net::with_liar(4, 1, &["lying-block", "lying-checkpoint"]);
    net.crash(3);
    let names = stream(&mut net, &[0, 2], 30);
    net.run(1000).restart(3).run(4000);
    once(&mut net, &[0, 2, 3], &names);
}

#[test]
fn a_liar_that_drips_blocks_does_not_hold_a_replica_back() {
    let liar = liar(1, &["stall-transfer"], &[]);
    let mut net = Net::with(Settings::calm(1, 4), vec![liar]);
    net.crash(3);
    let names = stream(&mut net, &[0, 2], 120);
    net.run(1000).restart(3).run_until(3000, |net| net.blocks(3) == net.blocks(0));
    once(&mut net, &[0, 2, 3], &names);
}

#[test]
fn a_wiped_replica_follows_and_never_votes_again() {
    let mut net = Net::new(4);
    let names = stream(&mut net, &[0, 1, 2], 20);
    net.run(500);
    net.world.plan(net.now(), Fault::Wipe(3));
    net.run(50).restart(3).run(2000);
    once(&mut net, &[0, 1, 2, 3], &names);
    net.submit("more", &[0]).run(1000).expect_each_once(0..4, &["more"]);
    // Its vote does not count: with another one down nothing commits, and nothing breaks.
    net.crash(2).submit("never", &[0]).run(3000);
    assert!(!net.chain(0).contains(&"never".to_owned()));
    net.restart(2).run(8000).expect_each_once(0..4, &["never"]);
}
