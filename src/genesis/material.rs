//! Making the keys and certificates of a network, or of one organization or member at a time.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use prost::Message as _;

use super::authority::{CertificateAuthority, CertificateRequest, Purpose, TLS_KEY, Unit};
use super::layout::{KeyAndCertificate, Layout, OrganizationLayout, ReplicaLayout};
use super::spec::{
    BatchSpec, ConsensusKind, GenesisSpec, OptionsSpec, OrganizationRole, OrganizationSpec, ReplicaSpec,
    Writers,
};
use super::{GenesisError, genesis_block, write_new};
use crate::crypto::KeyKind;
use crate::proto::common::Block;

/// MSP id of the organization that orders, in a network of [`NetworkMaterial::create`].
pub const ORDERER_MSP: &str = "OrdererMSP";
/// MSP id of the clients' organization there.
pub const APPLICATION_MSP: &str = "Org1MSP";

/// A network to be made: one organization that orders, one with clients.
#[derive(Clone, Debug)]
pub struct NetworkSpec {
    /// The channel's id.
    pub channel: String,
    /// Kind of the identities' keys. TLS keys are always P-256.
    pub key_kind: KeyKind,
    /// How the channel orders.
    pub consensus: ConsensusKind,
    /// The replicas; they get ids from 1 in this order.
    pub replicas: Vec<ReplicaAddress>,
    /// How many client identities to make; at least one is made.
    pub clients: usize,
    /// Whose envelopes are ordered.
    pub writers: Writers,
    /// Limits of batches and envelopes.
    pub batch: BatchSpec,
    /// Rules and timers.
    pub options: OptionsSpec,
}

/// Where a replica will be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaAddress {
    /// Host name or IP address, the same for replicas and clients.
    pub host: String,
    /// UDP port for other replicas.
    pub quic_port: u16,
    /// TCP port for clients.
    pub grpc_port: u16,
}

/// The files of a network that was made.
#[derive(Debug)]
pub struct NetworkMaterial {
    /// Where everything is.
    pub layout: Layout,
    /// What the genesis block was made from.
    pub spec: GenesisSpec,
    /// The genesis block.
    pub genesis: Block,
}

impl NetworkMaterial {
    /// Makes authorities, identities, specification and genesis block below `directory`. The
    /// genesis block is written last: where it is, everything is.
    ///
    /// # Errors
    /// Something of a network is there already (it is left as it is), a file cannot be written,
    /// or the values of `spec` make no consistent configuration.
    pub fn create(spec: &NetworkSpec, directory: &Path) -> Result<Self, GenesisError> {
        let layout = Layout::new(directory);
        for path in [layout.genesis_block(), layout.genesis_spec(), layout.crypto()] {
            if path.exists() {
                return Err(GenesisError::Exists { path });
            }
        }
        create_organization(&layout.orderer(), spec.key_kind, ORDERER_MSP)?;
        create_organization(&layout.application(), spec.key_kind, APPLICATION_MSP)?;
        create_member(&layout.orderer(), &layout.orderer().admin(), spec.key_kind, "admin", Unit::Admin)?;
        let application = layout.application();
        create_member(&application, &application.admin(), spec.key_kind, "admin", Unit::Admin)?;
        for number in 1..=spec.clients.max(1) {
            let name = format!("client-{number}");
            create_member(&application, &application.client(number), spec.key_kind, &name, Unit::Client)?;
        }

        let mut replicas = Vec::with_capacity(spec.replicas.len());
        for (id, address) in (1..).zip(&spec.replicas) {
            let files = layout.replica(id);
            let name = format!("replica-{id}");
            create_replica(&layout.orderer(), &files, spec.key_kind, &name, &[address.host.as_str()])?;
            replicas.push(ReplicaSpec {
                id,
                msp_id: ORDERER_MSP.to_owned(),
                host: address.host.clone(),
                port: address.quic_port,
                endpoint: endpoint(&address.host, address.grpc_port),
                identity: relative(&layout, files.identity()),
                cluster: relative(&layout, files.cluster()),
            });
        }
        let organization = |role, name: &str, msp_id: &str, files: OrganizationLayout| OrganizationSpec {
            role,
            name: name.to_owned(),
            msp_id: msp_id.to_owned(),
            ca: vec![relative(&layout, files.ca())],
            intermediate_ca: Vec::new(),
            tls_ca: vec![relative(&layout, files.tls_ca())],
        };
        let genesis = GenesisSpec {
            channel: spec.channel.clone(),
            consensus: spec.consensus,
            writers: spec.writers,
            batch: spec.batch.clone(),
            options: spec.options.clone(),
            organizations: vec![
                organization(OrganizationRole::Orderer, "OrdererOrg", ORDERER_MSP, layout.orderer()),
                organization(OrganizationRole::Application, "Org1", APPLICATION_MSP, layout.application()),
            ],
            replicas,
        };
        write_new(&layout.genesis_spec(), genesis.to_toml().as_bytes())?;
        let spec = GenesisSpec::load(&layout.genesis_spec())?;
        let block = genesis_block(&spec)?;
        write_genesis(&layout.genesis_block(), &block)?;
        Ok(Self { layout, spec, genesis: block })
    }
}

/// Writes a genesis block to a new file.
///
/// # Errors
/// The file exists or cannot be written.
pub fn write_genesis(path: &Path, block: &Block) -> Result<(), GenesisError> {
    write_new(path, &block.encode_to_vec())
}

/// Makes an organization's two authorities: of identities, with keys of `kind`, and of TLS.
///
/// # Errors
/// One of their files exists or cannot be written.
pub fn create_organization(
    files: &OrganizationLayout,
    kind: KeyKind,
    name: &str,
) -> Result<(), GenesisError> {
    CertificateAuthority::create(kind, name, &format!("{name} CA"))?.write(&files.ca())?;
    CertificateAuthority::create(TLS_KEY, name, &format!("{name} TLS CA"))?.write(&files.tls_ca())
}

/// Makes one member of an organization: key and certificate, in the given files.
///
/// # Errors
/// The organization's authority cannot be read, or one of the files exists or cannot be written.
pub fn create_member(
    organization: &OrganizationLayout,
    files: &KeyAndCertificate,
    kind: KeyKind,
    name: &str,
    unit: Unit,
) -> Result<(), GenesisError> {
    let authority = CertificateAuthority::load(&organization.ca())?;
    let issued = authority.issue(kind, &CertificateRequest::new(name, Purpose::Member(unit)))?;
    files.write(&issued.certificate, &issued.key)
}

/// Makes the three key pairs of a replica: its identity, and TLS towards replicas and clients
/// under the names `hosts` and the loopback's.
///
/// # Errors
/// As [`create_member`]; a host is no name and no IP address.
pub fn create_replica(
    organization: &OrganizationLayout,
    files: &ReplicaLayout,
    kind: KeyKind,
    name: &str,
    hosts: &[&str],
) -> Result<(), GenesisError> {
    create_member(organization, &files.identity(), kind, name, Unit::Orderer)?;
    let authority = CertificateAuthority::load(&organization.tls_ca())?;
    let mut names: Vec<String> = LOOPBACK.iter().map(|name| (*name).to_owned()).collect();
    for host in hosts {
        if !names.iter().any(|name| name == host) {
            names.push((*host).to_owned());
        }
    }
    for files in [files.cluster(), files.tls()] {
        let issued = authority.issue(TLS_KEY, &CertificateRequest::new(name, Purpose::Tls(names.clone())))?;
        files.write(&issued.certificate, &issued.key)?;
    }
    Ok(())
}

fn endpoint(host: &str, port: u16) -> String {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("[{address}]:{port}"),
        _ => format!("{host}:{port}"),
    }
}

/// The certificate's path from the network's directory, so that the directory can be moved.
fn relative(layout: &Layout, files: KeyAndCertificate) -> PathBuf {
    files.certificate.strip_prefix(&layout.root).map_or_else(|_| files.certificate.clone(), Path::to_path_buf)
}

/// Creates what is missing of `path`'s directory.
pub(super) fn create_parent(path: &Path) -> Result<(), GenesisError> {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => {
            fs::create_dir_all(directory).map_err(|source| GenesisError::write(directory, source))
        }
        _ => Ok(()),
    }
}

const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
