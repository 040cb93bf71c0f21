//! What one backup answers to what a primary sends, whole outputs compared.

use std::sync::Arc;

use super::harness::{GENESIS, candidate, config, given, message, recovered, sign};
use crate::header::header_hash;
use crate::pbft::message::{
    CommitVote, Message, PrePrepare, PrepareVote, PreparedCertificate, Proposal, Unsigned,
};
use crate::pbft::{Input, Note, Output, Record, Replica};
use crate::types::{Candidate, CandidateRef, Digest, Header, Number, Place, Signature, Time, View};

/// The proposal of these candidates at `number` on top of `parent`.
fn proposal(number: u64, parent: Digest, candidates: &[&Arc<Candidate>]) -> Arc<Proposal> {
    let data: Vec<_> = candidates.iter().flat_map(|candidate| candidate.envelopes.clone()).collect();
    let named =
        |candidate: &&Arc<Candidate>| CandidateRef { origin: candidate.origin, digest: candidate.digest };
    Arc::new(Proposal {
        header: Header {
            number: Number(number),
            previous_hash: Some(parent),
            data_hash: crate::header::data_hash(&data),
        },
        candidates: candidates.iter().map(named).collect(),
    })
}

fn pre_prepare(proposal: &Arc<Proposal>) -> Input {
    let (view, proposal) = (View(0), Arc::clone(proposal));
    message(0, sign(Place(0), Unsigned::PrePrepare { view, proposal }))
}

fn prepare(signer: u16, proposal: &Proposal) -> Input {
    let vote = PrepareVote { view: View(0), number: proposal.number(), digest: proposal.digest(&GENESIS) };
    message(signer, sign(Place(signer), Unsigned::Prepare(vote)))
}

fn commit_vote(proposal: &Proposal) -> CommitVote {
    CommitVote {
        view: View(0),
        header: proposal.header.clone(),
        digest: proposal.digest(&GENESIS),
        last_config: Number(0),
    }
}

fn commit(signer: u16, proposal: &Proposal) -> Input {
    message(signer, sign(Place(signer), Unsigned::Commit(commit_vote(proposal))))
}

/// Replica 1 of four, at the start.
struct Backup(Replica);

impl Backup {
    fn new() -> Self {
        Self(recovered(config(4, 1), Vec::new()).0)
    }

    fn step(&mut self, input: Input) -> Vec<Output> {
        let mut outputs = Vec::new();
        self.0.step(Time::ZERO, input, &mut outputs);
        outputs
    }

    fn all(&mut self, inputs: impl IntoIterator<Item = Input>) -> Vec<Output> {
        inputs.into_iter().flat_map(|input| self.step(input)).collect()
    }
}

fn accepted(proposal: &Arc<Proposal>, payloads: &[&Arc<Candidate>]) -> Vec<Output> {
    let (view, number) = (View(0), proposal.number());
    let mut outputs = vec![Output::Note(Note::Accepted { view, number })];
    if number == Number(1) {
        outputs.push(Output::Persist(Record::Bound { view, upto: Number(33) }));
    }
    let digest = proposal.digest(&GENESIS);
    outputs.push(Output::Broadcast(Unsigned::Prepare(PrepareVote { view, number, digest })));
    outputs.extend(payloads.iter().map(|payload| Output::Persist(Record::Payload(Arc::clone(payload)))));
    outputs.push(Output::Persist(Record::Accepted { view, proposal: Arc::clone(proposal) }));
    outputs
}

/// Leaves the view: on proof that all others get as well.
fn leaves(outputs: &[Output]) -> bool {
    outputs.iter().any(|output| matches!(output, Output::Broadcast(Unsigned::ViewChange(_))))
}

/// Says that it suspects the primary, and stays: others may not have seen what it saw.
fn complains(outputs: &[Output]) -> bool {
    let told = |output: &Output| matches!(output, Output::TellAll(Message::Status(status)) if status.complains && status.active);
    outputs.iter().any(told) && !leaves(outputs)
}

#[test]
fn how_far_it_votes_is_logged_before_the_first_prepare_and_what_it_accepted_after_each() {
    let mut backup = Backup::new();
    let (one, other) = (candidate(2, 0, &["a", "b"]), candidate(3, 0, &["c"]));
    let first = proposal(1, GENESIS, &[&one, &other]);
    assert_eq!(backup.all([given(2, &one), given(3, &other)]), []);
    assert_eq!(backup.step(pre_prepare(&first)), accepted(&first, &[&one, &other]));
}

#[test]
fn the_certificate_is_logged_before_the_commit_and_own_votes_count_when_they_come_back() {
    let mut backup = Backup::new();
    let one = candidate(2, 0, &["a"]);
    let first = proposal(1, GENESIS, &[&one]);
    backup.all([given(2, &one), pre_prepare(&first)]);
    assert_eq!(backup.step(prepare(3, &first)), [], "the primary's and another's are one too few");
    let outputs = backup.step(prepare(1, &first));
    let signatures = [0, 1, 3].map(|place| (Place(place), Signature(format!("signed by r{place}").into())));
    let certificate =
        PreparedCertificate { view: View(0), proposal: Arc::clone(&first), signatures: signatures.to_vec() };
    assert_eq!(
        outputs,
        [
            Output::Note(Note::Prepared { view: View(0), number: Number(1) }),
            Output::Persist(Record::Prepared(Arc::new(certificate))),
            Output::Broadcast(Unsigned::Commit(commit_vote(&first))),
        ]
    );
    assert_eq!(backup.all([commit(2, &first), commit(3, &first)]), []);
    let outputs = backup.step(commit(1, &first));
    assert!(matches!(&outputs[0], Output::CommitBlock(block) if block.certificate.header == first.header));
    assert!(outputs.contains(&Output::Release { origin: Place(2), digest: one.digest }));
}

#[test]
fn one_sender_counts_once_however_often_it_votes() {
    let mut backup = Backup::new();
    let one = candidate(2, 0, &["a"]);
    let first = proposal(1, GENESIS, &[&one]);
    backup.all([given(2, &one), pre_prepare(&first)]);
    assert_eq!(backup.all((0..5).map(|_| prepare(3, &first))), []);
    assert_eq!(backup.step(prepare(0, &first)), [], "the pre-prepare was the primary's prepare");
}

#[test]
fn a_second_proposal_at_one_view_and_number_is_an_offence_and_gets_no_vote() {
    let mut backup = Backup::new();
    let (one, other) = (candidate(2, 0, &["a"]), candidate(3, 0, &["b"]));
    let (first, second) = (proposal(1, GENESIS, &[&one]), proposal(1, GENESIS, &[&other]));
    backup.all([given(2, &one), given(3, &other), pre_prepare(&first)]);
    let outputs = backup.step(pre_prepare(&second));
    assert!(matches!(outputs[0], Output::Accuse(_)) && leaves(&outputs), "{outputs:?}");
    let votes = |output: &Output| matches!(output, Output::Broadcast(Unsigned::Prepare(_)));
    assert!(!outputs.iter().any(votes));
}

#[test]
fn what_an_honest_primary_does_not_propose_is_complained_about_at_once_and_only_once() {
    let one = candidate(2, 0, &["a"]);
    let config_one = candidate(3, 0, &["config"]);
    let big = candidate(3, 1, &["c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9", "c10"]);
    let wrong_data = |mut wrong: Proposal| {
        wrong.header.data_hash = Digest([1; 32]);
        Arc::new(wrong)
    };
    let cases = [
        ("another parent", proposal(1, Digest([1; 32]), &[&one])),
        (
            "no parent",
            Arc::new(Proposal {
                header: Header { number: Number(1), previous_hash: None, data_hash: one.data_hash },
                candidates: vec![CandidateRef { origin: Place(2), digest: one.digest }],
            }),
        ),
        ("another data hash", wrong_data(Proposal::clone(&proposal(1, GENESIS, &[&one])))),
        ("nothing", proposal(1, GENESIS, &[])),
        ("one candidate twice", proposal(1, GENESIS, &[&one, &one])),
        ("more envelopes than fit", proposal(1, GENESIS, &[&one, &big])),
        ("a config envelope with others", proposal(1, GENESIS, &[&one, &config_one])),
    ];
    for (what, wrong) in cases {
        let mut backup = Backup::new();
        backup.all([given(2, &one), given(3, &config_one), given(3, &big)]);
        assert!(complains(&backup.step(pre_prepare(&wrong))), "{what}");
        assert_eq!(backup.step(pre_prepare(&wrong)), [], "{what}, again");
    }
}

#[test]
fn a_proposal_with_nothing_new_is_complained_about() {
    let mut backup = Backup::new();
    let (one, again) = (candidate(2, 0, &["a"]), candidate(3, 0, &["a"]));
    let first = proposal(1, GENESIS, &[&one]);
    let mut second = Proposal::clone(&proposal(2, header_hash(&first.header), &[&again]));
    second.header.data_hash = crate::header::data_hash([]);
    backup.all([given(2, &one), given(3, &again), pre_prepare(&first)]);
    assert!(complains(&backup.step(pre_prepare(&Arc::new(second)))));
}

#[test]
fn an_invalid_candidate_in_a_proposal_is_complained_about() {
    let mut backup = Backup::new();
    let one = candidate(2, 0, &["a"]);
    assert_eq!(backup.step(pre_prepare(&proposal(1, GENESIS, &[&one]))), [], "it may be on its way");
    let verdict = Input::InvalidCandidate { from: Place(0), digest: one.digest, config_sequence: 0 };
    assert!(complains(&backup.step(verdict)));
}

#[test]
fn proposals_that_arrive_early_or_without_payload_are_kept_and_accepted_in_order() {
    let mut backup = Backup::new();
    let (one, other) = (candidate(2, 0, &["a"]), candidate(3, 0, &["b"]));
    let first = proposal(1, GENESIS, &[&one]);
    let second = proposal(2, header_hash(&first.header), &[&other]);
    assert_eq!(backup.all([pre_prepare(&second), given(3, &other), pre_prepare(&first)]), []);
    let mut both = accepted(&first, &[&one]);
    both.extend(accepted(&second, &[&other]));
    assert_eq!(backup.step(given(2, &one)), both);
}

#[test]
fn a_missing_candidate_is_asked_from_the_primary_then_its_origin_then_the_others() {
    let mut backup = Backup::new();
    let one = candidate(2, 0, &["a"]);
    backup.step(pre_prepare(&proposal(1, GENESIS, &[&one])));
    let mut asked = Vec::new();
    let mut now = Time::ZERO;
    while asked.len() < 4 {
        now = now.after(std::time::Duration::from_millis(10));
        let mut outputs = Vec::new();
        backup.0.step(now, Input::Tick, &mut outputs);
        for output in outputs {
            if let Output::FetchCandidates(place, digests) = output {
                assert_eq!(digests, [one.digest]);
                asked.push(place.0);
            }
        }
    }
    assert_eq!(asked, [0, 2, 3, 0]);
}

#[test]
fn messages_for_numbers_and_views_far_away_are_not_kept() {
    let mut backup = Backup::new();
    let one = candidate(2, 0, &["a"]);
    for far in [17, 1_000, u64::MAX] {
        let wrong = proposal(far, GENESIS, &[&one]);
        assert_eq!(backup.all([pre_prepare(&wrong), prepare(3, &wrong), commit(3, &wrong)]), []);
    }
    for view in [2, 1_000, u64::MAX] {
        let vote = PrepareVote { view: View(view), number: Number(1), digest: Digest([1; 32]) };
        assert_eq!(backup.step(message(3, sign(Place(3), Unsigned::Prepare(vote)))), []);
        let early = PrePrepare {
            view: View(view),
            proposal: proposal(1, GENESIS, &[&one]),
            signature: Signature::default(),
        };
        assert_eq!(backup.step(message(2, Message::PrePrepare(early))), []);
    }
    assert_eq!(backup.0.probe().messages_held, 0);
}

#[test]
fn a_commit_over_another_header_or_last_config_is_not_counted() {
    let mut backup = Backup::new();
    let one = candidate(2, 0, &["a"]);
    let first = proposal(1, GENESIS, &[&one]);
    backup.all([
        given(2, &one),
        pre_prepare(&first),
        prepare(1, &first),
        prepare(3, &first),
        commit(1, &first),
    ]);
    let wrong = CommitVote { last_config: Number(1), ..commit_vote(&first) };
    assert_eq!(backup.step(message(2, sign(Place(2), Unsigned::Commit(wrong)))), []);
    assert_eq!(backup.step(commit(3, &first)), [], "two that match and one that does not");
    assert_eq!(backup.0.probe().committed, Number(0));
    let block = backup.step(commit(0, &first));
    assert!(matches!(&block[0], Output::CommitBlock(block) if block.certificate.signatures.len() == 3));
}
