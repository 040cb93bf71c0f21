//! A simulator that finds nothing proves nothing. Each test takes one rule of the protocol away
//! (`src/plant.rs`) and expects that a schedule fails; with the rule in force the same
//! schedule passes.

mod net;

use net::{Net, settings};
use sbft::plant::Plant;
use sbft::types::{Number, Place, View};
use sbft_sim::byzantine::AttackSpec;
use sbft_sim::network::{Fate, Kind, Rule};
use sbft_sim::plan::{Plan, Show};
use sbft_sim::world::Fault;

/// How many random schedules may be needed at most.
const BUDGET: u64 = 500;

/// The first random schedule that fails without the rule; it must fail by one of these checks.
fn expect_found(plant: Plant) {
    let checks = plant.info().checks;
    for seed in 0..BUDGET {
        let plan = Plan::draw(seed);
        let report = plan.clone().without_rule(plant).run(Show::default());
        let Some(violation) = report.violation else { continue };
        println!(
            "{plant:?}: seed {seed}: {violation}\nreproduce: cargo run --release -p sbft-sim -- run --seed {seed} --plant {plant:?} --print"
        );
        assert!(checks.contains(&violation.check), "{plant:?} was noticed by another check: {violation}");
        let with_rule = plan.run(Show::default());
        assert_eq!(with_rule.violation, None, "seed {seed} passes with all rules in force");
        return;
    }
    panic!("{plant:?}: {BUDGET} schedules and nothing noticed");
}

#[test]
fn a_quorum_that_is_one_vote_too_small_is_noticed() {
    expect_found(Plant::QuorumTooSmall);
}

#[test]
fn a_vote_before_its_record_is_durable_is_noticed() {
    expect_found(Plant::VoteBeforePersist);
}

#[test]
fn a_second_proposal_at_one_view_and_number_is_noticed() {
    expect_found(Plant::SecondProposal);
}

#[test]
fn duplicates_that_do_not_fall_out_are_noticed() {
    expect_found(Plant::NoDeduplication);
}

#[test]
fn a_certificate_above_a_gap_is_noticed() {
    expect_found(Plant::NoPrefixRule);
}

#[test]
fn commits_counted_across_views_are_noticed() {
    expect_found(Plant::CommitsAcrossViews);
}

#[test]
fn a_vote_repeated_differently_after_a_restart_is_noticed() {
    expect_found(Plant::VoteAgainAfterRestart);
}

#[test]
fn a_view_entered_without_a_record_is_noticed() {
    expect_found(Plant::NewViewNotPersisted);
}

#[test]
fn a_commit_after_ones_own_view_change_is_noticed() {
    expect_found(Plant::CommitAfterViewChange);
}

#[test]
fn certificates_dropped_before_their_block_is_durable_are_noticed() {
    expect_found(Plant::CertificatesDropped);
}

#[test]
fn a_wiped_replica_that_votes_again_is_noticed() {
    expect_found(Plant::WipedReplicaVotes);
}

/// Two blocks commit at replica 0 alone. In view 1 only the first is prepared again, so that the
/// newest certificate anywhere is shorter than what committed. View 2 must go number by number.
fn a_newer_shorter_certificate(plants: &[Plant]) -> Net {
    let mut settings = settings(4);
    for plant in plants {
        settings.config.plants = settings.config.plants.with(*plant);
    }
    let mut net = Net::with(settings, Vec::new());
    net.rule(&[Kind::Commit], &[], &[1, 2, 3], Some(View(0)), Fate::Drop);
    net.submit("a", &[0]).run(30).submit("b", &[0]).run_until(1000, |net| net.blocks(0) == 2);
    net.cut(0).drop_in_view(&[Kind::Commit], 1);
    net.world.network.rules.push(Rule {
        kinds: Some(vec![Kind::Prepare]),
        view: Some(View(1)),
        number: Some(Number(2)),
        ..Rule::default()
    });
    net.submit("c", &[3]).run_until(5000, |net| (1..4).all(|place| net.view(place) >= 2));
    net.world.network.rules.clear();
    let until = net.world.now.after(std::time::Duration::from_secs(2));
    net.world.run_until(until);
    net.world.network.mend(u64::MAX, u64::MAX);
    let until = net.world.now.after(std::time::Duration::from_secs(3));
    net.world.run_until(until);
    net
}

#[test]
fn the_single_highest_certificate_forks_the_chain() {
    let mut net = a_newer_shorter_certificate(&[]);
    net.expect(0..4, &["a", "b", "c"]);
    let net = a_newer_shorter_certificate(&[Plant::SingleHighestCertificate]);
    let violation = net.world.violation().expect("a fork");
    assert!(Plant::SingleHighestCertificate.info().checks.contains(&violation.check), "{violation}");
}

/// The control: with two liars among four, which is one more than the protocol bears, the chain
/// must fork, and soon. Otherwise the liars are made of paper.
#[test]
fn one_liar_too_many_forks_the_chain() {
    let lies = vec![AttackSpec::named("equivocate-halves"), AttackSpec::named("collude")];
    let forked = (0..200).find(|seed| {
        let mut plan = Plan::draw_with(*seed, 4);
        plan.twins.clear();
        plan.faults.retain(|(_, fault)| !matches!(fault, Fault::Wipe(_)));
        plan.liars = vec![(Place(0), lies.clone()), (Place(1), lies.clone())];
        let report = plan.run(Show::default());
        report.violation.is_some_and(|violation| violation.check == "agreement")
    });
    println!("two liars of four fork the chain at seed {forked:?}");
    assert!(forked.is_some(), "200 schedules with two liars and no fork");
}
