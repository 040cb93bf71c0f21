//! The operations listener: health, version, log filter, metrics and status over plain HTTP
//! (fabric-spec F.3).

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

use super::incoming::Bounded;
use super::readiness::{failed_checks, obstacle};
use crate::consenter::{ChainStatus, RoleStatus};
use crate::node_config::parse_filter;
use crate::registrar::{Channel, Registrar};

/// Connections that the listener serves at once; more wait to be accepted.
const CONNECTIONS: usize = 64;
/// Longest request body, bytes.
const MAX_BODY: usize = 64 << 10;
/// Longest wait for connections to end when the listener stops.
const GRACE: std::time::Duration = std::time::Duration::from_secs(1);

/// What the operations listener shows and changes.
pub struct OpsOptions {
    /// The node's consenter id.
    pub id: u32,
    /// The channels.
    pub registrar: Arc<Registrar>,
    /// The log filter.
    pub log: LogFilter,
    /// What is rendered for `/metrics`.
    pub metrics: PrometheusHandle,
}

/// The log filter in force, changeable at run time.
pub struct LogFilter {
    spec: Mutex<String>,
    install: Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>,
}

impl LogFilter {
    /// `spec` is in force now; `install` puts another one in force.
    pub fn new(
        spec: impl Into<String>,
        install: impl Fn(EnvFilter) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        Self { spec: Mutex::new(spec.into()), install: Box::new(install) }
    }

    /// The filter in force.
    pub fn spec(&self) -> String {
        self.spec.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts `spec` in force; an empty one means `info`, as in Fabric.
    ///
    /// # Errors
    /// It cannot be read; the filter stays as it was.
    pub fn set(&self, spec: &str) -> Result<(), String> {
        let spec = if spec.trim().is_empty() { "info" } else { spec };
        let filter = parse_filter(spec)?;
        let mut current = self.spec.lock().unwrap_or_else(PoisonError::into_inner);
        (self.install)(filter)?;
        spec.clone_into(&mut current);
        Ok(())
    }
}

/// A running operations listener.
pub struct Ops {
    address: SocketAddr,
    stopping: CancellationToken,
    cut: CancellationToken,
    server: JoinHandle<()>,
    /// A listener that is dropped without [`Self::stop`] stops at once.
    _guards: [DropGuard; 2],
}

impl Ops {
    /// Serves `listener`.
    ///
    /// # Errors
    /// The listener has no address.
    pub fn start(listener: TcpListener, options: OpsOptions) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let stopping = CancellationToken::new();
        let stopped = stopping.clone().cancelled_owned();
        let cut = CancellationToken::new();
        let listener = Bounded::new(listener, CONNECTIONS, cut.clone());
        let server = axum::serve(listener, router(Arc::new(options)));
        let server = tokio::spawn(async move {
            if let Err(error) = server.with_graceful_shutdown(stopped).await {
                warn!(%error, "the operations listener ended");
            }
        });
        info!(%address, "serving operations");
        let guards = [stopping.clone().drop_guard(), cut.clone().drop_guard()];
        Ok(Self { address, stopping, cut, server, _guards: guards })
    }

    /// Where it listens; with the port that was taken if port 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops it; requests in progress get a second.
    pub async fn stop(self) {
        let Self { stopping, cut, mut server, .. } = self;
        stopping.cancel();
        if tokio::time::timeout(GRACE, &mut server).await.is_err() {
            cut.cancel();
            // A connection that is cut off ends at once.
            let _ended = tokio::time::timeout(GRACE, server).await;
        }
    }
}

fn router(options: Arc<OpsOptions>) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/version", get(version).fallback(unsupported))
        .route("/logspec", get(logspec).put(put_logspec).fallback(unsupported))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(options)
}

type Shown = State<Arc<OpsOptions>>;

async fn healthz(State(options): Shown) -> Response {
    let time = rfc3339(SystemTime::now());
    let failed = failed_checks(&options.registrar);
    if failed.is_empty() {
        return Json(json!({ "status": "OK", "time": time })).into_response();
    }
    let body = json!({ "status": "Service Unavailable", "time": time, "failed_checks": failed });
    (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
}

async fn version() -> Json<Value> {
    let commit = option_env!("SBFT_COMMIT_SHA").unwrap_or("unknown");
    Json(json!({ "CommitSHA": commit, "Version": env!("CARGO_PKG_VERSION") }))
}

async fn logspec(State(options): Shown) -> Json<Value> {
    Json(json!({ "spec": options.log.spec() }))
}

#[derive(Deserialize)]
struct LogSpec {
    #[serde(default)]
    spec: String,
}

async fn put_logspec(State(options): Shown, body: axum::body::Bytes) -> Response {
    let outcome = serde_json::from_slice::<LogSpec>(&body)
        .map_err(|error| format!("the body is not {{\"spec\": \"...\"}}: {error}"))
        .and_then(|LogSpec { spec }| options.log.set(&spec));
    match outcome {
        Ok(()) => {
            info!(spec = options.log.spec(), "log filter changed");
            StatusCode::NO_CONTENT.into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response(),
    }
}

async fn unsupported(method: axum::http::Method) -> Response {
    let error = json!({ "error": format!("invalid request method: {method}") });
    (StatusCode::BAD_REQUEST, Json(error)).into_response()
}

async fn metrics(State(options): Shown) -> Response {
    let text = options.metrics.render();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn status(State(options): Shown) -> Json<Value> {
    let channels: Vec<Value> =
        options.registrar.channels().iter().map(|channel| channel_status(channel)).collect();
    let ready = failed_checks(&options.registrar).is_empty();
    Json(json!({ "id": options.id, "ready": ready, "channels": channels }))
}

fn channel_status(channel: &Channel) -> Value {
    describe(channel.id(), &channel.chain().status())
}

/// A chain's status as `/status` shows it. `reason` says what is not as it should be.
fn describe(channel: &str, status: &ChainStatus) -> Value {
    let (role, follows) = match &status.role {
        RoleStatus::Voter => ("voter", None),
        RoleStatus::Follower(reason) => ("follower", Some(reason.clone())),
    };
    let peers: Vec<Value> = status
        .peers
        .iter()
        .map(|peer| {
            json!({
                "id": peer.id.0,
                "address": peer.address,
                "connected": peer.connected,
                "view": peer.view.map(|view| view.0),
                "active": peer.active,
                "committed": peer.committed.map(|number| number.0),
            })
        })
        .collect();
    json!({
        "channel": channel,
        "id": status.id.map(|id| id.0),
        "view": status.view.0,
        "primary": status.primary.map(|id| id.0),
        "height": status.height,
        "active": status.active,
        "role": role,
        "reason": obstacle(status).or(follows),
        "failure": status.failure,
        "quorum": status.quorum,
        "reachable": status.reachable,
        "needed": status.needed,
        "consenters": status.consenters,
        "in_flight": status.in_flight,
        "pool": status.pool,
        "peers": peers,
    })
}

/// A time as RFC 3339 in UTC, to the millisecond.
fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Days to civil date: count from 0000-03-01, in eras of 400 years.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", since.subsec_millis())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339() {
        let at = |millis| rfc3339(SystemTime::UNIX_EPOCH + Duration::from_millis(millis));
        assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(at(1_709_251_199_999), "2024-02-29T23:59:59.999Z");
        assert_eq!(at(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
    }

    #[test]
    fn a_log_filter_changes_only_if_it_can_be_read() {
        let filter = LogFilter::new("info", |_| Ok(()));
        filter.set("warn,sbft=debug").unwrap();
        assert_eq!(filter.spec(), "warn,sbft=debug");
        assert!(filter.set("info,=,").is_err());
        assert_eq!(filter.spec(), "warn,sbft=debug");
        filter.set(" ").unwrap();
        assert_eq!(filter.spec(), "info");
    }
}
