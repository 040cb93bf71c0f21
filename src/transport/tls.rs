//! TLS 1.3 with both sides pinned: a peer is who shows exactly the certificate that the channel
//! configuration holds, and proves with its key that it is its own.
//!
//! Names, issuers and dates of certificates are not looked at: the configuration says which
//! certificate is good, and a network must not stop on the day one expires.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ConnectionId, ConnectionIdGenerator, EndpointConfig};
use ring::hmac;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::TransportError;

/// What both ends must speak.
const ALPN: &[u8] = b"sbft/1";

/// A certificate and its key.
pub(super) struct Credentials {
    pub(super) certificate_der: Vec<u8>,
    pub(super) key_der: Zeroizing<Vec<u8>>,
}

/// Which client certificates are whose; changes with the set of peers.
#[derive(Debug, Default)]
pub(super) struct Pins(RwLock<BTreeMap<Vec<u8>, u32>>);

impl Pins {
    pub(super) fn replace(&self, pins: BTreeMap<Vec<u8>, u32>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = pins;
    }

    pub(super) fn owner(&self, certificate: &[u8]) -> Option<u32> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(certificate).copied()
    }
}

/// The accepting side: shows `credentials`, admits only pinned clients.
pub(super) fn server(
    credentials: &Credentials,
    pins: Arc<Pins>,
) -> Result<Arc<QuicServerConfig>, TransportError> {
    let provider = provider();
    let verifier = PinnedClients { pins, provider: Arc::clone(&provider) };
    let (chain, key) = credentials.for_rustls();
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unusable)?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_single_cert(chain, key)
        .map_err(unusable)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // A resumed session would skip the check of the certificate.
    config.send_tls13_tickets = 0;
    QuicServerConfig::try_from(config).map(Arc::new).map_err(|error| {
        TransportError::Credentials(error.to_string()) // no cipher suite for QUIC's first packets
    })
}

/// The dialling side: shows `credentials`, talks only to whoever shows `server_certificate`.
pub(super) fn client(
    credentials: &Credentials,
    server_certificate: Vec<u8>,
) -> Result<Arc<QuicClientConfig>, TransportError> {
    let provider = provider();
    let verifier = PinnedServer { certificate: server_certificate, provider: Arc::clone(&provider) };
    let (chain, key) = credentials.for_rustls();
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unusable)?
        .dangerous() // rustls' word for one's own verifier
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(chain, key)
        .map_err(unusable)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    QuicClientConfig::try_from(config)
        .map(Arc::new)
        .map_err(|error| TransportError::Credentials(error.to_string()))
}

/// The key of QUIC's stateless resets is made from the private key instead of at random: a replica
/// that was killed and started again then answers packets of its forgotten connections with a
/// reset that its peers believe, and they reconnect at once instead of waiting for the idle
/// timeout. For the same reason connection ids are plain random bytes: quinn's own ids are keyed
/// per process, and packets with ids of another process are dropped in silence.
pub(super) fn endpoint_config(credentials: &Credentials) -> EndpointConfig {
    let mut hasher = Sha256::new();
    hasher.update(b"sbft stateless reset");
    hasher.update(&*credentials.key_der);
    let key = hmac::Key::new(hmac::HMAC_SHA256, &hasher.finalize());
    let mut config = EndpointConfig::new(Arc::new(key));
    config.cid_generator(|| Box::new(RandomIds));
    config
}

struct RandomIds;

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&rand::random::<[u8; ID_BYTES]>())
    }

    fn cid_len(&self) -> usize {
        ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// Length of a connection id.
const ID_BYTES: usize = 8;

impl Credentials {
    fn for_rustls(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = PrivatePkcs8KeyDer::from(self.key_der.to_vec());
        (vec![CertificateDer::from(self.certificate_der.clone())], PrivateKeyDer::Pkcs8(key))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn unusable(error: Error) -> TransportError {
    TransportError::Credentials(error.to_string())
}

#[derive(Debug)]
struct PinnedServer {
    certificate: Vec<u8>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match end_entity.as_ref() == self.certificate {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(stranger()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[derive(Debug)]
struct PinnedClients {
    pins: Arc<Pins>,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for PinnedClients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match self.pins.owner(end_entity) {
            Some(_) => Ok(ClientCertVerified::assertion()),
            None => Err(stranger()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn stranger() -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(
        NotTheOneInTheChannelConfiguration,
    ))))
}

/// rustls shows the type's name, so that is what people read in the log.
#[derive(Debug, thiserror::Error)]
#[error("not the certificate that the channel configuration has for this replica")]
struct NotTheOneInTheChannelConfiguration;
