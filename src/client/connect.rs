//! Connections to a replica's gRPC endpoint, with TLS when the network has a CA.

use std::time::Duration;

use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// How to reach replicas: the CA that vouches for them and, for mutual TLS, who we are.
#[derive(Clone, Debug, Default)]
pub struct Security {
    /// PEM of the CA; plaintext without.
    pub ca: Option<String>,
    /// PEM certificate and key of the client, for servers that ask for one.
    pub identity: Option<(String, String)>,
}

/// Why no connection could be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address is no `host:port`.
    #[error("{address} is not an address of the form host:port: {source}")]
    Address {
        /// The address.
        address: String,
        /// What is wrong with it.
        source: tonic::transport::Error,
    },
    /// Nobody answers there, or TLS fails.
    #[error("cannot connect to {address}: {reason}")]
    Connect {
        /// The address.
        address: String,
        /// The chain of causes.
        reason: String,
    },
}

/// Connects to `address` (`host:port`).
///
/// # Errors
/// When the address is malformed, nobody listens there, or the TLS handshake fails.
pub async fn connect(address: &str, security: &Security) -> Result<Channel, ConnectError> {
    let bad_address = |source| ConnectError::Address { address: address.to_owned(), source };
    let scheme = if security.ca.is_some() { "https" } else { "http" };
    let mut endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))
        .map_err(bad_address)?
        .connect_timeout(Duration::from_secs(5))
        .tcp_nodelay(true)
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(10));
    if let Some(ca) = &security.ca {
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
        if let Some((certificate, key)) = &security.identity {
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        endpoint = endpoint.tls_config(tls).map_err(bad_address)?;
    }
    endpoint.connect().await.map_err(|error| ConnectError::Connect {
        address: address.to_owned(),
        reason: chain_of_causes(&error),
    })
}

/// An error and all its causes in one line; transport errors hide the telling part below.
pub fn chain_of_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let line = inner.to_string();
        if !text.contains(&line) {
            text = format!("{text}: {line}");
        }
        cause = inner.source();
    }
    text
}
