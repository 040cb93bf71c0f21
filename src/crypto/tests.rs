//! Which signatures count, alone and in batches; and that keys stay with their owner.

use std::os::unix::fs::PermissionsExt as _;

use bytes::Bytes;
use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;
use prost::Message as _;
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use rcgen::{KeyPair, PublicKeyData as _};
use sha2::{Digest as _, Sha512};

use super::*;
use crate::proto::msp::SerializedIdentity;

/// An Ed25519 key whose owner can make signatures that no honest library makes.
struct Crafty {
    secret: Scalar,
    point: EdwardsPoint,
    key: PublicKey,
}

impl Crafty {
    /// With `torsion` as a part of the public key, of the point of small order of that index.
    fn new(rng: &mut StdRng, torsion: usize) -> Self {
        let secret = random_scalar(rng);
        let point = ED25519_BASEPOINT_POINT * secret + EIGHT_TORSION[torsion];
        let key = ed25519_key(&point.compress().to_bytes());
        Self { secret, point, key }
    }

    /// A signature that holds but for `torsion`, the index of a point of small order, in R.
    fn sign(&self, rng: &mut StdRng, message: &[u8], torsion: usize) -> Vec<u8> {
        let nonce = random_scalar(rng);
        let r = (ED25519_BASEPOINT_POINT * nonce + EIGHT_TORSION[torsion]).compress();
        let challenge = [&r.to_bytes()[..], &self.point.compress().to_bytes(), message].concat();
        let challenge = Scalar::from_bytes_mod_order_wide(&Sha512::digest(&challenge).into());
        let s = nonce + challenge * self.secret;
        [r.to_bytes(), s.to_bytes()].concat()
    }
}

fn random_scalar(rng: &mut StdRng) -> Scalar {
    let mut wide = [0; 64];
    rng.fill_bytes(&mut wide);
    Scalar::from_bytes_mod_order_wide(&wide)
}

fn ed25519_key(bytes: &[u8]) -> PublicKey {
    try_ed25519_key(bytes).unwrap()
}

fn try_ed25519_key(bytes: &[u8]) -> Result<PublicKey, KeyError> {
    const SPKI: &str = "302a300506032b6570032100";
    PublicKey::from_spki_der(&[&hex::decode(SPKI).unwrap(), bytes].concat())
}

/// Signs as ring does, with whichever S, and without files.
struct TestSigner(KeyPair);

impl TestSigner {
    fn sign(&self, message: &[u8]) -> Vec<u8> {
        use rcgen::SigningKey as _;
        self.0.sign(message).unwrap()
    }
}

fn generated(kind: KeyKind) -> (PublicKey, TestSigner) {
    let key = KeyPair::from_pem(&generate_key_pem(kind).unwrap()).unwrap();
    let public = PublicKey::from_spki_der(&key.subject_public_key_info()).unwrap();
    assert_eq!(public.kind(), kind);
    (public, TestSigner(key))
}

#[test]
fn signatures_with_torsion_have_one_verdict_in_envelopes_and_never_count_as_votes() {
    let mut rng = StdRng::seed_from_u64(7);
    for torsion in 1..8 {
        let owner = Crafty::new(&mut rng, 0);
        let signature = owner.sign(&mut rng, b"envelope", torsion);
        assert!(owner.key.verify_envelope(b"envelope", &signature), "torsion {torsion}");
        assert!(!owner.key.verify_vote(b"envelope", &signature), "torsion {torsion}");
        assert!(!owner.key.verify_envelope(b"another", &signature), "torsion {torsion}");
    }
    // Without torsion it is an ordinary signature.
    let owner = Crafty::new(&mut rng, 0);
    let signature = owner.sign(&mut rng, b"envelope", 0);
    assert!(owner.key.verify_envelope(b"envelope", &signature));
    assert!(owner.key.verify_vote(b"envelope", &signature));
}

#[test]
fn batches_of_any_composition_have_the_verdicts_of_single_checks() {
    let mut rng = StdRng::seed_from_u64(11);
    let (p256, p256_signer) = generated(KeyKind::EcdsaP256);
    let (ed25519, ed25519_signer) = generated(KeyKind::Ed25519);
    // Some owners have torsion in their key as well.
    let crafty: Vec<Crafty> = (0..6).map(|index| Crafty::new(&mut rng, [0, 0, 0, 1, 2, 4][index])).collect();
    // Chances in percent of: crafted with torsion, broken, ECDSA.
    let compositions = [(100, 0, 0), (50, 0, 0), (20, 0, 20), (30, 1, 0), (30, 30, 30), (0, 0, 50)];
    let mut accepted = 0;
    let mut rejected = 0;
    for (torsion, broken, ecdsa) in compositions {
        for size in [0, 1, 2, 3, 4, 5, 8, 64, 255, 256, 257, 600] {
            let mut owned = Vec::new();
            for _ in 0..size {
                let mut message = vec![0; rng.random_range(0..200)];
                rng.fill_bytes(&mut message[..]);
                let chance = |rng: &mut StdRng, percent| rng.random_range(0..100) < percent;
                let (key, mut signature) = if chance(&mut rng, ecdsa) {
                    let signature = p256_signer.sign(&message);
                    let signature = EcdsaSignature::from_der(Curve::P256, &signature).unwrap();
                    (&p256, signature.with_low_s().to_der())
                } else if chance(&mut rng, torsion) {
                    let owner = &crafty[rng.random_range(0..crafty.len())];
                    let torsion = rng.random_range(0..8);
                    (&owner.key, owner.sign(&mut rng, &message, torsion))
                } else {
                    (&ed25519, ed25519_signer.sign(&message))
                };
                if chance(&mut rng, broken) {
                    match rng.random_range(0..4) {
                        0 => signature.truncate(rng.random_range(0..signature.len())),
                        1 => signature.push(0),
                        2 => message.push(1),
                        _ => {
                            let at = rng.random_range(0..signature.len());
                            signature[at] ^= 1 << rng.random_range(0..8);
                        }
                    }
                }
                owned.push((key, message, signature));
            }
            let checks: Vec<EnvelopeCheck<'_>> = owned
                .iter()
                .map(|(key, message, signature)| EnvelopeCheck { key, message, signature })
                .collect();
            let single: Vec<bool> = checks
                .iter()
                .map(|check| check.key.verify_envelope(check.message, check.signature))
                .collect();
            assert_eq!(verify_envelopes(&checks), single);
            if broken == 0 {
                assert!(single.iter().all(|verdict| *verdict));
            }
            // And in parts, whatever else is with them.
            for part in checks.chunks(7).zip(single.chunks(7)) {
                assert_eq!(verify_envelopes(part.0), part.1);
            }
            accepted += single.iter().filter(|verdict| **verdict).count();
            rejected += single.iter().filter(|verdict| !**verdict).count();
        }
    }
    assert!(accepted > 5000 && rejected > 300, "{accepted} and {rejected}");
}

#[test]
fn one_broken_signature_in_a_chunk_is_the_only_one_refused() {
    let (key, signer) = generated(KeyKind::Ed25519);
    let messages: Vec<[u8; 8]> = (0..600_u64).map(u64::to_be_bytes).collect();
    let mut signatures: Vec<Vec<u8>> = messages.iter().map(|m| signer.sign(m)).collect();
    signatures[300][3] ^= 4;
    let checks: Vec<EnvelopeCheck<'_>> = messages
        .iter()
        .zip(&signatures)
        .map(|(message, signature)| EnvelopeCheck { key: &key, message, signature })
        .collect();
    let refused: Vec<usize> = verify_envelopes(&checks)
        .into_iter()
        .enumerate()
        .filter_map(|(index, verdict)| (!verdict).then_some(index))
        .collect();
    assert_eq!(refused, [300]);
}

#[test]
fn an_s_not_below_the_order_is_refused_everywhere() {
    let (key, signer) = generated(KeyKind::Ed25519);
    let mut signature = signer.sign(b"m");
    // s + l, which older verifiers took for s.
    let order = hex::decode("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    let mut carry = 0;
    for (byte, order) in signature[32..].iter_mut().zip(order.unwrap()) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
    assert!(!key.verify_vote(b"m", &signature));
    assert!(!key.verify_envelope(b"m", &signature));
    let check = EnvelopeCheck { key: &key, message: b"m", signature: &signature };
    assert_eq!(verify_envelopes(&[check; 8]), [false; 8]);
}

#[test]
fn ed25519_keys_of_small_order_are_refused() {
    for point in EIGHT_TORSION {
        assert_eq!(try_ed25519_key(&point.compress().to_bytes()), Err(KeyError::Weak));
    }
    assert_eq!(try_ed25519_key(&[2; 32]), Err(KeyError::NotAPoint(KeyKind::Ed25519)));
    assert!(try_ed25519_key(&[1; 31]).is_err());
}

#[test]
fn of_the_two_signatures_that_ecdsa_leaves_only_the_low_one_counts() {
    let (key, signer) = generated(KeyKind::EcdsaP256);
    for message in 0..50_u8 {
        let message = [message; 20];
        let signature = EcdsaSignature::from_der(Curve::P256, &signer.sign(&message)).unwrap();
        let low = signature.with_low_s();
        let high = low.clone().with_other_s();
        assert!(low.has_low_s() && !high.has_low_s());
        assert_eq!(high.clone().with_low_s(), low);
        for (signature, counts) in [(low.to_der(), true), (high.to_der(), false)] {
            assert_eq!(key.verify_vote(&message, &signature), counts);
            assert_eq!(key.verify_envelope(&message, &signature), counts);
            let check = EnvelopeCheck { key: &key, message: &message, signature: &signature };
            assert_eq!(verify_envelopes(&[check; 40]), [counts; 40]);
        }
    }
}

#[test]
fn ecdsa_signatures_have_one_encoding() {
    let (key, signer) = generated(KeyKind::EcdsaP256);
    let good = EcdsaSignature::from_der(Curve::P256, &signer.sign(b"m")).unwrap().with_low_s();
    let der = good.to_der();
    assert_eq!(EcdsaSignature::from_der(Curve::P256, &der).unwrap(), good);
    let content = &der[2..];
    let length = der[1];
    let r_length = usize::from(content[1]);
    let (r, s) = (&content[2..2 + r_length], &content[4 + r_length..]);
    let of = |r: &[u8], s: &[u8]| {
        let content = [&[2, r.len() as u8][..], r, &[2, s.len() as u8], s].concat();
        [&[0x30, content.len() as u8][..], &content].concat()
    };
    assert_eq!(of(r, s), der);
    let zero_before = |number: &[u8]| [&[0], number].concat();
    let order = hex::decode("00ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551").unwrap();
    let mut half = hex::decode("7fffffff800000007fffffffffffffffde737d56d38bcf4279dce5617e3192a8").unwrap();
    assert!(EcdsaSignature::from_der(Curve::P256, &of(r, &half)).unwrap().has_low_s());
    *half.last_mut().unwrap() += 1;
    assert!(!EcdsaSignature::from_der(Curve::P256, &of(r, &half)).unwrap().has_low_s());
    for (bad, why) in [
        ([&der[..], &[0]].concat(), SignatureForm::NotDer),
        (der[..der.len() - 1].to_vec(), SignatureForm::NotDer),
        ([&[0x30, 0x81, length][..], content].concat(), SignatureForm::NotDer),
        ([&[0x31, length][..], content].concat(), SignatureForm::NotDer),
        (Vec::new(), SignatureForm::NotDer),
        (of(&zero_before(&zero_before(r)), s), SignatureForm::NotDer),
        (of(r, &[]), SignatureForm::NotDer),
        (of(&[0], s), SignatureForm::OutOfRange),
        (of(r, &[0]), SignatureForm::OutOfRange),
        (of(r, &[0x80, 1]), SignatureForm::OutOfRange),
        (of(&order, s), SignatureForm::OutOfRange),
        (of(r, &order), SignatureForm::OutOfRange),
        (of(&[1; 49], s), SignatureForm::OutOfRange),
        (of(&[1; 33], s), SignatureForm::OutOfRange),
    ] {
        assert_eq!(EcdsaSignature::from_der(Curve::P256, &bad), Err(why), "{}", hex::encode(&bad));
        assert!(!key.verify_vote(b"m", &bad));
        assert!(!key.verify_envelope(b"m", &bad));
    }
}

#[test]
fn random_and_mutilated_bytes_are_no_signatures_and_no_keys() {
    let mut rng = StdRng::seed_from_u64(3);
    for kind in [KeyKind::EcdsaP256, KeyKind::Ed25519] {
        let (key, signer) = generated(kind);
        let good = signer.sign(b"m");
        for _ in 0..2000 {
            let mut bytes = good.clone();
            match rng.random_range(0..3) {
                0 => bytes.truncate(rng.random_range(0..bytes.len())),
                1 => {
                    bytes = vec![0; rng.random_range(0..100)];
                    rng.fill_bytes(&mut bytes[..]);
                }
                _ => {
                    let at = rng.random_range(0..bytes.len());
                    bytes[at] ^= 1 << rng.random_range(0..8);
                }
            }
            assert!(!key.verify_vote(b"m", &bytes));
            assert!(!key.verify_envelope(b"m", &bytes));
            let _ = EcdsaSignature::from_der(Curve::P384, &bytes);
            let _ = PublicKey::from_spki_der(&bytes);
            let _ = PublicKey::from_certificate_der(&bytes);
        }
    }
}

#[test]
fn p256_keys_are_uncompressed_points_of_the_curve() {
    const SPKI: &str = "3059301306072a8648ce3d020106082a8648ce3d030107034200";
    let spki = |point: &[u8]| PublicKey::from_spki_der(&[&hex::decode(SPKI).unwrap(), point].concat());
    let (key, _) = generated(KeyKind::EcdsaP256);
    let mut point = key.as_bytes().to_vec();
    assert_eq!(spki(&point), Ok(key));
    *point.last_mut().unwrap() ^= 1;
    assert_eq!(spki(&point), Err(KeyError::NotAPoint(KeyKind::EcdsaP256)));
    let infinity_like = [&[4][..], &[0; 64]].concat();
    assert_eq!(spki(&infinity_like), Err(KeyError::NotAPoint(KeyKind::EcdsaP256)));
}

/// A directory with a key file and the identity of its key.
struct Owner {
    directory: tempfile::TempDir,
    creator: Bytes,
    pem: String,
}

impl Owner {
    fn new(kind: KeyKind) -> Self {
        Self::of(generate_key_pem(kind).unwrap().to_string())
    }

    fn of(pem: String) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = KeyPair::from_pem(&pem).unwrap();
        let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap().pem();
        let identity = SerializedIdentity { mspid: "Org1".to_owned(), id_bytes: certificate.into() };
        let owner = Self { directory, creator: identity.encode_to_vec().into(), pem };
        write_key_file(owner.path(), &owner.pem).unwrap();
        owner
    }

    fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("key.pem")
    }

    fn open(&self) -> Result<KeyFileSigner, KeyFileError> {
        KeyFileSigner::open(self.path(), self.creator.clone())
    }
}

#[tokio::test]
async fn a_key_file_signs_what_verifiers_accept() {
    for kind in [KeyKind::Ed25519, KeyKind::EcdsaP256] {
        let owner = Owner::new(kind);
        let signer = owner.open().unwrap();
        assert_eq!(signer.public_key().kind(), kind);
        assert_eq!(signer.creator(), owner.creator);
        for message in 0..20_u8 {
            let signature = signer.sign(&[message]).await.unwrap();
            assert!(signer.public_key().verify_vote(&[message], &signature));
            assert!(signer.public_key().verify_envelope(&[message], &signature));
        }
        let one = signer.new_signature_header().await.unwrap();
        let other = signer.new_signature_header().await.unwrap();
        assert_eq!(one.creator, owner.creator);
        assert_eq!(one.nonce.len(), NONCE_BYTES);
        assert_ne!(one.nonce, other.nonce);
    }
}

#[test]
fn key_files_of_other_tools_are_read() {
    // ring's form of an Ed25519 key has the public key in it, ours and OpenSSL's has not.
    for algorithm in [&rcgen::PKCS_ED25519, &rcgen::PKCS_ECDSA_P256_SHA256] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let owner = Owner::of(key.serialize_pem());
        assert_eq!(owner.open().unwrap().public_key().as_bytes(), key.public_key_raw());
    }
}

#[test]
fn key_files_are_made_for_their_owner_only_and_never_overwritten() {
    let owner = Owner::new(KeyKind::Ed25519);
    let mode = std::fs::metadata(owner.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let err = write_key_file(owner.path(), "another").unwrap_err();
    assert!(matches!(err, KeyFileError::Io { .. }), "{err}");
    assert_eq!(std::fs::read_to_string(owner.path()).unwrap(), owner.pem);
}

#[test]
fn a_key_file_that_others_can_use_is_refused_with_the_remedy() {
    let owner = Owner::new(KeyKind::EcdsaP256);
    for mode in [0o640, 0o604, 0o620, 0o644, 0o660] {
        std::fs::set_permissions(owner.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        let err = owner.open().unwrap_err();
        assert!(matches!(err, KeyFileError::Exposed { .. }), "{err}");
        assert!(err.to_string().contains(&format!("mode {mode:04o}")), "{err}");
        assert!(err.to_string().contains("chmod 600"), "{err}");
    }
    std::fs::set_permissions(owner.path(), std::fs::Permissions::from_mode(0o400)).unwrap();
    owner.open().unwrap();
}

#[test]
fn a_key_must_belong_to_the_identity_that_it_signs_for() {
    let (owner, other) = (Owner::new(KeyKind::Ed25519), Owner::new(KeyKind::Ed25519));
    let err = KeyFileSigner::open(owner.path(), other.creator.clone()).unwrap_err();
    assert!(matches!(err, KeyFileError::OtherKey { .. }), "{err}");
    let err = KeyFileSigner::open(owner.path(), Bytes::from_static(b"?")).unwrap_err();
    assert!(matches!(err, KeyFileError::Creator(_)), "{err}");
}

#[test]
fn files_that_hold_no_usable_key_say_so_and_nothing_of_their_content() {
    let owner = Owner::new(KeyKind::Ed25519);
    let sec1 = "-----BEGIN EC PRIVATE KEY-----\nc2VjcmV0\n-----END EC PRIVATE KEY-----\n";
    let sealed = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nc2VjcmV0\n-----END ENCRYPTED PRIVATE \
                  KEY-----\n";
    let wrong = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";
    let long = "x".repeat(20_000);
    for (content, reason) in [
        (sec1, "openssl pkcs8 -topk8"),
        (sealed, "encrypted"),
        (wrong, "not a PKCS#8 PEM"),
        ("", "not a PKCS#8 PEM"),
        (&long, "more than"),
    ] {
        std::fs::write(owner.path(), content).unwrap();
        let err = owner.open().unwrap_err().to_string();
        assert!(err.contains(reason), "{err}");
        assert!(!err.contains("c2VjcmV0"), "{err}");
    }
    std::fs::write(owner.path(), [0xff; 10]).unwrap();
    owner.open().unwrap_err();
    std::fs::remove_file(owner.path()).unwrap();
    assert!(owner.open().unwrap_err().to_string().contains("key.pem"));
}

#[test]
fn no_mutilated_key_file_makes_it_panic() {
    let mut rng = StdRng::seed_from_u64(5);
    for kind in [KeyKind::Ed25519, KeyKind::EcdsaP256] {
        let owner = Owner::new(kind);
        for _ in 0..300 {
            let mut pem = owner.pem.clone().into_bytes();
            if rng.random_range(0..3) == 0 {
                pem.truncate(rng.random_range(0..pem.len()));
            } else {
                let at = rng.random_range(0..pem.len());
                pem[at] = rng.random_range(b' '..b'~');
            }
            std::fs::write(owner.path(), &pem).unwrap();
            let _ = owner.open();
        }
    }
}

#[test]
fn what_debug_prints_of_a_signer_is_no_secret() {
    for kind in [KeyKind::Ed25519, KeyKind::EcdsaP256] {
        let owner = Owner::new(kind);
        let secret = pem::parse(&owner.pem).unwrap().into_contents();
        let printed = format!("{0:?} {0:#?}", owner.open().unwrap());
        assert!(printed.contains("public_key"), "{printed}");
        // Neither in hex, nor as PEM, nor as a list of numbers: no eight bytes of the file.
        for bytes in secret.windows(8) {
            let numbers: Vec<String> = bytes.iter().map(u8::to_string).collect();
            // What the file says of the public half may be seen.
            let public = owner.open().unwrap().public_key().as_bytes().to_vec();
            if public.windows(8).any(|public| public == bytes) {
                continue;
            }
            assert!(!printed.to_lowercase().contains(&hex::encode(bytes)), "{printed}");
            assert!(!printed.contains(&numbers.join(", ")), "{printed}");
        }
        for line in owner.pem.lines().filter(|line| !line.starts_with("---")) {
            assert!(!printed.contains(line), "{printed}");
        }
    }
}
