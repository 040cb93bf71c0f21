//! What is found shrinks to what a person can read, and still fails by the same check.

use std::sync::Arc;
use std::time::Duration;

use sbft::plant::Plant;
use sbft::types::Time;

use super::{Limits, effective, shrink};
use crate::network::Conditions;
use crate::plan::{Plan, Show};
use crate::scenario::Scenario;

#[test]
fn written_down_chances_are_the_same_run() {
    let until_it_heals = |plan: &Plan, chances: bool| {
        let mut world = plan.world(Show { chances, ..Show::default() });
        world.run_until(Time(plan.heal_at.0 - Duration::from_micros(1)));
        world
    };
    let mut same = 0;
    for seed in 0..40 {
        let plan = Plan::draw(seed);
        let mut drawn = until_it_heals(&plan, true);
        let mut explicit = plan.clone();
        // From here on every packet that nobody wrote down is lost.
        explicit.settings.conditions = Conditions { loss: 1.0, ..Conditions::steady(Duration::ZERO) };
        explicit.settings.crash_rate = 0.0;
        explicit.crashes.extend(drawn.crashed_by_chance.take().expect("it was asked for"));
        explicit.singles = Arc::new(drawn.network.recorded());
        let again = until_it_heals(&explicit, false);
        same += u32::from((drawn.trace.hash(), drawn.events) == (again.trace.hash(), again.events));
    }
    // A queue that overflows, or a link that gets conditions of its own, is not written down exactly.
    assert!(same >= 30, "{same} of 40");
}

/// The first seed that fails without this rule, made small.
fn small(plant: Plant) {
    let failing = (0..400).map(|seed| Plan::draw(seed).without_rule(plant)).find_map(|plan| {
        let violation = plan.run(Show::default()).violation?;
        Some((plan, violation))
    });
    let (plan, violation) = failing.expect("400 seeds notice it");
    let limits = Limits { jobs: 1, stop: &|runs| runs > 6000 };
    let shrunk = shrink(&plan, &limits).expect("it fails");
    assert_eq!(shrunk.violation.check, violation.check);
    assert!(effective(&shrunk.plan) <= 25, "{} effective faults", effective(&shrunk.plan));
    let text = Scenario { name: None, about: None, plan: shrunk.plan }.to_toml();
    let again = Scenario::parse(&text).expect("what was written is read").plan.run(Show::default());
    assert_eq!(again.violation.map(|violation| violation.check), Some(violation.check), "{text}");
    println!(
        "{plant}: {} -> {} effective faults in {} runs\n{text}",
        shrunk.before, shrunk.after, shrunk.runs
    );
}

#[test]
fn a_quorum_too_small_shrinks() {
    small(Plant::QuorumTooSmall);
}

#[test]
fn a_second_vote_after_a_restart_shrinks() {
    small(Plant::VoteAgainAfterRestart);
}

#[test]
fn commits_across_views_shrink() {
    small(Plant::CommitsAcrossViews);
}

#[test]
fn what_does_not_fail_does_not_shrink() {
    let limits = Limits { jobs: 1, stop: &|_| false };
    assert!(shrink(&Plan::draw(1), &limits).is_none());
}
