//! What frames cost over QUIC, with the node's own transport: two replicas on loopback, each on one thread.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use sbft::transport::{ChannelLink, Class, Peer, Transport, TransportConfig, Tuning};
use tokio::time::timeout;

use super::{runtime, thread_cpu};
use crate::scale::{Line, Way};

const CHANNEL: &str = "scale";
/// Frames for a measurement that go one by one, there and back.
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

/// A way for votes and one for candidates; `wake_us` is what waking a task costs, which is counted apart.
pub(super) fn measure(wake_us: f64) -> Result<(Way, Way), String> {
    let (here, there) = (mpsc::channel(), mpsc::channel());
    let other = std::thread::spawn(move || end(2, &here.0, &there.1));
    let mine = end(1, &there.0, &here.1);
    let others = other.join().map_err(|_| "the other end panicked".to_owned())?;
    let ([ping, low, high], [pong, low_there, high_there]) = (mine?, others?);
    // A hop is a send at one end and a receive at the other, and wakes a task there.
    let hop = (ping + pong) / 2.0 - wake_us;
    let line = |low: f64, high: f64| Line::through((BULK_SIZES.0, low), (BULK_SIZES.1, high));
    let bulk = Way { send: line(low, high), receive: line(low_there, high_there) };
    let vote = |kib_us: f64| Line { each_us: (hop / 2.0 - kib_us * VOTE as f64 / 1024.0).max(0.0), kib_us };
    let message = Way { send: vote(bulk.send.kib_us), receive: vote(bulk.receive.kib_us) };
    Ok((message, bulk))
}

/// One end; gives its processor time for a vote there and back, and for a candidate of each size.
fn end(me: u32, tell: &mpsc::Sender<Card>, told: &mpsc::Receiver<Card>) -> Result<[f64; 3], String> {
    let made = rcgen::generate_simple_self_signed(["sbft".to_owned()]).map_err(|error| error.to_string())?;
    let (certificate, key) = (made.cert.der().to_vec(), made.signing_key.serialize_der());
    let runtime = runtime()?;
    runtime.block_on(async {
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
        let votes = votes(me, id, &mut link).await?;
        let mut sizes = [0.0; 2];
        for (cpu, size) in sizes.iter_mut().zip([BULK_SIZES.0, BULK_SIZES.1]) {
            *cpu = candidates(me, id, &mut link, &mut bulk, size).await?;
        }
        // The other end may still wait for an acknowledgement.
        tokio::time::sleep(Duration::from_millis(100)).await;
        transport.close().await;
        Ok([votes, sizes[0], sizes[1]])
    })
}

fn late(_: tokio::time::error::Elapsed) -> String {
    "two ends of a transport on this machine do not hear each other in time".to_owned()
}

/// Votes there and back, one at a time.
async fn votes(me: u32, peer: u32, link: &mut ChannelLink) -> Result<f64, String> {
    let frame = Bytes::from(vec![1; VOTE]);
    let mut begun = thread_cpu()?;
    for round in 0..VOTES + 100 {
        if round == 100 {
            begun = thread_cpu()?;
        }
        if me == 1 {
            send(link, peer, Class::Votes, &frame)?;
        }
        timeout(PATIENCE, link.votes.recv()).await.map_err(late)?.ok_or("the link has ended")?;
        if me == 2 {
            send(link, peer, Class::Votes, &frame)?;
        }
    }
    Ok((thread_cpu()? - begun).as_secs_f64() * 1e6 / VOTES as f64)
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
    let begun = thread_cpu()?;
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
    Ok((thread_cpu()? - begun).as_secs_f64() * 1e6 / frames as f64)
}

fn send(link: &ChannelLink, peer: u32, class: Class, frame: &Bytes) -> Result<(), String> {
    if link.send(peer, class, frame.clone()) {
        return Ok(());
    }
    Err("the transport dropped a frame although little was under way".to_owned())
}
