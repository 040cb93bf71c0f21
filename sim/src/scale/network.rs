//! Real networks on this machine, to hold the model against: `sbft network` and `sbft load`, as anyone
//! runs them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sbft::client::network_file::NetworkFile;
use serde::{Deserialize, Serialize};

use super::{Load, Signed};

/// Longest wait until all replicas of a network are ready.
const READY: Duration = Duration::from_secs(90);
/// Length of a tick of the processor times in /proc, seconds.
const TICK: f64 = 0.01;

/// The program `sbft`.
#[derive(Clone, Debug)]
pub struct Binary(PathBuf);

impl Binary {
    /// The program at `path`, or else the one beside this program.
    ///
    /// # Errors
    /// There is none, or it does not know `load`.
    pub fn find(path: Option<&Path>) -> Result<Self, String> {
        let path = match path {
            Some(path) => path.to_owned(),
            None => std::env::current_exe()
                .map_err(|error| format!("cannot find this program: {error}"))?
                .with_file_name("sbft"),
        };
        let knows = Command::new(&path).args(["load", "--help"]).output();
        let path_shown = path.display();
        match knows {
            Ok(output) if output.status.success() => Ok(Self(path)),
            Ok(_) => {
                Err(format!("{path_shown} does not know `load`; build it anew, or name another with --sbft"))
            }
            Err(error) => Err(format!(
                "cannot run {path_shown}: {error}; build it (cargo build --release), or name it with --sbft"
            )),
        }
    }
}

/// What a real network did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// Envelopes committed, a second.
    pub committed_per_s: f64,
    /// From when it was due to when its client saw it in a block, milliseconds.
    pub p50_ms: f64,
    /// The same, 99 of 100.
    pub p99_ms: f64,
    /// Processor time of all replicas for each envelope, microseconds.
    pub cpu_us_per_envelope: f64,
    /// The same of the load generator.
    pub client_us_per_envelope: f64,
    /// Envelopes in a block, on average.
    pub block: f64,
    /// Processors that were busy with neither replicas nor load: more than a tenth makes it doubtful.
    pub other_cpus: f64,
}

/// A network of processes; stopped when it is dropped.
#[derive(Debug)]
pub struct Network {
    child: Child,
    folder: PathBuf,
    binary: Binary,
}

/// How a network is made.
#[derive(Clone, Copy, Debug)]
pub struct Made {
    /// How many replicas.
    pub n: usize,
    /// How clients and replicas sign.
    pub signed: Signed,
    /// The first of its ports; each replica uses three of ten.
    pub base_port: u16,
}

impl Network {
    /// Starts a new network in `folder`, which is deleted first, and waits until it is ready.
    ///
    /// # Errors
    /// It does not start, or is not ready in time.
    pub fn start(binary: &Binary, folder: &Path, made: Made) -> Result<Self, String> {
        let key = if made.signed == Signed::P256 { "p256" } else { "ed25519" };
        let writers = if made.signed == Signed::Open { "open" } else { "signed" };
        let log = folder.with_extension("log");
        let output =
            fs::File::create(&log).map_err(|error| format!("cannot write {}: {error}", log.display()))?;
        let child = Command::new(&binary.0)
            .args(["network", "--fresh", "--key", key, "--writers", writers])
            .args(["--replicas", &made.n.to_string(), "--base-port", &made.base_port.to_string()])
            .args(["--clients", "8", "--dir"])
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", binary.0.display()))?;
        let mut network = Self { child, folder: folder.to_owned(), binary: binary.clone() };
        let begun = Instant::now();
        loop {
            if let Ok(file) = NetworkFile::load(folder)
                && file.replicas.len() == made.n
                && file.replicas.iter().all(|replica| replica.pid.is_some())
            {
                return Ok(network);
            }
            let ended = network.child.try_wait().map_err(|error| format!("cannot wait for sbft: {error}"))?;
            if ended.is_some() || begun.elapsed() > READY {
                return Err(format!(
                    "a network of {} replicas in {} is not ready; {} says why",
                    made.n,
                    folder.display(),
                    log.display()
                ));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Loads it with envelopes of `bytes` for so long, after `warm_up`.
    ///
    /// # Errors
    /// The load generator fails, or says something that cannot be read.
    pub fn load(
        &self,
        load: Load,
        bytes: usize,
        warm_up: Duration,
        lasts: Duration,
    ) -> Result<Measured, String> {
        let pace = match load {
            Load::Rate(rate) => ["--rate".to_owned(), rate.to_string()],
            Load::InFlight(count) => ["--in-flight".to_owned(), count.to_string()],
        };
        let millis = |time: Duration| format!("{}ms", time.as_millis());
        let output = Command::new(&self.binary.0)
            .args(["load", "--json", "--network"])
            .arg(&self.folder)
            .args(pace)
            .args(["--size", &bytes.to_string()])
            .args(["--warm-up", &millis(warm_up), "--duration", &millis(lasts)])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("cannot run the load: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let told: Told = serde_json::from_str(&text).map_err(|error| {
            format!("`sbft load` says {text:?} ({error}): {}", String::from_utf8_lossy(&output.stderr).trim())
        })?;
        let count = told.committed_per_s * lasts.as_secs_f64();
        if count < 1.0 {
            return Err("the network committed nothing under load".to_owned());
        }
        Ok(Measured {
            committed_per_s: told.committed_per_s,
            p50_ms: told.latency_ms.p50,
            p99_ms: told.latency_ms.p99,
            cpu_us_per_envelope: told.cpu_us_per_envelope,
            client_us_per_envelope: told.client.cpu_s * 1e6 / count,
            block: told.envelopes_per_block,
            other_cpus: told.machine.other_cpus,
        })
    }

    /// Processor time that a replica takes in a second in which nobody wants anything of it, microseconds,
    /// watched for so long.
    ///
    /// # Errors
    /// The replicas' processes are not known, or gone.
    pub fn idle(&self, lasts: Duration) -> Result<f64, String> {
        let file = NetworkFile::load(&self.folder).map_err(|error| error.to_string())?;
        let spent = || -> Result<f64, String> {
            let of = |pid: Option<u32>| pid.and_then(process_cpu).ok_or("a replica's process is gone");
            let each: Result<Vec<f64>, _> = file.replicas.iter().map(|replica| of(replica.pid)).collect();
            Ok(each?.iter().sum())
        };
        let before = spent()?;
        std::thread::sleep(lasts);
        let seconds = lasts.as_secs_f64() * file.replicas.len().max(1) as f64;
        Ok((spent()? - before) * 1e6 / seconds)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // It stops its replicas when it is told to end; killed, it would leave them behind.
        let told = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status();
        if !told.is_ok_and(|status| status.success()) {
            return;
        }
        // Its end is all that is waited for; how it ends does not matter here.
        let _ended = self.child.wait();
    }
}

/// What is read of what `sbft load --json` prints.
#[derive(Deserialize)]
struct Told {
    committed_per_s: f64,
    latency_ms: Latency,
    cpu_us_per_envelope: f64,
    envelopes_per_block: f64,
    client: Client,
    machine: OnMachine,
}

#[derive(Deserialize)]
struct Latency {
    p50: f64,
    p99: f64,
}

#[derive(Deserialize)]
struct Client {
    cpu_s: f64,
}

#[derive(Deserialize)]
struct OnMachine {
    other_cpus: f64,
}

/// Processor time of a process so far, seconds; none if there is no such process.
fn process_cpu(id: u32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name, in brackets, may have blanks.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) * TICK)
}
