//! Who is a member, in which role, and who is refused for what.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost::Message as _;
use rcgen::{BasicConstraints, IsCa, KeyUsagePurpose, date_time_ymd};

use super::testing::*;
use super::*;
use crate::crypto::{Curve, EcdsaSignature};
use crate::proto::common::msp_principal::Classification;
use crate::proto::common::msp_role::MspRoleType;
use crate::proto::common::{MspPrincipal, OrganizationUnit};
use crate::proto::msp::{FabricCryptoConfig, FabricMspConfig, FabricOuIdentifier};

fn manager(config: FabricMspConfig) -> MspManager {
    MspManager::new(vec![config], true).unwrap()
}

/// The verdict on a member of Org1.
fn verdict(msps: &MspManager, member: &Member) -> Result<(), IdentityError> {
    msps.validate(&*msps.identity(&member.serialized("Org1"))?)
}

fn load_error(config: FabricMspConfig) -> String {
    MspManager::new(vec![config], true).unwrap_err().to_string()
}

#[test]
fn members_of_a_root_are_valid_whatever_the_kinds_of_keys() {
    for algorithm in [P256, P384, ED25519] {
        let root = Authority::root("ca.org1", algorithm);
        let msps = manager(config("Org1", &[&root]));
        for algorithm in [P256, ED25519] {
            let member = root.issue(&member_params(&["client"]), algorithm);
            assert_eq!(verdict(&msps, &member), Ok(()));
            let identity = msps.identity(&member.serialized("Org1")).unwrap();
            assert!(identity.key.verify_envelope(b"hello", &member.sign(b"hello")));
            assert_eq!(identity.organizational_units, ["client"]);
        }
    }
}

#[test]
fn members_of_intermediate_authorities_are_valid_in_whatever_order_these_are_listed() {
    let root = Authority::root("ca.org1", P256);
    let upper = root.intermediate("upper.org1", P384);
    let lower = upper.intermediate("lower.org1", ED25519);
    let member = lower.member(&["peer"]);
    for order in [[&upper, &lower], [&lower, &upper]] {
        let mut config = config("Org1", &[&root]);
        config.intermediate_certs = order.map(|ca| ca.pem.clone().into()).to_vec();
        assert_eq!(verdict(&manager(config), &member), Ok(()));
    }
    // Without the authority in between there is no chain.
    let mut config = config("Org1", &[&root]);
    config.intermediate_certs = vec![lower.pem.clone().into()];
    assert_eq!(
        load_error(config),
        "MSP \"Org1\", intermediate_certs[0]: no root certificate stands above it"
    );
}

#[test]
fn a_member_of_a_foreign_authority_is_refused_even_if_that_has_the_same_name() {
    let root = Authority::root("ca.org1", P256);
    let msps = manager(config("Org1", &[&root]));
    for foreign in [Authority::root("ca.org1", P256), Authority::root("ca.org2", P256)] {
        let member = foreign.member(&["client"]);
        let expected = IdentityError::UnknownAuthority("Org1".to_owned());
        assert_eq!(verdict(&msps, &member), Err(expected));
    }
}

#[test]
fn a_certificate_signed_by_a_members_own_key_is_refused() {
    let root = Authority::root("ca.org1", P256);
    let signer = root.member(&["client"]);
    let forged = signer.as_authority(&["client"]).member(&["admin"]);
    let msps = manager(config("Org1", &[&root]));
    let expected = IdentityError::UnknownAuthority("Org1".to_owned());
    assert_eq!(verdict(&msps, &forged), Err(expected));
    // Nor does listing the member as an intermediate authority help.
    let mut config = config("Org1", &[&root]);
    config.intermediate_certs = vec![signer.pem.clone().into()];
    assert!(load_error(config).contains("not the certificate of a certification authority"));
}

#[test]
fn an_authoritys_certificate_is_no_identity() {
    let root = Authority::root("ca.org1", P256);
    let intermediate = root.intermediate("lower.org1", P256);
    let mut config = config("Org1", &[&root]);
    config.intermediate_certs = vec![intermediate.pem.clone().into()];
    let msps = manager(config);
    for pem in [&root.pem, &intermediate.pem] {
        let identity = msps.identity(&serialized("Org1", pem)).unwrap();
        assert_eq!(msps.validate(&identity), Err(IdentityError::IsAuthority));
    }
}

#[test]
fn a_revoked_member_is_refused_and_others_are_not() {
    let root = Authority::root("ca.org1", P256);
    let revoked = root.member(&["client"]);
    let mut params = member_params(&["client"]);
    params.serial_number = Some(8_u64.into());
    let other = root.issue(&params, P256);
    let mut config = config("Org1", &[&root]);
    // A leading zero means nothing.
    config.revocation_list = vec![root.revocation_list(&[&[0, MEMBER_SERIAL as u8]]).into()];
    let msps = manager(config);
    let expected = IdentityError::Revoked { serial: "07".to_owned() };
    assert_eq!(verdict(&msps, &revoked), Err(expected));
    assert_eq!(verdict(&msps, &other), Ok(()));
}

#[test]
fn a_revocation_reaches_everybody_below_a_revoked_intermediate() {
    let root = Authority::root("ca.org1", P256);
    let mut params = authority_params("lower.org1");
    params.serial_number = Some(99_u64.into());
    let lower = root.intermediate_with(params, P256);
    let member = lower.member(&["client"]);
    let mut config = config("Org1", &[&root]);
    config.intermediate_certs = vec![lower.pem.clone().into()];
    config.revocation_list = vec![root.revocation_list(&[&[99]]).into()];
    let expected = IdentityError::Revoked { serial: "63".to_owned() };
    assert_eq!(verdict(&manager(config.clone()), &member), Err(expected));
    // A serial number means something only together with who gave it.
    config.revocation_list = vec![lower.revocation_list(&[&[99]]).into()];
    assert_eq!(verdict(&manager(config), &member), Ok(()));
}

#[test]
fn a_revocation_list_of_a_stranger_is_refused_rather_than_left_out() {
    let root = Authority::root("ca.org1", P256);
    let mut config = config("Org1", &[&root]);
    let stranger = Authority::root("ca.org1", P256);
    config.revocation_list = vec![stranger.revocation_list(&[&[7]]).into()];
    assert_eq!(
        load_error(config),
        "MSP \"Org1\", revocation_list[0]: not signed by any certification authority of this \
         organization"
    );
}

#[test]
fn expiry_is_a_question_of_its_own() {
    let root = Authority::root("ca.org1", P256);
    let mut params = member_params(&["client"]);
    params.not_after = date_time_ymd(2022, 1, 1);
    let member = root.issue(&params, P256);
    let msps = manager(config("Org1", &[&root]));
    assert_eq!(verdict(&msps, &member), Ok(()));
    let identity = msps.identity(&member.serialized("Org1")).unwrap();
    let last = UNIX_EPOCH + Duration::from_secs(1_640_995_200);
    assert!(!identity.expired_at(last - Duration::from_secs(1)));
    assert!(identity.expired_at(last));
    assert!(identity.expired_at(SystemTime::now()));
}

#[test]
fn exactly_one_node_ou_makes_a_member() {
    let root = Authority::root("ca.org1", P256);
    let msps = manager(config("Org1", &[&root]));
    for (units, expected) in [
        (&["client"][..], Ok(())),
        (&["client", "accounting"], Ok(())),
        (&["client", "peer"], Err(IdentityError::NodeUnits(2))),
        (&["client", "client"], Err(IdentityError::NodeUnits(2))),
        (&["accounting"], Err(IdentityError::NodeUnits(0))),
        (&[], Err(IdentityError::NodeUnits(0))),
    ] {
        assert_eq!(verdict(&msps, &root.member(units)), expected, "{units:?}");
    }
    // An organization without node OUs does not mind.
    let msps = manager(plain_config("Org1", &[&root]));
    assert_eq!(verdict(&msps, &root.member(&["client", "peer"])), Ok(()));
}

#[test]
fn a_node_ou_counts_only_from_the_authority_for_it() {
    let root = Authority::root("ca.org1", P256);
    let lower = root.intermediate("lower.org1", P256);
    let mut config = config("Org1", &[&root]);
    config.intermediate_certs = vec![lower.pem.clone().into()];
    let units = config.fabric_node_ous.as_mut().unwrap();
    units.peer_ou_identifier.as_mut().unwrap().certificate = lower.pem.clone().into();
    let msps = manager(config.clone());
    assert_eq!(verdict(&msps, &lower.member(&["peer"])), Ok(()));
    assert_eq!(verdict(&msps, &root.member(&["client"])), Ok(()));
    let expected = IdentityError::UnitAuthority("peer".to_owned());
    assert_eq!(verdict(&msps, &root.member(&["peer"])), Err(expected));

    let stranger = Authority::root("ca.org2", P256);
    let units = config.fabric_node_ous.as_mut().unwrap();
    units.peer_ou_identifier.as_mut().unwrap().certificate = stranger.pem.into();
    assert!(load_error(config).contains("fabric_node_ous.peer_ou_identifier: certificate: not one"));
}

#[test]
fn a_demanded_organizational_unit_must_be_there() {
    let root = Authority::root("ca.org1", P256);
    let mut config = plain_config("Org1", &[&root]);
    config.organizational_unit_identifiers = vec![FabricOuIdentifier {
        certificate: root.pem.clone().into(),
        organizational_unit_identifier: "department".to_owned(),
    }];
    let msps = manager(config.clone());
    assert_eq!(verdict(&msps, &root.member(&["department"])), Ok(()));
    let expected = IdentityError::OrganizationalUnit("Org1".to_owned());
    assert_eq!(verdict(&msps, &root.member(&["other"])), Err(expected));
    config.organizational_unit_identifiers[0].certificate.clear();
    assert!(load_error(config).contains("organizational_unit_identifiers[0]: certificate is missing"));
}

#[test]
fn roles_follow_from_the_node_ou() {
    let root = Authority::root("ca.org1", P256);
    let msps = manager(config("Org1", &[&root]));
    let roles = [MspRoleType::Client, MspRoleType::Peer, MspRoleType::Admin, MspRoleType::Orderer];
    for (unit, own) in ["client", "peer", "admin", "orderer"].into_iter().zip(roles) {
        let identity = msps.identity(&root.member(&[unit]).serialized("Org1")).unwrap();
        let satisfies = |role| msps.satisfies(&identity, &role_principal("Org1", role)).is_ok();
        assert!(satisfies(MspRoleType::Member));
        for role in roles {
            assert_eq!(satisfies(role), role == own, "{unit} as {role:?}");
        }
        let elsewhere = role_principal("Org2", MspRoleType::Member);
        assert_eq!(
            msps.satisfies(&identity, &elsewhere).unwrap_err().to_string(),
            "the identity is of MSP \"Org1\", not of \"Org2\""
        );
    }
}

#[test]
fn an_admin_may_be_listed_instead_and_must_still_be_valid() {
    let root = Authority::root("ca.org1", P256);
    let listed = root.member(&["client"]);
    let mut params = member_params(&["client"]);
    params.serial_number = Some(8_u64.into());
    let revoked = root.issue(&params, P256);
    let mut config = plain_config("Org1", &[&root]);
    config.admins = vec![listed.pem.clone().into(), revoked.pem.clone().into()];
    config.revocation_list = vec![root.revocation_list(&[&[8]]).into()];
    let msps = manager(config);
    let admin = role_principal("Org1", MspRoleType::Admin);
    let of = |member: &Member| msps.identity(&member.serialized("Org1")).unwrap();
    assert_eq!(msps.satisfies(&of(&listed), &admin), Ok(()));
    assert!(matches!(msps.satisfies(&of(&revoked), &admin), Err(IdentityError::Revoked { .. })));
    assert_eq!(
        msps.satisfies(&of(&root.member(&["admin"])), &admin),
        Err(IdentityError::NotInRole(Role::Admin))
    );
    // Without node OUs nobody can be told to be a client.
    assert_eq!(
        msps.satisfies(&of(&listed), &role_principal("Org1", MspRoleType::Client)),
        Err(IdentityError::NoNodeUnits("Org1".to_owned()))
    );
}

#[test]
fn an_identity_principal_is_one_certificate_of_one_organization() {
    let root = Authority::root("ca.org1", P256);
    let msps = MspManager::new(vec![config("Org1", &[&root]), config("Org2", &[&root])], true);
    let msps = msps.unwrap();
    let (one, other) = (root.member(&["client"]), root.member(&["client"]));
    let identity = msps.identity(&one.serialized("Org1")).unwrap();
    let principal = |serialized| MspPrincipal {
        principal_classification: Classification::Identity.into(),
        principal: serialized,
    };
    let satisfies = |serialized| msps.satisfies(&identity, &principal(serialized));
    assert_eq!(satisfies(one.serialized("Org1")), Ok(()));
    // What surrounds the certificate in its PEM is no part of it.
    assert_eq!(satisfies(serialized("Org1", &format!("a comment\n{}\n\n", one.pem))), Ok(()));
    assert_eq!(satisfies(one.serialized("Org2")), Err(IdentityError::OtherIdentity));
    assert_eq!(satisfies(other.serialized("Org1")), Err(IdentityError::OtherIdentity));
    assert!(satisfies(b"garbage"[..].into()).is_err());
    // It must be valid as well.
    let foreign = Authority::root("ca.org1", P256).member(&["client"]);
    let identity = msps.identity(&foreign.serialized("Org1")).unwrap();
    assert!(msps.satisfies(&identity, &principal(foreign.serialized("Org1"))).is_err());
}

#[test]
fn a_unit_principal_is_a_unit_given_under_one_chain() {
    use sha2::{Digest as _, Sha256};
    let root = Authority::root("ca.org1", P256);
    let msps = manager(plain_config("Org1", &[&root]));
    let certified = {
        let certificate = certificate::Certificate::from_pem(root.pem.as_bytes()).unwrap();
        Sha256::digest(certificate.signed_by(&certificate).unwrap().der).to_vec()
    };
    let principal = |unit: &str, chain: &[u8]| MspPrincipal {
        principal_classification: Classification::OrganizationUnit.into(),
        principal: OrganizationUnit {
            msp_identifier: "Org1".to_owned(),
            organizational_unit_identifier: unit.to_owned(),
            certifiers_identifier: chain.to_vec().into(),
        }
        .encode_to_vec()
        .into(),
    };
    let identity = msps.identity(&root.member(&["blue"]).serialized("Org1")).unwrap();
    assert_eq!(msps.satisfies(&identity, &principal("blue", &certified)), Ok(()));
    for (unit, chain) in [("red", &certified[..]), ("blue", &[0; 32]), ("blue", &[])] {
        let expected = IdentityError::NotInUnit(unit.to_owned());
        assert_eq!(msps.satisfies(&identity, &principal(unit, chain)), Err(expected));
    }
}

#[test]
fn principals_of_other_kinds_are_satisfied_by_nobody_and_say_which_they_are() {
    let root = Authority::root("ca.org1", P256);
    let msps = manager(plain_config("Org1", &[&root]));
    let identity = msps.identity(&root.member(&[]).serialized("Org1")).unwrap();
    for (classification, reason) in
        [(3, "ANONYMITY is not supported"), (4, "COMBINED is not supported"), (9, "9 is unknown")]
    {
        let principal =
            MspPrincipal { principal_classification: classification, principal: bytes::Bytes::new() };
        let err = msps.satisfies(&identity, &principal).unwrap_err().to_string();
        assert!(err.contains(reason), "{err}");
    }
    let garbled = MspPrincipal {
        principal_classification: Classification::Role.into(),
        principal: vec![0xff; 3].into(),
    };
    assert!(msps.satisfies(&identity, &garbled).is_err());
}

#[test]
fn ed25519_needs_the_capability() {
    let root = Authority::root("ca.org1", P256);
    let msps = MspManager::new(vec![config("Org1", &[&root])], false).unwrap();
    let member = root.issue(&member_params(&["client"]), ED25519);
    assert_eq!(verdict(&msps, &member), Err(IdentityError::Ed25519NeedsV3));
    assert_eq!(verdict(&msps, &root.member(&["client"])), Ok(()));
    let root = Authority::root("ca.org1", ED25519);
    let err = MspManager::new(vec![config("Org1", &[&root])], false).unwrap_err().to_string();
    assert!(err.contains("root_certs[0]") && err.contains("V3_0"), "{err}");
}

#[test]
fn rsa_is_refused_for_members_and_authorities() {
    let root = Authority::root("ca.org1", P256);
    let msps = manager(config("Org1", &[&root]));
    let err = msps.identity(&serialized("Org1", RSA_CERTIFICATE)).unwrap_err();
    assert!(matches!(err, IdentityError::Key(_)), "{err}");
    let mut config = config("Org1", &[&root]);
    config.root_certs.push(RSA_CERTIFICATE.into());
    let err = load_error(config);
    assert!(err.contains("root_certs[1]") && err.contains("use ECDSA"), "{err}");
}

#[test]
fn a_leaf_key_on_p384_is_refused() {
    let root = Authority::root("ca.org1", P256);
    let msps = manager(config("Org1", &[&root]));
    let member = root.issue(&member_params(&["client"]), P384);
    assert!(matches!(verdict(&msps, &member), Err(IdentityError::Key(_))));
}

#[test]
fn authorities_must_be_marked_as_such_and_may_not_be_limited_in_ways_not_understood() {
    let broken = |change: &dyn Fn(&mut rcgen::CertificateParams)| {
        let mut params = authority_params("ca.org1");
        change(&mut params);
        load_error(config("Org1", &[&Authority::root_with(params, P256)]))
    };
    for (err, reason) in [
        (broken(&|params| params.is_ca = IsCa::NoCa), "basic constraints"),
        (broken(&|params| params.is_ca = IsCa::ExplicitNoCa), "basic constraints"),
        (
            broken(&|params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature]),
            "key usage does not include signing certificates",
        ),
        (
            broken(&|params| {
                let name = rcgen::GeneralSubtree::DnsName("org1".to_owned());
                params.name_constraints = Some(rcgen::NameConstraints {
                    permitted_subtrees: vec![name],
                    excluded_subtrees: Vec::new(),
                });
            }),
            "name constraints are not supported",
        ),
        (
            broken(&|params| params.custom_extensions = vec![critical_extension(&[1, 2, 3, 4])]),
            "critical extension 1.2.3.4 is not supported",
        ),
    ] {
        assert!(err.starts_with("MSP \"Org1\", root_certs[0]: "), "{err}");
        assert!(err.contains(reason), "{err}");
    }
    let root = Authority::root("ca.org1", P256);
    let mut params = member_params(&["client"]);
    params.custom_extensions = vec![critical_extension(&[1, 2, 3, 4])];
    let msps = manager(config("Org1", &[&root]));
    let err = verdict(&msps, &root.issue(&params, P256)).unwrap_err();
    assert!(matches!(err, IdentityError::Certificate(_)), "{err}");
}

#[test]
fn a_path_length_limits_the_authorities_below() {
    let limited = |limit| {
        let mut params = authority_params("ca.org1");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(limit));
        let root = Authority::root_with(params, P256);
        let upper = root.intermediate("upper.org1", P256);
        let lower = upper.intermediate("lower.org1", P256);
        let mut config = config("Org1", &[&root]);
        config.intermediate_certs = vec![upper.pem.clone().into(), lower.pem.clone().into()];
        MspManager::new(vec![config], true).map(|msps| verdict(&msps, &lower.member(&["peer"])))
    };
    assert_eq!(limited(2).unwrap(), Ok(()));
    assert!(limited(1).unwrap_err().field.contains("intermediate_certs[1]"));
    assert!(limited(0).unwrap_err().field.contains("intermediate_certs[0]"));
}

#[test]
fn a_certificate_older_than_its_authority_is_refused() {
    let root = Authority::root("ca.org1", P256);
    let mut params = member_params(&["client"]);
    params.not_before = date_time_ymd(2019, 1, 1);
    let msps = manager(config("Org1", &[&root]));
    let err = verdict(&msps, &root.issue(&params, P256)).unwrap_err();
    assert!(matches!(err, IdentityError::Authority(_)), "{err}");
}

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

fn pem_of(der: &[u8]) -> String {
    pem::encode(&pem::Pem::new("CERTIFICATE", der))
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

/// Self-signed, of an authority; made with OpenSSL.
const RSA_CERTIFICATE: &str = include_str!("testing_rsa.pem");
