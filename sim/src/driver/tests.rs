//! A body that goes round in circles at one instant.

use std::time::Duration;

use sbft::intake::block_cutter::CutLimits;
use sbft::intake::{Intake, IntakeConfig};
use sbft::types::{Place, Time};

use crate::byzantine::Liar;
use crate::world::{Settings, World, intake_config};

/// Replica 1 cuts candidates of two envelopes where a block holds one: its core lets each go as soon
/// as it hears of it, and what is let go is cut again.
fn going_round(liars: Vec<(Place, Liar)>) -> World {
    let mut settings = Settings::calm(1, 4);
    settings.config.max_message_count = 1;
    let mut world = World::new(settings, liars, &[]);
    world.start();
    let right = intake_config(&world.settings, Place(1));
    let limits = CutLimits { max_message_count: 2, ..right.limits };
    world.bodies[1].intake = Intake::new(IntakeConfig { limits, ..right }, Vec::new());
    for index in 0..8 {
        world.workload.submit_unnamed();
        world.submit(Place(1), index, 0);
    }
    world.run_until(Time(Duration::from_secs(2)));
    world
}

#[test]
fn a_liar_that_cuts_without_end_is_stopped_and_the_others_go_on() {
    let mut world = going_round(vec![(Place(1), Liar::honest_so_far(Place(1)))]);
    assert_eq!(world.violation(), None);
    assert!(!world.bodies[1].is_up(), "it was stopped");
    assert!(world.bodies[1].liar.as_ref().is_some_and(|liar| liar.is_dead()), "for good");
    let before = world.checks.chain_len();
    let index = world.workload.submit_unnamed();
    world.submit(Place(2), index, 0);
    let later = world.now.after(Duration::from_secs(5));
    world.run_until(later);
    assert_eq!((world.violation(), world.checks.chain_len()), (None, before + 1));
}

#[test]
fn an_honest_replica_that_cuts_without_end_is_a_fault() {
    let world = going_round(Vec::new());
    let violation = world.violation().expect("it is noticed");
    assert_eq!(violation.check, "candidates", "{violation}");
}
