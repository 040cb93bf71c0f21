//! Which primaries are given up on, and which are not.

use std::time::Duration;

use super::harness::{World, candidate, given};
use crate::pbft::message::{Message, Unsigned};
use crate::pbft::{Input, Note, Output};
use crate::types::{Number, Place, Verified, View};

#[test]
fn an_idle_network_suspects_nobody() {
    let mut world = World::new(4);
    world.run(Duration::from_secs(60));
    for me in 0..4 {
        assert_eq!(world.probe(me).view, View(0));
    }
}

#[test]
fn a_candidate_that_the_primary_never_got_is_sent_to_it_before_anyone_complains() {
    let mut world = World::new(4);
    let lost = candidate(2, 0, &["a"]);
    for to in 1..4 {
        world.step(to, given(2, &lost));
    }
    world.run(Duration::from_secs(2));
    let sent = |output: &(Place, Output)| matches!(output, (Place(2), Output::SendCandidate(Place(0), _)));
    assert!(world.outputs.iter().any(sent), "the origin sends it");
    for me in 0..4 {
        assert_eq!(world.chain(me), ["a"]);
        assert_eq!(world.probe(me).view, View(0));
    }
}

#[test]
fn a_primary_that_passes_over_one_origin_for_ever_is_replaced_though_others_commit() {
    let mut world = World::new(4);
    world.lose = Box::new(|_, to, input| match input {
        Input::Candidate { candidate, .. } => to == Place(0) && candidate.get().origin == Place(2),
        _ => false,
    });
    world.submit(&candidate(2, 0, &["censored"]));
    for step in 0..200u64 {
        world.submit(&candidate(1, step, &[&format!("e{step}")]));
        world.run(Duration::from_millis(50));
    }
    assert!(world.chain(1).contains(&"censored".to_owned()));
    assert!(world.probe(1).view >= View(1));
}

#[test]
fn a_backlog_is_no_reason_to_suspect_an_honest_primary() {
    let mut world = World::new(4);
    let mut sequence = [0u64; 4];
    for _ in 0..300 {
        // Each origin keeps its quota full all the time.
        for origin in 0..4u16 {
            while world.probe(usize::from(origin)).waiting < 8 && sequence[usize::from(origin)] < 2_000 {
                let next = &mut sequence[usize::from(origin)];
                let names: Vec<String> = (0..7).map(|nth| format!("{origin}-{next}-{nth}")).collect();
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                world.submit(&candidate(origin, *next, &names));
                *next += 1;
                for _ in 0..8 {
                    let Some((_, to, input)) = world.queue.pop_front() else { break };
                    world.step(to.index(), input);
                }
            }
        }
        world.run(Duration::from_millis(20));
    }
    for me in 0..4 {
        assert_eq!(world.probe(me).view, View(0), "r{me}");
    }
}

#[test]
fn a_slow_primary_is_replaced_though_it_proposes_everything_in_the_end() {
    let mut world = World::new(4);
    world.lose = Box::new(|from, to, input| match input {
        // The primary's proposals get out only by what backups are sent later: see below.
        Input::Message { message, .. } => {
            from == Place(0) && to != Place(0) && matches!(message.get(), Message::PrePrepare(_))
        }
        _ => false,
    });
    let mut step = 0;
    while world.probe(1).view == View(0) && step < 100 {
        let known = world.outputs.len();
        world.submit(&candidate(1, step, &[&format!("e{step}")]));
        world.run(Duration::from_millis(300));
        let held = proposals_since(&world, known);
        for message in held {
            for to in 1..4 {
                world.step(to, super::harness::message(0, message.clone()));
            }
        }
        world.run(Duration::from_millis(50));
        step += 1;
    }
    let slow = |output: &(Place, Output)| matches!(&output.1, Output::Note(Note::Suspected { reason, .. }) if reason.contains("to propose"));
    assert!(world.outputs.iter().any(slow), "suspected for its slowness after {step} blocks");
}

/// Seen with real processes: a replica that came back fetched two thousand blocks in half a second,
/// took each for a candidate that its own was passed over by, and left an honest primary's view.
#[test]
fn blocks_ordered_while_it_was_away_do_not_turn_a_replica_against_the_primary() {
    let mut world = World::new(4);
    world.stop(3);
    for step in 0..120u64 {
        world.submit(&candidate(1, step, &[&format!("e{step}")]));
        world.run(Duration::from_millis(5));
    }
    let blocks: Vec<_> = world.nodes[1].ledger.iter().cloned().map(Verified::vouch).collect();
    assert!(blocks.len() > world.configs[3].n * world.configs[3].outstanding, "more than may pass it over");
    world.start(3);
    world.lose = Box::new(|from, to, _| from != to && (from == Place(3) || to == Place(3)));
    world.submit(&candidate(3, 0, &["own"]));
    world.run(Duration::from_millis(450));
    world.step(3, Input::Blocks { from: Place(1), blocks });
    world.run(Duration::from_millis(200));
    assert_eq!(world.probe(3).committed, Number(120));
    assert_eq!(world.probe(3).view, View(0));
}

/// A world in which the primary's proposals reach nobody before [`release`].
fn held_back() -> World {
    let mut world = World::new(4);
    world.lose = Box::new(|from, to, input| match input {
        Input::Message { message, .. } => {
            from == Place(0) && to != Place(0) && matches!(message.get(), Message::PrePrepare(_))
        }
        _ => false,
    });
    world
}

/// What replica 0 proposed after the first `known` outputs.
fn proposals_since(world: &World, known: usize) -> Vec<Message> {
    let proposed = world.outputs[known..].iter().filter_map(|(from, output)| match output {
        Output::Broadcast(unsigned @ Unsigned::PrePrepare { .. }) if *from == Place(0) => {
            Some(super::harness::sign(Place(0), unsigned.clone()))
        }
        _ => None,
    });
    proposed.collect()
}

/// What the primary proposed after the first `known` outputs reaches the others after this time, and
/// what it proposes then at once.
fn release(world: &mut World, mut known: usize, after: Duration) {
    world.run(after);
    loop {
        let proposed = proposals_since(world, known);
        if proposed.is_empty() {
            return;
        }
        known = world.outputs.len();
        for message in proposed {
            for to in 1..4 {
                world.step(to, super::harness::message(0, message.clone()));
            }
        }
        world.settle();
    }
}

/// All origins have a candidate of so many envelopes proposed, so much late.
fn one_each(world: &mut World, step: u64, envelopes: u64, late: Duration) {
    let known = world.outputs.len();
    for origin in 1..4u16 {
        let names: Vec<String> = (0..envelopes).map(|nth| format!("{origin}-{step}-{nth}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        world.submit(&candidate(origin, step, &names));
    }
    release(world, known, late);
}

/// How long a primary lasts that comes late with each of its proposals from some time on.
fn lasts(envelopes: u64, late: Duration) -> Duration {
    let mut world = held_back();
    for step in 0..20 {
        one_each(&mut world, step, envelopes, Duration::from_millis(1));
    }
    let began = world.now;
    for step in 20..60 {
        one_each(&mut world, step, envelopes, late);
        if world.probe(1).view != View(0) {
            let slow = |output: &(Place, Output)| matches!(&output.1, Output::Note(Note::Suspected { reason, .. }) if reason.contains("to propose"));
            assert!(world.outputs.iter().any(slow), "it was left for its slowness");
            break;
        }
    }
    world.now.since(began)
}

#[test]
fn a_primary_that_is_late_by_nearly_the_complain_timeout_is_left_after_few_proposals() {
    let lasted = lasts(1, Duration::from_millis(475));
    assert!(lasted < Duration::from_secs(2), "{lasted:?}");
}

#[test]
fn a_primary_that_comes_late_with_a_window_of_proposals_is_left_though_most_follow_at_once() {
    let lasted = lasts(10, Duration::from_millis(475));
    assert!(lasted < Duration::from_secs(2), "{lasted:?}");
}

#[test]
fn a_primary_that_stands_still_now_and_then_is_not_slow() {
    let mut world = held_back();
    for step in 0..400 {
        let late = if step % 16 == 15 { 400 } else { 60 };
        one_each(&mut world, step, 1, Duration::from_millis(late));
    }
    for me in 0..4 {
        assert_eq!(world.probe(me).view, View(0), "r{me}");
    }
}

/// It was 750 ms where the status that sends what waits to the primary came in the second half of its pause.
#[test]
fn a_silent_primary_is_left_soon_after_the_complain_timeout_whenever_it_falls_silent() {
    for phase in (0..100).step_by(7) {
        let mut world = World::new(4);
        world.run(Duration::from_millis(1000 + phase));
        world.stop(0);
        world.submit(&candidate(1, 0, &["a"]));
        world.run(Duration::from_millis(650));
        assert_eq!(world.chain(1), ["a"], "{phase} ms after a status");
    }
}
