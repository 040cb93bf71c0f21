//! What is done to replicas during a run: killed, started again, stopped, let go on.
//!
//! Only processes that the network's own file names are touched, and only if they are what it
//! says: an sbft node with this replica's configuration.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;

use super::LoadError;
use super::target::{Endpoint, Target};
use crate::client::{operations, replica_process};

/// Longest wait for a replica that was started again.
const READY: Duration = Duration::from_secs(60);

/// A fault and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// So long after the measurement begins.
    pub at: Duration,
    /// What happens.
    pub action: Action,
}

/// What can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// SIGKILL.
    Kill(Victim),
    /// Start what was killed.
    Restart,
    /// SIGSTOP.
    Pause(Victim),
    /// SIGCONT to what was paused.
    Resume,
}

/// To whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// Who is primary when it happens.
    Primary,
    /// The replica with the highest id that is not primary.
    Backup,
}

impl Action {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill(Victim::Primary) => "kill primary",
            Self::Kill(Victim::Backup) => "kill backup",
            Self::Restart => "restart",
            Self::Pause(Victim::Primary) => "pause primary",
            Self::Pause(Victim::Backup) => "pause backup",
            Self::Resume => "resume",
        }
    }
}

/// Does it, and undoes what would outlast the run.
#[derive(Default)]
pub(super) struct Injector {
    killed: Vec<Killed>,
    paused: Vec<(u32, Pid)>,
    /// Replicas started here; they stop with this.
    children: Vec<Child>,
}

struct Killed {
    id: u32,
    program: PathBuf,
    dir: PathBuf,
}

impl Injector {
    /// Does it now. Returns the replica it was done to; none if there was nothing to do.
    ///
    /// # Errors
    /// When the victim is not known, is not what it should be, or the system refuses.
    pub(super) async fn inject(
        &mut self,
        action: Action,
        target: &mut Target,
    ) -> Result<Option<u32>, LoadError> {
        match action {
            Action::Kill(victim) => {
                let victim = self.victim(victim, target).await?;
                let (pid, program, dir) = verified(victim)?;
                signal(pid, Signal::KILL, victim.id)?;
                self.killed.push(Killed { id: victim.id, program, dir });
                Ok(Some(victim.id))
            }
            Action::Pause(victim) => {
                let victim = self.victim(victim, target).await?;
                let (pid, ..) = verified(victim)?;
                signal(pid, Signal::STOP, victim.id)?;
                self.paused.push((victim.id, pid));
                Ok(Some(victim.id))
            }
            Action::Restart => {
                let Some(killed) = self.killed.pop() else { return Ok(None) };
                self.restart(&killed, target)?;
                Ok(Some(killed.id))
            }
            Action::Resume => {
                let Some((id, pid)) = self.paused.pop() else { return Ok(None) };
                signal(pid, Signal::CONT, id)?;
                Ok(Some(id))
            }
        }
    }

    async fn victim<'a>(&self, victim: Victim, target: &'a mut Target) -> Result<&'a Endpoint, LoadError> {
        target.refresh()?;
        let primary = target.primary().await?;
        let id = match victim {
            Victim::Primary => primary,
            Victim::Backup => target
                .replicas
                .iter()
                .map(|replica| replica.id)
                .filter(|id| *id != primary && self.killed.iter().all(|killed| killed.id != *id))
                .max()
                .ok_or_else(|| LoadError::Fault("the network has no backup".to_owned()))?,
        };
        target.replica(id)
    }

    fn restart(&mut self, killed: &Killed, target: &mut Target) -> Result<(), LoadError> {
        target.refresh()?;
        // `sbft network --restart` may have been quicker.
        if verified(target.replica(killed.id)?).is_ok() {
            return Ok(());
        }
        let child =
            replica_process::start(&killed.program, &killed.dir, &[] as &[&str]).map_err(|error| {
                LoadError::Fault(format!("replica {} cannot be started again: {error}", killed.id))
            })?;
        if let Some(replica) = target.replicas.iter_mut().find(|replica| replica.id == killed.id) {
            replica.pid = child.id();
        }
        self.children.push(child);
        Ok(())
    }

    /// Undoes what the run did, so that another can follow: lets go on what is paused, starts
    /// what is dead, and waits until all are ready.
    ///
    /// # Errors
    /// When a replica does not come back.
    pub(super) async fn mend(&mut self, target: &mut Target) -> Result<(), LoadError> {
        while self.inject(Action::Resume, target).await?.is_some() {}
        while self.inject(Action::Restart, target).await?.is_some() {}
        let deadline = Instant::now() + READY;
        loop {
            let asked = target.replicas.iter().map(|replica| async {
                let Some(ops) = &replica.ops else { return true };
                let Ok((_, body)) = operations::get(ops, "/status").await else { return false };
                serde_json::from_str::<serde_json::Value>(&body).is_ok_and(|status| status["ready"] == true)
            });
            if futures::future::join_all(asked).await.into_iter().all(|ready| ready) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(LoadError::Fault(format!(
                    "not all replicas were ready {} s after they were started again; their logs are node.log \
                     in their directories",
                    READY.as_secs()
                )));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Replicas that are dead, or that stop with this.
    pub(super) fn left_down(&self) -> Vec<PathBuf> {
        self.killed.iter().map(|killed| killed.dir.join("node.toml")).collect()
    }

    /// Stops the replicas that were started here, in order.
    pub(super) async fn stop(mut self) {
        for child in &mut self.children {
            // Its standard input ends: the replica stops by itself.
            drop(child.stdin.take());
        }
        for mut child in self.children.drain(..) {
            if tokio::time::timeout(Duration::from_secs(10), child.wait()).await.is_err() {
                tracing::warn!("a replica that was started again did not stop; it is killed");
            }
        }
    }
}

impl Drop for Injector {
    fn drop(&mut self) {
        for (id, pid) in self.paused.drain(..) {
            if let Err(error) = signal(pid, Signal::CONT, id) {
                tracing::warn!(%error, "a paused replica could not be let go on");
            }
        }
    }
}

/// The replica's process, program and directory, if its process is what the network's file says.
fn verified(replica: &Endpoint) -> Result<(Pid, PathBuf, PathBuf), LoadError> {
    let not = |why: &str| {
        LoadError::Fault(format!("replica {} is not touched: {why}; is its network running?", replica.id))
    };
    let dir = replica.dir.clone().ok_or_else(|| not("faults need a network of this machine (--network)"))?;
    let number = replica.pid.ok_or_else(|| not("network.json names no process of it"))?;
    let pid =
        i32::try_from(number).ok().and_then(Pid::from_raw).ok_or_else(|| not("its process id is none"))?;
    let line = std::fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
    let arguments: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    let config = dir.join("node.toml");
    let config = config.as_os_str().as_encoded_bytes();
    if !arguments.contains(&&b"node"[..]) || !arguments.contains(&config) {
        return Err(not(&format!("process {number} is not its `sbft node`")));
    }
    let program = std::fs::read_link(format!("/proc/{number}/exe"))
        .map_err(|error| not(&format!("process {number}: {error}")))?;
    Ok((pid, program, dir))
}

fn signal(pid: Pid, signal: Signal, id: u32) -> Result<(), LoadError> {
    kill_process(pid, signal).map_err(|error| {
        LoadError::Fault(format!("replica {id} (process {}): {error}", pid.as_raw_nonzero()))
    })
}
