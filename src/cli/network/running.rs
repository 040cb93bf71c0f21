//! A network for measurements: started, used and stopped by a command of this program.

use std::path::Path;

use super::directory::{Directory, Settings};
use super::process::Processes;
use super::{Args, wait_until_ready};
use crate::cli::Key;
use crate::cli::lies::Liar;
use crate::client::network_file::NetworkFile;

/// A network whose replicas are children of this process.
pub(in crate::cli) struct Running {
    network: NetworkFile,
    processes: Processes,
    /// Held for as long as the replicas run.
    _directory: Directory,
}

/// What a network for measurements is made with.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct Made {
    /// How many replicas.
    pub(in crate::cli) replicas: u32,
    /// First port.
    pub(in crate::cli) base_port: u16,
    /// Kind of all keys.
    pub(in crate::cli) key: Key,
    /// Client identities.
    pub(in crate::cli) clients: u32,
}

impl Running {
    /// Makes a new network in `dir` and waits until it is ready. What an earlier one left there is
    /// deleted.
    ///
    /// # Errors
    /// When the directory or the ports cannot be used, or a replica does not start.
    pub(in crate::cli) async fn start(dir: &Path, made: Made, liars: &[Liar]) -> anyhow::Result<Self> {
        let args = Args {
            replicas: Some(made.replicas),
            dir: dir.to_owned(),
            base_port: Some(made.base_port),
            fresh: true,
            load: None,
            key: Some(made.key),
            clients: Some(made.clients),
            writers: None,
            plaintext: false,
            restart: false,
            liar: liars.to_vec(),
        };
        let directory = Directory::prepare(&args.dir, args.fresh, &Settings::from_args(&args)?)?;
        directory.check_ports()?;
        let mut network = directory.network_file();
        let mut processes = Processes::start(&network, false, &args.liar)?;
        if let Err(error) = wait_until_ready(&network, &mut processes).await {
            processes.stop(&network).await;
            return Err(error);
        }
        processes.note_pids(&mut network);
        network.store(directory.path())?;
        Ok(Self { network, processes, _directory: directory })
    }

    /// Where everything is.
    pub(in crate::cli) fn file(&self) -> &NetworkFile {
        &self.network
    }

    /// Stops all replicas. Says whether all stopped cleanly; what did not is told.
    pub(in crate::cli) async fn stop(mut self) -> bool {
        self.processes.stop(&self.network).await
    }
}
