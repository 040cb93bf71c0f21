//! `sbft keygen`: keys and certificates, one organization, replica or client at a time.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use prost::Message as _;

use super::Key;
use crate::channel_config::ChannelConfig;
use crate::genesis::{
    KeyAndCertificate, OrganizationLayout, ReplicaLayout, Unit, create_member, create_organization,
    create_replica,
};
use crate::node_config::{NodeConfig, TlsConfig};
use crate::proto::common::Block;
use crate::registrar::mark_new;

/// Arguments of `sbft keygen`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// An organization's authorities: one for identities, one for TLS
    Org {
        /// Where to put them
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// The organization's MSP id
        #[arg(long, value_name = "NAME")]
        msp_id: String,
        /// Kind of the identities' keys
        #[arg(long, value_enum, default_value = "ed25519")]
        key: Key,
    },
    /// A replica's keys: identity, TLS to replicas, TLS to clients
    Replica {
        /// The organization's directory
        #[arg(long, value_name = "DIR")]
        org: PathBuf,
        /// Where to put the keys
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Host name or address under which others reach it; repeatable
        #[arg(long, value_name = "HOST", required = true, value_parser = host)]
        host: Vec<String>,
        /// Kind of the identity's key
        #[arg(long, value_enum, default_value = "ed25519")]
        key: Key,
    },
    /// A client's identity
    Client(Member),
    /// An administrator's identity
    Admin(Member),
    /// A replica's configuration and its data directory, marked as new
    Node {
        /// The replica's directory, with the keys that `keygen replica` made
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// Its consenter id
        #[arg(long, value_name = "ID")]
        id: u32,
        /// The channel's genesis block
        #[arg(long, value_name = "FILE")]
        genesis: PathBuf,
        /// Where clients connect
        #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:7050")]
        grpc: SocketAddr,
        /// Where replicas connect (UDP)
        #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:7051")]
        quic: SocketAddr,
        /// Operations listener
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8443")]
        ops: SocketAddr,
    },
}

#[derive(Debug, clap::Args)]
struct Member {
    /// The organization's directory
    #[arg(long, value_name = "DIR")]
    org: PathBuf,
    /// Where to put certificate and key
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Common name in the certificate; default: the directory's name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Kind of the key
    #[arg(long, value_enum, default_value = "ed25519")]
    key: Key,
}

/// Runs it.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.what {
        What::Org { dir, msp_id, key } => {
            create_organization(&OrganizationLayout::new(&dir), key.into(), &msp_id)?;
            println!("authorities of {msp_id}: {}", dir.display());
        }
        What::Replica { org, out, host, key } => {
            let hosts: Vec<&str> = host.iter().map(String::as_str).collect();
            let files = ReplicaLayout::new(&out);
            create_replica(&OrganizationLayout::new(org), &files, key.into(), &name_of(&out), &hosts)?;
            println!("keys of a replica at {}: {}", host.join(", "), out.display());
        }
        What::Client(member) => create(&member, Unit::Client)?,
        What::Admin(member) => create(&member, Unit::Admin)?,
        What::Node { dir, id, genesis, grpc, quic, ops } => node(&dir, id, &genesis, grpc, quic, ops)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn create(member: &Member, unit: Unit) -> anyhow::Result<()> {
    let files = KeyAndCertificate::in_directory(&member.out);
    let name = member.name.clone().unwrap_or_else(|| name_of(&member.out));
    create_member(&OrganizationLayout::new(&member.org), &files, member.key.into(), &name, unit)?;
    println!("identity of {name}: {}", member.out.display());
    Ok(())
}

fn node(
    dir: &Path,
    id: u32,
    genesis: &Path,
    grpc: SocketAddr,
    quic: SocketAddr,
    ops: SocketAddr,
) -> anyhow::Result<()> {
    let bytes = std::fs::read(genesis).with_context(|| format!("cannot read {}", genesis.display()))?;
    let block =
        Block::decode(&bytes[..]).with_context(|| format!("{} is no genesis block", genesis.display()))?;
    let channel =
        ChannelConfig::from_block(&block).with_context(|| format!("{} cannot be used", genesis.display()))?;
    let Some(consenter) = channel.consenters.iter().find(|consenter| consenter.id.0 == id) else {
        bail!("channel {} has no consenter {id}; see its genesis specification", channel.channel_id);
    };
    let files = ReplicaLayout::new(dir);
    if files.config().exists() {
        bail!("{} exists already; it is left as it is", files.config().display());
    }
    let mut config = NodeConfig::with_defaults(id, &consenter.msp_id);
    config.genesis = genesis.canonicalize().with_context(|| format!("cannot read {}", genesis.display()))?;
    config.listen.grpc = grpc;
    config.listen.quic = quic;
    config.listen.ops = ops;
    config.tls =
        Some(TlsConfig { certificate: "tls/cert.pem".into(), key: "tls/key.pem".into(), client_ca: None });
    mark_new(&files.data(), &channel.channel_id)?;
    std::fs::write(files.config(), config.to_toml())
        .with_context(|| format!("cannot write {}", files.config().display()))?;
    println!(
        "replica {id} of channel {}: sbft node --config {}",
        channel.channel_id,
        files.config().display()
    );
    Ok(())
}

/// A host name or IP address, as a certificate can carry it.
fn host(text: &str) -> Result<String, String> {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let name = text.len() <= 253 && text.split('.').all(label);
    if name || text.parse::<std::net::IpAddr>().is_ok() {
        return Ok(text.to_owned());
    }
    Err("a host name such as orderer1.example.com, or an IP address, without a port".to_owned())
}

fn name_of(path: &Path) -> String {
    path.file_name().map_or_else(|| "member".to_owned(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::host;

    #[test]
    fn a_host_is_a_name_or_an_address_without_a_port() {
        for good in ["orderer1.example.com", "localhost", "127.0.0.1", "::1", "a_b-c"] {
            assert_eq!(host(good).as_deref(), Ok(good));
        }
        for bad in ["", "bad host!", "orderer1:7051", "a..b", "[::1]:7051", &"a".repeat(64)] {
            assert!(host(bad).is_err(), "{bad:?} was taken for a host");
        }
    }
}
