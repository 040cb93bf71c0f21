//! Where nothing can be taken off alone: two at once, or one cut in the place of two.

use super::effective;
use super::search::Search;
use super::steps::{attacks, liars};
use crate::network::{Fate, Rule};
use crate::plan::Plan;

/// The first item of each list of a plan, and the end of the last: cuts, faults, crashes, attacks.
fn bounds(plan: &Plan) -> [usize; 5] {
    let mut bounds = [0; 5];
    let lengths = [plan.cuts.len(), plan.faults.len(), plan.crashes.len(), attacks(plan).len()];
    for (nth, length) in lengths.into_iter().enumerate() {
        bounds[nth + 1] = bounds[nth] + length;
    }
    bounds
}

/// The plan without one item, counted over all lists.
fn without(plan: &Plan, item: usize) -> Plan {
    let [_, cuts, faults, crashes, _] = bounds(plan);
    let mut plan = plan.clone();
    if item < cuts {
        plan.cuts.remove(item);
    } else if item < faults {
        plan.faults.remove(item - cuts);
    } else if item < crashes {
        plan.crashes.remove(item - faults);
    } else {
        let mut all = attacks(&plan);
        all.remove(item - crashes);
        plan.liars = liars(all);
    }
    plan
}

/// Two items at once, whatever lists they are in: each may be there only to undo the other.
pub(super) fn pairs(search: &mut Search<'_>) {
    let mut second = 1;
    while second < bounds(&search.best)[4] && !search.is_over() {
        let plans = (0..second).map(|first| without(&without(&search.best, second), first)).collect();
        match search.first(plans) {
            // Whatever comes after has moved down.
            Some(_) => second = second.saturating_sub(1).max(1),
            None => second += 1,
        }
    }
}

/// One cut that covers two: it may be wider than both.
pub(super) fn cuts(search: &mut Search<'_>) {
    let mut second = 1;
    while second < search.best.cuts.len() && !search.is_over() {
        let merged = |first: usize| {
            let cuts = &search.best.cuts;
            let cover = cover(&cuts[first], &cuts[second])?;
            let mut plan = search.best.clone();
            plan.cuts.remove(second);
            plan.cuts[first] = cover;
            (effective(&plan) < effective(&search.best)).then_some(plan)
        };
        let plans = (0..second).filter_map(merged).collect();
        match search.first(plans) {
            Some(_) => second = second.saturating_sub(1).max(1),
            None => second += 1,
        }
    }
}

/// The narrowest cut for good that takes what these two take; none if they do different things.
fn cover(one: &Rule, other: &Rule) -> Option<Rule> {
    let fate = match (one.fate, other.fate) {
        (Fate::Delay(one), Fate::Delay(other)) => Fate::Delay(one.max(other)),
        (one, other) if one == other => one,
        _ => return None,
    };
    if one.kinds != other.kinds {
        return None;
    }
    let both = |one: &Option<Vec<usize>>, other: &Option<Vec<usize>>| {
        let mut both = [one.clone()?, other.clone()?].concat();
        both.sort_unstable();
        both.dedup();
        Some(both)
    };
    Some(Rule {
        from: both(&one.from, &other.from),
        to: both(&one.to, &other.to),
        kinds: one.kinds.clone(),
        view: one.view.filter(|view| other.view == Some(*view)),
        number: one.number.filter(|number| other.number == Some(*number)),
        fate,
        ..Rule::default()
    })
}
