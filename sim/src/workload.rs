//! Clients, and what the filters make of their envelopes.
//!
//! An envelope is a real one: protobuf of an endorser transaction with a creator, a nonce and a
//! signature. Its nonce says which one it is, so that every check can tell at a glance whether a
//! client submitted it; which is what a simulated signature means.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use prost::Message as _;
use sbft::consenter::sbft::rules::{self, Judged};
use sbft::header::{data_hash, sha256};
use sbft::intake::Envelope;
use sbft::pbft::Config;
use sbft::proto::common;
use sbft::types::{Candidate, Digest, Place, RequestId, Verified};
use sbft::wire;
use sbft::wire::candidate::digest;

use crate::channel::{Filters, NAME, Signatures};
use crate::draw::{Draws, Purpose};

/// All envelopes of a run: whatever is in a block and not here was never submitted.
#[derive(Clone, Debug)]
pub struct Workload {
    names: Vec<String>,
    by_name: BTreeMap<String, u64>,
    filters: Arc<Filters>,
    signatures: Signatures,
    /// Decides how large each envelope is.
    draws: Draws,
    /// Fewest and most bytes of an envelope.
    sizes: (u64, u64),
    /// What the filters said before. They read no clock and no local setting, so each replica
    /// would hear the same, and only the first pays for it.
    known: RefCell<Known>,
}

/// A candidate's bytes, and what it is if it is valid.
type Verdict = (Bytes, Option<Verified<Arc<Candidate>>>);

#[derive(Clone, Debug, Default)]
struct Known {
    candidates: BTreeMap<Digest, Verdict>,
    admitted: BTreeMap<(u64, u8), Result<Envelope, String>>,
}

impl Default for Workload {
    fn default() -> Self {
        Self::new(Signatures::Simulated, &crate::world::default_config(4))
    }
}

impl Workload {
    /// No envelopes yet, on a channel with the batch limits of `config`.
    pub fn new(signatures: Signatures, config: &Config) -> Self {
        Self {
            names: Vec::new(),
            by_name: BTreeMap::new(),
            filters: Filters::of(signatures, config),
            signatures,
            draws: Draws::new(0),
            sizes: (0, 0),
            known: RefCell::default(),
        }
    }

    /// The same with envelopes of so many bytes, by these draws.
    pub(crate) fn sized(self, draws: Draws, sizes: (u64, u64)) -> Self {
        Self { draws, sizes, ..self }
    }

    /// How large envelope `index` should be.
    fn size(&self, index: u64) -> u64 {
        let (least, most) = self.sizes;
        least + self.draws.below(Purpose::Size, &[index], most.saturating_sub(least) + 1)
    }

    /// The config sequence that the filters judge by.
    pub fn config_sequence(&self) -> u64 {
        self.filters.processor.sequence()
    }

    /// What a replica makes of envelope `index` when a client hands it in.
    ///
    /// # Errors
    /// The answer to the client.
    pub fn admit(&self, index: u64, variant: u8) -> Result<Envelope, String> {
        if index >= self.len() {
            return Err("no client signed it".to_owned());
        }
        let mut known = self.known.borrow_mut();
        let admit = || self.filters.admit(self.envelope(index, variant));
        known.admitted.entry((index, variant)).or_insert_with(admit).clone()
    }

    /// Whether an envelope of a pool passes the filters again.
    pub fn revalidate(&self, frame: Bytes) -> bool {
        self.valid(&frame) && self.filters.admit(frame).is_ok()
    }

    /// What a replica makes of a candidate that it got: the node's verdict on its bytes, and, for
    /// the signatures that are simulated, that clients submitted all its envelopes.
    pub fn judge(&self, candidate: &Candidate, n: usize) -> Option<Verified<Arc<Candidate>>> {
        let mut known = self.known.borrow_mut();
        let (_, verdict) = match known.candidates.get(&candidate.digest) {
            Some(known) if known.0 == candidate.encoding => known,
            _ => {
                let encoding = candidate.encoding.clone();
                let Filters { processor, limits } = &*self.filters;
                let Judged { digest, verdict, .. } =
                    rules::judge_candidate(digest(&encoding), encoding.clone(), limits, None, n, processor)?;
                let verdict = verdict.ok().map(|(candidate, _)| candidate);
                if digest != candidate.digest {
                    return None; // a receiver would know it by another name
                }
                known.candidates.insert(digest, (encoding, verdict));
                &known.candidates[&digest]
            }
        };
        let verdict = verdict.as_ref()?;
        verdict.get().envelopes.iter().all(|envelope| self.valid(envelope)).then(|| verdict.clone())
    }

    /// The bytes of envelope `index` as its client signed them.
    pub fn envelope(&self, index: u64, variant: u8) -> Bytes {
        match self.signatures {
            Signatures::Simulated if self.sizes == (0, 0) => envelope(index, variant),
            Signatures::Simulated => {
                let size = self.size(index).saturating_sub(SIMULATED_SIGNATURE);
                simulated(padded_payload(index, variant, CREATOR, size))
            }
            kind => crate::clients::signed(kind, index, variant, self.size(index)),
        }
    }

    /// Registers an envelope that some client signed, and gives its number.
    pub fn submit(&mut self, name: &str) -> u64 {
        if let Some(known) = self.by_name.get(name) {
            return *known;
        }
        let index = self.names.len() as u64;
        self.names.push(name.to_owned());
        self.by_name.insert(name.to_owned(), index);
        index
    }

    /// Registers an envelope without a name of its own.
    pub fn submit_unnamed(&mut self) -> u64 {
        let index = self.names.len() as u64;
        self.names.push(String::new());
        index
    }

    /// The number of a named envelope.
    pub fn named(&self, name: &str) -> Option<u64> {
        self.by_name.get(name).copied()
    }

    /// How many were submitted.
    pub fn len(&self) -> u64 {
        self.names.len() as u64
    }

    /// None was submitted.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// What traces call this envelope.
    pub fn name(&self, index: u64) -> String {
        match self.names.get(index as usize) {
            Some(name) if !name.is_empty() => name.clone(),
            _ => format!("e{index}"),
        }
    }

    /// The envelope passed the channel's filter: a client submitted it.
    pub fn valid(&self, envelope: &Bytes) -> bool {
        // One of another size is none that its client signed.
        let meant = |index| {
            self.sizes == (0, 0)
                || self.signatures != Signatures::Simulated
                || envelope.len() == self.envelope(index, 0).len()
        };
        index_of(envelope).is_some_and(|index| index < self.len() && meant(index))
    }

    /// The names of a block's or candidate's envelopes, for people.
    pub fn names<'a>(&self, data: impl IntoIterator<Item = &'a Bytes>) -> String {
        let names: Vec<String> =
            data.into_iter().map(|e| index_of(e).map_or_else(|| "?".to_owned(), |i| self.name(i))).collect();
        names.join(" ")
    }
}

/// The bytes of envelope `index`, with a simulated signature. Another `variant` is the same request
/// in other bytes.
pub fn envelope(index: u64, variant: u8) -> Bytes {
    let template = Template::get();
    let mut bytes = template.bytes.clone();
    bytes[template.index..template.index + 8].copy_from_slice(&index.to_be_bytes());
    bytes[template.variant] = variant;
    Bytes::from(bytes)
}

/// Which envelope these bytes are; none for bytes that no client signed.
pub fn index_of(envelope: &Bytes) -> Option<u64> {
    let template = Template::get();
    let (index, variant) = (template.index, template.variant);
    let simulated = envelope.len() == template.bytes.len()
        && envelope[..index] == template.bytes[..index]
        && envelope[index + 8..variant] == template.bytes[index + 8..variant]
        && envelope[variant + 1..] == template.bytes[variant + 1..];
    if !simulated {
        return padded_index_of(envelope).or_else(|| crate::clients::index_of(envelope));
    }
    envelope[index..index + 8].try_into().ok().map(u64::from_be_bytes)
}

/// The same for a simulated envelope that was made larger.
fn padded_index_of(bytes: &Bytes) -> Option<u64> {
    let header = wire::envelope::Parsed::from_frame(bytes.clone()).ok()?.signature_header;
    if header.creator != CREATOR {
        return None;
    }
    let index = index_in(&header.nonce)?;
    let outer = common::Envelope::decode(bytes.clone()).ok()?;
    let data = common::Payload::decode(outer.payload).ok()?.data;
    let (variant, padding) = (*data.get(1)?, data.len() - 2);
    (simulated(payload(index, variant, CREATOR, padding)) == *bytes).then_some(index)
}

/// An envelope's identity; none for bytes that are no envelope.
pub fn request_id(envelope: &Bytes) -> Option<RequestId> {
    let template = Template::get();
    if envelope.len() == template.bytes.len()
        && let Some(index) = index_of(envelope)
    {
        return Some(id_of(index));
    }
    wire::envelope::Parsed::from_frame(envelope.clone()).ok().map(|parsed| parsed.id)
}

/// The identity of envelope `index`, where signatures are simulated.
pub fn id_of(index: u64) -> RequestId {
    wire::envelope::request_id(&nonce(index), CREATOR)
}

/// What stands for the identity of the simulated clients. It is none of the channel's, which
/// nobody minds: the Writers policy asks for no signature.
const CREATOR: &[u8] = b"a client";

/// The nonce of envelope `index`.
pub(crate) fn nonce(index: u64) -> [u8; 24] {
    let mut nonce = *b"sbft-sim envelope       ";
    nonce[16..].copy_from_slice(&index.to_be_bytes());
    nonce
}

/// The index in a nonce.
pub(crate) fn index_in(nonce: &[u8]) -> Option<u64> {
    nonce.strip_prefix(b"sbft-sim envelop")?.try_into().ok().map(u64::from_be_bytes)
}

/// The payload of envelope `index` in the name of `creator`, of at most `size` bytes if it is not
/// larger anyway.
pub(crate) fn padded_payload(index: u64, variant: u8, creator: &[u8], size: u64) -> Bytes {
    let plain = payload(index, variant, creator, 0);
    let room = usize::try_from(size).unwrap_or(usize::MAX).saturating_sub(plain.len());
    if room == 0 {
        return plain;
    }
    // The length of the data takes a few bytes itself.
    let first = payload(index, variant, creator, room);
    let over = first.len() - (plain.len() + room);
    if over == 0 { first } else { payload(index, variant, creator, room.saturating_sub(over)) }
}

/// A payload under a simulated signature.
fn simulated(payload: Bytes) -> Bytes {
    common::Envelope { payload, signature: Bytes::from_static(b"signed") }.encode_to_vec().into()
}

/// What a simulated signature and the lengths of the parts add to an envelope, more or less.
const SIMULATED_SIGNATURE: u64 = 12;

/// The payload of envelope `index` in the name of `creator`, with so many bytes more than it needs.
fn payload(index: u64, variant: u8, creator: &[u8], padding: usize) -> Bytes {
    let channel_header = common::ChannelHeader {
        r#type: common::HeaderType::EndorserTransaction as i32,
        channel_id: NAME.to_owned(),
        ..common::ChannelHeader::default()
    };
    let signature_header = common::SignatureHeader {
        creator: Bytes::copy_from_slice(creator),
        nonce: Bytes::copy_from_slice(&nonce(index)),
    };
    let header = common::Header {
        channel_header: channel_header.encode_to_vec().into(),
        signature_header: signature_header.encode_to_vec().into(),
    };
    let mut data = vec![b'v', variant];
    data.resize(2 + padding, 0);
    common::Payload { header: Some(header), data: data.into() }.encode_to_vec().into()
}

/// The simulated envelope, and where index and variant stand in it: encoding one anew each time
/// costs ten times as much.
struct Template {
    bytes: Vec<u8>,
    index: usize,
    variant: usize,
}

impl Template {
    fn get() -> &'static Self {
        static TEMPLATE: OnceLock<Template> = OnceLock::new();
        TEMPLATE.get_or_init(|| {
            let envelope = |index, variant| simulated(payload(index, variant, CREATOR, 0)).to_vec();
            let bytes = envelope(0, 0);
            let first = |other: Vec<u8>| bytes.iter().zip(&other).position(|(one, other)| one != other);
            let index = first(envelope(u64::MAX, 0)).expect("the index is in the nonce");
            let variant = first(envelope(0, u8::MAX)).expect("the variant is in the data");
            Self { bytes, index, variant }
        })
    }
}

/// A candidate of these envelopes, as `origin`'s `sequence`th. Envelopes that are none make one
/// that no decoder takes.
pub fn candidate(origin: Place, sequence: u64, envelopes: Vec<Bytes>) -> Arc<Candidate> {
    if let Ok(candidate) = wire::candidate::encode(origin, sequence, envelopes.clone()) {
        return Arc::new(candidate);
    }
    let candidate =
        sbft::proto::sbft::Candidate { origin: origin.0.into(), sequence, envelopes: envelopes.clone() };
    let encoding = Bytes::from(candidate.encode_to_vec());
    Arc::new(Candidate {
        origin,
        sequence,
        digest: sha256(&encoding),
        encoding,
        ids: envelopes.iter().map(|e| request_id(e).unwrap_or(RequestId([0; 32]))).collect(),
        sizes: envelopes.iter().map(|envelope| envelope.len() as u32).collect(),
        data_hash: data_hash(&envelopes),
        envelopes,
        is_config: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envelopes_are_as_large_as_they_should_be_and_known_by_their_bytes() {
        let config = crate::world::default_config(4);
        for signatures in [Signatures::Simulated, Signatures::Ed25519] {
            let mut workload = Workload::new(signatures, &config).sized(Draws::new(7), (2_000, 40_000));
            let mut sizes = std::collections::BTreeSet::new();
            for index in 0..40 {
                workload.submit_unnamed();
                let envelope = workload.envelope(index, 3);
                assert!((1_990..=40_000).contains(&envelope.len()), "{} bytes", envelope.len());
                assert_eq!(index_of(&envelope), Some(index));
                assert_eq!(request_id(&envelope), request_id(&workload.envelope(index, 4)));
                assert!(workload.valid(&envelope));
                sizes.insert(envelope.len());
            }
            assert!(sizes.len() > 20, "all alike: {sizes:?}");
        }
        let mut workload = Workload::new(Signatures::Simulated, &config).sized(Draws::new(7), (500, 500));
        workload.submit_unnamed();
        assert!(!workload.valid(&envelope(0, 0)), "no client signed it in this size");
    }

    #[test]
    fn envelopes_keep_their_identity_in_other_bytes() {
        assert_ne!(envelope(3, 0), envelope(3, 1));
        assert_eq!(request_id(&envelope(3, 0)), request_id(&envelope(3, 1)));
        assert_eq!(request_id(&Bytes::from_static(b"bad")), None);
    }
}
