//! The status-code tables of Broadcast and Deliver (fabric-spec A.9 and A.10), row by row, and
//! which check comes first where a request breaks several.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use sbft::consenter::OrderError;
use sbft::genesis::BatchSpec;
use sbft::proto::common::{
    ChannelHeader, ConfigUpdate, ConfigUpdateEnvelope, Envelope, Header, HeaderType, Payload, Status,
};
use sbft::proto::orderer::SeekInfo;
use sbft::proto::orderer::seek_info::{SeekBehavior, SeekErrorResponse};

use crate::chain::Script;
use crate::client::Client;
use crate::world::{CHANNEL, Member, NEWEST, NEXT, OLDEST, Setup, World, at, now, range};

const LIMIT: u32 = 20_000;
const DENIED: &str = "implicit policy evaluation failed - 0 sub-policies were satisfied";

fn header(kind: HeaderType, channel: &str) -> ChannelHeader {
    ChannelHeader { r#type: kind as i32, channel_id: channel.to_owned(), ..now() }
}

/// An envelope around header bytes as they are, properly signed.
async fn around(member: &Member, channel_header: &[u8], signature_header: &[u8], data: &[u8]) -> Envelope {
    let header = Header {
        channel_header: Bytes::copy_from_slice(channel_header),
        signature_header: Bytes::copy_from_slice(signature_header),
    };
    let payload = Payload { header: Some(header), data: Bytes::copy_from_slice(data) };
    let payload = Bytes::from(payload.encode_to_vec());
    let signature = member.signer.sign(&payload).await.unwrap();
    Envelope { payload, signature }
}

fn forged(mut envelope: Envelope) -> Envelope {
    let mut signature = envelope.signature.to_vec();
    signature[10..13].iter_mut().for_each(|byte| *byte ^= 0x55);
    envelope.signature = signature.into();
    envelope
}

/// A config update that would change nothing, as an administrator's tool would send it.
async fn update(member: &Member) -> Envelope {
    let update = ConfigUpdate { channel_id: CHANNEL.to_owned(), ..ConfigUpdate::default() };
    let data = ConfigUpdateEnvelope { config_update: update.encode_to_vec().into(), signatures: Vec::new() };
    member.typed(HeaderType::ConfigUpdate, CHANNEL, &data.encode_to_vec()).await
}

fn limited() -> Setup {
    let batch = BatchSpec {
        max_message_count: 1,
        absolute_max_bytes: LIMIT,
        preferred_max_bytes: LIMIT,
        ..BatchSpec::default()
    };
    Setup { batch, ..Setup::default() }
}

#[tokio::test]
async fn every_row_of_the_broadcast_table_is_answered_as_it_says() {
    use HeaderType::{Config, ConfigUpdate, EndorserTransaction, OrdererTransaction};
    use Status::{BadRequest, Forbidden, NotImplemented};

    let world = World::with(limited()).await;
    let (member, stranger) = (world.member(), world.stranger());
    let expired = world.member_for(Duration::ZERO);
    let good_header = header(EndorserTransaction, CHANNEL).encode_to_vec();
    let large = vec![0; LIMIT as usize];
    let undecodable = "could not determine channel ID";
    let unsigned = Envelope { signature: Bytes::new(), ..member.envelope(b"x").await };
    let garbage = Envelope { payload: Bytes::from_static(b"\xff\xfe"), signature: Bytes::from_static(b"s") };
    let rows = [
        ("garbage", garbage, BadRequest, undecodable),
        ("no header", member.sign_parts(None, Bytes::from_static(b"x")).await, BadRequest, undecodable),
        ("channel header", around(&member, b"\xff", b"", b"x").await, BadRequest, undecodable),
        ("signature header", around(&member, &good_header, b"\xff", b"x").await, BadRequest, "signature"),
        (
            "other channel",
            member.typed(EndorserTransaction, "elsewhere", b"").await,
            BadRequest,
            "channel does not",
        ),
        ("no channel", member.typed(EndorserTransaction, "", b"").await, BadRequest, "channel does not"),
        (
            "update elsewhere",
            member.typed(ConfigUpdate, "elsewhere", b"").await,
            BadRequest,
            "channel does not",
        ),
        ("config", member.typed(Config, CHANNEL, b"").await, BadRequest, ""),
        ("orderer transaction", member.typed(OrdererTransaction, CHANNEL, b"").await, BadRequest, ""),
        ("empty", Envelope::default(), BadRequest, "Message was empty"),
        ("too large", member.envelope(&large).await, BadRequest, "exceeds maximum"),
        ("expired", expired.envelope(b"x").await, BadRequest, "expired"),
        ("forged", forged(member.envelope(b"x").await), Forbidden, DENIED),
        ("unsigned", unsigned, Forbidden, DENIED),
        ("no creator", around(&member, &good_header, b"", b"x").await, Forbidden, DENIED),
        ("stranger", stranger.envelope(b"x").await, Forbidden, DENIED),
        // Config updates go through the same filters, and those that pass are not served yet.
        ("stranger's update", update(&stranger).await, Forbidden, DENIED),
        ("forged update", forged(update(&member).await), Forbidden, DENIED),
        ("expired update", update(&expired).await, BadRequest, "expired"),
        ("large update", member.typed(ConfigUpdate, CHANNEL, &large).await, BadRequest, "exceeds maximum"),
        ("update", update(&member).await, NotImplemented, "does not support config updates"),
        // The order of the filters: empty, size, expiry, signature.
        ("large and expired", forged(expired.envelope(&large).await), BadRequest, "exceeds maximum"),
        ("expired and forged", forged(expired.envelope(b"x").await), BadRequest, "expired"),
    ];
    let client = world.client().await;
    for (row, envelope, status, text) in rows {
        let mut stream = client.broadcast().await;
        let (answered, info) = stream.submit(envelope).await;
        assert_eq!(answered, status, "{row}: {info}");
        assert!(!info.is_empty() && info.contains(text), "{row}: {info}");
        stream.ended().await;
    }
    assert_eq!(world.channel().height(), 1, "nothing was ordered");
    client.broadcast().await.accepted(member.envelope(b"good").await).await;
    world.reach(2).await;
}

#[tokio::test]
async fn what_the_chain_says_comes_after_the_filters_and_is_told_in_its_words() {
    let script = Script::new();
    let world = World::with(Setup { consenter: Arc::new(script.clone()), ..limited() }).await;
    let (member, client) = (world.member(), world.client().await);
    script.order_error(OrderError::PoolFull { limit: 7, limit_bytes: 99 });
    let text = client.broadcast().await.refused(member.envelope(b"x").await, Status::ServiceUnavailable);
    assert!(text.await.contains("the pool is full"));
    script.not_ready("no quorum: 1 of 4 reachable, 3 needed");
    let text = client.broadcast().await.refused(member.envelope(b"x").await, Status::ServiceUnavailable);
    assert_eq!(text.await, "no quorum: 1 of 4 reachable, 3 needed");
    for (envelope, status) in [
        (Envelope::default(), Status::BadRequest),
        (member.envelope(&vec![0; LIMIT as usize]).await, Status::BadRequest),
        (forged(member.envelope(b"x").await), Status::Forbidden),
        (update(&member).await, Status::NotImplemented),
    ] {
        client.broadcast().await.refused(envelope, status).await;
    }
    assert_eq!(script.ordered(), 0);
}

/// Sends one request and expects these block numbers and then this status.
async fn ask(client: &Client, row: &str, request: Envelope, numbers: &[u64], status: Status) {
    let mut stream = client.deliver().await;
    stream.send(request);
    for number in numbers {
        stream.number(*number).await;
    }
    assert_eq!(stream.status().await, status, "{row}");
    if status == Status::Success {
        stream.finish();
    }
    stream.ended().await;
}

#[tokio::test]
async fn every_row_of_the_deliver_table_is_answered_as_it_says() {
    use HeaderType::DeliverSeekInfo;
    use Status::{BadRequest, Forbidden, NotFound, Success};

    let world = World::with(limited()).await;
    world.grow(4).await;
    let (member, stranger) = (world.member(), world.stranger());
    let expired = world.member_for(Duration::ZERO);
    let all = range(OLDEST, NEWEST).encode_to_vec();
    let good_header = header(DeliverSeekInfo, CHANNEL).encode_to_vec();
    let untimed = |channel: &str| ChannelHeader { timestamp: None, ..header(DeliverSeekInfo, channel) };
    let mut early = header(DeliverSeekInfo, CHANNEL);
    early.timestamp.as_mut().unwrap().seconds -= 16 * 60;
    let sought = |signer: &Member, info: SeekInfo| {
        let signer = signer.clone();
        async move { signer.seek(&info).await }
    };
    let fail = |info| SeekInfo { behavior: SeekBehavior::FailIfNotReady as i32, ..info };
    let garbage = Envelope { payload: Bytes::from_static(b"\xff\xfe"), signature: Bytes::from_static(b"s") };
    let rows: Vec<(&str, Envelope, &[u64], Status)> = vec![
        // 1: what does not decode, and the time.
        ("empty", Envelope::default(), &[], BadRequest),
        ("payload", garbage, &[], BadRequest),
        ("no header", member.sign_parts(None, all.clone().into()).await, &[], BadRequest),
        ("channel header", around(&member, b"\xff", b"", &all).await, &[], BadRequest),
        ("signature header", around(&member, &good_header, b"\xff", &all).await, &[], BadRequest),
        ("no timestamp", member.sign(untimed(CHANNEL), all.clone().into()).await, &[], BadRequest),
        ("16 minutes", member.sign(early, all.clone().into()).await, &[], BadRequest),
        ("time first", member.sign(untimed("elsewhere"), all.clone().into()).await, &[], BadRequest),
        // 2: the channel, before the seek info is looked at.
        ("elsewhere", member.typed(DeliverSeekInfo, "elsewhere", &all).await, &[], NotFound),
        ("channel first", member.typed(DeliverSeekInfo, "elsewhere", b"\xff").await, &[], NotFound),
        // 3: the seek info, before the reader.
        ("seek info", member.typed(DeliverSeekInfo, CHANNEL, b"\xff").await, &[], BadRequest),
        ("seek info first", stranger.typed(DeliverSeekInfo, CHANNEL, b"\xff").await, &[], BadRequest),
        // 5: the reader, before positions.
        ("stranger", sought(&stranger, range(OLDEST, NEWEST)).await, &[], Forbidden),
        ("forged", forged(sought(&member, range(OLDEST, NEWEST)).await), &[], Forbidden),
        ("expired", sought(&expired, range(OLDEST, NEWEST)).await, &[], Forbidden),
        ("reader first", sought(&stranger, SeekInfo::default()).await, &[], Forbidden),
        // 6: positions.
        ("nothing", sought(&member, SeekInfo::default()).await, &[], BadRequest),
        (
            "no start",
            sought(&member, SeekInfo { start: None, ..range(OLDEST, NEWEST) }).await,
            &[],
            BadRequest,
        ),
        ("no stop", sought(&member, SeekInfo { stop: None, ..range(OLDEST, NEWEST) }).await, &[], BadRequest),
        // 7: where they are.
        ("all", sought(&member, range(OLDEST, NEWEST)).await, &[0, 1, 2, 3], Success),
        ("oldest twice", sought(&member, range(OLDEST, OLDEST)).await, &[0], Success),
        ("newest twice", sought(&member, range(NEWEST, NEWEST)).await, &[3], Success),
        ("a stop of oldest is the start", sought(&member, range(at(2), OLDEST)).await, &[2], Success),
        ("some", sought(&member, range(at(1), at(2))).await, &[1, 2], Success),
        ("to newest", sought(&member, range(at(2), NEWEST)).await, &[2, 3], Success),
        ("next as stop of block 0", sought(&member, range(OLDEST, NEXT)).await, &[0], Success),
        ("backwards", sought(&member, range(at(3), at(2))).await, &[], BadRequest),
        ("newest backwards", sought(&member, range(NEWEST, at(1))).await, &[], BadRequest),
        ("beyond", sought(&member, range(at(5), at(6))).await, &[], NotFound),
        ("beyond and backwards", sought(&member, range(at(5), at(1))).await, &[], NotFound),
        // 8: what is not there yet.
        ("not ready", sought(&member, fail(range(at(4), at(4)))).await, &[], NotFound),
        ("next not ready", sought(&member, fail(range(NEXT, at(9)))).await, &[], NotFound),
        ("partly ready", sought(&member, fail(range(at(2), at(9)))).await, &[2, 3], NotFound),
    ];
    let client = world.client().await;
    for (row, request, numbers, status) in rows {
        ask(&client, row, request, numbers, status).await;
    }
}

#[tokio::test]
async fn an_errored_chain_is_told_after_the_seek_info_and_before_the_reader() {
    use Status::{BadRequest, Forbidden, NotFound, ServiceUnavailable, Success};

    let world = World::start().await;
    world.grow(3).await;
    let (member, stranger) = (world.member(), world.stranger());
    world.registrar.halt().await;
    let best = |info| SeekInfo { error_response: SeekErrorResponse::BestEffort as i32, ..info };
    let fail = |info| SeekInfo { behavior: SeekBehavior::FailIfNotReady as i32, ..info };
    let unknown = range(OLDEST, NEWEST).encode_to_vec();
    let garbage = member.typed(HeaderType::DeliverSeekInfo, CHANNEL, b"\xff").await;
    let elsewhere = member.typed(HeaderType::DeliverSeekInfo, "elsewhere", &unknown).await;
    let rows: Vec<(&str, Envelope, &[u64], Status)> = vec![
        ("channel first", elsewhere, &[], NotFound),
        ("seek info first", garbage, &[], BadRequest),
        ("strict", member.seek(&range(OLDEST, NEWEST)).await, &[], ServiceUnavailable),
        ("strict stranger", stranger.seek(&range(OLDEST, NEWEST)).await, &[], ServiceUnavailable),
        ("strict without positions", member.seek(&SeekInfo::default()).await, &[], ServiceUnavailable),
        ("best effort", member.seek(&best(range(OLDEST, NEWEST))).await, &[0, 1, 2], Success),
        ("best effort stranger", stranger.seek(&best(range(OLDEST, NEWEST))).await, &[], Forbidden),
        ("best effort without positions", member.seek(&best(SeekInfo::default())).await, &[], BadRequest),
        ("best effort not ready", member.seek(&fail(best(range(at(2), at(9))))).await, &[2], NotFound),
    ];
    let client = world.client().await;
    for (row, request, numbers, status) in rows {
        ask(&client, row, request, numbers, status).await;
    }
}
