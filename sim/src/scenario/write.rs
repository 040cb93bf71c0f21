//! From a plan to a scenario file that is the same run and that a person can read: in the order
//! of the documentation, without what is as usual.

use std::fmt::{Display, Write as _};
use std::time::Duration;

use super::Scenario;
use super::units::{Between, Size, Sizes, Span};
use super::write_faults::{self, Bodies};
use crate::channel::Signatures;
use crate::expect::Expect;
use crate::network::{Conditions, Delay, Regions};
use crate::plan::{Plan, Submission, liveness_bound};
use crate::world::Settings;

/// A `[table]` that is being written; nothing appears unless it gets a key.
pub(super) struct Table {
    header: String,
    body: String,
}

impl Table {
    pub(super) fn new(header: &str) -> Self {
        Self { header: header.to_owned(), body: String::new() }
    }

    /// `key = value`, where the value is written as TOML already.
    pub(super) fn key(&mut self, key: &str, value: impl Display) {
        let _ = writeln!(self.body, "{key} = {value}");
    }

    fn key_unless<T: PartialEq + Display>(&mut self, key: &str, value: T, usual: T) {
        if value != usual {
            self.key(key, value);
        }
    }

    /// Ends it, if there is anything in it.
    pub(super) fn end(self, out: &mut String) {
        if !self.body.is_empty() {
            self.end_always(out);
        }
    }

    /// Ends it, even empty.
    pub(super) fn end_always(self, out: &mut String) {
        let separator = if out.is_empty() { "" } else { "\n" };
        let _ = write!(out, "{separator}{}\n{}", self.header, self.body);
    }
}

/// A text as a TOML string.
pub(super) fn string(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A time as a TOML string.
pub(super) fn time(duration: Duration) -> String {
    format!("\"{}\"", Span(duration))
}

/// A probability so that TOML sees a float.
fn float(value: f64) -> String {
    format!("{value:?}")
}

fn list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    format!("[{}]", items.join(", "))
}

pub(super) fn scenario(scenario: &Scenario) -> String {
    let mut out = String::new();
    if let Some(name) = &scenario.name {
        let _ = writeln!(out, "name = {}", string(name));
    }
    if let Some(about) = &scenario.about {
        let _ = writeln!(out, "about = {}", string(about));
    }
    let plan = &scenario.plan;
    let usual = Settings::calm(plan.settings.seed, plan.settings.n);
    cluster(&plan.settings, &usual, &mut out);
    run(plan, &mut out);
    network(&plan.settings.conditions, &usual.conditions, &mut out);
    machines(&plan.settings, &usual, &mut out);
    liars(plan, &mut out);
    let bodies = Bodies::of(plan);
    write_faults::faults(plan, &bodies, &mut out);
    write_faults::cuts(plan, &bodies, &mut out);
    expect(&plan.expect, &mut out);
    sizes(&plan.settings, &usual, &mut out);
    submissions(&plan.submissions, &mut out);
    out
}

fn cluster(settings: &Settings, usual: &Settings, out: &mut String) {
    let (config, usual) = (&settings.config, &usual.config);
    let mut table = Table::new("[cluster]");
    table.key("n", settings.n);
    table.key_unless("window", config.window, usual.window);
    table.key_unless("dedup_blocks", config.dedup.blocks, usual.dedup.blocks);
    table.key_unless("dedup_envelopes", config.dedup.envelopes, usual.dedup.envelopes);
    table.key_unless("outstanding", config.outstanding, usual.outstanding);
    table.key_unless("slow_primary_factor", config.slow_primary_factor, usual.slow_primary_factor);
    let mut batch = Vec::new();
    if config.max_message_count != usual.max_message_count {
        batch.push(format!("max_message_count = {}", config.max_message_count));
    }
    if config.preferred_max_bytes != usual.preferred_max_bytes {
        batch.push(format!("preferred_max_bytes = \"{}\"", Size(config.preferred_max_bytes)));
    }
    if config.absolute_max_bytes != usual.absolute_max_bytes {
        batch.push(format!("absolute_max_bytes = \"{}\"", Size(config.absolute_max_bytes)));
    }
    inline(&mut table, "batch", &batch);
    let mut timeouts = Vec::new();
    for (key, value, usual) in [
        ("forward", config.forward_timeout, usual.forward_timeout),
        ("complain", config.complain_timeout, usual.complain_timeout),
        ("view_change", config.view_change_timeout, usual.view_change_timeout),
        ("cap", config.view_change_timeout_cap, usual.view_change_timeout_cap),
        ("status", config.status_interval, usual.status_interval),
    ] {
        if value != usual {
            timeouts.push(format!("{key} = {}", time(value)));
        }
    }
    inline(&mut table, "timeouts", &timeouts);
    let plants: Vec<String> = config.plants.iter().map(|plant| string(plant.info().name)).collect();
    if !plants.is_empty() {
        table.key("plants", list(plants));
    }
    table.end(out);
}

fn inline(table: &mut Table, key: &str, pairs: &[String]) {
    if !pairs.is_empty() {
        table.key(key, format!("{{ {} }}", pairs.join(", ")));
    }
}

fn run(plan: &Plan, out: &mut String) {
    let mut table = Table::new("[run]");
    table.key("seed", plan.settings.seed);
    table.key("chaos", time(plan.heal_at.0));
    if plan.patience != liveness_bound(&plan.settings.config) {
        table.key("deadline", time(plan.patience));
    }
    match plan.settings.signatures {
        Signatures::Simulated => {}
        Signatures::Ed25519 => table.key("signatures", string("ed25519")),
        Signatures::Ecdsa => table.key("signatures", string("ecdsa")),
    }
    table.end(out);
}

fn network(conditions: &Conditions, usual: &Conditions, out: &mut String) {
    let mut table = Table::new("[network]");
    for (key, value) in changes(conditions, Some(usual)) {
        table.key(key, value);
    }
    table.end(out);
}

/// The keys of `conditions` that are not as usual; all of them, if nothing is.
pub(super) fn changes(conditions: &Conditions, usual: Option<&Conditions>) -> Vec<(&'static str, String)> {
    let mut keys = Vec::new();
    let up_to = |chance: f64, most| format!("{{ chance = {}, up_to = {} }}", float(chance), time(most));
    let mut add = |key, same: &dyn Fn(&Conditions) -> bool, value: String| {
        if !usual.is_some_and(same) {
            keys.push((key, value));
        }
    };
    let c = conditions;
    add("delay", &|usual| usual.delay == c.delay, delay(&c.delay));
    add(
        "tail",
        &|usual| (usual.tail_chance, usual.tail) == (c.tail_chance, c.tail),
        up_to(c.tail_chance, c.tail),
    );
    add("loss", &|usual| usual.loss == c.loss, float(c.loss));
    add("duplicate", &|usual| usual.duplicate == c.duplicate, float(c.duplicate));
    add("phase_cut", &|usual| usual.phase_cut == c.phase_cut, float(c.phase_cut));
    let same = |usual: &Conditions| (usual.reorder, usual.reorder_by) == (c.reorder, c.reorder_by);
    add("reorder", &same, up_to(c.reorder, c.reorder_by));
    add("fifo", &|usual| usual.fifo == c.fifo, c.fifo.to_string());
    let none = || "\"none\"".to_owned();
    let bandwidth = c.bandwidth.map_or_else(none, |bytes| format!("\"{}/s\"", Size(bytes)));
    add("bandwidth", &|usual| usual.bandwidth == c.bandwidth, bandwidth);
    add("queue", &|usual| usual.queue == c.queue, c.queue.map_or_else(none, |packets| packets.to_string()));
    let clog = format!("{{ chance = {}, for = {} }}", float(c.clog), time(c.clog_for));
    add("clog", &|usual| (usual.clog, usual.clog_for) == (c.clog, c.clog_for), clog);
    keys
}

fn delay(delay: &Delay) -> String {
    match delay {
        Delay::Constant(delay) => time(*delay),
        Delay::Uniform { least, most } => {
            format!("{{ kind = \"uniform\", least = {}, most = {} }}", time(*least), time(*most))
        }
        Delay::Exponential { least, mean } => {
            format!("{{ kind = \"exponential\", least = {}, mean = {} }}", time(*least), time(*mean))
        }
        Delay::Lognormal { median, p99 } => {
            format!("{{ kind = \"lognormal\", median = {}, p99 = {} }}", time(*median), time(*p99))
        }
        Delay::Pareto { least, shape, most } => format!(
            "{{ kind = \"pareto\", least = {}, shape = {}, most = {} }}",
            time(*least),
            float(*shape),
            time(*most)
        ),
        Delay::Lan => "\"lan\"".to_owned(),
        Delay::Metro => "\"metro\"".to_owned(),
        Delay::Wan(regions) => wan(regions),
    }
}

fn wan(regions: &Regions) -> String {
    let usual = Regions::world();
    if *regions == usual {
        return "\"wan\"".to_owned();
    }
    let mut pairs = vec!["kind = \"wan\"".to_owned()];
    if regions.of != usual.of {
        pairs.push(format!("regions = {}", list(&regions.of)));
    }
    if regions.one_way_ms != usual.one_way_ms {
        pairs.push(format!("one_way_ms = {}", list(regions.one_way_ms.iter().map(list))));
    }
    if regions.jitter != usual.jitter {
        pairs.push(format!("jitter = {}", float(regions.jitter)));
    }
    format!("{{ {} }}", pairs.join(", "))
}

fn machines(settings: &Settings, usual: &Settings, out: &mut String) {
    let between = |pair: (Duration, Duration)| Between(pair.0, pair.1);
    let mut disk = Table::new("[disk]");
    disk.key_unless("sync", between(settings.sync), between(usual.sync));
    disk.key_unless("block_sync", between(settings.block_sync), between(usual.block_sync));
    if settings.compact_rate != usual.compact_rate {
        disk.key("compact", float(settings.compact_rate));
    }
    disk.end(out);
    let mut replicas = Table::new("[replicas]");
    replicas.key_unless("check", between(settings.validate), between(usual.validate));
    let usual_cut = usual.cut_count.min(settings.config.max_message_count as usize);
    replicas.key_unless("cut_count", settings.cut_count, usual_cut);
    if settings.batch_timeout != usual.batch_timeout {
        replicas.key("batch_timeout", time(settings.batch_timeout));
    }
    replicas.key_unless("pool", settings.pool, usual.pool);
    if settings.crash_rate != usual.crash_rate {
        replicas.key("crash_rate", float(settings.crash_rate));
    }
    if settings.restarts {
        replicas.key_unless("restart", between(settings.restart), between(usual.restart));
    } else {
        replicas.key("restart", "\"never\"");
    }
    replicas.end(out);
}

fn liars(plan: &Plan, out: &mut String) {
    for place in &plan.twins {
        let mut table = Table::new("[[byzantine]]");
        table.key("replica", place.0);
        table.key("attack", "\"twins\"");
        table.end(out);
    }
    for (place, specs) in &plan.liars {
        for spec in specs {
            let mut table = Table::new("[[byzantine]]");
            table.key("replica", place.0);
            table.key("attack", string(&spec.name));
            if !spec.when.is_always() {
                let when = toml::Value::try_from(&spec.when).expect("a trigger is plain data");
                table.key("when", when);
            }
            if !spec.against.is_empty() {
                table.key("against", list(spec.against.iter().map(|place| place.0)));
            }
            table.end(out);
        }
    }
}

fn expect(expect: &Expect, out: &mut String) {
    let usual = Expect::default();
    let mut table = Table::new("[expect]");
    table.key_unless("safety", expect.safety, usual.safety);
    table.key_unless("liveness", expect.liveness, usual.liveness);
    if let Some(violates) = &expect.violates {
        table.key("violates", string(violates));
    }
    let acted: Vec<String> =
        expect.acted.iter().map(|(name, count)| format!("{} = {count}", string(name))).collect();
    inline(&mut table, "acted", &acted);
    for (key, value) in [
        ("min_view", expect.min_view),
        ("max_view", expect.max_view),
        ("min_blocks", expect.min_blocks),
        ("min_crashes", expect.min_crashes),
    ] {
        if let Some(value) = value {
            table.key(key, value);
        }
    }
    let disk: Vec<String> =
        expect.disk.iter().map(|(name, count)| format!("{} = {count}", string(name))).collect();
    inline(&mut table, "disk", &disk);
    for (key, reasons) in [("stopped", &expect.stopped), ("refused", &expect.refused)] {
        let reasons: Vec<String> =
            reasons.iter().map(|(place, reason)| format!("{place} = {}", string(reason))).collect();
        inline(&mut table, key, &reasons);
    }
    for (key, places) in [("down", &expect.down), ("caught_up", &expect.caught_up)] {
        if !places.is_empty() {
            table.key(key, list(places));
        }
    }
    table.end(out);
}

fn sizes(settings: &Settings, usual: &Settings, out: &mut String) {
    let mut table = Table::new("[workload]");
    let sizes = |pair: (u64, u64)| Sizes(pair.0, pair.1);
    table.key_unless("size", sizes(settings.envelope_bytes), sizes(usual.envelope_bytes));
    table.end(out);
}

fn submissions(submissions: &[Submission], out: &mut String) {
    let mut next = 0;
    for submission in submissions {
        let mut table = Table::new("[[submit]]");
        table.key("at", time(submission.at.0));
        table.key_unless("to", submission.place.0, 0);
        table.key_unless("envelope", submission.index, next);
        table.key_unless("variant", submission.variant, 0);
        table.end(out);
        next = next.max(submission.index + 1);
    }
}
