//! Primaries that lie as their view begins: with two valid new-views of one view, with a certificate
//! from far off in one, with two votes before the view is there.

use std::sync::Arc;

use bytes::Bytes;

use super::harness::{GENESIS, candidate, config, message, sign};
use crate::header::header_hash;
use crate::pbft::message::{
    Message, NewViewBody, Offence, PrepareVote, PreparedCertificate, Proposal, SignedViewChange, Unsigned,
    ViewChange,
};
use crate::pbft::{ChainTip, Input, Note, Output, Record, Replica};
use crate::types::{
    BlockCertificate, Candidate, CandidateRef, CommittedBlock, Digest, Header, Number, Place, Signature,
    Time, Verified, View,
};

const ME: u16 = 2;

fn first(candidate: &Candidate) -> Proposal {
    Proposal {
        header: Header { number: Number(1), previous_hash: Some(GENESIS), data_hash: candidate.data_hash },
        candidates: vec![CandidateRef { origin: candidate.origin, digest: candidate.digest }],
    }
}

/// Block 1 of this candidate alone, committed in `view`.
fn block(view: u64, candidate: &Candidate) -> Arc<CommittedBlock> {
    let proposal = first(candidate);
    Arc::new(CommittedBlock {
        certificate: BlockCertificate {
            view: View(view),
            proposal: proposal.digest(&GENESIS),
            header: proposal.header,
            last_config: Number(0),
            signatures: Vec::new(),
        },
        data: candidate.envelopes.clone(),
        ids: candidate.ids.clone().into(),
        is_config: false,
    })
}

/// The new-view of view 1 in which this candidate, prepared in view 0, is proposed again at 1.
fn new_view(candidate: &Candidate) -> Input {
    new_view_with(first(candidate))
}

/// The new-view of view 1 with a certificate for this in one of its view-changes.
fn new_view_with(proposal: Proposal) -> Input {
    let prepared =
        PreparedCertificate { view: View(0), proposal: Arc::new(proposal), signatures: Vec::new() };
    let change = |signer: u16, prepared: Vec<Arc<PreparedCertificate>>| {
        let body = ViewChange { view: View(1), base: None, prepared };
        Arc::new(SignedViewChange { body, signer: Place(signer), signature: Signature(Bytes::new()) })
    };
    let view_changes = vec![change(0, vec![Arc::new(prepared)]), change(1, vec![]), change(3, vec![])];
    message(1, sign(Place(1), Unsigned::NewView(NewViewBody { view: View(1), view_changes })))
}

fn start(ledger: Option<&CommittedBlock>, log: Vec<Record>) -> (Replica, Vec<Output>) {
    let tip = ChainTip {
        hash: ledger.map_or(GENESIS, |block| header_hash(&block.certificate.header)),
        number: ledger.map_or(Number(0), CommittedBlock::number),
        certificate: ledger.map(|block| Arc::new(block.certificate.clone())),
        recent: ledger.iter().map(|block| (block.number(), Arc::clone(&block.ids))).collect(),
    };
    let mut outputs = Vec::new();
    let replica = Replica::recover(config(4, ME), tip, log, Time::ZERO, &mut outputs);
    (replica, outputs)
}

/// What comes of the block, and then the new-view.
fn hears(block: &Arc<CommittedBlock>, new_view: Input) -> (Replica, Vec<Output>) {
    let (mut replica, mut outputs) = start(None, Vec::new());
    let blocks = vec![Verified::vouch(Arc::clone(block))];
    replica.step(Time::ZERO, Input::Blocks { from: Place(1), blocks }, &mut outputs);
    replica.step(Time::ZERO, new_view, &mut outputs);
    (replica, outputs)
}

fn votes_at_one(outputs: &[Output]) -> bool {
    outputs.iter().any(|output| {
        matches!(output, Output::Broadcast(Unsigned::Prepare(vote)) if vote.number == Number(1))
            || matches!(output, Output::Broadcast(Unsigned::Commit(vote)) if vote.header.number == Number(1))
    })
}

#[test]
fn a_block_of_the_view_and_then_its_other_new_view_is_a_complaint_and_no_reason_to_halt() {
    let (again, other) = (candidate(0, 0, &["again"]), candidate(3, 0, &["other"]));
    let block = block(1, &other);
    let (replica, outputs) = hears(&block, new_view(&again));
    let probe = replica.probe();
    assert_eq!((probe.view, probe.active, probe.complains, probe.halted), (View(1), true, true, false));
    assert!(!votes_at_one(&outputs), "{outputs:?}");

    let records = outputs.iter().filter_map(|output| match output {
        Output::Persist(record) => Some(record.clone()),
        _ => None,
    });
    let (replica, outputs) = start(Some(&block), records.collect());
    let probe = replica.probe();
    assert_eq!(
        (probe.view, probe.active, probe.complains, probe.halted),
        (View(1), true, true, false),
        "and it comes up again"
    );
    assert!(!votes_at_one(&outputs), "{outputs:?}");
}

#[test]
fn a_block_of_a_lower_view_that_a_new_view_contradicts_is_two_quorums_and_halts() {
    let (again, other) = (candidate(0, 0, &["again"]), candidate(3, 0, &["other"]));
    let (replica, outputs) = hears(&block(0, &other), new_view(&again));
    assert!(replica.probe().halted);
    assert!(matches!(outputs.last(), Some(Output::Note(Note::Halted { .. }))), "{outputs:?}");
}

#[test]
fn a_committed_block_that_the_new_view_proposes_again_is_voted_for() {
    let again = candidate(0, 0, &["again"]);
    let (replica, outputs) = hears(&block(0, &again), new_view(&again));
    assert!(replica.probe().active && !replica.probe().complains);
    assert!(votes_at_one(&outputs), "{outputs:?}");
}

/// The checker lets it pass, so the others would take an accusation for it as none: whoever left on
/// it would wait in the next view alone.
#[test]
fn a_new_view_with_a_certificate_from_beyond_the_reach_is_followed_and_no_offence() {
    let mut far = first(&candidate(0, 0, &["far"]));
    far.header.number = Number(1 + 10 * config(4, ME).reach());
    let (mut replica, mut outputs) = start(None, Vec::new());
    replica.step(Time::ZERO, new_view_with(far), &mut outputs);
    assert_eq!((replica.probe().view, replica.probe().active), (View(1), true));
    assert!(!outputs.iter().any(|output| matches!(output, Output::Accuse(_))), "{outputs:?}");
}

#[test]
fn two_votes_of_the_next_primary_depose_it_when_its_view_starts() {
    let prepare = |digest: u8| {
        let vote = PrepareVote { view: View(1), number: Number(1), digest: Digest([digest; 32]) };
        match sign(Place(1), Unsigned::Prepare(vote)) {
            Message::Prepare(prepare) => Box::new(prepare),
            _ => unreachable!("a prepare was signed"),
        }
    };
    let lie = Offence::Prepares(prepare(1), prepare(2));
    let (mut replica, mut outputs) = start(None, Vec::new());
    replica.step(Time::ZERO, message(3, Message::Offence(lie)), &mut outputs);
    assert_eq!((replica.probe().view, replica.probe().active), (View(0), true), "not in office yet");
    replica.step(Time::ZERO, new_view(&candidate(0, 0, &["again"])), &mut outputs);
    assert_eq!((replica.probe().view, replica.probe().active), (View(2), false));
}
