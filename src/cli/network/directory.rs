//! The directory of a network: what was made in it, with which settings, and who uses it now.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use super::{Args, Key, Writers};
use crate::client::network_file::{FILE_NAME as NETWORK_FILE, IdentityFiles, NetworkFile, ReplicaEntry};
use crate::genesis::{
    APPLICATION_MSP, BatchSpec, ConsensusKind, KeyAndCertificate, Layout, NetworkMaterial, NetworkSpec,
    ORDERER_MSP, OptionsSpec, ReplicaAddress, Writers as GenesisWriters,
};
use crate::node_config::{ClusterConfig, IdentityConfig, ListenConfig, NodeConfig, TlsConfig};
use crate::registrar::{channel_directory, mark_new};

/// Version of the directory's layout; a directory of another version is refused.
const VERSION: u32 = 1;
/// What the network was made with.
const SETTINGS: &str = "network.toml";
/// Held by the process that runs the network.
const LOCK: &str = "lock";
/// The channel's id.
const CHANNEL: &str = "sbft";
/// Where everything listens.
const HOST: &str = "127.0.0.1";
/// Ports between one replica's first and the next one's.
const PORT_STEP: u16 = 10;
/// More replicas than this are no network for one machine.
const MAX_REPLICAS: u32 = 100;
/// More client identities than this are a mistake.
const MAX_CLIENTS: u32 = 10_000;

/// What the network is made with, once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    version: u32,
    replicas: u32,
    base_port: u16,
    pub(super) key: String,
    clients: u32,
    pub(super) writers: String,
    plaintext: bool,
    /// Which of these were asked for by name, and so must be what the directory has.
    #[serde(skip)]
    explicit: Vec<&'static str>,
}

impl Settings {
    /// From the command line, with defaults for what was not given.
    ///
    /// # Errors
    /// When a value is out of range.
    pub(super) fn from_args(args: &Args) -> anyhow::Result<Self> {
        let given = [
            ("replicas", args.replicas.is_some()),
            ("base-port", args.base_port.is_some()),
            ("key", args.key.is_some()),
            ("clients", args.clients.is_some()),
            ("writers", args.writers.is_some()),
            ("plaintext", args.plaintext),
        ];
        let settings = Self {
            version: VERSION,
            replicas: args.replicas.unwrap_or(4),
            base_port: args.base_port.unwrap_or(7050),
            key: match args.key.unwrap_or(Key::Ed25519) {
                Key::Ed25519 => "ed25519",
                Key::P256 => "p256",
            }
            .to_owned(),
            clients: args.clients.unwrap_or(1),
            writers: match args.writers.unwrap_or(Writers::Signed) {
                Writers::Signed => "signed",
                Writers::Open => "open",
            }
            .to_owned(),
            plaintext: args.plaintext,
            explicit: given.into_iter().filter_map(|(name, given)| given.then_some(name)).collect(),
        };
        if !(1..=MAX_REPLICAS).contains(&settings.replicas) {
            bail!("--replicas must be between 1 and {MAX_REPLICAS}");
        }
        if !(1..=MAX_CLIENTS).contains(&settings.clients) {
            bail!("--clients must be between 1 and {MAX_CLIENTS}");
        }
        let last = u64::from(settings.base_port) + u64::from(settings.replicas) * u64::from(PORT_STEP);
        if settings.base_port == 0 || last > u64::from(u16::MAX) {
            bail!("--base-port {} leaves no room for {} replicas", settings.base_port, settings.replicas);
        }
        Ok(settings)
    }

    /// There is a replica of this id.
    pub(super) fn has_replica(&self, id: u32) -> bool {
        (1..=self.replicas).contains(&id)
    }

    /// What was asked for by name and is not what the directory was made with.
    fn contradicts(&self, made: &Self) -> Option<String> {
        let pairs = [
            ("replicas", made.replicas.to_string(), self.replicas.to_string()),
            ("base-port", made.base_port.to_string(), self.base_port.to_string()),
            ("key", made.key.clone(), self.key.clone()),
            ("clients", made.clients.to_string(), self.clients.to_string()),
            ("writers", made.writers.clone(), self.writers.clone()),
            ("plaintext", made.plaintext.to_string(), self.plaintext.to_string()),
        ];
        pairs.into_iter().find_map(|(name, made, asked)| {
            (self.explicit.contains(&name) && made != asked)
                .then(|| format!("it was made with --{name} {made}, not {asked}"))
        })
    }
}

/// A network's directory, held by this process.
pub(super) struct Directory {
    layout: Layout,
    settings: Settings,
    _lock: File,
}

impl Directory {
    /// Opens the directory, and makes keys, configurations and genesis block if there are none.
    ///
    /// # Errors
    /// When it is in use, of another version, made with other settings, holds something else, or
    /// cannot be written.
    pub(super) fn prepare(path: &Path, fresh: bool, asked: &Settings) -> anyhow::Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))?;
        let path = path.canonicalize().with_context(|| format!("cannot use {}", path.display()))?;
        let occupied = occupied(&path)?;
        if occupied && !path.join(SETTINGS).exists() {
            bail!("{} is not empty and holds no network; name another directory with --dir", path.display());
        }
        let lock = lock(&path)?;
        if fresh && occupied {
            made_by_a_network(&path)?;
            clear(&path)?;
        }
        let layout = Layout::new(&path);
        let settings = if path.join(SETTINGS).exists() {
            let made = read_settings(&path)?;
            if let Some(contradiction) = asked.contradicts(&made) {
                bail!("{}: {contradiction}; use --fresh to delete it and begin anew", path.display());
            }
            made
        } else {
            asked.clone()
        };
        let directory = Self { layout, settings, _lock: lock };
        // The genesis block is written last, so where it is, everything is.
        if !directory.layout.genesis_block().exists() {
            clear(&path)?;
            directory.make()?;
        }
        Ok(directory)
    }

    pub(super) fn path(&self) -> &Path {
        &self.layout.root
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    fn make(&self) -> anyhow::Result<()> {
        let text = toml::to_string(&self.settings).context("the settings cannot be written")?;
        let path = self.path().join(SETTINGS);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        let replicas = (1..=self.settings.replicas)
            .map(|id| ReplicaAddress {
                host: HOST.to_owned(),
                quic_port: self.port(id, 1),
                grpc_port: self.port(id, 0),
            })
            .collect();
        let spec = NetworkSpec {
            channel: CHANNEL.to_owned(),
            key_kind: match self.settings.key.as_str() {
                "p256" => Key::P256,
                _ => Key::Ed25519,
            }
            .into(),
            consensus: ConsensusKind::default(),
            replicas,
            clients: self.settings.clients as usize,
            writers: match self.settings.writers.as_str() {
                "open" => GenesisWriters::Open,
                _ => GenesisWriters::Signed,
            },
            batch: BatchSpec::default(),
            options: OptionsSpec::default(),
        };
        // Configurations and marks first: the genesis block says that all is there.
        for id in 1..=self.settings.replicas {
            self.write_node_config(id)?;
            mark_new(&self.layout.replica(id).data(), CHANNEL)?;
        }
        NetworkMaterial::create(&spec, self.path())?;
        Ok(())
    }

    fn write_node_config(&self, id: u32) -> anyhow::Result<()> {
        let files = self.layout.replica(id);
        let inside = |pair: KeyAndCertificate| {
            let strip = |path: PathBuf| {
                path.strip_prefix(&files.root).map_or_else(|_| path.clone(), Path::to_path_buf)
            };
            (strip(pair.certificate), strip(pair.key))
        };
        let mut config = NodeConfig::with_defaults(id, ORDERER_MSP);
        config.genesis = PathBuf::from("../genesis.block");
        // They share this machine's cores.
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        config.threads = NonZeroUsize::new((cores / self.settings.replicas as usize).max(1));
        config.listen =
            ListenConfig { grpc: self.address(id, 0), quic: self.address(id, 1), ops: self.address(id, 2) };
        let (certificate, key) = inside(files.identity());
        config.identity = IdentityConfig { msp_id: ORDERER_MSP.to_owned(), certificate, key };
        let (certificate, key) = inside(files.cluster());
        config.cluster = ClusterConfig { certificate, key, ..config.cluster };
        if !self.settings.plaintext {
            let (certificate, key) = inside(files.tls());
            config.tls = Some(TlsConfig { certificate, key, client_ca: None });
        }
        fs::create_dir_all(&files.root).with_context(|| format!("cannot create {}", files.root.display()))?;
        fs::write(files.config(), config.to_toml())
            .with_context(|| format!("cannot write {}", files.config().display()))
    }

    /// What other programs need; no process runs yet.
    pub(super) fn network_file(&self) -> NetworkFile {
        let identity = |files: KeyAndCertificate| IdentityFiles {
            msp_id: APPLICATION_MSP.to_owned(),
            cert: files.certificate,
            key: files.key,
        };
        let application = self.layout.application();
        let clients: Vec<IdentityFiles> =
            (1..=self.settings.clients as usize).map(|number| identity(application.client(number))).collect();
        let replicas = (1..=self.settings.replicas)
            .map(|id| {
                let files = self.layout.replica(id);
                ReplicaEntry {
                    id,
                    grpc: self.address(id, 0).to_string(),
                    quic: self.address(id, 1).to_string(),
                    ops: self.address(id, 2).to_string(),
                    pid: None,
                    ledger: channel_directory(&files.data(), CHANNEL).join("ledger"),
                    dir: files.root,
                }
            })
            .collect();
        NetworkFile {
            channel: CHANNEL.to_owned(),
            genesis: self.layout.genesis_block(),
            replicas,
            client: clients[0].clone(),
            clients,
            admin: identity(application.admin()),
            tls_ca: (!self.settings.plaintext).then(|| self.layout.orderer().tls_ca().certificate),
        }
    }

    /// Checks that nobody else listens where the replicas will.
    ///
    /// # Errors
    /// When a port is taken; names it and what to do.
    pub(super) fn check_ports(&self) -> anyhow::Result<()> {
        for id in 1..=self.settings.replicas {
            for (offset, what) in [(0, "gRPC"), (1, "QUIC"), (2, "operations")] {
                let address = self.address(id, offset);
                let taken = match what {
                    "QUIC" => UdpSocket::bind(address).map(drop),
                    _ => TcpListener::bind(address).map(drop),
                };
                taken.with_context(|| {
                    format!(
                        "{address}, where replica {id} would listen ({what}), cannot be used; \
                         stop what listens there, or make a network elsewhere with --dir and --base-port"
                    )
                })?;
            }
        }
        Ok(())
    }

    fn port(&self, id: u32, offset: u16) -> u16 {
        self.settings.base_port + (id as u16 - 1) * PORT_STEP + offset
    }

    fn address(&self, id: u32, offset: u16) -> SocketAddr {
        SocketAddr::new(HOST.parse().expect("a constant address parses"), self.port(id, offset))
    }
}

fn occupied(path: &Path) -> anyhow::Result<bool> {
    let entries = fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {}", path.display()))?;
        if entry.file_name() != LOCK {
            return Ok(true);
        }
    }
    Ok(false)
}

fn lock(path: &Path) -> anyhow::Result<File> {
    let file = path.join(LOCK);
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&file)
        .with_context(|| format!("cannot open {}", file.display()))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => {
            bail!(
                "{} is in use: another `sbft network` runs there; stop it, or name another --dir",
                path.display()
            )
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", file.display()))
        }
    }
}

/// Checks that the settings file is a network's, of whatever version: what is not is not ours to
/// delete.
fn made_by_a_network(path: &Path) -> anyhow::Result<()> {
    let file = path.join(SETTINGS);
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    if !toml::from_str::<toml::Table>(&text).is_ok_and(|table| table.contains_key("version")) {
        bail!(
            "{} is not a network's (it names no version), so nothing here is deleted; name another \
             directory with --dir, or delete this one yourself",
            file.display()
        );
    }
    Ok(())
}

fn read_settings(path: &Path) -> anyhow::Result<Settings> {
    let file = path.join(SETTINGS);
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    // The version first: another version's fields are not ours to judge.
    let version =
        toml::from_str::<toml::Table>(&text).ok().and_then(|table| table.get("version")?.as_integer());
    if version != Some(i64::from(VERSION)) {
        bail!(
            "{} was made by another version of this program (it says version {}, this one makes {VERSION}); \
             use --fresh to delete it and begin anew",
            path.display(),
            version.map_or_else(|| "nothing".to_owned(), |version| version.to_string()),
        );
    }
    toml::from_str(&text).with_context(|| format!("{} cannot be used", file.display()))
}

/// Whether a network makes an entry of this name in its directory (not counting the lock).
fn ours(name: &str) -> bool {
    match name.strip_prefix("replica-") {
        Some(id) => id.parse::<u32>().is_ok(),
        None => [SETTINGS, NETWORK_FILE, "crypto", "genesis.block", "genesis.toml"].contains(&name),
    }
}

/// Deletes what a network makes in its directory, except the lock; what others put there stays.
fn clear(path: &Path) -> anyhow::Result<()> {
    let entries = fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {}", path.display()))?;
        if !entry.file_name().to_str().is_some_and(ours) {
            continue;
        }
        let path = entry.path();
        let directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if directory { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }
            .with_context(|| format!("cannot delete {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            version: VERSION,
            replicas: 4,
            base_port: 7050,
            key: "ed25519".into(),
            clients: 2,
            writers: "signed".into(),
            plaintext: false,
            explicit: Vec::new(),
        }
    }

    #[test]
    fn a_network_is_made_once_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let made = Directory::prepare(dir.path(), false, &settings()).unwrap();
        let genesis = fs::read(made.network_file().genesis).unwrap();
        for replica in made.network_file().replicas {
            NodeConfig::load(&replica.dir.join("node.toml")).unwrap();
        }
        drop(made);
        let again = Directory::prepare(dir.path(), false, &settings()).unwrap();
        assert_eq!(fs::read(again.network_file().genesis).unwrap(), genesis);
    }

    #[test]
    fn a_directory_in_use_of_another_version_or_of_something_else_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let made = Directory::prepare(dir.path(), false, &settings()).unwrap();
        let text = |result: anyhow::Result<Directory>| result.err().unwrap().to_string();
        assert!(text(Directory::prepare(dir.path(), false, &settings())).contains("in use"));
        drop(made);

        let other = Settings { replicas: 7, explicit: vec!["replicas"], ..settings() };
        let refused = text(Directory::prepare(dir.path(), false, &other));
        assert!(refused.contains("--replicas 4, not 7") && refused.contains("--fresh"), "{refused}");

        fs::write(dir.path().join(SETTINGS), "version = 9\n").unwrap();
        assert!(text(Directory::prepare(dir.path(), false, &settings())).contains("version 9"));
        assert!(Directory::prepare(dir.path(), true, &settings()).is_ok(), "--fresh begins anew");

        let foreign = tempfile::tempdir().unwrap();
        fs::write(foreign.path().join("thesis.txt"), "dear").unwrap();
        for fresh in [false, true] {
            assert!(
                text(Directory::prepare(foreign.path(), fresh, &settings())).contains("holds no network")
            );
        }
        fs::write(foreign.path().join(SETTINGS), "[wifi]\nname = 'home'\n").unwrap();
        for fresh in [false, true] {
            assert!(Directory::prepare(foreign.path(), fresh, &settings()).is_err());
        }
        assert!(foreign.path().join("thesis.txt").exists() && foreign.path().join(SETTINGS).exists());
    }

    #[test]
    fn beginning_anew_leaves_what_others_put_beside_the_network() {
        let dir = tempfile::tempdir().unwrap();
        let made = Directory::prepare(dir.path(), false, &settings()).unwrap();
        let genesis = fs::read(made.network_file().genesis).unwrap();
        drop(made);
        fs::write(dir.path().join("notes.txt"), "dear").unwrap();
        let again = Directory::prepare(dir.path(), true, &Settings { replicas: 1, ..settings() }).unwrap();
        assert_ne!(fs::read(again.network_file().genesis).unwrap(), genesis);
        assert!(dir.path().join("notes.txt").exists());
        assert!(!dir.path().join("replica-2").exists(), "the old network is gone");
    }
}
