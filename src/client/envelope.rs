//! Makes and signs envelopes as Fabric's clients do (fabric-spec B.7).

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use super::network_file::IdentityFiles;
use crate::crypto::{KeyFileSigner, LocalSigner};
use crate::proto::{common, msp};
use crate::types::RequestId;

/// Largest envelope that [`EnvelopeMaker::make`] makes, bytes: the gRPC message limit.
pub const MAX_SIZE: usize = 100 << 20;

/// A signed envelope and its identity.
#[derive(Clone, Debug)]
pub struct Made {
    /// SHA-256 of nonce and creator; the transaction id is its hex form.
    pub id: RequestId,
    /// The envelope.
    pub envelope: common::Envelope,
}

/// Makes envelopes for one channel in one identity's name.
#[derive(Clone)]
pub struct EnvelopeMaker {
    channel: String,
    creator: Bytes,
    signer: Arc<dyn LocalSigner>,
}

/// Why an envelope could not be made.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// A certificate or key file cannot be used.
    #[error("cannot use the identity in {path}: {reason}")]
    Identity {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// The signer failed.
    #[error("cannot sign: {0}")]
    Sign(String),
    /// No envelope is that small or that large.
    #[error(
        "an envelope of {wanted} bytes cannot be made: this identity's smallest has {smallest} bytes and the largest is {MAX_SIZE}"
    )]
    Size {
        /// What was asked for, bytes.
        wanted: usize,
        /// The smallest that is possible, bytes.
        smallest: usize,
    },
}

impl EnvelopeMaker {
    /// A maker for `channel` with the identity in these files.
    ///
    /// # Errors
    /// When a file cannot be read, or is no certificate or key.
    pub fn open(channel: &str, identity: &IdentityFiles) -> Result<Self, MakeError> {
        let creator = serialized_identity(&identity.msp_id, &identity.cert)?;
        let signer = KeyFileSigner::open(&identity.key, creator.clone()).map_err(|error| {
            MakeError::Identity { path: identity.key.display().to_string(), reason: error.to_string() }
        })?;
        Ok(Self { channel: channel.to_owned(), creator, signer: Arc::new(signer) })
    }

    /// The identity, serialized, as it stands in each envelope.
    pub fn creator(&self) -> &Bytes {
        &self.creator
    }

    /// An endorser transaction of exactly `size` encoded bytes (with an ECDSA key, whose
    /// signatures vary in length, within two bytes).
    ///
    /// # Errors
    /// When signing fails or no envelope can have this size.
    pub async fn make(&self, size: usize) -> Result<Made, MakeError> {
        // Sized for the signature length seen last; a few rounds settle lengths of lengths too.
        let mut filler = 0usize;
        let mut best: Option<Made> = None;
        for round in 0..12 {
            let made = self.sign(common::HeaderType::EndorserTransaction, filler_bytes(filler)).await?;
            let got = made.envelope.encoded_len();
            if got == size {
                return Ok(made);
            }
            if filler == 0 && got > size {
                return Err(MakeError::Size { wanted: size, smallest: got });
            }
            if size > MAX_SIZE {
                return Err(MakeError::Size { wanted: size, smallest: got });
            }
            if round >= 3 && got.abs_diff(size) <= 2 {
                best = Some(made);
            }
            if got.abs_diff(size) > 2 || round < 3 {
                filler = (filler + size).saturating_sub(got);
            }
        }
        match best {
            Some(made) => Ok(made),
            None => {
                let made = self.sign(common::HeaderType::EndorserTransaction, filler_bytes(filler)).await?;
                Ok(made)
            }
        }
    }

    /// A signed envelope of this type around `data`.
    ///
    /// # Errors
    /// When signing fails.
    pub async fn sign(&self, kind: common::HeaderType, data: Bytes) -> Result<Made, MakeError> {
        self.sign_with(kind, data, Bytes::new()).await
    }

    /// As [`Self::sign`], with the hash of the client's TLS certificate for servers with mutual TLS.
    ///
    /// # Errors
    /// When signing fails.
    pub async fn sign_with(
        &self,
        kind: common::HeaderType,
        data: Bytes,
        tls_cert_hash: Bytes,
    ) -> Result<Made, MakeError> {
        let nonce: [u8; 24] = rand::random();
        let mut hasher = Sha256::new();
        hasher.update(nonce);
        hasher.update(&self.creator);
        let id = RequestId(hasher.finalize().into());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let channel_header = common::ChannelHeader {
            r#type: kind as i32,
            version: 0,
            timestamp: Some(prost_types::Timestamp { seconds: now.as_secs() as i64, nanos: 0 }),
            channel_id: self.channel.clone(),
            tx_id: id.to_string(),
            epoch: 0,
            extension: Bytes::new(),
            tls_cert_hash,
        };
        let signature_header =
            common::SignatureHeader { creator: self.creator.clone(), nonce: Bytes::copy_from_slice(&nonce) };
        let payload = common::Payload {
            header: Some(common::Header {
                channel_header: channel_header.encode_to_vec().into(),
                signature_header: signature_header.encode_to_vec().into(),
            }),
            data,
        }
        .encode_to_vec();
        let signature =
            self.signer.sign(&payload).await.map_err(|error| MakeError::Sign(error.to_string()))?;
        Ok(Made { id, envelope: common::Envelope { payload: payload.into(), signature } })
    }
}

/// The identity of an envelope that is sent as it is; `None` when it does not decode that far.
pub fn request_id(envelope: &common::Envelope) -> Option<RequestId> {
    let payload = common::Payload::decode(envelope.payload.clone()).ok()?;
    let header = payload.header?;
    let signature_header = common::SignatureHeader::decode(header.signature_header).ok()?;
    let mut hasher = Sha256::new();
    hasher.update(&signature_header.nonce);
    hasher.update(&signature_header.creator);
    Some(RequestId(hasher.finalize().into()))
}

/// The identity as it stands in envelopes: a serialized `msp.SerializedIdentity`.
///
/// # Errors
/// When the certificate cannot be read.
pub(crate) fn serialized_identity(msp_id: &str, certificate: &Path) -> Result<Bytes, MakeError> {
    let pem = std::fs::read(certificate).map_err(|error| MakeError::Identity {
        path: certificate.display().to_string(),
        reason: error.to_string(),
    })?;
    Ok(msp::SerializedIdentity { mspid: msp_id.to_owned(), id_bytes: pem.into() }.encode_to_vec().into())
}

fn filler_bytes(len: usize) -> Bytes {
    let mut bytes = vec![0u8; len];
    rand::fill(&mut bytes[..]);
    bytes.into()
}
