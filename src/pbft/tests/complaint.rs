//! Who complains about a primary, who leaves it, and who is never left alone.

use std::time::Duration;

use super::harness::{GENESIS, World, candidate, message, sign};
use crate::header::header_hash;
use crate::pbft::message::{Message, Offence, PrepareVote, Status, Unsigned};
use crate::pbft::{Input, Note, Output};
use crate::types::{Digest, Number, Place, View};

fn cut_off(place: u16) -> super::harness::Filter {
    Box::new(move |from, to, _| from != to && (from == Place(place) || to == Place(place)))
}

fn notes(world: &World, me: u16) -> Vec<&Note> {
    let of_mine = world.outputs.iter().filter(|(from, _)| *from == Place(me));
    of_mine
        .filter_map(|(_, output)| if let Output::Note(note) = output { Some(note) } else { None })
        .collect()
}

fn complained(world: &World, me: u16) -> bool {
    notes(world, me).iter().any(|note| matches!(note, Note::Complains { .. }))
}

/// Says over its link that it complains about view 0, or not.
fn complaint_of(from: u16, complains: bool) -> Input {
    message(from, Message::Status(Status { active: true, complains, ..Status::default() }))
}

#[test]
fn a_replica_that_stalls_alone_keeps_voting_in_the_view() {
    let mut world = World::new(4);
    world.lose = cut_off(3);
    for step in 0..20 {
        world.submit(&candidate(1, step, &[&format!("e{step}")]));
        // Its own core has the work and sees nothing happen.
        world.step(3, super::harness::given(3, &candidate(3, step, &[&format!("own{step}")])));
        world.run(Duration::from_millis(100));
    }
    assert!(complained(&world, 3) && world.probe(3).complains, "it wants for progress");
    world.lose = Box::new(|_, _, _| false);
    world.run(Duration::from_secs(3));
    for me in 0..4 {
        let probe = world.probe(me);
        assert_eq!((probe.view, probe.active, probe.complains), (View(0), true, false), "r{me}");
    }
    // It counts: with another one gone, nothing commits without its vote.
    world.stop(1);
    world.submit(&candidate(2, 0, &["with its vote"]));
    world.run(Duration::from_millis(300));
    for me in [0, 2, 3] {
        assert!(world.chain(me).contains(&"with its vote".to_owned()), "r{me}");
        assert_eq!(world.probe(me).view, View(0));
    }
}

#[test]
fn a_liar_that_complains_to_one_stalled_replica_does_not_bait_it_out_of_the_view() {
    let mut world = World::new(4);
    world.lose = cut_off(3);
    world.step(3, super::harness::given(3, &candidate(3, 0, &["own"])));
    for _ in 0..30 {
        world.run(Duration::from_millis(100));
        world.step(3, complaint_of(2, true));
    }
    assert!(world.probe(3).complains);
    assert_eq!(world.probe(3).view, View(0));
}

#[test]
fn what_f_plus_one_complain_about_all_complain_about_and_a_quorum_leaves() {
    let mut world = World::new(7);
    for place in 3..5 {
        world.step(0, complaint_of(place, true));
        assert!(!world.probe(0).complains, "f others may all be liars");
    }
    world.step(0, complaint_of(5, true));
    assert!(world.probe(0).complains, "one of f + 1 is honest");
    assert_eq!(world.probe(0).view, View(0), "four of seven are no quorum");
    world.step(0, complaint_of(5, false));
    assert!(!world.probe(0).complains, "they think better of it");
    for place in 3..7 {
        world.step(0, complaint_of(place, true));
    }
    assert_eq!((world.probe(0).view, world.probe(0).active), (View(1), false), "with it a quorum of five");
}

/// Blocks are committed while one liar complains without end: one honest replica that stalls for a
/// moment is then no longer made two, three and a quorum by it.
#[test]
fn a_standing_complaint_and_one_honest_one_do_not_depose_a_primary_that_commits() {
    let against = |blocks: u64| {
        let mut world = World::new(4);
        world.stop(3);
        for to in 0..3 {
            world.step(to, complaint_of(3, true));
        }
        for step in 0..blocks {
            world.submit(&candidate(1, step, &[&format!("e{step}")]));
            world.run(Duration::from_millis(20));
        }
        assert_eq!(world.probe(2).committed, Number(blocks));
        world.step(2, complaint_of(1, true));
        world
    };
    assert_eq!(against(0).probe(2).view, View(1), "f + 1 of them, and itself: a quorum");
    let window = super::harness::config(4, 2).window;
    let mut world = against(window);
    assert_eq!((world.probe(2).view, world.probe(2).complains), (View(0), false));
    // It still counts where somebody has a reason of its own.
    world.stop(0);
    world.submit(&candidate(1, window, &["last"]));
    world.run(Duration::from_secs(1));
    assert!(world.probe(2).view >= View(1));
}

#[test]
fn a_complaint_is_told_at_once_and_a_flapping_one_only_with_the_statuses() {
    let mut world = World::new(4);
    world.run(Duration::from_millis(250));
    let told = |world: &World| {
        let status = |output: &&(Place, Output)| matches!(output, (Place(0), Output::TellAll(Message::Status(status))) if status.complains);
        world.outputs.iter().filter(status).count()
    };
    for _ in 0..50 {
        world.step(0, complaint_of(1, true));
        // Two of four, and not the quorum of three: 0 echoes nothing before the second.
        world.step(0, complaint_of(1, false));
    }
    assert_eq!(told(&world), 0);
    let mut world = World::new(7);
    world.run(Duration::from_millis(250));
    for place in 3..5 {
        world.step(0, complaint_of(place, true));
    }
    for _ in 0..50 {
        world.step(0, complaint_of(5, true));
        world.step(0, complaint_of(5, false));
    }
    assert_eq!(told(&world), 1, "fifty changes of mind, one message");
}

#[test]
fn a_silent_primary_is_left_by_all_within_a_message_delay_of_the_last_complaint() {
    let mut world = World::new(4);
    world.stop(0);
    world.submit(&candidate(1, 0, &["a"]));
    world.run(Duration::from_millis(900));
    for me in 1..4 {
        assert_eq!(world.chain(me), ["a"], "r{me}");
        assert_eq!((world.probe(me).view, world.probe(me).active), (View(1), true));
    }
}

#[test]
fn a_candidate_that_only_its_origin_holds_is_spread_until_all_complain() {
    let mut world = World::new(4);
    // The origin's links carry no candidates but those that are sent again, and the primary is deaf.
    let mut first = 0;
    world.lose = Box::new(move |from, to, input| match input {
        Input::Candidate { .. } if from != to => {
            first += 1;
            first <= 3 || to == Place(0)
        }
        _ => false,
    });
    world.submit(&candidate(2, 0, &["censored"]));
    world.run(Duration::from_secs(4));
    for me in 1..4 {
        assert_eq!(world.chain(me), ["censored"], "r{me}");
    }
}

#[test]
fn the_proof_for_which_a_replica_left_is_sent_to_whoever_is_still_there() {
    let mut world = World::new(4);
    let held = std::rc::Rc::new(std::cell::Cell::new(true));
    let holding = std::rc::Rc::clone(&held);
    // What replica 3 says first is lost, the proof too.
    world.lose = Box::new(move |from, to, _| holding.get() && from == Place(3) && to != Place(3));
    let prepare = |digest: u8| {
        let vote = PrepareVote { view: View(0), number: Number(1), digest: Digest([digest; 32]) };
        match sign(Place(0), Unsigned::Prepare(vote)) {
            Message::Prepare(prepare) => Box::new(prepare),
            _ => unreachable!("a prepare was signed"),
        }
    };
    let lie = Offence::Prepares(prepare(1), prepare(2));
    world.step(3, message(2, Message::Offence(lie)));
    world.run(Duration::from_millis(500));
    assert_eq!((world.probe(3).view, world.probe(1).view), (View(1), View(0)), "it left on proof, alone");
    held.set(false);
    world.run(Duration::from_millis(1500));
    for me in 1..4 {
        assert_eq!((world.probe(me).view, world.probe(me).active), (View(1), true), "r{me}");
    }
}

#[test]
fn a_replica_that_was_not_running_starts_its_clocks_again() {
    let mut world = World::new(4);
    world.lose = cut_off(3);
    world.step(3, super::harness::given(3, &candidate(3, 0, &["own"])));
    world.run(Duration::from_millis(300));
    // It stands still for a second; the others do not.
    let stalled = world.nodes[3].replica.take();
    world.run(Duration::from_secs(1));
    world.nodes[3].replica = stalled;
    world.step(3, Input::Tick);
    world.run(Duration::from_millis(450));
    assert!(!complained(&world, 3), "it was its own fault");
    world.run(Duration::from_millis(500));
    assert!(complained(&world, 3), "and now it is not");
}

#[test]
fn a_replica_that_is_always_late_complains_in_the_end() {
    let mut world = World::new(4);
    world.lose = cut_off(3);
    world.step(3, super::harness::given(3, &candidate(3, 0, &["own"])));
    for _ in 0..8 {
        let late = world.nodes[3].replica.take();
        world.run(Duration::from_millis(500));
        world.nodes[3].replica = late;
        world.step(3, Input::Tick);
    }
    assert!(complained(&world, 3));
}

#[test]
fn the_timer_for_the_next_view_waits_while_others_vote_in_this_one() {
    let mut world = World::new(4);
    world.stop(0);
    world.submit(&candidate(1, 0, &["a"]));
    // Replica 3 asks for view 1 like the others, and gets no new-view for long.
    world.lose = Box::new(|_, to, input| match input {
        Input::Message { message, .. } => to == Place(3) && matches!(message.get(), Message::NewView(_)),
        _ => false,
    });
    world.run(Duration::from_secs(5));
    assert_eq!((world.probe(1).view, world.probe(1).active), (View(1), true));
    assert_eq!((world.probe(3).view, world.probe(3).active), (View(1), false), "and not beyond");
    world.lose = Box::new(|_, _, _| false);
    world.run(Duration::from_secs(2));
    assert_eq!((world.probe(3).view, world.probe(3).active), (View(1), true));
}

#[test]
fn a_replica_that_waits_alone_in_a_higher_view_is_fetched() {
    let mut world = World::new(4);
    world.stop(3);
    world.nodes[3].log.push(crate::pbft::Record::ViewChange(View(1)));
    world.start(3);
    world.run(Duration::from_secs(20));
    assert_eq!((world.probe(1).view, world.probe(3).active), (View(0), false), "for some time nobody minds");
    world.run(Duration::from_secs(20));
    for me in 0..4 {
        assert_eq!((world.probe(me).view, world.probe(me).active), (View(1), true), "r{me}");
    }
}

#[test]
fn a_liar_that_pretends_to_wait_above_moves_the_others_ever_more_rarely() {
    let mut world = World::new(4);
    world.stop(3);
    let mut views = Vec::new();
    for second in 0..1200u64 {
        let view = View(world.probe(0).view.0 + 1);
        let body = crate::pbft::message::ViewChange { view, base: None, prepared: Vec::new() };
        for to in 0..3 {
            world.step(to, message(3, sign(Place(3), Unsigned::ViewChange(body.clone()))));
            world.step(to, message(3, Message::Status(Status { view, ..Status::default() })));
        }
        world.run(Duration::from_secs(1));
        if views.last().is_none_or(|(_, last)| *last != world.probe(0).view) {
            views.push((second, world.probe(0).view));
        }
    }
    // The view that the liar should lead fails after a view-change timeout; that pause says nothing.
    let pauses: Vec<_> =
        views.windows(2).map(|pair| pair[1].0 - pair[0].0).filter(|pause| *pause > 10).collect();
    assert!(pauses.len() >= 3 && pauses.len() <= 8, "{views:?}");
    assert!(pauses.windows(2).all(|pair| pair[1] > pair[0] + pair[0] / 2), "{pauses:?}");
}

#[test]
fn whoever_fetches_a_peer_from_above_counts_it_whatever_made_it_leave() {
    let mut world = World::new(4);
    world.stop(3);
    for second in 0.. {
        assert!(second < 100, "it is never fetched");
        let body = crate::pbft::message::ViewChange { view: View(1), base: None, prepared: Vec::new() };
        for to in 0..3 {
            world.step(to, message(3, sign(Place(3), Unsigned::ViewChange(body.clone()))));
            world.step(to, message(3, Message::Status(Status { view: View(1), ..Status::default() })));
        }
        world.run(Duration::from_secs(1));
        if world.probe(0).view > View(0) {
            break;
        }
    }
    for me in 0..3 {
        let replica = world.nodes[me].replica.as_ref().expect("it is up");
        assert_eq!(replica.peers[3].handovers, 1, "r{me}");
    }
}

#[test]
fn a_view_change_whose_signature_failed_is_asked_for_again() {
    let mut world = World::new(4);
    world.stop(0);
    world.submit(&candidate(1, 0, &["a"]));
    let mut lost = 0;
    // Nobody's first view-change is ever signed.
    world.lose = Box::new(move |_, _, input| match input {
        Input::Message { message, .. } if matches!(message.get(), Message::ViewChange(_)) => {
            lost += 1;
            lost <= 12
        }
        _ => false,
    });
    world.run(Duration::from_secs(4));
    for me in 1..4 {
        assert_eq!(world.chain(me), ["a"], "r{me}");
    }
}

#[test]
fn a_proposal_that_was_refused_is_not_judged_again_and_a_commit_there_counts_all_the_same() {
    let mut world = World::new(4);
    let good = candidate(1, 0, &["a"]);
    world.lose = Box::new(|_, to, input| match input {
        Input::Message { message, .. } => to == Place(3) && matches!(message.get(), Message::PrePrepare(_)),
        _ => false,
    });
    // The primary tells 3 something that does not extend the chain, and the others the truth.
    let header = crate::types::Header {
        number: Number(1),
        previous_hash: Some(Digest([9; 32])),
        data_hash: good.data_hash,
    };
    assert_ne!(header_hash(&header), GENESIS);
    let named = crate::types::CandidateRef { origin: Place(1), digest: good.digest };
    let proposal = std::sync::Arc::new(crate::pbft::message::Proposal { header, candidates: vec![named] });
    world.step(3, message(0, sign(Place(0), Unsigned::PrePrepare { view: View(0), proposal })));
    assert!(world.probe(3).complains);
    world.submit(&good);
    world.run(Duration::from_secs(1));
    assert_eq!(world.chain(3), ["a"], "a block has q commits, whatever the primary told this replica");
}
