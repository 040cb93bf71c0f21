//! The shapes of `proto/sbft/replica.proto` and of a committed block, with the limits of every
//! count and length. Keep in step with the `.proto` files; the round-trip tests notice.

use super::shape::{Field, Kind, Shape};
use super::{
    MAX_BLOCKS_PER_ANSWER, MAX_CANDIDATES_PER_FETCH, MAX_CANDIDATES_PER_PROPOSAL, MAX_PREPARED, MAX_REPLICAS,
};

/// An Ed25519 signature has 64 bytes, a P-256 one at most 72.
const SIGNATURE: Kind = Kind::Bytes(1, 128);
/// A consenter id and a nonce.
const IDENTIFIER_HEADER: Kind = Kind::Bytes(1, 64);
const DIGEST: Kind = Kind::Bytes(32, 32);
const NUMBER: Kind = Kind::Uint(u64::MAX);
const PLACE: Kind = Kind::Uint(u16::MAX as u64);
const FLAG: Kind = Kind::Uint(1);
/// Anything; the frame has a limit of its own.
const BLOB: Kind = Kind::Bytes(1, usize::MAX);
/// The smallest canonical envelope: one byte of payload, one of signature.
const ENVELOPE: Kind = Kind::Bytes(6, usize::MAX);

const fn one(number: u64, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, count: 1 }
}

const fn many(number: u64, name: &'static str, kind: Kind, count: usize) -> Field {
    Field { number, name, kind, count }
}

static HEADER: Shape =
    Shape::of(&[one(1, "number", NUMBER), one(2, "previous_hash", DIGEST), one(3, "data_hash", DIGEST)]);

static CANDIDATE_REF: Shape = Shape::of(&[one(1, "origin", PLACE), one(2, "digest", DIGEST)]);

static PROPOSAL: Shape = Shape::of(&[
    one(1, "header", Kind::Message(&HEADER)),
    many(2, "candidates", Kind::Message(&CANDIDATE_REF), MAX_CANDIDATES_PER_PROPOSAL),
]);

static PRE_PREPARE: Shape = Shape::of(&[
    one(1, "view", NUMBER),
    one(2, "proposal", Kind::Message(&PROPOSAL)),
    one(3, "signature", SIGNATURE),
]);

static PREPARE: Shape = Shape::of(&[
    one(1, "view", NUMBER),
    one(2, "number", NUMBER),
    one(3, "digest", DIGEST),
    one(4, "signer", PLACE),
    one(5, "signature", SIGNATURE),
]);

static BLOCK_SIGNATURE: Shape =
    Shape::of(&[one(1, "identifier_header", IDENTIFIER_HEADER), one(2, "signature", SIGNATURE)]);

static COMMIT: Shape = Shape::of(&[
    one(1, "view", NUMBER),
    one(2, "header", Kind::Message(&HEADER)),
    one(3, "digest", DIGEST),
    one(4, "last_config", NUMBER),
    one(5, "signer", PLACE),
    one(6, "signature", Kind::Message(&BLOCK_SIGNATURE)),
]);

static PLACED_SIGNATURE: Shape = Shape::of(&[one(1, "place", PLACE), one(2, "signature", SIGNATURE)]);

static PREPARED: Shape = Shape::of(&[
    one(1, "view", NUMBER),
    one(2, "proposal", Kind::Message(&PROPOSAL)),
    many(3, "signatures", Kind::Message(&PLACED_SIGNATURE), MAX_REPLICAS),
]);

static PLACED_BLOCK_SIGNATURE: Shape =
    Shape::of(&[one(1, "place", PLACE), one(2, "signature", Kind::Message(&BLOCK_SIGNATURE))]);

static BLOCK_CERTIFICATE: Shape = Shape::of(&[
    one(1, "view", NUMBER),
    one(2, "header", Kind::Message(&HEADER)),
    one(3, "proposal", DIGEST),
    one(4, "last_config", NUMBER),
    many(5, "signatures", Kind::Message(&PLACED_BLOCK_SIGNATURE), MAX_REPLICAS),
]);

static VIEW_CHANGE: Shape = Shape::of(&[
    one(1, "view", NUMBER),
    one(2, "base", Kind::Message(&BLOCK_CERTIFICATE)),
    many(3, "prepared", Kind::Message(&PREPARED), MAX_PREPARED),
    one(4, "signer", PLACE),
    one(5, "signature", SIGNATURE),
]);

static NEW_VIEW: Shape = Shape::of(&[
    one(1, "view", NUMBER),
    many(2, "view_changes", Kind::Message(&VIEW_CHANGE), MAX_REPLICAS),
    one(3, "signature", SIGNATURE),
]);

static STATUS: Shape = Shape::of(&[
    one(1, "view", NUMBER),
    one(2, "active", FLAG),
    one(3, "committed", NUMBER),
    one(4, "accepted", NUMBER),
    one(5, "prepared", NUMBER),
    one(6, "follows", FLAG),
    one(7, "complains", FLAG),
]);

static PREPARES: Shape =
    Shape::of(&[one(1, "first", Kind::Message(&PREPARE)), one(2, "second", Kind::Message(&PREPARE))]);

static COMMITS: Shape =
    Shape::of(&[one(1, "first", Kind::Message(&COMMIT)), one(2, "second", Kind::Message(&COMMIT))]);

static OFFENCE: Shape = Shape::oneof_from(
    1,
    &[
        one(1, "prepares", Kind::Message(&PREPARES)),
        one(2, "commits", Kind::Message(&COMMITS)),
        one(3, "new_view", Kind::Message(&NEW_VIEW)),
    ],
);

/// `sbft.ReplicaMessage`.
pub(super) static REPLICA_MESSAGE: Shape = Shape::oneof_from(
    2,
    &[
        one(1, "era", NUMBER),
        one(2, "pre_prepare", Kind::Message(&PRE_PREPARE)),
        one(3, "prepare", Kind::Message(&PREPARE)),
        one(4, "commit", Kind::Message(&COMMIT)),
        one(5, "view_change", Kind::Message(&VIEW_CHANGE)),
        one(6, "new_view", Kind::Message(&NEW_VIEW)),
        one(7, "status", Kind::Message(&STATUS)),
        one(8, "offence", Kind::Message(&OFFENCE)),
    ],
);

static FETCH_CANDIDATES: Shape = Shape::of(&[many(1, "digests", DIGEST, MAX_CANDIDATES_PER_FETCH)]);

static FETCH_BLOCKS: Shape = Shape::of(&[one(1, "first", NUMBER), one(2, "last", NUMBER)]);

static BLOCKS: Shape = Shape::of(&[many(1, "blocks", BLOB, MAX_BLOCKS_PER_ANSWER)]);

/// `sbft.RepairMessage`.
pub(super) static REPAIR_MESSAGE: Shape = Shape::oneof_from(
    1,
    &[
        one(1, "fetch_candidates", Kind::Message(&FETCH_CANDIDATES)),
        one(2, "candidate", BLOB),
        one(3, "fetch_blocks", Kind::Message(&FETCH_BLOCKS)),
        one(4, "blocks", Kind::Message(&BLOCKS)),
    ],
);

static ACCEPTED: Shape = Shape::of(&[one(1, "view", NUMBER), one(2, "proposal", Kind::Message(&PROPOSAL))]);

static BOUND: Shape = Shape::of(&[one(1, "view", NUMBER), one(2, "upto", NUMBER)]);

/// `sbft.LogRecord`.
pub(super) static LOG_RECORD: Shape = Shape::oneof_from(
    1,
    &[
        one(1, "payload", BLOB),
        one(2, "accepted", Kind::Message(&ACCEPTED)),
        one(3, "prepared", Kind::Message(&PREPARED)),
        one(4, "view_change", Kind::OneofUint),
        one(5, "new_view", Kind::Message(&NEW_VIEW)),
        one(6, "new_view_chosen", Kind::Message(&NEW_VIEW)),
        one(7, "bound", Kind::Message(&BOUND)),
    ],
);

static BLOCK_DATA: Shape = Shape::of(&[many(1, "data", ENVELOPE, usize::MAX)]);

/// Five slots, some of which may be empty.
static BLOCK_METADATA: Shape = Shape::of(&[many(1, "metadata", Kind::Bytes(0, usize::MAX), 5)]);

/// `common.Block`.
pub(super) static BLOCK: Shape = Shape::of(&[
    one(1, "header", Kind::Message(&HEADER)),
    one(2, "data", Kind::Message(&BLOCK_DATA)),
    one(3, "metadata", Kind::Message(&BLOCK_METADATA)),
]);

static METADATA_SIGNATURE: Shape = Shape::of(&[
    // Field 1, a signature header, is what a block of ours never has.
    one(2, "signature", SIGNATURE),
    one(3, "identifier_header", IDENTIFIER_HEADER),
]);

/// `common.Metadata`, slot 0 of a committed block.
pub(super) static SIGNATURES_SLOT: Shape = Shape::of(&[
    one(1, "value", Kind::Bytes(1, 256)),
    many(2, "signatures", Kind::Message(&METADATA_SIGNATURE), MAX_REPLICAS),
]);

static LAST_CONFIG: Shape = Shape::of(&[one(1, "index", NUMBER)]);

/// `common.OrdererBlockMetadata`, the value of slot 0.
pub(super) static ORDERER_METADATA: Shape = Shape::of(&[
    one(1, "last_config", Kind::Message(&LAST_CONFIG)),
    one(2, "consenter_metadata", Kind::Bytes(1, 128)),
]);

/// `sbft.ConsenterMetadata`.
pub(super) static CONSENTER_METADATA: Shape =
    Shape::of(&[one(1, "view", NUMBER), one(2, "number", NUMBER), one(16, "proposal", DIGEST)]);

/// `common.IdentifierHeader`.
pub(super) static IDENTIFIER: Shape = Shape::of(&[
    one(1, "identifier", Kind::Uint(u32::MAX as u64)),
    one(2, "nonce", Kind::Bytes(super::NONCE_BYTES, super::NONCE_BYTES)),
]);
