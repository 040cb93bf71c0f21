//! Properties over generated input: quorums of any size, what follows from a set of view-changes
//! against a brute-force reading of the rule, and what falls out as a duplicate against a list of
//! blocks. Always the same cases; `PROPTEST_RNG_SEED` draws others, `PROPTEST_CASES` more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::dedup_window::DedupRule;
use crate::header::{data_hash, header_hash};
use crate::pbft::dedup::Dedup;
use crate::pbft::message::{PreparedCertificate, Proposal, SignedViewChange, ViewChange};
use crate::pbft::new_view::follow;
use crate::pbft::quorum::Quorum;
use crate::plant::Plants;
use crate::types::{
    BlockCertificate, Candidate, CandidateRef, Digest, Header, Number, Place, RequestId, Signature, View,
};

fn cases(count: u32) -> ProptestConfig {
    let set = ProptestConfig::default();
    let rng_seed = match set.rng_seed {
        RngSeed::Random => RngSeed::Fixed(5),
        fixed => fixed,
    };
    // The variable in the environment means all properties alike.
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { set.cases } else { count };
    ProptestConfig { cases, rng_seed, failure_persistence: None, ..set }
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn quorums_of_any_size_meet_in_an_honest_replica_and_need_only_honest_ones(n in 1usize..2_000_000) {
        let quorum = Quorum::of(n);
        let (f, q) = (quorum.faulty(), quorum.size());
        prop_assert!(n > 3 * f && n <= 3 * f + 3, "f is the most that n bears");
        prop_assert!(2 * q > n + f, "two quorums share more than f");
        prop_assert!(2 * (q - 1) <= n + f, "and no smaller ones would");
        prop_assert!(q <= n - f, "the honest alone are a quorum");
        prop_assert_eq!(quorum.weak(), f + 1);
        prop_assert!(q > f, "a quorum has an honest replica");
        prop_assert_eq!(q, crate::wire::quorum(n), "the checker's own arithmetic says the same");
    }
}

// ---- What follows from a set of view-changes. ----

const GENESIS: Digest = Digest([7; 32]);
/// Numbers and alternatives at each that the proposals are made of.
const NUMBERS: usize = 3;

/// A proposal of these letters, one for each number: the last one's, on top of the others.
fn proposal(letters: &[u8]) -> Arc<Proposal> {
    let mut parent = GENESIS;
    let mut made = None;
    for (number, letter) in (1..).zip(letters) {
        let header =
            Header { number: Number(number), previous_hash: Some(parent), data_hash: Digest([*letter; 32]) };
        parent = header_hash(&header);
        let candidates = vec![CandidateRef { origin: Place(0), digest: Digest([*letter; 32]) }];
        made = Some(Arc::new(Proposal { header, candidates }));
    }
    made.expect("at least one letter")
}

/// One view-change: letters up to the base, and certificates as view and letters.
#[derive(Clone, Debug)]
struct Change {
    base: Vec<u8>,
    prepared: Vec<(u64, Vec<u8>)>,
}

fn letters(most: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![4 => Just(b'a'), 1 => Just(b'b')], 1..=most)
}

fn change() -> impl Strategy<Value = Change> {
    let base = prop_oneof![3 => Just(Vec::new()), 1 => vec(Just(b'a'), 1..=2)];
    let prepared = vec((0u64..4, letters(NUMBERS)), 0..=4);
    (base, prepared).prop_map(|(base, prepared)| {
        // As it must be: above the base, one for each number.
        let mut of_number = BTreeMap::new();
        for (view, letters) in prepared {
            if letters.len() > base.len() {
                of_number.insert(letters.len(), (view, letters));
            }
        }
        Change { base, prepared: of_number.into_values().collect() }
    })
}

fn signed(signer: usize, change: &Change) -> Arc<SignedViewChange> {
    let certificate = |(view, letters): &(u64, Vec<u8>)| {
        let signatures = Vec::new();
        Arc::new(PreparedCertificate { view: View(*view), proposal: proposal(letters), signatures })
    };
    let base = (!change.base.is_empty()).then(|| {
        let proposal = proposal(&change.base);
        Arc::new(BlockCertificate {
            view: View(0),
            header: proposal.header.clone(),
            proposal: proposal.digest(&GENESIS),
            last_config: Number(0),
            signatures: Vec::new(),
        })
    });
    let body =
        ViewChange { view: View(9), base, prepared: change.prepared.iter().map(certificate).collect() };
    Arc::new(SignedViewChange { body, signer: Place(signer as u16), signature: Signature(Bytes::new()) })
}

/// The rule read word by word, over all sequences of certificates there are: the longest one in
/// which each is of the highest view for its number and extends the one before. None where the
/// certificates of the highest view at the number that is next contradict each other.
fn by_brute_force(set: &[Change]) -> Option<(usize, Vec<Vec<u8>>)> {
    let base = set.iter().map(|change| change.base.clone()).max_by_key(Vec::len).unwrap_or_default();
    let all: Vec<&(u64, Vec<u8>)> = set.iter().flat_map(|change| &change.prepared).collect();
    let highest = |number: usize| -> BTreeSet<&Vec<u8>> {
        let here = || all.iter().filter(|(_, letters)| letters.len() == number);
        let view = here().map(|(view, _)| *view).max();
        here().filter(|(of, _)| Some(*of) == view).map(|(_, letters)| letters).collect()
    };
    let mut longest: Vec<Vec<u8>> = Vec::new();
    let mut sequences: Vec<Vec<Vec<u8>>> = vec![Vec::new()];
    while let Some(sequence) = sequences.pop() {
        let last = sequence.last().unwrap_or(&base).clone();
        if sequence.len() >= longest.len() {
            longest = sequence.clone();
        }
        let next = highest(last.len() + 1);
        if next.len() > 1 {
            return None;
        }
        for letters in next.into_iter().filter(|letters| letters.starts_with(&last)) {
            sequences.push(sequence.iter().cloned().chain([letters.clone()]).collect());
        }
    }
    Some((base.len(), longest))
}

proptest! {
    #![proptest_config(cases(20_000))]

    #[test]
    fn what_follows_from_view_changes_is_what_the_rule_says_word_by_word(
        set in vec(change(), 1..=5),
        turn in 0usize..5,
    ) {
        let mut changes: Vec<_> = set.iter().enumerate().map(|(signer, change)| signed(signer, change)).collect();
        changes.rotate_left(turn % set.len());
        let outcome = follow(&changes, &GENESIS, Plants::NONE).ok();
        let found = outcome.map(|outcome| {
            let again: Vec<Digest> =
                outcome.again.iter().map(|certificate| certificate.proposal.digest(&GENESIS)).collect();
            (outcome.base_number().0 as usize, again)
        });
        let expected = by_brute_force(&set).map(|(base, again)| {
            (base, again.iter().map(|letters| proposal(letters).digest(&GENESIS)).collect::<Vec<_>>())
        });
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn the_generated_view_changes_are_of_every_kind() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::new(cases(1));
    let (mut contradict, mut stop, mut full, mut on_base) = (0, 0, 0, 0);
    for _ in 0..3000 {
        let set = vec(change(), 1..=5).new_tree(&mut runner).expect("a value").current();
        let most = set.iter().flat_map(|change| &change.prepared).map(|(_, letters)| letters.len()).max();
        match by_brute_force(&set) {
            None => contradict += 1,
            Some((base, again)) => {
                on_base += usize::from(base > 0 && !again.is_empty());
                full += usize::from(again.len() == NUMBERS);
                stop += usize::from(Some(base + again.len()) < most);
            }
        }
    }
    let counts = [contradict, stop, full, on_base];
    assert!(counts.iter().all(|count| *count > 50), "{counts:?}");
}

// ---- What falls out as a duplicate. ----

/// What happens to the state that knows which ids are taken.
#[derive(Clone, Debug)]
enum Act {
    /// The next number is proposed from these lists of envelopes.
    Propose(Vec<Vec<u8>>),
    /// Nothing is in flight any more.
    Abandon,
    /// The lowest proposal in flight is committed.
    Commit,
    /// Another block than the one in flight is committed.
    CommitOther(Vec<u8>),
}

fn lists() -> impl Strategy<Value = Vec<Vec<u8>>> {
    vec(vec(0u8..10, 1..4), 1..4)
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        5 => lists().prop_map(Act::Propose),
        1 => Just(Act::Abandon),
        3 => Just(Act::Commit),
        1 => vec(0u8..10, 1..4).prop_map(Act::CommitOther),
    ]
}

/// The naive model: every block ever, and every proposal in flight.
#[derive(Default)]
struct Blocks {
    committed: Vec<Vec<u8>>,
    in_flight: Vec<Vec<u8>>,
}

impl Blocks {
    /// The data of block `number` made of these lists.
    fn content(&self, number: usize, rule: DedupRule, lists: &[Vec<u8>]) -> Vec<u8> {
        let chain: Vec<&Vec<u8>> = self.committed.iter().chain(&self.in_flight).collect();
        let below = in_window(&chain[..number - 1], rule);
        let mut data = Vec::new();
        for name in lists.iter().flatten() {
            if !data.contains(name) && !below.iter().any(|block| block.contains(name)) {
                data.push(*name);
            }
        }
        data
    }
}

/// The longer of the last D blocks and the longest end of the chain with at most E envelopes.
fn in_window<T: AsRef<[u8]>>(chain: &[T], rule: DedupRule) -> &[T] {
    let few = |first: &usize| chain[*first..].iter().map(|block| block.as_ref().len()).sum::<usize>();
    let first = (0..=chain.len()).find(|first| few(first) as u64 <= rule.envelopes).unwrap_or(chain.len());
    &chain[first.min(chain.len().saturating_sub(rule.blocks as usize))..]
}

fn candidates(lists: &[Vec<u8>]) -> Vec<Arc<Candidate>> {
    let candidate = |names: &Vec<u8>| {
        let envelopes: Vec<Bytes> = names.iter().map(|name| Bytes::copy_from_slice(&[*name])).collect();
        Arc::new(Candidate {
            origin: Place(0),
            sequence: 0,
            digest: Digest::default(),
            encoding: Bytes::new(),
            ids: names.iter().map(|name| RequestId([*name; 32])).collect(),
            sizes: vec![1; names.len()],
            data_hash: data_hash(&envelopes),
            is_config: false,
            envelopes,
        })
    };
    lists.iter().map(candidate).collect()
}

fn named(ids: &[RequestId]) -> Vec<u8> {
    ids.iter().map(|id| id.0[0]).collect()
}

proptest! {
    #![proptest_config(cases(3000))]

    #[test]
    fn what_falls_out_as_a_duplicate_is_what_a_list_of_all_blocks_says(
        depth in 1usize..7,
        envelopes in 0usize..20,
        window in 1usize..4,
        acts in vec(act(), 1..40),
        asked in lists(),
        restart_at in 0usize..40,
    ) {
        let mut blocks = Blocks::default();
        // A channel's D is twice its window at least.
        let depth = depth.max(2 * window);
        let rule = DedupRule { blocks: depth as u64, envelopes: envelopes as u64 };
        let mut dedup = Dedup::new(rule, 10, Vec::new(), Plants::NONE);
        for (step, act) in acts.iter().enumerate() {
            let next = blocks.committed.len() + blocks.in_flight.len() + 1;
            match act {
                Act::Propose(lists) if blocks.in_flight.len() < window => {
                    let content = dedup.content(Number(next as u64), &candidates(lists));
                    prop_assert_eq!(named(&content.ids), blocks.content(next, rule, lists), "step {}", step);
                    prop_assert_eq!(content.data_hash, data_hash(&content.data));
                    blocks.in_flight.push(named(&content.ids));
                    dedup.propose(Number(next as u64), Arc::new(content));
                }
                Act::Propose(_) => {}
                Act::Abandon => {
                    blocks.in_flight.clear();
                    dedup.abandon_proposals();
                }
                Act::Commit if !blocks.in_flight.is_empty() => {
                    let data = blocks.in_flight.remove(0);
                    let ids = data.iter().map(|name| RequestId([*name; 32])).collect();
                    blocks.committed.push(data);
                    dedup.commit(Number(blocks.committed.len() as u64), ids);
                }
                Act::Commit => {}
                Act::CommitOther(names) => {
                    let number = blocks.committed.len() + 1;
                    let data = blocks.content(number, rule, std::slice::from_ref(names));
                    if blocks.in_flight.first() != Some(&data) {
                        blocks.in_flight.clear();
                    } else {
                        blocks.in_flight.remove(0);
                    }
                    let ids = data.iter().map(|name| RequestId([*name; 32])).collect();
                    blocks.committed.push(data);
                    dedup.commit(Number(number as u64), ids);
                }
            }
            if step == restart_at {
                // What a restart knows is the blocks in the window, and it must make no difference.
                let first = blocks.committed.len() - in_window(&blocks.committed, rule).len();
                let ids = |data: &Vec<u8>| data.iter().map(|name| RequestId([*name; 32])).collect();
                let recent = (1u64..).map(Number).zip(blocks.committed.iter().map(ids)).skip(first).collect();
                blocks.in_flight.clear();
                dedup = Dedup::new(rule, 10, recent, Plants::NONE);
            }
            // Asked at every number that may be built now.
            let next = blocks.committed.len() + blocks.in_flight.len() + 1;
            for number in blocks.committed.len() + 1..=next {
                let content = dedup.content(Number(number as u64), &candidates(&asked));
                let expected = blocks.content(number, rule, &asked);
                prop_assert_eq!(named(&content.ids), expected.clone(), "step {}, number {}", step, number);
                let alone = &candidates(&asked[..1])[0];
                let adds = !blocks.content(number, rule, &asked[..1]).is_empty();
                prop_assert_eq!(dedup.adds_something(Number(number as u64), alone), adds);
            }
            for name in 0u8..10 {
                let last = in_window(&blocks.committed, rule);
                let known = last.iter().any(|block| block.contains(&name));
                prop_assert_eq!(dedup.is_committed(&RequestId([name; 32])), known, "step {}, id {}", step, name);
            }
        }
    }
}
