//! A disk in memory that keeps apart what is written and what is durable, and so can crash.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Access, Disk, DiskFile};

/// What happens to the operations that change something (write, set length, sync, rename, remove,
/// sync of a directory, create), which are counted from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fate {
    /// All succeed.
    #[default]
    Good,
    /// The operation with this number fails, the others succeed. A sync that fails loses what it
    /// should have made durable, though reads still show it, as Linux does.
    FailAt(u64),
    /// The power goes off before the operation with this number: it and all later ones fail.
    DieAt(u64),
    /// The next sync of a file fails, and loses what it should have made durable.
    FailSync,
}

/// What reads are like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reads {
    /// They give all that is there.
    #[default]
    Good,
    /// They give at most this many bytes at once, at least one.
    Short(usize),
    /// They fail.
    Fail,
}

/// What a disk does that says it has synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misdeed {
    /// It has not: the power may still take everything. Goes on until told otherwise.
    Lies,
    /// One sector of the next synced write keeps its old content.
    LosesSector,
    /// One sector of the next synced write lands where another one of the file is, this many
    /// sectors further on (modulo the file's length), and not where it belongs.
    Misdirects(u64),
}

/// How often a disk really went wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wrongs {
    /// Reads that gave less than was there and asked for.
    pub short_reads: u64,
    /// Reads that failed.
    pub failed_reads: u64,
    /// Changes for which there was no room.
    pub refused_writes: u64,
    /// Syncs that failed by [`Fate::FailSync`].
    pub failed_syncs: u64,
    /// Syncs that did nothing and said nothing.
    pub lies: u64,
    /// Sectors that kept their old content.
    pub lost_sectors: u64,
    /// Sectors that landed elsewhere.
    pub misdirected_sectors: u64,
}

/// A disk in memory; clones share it.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    files: Vec<Contents>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    unsynced_names: Vec<Renaming>,
    dirs: BTreeSet<PathBuf>,
    locks: BTreeSet<PathBuf>,
    operations: u64,
    fate: Fate,
    /// Bytes that fit on the disk.
    capacity: Option<u64>,
    reads: Reads,
    misdeed: Option<Misdeed>,
    wrongs: Wrongs,
}

#[derive(Debug, Default)]
struct Contents {
    /// Both shared with forks until they are written to.
    seen: Arc<Vec<u8>>,
    durable: Arc<Vec<u8>>,
    unsynced: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write { position: usize, bytes: Vec<u8> },
    SetLen(usize),
}

#[derive(Clone, Debug)]
struct Renaming {
    removed: Option<PathBuf>,
    inserted: Option<(PathBuf, usize)>,
}

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// A disk of its own with the same content, all of it as a reader sees it and durable; no lock
    /// is held on it.
    pub fn fork(&self) -> Self {
        let state = self.state();
        let file = |file: &Contents| Contents {
            seen: Arc::clone(&file.seen),
            durable: Arc::clone(&file.seen),
            unsynced: Vec::new(),
        };
        let fork = State {
            files: state.files.iter().map(file).collect(),
            names: state.names.clone(),
            durable_names: state.names.clone(),
            dirs: state.dirs.clone(),
            ..State::default()
        };
        Self { state: Arc::new(Mutex::new(fork)) }
    }

    /// Decides what happens to operations from here on, whose count starts again at 0.
    pub fn set_fate(&self, fate: Fate) {
        let mut state = self.state();
        state.fate = fate;
        state.operations = 0;
    }

    /// How many operations were counted since the last [`Self::set_fate`].
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Limits the sum of all files' lengths, bytes; what would go over it fails as on a full disk.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// What reads are like from here on.
    pub fn set_reads(&self, reads: Reads) {
        self.state().reads = reads;
    }

    /// What syncs do from here on without saying so.
    pub fn set_misdeed(&self, misdeed: Option<Misdeed>) {
        self.state().misdeed = misdeed;
    }

    /// How often it went wrong so far.
    pub fn wrongs(&self) -> Wrongs {
        self.state().wrongs
    }

    /// Bytes of all files together.
    pub fn used(&self) -> u64 {
        let state = self.state();
        state.names.values().map(|file| state.files[*file].seen.len() as u64).sum()
    }

    /// The power fails: of what was not synced, `random(k)` (a number below k) decides what
    /// stays: each sector (512 bytes) of a write is lost, stays, or is torn at any byte. Everything works again afterwards, and
    /// no lock is held. Files that are open must not be used any more.
    pub fn crash(&self, mut random: impl FnMut(u64) -> u64) {
        let mut state = self.state();
        for file in &mut state.files {
            for change in std::mem::take(&mut file.unsynced) {
                // One in three is lost whole, one stays whole, one is torn.
                match (random(3), change) {
                    (0, _) => {}
                    (1, change) => apply(Arc::make_mut(&mut file.durable), &change),
                    (_, Change::SetLen(len)) => apply(Arc::make_mut(&mut file.durable), &Change::SetLen(len)),
                    (_, Change::Write { position, bytes }) => {
                        tear(Arc::make_mut(&mut file.durable), position, &bytes, &mut random);
                    }
                }
            }
            file.seen = Arc::clone(&file.durable);
        }
        for renaming in std::mem::take(&mut state.unsynced_names) {
            if random(2) == 0 {
                rename_in(&mut state.durable_names, &renaming);
            }
        }
        state.names = state.durable_names.clone();
        state.locks.clear();
        state.fate = Fate::Good;
        state.operations = 0;
    }

    /// The process is killed: what it wrote stays, locks go, and everything works again.
    pub fn kill(&self) {
        let mut state = self.state();
        state.locks.clear();
        state.fate = Fate::Good;
        state.operations = 0;
    }

    /// A file's bytes as a reader sees them.
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        state.names.get(path).map(|file| state.files[*file].seen.to_vec())
    }

    /// Sets a file's bytes, durably (bit rot, a careless operator).
    pub fn set_contents(&self, path: &Path, bytes: &[u8]) {
        let mut state = self.state();
        let file = state.names.get(path).copied().unwrap_or(state.files.len());
        if file == state.files.len() {
            state.files.push(Contents::default());
            state.names.insert(path.to_owned(), file);
            state.durable_names.insert(path.to_owned(), file);
        }
        let contents = &mut state.files[file];
        contents.durable = Arc::new(bytes.to_vec());
        contents.seen = Arc::clone(&contents.durable);
        contents.unsynced.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn operation(&mut self) -> io::Result<()> {
        self.any_operation(false)
    }

    fn any_operation(&mut self, is_sync: bool) -> io::Result<()> {
        let number = self.operations;
        self.operations += 1;
        match self.fate {
            Fate::FailAt(at) if number == at => Err(io::Error::other("input/output error (simulated)")),
            Fate::DieAt(at) if number >= at => Err(io::Error::other("power is off (simulated)")),
            Fate::FailSync if is_sync => {
                self.fate = Fate::Good;
                self.wrongs.failed_syncs += 1;
                Err(io::Error::other("input/output error (simulated)"))
            }
            _ => Ok(()),
        }
    }

    fn rename(&mut self, renaming: Renaming) {
        rename_in(&mut self.names, &renaming);
        self.unsynced_names.push(renaming);
    }

    fn check_room(&mut self, file: usize, end: usize) -> io::Result<()> {
        let Some(capacity) = self.capacity else { return Ok(()) };
        let used: usize = self.names.values().map(|file| self.files[*file].seen.len()).sum();
        let growth = end.saturating_sub(self.files[file].seen.len());
        if (used + growth) as u64 > capacity && growth > 0 {
            self.wrongs.refused_writes += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

fn rename_in(names: &mut BTreeMap<PathBuf, usize>, renaming: &Renaming) {
    if let Some(removed) = &renaming.removed {
        names.remove(removed);
    }
    if let Some((inserted, file)) = &renaming.inserted {
        names.insert(inserted.clone(), *file);
    }
}

const SECTOR: usize = 512;

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::SetLen(len) => bytes.resize(*len, 0),
        Change::Write { position, bytes: new } => {
            let end = position + new.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[*position..end].copy_from_slice(new);
        }
    }
}

/// Applies a write but for its first sector, which goes elsewhere or nowhere.
fn spoil(durable: &mut Vec<u8>, position: usize, bytes: &[u8], how: Misdeed) {
    let first = bytes.len().min(SECTOR - position % SECTOR);
    let rest = Change::Write { position: position + first, bytes: bytes[first..].to_vec() };
    if durable.len() < position + first {
        durable.resize(position + first, 0);
    }
    apply(durable, &rest);
    if let Misdeed::Misdirects(sectors) = how {
        let there = (position + sectors as usize * SECTOR) % durable.len().max(1);
        let fits = first.min(durable.len() - there);
        durable[there..there + fits].copy_from_slice(&bytes[..fits]);
    }
}

fn tear(durable: &mut Vec<u8>, position: usize, bytes: &[u8], random: &mut impl FnMut(u64) -> u64) {
    let mut start = 0;
    while start < bytes.len() {
        let to_boundary = SECTOR - (position + start) % SECTOR;
        let end = bytes.len().min(start + to_boundary);
        // A sector is lost, stays, or is torn at any byte.
        let kept = match random(5) {
            0 | 1 => start,
            2 | 3 => end,
            _ => start + random((end - start) as u64) as usize,
        };
        if kept > start {
            let change = Change::Write { position: position + start, bytes: bytes[start..kept].to_vec() };
            apply(durable, &change);
        }
        start = end;
    }
}

impl Disk for MemoryDisk {
    fn create_dirs(&self, dir: &Path) -> io::Result<()> {
        self.state().dirs.insert(dir.to_owned());
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        if !state.dirs.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let names = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(names.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        let file = match (state.names.get(path).copied(), access) {
            (Some(file), Access::Read | Access::Write) => file,
            (None, Access::Read | Access::Write) => return Err(io::ErrorKind::NotFound.into()),
            (found, Access::Create) => {
                state.operation()?;
                match found {
                    Some(file) => {
                        state.files[file].unsynced.push(Change::SetLen(0));
                        state.files[file].seen = Arc::default();
                        file
                    }
                    None => {
                        let file = state.files.len();
                        state.files.push(Contents::default());
                        state.rename(Renaming { removed: None, inserted: Some((path.to_owned(), file)) });
                        file
                    }
                }
            }
        };
        Ok(Arc::new(MemoryFile { disk: self.clone(), file }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operation()?;
        let Some(file) = state.names.get(from).copied() else { return Err(io::ErrorKind::NotFound.into()) };
        state.rename(Renaming { removed: Some(from.to_owned()), inserted: Some((to.to_owned(), file)) });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operation()?;
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.rename(Renaming { removed: Some(path.to_owned()), inserted: None });
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operation()?;
        let (synced, left) = std::mem::take(&mut state.unsynced_names).into_iter().partition(|renaming| {
            let path = renaming.removed.as_ref().or_else(|| renaming.inserted.as_ref().map(|(path, _)| path));
            path.and_then(|path| path.parent()) == Some(dir)
        });
        state.unsynced_names = left;
        let synced: Vec<Renaming> = synced;
        for renaming in &synced {
            rename_in(&mut state.durable_names, renaming);
        }
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        if !self.state().locks.insert(path.to_owned()) {
            return Ok(None);
        }
        Ok(Some(Box::new(HeldLock { disk: self.clone(), path: path.to_owned() })))
    }
}

#[derive(Debug)]
struct HeldLock {
    disk: MemoryDisk,
    path: PathBuf,
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        self.disk.state().locks.remove(&self.path);
    }
}

#[derive(Debug)]
struct MemoryFile {
    disk: MemoryDisk,
    file: usize,
}

impl DiskFile for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state().files[self.file].seen.len() as u64)
    }

    fn read_some_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        let most = match state.reads {
            Reads::Good => buffer.len(),
            Reads::Short(most) => buffer.len().min(most.max(1)),
            Reads::Fail => {
                state.wrongs.failed_reads += 1;
                return Err(io::Error::other("input/output error (simulated)"));
            }
        };
        let wanted = buffer.len();
        let buffer = &mut buffer[..most];
        let seen = &state.files[self.file].seen;
        let start = seen.len().min(position as usize);
        let len = buffer.len().min(seen.len() - start);
        buffer[..len].copy_from_slice(&seen[start..start + len]);
        let cut_short = len < wanted.min(seen.len() - start);
        state.wrongs.short_reads += u64::from(cut_short);
        Ok(len)
    }

    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.operation()?;
        let position = position as usize;
        state.check_room(self.file, position + bytes.len())?;
        let change = Change::Write { position, bytes: bytes.to_vec() };
        let file = &mut state.files[self.file];
        apply(Arc::make_mut(&mut file.seen), &change);
        file.unsynced.push(change);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.operation()?;
        state.check_room(self.file, len as usize)?;
        let change = Change::SetLen(len as usize);
        let file = &mut state.files[self.file];
        apply(Arc::make_mut(&mut file.seen), &change);
        file.unsynced.push(change);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let outcome = state.any_operation(true);
        if outcome.is_ok() && state.misdeed == Some(Misdeed::Lies) {
            state.wrongs.lies += 1;
            return Ok(());
        }
        if outcome.is_err() && matches!(state.fate, Fate::DieAt(_)) {
            return outcome; // what was on its way may have arrived in part: see `crash`
        }
        let State { files, misdeed, wrongs, .. } = &mut *state;
        let file = &mut files[self.file];
        for change in std::mem::take(&mut file.unsynced) {
            if outcome.is_err() {
                continue;
            }
            match (&change, misdeed.take()) {
                (Change::Write { position, bytes }, Some(how)) => {
                    spoil(Arc::make_mut(&mut file.durable), *position, bytes, how);
                    match how {
                        Misdeed::Misdirects(_) => wrongs.misdirected_sectors += 1,
                        Misdeed::LosesSector | Misdeed::Lies => wrongs.lost_sectors += 1,
                    }
                }
                (change, later) => {
                    *misdeed = later;
                    apply(Arc::make_mut(&mut file.durable), change);
                }
            }
        }
        outcome
    }
}
