//! Who this node is: its certificates and keys, held against its entry among the consenters.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use zeroize::Zeroizing;

use super::{NodeError, read};
use crate::channel_config::{ChannelConfig, Consensus};
use crate::crypto::{KeyError, KeyFileError, KeyFileSigner, LocalSigner, PublicKey};
use crate::node_config::NodeConfig;
use crate::proto::msp::SerializedIdentity;
use crate::types::ConsenterId;

/// What does not fit.
#[derive(Debug, thiserror::Error)]
pub enum IdentityFault {
    /// A PEM file has no block of the kind it should have.
    #[error("{path} ({field} in the node's configuration) holds no PEM {kind}", path = .path.display())]
    Pem {
        /// The field.
        field: &'static str,
        /// The file.
        path: PathBuf,
        /// `CERTIFICATE` or `PRIVATE KEY`.
        kind: &'static str,
    },
    /// The enrolment certificate's key cannot be used.
    #[error("the certificate {path} (identity.certificate) cannot be used: {source}", path = .path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KeyError,
    },
    /// The signing key cannot be used.
    #[error("identity.key: {0}")]
    Key(#[from] KeyFileError),
    /// Certificate and key are of different identities.
    #[error(
        "the key {key} (identity.key) does not belong to the certificate {certificate} (identity.certificate)",
        key = .key.display(), certificate = .certificate.display()
    )]
    Mismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
    },
    /// The channel has no consenter of this id.
    #[error(
        "the node's configuration says id = {id}, but channel {channel} has only the consenters {known}; \
         correct id, or use the genesis block that this node was made for"
    )]
    NoSuchConsenter {
        /// The node's id.
        id: u32,
        /// The channel.
        channel: String,
        /// The consenters' ids.
        known: String,
    },
    /// A certificate is another than the consenter entry's.
    #[error(transparent)]
    OtherCertificate(Box<OtherCertificate>),
}

/// A certificate is another than the consenter entry's.
#[derive(Debug, thiserror::Error)]
#[error(
    "{path} ({field} in the node's configuration: {ours}) is not the {role} certificate of consenter {id} of \
     channel {channel} ({theirs}{belongs}); correct id or {field}",
    path = .path.display()
)]
pub struct OtherCertificate {
    /// The field.
    pub field: &'static str,
    /// The file.
    pub path: PathBuf,
    /// Whom it is issued to.
    pub ours: String,
    /// What it should be: enrolment, TLS server or TLS client.
    pub role: &'static str,
    /// The node's id.
    pub id: u32,
    /// The channel.
    pub channel: String,
    /// Whom the entry's certificate is issued to.
    pub theirs: String,
    /// Whose the file's certificate is instead, where it is another consenter's.
    pub belongs: String,
}

/// What the node signs and connects with.
pub(super) struct NodeIdentity {
    /// Signs blocks, votes and envelopes.
    pub(super) signer: Arc<dyn LocalSigner>,
    /// Shown to other replicas (DER).
    pub(super) cluster_certificate: Vec<u8>,
    /// Its private key (PKCS#8 DER).
    pub(super) cluster_key: Zeroizing<Vec<u8>>,
}

/// Reads what the configuration names and holds it against the channel.
pub(super) fn load(config: &NodeConfig, channel: &ChannelConfig) -> Result<NodeIdentity, NodeError> {
    let identity = &config.identity;
    let pem = read("identity.certificate", &identity.certificate)?;
    let certificate = certificate_der("identity.certificate", &identity.certificate, &pem)?;
    let creator = SerializedIdentity { mspid: identity.msp_id.clone(), id_bytes: pem.into() };
    let signer = KeyFileSigner::open(&identity.key, Bytes::from(creator.encode_to_vec()))
        .map_err(IdentityFault::from)?;
    let public = PublicKey::from_certificate_der(&certificate)
        .map_err(|source| IdentityFault::Certificate { path: identity.certificate.clone(), source })?;
    if *signer.public_key() != public {
        let (key, certificate) = (identity.key.clone(), identity.certificate.clone());
        return Err(IdentityFault::Mismatch { key, certificate }.into());
    }

    let cluster = &config.cluster;
    let pem = read("cluster.certificate", &cluster.certificate)?;
    let cluster_certificate = certificate_der("cluster.certificate", &cluster.certificate, &pem)?;
    let pem = Zeroizing::new(read("cluster.key", &cluster.key)?);
    let cluster_key = block_of(&pem, "PRIVATE KEY").map(Zeroizing::new).ok_or_else(|| {
        IdentityFault::Pem { field: "cluster.key", path: cluster.key.clone(), kind: "PRIVATE KEY" }
    })?;

    // A solo channel has no consenters to be held against.
    if matches!(channel.consensus, Consensus::Sbft(_)) {
        check(config, channel, &certificate, &cluster_certificate)?;
    }
    Ok(NodeIdentity { signer: Arc::new(signer), cluster_certificate, cluster_key })
}

fn check(
    config: &NodeConfig,
    channel: &ChannelConfig,
    enrolment: &[u8],
    cluster: &[u8],
) -> Result<(), IdentityFault> {
    let entry =
        channel.consenters.iter().find(|entry| entry.id == ConsenterId(config.id)).ok_or_else(|| {
            let known: Vec<String> = channel.consenters.iter().map(|entry| entry.id.to_string()).collect();
            IdentityFault::NoSuchConsenter {
                id: config.id,
                channel: channel.channel_id.clone(),
                known: known.join(", "),
            }
        })?;
    let held = [
        ("identity.certificate", &config.identity.certificate, enrolment, "enrolment", &entry.identity_der),
        ("cluster.certificate", &config.cluster.certificate, cluster, "TLS server", &entry.server_tls_der),
        ("cluster.certificate", &config.cluster.certificate, cluster, "TLS client", &entry.client_tls_der),
    ];
    for (field, path, ours, role, theirs) in held {
        if ours != &theirs[..] {
            let owner = channel.consenters.iter().find(|other| match role {
                "enrolment" => other.identity_der == ours,
                "TLS server" => other.server_tls_der == ours,
                _ => other.client_tls_der == ours,
            });
            return Err(IdentityFault::OtherCertificate(Box::new(OtherCertificate {
                field,
                path: path.clone(),
                ours: subject(ours),
                role,
                id: config.id,
                channel: channel.channel_id.clone(),
                theirs: subject(theirs),
                belongs: owner
                    .map(|owner| format!("; the file's is consenter {}'s", owner.id))
                    .unwrap_or_default(),
            })));
        }
    }
    Ok(())
}

fn certificate_der(field: &'static str, path: &Path, pem: &[u8]) -> Result<Vec<u8>, IdentityFault> {
    block_of(pem, "CERTIFICATE").ok_or_else(|| IdentityFault::Pem {
        field,
        path: path.to_owned(),
        kind: "CERTIFICATE",
    })
}

/// The first PEM block of `kind`.
fn block_of(pem: &[u8], kind: &str) -> Option<Vec<u8>> {
    ::pem::parse_many(pem).ok()?.into_iter().find(|block| block.tag() == kind).map(::pem::Pem::into_contents)
}

/// Whom a certificate is issued to, and its serial number, for people.
fn subject(der: &[u8]) -> String {
    match x509_parser::parse_x509_certificate(der) {
        Ok((_, certificate)) => {
            format!("issued to {}, serial {}", certificate.subject(), certificate.raw_serial_as_string())
        }
        Err(_) => "not an X.509 certificate".to_owned(),
    }
}
