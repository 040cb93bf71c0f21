//! Group G3: how Broadcast answers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use sbft::consenter::OrderError;
use sbft::genesis::{BatchSpec, Writers};
use sbft::node_config::Success;
use sbft::proto::common::{Block, Envelope, HeaderType, Payload, Status};
use sbft::types::Number;

use crate::chain::Script;
use crate::world::{CHANNEL, Setup, World, now};

#[tokio::test]
async fn case_25_a_valid_envelope_is_accepted_and_the_stream_stays_open() {
    let world = World::start().await;
    let mut stream = world.client().await.broadcast().await;
    let member = world.member();
    for round in 0..3 {
        stream.accepted(member.envelope(&[round]).await).await;
    }
    stream.accepted(member.typed(HeaderType::Message, CHANNEL, b"a message").await).await;
    world.reach(5).await;
    let block = Block::decode(world.channel().block(Number(4)).unwrap().unwrap()).unwrap();
    let envelope = Envelope::decode(block.data.unwrap().data.remove(0)).unwrap();
    assert_eq!(Payload::decode(envelope.payload).unwrap().data, "a message");
}

#[tokio::test]
async fn case_26_garbage_is_a_bad_request_and_ends_the_stream() {
    let world = World::start().await;
    let client = world.client().await;
    let garbage =
        Envelope { payload: Bytes::from_static(b"\xff\xfegarbage"), signature: Bytes::from_static(b"s") };
    let info = client.broadcast().await.refused(garbage, Status::BadRequest).await;
    assert!(info.contains("could not determine channel ID"), "{info}");

    let mut stream = client.broadcast().await;
    stream.send_bytes(Bytes::from_static(b"\x0a\xff\xff\xff"));
    let (status, info) = stream.answer().await;
    assert_eq!(status, Status::BadRequest, "{info}");
    stream.ended().await;
}

#[tokio::test]
async fn case_27_a_missing_header_is_a_bad_request() {
    let world = World::start().await;
    let client = world.client().await;
    let member = world.member();
    let headless = member.sign_parts(None, Bytes::from_static(b"data")).await;
    let info = client.broadcast().await.refused(headless, Status::BadRequest).await;
    assert!(info.contains("could not determine channel ID"), "{info}");
    let no_channel_header = member.sign_parts(Some(Default::default()), Bytes::from_static(b"data")).await;
    client.broadcast().await.refused(no_channel_header, Status::BadRequest).await;
}

#[tokio::test]
async fn case_28_an_unknown_channel_does_not_exist() {
    let world = World::start().await;
    let client = world.client().await;
    for kind in [HeaderType::EndorserTransaction, HeaderType::ConfigUpdate, HeaderType::Config] {
        let envelope = world.member().typed(kind, "elsewhere", b"").await;
        let info = client.broadcast().await.refused(envelope, Status::BadRequest).await;
        if kind != HeaderType::Config {
            assert_eq!(info, "channel does not exist");
        }
    }
}

#[tokio::test]
async fn case_29_config_and_orderer_transactions_cannot_be_submitted() {
    let world = World::start().await;
    let client = world.client().await;
    let genesis = world.material.genesis.data.clone().unwrap().data.remove(0);
    client.broadcast().await.refused(Envelope::decode(genesis).unwrap(), Status::BadRequest).await;
    for kind in [HeaderType::Config, HeaderType::OrdererTransaction] {
        let envelope = world.member().typed(kind, CHANNEL, b"").await;
        client.broadcast().await.refused(envelope, Status::BadRequest).await;
    }
    assert_eq!(world.channel().height(), 1);
}

#[tokio::test]
async fn case_30_a_corrupted_signature_is_forbidden() {
    let world = World::start().await;
    let mut envelope = world.member().envelope(b"x").await;
    let mut signature = envelope.signature.to_vec();
    signature[10..13].iter_mut().for_each(|byte| *byte ^= 0x55);
    envelope.signature = signature.into();
    let info = world.client().await.broadcast().await.refused(envelope, Status::Forbidden).await;
    assert!(info.contains("implicit policy evaluation failed - 0 sub-policies were satisfied"), "{info}");
}

#[tokio::test]
async fn case_31_a_creator_who_is_no_writer_is_forbidden() {
    let world = World::start().await;
    let envelope = world.stranger().envelope(b"x").await;
    world.client().await.broadcast().await.refused(envelope, Status::Forbidden).await;
    let mut nobody = world.member().envelope(b"x").await;
    nobody.signature = Bytes::new();
    world.client().await.broadcast().await.refused(nobody, Status::Forbidden).await;
}

#[tokio::test]
async fn unsigned_envelopes_are_refused_even_where_anyone_may_write() {
    let world = World::with(Setup { writers: Writers::Open, ..Setup::default() }).await;
    let client = world.client().await;
    client.broadcast().await.accepted(world.stranger().envelope(b"x").await).await;
    let mut unsigned = world.member().envelope(b"x").await;
    unsigned.signature = Bytes::new();
    client.broadcast().await.refused(unsigned, Status::BadRequest).await;
}

#[tokio::test]
async fn case_32_an_empty_payload_is_a_bad_request() {
    let world = World::start().await;
    let client = world.client().await;
    let info = client.broadcast().await.refused(Envelope::default(), Status::BadRequest).await;
    assert_eq!(info, "Message was empty");
}

#[tokio::test]
async fn case_33_an_envelope_one_byte_above_the_limit_is_a_bad_request() {
    const LIMIT: usize = 4096;
    let batch = BatchSpec {
        max_message_count: 1,
        absolute_max_bytes: LIMIT as u32,
        preferred_max_bytes: LIMIT as u32,
        ..BatchSpec::default()
    };
    let world = World::with(Setup { batch, ..Setup::default() }).await;
    let member = world.member();
    let client = world.client().await;
    let size = |envelope: &Envelope| envelope.payload.len() + envelope.signature.len();
    let empty = size(&member.envelope(&[0; 1000]).await);
    let exact = member.envelope(&vec![0; 1000 + LIMIT - empty]).await;
    assert_eq!(size(&exact), LIMIT);
    client.broadcast().await.accepted(exact).await;
    let above = member.envelope(&vec![0; 1001 + LIMIT - empty]).await;
    assert_eq!(size(&above), LIMIT + 1);
    client.broadcast().await.refused(above, Status::BadRequest).await;
}

#[tokio::test]
async fn case_34_an_expired_creator_is_a_bad_request_unless_expiry_is_not_checked() {
    for (check_expiration, expected) in [(true, Status::BadRequest), (false, Status::Success)] {
        let world = World::with(Setup { check_expiration, ..Setup::default() }).await;
        let member = world.member_for(Duration::from_secs(3600));
        let mut stream = world.client().await.broadcast().await;
        stream.accepted(member.envelope(b"in time").await).await;
        world.advance(Duration::from_secs(7200));
        let (status, info) = stream.submit(member.envelope(b"late").await).await;
        assert_eq!(status, expected, "{info}");
    }
}

#[tokio::test]
async fn case_35_what_is_not_ready_or_cannot_order_is_unavailable() {
    let script = Script::new();
    let world = World::with(Setup { consenter: Arc::new(script.clone()), ..Setup::default() }).await;
    let client = world.client().await;
    let member = world.member();
    client.broadcast().await.accepted(member.envelope(b"well").await).await;

    script.order_error(OrderError::PoolFull { limit: 7, limit_bytes: 99 });
    let info =
        client.broadcast().await.refused(member.envelope(b"x").await, Status::ServiceUnavailable).await;
    assert!(info.contains("the pool is full"), "{info}");

    script.not_ready("no quorum: 2 of 4 reachable, 3 needed");
    let info =
        client.broadcast().await.refused(member.envelope(b"x").await, Status::ServiceUnavailable).await;
    assert_eq!(info, "no quorum: 2 of 4 reachable, 3 needed");
    // Validation comes first: what is wrong stays wrong.
    client.broadcast().await.refused(world.stranger().envelope(b"x").await, Status::Forbidden).await;
}

#[tokio::test]
async fn case_35_a_halted_chain_is_unavailable() {
    let world = World::start().await;
    world.registrar.halt().await;
    let envelope = world.member().envelope(b"x").await;
    world.client().await.broadcast().await.refused(envelope, Status::ServiceUnavailable).await;
}

#[tokio::test]
async fn case_37_nothing_after_a_refused_envelope_is_answered_or_ordered() {
    let script = Script::new();
    let world = World::with(Setup { consenter: Arc::new(script.clone()), ..Setup::default() }).await;
    let member = world.member();
    for bad_at in [0, 1, 5, 40] {
        let before = script.ordered();
        let mut stream = world.client().await.broadcast().await;
        for index in 0..50 {
            let signer = if index == bad_at { world.stranger() } else { member.clone() };
            stream.send(signer.envelope(&[bad_at, index]).await);
        }
        for _ in 0..bad_at {
            assert_eq!(stream.answer().await.0, Status::Success);
        }
        assert_eq!(stream.answer().await.0, Status::Forbidden);
        stream.ended().await;
        let ordered = script.data().split_off(before);
        let expected: Vec<Vec<u8>> = (0..bad_at).map(|index| vec![bad_at, index]).collect();
        assert_eq!(ordered, expected);
    }
}

#[tokio::test]
async fn case_37_the_clients_end_is_a_clean_end() {
    let world = World::start().await;
    let mut stream = world.client().await.broadcast().await;
    stream.send(world.member().envelope(b"last").await);
    stream.finish();
    assert_eq!(stream.answer().await.0, Status::Success);
    stream.ended().await;
}

#[tokio::test]
async fn a_config_update_that_passes_the_filters_is_not_implemented() {
    let world = World::start().await;
    let client = world.client().await;
    let update = world.member().typed(HeaderType::ConfigUpdate, CHANNEL, b"").await;
    let info = client.broadcast().await.refused(update, Status::NotImplemented).await;
    assert!(info.contains("config updates"), "{info}");
    let update = world.stranger().typed(HeaderType::ConfigUpdate, CHANNEL, b"").await;
    client.broadcast().await.refused(update, Status::Forbidden).await;
}

#[tokio::test]
async fn many_envelopes_are_answered_and_ordered_in_their_order() {
    let script = Script::new();
    let world = World::with(Setup { consenter: Arc::new(script.clone()), ..Setup::default() }).await;
    let member = world.member();
    let mut stream = world.client().await.broadcast().await;
    for index in 0..600_u16 {
        stream.send(member.envelope(&index.to_be_bytes()).await);
    }
    for _ in 0..600 {
        assert_eq!(stream.answer().await.0, Status::Success);
    }
    let expected: Vec<Vec<u8>> = (0..600_u16).map(|index| index.to_be_bytes().to_vec()).collect();
    assert_eq!(script.data(), expected);
}

#[tokio::test]
async fn success_can_mean_committed_and_then_names_the_block() {
    let mut setup = Setup::default();
    setup.options.broadcast.success = Success::Committed;
    let world = World::with(setup).await;
    let mut stream = world.client().await.broadcast().await;
    for round in 1..=3 {
        let answer = stream.submit(world.member().envelope(b"x").await).await;
        assert_eq!(answer, (Status::Success, round.to_string()));
    }
}

#[tokio::test]
async fn committed_answers_keep_their_order_and_a_stream_waits_for_many_at_once() {
    let script = Script::new();
    let mut setup = Setup { consenter: Arc::new(script.clone()), ..Setup::default() };
    setup.options.broadcast.success = Success::Committed;
    let world = World::with(setup).await;
    let member = world.member();
    let mut stream = world.client().await.broadcast().await;
    for index in 0..5 {
        stream.send(member.envelope(&[index]).await);
    }
    while script.ordered() < 5 {
        tokio::task::yield_now().await;
    }
    // The last commits first; its answer waits for the others'.
    for (index, commit) in script.commits().into_iter().enumerate().rev() {
        commit.send(Number(10 + index as u64)).unwrap();
    }
    for index in 0..5 {
        assert_eq!(stream.answer().await, (Status::Success, (10 + index).to_string()));
    }
    stream.send(member.envelope(b"dropped").await);
    while script.ordered() < 6 {
        tokio::task::yield_now().await;
    }
    drop(script.commits());
    assert_eq!(stream.answer().await.0, Status::ServiceUnavailable);
    stream.ended().await;
}

#[tokio::test]
async fn a_panic_ends_its_stream_and_no_other() {
    let script = Script::new();
    let world = World::with(Setup { consenter: Arc::new(script.clone()), ..Setup::default() }).await;
    let client = world.client().await;
    let mut bystander = client.broadcast().await;
    bystander.accepted(world.member().envelope(b"before").await).await;
    script.panics(true);
    let mut stream = client.broadcast().await;
    stream.send(world.member().envelope(b"x").await);
    assert_eq!(stream.next().await.unwrap_err().code(), tonic::Code::Internal);
    script.panics(false);
    bystander.accepted(world.member().envelope(b"after").await).await;
}

#[tokio::test]
async fn a_timestamp_does_not_matter_to_broadcast() {
    let world = World::start().await;
    let mut header = now();
    header.timestamp = None;
    header.channel_id = CHANNEL.to_owned();
    header.r#type = HeaderType::EndorserTransaction as i32;
    let envelope = world.member().sign(header, Bytes::from_static(b"x")).await;
    world.client().await.broadcast().await.accepted(envelope).await;
}
