//! A primary that crawls is given up on; one that merely has or gets much to do is not.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::harness::{World, candidate, given};
use crate::pbft::{Input, Note, Output};
use crate::types::{Candidate, Place, View};

/// A little less than what is found slow: a quarter of the complain timeout.
const PACE: Duration = Duration::from_millis(120);

/// The primary of view 0 hears of candidates only what a test gives it.
fn deaf_primary() -> World {
    let mut world = World::new(4);
    world.lose = Box::new(|_, to, input| to == Place(0) && matches!(input, Input::Candidate { .. }));
    world
}

/// As many candidates of one envelope as an origin may have outstanding.
fn quota(origin: u16) -> Vec<Arc<Candidate>> {
    (0..8).map(|nth| candidate(origin, nth, &[&format!("{origin}-{nth}")])).collect()
}

fn complained(world: &World, about: &str) -> bool {
    world.outputs.iter().any(
        |(_, output)| matches!(output, Output::Note(Note::Complains { reason, .. }) if reason.contains(about)),
    )
}

/// Does `next` again and again; how long until replica 1 left view 0.
fn crawl(world: &mut World, mut next: impl FnMut(&mut World, u64)) -> Duration {
    let began = world.now;
    for step in 0..100 {
        if world.probe(1).view > View(0) {
            break;
        }
        next(world, step);
    }
    world.now.since(began)
}

/// The primary orders a candidate of its own, when it would nearly be found slow.
fn own(world: &mut World, step: u64) {
    let own = candidate(0, step, &[&format!("own-{step}")]);
    world.step(0, given(0, &own));
    world.submit(&own);
    world.run(PACE);
}

/// Forward timeout, then twice two complain timeouts, and what the paces of status and proposals add.
const BOUND: Duration = Duration::from_millis(3_500);

#[test]
fn a_primary_that_orders_its_own_bit_by_bit_while_others_wait_is_replaced_in_time() {
    let mut world = deaf_primary();
    let waiting: Vec<_> = (1..4).flat_map(quota).collect();
    for candidate in &waiting {
        world.submit(candidate);
    }
    let took = crawl(&mut world, own);
    assert!(took <= BOUND, "it took {took:?}");
    assert!(complained(&world, "left behind"));
    world.run(Duration::from_secs(1));
    let chain = world.chain(1);
    for candidate in &waiting {
        let name = String::from_utf8_lossy(&candidate.envelopes[0]).into_owned();
        assert!(chain.contains(&name), "{name} is in the chain");
    }
}

#[test]
fn a_primary_that_lets_the_others_through_one_at_a_time_is_replaced_too() {
    let mut world = deaf_primary();
    let mut lines: Vec<VecDeque<_>> = (1..4).map(|origin| quota(origin).into()).collect();
    for candidate in lines.iter().flatten() {
        world.submit(candidate);
    }
    let took = crawl(&mut world, |world, step| {
        // Each origin cuts a new one for each that is ordered, and so has its quota waiting all the time.
        let (origin, sequence) = (step as u16 % 3 + 1, 8 + step / 3);
        let new = candidate(origin, sequence, &[&format!("{origin}-{sequence}")]);
        let line = &mut lines[usize::from(origin) - 1];
        let first = line.pop_front().expect("as many come as go");
        line.push_back(Arc::clone(&new));
        world.step(0, given(origin, &first));
        world.run(PACE);
        world.submit(&new);
    });
    assert!(took <= BOUND, "it took {took:?}");
}

#[test]
fn a_primary_that_crawls_with_one_origin_alone_is_replaced_too() {
    let mut world = deaf_primary();
    for candidate in quota(2) {
        world.submit(&candidate);
    }
    let took = crawl(&mut world, own);
    assert!(took <= BOUND, "it took {took:?}");
}

#[test]
fn candidates_that_the_primary_does_not_get_from_their_origin_depose_nobody() {
    let mut world = World::new(4);
    world.lose = Box::new(|from, to, input| match input {
        Input::Candidate { candidate, .. } => {
            to == Place(0) && from == Place(2) && candidate.get().origin == Place(2)
        }
        _ => false,
    });
    for step in 0..400u64 {
        world.submit(&candidate(1, step, &[&format!("e{step}")]));
        if step % 4 == 0 && world.probe(1).waiting < 8 {
            world.submit(&candidate(2, step / 4, &[&format!("lost{step}")]));
        }
        world.run(Duration::from_millis(25));
    }
    world.run(Duration::from_secs(2));
    for me in 0..4 {
        assert_eq!(world.probe(me).view, View(0), "r{me}");
    }
    let lost = world.chain(1).iter().filter(|name| name.starts_with("lost")).count();
    assert!(lost >= 16, "what others sent on is ordered, {lost} of it");
    assert!(!complained(&world, "left behind"));
}

#[test]
fn a_primary_that_takes_long_to_look_at_what_it_gets_is_not_one_that_crawls() {
    let mut world = deaf_primary();
    let mut late: VecDeque<Arc<Candidate>> = VecDeque::new();
    // Everything gets to the primary late, up to 900 ms, whoever sent it; blocks go on being made.
    for step in 0..600u64 {
        let (origin, sequence) = ((step % 3) as u16 + 1, step / 3);
        let new = candidate(origin, sequence, &[&format!("{origin}-{sequence}")]);
        world.submit(&new);
        late.push_back(new);
        if late.len() as u64 > (step / 10).min(18) {
            let ready = late.pop_front().expect("there are some");
            world.step(0, given(ready.origin.0, &ready));
        }
        world.run(Duration::from_millis(50));
    }
    assert!(world.chain(1).len() > 500, "{} are ordered", world.chain(1).len());
    for me in 0..4 {
        assert_eq!(world.probe(me).view, View(0), "r{me}");
    }
    assert!(!complained(&world, "left behind"));
}

#[test]
fn large_and_small_candidates_together_leave_nothing_behind_that_would_fit() {
    let mut world = World::new(4);
    let mut sequence = [0u64; 4];
    for _ in 0..300 {
        for origin in 0..4u16 {
            while world.probe(usize::from(origin)).waiting < 8 && sequence[usize::from(origin)] < 2_000 {
                let next = &mut sequence[usize::from(origin)];
                // From one envelope to nine of the ten that a block may have.
                let names: Vec<String> = (0..1 + (*next * 5 + u64::from(origin) * 3) % 9)
                    .map(|nth| format!("{origin}-{next}-{nth}"))
                    .collect();
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
    assert!(!complained(&world, "left behind"));
}

#[test]
fn a_primary_that_crawls_beside_candidates_too_large_for_its_blocks_is_replaced_too() {
    let mut world = deaf_primary();
    let most = world.configs[0].max_message_count as usize;
    for origin in 1..4u16 {
        let names: Vec<String> = (0..most).map(|nth| format!("{origin}/{nth}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        world.submit(&candidate(origin, 0, &names));
    }
    let took = crawl(&mut world, own);
    assert!(complained(&world, "left behind"));
    assert!(took < BOUND + PACE * 8, "{took:?}");
}
