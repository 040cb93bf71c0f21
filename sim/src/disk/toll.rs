//! How often disks really went wrong: a scenario about a fault that never bites says nothing.

use std::collections::BTreeMap;

use sbft::disk::MemoryDisk;

use crate::plan::Fate;
use crate::world::World;

/// What disks do, by the names under which reports count it: the faults of
/// [`super::DiskFault`] where they bit, and `torn-tail`, a log or ledger whose end a crash tore.
pub const TOLL: [&str; 13] = [
    "torn-tail",
    "log-rot",
    "ledger-rot",
    "log-zeroed",
    "ledger-zeroed",
    "stale-sector",
    "misdirected-sector",
    "lying-sync",
    "short-reads",
    "read-errors",
    "full",
    "sync-fails",
    "slow-sync",
];

/// Adds what this disk counted itself.
pub(crate) fn add_wrongs(toll: &mut BTreeMap<&'static str, u64>, disk: &MemoryDisk) {
    let wrongs = disk.wrongs();
    for (name, count) in [
        ("stale-sector", wrongs.lost_sectors),
        ("misdirected-sector", wrongs.misdirected_sectors),
        ("lying-sync", wrongs.lies),
        ("short-reads", wrongs.short_reads),
        ("read-errors", wrongs.failed_reads),
        ("full", wrongs.refused_writes),
        ("sync-fails", wrongs.failed_syncs),
    ] {
        if count > 0 {
            *toll.entry(name).or_default() += count;
        }
    }
}

impl World {
    /// How often disks have gone wrong so far, by what they did.
    pub fn toll(&self) -> BTreeMap<String, u64> {
        let mut toll = self.toll.clone();
        self.bodies.iter().for_each(|body| add_wrongs(&mut toll, &body.disk));
        toll.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
    }

    /// What has become of the replica at each place; of twins, of the first.
    pub fn fates(&self) -> Vec<Fate> {
        let fate = |body: &crate::world::Body| Fate {
            up: body.is_up(),
            blocks: body.store.last().0,
            ..body.fate.clone()
        };
        self.bodies.iter().take(self.settings.n).map(fate).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::DiskFault;

    #[test]
    fn every_fault_of_a_disk_is_counted_under_its_name() {
        for (_, name) in DiskFault::NAMES {
            assert!(TOLL.contains(&name), "{name}");
        }
    }
}
