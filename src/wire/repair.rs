//! What replicas ask each other for, and the answers: frames of the repair stream
//! (`sbft.RepairMessage`). None of it promises anything, so none of it is signed.

use bytes::Bytes;
use prost::Message as _;

use super::error::{Problem, WireError};
use super::message::{digest, required, undecodable};
use super::{schema, shape};
use crate::proto::sbft as proto;
use crate::proto::sbft::repair_message::Body;
use crate::types::{Digest, Number};

/// A question or an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Asks for candidates by name; 1 to [`super::MAX_CANDIDATES_PER_FETCH`].
    FetchCandidates(Vec<Digest>),
    /// A candidate's exact encoding, for [`super::candidate::decode`].
    Candidate(Bytes),
    /// Asks for the blocks `first..=last`. Who answers decides how many it sends.
    FetchBlocks {
        /// First number, at most `last`.
        first: Number,
        /// Last number.
        last: Number,
    },
    /// Serialized blocks of consecutive numbers, for [`super::block::decode`]; 1 to
    /// [`super::MAX_BLOCKS_PER_ANSWER`].
    Blocks(Vec<Bytes>),
}

/// The frame that carries `repair`.
pub fn encode(repair: &Repair) -> Bytes {
    let body = match repair {
        Repair::FetchCandidates(digests) => Body::FetchCandidates(proto::FetchCandidates {
            digests: digests.iter().map(|digest| Bytes::copy_from_slice(&digest.0)).collect(),
        }),
        Repair::Candidate(encoding) => Body::Candidate(encoding.clone()),
        Repair::FetchBlocks { first, last } => {
            Body::FetchBlocks(proto::FetchBlocks { first: first.0, last: last.0 })
        }
        Repair::Blocks(blocks) => Body::Blocks(proto::Blocks { blocks: blocks.clone() }),
    };
    proto::RepairMessage { body: Some(body) }.encode_to_vec().into()
}

/// Reads a frame.
pub fn decode(frame: Bytes) -> Result<Repair, WireError> {
    shape::check(&frame, &schema::REPAIR_MESSAGE)?;
    let message = proto::RepairMessage::decode(frame).map_err(undecodable)?;
    match required("body", message.body)? {
        Body::FetchCandidates(fetch) => {
            if fetch.digests.is_empty() {
                return Err(WireError::at("fetch_candidates.digests", Problem::Missing));
            }
            let digests = fetch.digests.iter().map(|bytes| digest("fetch_candidates.digests", bytes));
            digests.collect::<Result<_, _>>().map(Repair::FetchCandidates)
        }
        Body::Candidate(encoding) => Ok(Repair::Candidate(encoding)),
        Body::FetchBlocks(proto::FetchBlocks { first, last }) if first <= last => {
            Ok(Repair::FetchBlocks { first: Number(first), last: Number(last) })
        }
        Body::FetchBlocks(proto::FetchBlocks { first, last }) => {
            Err(WireError::at("fetch_blocks.first", Problem::Range { value: first, max: last }))
        }
        Body::Blocks(answer) => match answer.blocks.is_empty() {
            true => Err(WireError::at("blocks.blocks", Problem::Missing)),
            false => Ok(Repair::Blocks(answer.blocks)),
        },
    }
}
