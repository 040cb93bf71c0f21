//! What follows from a new-view, asked of a single replica: the historical xset cases restated
//! for the per-number rule, and block signatures that are not what everybody computes.

use std::sync::Arc;

use sbft::header::header_hash;
use sbft::pbft::message::{
    CommitVote, Message, NewViewBody, PrepareVote, PreparedCertificate, Proposal, SignedViewChange, Unsigned,
    ViewChange,
};
use sbft::pbft::{ChainTip, Config, Input, Output, Replica};
use sbft::types::{
    BlockCertificate, Candidate, CandidateRef, CommittedBlock, Digest, Header, Number, Place, Time, View,
};
use sbft_sim::draw::Draws;
use sbft_sim::signing::{self, Keys};
use sbft_sim::workload::{self, Workload};
use sbft_sim::world::default_config;

/// One replica of four, and everybody's keys to make what it hears.
struct One {
    keys: Keys,
    config: Config,
    replica: Replica,
    workload: Workload,
}

impl One {
    fn at(place: u16) -> Self {
        let config = Config { me: Place(place), ..default_config(4) };
        let keys = Keys::new(Draws::new(1), config.domain, 4);
        let mut workload = Workload::default();
        for _ in 0..100 {
            workload.submit_unnamed();
        }
        let tip = ChainTip {
            hash: config.domain.genesis,
            number: Number(0),
            certificate: None,
            recent: Vec::new(),
        };
        let mut outputs = Vec::new();
        let replica = Replica::recover(config.clone(), tip, Vec::new(), Time::ZERO, &mut outputs);
        Self { keys, config, replica, workload }
    }

    fn step(&mut self, input: Input) -> Vec<Output> {
        let mut outputs = Vec::new();
        self.replica.step(Time::ZERO, input, &mut outputs);
        outputs
    }

    fn candidate(&mut self, index: u64) -> Arc<Candidate> {
        let candidate = workload::candidate(Place(2), index, vec![workload::envelope(index, 0)]);
        let verified = signing::verified_candidate(&self.workload, &candidate).expect("a submitted envelope");
        self.step(Input::Candidate { from: Place(2), candidate: verified, config_sequence: 0 });
        candidate
    }

    fn proposal(&self, number: u64, parent: Digest, candidate: &Candidate) -> Arc<Proposal> {
        Arc::new(Proposal {
            header: Header {
                number: Number(number),
                previous_hash: Some(parent),
                data_hash: candidate.data_hash,
            },
            candidates: vec![CandidateRef { origin: candidate.origin, digest: candidate.digest }],
        })
    }

    fn digest(&self, proposal: &Proposal) -> Digest {
        proposal.digest(&self.config.domain.genesis)
    }

    fn prepared(&self, view: u64, proposal: &Arc<Proposal>) -> Arc<PreparedCertificate> {
        let vote = PrepareVote { view: View(view), number: proposal.number(), digest: self.digest(proposal) };
        let signatures = (0..3).map(|p| (Place(p), self.keys.prepare(Place(p), vote).signature)).collect();
        Arc::new(PreparedCertificate { view: View(view), proposal: proposal.clone(), signatures })
    }

    fn block(&self, view: u64, proposal: &Proposal, candidate: &Candidate) -> Arc<CommittedBlock> {
        let vote = CommitVote {
            view: View(view),
            header: proposal.header.clone(),
            digest: self.digest(proposal),
            last_config: Number(0),
        };
        let signatures =
            (0..3).map(|p| (Place(p), self.keys.commit(Place(p), vote.clone(), 7).signature)).collect();
        Arc::new(CommittedBlock {
            certificate: BlockCertificate {
                view: View(view),
                header: proposal.header.clone(),
                proposal: vote.digest,
                last_config: Number(0),
                signatures,
            },
            data: candidate.envelopes.clone(),
            ids: candidate.ids.clone(),
            is_config: false,
        })
    }

    fn commit_block(&mut self, block: &Arc<CommittedBlock>) {
        let blocks = signing::verified_blocks(&self.keys, std::slice::from_ref(block));
        let outputs = self.step(Input::Blocks { from: Place(2), blocks });
        assert!(outputs.iter().any(|output| matches!(output, Output::CommitBlock(_))), "the base is taken");
    }

    fn view_change(
        &self,
        signer: u16,
        base: Option<&Arc<CommittedBlock>>,
        prepared: &[Arc<PreparedCertificate>],
    ) -> Arc<SignedViewChange> {
        let body = ViewChange {
            view: View(3),
            base: base.map(|block| Arc::new(block.certificate.clone())),
            prepared: prepared.to_vec(),
        };
        Arc::new(self.keys.view_change(Place(signer), body))
    }

    /// Hears the new-view of view 3; the prepares it casts there.
    fn enter(&mut self, view_changes: Vec<Arc<SignedViewChange>>) -> Vec<PrepareVote> {
        let body = NewViewBody { view: View(3), view_changes };
        let message = self.keys.seal(Place(3), Unsigned::NewView(body), 0);
        let message = self.keys.check(message).expect("a good new-view");
        let outputs = self.step(Input::Message { from: Place(3), message });
        assert_eq!(self.replica.probe().view, View(3), "it entered the view: {outputs:?}");
        outputs
            .into_iter()
            .filter_map(|output| match output {
                Output::Broadcast(Unsigned::Prepare(vote)) => Some(vote),
                _ => None,
            })
            .collect()
    }
}

/// A block 1 that all have, and two values for block 2.
fn two_values() -> (One, Arc<CommittedBlock>, Arc<Proposal>, Arc<Proposal>) {
    let mut one = One::at(1);
    let (c1, c2, c3) = (one.candidate(1), one.candidate(2), one.candidate(3));
    let first = one.proposal(1, one.config.domain.genesis, &c1);
    let base = one.block(0, &first, &c1);
    one.commit_block(&base);
    let parent = header_hash(&first.header);
    let (val1, val2) = (one.proposal(2, parent, &c2), one.proposal(2, parent, &c3));
    (one, base, val1, val2)
}

fn vote(one: &One, proposal: &Proposal) -> PrepareVote {
    PrepareVote { view: View(3), number: proposal.number(), digest: one.digest(proposal) }
}

#[test]
fn case_87_xset_no_byz_the_certificate_of_the_higher_view_is_proposed_again() {
    let (mut one, base, val1, val2) = two_values();
    let changes = vec![
        one.view_change(0, Some(&base), &[one.prepared(1, &val1)]),
        one.view_change(2, Some(&base), &[one.prepared(2, &val2)]),
        one.view_change(3, Some(&base), &[]),
    ];
    let expected = vote(&one, &val2);
    assert_eq!(one.enter(changes), [expected]);
}

#[test]
fn case_87_xset_no_new_nothing_above_the_base_is_proposed_again() {
    let (mut one, base, val1, _) = two_values();
    let c2 = workload::candidate(Place(2), 2, vec![workload::envelope(2, 0)]);
    let second = one.block(1, &val1, &c2);
    one.commit_block(&second);
    let changes = vec![
        one.view_change(0, Some(&second), &[]),
        one.view_change(2, Some(&base), &[one.prepared(1, &val1)]),
        one.view_change(3, Some(&second), &[]),
    ];
    assert_eq!(one.enter(changes), [], "block 2 is the base, whoever is behind it");
}

/// In the old protocol a value needed f + 1 that had seen it; here a certificate is enough.
#[test]
fn case_87_xset_byz0_one_certificate_is_enough() {
    let (mut one, base, val1, _) = two_values();
    let changes = vec![
        one.view_change(0, Some(&base), &[]),
        one.view_change(2, Some(&base), &[one.prepared(1, &val1)]),
        one.view_change(3, Some(&base), &[]),
    ];
    let expected = vote(&one, &val1);
    assert_eq!(one.enter(changes), [expected]);
}

#[test]
fn case_87_xset_byz2_a_lower_certificate_in_two_of_them_does_not_win() {
    let (mut one, base, val1, val2) = two_values();
    let changes = vec![
        one.view_change(0, Some(&base), &[one.prepared(1, &val1)]),
        one.view_change(2, Some(&base), &[one.prepared(2, &val2)]),
        one.view_change(3, Some(&base), &[one.prepared(1, &val1)]),
    ];
    let expected = vote(&one, &val2);
    assert_eq!(one.enter(changes), [expected]);
}

/// The rule goes number by number, and stops where a certificate does not extend the one below.
#[test]
fn case_87_per_number_rule_keeps_what_extends_and_stops_where_it_does_not() {
    let (mut one, base, val1, val2) = two_values();
    let c4 = one.candidate(4);
    let above1 = one.proposal(3, header_hash(&val1.header), &c4);
    let changes = vec![
        one.view_change(0, Some(&base), &[one.prepared(0, &val1), one.prepared(0, &above1)]),
        one.view_change(2, Some(&base), &[one.prepared(2, &val1)]),
        one.view_change(3, Some(&base), &[]),
    ];
    let expected = vec![vote(&one, &val1), vote(&one, &above1)];
    assert_eq!(one.enter(changes), expected, "a newer, shorter certificate does not hide the longer chain");

    let (mut one, base, ..) = two_values();
    one.candidate(4);
    let changes = vec![
        one.view_change(0, Some(&base), &[one.prepared(0, &val1), one.prepared(0, &above1)]),
        one.view_change(2, Some(&base), &[one.prepared(2, &val2)]),
        one.view_change(3, Some(&base), &[]),
    ];
    let expected = vec![vote(&one, &val2)];
    assert_eq!(one.enter(changes), expected, "block 3 stood on what lost");
}

/// A signer who puts something else into the metadata value signs something that nobody counts.
#[test]
fn case_88_a_commit_over_other_metadata_is_not_counted() {
    let mut one = One::at(1);
    let candidate = one.candidate(1);
    let proposal = one.proposal(1, one.config.domain.genesis, &candidate);
    let digest = one.digest(&proposal);
    let pre_prepare =
        one.keys.seal(Place(0), Unsigned::PrePrepare { view: View(0), proposal: proposal.clone() }, 0);
    let hear = |one: &mut One, from: u16, message: Message| {
        let message = one.keys.check(message).expect("properly signed");
        one.step(Input::Message { from: Place(from), message })
    };
    hear(&mut one, 0, pre_prepare);
    for place in [1, 2, 3] {
        let prepare =
            one.keys.prepare(Place(place), PrepareVote { view: View(0), number: Number(1), digest });
        hear(&mut one, place, Message::Prepare(prepare));
    }
    let commit = |one: &One, place: u16, last_config: u64| {
        let vote = CommitVote {
            view: View(0),
            header: proposal.header.clone(),
            digest,
            last_config: Number(last_config),
        };
        Message::Commit(one.keys.commit(Place(place), vote, 1))
    };
    let committed =
        |outputs: &[Output]| outputs.iter().any(|output| matches!(output, Output::CommitBlock(_)));
    let odd = commit(&one, 0, 7);
    assert!(!committed(&hear(&mut one, 0, odd)));
    for place in [1, 2] {
        let good = commit(&one, place, 0);
        assert!(!committed(&hear(&mut one, place, good)), "two good ones are no quorum");
    }
    let good = commit(&one, 3, 0);
    let outputs = hear(&mut one, 3, good);
    assert!(committed(&outputs), "the third good one is");
    for output in outputs {
        if let Output::CommitBlock(block) = output {
            assert_eq!(one.keys.judge_block(&block), Ok(()), "the block verifies");
        }
    }
}

#[test]
fn case_86_a_message_of_a_replica_that_does_not_exist_never_reaches_the_core() {
    let one = One::at(1);
    let mut prepare =
        one.keys.prepare(Place(2), PrepareVote { view: View(0), number: Number(1), digest: Digest([1; 32]) });
    prepare.signer = Place(4);
    assert!(one.keys.check(Message::Prepare(prepare)).is_err());
}
