//! What can be taken off a failing plan, or made plainer.

use std::sync::Arc;
use std::time::Duration;

use sbft::types::{Place, Time};

use super::search::Search;
use super::{effective, failed_at};
use crate::byzantine::{AttackSpec, Span};
use crate::network::{Conditions, Fate, Rule, Single, Singles, rules_of_singles, unusual};
use crate::plan::{Plan, Show, liveness_bound};
use crate::world::{Fault, Settings};

/// What every packet takes when nothing is left to chance.
const USUAL: Duration = Duration::from_millis(1);
/// Views and numbers that an attack is narrowed to, at most.
const NARROW: u64 = 12;

/// Packets that chance took or doubled, or made late by a noticeable time.
pub(super) fn troubled(singles: &Singles) -> usize {
    singles.values().filter(|fate| !matches!(fate, Fate::Delay(delay) if *delay <= USUAL * 5)).count()
}

/// Kinds of trouble that are left to chance.
pub(super) fn left_to_chance(plan: &Plan) -> usize {
    let Settings { conditions: c, crash_rate, .. } = &plan.settings;
    [c.loss, c.duplicate, c.phase_cut, c.tail_chance, c.reorder, c.clog, *crash_rate]
        .iter()
        .filter(|rate| **rate > 0.0)
        .count()
}

/// Nothing happens after the end.
pub(super) fn end_early(search: &mut Search<'_>) {
    let Some(end) = failed_at(search) else {
        // It has to settle, so the chaos may end when nothing is planned any more.
        let last = last_fault(&search.best);
        if last < search.best.heal_at {
            search.change(|plan| plan.heal_at = last);
        }
        return;
    };
    search.change(|plan| {
        plan.submissions.retain(|submission| submission.at <= end);
        plan.faults.retain(|(at, _)| *at <= end);
    });
    // Healing after the end is no part of it.
    let after = Time(Duration::from_millis(end.0.as_millis() as u64 / 100 * 100 + 100));
    if search.best.heal_at > after {
        search.change(|plan| plan.heal_at = after);
    }
}

fn last_fault(plan: &Plan) -> Time {
    let faults = plan.faults.iter().map(|(at, fault)| match fault {
        Fault::Partition(partition) => at.after(partition.lasts),
        Fault::Pause(_, lasts) | Fault::Clog(_, _, lasts) => at.after(*lasts),
        _ => *at,
    });
    faults.chain(plan.submissions.iter().map(|submission| submission.at)).max().unwrap_or(Time::ZERO)
}

/// Chance is written down, packet by packet, and done again where nothing else is left to chance.
pub(super) fn write_down_chances(search: &mut Search<'_>) {
    let report = search.best.run(Show { chances: true, ..Show::default() });
    search.runs += 1;
    let Some(chances) = report.chances else { return };
    search.change(|plan| {
        plan.settings.conditions = Conditions::steady(USUAL);
        plan.settings.crash_rate = 0.0;
        plan.crashes.extend(chances.crashes);
        plan.singles = Arc::new(unusual(&chances.singles, USUAL));
        plan.faults.retain(|(_, fault)| {
            !matches!(fault, Fault::Conditions(_) | Fault::LinkConditions(..) | Fault::Clog(..))
        });
    });
}

/// Each kind of trouble as a whole.
pub(super) fn whole_families(search: &mut Search<'_>) {
    let families: [fn(&mut Plan); 16] = [
        |plan| plan.singles = Arc::default(),
        |plan| {
            let late = |fate: &Fate| matches!(fate, Fate::Delay(_));
            let rest = plan.singles.iter().filter(|(_, fate)| !late(fate));
            plan.singles = Arc::new(rest.map(|(single, fate)| (*single, *fate)).collect());
        },
        |plan| plan.faults.clear(),
        |plan| plan.crashes.clear(),
        |plan| {
            plan.twins.clear();
            drop_bodies(plan, plan.settings.n);
        },
        |plan| plan.liars.clear(),
        |plan| plan.settings.conditions = Conditions::steady(USUAL),
        |plan| plan.settings.conditions.loss = 0.0,
        |plan| plan.settings.conditions.duplicate = 0.0,
        |plan| plan.settings.conditions.phase_cut = 0.0,
        |plan| (plan.settings.conditions.tail_chance, plan.settings.conditions.tail) = (0.0, Duration::ZERO),
        |plan| {
            (plan.settings.conditions.reorder, plan.settings.conditions.reorder_by) = (0.0, Duration::ZERO)
        },
        |plan| (plan.settings.conditions.clog, plan.settings.conditions.clog_for) = (0.0, Duration::ZERO),
        |plan| (plan.settings.conditions.bandwidth, plan.settings.conditions.queue) = (None, None),
        |plan| plan.settings.conditions.fifo = false,
        |plan| plan.settings.crash_rate = 0.0,
    ];
    for family in families {
        let before = effective(&search.best);
        let mut plan = search.best.clone();
        family(&mut plan);
        if effective(&plan) < before || plan.settings.conditions != search.best.settings.conditions {
            search.first(vec![plan]);
        }
    }
}

/// Every list of the plan, item by item.
pub(super) fn list_by_list(search: &mut Search<'_>) {
    search.shorten(
        |plan| plan.singles.iter().map(|(single, fate)| (*single, *fate)).collect::<Vec<(Single, Fate)>>(),
        |plan, singles| plan.singles = Arc::new(singles.into_iter().collect()),
    );
    search.shorten(|plan| plan.cuts.clone(), |plan, cuts| plan.cuts = cuts);
    search.shorten(|plan| plan.faults.clone(), |plan, faults| plan.faults = faults);
    search.shorten(|plan| plan.crashes.clone(), |plan, crashes| plan.crashes = crashes);
    search.shorten(
        |plan| plan.twins.clone(),
        |plan, twins| {
            plan.twins = twins;
            drop_bodies(plan, plan.settings.n + plan.twins.len());
        },
    );
    search.shorten(attacks, |plan, attacks| plan.liars = liars(attacks));
    search.shorten(|plan| plan.submissions.clone(), |plan, submissions| plan.submissions = submissions);
}

/// All attacks, each with its liar.
pub(super) fn attacks(plan: &Plan) -> Vec<(Place, AttackSpec)> {
    let one = |(place, specs): &(Place, Vec<AttackSpec>)| {
        specs.iter().map(|spec| (*place, spec.clone())).collect::<Vec<_>>()
    };
    plan.liars.iter().flat_map(one).collect()
}

/// The liars that these attacks make.
pub(super) fn liars(attacks: Vec<(Place, AttackSpec)>) -> Vec<(Place, Vec<AttackSpec>)> {
    let mut liars: Vec<(Place, Vec<AttackSpec>)> = Vec::new();
    for (place, spec) in attacks {
        match liars.iter_mut().find(|(known, _)| *known == place) {
            Some((_, specs)) => specs.push(spec),
            None => liars.push((place, vec![spec])),
        }
    }
    liars
}

/// A network of four is easier to follow.
pub(super) fn fewer_replicas(search: &mut Search<'_>) {
    for n in [4, 7] {
        if n < search.best.settings.n && search.best.twins.is_empty() && search.change(|plan| lower(plan, n))
        {
            return;
        }
    }
}

fn lower(plan: &mut Plan, n: usize) {
    plan.settings.n = n;
    plan.settings.config.n = n;
    plan.liars.retain(|(place, _)| place.index() < n);
    for submission in &mut plan.submissions {
        submission.place = Place(submission.place.0 % n as u16);
    }
    drop_bodies(plan, n);
    plan.patience = plan.patience.min(liveness_bound(&plan.settings.config));
}

/// Nothing is said any more of bodies that there are no longer.
fn drop_bodies(plan: &mut Plan, bodies: usize) {
    plan.crashes.retain(|crash| crash.body < bodies);
    let rest = plan.singles.iter().filter(|(single, _)| single.from < bodies && single.to < bodies);
    plan.singles = Arc::new(rest.map(|(single, fate)| (*single, *fate)).collect());
    for cut in &mut plan.cuts {
        for ends in [&mut cut.from, &mut cut.to].into_iter().flatten() {
            ends.retain(|body| *body < bodies);
        }
    }
    plan.faults.retain(|(_, fault)| match fault {
        Fault::LinkDown(one, other) | Fault::LinkUp(one, other) | Fault::Reset(one, other, _) => {
            *one < bodies && *other < bodies
        }
        Fault::Crash(body)
        | Fault::CrashFor(body, _)
        | Fault::Restart(body)
        | Fault::Wipe(body)
        | Fault::Disk(body, _)
        | Fault::ClockRate(body, _)
        | Fault::ClockDrift(body, ..)
        | Fault::WallJump(body, _)
        | Fault::Pause(body, _) => *body < bodies,
        _ => true,
    });
}

/// Every attack only where it matters: in one view, at one number.
pub(super) fn narrow_attacks(search: &mut Search<'_>) {
    for which in 0..attacks(&search.best).len() {
        let narrowed = |plan: &Plan, change: &dyn Fn(&mut AttackSpec)| {
            let mut all = attacks(plan);
            change(&mut all[which].1);
            Plan { liars: liars(all), ..plan.clone() }
        };
        let spec = attacks(&search.best)[which].1.clone();
        if spec.when.p.is_some() {
            search.first(vec![narrowed(&search.best, &|spec| spec.when.p = None)]);
        }
        let one = |span: &Option<Span>| matches!(span, Some(Span::Of(list)) if list.len() == 1);
        if !one(&spec.when.views) {
            let plans = (0..4)
                .map(|view| narrowed(&search.best, &|spec| spec.when.views = Some(Span::Of(vec![view]))));
            search.first(plans.collect());
        }
        if !one(&spec.when.numbers) {
            let plans = (1..NARROW).map(|number| {
                narrowed(&search.best, &|spec| spec.when.numbers = Some(Span::Of(vec![number])))
            });
            search.first(plans.collect());
        }
    }
}

/// Settings as they usually are.
pub(super) fn usual_settings(search: &mut Search<'_>) {
    let changes: [fn(&mut Settings, &Settings); 14] = [
        |to, usual| {
            *to = Settings {
                seed: to.seed,
                config: sbft::pbft::Config { plants: to.config.plants, ..usual.config.clone() },
                ..usual.clone()
            }
        },
        |to, usual| (to.sync, to.block_sync, to.validate) = (usual.sync, usual.block_sync, usual.validate),
        |to, usual| to.sync = usual.sync,
        |to, usual| to.block_sync = usual.block_sync,
        |to, usual| to.validate = usual.validate,
        |to, usual| to.restart = usual.restart,
        |to, usual| to.compact_rate = usual.compact_rate,
        |to, usual| to.config.window = usual.config.window,
        |to, usual| to.config.dedup = usual.config.dedup,
        |to, usual| to.config.outstanding = usual.config.outstanding,
        |to, usual| {
            to.config.max_message_count = usual.config.max_message_count;
            to.cut_count = usual.cut_count;
        },
        |to, _| to.cut_count = to.config.max_message_count as usize,
        |to, _| to.sync = (to.sync.1, to.sync.1),
        |to, _| to.block_sync = (to.block_sync.1, to.block_sync.1),
    ];
    let usual = Settings::calm(search.best.settings.seed, search.best.settings.n);
    for change in changes {
        let mut plan = search.best.clone();
        change(&mut plan.settings, &usual);
        if format!("{:?}", plan.settings) != format!("{:?}", search.best.settings) {
            search.first(vec![plan]);
        }
    }
    if search.best.submissions.iter().any(|submission| submission.variant != 0) {
        search.change(|plan| plan.submissions.iter_mut().for_each(|submission| submission.variant = 0));
    }
    let auto = liveness_bound(&search.best.settings.config);
    if search.best.patience != auto {
        search.change(|plan| plan.patience = auto);
    }
    search.change(renumber);
}

/// Envelopes count from zero.
fn renumber(plan: &mut Plan) {
    let mut indexes: Vec<u64> = plan.submissions.iter().map(|submission| submission.index).collect();
    indexes.sort_unstable();
    indexes.dedup();
    for submission in &mut plan.submissions {
        submission.index = indexes.binary_search(&submission.index).unwrap_or(0) as u64;
    }
}

/// Single packets become cuts that people can read, those of one message to several replicas one.
pub(super) fn readable(search: &mut Search<'_>) {
    let mut plan = search.best.clone();
    plan.cuts.extend(rules_of_singles(&plan.singles));
    plan.singles = Arc::default();
    if effective(&plan) > 200 || search.first(vec![plan]).is_none() {
        return;
    }
    let mut at = 0;
    while at < search.best.cuts.len() {
        let first = search.best.cuts[at].clone();
        let is_alike = |other: &Rule| {
            let plain = Rule { to: None, ..other.clone() } == Rule { to: None, ..first.clone() };
            plain && other.left == Some(1) && other.skip == 0
        };
        let (alike, rest): (Vec<Rule>, Vec<Rule>) =
            search.best.cuts.iter().cloned().partition(|cut| is_alike(cut));
        if alike.len() > 1 {
            let mut to: Vec<usize> =
                alike.iter().flat_map(|cut| cut.to.clone().unwrap_or_default()).collect();
            to.sort_unstable();
            to.dedup();
            let merged = |left| {
                let mut plan = search.best.clone();
                plan.cuts.clone_from(&rest);
                plan.cuts.insert(at.min(rest.len()), Rule { to: Some(to.clone()), left, ..first.clone() });
                plan
            };
            search.first(vec![merged(None), merged(Some(alike.len() as u32))]);
        }
        at += 1;
    }
    // A cut for good is easier to read than one for a packet.
    for at in 0..search.best.cuts.len() {
        if search.best.cuts[at].left.is_some() && search.best.cuts[at].skip == 0 {
            search.change(|plan| plan.cuts[at].left = None);
        }
    }
    // What several say about one message becomes one cut.
    let mut at = 0;
    while at < search.best.cuts.len() {
        let first = search.best.cuts[at].clone();
        let is_alike =
            |other: &Rule| Rule { from: None, ..other.clone() } == Rule { from: None, ..first.clone() };
        let (alike, rest): (Vec<Rule>, Vec<Rule>) =
            search.best.cuts.iter().cloned().partition(|cut| is_alike(cut));
        if alike.len() > 1 && first.left.is_none() && first.skip == 0 {
            let mut from: Vec<usize> =
                alike.iter().flat_map(|cut| cut.from.clone().unwrap_or_default()).collect();
            from.sort_unstable();
            from.dedup();
            search.change(|plan| {
                plan.cuts = rest;
                plan.cuts.insert(at.min(plan.cuts.len()), Rule { from: Some(from), ..first });
            });
        }
        at += 1;
    }
    search.shorten(|plan| plan.cuts.clone(), |plan, cuts| plan.cuts = cuts);
    search.shorten(|plan| plan.submissions.clone(), |plan, submissions| plan.submissions = submissions);
}
