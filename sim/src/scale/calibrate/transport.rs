//! What frames cost over QUIC, with the node's own transport: two replicas on loopback, each with a runtime
//! of its own, as processes have them.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use sbft::transport::{ChannelLink, Class, Peer, Transport, TransportConfig, Tuning};
use tokio::runtime::Builder;
use tokio::time::timeout;

use super::named_cpu;
use crate::scale::{Line, Way};

const CHANNEL: &str = "scale";
/// Votes go there and back one by one, and then so many at once.
const TOGETHER: usize = 16;
/// Votes of each of the two.
const VOTES: usize = 4_000;
const VOTE: usize = 250;
/// Frames and sizes for one that goes as fast as it can.
const BULK: usize = 1_500;
const BULK_SIZES: (usize, usize) = (8 << 10, 128 << 10);
/// Frames under way at most: fewer than the transport's queue holds.
const UNDER_WAY: usize = 64;
/// Whatever is awaited here comes soon or never.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the two ends tell each other about who they are.
struct Card {
    address: SocketAddr,
    certificate: Vec<u8>,
}

/// A way for votes and one for candidates. `processors` is how many threads a runtime has.
pub(super) fn measure(processors: usize) -> Result<(Way, Way), String> {
    let (here, there) = (mpsc::channel(), mpsc::channel());
    let other = std::thread::spawn(move || end(2, processors, here.0, there.1));
    let mine = end(1, processors, there.0, here.1);
    let others = other.join().map_err(|_| "the other end panicked".to_owned())?;
    let ([alone, together, low, high], [alone_there, together_there, low_there, high_there]) =
        (mine?, others?);
    // A hop is a send at one end and a receive at the other; both ends did as many of each.
    let (alone, together) = ((alone + alone_there) / 2.0, (together + together_there) / 2.0);
    let wake_us = ((alone - together) * TOGETHER as f64 / (TOGETHER - 1) as f64).max(0.0);
    let hop = alone - wake_us;
    let line = |low: f64, high: f64| Line::through((BULK_SIZES.0, low), (BULK_SIZES.1, high));
    let bulk = Way { wake_us, send: line(low, high), receive: line(low_there, high_there) };
    let vote = |kib_us: f64| Line { each_us: (hop / 2.0 - kib_us * VOTE as f64 / 1024.0).max(0.0), kib_us };
    let message = Way { wake_us, send: vote(bulk.send.kib_us), receive: vote(bulk.receive.kib_us) };
    Ok((message, bulk))
}

/// One end; gives its processor time for a vote there and back, alone and with others, and for a candidate
/// of each size.
fn end(
    me: u32,
    processors: usize,
    tell: mpsc::Sender<Card>,
    told: mpsc::Receiver<Card>,
) -> Result<[f64; 4], String> {
    let made = rcgen::generate_simple_self_signed(["sbft".to_owned()]).map_err(|error| error.to_string())?;
    let (certificate, key) = (made.cert.der().to_vec(), made.signing_key.serialize_der());
    let runtime = Builder::new_multi_thread()
        .worker_threads(processors)
        .thread_name(name(me))
        .enable_all()
        .build()
        .map_err(|error| format!("no runtime: {error}"))?;
    let work = runtime.spawn(async move {
        let transport = Transport::start(TransportConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            certificate_der: certificate.clone(),
            key_der: key.into(),
            client: None,
            tuning: Tuning::default(),
        })
        .map_err(|error| error.to_string())?;
        tell.send(Card { address: transport.local_addr(), certificate })
            .map_err(|_| "the other end is gone".to_owned())?;
        let other = told.recv().map_err(|_| "the other end is gone".to_owned())?;
        let id = 3 - me;
        let peer = Peer {
            id,
            address: other.address.to_string(),
            server_cert_der: other.certificate.clone(),
            client_cert_der: other.certificate,
        };
        transport.set_peers(vec![peer]).map_err(|error| error.to_string())?;
        let mut link = transport.join(CHANNEL, &[id]).map_err(|error| error.to_string())?;
        while !timeout(PATIENCE, link.events.recv()).await.map_err(late)?.ok_or("the link has ended")?.up {}
        let mut bulk = link.bulk(id).ok_or("no bulk stream")?;
        let alone = votes(me, id, &mut link, 1).await?;
        let together = votes(me, id, &mut link, TOGETHER).await?;
        let mut sizes = [0.0; 2];
        for (cpu, size) in sizes.iter_mut().zip([BULK_SIZES.0, BULK_SIZES.1]) {
            *cpu = candidates(me, id, &mut link, &mut bulk, size).await?;
        }
        // The other end may still wait for an acknowledgement.
        tokio::time::sleep(Duration::from_millis(100)).await;
        transport.close().await;
        Ok([alone, together, sizes[0], sizes[1]])
    });
    runtime.block_on(work).map_err(|error| format!("an end of the transport failed: {error}"))?
}

/// The name of the threads of an end.
fn name(me: u32) -> String {
    format!("scale-end-{me}")
}

fn late(_: tokio::time::error::Elapsed) -> String {
    "two ends of a transport on this machine do not hear each other in time".to_owned()
}

/// Votes there and back, so many at a time; microseconds for each that goes and comes.
async fn votes(me: u32, peer: u32, link: &mut ChannelLink, together: usize) -> Result<f64, String> {
    let frame = Bytes::from(vec![1; VOTE]);
    let (first, rounds) = (200 / together, VOTES / together);
    let mut begun = Duration::ZERO;
    for round in 0..first + rounds {
        if round == first {
            begun = named_cpu(&name(me))?;
        }
        for turn in [1, 2] {
            for _ in 0..together {
                if turn == me {
                    send(link, peer, Class::Votes, &frame)?;
                } else {
                    timeout(PATIENCE, link.votes.recv()).await.map_err(late)?.ok_or("the link has ended")?;
                }
            }
        }
    }
    Ok((named_cpu(&name(me))? - begun).as_secs_f64() * 1e6 / (rounds * together) as f64)
}

/// Candidates from the first to the second, as fast as they are taken; a vote says that some were.
async fn candidates(
    me: u32,
    peer: u32,
    link: &mut ChannelLink,
    bulk: &mut tokio::sync::mpsc::Receiver<Bytes>,
    size: usize,
) -> Result<f64, String> {
    let frame = Bytes::from(vec![2; size]);
    let taken = Bytes::from_static(b"taken");
    let begun = named_cpu(&name(me))?;
    for round in 0..BULK / UNDER_WAY {
        if me == 1 {
            if round > 1 {
                timeout(PATIENCE, link.votes.recv()).await.map_err(late)?.ok_or("the link has ended")?;
            }
            for _ in 0..UNDER_WAY {
                send(link, peer, Class::Bulk, &frame)?;
            }
        } else {
            for _ in 0..UNDER_WAY {
                timeout(PATIENCE, bulk.recv()).await.map_err(late)?.ok_or("the link has ended")?;
            }
            send(link, peer, Class::Votes, &taken)?;
        }
    }
    if me == 1 {
        for _ in 0..2 {
            timeout(PATIENCE, link.votes.recv()).await.map_err(late)?.ok_or("the link has ended")?;
        }
    }
    let frames = BULK / UNDER_WAY * UNDER_WAY;
    Ok((named_cpu(&name(me))? - begun).as_secs_f64() * 1e6 / frames as f64)
}

fn send(link: &ChannelLink, peer: u32, class: Class, frame: &Bytes) -> Result<(), String> {
    if link.send(peer, class, frame.clone()) {
        return Ok(());
    }
    Err("the transport dropped a frame although little was under way".to_owned())
}
