//! A bare QUIC endpoint, with the parameters that the engine's transport has by default.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::{Endpoint, EndpointConfig, TokioRuntime, VarInt};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use socket2::{Domain, Protocol, Socket, Type};

/// As the engine's transport has them by default.
const MTU: u16 = 1452;
const SOCKET_BUFFER: usize = 4 << 20;
const STREAM_WINDOW: u32 = 2 << 20;

/// An endpoint on a free port that shows this certificate, and trusts it.
pub(crate) fn endpoint(identity: &rcgen::CertifiedKey<rcgen::KeyPair>) -> Endpoint {
    let certificate = identity.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(identity.signing_key.serialize_der()));
    let mut quic = quinn::TransportConfig::default();
    let mut mtu = quinn::MtuDiscoveryConfig::default();
    mtu.upper_bound(MTU);
    quic.stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .send_window(u64::from(STREAM_WINDOW) * 32)
        .initial_rtt(Duration::from_millis(50))
        .keep_alive_interval(Some(Duration::from_millis(400)))
        .mtu_discovery_config(Some(mtu));
    let quic = Arc::new(quic);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls13 = &[&rustls::version::TLS13];

    let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(tls13)
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .expect("a server");
    let server = quinn::crypto::rustls::QuicServerConfig::try_from(server).expect("a QUIC server");
    let mut server = quinn::ServerConfig::with_crypto(Arc::new(server));
    server.transport_config(Arc::clone(&quic));

    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).expect("a root");
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(tls13)
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = quinn::crypto::rustls::QuicClientConfig::try_from(client).expect("a QUIC client");
    let mut client = quinn::ClientConfig::new(Arc::new(client));
    client.transport_config(quic);

    let mut endpoint =
        Endpoint::new(EndpointConfig::default(), Some(server), socket(), Arc::new(TokioRuntime))
            .expect("an endpoint");
    endpoint.set_default_client_config(client);
    endpoint
}

fn socket() -> UdpSocket {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let open = || -> std::io::Result<Socket> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_recv_buffer_size(SOCKET_BUFFER)?;
        socket.set_send_buffer_size(SOCKET_BUFFER)?;
        socket.bind(&address.into())?;
        Ok(socket)
    };
    open().expect("a socket").into()
}
