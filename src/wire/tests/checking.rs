//! What the checker vouches for, and each reason why it does not.

use super::*;
use crate::wire::checker::Reason;

/// What the checker says to `message`: "good", or the reason.
fn verdict(consenters: &Consenters, message: Message) -> String {
    match consenters.checker().check(Place(0), message.clone()) {
        Ok(verified) => {
            assert_eq!(*verified.get(), message);
            "good".to_owned()
        }
        Err(rejection) => rejection.to_string(),
    }
}

fn check(consenters: &Consenters, message: Message, expected: &str) {
    let verdict = verdict(consenters, message);
    assert!(verdict.contains(expected), "{verdict}, expected {expected}");
}

#[test]
fn good_messages_of_each_kind_are_good_for_any_n() {
    for n in [4, 5, 6, 7, 31] {
        let consenters = Consenters::new(n);
        for message in consenters.messages() {
            check(&consenters, message, "good");
        }
    }
}

#[test]
fn a_frame_is_decoded_and_its_era_compared() {
    let consenters = Consenters::new(4);
    let checker = consenters.checker();
    for message in consenters.messages() {
        let verified = checker.check_frame(Place(1), message::encode(&message, Era(2))).expect("good");
        assert_eq!(verified.into_inner(), message);
        let rejection = checker.check_frame(Place(1), message::encode(&message, Era(1))).expect_err("old");
        assert_eq!(rejection.reason, Reason::Era { theirs: Era(1), ours: Era(2) });
    }
    let rejection = checker.check_frame(Place(1), Bytes::from_static(b"nonsense")).expect_err("garbled");
    assert!(matches!(rejection.reason, Reason::Form(_)));
    let status = Message::Status(Status::default());
    let rejection = checker.check(Place(4), status).expect_err("no such place");
    assert_eq!(rejection.reason, Reason::Place { place: Place(4), n: 4 });
}

#[test]
fn case_86_a_signature_means_nothing_in_another_channel_era_or_role() {
    let consenters = Consenters::new(4);
    let mut elsewhere = Consenters::new(4);
    elsewhere.domain.genesis = sha256(b"another channel");
    let mut later = Consenters::new(4);
    later.domain.era = Era(3);
    for other in [&elsewhere, &later] {
        for message in other.messages() {
            // A commit is bound by its header; see pbft::message.
            let bound_by_header = matches!(
                message,
                Message::Commit(_) | Message::Status(_) | Message::Offence(Offence::Commits(..))
            );
            if !bound_by_header {
                check(&consenters, message, "signature of");
            }
        }
    }
    let proposal = consenters.proposal(9, 1);
    let prepare = consenters.prepare(Place(1), 4, &proposal);
    let mut other = prepare.clone();
    other.signer = Place(2);
    check(&consenters, Message::Prepare(other), "signature of prepare is not that of r2");
    let mut other = prepare.clone();
    other.signer = Place(9);
    check(&consenters, Message::Prepare(other), "r9 is not one of the channel's 4 replicas");
    let mut other = prepare;
    other.vote.number = Number(10);
    check(&consenters, Message::Prepare(other), "signature of prepare");
}

#[test]
fn case_76_a_pre_prepare_is_its_views_primarys_and_names_candidates_once() {
    let consenters = Consenters::new(4);
    let proposal = consenters.proposal(9, 1);
    let mut message = consenters.pre_prepare(4, &proposal);
    message.signature = consenters.prepare(Place(1), 4, &proposal).signature;
    check(&consenters, Message::PrePrepare(message), "signature of pre-prepare is not that of r0");
    let change = |change: &dyn Fn(&mut Proposal)| {
        let mut proposal = Proposal::clone(&proposal);
        change(&mut proposal);
        Message::PrePrepare(consenters.pre_prepare(4, &Arc::new(proposal)))
    };
    check(&consenters, change(&|it| it.candidates.clear()), "names no candidate");
    check(&consenters, change(&|it| it.candidates.push(it.candidates[0])), "names a candidate twice");
    check(&consenters, change(&|it| it.candidates[0].origin = Place(4)), "r4 is not one of");
    check(&consenters, change(&|it| it.header.number = Number(0)), "genesis block is not ordered");
    check(&consenters, change(&|it| it.header.previous_hash = None), "no previous hash");
    // A prepare for the same proposal is the same signature: the proposal counts as one.
    let vote = consenters.prepare(Place(0), 4, &proposal).signature;
    assert_eq!(consenters.pre_prepare(4, &proposal).signature, vote);
}

#[test]
fn case_88_a_commit_names_its_signer_canonically() {
    let consenters = Consenters::new(4);
    let vote = consenters.commit_vote(4, &consenters.proposal(9, 1));
    let with = |identifier_header: Bytes| {
        let bytes = block::commit_signing_bytes(&vote, &identifier_header);
        let signature = consenters.keys[2].sign(&bytes).to_bytes();
        let signature =
            BlockSignature { identifier_header, signature: Signature(Bytes::copy_from_slice(&signature)) };
        Message::Commit(Arc::new(Commit { vote: vote.clone(), signer: Place(2), signature }))
    };
    let nonce = [9; NONCE_BYTES];
    let good = block::identifier_header(id_of(Place(2)), &nonce);
    check(&consenters, with(good.clone()), "good");
    check(&consenters, with(block::identifier_header(id_of(Place(1)), &nonce)), "names consenter 14");
    let with_more: Bytes = [&good[..], b"\x18\x01"].concat().into();
    check(&consenters, with(with_more), "unknown field 3");
    check(&consenters, with(good.slice(..good.len() - 26)), "nonce: is missing");
    let short = crate::proto::common::IdentifierHeader { identifier: 17, nonce: vec![1; 23].into() };
    check(&consenters, with(short.encode_to_vec().into()), "23 bytes long");
    for change in [
        |vote: &mut CommitVote| vote.view = View(5),
        |vote: &mut CommitVote| vote.header.data_hash = Digest([0; 32]),
        |vote: &mut CommitVote| vote.digest = Digest([0; 32]),
        |vote: &mut CommitVote| vote.last_config = Number(1),
    ] {
        let mut commit = consenters.commit(Place(2), vote.clone());
        change(&mut commit.vote);
        check(&consenters, Message::Commit(Arc::new(commit)), "signature of commit is not that of r2");
    }
}

#[test]
fn case_86_a_view_change_holds_good_certificates_that_rise_from_its_base() {
    let consenters = Consenters::new(4);
    let with = |change: &dyn Fn(&mut ViewChange)| {
        let mut body = consenters.view_change_body();
        change(&mut body);
        Message::ViewChange(consenters.view_change(Place(3), body))
    };
    let prepared = |body: &mut ViewChange, change: &dyn Fn(&mut PreparedCertificate)| {
        change(Arc::make_mut(&mut body.prepared[1]));
    };
    let base = |body: &mut ViewChange, change: &dyn Fn(&mut BlockCertificate)| {
        change(Arc::make_mut(body.base.as_mut().expect("a base")));
    };
    check(&consenters, with(&|_| {}), "good");
    check(&consenters, with(&|body| body.base = None), "good");
    check(&consenters, with(&|body| body.prepared.clear()), "good");
    check(&consenters, with(&|body| body.view = View(4)), "of a view that is not below");
    check(&consenters, with(&|body| body.prepared.swap(0, 1)), "do not rise from the base");
    check(&consenters, with(&|body| body.prepared[1] = body.prepared[0].clone()), "do not rise");
    let low = Arc::new(consenters.prepared(2, &consenters.proposal(7, 7)));
    check(&consenters, with(&|body| body.prepared[0] = low.clone()), "do not rise from the base");
    let none = |body: &mut ViewChange| {
        body.view = View(0);
        body.prepared.clear();
    };
    check(&consenters, with(&none), "nobody asks for the first view");
    let pop = |it: &mut PreparedCertificate| drop(it.signatures.pop());
    check(
        &consenters,
        with(&|body| prepared(body, &pop)),
        "2 signatures of a prepared certificate, needed are 3",
    );
    let swap = |it: &mut PreparedCertificate| it.signatures.swap(0, 1);
    check(&consenters, with(&|body| prepared(body, &swap)), "in order of place");
    let twice = |it: &mut PreparedCertificate| it.signatures[1] = it.signatures[0].clone();
    check(&consenters, with(&|body| prepared(body, &twice)), "distinct replicas");
    let stranger = |it: &mut PreparedCertificate| it.signatures[2].0 = Place(4);
    check(&consenters, with(&|body| prepared(body, &stranger)), "r4 is not one of");
    let forged = |it: &mut PreparedCertificate| it.signatures[2].1 = it.signatures[1].1.clone();
    check(&consenters, with(&|body| prepared(body, &forged)), "prepare in a certificate is not that of r3");
    let older = |it: &mut PreparedCertificate| it.view = View(1);
    check(&consenters, with(&|body| prepared(body, &older)), "prepare in a certificate");
    let pop = |it: &mut BlockCertificate| drop(it.signatures.pop());
    check(&consenters, with(&|body| base(body, &pop)), "2 signatures of a block certificate, needed are 3");
    let mixed = |it: &mut BlockCertificate| {
        let other = consenters.commit_vote(2, &consenters.proposal(7, 7));
        it.signatures[1].1 = consenters.commit(Place(2), other).signature;
    };
    check(&consenters, with(&|body| base(body, &mixed)), "commit in a certificate is not that of r2");
    let mut unsigned =
        SignedViewChange::clone(&consenters.view_change(Place(3), consenters.view_change_body()));
    unsigned.body.view = View(6);
    check(&consenters, Message::ViewChange(Arc::new(unsigned)), "signature of view-change is not that of r3");
}

#[test]
fn case_86_a_bad_new_view_by_its_primary_is_an_offence_that_others_can_check() {
    type Change<'a> = &'a dyn Fn(&mut NewViewBody);
    let consenters = Consenters::new(4);
    let with = |change: &dyn Fn(&mut NewViewBody)| {
        let mut body = consenters.new_view_body();
        change(&mut body);
        consenters.new_view(body)
    };
    let other_view = |body: &mut NewViewBody| {
        let change = ViewChange { view: View(6), base: None, prepared: Vec::new() };
        body.view_changes[0] = consenters.view_change(Place(1), change);
    };
    let forged = |body: &mut NewViewBody| {
        Arc::make_mut(&mut body.view_changes[0]).signature = Signature(Bytes::from_static(&[1; 64]));
    };
    let bad_inside = |body: &mut NewViewBody| {
        let mut change = consenters.view_change_body();
        change.prepared.swap(0, 1);
        body.view_changes[0] = consenters.view_change(Place(1), change);
    };
    let one_more = |body: &mut NewViewBody| {
        let change = ViewChange { view: View(5), base: None, prepared: Vec::new() };
        body.view_changes.insert(0, consenters.view_change(Place(0), change));
    };
    let bad: [(Change<'_>, &str); 7] = [
        (&|body| drop(body.view_changes.pop()), "2 view-changes of a new-view, needed are 3"),
        (&one_more, "4 view-changes of a new-view, needed are 3"),
        (&|body| body.view_changes.swap(0, 1), "in order of place"),
        (&|body| body.view_changes[1] = body.view_changes[0].clone(), "distinct"),
        (&other_view, "a view-change for another view"),
        (&forged, "signature of view-change is not that of r1"),
        (&bad_inside, "do not rise"),
    ];
    for (change, expected) in bad {
        let message = with(change);
        let checker = consenters.checker();
        let rejection = checker.check(Place(2), Message::NewView(message.clone())).expect_err(expected);
        assert!(rejection.to_string().contains(expected), "{rejection}, expected {expected}");
        let proof = rejection.proof.expect("its primary signed it").into_inner();
        assert_eq!(proof, Message::Offence(Offence::NewView(Box::new(NewView::clone(&message)))));
        check(&consenters, proof, "good");
    }
    let mut unsigned = NewView::clone(&with(&|_| {}));
    unsigned.body.view_changes.pop();
    let checker = consenters.checker();
    let rejection =
        checker.check(Place(2), Message::NewView(Arc::new(unsigned.clone()))).expect_err("forged");
    assert!(rejection.to_string().contains("signature of new-view is not that of r1"), "{rejection}");
    assert_eq!(rejection.proof, None, "anybody can take a view-change out");
    check(&consenters, Message::Offence(Offence::NewView(Box::new(unsigned))), "signature of new-view");
}

#[test]
fn an_offence_must_prove_something() {
    let consenters = Consenters::new(4);
    let (one, two) = (consenters.proposal(9, 1), consenters.proposal(9, 2));
    let prepares = |first: Prepare, second: Prepare| {
        Message::Offence(Offence::Prepares(Box::new(first), Box::new(second)))
    };
    let commits =
        |first: Commit, second: Commit| Message::Offence(Offence::Commits(Box::new(first), Box::new(second)));
    let prepare = |place, view, proposal: &Proposal| consenters.prepare(Place(place), view, proposal);
    let commit = |place, view, proposal: &Proposal| {
        consenters.commit(Place(place), consenters.commit_vote(view, proposal))
    };
    check(&consenters, prepares(prepare(1, 3, &one), prepare(1, 3, &two)), "good");
    check(&consenters, prepares(prepare(1, 3, &one), prepare(2, 3, &two)), "two signers");
    check(&consenters, prepares(prepare(1, 3, &one), prepare(1, 4, &two)), "do not contradict");
    check(&consenters, prepares(prepare(1, 3, &one), prepare(1, 3, &one)), "do not contradict");
    let mut forged = prepare(1, 3, &two);
    forged.signature = prepare(2, 3, &two).signature;
    check(&consenters, prepares(prepare(1, 3, &one), forged), "signature of prepare");
    check(&consenters, commits(commit(1, 3, &one), commit(1, 3, &two)), "good");
    check(&consenters, commits(commit(1, 3, &one), commit(1, 4, &two)), "do not contradict");
    check(&consenters, commits(commit(1, 3, &one), commit(1, 3, &one)), "do not contradict");
    let good = consenters.new_view(consenters.new_view_body());
    let offence = Message::Offence(Offence::NewView(Box::new(NewView::clone(&good))));
    check(&consenters, offence, "the new-view keeps the rules");
}

#[test]
fn cases_86_93_a_fetched_block_is_checked_by_its_own_certificate() {
    let consenters = Consenters::new(4);
    let check = |change: &dyn Fn(&mut CommittedBlock), expected: &str| {
        let mut block = consenters.block(false);
        change(&mut block);
        match consenters.checker().check_block(block.clone()) {
            Ok(verified) => {
                assert_eq!(expected, "good");
                assert_eq!(**verified.get(), block);
            }
            Err(rejection) => assert!(rejection.to_string().contains(expected), "{rejection}"),
        }
    };
    check(&|_| {}, "good");
    check(&|block| drop(block.data.pop()), "not one id for each envelope");
    check(&|block| block.data.clear(), "no data");
    check(&|block| block.data.swap(0, 1), "data hash is not that of the data");
    check(&|block| drop(block.certificate.signatures.pop()), "2 signatures of a block certificate");
    check(&|block| block.certificate.view = View(3), "commit in a certificate is not that of r1");
    check(&|block| block.certificate.last_config = Number(7), "commit in a certificate");
    check(&|block| block.certificate.proposal = Digest([0; 32]), "commit in a certificate");
    check(&|block| block.certificate.header.previous_hash = None, "no previous hash");
    check(&|block| block.certificate.signatures[1].0 = Place(1), "distinct replicas");
}

/// Counts how often a signature is really verified.
struct Counting {
    ring: KeyRing,
    verified: std::sync::atomic::AtomicUsize,
}

impl VoteKeys for Counting {
    fn verify(&self, place: Place, message: &[u8], signature: &[u8]) -> bool {
        self.verified.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.ring.verify(place, message, signature)
    }

    fn consenter_id(&self, place: Place) -> ConsenterId {
        self.ring.consenter_id(place)
    }

    fn n(&self) -> usize {
        self.ring.n()
    }
}

#[test]
fn a_signature_is_verified_once_and_a_bad_one_each_time() {
    let consenters = Consenters::new(4);
    let keys = Counting { ring: consenters.key_ring(), verified: 0.into() };
    let checker = Checker::new(consenters.domain, Arc::new(keys));
    let count = || checker.keys().verified.load(std::sync::atomic::Ordering::Relaxed);
    let change = Message::ViewChange(consenters.view_change(Place(3), consenters.view_change_body()));
    checker.check(Place(3), change.clone()).expect("good");
    assert_eq!(count(), 1 + 3 * 3, "its own and three certificates");
    checker.check(Place(2), change).expect("good");
    assert_eq!(count(), 10);
    let new_view = Message::NewView(consenters.new_view(consenters.new_view_body()));
    checker.check(Place(1), new_view).expect("good");
    assert_eq!(count(), 10 + 1 + 2, "its own and two view-changes; the rest was seen");
    let mut forged = consenters.prepare(Place(1), 4, &consenters.proposal(9, 1));
    forged.signer = Place(2);
    for more in 1..=2 {
        assert!(checker.check(Place(1), Message::Prepare(forged.clone())).is_err());
        assert_eq!(count(), 13 + more, "only good ones are remembered");
    }
}

#[test]
fn a_candidate_is_vouched_for_under_the_sequence_that_found_it_valid() {
    let candidate = Arc::new(some_candidate());
    let good = checker::check_candidate(candidate.clone(), |envelopes| {
        assert_eq!(envelopes.len(), 3);
        Ok::<_, ()>(7)
    });
    let (verified, sequence) = good.expect("valid");
    assert_eq!((verified.into_inner(), sequence), (candidate.clone(), 7));
    assert_eq!(checker::check_candidate(candidate, |_| Err("invalid")).err(), Some("invalid"));
}

/// Bytes that change on the way are never taken for what was signed.
#[test]
fn a_flipped_bit_anywhere_in_a_message_is_noticed() {
    let consenters = Consenters::new(4);
    let checker = consenters.checker();
    for message in consenters.messages() {
        if matches!(message, Message::Status(_)) {
            continue;
        }
        let frame = message::encode(&message, Era(2));
        let step = (frame.len() * 8 / 400).max(1);
        for bit in (0..frame.len() * 8).step_by(step) {
            let mut bytes = frame.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let bytes = Bytes::from(bytes);
            if let Ok(verified) = checker.check_frame(Place(1), bytes.clone()) {
                // A proof stays one if what makes it bad becomes worse, but is never another.
                let same = matches!(verified.get(), Message::Offence(_));
                assert!(same, "bit {bit} of {message:?}");
            }
        }
    }
}
