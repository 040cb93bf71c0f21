//! What clients cost: what a network of one replica takes more than all else that the model knows of.

use std::path::Path;
use std::time::Duration;

use crate::scale::network::{Binary, Made, Measured, Network};
use crate::scale::{Costs, Line, Load, Model, Outcome, Setup, Sharing, Signed, run};

/// Envelopes under way: enough to keep the replica busy.
const IN_FLIGHT: usize = 1_000;
/// Envelopes a second that come one by one.
const RATE: f64 = 400.0;
/// Bytes of an envelope.
const SIZES: (usize, usize) = (512, 4096);
const WARM_UP: Duration = Duration::from_millis(1_000);
const LASTS: Duration = Duration::from_millis(3_000);
/// How often the model is run with what is known so far: each time it comes nearer.
const ROUNDS: usize = 6;

/// One load of the replica, and what it took.
struct Sample {
    load: Load,
    bytes: usize,
    measured: Measured,
}

impl Sample {
    /// What the model says that it takes.
    fn predicted(&self, costs: &Costs) -> Result<Outcome, String> {
        let setup = Setup {
            model: Model::Loopback,
            sharing: Sharing::One(costs.processors),
            signed: Signed::Open,
            bytes: self.bytes,
            warm_up: Duration::from_millis(100),
            lasts: Duration::from_millis(400),
            ..Setup::new(1, self.load)
        };
        run(&setup, costs)
    }
}

/// Fills in what the ways in and out take, and what a replica takes that has nothing to do.
pub(super) fn measure(
    binary: &Binary,
    folder: &Path,
    base_port: u16,
    costs: &mut Costs,
) -> Result<(), String> {
    let folder = folder.join("calibrate-network");
    let made = Made { n: 1, signed: Signed::Open, base_port };
    let network = Network::start(binary, &folder, made)?;
    costs.idle_us = network.idle(LASTS)?;
    let sample = |load: Load, bytes: usize| {
        let measured = network.load(load, bytes, WARM_UP, LASTS)?;
        Ok::<_, String>(Sample { load, bytes, measured })
    };
    let many = [sample(Load::InFlight(IN_FLIGHT), SIZES.0)?, sample(Load::InFlight(IN_FLIGHT), SIZES.1)?];
    let few = sample(Load::Rate(RATE), 1024)?;
    drop(network);
    let removed = std::fs::remove_dir_all(&folder);
    removed.map_err(|error| format!("cannot delete {}: {error}", folder.display()))?;
    fit(costs, &many, &few)
}

/// What an envelope takes in a stream of many, and alone, so that the model takes what was measured.
fn fit(costs: &mut Costs, many: &[Sample; 2], few: &Sample) -> Result<(), String> {
    let (mut ingest, mut client) = ([0.0; 2], [0.0; 2]);
    for _ in 0..ROUNDS {
        for (index, sample) in many.iter().enumerate() {
            let predicted = sample.predicted(costs)?;
            let (missing, clients) = missing(&sample.measured, &predicted);
            ingest[index] = f64::max(0.0, ingest[index] + missing);
            client[index] = f64::max(0.0, client[index] + clients);
        }
        costs.ingest = Line::through((SIZES.0, ingest[0]), (SIZES.1, ingest[1]));
        costs.client = Line::through((SIZES.0, client[0]), (SIZES.1, client[1]));
        let (missing, clients) = missing(&few.measured, &few.predicted(costs)?);
        costs.ingest_wake_us = f64::max(0.0, costs.ingest_wake_us + missing);
        costs.client_wake_us = f64::max(0.0, costs.client_wake_us + clients);
    }
    Ok(())
}

/// What was measured more than predicted, for each envelope: at the replica, and at the client.
fn missing(measured: &Measured, predicted: &Outcome) -> (f64, f64) {
    (
        measured.cpu_us_per_envelope - predicted.cpu_us_per_envelope,
        measured.client_us_per_envelope - predicted.client_us_per_envelope,
    )
}
