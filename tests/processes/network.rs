//! A real network of `sbft` processes on free loopback ports, for one test at a time.

use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use sbft::client::connect::{Security, connect};
use sbft::client::deliver::{self, Item, Position, Seek};
use sbft::client::envelope::EnvelopeMaker;
use sbft::client::network_file::NetworkFile;
use sbft::client::operations;
use sbft::proto::common::Block;
use serde_json::Value;

/// One network at a time: the machine has few cores, and the tests have deadlines.
static TURN: Mutex<()> = Mutex::new(());

const SBFT: &str = env!("CARGO_BIN_EXE_sbft");

/// Waits until no other test has a network.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

pub(crate) struct Network {
    supervisor: Child,
    /// Replicas that the test started itself after killing them.
    own: Vec<Child>,
    dir: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    _turn: MutexGuard<'static, ()>,
}

impl Network {
    /// Starts `sbft network` with these further arguments and waits until it is ready.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let turn = turn();
        let dir = tempfile::tempdir().unwrap();
        let base = free_ports();
        let supervisor = Command::new(SBFT)
            .arg("network")
            .args(["--dir", dir.path().join("n").to_str().unwrap(), "--base-port", &base.to_string()])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(dir.path().join("out")).unwrap())
            .stderr(std::fs::File::create(dir.path().join("err")).unwrap())
            .spawn()
            .unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let mut network = Self { supervisor, own: Vec::new(), dir, runtime, _turn: turn };
        network.until("the network is ready", Duration::from_secs(60), |network| {
            if let Some(status) = network.supervisor.try_wait().unwrap() {
                panic!("sbft network ended: {status}\n{}", network.said());
            }
            NetworkFile::load(&network.dir()).is_ok()
        });
        network
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.dir.path().join("n")
    }

    pub(crate) fn file(&self) -> NetworkFile {
        NetworkFile::load(&self.dir()).unwrap()
    }

    /// What `sbft network` printed.
    pub(crate) fn said(&self) -> String {
        ["out", "err"]
            .map(|name| std::fs::read_to_string(self.dir.path().join(name)).unwrap_or_default())
            .concat()
    }

    /// Polls until `done`, or fails the test with what the network said.
    pub(crate) fn until(&mut self, what: &str, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + limit;
        while !done(self) {
            assert!(Instant::now() < deadline, "not within {limit:?}: {what}\n{}", self.report());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn report(&self) -> String {
        let mut text = self.said();
        for id in 1..=self.file().replicas.len() as u32 {
            let log = std::fs::read_to_string(self.file().replica(id).unwrap().dir.join("node.log"))
                .unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(15).collect();
            text += &format!("\n--- replica {id}\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
        text
    }

    /// Runs an `sbft` subcommand to its end.
    pub(crate) fn sbft(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs an `sbft` subcommand that needs no network.
    pub(crate) fn command_alone(arguments: &[&str]) -> Output {
        Command::new(SBFT).args(arguments).output().unwrap()
    }

    /// Waits for what a client does.
    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// An `sbft` subcommand that is given this network.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(SBFT);
        command.arg(arguments[0]).arg("--network").arg(self.dir()).args(&arguments[1..]);
        command
    }

    /// Submits and waits for the commits; the test fails when it does not succeed.
    pub(crate) fn submit(&self, arguments: &[&str]) -> String {
        let output = self.sbft(&[&["submit"], arguments].concat());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "submit {arguments:?}: {text}{}\n{}",
            String::from_utf8_lossy(&output.stderr),
            self.report()
        );
        text
    }

    /// The replica's status; `None` while it is down.
    pub(crate) fn status(&self, id: u32) -> Option<Value> {
        let address = self.file().replica(id).unwrap().ops.clone();
        let (code, body) = self.runtime.block_on(operations::get(&address, "/status")).ok()?;
        assert_eq!(code, 200);
        let status: Value = serde_json::from_str(&body).unwrap();
        Some(status["channels"][0].clone())
    }

    pub(crate) fn height(&self, id: u32) -> u64 {
        self.status(id).and_then(|status| status["height"].as_u64()).unwrap_or(0)
    }

    /// The consenter id of the primary, as a replica that is up sees it.
    pub(crate) fn primary(&self) -> u32 {
        let ids = 1..=self.file().replicas.len() as u32;
        ids.filter_map(|id| self.status(id)).find_map(|status| status["primary"].as_u64()).unwrap() as u32
    }

    /// Sends a signal to a replica's process.
    pub(crate) fn signal(&self, id: u32, signal: &str) {
        let pid = self.pid(id);
        let status = Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).status().unwrap();
        assert!(status.success(), "kill -{signal} {pid}");
    }

    fn pid(&self, id: u32) -> u32 {
        let own = self.dir.path().join(format!("pid-{id}"));
        match std::fs::read_to_string(own) {
            Ok(pid) => pid.parse().unwrap(),
            Err(_) => self.file().replica(id).unwrap().pid.unwrap(),
        }
    }

    /// `kill -9`, and waits until it is gone.
    pub(crate) fn kill(&mut self, id: u32) {
        let pid = self.pid(id);
        self.signal(id, "KILL");
        self.until("the killed process is gone", Duration::from_secs(10), |network| {
            for child in &mut network.own {
                child.try_wait().unwrap();
            }
            // A zombie is gone too: its parent reaps it in its own time.
            std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| {
                stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
            })
        });
    }

    /// Starts a replica that was killed; the test is its parent now.
    pub(crate) fn restart(&mut self, id: u32) {
        let dir = self.file().replica(id).unwrap().dir.clone();
        let log = std::fs::OpenOptions::new().append(true).open(dir.join("node.log")).unwrap();
        let child = Command::new(SBFT)
            .args(["node", "--config", dir.join("node.toml").to_str().unwrap()])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        std::fs::write(self.dir.path().join(format!("pid-{id}")), child.id().to_string()).unwrap();
        self.own.push(child);
    }

    /// All blocks of a replica from `from` up to its newest.
    pub(crate) fn blocks(&self, id: u32, from: u64) -> Vec<Block> {
        let file = self.file();
        let security = security(&file);
        let maker = EnvelopeMaker::open(&file.channel, &file.client).unwrap();
        let address = file.replica(id).unwrap().grpc.clone();
        self.runtime.block_on(async {
            let channel = connect(&address, &security).await.unwrap();
            let seek = Seek { start: Position::Number(from), stop: Position::Newest, wait: false };
            let mut stream = deliver::open(channel, &maker, seek).await.unwrap();
            let mut blocks = Vec::new();
            while let Some(Item::Block(block)) = stream.next().await.unwrap() {
                blocks.push(block);
            }
            blocks
        })
    }

    /// `sbft verify` accepts these replicas' ledgers.
    pub(crate) fn verify(&self, ids: &[u32]) {
        let file = self.file();
        let mut command = Command::new(SBFT);
        command.arg("verify").arg("--genesis").arg(&file.genesis);
        for id in ids {
            command.arg(&file.replica(*id).unwrap().ledger);
        }
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "verify: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Waits until these replicas are at one height and returns it.
    pub(crate) fn settle(&mut self, ids: &[u32]) -> u64 {
        let mut agreed = 0;
        self.until("the replicas are at one height", Duration::from_secs(60), |network| {
            let heights: Vec<u64> = ids.iter().map(|id| network.height(*id)).collect();
            agreed = heights[0];
            heights.iter().all(|height| *height == agreed && *height > 0)
        });
        agreed
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for child in &mut self.own {
            // It may be gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = Command::new("kill").args(["-TERM", &self.supervisor.id().to_string()]).status();
        let deadline = Instant::now() + Duration::from_secs(15);
        while self.supervisor.try_wait().is_ok_and(|status| status.is_none()) {
            if Instant::now() > deadline {
                let _ = self.supervisor.kill();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn security(file: &NetworkFile) -> Security {
    Security { ca: file.tls_ca.as_ref().map(|path| read(path)), identity: None }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// A base port with room for ten replicas.
pub(crate) fn free_ports() -> u16 {
    let mut seed = std::process::id();
    for _ in 0..200 {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let base = 20_000 + (seed >> 16) as u16 % 300 * 100;
        let free = (0..40).all(|offset| {
            TcpListener::bind(("127.0.0.1", base + offset)).is_ok()
                && UdpSocket::bind(("127.0.0.1", base + offset)).is_ok()
        });
        if free {
            return base;
        }
    }
    panic!("no free ports");
}
