//! How many replicas must agree, and why that many.
//!
//! n replicas, f = ⌊(n-1)/3⌋ of them may lie. A quorum is q = ⌈(n+f+1)/2⌉:
//!
//! * two quorums share at least 2q - n ≥ f + 1 replicas, so at least one honest one, and an honest
//!   replica does not vote for two different things: no two contradicting certificates;
//! * n - f ≥ q, so the honest replicas alone make a quorum, and f silent ones stop nobody.
//!
//! For n = 3f + 1 this is the familiar 2f + 1.

/// The sizes for one number of replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorum {
    n: usize,
}

impl Quorum {
    /// For `n` replicas, at least one.
    pub fn of(n: usize) -> Self {
        assert!(n > 0, "a channel has at least one replica");
        Self { n }
    }

    /// How many replicas may lie: ⌊(n-1)/3⌋.
    pub fn faulty(self) -> usize {
        (self.n - 1) / 3
    }

    /// ⌈(n+f+1)/2⌉: any two sets of this size share an honest replica.
    pub fn size(self) -> usize {
        (self.n + self.faulty() + 2) / 2
    }

    /// f + 1: any set of this size has an honest replica in it.
    pub fn weak(self) -> usize {
        self.faulty() + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Acceptance case 71, and fabric-spec C.4.
    #[test]
    fn case_71_quorums_of_1_to_99_meet_in_an_honest_replica_and_need_only_honest_ones() {
        for n in 1..100 {
            let quorum = Quorum::of(n);
            let (f, q) = (quorum.faulty(), quorum.size());
            assert!(3 * f < n && 3 * (f + 1) >= n, "f is the most that n={n} bears");
            assert_eq!(q, (n + f + 1).div_ceil(2), "n={n}");
            assert!(2 * q > n + f, "two quorums of n={n} share f + 1");
            assert!(q <= n - f, "the honest of n={n} are a quorum");
            if n % 3 == 1 {
                assert_eq!(q, 2 * f + 1, "n={n}");
            }
            let view_change = n + f + 1 - q;
            assert!(q + view_change - n >= quorum.weak(), "n={n}");
            assert!(view_change <= q, "a view-change set of q is never too small, n={n}");
        }
        let table = [1, 2, 2, 3, 4, 4, 5, 6, 6, 7, 8, 8, 9];
        for (n, q) in (1..).zip(table) {
            assert_eq!(Quorum::of(n).size(), q, "n={n}");
        }
        assert_eq!(Quorum::of(16).size(), 11);
    }
}
