//! Every check by its name, the invariant that it belongs to, and what it says.

/// A check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// Its name, as scenarios and plants use it.
    pub name: &'static str,
    /// The invariant.
    pub invariant: &'static str,
    /// What must be so, in a sentence.
    pub sentence: &'static str,
}

const fn check(invariant: &'static str, name: &'static str, sentence: &'static str) -> Check {
    Check { name, invariant, sentence }
}

/// All checks, by invariant.
pub const CHECKS: &[Check] = &[
    check("I1", "agreement", "honest replicas never commit different blocks at one number"),
    check("I1", "halted", "no two quorums contradict each other, which makes a replica halt"),
    check("I2", "gapless", "blocks are committed one after the other"),
    check("I2", "chain", "every block extends the one below it"),
    check("I3", "validity", "every envelope in a block was submitted by a client"),
    check("I3", "limits", "no block is larger than the channel allows"),
    check(
        "I3",
        "proposer",
        "what is accepted is what the view's primary proposed, or what its new-view says",
    ),
    check("I4", "integrity", "no envelope is in the chain twice within the dedup window"),
    check("I5", "certificate", "every block has signatures of one view by at least q distinct members"),
    check("I5", "prepared certificate", "every certificate recorded has q good prepares of one view"),
    check("I5", "new-view", "every view is entered by q view-changes for it by distinct members"),
    check("I6", "ghost vote", "every honest signature in a block was really made, f + 1 of them at least"),
    check("I7", "one vote", "no honest replica ever signs two things at one view and number"),
    check("I7", "wiped", "a replica that lost its log casts no vote"),
    check("I7", "abstains", "after a restart nobody votes where it may have voted for something else"),
    check("I8", "persist first", "no vote leaves before the synced log forbids contradicting it"),
    check("I8", "own vote", "a replica counts its own vote only once it is durable"),
    check("I8", "encoding", "what is written or sent is read as it was meant"),
    check("I9", "accepted envelopes", "a replica that stays up does not forget what it accepted"),
    check("I10", "prefix kept", "a restart finds every block that was synced, and the same ones"),
    check("I11", "no vote back", "no vote for a view below one that the replica asked for"),
    check("I11", "view monotone", "views only rise, over restarts too"),
    check("I12", "prepared lock", "where a block may have been committed, no later view votes for another"),
    check("I13", "bounded memory", "what a replica holds keeps the limits of the configuration"),
    check("I13", "window", "nothing is accepted beyond the window"),
    check("I14", "output", "the outputs of one step are bounded"),
    check("I14", "ticks", "a timer does not run out again and again at one instant"),
    check("I14", "sends", "packets out are bounded by packets in and time"),
    check("I14", "bytes", "bytes out are bounded by bytes in and time"),
    check("I14", "in flight", "what is under way is bounded"),
    check("I14", "candidates", "candidates are not let go as fast as they are cut"),
    check("I15", "no panic", "nothing panics"),
    check("I16", "certificates kept", "whatever happens to the disk, certificates behind commits are there"),
    check("I16", "votes kept", "whatever happens to the disk, votes of the present view are there"),
    check("I16", "torn tail", "a log that is merely torn at its end is recovered"),
    check(
        "I16",
        "rot noticed",
        "nobody starts from a log or ledger in the middle of which a synced record rotted",
    ),
    check("I16", "disk", "nobody stops for a disk with which nothing is wrong"),
    check("I17", "evidence", "nobody accuses an honest replica"),
    check("I17", "lies noticed", "who sees two votes at one place accuses their signer at once"),
    check("I18", "settles", "after healing everything owed is committed everywhere within the bound"),
    check("I18", "alone", "nobody runs ahead through the views alone"),
    check("I18", "join", "whoever is left behind by f + 1 joins them"),
    check("I18", "views", "views do not follow each other faster than timeouts that double allow"),
    check("I19", "fairness", "after healing no envelope waits longer than the bound, whoever's it is"),
    check("I20", "convergence", "in the end all honest replicas have the same whole chain"),
    check("determinism", "determinism", "the same seed gives the same run"),
];

/// The invariant that a check belongs to.
pub fn invariant_of(name: &str) -> Option<&'static str> {
    CHECKS.iter().find(|check| check.name == name).map(|check| check.invariant)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_invariant_from_1_to_20_has_a_check_and_no_name_is_there_twice() {
        let invariants: BTreeSet<_> = CHECKS.iter().map(|check| check.invariant).collect();
        for number in 1..=20 {
            assert!(invariants.contains(format!("I{number}").as_str()), "I{number}");
        }
        let names: BTreeSet<_> = CHECKS.iter().map(|check| check.name).collect();
        assert_eq!(names.len(), CHECKS.len());
    }

    #[test]
    fn every_check_that_a_plant_expects_is_one_of_these() {
        for info in sbft::plant::Plant::ALL.iter().map(|plant| plant.info()) {
            for name in info.checks {
                assert!(invariant_of(name).is_some(), "{}: no check {name:?}", info.name);
            }
        }
    }
}
