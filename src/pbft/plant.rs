//! Rules that the tests of the tests take away, one at a time.
//!
//! A simulator that finds nothing proves nothing: with one of these rules gone, some schedule must
//! fail. Without the feature `plant` the answer is a constant `false` and no code remains.

/// A rule taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Plant {
    /// A quorum is one vote smaller than it must be (2f for n = 3f + 1).
    QuorumTooSmall,
    /// Votes do not wait for the record that forbids contradicting them.
    VoteBeforePersist,
    /// A second proposal is accepted at one view and number.
    SecondProposal,
    /// Nothing falls out as a duplicate.
    NoDeduplication,
    /// A new view follows the single highest certificate instead of going number by number.
    SingleHighestCertificate,
    /// Prepared(k) does not need prepared(k-1) or committed(k-1).
    NoPrefixRule,
    /// Commits of different views are counted together.
    CommitsAcrossViews,
    /// A restarted replica forgets what it accepted, and votes again in the view.
    VoteAgainAfterRestart,
    /// A view entered by a new-view is not recorded before the first vote in it.
    NewViewNotPersisted,
    /// A commit is cast in a view after this replica's own view-change left it.
    CommitAfterViewChange,
    /// Certificates are dropped when a view is entered, and before their block is durable.
    CertificatesDropped,
    /// A replica that lost its log votes again.
    WipedReplicaVotes,
}

impl Plant {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::QuorumTooSmall,
        Self::VoteBeforePersist,
        Self::SecondProposal,
        Self::NoDeduplication,
        Self::SingleHighestCertificate,
        Self::NoPrefixRule,
        Self::CommitsAcrossViews,
        Self::VoteAgainAfterRestart,
        Self::NewViewNotPersisted,
        Self::CommitAfterViewChange,
        Self::CertificatesDropped,
        Self::WipedReplicaVotes,
    ];
}

/// The set of rules taken away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plants {
    #[cfg(feature = "plant")]
    bits: u32,
}

impl Plants {
    /// All rules are in force.
    #[cfg(feature = "plant")]
    pub const NONE: Self = Self { bits: 0 };
    /// All rules are in force.
    #[cfg(not(feature = "plant"))]
    pub const NONE: Self = Self {};

    /// This set and `plant`.
    #[cfg(feature = "plant")]
    #[must_use]
    pub const fn with(self, plant: Plant) -> Self {
        Self { bits: self.bits | 1 << plant as u32 }
    }

    /// Whether this rule was taken away.
    #[cfg(feature = "plant")]
    pub const fn has(self, plant: Plant) -> bool {
        self.bits & (1 << plant as u32) != 0
    }

    /// Whether this rule was taken away: never, without the feature `plant`.
    #[cfg(not(feature = "plant"))]
    pub const fn has(self, _plant: Plant) -> bool {
        false
    }
}
