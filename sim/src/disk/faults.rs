//! What may be wrong with a disk, and what comes of it for its replica.

use std::path::Path;
use std::time::Duration;

use sbft::disk::{Disk as _, Fate, MemoryDisk, Misdeed, Reads};

use super::{LEDGER_DIRECTORY, LOG_DIRECTORY};
use crate::checks::{Files, rotted};
use crate::draw::Purpose;
use crate::violation::{Class, Violation};
use crate::world::World;

/// Something wrong with one replica's disk. Whoever has it is one of the f.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFault {
    /// A bit of the log flips while the replica is down; if it was up, it goes down.
    LogRot,
    /// A bit of the ledger, likewise.
    LedgerRot,
    /// A sector of the log is full of zeros, likewise.
    LogZeroed,
    /// A sector of the ledger, likewise.
    LedgerZeroed,
    /// A sector of the next synced write keeps its old content.
    StaleSector,
    /// A sector of the next synced write lands elsewhere.
    MisdirectedSector,
    /// Syncs do nothing and say that they did.
    LyingSync,
    /// Reads give a few bytes at once. Harmless, or else a bug.
    ShortReads,
    /// Reads fail.
    ReadErrors,
    /// The disk is full.
    Full,
    /// The next sync fails.
    SyncFails,
    /// Syncs take a second longer. Harmless but for the time.
    SlowSync,
}

impl DiskFault {
    /// Every fault with its name in scenario files.
    pub const NAMES: [(Self, &'static str); 12] = [
        (Self::LogRot, "log-rot"),
        (Self::LedgerRot, "ledger-rot"),
        (Self::LogZeroed, "log-zeroed"),
        (Self::LedgerZeroed, "ledger-zeroed"),
        (Self::StaleSector, "stale-sector"),
        (Self::MisdirectedSector, "misdirected-sector"),
        (Self::LyingSync, "lying-sync"),
        (Self::ShortReads, "short-reads"),
        (Self::ReadErrors, "read-errors"),
        (Self::Full, "full"),
        (Self::SyncFails, "sync-fails"),
        (Self::SlowSync, "slow-sync"),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(fault, _)| *fault == self).map_or("?", |(_, name)| name)
    }

    /// The fault with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, known)| *known == name).map(|(fault, _)| *fault)
    }

    /// The disk no longer keeps what it says it keeps, so its replica may forget a promise.
    fn breaks_promises(self) -> bool {
        !matches!(self, Self::ShortReads | Self::ReadErrors | Self::Full | Self::SyncFails | Self::SlowSync)
    }

    /// The replica does not notice but by the time it takes.
    pub fn is_harmless(self) -> bool {
        matches!(self, Self::ShortReads | Self::SlowSync)
    }
}

impl World {
    /// Something goes wrong with a body's disk.
    pub(crate) fn spoil_disk(&mut self, body: usize, fault: DiskFault) {
        let (draws, now) = (self.draws, self.now.0.as_micros() as u64);
        let mut count = 0;
        let mut random = |bound: u64| {
            count += 1;
            draws.below(Purpose::DiskFault, &[body as u64, now, count], bound)
        };
        if fault.breaks_promises() {
            self.bodies[body].damaged = true;
            let place = self.bodies[body].place;
            self.checks.damaged(place);
        }
        self.bodies[body].suspect_disk |= !fault.is_harmless();
        let at_rest = [
            (DiskFault::LogRot, LOG_DIRECTORY, true),
            (DiskFault::LedgerRot, LEDGER_DIRECTORY, true),
            (DiskFault::LogZeroed, LOG_DIRECTORY, false),
            (DiskFault::LedgerZeroed, LEDGER_DIRECTORY, false),
        ];
        if let Some((_, directory, one_bit)) = at_rest.into_iter().find(|(known, ..)| *known == fault) {
            self.crash(body);
            let state = &mut self.bodies[body];
            let Some(lost) = damage(&state.disk, directory, one_bit, random) else { return };
            state.rotted = state.rotted.take().or(lost);
            *self.toll.entry(fault.name()).or_default() += 1;
            return;
        }
        let state = &mut self.bodies[body];
        let disk = &state.disk;
        match fault {
            DiskFault::StaleSector => disk.set_misdeed(Some(Misdeed::LosesSector)),
            DiskFault::MisdirectedSector => disk.set_misdeed(Some(Misdeed::Misdirects(1 + random(30)))),
            DiskFault::LyingSync => disk.set_misdeed(Some(Misdeed::Lies)),
            DiskFault::ShortReads => disk.set_reads(Reads::Short(1 + random(700) as usize)),
            DiskFault::ReadErrors => disk.set_reads(Reads::Fail),
            DiskFault::Full => disk.set_capacity(Some(disk.used())),
            DiskFault::SyncFails => disk.set_fate(Fate::FailSync),
            _ => state.slow_disk = Duration::from_secs(1),
        }
    }

    /// Disks are as they should be from here on. What they have broken stays broken; a replica that
    /// only stopped, for a disk that was full or failed, is started again by its operator, and must
    /// find what it had promised.
    pub(crate) fn mend_disks(&mut self) {
        for body in &mut self.bodies {
            if !body.damaged {
                body.failed = None;
                body.suspect_disk = false;
            }
            body.disk.set_reads(Reads::Good);
            body.disk.set_capacity(None);
            body.disk.set_misdeed(None);
            body.disk.set_fate(Fate::Good);
            body.slow_disk = Duration::ZERO;
        }
    }

    /// A replica stops because of a disk with which nothing is wrong.
    pub(crate) fn check_stop(&mut self, body: usize, reason: &str) {
        let state = &self.bodies[body];
        if state.lies() || state.suspect_disk {
            return;
        }
        let text = format!("{} stops though nothing is wrong with its disk: {reason}", state.place);
        self.fail(Err(Violation::new(Class::Safety, "disk", text)));
    }
}

/// Flips a bit, or zeroes a sector, of what a directory's files hold. If that changed anything: the
/// synced record that is lost by it, if one is.
fn damage(
    disk: &MemoryDisk,
    directory: &str,
    one_bit: bool,
    mut random: impl FnMut(u64) -> u64,
) -> Option<Option<String>> {
    let directory = Path::new(directory);
    let names = disk.list(directory).unwrap_or_default();
    let files: Files = names
        .iter()
        .filter(|name| name.ends_with(".wal") || name.ends_with(".bin"))
        .map(|name| directory.join(name))
        .filter_map(|path| disk.contents(&path).map(|bytes| (path, bytes)))
        .collect();
    if files.is_empty() {
        return None;
    }
    let which = random(files.len() as u64) as usize;
    let (path, mut bytes) = files[which].clone();
    // Where something is written.
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    if end == 0 {
        return None;
    }
    let at = random(end as u64) as usize;
    if one_bit {
        bytes[at] ^= 1 << random(8);
    } else {
        let start = at - at % 512;
        let end = bytes.len().min(start + 512);
        bytes[start..end].fill(0);
    }
    if bytes == files[which].1 {
        return None;
    }
    disk.set_contents(&path, &bytes);
    Some(rotted(&files, which, &bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Plan, Show, Submission, liveness_bound};
    use crate::world::{Fault, Settings};
    use sbft::types::{Place, Time};

    fn millis(millis: u64) -> Time {
        Time(Duration::from_millis(millis))
    }

    /// A run of four in which this goes wrong with the disk of replica 2, which restarts later.
    fn world(seed: u64, fault: DiskFault) -> World {
        let mut plan = Plan::quiet(Settings { compact_rate: 0.2, ..Settings::calm(seed, 4) }, millis(3000));
        plan.settings.sync = (Duration::from_micros(200), Duration::from_millis(2));
        plan.faults.push((millis(1000), Fault::Disk(2, fault)));
        plan.faults.push((millis(2000), Fault::CrashFor(2, Duration::from_millis(100))));
        for index in 0..60 {
            let place = Place((index % 4) as u16);
            let at = millis(20 + index * 40);
            plan.submissions.push(Submission { at, place, index, variant: 0 });
        }
        let mut world = plan.world(Show::default());
        world.run_until(millis(3000).after(liveness_bound(&plan.settings.config)));
        world
    }

    #[test]
    fn the_others_go_on_whatever_is_wrong_with_one_disk() {
        let (mut stopped, mut refused) = (0, 0);
        for (fault, name) in DiskFault::NAMES {
            for seed in 0..6 {
                let world = world(seed, fault);
                assert_eq!(world.violation(), None, "{name}, seed {seed}");
                assert!(world.is_settled(), "{name}, seed {seed}");
                let body = &world.bodies[2];
                match &body.failed {
                    None if fault.is_harmless() => {
                        assert_eq!(body.store.last().0, world.checks.chain_len(), "{name}, seed {seed}");
                    }
                    None => {}
                    Some(reason) => {
                        assert!(!fault.is_harmless(), "{name}, seed {seed}: {reason}");
                        stopped += 1;
                        if reason.contains("corrupt") {
                            refused += 1;
                            assert!(reason.contains("at byte"), "names no offset: {reason}");
                            assert!(reason.contains(".wal") || reason.contains(".bin"), "no file: {reason}");
                        }
                    }
                }
            }
        }
        assert!(stopped > 20 && refused > 5, "{stopped} stopped, {refused} of them for corruption");
    }

    #[test]
    fn a_replica_that_starts_without_a_synced_record_is_noticed() {
        let mut fired = 0;
        for seed in 0..40 {
            let mut world = world(seed, DiskFault::SlowSync);
            let body = 2;
            world.spoil_disk(body, DiskFault::LogRot);
            let Some(record) = world.bodies[body].rotted.clone() else { continue };
            // What a recovery would leave that cut off whatever comes after the first bad record.
            let disk = &world.bodies[body].disk;
            let (at, path) = record.split_once(" of ").expect("it names the file");
            let at: usize = at.rsplit(' ').next().and_then(|at| at.parse().ok()).expect("and the byte");
            let mut bytes = disk.contents(Path::new(path)).expect("the file is there");
            bytes[at..].fill(0);
            disk.set_contents(Path::new(path), &bytes);
            world.boot(body);
            let check = world.violation().map(|violation| violation.check);
            let refused = world.bodies[body].fate.refused.len();
            assert!(check == Some("rot noticed") || refused == 1, "seed {seed}: {check:?}");
            fired += u64::from(check == Some("rot noticed"));
        }
        // Where later files go on with later records, it is refused instead.
        assert!(fired > 4, "fired {fired} times");
    }

    #[test]
    fn a_disk_that_fails_a_sync_stops_its_replica_until_somebody_starts_it_again() {
        let world = world(1, DiskFault::SyncFails);
        let body = &world.bodies[2];
        assert!(matches!(&body.fate.stopped[..], [reason] if reason.contains("sync")), "{:?}", body.fate);
        assert!(body.is_up() && body.store.last().0 == world.checks.chain_len());
    }
}
