//! What one client can make the node hold, and how the service ends.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sbft::node_config::Success;
use sbft::proto::common::Status;
use sbft::proto::orderer::{BroadcastResponse, DeliverResponse};
use sbft::types::Number;
use tokio::io::AsyncReadExt as _;
use tonic::Code;

use crate::chain::Script;
use crate::world::{DEADLINE, NEWEST, OLDEST, Setup, World, at, range};

const BROADCAST: &str = "/orderer.AtomicBroadcast/Broadcast";
const DELIVER: &str = "/orderer.AtomicBroadcast/Deliver";

#[tokio::test]
async fn a_stream_too_many_is_resource_exhausted_and_a_closed_one_makes_room() {
    let mut setup = Setup::default();
    setup.options.limits.streams = 2;
    let world = World::with(setup).await;
    let client = world.client().await;
    let mut first = client.broadcast().await;
    let _second = client.deliver().await;
    let refusal = client.open::<DeliverResponse>(DELIVER).await.err().expect("one too many");
    assert_eq!(refusal.code(), Code::ResourceExhausted);
    assert!(refusal.message().contains("limits.streams"), "{refusal}");
    first.finish();
    first.ended().await;
    first = loop {
        match client.open::<BroadcastResponse>(BROADCAST).await {
            Ok(stream) => break stream,
            Err(refusal) => assert_eq!(refusal.code(), Code::ResourceExhausted),
        }
    };
    first.accepted(world.member().envelope(b"x").await).await;
}

#[tokio::test]
async fn a_connection_too_many_is_told_so() {
    let mut setup = Setup::default();
    setup.options.limits.connections = 1;
    let world = World::with(setup).await;
    let first = world.client().await;
    first.broadcast().await.accepted(world.member().envelope(b"x").await).await;
    let second = world.client().await;
    let refusal = second.open::<BroadcastResponse>(BROADCAST).await.err().expect("one too many");
    assert_eq!(refusal.code(), Code::ResourceExhausted);
    assert!(refusal.message().contains("limits.connections"), "{refusal}");
    first.broadcast().await.accepted(world.member().envelope(b"x").await).await;
}

#[tokio::test]
async fn a_message_above_the_limit_is_resource_exhausted_for_its_stream_only() {
    let mut setup = Setup::default();
    setup.options.limits.max_message_bytes = 10_000;
    let world = World::with(setup).await;
    let client = world.client().await;
    let mut stream = client.broadcast().await;
    stream.accepted(world.member().envelope(b"x").await).await;
    stream.send_bytes(Bytes::from(vec![0; 10_001]));
    assert_eq!(stream.next().await.unwrap_err().code(), Code::ResourceExhausted);
    let mut stream = client.deliver().await;
    stream.send_bytes(Bytes::from(vec![0; 10_001]));
    assert_eq!(stream.next().await.unwrap_err().code(), Code::ResourceExhausted);
    client.broadcast().await.accepted(world.member().envelope(b"x").await).await;
}

#[tokio::test]
async fn a_stream_has_a_bounded_number_of_envelopes_waiting_for_their_commit() {
    const PIPELINE: usize = 4;
    let script = Script::new();
    let mut setup = Setup { consenter: Arc::new(script.clone()), ..Setup::default() };
    setup.options.broadcast.success = Success::Committed;
    setup.options.broadcast.pipeline = PIPELINE;
    let world = World::with(setup).await;
    let member = world.member();
    let mut stream = world.client().await.broadcast().await;
    for index in 0..100_u8 {
        stream.send(member.envelope(&[index]).await);
    }
    let mut committed = 0_u64;
    while committed < 100 {
        let waiting = script.commits();
        // One is looked at by the answering side and one waits for room beside those queued.
        assert!(waiting.len() <= PIPELINE + 2, "{} envelopes wait at once", waiting.len());
        for commit in waiting {
            commit.send(Number(committed)).unwrap();
            assert_eq!(stream.answer().await, (Status::Success, committed.to_string()));
            committed += 1;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn stopping_ends_waiting_streams_and_waits_for_no_client() {
    let world = World::start().await;
    let client = world.client().await;
    let mut waiting = client.deliver().await;
    waiting.send(world.member().seek(&range(OLDEST, at(u64::MAX))).await);
    waiting.number(0).await;
    let mut idle = client.broadcast().await;
    idle.accepted(world.member().envelope(b"x").await).await;
    waiting.number(1).await;
    let stopping = tokio::spawn(world.service.stop());
    assert_eq!(waiting.status().await, Status::ServiceUnavailable);
    assert_eq!(idle.next().await.unwrap_err().code(), Code::Unavailable);
    tokio::time::timeout(Duration::from_secs(15), stopping).await.expect("it stops in time").unwrap();
}

#[tokio::test]
async fn a_client_that_goes_away_while_it_waits_leaves_nothing_behind() {
    let mut setup = Setup::default();
    setup.options.limits.streams = 1;
    let world = World::with(setup).await;
    let client = world.client().await;
    for _ in 0..3 {
        let mut stream = loop {
            match client.open::<DeliverResponse>(DELIVER).await {
                Ok(stream) => break stream,
                Err(refusal) => assert_eq!(refusal.code(), Code::ResourceExhausted),
            }
        };
        stream.send(world.member().seek(&range(NEWEST, at(u64::MAX))).await);
        stream.number(0).await;
    }
}

#[tokio::test]
async fn a_connection_that_says_nothing_gives_its_place_back() {
    let mut setup = Setup::default();
    setup.options.limits.connections = 1;
    setup.options.limits.keepalive_timeout = Duration::from_millis(500);
    let world = World::with(setup).await;
    let mut silent = tokio::net::TcpStream::connect(world.service.address()).await.unwrap();
    let mut byte = [0];
    // What the server says first (HTTP/2 settings) does not matter; then comes the end.
    let ended = async { while let Ok(1..) = silent.read(&mut byte).await {} };
    tokio::time::timeout(DEADLINE, ended).await.expect("the connection ends in time");
    let mut stream = world.client().await.broadcast().await;
    stream.accepted(world.member().envelope(b"x").await).await;
}
