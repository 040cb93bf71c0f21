//! What should happen sometimes: a campaign in which one of these never does says nothing about it.

/// What happened in a run, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Blocks in the chain.
    pub blocks: u64,
    /// Highest view an honest replica entered.
    pub highest_view: u64,
    /// View-changes that carried a certificate.
    pub carried: u64,
    /// New-views entered that carried a certificate.
    pub carried_in: u64,
    /// Blocks proposed again in a later view.
    pub reproposed: u64,
    /// Crashes of honest replicas.
    pub crashes: u64,
    /// Of these, with records in the log that were not synced.
    pub crashes_before_sync: u64,
    /// Restarts of honest replicas that had votes or certificates to repeat.
    pub recoveries: u64,
    /// Honest replicas that accused somebody.
    pub accusations: u64,
    /// Messages sent by honest replicas.
    pub sent: u64,
    /// Blocks that an honest replica committed without ever having voted for them.
    pub caught_up: u64,
    /// Blocks that a replica committed after it had lost its disk.
    pub after_wipe: u64,
    /// Acceptances of the last number that the window allows.
    pub window_full: u64,
    /// Blocks from which a duplicate fell out.
    pub duplicates: u64,
    /// Blocks made of more than one candidate.
    pub merged: u64,
    /// Complaints of honest replicas, and those that they withdrew.
    pub complaints: u64,
    /// Complaints withdrawn.
    pub withdrawn: u64,
    /// Certificates for a number in two views at one replica.
    pub certified_again: u64,
}

/// Something that happens in some schedules, and how to tell.
pub type Sometimes = (&'static str, fn(&Seen) -> bool);

/// What should happen in some of a thousand schedules with all families of faults on.
pub const SOMETIMES: [Sometimes; 21] = [
    ("a block committed", |seen| seen.blocks > 0),
    ("a view changed", |seen| seen.highest_view > 0),
    ("view 3 was reached", |seen| seen.highest_view >= 3),
    ("view 10 was reached", |seen| seen.highest_view >= 10),
    ("a view-change carried a certificate", |seen| seen.carried > 0),
    ("a new-view carried a certificate", |seen| seen.carried_in > 0),
    ("a block was proposed again", |seen| seen.reproposed > 0),
    ("a number was certified in two views", |seen| seen.certified_again > 0),
    ("an honest replica crashed", |seen| seen.crashes > 0),
    ("one crashed between append and sync", |seen| seen.crashes_before_sync > 0),
    ("one restarted with promises to repeat", |seen| seen.recoveries > 0),
    ("an honest replica accused a liar", |seen| seen.accusations > 0),
    ("a block was had by catching up only", |seen| seen.caught_up > 0),
    ("a wiped replica caught up", |seen| seen.after_wipe > 0),
    ("the window was full", |seen| seen.window_full > 0),
    ("a duplicate fell out", |seen| seen.duplicates > 0),
    ("candidates were merged", |seen| seen.merged > 0),
    ("somebody complained", |seen| seen.complaints > 0),
    ("a complaint was withdrawn", |seen| seen.withdrawn > 0),
    ("somebody complained and no view changed", |seen| seen.complaints > 0 && seen.highest_view == 0),
    ("a run without any view change", |seen| seen.highest_view == 0),
];
