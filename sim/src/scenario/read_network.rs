//! `[network]`: how packets fare.

use std::time::Duration;

use super::error::ScenarioError;
use super::file::{DelayForm, DelayTable, NamedDelay, NetworkTable};
use crate::network::{Conditions, Delay, Regions};

/// What `[network]` says, where it says something; the rest as in `base`. `wrong` makes an error
/// about one of its keys.
pub(super) fn conditions(
    table: &NetworkTable,
    base: &Conditions,
    wrong: &dyn Fn(&str, String) -> ScenarioError,
) -> Result<Conditions, ScenarioError> {
    let mut conditions = base.clone();
    if let Some(form) = &table.delay {
        conditions.delay = delay(form).map_err(|text| wrong("delay", text))?;
    }
    if let Some(tail) = &table.tail {
        (conditions.tail_chance, conditions.tail) = (tail.chance.0, tail.up_to.0);
    }
    if let Some(reorder) = &table.reorder {
        (conditions.reorder, conditions.reorder_by) = (reorder.chance.0, reorder.up_to.0);
    }
    if let Some(clog) = &table.clog {
        (conditions.clog, conditions.clog_for) = (clog.chance.0, clog.lasting.0);
    }
    conditions.loss = table.loss.map_or(conditions.loss, |p| p.0);
    conditions.duplicate = table.duplicate.map_or(conditions.duplicate, |p| p.0);
    conditions.phase_cut = table.phase_cut.map_or(conditions.phase_cut, |p| p.0);
    conditions.fifo = table.fifo.unwrap_or(conditions.fifo);
    if let Some(bandwidth) = table.bandwidth {
        conditions.bandwidth = bandwidth.value().map(|bandwidth| bandwidth.0);
        if conditions.bandwidth == Some(0) {
            return Err(wrong("bandwidth", "must be above zero; \"none\" is no limit".to_owned()));
        }
    }
    if let Some(queue) = table.queue {
        conditions.queue = queue.value();
        if conditions.queue == Some(0) {
            return Err(wrong("queue", "must be 1 or more; \"none\" is no limit".to_owned()));
        }
    }
    Ok(conditions)
}

fn delay(form: &DelayForm) -> Result<Delay, String> {
    let table = match form {
        DelayForm::Constant(delay) => return Ok(Delay::Constant(delay.0)),
        DelayForm::Named(NamedDelay::Lan) => return Ok(Delay::Lan),
        DelayForm::Named(NamedDelay::Metro) => return Ok(Delay::Metro),
        DelayForm::Named(NamedDelay::Wan) => return Ok(Delay::Wan(Regions::world())),
        DelayForm::Table(table) => table,
    };
    let kind = table.kind.as_deref().ok_or("`kind` is missing; for example kind = \"exponential\"")?;
    let (delay, keys): (Delay, &[&str]) = match kind {
        "constant" => (Delay::Constant(time(table.delay, "delay")?), &["delay"]),
        "uniform" => {
            let (least, most) = (time(table.least, "least")?, time(table.most, "most")?);
            ordered(least, most, "least", "most")?;
            (Delay::Uniform { least, most }, &["least", "most"])
        }
        "exponential" => {
            let least = table.least.map_or(Duration::ZERO, |least| least.0);
            (Delay::Exponential { least, mean: time(table.mean, "mean")? }, &["least", "mean"])
        }
        "lognormal" => {
            let (median, p99) = (time(table.median, "median")?, time(table.p99, "p99")?);
            ordered(median, p99, "median", "p99")?;
            (Delay::Lognormal { median, p99 }, &["median", "p99"])
        }
        "pareto" => {
            let (least, most) = (time(table.least, "least")?, time(table.most, "most")?);
            ordered(least, most, "least", "most")?;
            let shape = table.shape.ok_or("`shape` is missing; 1.2 is a heavy tail, 3.0 a light one")?;
            if !(0.05..=100.0).contains(&shape) {
                return Err(format!("`shape` is {shape}; give a number from 0.05 to 100"));
            }
            (Delay::Pareto { least, shape, most }, &["least", "shape", "most"])
        }
        "lan" => (Delay::Lan, &[]),
        "metro" => (Delay::Metro, &[]),
        "wan" => (Delay::Wan(regions(table)?), &["regions", "one_way_ms", "jitter"]),
        other => {
            return Err(format!(
                "no kind of delay `{other}`; there are: constant, uniform, exponential, lognormal, pareto, lan, metro, wan"
            ));
        }
    };
    match table.keys().into_iter().find(|key| *key != "kind" && !keys.contains(key)) {
        Some(key) => Err(format!("`{key}` means nothing for a {kind} delay")),
        None => Ok(delay),
    }
}

fn regions(table: &DelayTable) -> Result<Regions, String> {
    let mut regions = Regions::world();
    if let Some(of) = &table.regions {
        regions.of.clone_from(of);
    }
    if let Some(matrix) = &table.one_way_ms {
        if matrix.is_empty() || matrix.iter().any(|row| row.len() != matrix.len()) {
            return Err(
                "`one_way_ms` must be a square: a row for each region, with a number for each".to_owned()
            );
        }
        regions.one_way_ms.clone_from(matrix);
    }
    if let Some(jitter) = table.jitter {
        if !(1.0..=100.0).contains(&jitter) {
            return Err(format!("`jitter` is {jitter}; give the 99th percentile over the median, 1 to 100"));
        }
        regions.jitter = jitter;
    }
    match regions.of.iter().find(|region| **region >= regions.one_way_ms.len()) {
        Some(region) => Err(format!("no region {region}; `one_way_ms` has {}", regions.one_way_ms.len())),
        None => Ok(regions),
    }
}

fn time(value: Option<super::units::Span>, key: &str) -> Result<Duration, String> {
    value.map(|span| span.0).ok_or_else(|| format!("`{key}` is missing; for example {key} = \"5ms\""))
}

fn ordered(low: Duration, high: Duration, low_key: &str, high_key: &str) -> Result<(), String> {
    if low <= high { Ok(()) } else { Err(format!("`{low_key}` is longer than `{high_key}`")) }
}
