//! A measurement at each of several rates, from low to beyond saturation, for several sizes.

use serde::Serialize;

use super::LoadError;
use super::plan::{Pace, Plan};
use super::report::{Report, Summary};
use super::run::{Observer, runs};
use super::target::Target;

/// Rates to measure at, as shares of what a closed loop reached.
const SHARES: [f64; 10] = [0.01, 0.05, 0.1, 0.25, 0.4, 0.55, 0.7, 0.85, 1.0, 1.2];
/// Envelopes in flight to find what a network can do.
const SATURATING: u64 = 4_000;

/// What a sweep is to do.
#[derive(Clone, Debug)]
pub struct SweepPlan {
    /// All but pace and size.
    pub plan: Plan,
    /// Envelope sizes, bytes.
    pub sizes: Vec<usize>,
    /// Rates, a second; if empty, shares of what a closed loop reaches with each size.
    pub rates: Vec<f64>,
    /// Runs at each point, of which the median is told.
    pub runs: usize,
}

/// What a sweep found.
#[derive(Clone, Debug, Serialize)]
pub struct Sweep {
    /// Envelope sizes, bytes.
    pub sizes: Vec<usize>,
    /// What a closed loop committed a second with each size; empty if rates were given.
    pub saturation_per_s: Vec<f64>,
    /// The measurements, by size and then rate.
    pub steps: Vec<Step>,
}

/// One measurement of a sweep.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// Encoded envelopes, bytes.
    pub size: usize,
    /// Offered, a second.
    pub offered: f64,
    /// What was found.
    pub report: Report,
}

impl Sweep {
    /// The measurements with envelopes of this size, by rate.
    pub fn of_size(&self, size: usize) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(move |step| step.size == size)
    }
}

/// Makes all measurements. A rate at which nothing commits ends the rates of its size.
///
/// # Errors
/// As [`super::run()`].
pub async fn sweep(
    target: &mut Target,
    plan: &SweepPlan,
    observer: &dyn Observer,
) -> Result<Sweep, LoadError> {
    let mut found = Sweep { sizes: plan.sizes.clone(), saturation_per_s: Vec::new(), steps: Vec::new() };
    if !plan.plan.faults.is_empty() {
        return Err(LoadError::Plan("faults and --sweep do not go together".to_owned()));
    }
    for size in &plan.sizes {
        let with = |pace| Plan { pace, size: *size, ..plan.plan.clone() };
        let mut rates = plan.rates.clone();
        if rates.is_empty() {
            observer.note(&format!("{size} B: looking for saturation, {SATURATING} in flight"));
            let closed = with(Pace::Closed { in_flight: SATURATING });
            let most = Summary::of(runs(target, &closed, 1, observer).await?).median.committed_per_s;
            found.saturation_per_s.push(most);
            observer.note(&format!("{size} B: {most:.0}/s in a closed loop"));
            rates = SHARES.iter().map(|share| round(share * most)).collect();
        }
        for offered in rates {
            let open = with(Pace::Open { per_second: offered });
            let report = Summary::of(runs(target, &open, plan.runs, observer).await?).median;
            observer.note(&format!(
                "{size} B, {offered:.0}/s: committed {:.0}/s, p50 {:.2} ms, p99 {:.2} ms",
                report.committed_per_s, report.latency_ms.p50, report.latency_ms.p99
            ));
            found.steps.push(Step { size: *size, offered, report });
        }
    }
    Ok(found)
}

/// Two digits that differ: rates that people can say.
fn round(rate: f64) -> f64 {
    let unit = 10f64.powf(rate.max(10.0).log10().floor() - 1.0);
    ((rate / unit).round() * unit).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_round() {
        for (rate, rounded) in [(0.2, 1.0), (7.4, 7.0), (123.4, 120.0), (16_789.0, 17_000.0)] {
            assert_eq!(round(rate), rounded);
        }
    }
}
