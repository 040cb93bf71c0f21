//! Who is what: node OUs, roles and other principals.

use super::*;

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
