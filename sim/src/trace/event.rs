//! The events of a run, as they are kept and as they stand in a trace file.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::network::Kind;

/// What a reader must know before the first event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Header {
    /// The version of the format.
    pub sbft_sim_trace: u32,
    /// The seed.
    pub seed: u64,
    /// How many replicas.
    pub n: usize,
    /// The bodies: replicas, and the second bodies of twins after them.
    pub bodies: Vec<BodyInfo>,
    /// What ran: a scenario's name, or the options of the command.
    #[serde(default)]
    pub title: String,
    /// The commit it was built from.
    #[serde(default)]
    pub commit: String,
    /// The command that runs it again.
    #[serde(default)]
    pub reproduce: String,
    /// What was done to the network: faults and attacks, in words.
    #[serde(default)]
    pub story: Vec<String>,
    /// How many events were not kept because there were too many; see [`MOST_KEPT`](super::MOST_KEPT).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
}

/// Who has a lane.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BodyInfo {
    /// What it is called in lines for people.
    pub name: String,
    /// Whose key it holds.
    pub place: u16,
    /// Tells the truth.
    pub honest: bool,
    /// Shares its key with another body.
    #[serde(default)]
    pub twin: bool,
    /// What it does to others.
    #[serde(default)]
    pub attacks: Vec<String>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its number, from 1. A packet is known by the number of its sending.
    pub id: u64,
    /// Virtual time in microseconds.
    pub at: u64,
    /// At which body; none for what happens to the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<usize>,
    /// The event because of which it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<u64>,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What happened. Views and numbers are bare, digests their first four bytes in hex.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the fields are the words of their variant")]
pub enum What {
    /// A client handed over an envelope.
    Submit { envelope: String },
    /// A candidate was cut.
    Cut { digest: String, envelopes: Vec<String> },
    /// A packet left for another body. `arrives` says when each copy does, in µs; `lost` why none does.
    Send {
        to: usize,
        message: About,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        arrives: Vec<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lost: Option<String>,
    },
    /// A packet arrived. `sent` is the number of its sending.
    Deliver { from: usize, sent: u64, message: About },
    /// A packet arrived at somebody who did not hear it.
    Unheard { from: usize, sent: u64, message: About, why: String },
    /// A replica's own broadcast came back to it, when it left.
    Own { message: About },
    /// A candidate was checked.
    Checked { digest: String, good: bool },
    /// A record was written to the log, and not yet synced.
    Persist { record: String },
    /// The log is durable up to here.
    Sync { position: u64 },
    /// The block store is durable up to here.
    BlockSync { number: u64 },
    /// The disk failed: `torn`, `sync-failed`, `full`, `bit-rot` and so on.
    Disk { fault: String, text: String },
    /// The clock failed: `jump`, `rate`, `pause`, `resume` and so on.
    Clock { fault: String, text: String },
    /// The log was written anew with its live records.
    Compact { records: usize },
    /// A replica started from what its disk holds.
    Start { number: u64, records: usize },
    /// A replica died. What of the unsynced survived, and of how much.
    Crash { records: usize, of_records: usize, blocks: usize, of_blocks: usize },
    /// A replica lost its disk.
    Wipe,
    /// A replica stops, or does not start, because of its disk.
    Stopped { reason: String },
    /// A liar's own core stumbled over its lies.
    Stumbled,
    /// A replica noticed that a link came up or went down.
    Link { peer: u16, up: bool },
    /// A timer ran out.
    Timer,
    /// The core accepted a proposal.
    Accepted { view: u64, number: u64 },
    /// The core has a prepared certificate.
    Prepared { view: u64, number: u64 },
    /// The core has a block certificate.
    Committed { view: u64, number: u64, envelopes: Vec<String> },
    /// The core complains about the view's primary, and goes on voting.
    Complains { view: u64, reason: String },
    /// The core complains no more.
    Withdrew { view: u64 },
    /// The core asks for a view.
    Suspected { view: u64, reason: String },
    /// The core entered a view.
    Entered { view: u64, primary: u16, reproposed: u64 },
    /// The core restarted, and casts no new prepare in the view up to this number.
    Abstains { view: u64, upto: u64 },
    /// The core does nothing any more.
    Halted { reason: String },
    /// A view-change left: above which block, with which certificates (number and view).
    AsksView { view: u64, base: u64, carried: Vec<(u64, u64)> },
    /// A new-view left, made from whose view-changes.
    StartsView { view: u64, from: Vec<u16> },
    /// A block was appended to the ledger.
    Append { view: u64, number: u64, hash: String, envelopes: Vec<String> },
    /// A candidate is done with and its origin has room for another.
    Release { digest: String, origin: u16 },
    /// A replica has proof of a lie.
    Accuse { text: String },
    /// A liar lied: which attack, and how.
    Lie { attack: String, text: String },
    /// Something happened to the network: `cut`, `mend`, `conditions`, `heal` and so on.
    Fault { fault: String, text: String, from: Vec<usize>, to: Vec<usize> },
    /// The links that carry nothing from now on: from whom, and to whom.
    Links { cut: Vec<(usize, Vec<usize>)> },
    /// Where a replica stands when the run ends.
    State(State),
    /// A check failed.
    Violation { class: String, check: String, text: String },
}

/// Where a replica stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// It runs.
    pub up: bool,
    /// `voter`, or why it only follows.
    pub role: String,
    /// The view it is in or has asked for.
    pub view: u64,
    /// It votes in that view.
    pub active: bool,
    /// It has stopped for good.
    pub halted: bool,
    /// The last block it committed.
    pub committed: u64,
    /// The highest proposal it accepted in this view.
    pub accepted: u64,
    /// The highest number it has a prepared certificate for in this view.
    pub prepared: u64,
    /// Candidates that wait to be proposed.
    pub waiting: usize,
    /// Records in its log, and how many of them are not synced.
    pub records: (usize, usize),
    /// Blocks on its disk, and how many of them are not synced.
    pub blocks: (u64, u64),
    /// How often it has started.
    pub starts: u32,
}

/// What a packet is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct About {
    /// Its kind.
    #[serde(serialize_with = "kind_to", deserialize_with = "kind_from")]
    pub kind: Kind,
    /// Its view; 0 where it has none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub view: u64,
    /// Its number; 0 where it has none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub number: u64,
    /// The digest of what is voted for, or of a candidate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// More about it, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub more: String,
    /// Its signatures do not hold.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bad: bool,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

fn kind_to<S: Serializer>(kind: &Kind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(kind)
}

fn kind_from<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Kind, D::Error> {
    let name = String::deserialize(deserializer)?;
    Kind::NAMES
        .iter()
        .find(|(_, known)| *known == name)
        .map(|(kind, _)| *kind)
        .ok_or_else(|| de::Error::custom(format!("no kind of message is called {name}")))
}
