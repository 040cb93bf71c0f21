//! The consenter mapping: who orders a channel, and with which certificates.

use prost::Message as _;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::ConfigError;
use crate::crypto::PublicKey;
use crate::msp::MspManager;
use crate::proto::common;
use crate::proto::msp::SerializedIdentity;
use crate::types::ConsenterId;
use crate::wire::MAX_REPLICAS;

/// One ordering node of a channel. Its place is its index in the mapping.
#[derive(Clone, Debug)]
pub struct Consenter {
    /// The id that people and blocks see; never 0, and given to one consenter only.
    pub id: ConsenterId,
    /// Where other consenters reach it: a name or an IP address.
    pub host: String,
    /// The port at that host; never 0.
    pub port: u16,
    /// The organization whose member it is.
    pub msp_id: String,
    /// Its identity certificate, DER, as the MSP sanitised it (low S).
    pub identity_der: Vec<u8>,
    /// The public key of that certificate, which its votes and block signatures are judged by.
    pub key: PublicKey,
    /// The TLS certificate that it shows when it connects, DER.
    pub client_tls_der: Vec<u8>,
    /// The TLS certificate that it shows when it is connected to, DER.
    pub server_tls_der: Vec<u8>,
}

impl Consenter {
    /// `host:port`, with an IPv6 address in brackets.
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// Reads and judges the mapping; `path` is that of the Orderers value.
pub(super) fn from_mapping(
    path: &str,
    mapping: &[common::Consenter],
    msps: &MspManager,
    msp_ids: &[String],
) -> Result<Vec<Consenter>, ConfigError> {
    if mapping.len() > MAX_REPLICAS {
        let reason = format!("{} consenters; at most {MAX_REPLICAS} are supported", mapping.len());
        return Err(ConfigError::new(path.to_owned(), reason));
    }
    let mut consenters: Vec<Consenter> = Vec::with_capacity(mapping.len());
    for (index, message) in mapping.iter().enumerate() {
        let path = format!("{path}/consenter_mapping[{index}]");
        let consenter = from_message(&path, message, msps, msp_ids)?;
        for earlier in &consenters {
            if let Some((field, what)) = clash(&consenter, earlier) {
                let reason = format!("{what} is also that of consenter {}", earlier.id);
                return Err(ConfigError::new(format!("{path}/{field}"), reason));
            }
        }
        consenters.push(consenter);
    }
    Ok(consenters)
}

fn from_message(
    path: &str,
    message: &common::Consenter,
    msps: &MspManager,
    msp_ids: &[String],
) -> Result<Consenter, ConfigError> {
    let refuse = |field: &str, reason: String| Err(ConfigError::new(format!("{path}/{field}"), reason));
    if message.id == 0 {
        return refuse("id", "0 is no consenter id; ids start at 1".to_owned());
    }
    if message.host.is_empty() || message.host.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return refuse("host", format!("{:?} is no host name or IP address", message.host));
    }
    let port = match u16::try_from(message.port) {
        Ok(port) if port > 0 => port,
        _ => return refuse("port", format!("{} is not within 1 to 65535", message.port)),
    };
    if !msp_ids.contains(&message.msp_id) {
        return refuse("msp_id", format!("no orderer organization has the MSP {:?}", message.msp_id));
    }

    let serialized = SerializedIdentity { mspid: message.msp_id.clone(), id_bytes: message.identity.clone() }
        .encode_to_vec();
    // One certificate and nothing around it, since peers compare these very bytes.
    if let Err(reason) = certificate_der(&message.identity) {
        return refuse("identity", reason);
    }
    let identity = match msps.identity(&serialized) {
        Ok(identity) => identity,
        Err(err) => return refuse("identity", err.to_string()),
    };
    if let Err(err) = msps.validate(&identity) {
        return refuse("identity", err.to_string());
    }
    let client_tls_der = match certificate_der(&message.client_tls_cert) {
        Ok(der) => der,
        Err(reason) => return refuse("client_tls_cert", reason),
    };
    let server_tls_der = match certificate_der(&message.server_tls_cert) {
        Ok(der) => der,
        Err(reason) => return refuse("server_tls_cert", reason),
    };

    Ok(Consenter {
        id: ConsenterId(message.id),
        host: message.host.clone(),
        port,
        msp_id: message.msp_id.clone(),
        identity_der: identity.certificate_der.to_vec(),
        key: identity.key.clone(),
        client_tls_der,
        server_tls_der,
    })
}

/// What two consenters share though it must tell them apart: one key would have two votes, and a
/// connection would not say whose it is.
fn clash(consenter: &Consenter, earlier: &Consenter) -> Option<(&'static str, &'static str)> {
    if consenter.id == earlier.id {
        return Some(("id", "this id"));
    }
    if consenter.identity_der == earlier.identity_der || consenter.key == earlier.key {
        return Some(("identity", "this identity or its key"));
    }
    let theirs = [&earlier.client_tls_der, &earlier.server_tls_der];
    if theirs.contains(&&consenter.client_tls_der) {
        return Some(("client_tls_cert", "this certificate"));
    }
    if theirs.contains(&&consenter.server_tls_der) {
        return Some(("server_tls_cert", "this certificate"));
    }
    if consenter.address() == earlier.address() {
        return Some(("host", "this host and port"));
    }
    None
}

/// The DER of a PEM text that must hold one certificate and nothing else.
fn certificate_der(pem_bytes: &[u8]) -> Result<Vec<u8>, String> {
    if pem_bytes.is_empty() {
        return Err("this certificate is missing".to_owned());
    }
    let mut blocks = pem::parse_many(pem_bytes).map_err(|err| format!("is not PEM: {err}"))?;
    let block = match (blocks.pop(), blocks.is_empty()) {
        (Some(block), true) if block.tag() == "CERTIFICATE" => block,
        _ => return Err("is not a PEM text with exactly one CERTIFICATE".to_owned()),
    };
    match X509Certificate::from_der(block.contents()) {
        Ok(([], _)) => Ok(block.into_contents()),
        Ok(_) => Err("has bytes after the certificate".to_owned()),
        Err(err) => Err(format!("is no X.509 certificate: {err}")),
    }
}
