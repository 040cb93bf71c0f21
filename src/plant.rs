//! Rules that the tests of the tests take away, one at a time.
//!
//! A simulator that finds nothing proves nothing: with one of these rules gone, some schedule must
//! fail. A plant is one condition where the rule stands (`plants.has(Plant::NoBackoff)`); without
//! the feature `plant` the answer is a constant `false` and no code remains. The set travels in the
//! settings of whoever has rules, never in a global: runs are parallel.
//!
//! The names from P01 to P50 are the simulator's list, remapped to this protocol (no checkpoint
//! messages: the block certificate; watermark: the window); F1 to F8 are the changes that fork the
//! chain (design.md, "View change"); those from X01 on are ours. `sbft-sim plants` looks for them.

use std::fmt;
use std::str::FromStr;

/// What is known of a plant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// Its short name: `P01`.
    pub id: &'static str,
    /// Its name: `QuorumTooSmall`.
    pub name: &'static str,
    /// What is wrong, in a sentence.
    pub sentence: &'static str,
    /// The checks that may notice it first.
    pub checks: &'static [&'static str],
}

macro_rules! plants {
    ($($id:literal $name:ident: $sentence:literal => $($check:literal),+;)*) => {
        /// A rule taken away.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Plant {
            $(#[doc = $sentence] $name,)*
        }

        impl Plant {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// What is known of each, in the order of [`Self::ALL`].
            const INFO: &'static [Info] = &[
                $(Info { id: $id, name: stringify!($name), sentence: $sentence, checks: &[$($check),+] },)*
            ];
        }
    };
}

plants! {
    "P01" QuorumTooSmall: "a quorum is one vote smaller than it must be: 2f for n = 3f + 1"
        => "prepared certificate", "certificate", "agreement", "evidence";
    "P02" CommitQuorumWeak: "f + 1 commits make a block"
        => "certificate", "agreement";
    "P03" BoundNotPersisted: "how far it may have voted is not recorded before a prepare"
        => "persist first", "one vote";
    "P04" SecondProposal: "a second proposal is accepted at one view and number"
        => "one vote", "agreement", "votes kept", "lies noticed";
    "P05" NewViewIgnoresCertificates: "a new view proposes nothing again, whatever was prepared"
        => "agreement", "prepared lock";
    "P06" NewViewNotChecked: "backups do not check whether a new-view follows from a quorum of view-changes"
        => "new-view", "agreement", "prepared lock";
    "P07" DuplicateVotesCounted: "a vote that comes twice counts twice"
        => "certificate", "prepared certificate", "agreement";
    "P08" ForgedCertificateAccepted: "the signatures in prepared certificates are not checked"
        => "new-view", "prepared lock", "agreement", "halted";
    "P09" LowestCertificate: "a new view takes the certificate of the lowest view"
        => "agreement", "prepared lock";
    "P10" NoBackoff: "timeouts do not double when views fail"
        => "views", "settles";
    "P11" NewViewQuorumWeak: "f + 1 view-changes start a view"
        => "new-view", "agreement", "evidence";
    "P12" NoJoinRule: "nobody joins the view that f + 1 others ask for"
        => "join", "settles";
    "P13" PreparesOfAnyView: "prepares of different views are counted together"
        => "prepared certificate", "agreement";
    "P14" ProposalByAnyone: "a proposal is accepted whoever signed it"
        => "proposer", "evidence", "agreement";
    "P15" NoRetransmission: "no status is sent but with a complaint: nobody learns what must be sent again"
        => "settles", "fairness";
    "P16" NewViewDuplicateSenders: "the view-changes that start a view need not be by distinct senders"
        => "new-view", "agreement";
    "P17" CommitCountsAnyDigest: "a commit counts for whatever is proposed at its number"
        => "certificate", "agreement";
    "P18" VoteBeforePersist: "votes do not wait for the record that forbids contradicting them"
        => "persist first";
    "P19" FetchedBlockUnchecked: "a fetched block's certificate and data are not checked"
        => "certificate", "agreement";
    "P20" ParentNotChecked: "it is not checked that a proposal extends the one below it"
        => "chain", "no panic", "settles", "prepared lock";
    "P21" CertificateOfAnyView: "a certificate counts for a later view than its signatures are of"
        => "new-view", "prepared lock", "agreement";
    "P22" CertificatesForgottenOnEntering: "certificates are dropped when a view is entered"
        => "certificates kept", "persist first";
    "P23" ViewChangeNotRepeated: "view-changes and new-views are not sent again"
        => "settles", "join", "fairness";
    "P24" ComplaintNotRearmed: "the complaint clock does not start again after a view's first block"
        => "settles", "fairness";
    "P25" EnvelopesNotChecked: "candidates are taken as valid without a look at their envelopes"
        => "validity", "certificate";
    "P26" CommitBeforePrepared: "a commit is cast without a quorum of prepares"
        => "prepared certificate", "agreement";
    "P27" ViewChangeHidesCertificates: "view-changes carry no certificates"
        => "certificates kept";
    "P28" StaleNewViewAccepted: "a new-view for a lower view is accepted"
        => "no vote back", "view monotone", "persist first";
    "P29" NoDeduplication: "nothing falls out as a duplicate"
        => "integrity";
    "P30" TimerBeforeQuorum: "the timer for the next view starts before a quorum asks for this one"
        => "settles", "alone";
    "P31" SameViewOnly: "only view-changes for exactly one's own view start the timer"
        => "settles";
    "P32" AnswersAmplify: "view-changes and statuses answer each other without a limit"
        => "sends", "in flight";
    "P33" SyncFailureIgnored: "the log goes on after a write or sync that failed"
        => "persist first", "votes kept", "certificates kept", "settles";
    "P34" TornTailAccepted: "the torn record at the log's end is taken for a record"
        => "settles", "votes kept", "certificates kept", "no panic", "torn tail";
    "P35" TornTailRefused: "a replica does not start from a log with a torn tail"
        => "settles", "torn tail";
    "P36" BlockCertificateTooSmall: "q - 1 signatures prove a block"
        => "certificate", "agreement";
    "P38" WindowNotEnforced: "any number above the last committed one may be in flight"
        => "window", "bounded memory";
    "P39" VotesUnbounded: "every vote is kept that differs from a sender's first"
        => "bounded memory", "prepared certificate", "evidence";
    "P40" ViewChangesUnbounded: "every view-change is kept, for whatever view"
        => "bounded memory";
    "P46" AcceptedAndNotKept: "an envelope seen in another's candidate is answered and not kept"
        => "settles", "accepted envelopes";
    "P48" TimersFollowWallTime: "timers follow wall time and not the monotonic clock"
        => "settles";
    "P50" OrderLeaks: "the order of a block's data differs between replicas, as that of a hash map does"
        => "settles", "halted", "agreement", "certificate", "views";

    "F1" SingleHighestCertificate: "a new view follows the single highest certificate, not number by number"
        => "agreement", "prepared lock";
    "F2" NoPrefixRule: "prepared(k) does not need prepared(k-1) or committed(k-1)"
        => "persist first", "agreement";
    "F3" CommitsAcrossViews: "commits of different views are counted together"
        => "certificate", "agreement", "own vote";
    "F4" VoteAgainAfterRestart: "a restarted replica votes again in a view where it may have voted"
        => "abstains", "one vote", "votes kept", "agreement";
    "F5" NewViewNotPersisted: "a view entered by a new-view is not recorded before the first vote in it"
        => "proposer", "persist first", "view monotone";
    "F6" CommitAfterViewChange: "a commit is cast in a view after the own view-change left it"
        => "no vote back";
    "F7" CertificatesDropped: "a certificate is dropped before its block is durable"
        => "certificates kept", "persist first";
    "F8" WipedReplicaVotes: "a replica that lost its log votes again"
        => "wiped", "one vote";

    "X01" CertificateNotPersisted: "a prepared certificate is kept in memory only"
        => "persist first";
    "X02" PayloadNotPersisted: "what a certificate names is not in the log when the commit leaves"
        => "persist first";
    "X03" ViewChangeNotPersisted: "a view-change leaves without a record of it"
        => "persist first";
    "X04" NewViewChoiceNotPersisted: "a primary's new-view leaves without a record of it"
        => "persist first";
    "X05" CompactionForgetsVotes: "compaction keeps the certificates and not how far it may have voted"
        => "votes kept", "persist first", "abstains";
    "X06" CompactionForgetsView: "compaction keeps the votes and not the view"
        => "view monotone", "persist first", "votes kept";
    "X07" RestartForgetsIds: "a restarted replica does not count the last block's envelopes as duplicates"
        => "settles", "halted", "integrity";
    "X08" DedupWindowTooShort: "an envelope may come again a block or an envelope before it may"
        => "integrity";
    "X09" NaiveQuorum: "a quorum is 2f + 1 for every n, also where that is too few"
        => "prepared certificate", "certificate", "agreement", "evidence";
    "X10" JoinTooEarly: "f others that ask for a view are enough to join it"
        => "settles", "alone";
    "X11" StaleProposalAccepted: "what was proposed in the view before is accepted in this one"
        => "proposer", "prepared lock", "agreement";
    "X12" DurableTooEarly: "blocks count as durable as soon as they are committed"
        => "certificates kept", "persist first";
    "X13" OffenceUnproven: "any two different votes prove a lie"
        => "evidence", "encoding";
    "X14" CatchUpAsksOnce: "a question for blocks that nobody answers is the last one"
        => "settles", "fairness";
    "X15" SourceNotRotated: "the same peer is asked for blocks again and again"
        => "settles";
    "X16" StatusAnswersStatus: "a status is answered by a status"
        => "sends", "in flight";
    "X17" LimitsNotChecked: "a backup does not check the batch limits"
        => "limits";
    "X18" DataHashNotChecked: "a backup does not compare a proposal's data hash with its candidates"
        => "halted", "settles";
    "X19" RecoveryForgetsViewChange: "a restarted replica votes in a view that it had left"
        => "no vote back", "view monotone";
    "X20" RecoveryForgetsCertificates: "a restarted replica forgets what it had prepared"
        => "certificates kept", "persist first";
    "X21" OwnVoteBeforeDurable: "a replica counts its own vote before it is durable"
        => "own vote", "persist first";
    "X22" ForwardedUnbounded: "a peer may forward any number of candidates"
        => "bounded memory";
    "X23" FlightNeverLands: "what was in flight when a view failed is not proposed again"
        => "settles", "accepted envelopes";
    "X24" LogNotSynced: "the log is written and not synced"
        => "votes kept", "certificates kept", "view monotone", "persist first", "one vote", "abstains", "settles",
           "torn tail";
    "X25" ProposesAfterRestart: "a restarted primary proposes where it may have proposed before"
        => "abstains", "one vote";
    "X26" AbstentionRecorded: "what a replica accepts without voting for it is recorded as voted for"
        => "abstains", "one vote";
}

impl Plant {
    /// What is known of it.
    pub const fn info(self) -> &'static Info {
        &Self::INFO[self as usize]
    }
}

impl fmt::Display for Plant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.info().id, self.info().name)
    }
}

/// No plant has this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownPlant(String);

impl fmt::Display for UnknownPlant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no planted bug is called {:?}; `sbft-sim plants --list` shows all", self.0)
    }
}

impl std::error::Error for UnknownPlant {}

impl FromStr for Plant {
    type Err = UnknownPlant;

    /// By id or by name, in small letters or large.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is = |name: &str| name.eq_ignore_ascii_case(text);
        let found = Self::ALL.iter().find(|plant| is(plant.info().id) || is(plant.info().name));
        found.copied().ok_or_else(|| UnknownPlant(text.to_owned()))
    }
}

/// The set of rules taken away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plants {
    #[cfg(feature = "plant")]
    bits: u128,
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

    /// The rules taken away.
    pub fn iter(self) -> impl Iterator<Item = Plant> {
        Plant::ALL.iter().copied().filter(move |plant| self.has(*plant))
    }
}

/// What a planted bug keeps for ever; nothing, without the feature `plant`.
#[derive(Clone, Debug)]
pub struct Hoard<T> {
    #[cfg(feature = "plant")]
    kept: Vec<T>,
    #[cfg(not(feature = "plant"))]
    kept: std::marker::PhantomData<T>,
}

impl<T> Default for Hoard<T> {
    fn default() -> Self {
        Self { kept: Default::default() }
    }
}

impl<T> Hoard<T> {
    /// Keeps one more.
    pub fn push(&mut self, _item: T) {
        #[cfg(feature = "plant")]
        self.kept.push(_item);
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        #[cfg(feature = "plant")]
        return self.kept.len();
        #[cfg(not(feature = "plant"))]
        return 0;
    }

    /// None is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

const _: () = assert!(Plant::ALL.len() <= 128, "a bit for each plant");

/// What is shipped has no plants: the set takes no room, and holds none, whoever asks.
#[cfg(not(feature = "plant"))]
const _: () = {
    assert!(size_of::<Plants>() == 0 && size_of::<Hoard<[u8; 32]>>() == 0);
    let mut nth = 0;
    while nth < Plant::ALL.len() {
        assert!(!Plants::NONE.has(Plant::ALL[nth]));
        nth += 1;
    }
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plant_is_found_by_its_id_and_its_name_and_no_two_share_one() {
        for plant in Plant::ALL {
            let info = plant.info();
            assert_eq!(info.id.parse(), Ok(*plant));
            assert_eq!(info.name.to_lowercase().parse(), Ok(*plant));
            assert_eq!(format!("{plant:?}"), info.name);
        }
        assert!("P00".parse::<Plant>().is_err());
    }

    #[cfg(feature = "plant")]
    #[test]
    fn a_set_holds_what_was_put_in_and_nothing_else() {
        for plant in Plant::ALL {
            assert_eq!(Plants::NONE.with(*plant).iter().collect::<Vec<_>>(), [*plant]);
        }
    }
}
