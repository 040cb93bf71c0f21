//! Starting a replica of a network on this machine, as `sbft network` and whoever mends its faults do.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::process::Stdio;

use tokio::process::{Child, Command};

/// Runs `program node` for the replica in `dir`, by the `node.toml` there; what it prints is appended
/// to `node.log` there. It stops when its standard input ends or the [`Child`] is dropped, so that none
/// outlives this process; Ctrl-C at the terminal does not reach it.
///
/// # Errors
/// The log cannot be opened or the program cannot be started; the error names the file.
pub fn start(
    program: &Path,
    dir: &Path,
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> io::Result<Child> {
    let about = |what: &'static str, path: &Path| {
        let path = path.display().to_string();
        move |error: io::Error| io::Error::new(error.kind(), format!("cannot {what} {path}: {error}"))
    };
    let log_path = dir.join("node.log");
    let log =
        OpenOptions::new().create(true).append(true).open(&log_path).map_err(about("open", &log_path))?;
    let errors = log.try_clone().map_err(about("open", &log_path))?;
    Command::new(program)
        .arg("node")
        .arg("--config")
        .arg(dir.join("node.toml"))
        .arg("--until-stdin-ends")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(log)
        .stderr(errors)
        // Ctrl-C is for this process, which stops the replicas in its own time.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(about("start", program))
}
