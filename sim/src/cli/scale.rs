//! `sbft-sim scale`: predicts how the engine scales, and holds the prediction against real networks.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use sbft_sim::scale::network::{Binary, Made, Measured, Network};
use sbft_sim::scale::{Costs, Load, Model, Outcome, Setup, Sharing, Signed, calibrate, run};
use serde::Serialize;

use super::{Exit, Outcome as Ended, complain, say};

/// Sizes of networks for which the core's steps are measured: those in between lie between them.
const STEPPED: [usize; 4] = [4, 10, 16, 31];

#[derive(Args)]
#[command(after_help = "\
Examples:
  sbft-sim scale --calibrate costs.toml                      measure this machine, some two minutes
  sbft-sim scale --costs costs.toml --links lan-1g           n = 4, 7, 10, 16, 31 as fast as they can
  sbft-sim scale --costs costs.toml --links wan5 --rate 500  latency over five regions
  sbft-sim scale --costs costs.toml --measure --n 4,7,10     real networks here, beside the model of them

A run is deterministic given its cost file. sim/docs/scale.md says what the model holds and leaves out.")]
pub(crate) struct Scale {
    /// Measure what things cost on this machine, and write them to this file.
    #[arg(long, value_name = "FILE", conflicts_with = "costs")]
    calibrate: Option<PathBuf>,
    /// Costs that were measured before.
    #[arg(long, value_name = "FILE", required_unless_present = "calibrate")]
    costs: Option<PathBuf>,
    /// Numbers of replicas.
    #[arg(long, value_delimiter = ',', default_value = "4,7,10,16,31", value_parser = super::replicas)]
    n: Vec<usize>,
    /// Where the replicas stand; with --measure always this machine.
    #[arg(long, value_enum, default_value_t = Ways::Lan1g)]
    links: Ways,
    /// Processors of each replica, or of all together with --shared or --measure [default: 4, or this machine's]
    #[arg(long, value_name = "N")]
    cores: Option<usize>,
    /// All replicas and clients on one machine.
    #[arg(long)]
    shared: bool,
    /// Run real networks on this machine too, and print them beside the prediction.
    #[arg(long)]
    measure: bool,
    /// Envelopes a second, evenly.
    #[arg(long, value_name = "N", conflicts_with = "in_flight")]
    rate: Option<f64>,
    /// Envelopes always under way: as fast as it can [default: 2000 for each machine]
    #[arg(long, value_name = "N")]
    in_flight: Option<usize>,
    /// Who signs, and with what.
    #[arg(long, value_enum, default_value_t = Kind::Ed25519)]
    signed: Kind,
    /// Size of each envelope, bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 1024)]
    size: usize,
    /// Most envelopes of a block, 1 to 500; real networks have 500.
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=500))]
    block: u32,
    /// Virtual time before the measurement, such as 500ms [default: 500ms, over regions 3s]
    #[arg(long, value_name = "TIME", value_parser = super::duration)]
    warm_up: Option<Duration>,
    /// Virtual time measured [default: 1s, over regions 3s]
    #[arg(long, value_name = "TIME", value_parser = super::duration)]
    lasts: Option<Duration>,
    /// How long one job may keep a processor while others wait, microseconds.
    #[arg(long, value_name = "US", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    slice: u64,
    /// The program for real networks [default: `sbft` beside this one]
    #[arg(long, value_name = "PATH")]
    sbft: Option<PathBuf>,
    /// Folder for what is measured: networks, logs; on the disk that is meant.
    #[arg(long, value_name = "DIR", default_value = "scale-data")]
    dir: PathBuf,
    /// First port of real networks.
    #[arg(long, value_name = "PORT", default_value_t = 21_150)]
    base_port: u16,
    /// One JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

/// `--links`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Ways {
    Loopback,
    #[value(name = "lan-1g")]
    Lan1g,
    Wan5,
}

/// `--signed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    Open,
    Ed25519,
    P256,
}

/// One size: what was predicted, and what was measured.
#[derive(Serialize)]
struct Row {
    n: usize,
    predicted: Outcome,
    measured: Option<Measured>,
}

impl Scale {
    pub(crate) fn run(self) -> Ended {
        if self.rate.is_some_and(|rate| !(rate > 0.0 && rate <= 1e7)) {
            return Err(
                "--rate is the number of envelopes a second: give one above 0, such as 500".to_owned()
            );
        }
        if self.in_flight == Some(0) || self.cores == Some(0) {
            return Err("--in-flight and --cores must be at least 1".to_owned());
        }
        if !(256..=1 << 20).contains(&self.size) {
            return Err(format!("--size {}: envelopes have 256 bytes to 1 MiB", self.size));
        }
        if self.measure && self.block != 500 {
            return Err(
                "--measure and --block: the blocks of real networks have up to 500 envelopes".to_owned()
            );
        }
        let costs = match (&self.calibrate, &self.costs) {
            (Some(file), _) => return self.calibrate(file),
            (None, Some(file)) => read(file)?,
            (None, None) => return Err("give --costs FILE, or make one with --calibrate FILE".to_owned()),
        };
        let binary = self.measure.then(|| Binary::find(self.sbft.as_deref())).transpose()?;
        let mut rows = Vec::new();
        for n in &self.n {
            let setup = self.setup(*n, &costs);
            let measured = binary.as_ref().map(|binary| self.measured(binary, &setup)).transpose()?;
            let predicted = run(&setup, &costs).map_err(|error| format!("{n} replicas: {error}"))?;
            if !self.json {
                complain(&format!("{n} replicas done\n"));
            }
            rows.push(Row { n: *n, predicted, measured });
        }
        say(&if self.json { self.as_json(&rows)? } else { self.table(&rows) })?;
        Ok(Exit::Ok)
    }

    fn calibrate(&self, file: &Path) -> Ended {
        let binary = Binary::find(self.sbft.as_deref())?;
        self.make_folder()?;
        let mut note = |what: &str| complain(&format!("measuring {what}\n"));
        let costs = calibrate::measure(&binary, &self.dir, &STEPPED, self.base_port, &mut note)?;
        let text = costs.text()?;
        std::fs::write(file, &text).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
        say(&text)?;
        Ok(Exit::Ok)
    }

    fn make_folder(&self) -> Result<(), String> {
        std::fs::create_dir_all(&self.dir)
            .map_err(|error| format!("cannot make the folder {}: {error}", self.dir.display()))
    }

    fn load(&self, n: usize) -> Load {
        let machines = if self.shared || self.measure { 1 } else { n };
        match self.rate {
            Some(rate) => Load::Rate(rate),
            None => Load::InFlight(self.in_flight.unwrap_or(2_000 * machines)),
        }
    }

    fn setup(&self, n: usize, costs: &Costs) -> Setup {
        let wan = self.links == Ways::Wan5 && !self.measure;
        let (warm_up, lasts) = if wan { (3_000, 3_000) } else { (500, 1_000) };
        let model = match self.links {
            _ if self.measure => Model::Loopback,
            Ways::Loopback => Model::Loopback,
            Ways::Lan1g => Model::Lan1g,
            Ways::Wan5 => Model::Wan5,
        };
        let signed = match self.signed {
            Kind::Open => Signed::Open,
            Kind::Ed25519 => Signed::Ed25519,
            Kind::P256 => Signed::P256,
        };
        let sharing = if self.measure || self.shared {
            Sharing::One(self.cores.unwrap_or_else(|| costs.processors.max(1)))
        } else {
            Sharing::Each(self.cores.unwrap_or(4))
        };
        Setup {
            model,
            sharing,
            signed,
            bytes: self.size,
            block: self.block,
            warm_up: self.warm_up.unwrap_or_else(|| Duration::from_millis(warm_up)),
            lasts: self.lasts.unwrap_or_else(|| Duration::from_millis(lasts)),
            slice: Duration::from_micros(self.slice),
            ..Setup::new(n, self.load(n))
        }
    }

    fn measured(&self, binary: &Binary, setup: &Setup) -> Result<Measured, String> {
        self.make_folder()?;
        let folder = self.dir.join(format!("network-{}", setup.n));
        let made = Made { n: setup.n, signed: setup.signed, base_port: self.base_port };
        let network = Network::start(binary, &folder, made)?;
        let lasts = self.lasts.unwrap_or_else(|| Duration::from_secs(5));
        let measured = network.load(setup.load, setup.bytes, Duration::from_secs(2), lasts);
        drop(network);
        std::fs::remove_dir_all(&folder)
            .map_err(|error| format!("cannot delete {}: {error}", folder.display()))?;
        measured
    }

    fn as_json(&self, rows: &[Row]) -> Result<String, String> {
        let setup = self.setup(4, &Costs::default());
        let settings = serde_json::json!({
            "links": setup.model.name(),
            "signed": setup.signed.name(),
            "size": self.size,
            "block": self.block,
            "rate": self.rate,
            "in_flight": self.in_flight,
            "slice_us": self.slice,
            "shared": self.shared || self.measure,
            "cores": self.cores,
        });
        let ratios: Vec<_> = ratios(rows)
            .into_iter()
            .map(|(n, predicted, measured)| {
                serde_json::json!({ "n": n, "predicted": predicted, "measured": measured })
            })
            .collect();
        let object = serde_json::json!({ "settings": settings, "rows": rows, "cpu_over_n4": ratios });
        serde_json::to_string_pretty(&object).map(|text| text + "\n").map_err(|error| error.to_string())
    }

    fn table(&self, rows: &[Row]) -> String {
        let mut text = String::from(
            "  n             committed/s    p50 ms    p99 ms  cpu us/env  bytes/env  frames/env  block  busy\n",
        );
        for Row { n, predicted, measured } in rows {
            let p = predicted;
            let _ = writeln!(
                text,
                "{n:3}  predicted  {:12.0}  {:8.2}  {:8.2}  {:10.1}  {:9.0}  {:10.2}  {:5.0}  {:3.0}%{}",
                p.committed_per_s,
                p.p50_ms,
                p.p99_ms,
                p.cpu_us_per_envelope,
                p.bytes_per_envelope,
                p.frames_per_envelope,
                p.block,
                p.busy * 100.0,
                if p.view_changes > 0 { format!("  view {}", p.view_changes) } else { String::new() },
            );
            if let Some(m) = measured {
                let _ = writeln!(
                    text,
                    "     measured   {:12.0}  {:8.2}  {:8.2}  {:10.1}  {:9}  {:10}  {:5.0}{}\n     \
                     error      {:>12}  {:>8}  {:>8}  {:>10}",
                    m.committed_per_s,
                    m.p50_ms,
                    m.p99_ms,
                    m.cpu_us_per_envelope,
                    "",
                    "",
                    m.block,
                    if m.other_cpus > 0.1 {
                        format!("  other programs took {:.1} processors", m.other_cpus)
                    } else {
                        String::new()
                    },
                    error(p.committed_per_s, m.committed_per_s),
                    error(p.p50_ms, m.p50_ms),
                    error(p.p99_ms, m.p99_ms),
                    error(p.cpu_us_per_envelope, m.cpu_us_per_envelope),
                );
            }
        }
        text += "processor time for each envelope, us:\n";
        for Row { n, predicted, measured } in rows {
            let parts: Vec<String> =
                predicted.parts_us.iter().map(|(name, us)| format!("{name} {us:.1}")).collect();
            let client = measured.as_ref().map(|measured| measured.client_us_per_envelope);
            let client = client.map_or_else(String::new, |us| format!(" (measured {us:.1})"));
            let generator = predicted.client_us_per_envelope;
            let _ = writeln!(text, "{n:3}  {}; generator {generator:.1}{client}", parts.join(", "));
        }
        for (n, ratio, measured) in ratios(rows) {
            let _ = write!(text, "processor time for each envelope, n = {n} over n = 4: {ratio:.2}");
            match measured {
                Some(measured) => {
                    let _ = writeln!(text, ", measured {measured:.2}, error {}", error(ratio, measured));
                }
                None => text.push('\n'),
            }
        }
        text
    }
}

/// Processor time for each envelope over that of four replicas: predicted, and measured if it was.
fn ratios(rows: &[Row]) -> Vec<(usize, f64, Option<f64>)> {
    let Some(four) = rows.iter().find(|row| row.n == 4) else { return Vec::new() };
    let measured = |row: &Row| row.measured.as_ref().map(|measured| measured.cpu_us_per_envelope);
    let ratio = |row: &Row| {
        let predicted = row.predicted.cpu_us_per_envelope / four.predicted.cpu_us_per_envelope;
        (row.n, predicted, measured(row).zip(measured(four)).map(|(this, four)| this / four))
    };
    rows.iter().filter(|row| row.n > 4).map(ratio).collect()
}

/// How far a prediction is from what was measured, in percent of what was measured.
fn error(predicted: f64, measured: f64) -> String {
    format!("{:+.0}%", (predicted / measured.max(1e-9) - 1.0) * 100.0)
}

fn read(file: &Path) -> Result<Costs, String> {
    let text =
        std::fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    Costs::parse(&text).map_err(|error| format!("{}: {error}", file.display()))
}
