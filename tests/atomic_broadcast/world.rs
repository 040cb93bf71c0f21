//! One channel, its members, and a service in front of it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use prost::Message as _;
use sbft::consenter::Consenter;
use sbft::consenter::solo::SoloConsenter;
use sbft::crypto::{KeyFileSigner, KeyKind, LocalSigner};
use sbft::genesis::{
    BatchSpec, CertificateAuthority, CertificateRequest, ConsensusKind, KeyAndCertificate, NetworkMaterial,
    NetworkSpec, OptionsSpec, Purpose, ReplicaAddress, Unit, Writers,
};
use sbft::ledger::LedgerOptions;
use sbft::msg_processor::ProcessorOptions;
use sbft::proto::common::{ChannelHeader, Envelope, Header, HeaderType, Payload, SignatureHeader};
use sbft::proto::msp::SerializedIdentity;
use sbft::proto::orderer::seek_position::Type;
use sbft::proto::orderer::{SeekInfo, SeekNewest, SeekNextCommit, SeekOldest, SeekPosition, SeekSpecified};
use sbft::registrar::{Channel, Registrar, RegistrarOptions};
use sbft::service::{Clock, Service, ServiceOptions, bind};
use tempfile::TempDir;

use crate::client::Client;

pub(crate) const CHANNEL: &str = "orders";
pub(crate) const APPLICATION: &str = "Org1MSP";
pub(crate) const ORDERER: &str = "OrdererMSP";

/// What a test wants to be different.
pub(crate) struct Setup {
    pub(crate) options: ServiceOptions,
    pub(crate) batch: BatchSpec,
    pub(crate) writers: Writers,
    pub(crate) check_expiration: bool,
    pub(crate) consenter: Arc<dyn Consenter>,
}

impl Default for Setup {
    fn default() -> Self {
        // One envelope, one block: what a test submits is there when it asks.
        let batch = BatchSpec { max_message_count: 1, ..BatchSpec::default() };
        Self {
            options: ServiceOptions::default(),
            batch,
            writers: Writers::Signed,
            check_expiration: true,
            consenter: Arc::new(SoloConsenter),
        }
    }
}

/// A channel and a service that serves it.
pub(crate) struct World {
    pub(crate) material: NetworkMaterial,
    pub(crate) registrar: Arc<Registrar>,
    pub(crate) service: Service,
    clock: Arc<AtomicU64>,
    directory: TempDir,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with(Setup::default()).await
    }

    pub(crate) async fn with(setup: Setup) -> Self {
        Self::with_tls(setup, |_, _| {}).await
    }

    /// `tls` may add material that is only there once the network's keys are.
    pub(crate) async fn with_tls(
        mut setup: Setup,
        tls: impl FnOnce(&NetworkMaterial, &mut ServiceOptions),
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let material = material(&directory, setup.batch, setup.writers);
        tls(&material, &mut setup.options);
        let clock = Arc::new(AtomicU64::new(0));
        let offset = Arc::clone(&clock);
        setup.options.clock =
            Clock::new(move || SystemTime::now() + Duration::from_secs(offset.load(Ordering::Relaxed)));
        let orderer = Member::open(&material.layout.replica(1).identity(), ORDERER);
        let registrar = Arc::new(Registrar::new(RegistrarOptions {
            data: directory.path().join("data"),
            signer: orderer.signer,
            processor: ProcessorOptions { check_expiration: setup.check_expiration },
            ledger: LedgerOptions::default(),
            consenters: BTreeMap::from([("solo".to_owned(), setup.consenter)]),
        }));
        registrar.join(material.genesis.clone()).await.unwrap();
        let listener = bind("clients", SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let service = Service::start(listener, Arc::clone(&registrar), setup.options).await.unwrap();
        Self { material, registrar, service, clock, directory }
    }

    pub(crate) fn channel(&self) -> Arc<Channel> {
        self.registrar.get(CHANNEL).unwrap()
    }

    /// A client over plain text.
    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.service.address()).await
    }

    /// The first client of the application's organization.
    pub(crate) fn member(&self) -> Member {
        Member::open(&self.material.layout.application().client(1), APPLICATION)
    }

    /// A member of the application's organization whose certificate ends `life` from now.
    pub(crate) fn member_for(&self, life: Duration) -> Member {
        let authority = CertificateAuthority::load(&self.material.layout.application().ca()).unwrap();
        let request = CertificateRequest {
            not_after: SystemTime::now() + life,
            ..CertificateRequest::new("short-lived", Purpose::Member(Unit::Client))
        };
        self.issue(&authority, &request, APPLICATION)
    }

    /// Someone with the right MSP id and a certificate of another authority.
    pub(crate) fn stranger(&self) -> Member {
        let authority = CertificateAuthority::create(KeyKind::Ed25519, APPLICATION, "Org1MSP CA").unwrap();
        self.issue(
            &authority,
            &CertificateRequest::new("client-1", Purpose::Member(Unit::Client)),
            APPLICATION,
        )
    }

    fn issue(&self, authority: &CertificateAuthority, request: &CertificateRequest, msp_id: &str) -> Member {
        let issued = authority.issue(KeyKind::Ed25519, request).unwrap();
        let key = self.directory.path().join(format!("{}.pem", rand::random::<u64>()));
        sbft::crypto::write_key_file(&key, &issued.key).unwrap();
        Member::new(&key, issued.certificate.into_bytes(), msp_id)
    }

    /// Moves the service's clock forward.
    pub(crate) fn advance(&self, duration: Duration) {
        self.clock.fetch_add(duration.as_secs(), Ordering::Relaxed);
    }

    /// Submits envelopes until the chain has `height` blocks.
    pub(crate) async fn grow(&self, height: u64) {
        let mut stream = self.client().await.broadcast().await;
        let member = self.member();
        for _ in self.channel().height()..height {
            stream.accepted(member.envelope(b"grow").await).await;
        }
        self.reach(height).await;
    }

    /// Waits until the chain has `height` blocks.
    pub(crate) async fn reach(&self, height: u64) {
        let mut watch = self.channel().watch_height();
        let reached = tokio::time::timeout(DEADLINE, watch.wait_for(|now| *now >= height)).await;
        reached.expect("blocks come in time").unwrap();
    }
}

/// Longest wait for anything that must happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) fn material(directory: &TempDir, batch: BatchSpec, writers: Writers) -> NetworkMaterial {
    material_at(directory, ConsensusKind::Solo, &[1], batch, writers)
}

/// A network whose replicas have these QUIC ports.
pub(crate) fn material_at(
    directory: &TempDir,
    consensus: ConsensusKind,
    quic: &[u16],
    batch: BatchSpec,
    writers: Writers,
) -> NetworkMaterial {
    let address =
        |port: &u16| ReplicaAddress { host: "127.0.0.1".to_owned(), quic_port: *port, grpc_port: 7050 };
    let spec = NetworkSpec {
        channel: CHANNEL.to_owned(),
        key_kind: KeyKind::Ed25519,
        consensus,
        replicas: quic.iter().map(address).collect(),
        clients: 1,
        writers,
        batch,
        options: OptionsSpec::default(),
    };
    NetworkMaterial::create(&spec, &directory.path().join("network")).unwrap()
}

/// Someone who signs.
#[derive(Clone)]
pub(crate) struct Member {
    pub(crate) signer: Arc<dyn LocalSigner>,
}

impl Member {
    pub(crate) fn open(files: &KeyAndCertificate, msp_id: &str) -> Self {
        Self::new(&files.key, std::fs::read(&files.certificate).unwrap(), msp_id)
    }

    fn new(key: &std::path::Path, certificate: Vec<u8>, msp_id: &str) -> Self {
        let identity = SerializedIdentity { mspid: msp_id.to_owned(), id_bytes: certificate.into() };
        let signer = KeyFileSigner::open(key, identity.encode_to_vec().into()).unwrap();
        Self { signer: Arc::new(signer) }
    }

    /// A transaction for the channel.
    pub(crate) async fn envelope(&self, data: &[u8]) -> Envelope {
        self.typed(HeaderType::EndorserTransaction, CHANNEL, data).await
    }

    /// An envelope of this type for this channel.
    pub(crate) async fn typed(&self, kind: HeaderType, channel: &str, data: &[u8]) -> Envelope {
        let header = ChannelHeader { r#type: kind as i32, channel_id: channel.to_owned(), ..now() };
        self.sign(header, data.to_vec().into()).await
    }

    /// A seek request for the channel.
    pub(crate) async fn seek(&self, info: &SeekInfo) -> Envelope {
        self.typed(HeaderType::DeliverSeekInfo, CHANNEL, &info.encode_to_vec()).await
    }

    pub(crate) async fn sign(&self, header: ChannelHeader, data: Bytes) -> Envelope {
        let signature_header = self.signer.new_signature_header().await.unwrap();
        self.sign_parts(Some((header, signature_header)), data).await
    }

    pub(crate) async fn sign_parts(
        &self,
        header: Option<(ChannelHeader, SignatureHeader)>,
        data: Bytes,
    ) -> Envelope {
        let header = header.map(|(channel, signature)| Header {
            channel_header: channel.encode_to_vec().into(),
            signature_header: signature.encode_to_vec().into(),
        });
        let payload = Bytes::from(Payload { header, data }.encode_to_vec());
        let signature = self.signer.sign(&payload).await.unwrap();
        Envelope { payload, signature }
    }
}

/// A channel header with the time now.
pub(crate) fn now() -> ChannelHeader {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let timestamp = prost_types::Timestamp { seconds: since.as_secs() as i64, nanos: 0 };
    ChannelHeader { timestamp: Some(timestamp), ..ChannelHeader::default() }
}

pub(crate) const OLDEST: Type = Type::Oldest(SeekOldest {});
pub(crate) const NEWEST: Type = Type::Newest(SeekNewest {});
pub(crate) const NEXT: Type = Type::NextCommit(SeekNextCommit {});

pub(crate) fn at(number: u64) -> Type {
    Type::Specified(SeekSpecified { number })
}

/// A request from `start` to `stop` that blocks until ready.
pub(crate) fn range(start: Type, stop: Type) -> SeekInfo {
    let position = |kind| Some(SeekPosition { r#type: Some(kind) });
    SeekInfo { start: position(start), stop: position(stop), ..SeekInfo::default() }
}
