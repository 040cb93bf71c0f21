//! The `solo` consenter and the channel support under it: acceptance cases of G1 and G9.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use prost::Message as _;
use sbft::consenter::solo::SoloConsenter;
use sbft::consenter::{
    Chain, Consenter, ConsenterSupport, HandleChainError, OrderError, Receipt, WriteError,
};
use sbft::crypto::{KeyFileSigner, KeyKind, LocalSigner};
use sbft::genesis::{
    APPLICATION_MSP, BatchSpec, ConsensusKind, NetworkMaterial, NetworkSpec, ORDERER_MSP, OptionsSpec,
    ReplicaAddress, Writers,
};
use sbft::header::header_hash;
use sbft::ledger::LedgerOptions;
use sbft::msg_processor::ProcessorOptions;
use sbft::proto::common::{Block, LastConfig, Metadata, OrdererBlockMetadata, SignatureHeader};
use sbft::proto::msp::SerializedIdentity;
use sbft::registrar::{Channel, JoinError, Registrar, RegistrarOptions};
use sbft::types::Number;
use sbft::wire::block::header_of;
use sbft::wire::envelope::Parsed;
use tempfile::TempDir;

use crate::network::{LIMIT, eventually};

/// One node with consensus type solo, and the consenter that its channels get.
struct Solo {
    directory: TempDir,
    material: NetworkMaterial,
    signer: Arc<dyn LocalSigner>,
    client: sbft::client::envelope::EnvelopeMaker,
}

/// Hands what it was given on to the test, and makes a solo chain.
#[derive(Default)]
struct Capture(std::sync::Mutex<Option<(Arc<dyn ConsenterSupport>, Metadata)>>);

impl Capture {
    fn taken(&self) -> (Arc<dyn ConsenterSupport>, Metadata) {
        self.0.lock().expect("no panic").take().expect("handle_chain was called")
    }
}

#[async_trait]
impl Consenter for Capture {
    async fn handle_chain(
        &self,
        support: Arc<dyn ConsenterSupport>,
        metadata: Metadata,
    ) -> Result<Arc<dyn Chain>, HandleChainError> {
        *self.0.lock().expect("no panic") = Some((support.clone(), metadata.clone()));
        SoloConsenter.handle_chain(support, metadata).await
    }
}

/// Makes no chain.
struct Refuse;

#[async_trait]
impl Consenter for Refuse {
    async fn handle_chain(
        &self,
        support: Arc<dyn ConsenterSupport>,
        _metadata: Metadata,
    ) -> Result<Arc<dyn Chain>, HandleChainError> {
        let reason = "this one is refused".into();
        Err(HandleChainError::Config { channel: support.chain_id().into(), reason })
    }
}

impl Solo {
    fn new(batch: BatchSpec) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let spec = NetworkSpec {
            channel: "alone".into(),
            key_kind: KeyKind::EcdsaP256,
            consensus: ConsensusKind::Solo,
            replicas: vec![ReplicaAddress { host: "127.0.0.1".into(), quic_port: 7051, grpc_port: 7050 }],
            clients: 1,
            writers: Writers::Signed,
            batch,
            options: OptionsSpec::default(),
        };
        let material = NetworkMaterial::create(&spec, directory.path()).expect("a network");
        let files = material.layout.replica(1);
        let certificate = std::fs::read(files.identity().certificate).expect("a certificate");
        let creator = SerializedIdentity { mspid: ORDERER_MSP.into(), id_bytes: certificate.into() };
        let signer =
            KeyFileSigner::open(files.identity().key, creator.encode_to_vec().into()).expect("a key");
        let client = material.layout.application().client(1);
        let files = sbft::client::network_file::IdentityFiles {
            msp_id: APPLICATION_MSP.into(),
            cert: client.certificate,
            key: client.key,
        };
        let client = sbft::client::envelope::EnvelopeMaker::open("alone", &files).expect("a client");
        Self { directory, material, signer: Arc::new(signer), client }
    }

    fn registrar(&self, consenter: Arc<dyn Consenter>) -> Registrar {
        Registrar::new(RegistrarOptions {
            data: self.directory.path().join("data"),
            signer: self.signer.clone(),
            processor: ProcessorOptions { check_expiration: true },
            ledger: LedgerOptions::default(),
            consenters: BTreeMap::from([("solo".to_owned(), consenter)]),
        })
    }

    async fn channel(&self) -> (Registrar, Arc<Channel>) {
        let registrar = self.registrar(Arc::new(SoloConsenter));
        let channel = registrar.join(self.material.genesis.clone()).await.expect("the channel runs");
        (registrar, channel)
    }

    /// The channel's support, and a chain that was never started.
    async fn support(&self) -> (Registrar, Arc<dyn ConsenterSupport>) {
        let capture = Arc::new(Capture::default());
        let registrar = self.registrar(capture.clone());
        registrar.join(self.material.genesis.clone()).await.expect("the channel runs");
        (registrar, capture.taken().0)
    }

    async fn envelope(&self) -> Parsed {
        let made = self.client.make(1500).await.expect("an envelope");
        Parsed::from_envelope(made.envelope).expect("a proper envelope")
    }

    async fn order(&self, channel: &Channel) -> Receipt {
        channel.chain().order(self.envelope().await, 0).await.expect("accepted")
    }
}

fn batch(max_message_count: u32, timeout_ms: u64) -> BatchSpec {
    BatchSpec { max_message_count, timeout: Duration::from_millis(timeout_ms), ..BatchSpec::default() }
}

async fn number(receipt: Receipt) -> u64 {
    let committed = tokio::time::timeout(LIMIT, receipt.committed()).await;
    committed.expect("it commits in time").expect("it commits").0
}

fn block(channel: &Channel, number: u64) -> Block {
    let bytes = channel.block(Number(number)).expect("readable").expect("below the height");
    Block::decode(bytes).expect("a block")
}

fn envelopes(block: &Block) -> usize {
    block.data.as_ref().map_or(0, |data| data.data.len())
}

#[tokio::test]
async fn case_9_solo_cuts_what_is_pending_when_the_batch_timeout_ends_and_nothing_after_it() {
    let solo = Solo::new(batch(10, 1000));
    let (registrar, channel) = solo.channel().await;
    let receipts = [solo.order(&channel).await, solo.order(&channel).await];
    for receipt in receipts {
        assert_eq!(number(receipt).await, 1);
    }
    assert_eq!(envelopes(&block(&channel, 1)), 2);
    // Twice the timeout, in which no other block comes.
    let mut height = channel.watch_height();
    height.mark_unchanged();
    assert!(tokio::time::timeout(Duration::from_millis(300), height.changed()).await.is_err());
    registrar.halt().await;
}

#[tokio::test]
async fn case_10_solo_writes_no_empty_block_after_a_batch_that_was_full_in_time() {
    let solo = Solo::new(batch(2, 150));
    let (registrar, channel) = solo.channel().await;
    let receipts = [solo.order(&channel).await, solo.order(&channel).await];
    for receipt in receipts {
        assert_eq!(number(receipt).await, 1);
    }
    let mut height = channel.watch_height();
    height.mark_unchanged();
    assert!(tokio::time::timeout(Duration::from_millis(300), height.changed()).await.is_err());
    assert_eq!(channel.height(), 2);
    registrar.halt().await;
}

#[tokio::test]
async fn solo_blocks_chain_and_carry_one_signature_over_slot_0_in_the_form_of_one_signer() {
    let solo = Solo::new(batch(1, 150));
    let (registrar, channel) = solo.channel().await;
    for expected in 1..=3 {
        assert_eq!(number(solo.order(&channel).await).await, expected);
    }
    for number in 1..=3 {
        let (below, this) = (block(&channel, number - 1), block(&channel, number));
        let below_hash = header_hash(&header_of(&below).expect("a header"));
        assert_eq!(header_of(&this).expect("a header").previous_hash, Some(below_hash));
        let slots = this.metadata.expect("metadata").metadata;
        assert_eq!(slots.len(), 5);
        assert!(slots[2..].iter().all(Bytes::is_empty));
        let slot = Metadata::decode(slots[0].clone()).expect("slot 0");
        let value = OrdererBlockMetadata::decode(slot.value).expect("its value");
        assert_eq!(value.last_config.expect("last config").index, 0);
        assert_eq!(slot.signatures.len(), 1);
        assert!(slot.signatures[0].identifier_header.is_empty());
        let header = SignatureHeader::decode(slot.signatures[0].signature_header.clone()).expect("a header");
        assert_eq!(header.creator, solo.signer.creator());
    }
    registrar.halt().await;
    drop((registrar, channel));

    // A second life goes on after the last block.
    let (registrar, channel) = solo.channel().await;
    assert_eq!(channel.height(), 4);
    assert_eq!(number(solo.order(&channel).await).await, 4);
    registrar.halt().await;
}

#[tokio::test]
async fn case_108_order_before_start_and_after_halt_is_an_error_never_a_hang() {
    let solo = Solo::new(batch(1, 150));
    let (registrar, support) = solo.support().await;
    let chain = SoloConsenter.handle_chain(support, Metadata::default()).await.expect("a chain");
    let soon = LIMIT;
    let early = tokio::time::timeout(soon, chain.order(solo.envelope().await, 0)).await.expect("no hang");
    assert!(matches!(early, Err(OrderError::NotStarted { .. })), "{early:?}");
    let early = tokio::time::timeout(soon, chain.configure(solo.envelope().await, 0)).await.expect("no hang");
    assert!(matches!(early, Err(OrderError::NotStarted { .. })), "{early:?}");
    assert!(chain.wait_ready().await.is_err());
    assert!(!chain.errored().is_errored());
    chain.start();
    assert!(chain.wait_ready().await.is_ok());
    let config = chain.configure(solo.envelope().await, 0).await;
    assert!(matches!(config, Err(OrderError::ConfigUpdatesNotServed)), "{config:?}");
    chain.halt();
    let late = tokio::time::timeout(soon, chain.order(solo.envelope().await, 0)).await.expect("no hang");
    assert!(matches!(late, Err(OrderError::Stopped { .. })), "{late:?}");
    tokio::time::timeout(LIMIT, chain.stopped()).await.expect("it stops");
    registrar.halt().await;
}

#[tokio::test]
async fn case_109_and_110_halting_twice_is_fine_and_errored_is_closed_by_it() {
    let solo = Solo::new(batch(1, 150));
    let (_registrar, channel) = solo.channel().await;
    let mut errored = channel.chain().errored();
    assert!(!errored.is_errored());
    channel.chain().halt();
    channel.chain().halt();
    tokio::time::timeout(LIMIT, errored.wait()).await.expect("it tells");
    tokio::time::timeout(LIMIT, channel.chain().stopped()).await.expect("it stops");
    tokio::time::timeout(LIMIT, channel.chain().stopped()).await.expect("again at once");
}

#[tokio::test]
async fn case_62_and_113_create_next_block_follows_the_last_and_changes_nothing() {
    let solo = Solo::new(batch(1, 150));
    let (_registrar, support) = solo.support().await;
    let data = vec![Bytes::from_static(b"one"), Bytes::from_static(b"two")];
    let block = support.create_next_block(data.clone());
    assert_eq!(block, support.create_next_block(data.clone()), "twice the same without a write between");
    let header = header_of(&block).expect("a header");
    assert_eq!((header.number, header.previous_hash), (Number(1), Some(support.genesis_hash())));
    assert_eq!(header.data_hash, sbft::header::data_hash(&data));
    assert_eq!(block.metadata.expect("metadata").metadata, vec![Bytes::new(); 5]);
}

#[tokio::test]
async fn case_111_create_next_block_sees_a_block_at_once_and_the_next_write_waits_until_it_is_appended() {
    let solo = Solo::new(batch(1, 150));
    let (_registrar, support) = solo.support().await;
    for number in 1..=20 {
        let block = support.create_next_block(vec![solo.envelope().await.frame]);
        support.clone().write_block(block, None).await.expect("written");
        // The write before this one has been appended, this one may still be on its way.
        assert!(support.height() >= number, "block {} is appended", number - 1);
        let next = header_of(&support.create_next_block(Vec::new())).expect("a header").number;
        assert_eq!(next, Number(number + 1));
    }
    eventually("the last block is appended", || async { (support.height() == 21).then_some(()) }).await;
}

#[tokio::test]
async fn case_112_a_config_block_is_refused_by_name_and_installs_nothing() {
    let solo = Solo::new(batch(1, 150));
    let (_registrar, support) = solo.support().await;
    let block = support.create_next_block(vec![solo.envelope().await.frame]);
    support.clone().write_block(block.clone(), None).await.expect("written");
    let again = support.clone().write_block(block.clone(), None).await.expect_err("it is there already");
    assert!(matches!(again, WriteError::OutOfOrder { found: Number(1), expected: Number(2), .. }), "{again}");
    let config = support.clone().write_config_block(block, None).await.expect_err("not yet");
    assert!(matches!(config, WriteError::ConfigUpdatesNotServed), "{config}");
    assert_eq!(support.sequence(), 0, "no configuration was installed");
    let next = header_of(&support.create_next_block(Vec::new())).expect("a header").number;
    assert_eq!(next, Number(2), "and no block was handed to the writer");
}

/// What the chain is given: nothing for a new channel, and later what the last block carries.
#[tokio::test]
async fn case_94_a_chain_starts_from_the_last_block_of_its_ledger() {
    let solo = Solo::new(batch(1, 150));
    let capture = Arc::new(Capture::default());
    let registrar = solo.registrar(capture.clone());
    registrar.join(solo.material.genesis.clone()).await.expect("the channel runs");
    let (support, metadata) = capture.taken();
    assert_eq!((support.height(), metadata), (1, Metadata::default()));
    for number in 1..=3 {
        let block = support.create_next_block(vec![solo.envelope().await.frame]);
        let carried = Bytes::from(format!("carried by {number}"));
        support.clone().write_block(block, Some(carried)).await.expect("written");
    }
    eventually("the last block is appended", || async { (support.height() == 4).then_some(()) }).await;
    let last = header_of(&support.create_next_block(Vec::new())).expect("a header").previous_hash;
    registrar.halt().await;
    drop((registrar, support));

    let registrar = solo.registrar(capture.clone());
    let channel = registrar.join(solo.material.genesis.clone()).await.expect("it runs again");
    let (support, metadata) = capture.taken();
    assert_eq!(metadata.value, "carried by 3");
    assert_eq!(support.height(), 4);
    let next = header_of(&support.create_next_block(Vec::new())).expect("a header");
    assert_eq!((next.number, next.previous_hash), (Number(4), last));
    assert_eq!(number(solo.order(&channel).await).await, 4);
    let slots = block(&channel, 4).metadata.expect("metadata").metadata;
    let slot = Metadata::decode(slots[1].clone()).expect("slot 1");
    assert_eq!(LastConfig::decode(slot.value).expect("a last config").index, 0);
    registrar.halt().await;
}

#[tokio::test]
async fn case_114_a_channel_whose_chain_cannot_be_made_is_reported_and_others_are_served() {
    let solo = Solo::new(batch(1, 150));
    let registrar = Registrar::new(RegistrarOptions {
        data: solo.directory.path().join("data"),
        signer: solo.signer.clone(),
        processor: ProcessorOptions { check_expiration: true },
        ledger: LedgerOptions::default(),
        consenters: BTreeMap::from([
            ("solo".to_owned(), Arc::new(SoloConsenter) as Arc<dyn Consenter>),
            ("BFT".to_owned(), Arc::new(Refuse) as Arc<dyn Consenter>),
        ]),
    });
    let channel = registrar.join(solo.material.genesis.clone()).await.expect("this one runs");
    let mut spec = solo.material.spec.clone();
    spec.channel = "refused".into();
    spec.consensus = ConsensusKind::Bft;
    let other = sbft::genesis::genesis_block(&spec).expect("a genesis block");
    let error = registrar.join(other).await.err().expect("its consenter refuses");
    assert!(matches!(error, JoinError::Chain(_)), "{error}");
    assert!(registrar.get("refused").is_none());
    let again = registrar.join(solo.material.genesis.clone()).await.err().expect("it is served already");
    assert!(matches!(again, JoinError::Exists { .. }), "{again}");
    assert_eq!(number(solo.order(&channel).await).await, 1);
    registrar.halt().await;
}

#[tokio::test]
async fn a_directory_with_another_chain_of_the_same_name_is_refused() {
    let solo = Solo::new(batch(1, 150));
    let (registrar, _channel) = solo.channel().await;
    registrar.halt().await;
    drop((registrar, _channel));
    let mut spec = solo.material.spec.clone();
    spec.batch.max_message_count = 7;
    let other = sbft::genesis::genesis_block(&spec).expect("a genesis block");
    let error = solo.registrar(Arc::new(SoloConsenter)).join(other).await.err().expect("another chain");
    assert!(matches!(error, JoinError::OtherChain { .. }), "{error}");
}
