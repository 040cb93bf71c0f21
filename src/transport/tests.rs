//! Stories over loopback, on ports that the system chooses.

use std::future::Future;

use bytes::{Bytes, BytesMut};
use quinn::VarInt;
use zeroize::Zeroizing;

use super::frame::{Preamble, PreambleError, VERSION, pack};
use super::queue::SendQueue;
use super::*;

const CHANNEL: &str = "orders";

/// Whatever is awaited here comes soon or never.
async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), future).await.unwrap_or_else(|_| panic!("{what}: not in time"))
}

struct Keys {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Keys {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["sbft".to_owned()]).expect("makes a certificate");
        Self { certificate: made.cert.der().to_vec(), key: made.signing_key.serialize_der() }
    }

    fn start_at(&self, listen: SocketAddr, tuning: Tuning) -> Result<Transport, TransportError> {
        Transport::start(TransportConfig {
            listen,
            certificate_der: self.certificate.clone(),
            key_der: Zeroizing::new(self.key.clone()),
            client: None,
            tuning,
        })
    }

    fn start(&self, tuning: Tuning) -> Transport {
        self.start_at("127.0.0.1:0".parse().expect("an address"), tuning).expect("starts")
    }

    fn peer(&self, id: u32, address: SocketAddr) -> Peer {
        Peer {
            id,
            address: address.to_string(),
            server_cert_der: self.certificate.clone(),
            client_cert_der: self.certificate.clone(),
        }
    }
}

struct Node {
    keys: Keys,
    transport: Transport,
    link: ChannelLink,
}

/// `n` replicas that all know each other, with ids from 1, on one channel.
async fn network(tunings: &[Tuning]) -> Vec<Node> {
    let started: Vec<_> = tunings
        .iter()
        .map(|tuning| {
            let keys = Keys::new();
            let transport = keys.start(*tuning);
            (keys, transport)
        })
        .collect();
    let peers: Vec<_> =
        (1..).zip(&started).map(|(id, (keys, transport))| keys.peer(id, transport.local_addr())).collect();
    let mut nodes = Vec::new();
    for (me, (keys, transport)) in (1..).zip(started) {
        let others: Vec<_> = peers.iter().filter(|peer| peer.id != me).cloned().collect();
        let ids: Vec<_> = others.iter().map(|peer| peer.id).collect();
        transport.set_peers(others).expect("peers");
        let link = transport.join(CHANNEL, &ids).expect("joins");
        nodes.push(Node { keys, transport, link });
    }
    for node in &mut nodes {
        for _ in 1..tunings.len() {
            node.next_up().await;
        }
    }
    nodes
}

impl Node {
    /// Waits until some peer comes up.
    async fn next_up(&mut self) -> u32 {
        loop {
            let event = within("a link event", self.link.events.recv()).await.expect("channel is joined");
            if event.up {
                return event.peer;
            }
        }
    }

    async fn next_down(&mut self) -> u32 {
        loop {
            let event = within("a link event", self.link.events.recv()).await.expect("channel is joined");
            if !event.up {
                return event.peer;
            }
        }
    }

    /// Sends again and again until `inbox` has something: the link may just be coming up.
    async fn send_until(&self, peer: u32, class: Class, inbox: &mut Inbox) -> (u32, Bytes) {
        let send = async {
            loop {
                self.link.send(peer, class, Bytes::from_static(b"ping"));
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            () = send => unreachable!("sends for ever"),
            frame = within("a frame", inbox.recv()) => frame.expect("channel is joined"),
        }
    }
}

fn text(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_exchange_frames_of_each_class() {
    let mut nodes = network(&[Tuning::default(); 2]).await;
    let [one, two] = &mut nodes[..] else { unreachable!() };
    let mut bulk_of_one = two.link.bulk(1).expect("once");
    assert!(two.link.bulk(1).is_none(), "only once");
    assert!(two.link.bulk(7).is_none(), "no such peer");
    assert_eq!(one.link.connected(), [2]);
    assert!(one.link.send(2, Class::Votes, text("vote")));
    assert!(one.link.send(2, Class::Repair, text("repair")));
    assert!(one.link.send(2, Class::Bulk, text("bulk")));
    assert!(two.link.send(1, Class::Votes, text("answer")));
    assert!(!one.link.send(7, Class::Votes, text("to nobody")));
    assert_eq!(within("a vote", two.link.votes.recv()).await, Some((1, text("vote"))));
    assert_eq!(within("repair", two.link.repair.recv()).await, Some((1, text("repair"))));
    assert_eq!(within("bulk", bulk_of_one.recv()).await, Some(text("bulk")));
    assert_eq!(within("an answer", one.link.votes.recv()).await, Some((2, text("answer"))));
}

#[tokio::test(flavor = "multi_thread")]
async fn four_replicas_hear_each_other_in_order() {
    let mut nodes = network(&[Tuning::default(); 4]).await;
    for node in &nodes {
        for peer in node.link.connected() {
            for index in 0..100_u32 {
                let frame = Bytes::copy_from_slice(&index.to_be_bytes());
                assert!(node.link.send(peer, Class::Votes, frame));
            }
        }
    }
    for node in &mut nodes {
        let mut next = BTreeMap::new();
        for _ in 0..300 {
            let (peer, frame) = within("a frame", node.link.votes.recv()).await.expect("joined");
            let index = u32::from_be_bytes(frame[..].try_into().expect("four bytes"));
            let expected = next.entry(peer).or_insert(0);
            assert_eq!(index, *expected, "from {peer}");
            *expected += 1;
        }
        assert!(next.values().all(|count| *count == 100), "{next:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_with_an_unknown_certificate_is_refused() {
    let (alice, mallory) = (Keys::new(), Keys::new());
    let (server, caller) = (alice.start(Tuning::default()), mallory.start(Tuning::default()));
    server.set_peers(vec![Keys::new().peer(2, caller.local_addr())]).expect("peers");
    let refused = caller.shared.dial(&alice.peer(1, server.local_addr())).await;
    let Err(error) = refused.map(|_| "connected") else { panic!("a stranger got in") };
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_another_certificate_is_refused() {
    let (alice, mallory) = (Keys::new(), Keys::new());
    let (server, caller) = (mallory.start(Tuning::default()), alice.start(Tuning::default()));
    server.set_peers(vec![alice.peer(1, caller.local_addr())]).expect("peers");
    let refused = caller.shared.dial(&Keys::new().peer(2, server.local_addr())).await;
    let Err(error) = refused.map(|_| "connected") else { panic!("talks to a stranger") };
    assert!(error.to_string().contains("NotTheOneInTheChannelConfiguration"), "{error}");
}

/// A killed process says no goodbye. Its peers notice when the new process answers their packets,
/// long before the idle timeout.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_and_restarted_peer_is_back_before_the_idle_timeout() {
    let tuning = Tuning { idle_timeout: Duration::from_secs(60), ..Tuning::default() };
    for turn in 0..4 {
        let (keys, other) = (Keys::new(), Keys::new());
        let survivor = keys.start(tuning);
        let survivor_address = survivor.local_addr();
        let process = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let start = |address: SocketAddr| {
            let transport = other.start_at(address, tuning)?;
            transport.set_peers(vec![keys.peer(1, survivor_address)])?;
            let link = transport.join(CHANNEL, &[1])?;
            Ok::<_, TransportError>((transport, link))
        };
        let first = {
            let _inside = process.enter();
            start("127.0.0.1:0".parse().expect("an address")).expect("starts")
        };
        let address = first.0.local_addr();
        survivor.set_peers(vec![other.peer(2, address)]).expect("peers");
        let link = survivor.join(CHANNEL, &[2]).expect("joins");
        let mut node = Node { keys: Keys::new(), transport: survivor, link };
        assert_eq!(node.next_up().await, 2);

        // All its tasks end, and so nobody is left who could say goodbye when the rest is dropped.
        let kill = move || process.shutdown_timeout(Duration::from_secs(20));
        tokio::task::spawn_blocking(kill).await.expect("ends");
        drop(first);
        let again = within("the port to be free", async {
            loop {
                match start(address) {
                    Ok(started) => break started,
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        })
        .await;
        assert_eq!(node.next_down().await, 2, "turn {turn}");
        assert_eq!(node.next_up().await, 2, "turn {turn}");
        drop(again);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_peer_is_found_gone_and_a_closed_one_at_once() {
    let tuning = Tuning {
        idle_timeout: Duration::from_millis(800),
        keep_alive: Duration::from_millis(200),
        ..Tuning::default()
    };
    let mut nodes = network(&[tuning; 3]).await;
    nodes[2].transport.close().await;
    assert_eq!(nodes[0].next_down().await, 3);
    assert_eq!(nodes[1].next_down().await, 3);
    assert_eq!(nodes[0].link.connected(), [2]);
    assert!(!nodes[0].link.send(3, Class::Votes, text("lost")));
    assert_eq!(nodes[2].link.votes.recv().await, None, "its own readers end");
}

#[tokio::test(flavor = "multi_thread")]
async fn bulk_that_nobody_reads_does_not_block_votes() {
    let mut nodes = network(&[Tuning::default(); 2]).await;
    let [one, two] = &mut nodes[..] else { unreachable!() };
    let candidate = Bytes::from(vec![7; 1 << 20]);
    let mut sent = 0;
    while one.link.send(2, Class::Bulk, candidate.clone()) {
        sent += 1;
        tokio::task::yield_now().await;
        assert!(sent < 200, "the queue is bounded");
    }
    for index in 0..1000_u32 {
        let frame = Bytes::copy_from_slice(&index.to_be_bytes());
        assert!(one.link.send(2, Class::Votes, frame.clone()));
        assert_eq!(within("a vote", two.link.votes.recv()).await, Some((1, frame)));
    }
    // Once somebody reads, what was queued arrives, all of it.
    let mut bulk = two.link.bulk(1).expect("once");
    for _ in 0..sent {
        assert_eq!(within("a candidate", bulk.recv()).await.as_ref(), Some(&candidate));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_too_long_resets_its_stream_and_nothing_else() {
    let strict = Tuning::default();
    let mut lax = strict;
    lax.votes.max_frame = 64 << 20;
    lax.votes.queue_bytes = 128 << 20;
    let mut nodes = network(&[lax, strict]).await;
    let [one, two] = &mut nodes[..] else { unreachable!() };
    let id = one.transport.shared.connection(2).borrow().as_ref().map(Connection::stable_id);
    assert!(one.link.send(2, Class::Votes, Bytes::from(vec![0; strict.votes.max_frame + 1])));
    assert_eq!(two.next_down().await, 1, "its vote stream is reset");
    assert!(one.link.send(2, Class::Repair, text("still here")));
    assert_eq!(within("repair", two.link.repair.recv()).await, Some((1, text("still here"))));
    assert_eq!(two.next_up().await, 1, "it opens another");
    let (peer, _) = one.send_until(2, Class::Votes, &mut two.link.votes).await;
    assert_eq!(peer, 1);
    let now = one.transport.shared.connection(2).borrow().as_ref().map(Connection::stable_id);
    assert_eq!(id, now, "over the same connection");
    assert!(!two.link.send(1, Class::Votes, Bytes::from(vec![0; strict.votes.max_frame + 1])));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_does_not_read_loses_its_own_messages_only() {
    let mut tuning = Tuning::default();
    tuning.bulk.queue_bytes = 4 << 20;
    let mut nodes = network(&[tuning; 3]).await;
    let mut read = nodes[2].link.bulk(1).expect("once");
    let candidate = Bytes::from(vec![1; 256 << 10]);
    let mut lost = 0;
    for _ in 0..100 {
        if !nodes[0].link.send(2, Class::Bulk, candidate.clone()) {
            lost += 1;
        }
        assert!(nodes[0].link.send(3, Class::Bulk, candidate.clone()));
        assert!(within("a candidate", read.recv()).await.is_some());
    }
    assert!(lost > 0, "the slow peer's queue is bounded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_garbled_stream_is_reset_and_the_peer_stays_connected() {
    let (alice, bob) = (Keys::new(), Keys::new());
    let (server, caller) = (alice.start(Tuning::default()), bob.start(Tuning::default()));
    server.set_peers(vec![bob.peer(2, caller.local_addr())]).expect("peers");
    let link = server.join(CHANNEL, &[2]).expect("joins");
    let mut node = Node { keys: alice, transport: server, link };
    // The caller has no peers of its own, so it does not keep a connection by itself.
    let peer = node.keys.peer(1, node.transport.local_addr());
    caller.shared.pins.replace(BTreeMap::from([(node.keys.certificate.clone(), 1)]));
    let Established { connection, .. } = caller.shared.dial(&peer).await.expect("connects");
    let unknown = Preamble::Channel { class: Class::Votes, channel: "unknown".to_owned() };
    let too_long = [&[0xff; 4][..], &[0; 100]].concat();
    let bad = [
        (too_long, 2),
        (Preamble::Greeting { incarnation: 1 }.encode().to_vec(), 2),
        (b"\0\0\0\x03\x01\x09x".to_vec(), 2),
        (b"\0\0\0\x03\x02\x01x".to_vec(), 2),
        (b"\0\0\0\0".to_vec(), 2),
        (unknown.encode().to_vec(), 1),
    ];
    for (bytes, code) in bad {
        let mut stream = connection.open_uni().await.expect("opens");
        stream.write_all(&bytes).await.expect("writes");
        let stopped = within("a reset", stream.stopped()).await.expect("connected");
        assert_eq!(stopped, Some(VarInt::from_u32(code)), "{bytes:?}");
    }
    let mut good = connection.open_uni().await.expect("opens");
    let preamble = Preamble::Channel { class: Class::Votes, channel: CHANNEL.to_owned() }.encode();
    for chunk in [preamble].into_iter().chain(pack(vec![text("vote")])) {
        good.write_chunk(chunk).await.expect("writes");
    }
    assert_eq!(node.next_up().await, 2);
    assert_eq!(within("a vote", node.link.votes.recv()).await, Some((2, text("vote"))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_of_another_protocol_version_is_not_connected() {
    let (alice, bob) = (Keys::new(), Keys::new());
    let (server, caller) = (alice.start(Tuning::default()), bob.start(Tuning::default()));
    server.set_peers(vec![bob.peer(2, caller.local_addr())]).expect("peers");
    let crypto = tls::client(&caller.shared.client, alice.certificate.clone()).expect("credentials");
    let config = quinn::ClientConfig::new(crypto);
    let connecting = caller.shared.endpoint.connect_with(config, server.local_addr(), "sbft");
    let connection = connecting.expect("dials").await.expect("connects");
    let mut stream = connection.open_uni().await.expect("opens");
    stream.write_all(b"\0\0\0\x02\x09\0").await.expect("writes");
    let reason = within("the end", connection.closed()).await;
    assert!(reason.to_string().contains("speaks version 9"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_and_members_can_change() {
    let mut nodes = network(&[Tuning::default(); 3]).await;
    let address = nodes[1].transport.local_addr();
    let second = nodes[1].keys.peer(2, address);

    nodes[0].link.set_members(&[2]);
    assert_eq!(nodes[0].next_down().await, 3, "no member any more, though connected");
    assert_eq!(nodes[2].next_down().await, 1, "and it is told");
    nodes[0].link.set_members(&[2, 3]);
    assert_eq!(nodes[0].next_up().await, 3);

    nodes[0].transport.set_peers(vec![second.clone()]).expect("peers");
    assert_eq!(nodes[0].next_down().await, 3, "no peer any more");
    assert!(nodes[0].link.send(2, Class::Votes, text("the other one is not disturbed")));
    assert!(within("a vote", nodes[1].link.votes.recv()).await.is_some());

    let third = nodes[2].keys.peer(3, nodes[2].transport.local_addr());
    nodes[0].transport.set_peers(vec![second.clone(), third.clone()]).expect("peers");
    assert_eq!(nodes[0].next_up().await, 3);

    let moved = Peer { address: format!("localhost:{}", address.port()), ..second.clone() };
    nodes[0].transport.set_peers(vec![moved, third.clone()]).expect("peers");
    assert_eq!(nodes[0].next_down().await, 2, "has moved");
    assert_eq!(nodes[0].next_up().await, 2);

    let twice = nodes[0].transport.set_peers(vec![second.clone(), second.clone()]);
    assert!(matches!(twice, Err(TransportError::Peer { id: 2, .. })));
    let same = Peer { id: 4, ..third };
    let same = nodes[0].transport.set_peers(vec![nodes[2].keys.peer(3, address), same]);
    assert!(matches!(same, Err(TransportError::Peer { id: 4, .. })));
    let itself = nodes[0].transport.set_peers(vec![nodes[0].keys.peer(9, address)]);
    assert!(matches!(itself, Err(TransportError::Peer { id: 9, .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_share_a_connection_and_can_be_joined_late() {
    let mut nodes = network(&[Tuning::default(); 2]).await;
    let late = nodes[0].transport.join("late", &[2]).expect("joins");
    let early = std::mem::replace(&mut nodes[0].link, late);
    assert!(nodes[0].link.connected().is_empty(), "the other side has not joined");
    let mut other = nodes[1].transport.join("late", &[1]).expect("joins");
    assert_eq!(nodes[0].next_up().await, 2);
    assert!(nodes[0].link.send(2, Class::Votes, text("late")));
    assert_eq!(within("a vote", other.votes.recv()).await, Some((1, text("late"))));
    assert_eq!(nodes[0].transport.shared.endpoint.open_connections(), 1);
    let again = nodes[0].transport.join("late", &[2]);
    assert!(matches!(again, Err(TransportError::Channel { .. })));
    drop(other);
    assert_eq!(nodes[0].next_down().await, 2, "the peer has left the channel");
    assert_eq!(early.connected(), [2], "and not the other one");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_votes_and_large_candidates_arrive_complete() {
    let mut tuning = Tuning { max_mtu: 6500, ..Tuning::default() };
    tuning.bulk.queue_bytes = 256 << 20;
    tuning.votes.queue_frames = 100_000;
    let mut nodes = network(&[tuning; 2]).await;
    let [one, two] = &mut nodes[..] else { unreachable!() };
    let mut bulk = two.link.bulk(1).expect("once");
    let started = std::time::Instant::now();
    for index in 0..64_u8 {
        assert!(one.link.send(2, Class::Bulk, Bytes::from(vec![index; 1 << 20])));
    }
    for index in 0..50_000_u32 {
        let mut frame = BytesMut::zeroed(200);
        frame[..4].copy_from_slice(&index.to_be_bytes());
        assert!(one.link.send(2, Class::Votes, frame.freeze()));
    }
    for index in 0..50_000_u32 {
        let (_, frame) = within("a vote", two.link.votes.recv()).await.expect("joined");
        assert_eq!(frame[..4], index.to_be_bytes());
    }
    let votes = started.elapsed();
    for index in 0..64_u8 {
        let candidate = within("a candidate", bulk.recv()).await.expect("joined");
        assert!(candidate.len() == 1 << 20 && candidate.iter().all(|byte| *byte == index));
    }
    println!("50,000 votes in {votes:?}, and 64 MiB of candidates in {:?}", started.elapsed());
}

#[tokio::test]
async fn a_send_queue_drops_what_does_not_fit_and_one_frame_always_fits() {
    let queue = SendQueue::new(Limits { max_frame: 100, queue_frames: 3, queue_bytes: 10 });
    assert!(queue.push(Bytes::from(vec![0; 50])));
    assert!(!queue.push(text("x")), "no bytes left");
    assert_eq!(queue.take(1).await.len(), 1, "a frame larger than the batch is taken alone");
    for _ in 0..3 {
        assert!(queue.push(text("x")));
    }
    assert!(!queue.push(text("x")), "no frames left");
    assert_eq!(queue.take(2).await.len(), 2);
    assert_eq!(queue.clear(), 1);
}

#[tokio::test]
async fn an_inbox_takes_turns_and_a_full_peer_waits_alone() {
    let (sender, mut reader) = inbox::inbox(2, 100);
    for peer in [1, 2] {
        for index in 0..2 {
            assert!(sender.push(peer, Bytes::from(vec![peer as u8, index])).await);
        }
    }
    let third = sender.push(1, Bytes::from_static(&[1, 2]));
    tokio::pin!(third);
    assert!(futures::poll!(&mut third).is_pending(), "peer 1 has no room");
    assert!(sender.push(3, Bytes::from(vec![3; 1000])).await, "peer 3 has, for one frame of any length");
    let mut order = Vec::new();
    while let Some((peer, _)) = reader.try_recv() {
        order.push(peer);
    }
    assert_eq!(order, [1, 2, 3, 1, 2]);
    assert!(third.await);
    assert_eq!(reader.recv().await, Some((1, Bytes::from_static(&[1, 2]))));
    drop(reader);
    assert!(!sender.push(1, text("nobody reads")).await);
}

#[tokio::test]
async fn a_split_inbox_is_read_peer_by_peer() {
    let (sender, reader) = inbox::inbox(2, 100);
    assert!(sender.push(1, text("early")).await);
    let [mut one, mut two] = <[_; 2]>::try_from(reader.split(&[1, 2])).ok().expect("two readers");
    assert_eq!((one.peer(), two.peer()), (1, 2));
    assert_eq!(one.recv().await, Some(text("early")));
    {
        let waiting = two.recv();
        tokio::pin!(waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
        assert!(sender.push(1, text("of another")).await);
        assert!(futures::poll!(&mut waiting).is_pending());
        assert!(sender.push(2, text("mine")).await);
        assert_eq!(waiting.await, Some(text("mine")));
    }
    sender.forget(2);
    assert!(sender.push(2, text("back again")).await);
    assert_eq!(two.recv().await, Some(text("back again")));
    drop(two);
    assert_eq!(one.recv().await, Some(text("of another")));
    sender.close();
    assert_eq!(one.recv().await, None);
    drop(one);
    assert!(!sender.push(1, text("nobody reads")).await);
}

#[test]
fn preambles_of_any_bytes_decode_or_are_refused() {
    for preamble in [
        Preamble::Greeting { incarnation: u64::MAX },
        Preamble::Channel { class: Class::Bulk, channel: CHANNEL.to_owned() },
    ] {
        let frame = preamble.encode();
        assert_eq!(Preamble::decode(&frame[4..]), Ok(preamble));
        for cut in 4..frame.len() {
            let _ = Preamble::decode(&frame[4..cut]);
        }
        for bit in 0..(frame.len() - 4) * 8 {
            let mut flipped = frame[4..].to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let _ = Preamble::decode(&flipped);
        }
    }
    assert_eq!(Preamble::decode(&[VERSION + 1, 0]), Err(PreambleError::Version(VERSION + 1)));
    let long = [&[VERSION, 1][..], &[b'x'; MAX_CHANNEL_NAME + 1]].concat();
    assert_eq!(Preamble::decode(&long), Err(PreambleError::Garbled));
}

#[test]
fn tuning_that_cannot_work_is_refused() {
    let check = |tuning: Tuning, word: &str| {
        let error = socket::quic(&tuning).map(|_| ()).expect_err("refused").to_string();
        assert!(error.contains(word), "{error}");
    };
    check(Tuning { max_mtu: 6600, ..Tuning::default() }, "max_mtu");
    check(Tuning { max_mtu: 500, ..Tuning::default() }, "max_mtu");
    check(Tuning { keep_alive: Duration::from_secs(60), ..Tuning::default() }, "keep_alive");
}

#[test]
fn the_largest_new_view_of_a_channel_fits_into_a_frame() {
    assert_eq!(Tuning::default().with_room_for_views(4, 10, 500), Tuning::default());
    let wide = Tuning::default().with_room_for_views(16, 100, 500);
    // q view-changes, each with a certificate of q signatures and 500 names for each number.
    assert!(wide.votes.max_frame >= 11 * 100 * (500 * 38 + 11 * 70));
    assert!(wide.votes.queue_bytes > wide.votes.max_frame);
    assert!(Tuning::default().with_room_for_views(256, 256, usize::MAX).votes.max_frame <= u32::MAX as usize);
}

#[test]
fn a_channels_largest_batch_fits_into_a_frame() {
    let roomy = Tuning::default().with_room_for(100 << 20, 500);
    assert!(roomy.bulk.max_frame > 100 << 20 && roomy.repair.max_frame > 100 << 20);
    assert!(roomy.bulk.queue_bytes > roomy.bulk.max_frame);
    let fabric = Tuning::default().with_room_for(10 << 20, 500);
    assert_eq!(fabric, Tuning::default(), "what Fabric's samples have fits anyway");
    assert!(Tuning::default().with_room_for(u32::MAX, u32::MAX).bulk.max_frame <= u32::MAX as usize);
}
