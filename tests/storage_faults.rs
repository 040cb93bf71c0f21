//! A disk that is full, and one whose sync fails, under a replica of a running network: real
//! processes, real file systems. The replica stops with an error that says what and where, the
//! others go on, and with room again it comes back with all it had.
//!
//! Mounting needs root: where it is refused, the tests say so and pass.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const SBFT: &str = env!("CARGO_BIN_EXE_sbft");
/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// One network at a time: ports and a slow disk.
static ALONE: Mutex<()> = Mutex::new(());
/// The replica whose disk is bad; a backup in view 0.
const VICTIM: u64 = 2;

#[test]
fn a_full_disk_stops_the_replica_and_it_comes_back_with_all_it_had() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let root = tempfile::tempdir().expect("a directory");
    let Some(disk) = small_disk(root.path()) else { return };
    let network = Network::make(&root.path().join("network"), &disk.point);

    network.lose_the_disk(&["No space left on device", "/data/channels/"]);
    disk.grow();
    network.come_back();
}

#[test]
fn a_failing_sync_stops_the_replica_and_it_comes_back_with_all_it_had() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let root = tempfile::tempdir().expect("a directory");
    let Some(disk) = small_disk(root.path()) else { return };
    // A file system that believes it has room, on a disk that has not: writes succeed, syncs fail.
    let image = disk.point.join("image");
    File::create(&image).and_then(|file| file.set_len(200 << 20)).expect("a sparse file");
    let made = Command::new("mkfs.ext4").args(["-q", "-J", "size=4"]).arg(&image).output();
    if !made.as_ref().is_ok_and(|output| output.status.success()) {
        println!("skipped: mkfs.ext4 does not work here: {made:?}");
        return;
    }
    let point = root.path().join("thin");
    let Some(thin) = Mount::new(&["-o", "loop", text(&image)], point.clone()) else { return };
    let network = Network::make(&root.path().join("network"), &thin.point);

    network.lose_the_disk(&["cannot sync", "/data/channels/"]);
    // As after a reboot with a larger disk.
    drop(thin);
    disk.grow();
    let _thin = Mount::new(&["-o", "loop", text(&image)], point).expect("it was mounted before");
    network.come_back();
}

/// Room for the log's two files and a few megabytes of blocks.
fn small_disk(root: &Path) -> Option<Mount> {
    Mount::new(&["-t", "tmpfs", "-o", "size=44m", "tmpfs"], root.join("disk"))
}

/// A mounted file system.
struct Mount {
    point: PathBuf,
}

impl Mount {
    /// Mounts by these arguments, or says why not.
    fn new(arguments: &[&str], point: PathBuf) -> Option<Self> {
        std::fs::create_dir_all(&point).expect("a mount point");
        match Command::new("mount").args(arguments).arg(&point).output() {
            Ok(output) if output.status.success() => Some(Self { point }),
            refused => {
                println!("skipped: mount {} is refused: {refused:?}", arguments.join(" "));
                None
            }
        }
    }

    fn grow(&self) {
        let output = Command::new("mount").args(["-o", "remount,size=400m"]).arg(&self.point).output();
        assert!(output.expect("mount runs").status.success(), "remount with more room");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let output = Command::new("umount").arg(&self.point).output();
        if !output.is_ok_and(|output| output.status.success()) {
            // Something still holds it; let it go when that ends.
            let _ = Command::new("umount").arg("-l").arg(&self.point).status();
        }
    }
}

/// A network whose victim has its data on another disk.
struct Network {
    dir: PathBuf,
}

/// A running `sbft network`; stopped at the end.
struct Running(Child);

impl Network {
    /// Makes a network, and moves the victim's data to `disk`.
    fn make(dir: &Path, disk: &Path) -> Self {
        let network = Self { dir: dir.to_owned() };
        drop(network.start(&["--base-port", &free_base_port().to_string()]));
        let data = network.replica_dir().join("data");
        let moved = Command::new("cp").arg("-a").arg(&data).arg(disk).output().expect("cp runs");
        assert!(moved.status.success(), "{moved:?}");
        // What the replica synced on the old disk is synced on the new one too.
        let synced = Command::new("sync").arg("-f").arg(disk).status().expect("sync runs");
        assert!(synced.success(), "{synced}");
        std::fs::remove_dir_all(&data).expect("remove");
        std::os::unix::fs::symlink(disk.join("data"), &data).expect("a link");
        network
    }

    fn replica_dir(&self) -> PathBuf {
        self.dir.join(format!("replica-{VICTIM}"))
    }

    /// Starts the network, and returns when all its replicas are ready.
    fn start(&self, arguments: &[&str]) -> Running {
        let _ = std::fs::remove_file(self.dir.join("network.json"));
        let child = Command::new(SBFT)
            .args(["network", "--dir", text(&self.dir)])
            .args(arguments)
            .stdout(Stdio::null())
            .spawn()
            .expect("sbft starts");
        let mut running = Running(child);
        wait("all replicas to be ready", || {
            let ended = running.0.try_wait().expect("a child");
            assert!(ended.is_none(), "sbft network ended: {ended:?}");
            self.json().is_some_and(|json| json["replicas"].as_array().is_some_and(|all| all.len() == 4))
        });
        running
    }

    fn json(&self) -> Option<Value> {
        serde_json::from_slice(&std::fs::read(self.dir.join("network.json")).ok()?).ok()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let (command, rest) = arguments.split_first().expect("a subcommand");
        let output = Command::new(SBFT).arg(command).args(["--network", text(&self.dir)]).args(rest).output();
        output.expect("sbft runs")
    }

    fn submit(&self, count: u32, size: u32) {
        let (count, size) = (count.to_string(), size.to_string());
        let output = self.run(&["submit", "--replica", "1", "--count", &count, "--size", &size, "--wait"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Heights by replica; `None` for one that is down.
    fn heights(&self) -> Vec<Option<u64>> {
        let output = self.run(&["status", "--json"]);
        let status: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let replicas = status["replicas"].as_array().expect("replicas").clone();
        replicas.iter().map(|replica| replica["height"].as_u64().filter(|_| replica["up"] == true)).collect()
    }

    /// Fills the victim's disk: it says all of `error` in its log, and the others go on.
    fn lose_the_disk(&self, error: &[&str]) {
        let running = self.start(&[]);
        self.submit(350, 50_000);
        wait("the victim's error", || {
            let log = std::fs::read_to_string(self.replica_dir().join("node.log")).expect("a log");
            log.lines().any(|line| line.contains("ERROR") && error.iter().all(|part| line.contains(part)))
        });
        self.submit(5, 1000);
        drop(running);
        self.verify(&[1, 3, 4]);
        self.verify(&[VICTIM]);
    }

    /// With room again: the victim has the whole chain, and its vote is needed and given.
    fn come_back(&self) {
        let running = self.start(&[]);
        wait("the victim to catch up", || {
            let heights = self.heights();
            heights.iter().all(|height| height.is_some() && *height == heights[0])
        });
        let json = self.json().expect("network.json");
        let pid = json["replicas"][3]["pid"].as_i64().expect("a pid");
        let pid = Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid");
        kill_process(pid, Signal::KILL).expect("it runs");
        self.submit(20, 1000);
        drop(running);
        self.verify(&[1, 2, 3, 4]);
        let log = std::fs::read_to_string(self.replica_dir().join("node.log")).expect("a log");
        assert!(!log.contains("starting as a follower"), "its log of votes is still there");
    }

    fn verify(&self, ids: &[u64]) {
        let ledger = |id| self.dir.join(format!("replica-{id}/data/channels/sbft/ledger"));
        let output = Command::new(SBFT)
            .arg("verify")
            .args(ids.iter().map(|id| ledger(*id)))
            .arg("--genesis")
            .arg(self.dir.join("genesis.block"))
            .output()
            .expect("sbft runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let pid = Pid::from_child(&self.0);
        if kill_process(pid, Signal::INT).is_ok() {
            let stopped = self.0.wait();
            assert!(stopped.is_ok() || std::thread::panicking(), "{stopped:?}");
        }
    }
}

/// Asks again and again, at most as long as patience lasts.
fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A port with 40 free ones from it on, as far as anyone can know.
fn free_base_port() -> u16 {
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    // Below the ports that systems give to outgoing connections.
    let start = 20_000 + (std::process::id() % 100) as u16 * 100;
    (start..=32_000).step_by(50).find(|base| (0..40).all(|offset| free(base + offset))).expect("free ports")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of text")
}
