//! The data directory: of this version, and open in one process only.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Version of everything below the data directory; a program reads only its own.
const VERSION: &str = "sbft data 1";

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process has it open.
    #[error(
        "the data directory {path} is in use by another process; stop that one first, or give this node a data_dir of its own",
        path = .path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// Another version of this program wrote it.
    #[error(
        "the data directory {path} is of version {found:?}, and this program reads {VERSION:?}; \
         run the program that wrote it, or begin with an empty directory",
        path = .path.display()
    )]
    Version {
        /// The directory.
        path: PathBuf,
        /// What its version file says.
        found: String,
    },
    /// The system refuses.
    #[error("the data directory {path} cannot be used: {source}; check data_dir and its owner", path = .path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// An open data directory; closes when dropped.
#[derive(Debug)]
pub(super) struct DataDir {
    _lock: File,
}

impl DataDir {
    /// Opens `path`, makes it if there is none, and takes its lock.
    pub(super) fn open(path: &Path) -> Result<Self, DataDirError> {
        let failed = |source| DataDirError::Io { path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(failed)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join("lock"))
            .map_err(failed)?;
        let mut tries = TRIES;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if tries > 0 => {
                    tries -= 1;
                    std::thread::sleep(BETWEEN_TRIES);
                }
                Err(TryLockError::WouldBlock) => return Err(DataDirError::InUse { path: path.to_owned() }),
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            }
        }
        let file = path.join("version");
        match fs::read(&file) {
            Ok(found) if found.trim_ascii() == VERSION.as_bytes() => {}
            Ok(found) => {
                let found = String::from_utf8_lossy(&found[..found.len().min(80)]).trim().to_owned();
                return Err(DataDirError::Version { path: path.to_owned(), found });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                write_version(path, &file).map_err(failed)?;
            }
            Err(error) => return Err(failed(error)),
        }
        Ok(Self { _lock: lock })
    }
}

/// A lock that was just let go can be held for a moment more, by a process that was being started from
/// this one then: it has everything that is open until it becomes another program.
const TRIES: u32 = 10;
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// In one move, so that a crash leaves the file whole or absent.
fn write_version(directory: &Path, file: &Path) -> io::Result<()> {
    let new = directory.join("version.new");
    let mut out = File::create(&new)?;
    writeln!(out, "{VERSION}")?;
    out.sync_all()?;
    fs::rename(&new, file)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_open_once_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        let open = DataDir::open(&path).unwrap();
        let refusal = DataDir::open(&path).unwrap_err();
        assert!(matches!(&refusal, DataDirError::InUse { .. }), "{refusal}");
        drop(open);
        DataDir::open(&path).unwrap();
    }

    #[test]
    fn a_directory_of_another_version_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("version"), "sbft data 9\n").unwrap();
        let refusal = DataDir::open(dir.path()).unwrap_err();
        assert!(refusal.to_string().contains("sbft data 9"), "{refusal}");
    }

    #[test]
    fn a_path_that_is_a_file_is_refused_by_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let refusal = DataDir::open(file.path()).unwrap_err().to_string();
        assert!(refusal.contains(&file.path().display().to_string()), "{refusal}");
    }
}
