//! Whose certificate counts: chains, authorities, revocation, kinds of keys.

use super::*;

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
fn case_66_ed25519_needs_the_capability() {
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

/// Self-signed, of an authority; made with OpenSSL.
const RSA_CERTIFICATE: &str = include_str!("../testing_rsa.pem");
