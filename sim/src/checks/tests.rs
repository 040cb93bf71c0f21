//! Bad histories made by hand, one for each check that needs a whole replica to look at.

use std::sync::Arc;
use std::time::Duration;

use sbft::disk::MemoryDisk;
use sbft::pbft::Record;
use sbft::pbft::message::{
    CommitVote, Message, PrepareVote, PreparedCertificate, Proposal, Unsigned, ViewChange,
};
use sbft::types::{Digest, Header, Number, Place, Time, View};

use crate::disk::Log;
use crate::plan::{Plan, Show, Submission};
use crate::violation::Violation;
use crate::world::{Settings, World};

/// The id of the check that failed.
pub(super) fn named<T>(verdict: Result<T, Violation>) -> String {
    verdict.err().map_or_else(|| "nothing failed".to_owned(), |violation| violation.id())
}

fn world() -> World {
    let mut world = World::new(Settings::calm(1, 4), Vec::new(), &[]);
    world.start();
    world
}

fn proposal(name: u8) -> Proposal {
    let header = Header { number: Number(1), previous_hash: None, data_hash: Digest([name; 32]) };
    Proposal { header, candidates: Vec::new() }
}

fn digest(world: &World, name: u8) -> Digest {
    proposal(name).digest(&world.keys.domain().genesis)
}

fn prepare(world: &World, place: u16, view: u64, name: u8) -> Message {
    let vote = PrepareVote { view: View(view), number: Number(1), digest: digest(world, name) };
    world.keys.seal(Place(place), Unsigned::Prepare(vote), 0)
}

fn commit(world: &World, place: u16, view: u64, name: u8) -> Message {
    let (header, digest) = (proposal(name).header, digest(world, name));
    let vote = CommitVote { view: View(view), header, digest, last_config: Number(0) };
    world.keys.seal(Place(place), Unsigned::Commit(vote), 0)
}

fn view_change(world: &World, place: u16, view: u64) -> Message {
    let body = ViewChange { view: View(view), base: None, prepared: Vec::new() };
    world.keys.seal(Place(place), Unsigned::ViewChange(body), 0)
}

/// Says it as the replica at `place`, and gives the id of the check that minds.
fn says(world: &mut World, place: u16, message: &Message) -> String {
    named(world.checks.released(&world.bodies[usize::from(place)], message))
}

fn write(world: &mut World, place: usize, record: Record) {
    let log = &mut world.bodies[place].log;
    let position = log.append(record);
    log.sync(position).expect("a good disk");
}

fn accepted(name: u8) -> Record {
    Record::Accepted { view: View(0), proposal: Arc::new(proposal(name)) }
}

/// It may have voted up to number 9 in view 0.
fn bound() -> Record {
    Record::Bound { view: View(0), upto: Number(9) }
}

#[test]
fn i7_abstains_fires_on_a_vote_that_may_contradict_one_of_before_a_restart() {
    let mut world = world();
    write(&mut world, 1, bound());
    write(&mut world, 1, accepted(1));
    let (known, other) = (prepare(&world, 1, 0, 1), prepare(&world, 1, 0, 2));
    let commit = commit(&world, 1, 0, 1);
    world.checks.promises.entry(Place(1)).or_default();
    world.checks.remember(&world.bodies[1]);
    assert_eq!(says(&mut world, 1, &other), "I7 abstains");
    assert_eq!(says(&mut world, 1, &known), "nothing failed", "its log says that it had cast that one");
    assert_ne!(says(&mut world, 1, &commit), "I7 abstains", "only prepares are");
    let recorded = |world: &mut World, name| named(world.checks.persisted(&world.bodies[1], &accepted(name)));
    assert_eq!(recorded(&mut world, 2), "I7 abstains", "the next restart would cast it");
}

#[test]
fn i7_one_vote_fires_on_two_things_at_one_view_and_number() {
    let mut world = world();
    write(&mut world, 1, bound());
    let (first, second) = (prepare(&world, 1, 0, 1), prepare(&world, 1, 0, 2));
    assert_eq!(says(&mut world, 1, &first), "nothing failed");
    assert_eq!(says(&mut world, 1, &first), "nothing failed", "said again it is no new vote");
    assert_eq!(says(&mut world, 1, &second), "I7 one vote");
}

#[test]
fn i7_wiped_fires_on_any_vote_of_a_replica_that_lost_its_log() {
    let mut world = world();
    world.checks.wiped(Place(1));
    let vote = prepare(&world, 1, 0, 1);
    assert_eq!(says(&mut world, 1, &vote), "I7 wiped");
}

#[test]
fn i8_persist_first_fires_on_a_vote_that_only_memory_knows() {
    let mut world = world();
    for message in [prepare(&world, 1, 0, 1), commit(&world, 2, 0, 1), view_change(&world, 3, 1)] {
        let place = match &message {
            Message::Prepare(_) => 1,
            Message::Commit(_) => 2,
            _ => 3,
        };
        assert_eq!(says(&mut world, place, &message), "I8 persist first");
    }
}

/// Seed 3003075+d6486b6e+e3e2caed+e774776a+6e3a91af+97c0bb9d+95ea5cbf: the sync that a commit waited
/// for took 0.9 s. When it was over, the replica had come by new-views to view 6, where another
/// proposal was certified, and the log had been compacted.
#[test]
fn i8_a_commit_that_leaves_late_is_covered_by_a_newer_certificate_for_its_number_only() {
    let certificate = |view| {
        let proposal = Arc::new(proposal(2));
        Record::Prepared(Arc::new(PreparedCertificate { view: View(view), proposal, signatures: Vec::new() }))
    };
    let mut world = world();
    for (place, view) in [(1, 6), (2, 2)] {
        write(&mut world, place, certificate(view));
        write(&mut world, place, Record::ViewChange(View(6)));
    }
    for (place, expected) in [(1, "nothing failed"), (2, "I8 persist first")] {
        let late = commit(&world, place, 3, 1);
        assert_eq!(says(&mut world, place, &late), expected);
    }
}

#[test]
fn i11_fires_on_a_vote_below_a_view_that_was_asked_for_or_voted_in() {
    let mut world = world();
    write(&mut world, 1, Record::ViewChange(View(2)));
    let (asks, votes) = (view_change(&world, 1, 2), prepare(&world, 1, 1, 1));
    assert_eq!(says(&mut world, 1, &asks), "nothing failed");
    assert_eq!(says(&mut world, 1, &votes), "I11 no vote back");
    let (high, low) = (prepare(&world, 2, 3, 1), prepare(&world, 2, 1, 1));
    assert_ne!(says(&mut world, 2, &high), "nothing failed", "nothing of it is on disk");
    assert_eq!(says(&mut world, 2, &low), "I11 view monotone");
}

#[test]
fn i12_prepared_lock_fires_on_a_vote_against_what_may_have_been_committed() {
    let mut world = world();
    for place in [1, 2] {
        let vote = commit(&world, place, 0, 1);
        says(&mut world, place, &vote);
    }
    let (same, other) = (prepare(&world, 3, 1, 1), prepare(&world, 0, 1, 2));
    assert_ne!(says(&mut world, 3, &same), "I12 prepared lock");
    assert_eq!(says(&mut world, 0, &other), "I12 prepared lock");
}

#[test]
fn i15_no_panic_fires_on_a_panic() {
    let plan = Plan::quiet(Settings::calm(1, 4), Time(Duration::from_millis(10)));
    let report = plan.run_with(Show::default(), |_| panic!("a bug")).expect("a panic is a finding");
    assert_eq!(report.violation.expect("it was caught").id(), "I15 no panic");
}

#[test]
fn i16_fires_when_a_disk_forgot_a_vote_or_a_certificate() {
    let mut world = world();
    write(&mut world, 1, bound());
    let vote = prepare(&world, 1, 0, 1);
    assert_eq!(says(&mut world, 1, &vote), "nothing failed");
    assert_eq!(named(world.checks.disk_changed(&world.bodies[1])), "nothing failed");
    world.bodies[1].log = Log::new(MemoryDisk::new(), *world.keys.domain(), 4);
    assert_eq!(named(world.checks.disk_changed(&world.bodies[1])), "I16 votes kept");
    let vote = commit(&world, 2, 0, 1);
    says(&mut world, 2, &vote);
    assert_eq!(named(world.checks.disk_changed(&world.bodies[2])), "I16 certificates kept");
}

#[test]
fn i16_torn_tail_fires_when_an_undamaged_replica_does_not_start() {
    let mut world = world();
    let refused = |world: &World| named(world.checks.refused(&world.bodies[1], "record 3 is bad"));
    assert_eq!(refused(&world), "I16 torn tail");
    world.bodies[1].damaged = true;
    assert_eq!(refused(&world), "nothing failed", "it is right to refuse what rotted");
}

#[test]
fn i18_settles_fires_when_something_owed_is_in_no_block_in_time() {
    let at = Time(Duration::from_millis(10));
    let mut plan = Plan::quiet(Settings::calm(1, 4), at);
    plan.submissions.push(Submission { at, place: Place(1), index: 0, variant: 0 });
    let good = plan.run(Show::default());
    assert_eq!(good.violation, None);
    plan.patience = Duration::from_micros(10);
    assert_eq!(plan.run(Show::default()).violation.expect("no time at all").id(), "I18 settles");
}
