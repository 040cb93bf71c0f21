//! What a chain says about itself to people.

use crate::types::{ConsenterId, Number, View};

/// A snapshot of a chain, not older than a second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainStatus {
    /// The view it is in or asks for; 0 for a consenter that has none.
    pub view: View,
    /// The view's primary; none for a consenter without one.
    pub primary: Option<ConsenterId>,
    /// This node's own consenter id in the channel; none if it has none.
    pub id: Option<ConsenterId>,
    /// Blocks in the ledger.
    pub height: u64,
    /// It takes part in ordering now.
    pub active: bool,
    /// Votes, or only follows and why.
    pub role: RoleStatus,
    /// Enough consenters are reachable, this one included.
    pub quorum: bool,
    /// Consenters reachable, this one included.
    pub reachable: usize,
    /// Consenters needed.
    pub needed: usize,
    /// Consenters of the channel.
    pub consenters: usize,
    /// The other consenters, in order of id.
    pub peers: Vec<PeerStatus>,
    /// Block numbers in flight.
    pub in_flight: usize,
    /// Envelopes that this node accepted and that wait for their commit.
    pub pool: usize,
    /// Why the chain has stopped; none while it runs.
    pub failure: Option<String>,
}

/// Whether a node votes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoleStatus {
    /// It votes.
    Voter,
    /// It follows, catches up and serves, and does not vote; the text says why.
    Follower(String),
}

/// What is known of another consenter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Its id.
    pub id: ConsenterId,
    /// Its address, `host:port`.
    pub address: String,
    /// The link is up and something was heard over it lately.
    pub connected: bool,
    /// View that its last status named; none before the first.
    pub view: Option<View>,
    /// Whether it votes in that view.
    pub active: Option<bool>,
    /// Last block that it says it committed.
    pub committed: Option<Number>,
}
