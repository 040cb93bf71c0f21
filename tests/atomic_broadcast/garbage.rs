//! Truncated, bit-flipped and random input: always answered, never a panic, and what others send
//! is not affected.

use bytes::Bytes;
use prost::Message as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sbft::proto::common::{HeaderType, Status};
use sbft::proto::orderer::deliver_response::Type;
use tonic::Code;

use crate::world::{CHANNEL, NEWEST, OLDEST, World, range};

const ROUNDS: usize = 400;

/// A mangled copy of `good`, or something random.
fn mangle(random: &mut StdRng, good: &[u8]) -> Bytes {
    let mut bytes = good.to_vec();
    match random.random_range(0..5) {
        0 => bytes.truncate(random.random_range(0..=bytes.len())),
        1 => {
            for _ in 0..random.random_range(1..8) {
                let index = random.random_range(0..bytes.len());
                bytes[index] ^= 1 << random.random_range(0..8);
            }
        }
        2 => {
            let index = random.random_range(0..bytes.len());
            bytes.splice(index..index, (0..random.random_range(1..40)).map(|_| random.random::<u8>()));
        }
        3 => {
            let (from, to) = (random.random_range(0..bytes.len()), random.random_range(0..bytes.len()));
            bytes.drain(from.min(to)..from.max(to));
        }
        _ => bytes = (0..random.random_range(0..300)).map(|_| random.random::<u8>()).collect(),
    }
    bytes.into()
}

fn seeded() -> StdRng {
    let seed = rand::random();
    println!("seed {seed}");
    StdRng::seed_from_u64(seed)
}

#[tokio::test]
async fn broadcast_answers_whatever_it_is_sent() {
    let mut random = seeded();
    let world = World::start().await;
    let client = world.client().await;
    let member = world.member();
    let mut others = client.broadcast().await;
    let good = member.envelope(b"the original").await.encode_to_vec();
    let update = member.typed(HeaderType::ConfigUpdate, CHANNEL, &good).await.encode_to_vec();
    for round in 0..ROUNDS {
        let mut stream = client.broadcast().await;
        stream.send_bytes(mangle(&mut random, if round % 4 == 0 { &update } else { &good }));
        let (status, info) = stream.answer().await;
        if status != Status::Success {
            assert!(!info.is_empty());
            stream.ended().await;
        }
        if round % 100 == 0 {
            others.accepted(member.envelope(b"another's").await).await;
        }
    }
    others.accepted(member.envelope(b"another's").await).await;
}

#[tokio::test]
async fn deliver_answers_whatever_it_is_sent() {
    let mut random = seeded();
    let world = World::start().await;
    let client = world.client().await;
    let member = world.member();
    let mut info = range(OLDEST, NEWEST);
    // So that no mangled position can make a request wait.
    info.behavior = 1;
    let info = info.encode_to_vec();
    for round in 0..ROUNDS {
        let mut stream = client.deliver().await;
        if round % 2 == 0 {
            // Well signed around a mangled seek info.
            let mangled = mangle(&mut random, &info);
            stream.send(member.typed(HeaderType::DeliverSeekInfo, CHANNEL, &mangled).await);
        } else {
            let good = member.typed(HeaderType::DeliverSeekInfo, CHANNEL, &info).await.encode_to_vec();
            stream.send_bytes(mangle(&mut random, &good));
        }
        // A request that happens to wait for a block that never comes is an answer too.
        stream.finish();
        loop {
            let next = tokio::time::timeout(std::time::Duration::from_millis(300), stream.next()).await;
            match next {
                Err(_waits) => break,
                Ok(Ok(None)) => break,
                Ok(Ok(Some(reply))) => match reply.r#type {
                    Some(Type::Status(status)) if status != Status::Success as i32 => {
                        stream.ended().await;
                        break;
                    }
                    reply => assert!(reply.is_some()),
                },
                Ok(Err(error)) => assert_ne!(error.code(), Code::Internal, "{error}"),
            }
        }
    }
    let mut stream = client.deliver().await;
    stream.send(member.seek(&range(OLDEST, OLDEST)).await);
    stream.number(0).await;
}
