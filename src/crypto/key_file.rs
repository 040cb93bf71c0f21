//! Private keys in PKCS#8 PEM files that only their owner can read.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use ed25519_dalek::Signer as _;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, KeypairBytes};
use p256::pkcs8::LineEnding;
use prost::Message as _;
use ring::rand::{SecureRandom as _, SystemRandom};
use thiserror::Error;
use zeroize::{Zeroize as _, Zeroizing};

use super::low_s::EcdsaSignature;
use super::{KeyError, KeyKind, LocalSigner, PublicKey, SignError};
use crate::proto::msp::SerializedIdentity;

/// Why a key file cannot be used or written.
#[derive(Debug, Error)]
pub enum KeyFileError {
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The key file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// Others than the owner may read or change the key.
    #[error(
        "{path}: the private key is open to others than its owner (mode {mode:04o}); \
         run `chmod 600 {path}`"
    )]
    Exposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The content is no private key that can sign here.
    #[error("{path}: {reason}")]
    Content {
        /// The key file.
        path: PathBuf,
        /// What is wrong with it; never a part of its content.
        reason: String,
    },
    /// The private key is not that of the certificate it is to sign for.
    #[error("{path}: the private key does not belong to the certificate of this identity")]
    OtherKey {
        /// The key file.
        path: PathBuf,
    },
    /// The identity it is to sign for cannot be decoded.
    #[error("the identity to sign as: {0}")]
    Creator(String),
    /// No key could be made: no random bytes, or no encoding.
    #[error("no key could be made: {0}")]
    Generate(String),
}

/// Signs with a private key read from a file. The key is zeroed when this is dropped.
pub struct KeyFileSigner {
    key: SecretKey,
    public_key: PublicKey,
    creator: Bytes,
}

/// A private key; zeroed when it is dropped.
pub struct SecretKey(Secret);

enum Secret {
    Ed25519(Box<ed25519_dalek::SigningKey>),
    EcdsaP256(Box<p256::ecdsa::SigningKey>),
}

impl KeyFileSigner {
    /// Reads the Ed25519 or P-256 key in the PKCS#8 PEM file at `key_path`, to sign as `creator`,
    /// a serialized `msp.SerializedIdentity` whose certificate must be for this very key.
    ///
    /// A file that group or others may use in any way is refused.
    pub fn open(key_path: impl AsRef<Path>, creator: Bytes) -> Result<Self, KeyFileError> {
        let path = key_path.as_ref();
        let pem = read_secret(path)?;
        let key = SecretKey::from_pem(&pem)
            .map_err(|reason| KeyFileError::Content { path: path.into(), reason })?;
        let public_key = key
            .public_key()
            .map_err(|err| KeyFileError::Content { path: path.into(), reason: err.to_string() })?;
        if creator_key(&creator)? != public_key {
            return Err(KeyFileError::OtherKey { path: path.into() });
        }
        Ok(Self { key, public_key, creator })
    }

    /// The public half of the key.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }
}

#[async_trait]
impl LocalSigner for KeyFileSigner {
    async fn sign(&self, message: &[u8]) -> Result<Bytes, SignError> {
        self.key.sign(message)
    }

    fn creator(&self) -> Bytes {
        self.creator.clone()
    }

    fn signs_by(&self) -> Option<&PublicKey> {
        Some(&self.public_key)
    }
}

impl fmt::Debug for KeyFileSigner {
    /// The public key only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFileSigner").field("public_key", &self.public_key).finish_non_exhaustive()
    }
}

impl SecretKey {
    /// Reads a PKCS#8 PEM with an Ed25519 or P-256 key.
    ///
    /// # Errors
    /// What to tell the file's owner.
    pub fn from_pem(pem: &str) -> Result<Self, String> {
        if let Ok(key) = ed25519_dalek::SigningKey::from_pkcs8_pem(pem) {
            return Ok(Self(Secret::Ed25519(Box::new(key))));
        }
        if let Ok(key) = p256::ecdsa::SigningKey::from_pkcs8_pem(pem) {
            return Ok(Self(Secret::EcdsaP256(Box::new(key))));
        }
        Err(if pem.contains("-----BEGIN EC PRIVATE KEY-----") {
            "a SEC1 key; convert it with `openssl pkcs8 -topk8 -nocrypt`".into()
        } else if pem.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
            "an encrypted key; decrypt it with `openssl pkcs8 -topk8 -nocrypt`".into()
        } else {
            "not a PKCS#8 PEM file with one Ed25519 or ECDSA P-256 private key".to_owned()
        })
    }

    /// The key that these bytes are: for simulations and tests, whose keys must be the same every
    /// time. Zeros, and a few other values, are no P-256 key.
    ///
    /// # Errors
    /// The bytes are no key of this kind.
    pub fn from_bytes(kind: KeyKind, bytes: &[u8; 32]) -> Result<Self, String> {
        Ok(Self(match kind {
            KeyKind::Ed25519 => Secret::Ed25519(Box::new(ed25519_dalek::SigningKey::from_bytes(bytes))),
            KeyKind::EcdsaP256 => {
                let key = p256::ecdsa::SigningKey::from_slice(bytes).map_err(|error| error.to_string())?;
                Secret::EcdsaP256(Box::new(key))
            }
        }))
    }

    /// The public half.
    ///
    /// # Errors
    /// It is a weak key.
    pub fn public_key(&self) -> Result<PublicKey, KeyError> {
        match &self.0 {
            Secret::Ed25519(key) => PublicKey::from_ed25519_bytes(key.verifying_key().as_bytes()),
            Secret::EcdsaP256(key) => {
                PublicKey::from_p256_point(key.verifying_key().to_sec1_point(false).as_bytes())
            }
        }
    }

    /// A signature as [`LocalSigner::sign`] gives it, here and now.
    ///
    /// # Errors
    /// The library cannot sign.
    pub fn sign(&self, message: &[u8]) -> Result<Bytes, SignError> {
        match &self.0 {
            Secret::Ed25519(key) => {
                let signature = key.try_sign(message);
                let signature = signature.map_err(|err| SignError::Failed(err.to_string()))?;
                Ok(Bytes::copy_from_slice(&signature.to_bytes()))
            }
            Secret::EcdsaP256(key) => {
                let signature: Result<p256::ecdsa::Signature, _> = key.try_sign(message);
                let signature = signature.map_err(|err| SignError::Failed(err.to_string()))?;
                let signature = EcdsaSignature::from_p256_fixed(&signature.to_bytes().into())
                    .map_err(|err| SignError::Failed(err.to_string()))?;
                Ok(signature.with_low_s().to_der().into())
            }
        }
    }
}

/// A new private key as PKCS#8 PEM, from the operating system's randomness.
pub fn generate_key_pem(kind: KeyKind) -> Result<Zeroizing<String>, KeyFileError> {
    let failed = |err: &dyn fmt::Display| KeyFileError::Generate(err.to_string());
    let mut seed = Zeroizing::new([0; 32]);
    let draw = |seed: &mut [u8; 32]| {
        SystemRandom::new().fill(seed).map_err(|_| failed(&"the operating system gave no random bytes"))
    };
    draw(&mut seed)?;
    match kind {
        KeyKind::Ed25519 => {
            // Without the public key, as older tools read no other form.
            let mut key = KeypairBytes { secret_key: *seed, public_key: None };
            let pem = key.to_pkcs8_pem(LineEnding::LF).map_err(|err| failed(&err));
            key.secret_key.zeroize();
            pem
        }
        KeyKind::EcdsaP256 => loop {
            // All but about one in 2^32 draws are below the order.
            if let Ok(key) = p256::SecretKey::from_slice(&seed[..]) {
                return key.to_pkcs8_pem(LineEnding::LF).map_err(|err| failed(&err));
            }
            draw(&mut seed)?;
        },
    }
}

/// Writes a private key to a new file at `path` that only its owner can read and write (0600),
/// and syncs it. An existing file is an error, and stays as it is.
pub fn write_key_file(path: impl AsRef<Path>, pem: &str) -> Result<(), KeyFileError> {
    let path = path.as_ref();
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(pem.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|source| KeyFileError::Io { path: path.into(), source })
}

/// The file's text, if nobody but its owner can have read or changed it.
fn read_secret(path: &Path) -> Result<Zeroizing<String>, KeyFileError> {
    let io = |source| KeyFileError::Io { path: path.into(), source };
    let file = File::open(path).map_err(io)?;
    // Asked of the open file, so that it cannot be exchanged between question and reading.
    let mode = file.metadata().map_err(io)?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Exposed { path: path.into(), mode });
    }
    // Reserved once: a buffer that grows would leave copies behind.
    let mut text = Zeroizing::new(String::with_capacity(MAX_KEY_FILE_BYTES + 1));
    file.take(MAX_KEY_FILE_BYTES as u64 + 1).read_to_string(&mut text).map_err(io)?;
    if text.len() > MAX_KEY_FILE_BYTES {
        let reason = format!("more than {MAX_KEY_FILE_BYTES} bytes, which no key file has");
        return Err(KeyFileError::Content { path: path.into(), reason });
    }
    Ok(text)
}

/// The key in the certificate of a serialized identity.
fn creator_key(creator: &Bytes) -> Result<PublicKey, KeyFileError> {
    let identity = SerializedIdentity::decode(creator.clone())
        .map_err(|err| KeyFileError::Creator(format!("not a SerializedIdentity: {err}")))?;
    let certificate = pem::parse(&identity.id_bytes)
        .map_err(|err| KeyFileError::Creator(format!("its certificate is no PEM: {err}")))?;
    PublicKey::from_certificate_der(certificate.contents())
        .map_err(|err| KeyFileError::Creator(format!("its certificate: {err}")))
}

/// A key file has some 250 bytes; the rest leaves room for comments around the PEM.
const MAX_KEY_FILE_BYTES: usize = 16 * 1024;
