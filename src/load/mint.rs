//! Makes the run's envelopes, most of them before it begins.
//!
//! One template per client and a few bytes that differ: nonce, transaction id, marker. A
//! [`Stock`] signs on all cores until what the run needs is ready or the memory it was given is
//! full; only then does the run begin. What a longer run needs is made while it goes on, by one
//! thread that stays ahead, and counts as the client's CPU. A closed loop may need more than was
//! expected of it: that is made when little is left, not sooner, for it would cost the replicas
//! CPU for nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use prost::Message as _;
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

use super::LoadError;
use super::marker::{self, Tag};
use crate::client::envelope::serialized_identity;
use crate::client::network_file::IdentityFiles;
use crate::crypto::{KeyFileSigner, KeyKind, LocalSigner as _};
use crate::proto::common;

/// Envelopes that share an allocation.
const CHUNK: usize = 64;
/// Chunks made side by side before the run.
const SIDE_BY_SIDE: usize = 32;
/// Envelopes left at which more than was expected is made: a tenth of a second's at the least.
const LITTLE: u64 = 16 << 10;
/// How often is looked whether so few are left.
const LOOK: Duration = Duration::from_millis(10);
/// Bytes of a nonce, unless one more makes the size right.
const NONCE: usize = 24;

/// Who signs.
pub(super) enum Signer {
    /// This key.
    Key(Arc<KeyFileSigner>),
    /// Nobody: the channel's Writers policy asks for no signature. Envelopes carry 64 bytes that
    /// nobody checks, because a block with an unsigned envelope is refused by Fabric's verifiers.
    Nobody,
}

/// An envelope to be, but for nonce, transaction id, marker and signature.
pub(super) struct Template {
    signer: Signer,
    creator: Bytes,
    payload: Vec<u8>,
    nonce: std::ops::Range<usize>,
    tx_id: usize,
}

impl Template {
    /// For `channel` and this identity; the envelope has `size` encoded bytes (within two with
    /// ECDSA, whose signatures vary in length; one less at a few sizes that no encoding has).
    ///
    /// # Errors
    /// When the identity cannot be used, or no envelope in its name is that small.
    pub(super) fn signed(channel: &str, identity: &IdentityFiles, size: usize) -> Result<Self, LoadError> {
        let creator = serialized_identity(&identity.msp_id, &identity.cert)?;
        let signer = KeyFileSigner::open(&identity.key, creator.clone())
            .map_err(|error| LoadError::Identity(format!("{}: {error}", identity.key.display())))?;
        let signature = match signer.public_key().kind() {
            KeyKind::Ed25519 => 64,
            // 70 and 71 are equally likely.
            KeyKind::EcdsaP256 => 70,
        };
        Self::new(channel, creator, Signer::Key(Arc::new(signer)), signature, size)
    }

    /// For channels that check no signature; `number` tells clients apart.
    ///
    /// # Errors
    /// When no envelope is that small.
    pub(super) fn unsigned(channel: &str, number: usize, size: usize) -> Result<Self, LoadError> {
        let creator = Bytes::from(format!("load {number}"));
        Self::new(channel, creator, Signer::Nobody, 64, size)
    }

    fn new(
        channel: &str,
        creator: Bytes,
        signer: Signer,
        signature: usize,
        size: usize,
    ) -> Result<Self, LoadError> {
        let shape = Shape { channel, creator: &creator };
        let smallest = shape.envelope_len(NONCE, 0, signature);
        if size < smallest {
            let identity = match signer {
                Signer::Key(_) => "carries its client's certificate and a signature, so it",
                Signer::Nobody => "of this load",
            };
            return Err(LoadError::Size { wanted: size, smallest, identity });
        }
        // Where an encoded length grows by a byte one size is left out; a longer nonce fills most
        // such holes, and one byte less is taken for the others.
        let fits = |wanted: usize| {
            (NONCE..NONCE + 4).find_map(|nonce| {
                let most = size - smallest;
                let mut fillers = (most.saturating_sub(12)..=most).rev();
                let filler =
                    fillers.find(|filler| shape.envelope_len(nonce, *filler, signature) == wanted)?;
                Some((nonce, filler))
            })
        };
        let fitting = fits(size).or_else(|| fits(size - 1));
        let (nonce_len, filler) = fitting.ok_or(LoadError::Size { wanted: size, smallest, identity: "" })?;

        let tx_id = hex::encode(rand::random::<[u8; 32]>());
        let mut nonce = vec![0u8; nonce_len];
        rand::fill(&mut nonce[..]);
        let payload = shape.payload(&tx_id, &nonce, filler).encode_to_vec();
        let find = |needle: &[u8]| {
            payload.windows(needle.len()).position(|window| window == needle).expect("it was just put there")
        };
        let (nonce_at, tx_id) = (find(&nonce), find(tx_id.as_bytes()));
        Ok(Self { signer, creator, nonce: nonce_at..nonce_at + nonce_len, tx_id, payload })
    }

    /// How its envelopes are signed: `ed25519`, `ecdsa-p256` or `none`.
    pub(super) fn scheme(&self) -> &'static str {
        match &self.signer {
            Signer::Nobody => "none",
            Signer::Key(signer) => match signer.public_key().kind() {
                KeyKind::Ed25519 => "ed25519",
                KeyKind::EcdsaP256 => "ecdsa-p256",
            },
        }
    }

    /// Appends envelope `index` to `out`.
    ///
    /// # Errors
    /// When signing fails.
    fn write(&self, tag: &Tag, index: u64, out: &mut BytesMut) -> Result<(), LoadError> {
        let start = out.len();
        let payload_at = start + 1 + prost::length_delimiter_len(self.payload.len());
        let short = "a buffer in memory has room";
        prost::encoding::encode_key(1, prost::encoding::WireType::LengthDelimited, out);
        prost::encode_length_delimiter(self.payload.len(), out).expect(short);
        out.extend_from_slice(&self.payload);
        let payload = &mut out[payload_at..];
        rand::fill(&mut payload[self.nonce.clone()]);
        let mut hasher = Sha256::new();
        hasher.update(&payload[self.nonce.clone()]);
        hasher.update(&self.creator);
        hex::encode_to_slice(hasher.finalize(), &mut payload[self.tx_id..self.tx_id + 64])
            .expect("64 digits are 32 bytes");
        tag.stamp(payload, index);
        let signature = match &self.signer {
            Signer::Key(signer) => signer
                .sign(payload)
                .now_or_never()
                .expect("a key in memory signs at once")
                .map_err(|error| LoadError::Identity(error.to_string()))?,
            Signer::Nobody => Bytes::from_static(&[0x5a; 64]),
        };
        prost::encoding::encode_key(2, prost::encoding::WireType::LengthDelimited, out);
        prost::encode_length_delimiter(signature.len(), out).expect(short);
        out.extend_from_slice(&signature);
        Ok(())
    }
}

/// What decides an envelope's size.
struct Shape<'a> {
    channel: &'a str,
    creator: &'a Bytes,
}

impl Shape<'_> {
    fn payload(&self, tx_id: &str, nonce: &[u8], filler: usize) -> common::Payload {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let channel_header = common::ChannelHeader {
            r#type: common::HeaderType::EndorserTransaction as i32,
            timestamp: Some(prost_types::Timestamp { seconds: now.as_secs() as i64, nanos: 0 }),
            channel_id: self.channel.to_owned(),
            tx_id: tx_id.to_owned(),
            ..common::ChannelHeader::default()
        };
        let signature_header =
            common::SignatureHeader { creator: self.creator.clone(), nonce: Bytes::copy_from_slice(nonce) };
        // Random, so that nothing on the way can make it smaller.
        let mut data = vec![0u8; filler + marker::LEN];
        rand::fill(&mut data[..]);
        common::Payload {
            header: Some(common::Header {
                channel_header: channel_header.encode_to_vec().into(),
                signature_header: signature_header.encode_to_vec().into(),
            }),
            data: data.into(),
        }
    }

    fn envelope_len(&self, nonce: usize, filler: usize, signature: usize) -> usize {
        let field = |len: usize| 1 + prost::length_delimiter_len(len) + len;
        let payload = self.payload(&"0".repeat(64), &vec![0; nonce], 0);
        let header = payload.header.as_ref().map_or(0, prost::Message::encoded_len);
        field(field(header) + field(filler + marker::LEN)) + field(signature)
    }
}

/// An envelope of the run.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// Counts from 0 in the order of sending.
    pub(super) index: u64,
    /// A serialized `common.Envelope`.
    pub(super) bytes: Bytes,
}

/// The run's envelopes, in order of their index.
pub(super) struct Stock {
    chunks: Receiver<Result<Vec<Bytes>, LoadError>>,
    current: std::vec::IntoIter<Bytes>,
    next: u64,
    shared: Arc<Shared>,
}

/// What the making thread and the run tell each other.
#[derive(Default)]
struct Shared {
    /// The run has begun: no more signing on all cores.
    running: AtomicBool,
    /// Envelopes made so far.
    made: AtomicU64,
    /// Of those, how many were taken.
    taken: AtomicU64,
    /// The run is over, or never began.
    dropped: AtomicBool,
    /// No more will be made.
    ended: AtomicBool,
}

/// How far the making of envelopes is, for who waits for it.
#[derive(Clone)]
pub(super) struct Made(Arc<Shared>);

impl Made {
    /// Envelopes made so far.
    pub(super) fn count(&self) -> u64 {
        self.0.made.load(Ordering::Relaxed)
    }

    /// No more will be made: all are, or signing failed, which [`Stock::take`] tells.
    pub(super) fn ended(&self) -> bool {
        self.0.ended.load(Ordering::Relaxed)
    }
}

impl Stock {
    /// Begins making envelopes 0 to `expected`, the clients taking turns; at most `memory` bytes of
    /// them wait to be taken. More are made as they are taken, up to `total`. Also gives how many
    /// will be made before any is taken.
    pub(super) fn new(
        templates: Arc<Vec<Template>>,
        tag: Tag,
        expected: u64,
        total: u64,
        memory: usize,
    ) -> (Self, u64) {
        let size = templates.iter().map(|template| template.payload.len()).max().unwrap_or(1) + 128;
        let room = (memory / (size * CHUNK)).max(2);
        let (sender, chunks) = sync_channel(room);
        let shared = Arc::<Shared>::default();
        let made = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("load-sign".to_owned())
            .spawn(move || {
                produce(&templates, &tag, expected, total, size, &sender, &made);
                made.ended.store(true, Ordering::Relaxed);
            })
            .expect("the system has room for a thread");
        let ahead = expected.min(total).min((room * CHUNK) as u64);
        (Self { chunks, current: Vec::new().into_iter(), next: 0, shared }, ahead)
    }

    /// How far it is.
    pub(super) fn made(&self) -> Made {
        Made(Arc::clone(&self.shared))
    }

    /// From here on the machine belongs to the run.
    pub(super) fn run_begins(&self) {
        self.shared.running.store(true, Ordering::Relaxed);
    }

    /// Appends the next `count` envelopes to `out`; fewer only if the total is reached.
    ///
    /// # Errors
    /// When signing failed.
    pub(super) fn take(&mut self, count: usize, out: &mut Vec<Item>) -> Result<(), LoadError> {
        for _ in 0..count {
            let bytes = match self.current.next() {
                Some(bytes) => bytes,
                None => {
                    let Ok(chunk) = self.chunks.recv() else { return Ok(()) };
                    self.current = chunk?.into_iter();
                    match self.current.next() {
                        Some(bytes) => bytes,
                        None => return Ok(()),
                    }
                }
            };
            out.push(Item { index: self.next, bytes });
            self.next += 1;
        }
        self.shared.taken.store(self.next, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Stock {
    fn drop(&mut self) {
        self.shared.dropped.store(true, Ordering::Relaxed);
    }
}

fn produce(
    templates: &[Template],
    tag: &Tag,
    expected: u64,
    total: u64,
    size: usize,
    sink: &SyncSender<Result<Vec<Bytes>, LoadError>>,
    shared: &Shared,
) {
    let mut next = 0;
    while next < total {
        if next >= expected && next - shared.taken.load(Ordering::Relaxed) >= LITTLE {
            if shared.dropped.load(Ordering::Relaxed) {
                return;
            }
            std::thread::sleep(LOOK);
            continue;
        }
        let width = if shared.running.load(Ordering::Relaxed) { 1 } else { SIDE_BY_SIDE };
        let starts: Vec<u64> = (0..width).map(|step| next + (step * CHUNK) as u64).collect();
        let starts: Vec<u64> = starts.into_iter().filter(|start| *start < total).collect();
        let make = |start: u64| chunk(templates, tag, start..total.min(start + CHUNK as u64), size);
        let chunks: Vec<_> = match starts[..] {
            [start] => vec![make(start)],
            _ => starts.into_par_iter().map(make).collect(),
        };
        for chunk in chunks {
            let made = chunk.as_ref().map_or(0, Vec::len) as u64;
            next += made;
            let failed = chunk.is_err();
            shared.made.fetch_add(made, Ordering::Relaxed);
            if sink.send(chunk).is_err() || failed {
                return;
            }
        }
    }
}

fn chunk(
    templates: &[Template],
    tag: &Tag,
    indices: std::ops::Range<u64>,
    size: usize,
) -> Result<Vec<Bytes>, LoadError> {
    let mut slab = BytesMut::with_capacity(size * CHUNK);
    indices
        .map(|index| {
            templates[(index % templates.len() as u64) as usize].write(tag, index, &mut slab)?;
            Ok(slab.split().freeze())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::envelope::request_id;

    fn unsigned(size: usize) -> Result<Template, LoadError> {
        Template::unsigned("sbft", 1, size)
    }

    #[test]
    fn every_possible_size_is_met() {
        let Err(LoadError::Size { smallest, .. }) = unsigned(10) else { panic!("10 bytes are too few") };
        assert!(smallest <= 256, "{smallest}");
        let mut missed = 0;
        for size in (smallest..smallest + 300).chain(16_300..16_500) {
            let mut out = BytesMut::new();
            unsigned(size).unwrap().write(&Tag::random(), 3, &mut out).unwrap();
            missed += size - out.len();
            assert!(out.len() == size || out.len() + 1 == size, "{size}");
        }
        assert!(missed <= 4, "{missed} sizes are met but for a byte");
    }

    #[test]
    fn envelopes_are_well_formed_numbered_and_each_has_its_own_id() {
        let tag = Tag::random();
        let templates = Arc::new((0..3).map(|_| unsigned(512).unwrap()).collect::<Vec<_>>());
        let (mut stock, ahead) = Stock::new(templates, tag, 1_000, 1_000, 1 << 20);
        assert_eq!(ahead, 1_000);
        let mut items = Vec::new();
        stock.take(1_200, &mut items).unwrap();
        assert_eq!(items.len(), 1_000, "no more than the total");
        let mut ids = std::collections::BTreeSet::new();
        for (index, item) in items.iter().enumerate() {
            assert_eq!(item.index, index as u64);
            assert_eq!(tag.index(&item.bytes), Some(index as u64));
            let envelope = common::Envelope::decode(item.bytes.clone()).unwrap();
            let payload = common::Payload::decode(envelope.payload.clone()).unwrap();
            let header = common::ChannelHeader::decode(payload.header.unwrap().channel_header).unwrap();
            let id = request_id(&envelope).unwrap();
            assert_eq!((header.channel_id.as_str(), header.tx_id), ("sbft", id.to_string()));
            assert!(ids.insert(id));
        }
    }

    #[test]
    fn beyond_what_was_expected_only_a_little_is_made_ahead() {
        let templates = Arc::new(vec![unsigned(512).unwrap()]);
        let (mut stock, ahead) = Stock::new(templates, Tag::random(), 100, u64::MAX, 256 << 20);
        assert_eq!(ahead, 100);
        let (made, mut items) = (stock.made(), Vec::new());
        for taken in (1_000..3 * LITTLE).step_by(1_000) {
            stock.take(1_000, &mut items).unwrap();
            assert_eq!(items.len() as u64, taken);
            assert!(made.count() <= taken + LITTLE + (SIDE_BY_SIDE * CHUNK) as u64);
        }
        assert!(!made.ended());
    }
}
