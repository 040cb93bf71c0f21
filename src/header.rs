//! Header bytes and the hashes of a block (fabric-spec C.1 and C.2). No protobuf, no I/O.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::types::{Digest, Header};

/// SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

/// SHA-256 over the plain concatenation of a block's data (fabric-spec C.2). It does not bind
/// the boundaries between envelopes; a candidate's digest does.
pub fn data_hash<'a>(data: impl IntoIterator<Item = &'a Bytes>) -> Digest {
    let mut hasher = Sha256::new();
    for envelope in data {
        hasher.update(envelope);
    }
    Digest(hasher.finalize().into())
}

/// DER `SEQUENCE { INTEGER number, OCTET STRING previous_hash, OCTET STRING data_hash }`: the
/// bytes that are hashed and signed (fabric-spec C.1).
pub fn header_bytes(header: &Header) -> HeaderBytes {
    let number = header.number.0.to_be_bytes();
    let significant = number.iter().position(|byte| *byte != 0).unwrap_or(number.len() - 1);
    let digits = &number[significant..];
    let sign = usize::from(digits[0] >= 0x80); // a leading zero keeps the INTEGER positive
    let previous: &[u8] = header.previous_hash.as_ref().map_or(&[], |digest| &digest.0);
    let body = 2 + sign + digits.len() + 2 + previous.len() + 2 + header.data_hash.0.len();
    assert!(body < 128, "header body is at most 2+9+2+32+2+32 bytes, so lengths take one byte");

    let mut out = HeaderBytes { bytes: [0; HEADER_BYTES], len: 0 };
    out.put(&[0x30, body as u8, 0x02, (sign + digits.len()) as u8]);
    if sign == 1 {
        out.put(&[0]);
    }
    out.put(digits);
    out.put(&[0x04, previous.len() as u8]);
    out.put(previous);
    out.put(&[0x04, header.data_hash.0.len() as u8]);
    out.put(&header.data_hash.0);
    out
}

/// Most bytes that a header has.
const HEADER_BYTES: usize = 2 + 2 + 9 + 2 + 32 + 2 + 32;

/// The bytes of a header: they are made for every vote, so they are not put on the heap.
#[derive(Clone, Copy, Debug)]
pub struct HeaderBytes {
    bytes: [u8; HEADER_BYTES],
    len: usize,
}

impl HeaderBytes {
    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }
}

impl AsRef<[u8]> for HeaderBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl std::ops::Deref for HeaderBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// SHA-256 of [`header_bytes`]: the hash that the next block carries as its previous hash.
pub fn header_hash(header: &Header) -> Digest {
    sha256(&header_bytes(header))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Number;

    fn check(number: u64, previous: Option<u8>, data: Digest, prefix: &str, hash: &str) {
        let header = Header {
            number: Number(number),
            previous_hash: previous.map(|byte| Digest([byte; 32])),
            data_hash: data,
        };
        assert!(hex::encode(header_bytes(&header)).starts_with(prefix), "bytes of block {number}");
        assert_eq!(hex::encode(header_hash(&header).0), hash, "hash of block {number}");
    }

    /// Acceptance case 60: the known answers of fabric-spec C.1.
    #[test]
    fn case_60_header_hash_vectors() {
        let (prev, data) = (Some(0xaa), Digest([0xbb; 32]));
        check(
            1,
            Some(0),
            Digest([1; 32]),
            "30470201010420",
            "43b389e9924adf4aa2a7df5f9397d06523b514e27a44620417dabdfe8446a939",
        );
        check(
            128,
            prev,
            data,
            "3048020200800420",
            "8dd91edc5cdfe1adc03a42381b5bc8690d451d734f3d405187bbce766bc88bd9",
        );
        check(
            u64::MAX,
            prev,
            data,
            "304f020900ffffffffffffffff0420",
            "95097baaa8dc92f6f510a6b3935ac04cf7bfcf8c22e9249ed316484d333edd3b",
        );
        check(
            0,
            None,
            sha256(b""),
            "302702010004000420",
            "9cae6f5c10756febc407bba95fc23853774c1f65f10354895bfdab6443d66ed3",
        );
    }

    /// Acceptance case 61.
    #[test]
    fn case_61_data_hash_is_over_the_concatenation() {
        let parts = [Bytes::from_static(b"ab"), Bytes::from_static(b"c")];
        assert_eq!(data_hash(&parts), sha256(b"abc"));
    }
}
