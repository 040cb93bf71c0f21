//! Group G4: how Deliver answers.

use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use sbft::proto::common::{Block, HeaderType, Status};
use sbft::proto::orderer::SeekInfo;
use sbft::proto::orderer::seek_info::{SeekBehavior, SeekContentType, SeekErrorResponse};
use sbft::types::Number;

use crate::client::Stream;
use crate::world::{CHANNEL, NEWEST, NEXT, OLDEST, World, at, now, range};
use sbft::proto::orderer::DeliverResponse;

/// A chain of `height` blocks and a stream that has asked for `info`.
async fn asked(height: u64, info: &SeekInfo) -> (World, Stream<DeliverResponse>) {
    let world = World::start().await;
    world.grow(height).await;
    let stream = world.client().await.deliver().await;
    stream.send(world.member().seek(info).await);
    (world, stream)
}

#[tokio::test]
async fn case_40_oldest_to_newest_is_everything_and_then_success() {
    let (world, mut stream) = asked(4, &range(OLDEST, NEWEST)).await;
    for number in 0..4 {
        let stored = world.channel().block(Number(number)).unwrap().unwrap();
        assert_eq!(stream.block().await, Block::decode(stored).unwrap());
    }
    assert_eq!(stream.status().await, Status::Success);
    stream.finish();
    stream.ended().await;
}

#[tokio::test]
async fn case_41_newest_to_newest_is_exactly_one_block() {
    let (world, mut stream) = asked(3, &range(NEWEST, NEWEST)).await;
    world.grow(5).await;
    let number = stream.block().await.header.unwrap().number;
    assert!((2..5).contains(&number));
    assert_eq!(stream.status().await, Status::Success);
}

#[tokio::test]
async fn case_42_a_number_to_itself_is_that_block() {
    let (_world, mut stream) = asked(4, &range(at(2), at(2))).await;
    stream.number(2).await;
    assert_eq!(stream.status().await, Status::Success);
}

#[tokio::test]
async fn case_43_a_start_above_the_height_is_not_found() {
    let (world, stream) = asked(3, &range(at(4), at(4))).await;
    stream.refused(Status::NotFound).await;
    let stream = world.client().await.deliver().await;
    stream.send(world.member().seek(&range(at(u64::MAX), at(u64::MAX))).await);
    stream.refused(Status::NotFound).await;
}

#[tokio::test]
async fn case_44_the_next_block_is_waited_for() {
    let (world, mut stream) = asked(3, &range(at(3), at(3))).await;
    world.grow(4).await;
    stream.number(3).await;
    assert_eq!(stream.status().await, Status::Success);
    // This one waits for certain: it has been answered in part.
    stream.send(world.member().seek(&range(at(3), at(5))).await);
    stream.number(3).await;
    world.grow(6).await;
    stream.number(4).await;
    stream.number(5).await;
    assert_eq!(stream.status().await, Status::Success);
}

#[tokio::test]
async fn case_45_the_next_block_is_not_found_if_that_is_asked_for() {
    let fail = |info| SeekInfo { behavior: SeekBehavior::FailIfNotReady as i32, ..info };
    let (world, stream) = asked(3, &fail(range(at(3), at(3)))).await;
    stream.refused(Status::NotFound).await;
    let mut stream = world.client().await.deliver().await;
    stream.send(world.member().seek(&fail(range(at(1), at(9)))).await);
    stream.number(1).await;
    stream.number(2).await;
    stream.refused(Status::NotFound).await;
}

#[tokio::test]
async fn case_46_a_stop_below_the_start_is_a_bad_request() {
    let (_world, stream) = asked(4, &range(at(3), at(2))).await;
    stream.refused(Status::BadRequest).await;
}

#[tokio::test]
async fn case_47_a_missing_position_is_a_bad_request() {
    let (world, stream) = asked(2, &SeekInfo { start: None, ..range(OLDEST, NEWEST) }).await;
    stream.refused(Status::BadRequest).await;
    let stream = world.client().await.deliver().await;
    stream.send(world.member().seek(&SeekInfo { stop: None, ..range(OLDEST, NEWEST) }).await);
    stream.refused(Status::BadRequest).await;
}

#[tokio::test]
async fn case_48_a_malformed_request_is_a_bad_request() {
    let world = World::start().await;
    let client = world.client().await;
    let member = world.member();
    let good = Bytes::from(range(OLDEST, NEWEST).encode_to_vec());
    let header = || {
        let mut header = now();
        header.channel_id = CHANNEL.to_owned();
        header.r#type = HeaderType::DeliverSeekInfo as i32;
        header
    };

    let stream = client.deliver().await;
    stream.send(member.sign(header(), Bytes::from_static(b"\xff\xff")).await);
    stream.refused(Status::BadRequest).await;

    let mut untimed = header();
    untimed.timestamp = None;
    let stream = client.deliver().await;
    stream.send(member.sign(untimed, good.clone()).await);
    stream.refused(Status::BadRequest).await;

    for (off, accepted) in [(-16, false), (16, false), (-14, true), (14, true), (i64::MIN / 60, false)] {
        let mut skewed = header();
        let timestamp = skewed.timestamp.as_mut().unwrap();
        timestamp.seconds = timestamp.seconds.saturating_add(off * 60);
        let mut stream = client.deliver().await;
        stream.send(member.sign(skewed, good.clone()).await);
        if accepted {
            stream.number(0).await;
        } else {
            stream.refused(Status::BadRequest).await;
        }
    }

    for bytes in [&b""[..], b"\x0a\xff\xff", b"\x0a\x02hi"] {
        let stream = client.deliver().await;
        stream.send_bytes(Bytes::copy_from_slice(bytes));
        stream.refused(Status::BadRequest).await;
    }
}

#[tokio::test]
async fn case_49_an_unknown_channel_is_not_found() {
    let world = World::start().await;
    let stream = world.client().await.deliver().await;
    let info = range(OLDEST, NEWEST).encode_to_vec();
    stream.send(world.member().typed(HeaderType::DeliverSeekInfo, "elsewhere", &info).await);
    stream.refused(Status::NotFound).await;
}

#[tokio::test]
async fn case_50_someone_who_is_no_reader_is_forbidden() {
    let world = World::start().await;
    let client = world.client().await;
    let stream = client.deliver().await;
    stream.send(world.stranger().seek(&range(OLDEST, NEWEST)).await);
    stream.refused(Status::Forbidden).await;
    let mut forged = world.member().seek(&range(OLDEST, NEWEST)).await;
    forged.signature = Bytes::from_static(&[1; 64]);
    let stream = client.deliver().await;
    stream.send(forged);
    stream.refused(Status::Forbidden).await;
    // Access is judged before positions.
    let stream = client.deliver().await;
    stream.send(world.stranger().seek(&SeekInfo::default()).await);
    stream.refused(Status::Forbidden).await;
}

#[tokio::test]
async fn case_52_an_identity_that_expires_is_forbidden_before_the_next_block() {
    let world = World::start().await;
    let reader = world.member_for(Duration::from_secs(3600));
    let mut stream = world.client().await.deliver().await;
    stream.send(reader.seek(&range(OLDEST, at(u64::MAX))).await);
    stream.number(0).await;
    world.advance(Duration::from_secs(7200));
    world.grow(2).await;
    stream.refused(Status::Forbidden).await;
}

#[tokio::test]
async fn case_53_an_errored_chain_is_unavailable_unless_best_effort_is_asked_for() {
    let best_effort = |info| SeekInfo { error_response: SeekErrorResponse::BestEffort as i32, ..info };
    let world = World::start().await;
    world.grow(3).await;
    let client = world.client().await;
    let mut waiting = client.deliver().await;
    waiting.send(world.member().seek(&best_effort(range(at(2), at(u64::MAX)))).await);
    waiting.number(2).await;
    world.registrar.halt().await;
    let stream = client.deliver().await;
    stream.send(world.member().seek(&range(OLDEST, NEWEST)).await);
    stream.refused(Status::ServiceUnavailable).await;
    let mut stream = client.deliver().await;
    stream.send(world.member().seek(&best_effort(range(OLDEST, NEWEST))).await);
    for number in 0..3 {
        stream.number(number).await;
    }
    assert_eq!(stream.status().await, Status::Success);
    // One that does not care goes on waiting, too.
    assert!(tokio::time::timeout(Duration::from_millis(200), waiting.next()).await.is_err());
}

#[tokio::test]
async fn case_54_halting_wakes_a_waiting_request() {
    let (world, mut stream) = asked(2, &range(at(1), at(u64::MAX))).await;
    stream.number(1).await;
    world.registrar.halt().await;
    stream.refused(Status::ServiceUnavailable).await;
}

#[tokio::test]
async fn case_55_headers_come_without_data_and_config_blocks_whole() {
    let headers = SeekInfo { content_type: SeekContentType::HeaderWithSig as i32, ..range(OLDEST, NEWEST) };
    let (world, mut stream) = asked(3, &headers).await;
    let stored = |number| Block::decode(world.channel().block(Number(number)).unwrap().unwrap()).unwrap();
    assert_eq!(stream.block().await, stored(0));
    for number in 1..3 {
        let block = stream.block().await;
        assert!(block.data.is_none());
        assert_eq!(block.header, stored(number).header);
        assert_eq!(block.metadata, stored(number).metadata);
    }
    assert_eq!(stream.status().await, Status::Success);
    stream.send(world.member().seek(&range(at(2), at(2))).await);
    assert_eq!(stream.block().await, stored(2));
}

#[tokio::test]
async fn case_56_an_endless_request_is_sent_blocks_and_no_status() {
    let (world, mut stream) = asked(2, &range(at(1), at(u64::MAX))).await;
    world.grow(6).await;
    for number in 1..6 {
        stream.number(number).await;
    }
    // The next thing to arrive is the next block and nothing else.
    world.grow(7).await;
    stream.number(6).await;
}

#[tokio::test]
async fn case_57_each_request_of_a_stream_is_answered() {
    let (world, mut stream) = asked(3, &range(at(1), at(1))).await;
    stream.send(world.member().seek(&range(OLDEST, OLDEST)).await);
    stream.send(world.member().seek(&range(NEWEST, NEWEST)).await);
    for number in [1, 0, 2] {
        stream.number(number).await;
        assert_eq!(stream.status().await, Status::Success);
    }
    stream.send(world.member().seek(&SeekInfo::default()).await);
    stream.refused(Status::BadRequest).await;
}

#[tokio::test]
async fn case_58_next_commit_starts_after_what_is_there() {
    let (world, mut stream) = asked(3, &range(NEXT, at(u64::MAX))).await;
    // A second request on the same connection is answered after the first was taken up.
    let mut other = world.client().await.deliver().await;
    other.send(world.member().seek(&range(NEWEST, NEWEST)).await);
    other.number(2).await;
    world.grow(5).await;
    let first = stream.block().await.header.unwrap().number;
    assert!(first >= 3, "block {first} was there before the request");
    if first == 3 {
        stream.number(4).await;
    }
}

#[tokio::test]
async fn a_long_chain_is_read_a_few_blocks_at_a_time() {
    let mut setup = crate::world::Setup::default();
    setup.options.deliver.read_ahead_bytes = 3000;
    let world = World::with(setup).await;
    world.grow(30).await;
    let mut stream = world.client().await.deliver().await;
    stream.send(world.member().seek(&range(OLDEST, NEWEST)).await);
    for number in 0..30 {
        stream.number(number).await;
    }
    assert_eq!(stream.status().await, Status::Success);
}
