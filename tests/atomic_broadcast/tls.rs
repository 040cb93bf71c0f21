//! TLS and mutual TLS, health and reflection.

use prost::Message as _;
use sbft::crypto::KeyKind;
use sbft::genesis::{CertificateAuthority, CertificateRequest, NetworkMaterial, Purpose};
use sbft::header::sha256;
use sbft::proto::common::{HeaderType, Status};
use sbft::service::{Service, ServiceOptions, TlsMaterial};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use crate::chain::Script;
use crate::client::Client;
use crate::world::{CHANNEL, NEWEST, OLDEST, Setup, World, now, range};

/// TLS with the replica's own certificate; mutual if `mutual`.
async fn world(mutual: bool) -> World {
    let tls = move |material: &NetworkMaterial, options: &mut ServiceOptions| {
        let files = material.layout.replica(1).tls();
        let ca = material.layout.application().tls_ca();
        options.tls = Some(TlsMaterial {
            certificate: std::fs::read(files.certificate).unwrap(),
            key: std::fs::read(files.key).unwrap(),
            client_ca: mutual.then(|| std::fs::read(ca.certificate).unwrap()),
        });
    };
    World::with_tls(Setup::default(), tls).await
}

fn endpoint(world: &World, identity: Option<Identity>) -> Endpoint {
    let ca = std::fs::read(world.material.layout.orderer().tls_ca().certificate).unwrap();
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca)).domain_name("localhost");
    if let Some(identity) = identity {
        tls = tls.identity(identity);
    }
    let address = world.service.address();
    Endpoint::from_shared(format!("https://{address}")).unwrap().tls_config(tls).unwrap()
}

/// A client certificate of the application's TLS CA: its PEM pair, and its hash.
fn client_identity(world: &World) -> (Identity, Vec<u8>) {
    let authority = CertificateAuthority::load(&world.material.layout.application().tls_ca()).unwrap();
    let request = CertificateRequest::new("client-1", Purpose::Tls(vec!["client-1".to_owned()]));
    let issued = authority.issue(KeyKind::EcdsaP256, &request).unwrap();
    let der = pem::parse(&issued.certificate).unwrap().into_contents();
    (Identity::from_pem(&issued.certificate, issued.key.as_bytes()), sha256(&der).0.to_vec())
}

#[tokio::test]
async fn tls_serves_clients_that_trust_the_ca_and_no_others() {
    let world = world(false).await;
    let client = Client::over(endpoint(&world, None)).await.unwrap();
    client.broadcast().await.accepted(world.member().envelope(b"x").await).await;
    let mut stream = client.deliver().await;
    stream.send(world.member().seek(&range(OLDEST, NEWEST)).await);
    stream.number(0).await;

    let wrong = std::fs::read(world.material.layout.application().tls_ca().certificate).unwrap();
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(wrong)).domain_name("localhost");
    let address = world.service.address();
    let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap().tls_config(tls).unwrap();
    assert!(Client::over(endpoint).await.is_err());
}

#[tokio::test]
async fn mutual_tls_serves_no_client_without_a_certificate() {
    let world = world(true).await;
    if let Ok(client) = Client::over(endpoint(&world, None)).await {
        // TLS 1.3 tells the client only when it first reads.
        let refused =
            client.open::<sbft::proto::orderer::BroadcastResponse>("/orderer.AtomicBroadcast/Broadcast");
        let refused = match refused.await {
            Err(_) => true,
            Ok(mut stream) => stream.next().await.is_err(),
        };
        assert!(refused, "a client without certificate was served");
    }
    let (identity, _) = client_identity(&world);
    let client = Client::over(endpoint(&world, Some(identity))).await.unwrap();
    client.broadcast().await.accepted(world.member().envelope(b"x").await).await;
}

#[tokio::test]
async fn case_59_a_request_that_names_another_tls_certificate_is_a_bad_request() {
    let world = world(true).await;
    let (identity, hash) = client_identity(&world);
    let client = Client::over(endpoint(&world, Some(identity))).await.unwrap();
    let request = |tls_cert_hash: Vec<u8>| {
        let mut header = now();
        header.channel_id = CHANNEL.to_owned();
        header.r#type = HeaderType::DeliverSeekInfo as i32;
        header.tls_cert_hash = tls_cert_hash.into();
        let member = world.member();
        async move { member.sign(header, range(OLDEST, OLDEST).encode_to_vec().into()).await }
    };
    for wrong in [Vec::new(), vec![7; 32], hash[..31].to_vec()] {
        let stream = client.deliver().await;
        stream.send(request(wrong).await);
        stream.refused(Status::BadRequest).await;
    }
    let mut stream = client.deliver().await;
    stream.send(request(hash).await);
    stream.number(0).await;
    assert_eq!(stream.status().await, Status::Success);
}

#[tokio::test]
async fn health_follows_readiness_for_the_server_and_the_service() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;

    let script = Script::new();
    let world =
        World::with(Setup { consenter: std::sync::Arc::new(script.clone()), ..Setup::default() }).await;
    let mut health = HealthClient::new(world.client().await.channel());
    let request = |service: &str| HealthCheckRequest { service: service.to_owned() };
    let mut watch = health.watch(request("orderer.AtomicBroadcast")).await.unwrap().into_inner();
    let mut until = async |wanted: i32| {
        let reached = async { while watch.message().await.unwrap().unwrap().status != wanted {} };
        tokio::time::timeout(crate::world::DEADLINE, reached).await.expect("health follows in time");
    };
    until(1).await;
    script.not_ready("no quorum");
    until(2).await;
    assert_eq!(health.check(request("")).await.unwrap().into_inner().status, 2);
    assert_eq!(health.check(request("nothing")).await.unwrap_err().code(), tonic::Code::NotFound);
}

#[tokio::test]
async fn reflection_lists_the_services_and_describes_their_messages() {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

    let world = World::start().await;
    let mut reflection = ServerReflectionClient::new(world.client().await.channel());
    let ask = |message| ServerReflectionRequest { host: String::new(), message_request: Some(message) };
    let requests = tokio_stream::iter([
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol("orderer.AtomicBroadcast".to_owned())),
        ask(MessageRequest::FileContainingSymbol("common.Block".to_owned())),
    ]);
    let mut answers = reflection.server_reflection_info(requests).await.unwrap().into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) =
        answers.message().await.unwrap().unwrap().message_response
    else {
        panic!("no list of services");
    };
    let names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
    for name in ["orderer.AtomicBroadcast", "grpc.health.v1.Health"] {
        assert!(names.iter().any(|listed| listed == name), "{name} is missing in {names:?}");
    }
    for _ in 0..2 {
        let answer = answers.message().await.unwrap().unwrap().message_response;
        assert!(matches!(answer, Some(MessageResponse::FileDescriptorResponse(_))), "{answer:?}");
    }
}

#[tokio::test]
async fn tls_material_that_cannot_be_used_is_refused_with_the_field_to_check() {
    let material = |world: &World| {
        let files = world.material.layout.replica(1).tls();
        let read = |path| std::fs::read(path).unwrap();
        TlsMaterial { certificate: read(files.certificate), key: read(files.key), client_ca: None }
    };
    let world = World::start().await;
    let good = material(&world);
    let another_key = std::fs::read(world.material.layout.replica(1).cluster().key).unwrap();
    for bad in [
        TlsMaterial { certificate: b"garbage".to_vec(), ..good.clone() },
        TlsMaterial { key: Vec::new(), ..good.clone() },
        TlsMaterial { key: another_key, ..good.clone() },
        TlsMaterial { client_ca: Some(b"garbage".to_vec()), ..good.clone() },
    ] {
        let listener = sbft::service::bind("clients", "127.0.0.1:0".parse().unwrap()).unwrap();
        let options = ServiceOptions { tls: Some(bad), ..ServiceOptions::default() };
        let refusal = Service::start(listener, world.registrar.clone(), options).await.err();
        let text = refusal.expect("the material must be refused").to_string();
        assert!(text.contains("[tls]"), "{text}");
    }
}
