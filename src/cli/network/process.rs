//! The replicas' processes: start, notice deaths, start again, stop.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, ChildStdin};

use crate::cli::lies::Liar;
use crate::client::network_file::{NetworkFile, ReplicaEntry};
use crate::client::replica_process;

/// How long a replica may take to stop before it is killed.
const STOP: Duration = Duration::from_secs(10);
/// Pause before a dead replica is started again, so that one that cannot start does not spin.
const RESTART: Duration = Duration::from_secs(1);
/// How much of a dead replica's log is shown, bytes.
const TAIL: u64 = 2_000;

/// One process for each replica.
pub(super) struct Processes {
    replicas: Vec<Replica>,
    restart: bool,
}

struct Replica {
    id: u32,
    child: Option<Child>,
    /// Its standard input: the replica stops when this end is closed. Kept apart from the child
    /// because waiting for a child closes it.
    lifeline: Option<ChildStdin>,
    restart_at: Option<Instant>,
    /// What it is told besides where its configuration is.
    arguments: Vec<String>,
}

impl Replica {
    fn spawn(&mut self, entry: &ReplicaEntry) -> anyhow::Result<()> {
        let mut child = spawn(entry, &self.arguments)?;
        self.lifeline = child.stdin.take();
        self.child = Some(child);
        Ok(())
    }
}

impl Processes {
    /// Starts all replicas of the network; some of them may be liars.
    ///
    /// # Errors
    /// When a process cannot be started; those already started end with this one.
    pub(super) fn start(network: &NetworkFile, restart: bool, liars: &[Liar]) -> anyhow::Result<Self> {
        let replicas = network
            .replicas
            .iter()
            .map(|entry| {
                let own = liars.iter().filter(|liar| liar.id == entry.id);
                let arguments = own.flat_map(Liar::arguments).collect();
                let mut replica =
                    Replica { id: entry.id, child: None, lifeline: None, restart_at: None, arguments };
                replica.spawn(entry)?;
                Ok(replica)
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Self { replicas, restart })
    }

    /// Writes each replica's process id into the network file; null for those that are down.
    pub(super) fn note_pids(&self, network: &mut NetworkFile) {
        for (entry, replica) in network.replicas.iter_mut().zip(&self.replicas) {
            entry.pid = replica.child.as_ref().and_then(Child::id);
        }
    }

    /// Waits for a replica to die; says which and why.
    ///
    /// # Errors
    /// When the system cannot say how the process ended.
    pub(super) async fn died(&mut self, network: &NetworkFile) -> anyhow::Result<String> {
        let waits = self.replicas.iter_mut().enumerate().filter_map(|(index, replica)| {
            let child = replica.child.as_mut()?;
            Some(Box::pin(async move { (index, child.wait().await) }))
        });
        let waits: Vec<_> = waits.collect();
        if waits.is_empty() {
            return std::future::pending().await;
        }
        let ((index, status), _, _) = futures::future::select_all(waits).await;
        let replica = &mut self.replicas[index];
        replica.child = None;
        if self.restart {
            replica.restart_at = Some(Instant::now() + RESTART);
        }
        let status = status.with_context(|| format!("cannot wait for replica {}", replica.id))?;
        Ok(obituary(&network.replicas[index], status, self.restart))
    }

    /// Waits for a replica to die, or starts one again when its time has come; says what happened.
    ///
    /// # Errors
    /// When a process cannot be waited for or started.
    pub(super) async fn changed(&mut self, network: &NetworkFile) -> anyhow::Result<String> {
        let next = self.replicas.iter().filter_map(|replica| replica.restart_at).min();
        tokio::select! {
            change = self.died(network) => return change,
            () = sleep_until(next) => {}
        }
        let now = Instant::now();
        let (replica, entry) = self
            .replicas
            .iter_mut()
            .zip(&network.replicas)
            .find(|(replica, _)| replica.restart_at.is_some_and(|at| at <= now))
            .context("a restart was due and is not any more")?;
        replica.restart_at = None;
        replica.spawn(entry)?;
        Ok(format!("replica {} started again", entry.id))
    }

    /// Asks all replicas to stop, and kills those that do not. Says whether all stopped cleanly.
    pub(super) async fn stop(&mut self, network: &NetworkFile) -> bool {
        for pid in self.replicas.iter().filter_map(|replica| replica.child.as_ref()?.id()) {
            // It may have died this moment; then there is nothing to stop.
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::TERM);
            }
        }
        let mut clean = true;
        let deadline = Instant::now() + STOP;
        for (replica, entry) in self.replicas.iter_mut().zip(&network.replicas) {
            let Some(mut child) = replica.child.take() else { continue };
            match tokio::time::timeout_at(deadline.into(), child.wait()).await {
                Ok(Ok(status)) if status.success() => {}
                Ok(Ok(status)) => {
                    clean = false;
                    eprintln!("{}", obituary(entry, status, false));
                }
                Ok(Err(error)) => {
                    clean = false;
                    eprintln!("cannot wait for replica {}: {error}", entry.id);
                }
                Err(_) => {
                    clean = false;
                    eprintln!("replica {} did not stop within {} s; killing it", entry.id, STOP.as_secs());
                    if let Err(error) = child.kill().await {
                        eprintln!("cannot kill replica {}: {error}", entry.id);
                    }
                }
            }
        }
        clean
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

fn spawn(entry: &ReplicaEntry, arguments: &[String]) -> anyhow::Result<Child> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    replica_process::start(&program, &entry.dir, arguments)
        .with_context(|| format!("cannot start replica {}", entry.id))
}

fn obituary(entry: &ReplicaEntry, status: ExitStatus, restart: bool) -> String {
    let log = entry.dir.join("node.log");
    let mut text = format!(
        "replica {} died: {status}; {}",
        entry.id,
        if restart {
            "it will be started again".to_owned()
        } else {
            format!("start it again with: sbft node --config {}", entry.dir.join("node.toml").display())
        }
    );
    // A replica that was killed has nothing to say; one that failed said why.
    if status.code().is_some_and(|code| code != 0) {
        text += &format!("\nthe end of {}:\n{}", log.display(), tail(&log));
    }
    text
}

fn tail(path: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_else(|error| format!("(cannot be read: {error})"))
}
