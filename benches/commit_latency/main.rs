//! Commit latency of whole nodes, side by side with its floor: `cargo bench --bench commit_latency`.
//!
//! Replicas, clients and the floor's bare endpoints share this process, one tokio runtime and this
//! machine's cores. Latency is from the moment an envelope was due at the client to the moment its block
//! came out of the client's Deliver stream. The figure to quote is the *ratio to the floor*: it says what
//! the engine adds to what the machine, its disk and three message delays cost anyway.
//!
//! Name a section to run it alone (`cargo bench --bench commit_latency -- phases`); they are in [`SECTIONS`]. Every section ends by reading all ledgers: each
//! envelope that was sent is in exactly one block, the same at all replicas, with a quorum's signatures.

mod bare;
mod client;
mod endpoint;
mod figures;
mod network;
mod recorder;
#[path = "../support/terms.rs"]
mod terms;
mod timeline;

use std::time::{Duration, Instant};

use bare::{Bare, Floor};
use client::{Client, Target, make, smallest};
use criterion::Criterion;
use figures::{Figures, Load, at, heading, measure, row, together};
use network::{Network, Spec, is_in_memory};
use recorder::{Recorded, nanoseconds};
use sbft::genesis::ConsensusKind;
use terms::{Terms, is_short};
use timeline::{PHASES, Timeline};
use tokio::runtime::Runtime;

/// What can be run alone.
const SECTIONS: [&str; 8] =
    ["floor", "phases", "rates", "sizes", "limits", "replicas", "solo", "one_at_a_time"];
/// Around which the axes go.
const MIDDLE: Spec = Spec { n: 4, limit: 100, consensus: ConsensusKind::Bft };
const SIZE: usize = 1024;
/// Envelopes on the way while saturation is looked for.
const SATURATING: usize = 2_000;
/// Rounds in which the engine and the floor take turns.
const ROUNDS: usize = 3;

/// Ed25519 everywhere, every client's signature checked by every replica.
const SIGNED: &str = "Ed25519 by replicas and clients, each client signature checked by every replica (policy: signed Writers)";
/// The engine's only policy.
const SYNCED: &str =
    "log synced before each commit leaves; ledger synced 40 ms after a block, or a window of them";
/// Real sockets on one machine.
const LOOPBACK: &str =
    "all in one process; QUIC with TLS 1.3 on loopback, gRPC with TLS on loopback, MTU 1452";

/// How long everything takes.
#[derive(Clone, Copy)]
struct Scale {
    /// Of one open loop.
    open: Duration,
    /// Of one closed loop.
    closed: Duration,
    /// Envelopes made for a closed loop, at most.
    supply: usize,
    rounds: usize,
    short: bool,
}

impl Scale {
    fn of_this_run() -> Self {
        if is_short() {
            let moment = Duration::from_millis(100);
            return Self { open: moment, closed: moment, supply: 200, rounds: 1, short: true };
        }
        let (open, closed) = (Duration::from_secs(3), Duration::from_millis(2500));
        Self { open, closed, supply: 60_000, rounds: ROUNDS, short: false }
    }

    /// The points of an axis; its first alone in the short mode.
    fn points<T, const N: usize>(&self, points: [T; N]) -> impl Iterator<Item = T> + use<T, N> {
        points.into_iter().take(if self.short { 1 } else { N })
    }

    fn envelopes(&self, rate: f64) -> usize {
        (self.open.as_secs_f64() * rate).ceil().max(5.0) as usize
    }
}

fn main() {
    let recorded = Recorded::install();
    let timeline = Timeline::install();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let scale = Scale::of_this_run();
    let wanted: Vec<String> = std::env::args().filter(|name| SECTIONS.contains(&name.as_str())).collect();
    let runs = |section: &str| wanted.is_empty() || wanted.iter().any(|name| name == section);
    println!("\ncommit latency in milliseconds, from due at the client to delivered to the client");
    println!("{}", terms(MIDDLE, SIZE));
    if is_in_memory(network::temporary_directory().path()) {
        println!("  THE DIRECTORY IS IN MEMORY: syncs cost nothing, and no figure counts");
    }
    if runs("floor") {
        runtime.block_on(floor(&recorded, scale));
    }
    if runs("phases") {
        runtime.block_on(phases(&recorded, &timeline, scale));
    }
    if runs("rates") {
        runtime.block_on(rates(&recorded, scale));
    }
    if runs("sizes") {
        runtime.block_on(sizes(&recorded, scale));
    }
    if runs("limits") {
        runtime.block_on(limits(&recorded, scale));
    }
    if runs("replicas") {
        runtime.block_on(replicas(&recorded, scale));
    }
    if runs("solo") {
        runtime.block_on(solo(&recorded, scale));
    }
    if runs("one_at_a_time") {
        one_at_a_time(&runtime);
    }
}

fn terms(spec: Spec, size: usize) -> Terms {
    Terms {
        n: spec.n,
        payload: format!("encoded envelopes of {size} B, at most {} in a block", spec.limit),
        signatures: SIGNED,
        sync: SYNCED,
        transport: LOOPBACK,
    }
}

/// Warms up a connection: caches of identities, congestion windows, the log's first segments.
async fn warm_up(network: &Network, client: &mut Client, size: usize, scale: Scale) {
    let count = if scale.short { 20 } else { 400 };
    let envelopes = make(&network.makers, size, count).await.expect("envelopes of this size");
    client.closed_loop(envelopes, 4, Duration::from_secs(5)).await;
}

/// The engine and the floor, in turns.
async fn floor(recorded: &Recorded, scale: Scale) {
    println!("\nratio to the floor; envelopes go to the primary");
    let network = Network::start(MIDDLE).await;
    let (primary, view) = network.primary();
    let mut client = Client::connect(&network, Target::One(primary, 1)).await;
    warm_up(&network, &mut client, SIZE, scale).await;
    let mut bares = Vec::new();
    for (syncs, what) in [
        (bare::Syncs::Two, "floor, 2 syncs"),
        (bare::Syncs::One, "floor, 1 sync"),
        (bare::Syncs::None, "floor, no sync"),
    ] {
        let mut bare = Bare::start(MIDDLE.n, syncs).await;
        let payload = make(&network.makers, SIZE, 1).await.expect("an envelope");
        bare.one_at_a_time(&payload, 50).await;
        bares.push((bare, what));
    }
    heading("load");
    let mut ratios = Vec::new();
    for rate in [None, Some(100.0), Some(500.0)] {
        let what = rate.map_or_else(|| "one at a time".to_owned(), |rate| format!("{rate}/s"));
        let (mut ours, mut floors) = (Vec::new(), bares.iter().map(|_| Vec::new()).collect::<Vec<_>>());
        for _ in 0..scale.rounds {
            let count = scale.envelopes(rate.unwrap_or(100.0));
            let envelopes = make(&network.makers, SIZE, count).await.expect("envelopes");
            let load = rate.map_or(Load::Outstanding(1, scale.open * 2), Load::Rate);
            let (figures, _) = measure(recorded, &network, &mut client, envelopes, load).await;
            let per_block = (figures.envelopes as f64 / figures.blocks as f64).round().max(1.0) as usize;
            let payload = make(&network.makers, SIZE, per_block).await.expect("envelopes");
            let blocks = (count / per_block) as u64;
            for ((bare, _), floors) in bares.iter_mut().zip(&mut floors) {
                floors.push(match rate {
                    None => bare.one_at_a_time(&payload, blocks).await,
                    Some(rate) => bare.open_loop(&payload, blocks, rate / per_block as f64).await,
                });
            }
            ours.push(figures);
        }
        let ours = together(ours);
        assert!(
            rate.is_some() || ours.syncs.log >= 0.99,
            "certificates are synced before commits leave, so that a block alone takes a sync of each log: {:?}",
            ours.syncs
        );
        row(&format!("{what}: sbft"), &ours);
        // The floor with as many syncs as the engine took is the one to compare with.
        let like = match ours.syncs.log {
            syncs if syncs >= 1.5 => bare::Syncs::Two,
            syncs if syncs >= 0.5 => bare::Syncs::One,
            _ => bare::Syncs::None,
        };
        for ((bare, name), floors) in bares.iter().zip(floors) {
            let floor = one_floor(&ours, &floors);
            row(&format!("{what}: {name}"), &floor);
            let ratio = |quantile| at(&ours.latency, quantile) / at(&floor.latency, quantile).max(1e-6);
            ratios.push(format!(
                "{what}, to the {name}: p50 {:.2}, p99 {:.2}{}",
                ratio(0.5),
                ratio(0.99),
                if bare.syncs() == like { "   <- the figure to quote" } else { "" }
            ));
        }
        ratios.push(format!(
            "{what}: the engine took {:.2} syncs of the log for each block and replica, {:.0} us each (median)",
            ours.syncs.log,
            ours.log_sync as f64 / 1e3
        ));
    }
    println!("\n  RATIO TO THE FLOOR");
    for ratio in ratios {
        println!("  {ratio}");
    }
    if network.primary() != (primary, view) {
        println!("  THE PRIMARY CHANGED during the run: its figures do not count");
    }
    end(network, client).await;
}

/// The rounds of one floor, told as the engine's are.
fn one_floor(ours: &Figures, rounds: &[Floor]) -> Figures {
    let mut latency = nanoseconds();
    for round in rounds {
        latency.add(&round.latency).expect("all histograms have the same bounds");
    }
    let mean = |of: fn(&Floor) -> f64| rounds.iter().map(of).sum::<f64>() / rounds.len().max(1) as f64;
    let (log, ledger) = (mean(|round| round.log_syncs), mean(|round| round.ledger_syncs));
    Figures {
        blocks: latency.len(),
        latency,
        envelopes: ours.envelopes,
        syncs: figures::Syncs { log, ledger, calls: log + ledger },
        log_sync: 0,
        per_second: 0.0,
    }
}

/// From a few a second to 80% of saturation, and where envelopes go.
async fn rates(recorded: &Recorded, scale: Scale) {
    let network = Network::start(MIDDLE).await;
    let (primary, _) = network.primary();
    println!("\nwhere envelopes go, 100/s; all but the first are cut by a replica that is not the primary");
    heading("submitted to");
    let mut sent = Vec::new();
    for (what, target) in [
        ("the primary", Target::One(primary, 1)),
        ("a backup", Target::One((primary + 1) % MIDDLE.n, 1)),
        ("all in turn", Target::RoundRobin),
    ] {
        let mut client = Client::connect(&network, target).await;
        warm_up(&network, &mut client, SIZE, scale).await;
        let envelopes = make(&network.makers, SIZE, scale.envelopes(100.0)).await.expect("envelopes");
        let (figures, _) = measure(recorded, &network, &mut client, envelopes, Load::Rate(100.0)).await;
        row(what, &figures);
        sent.append(&mut client.sent);
    }
    println!("\nrates; all in turn");
    let mut client = Client::connect(&network, Target::RoundRobin).await;
    warm_up(&network, &mut client, SIZE, scale).await;
    let envelopes = make(&network.makers, SIZE, scale.supply).await.expect("envelopes");
    let load = Load::Outstanding(SATURATING, scale.closed);
    let (most, _) = measure(recorded, &network, &mut client, envelopes, load).await;
    heading("offered");
    for share in [0.1, 0.2, 0.4, 0.6, 0.8] {
        let rate = most.per_second * share;
        let count = scale.envelopes(rate).min(scale.supply);
        let envelopes = make(&network.makers, SIZE, count).await.expect("envelopes");
        let (figures, _) = measure(recorded, &network, &mut client, envelopes, Load::Rate(rate)).await;
        row(&format!("{rate:.0}/s, {:.0}% of saturation", share * 100.0), &figures);
    }
    let what = format!("{:.0}/s: saturation", most.per_second);
    row(&what, &most);
    println!("  (saturation: {SATURATING} on the way at a time; its latency says how long they queue)");
    client.sent.append(&mut sent);
    end(network, client).await;
}

/// One point of an axis: at 100 a second, at saturation, at half of it. On a network of its own.
async fn point(recorded: &Recorded, scale: Scale, spec: Spec, size: usize, what: &str) {
    let network = Network::start(spec).await;
    let mut client = Client::connect(&network, Target::RoundRobin).await;
    warm_up(&network, &mut client, size, scale).await;
    let envelopes = make(&network.makers, size, scale.envelopes(100.0)).await.expect("envelopes");
    let (slow, _) = measure(recorded, &network, &mut client, envelopes, Load::Rate(100.0)).await;
    row(&format!("{what}: 100/s"), &slow);
    let supply = (scale.supply * SIZE / size.max(SIZE)).max(5);
    let envelopes = make(&network.makers, size, supply).await.expect("envelopes");
    let load = Load::Outstanding(SATURATING, scale.closed);
    let (most, _) = measure(recorded, &network, &mut client, envelopes, load).await;
    let rate = most.per_second / 2.0;
    let envelopes = make(&network.makers, size, scale.envelopes(rate).min(supply)).await.expect("envelopes");
    let (half, _) = measure(recorded, &network, &mut client, envelopes, Load::Rate(rate)).await;
    row(&format!("{what}: {rate:.0}/s, half of max"), &half);
    row(&format!("{what}: {:.0}/s, saturation", most.per_second), &most);
    end(network, client).await;
}

async fn sizes(recorded: &Recorded, scale: Scale) {
    println!("\nsizes of encoded envelopes; to all in turn");
    let network = Network::start(Spec { n: 1, ..MIDDLE }).await;
    let least = smallest(&network.makers[0]).await;
    network.stop_and_verify(&[]).await;
    heading("size");
    let mut measured = Vec::new();
    for size in scale.points([256, SIZE, 4096]) {
        let size = size.max(least);
        if !measured.contains(&size) {
            point(recorded, scale, MIDDLE, size, &format!("{size} B")).await;
            measured.push(size);
        }
    }
    println!(
        "  (256 B cannot be had: an envelope carries its creator's certificate, so that the smallest here has {least} B)"
    );
}

async fn limits(recorded: &Recorded, scale: Scale) {
    println!("\nenvelopes per block, at most; to all in turn");
    heading("limit");
    for limit in scale.points([1, 10, 100, 500]) {
        point(recorded, scale, Spec { limit, ..MIDDLE }, SIZE, &format!("limit {limit}")).await;
    }
}

async fn replicas(recorded: &Recorded, scale: Scale) {
    println!("\nreplicas; to all in turn");
    heading("replicas");
    for n in scale.points([4, 7, 10]) {
        point(recorded, scale, Spec { n, ..MIDDLE }, SIZE, &format!("n {n}")).await;
    }
}

/// The client's path and one node that asks nobody: what is left of the latency without consensus.
async fn solo(recorded: &Recorded, scale: Scale) {
    println!("\nthe solo consenter: one node, no votes, no log; each block is signed, appended and synced");
    println!(
        "  (it waits the batch timeout for a full block, so that low rates are measured with a limit of 1)"
    );
    heading("load");
    let consensus = ConsensusKind::Solo;
    let network = Network::start(Spec { n: 1, limit: 1, consensus }).await;
    let mut client = Client::connect(&network, Target::One(0, 1)).await;
    warm_up(&network, &mut client, SIZE, scale).await;
    for rate in [None, Some(100.0), Some(500.0)] {
        let what = rate.map_or_else(|| "one at a time".to_owned(), |rate| format!("{rate}/s"));
        let count = scale.envelopes(rate.unwrap_or(100.0));
        let envelopes = make(&network.makers, SIZE, count).await.expect("envelopes");
        let load = rate.map_or(Load::Outstanding(1, scale.open * 2), Load::Rate);
        let (figures, _) = measure(recorded, &network, &mut client, envelopes, load).await;
        row(&format!("{what}, limit 1"), &figures);
    }
    end(network, client).await;
    let network = Network::start(Spec { n: 1, limit: MIDDLE.limit, consensus }).await;
    let mut client = Client::connect(&network, Target::RoundRobin).await;
    warm_up(&network, &mut client, SIZE, scale).await;
    let envelopes = make(&network.makers, SIZE, scale.supply).await.expect("envelopes");
    let load = Load::Outstanding(SATURATING, scale.closed);
    let (most, _) = measure(recorded, &network, &mut client, envelopes, load).await;
    row(&format!("{:.0}/s: saturation, limit {}", most.per_second, MIDDLE.limit), &most);
    end(network, client).await;
}

/// Where the time goes.
async fn phases(recorded: &Recorded, timeline: &Timeline, scale: Scale) {
    let network = Network::start(MIDDLE).await;
    let quorum = sbft::wire::quorum(MIDDLE.n);
    let (primary, view) = network.primary();
    let mut sent = Vec::new();
    for (place, whom) in [(primary, "the primary"), ((primary + 1) % MIDDLE.n, "a backup")] {
        let mut client = Client::connect(&network, Target::One(place, 1)).await;
        warm_up(&network, &mut client, SIZE, scale).await;
        for rate in [None, Some(100.0), Some(500.0), Some(2000.0)] {
            if rate.is_some_and(|rate| rate > 100.0) && (scale.short || place != primary) {
                continue;
            }
            let what = rate.map_or_else(|| "one at a time".to_owned(), |rate| format!("{rate}/s"));
            let envelopes = make(&network.makers, SIZE, scale.envelopes(rate.unwrap_or(100.0))).await;
            let load = rate.map_or(Load::Outstanding(1, scale.open * 2), Load::Rate);
            timeline.listen();
            let (figures, outcome) =
                measure(recorded, &network, &mut client, envelopes.expect("envelopes"), load).await;
            let shares = timeline.shares(&outcome.samples, place as u64, primary as u64, quorum);
            println!("\nphases of the commit latency: {what}, submitted to {whom}");
            println!(
                "  p50 {:.2}, p99 {:.2}, mean {:.2}; {} envelopes; one sync of a log takes {:.0} us (median)",
                at(&figures.latency, 0.5),
                at(&figures.latency, 0.99),
                figures.latency.mean() / 1e6,
                figures.envelopes,
                figures.log_sync as f64 / 1e3
            );
            let total: f64 = shares.means.iter().sum();
            println!("  {:<38}|  mean ms | share |      p50 |      p99", "phase");
            println!("  {:-<38}|---------:|------:|---------:|--------:", "");
            for ((phase, mean), times) in PHASES.iter().zip(&shares.means).zip(&shares.phases) {
                println!(
                    "  {phase:<38}|{:9.3} |{:5.1}% |{:9.3} |{:9.3}",
                    mean / 1e6,
                    100.0 * mean / total.max(1.0),
                    at(times, 0.5),
                    at(times, 0.99)
                );
            }
            println!("  {:<38}|{:9.3} |", "all", total / 1e6);
            let missing = outcome.samples.len() - shares.whole;
            assert!(
                missing * 10 <= outcome.samples.len() || network.primary() != (primary, view),
                "{missing} of {} envelopes passed stations that nobody told of",
                outcome.samples.len()
            );
            let (mean, whole) = (figures.latency.mean(), total);
            assert!(
                missing > 0 || (mean - whole).abs() < 0.02 * mean + 50_000.0,
                "the phases add up to {whole} ns and the latency is {mean} ns"
            );
        }
        sent.append(&mut client.sent);
    }
    network.stop_and_verify(&sent).await;
}

async fn end(network: Network, client: Client) {
    let sent = client.sent.clone();
    drop(client);
    let blocks = network.stop_and_verify(&sent).await;
    println!("  verified: {} envelopes in {blocks} blocks, each once, at all replicas", sent.len());
}

/// The same one at a time, for criterion's statistics, pictures and comparison with the run before.
fn one_at_a_time(runtime: &Runtime) {
    println!("\none at a time, by criterion; floor: two syncs");
    let mut criterion = Criterion::default()
        .configure_from_args()
        .sample_size(20)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(5));
    let network = runtime.block_on(Network::start(MIDDLE));
    let (primary, _) = network.primary();
    let mut client = runtime.block_on(Client::connect(&network, Target::One(primary, 1)));
    let mut bare = runtime.block_on(Bare::start(MIDDLE.n, bare::Syncs::Two));
    let payload = bare::encode(&runtime.block_on(make(&network.makers, SIZE, 1)).expect("an envelope"));
    let mut group = criterion.benchmark_group("one_at_a_time");
    group.bench_function("sbft", |bencher| {
        bencher.iter_custom(|count| {
            runtime.block_on(async {
                let envelopes = make(&network.makers, SIZE, count as usize).await.expect("envelopes");
                let outcome = client.closed_loop(envelopes, 1, Duration::MAX).await;
                assert_eq!(outcome.samples.len() as u64, count, "all were committed");
                let took = outcome.samples.iter().map(|sample| sample.delivered - sample.due);
                took.sum()
            })
        });
    });
    group.bench_function("floor", |bencher| {
        bencher.iter_custom(|count| {
            runtime.block_on(async {
                let begun = Instant::now();
                for _ in 0..count {
                    bare.commit(payload.clone()).await;
                }
                begun.elapsed()
            })
        });
    });
    group.finish();
    criterion.final_summary();
    runtime.block_on(end(network, client));
}
