//! One block by itself: its encoding, hashes, envelopes and metadata slots.

use bytes::Bytes;
use prost::Message;
use sha2::{Digest as _, Sha256};

use crate::proto::common::{
    Block, BlockHeader, ChannelHeader, Envelope, HeaderType, IdentifierHeader, LastConfig, Metadata,
    OrdererBlockMetadata, Payload,
};
use crate::proto::sbft::ConsenterMetadata;

/// What is wrong, and with which block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("block {block}: {reason}")]
pub struct Fault {
    /// The block's number.
    pub block: u64,
    /// What is wrong with it.
    pub reason: Reason,
}

/// Why a block is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Blocks come in order.
    #[error("it is missing")]
    Missing,
    /// The block that should be here has this other number in its header.
    #[error("its header says that it is block {0}")]
    Number(u64),
    /// A part cannot be decoded.
    #[error("{0} cannot be decoded")]
    Undecodable(&'static str),
    /// A part decodes, but is not what encoding it again gives.
    #[error("{0} is not encoded canonically")]
    NotCanonical(&'static str),
    /// A part that every block has.
    #[error("it has no {0}")]
    Without(&'static str),
    /// The chain is broken.
    #[error("its previous hash is {found}, but the block before it has the hash {expected}")]
    PreviousHash {
        /// What the header says, hex.
        found: String,
        /// The hash of the block before, hex.
        expected: String,
    },
    /// The header is for other data.
    #[error("its data hash is {found}, but its data has the hash {expected}")]
    DataHash {
        /// What the header says, hex.
        found: String,
        /// The hash of the data, hex.
        expected: String,
    },
    /// An envelope (counted from 0) of an ordinary block is not what an orderer takes.
    #[error("envelope {place}: {what}")]
    Envelope {
        /// Its place, from 0.
        place: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// Five, as Fabric 3 has.
    #[error("it has {0} metadata slots and not 5")]
    Slots(usize),
    /// Slots 2 to 4 are for others.
    #[error("metadata slot {0} is not empty")]
    SlotNotEmpty(usize),
    /// Slots 0 and 1 say the same.
    #[error("metadata slot 1 is not the last config {0} of slot 0")]
    Slot1(u64),
    /// The number of the last config block is part of what is signed.
    #[error("it says that the last config block is {found}, but that is {expected}")]
    LastConfig {
        /// What the block says.
        found: u64,
        /// What is right.
        expected: u64,
    },
    /// Our consenter metadata names the block.
    #[error("its consenter metadata is that of block {0}")]
    ConsenterNumber(u64),
    /// Our consenter metadata has a proposal digest of 32 bytes.
    #[error("the proposal digest in its consenter metadata has {0} bytes and not 32")]
    ProposalDigest(usize),
    /// Earlier blocks are sbft's, so this one must be.
    #[error("its consenter metadata names no proposal, as that of earlier blocks does")]
    NoProposal,
    /// Only a consenter id says who signed.
    #[error("signature {0} has a signature header; blocks of this channel are signed by consenter id")]
    SignatureHeader(usize),
    /// No consenter of the configuration in force.
    #[error("signature {place} is by consenter {id}, which the configuration in force does not have")]
    Stranger {
        /// The signature's place, from 0.
        place: usize,
        /// The id that it claims.
        id: u32,
    },
    /// One signature each.
    #[error("consenter {0} signed more than once")]
    SignedTwice(u32),
    /// Over these metadata, and so in this view, it is not this consenter's signature.
    #[error("the signature by consenter {id} {what}: not over this header and metadata (view {view})")]
    Signature {
        /// The id that it claims.
        id: u32,
        /// What is wrong.
        what: &'static str,
        /// The view in the metadata.
        view: u64,
    },
    /// Fewer than a quorum.
    #[error("it has {found} signatures of {needed} needed")]
    TooFew {
        /// How many it has.
        found: usize,
        /// A quorum.
        needed: usize,
    },
    /// The configuration in it makes no sense.
    #[error("its configuration: {0}")]
    Config(String),
    /// Block 0 is the genesis block.
    #[error("its {0} is not that of the genesis block given")]
    NotGenesis(&'static str),
    /// Two ledgers with different blocks, each properly signed.
    #[error("it is not the block of this number in {0}")]
    Fork(String),
}

/// A block whose form is good, taken apart.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) header: BlockHeader,
    pub(super) hash: [u8; 32],
    pub(super) header_bytes: Vec<u8>,
    /// The one envelope of a config block.
    pub(super) config: Option<Envelope>,
}

/// The signed part of the metadata.
#[derive(Debug)]
pub(super) struct SignedMetadata {
    /// The value that every signer signs.
    pub(super) value: Bytes,
    /// The view that our metadata and Fabric's name.
    pub(super) view: u64,
    /// The consenter metadata is ours.
    pub(super) ours: bool,
    pub(super) last_config: u64,
    pub(super) signatures: Vec<BlockSignature>,
}

/// One signature, not yet judged.
#[derive(Debug)]
pub(super) struct BlockSignature {
    pub(super) id: u32,
    pub(super) identifier_header: Bytes,
    pub(super) signature: Bytes,
}

/// Decodes `bytes`, which must be exactly what encoding the result gives.
pub(super) fn decode_canonical<T: Message + Default>(bytes: &[u8], what: &'static str) -> Result<T, Reason> {
    let value = T::decode(bytes).map_err(|_| Reason::Undecodable(what))?;
    if value.encode_to_vec() != bytes {
        return Err(Reason::NotCanonical(what));
    }
    Ok(value)
}

/// Checks header and data of `block`, which should have this number and follow that hash (none
/// for the genesis block).
pub(super) fn check_content(
    block: &Block,
    number: u64,
    previous: Option<&[u8; 32]>,
) -> Result<Parts, Reason> {
    let header = block.header.clone().ok_or(Reason::Without("header"))?;
    if header.number != number {
        return Err(Reason::Number(header.number));
    }
    let previous: &[u8] = previous.map_or(&[], |hash| hash);
    if header.previous_hash != previous {
        return Err(Reason::PreviousHash {
            found: hex::encode(&header.previous_hash),
            expected: hex::encode(previous),
        });
    }
    let data = block.data.as_ref().map_or(&[][..], |data| &data.data);
    if data.is_empty() {
        return Err(Reason::Without("data"));
    }
    let mut hasher = Sha256::new();
    for envelope in data {
        hasher.update(envelope);
    }
    let data_hash: [u8; 32] = hasher.finalize().into();
    if header.data_hash != data_hash[..] {
        return Err(Reason::DataHash {
            found: hex::encode(&header.data_hash),
            expected: hex::encode(data_hash),
        });
    }
    let config = check_envelopes(data)?;
    let header_bytes = der_header(number, previous, &data_hash);
    let hash = Sha256::digest(&header_bytes).into();
    Ok(Parts { header, hash, header_bytes, config })
}

/// Checks the envelopes of a block; answers the envelope of a config block.
fn check_envelopes(data: &[Bytes]) -> Result<Option<Envelope>, Reason> {
    if let [only] = data
        && let Ok(envelope) = Envelope::decode(only.clone())
        && is_config(&envelope)
    {
        return Ok(Some(envelope)); // genesis blocks are not signed, and Fabric asks for no more
    }
    for (place, bytes) in data.iter().enumerate() {
        let fault = |what| Reason::Envelope { place, what };
        let envelope = Envelope::decode(bytes.clone()).map_err(|_| fault("it cannot be decoded"))?;
        if envelope.encode_to_vec() != *bytes {
            return Err(fault("it is not encoded canonically"));
        }
        if envelope.payload.is_empty() {
            return Err(fault("it has no payload"));
        }
        if envelope.signature.is_empty() {
            return Err(fault("it has no signature"));
        }
        if is_config(&envelope) {
            return Err(fault("a config envelope is not alone in its block"));
        }
    }
    Ok(None)
}

fn is_config(envelope: &Envelope) -> bool {
    let header = Payload::decode(envelope.payload.clone()).ok().and_then(|payload| payload.header);
    let channel = header.and_then(|header| ChannelHeader::decode(header.channel_header).ok());
    channel.is_some_and(|channel| channel.r#type == HeaderType::Config as i32)
}

/// Checks the metadata slots of block `number`; `ours` says that an earlier block was ours.
pub(super) fn check_metadata(block: &Block, number: u64, ours: bool) -> Result<SignedMetadata, Reason> {
    let slots = block.metadata.as_ref().map_or(&[][..], |metadata| &metadata.metadata);
    if slots.len() != 5 {
        return Err(Reason::Slots(slots.len()));
    }
    if let Some(full) = (2..5).find(|slot| !slots[*slot].is_empty()) {
        return Err(Reason::SlotNotEmpty(full));
    }
    let signed: Metadata = decode_canonical(&slots[0], "metadata slot 0")?;
    let value: OrdererBlockMetadata = decode_canonical(&signed.value, "the value of metadata slot 0")?;
    let last_config = value.last_config.ok_or(Reason::Without("last config in metadata slot 0"))?;
    let slot_1 = Metadata { value: LastConfig::encode_to_vec(&last_config).into(), signatures: Vec::new() };
    if slots[1] != slot_1.encode_to_vec() {
        return Err(Reason::Slot1(last_config.index));
    }
    let (view, ours) = check_consenter_metadata(&value.consenter_metadata, number, ours)?;
    let mut signatures = Vec::with_capacity(signed.signatures.len());
    for (place, signature) in signed.signatures.into_iter().enumerate() {
        if !signature.signature_header.is_empty() {
            return Err(Reason::SignatureHeader(place));
        }
        let identifier: IdentifierHeader =
            decode_canonical(&signature.identifier_header, "the identifier header of a signature")?;
        signatures.push(BlockSignature {
            id: identifier.identifier,
            identifier_header: signature.identifier_header,
            signature: signature.signature,
        });
    }
    Ok(SignedMetadata { value: signed.value, view, ours, last_config: last_config.index, signatures })
}

/// The view in the consenter metadata, and whether they are ours.
fn check_consenter_metadata(bytes: &Bytes, number: u64, ours: bool) -> Result<(u64, bool), Reason> {
    // Fabric's view metadata have the same fields 1 and 2, and none above 5.
    let metadata = ConsenterMetadata::decode(bytes.clone()).ok();
    let Some(metadata) = metadata.filter(|metadata| ours || !metadata.proposal.is_empty()) else {
        if ours {
            return Err(Reason::Undecodable("the consenter metadata"));
        }
        return Ok((ConsenterMetadata::decode(bytes.clone()).map_or(0, |metadata| metadata.view), false));
    };
    if metadata.proposal.is_empty() {
        return Err(Reason::NoProposal);
    }
    if metadata.proposal.len() != 32 {
        return Err(Reason::ProposalDigest(metadata.proposal.len()));
    }
    if metadata.encode_to_vec() != *bytes {
        return Err(Reason::NotCanonical("the consenter metadata"));
    }
    if metadata.number != number {
        return Err(Reason::ConsenterNumber(metadata.number));
    }
    Ok((metadata.view, true))
}

/// `SEQUENCE { INTEGER number, OCTET STRING previous, OCTET STRING data }` in DER.
fn der_header(number: u64, previous: &[u8], data: &[u8]) -> Vec<u8> {
    let mut integer = vec![0];
    integer.extend(number.to_be_bytes());
    while integer.len() > 1 && integer[0] == 0 && integer[1] < 0x80 {
        integer.remove(0);
    }
    let body = [der(0x02, &integer), der(0x04, previous), der(0x04, data)].concat();
    der(0x30, &body)
}

/// One DER element whose value has fewer than 128 bytes: a header never has more.
fn der(tag: u8, value: &[u8]) -> Vec<u8> {
    assert!(value.len() < 128, "a header's hashes are at most 32 bytes each");
    let mut bytes = vec![tag, value.len() as u8];
    bytes.extend(value);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Acceptance case 60: the known answers of fabric-spec C.1, by the verifier's own encoding.
    #[test]
    fn case_60_header_hash_vectors() {
        let (prev, data) = ([0xaa; 32], [0xbb; 32]);
        let empty: [u8; 32] = Sha256::digest(b"").into();
        for (bytes, prefix, hash) in [
            (
                der_header(1, &[0; 32], &[1; 32]),
                "30470201010420",
                "43b389e9924adf4aa2a7df5f9397d06523b514e27a44620417dabdfe8446a939",
            ),
            (
                der_header(128, &prev, &data),
                "3048020200800420",
                "8dd91edc5cdfe1adc03a42381b5bc8690d451d734f3d405187bbce766bc88bd9",
            ),
            (
                der_header(u64::MAX, &prev, &data),
                "304f020900ffffffffffffffff0420",
                "95097baaa8dc92f6f510a6b3935ac04cf7bfcf8c22e9249ed316484d333edd3b",
            ),
            (
                der_header(0, &[], &empty),
                "302702010004000420",
                "9cae6f5c10756febc407bba95fc23853774c1f65f10354895bfdab6443d66ed3",
            ),
        ] {
            assert!(hex::encode(&bytes).starts_with(prefix));
            assert_eq!(hex::encode(Sha256::digest(&bytes)), hash);
        }
    }
}
