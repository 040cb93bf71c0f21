//! Files behind a trait: the machine's own, and one in memory that fails and crashes on demand.
//!
//! The log and the ledger do all their I/O through [`Disk`], so that the simulator and the crash
//! tests run the very code that the node runs. It promises no more than POSIX does: what is
//! written may be lost until the file is synced, a name until its directory is.

mod memory;
pub mod record;

use std::any::Any;
use std::fmt::Debug;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use crate::metrics::DISK_SYNCS;
pub use memory::{Fate, MemoryDisk, Misdeed, Reads, Wrongs};

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// For reading; the file must exist.
    Read,
    /// For reading and writing; the file must exist.
    Write,
    /// For reading and writing, created if it does not exist, emptied if it does.
    Create,
}

/// Directories and names.
pub trait Disk: Debug + Send + Sync {
    /// Creates `dir` and what is missing above it, durably.
    fn create_dirs(&self, dir: &Path) -> io::Result<()>;

    /// Names of the files in `dir`, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Opens a file.
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file another name in the same directory, replacing what had that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes the lock that the file `path` stands for until the answer is dropped; `None` if
    /// someone has it.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>>;
}

/// An open file; positions are bytes from its start.
pub trait DiskFile: Debug + Send + Sync {
    /// Its length.
    fn len(&self) -> io::Result<u64>;

    /// True if it has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads into `buffer` as much as the system gives at once; nothing at the end of the file.
    fn read_some_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;

    /// Reads into `buffer`; fewer bytes than it has room for at the end of the file only.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match self.read_some_at(&mut buffer[done..], position + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    /// Writes all of `bytes`.
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()>;

    /// Cuts the file off, or fills it up with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes the bytes durable, and as much of the metadata as reading them needs (`fdatasync`).
    fn sync(&self) -> io::Result<()>;
}

/// The machine's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create_dirs(&self, dir: &Path) -> io::Result<()> {
        let mut missing: Vec<&Path> = dir.ancestors().take_while(|above| !above.exists()).collect();
        std::fs::create_dir_all(dir)?;
        while let Some(created) = missing.pop() {
            match created.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => self.sync_dir(parent)?,
                _ => self.sync_dir(Path::new("."))?,
            }
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            // A name that is no text is none of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let file = match access {
            Access::Read => File::open(path)?,
            Access::Write => OpenOptions::new().read(true).write(true).open(path)?,
            Access::Create => {
                OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?
            }
        };
        Ok(Arc::new(RealFile(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        ::metrics::counter!(DISK_SYNCS, "of" => "directory").increment(1);
        File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

#[derive(Debug)]
struct RealFile(File);

impl DiskFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_some_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.0.read_at(buffer, position)
    }

    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, position)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        ::metrics::counter!(DISK_SYNCS, "of" => "file").increment(1);
        self.0.sync_data()
    }
}

/// Reads `len` bytes at `position`, fewer at the end of the file only.
pub fn read(file: &dyn DiskFile, position: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; len];
    let read = file.read_at(&mut buffer, position)?;
    buffer.truncate(read);
    Ok(buffer)
}

/// Replaces the file `dir/name` by one with these bytes, durably: a crash leaves the old file or
/// the new one.
pub fn replace(disk: &dyn Disk, dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = dir.join(format!("{name}.tmp"));
    let file = disk.open(&temporary, Access::Create)?;
    file.write_all_at(bytes, 0)?;
    file.sync()?;
    disk.rename(&temporary, &dir.join(name))?;
    disk.sync_dir(dir)
}
