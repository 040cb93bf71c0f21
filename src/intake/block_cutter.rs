//! The block cutter: when the envelopes waiting so far become a batch (fabric-spec A.5).
//!
//! It holds envelopes and nothing else: no clock (the batch timer stands beside it) and no limits
//! (they are an argument of each call, so that a config block that changes them counts from the
//! next envelope on). The absolute limit is none of its business: the size filter keeps it.

/// The channel's limits that the cutter goes by, as they are now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutLimits {
    /// A batch is cut when it holds this many envelopes. 1 makes every envelope a batch.
    pub max_message_count: u32,
    /// A batch never holds more bytes than this, except one that is a single larger envelope.
    pub preferred_max_bytes: u32,
}

/// What [`BlockCutter::ordered`] came to.
///
/// | batches | pending | when |
/// | --- | --- | --- |
/// | 0 | true | nothing cut; the envelope waits with those before it |
/// | 1 | false | the count was reached, or an oversized envelope came while nothing waited |
/// | 1 | true | byte overflow: those before were cut, the envelope itself waits |
/// | 2 | false | an oversized envelope came while others waited; or byte overflow and a count of 1 |
///
/// Never: no batch and nothing pending (the envelope must be somewhere), two batches and something
/// pending, three batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ordered<M> {
    /// Batches cut by this call, in order; each has at least one envelope.
    pub batches: Vec<Vec<M>>,
    /// Envelopes wait in the cutter, so the batch timer must run.
    pub pending: bool,
}

/// Envelopes waiting to be cut, in order of arrival.
///
/// Invariant: `pending_bytes` is the sum of the sizes of `pending`. What bounds the memory is the
/// limits of the calls: fewer than `max_message_count` envelopes of at most `preferred_max_bytes`
/// together.
#[derive(Clone, Debug)]
pub struct BlockCutter<M> {
    pending: Vec<M>,
    pending_bytes: u64,
}

impl<M> BlockCutter<M> {
    /// A cutter in which nothing waits.
    pub fn new() -> Self {
        Self { pending: Vec::new(), pending_bytes: 0 }
    }

    /// Takes the next envelope. `size` is payload plus signature in bytes, not the length of the
    /// encoding. See [`Ordered`] for what comes back.
    pub fn ordered(&mut self, message: M, size: u32, limits: CutLimits) -> Ordered<M> {
        let preferred = u64::from(limits.preferred_max_bytes);
        let size = u64::from(size);
        let mut batches = Vec::new();

        if size > preferred {
            // Too large to share a batch: what waits goes first, then this one alone.
            batches.extend(self.cut());
            batches.push(vec![message]);
            return Ordered { batches, pending: false };
        }

        if self.pending_bytes + size > preferred {
            batches.extend(self.cut());
        }

        self.pending.push(message);
        self.pending_bytes += size;
        if self.pending.len() >= limits.max_message_count as usize {
            batches.extend(self.cut());
        }

        Ordered { batches, pending: !self.pending.is_empty() }
    }

    /// Takes out everything that waits; `None` if nothing does. For the batch timer, the eager
    /// cut, and before a config envelope.
    pub fn cut(&mut self) -> Option<Vec<M>> {
        self.pending_bytes = 0;
        if self.pending.is_empty() { None } else { Some(std::mem::take(&mut self.pending)) }
    }

    /// What waits, in order.
    pub fn pending(&self) -> &[M] {
        &self.pending
    }

    /// How many bytes (payload plus signature) wait.
    pub fn pending_bytes(&self) -> u64 {
        self.pending_bytes
    }
}

impl<M> Default for BlockCutter<M> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: CutLimits = CutLimits { max_message_count: 3, preferred_max_bytes: 100 };

    /// Feeds envelopes, given by name and size, one after the other; compares each answer.
    fn check(limits: CutLimits, story: &[(&'static str, u32, &[&[&'static str]], bool)]) {
        let mut cutter = BlockCutter::new();
        for (step, (name, size, batches, pending)) in story.iter().enumerate() {
            let expected =
                Ordered { batches: batches.iter().map(|batch| batch.to_vec()).collect(), pending: *pending };
            assert_eq!(cutter.ordered(*name, *size, limits), expected, "step {step}, envelope {name}");
        }
    }

    #[test]
    fn case_1_the_third_of_three_is_cut_with_the_two_before() {
        check(LIMITS, &[("a", 1, &[], true), ("b", 1, &[], true), ("c", 1, &[&["a", "b", "c"]], false)]);
    }

    #[test]
    fn case_2_a_count_of_one_cuts_at_once_and_leaves_nothing_pending() {
        let limits = CutLimits { max_message_count: 1, ..LIMITS };
        check(limits, &[("a", 1, &[&["a"]], false), ("b", 1, &[&["b"]], false)]);
    }

    #[test]
    fn case_3_an_oversized_envelope_alone_is_one_batch() {
        check(LIMITS, &[("big", 101, &[&["big"]], false)]);
    }

    #[test]
    fn case_4_an_oversized_envelope_after_others_is_two_batches() {
        check(
            LIMITS,
            &[("a", 1, &[], true), ("b", 1, &[], true), ("big", 101, &[&["a", "b"], &["big"]], false)],
        );
    }

    #[test]
    fn case_5_byte_overflow_cuts_what_waited_and_the_new_one_waits() {
        check(LIMITS, &[("a", 60, &[], true), ("b", 41, &[&["a"]], true), ("c", 60, &[&["b"]], true)]);
    }

    #[test]
    fn case_5_exactly_the_preferred_bytes_do_not_cut() {
        check(LIMITS, &[("a", 60, &[], true), ("b", 40, &[], true), ("c", 0, &[&["a", "b", "c"]], false)]);
        check(LIMITS, &[("a", 100, &[], true), ("b", 1, &[&["a"]], true)]);
    }

    #[test]
    fn case_5_overflow_and_a_lowered_count_of_one_are_two_batches() {
        let mut cutter = BlockCutter::new();
        assert!(cutter.ordered("a", 60, LIMITS).pending);
        let answer = cutter.ordered("b", 60, CutLimits { max_message_count: 1, ..LIMITS });
        assert_eq!(answer, Ordered { batches: vec![vec!["a"], vec!["b"]], pending: false });
    }

    #[test]
    fn case_6_the_size_given_counts_and_not_the_length_of_the_message() {
        let long = "a message whose own length is far more than the hundred bytes of the limit, and \
                    which still fits, for its size is said to be ten";
        check(LIMITS, &[(long, 10, &[], true), ("b", 91, &[&[long]], true)]);
    }

    #[test]
    fn case_7_cut_of_nothing_is_nothing_and_cut_resets_count_and_bytes() {
        let mut cutter = BlockCutter::new();
        assert_eq!(cutter.cut(), None);

        cutter.ordered("a", 60, LIMITS);
        cutter.ordered("b", 30, LIMITS);
        assert_eq!(cutter.pending_bytes(), 90);
        assert_eq!(cutter.cut(), Some(vec!["a", "b"]));
        assert_eq!(cutter.cut(), None);
        assert_eq!(cutter.pending_bytes(), 0);

        // Neither two of three envelopes nor 90 of 100 bytes are left over.
        assert_eq!(cutter.ordered("c", 60, LIMITS), Ordered { batches: vec![], pending: true });
        assert_eq!(cutter.ordered("d", 40, LIMITS), Ordered { batches: vec![], pending: true });
    }

    #[test]
    fn case_8_changed_limits_count_at_the_very_next_call() {
        let mut cutter = BlockCutter::new();
        cutter.ordered("a", 10, LIMITS);
        let lower_count = CutLimits { max_message_count: 2, ..LIMITS };
        assert_eq!(cutter.ordered("b", 10, lower_count).batches, vec![vec!["a", "b"]]);

        cutter.ordered("c", 10, LIMITS);
        let lower_bytes = CutLimits { preferred_max_bytes: 15, ..LIMITS };
        assert_eq!(cutter.ordered("d", 10, lower_bytes), Ordered { batches: vec![vec!["c"]], pending: true });
        let higher_bytes = CutLimits { preferred_max_bytes: 1000, ..LIMITS };
        assert_eq!(cutter.ordered("e", 900, higher_bytes), Ordered { batches: vec![], pending: true });
    }

    /// Every answer is a row of the table, whatever comes, and no envelope is lost or reordered.
    #[test]
    fn whatever_comes_the_answer_is_a_row_of_the_table_and_order_is_kept() {
        let mut state = 7_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut cutter = BlockCutter::new();
        let mut out = Vec::new();
        for number in 0..20_000_u32 {
            let limits = CutLimits {
                max_message_count: 1 + random(5) as u32,
                preferred_max_bytes: 1 + random(200) as u32,
            };
            let answer = cutter.ordered(number, random(150) as u32, limits);
            let row = (answer.batches.len(), answer.pending);
            assert!(matches!(row, (0, true) | (1, false) | (1, true) | (2, false)), "{row:?}");
            assert!(answer.batches.iter().all(|batch| !batch.is_empty()));
            assert_eq!(answer.pending, !cutter.pending().is_empty());
            out.extend(answer.batches.into_iter().flatten());
        }
        out.extend(cutter.cut().into_iter().flatten());
        assert_eq!(out, (0..20_000).collect::<Vec<_>>());
    }
}
