//! What one liar cannot make a replica hold, fetch or pass over.

use std::sync::Arc;
use std::time::Duration;

use super::harness::{GENESIS, World, candidate, config, given, message, recovered, sign};
use crate::header::{data_hash, header_hash};
use crate::pbft::message::{Message, Proposal, Status, Unsigned};
use crate::pbft::{Input, Output};
use crate::types::{Candidate, CandidateRef, Header, Number, Place, Time, View};

fn naming(number: u64, candidates: &[&Arc<Candidate>]) -> Arc<Proposal> {
    let data: Vec<_> = candidates.iter().flat_map(|candidate| candidate.envelopes.clone()).collect();
    let header = Header { number: Number(number), previous_hash: Some(GENESIS), data_hash: data_hash(&data) };
    let named =
        |candidate: &&Arc<Candidate>| CandidateRef { origin: candidate.origin, digest: candidate.digest };
    Arc::new(Proposal { header, candidates: candidates.iter().map(named).collect() })
}

#[test]
fn a_proposal_that_names_more_than_fits_a_block_is_refused_before_all_of_it_is_fetched() {
    let mut replica = recovered(config(4, 1), Vec::new()).0;
    let large = |sequence: u64| {
        let mut large = Candidate::clone(&candidate(2, sequence, &[&format!("large{sequence}")]));
        large.sizes = vec![4_000];
        Arc::new(large)
    };
    let named: Vec<_> = (0..8).map(large).collect();
    let proposal = naming(1, &named.iter().collect::<Vec<_>>());
    let mut outputs = Vec::new();
    let unsigned = Unsigned::PrePrepare { view: View(0), proposal };
    replica.step(Time::ZERO, message(0, sign(Place(0), unsigned)), &mut outputs);
    for (fetched, one) in named.iter().enumerate() {
        replica.step(Time::ZERO, given(3, one), &mut outputs);
        let complains = replica.probe().complains;
        assert_eq!(complains, fetched >= 2, "10,000 bytes fit, after {fetched} of 4,000");
        if complains {
            // What it fetched for the proposal is let go, and no more is taken in for it.
            assert!(replica.probe().candidates_held <= 8, "only what the link's own quota holds");
        }
    }
}

#[test]
fn forged_candidates_of_another_do_not_stand_in_its_line() {
    // Replica 0 leads. Replica 3 forwards to it candidates that it says are replica 2's.
    let mut replica = recovered(config(4, 0), Vec::new()).0;
    let mut outputs = Vec::new();
    // Keep the primary from proposing at once: two numbers are unprepared.
    for sequence in 0..2 {
        replica.step(
            Time::ZERO,
            given(1, &candidate(1, sequence, &[&format!("first{sequence}")])),
            &mut outputs,
        );
    }
    for forged in 0..6 {
        replica.step(
            Time::ZERO,
            given(3, &candidate(2, 100 + forged, &[&format!("forged{forged}")])),
            &mut outputs,
        );
    }
    let own = candidate(2, 7, &["own"]);
    replica.step(Time::ZERO, given(2, &own), &mut outputs);
    outputs.clear();
    // Something prepares, so that the next proposal goes out: three places, three turns.
    let fill = candidate(1, 9, &["f1", "f2", "f3", "f4", "f5", "f6", "f7", "f8"]);
    replica.step(Time::ZERO, given(1, &fill), &mut outputs);
    let proposal = outputs.iter().find_map(|output| match output {
        Output::Broadcast(Unsigned::PrePrepare { proposal, .. }) => Some(proposal),
        _ => None,
    });
    let proposal = proposal.expect("a whole block waits, so it is proposed");
    assert!(
        proposal.candidates.iter().any(|named| named.digest == own.digest),
        "its own comes in its turn, whatever another forged: {proposal:?}"
    );
}

#[test]
fn an_origin_that_sends_to_the_primary_late_does_not_make_it_look_slow() {
    let mut world = World::new(4);
    for step in 0..60u64 {
        let late = candidate(3, step, &[&format!("late{step}")]);
        for to in 1..4 {
            world.step(to, given(3, &late));
        }
        world.run(Duration::from_millis(190));
        world.step(0, given(3, &late));
        world.run(Duration::from_millis(60));
    }
    for me in 0..4 {
        assert!(world.chain(me).len() >= 59);
        assert_eq!(world.probe(me).view, View(0), "r{me}");
    }
}

#[test]
fn one_that_claims_to_be_far_ahead_does_not_make_others_be_asked_for_what_is_in_flight() {
    let mut replica = recovered(config(4, 1), Vec::new()).0;
    let mut outputs = Vec::new();
    let status = |committed: u64| {
        Message::Status(Status { active: true, committed: Number(committed), ..Status::default() })
    };
    replica.step(Time::ZERO, message(3, status(1 << 60)), &mut outputs);
    replica.step(Time::ZERO, message(2, status(1)), &mut outputs);
    let asked = |outputs: &[Output], of: u16| {
        let fetch =
            |output: &&Output| matches!(output, Output::FetchBlocks { from, .. } if *from == Place(of));
        outputs.iter().filter(fetch).count()
    };
    assert_eq!((asked(&outputs, 3), asked(&outputs, 2)), (1, 0), "only the one that says so");
    // It answers nothing; what does not come by itself is asked of the other soon.
    for step in 1..100 {
        replica.step(Time(Duration::from_millis(step * 10)), Input::Tick, &mut outputs);
    }
    assert!(asked(&outputs, 2) >= 1);
}

#[test]
fn what_a_new_primary_fetched_for_its_new_view_it_does_not_fetch_twice() {
    let mut world = World::new(4);
    let lost = candidate(3, 0, &["fetched"]);
    // The next primary never gets the candidate by itself, and nobody's commits arrive.
    let mut lost_once = false;
    world.lose = Box::new(move |from, to, input| match input {
        Input::Candidate { .. } if from == Place(3) && to == Place(1) => {
            !std::mem::replace(&mut lost_once, true)
        }
        Input::Message { message, .. } => match message.get() {
            Message::Commit(commit) => commit.vote.view == View(0),
            Message::PrePrepare(pre_prepare) => pre_prepare.view == View(0) && to == Place(1),
            _ => false,
        },
        _ => false,
    });
    world.submit(&lost);
    world.run(Duration::from_secs(3));
    assert_eq!(world.chain(1), ["fetched"]);
    let asks = |output: &&(Place, Output)| matches!(output, (Place(1), Output::FetchCandidates(..)));
    assert_eq!(world.outputs.iter().filter(asks).count(), 1);
    assert_ne!(header_hash(&world.nodes[1].ledger[0].certificate.header), GENESIS);
}

#[test]
fn a_verdict_against_what_was_found_valid_releases_the_room_and_changes_nothing() {
    let mut replica = recovered(config(4, 1), Vec::new()).0;
    let mut outputs = Vec::new();
    let good = candidate(2, 0, &["a"]);
    replica.step(Time::ZERO, given(2, &good), &mut outputs);
    let verdict = Input::InvalidCandidate { from: Place(3), digest: good.digest, config_sequence: 0 };
    replica.step(Time::ZERO, verdict, &mut outputs);
    assert!(outputs.contains(&Output::Release { origin: Place(3), digest: good.digest }));
    assert_eq!(replica.probe().waiting, 1, "the honest origin's candidate waits as before");
}

/// Found by the simulator: seed 20372654+e8d013d+a273be65+23007ef6+76801487.
#[test]
fn votes_of_others_do_not_pile_up_while_the_ledger_is_slow() {
    let mut world = World::new(4);
    world.lose = Box::new(|_, to, input| to == Place(3) && matches!(input, Input::BlocksDurable(_)));
    for sequence in 0..60 {
        let name = format!("envelope {sequence}");
        world.submit(&candidate(1, sequence, &[&name]));
        world.run(Duration::from_millis(50));
    }
    world.run(Duration::from_secs(2));
    let (fast, slow) = (world.probe(0), world.probe(3));
    assert_eq!((slow.committed, slow.committed), (fast.committed, Number(60)));
    // What it voted and certified there itself, at most: until the blocks are durable its log needs it.
    assert!(slow.messages_held <= fast.messages_held + 60 * 4, "{} held", slow.messages_held);
}

#[test]
fn one_that_asks_for_candidates_again_and_again_gets_each_once_and_not_more_than_its_share() {
    let mut replica = recovered(config(4, 1), Vec::new()).0;
    let mut outputs = Vec::new();
    // Forty megabytes, eight candidates.
    let large = |sequence: u64| {
        let mut large = Candidate::clone(&candidate(2, sequence, &[&format!("large{sequence}")]));
        large.encoding = vec![0; 5 << 20].into();
        Arc::new(large)
    };
    let held: Vec<_> = (0..8).map(large).collect();
    for candidate in &held {
        replica.step(Time::ZERO, given(2, candidate), &mut outputs);
    }
    let digests: Vec<_> = held.iter().map(|candidate| candidate.digest).collect();
    let mut serve = |millis: u64, wanted: &[crate::types::Digest]| {
        let (mut outputs, now) = (Vec::new(), Time(Duration::from_millis(millis)));
        replica.step(now, Input::Tick, &mut outputs);
        replica.step(now, Input::CandidatesWanted { from: Place(3), digests: wanted.to_vec() }, &mut outputs);
        let sent = outputs.iter().filter_map(|output| match output {
            Output::SendCandidate(Place(3), candidate) => Some(candidate.digest),
            _ => None,
        });
        sent.collect::<Vec<_>>()
    };
    let twice = [digests[0], digests[0]];
    assert_eq!(serve(0, &twice), [digests[0]], "once for a question");
    assert_eq!(serve(1, &twice), [], "once for two questions");
    assert_eq!(serve(2, &digests), [digests[1]], "a tenth of a second is worth no more than two of these");
    assert_eq!(serve(110, &digests), digests[2..4], "and the next one as many");
    assert_eq!(serve(220, &digests[..1]), [digests[0]], "what was lost on the way is sent again");
}
