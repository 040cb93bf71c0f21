//! A simulator that finds nothing proves nothing. One rule of the protocol after the other is taken
//! away (`src/plant.rs`), and a scenario must fail; with the rule in force the same one passes.

mod net;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use net::{Net, settings};
use sbft::plant::{Plant, Plants};
use sbft::types::{Number, View};
use sbft_sim::network::{Fate, Kind, Rule};
use sbft_sim::plan::Show;
use sbft_sim::scenario::Scenario;
use sbft_sim::shrink::effective;

/// Where the smallest scenario that shows each bug is kept; `sbft-sim plants --write` makes them.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sim/scenarios/plants")
}

/// What is wrong with the scenario kept for a planted bug; none if it fails with the bug, by the
/// check that it names, and passes without.
fn complaint(plant: Plant) -> Option<String> {
    let file = folder().join(format!("{}.toml", plant.info().id));
    let scenario = match Scenario::read(&file) {
        Ok(scenario) => scenario,
        Err(error) => return Some(error.to_string()),
    };
    let mut plan = scenario.plan;
    if plan.settings.config.plants != Plants::NONE.with(plant) {
        return Some(format!("{}: this and no other bug is to be planted", file.display()));
    }
    let Some(check) = plan.expect.violates.clone() else {
        return Some(format!("{}: it says no check that must fail", file.display()));
    };
    if !plant.info().checks.contains(&check.as_str()) {
        return Some(format!("{plant}: {check} is no check that src/plant.rs expects"));
    }
    match plan.run(Show::default()).violation {
        Some(violation) if violation.check == check => {}
        other => return Some(format!("{plant}: should fail by {check}, and came to {other:?}")),
    }
    plan.settings.config.plants = Plants::NONE;
    let violation = plan.run(Show::default()).violation?;
    Some(format!("{plant}: a false alarm, with all rules in force: {violation}"))
}

#[test]
fn every_planted_bug_is_noticed_in_its_scenario_and_nothing_is_without_it() {
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, complaints) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(plant) = Plant::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Some(complaint) = complaint(*plant) {
                        complaints.lock().expect("nobody panics while holding it").push(complaint);
                    }
                }
            });
        }
    });
    let complaints = complaints.into_inner().expect("all threads are done");
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn the_list_has_every_bug_of_the_reference_every_forking_change_and_ten_of_our_own() {
    // The reference gives P37, P41 to P45, P47 and P49 to no bug.
    let of_the_reference = (1..=36).chain([38, 39, 40, 46, 48, 50]).map(|nth| format!("P{nth:02}"));
    let that_fork = (1..=8).map(|nth| format!("F{nth}"));
    for id in of_the_reference.chain(that_fork) {
        assert!(id.parse::<Plant>().is_ok(), "{id} is not planted");
    }
    let ours = Plant::ALL.iter().filter(|plant| plant.info().id.starts_with('X')).count();
    assert!(ours >= 10, "{ours} of our own");
}

#[test]
fn no_scenario_of_a_planted_bug_has_more_than_25_faults() {
    for plant in Plant::ALL {
        let file = folder().join(format!("{}.toml", plant.info().id));
        let scenario = Scenario::read(&file).unwrap_or_else(|error| panic!("{error}"));
        let faults = effective(&scenario.plan);
        assert!(faults <= 25, "{}: {faults} effective faults", file.display());
    }
}

#[test]
fn every_scenario_of_a_planted_bug_belongs_to_one() {
    for entry in std::fs::read_dir(folder()).expect("the folder is part of the repository") {
        let path = entry.expect("a folder that can be read").path();
        let id = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        assert!(id.parse::<Plant>().is_ok(), "{}: no planted bug is called so", path.display());
    }
}

/// Two blocks commit at replica 0 alone. In view 1 only the first is prepared again, so that the
/// newest certificate anywhere is shorter than what committed. View 2 must go number by number.
fn a_newer_shorter_certificate(plants: &[Plant]) -> Net {
    let mut settings = settings(4);
    for plant in plants {
        settings.config.plants = settings.config.plants.with(*plant);
    }
    let mut net = Net::with(settings, Vec::new());
    net.rule(&[Kind::Commit], &[], &[1, 2, 3], Some(View(0)), Fate::Drop);
    net.submit("a", &[0]).run(30).submit("b", &[0]).run_until(1000, |net| net.blocks(0) == 2);
    net.cut(0).drop_in_view(&[Kind::Commit], 1);
    net.world.network.rules.push(Rule {
        kinds: Some(vec![Kind::Prepare]),
        view: Some(View(1)),
        number: Some(Number(2)),
        ..Rule::default()
    });
    net.submit("c", &[3]).run_until(5000, |net| (1..4).all(|place| net.view(place) >= 2));
    net.world.network.rules.clear();
    let until = net.world.now.after(std::time::Duration::from_secs(2));
    net.world.run_until(until);
    net.world.network.mend(u64::MAX, u64::MAX);
    let until = net.world.now.after(std::time::Duration::from_secs(3));
    net.world.run_until(until);
    net
}

#[test]
fn the_single_highest_certificate_forks_the_chain() {
    let mut net = a_newer_shorter_certificate(&[]);
    net.expect(0..4, &["a", "b", "c"]);
    let net = a_newer_shorter_certificate(&[Plant::SingleHighestCertificate]);
    let violation = net.world.violation().expect("a fork");
    assert!(Plant::SingleHighestCertificate.info().checks.contains(&violation.check), "{violation}");
}
