//! One identity has one form; definitions and bytes that cannot be are refused.

use super::*;

/// The same certificate with n - s instead of s, or with bytes changed around its signed part.
fn with_other_s(der: &[u8]) -> Vec<u8> {
    // The signature is the BIT STRING at the end.
    let at = (der.len() - 75..der.len())
        .find(|at| EcdsaSignature::from_der(Curve::P256, &der[*at..]).is_ok())
        .unwrap();
    let signature = EcdsaSignature::from_der(Curve::P256, &der[at..]).unwrap();
    let other = signature.with_other_s().to_der();
    let grown = other.len() as i32 - (der.len() - at) as i32;
    let mut changed = [&der[..at], &other].concat();
    changed[at - 2] = (i32::from(changed[at - 2]) + grown) as u8;
    let total = i32::from(u16::from_be_bytes([der[2], der[3]])) + grown;
    changed[2..4].copy_from_slice(&(total as u16).to_be_bytes());
    changed
}

#[test]
fn one_certificate_is_one_identity_whichever_s_its_authority_wrote() {
    let root = Authority::root("ca.org1", P256);
    let msps = manager(config("Org1", &[&root]));
    for _ in 0..8 {
        let member = root.member(&["client"]);
        let twin = with_other_s(&member.der);
        assert_ne!(member.der, twin);
        let identity = msps.identity(&member.serialized("Org1")).unwrap();
        let twin = msps.identity(&serialized("Org1", &pem_of(&twin))).unwrap();
        assert_eq!(msps.validate(&twin), Ok(()));
        assert_eq!(identity.certificate_der, twin.certificate_der);
        assert_eq!(identity.fingerprint, twin.fingerprint);
    }
}

#[test]
fn a_certificate_has_no_second_encoding() {
    let root = Authority::root("ca.org1", P256);
    let msps = manager(config("Org1", &[&root]));
    let der = root.member(&["client"]).der;
    assert_eq!(der[1], 0x82);
    let longer_length = [&[0x30, 0x83, 0][..], &der[2..]].concat();
    let trailing = [&der[..], &[0]].concat();
    for other in [longer_length, trailing] {
        let err = msps.identity(&serialized("Org1", &pem_of(&other))).unwrap_err();
        assert!(matches!(err, IdentityError::Certificate(_)), "{err}");
    }
}

#[test]
fn an_organization_may_be_defined_twice_only_alike() {
    let root = Authority::root("ca.org1", P256);
    let one = config("Org1", &[&root]);
    assert!(MspManager::new(vec![one.clone(), one.clone()], true).is_ok());
    let err = MspManager::new(vec![one, plain_config("Org1", &[&root])], true).unwrap_err();
    assert!(err.to_string().contains("two different definitions"));
}

#[test]
fn definitions_that_cannot_work_are_refused_by_field() {
    let root = Authority::root("ca.org1", P256);
    let broken = |change: &dyn Fn(&mut FabricMspConfig)| {
        let mut config = config("Org1", &[&root]);
        change(&mut config);
        load_error(config)
    };
    for (err, expected) in [
        (broken(&|config| config.name.clear()), "name: is missing"),
        (broken(&|config| config.root_certs.clear()), "root_certs: there must be at least one"),
        (broken(&|config| config.root_certs[0].truncate(40)), "root_certs[0]: no PEM block"),
        (broken(&|config| config.admins = vec![b"x"[..].into()]), "admins[0]: no PEM block"),
        (
            broken(&|config| config.revocation_list = vec![b"x"[..].into()]),
            "revocation_list[0]: not a PEM or DER",
        ),
        (broken(&|config| config.tls_root_certs = vec![b"x"[..].into()]), "tls_root_certs[0]: no PEM block"),
        (
            broken(&|config| {
                config.crypto_config = Some(FabricCryptoConfig {
                    signature_hash_family: "SHA3".to_owned(),
                    identity_identifier_hash_function: "SHA256".to_owned(),
                });
            }),
            "crypto_config.signature_hash_family: \"SHA3\" is not supported",
        ),
        (
            broken(&|config| {
                let units = config.fabric_node_ous.as_mut().unwrap();
                units.admin_ou_identifier = units.client_ou_identifier.clone();
            }),
            "fabric_node_ous.admin_ou_identifier: unit \"client\" stands for two roles",
        ),
    ] {
        assert!(err.contains(expected), "{err} does not contain {expected}");
    }
}

#[test]
fn a_verdict_counts_only_with_the_configuration_that_it_was_made_under() {
    let root = Authority::root("ca.org1", P256);
    let member = root.member(&["client"]);
    let before = manager(config("Org1", &[&root]));
    let identity = before.identity(&member.serialized("Org1")).unwrap();
    assert_eq!(before.validate(&identity), Ok(()));
    let mut config = config("Org1", &[&root]);
    config.revocation_list = vec![root.revocation_list(&[&[MEMBER_SERIAL as u8]]).into()];
    let after = manager(config);
    assert!(matches!(after.validate(&identity), Err(IdentityError::Revoked { .. })));
}

#[test]
fn only_valid_identities_are_remembered_and_only_so_many() {
    let root = Authority::root("ca.org1", P256);
    let msps = manager(config("Org1", &[&root]));
    let member = root.member(&["client"]);
    let first = msps.identity(&member.serialized("Org1")).unwrap();
    assert!(std::sync::Arc::ptr_eq(&first, &msps.identity(first.serialized()).unwrap()));
    let stranger = Authority::root("ca.org1", P256).member(&["client"]);
    msps.identity(&stranger.serialized("Org1")).unwrap();
    assert_eq!(msps.cached(), 1);

    let mut cache = cache::Cache::default();
    let named = |index: usize| {
        let mut identity = (*first).clone();
        identity.serialized = index.to_be_bytes().to_vec().into();
        std::sync::Arc::new(identity)
    };
    for index in 0..cache::MAX_ENTRIES + 10 {
        cache.keep(&named(index));
        // The first stays because it is in use.
        assert!(cache.find(&0_usize.to_be_bytes()).is_some());
    }
    assert_eq!(cache.len(), cache::MAX_ENTRIES);
    assert!(cache.find(&1_usize.to_be_bytes()).is_none());
    assert!(cache.find(&(cache::MAX_ENTRIES + 9).to_be_bytes()).is_some());
    // One that is too large is not worth others' places, and many large ones have a limit too.
    let sized = |index: usize, size: usize| {
        let mut identity = (*first).clone();
        let mut bytes = vec![0; size];
        bytes[..8].copy_from_slice(&index.to_be_bytes());
        identity.serialized = bytes.into();
        std::sync::Arc::new(identity)
    };
    cache.keep(&sized(0, 17 << 10));
    assert_eq!(cache.len(), cache::MAX_ENTRIES);
    for index in 0..1000 {
        cache.keep(&sized(index, 16 << 10));
    }
    assert_eq!(cache.len(), 512);
}

#[test]
fn identities_of_no_known_organization_or_form_are_refused() {
    let root = Authority::root("ca.org1", P256);
    let msps = manager(config("Org1", &[&root]));
    let member = root.member(&["client"]);
    let err = msps.identity(&member.serialized("Org2")).unwrap_err();
    assert_eq!(err, IdentityError::UnknownMsp("Org2".to_owned()));
    let err = msps.identity(&vec![0; MAX_IDENTITY_BYTES + 1]).unwrap_err();
    assert_eq!(err, IdentityError::TooLarge(MAX_IDENTITY_BYTES + 1));
    for pem in ["", "no pem", &member.key_pem()] {
        let err = msps.identity(&serialized("Org1", pem)).unwrap_err();
        assert!(matches!(err, IdentityError::Certificate(_)), "{err}");
    }
    let err = msps.identity(&[0xff, 0xff]).unwrap_err();
    assert!(matches!(err, IdentityError::Malformed(_)), "{err}");
}

#[test]
fn truncated_flipped_and_random_bytes_are_errors_and_never_panics() {
    use rand::{Rng as _, RngExt as _, SeedableRng as _};
    let root = Authority::root("ca.org1", P256);
    let lower = root.intermediate("lower.org1", P256);
    let member = lower.member(&["client"]);
    let mut config = config("Org1", &[&root]);
    config.intermediate_certs = vec![lower.pem.clone().into()];
    config.revocation_list = vec![root.revocation_list(&[&[1]]).into()];
    let msps = manager(config.clone());
    let good =
        [member.serialized("Org1"), lower.issue(&member_params(&["peer"]), ED25519).serialized("Org1")];

    let mut rng = rand::rngs::StdRng::seed_from_u64(1);
    let mutate = |rng: &mut rand::rngs::StdRng, bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        match rng.random_range(0..4) {
            0 => bytes.truncate(rng.random_range(0..=bytes.len())),
            1 => rng.fill_bytes(&mut bytes),
            _ => {
                for _ in 0..rng.random_range(1..4) {
                    let at = rng.random_range(0..bytes.len());
                    bytes[at] ^= 1 << rng.random_range(0..8);
                }
            }
        }
        bytes
    };
    for _ in 0..3000 {
        // The serialized identity, the certificate inside the PEM, and the definition.
        let bytes = mutate(&mut rng, &good[0]);
        if let Ok(identity) = msps.identity(&bytes) {
            let _ = msps.validate(&identity);
        }
        let der = mutate(&mut rng, &member.der);
        if let Ok(identity) = msps.identity(&serialized("Org1", &pem_of(&der))) {
            assert!(der == member.der || msps.validate(&identity).is_err());
        }
        let _ = crate::crypto::PublicKey::from_certificate_der(&der);
    }
    for _ in 0..300 {
        let bytes = mutate(&mut rng, &config.encode_to_vec());
        if let Ok(config) = FabricMspConfig::decode(&bytes[..])
            && let Ok(msps) = MspManager::new(vec![config], true)
            && let Ok(identity) = msps.identity(&good[1])
        {
            let _ = msps.validate(&identity);
        }
        let list = pem::parse(&config.revocation_list[0]).unwrap();
        let mut config = config.clone();
        let list = mutate(&mut rng, list.contents());
        config.revocation_list = vec![list.into()];
        let _ = MspManager::new(vec![config], true);
    }
}
