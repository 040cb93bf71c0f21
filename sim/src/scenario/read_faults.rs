//! `[[faults]]` and `[[cuts]]`: what breaks, and when.

use std::time::Duration;

use sbft::types::{Number, Time, View};

use super::context::Entry;
use super::error::ScenarioError;
use super::file::{CutTable, FaultTable, OnTable, Phases};
use super::read_network;
use super::units::Span;
use crate::clock::MOST_PPM;
use crate::disk::DiskFault;
use crate::network::{Conditions, Fate, Kind, Partition, Rule, Shape};
use crate::plan::{CrashAt, Moment, Plan};
use crate::world::Fault;

/// The kinds of faults, with the keys that each may have besides `at` and `kind`.
const KINDS: [(&str, &[&str]); 19] = [
    ("partition", &["groups", "one_way", "for", "flapping", "noticed"]),
    ("isolate", &["replica", "replicas", "for", "flapping", "noticed"]),
    ("one-way", &["from", "to", "for", "flapping", "noticed"]),
    ("bridge", &["over", "left", "for", "flapping", "noticed"]),
    ("ring", &["for", "flapping", "noticed"]),
    ("swizzle", &["replicas", "for", "flapping", "noticed"]),
    ("cut", &["from", "to", "for"]),
    ("mend", &["from", "to"]),
    ("link-down", &["link", "for"]),
    ("link-up", &["link"]),
    ("reset", &["link", "for"]),
    ("clog", &["from", "to", "for"]),
    ("crash", &["on", "replica", "replicas", "for"]),
    ("restart", &["replica", "replicas"]),
    ("wipe", &["replica"]),
    ("disk", &["replica", "what"]),
    ("network", &["network", "from", "to", "for"]),
    ("clock", &["replica", "replicas", "rate_ppm", "drift_ppm", "every", "wall_jump_ms"]),
    ("pause", &["replica", "replicas", "for"]),
];

/// One entry of `[[faults]]` goes into the plan.
pub(super) fn fault(table: FaultTable, entry: &Entry<'_>, plan: &mut Plan) -> Result<(), ScenarioError> {
    let kind = entry.need("kind", table.kind.clone(), "kind = \"crash\"")?;
    let Some((_, allowed)) = KINDS.iter().find(|(name, _)| *name == kind) else {
        let names: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
        return Err(
            entry.wrong("kind", format!("no fault is called `{kind}`; there are: {}", names.join(", ")))
        );
    };
    if let Some(key) =
        table.keys().into_iter().find(|key| !["at", "kind"].contains(key) && !allowed.contains(key))
    {
        let text =
            format!("`{key}` means nothing for a fault of kind `{kind}`; its keys: {}", allowed.join(", "));
        return Err(entry.wrong(key, text));
    }
    if let Some(on) = &table.on {
        return crash_on(&table, on, entry, plan);
    }
    let at = Time(entry.need("at", table.at, "at = \"1.2s\"")?.0);
    if at > plan.heal_at {
        let text = format!(
            "{} is after the network heals at {}; raise `chaos` in [run]",
            Span(at.0),
            Span(plan.heal_at.0)
        );
        return Err(entry.wrong("at", text));
    }
    let lasting = table.lasting.map(|lasting| lasting.0);
    let until = lasting.map(|lasting| at.after(lasting));
    let mut add = |at: Time, fault: Fault| plan.faults.push((at, fault));
    match kind.as_str() {
        "cut" | "mend" => {
            let (from, to) = ends(&table, entry)?;
            add(at, if kind == "cut" { Fault::Cut(from, to) } else { Fault::Mend(from, to) });
            until.into_iter().for_each(|until| add(until, Fault::Mend(from, to)));
        }
        "link-down" | "link-up" => {
            let (one, other) = link(&table, entry)?;
            add(
                at,
                if kind == "link-down" { Fault::LinkDown(one, other) } else { Fault::LinkUp(one, other) },
            );
            until.into_iter().for_each(|until| add(until, Fault::LinkUp(one, other)));
        }
        "reset" => {
            let (one, other) = link(&table, entry)?;
            add(at, Fault::Reset(one, other, lasting.unwrap_or(Duration::from_millis(1))));
        }
        "clog" => {
            let (from, to) = ends(&table, entry)?;
            add(at, Fault::Clog(from, to, entry.need("for", lasting, "for = \"300ms\"")?));
        }
        "crash" => {
            for body in who(&table, entry)? {
                add(at, lasting.map_or(Fault::Crash(body), |lasting| Fault::CrashFor(body, lasting)));
            }
        }
        "restart" => who(&table, entry)?.into_iter().for_each(|body| add(at, Fault::Restart(body))),
        "disk" => {
            let what = entry.need("what", table.what.clone(), "what = \"log-rot\"")?;
            let Some(fault) = DiskFault::named(&what) else {
                let names: Vec<&str> = DiskFault::NAMES.iter().map(|(_, name)| *name).collect();
                let text = format!("no disk fault is called `{what}`; there are: {}", names.join(", "));
                return Err(entry.wrong("what", text));
            };
            who(&table, entry)?.into_iter().for_each(|body| add(at, Fault::Disk(body, fault)));
        }
        "wipe" => who(&table, entry)?.into_iter().for_each(|body| add(at, Fault::Wipe(body))),
        "pause" => {
            let lasting = entry.need("for", lasting, "for = \"300ms\"")?;
            who(&table, entry)?.into_iter().for_each(|body| add(at, Fault::Pause(body, lasting)));
        }
        "clock" => {
            for body in who(&table, entry)? {
                add(at, clock(&table, entry, body)?);
            }
        }
        "network" => network(&table, entry, at, until, plan)?,
        _ => {
            let shape = shape(&kind, &table, entry)?;
            let flapping = table.flapping.map(|flapping| (flapping.on.0, flapping.off.0));
            if flapping.is_some_and(|(on, off)| on.min(off) < Duration::from_millis(1)) {
                return Err(entry.wrong("flapping", "`on` and `off` must be 1ms or more each"));
            }
            let lasts = lasting.unwrap_or_else(|| plan.heal_at.since(at));
            let noticed = table.noticed.unwrap_or(false);
            plan.faults.push((at, Fault::Partition(Box::new(Partition { shape, flapping, lasts, noticed }))));
        }
    }
    Ok(())
}

fn shape(kind: &str, table: &FaultTable, entry: &Entry<'_>) -> Result<Shape, ScenarioError> {
    Ok(match kind {
        "partition" => {
            let groups = entry.need("groups", table.groups.clone(), "groups = [[0, 1], [2, 3]]")?;
            let mut masks = Vec::new();
            if groups.len() < 2 {
                let text = "give two groups or more, such as [[0, 1], [2, 3]]; who is in none hears all";
                return Err(entry.wrong("groups", text));
            }
            for group in groups {
                let mask = entry.mask("groups", group)?;
                if masks.iter().any(|other| other & mask != 0) {
                    return Err(entry.wrong("groups", "a replica is in two groups"));
                }
                masks.push(mask);
            }
            Shape::Split { groups: masks, one_way: table.one_way.unwrap_or(false) }
        }
        "isolate" | "swizzle" => {
            let mask = who(table, entry)?.into_iter().fold(0, |mask, body| mask | 1 << body);
            if kind == "isolate" { Shape::Isolate(mask) } else { Shape::Swizzle(mask) }
        }
        "one-way" => {
            let (from, to) = ends(table, entry)?;
            Shape::OneWay { from, to }
        }
        "bridge" => {
            let over = entry.need("over", table.over, "over = 2")?;
            let left = entry.need("left", table.left.clone(), "left = [0]")?;
            Shape::Bridge { over: entry.body("over", over)?, left: entry.mask("left", left)? }
        }
        _ => Shape::Ring,
    })
}

fn network(
    table: &FaultTable,
    entry: &Entry<'_>,
    at: Time,
    until: Option<Time>,
    plan: &mut Plan,
) -> Result<(), ScenarioError> {
    let usual = plan.settings.conditions.clone();
    if table.network.is_none() && table.from.is_some() {
        // As all other links again.
        let (from, to) = ends(table, entry)?;
        plan.faults.push((at, Fault::LinkConditions(from, to, None)));
        return Ok(());
    }
    let given = entry.need("network", table.network.as_ref(), "network = { loss = 0.3 }")?;
    let new = conditions(given, &usual, entry)?;
    if table.from.is_none() && table.to.is_none() {
        plan.faults.push((at, Fault::Conditions(Box::new(new))));
        plan.faults.extend(until.map(|until| (until, Fault::Conditions(Box::new(usual)))));
    } else {
        let (from, to) = ends(table, entry)?;
        plan.faults.push((at, Fault::LinkConditions(from, to, Some(Box::new(new)))));
        plan.faults.extend(until.map(|until| (until, Fault::LinkConditions(from, to, None))));
    }
    Ok(())
}

fn conditions(
    given: &super::file::NetworkTable,
    usual: &Conditions,
    entry: &Entry<'_>,
) -> Result<Conditions, ScenarioError> {
    read_network::conditions(given, usual, &|key, text| entry.wrong("network", format!("{key}: {text}")))
}

fn clock(table: &FaultTable, entry: &Entry<'_>, body: usize) -> Result<Fault, ScenarioError> {
    match (table.rate_ppm, table.drift_ppm, table.wall_jump_ms) {
        (Some(ppm), None, None) if ppm.unsigned_abs() <= MOST_PPM.unsigned_abs() => {
            Ok(Fault::ClockRate(body, ppm))
        }
        (None, Some(most), None) if most <= MOST_PPM.unsigned_abs() => {
            let every = table.every.map_or(Duration::from_millis(100), |every| every.0);
            if every < Duration::from_millis(1) {
                return Err(entry.wrong("every", "must be 1ms or more"));
            }
            Ok(Fault::ClockDrift(body, most, every))
        }
        (None, None, Some(millis)) => Ok(Fault::WallJump(body, millis)),
        (Some(_), None, None) | (None, Some(_), None) => {
            let key = if table.rate_ppm.is_some() { "rate_ppm" } else { "drift_ppm" };
            Err(entry.wrong(key, format!("a clock may be off by {MOST_PPM} millionths at most")))
        }
        _ => Err(entry.lacks(
            "a clock fault has exactly one of `rate_ppm` (5000 is half a percent fast), `drift_ppm` and `wall_jump_ms`",
        )),
    }
}

fn crash_on(
    table: &FaultTable,
    on: &OnTable,
    entry: &Entry<'_>,
    plan: &mut Plan,
) -> Result<(), ScenarioError> {
    if let Some(key) = ["at", "replica", "replicas"].into_iter().find(|key| table.keys().contains(key)) {
        return Err(entry.wrong(key, "a fault has `at` and `replica`, or `on`, and not both"));
    }
    let who = entry.need("on.replica", on.replica, "on = { replica = 2, output = 17 }")?;
    let moment = match (on.output, &on.send) {
        (Some(0), _) => return Err(entry.wrong("on", "outputs count from 1")),
        (Some(output), None) => {
            if let Some(key) = on.keys().into_iter().find(|key| ["view", "number", "after"].contains(key)) {
                return Err(entry.wrong("on", format!("`{key}` goes with `send`, not with `output`")));
            }
            Moment::Output(output)
        }
        (None, Some(send)) => Moment::Send {
            kind: kind_named(send).map_err(|text| entry.wrong("on", text))?,
            view: on.view.map(View),
            number: on.number.map(Number),
            after: on.after.unwrap_or(false),
        },
        _ => {
            return Err(entry.wrong(
                "on",
                "say at what: `output = 17` (its 17th output) or `send = \"commit\"` (with `view`, `number`, `after`)",
            ));
        }
    };
    let down_for = table.lasting.map(|lasting| lasting.0);
    plan.crashes.push(CrashAt { body: entry.body("on", who)?, moment, down_for });
    Ok(())
}

fn who(table: &FaultTable, entry: &Entry<'_>) -> Result<Vec<usize>, ScenarioError> {
    match (table.replica, &table.replicas) {
        (Some(one), None) => Ok(vec![entry.body("replica", one)?]),
        (None, Some(some)) => entry.bodies("replicas", some.clone()),
        (Some(_), Some(_)) => Err(entry.wrong("replicas", "give `replica` or `replicas`, not both")),
        (None, None) => Err(entry.lacks("`replica` is missing; for example replica = 2")),
    }
}

fn ends(table: &FaultTable, entry: &Entry<'_>) -> Result<(u64, u64), ScenarioError> {
    let from = entry.need("from", table.from.clone(), "from = [0]")?;
    let to = entry.need("to", table.to.clone(), "to = [1, 2]")?;
    Ok((entry.mask("from", from)?, entry.mask("to", to)?))
}

fn link(table: &FaultTable, entry: &Entry<'_>) -> Result<(usize, usize), ScenarioError> {
    let ends = entry.need("link", table.link.clone(), "link = [0, 2]")?;
    let [one, other] = ends[..] else {
        let text = format!("{} ends; a link has two, such as [0, 2]", ends.len());
        return Err(entry.wrong("link", text));
    };
    let (one, other) = (entry.body("link", one)?, entry.body("link", other)?);
    if one == other {
        return Err(entry.wrong("link", "a link has two different ends"));
    }
    Ok((one, other))
}

/// One entry of `[[cuts]]`.
pub(super) fn cut(table: CutTable, entry: &Entry<'_>) -> Result<Rule, ScenarioError> {
    let says_which = ["phase", "view", "number", "from", "to", "only_to"];
    if !table.keys().iter().any(|key| says_which.contains(key)) {
        return Err(entry.lacks(format!("say which packets: one or more of {}", says_which.join(", "))));
    }
    let kinds = match table.phase {
        None => None,
        Some(Phases::One(name)) => Some(vec![name]),
        Some(Phases::Some(names)) if names.is_empty() => {
            let text = "an empty list means no message; name some, such as [\"prepare\", \"commit\"]";
            return Err(entry.wrong("phase", text));
        }
        Some(Phases::Some(names)) => Some(names),
    };
    if table.times == Some(0) {
        return Err(entry.wrong("times", "a cut that takes nothing; give 1 or more, or leave it out for all"));
    }
    let kinds = kinds
        .map(|names| names.iter().map(|name| kind_named(name)).collect::<Result<Vec<Kind>, _>>())
        .transpose()
        .map_err(|text| entry.wrong("phase", text))?;
    let from = table.from.map(|from| entry.bodies("from", from)).transpose()?;
    let to = match (table.to, table.only_to) {
        (Some(_), Some(_)) => {
            return Err(
                entry.wrong("only_to", "give `to` (who does not get it) or `only_to` (who alone does)")
            );
        }
        (Some(to), None) => Some(entry.bodies("to", to)?),
        (None, Some(only)) => {
            let only = entry.bodies("only_to", only)?;
            let others: Vec<usize> =
                (0..entry.context.bodies()).filter(|body| !only.contains(body)).collect();
            if others.is_empty() {
                return Err(entry.wrong("only_to", "everybody gets it, so nothing is cut; leave some out"));
            }
            Some(others)
        }
        (None, None) => None,
    };
    let fate = match (table.delay, table.copy_after) {
        (None, None) => Fate::Drop,
        (Some(delay), None) => Fate::Delay(delay.0),
        (delay, Some(later)) => Fate::Copy { delay: delay.map(|delay| delay.0), later: later.0 },
    };
    Ok(Rule {
        from,
        to,
        kinds,
        view: table.view.map(View),
        number: table.number.map(Number),
        skip: table.skip.unwrap_or(0),
        left: table.times,
        fate,
    })
}

fn kind_named(name: &str) -> Result<Kind, String> {
    let known = Kind::NAMES.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind);
    known.ok_or_else(|| {
        let names: Vec<&str> = Kind::NAMES.iter().map(|(_, name)| *name).collect();
        format!("no message is called `{name}`; there are: {}", names.join(", "))
    })
}
