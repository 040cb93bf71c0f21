//! What clients cost: a network of one replica, less all else that the model knows of.

use std::path::Path;
use std::time::Duration;

use super::SIZES;
use crate::scale::network::{Binary, Made, Network};
use crate::scale::{Costs, Line, Load, Model, Setup, Sharing, Signed, run};

/// First port of the network.
const BASE_PORT: u16 = 21_050;
/// Envelopes under way: enough to keep the replica busy.
const IN_FLIGHT: usize = 1_000;
const WARM_UP: Duration = Duration::from_millis(1_000);
const LASTS: Duration = Duration::from_millis(3_000);

/// The replica's part, and the client's.
pub(super) fn measure(binary: &Binary, folder: &Path, costs: &Costs) -> Result<(Line, Line), String> {
    let folder = folder.join("calibrate-network");
    let (mut ingest, mut client) = (Vec::new(), Vec::new());
    for bytes in [SIZES.0, SIZES.1] {
        let made = Made { n: 1, signed: Signed::Open, base_port: BASE_PORT };
        let network = Network::start(binary, &folder, made)?;
        let load = Load::InFlight(IN_FLIGHT);
        let measured = network.load(load, bytes, WARM_UP, LASTS)?;
        drop(network);
        // With what it took the clients, and nothing for the way in: what is left is that way.
        let known = Costs {
            client: Line { each_us: measured.client_us_per_envelope, kib_us: 0.0 },
            ingest: Line::default(),
            ..costs.clone()
        };
        let setup = Setup {
            model: Model::Loopback,
            sharing: Sharing::One(costs.processors),
            signed: Signed::Open,
            bytes,
            warm_up: Duration::from_millis(100),
            lasts: Duration::from_millis(300),
            ..Setup::new(1, Load::Rate(measured.committed_per_s))
        };
        let predicted = run(&setup, &known)?;
        let left = measured.cpu_us_per_envelope - predicted.cpu_us_per_envelope;
        ingest.push((bytes, left.max(0.0)));
        client.push((bytes, measured.client_us_per_envelope));
    }
    let removed = std::fs::remove_dir_all(&folder);
    removed.map_err(|error| format!("cannot delete {}: {error}", folder.display()))?;
    Ok((Line::through(ingest[0], ingest[1]), Line::through(client[0], client[1])))
}
