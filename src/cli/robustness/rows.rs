//! The rows of the table: who attacks, and how.

use std::time::Duration;

use crate::liar::{JUST_UNDER, Lie};

/// A row.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// What `--only` calls it.
    pub(super) name: &'static str,
    /// For people.
    pub(super) what: &'static str,
    /// Who attacks.
    pub(super) attacker: Attacker,
}

/// Who attacks.
#[derive(Clone, Debug)]
pub(super) enum Attacker {
    /// Nobody.
    Nobody,
    /// The primary of the first view.
    Primary(Vec<Lie>),
    /// Another replica.
    Backup(Vec<Lie>),
    /// The load's own clients: each envelope goes to every replica.
    Everywhere,
    /// Other clients, who send what must be refused.
    Garbage,
}

impl Attacker {
    /// What the liar lies, if a replica attacks.
    pub(super) fn lies(&self) -> &[Lie] {
        match self {
            Self::Primary(lies) | Self::Backup(lies) => lies,
            Self::Nobody | Self::Everywhere | Self::Garbage => &[],
        }
    }
}

/// The row that all others are compared with.
pub(super) const FAULT_FREE: &str = "fault-free";

/// Just under the complain timeout of a network with defaults.
const NEARLY_SILENT: Duration = Duration::from_millis(475);

/// All rows, in the table's order.
pub(super) fn rows() -> Vec<Row> {
    use Attacker::{Backup, Everywhere, Garbage, Nobody, Primary};
    let row = |name, what, attacker| Row { name, what, attacker };
    vec![
        row(FAULT_FREE, "nobody", Nobody),
        row("silent", "primary says nothing at all", Primary(vec![Lie::Silent])),
        row("silent-backup", "backup says nothing at all", Backup(vec![Lie::Silent])),
        row("silent-primary", "primary votes and never proposes", Primary(vec![Lie::SilentPrimary])),
        row(
            "slow-primary",
            "primary proposes 118 ms late: just under what is held against it as slow",
            Primary(vec![Lie::SlowPrimary(JUST_UNDER)]),
        ),
        row(
            "late-primary",
            "primary proposes 475 ms late: just under the complain timeout",
            Primary(vec![Lie::SlowPrimary(NEARLY_SILENT)]),
        ),
        row(
            "crawling-primary",
            "primary proposes one envelope each 118 ms and keeps back the rest",
            Primary(vec![Lie::CrawlingPrimary(JUST_UNDER)]),
        ),
        row(
            "equivocation",
            "primary proposes different things to halves",
            Primary(vec![Lie::EquivocateHalves]),
        ),
        row(
            "withheld-votes",
            "backup casts neither prepares nor commits",
            Backup(vec![Lie::WithholdPrepare, Lie::WithholdCommit]),
        ),
        row("complaints", "backup complains about every primary", Backup(vec![Lie::ComplainBait])),
        row("garbage", "backup sends noise and damaged votes on every stream", Backup(vec![Lie::Garbage])),
        row(
            "bulk-flood",
            "backup sends new candidates of old envelopes as fast as they are taken",
            Backup(vec![Lie::FloodBulk]),
        ),
        row(
            "fetch-flood",
            "backup asks for blocks and candidates as fast as it is answered",
            Backup(vec![Lie::FloodFetch]),
        ),
        row("status-storm", "backup tells everybody that it has nothing", Backup(vec![Lie::StormBait])),
        row("clients-everywhere", "clients send each envelope to every replica", Everywhere),
        row("clients-garbage", "other clients send what must be refused", Garbage),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_name_of_its_own_and_every_lie_a_row() {
        let rows = rows();
        let mut names: Vec<_> = rows.iter().map(|row| row.name).collect();
        assert_eq!(names[0], FAULT_FREE);
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), rows.len());
        for (lie, _) in crate::liar::LIES {
            let told = rows.iter().any(|row| row.attacker.lies().iter().any(|it| it.name() == lie.name()));
            assert!(told, "{lie} has no row");
        }
        for row in rows {
            let primary = matches!(row.attacker, Attacker::Primary(_));
            let of_primaries = row.attacker.lies().iter().any(|lie| lie.is_of_primaries());
            assert!(primary || !of_primaries, "{} would do nothing", row.name);
        }
    }
}
