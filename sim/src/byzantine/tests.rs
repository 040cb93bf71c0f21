//! The catalogue is whole, and every attack can be made.

use std::collections::BTreeSet;

use super::*;

#[test]
fn the_catalogue_has_every_attack_of_the_reference_once() {
    let ids: Vec<&str> = catalogue().iter().map(|info| info.id).collect();
    for number in 1..=59 {
        let id = format!("A{number:02}");
        assert_eq!(ids.iter().filter(|known| **known == id).count(), 1, "{id}");
    }
    for id in ["C1", "C2", "C3", "C4"] {
        assert!(ids.contains(&id), "{id}");
    }
    let mut names: Vec<&str> = catalogue().iter().map(|info| info.name).collect();
    names.extend(catalogue().iter().flat_map(|info| info.aliases));
    let distinct: BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(distinct.len(), names.len(), "a name is there twice");
    for info in catalogue() {
        assert!(
            info.does.ends_with('.') && info.aim.ends_with('.') && info.explain.ends_with('.'),
            "{info:?}"
        );
    }
}

#[test]
fn every_attack_can_be_made_or_says_that_it_needs_reconfiguration() {
    for info in catalogue() {
        let made = Liar::of(Place(1), &[AttackSpec::named(info.name)]);
        let late = ["A47", "A48", "A49"].contains(&info.id);
        assert_eq!(made.is_err(), late, "{info:?}");
        assert_eq!(info.needs_reconfiguration, late, "{info:?}");
    }
}

#[test]
fn a_wrong_name_or_trigger_is_refused_with_a_hint() {
    let wrong = |spec: AttackSpec| Liar::of(Place(0), &[spec]).expect_err("nothing of that name");
    assert!(wrong("equivocate".into()).contains("equivocate-halves"));
    assert!(wrong("nonsense".into()).contains("attacks --list"));
    assert!(wrong("conflicting-config".into()).contains("reconfiguration"));
    let often = AttackSpec::named("silent").when(Trigger::sometimes(7.0));
    assert!(wrong(often).contains("between 0 and 1"));
}
