//! Committed blocks: what a commit signs, and [`CommittedBlock`] to and from `common.Block` bytes.
//!
//! A block's metadata slot 0 holds the value that all q consenters signed (M in fabric-spec C.3)
//! and their signatures; slot 1 the number of the last config block; slots 2 to 4 are empty.
//! Everyone computes M itself and compares bytes, and nobody takes it from a message.

use bytes::Bytes;
use prost::Message as _;

use super::envelope::{EnvelopeError, Parsed};
use super::error::{Problem, WireError};
use super::message::{digest, from_header, required, to_header, undecodable};
use super::shape::Cursor;
use super::{NONCE_BYTES, schema, shape};
use crate::header::{data_hash, header_bytes};
use crate::pbft::message::CommitVote;
use crate::proto::common::{
    Block, BlockData, BlockHeader, BlockMetadata, IdentifierHeader, LastConfig, Metadata, MetadataSignature,
    OrdererBlockMetadata,
};
use crate::proto::sbft as proto;
use crate::types::{
    BlockCertificate, BlockSignature, CommittedBlock, ConsenterId, Digest, Header, Number, Place, Signature,
    View,
};

/// Metadata slots of a block.
pub const SLOTS: usize = 5;

/// Why bytes are no committed block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// Not the form of a block of ours.
    #[error("block: {0}")]
    Form(#[from] WireError),
    /// One of the envelopes is no canonical, signed envelope.
    #[error("envelope {index} of block {number}: {error}")]
    Envelope {
        /// The block.
        number: Number,
        /// Which, from 0.
        index: usize,
        /// What is wrong with it.
        error: EnvelopeError,
    },
    /// The header's data hash is not that of the data.
    #[error("data hash of block {number} is {found}, its data hash to {computed}")]
    DataHash {
        /// The block.
        number: Number,
        /// In the header.
        found: Digest,
        /// Of the data.
        computed: Digest,
    },
    /// A signature by someone who is no consenter of this block's era.
    #[error("block {number} is signed by {id}, who is no consenter")]
    Stranger {
        /// The block.
        number: Number,
        /// The id in the identifier header.
        id: ConsenterId,
    },
}

/// M, the value of slot 0 that every consenter signs: last config, and as consenter metadata the
/// view, the number and the proposal digest. Canonical bytes.
pub fn metadata_value(view: View, number: Number, proposal: &Digest, last_config: Number) -> Bytes {
    let proposal = Bytes::copy_from_slice(&proposal.0);
    let metadata = proto::ConsenterMetadata { view: view.0, number: number.0, proposal };
    orderer_metadata(last_config, metadata.encode_to_vec().into())
}

/// `OrdererBlockMetadata` around any consenter metadata. The last config is spelled out even when
/// it is block 0, as Fabric does.
pub fn orderer_metadata(last_config: Number, consenter_metadata: Bytes) -> Bytes {
    let last_config = Some(LastConfig { index: last_config.0 });
    OrdererBlockMetadata { last_config, consenter_metadata }.encode_to_vec().into()
}

/// I, the serialized `IdentifierHeader` of a signer.
pub fn identifier_header(id: ConsenterId, nonce: &[u8; NONCE_BYTES]) -> Bytes {
    IdentifierHeader { identifier: id.0, nonce: Bytes::copy_from_slice(nonce) }.encode_to_vec().into()
}

/// Reads an identifier header: canonical, with an id and a nonce of [`NONCE_BYTES`].
pub fn signer_of(identifier_header: &Bytes) -> Result<ConsenterId, WireError> {
    let error = |error: WireError| error.inside("identifier_header");
    shape::check(identifier_header, &schema::IDENTIFIER).map_err(error)?;
    let header = IdentifierHeader::decode(identifier_header.clone()).map_err(undecodable).map_err(error)?;
    let missing = |field| Err(error(WireError::at(field, Problem::Missing)));
    match (header.identifier, header.nonce.is_empty()) {
        (0, _) => missing("identifier"),
        (_, true) => missing("nonce"),
        (id, false) => Ok(ConsenterId(id)),
    }
}

/// M ‖ I ‖ H: what the signer with this identifier header signs to commit.
pub fn commit_signing_bytes(vote: &CommitVote, identifier_header: &[u8]) -> Vec<u8> {
    let value = metadata_value(vote.view, vote.header.number, &vote.digest, vote.last_config);
    signing_bytes(&value, identifier_header, &vote.header)
}

/// Metadata value, the signer's identifier or signature header, header bytes (fabric-spec C.3).
pub fn signing_bytes(value: &[u8], signer: &[u8], header: &Header) -> Vec<u8> {
    [value, signer, &header_bytes(header)].concat()
}

/// The vote that every signature of `certificate` is for.
pub fn vote_of(certificate: &BlockCertificate) -> CommitVote {
    CommitVote {
        view: certificate.view,
        header: certificate.header.clone(),
        digest: certificate.proposal,
        last_config: certificate.last_config,
    }
}

/// The five metadata slots of a block: slot 0 `value` and signatures over it, slot 1 the number
/// of the last config block, three empty ones.
pub fn metadata_slots(value: Bytes, signatures: Vec<MetadataSignature>, last_config: Number) -> Vec<Bytes> {
    let slot = |metadata: Metadata| Bytes::from(metadata.encode_to_vec());
    let index = LastConfig { index: last_config.0 }.encode_to_vec().into();
    vec![
        slot(Metadata { value, signatures }),
        slot(Metadata { value: index, signatures: Vec::new() }),
        Bytes::new(),
        Bytes::new(),
        Bytes::new(),
    ]
}

/// The serialized `common.Block`.
pub fn encode(block: &CommittedBlock) -> Bytes {
    let BlockCertificate { view, header, proposal, last_config, signatures } = &block.certificate;
    let value = metadata_value(*view, header.number, proposal, *last_config);
    let signature = |(_, signature): &(Place, BlockSignature)| MetadataSignature {
        signature_header: Bytes::new(),
        signature: signature.signature.0.clone(),
        identifier_header: signature.identifier_header.clone(),
    };
    let signatures = signatures.iter().map(signature).collect();
    let block = Block {
        header: Some(to_common(header)),
        data: Some(BlockData { data: block.data.clone() }),
        metadata: Some(BlockMetadata { metadata: metadata_slots(value, signatures, *last_config) }),
    };
    block.encode_to_vec().into()
}

/// The number that a serialized block begins with, without looking at the rest; `None` if it does not begin
/// as a block does.
pub fn number_of(bytes: &[u8]) -> Option<Number> {
    let mut block = Cursor::new(bytes);
    if block.tag().ok()? != (1, Cursor::LENGTH_DELIMITED) {
        return None;
    }
    let mut header = Cursor::new(block.delimited().ok()?);
    match header.tag().ok()? {
        (1, Cursor::VARINT) => header.varint().ok().map(Number),
        _ => Some(Number(0)),
    }
}

/// Reads a block that [`encode`] wrote, `consenters` being the ids of its era in order of place.
///
/// Strict: canonical throughout, metadata value as every consenter computes it, data hash right,
/// envelopes canonical and signed, a config envelope alone and then its own last config. The
/// signatures are [`Checker::check_block`](super::Checker::check_block)'s business.
pub fn decode(bytes: Bytes, consenters: &[ConsenterId]) -> Result<CommittedBlock, BlockError> {
    shape::check(&bytes, &schema::BLOCK)?;
    let block = Block::decode(bytes).map_err(undecodable)?;
    let header = required("header", block.header)?;
    let header = proto::BlockHeader {
        number: header.number,
        previous_hash: header.previous_hash,
        data_hash: header.data_hash,
    };
    let header = to_header(&header).map_err(|error| error.inside("header"))?;
    let data = required("data", block.data)?.data;
    let slots = required("metadata", block.metadata)?.metadata;
    let certificate = decode_certificate(header, &slots, consenters)?;
    let number = certificate.header.number;
    let mut ids = Vec::with_capacity(data.len());
    let mut is_config = false;
    for (index, envelope) in data.iter().enumerate() {
        let parsed = Parsed::from_frame(envelope.clone()).map_err(|error| BlockError::Envelope {
            number,
            index,
            error,
        })?;
        is_config |= parsed.is_config();
        ids.push(parsed.id);
    }
    match data.len() {
        0 => return Err(invalid("data", "a block holds at least one envelope")),
        1 => {}
        _ if is_config => return Err(invalid("data", "a config envelope must be alone in its block")),
        _ => {}
    }
    if is_config != (certificate.last_config == number) || certificate.last_config > number {
        return Err(invalid("metadata[1]", "last config is the block's own number in config blocks only"));
    }
    let computed = data_hash(&data);
    let found = certificate.header.data_hash;
    if computed != found {
        return Err(BlockError::DataHash { number, found, computed });
    }
    Ok(CommittedBlock { certificate, data, ids: ids.into(), is_config })
}

/// The block after the one with this number and hash, in the form that a consenter of one node
/// fills: five empty metadata slots.
pub fn next_block(number: Number, previous_hash: Digest, data: Vec<Bytes>) -> Block {
    let header = Header { number, previous_hash: Some(previous_hash), data_hash: data_hash(&data) };
    Block {
        header: Some(to_common(&header)),
        data: Some(BlockData { data }),
        metadata: Some(BlockMetadata { metadata: vec![Bytes::new(); SLOTS] }),
    }
}

/// A block's header as the domain type.
///
/// # Errors
/// If it is missing or its hashes are not 32 bytes; the previous hash may be empty in block 0.
pub fn header_of(block: &Block) -> Result<Header, WireError> {
    let header = required("header", block.header.as_ref())?;
    let data_hash = digest("header.data_hash", &header.data_hash)?;
    let previous_hash = match header.previous_hash.is_empty() && header.number == 0 {
        true => None,
        false => Some(digest("header.previous_hash", &header.previous_hash)?),
    };
    Ok(Header { number: Number(header.number), previous_hash, data_hash })
}

/// Fills slots 0 and 1 in the form of one signer with a signature header (fabric-spec C.3, last
/// line): `signature` is over [`signing_bytes`] of `value`, `signature_header` and the header.
pub fn fill_signed_by_one(
    block: &mut Block,
    value: Bytes,
    signature_header: Bytes,
    signature: Bytes,
    last_config: Number,
) {
    let signature = MetadataSignature { signature_header, signature, identifier_header: Bytes::new() };
    let metadata = metadata_slots(value, vec![signature], last_config);
    block.metadata = Some(BlockMetadata { metadata });
}

fn to_common(header: &Header) -> BlockHeader {
    let proto::BlockHeader { number, previous_hash, data_hash } = from_header(header);
    BlockHeader { number, previous_hash, data_hash }
}

fn invalid(field: &str, text: &str) -> BlockError {
    WireError::at(field, Problem::Invalid(text.to_owned())).into()
}

fn decode_certificate(
    header: Header,
    slots: &[Bytes],
    consenters: &[ConsenterId],
) -> Result<BlockCertificate, BlockError> {
    let number = header.number;
    if slots.len() != SLOTS {
        return Err(invalid("metadata", "a block has five metadata slots"));
    }
    if slots[2..].iter().any(|slot| !slot.is_empty()) {
        return Err(invalid("metadata", "slots 2 to 4 must be empty"));
    }
    let slot = |error: WireError| error.inside("metadata[0]");
    shape::check(&slots[0], &schema::SIGNATURES_SLOT).map_err(slot)?;
    let Metadata { value, signatures } =
        Metadata::decode(slots[0].clone()).map_err(undecodable).map_err(slot)?;
    let (view, proposal, last_config) = decode_value(&value, number).map_err(slot)?;
    let mut placed: Vec<(Place, BlockSignature)> = Vec::with_capacity(signatures.len());
    for MetadataSignature { signature, identifier_header, .. } in signatures {
        let id = signer_of(&identifier_header).map_err(slot)?;
        let index = consenters.iter().position(|consenter| *consenter == id);
        let place = index.and_then(|index| u16::try_from(index).ok()).map(Place);
        let place = place.ok_or(BlockError::Stranger { number, id })?;
        if placed.last().is_some_and(|(last, _)| *last >= place) {
            return Err(invalid("metadata[0].signatures", "signers must differ and stand in order"));
        }
        if signature.is_empty() {
            return Err(invalid("metadata[0].signatures", "a signature is missing"));
        }
        placed.push((place, BlockSignature { identifier_header, signature: Signature(signature) }));
    }
    let expected = metadata_slots(Bytes::new(), Vec::new(), last_config);
    if slots[1] != expected[1] {
        return Err(invalid("metadata[1]", "must hold the last config of slot 0"));
    }
    Ok(BlockCertificate { view, header, proposal, last_config, signatures: placed })
}

/// Reads M; whatever is not the bytes that [`metadata_value`] makes is refused.
fn decode_value(value: &Bytes, number: Number) -> Result<(View, Digest, Number), WireError> {
    let inside = |error: WireError| error.inside("value");
    shape::check(value, &schema::ORDERER_METADATA).map_err(inside)?;
    let metadata = OrdererBlockMetadata::decode(value.clone()).map_err(undecodable).map_err(inside)?;
    let last_config = Number(required("value.last_config", metadata.last_config)?.index);
    let inside = |error: WireError| error.inside("value.consenter_metadata");
    shape::check(&metadata.consenter_metadata, &schema::CONSENTER_METADATA).map_err(inside)?;
    let consenter =
        proto::ConsenterMetadata::decode(metadata.consenter_metadata).map_err(undecodable).map_err(inside)?;
    if consenter.number != number.0 {
        let problem = Problem::Invalid(format!("is {}, the header says {}", consenter.number, number.0));
        return Err(inside(WireError::at("number", problem)));
    }
    let proposal = digest("proposal", &consenter.proposal).map_err(inside)?;
    Ok((View(consenter.view), proposal, last_config))
}
