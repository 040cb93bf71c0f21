//! What frames cost over QUIC, with the node's own transport: replicas on loopback, each with a runtime of
//! its own, as processes have them.
//!
//! Votes go in rounds, as those of a block do: each end sends one to all others and waits for theirs, with a
//! pause before the next round. Two ends and then four tell apart what a frame takes and what waking a
//! replica does, which all frames of a round share. Many votes at once tell what each takes in a stream.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use sbft::transport::{ChannelLink, Class, Peer, Transport, TransportConfig, Tuning};
use tokio::runtime::Builder;
use tokio::time::timeout;

use super::named_cpu;
use crate::scale::{Line, Way};

const CHANNEL: &str = "scale";
/// Rounds of one vote from each to each, and the pause before each: long enough for all to fall asleep.
const ROUNDS: usize = 500;
const PAUSE: Duration = Duration::from_millis(2);
/// Rounds of many votes, and how many.
const STREAMED: usize = 200;
const TOGETHER: usize = 16;
const VOTE: usize = 250;
/// Frames and sizes for one that goes as fast as it can.
const BULK: usize = 1_500;
const BULK_SIZES: (usize, usize) = (8 << 10, 128 << 10);
/// Frames under way at most: fewer than the transport's queue holds.
const UNDER_WAY: usize = 64;
/// Links that have not changed for so long are there to stay: two that dial each other at once settle on one
/// connection, and lose what was on the other.
const SETTLED: Duration = Duration::from_millis(500);
/// Whatever is awaited here comes soon or never.
const PATIENCE: Duration = Duration::from_secs(30);

/// What an end measured of its own processor time, microseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Took {
    /// A round in which one vote goes to each other end, and one comes from each.
    round: f64,
    /// A vote of a stream that goes to another end, and one that comes.
    streamed: f64,
    /// Candidates of both sizes; measured only between two.
    bulk: [f64; 2],
}

/// What an end tells the others about who it is.
#[derive(Clone, Debug)]
struct Card {
    address: SocketAddr,
    certificate: Vec<u8>,
}

/// The ends of a measurement, and where they wait for each other.
struct Ends {
    n: u32,
    processors: usize,
    cards: Mutex<Vec<Option<Card>>>,
    told: Barrier,
    /// Nobody begins before all are linked, and nobody leaves before all are done.
    together: tokio::sync::Barrier,
}

/// What a way costs for votes and for candidates. `processors` is how many threads a runtime has.
pub(super) fn measure(processors: usize) -> Result<(Way, Way), String> {
    let two = among(2, processors)?;
    let four = among(4, processors)?;
    let mean = |ends: &[Took], of: fn(&Took) -> f64| ends.iter().map(of).sum::<f64>() / ends.len() as f64;
    let streamed = mean(&two, |took| took.streamed);
    // A round is: once to wake up, and a frame out and one in for each other end.
    let (in_two, in_four) = (mean(&two, |took| took.round), mean(&four, |took| took.round));
    let hop = ((in_four - in_two) / 2.0).max(streamed);
    let round_us = (in_two - hop).max(0.0);
    let alone_us = hop - streamed;
    let line = |of: fn(&Took, usize) -> f64, end: usize| {
        Line::through((BULK_SIZES.0, of(&two[end], 0)), (BULK_SIZES.1, of(&two[end], 1)))
    };
    let bulk_us = |took: &Took, size: usize| took.bulk[size];
    let bulk = Way { round_us, alone_us, send: line(bulk_us, 0), receive: line(bulk_us, 1) };
    let vote =
        |kib_us: f64| Line { each_us: (streamed / 2.0 - kib_us * VOTE as f64 / 1024.0).max(0.0), kib_us };
    let message =
        Way { round_us, alone_us, send: vote(bulk.send.kib_us), receive: vote(bulk.receive.kib_us) };
    Ok((message, bulk))
}

/// What each of `n` ends measured.
fn among(n: u32, processors: usize) -> Result<Vec<Took>, String> {
    let ends = Arc::new(Ends {
        n,
        processors,
        cards: Mutex::new(vec![None; n as usize]),
        told: Barrier::new(n as usize),
        together: tokio::sync::Barrier::new(n as usize),
    });
    let threads: Vec<_> = (1..=n)
        .map(|me| {
            let ends = Arc::clone(&ends);
            std::thread::spawn(move || ends.end(me))
        })
        .collect();
    let join = |thread: std::thread::JoinHandle<Result<Took, String>>| {
        thread.join().unwrap_or_else(|_| Err("an end of the transport panicked".to_owned()))
    };
    threads.into_iter().map(join).collect()
}

impl Ends {
    /// One end: connects to all others and measures with them.
    fn end(self: Arc<Self>, me: u32) -> Result<Took, String> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(self.processors)
            .thread_name(name(me))
            .enable_all()
            .build()
            .map_err(|error| format!("no runtime: {error}"))?;
        let started = runtime.block_on(async { start() });
        if let Ok((transport, certificate)) = &started {
            let card = Card { address: transport.local_addr(), certificate: certificate.clone() };
            self.cards.lock().unwrap_or_else(PoisonError::into_inner)[me as usize - 1] = Some(card);
        }
        // All others wait here, also for one that could not start.
        self.told.wait();
        let (transport, _) = started?;
        let cards = self.cards.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let peers: Option<Vec<Peer>> = (1..=self.n)
            .zip(cards)
            .filter(|(id, _)| *id != me)
            .map(|(id, card)| {
                let Card { address, certificate } = card?;
                let address = address.to_string();
                Some(Peer { id, address, server_cert_der: certificate.clone(), client_cert_der: certificate })
            })
            .collect();
        let peers = peers.ok_or("another end of the transport did not start")?;
        let work = runtime.spawn(async move {
            let took = self.work(me, &transport, peers).await;
            transport.close().await;
            took
        });
        runtime.block_on(work).map_err(|error| format!("an end of the transport failed: {error}"))?
    }

    async fn work(&self, me: u32, transport: &Transport, peers: Vec<Peer>) -> Result<Took, String> {
        let ids: Vec<u32> = peers.iter().map(|peer| peer.id).collect();
        transport.set_peers(peers).map_err(|error| error.to_string())?;
        let mut link = transport.join(CHANNEL, &ids).map_err(|error| error.to_string())?;
        timeout(PATIENCE, linked(&mut link, ids.len())).await.map_err(late)??;
        timeout(PATIENCE, self.together.wait()).await.map_err(late)?;
        let took = took(me, &ids, &mut link).await;
        timeout(PATIENCE, self.together.wait()).await.map_err(late)?;
        took
    }
}

/// Waits until this end hears all others, and goes on doing so.
async fn linked(link: &mut ChannelLink, others: usize) -> Result<(), String> {
    let mut up = BTreeSet::new();
    loop {
        match timeout(SETTLED, link.events.recv()).await {
            Ok(None) => return Err("the link has ended".to_owned()),
            Ok(Some(event)) if event.up => drop(up.insert(event.peer)),
            Ok(Some(event)) => drop(up.remove(&event.peer)),
            Err(_quiet) if up.len() == others => return Ok(()),
            Err(_quiet) => {}
        }
    }
}

async fn took(me: u32, ids: &[u32], link: &mut ChannelLink) -> Result<Took, String> {
    let mut took = Took {
        round: rounds(me, ids, link, ROUNDS, 1, PAUSE).await?,
        streamed: rounds(me, ids, link, STREAMED, TOGETHER, Duration::ZERO).await?,
        ..Took::default()
    };
    took.streamed /= (TOGETHER * ids.len()) as f64;
    if let [id] = *ids {
        let mut bulk = link.bulk(id).ok_or("no bulk stream")?;
        for (us, size) in took.bulk.iter_mut().zip([BULK_SIZES.0, BULK_SIZES.1]) {
            *us = candidates(me, id, link, &mut bulk, size).await?;
        }
    }
    Ok(took)
}

fn start() -> Result<(Transport, Vec<u8>), String> {
    let made = rcgen::generate_simple_self_signed(["sbft".to_owned()]).map_err(|error| error.to_string())?;
    let certificate = made.cert.der().to_vec();
    let transport = Transport::start(TransportConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        certificate_der: certificate.clone(),
        key_der: made.signing_key.serialize_der().into(),
        client: None,
        tuning: Tuning::default(),
    });
    transport.map(|transport| (transport, certificate)).map_err(|error| error.to_string())
}

/// The name of the threads of an end.
fn name(me: u32) -> String {
    format!("scale-end-{me}")
}

fn late(_: tokio::time::error::Elapsed) -> String {
    "two ends of a transport on this machine do not hear each other in time".to_owned()
}

/// Rounds of so many votes from each to each; microseconds a round.
async fn rounds(
    me: u32,
    peers: &[u32],
    link: &mut ChannelLink,
    rounds: usize,
    together: usize,
    pause: Duration,
) -> Result<f64, String> {
    let frame = Bytes::from(vec![1; VOTE]);
    let first = rounds / 10;
    let mut begun = Duration::ZERO;
    for round in 0..first + rounds {
        if round == first {
            begun = named_cpu(&name(me))?;
        }
        // The first end sets the pace: the others answer.
        if me == 1 {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            broadcast(link, peers, together, &frame)?;
        }
        for heard in 0..together * peers.len() {
            timeout(PATIENCE, link.votes.recv()).await.map_err(late)?.ok_or("the link has ended")?;
            if me != 1 && heard == 0 {
                broadcast(link, peers, together, &frame)?;
            }
        }
    }
    Ok((named_cpu(&name(me))? - begun).as_secs_f64() * 1e6 / rounds as f64)
}

fn broadcast(link: &ChannelLink, peers: &[u32], together: usize, frame: &Bytes) -> Result<(), String> {
    for _ in 0..together {
        for peer in peers {
            send(link, *peer, Class::Votes, frame)?;
        }
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_hear_each_other_and_each_part_of_a_way_takes_time() {
        let (message, bulk) = measure(2).expect("loopback carries everything");
        assert!(
            message.send.each_us > 0.0 && message.alone_us >= 0.0 && message.round_us >= 0.0,
            "{message:?}"
        );
        assert!(bulk.send.us(1, 100_000) > bulk.send.us(1, 10_000), "{bulk:?}");
    }
}
