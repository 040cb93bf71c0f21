//! The view-change rule in a small world, explored completely.
//!
//! # The rule (design.md, "View change")
//!
//! * A replica that leaves for view v' tells, signed, its last committed block and for each number
//!   above it the prepared certificate of the highest view below v' that it holds. From then on
//!   it casts no vote in a lower view.
//! * A new-view is q view-changes for exactly v' by distinct senders. What follows is computed:
//!   the base is the highest committed block in the set; then, number by number, the certificate of
//!   the highest view is taken and then tested: the first number that has none, or whose
//!   certificate does not extend the one before, ends it. Those blocks are proposed again; numbers
//!   after them are free.
//! * A replica votes prepare once for each number in a view, in its current, active view only, for
//!   what the new-view says or, where that is silent, for what the primary proposes on top of the
//!   number below. q prepares are a certificate if the number below is prepared in the same view
//!   or committed; its holder votes commit. q commits of one view commit the block.
//!
//! # The world
//!
//! Four replicas, one of them a liar, with one or two block numbers, two values for each (a value
//! of the second number names the value of the first that it extends), and views 0 to 2.
//!
//! # What stands for what
//!
//! * **The network** loses, delays, repeats and reorders without limit: what an honest replica
//!   ever signed lies in the open, and any other may or may not have heard it. So there are no
//!   messages in a state, only what each honest replica has done. It never forgets, as what it
//!   does is durable first.
//! * **Time** is not there: a replica may leave for any higher view at any moment. That covers
//!   every timer and the rule for joining others.
//! * **The liar** has no state. Its votes for everything count in every quorum; it sends any
//!   view-change that it could build from certificates that exist; as primary it proposes anything
//!   and sends different new-views, each legal, to different replicas.
//! * **Committing and fetching a block** is no step: once q commits of one view exist, a replica
//!   acts at any time as if it had the block, or as if it had not heard of it yet.
//! * **The content of an honest view-change** is not kept: its certificates are those of views
//!   below, in which its sender votes no more, so they can be read off its state at any time. Only
//!   the base is kept, because a replica may commit more later.
//!
//! The search is breadth first over all states, which are 128 bits each, one of each pair that
//! differs by the names of the two values only. In every state: no number has two blocks that
//! could be committed, no two certificates of one view and number differ, and no committed block
//! is missing below another. A search may also begin after a given story, where what it looks for is
//! too far from the first state. A broken rule ([`Flaw`]) must lead to a state where that is not so;
//! the shortest way there is the counterexample.

mod search;
mod state;
mod steps;

pub use search::{Counterexample, Outcome, explore};
pub use steps::Step;

/// How many replicas the small world has.
pub const REPLICAS: usize = 4;

/// A rule broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Two votes are a quorum.
    QuorumTooSmall,
    /// A new view proposes what it likes, whatever the view-changes carry.
    IgnoresCertificates,
    /// A new view takes the certificate of the lowest view.
    LowestCertificate,
    /// f + 1 view-changes start a view.
    NewViewOfWeakQuorum,
    /// A commit is cast in a view that the replica has left already.
    CommitAfterViewChange,
    /// Certificates are dropped when a view is entered.
    CertificatesDropped,
    /// A new view follows the certificates of the single highest view only.
    SingleHighestCertificate,
    /// A certificate does not need the number below.
    NoPrefixRule,
}

/// The size of the world.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The places of the liars.
    pub liars: Vec<usize>,
    /// Views from 0, at most 3.
    pub views: usize,
    /// Block numbers from 1, at most 2.
    pub numbers: usize,
    /// The rule that is broken.
    pub flaw: Option<Flaw>,
    /// What has happened before the search begins: steps that the rules allow.
    pub story: Vec<Step>,
    /// States after which the search gives up.
    pub most_states: usize,
}

impl Scope {
    /// One liar, at this place.
    pub fn with_liar(liar: usize, views: usize, numbers: usize) -> Self {
        Self { liars: vec![liar], views, numbers, flaw: None, story: Vec::new(), most_states: 60_000_000 }
    }

    /// The same with a broken rule.
    #[must_use]
    pub fn breaking(mut self, flaw: Flaw) -> Self {
        self.flaw = Some(flaw);
        self
    }

    /// The same, where this has happened before.
    #[must_use]
    pub fn after(mut self, story: &[Step]) -> Self {
        self.story = story.to_vec();
        self
    }

    /// The honest places, in order.
    fn honest(&self) -> Vec<usize> {
        (0..REPLICAS).filter(|place| !self.liars.contains(place)).collect()
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// Votes that make a certificate.
    fn quorum(&self) -> usize {
        if self.has(Flaw::QuorumTooSmall) { 2 } else { 3 }
    }

    /// View-changes that start a view.
    fn of_new_view(&self) -> usize {
        if self.has(Flaw::NewViewOfWeakQuorum) { 2 } else { self.quorum() }
    }
}
