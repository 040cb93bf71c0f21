//! The clients of runs with real keys: identities of the simulated channel, and what they sign.

use std::sync::OnceLock;

use bytes::Bytes;
use prost::Message as _;
use sbft::crypto::SecretKey;
use sbft::proto::{common, msp};
use sbft::wire::envelope::Parsed;

use crate::channel::Signatures;
use crate::workload::{index_in, padded_payload};

/// What a signature adds to an envelope, more or less: those of ECDSA differ by a byte or two.
const SIGNATURE: u64 = 76;

/// One client: its identity as envelopes carry it, and its key.
struct Client {
    creator: Bytes,
    key: SecretKey,
}

impl Client {
    fn new(certificate: &str, key: &str) -> Self {
        let identity = msp::SerializedIdentity {
            mspid: sbft::genesis::APPLICATION_MSP.to_owned(),
            id_bytes: Bytes::copy_from_slice(certificate.as_bytes()),
        };
        let key = SecretKey::from_pem(key).expect("sim/channel holds the clients' keys");
        Self { creator: identity.encode_to_vec().into(), key }
    }

    /// The client whose signatures are of this kind.
    fn of(signatures: Signatures) -> &'static Self {
        static ED25519: OnceLock<Client> = OnceLock::new();
        static ECDSA: OnceLock<Client> = OnceLock::new();
        match signatures {
            Signatures::Ecdsa => ECDSA.get_or_init(|| {
                Self::new(
                    include_str!("../channel/ecdsa-client.pem"),
                    include_str!("../channel/ecdsa-client.key"),
                )
            }),
            Signatures::Ed25519 | Signatures::Simulated => ED25519.get_or_init(|| {
                Self::new(
                    include_str!("../channel/ed25519-client.pem"),
                    include_str!("../channel/ed25519-client.key"),
                )
            }),
        }
    }
}

/// Envelope `index`, really signed, of about `size` bytes if it is not larger anyway.
pub(crate) fn signed(signatures: Signatures, index: u64, variant: u8, size: u64) -> Bytes {
    let client = Client::of(signatures);
    let payload = padded_payload(index, variant, &client.creator, size.saturating_sub(SIGNATURE));
    let signature = client.key.sign(&payload).expect("a key in memory signs");
    common::Envelope { payload, signature }.encode_to_vec().into()
}

/// Which envelope of a real client these bytes are. Whether it really signed them is for the
/// filters to say.
pub(crate) fn index_of(envelope: &Bytes) -> Option<u64> {
    let header = Parsed::from_frame(envelope.clone()).ok()?.signature_header;
    let known = [Signatures::Ed25519, Signatures::Ecdsa];
    let of_ours = known.iter().any(|signatures| Client::of(*signatures).creator == header.creator);
    if of_ours { index_in(&header.nonce) } else { None }
}
