//! The nouns that every room shares: views, places, digests, envelopes, candidates, blocks.
//!
//! Plain values only. Nothing here does I/O, reads a clock or knows protobuf.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

/// A reign of one primary: the replica at place `view mod n` proposes blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct View(pub u64);

impl View {
    /// The next view.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The place of this view's primary among `n` replicas.
    pub fn primary(self, n: usize) -> Place {
        assert!(n > 0, "a channel has at least one replica");
        Place((self.0 % n as u64) as u16)
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

/// A period with one fixed set of consenters; a config block that changes them starts the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Era(pub u64);

/// A block's number: its place in the chain. The genesis block has number 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Number(pub u64);

impl Number {
    /// The number of the block on top of this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// A replica's 0-based place in the channel's consenter mapping. People and blocks see the
/// consenter's id (from 1) instead; see [`ConsenterId`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(pub u16);

impl Place {
    /// The place as an index into a vector of the channel's consenters.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}

/// A consenter's id as the channel configuration gives it; never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConsenterId(pub u32);

impl fmt::Display for ConsenterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A SHA-256 digest.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest held in `bytes`; `None` unless they are exactly 32.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for Digest {
    /// The first four bytes in hex, which is what logs and traces show.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in &self.0[..4] {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// An envelope's identity for de-duplication: SHA-256 of nonce and creator as received, or, for
/// a config envelope, of the update inside it (fabric-spec E.4). Never read from the tx id field,
/// which anyone could fill with a victim's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub [u8; 32]);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in &self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Digest(self.0))
    }
}

/// Monotonic time since the driver's own start. The state machines know no other clock.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub Duration);

impl Time {
    /// The start of the driver's clock.
    pub const ZERO: Self = Self(Duration::ZERO);

    /// This time plus `duration`, saturating.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }

    /// How long ago `earlier` was; zero if it is in the future.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0.as_secs(), self.0.subsec_micros())
    }
}

/// A signature's bytes, not yet judged.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signature(pub Bytes);

/// A value whose signatures and form a checker has found good.
///
/// Only a checker makes one (`wire::checker` in the node, the simulator's own in `sim`; the
/// layering test allows no other caller of [`Verified::vouch`]), so a function that takes a
/// `Verified<T>` has nothing left to check about signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    /// Vouches for `value`. For checkers only.
    pub fn vouch(value: T) -> Self {
        Self(value)
    }

    /// The value.
    pub fn get(&self) -> &T {
        &self.0
    }

    /// The value, taken out.
    pub fn into_inner(self) -> T {
        self.0
    }
}

/// A block's header. It does not contain the view: a block proposed again later keeps its hash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Header {
    /// The block's number.
    pub number: Number,
    /// Header hash of the block below; `None` for the genesis block only.
    pub previous_hash: Option<Digest>,
    /// SHA-256 over the plain concatenation of the data (fabric-spec C.2).
    pub data_hash: Digest,
}

/// Envelopes that one replica, the *origin*, cut in order and that are not yet ordered.
///
/// Invariants, upheld by `wire::candidate`: `digest` is SHA-256 of `encoding`; `envelopes` are
/// the envelopes of `encoding` in order, each a canonical envelope frame; `ids`, `sizes` have one
/// element for each envelope; `data_hash` is the Fabric data hash over all envelopes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The replica that says it cut it. Unproven when the candidate was fetched from another.
    pub origin: Place,
    /// Counts the origin's candidates since its start, from 0; candidates of one origin are
    /// proposed in this order where nothing is missing.
    pub sequence: u64,
    /// Names the candidate: SHA-256 of its exact encoding.
    pub digest: Digest,
    /// The exact encoding (protobuf `sbft.Candidate`).
    pub encoding: Bytes,
    /// The envelopes' encodings, in order.
    pub envelopes: Vec<Bytes>,
    /// Each envelope's identity.
    pub ids: Vec<RequestId>,
    /// Each envelope's size as the cutter and the limits count it: payload plus signature, bytes.
    pub sizes: Vec<u32>,
    /// Data hash over all envelopes; the block's own when nothing falls out as a duplicate.
    pub data_hash: Digest,
    /// A config envelope, which travels alone.
    pub is_config: bool,
}

impl Candidate {
    /// Sum of the envelopes' sizes, bytes.
    pub fn bytes(&self) -> u64 {
        self.sizes.iter().map(|size| u64::from(*size)).sum()
    }
}

/// How a proposal names a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CandidateRef {
    /// Who cut it, as the proposer says: a hint for fetching, charged to nobody's quota.
    pub origin: Place,
    /// The candidate's name.
    pub digest: Digest,
}

/// One consenter's signature over a block (fabric-spec C.3), which is its commit vote too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockSignature {
    /// Serialized `IdentifierHeader` (consenter id and nonce), as signed.
    pub identifier_header: Bytes,
    /// Over metadata value, identifier header and header bytes.
    pub signature: Signature,
}

/// q block signatures of one view over one block: proof that the block is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockCertificate {
    /// The view all signatures were cast in.
    pub view: View,
    /// The block.
    pub header: Header,
    /// Digest of the proposal that the block came from; part of the signed metadata value.
    pub proposal: Digest,
    /// Number of the last config block at this block (its own if it is one).
    pub last_config: Number,
    /// By distinct replicas, in order of place.
    pub signatures: Vec<(Place, BlockSignature)>,
}

/// A committed block: data and the proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedBlock {
    /// Header and q signatures.
    pub certificate: BlockCertificate,
    /// The envelopes' encodings, in order.
    pub data: Vec<Bytes>,
    /// Each envelope's identity, in the order of `data`.
    pub ids: Arc<[RequestId]>,
    /// The one envelope is a config envelope.
    pub is_config: bool,
}

impl CommittedBlock {
    /// The block's number.
    pub fn number(&self) -> Number {
        self.certificate.header.number
    }
}
