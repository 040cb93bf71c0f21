//! An attack of one's own: a replica that votes for one thing to your face and for another behind
//! your back. Run it with `cargo run -p sbft-sim --example my_attack`; sim/docs/attacks.md walks
//! through it.

use sbft::pbft::message::Message;
use sbft::types::{Digest, Place};
use sbft_sim::byzantine::{Act, Attack, Stage, Trigger};
use sbft_sim::network::Letter;
use sbft_sim::plan::{Report, Show};
use sbft_sim::scenario::Scenario;

/// Votes prepare for the right block towards replica 0, and for another one towards the rest.
#[derive(Debug)]
struct TwoFaced;

impl Attack for TwoFaced {
    fn say(&mut self, stage: &mut Stage<'_>, letter: &Letter, acts: &mut Vec<Act>) {
        let Message::Prepare(prepare) = &letter.message else { return };
        let vote = prepare.vote;
        for act in acts.iter_mut().filter(|act| act.to != Place(0)) {
            act.packet = stage.prepare(vote.view, vote.number, Digest([0x2f; 32]));
        }
    }
}

fn run() -> Report {
    let scenario = Scenario::parse(
        r#"
        workload = { rate = "20/s", until = "1s", to = "round-robin" }
        network = { delay = "lan", loss = 0.05 }
        run = { seed = 7, chaos = "1s" }
        "#,
    );
    let mut plan = scenario.expect("the scenario is right").plan;
    // Who lies is known from the start; the attack comes when the world is made.
    plan.liars.push((Place(2), Vec::new()));
    plan.run_with(Show::default(), |world| {
        world.attach(Place(2), "two-faced", Box::new(TwoFaced), Trigger::default())
    })
    .expect("replica 2 lies")
}

fn main() {
    let report = run();
    match &report.violation {
        Some(violation) => println!("{violation}"),
        None => println!("{} blocks, and nothing broke", report.seen.blocks),
    }
    println!("two-faced acted {} times", report.attacks["two-faced"]);
}

#[test]
fn it_really_lies_and_breaks_nothing() {
    let report = run();
    assert_eq!(report.violation, None);
    assert!(report.attacks["two-faced"] > 10 && report.seen.blocks > 3);
}
