//! Whom a replica that is behind asks next.

use std::sync::Arc;
use std::time::Duration;

use super::harness::{World, candidate, config, message, recovered};
use crate::pbft::message::{Message, Status};
use crate::pbft::{Input, Output};
use crate::types::{CommittedBlock, Number, Place, Time, Verified};

fn chain(length: u64) -> Vec<Arc<CommittedBlock>> {
    let mut world = World::new(4);
    for step in 0..length {
        world.submit(&candidate(1, step, &[&format!("e{step}")]));
        world.run(Duration::from_millis(5));
    }
    world.nodes[0].ledger.clone()
}

/// Whom replica 3 asks after replica 0 took this long to give it all that it had claimed.
fn asks_after(pause: Duration) -> Option<Place> {
    let chain = chain(10);
    let (mut replica, mut outputs) = recovered(config(4, 3), Vec::new());
    let claims = |from: u16, committed: u64| {
        let committed = Number(committed);
        message(from, Message::Status(Status { active: true, committed, ..Status::default() }))
    };
    let asked = |outputs: &[Output]| {
        outputs.iter().rev().find_map(|output| match output {
            Output::FetchBlocks { from, .. } => Some(*from),
            _ => None,
        })
    };
    replica.step(Time::ZERO, claims(0, 5), &mut outputs);
    assert_eq!(asked(&outputs), Some(Place(0)));
    outputs.clear();
    let now = Time::ZERO.after(pause);
    for from in 1..3 {
        replica.step(now, claims(from, 10), &mut outputs);
    }
    replica.step(now, claims(0, 10), &mut outputs);
    let blocks = chain[..5].iter().cloned().map(Verified::vouch).collect();
    replica.step(now, Input::Blocks { from: Place(0), blocks }, &mut outputs);
    asked(&outputs)
}

#[test]
fn a_source_that_gives_all_it_has_at_once_is_asked_again() {
    assert_eq!(asks_after(Duration::from_millis(5)), Some(Place(0)));
}

#[test]
fn a_source_that_claims_little_and_takes_its_time_loses_its_turn() {
    assert_eq!(asks_after(Duration::from_millis(390)), Some(Place(1)));
}
