//! Each test drives an intake step by step and compares whole outputs.

mod everywhere;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::IntakeInput::{Configured, Envelopes, Own, Released, Revalidated, Seen, Tick};
use super::IntakeOutput::{Accepted, Cut, Done, Dropped, Duplicate, Full, Revalidate};
use super::block_cutter::CutLimits;
use super::*;
use crate::dedup_window::DedupRule;
use crate::types::{BlockCertificate, Header, Place, View};

/// Three envelopes or a hundred bytes a batch, two seconds of batch timeout, two candidates
/// outstanding, ten envelopes in the pool.
fn config() -> IntakeConfig {
    IntakeConfig {
        n: 4,
        me: Place(0),
        limits: CutLimits { max_message_count: 3, preferred_max_bytes: 100 },
        batch_timeout: Duration::from_secs(2),
        outstanding: 2,
        eager: 1,
        backlog_after: Duration::from_millis(500),
        pool_count: 10,
        pool_bytes: 1000,
        dedup: DedupRule { blocks: 5, envelopes: 0 },
        config_sequence: 0,
        plants: crate::plant::Plants::NONE,
    }
}

fn id(name: u8) -> RequestId {
    let mut id = [name; 32];
    id[..8].fill(0); // everyone's first turn is replica 0's
    RequestId(id)
}

fn envelope(name: u8) -> Envelope {
    sized(name, 10)
}

fn sized(name: u8, size: u32) -> Envelope {
    let frame = Bytes::from(vec![name; 3]);
    Envelope { id: id(name), frame, size, is_config: false, config_sequence: 0 }
}

fn batch(sequence: u64, names: &[u8]) -> Batch {
    sized_batch(sequence, &names.iter().map(|name| (*name, 10)).collect::<Vec<_>>())
}

fn sized_batch(sequence: u64, names: &[(u8, u32)]) -> Batch {
    Batch {
        sequence,
        envelopes: names.iter().map(|(name, _)| Bytes::from(vec![*name; 3])).collect(),
        ids: names.iter().map(|(name, _)| id(*name)).collect(),
        sizes: names.iter().map(|(_, size)| *size).collect(),
        is_config: false,
        config_sequence: 0,
        waited: Duration::ZERO,
    }
}

fn digest(name: u8) -> Digest {
    Digest([name; 32])
}

fn candidate(origin: u16, name: u8, ids: &[u8]) -> Arc<Candidate> {
    Arc::new(Candidate {
        origin: Place(origin),
        sequence: 0,
        digest: digest(name),
        encoding: Bytes::new(),
        envelopes: vec![Bytes::new(); ids.len()],
        ids: ids.iter().map(|name| id(*name)).collect(),
        sizes: vec![10; ids.len()],
        data_hash: Digest::default(),
        is_config: false,
    })
}

fn block(number: u64, ids: &[u8]) -> IntakeInput {
    let header = Header { number: Number(number), previous_hash: None, data_hash: Digest::default() };
    let certificate = BlockCertificate {
        view: View(0),
        header,
        proposal: Digest::default(),
        last_config: Number(0),
        signatures: Vec::new(),
    };
    let ids: Vec<RequestId> = ids.iter().map(|name| id(*name)).collect();
    let data = vec![Bytes::new(); ids.len()];
    IntakeInput::Committed(Arc::new(CommittedBlock { certificate, data, ids: ids.into(), is_config: false }))
}

fn at(seconds: u64) -> Time {
    Time(Duration::from_secs(seconds))
}

/// An intake and the whole outputs of its steps.
struct Story {
    intake: Intake,
    now: Time,
}

impl Story {
    fn new(config: IntakeConfig) -> Self {
        Self { intake: Intake::new(config, Vec::new()), now: Time::ZERO }
    }

    fn at(&mut self, seconds: u64) -> &mut Self {
        self.now = at(seconds);
        self
    }

    #[track_caller]
    fn step(&mut self, input: IntakeInput, expected: &[IntakeOutput]) -> &mut Self {
        let mut outputs = Vec::new();
        self.intake.step(self.now, input, &mut outputs);
        for output in &mut outputs {
            if let Cut(batch) = output {
                batch.waited = Duration::ZERO; // times of waiting have a test of their own
            }
        }
        assert_eq!(outputs, expected);
        self
    }

    /// One envelope that is accepted, and what else comes of it.
    #[track_caller]
    fn order(&mut self, name: u8, then: &[IntakeOutput]) -> &mut Self {
        let mut expected = vec![Accepted(id(name))];
        expected.extend_from_slice(then);
        self.step(Envelopes(vec![envelope(name)]), &expected)
    }

    /// A first envelope, so that an own candidate is outstanding and nothing is cut eagerly.
    #[track_caller]
    fn busy(&mut self) -> &mut Self {
        self.order(99, &[Cut(batch(0, &[99]))]).step(Own { sequence: 0, digest: digest(0) }, &[])
    }

    #[track_caller]
    fn deadline(&mut self, expected: Option<Time>) -> &mut Self {
        assert_eq!(self.intake.next_deadline(), expected);
        self
    }
}

fn done(name: u8, number: u64, waited: u64) -> IntakeOutput {
    Done { id: id(name), number: Number(number), waited: Duration::from_secs(waited) }
}

#[test]
fn a_lone_envelope_is_cut_at_once() {
    Story::new(config()).order(1, &[Cut(batch(0, &[1]))]).deadline(None);
}

#[test]
fn envelopes_that_come_together_share_a_candidate() {
    let envelopes = vec![envelope(1), envelope(2)];
    let expected = [Accepted(id(1)), Accepted(id(2)), Cut(batch(0, &[1, 2]))];
    Story::new(config()).step(Envelopes(envelopes), &expected);
}

#[test]
fn a_partial_batch_waits_while_an_own_candidate_is_outstanding_and_goes_when_it_is_committed() {
    Story::new(config())
        .busy()
        .order(1, &[])
        .order(2, &[])
        .step(block(1, &[99]), &[done(99, 1, 0)])
        .step(Released(digest(0)), &[Cut(batch(1, &[1, 2]))]);
}

#[test]
fn a_partial_batch_goes_when_the_own_candidate_before_it_is_released() {
    // Dropped by the core, not committed: its envelope is not lost but goes along.
    Story::new(config()).busy().order(1, &[]).step(Released(digest(0)), &[Cut(batch(1, &[1, 99]))]);
}

/// Found by the simulator (seed 397): a replica that caught up by more than its dedup window at once held a
/// candidate whose envelopes were all committed, the first of them too long ago for the core to see it.
/// The intake counted it as gone and the core did not: with more room here than there, candidates
/// were cut, let go and cut again without end.
#[test]
fn a_candidate_whose_envelopes_are_all_committed_keeps_its_room_until_the_core_lets_it_go() {
    let mut story = Story::new(IntakeConfig { outstanding: 1, ..config() });
    story.busy().order(1, &[]).step(block(1, &[99]), &[done(99, 1, 0)]);
    assert_eq!(story.intake.probe().outstanding, 1);
    story.order(2, &[]).order(3, &[]);
    story.step(Released(digest(0)), &[Cut(batch(1, &[1, 2, 3]))]);
}

#[test]
fn where_little_is_outstanding_a_partial_batch_goes_at_once_as_often_as_is_allowed() {
    Story::new(IntakeConfig { eager: 2, outstanding: 4, ..config() })
        .busy()
        .order(1, &[Cut(batch(1, &[1]))])
        .order(2, &[]);
    let limits = CutLimits { max_message_count: 9, ..config().limits };
    let mut story = Story::new(IntakeConfig { limits, eager: 2, outstanding: 4, pool_count: 30, ..config() });
    let mut outputs = Vec::new();
    let many = (1..=9).map(envelope).collect();
    story.intake.step(Time::ZERO, Envelopes(many), &mut outputs);
    assert!(outputs.iter().any(|output| matches!(output, Cut(batch) if batch.ids.len() == 9)));
    story.order(10, &[]); // nine are not little
}

#[test]
fn a_partial_batch_goes_when_a_proposal_has_the_own_candidate_before_it() {
    Story::new(config())
        .busy()
        .order(1, &[])
        .step(IntakeInput::Proposed(digest(7)), &[]) // another's
        .step(IntakeInput::Proposed(digest(0)), &[Cut(batch(1, &[1]))])
        .step(Own { sequence: 1, digest: digest(1) }, &[])
        .step(IntakeInput::Proposed(digest(1)), &[])
        .order(2, &[]) // both are proposed, but there is room for no more than two
        .step(block(1, &[99]), &[done(99, 1, 0)])
        .step(Released(digest(0)), &[Cut(batch(2, &[2]))]);
}

#[test]
fn proposed_candidates_do_not_count_among_the_few_that_a_partial_batch_may_join() {
    let limits = CutLimits { max_message_count: 9, ..config().limits };
    let mut story = Story::new(IntakeConfig { limits, eager: 2, outstanding: 9, pool_count: 30, ..config() });
    let mut outputs = Vec::new();
    story.intake.step(Time::ZERO, Envelopes((1..=9).map(envelope).collect()), &mut outputs);
    story.step(Own { sequence: 0, digest: digest(0) }, &[]);
    story.order(10, &[]); // nine wait to be proposed
    story.step(IntakeInput::Proposed(digest(0)), &[Cut(batch(1, &[10]))]);
    story.step(Own { sequence: 1, digest: digest(1) }, &[]);
    story.order(11, &[Cut(batch(2, &[11]))]).order(12, &[]); // two wait, and that is as many as may
}

#[test]
fn a_full_batch_goes_although_another_is_outstanding() {
    Story::new(config())
        .busy()
        .order(1, &[])
        .order(2, &[])
        .order(3, &[Cut(batch(1, &[1, 2, 3]))])
        .deadline(None);
}

#[test]
fn case_2_a_count_of_one_cuts_each_envelope_and_never_starts_the_timer() {
    let limits = CutLimits { max_message_count: 1, ..config().limits };
    let mut story = Story::new(IntakeConfig { limits, outstanding: 9, ..config() });
    for name in 1..=4 {
        story.order(name, &[Cut(batch(u64::from(name) - 1, &[name]))]).deadline(None);
    }
    story.at(9).step(Tick, &[]);
}

#[test]
fn case_9_the_first_pending_envelope_starts_the_timer_and_its_expiry_cuts_what_is_pending_once() {
    let mut story = Story::new(config());
    story.busy().at(1).order(1, &[]).deadline(Some(at(3)));
    story.at(2).order(2, &[]).deadline(Some(at(3)));
    story.at(3).step(Tick, &[Cut(batch(1, &[1, 2]))]).deadline(None);
    story.at(9).step(Tick, &[]);
}

#[test]
fn case_10_the_timer_keeps_running_over_an_overflow_and_stops_when_nothing_is_pending() {
    let mut story = Story::new(IntakeConfig { outstanding: 9, ..config() });
    story.busy().at(1).step(Envelopes(vec![sized(1, 60)]), &[Accepted(id(1))]).deadline(Some(at(3)));
    let overflow = [Accepted(id(2)), Cut(sized_batch(1, &[(1, 60)]))];
    story.at(2).step(Envelopes(vec![sized(2, 60)]), &overflow).deadline(Some(at(3)));
    story.order(3, &[]).order(4, &[Cut(sized_batch(2, &[(2, 60), (3, 10), (4, 10)]))]).deadline(None);
    story.at(3).step(Tick, &[]);
}

#[test]
fn case_11_a_timer_that_expires_with_nothing_pending_cuts_nothing() {
    let mut story = Story::new(config());
    // What is pending is taken over by another's candidate before the timer ends.
    story.busy().order(1, &[]).step(Seen(candidate(2, 7, &[1])), &[]).at(2).step(Tick, &[]).deadline(None);
}

#[test]
fn cases_12_13_a_config_envelope_cuts_what_is_pending_and_travels_alone() {
    let config_envelope = Envelope { is_config: true, ..envelope(5) };
    let config_batch = Batch { is_config: true, ..batch(2, &[5]) };
    let mut story = Story::new(IntakeConfig { outstanding: 9, ..config() });
    story
        .busy()
        .order(1, &[])
        .step(Envelopes(vec![config_envelope]), &[Accepted(id(5)), Cut(batch(1, &[1])), Cut(config_batch)]);
    story.deadline(None);
}

#[test]
fn an_oversized_envelope_goes_alone_after_what_is_pending() {
    let mut story = Story::new(IntakeConfig { outstanding: 9, ..config() });
    let expected = [Accepted(id(2)), Cut(batch(1, &[1])), Cut(sized_batch(2, &[(2, 101)]))];
    story.busy().order(1, &[]).step(Envelopes(vec![sized(2, 101)]), &expected);
}

#[test]
fn at_the_limit_of_outstanding_candidates_envelopes_wait_and_full_batches_go_as_room_comes_up() {
    let mut story = Story::new(config());
    story.busy();
    let first = [envelope(1), envelope(2), envelope(3), envelope(4), envelope(5), envelope(6)];
    let mut expected: Vec<_> = first.iter().map(|envelope| Accepted(envelope.id)).collect();
    expected.push(Cut(batch(1, &[1, 2, 3])));
    story.step(Envelopes(first.to_vec()), &expected);
    assert_eq!(story.intake.probe().outstanding, 2);
    story.step(Own { sequence: 1, digest: digest(1) }, &[]);
    let committed = [done(1, 1, 0), done(2, 1, 0), done(3, 1, 0)];
    story.step(block(1, &[1, 2, 3]), &committed);
    story.step(Released(digest(1)), &[Cut(batch(2, &[4, 5, 6]))]);
}

#[test]
fn a_known_id_is_told_as_a_duplicate_while_it_waits_and_for_d_blocks_after_its_commit() {
    let mut story = Story::new(config());
    story.order(1, &[Cut(batch(0, &[1]))]);
    story.step(Envelopes(vec![envelope(1)]), &[Duplicate { id: id(1), committed: None }]);
    story.step(Own { sequence: 0, digest: digest(0) }, &[]);
    story.step(block(1, &[1]), &[done(1, 1, 0)]).step(Released(digest(0)), &[]);
    let duplicate = Duplicate { id: id(1), committed: Some(Number(1)) };
    for number in 2..=5 {
        story.step(Envelopes(vec![envelope(1)]), std::slice::from_ref(&duplicate));
        story.step(block(number, &[]), &[]);
    }
    story.step(Envelopes(vec![envelope(1)]), &[duplicate]);
    story.step(block(6, &[]), &[]);
    story.order(1, &[Cut(batch(1, &[1]))]);
}

#[test]
fn ids_of_the_last_blocks_are_known_after_a_restart() {
    let mut intake = Intake::new(config(), vec![(Number(7), vec![id(1)].into())]);
    let mut outputs = Vec::new();
    intake.step(Time::ZERO, Envelopes(vec![envelope(1)]), &mut outputs);
    assert_eq!(outputs, [Duplicate { id: id(1), committed: Some(Number(7)) }]);
    assert_eq!(intake.committed_in(&id(1)), Some(Number(7)));
}

#[test]
fn a_full_pool_takes_nothing_until_something_commits() {
    let mut story = Story::new(IntakeConfig { pool_count: 2, ..config() });
    story.busy().order(1, &[]).step(Envelopes(vec![envelope(2)]), &[Full(id(2))]);
    assert!(!story.intake.has_room());
    story.step(block(1, &[99]), &[done(99, 1, 0)]).step(Released(digest(0)), &[Cut(batch(1, &[1]))]);
    story.order(2, &[]);
}

#[test]
fn a_pool_with_too_many_bytes_takes_nothing() {
    let mut story = Story::new(IntakeConfig { pool_bytes: 50, ..config() });
    story.busy().step(Envelopes(vec![sized(1, 40)]), &[Accepted(id(1))]);
    story.step(Envelopes(vec![envelope(2)]), &[Full(id(2))]);
    assert_eq!(story.intake.probe().pool_bytes, 50);
}

/// Found by `sbft load` beyond saturation (22,000/s where 16,000 can be ordered): each replica took in all that
/// came, the checks took the processors from the ordering, and less than half of what can be ordered was.
#[test]
fn what_has_waited_for_long_to_be_proposed_stops_the_taking_in() {
    let mut story = Story::new(config());
    let backlogged =
        |story: &Story, millis| story.intake.is_backlogged(story.now.after(Duration::from_millis(millis)));
    story.busy().order(1, &[]).order(2, &[]);
    assert!(!backlogged(&story, 60_000), "less than a block waits");
    story.order(3, &[Cut(batch(1, &[1, 2, 3]))]).step(Own { sequence: 1, digest: digest(1) }, &[]);
    assert_eq!([499, 500].map(|millis| backlogged(&story, millis)), [false, true]);
    story.step(IntakeInput::Proposed(digest(0)), &[]);
    assert!(backlogged(&story, 500), "a whole block still waits");
    story.step(IntakeInput::Proposed(digest(1)), &[]);
    assert!(!backlogged(&story, 60_000), "what is proposed is on its way");

    story.at(10).order(4, &[]).order(5, &[]).order(6, &[]); // no more than two are outstanding
    assert_eq!([499, 500].map(|millis| backlogged(&story, millis)), [false, true]);
    assert!(story.intake.has_room(), "what was handed over by then is taken");
    story.step(block(1, &[99]), &[done(99, 1, 10)]);
    story.step(Released(digest(0)), &[Cut(batch(2, &[4, 5, 6]))]);
    assert_eq!([499, 500].map(|millis| backlogged(&story, millis)), [false, true], "cut, not proposed");
}

#[test]
fn a_few_large_envelopes_that_wait_for_long_stop_the_taking_in_too() {
    let limits = CutLimits { max_message_count: 9, ..config().limits };
    let mut story = Story::new(IntakeConfig { limits, outstanding: 1, ..config() });
    let later = Time::ZERO.after(Duration::from_millis(500));
    story.busy().step(Envelopes(vec![sized(1, 80)]), &[Accepted(id(1))]);
    assert!(!story.intake.is_backlogged(later), "90 of 100 bytes");
    story.step(Envelopes(vec![sized(2, 10)]), &[Accepted(id(2))]);
    assert!(story.intake.is_backlogged(later));
    story.step(IntakeInput::Proposed(digest(0)), &[]);
    assert!(!story.intake.is_backlogged(later), "10 of them are proposed");
}

#[test]
fn what_another_valid_candidate_holds_is_left_out_and_taken_back_if_that_is_dropped() {
    let mut story = Story::new(config());
    story.busy().order(1, &[]).order(2, &[]);
    story.step(Seen(candidate(2, 7, &[1])), &[]);
    story.step(block(1, &[99]), &[done(99, 1, 0)]).step(Released(digest(0)), &[Cut(batch(1, &[2]))]);
    story.step(Own { sequence: 1, digest: digest(1) }, &[]);
    story.step(Released(digest(7)), &[]); // back in the cutter, behind the own candidate
    story.step(block(2, &[2]), &[done(2, 2, 0)]).step(Released(digest(1)), &[Cut(batch(2, &[1]))]);
}

#[test]
fn what_two_candidates_hold_is_taken_back_when_both_are_dropped() {
    let mut story = Story::new(config());
    story.step(Seen(candidate(2, 7, &[1])), &[]).step(Seen(candidate(3, 8, &[1])), &[]);
    story.order(1, &[]);
    story.step(Released(digest(7)), &[]);
    story.step(Released(digest(8)), &[Cut(batch(0, &[1]))]);
}

#[test]
fn what_another_candidate_brings_into_a_block_is_done() {
    let mut story = Story::new(config());
    story.step(Seen(candidate(2, 7, &[1])), &[]).order(1, &[]);
    story.at(3).step(block(1, &[1]), &[done(1, 1, 3)]).step(Released(digest(7)), &[]);
    assert_eq!(story.intake.probe().pool, 0);
}

#[test]
fn an_envelope_taken_back_while_it_is_still_in_the_cutter_is_cut_once() {
    let mut story = Story::new(config());
    story.busy().order(1, &[]);
    story.step(Seen(candidate(2, 7, &[1])), &[]).step(Released(digest(7)), &[]);
    story.step(block(1, &[99]), &[done(99, 1, 0)]).step(Released(digest(0)), &[Cut(batch(1, &[1]))]);
}

#[test]
fn an_origin_that_floods_with_candidates_is_not_remembered_without_limit() {
    let mut story = Story::new(config());
    for name in 0..100 {
        story.step(Seen(candidate(2, name, &[name])), &[]);
    }
    // Two outstanding, four times that are remembered: the ninth counts no more.
    story.order(7, &[]).order(8, &[Cut(batch(0, &[8]))]);
}

#[test]
fn case_24_a_new_configuration_sends_the_pool_through_the_filters_again() {
    let mut story = Story::new(config());
    story.busy().order(1, &[]).order(2, &[]);
    let newer = IntakeConfig { config_sequence: 1, ..config() };
    let again = [(id(1), envelope(1).frame), (id(2), envelope(2).frame)];
    story.step(Configured(newer), &[Revalidate(again.to_vec())]).deadline(None);
    let answer = |name, valid| Revalidated { id: id(name), config_sequence: 1, valid };
    story.step(answer(1, false), &[Dropped(id(1))]);
    story.step(answer(2, true), &[]);
    // What was on its way is validated again if it comes back.
    story.step(
        Released(digest(0)),
        &[Revalidate(vec![(id(99), envelope(99).frame)]), {
            Cut(Batch { config_sequence: 1, ..batch(1, &[2]) })
        }],
    );
    story.step(Own { sequence: 1, digest: digest(1) }, &[]);
    story.step(answer(99, true), &[]);
    assert_eq!(story.intake.probe().pool, 2);
}

#[test]
fn case_15_an_envelope_validated_under_an_older_configuration_is_validated_again_before_it_is_cut() {
    let newer = IntakeConfig { config_sequence: 1, ..config() };
    let expected = [Accepted(id(1)), Revalidate(vec![(id(1), envelope(1).frame)])];
    Story::new(newer).step(Envelopes(vec![envelope(1)]), &expected);
}

#[test]
fn a_batch_says_how_long_its_first_envelope_waited() {
    let mut intake = Intake::new(config(), Vec::new());
    let mut outputs = Vec::new();
    intake.step(at(1), Envelopes(vec![envelope(99)]), &mut outputs);
    intake.step(at(2), Envelopes(vec![envelope(1)]), &mut outputs);
    intake.step(at(3), Envelopes(vec![envelope(2)]), &mut outputs);
    outputs.clear();
    intake.step(at(4), Tick, &mut outputs);
    let [Cut(batch)] = &outputs[..] else { panic!("one batch, not {outputs:?}") };
    assert_eq!((batch.ids.len(), batch.waited), (2, Duration::from_secs(2)));
}
