//! How a load on a network is measured and told: percentiles, syncs, blocks.

use std::time::Duration;

use hdrhistogram::Histogram;
use sbft::client::envelope::Made;
use sbft::metrics::{DISK_SYNCS, SYNC_SECONDS};

use crate::client::{Client, Outcome};
use crate::network::Network;
use crate::recorder::{Recorded, nanoseconds};

/// A ledger is synced this long after its last block, at the latest.
const LEDGER_SYNCED: Duration = Duration::from_millis(60);

/// Syncs for each block at each replica, on average.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Syncs {
    /// Of the log.
    pub(crate) log: f64,
    /// Of the ledger.
    pub(crate) ledger: f64,
    /// System calls of all kinds, new files and names of segments included.
    pub(crate) calls: f64,
}

/// What one load gave.
pub(crate) struct Figures {
    pub(crate) latency: Histogram<u64>,
    pub(crate) envelopes: u64,
    pub(crate) blocks: u64,
    pub(crate) syncs: Syncs,
    /// Median time of one sync of a log, nanoseconds.
    pub(crate) log_sync: u64,
    pub(crate) per_second: f64,
}

/// What is sent how.
pub(crate) enum Load {
    /// So many a second.
    Rate(f64),
    /// So many on the way at a time, for at most this long.
    Outstanding(usize, Duration),
}

/// Runs a load and counts what it cost.
pub(crate) async fn measure(
    recorded: &Recorded,
    network: &Network,
    client: &mut Client,
    envelopes: Vec<Made>,
    load: Load,
) -> (Figures, Outcome) {
    tokio::time::sleep(LEDGER_SYNCED).await;
    recorded.forget_times();
    let calls =
        || recorded.count(DISK_SYNCS, ("of", "file")) + recorded.count(DISK_SYNCS, ("of", "directory"));
    let (before, first) = (calls(), network.height(0));
    let outcome = match load {
        Load::Rate(rate) => client.open_loop(envelopes, rate).await,
        Load::Outstanding(outstanding, time) => client.closed_loop(envelopes, outstanding, time).await,
    };
    tokio::time::sleep(LEDGER_SYNCED).await;
    let blocks = network.height(0) - first;
    let each = |count: u64| count as f64 / (blocks.max(1) * network.spec.n as u64) as f64;
    let log = recorded.times(SYNC_SECONDS, ("file", "log"));
    let ledger = recorded.times(SYNC_SECONDS, ("file", "ledger"));
    let figures = Figures {
        latency: outcome.latency.clone(),
        envelopes: outcome.samples.len() as u64,
        blocks,
        syncs: Syncs { log: each(log.len()), ledger: each(ledger.len()), calls: each(calls() - before) },
        log_sync: log.value_at_quantile(0.5),
        per_second: outcome.per_second(),
    };
    assert!(blocks > 0 && figures.envelopes > 0, "nothing was committed");
    assert!(figures.syncs.calls > 0.0, "blocks were committed and nothing was synced");
    (figures, outcome)
}

/// The same load in several rounds, as one.
pub(crate) fn together(rounds: Vec<Figures>) -> Figures {
    let count = rounds.len().max(1) as f64;
    let mut all = Figures {
        latency: nanoseconds(),
        envelopes: 0,
        blocks: 0,
        syncs: Syncs::default(),
        log_sync: 0,
        per_second: 0.0,
    };
    for round in rounds {
        all.latency.add(round.latency).expect("all histograms have the same bounds");
        all.envelopes += round.envelopes;
        all.blocks += round.blocks;
        all.syncs.log += round.syncs.log / count;
        all.syncs.ledger += round.syncs.ledger / count;
        all.syncs.calls += round.syncs.calls / count;
        all.log_sync += (round.log_sync as f64 / count) as u64;
        all.per_second += round.per_second / count;
    }
    all
}

/// Milliseconds at a quantile.
pub(crate) fn at(latency: &Histogram<u64>, quantile: f64) -> f64 {
    latency.value_at_quantile(quantile) as f64 / 1e6
}

/// The heading of [`row`]s.
pub(crate) fn heading(what: &str) {
    println!(
        "  {what:<34}|    p50 |    p90 |    p99 |  p99.9 |    max | sent, n | per block | syncs of log, ledger, all calls"
    );
    println!("  {:-<34}|{}", "", "-------:|".repeat(5) + "--------:|----------:|" + &"-".repeat(32));
}

/// One line: latencies in milliseconds, then counts; syncs for each block and replica.
pub(crate) fn row(what: &str, figures: &Figures) {
    let ms = |quantile| at(&figures.latency, quantile);
    println!(
        "  {what:<34}|{:7.2} |{:7.2} |{:7.2} |{:7.2} |{:7.2} |{:8} |{:10.1} | {:.2}, {:.2}, {:.2}",
        ms(0.5),
        ms(0.9),
        ms(0.99),
        ms(0.999),
        ms(1.0),
        figures.envelopes,
        figures.envelopes as f64 / figures.blocks.max(1) as f64,
        figures.syncs.log,
        figures.syncs.ledger,
        figures.syncs.calls,
    );
}
