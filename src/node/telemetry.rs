//! The process's log and metrics.

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::node_config::{LogConfig, LogFormat, parse_filter};
use crate::service::ops::LogFilter;

/// Upper bounds of the histograms' buckets, seconds: from a signature check to a slow view change.
const BUCKETS: [f64; 16] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    10.0,
];

/// What a node tells about itself, and through what.
pub struct Telemetry {
    /// The log filter, for the operations listener.
    pub log: LogFilter,
    /// The metrics, for the operations listener.
    pub metrics: PrometheusHandle,
}

impl Telemetry {
    /// A log filter and metrics that nothing is recorded to: for a node beside others in one
    /// process.
    pub fn detached() -> Self {
        let metrics = builder().build_recorder().handle();
        Self { log: LogFilter::new("info", |_| Ok(())), metrics }
    }

    /// Makes them the process's own. Where the process has a log or a recorder already, that one
    /// stays and this node's shows nothing.
    pub(super) fn install(config: &LogConfig) -> Self {
        let detached = Self::detached();
        Self {
            log: install_log(config).unwrap_or(detached.log),
            metrics: builder().install_recorder().unwrap_or(detached.metrics),
        }
    }
}

fn builder() -> PrometheusBuilder {
    PrometheusBuilder::new().set_buckets(&BUCKETS).expect("there are buckets")
}

fn install_log(config: &LogConfig) -> Option<LogFilter> {
    // `NodeConfig::load` has read this filter before.
    let filter = parse_filter(&config.filter).ok()?;
    let (filter, handle) = reload::Layer::<_, Registry>::new(filter);
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match config.format {
        LogFormat::Human => lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(filter).with(lines).try_init().ok()?;
    log_panics();
    Some(LogFilter::new(&config.filter, move |filter| {
        handle.reload(filter).map_err(|error| error.to_string())
    }))
}

/// A panic is our own bug; it belongs into the log with everything else.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let backtrace = std::backtrace::Backtrace::capture();
        tracing::error!(%panic, %backtrace, "panic");
    }));
}
