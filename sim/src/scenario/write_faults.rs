//! `[[faults]]` and `[[cuts]]` of a file that is written.

use std::time::Duration;

use sbft::types::Place;

use super::units::Who;
use super::write::{Table, changes, string, time};
use crate::network::{Conditions, Fate, Partition, Shape, rules_of_singles};
use crate::plan::{CrashAt, Moment, Plan};
use crate::world::Fault;

/// The bodies of a plan, and what a file calls them.
pub(super) struct Bodies {
    n: usize,
    twins: Vec<Place>,
}

impl Bodies {
    pub(super) fn of(plan: &Plan) -> Self {
        Self { n: plan.settings.n, twins: plan.twins.clone() }
    }

    fn one(&self, body: usize) -> String {
        let twin = body.checked_sub(self.n).and_then(|at| self.twins.get(at));
        twin.map_or(Who { place: body as u16, twin: false }, |place| Who { place: place.0, twin: true })
            .to_string()
    }

    fn some(&self, bodies: &[usize]) -> String {
        if bodies.is_empty() {
            return "\"none\"".to_owned();
        }
        let names: Vec<String> = bodies.iter().map(|body| self.one(*body)).collect();
        format!("[{}]", names.join(", "))
    }

    /// Those of a mask that there are.
    fn of_mask(&self, mask: u64) -> Vec<usize> {
        (0..self.n + self.twins.len()).filter(|body| mask >> body & 1 == 1).collect()
    }

    fn mask(&self, mask: u64) -> String {
        let bodies = self.of_mask(mask);
        if bodies.len() == self.n + self.twins.len() { "\"all\"".to_owned() } else { self.some(&bodies) }
    }
}

pub(super) fn faults(plan: &Plan, bodies: &Bodies, out: &mut String) {
    for crash in &plan.crashes {
        crash_at(crash, bodies).end(out);
    }
    let mut ended = vec![false; plan.faults.len()];
    for (nth, (at, fault)) in plan.faults.iter().enumerate() {
        // Healing is a key of [run].
        if ended[nth] || matches!(fault, Fault::Heal) {
            continue;
        }
        let mut table = Table::new("[[faults]]");
        table.key("at", time(at.0));
        // What another entry of the plan ends is one entry of the file.
        if let Some(end) = end_of(plan, nth, &ended) {
            ended[end] = true;
            one(fault, bodies, &mut table);
            table.key("for", time(plan.faults[end].0.since(*at)));
        } else {
            one(fault, bodies, &mut table);
        }
        table.end(out);
    }
}

/// The entry that ends this one, if there is one just like it.
fn end_of(plan: &Plan, nth: usize, ended: &[bool]) -> Option<usize> {
    let (at, fault) = &plan.faults[nth];
    let usual = &plan.settings.conditions;
    plan.faults.iter().enumerate().position(|(which, (until, other))| {
        which > nth && !ended[which] && until >= at && ends(fault, other, usual)
    })
}

fn ends(fault: &Fault, end: &Fault, usual: &Conditions) -> bool {
    match (fault, end) {
        (Fault::Cut(from, to), Fault::Mend(from_end, to_end)) => (from, to) == (from_end, to_end),
        (Fault::LinkDown(one, other), Fault::LinkUp(one_end, other_end)) => {
            (one, other) == (one_end, other_end)
        }
        (Fault::LinkConditions(from, to, Some(_)), Fault::LinkConditions(from_end, to_end, None)) => {
            (from, to) == (from_end, to_end)
        }
        (Fault::Conditions(new), Fault::Conditions(end)) => **end == *usual && **new != *usual,
        _ => false,
    }
}

fn one(fault: &Fault, bodies: &Bodies, table: &mut Table) {
    let mut kind = |kind: &str, keys: &[(&str, String)]| {
        table.key("kind", string(kind));
        for (key, value) in keys {
            table.key(key, value);
        }
    };
    let ends = |from: u64, to: u64| [("from", bodies.mask(from)), ("to", bodies.mask(to))];
    let link = |one: usize, other: usize| ("link", bodies.some(&[one, other]));
    let replica = |body: usize| ("replica", bodies.one(body));
    let lasts = |lasts: Duration| ("for", time(lasts));
    match fault {
        Fault::Cut(from, to) => kind("cut", &ends(*from, *to)),
        Fault::Mend(from, to) => kind("mend", &ends(*from, *to)),
        Fault::LinkDown(one, other) => kind("link-down", &[link(*one, *other)]),
        Fault::LinkUp(one, other) => kind("link-up", &[link(*one, *other)]),
        Fault::Crash(body) => kind("crash", &[replica(*body)]),
        Fault::CrashFor(body, down) => kind("crash", &[replica(*body), lasts(*down)]),
        Fault::Restart(body) => kind("restart", &[replica(*body)]),
        Fault::Wipe(body) => kind("wipe", &[replica(*body)]),
        Fault::Disk(body, fault) => kind("disk", &[replica(*body), ("what", string(fault.name()))]),
        Fault::Conditions(new) => kind("network", &[("network", inline(new))]),
        Fault::LinkConditions(from, to, new) => {
            let [from, to] = ends(*from, *to);
            match new {
                Some(new) => kind("network", &[("network", inline(new)), from, to]),
                None => kind("network", &[from, to]),
            }
        }
        Fault::Partition(partition) => self::partition(partition, bodies, table),
        Fault::Reset(one, other, down) => kind("reset", &[link(*one, *other), lasts(*down)]),
        Fault::Clog(from, to, until) => {
            let [from, to] = ends(*from, *to);
            kind("clog", &[from, to, lasts(*until)]);
        }
        Fault::ClockRate(body, ppm) => kind("clock", &[replica(*body), ("rate_ppm", ppm.to_string())]),
        Fault::ClockDrift(body, most, every) => {
            kind("clock", &[replica(*body), ("drift_ppm", most.to_string()), ("every", time(*every))]);
        }
        Fault::WallJump(body, millis) => {
            kind("clock", &[replica(*body), ("wall_jump_ms", millis.to_string())]);
        }
        Fault::Pause(body, frozen) => kind("pause", &[replica(*body), lasts(*frozen)]),
        Fault::Heal => {}
    }
}

fn partition(partition: &Partition, bodies: &Bodies, table: &mut Table) {
    let mut kind = |kind: &str, keys: &[(&str, String)]| {
        table.key("kind", string(kind));
        for (key, value) in keys {
            table.key(key, value);
        }
    };
    match &partition.shape {
        Shape::Split { groups, one_way } => {
            let groups: Vec<String> =
                groups.iter().map(|group| bodies.some(&bodies.of_mask(*group))).collect();
            kind("partition", &[("groups", format!("[{}]", groups.join(", ")))]);
            if *one_way {
                table.key("one_way", true);
            }
        }
        Shape::Isolate(mask) => kind("isolate", &[("replicas", bodies.mask(*mask))]),
        Shape::OneWay { from, to } => {
            kind("one-way", &[("from", bodies.mask(*from)), ("to", bodies.mask(*to))]);
        }
        Shape::Bridge { over, left } => {
            kind("bridge", &[("over", bodies.one(*over)), ("left", bodies.mask(*left))]);
        }
        Shape::Ring => kind("ring", &[]),
        Shape::Swizzle(mask) => kind("swizzle", &[("replicas", bodies.mask(*mask))]),
    }
    if let Some((on, off)) = partition.flapping {
        table.key("flapping", format!("{{ on = {}, off = {} }}", time(on), time(off)));
    }
    if partition.noticed {
        table.key("noticed", true);
    }
    table.key("for", time(partition.lasts));
}

fn inline(conditions: &Conditions) -> String {
    let keys: Vec<String> =
        changes(conditions, None).into_iter().map(|(key, value)| format!("{key} = {value}")).collect();
    format!("{{ {} }}", keys.join(", "))
}

fn crash_at(crash: &CrashAt, bodies: &Bodies) -> Table {
    let mut on = vec![format!("replica = {}", bodies.one(crash.body))];
    match &crash.moment {
        Moment::Output(output) => on.push(format!("output = {output}")),
        Moment::Send { kind, view, number, after } => {
            on.push(format!("send = {}", string(&kind.to_string())));
            on.extend(view.map(|view| format!("view = {}", view.0)));
            on.extend(number.map(|number| format!("number = {}", number.0)));
            if *after {
                on.push("after = true".to_owned());
            }
        }
    }
    let mut table = Table::new("[[faults]]");
    table.key("on", format!("{{ {} }}", on.join(", ")));
    table.key("kind", "\"crash\"");
    if let Some(down_for) = crash.down_for {
        table.key("for", time(down_for));
    }
    table
}

pub(super) fn cuts(plan: &Plan, bodies: &Bodies, out: &mut String) {
    let singles = rules_of_singles(&plan.singles);
    for rule in plan.cuts.iter().chain(&singles) {
        let mut table = Table::new("[[cuts]]");
        match rule.kinds.as_deref() {
            Some([kind]) => table.key("phase", string(&kind.to_string())),
            Some(kinds) => {
                let names: Vec<String> = kinds.iter().map(|kind| string(&kind.to_string())).collect();
                table.key("phase", format!("[{}]", names.join(", ")));
            }
            None => {}
        }
        if let Some(view) = rule.view {
            table.key("view", view.0);
        }
        if let Some(number) = rule.number {
            table.key("number", number.0);
        }
        if let Some(from) = &rule.from {
            table.key("from", bodies.some(from));
        }
        if let Some(to) = &rule.to {
            table.key("to", bodies.some(to));
        }
        if rule.skip > 0 {
            table.key("skip", rule.skip);
        }
        if let Some(left) = rule.left {
            table.key("times", left);
        }
        match rule.fate {
            // A cut that takes nothing away is not written.
            Fate::Pass => continue,
            Fate::Drop => {}
            Fate::Delay(delay) => table.key("delay", time(delay)),
            Fate::Copy { delay, later } => {
                if let Some(delay) = delay {
                    table.key("delay", time(delay));
                }
                table.key("copy_after", time(later));
            }
        }
        table.end_always(out);
    }
}
