//! What a single replica makes of what it hears: the historical xset cases restated for the
//! per-number rule, proposals that break a rule, and block signatures that are not what everybody
//! computes.

use std::sync::Arc;

use sbft::header::header_hash;
use sbft::pbft::message::{
    CommitVote, Message, NewViewBody, PrepareVote, PreparedCertificate, Proposal, SignedViewChange, Status,
    Unsigned, ViewChange,
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

    /// It complains to everyone and passes on what the primary proposed; and leaves with the others
    /// when they find it wrong as well.
    fn turns_against_the_primary(&mut self, outputs: &[Output]) -> bool {
        let passed_on = |output: &Output| matches!(output, Output::TellAll(Message::PrePrepare(_)));
        let at_once = complains(outputs) && outputs.iter().any(passed_on) && !asks_for_view_1(outputs);
        let status = Status { active: true, complains: true, ..Status::default() };
        let mut others = Vec::new();
        for from in [Place(2), Place(3)] {
            let message = self.keys.check(Message::Status(status.clone())).expect("nothing to check");
            others.extend(self.step(Input::Message { from, message }));
        }
        at_once && asks_for_view_1(&others)
    }

    fn candidate(&mut self, index: u64) -> Arc<Candidate> {
        self.hold(workload::candidate(Place(2), index, vec![workload::envelope(index, 0)]), 0);
        workload::candidate(Place(2), index, vec![workload::envelope(index, 0)])
    }

    /// A candidate arrives that was found valid under this config sequence.
    fn hold(&mut self, candidate: Arc<Candidate>, config_sequence: u64) -> Vec<Output> {
        let verified = signing::verified_candidate(&self.workload, &candidate).expect("submitted envelopes");
        self.step(Input::Candidate { from: candidate.origin, candidate: verified, config_sequence })
    }

    /// The primary of view 0 proposes this; what comes of it.
    fn propose(&mut self, proposal: Proposal) -> Vec<Output> {
        let unsigned = Unsigned::PrePrepare { view: View(0), proposal: Arc::new(proposal) };
        let message = self.keys.seal(Place(0), unsigned, 0);
        let message = self.keys.check(message).expect("properly signed");
        self.step(Input::Message { from: Place(0), message })
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
            ids: candidate.ids.clone().into(),
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

fn votes(outputs: &[Output]) -> bool {
    outputs.iter().any(|output| matches!(output, Output::Broadcast(Unsigned::Prepare(_))))
}

fn asks_for_view_1(outputs: &[Output]) -> bool {
    outputs.iter().any(
        |output| matches!(output, Output::Broadcast(Unsigned::ViewChange(change)) if change.view == View(1)),
    )
}

fn complains(outputs: &[Output]) -> bool {
    let complaint = |output: &Output| matches!(output, Output::TellAll(Message::Status(status)) if status.complains && status.active);
    outputs.iter().any(complaint)
}

fn naming(proposal: &Proposal, candidates: &[&Candidate]) -> Proposal {
    let named = candidates.iter().map(|one| CandidateRef { origin: one.origin, digest: one.digest });
    Proposal { candidates: named.collect(), ..proposal.clone() }
}

/// Makes the replica hold what it takes, and a proposal that breaks one rule.
type Bad = fn(&mut One) -> Proposal;

/// What an honest primary cannot have proposed gets no vote, and the primary is left at once.
/// (There is no last config or metadata in a proposal: case 88.)
#[test]
fn case_76_a_proposal_that_breaks_a_rule_gets_no_vote_and_deposes_its_primary() {
    let genesis = |one: &One| one.config.domain.genesis;
    assert!(votes(&{
        let mut one = One::at(1);
        let candidate = one.candidate(1);
        let good = one.proposal(1, genesis(&one), &candidate);
        one.propose(Proposal::clone(&good))
    }));
    let bad: [(&str, Bad); 5] = [
        ("wrong previous hash", |one| {
            let candidate = one.candidate(1);
            Proposal::clone(&one.proposal(1, Digest([7; 32]), &candidate))
        }),
        ("wrong data hash", |one| {
            let candidate = one.candidate(1);
            let mut proposal = Proposal::clone(&one.proposal(1, one.config.domain.genesis, &candidate));
            proposal.header.data_hash = Digest([7; 32]);
            proposal
        }),
        ("a config envelope beside another", |one| {
            let plain = one.candidate(1);
            let mut config = workload::candidate(Place(3), 2, vec![workload::envelope(2, 0)]);
            Arc::make_mut(&mut config).is_config = true;
            // The filters refuse every config envelope; a core must not rely on that.
            let candidate = signing::unchecked_candidate(&config);
            one.step(Input::Candidate { from: Place(3), candidate, config_sequence: 0 });
            let both = [plain.envelopes.clone(), config.envelopes.clone()].concat();
            let whole = workload::candidate(Place(2), 9, both);
            naming(&one.proposal(1, one.config.domain.genesis, &whole), &[&plain, &config])
        }),
        ("more envelopes than a block may hold", |one| {
            let envelopes = |from: u64| (from..from + 6).map(|index| workload::envelope(index, 0)).collect();
            let first = workload::candidate(Place(2), 1, envelopes(0));
            let second = workload::candidate(Place(3), 1, envelopes(6));
            assert!(one.config.max_message_count < 12);
            one.hold(first.clone(), 0);
            one.hold(second.clone(), 0);
            let both = [first.envelopes.clone(), second.envelopes.clone()].concat();
            let whole = workload::candidate(Place(2), 9, both);
            naming(&one.proposal(1, one.config.domain.genesis, &whole), &[&first, &second])
        }),
        ("a candidate named under another's header", |one| {
            let (first, second) = (one.candidate(1), one.candidate(2));
            naming(&one.proposal(1, one.config.domain.genesis, &first), &[&second])
        }),
    ];
    for (what, make) in bad {
        let mut one = One::at(1);
        let proposal = make(&mut one);
        let outputs = one.propose(proposal);
        assert!(!votes(&outputs), "{what}: {outputs:?}");
        assert!(one.turns_against_the_primary(&outputs), "{what}: {outputs:?}");
    }
}

/// A candidate that was found invalid before anybody proposed it is not remembered for ever; it is
/// fetched, and found invalid again.
#[test]
fn case_76_a_proposal_with_an_invalid_envelope_gets_no_vote_and_deposes_its_primary() {
    let mut one = One::at(1);
    let candidate = workload::candidate(Place(2), 1, vec![b"no envelope"[..].into()]);
    assert!(signing::verified_candidate(&one.workload, &candidate).is_none());
    let invalid = || Input::InvalidCandidate { from: Place(2), digest: candidate.digest, config_sequence: 0 };
    one.step(invalid());
    let proposal = one.proposal(1, one.config.domain.genesis, &candidate);
    let outputs = one.propose(Proposal::clone(&proposal));
    assert!(!votes(&outputs) && !complains(&outputs), "{outputs:?}");
    let outputs = one.step(invalid());
    assert!(!votes(&outputs) && one.turns_against_the_primary(&outputs), "{outputs:?}");
}

/// A candidate of which all is in the chain is not kept either, but fetched when it is proposed.
#[test]
fn case_76_a_proposal_of_what_is_in_the_chain_gets_no_vote_and_deposes_its_primary() {
    let mut one = One::at(1);
    let candidate = one.candidate(1);
    let first = one.proposal(1, one.config.domain.genesis, &candidate);
    let block = one.block(0, &first, &candidate);
    one.commit_block(&block);
    let again = workload::candidate(Place(3), 5, candidate.envelopes.clone());
    let proposal = one.proposal(2, header_hash(&first.header), &again);
    let outputs = one.propose(Proposal::clone(&proposal));
    assert!(!votes(&outputs) && !complains(&outputs), "{outputs:?}");
    let outputs = one.hold(again, 0);
    assert!(!votes(&outputs) && one.turns_against_the_primary(&outputs), "{outputs:?}");
}

/// What cannot be judged yet is no reason to leave: a proposal far above, one whose candidate is
/// missing (it is fetched), one whose candidate was validated under an older configuration.
#[test]
fn case_76_a_proposal_that_cannot_be_judged_yet_gets_no_vote_and_no_complaint() {
    let mut one = One::at(1);
    let candidate = one.candidate(1);
    for number in [3, 8, 9, 100, u64::MAX] {
        let proposal = one.proposal(number, Digest([7; 32]), &candidate);
        let outputs = one.propose(Proposal::clone(&proposal));
        assert!(!votes(&outputs) && !complains(&outputs), "{number}: {outputs:?}");
    }

    let mut one = One::at(1);
    let candidate = workload::candidate(Place(2), 1, vec![workload::envelope(1, 0)]);
    let proposal = one.proposal(1, one.config.domain.genesis, &candidate);
    let outputs = one.propose(Proposal::clone(&proposal));
    assert!(!votes(&outputs) && !complains(&outputs), "{outputs:?}");
    assert!(votes(&one.hold(candidate, 0)), "it votes once it has the candidate");

    let mut one = One::at(1);
    one.config.config_sequence = 1;
    let tip =
        ChainTip { hash: one.config.domain.genesis, number: Number(0), certificate: None, recent: vec![] };
    one.replica = Replica::recover(one.config.clone(), tip, Vec::new(), Time::ZERO, &mut Vec::new());
    let candidate = workload::candidate(Place(2), 1, vec![workload::envelope(1, 0)]);
    let stale = one.hold(candidate.clone(), 0);
    assert!(stale.iter().any(|output| matches!(output, Output::Validate(_))), "{stale:?}");
    let proposal = one.proposal(1, one.config.domain.genesis, &candidate);
    let outputs = one.propose(Proposal::clone(&proposal));
    assert!(!votes(&outputs) && !complains(&outputs), "{outputs:?}");
    assert!(votes(&one.hold(candidate, 1)), "it votes once the candidate is valid under the new one");
}

/// What a proposal's form alone says is caught before the core: see `wire::checker` for the proof.
#[test]
fn case_76_a_proposal_out_of_form_never_reaches_the_core() {
    let mut one = One::at(1);
    let candidate = one.candidate(1);
    let good = one.proposal(1, one.config.domain.genesis, &candidate);
    for proposal in [naming(&good, &[]), naming(&good, &[&candidate, &candidate])] {
        let unsigned = Unsigned::PrePrepare { view: View(0), proposal: Arc::new(proposal) };
        let message = one.keys.seal(Place(0), unsigned, 0);
        // Where it got through, the core itself would refuse it.
        if let Ok(message) = one.keys.check(message) {
            let outputs = one.step(Input::Message { from: Place(0), message });
            assert!(!votes(&outputs) && one.turns_against_the_primary(&outputs), "{outputs:?}");
            one = One::at(1);
            one.candidate(1);
        }
    }
}

/// One replica says all it can about numbers and views that may never come; what is kept of it has
/// a bound, and what the others say counts as before.
#[test]
fn case_74_a_flood_of_votes_from_one_replica_takes_bounded_memory() {
    let mut one = One::at(1);
    let candidate = one.candidate(1);
    let proposal = one.proposal(1, one.config.domain.genesis, &candidate);
    let mut most = 0;
    for round in 0..4000_u64 {
        let number = Number(if round % 5 == 0 { u64::MAX - round } else { round / 40 });
        let view = View(if round % 7 == 0 { u64::MAX - round } else { round % 4 });
        let digest = Digest([round as u8; 32]);
        let header = Header { number, ..proposal.header.clone() };
        let change = ViewChange { view: View(view.0.max(1)), base: None, prepared: Vec::new() };
        let messages = [
            Message::Prepare(one.keys.prepare(Place(2), PrepareVote { view, number, digest })),
            Message::Commit(Arc::new(one.keys.commit(
                Place(2),
                CommitVote { view, header, digest, last_config: Number(0) },
                round,
            ))),
            Message::ViewChange(Arc::new(one.keys.view_change(Place(2), change))),
        ];
        for message in messages {
            if let Ok(message) = one.keys.check(message) {
                one.step(Input::Message { from: Place(2), message });
            }
        }
        most = most.max(one.replica.probe().messages_held);
    }
    // Two kinds of votes, in this view and the next, at each number that may come.
    let bound = 4 * one.config.reach() as usize + 4;
    assert!(most > 8 && most <= bound, "{most} messages of one replica are held, {bound} are enough");
    assert_eq!(one.replica.probe().view, View(0));
    assert!(votes(&one.propose(Proposal::clone(&proposal))), "an honest proposal is voted for");
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
        Message::Commit(Arc::new(one.keys.commit(Place(place), vote, 1)))
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
