//! From a scenario file to the plan of a run.

use std::collections::BTreeMap;
use std::time::Duration;

use sbft::plant::Plant;
use sbft::types::{Place, Time};
use toml::Spanned;

use super::context::Context;
use super::error::ScenarioError;
use super::file::{
    Cluster, Deadline, Disk, ExpectTable, File, LiarTable, Replicas, Restart, SignaturesForm, Submit, Way,
    Whom, Workload,
};
use super::units::{Sizes, Span};
use super::{Scenario, read_faults, read_network};
use crate::byzantine::{self, AttackSpec, Liar};
use crate::channel::Signatures;
use crate::checks::CHECKS;
use crate::disk;
use crate::expect::Expect;
use crate::plan::{Plan, Submission, liveness_bound};
use crate::violation;
use crate::world::Settings;

/// Places and bodies are in masks of 64 bits, and all replicas may have twins.
const MOST_REPLICAS: usize = 31;
/// A run with more would not end within a minute.
const MOST_SUBMISSIONS: u64 = 100_000;
/// No run is longer: with nothing going on at all four replicas send each other half a million statuses
/// in this time, and who looks for a bug finds it sooner in many short runs.
const LONGEST: Duration = Duration::from_secs(3600);
/// When the network heals if nothing says so, and nothing happens later.
const CHAOS: Duration = Duration::from_secs(2);

/// Reads a scenario.
pub(super) fn scenario(text: &str) -> Result<Scenario, ScenarioError> {
    let file: File = toml::from_str(text).map_err(|error| ScenarioError::of_toml(&error, text))?;
    let n = file.cluster.n.unwrap_or(4);
    let twins = twins(&file.byzantine);
    let context = Context { text, n, twins };
    if !(1..=MOST_REPLICAS).contains(&n) {
        return Err(context.in_section("cluster", "n", format!("{n} replicas; give 1 to {MOST_REPLICAS}")));
    }
    let mut settings = Settings::calm(file.run.seed.unwrap_or(1), n);
    cluster(&file.cluster, &mut settings, &context)?;
    machines(&file.disk, &file.replicas, &mut settings, &context)?;
    settings.conditions = read_network::conditions(&file.network, &settings.conditions, &|key, text| {
        context.in_section("network", key, text)
    })?;
    settings.signatures = match file.run.signatures {
        Some(SignaturesForm::Ed25519) => Signatures::Ed25519,
        Some(SignaturesForm::Ecdsa) => Signatures::Ecdsa,
        Some(SignaturesForm::Simulated) | None => Signatures::Simulated,
    };
    let heal_at = file.run.chaos.map_or_else(|| heal_at(&file), |chaos| Time(chaos.0));
    let too_long = |key: &str, what: &str, length: Duration| {
        let (length, longest) = (Span(length), Span(LONGEST));
        context.in_section(
            "run",
            key,
            format!("{what} {length}; {longest} is the longest, since a run takes real time too"),
        )
    };
    if file.run.chaos.is_some() && heal_at.0 > LONGEST {
        return Err(too_long("chaos", "the network would heal after", heal_at.0));
    }
    if let Some(Deadline::After(Span(deadline))) = file.run.deadline
        && deadline > LONGEST
    {
        return Err(too_long("deadline", "a stall would be noticed after", deadline));
    }
    let mut plan = Plan::quiet(settings, heal_at);
    plan.patience = match file.run.deadline {
        Some(Deadline::After(span)) => span.0,
        Some(Deadline::Auto) | None => liveness_bound(&plan.settings.config),
    };
    plan.twins.clone_from(&context.twins);
    if let Some(workload) = &file.workload {
        sizes(workload, &context, &mut plan.settings)?;
        generated(workload, &context, &mut plan.submissions)?;
    }
    for (nth, submit) in file.submit.into_iter().enumerate() {
        explicit(submit, nth, &context, &mut plan.submissions)?;
    }
    if heal_at.0 > LONGEST {
        let what = "must be given, for what the faults speak of goes on until";
        return Err(too_long("chaos", what, heal_at.0));
    }
    for (nth, liar) in file.byzantine.into_iter().enumerate() {
        self::liar(liar, nth, &context, &mut plan)?;
    }
    for (nth, fault) in file.faults.into_iter().enumerate() {
        let entry = context.entry("faults", nth, fault.span());
        read_faults::fault(fault.into_inner(), &entry, &mut plan)?;
    }
    for (nth, cut) in file.cuts.into_iter().enumerate() {
        let entry = context.entry("cuts", nth, cut.span());
        plan.cuts.push(read_faults::cut(cut.into_inner(), &entry)?);
    }
    plan.expect = expect(file.expect, &context)?;
    Ok(Scenario { name: file.name, about: file.about, plan })
}

fn cluster(table: &Cluster, settings: &mut Settings, context: &Context<'_>) -> Result<(), ScenarioError> {
    let config = &mut settings.config;
    let set = |target: &mut u64, value: Option<u64>, key: &str| match value {
        Some(0) => Err(context.in_section("cluster", key, "must be 1 or more")),
        Some(value) => {
            *target = value;
            Ok(())
        }
        None => Ok(()),
    };
    set(&mut config.window, table.window, "window")?;
    set(&mut config.dedup.blocks, table.dedup_blocks, "dedup_blocks")?;
    config.dedup.envelopes = table.dedup_envelopes.unwrap_or(config.dedup.envelopes);
    if let Some(outstanding) = table.outstanding {
        config.outstanding = outstanding;
        set(&mut 0, Some(outstanding as u64), "outstanding")?;
    }
    if let Some(factor) = table.slow_primary_factor {
        config.slow_primary_factor = factor;
        set(&mut 0, Some(u64::from(factor)), "slow_primary_factor")?;
    }
    if let Some(count) = table.batch.max_message_count {
        config.max_message_count = count;
        set(&mut 0, Some(u64::from(count)), "batch")?;
    }
    set(&mut config.preferred_max_bytes, table.batch.preferred_max_bytes.map(|size| size.0), "batch")?;
    set(&mut config.absolute_max_bytes, table.batch.absolute_max_bytes.map(|size| size.0), "batch")?;
    let timeouts = &table.timeouts;
    for (target, value) in [
        (&mut config.forward_timeout, timeouts.forward),
        (&mut config.complain_timeout, timeouts.complain),
        (&mut config.view_change_timeout, timeouts.view_change),
        (&mut config.view_change_timeout_cap, timeouts.cap),
        (&mut config.status_interval, timeouts.status),
    ] {
        let Some(Span(value)) = value else { continue };
        if value < Duration::from_millis(1) {
            return Err(context.in_section("cluster", "timeouts", "a timeout must be 1ms or more"));
        }
        *target = value;
    }
    if config.view_change_timeout_cap < config.view_change_timeout {
        return Err(context.in_section("cluster", "timeouts", "`cap` is shorter than `view_change`"));
    }
    for name in &table.plants {
        let plant: Plant =
            name.as_ref().parse().map_err(|text: sbft::plant::UnknownPlant| ScenarioError {
                line: super::error::line_of(context.text, &name.span()),
                ..context.in_section("cluster", "plants", text.to_string())
            })?;
        config.plants = config.plants.with(plant);
    }
    Ok(())
}

fn machines(
    disk: &Disk,
    replicas: &Replicas,
    settings: &mut Settings,
    context: &Context<'_>,
) -> Result<(), ScenarioError> {
    if let Some(sync) = disk.sync {
        settings.sync = (sync.0, sync.1);
    }
    if let Some(sync) = disk.block_sync {
        settings.block_sync = (sync.0, sync.1);
    }
    settings.compact_rate = disk.compact.map_or(settings.compact_rate, |p| p.0);
    if let Some(check) = replicas.check {
        settings.validate = (check.0, check.1);
    }
    settings.crash_rate = replicas.crash_rate.map_or(settings.crash_rate, |p| p.0);
    let most = settings.config.max_message_count as usize;
    match replicas.cut_count {
        Some(count) if count == 0 || count > most => {
            let text = format!("give 1 to {most} (max_message_count)");
            return Err(context.in_section("replicas", "cut_count", text));
        }
        Some(count) => settings.cut_count = count,
        None => settings.cut_count = settings.cut_count.min(most),
    }
    settings.batch_timeout = replicas.batch_timeout.map_or(settings.batch_timeout, |timeout| timeout.0);
    match replicas.pool {
        Some(0) => return Err(context.in_section("replicas", "pool", "must be 1 or more")),
        Some(pool) => settings.pool = pool,
        None => {}
    }
    match replicas.restart {
        Some(Restart::Never(_)) => settings.restarts = false,
        Some(Restart::After(between)) => settings.restart = (between.0, between.1),
        None => {}
    }
    Ok(())
}

/// When everything that the file speaks of has happened.
fn heal_at(file: &File) -> Time {
    let faults = file.faults.iter().map(|fault| {
        let fault = fault.as_ref();
        fault.at.unwrap_or_default().0 + fault.lasting.unwrap_or_default().0
    });
    let workload = file.workload.iter().filter_map(|workload| workload.until).map(|until| until.0);
    let submits = file.submit.iter().map(|submit| submit.as_ref().at.0);
    Time(faults.chain(workload).chain(submits).fold(CHAOS, Duration::max))
}

/// To which places the `nth` envelope of a client goes.
fn receivers(whom: Option<&Whom>, n: usize, client: u64, nth: u64) -> Vec<Place> {
    let place = |which: u64| Place((which % n as u64) as u16);
    match whom {
        None | Some(Whom::Way(Way::RoundRobin)) => vec![place(client + nth)],
        Some(Whom::Way(Way::One)) => vec![place(client)],
        Some(Whom::Way(Way::All)) => (0..n as u64).map(place).collect(),
        Some(Whom::Place(one)) => vec![Place(*one)],
        Some(Whom::Places(some)) => some.iter().copied().map(Place).collect(),
    }
}

fn known_places(whom: Option<&Whom>, n: usize) -> Result<(), String> {
    if matches!(whom, Some(Whom::Places(some)) if some.is_empty()) {
        let text = "an empty list means nobody; name replicas, such as [0, 2], or leave the key out";
        return Err(text.to_owned());
    }
    let named: &[u16] = match whom {
        Some(Whom::Place(one)) => std::slice::from_ref(one),
        Some(Whom::Places(some)) => some,
        _ => &[],
    };
    match named.iter().find(|place| usize::from(**place) >= n) {
        Some(place) => Err(format!("there is no replica {place}; the places are 0 to {}", n - 1)),
        None => Ok(()),
    }
}

fn sizes(table: &Workload, context: &Context<'_>, settings: &mut Settings) -> Result<(), ScenarioError> {
    let Some(Sizes(least, most)) = table.size else { return Ok(()) };
    let limit = settings.config.absolute_max_bytes;
    if most > limit {
        let text =
            format!("every replica would refuse {most} bytes; absolute_max_bytes of the batch is {limit}");
        return Err(context.in_section("workload", "size", text));
    }
    settings.envelope_bytes = (least, most);
    Ok(())
}

fn generated(
    table: &Workload,
    context: &Context<'_>,
    submissions: &mut Vec<Submission>,
) -> Result<(), ScenarioError> {
    let clients = table.clients.unwrap_or(1);
    if clients == 0 {
        return Err(context.in_section("workload", "clients", "must be 1 or more"));
    }
    known_places(table.to.as_ref(), context.n).map_err(|text| context.in_section("workload", "to", text))?;
    let alone = table.from.is_none() && table.to.is_none() && table.clients.is_none();
    let (rate, until) = match (table.rate, table.until) {
        (Some(rate), Some(until)) => (rate, until),
        (None, None) if table.size.is_some() && alone => return Ok(()), // how large those of [[submit]] are
        (None, _) => {
            let text = "must be there: how many envelopes a second, such as rate = \"50/s\"";
            return Err(context.in_section("workload", "rate", text));
        }
        (_, None) => {
            let text = "must be there: when the last is submitted, such as until = \"2s\"";
            return Err(context.in_section("workload", "until", text));
        }
    };
    if until.0 > LONGEST {
        return Err(context.in_section("workload", "until", format!("{} is the longest", Span(LONGEST))));
    }
    let from = table.from.unwrap_or_default().0;
    let Some(length) = until.0.checked_sub(from) else {
        return Err(context.in_section("workload", "until", "is before `from`"));
    };
    // The rate is of all clients together; they take turns.
    let count = (length.as_micros() * u128::from(rate.0) / 1_000_000_000) as u64;
    if count > MOST_SUBMISSIONS {
        let text = format!("{count} envelopes; {MOST_SUBMISSIONS} are the most");
        return Err(context.in_section("workload", "rate", text));
    }
    for index in 0..count {
        let at =
            from + Duration::from_micros((u128::from(index + 1) * 1_000_000_000 / u128::from(rate.0)) as u64);
        for place in receivers(table.to.as_ref(), context.n, index % clients, index / clients) {
            submissions.push(Submission { at: Time(at), place, index, variant: 0 });
        }
    }
    Ok(())
}

fn explicit(
    submit: Spanned<Submit>,
    nth: usize,
    context: &Context<'_>,
    submissions: &mut Vec<Submission>,
) -> Result<(), ScenarioError> {
    let entry = context.entry("submit", nth, submit.span());
    let submit = submit.into_inner();
    known_places(submit.to.as_ref(), context.n).map_err(|text| entry.wrong("to", text))?;
    let count = submit.count.unwrap_or(1);
    if count == 0 {
        return Err(entry.wrong("count", "must be 1 or more"));
    }
    let first = submit.envelope.unwrap_or_else(|| submissions.iter().map(|s| s.index + 1).max().unwrap_or(0));
    if count > MOST_SUBMISSIONS || first > MOST_SUBMISSIONS || submissions.len() as u64 > MOST_SUBMISSIONS {
        let key = if count > MOST_SUBMISSIONS { "count" } else { "envelope" };
        return Err(entry.wrong(key, format!("{MOST_SUBMISSIONS} envelopes are the most")));
    }
    let every = submit.every.map_or(Duration::from_millis(1), |every| every.0);
    if submit.at.0 + every * (count - 1) as u32 > LONGEST {
        let key = if submit.at.0 > LONGEST { "at" } else { "every" };
        return Err(entry.wrong(key, format!("the last would come after {}, the longest run", Span(LONGEST))));
    }
    for nth in 0..count {
        let at = Time(submit.at.0 + every * nth as u32);
        for place in receivers(submit.to.as_ref().or(Some(&Whom::Place(0))), context.n, 0, nth) {
            submissions.push(Submission { at, place, index: first + nth, variant: submit.variant });
        }
    }
    Ok(())
}

fn twins(liars: &[Spanned<LiarTable>]) -> Vec<Place> {
    let twins = liars.iter().map(AsRef::as_ref).filter(|liar| liar.attack == "twins");
    twins.map(|liar| Place(liar.replica)).collect()
}

fn liar(
    liar: Spanned<LiarTable>,
    nth: usize,
    context: &Context<'_>,
    plan: &mut Plan,
) -> Result<(), ScenarioError> {
    let entry = context.entry("byzantine", nth, liar.span());
    let LiarTable { replica, attack, when, against } = liar.into_inner();
    let place = Place(replica);
    for (key, named) in
        [("replica", replica)].into_iter().chain(against.iter().map(|place| ("against", *place)))
    {
        if usize::from(named) >= context.n {
            let text = format!("there is no replica {named}; the places are 0 to {}", context.n - 1);
            return Err(entry.wrong(key, text));
        }
    }
    if attack == "twins" {
        if context.twins.iter().filter(|twin| **twin == place).count() > 1 {
            return Err(entry.wrong("replica", format!("replica {replica} has a twin already")));
        }
        if !when.is_always() || !against.is_empty() {
            return Err(
                entry.wrong("when", "twins are there from the beginning and against nobody in particular")
            );
        }
        return Ok(());
    }
    when.fault().map_or(Ok(()), |text| Err(entry.wrong("when", text)))?;
    let spec = AttackSpec { name: attack, when, against: against.into_iter().map(Place).collect() };
    Liar::of(place, std::slice::from_ref(&spec)).map_err(|text| entry.wrong("attack", text))?;
    match plan.liars.iter_mut().find(|(known, _)| *known == place) {
        Some((_, specs)) => specs.push(spec),
        None => plan.liars.push((place, vec![spec])),
    }
    Ok(())
}

fn expect(table: ExpectTable, context: &Context<'_>) -> Result<Expect, ScenarioError> {
    let ExpectTable {
        safety, liveness, violates, acted, min_view, max_view, min_blocks, min_crashes, ..
    } = table;
    if let Some(unknown) =
        acted.keys().find(|name| byzantine::find(name).is_none_or(|info| info.name != **name))
    {
        let text = match byzantine::find(unknown) {
            Some(info) => format!("`{unknown}` is counted under its name, `{}`", info.name),
            None => format!("no attack is called `{unknown}`; `sbft-sim attacks --list` shows all"),
        };
        return Err(context.in_section("expect", "acted", text));
    }
    if let Some(unknown) = violates.as_deref().filter(|name| !violation::is_known(name)) {
        let names: Vec<&str> = CHECKS.iter().map(|check| check.name).collect();
        let text = format!(
            "no check is called `{unknown}`; there are the classes safety, liveness, storm, panic, and: {}",
            names.join(", ")
        );
        return Err(context.in_section("expect", "violates", text));
    }
    let known = |key: &str, place: u16| {
        if usize::from(place) < context.n {
            return Ok(place);
        }
        let text = format!("there is no replica {place}; the places are 0 to {}", context.n - 1);
        Err(context.in_section("expect", key, text))
    };
    let reasons = |key: &str, table: BTreeMap<String, String>| {
        let mut reasons = BTreeMap::new();
        for (place, reason) in table {
            let number = place.parse().map_err(|_| {
                let text = format!("`{place}` is no replica; write it like {key} = {{ 2 = \"corrupt\" }}");
                context.in_section("expect", key, text)
            })?;
            reasons.insert(known(key, number)?, reason);
        }
        Ok(reasons)
    };
    if let Some(unknown) = table.disk.keys().find(|name| !disk::TOLL.contains(&name.as_str())) {
        let text = format!("disks do nothing called `{unknown}`; there are: {}", disk::TOLL.join(", "));
        return Err(context.in_section("expect", "disk", text));
    }
    let stopped = reasons("stopped", table.stopped)?;
    let refused = reasons("refused", table.refused)?;
    let down = table.down.into_iter().map(|place| known("down", place)).collect::<Result<_, _>>()?;
    let caught_up = table.caught_up.into_iter().map(|place| known("caught_up", place));
    let caught_up = caught_up.collect::<Result<_, _>>()?;
    if let (Some(least), Some(most)) = (min_view, max_view)
        && least > most
    {
        return Err(context.in_section("expect", "min_view", "is above `max_view`"));
    }
    let given = Expect::default();
    Ok(Expect {
        safety: safety.unwrap_or(given.safety),
        liveness: liveness.unwrap_or(given.liveness),
        violates,
        acted,
        min_view,
        max_view,
        min_blocks,
        min_crashes,
        disk: table.disk,
        stopped,
        refused,
        down,
        caught_up,
    })
}
