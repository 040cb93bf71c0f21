//! The page that `--html` writes: one file, no script, nothing loaded from elsewhere.

mod svg;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use hdrhistogram::Histogram;

use self::svg::{Axis, Chart, escape, gap, number};
use super::report::{Report, Summary};
use super::series::Point;
use super::sweep::{Step, Sweep};

/// Colours, in the order in which lines get them.
const COLOURS: [&str; 6] = ["c1", "c2", "c3", "c4", "c5", "c6"];
/// Why writing to a string is no matter of luck.
const TAKES_ALL: &str = "a string takes all";
/// More points than this are not seen on a page; of neighbours the worst is drawn.
const POINTS: usize = 900;

/// The page of one plan, run once or several times.
pub fn of_runs(summary: &Summary, command: &str) -> String {
    let report = &summary.median;
    let mut body = head("sbft load", command);
    body += &tiles(report);
    body += &warnings(report);
    if let Some(range) = &summary.range {
        writeln!(
            body,
            "<p>Medians of {} runs. Smallest to largest: committed {} to {} a second, p50 {} to {} ms, \
             p99 {} to {} ms, longest gap {} to {} ms. The pictures show the run in the middle.</p>",
            summary.runs.len(),
            number(range.committed_per_s[0]),
            number(range.committed_per_s[1]),
            number(range.p50_ms[0]),
            number(range.p50_ms[1]),
            number(range.p99_ms[0]),
            number(range.p99_ms[1]),
            number(range.longest_gap_ms[0]),
            number(range.longest_gap_ms[1]),
        )
        .expect(TAKES_ALL);
    }
    body += &faults(summary);
    body += &pictures(report);
    body += &settings(report, None);
    page("sbft load", &body)
}

/// The page of a sweep.
pub fn of_sweep(sweep: &Sweep, command: &str) -> String {
    let mut body = head("sbft load --sweep", command);
    body += "<p>Each point is one measurement at a fixed rate (open loop), from a low rate to beyond what the \
             network can do. Where a line turns back or up, the network is saturated: more is offered than \
             can be committed, and latency grows for as long as the measurement lasts.</p>\n";
    body += &throughput_against_latency(sweep);
    body += &committed_against_offered(sweep);
    body += &sweep_table(sweep);
    body += &distributions(sweep);
    if let Some(step) = sweep.steps.iter().max_by(|a, b| a.offered.total_cmp(&b.offered)) {
        body += &settings(&step.report, Some(sweep));
    }
    page("sbft load --sweep", &body)
}

fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>\n{}</style>\n</head>\n<body>\n{body}</body>\n</html>\n",
        include_str!("style.css")
    )
}

fn head(title: &str, command: &str) -> String {
    format!("<h1>{title}</h1>\n<p class=\"faint\"><code>{}</code></p>\n", escape(command))
}

fn tiles(report: &Report) -> String {
    let mut out = "<div class=\"tiles\">\n".to_owned();
    let latency = &report.latency_ms;
    let ms = |value: f64| format!("{} ms", number(value));
    let mut tile = |value: String, label: &str| {
        writeln!(out, "<div class=\"tile\"><b>{value}</b><span>{label}</span></div>").expect(TAKES_ALL);
    };
    tile(format!("{}/s", number(report.committed_per_s)), "committed");
    tile(format!("{}/s", number(report.offered_per_s)), "offered");
    tile(ms(latency.p50), "latency p50");
    tile(ms(latency.p99), "latency p99");
    tile(ms(latency.p999), "latency p99.9");
    tile(ms(latency.max), "latency, largest");
    tile(ms(report.longest_gap_ms), "longest gap");
    tile(number(report.errors as f64), "errors");
    if !report.rss_mb.is_empty() {
        tile(format!("{} µs", number(report.cpu_us_per_envelope)), "CPU per envelope, all replicas");
        let peak = report.rss_peak_mb.iter().copied().fold(0.0, f64::max);
        tile(format!("{} MB", number(peak)), "memory of a replica, peak");
    }
    out + "</div>\n"
}

fn warnings(report: &Report) -> String {
    report.doubts().iter().fold(String::new(), |mut out, doubt| {
        writeln!(out, "<p class=\"warning\">{}</p>", escape(doubt)).expect(TAKES_ALL);
        out
    })
}

fn faults(summary: &Summary) -> String {
    let single = std::slice::from_ref(&summary.median);
    let runs = if summary.runs.is_empty() { single } else { &summary.runs[..] };
    if runs.iter().all(|run| run.faults.is_empty()) {
        return String::new();
    }
    let mut out = "<h2>Faults</h2>\n<div class=\"scroll\"><table>\n<tr><th>what</th><th>run</th><th>at</th>\
                   <th>replica</th><th>longest time without a block after it</th></tr>\n"
        .to_owned();
    for (number_of_run, run) in (1..).zip(runs) {
        for fault in &run.faults {
            writeln!(
                out,
                "<tr><td>{}</td><td>{number_of_run}</td><td>{} s</td><td>{}</td><td>{} ms</td></tr>",
                escape(&fault.what),
                number(fault.at_s),
                fault.replica.map_or_else(|| "–".to_owned(), |id| id.to_string()),
                number(fault.stall_ms)
            )
            .expect(TAKES_ALL);
        }
    }
    out + "</table></div>\n"
}

/// The run over time, and its distribution.
fn pictures(report: &Report) -> String {
    let mut out = String::new();
    let warm_up = report.settings.warm_up_s;
    let points: Vec<Point> =
        report.series.as_ref().map(|series| series.points().collect()).unwrap_or_default();
    let end = points.last().map_or(warm_up + report.settings.duration_s, |point| point.at_s);
    let close = warm_up + report.settings.duration_s;
    let frame = |chart: &mut Chart| {
        chart.shade(0.0, warm_up, "warm-up");
        chart.shade(close, end, "drain");
        for (row, fault) in report.faults.iter().enumerate() {
            let whom = fault.replica.map(|id| format!(" ({id})")).unwrap_or_default();
            chart.mark(warm_up + fault.at_s, &format!("{}{whom}", fault.what), row % 4);
        }
    };
    let time = || Axis::exact("seconds since the load began", end);

    if !points.is_empty() {
        let latencies = points.iter().filter_map(|point| point.latency_ms);
        let low = latencies.clone().map(|[p50, ..]| p50).fold(f64::INFINITY, f64::min);
        let high = latencies.map(|[.., max]| max).fold(0.0, f64::max);
        let mut chart = Chart::new(time(), Axis::log("latency, ms", low, high));
        frame(&mut chart);
        for (which, class, label) in [(2, "c2 dash", "largest"), (1, "c3", "p99"), (0, "c1", "p50")] {
            let line = thin(&points, |point| point.latency_ms.map_or(f64::NAN, |values| values[which]));
            chart.line(class, label, line.into_iter().map(|(x, y)| if y.is_nan() { gap(x) } else { (x, y) }));
        }
        out += "<h2>Latency over time</h2>\n<p class=\"note\">By the time at which envelopes were to be sent: a stall \
                shows in all that it delayed.</p>\n";
        out += &chart.finish("Latency over time: median, 99% and largest of each interval");

        let high = points.iter().map(|point| point.committed_per_s).fold(report.offered_per_s, f64::max);
        let mut chart = Chart::new(time(), Axis::linear("envelopes committed a second", high));
        frame(&mut chart);
        chart.area("c1", "committed", thin_mean(&points, |point| point.committed_per_s));
        if report.settings.rate.is_some() {
            chart.level(report.offered_per_s, &format!("offered: {}/s", number(report.offered_per_s)));
        }
        out += "<h2>Committed over time</h2>\n<p class=\"note\">By the time at which their block was delivered.</p>\n";
        out += &chart.finish("Envelopes committed a second over time");
    }
    if let Some(histogram) = &report.histogram {
        out += "<h2>Distribution of latency</h2>\n<p class=\"note\">Of all envelopes of the measurement; each step to \
                the right is ten times rarer.</p>\n";
        out += &distribution(&[("c1", "this run".to_owned(), histogram)]);
    }
    out += &usage(report, end, frame);
    out
}

/// Percentile curves.
fn distribution(curves: &[(&str, String, &Histogram<u64>)]) -> String {
    let count = curves.iter().map(|(_, _, histogram)| histogram.len()).max().unwrap_or(1);
    let low = curves.iter().map(|(_, _, histogram)| histogram.min()).min().unwrap_or(1) as f64 / 1e3;
    let high = curves.iter().map(|(_, _, histogram)| histogram.max()).max().unwrap_or(1) as f64 / 1e3;
    let x = Axis::percentiles(count);
    let mut chart = Chart::new(x, Axis::log("latency, ms", low, high));
    for (class, label, histogram) in curves {
        let decades = (histogram.len().max(2) as f64).log10();
        let points = (0..=200).map(|step| {
            let rarity = 10f64.powf(decades * f64::from(step) / 200.0);
            (rarity, histogram.value_at_quantile(1.0 - 1.0 / rarity) as f64 / 1e3)
        });
        chart.line(class, label, points.collect::<Vec<_>>());
    }
    chart.finish("Latency by percentile")
}

/// CPU and memory of the processes.
fn usage(report: &Report, end: f64, frame: impl Fn(&mut Chart)) -> String {
    // A drain may last longer than what is drawn.
    let drawn = report.samples.partition_point(|sample| sample.at_s <= end);
    let samples = &report.samples[..drawn];
    let replicas = samples.first().map_or(0, |sample| sample.cpu_s.len());
    if samples.len() < 3 || report.rss_mb.is_empty() {
        return String::new();
    }
    let rate = |of: &dyn Fn(&super::Sample) -> f64| -> Vec<(f64, f64)> {
        samples
            .windows(2)
            .filter(|pair| pair[1].at_s - pair[0].at_s > 0.05)
            .map(|pair| {
                (pair[1].at_s, (of(&pair[1]) - of(&pair[0])).max(0.0) / (pair[1].at_s - pair[0].at_s))
            })
            .collect()
    };
    let replica_lines: Vec<Vec<(f64, f64)>> =
        (0..replicas).map(|index| rate(&move |sample: &super::Sample| sample.cpu_s[index])).collect();
    let client = rate(&|sample| sample.client_cpu_s);
    let steal = rate(&|sample| sample.machine_s.1);
    let high =
        replica_lines.iter().flatten().chain(&client).chain(&steal).map(|(_, y)| *y).fold(0.0, f64::max);
    let time = || Axis::exact("seconds since the load began", end);
    let mut chart = Chart::new(time(), Axis::linear("CPUs", high));
    frame(&mut chart);
    // More lines than colours say less than their sum.
    if replicas <= 4 {
        for (index, line) in replica_lines.into_iter().enumerate() {
            chart.line(COLOURS[index % COLOURS.len()], &format!("replica {}", index + 1), line);
        }
    } else {
        chart.line("c1", "all replicas", rate(&|sample| sample.cpu_s.iter().sum()));
    }
    chart.line("c5", "client", client);
    chart.line("c6 dash", "stolen", steal);
    let mut out = "<h2>CPU</h2>\n".to_owned() + &chart.finish("CPU of each process over time");

    let high = samples.iter().flat_map(|sample| &sample.rss_mb).copied().fold(0.0, f64::max);
    let mut chart = Chart::new(time(), Axis::linear("resident memory, MB", high));
    frame(&mut chart);
    if replicas <= 4 {
        for (index, colour) in COLOURS.iter().enumerate().take(replicas) {
            let line = samples.iter().map(|sample| (sample.at_s, sample.rss_mb[index]));
            chart.line(colour, &format!("replica {}", index + 1), line.collect::<Vec<_>>());
        }
    } else {
        let largest = |sample: &super::Sample| sample.rss_mb.iter().copied().fold(0.0, f64::max);
        chart.line("c1", "the largest", samples.iter().map(|sample| (sample.at_s, largest(sample))));
    }
    out += "<h2>Memory of the replicas</h2>\n";
    out + &chart.finish("Resident memory of each replica over time")
}

/// At most [`POINTS`] points: of neighbours the largest value.
fn thin(points: &[Point], of: impl Fn(&Point) -> f64) -> Vec<(f64, f64)> {
    let share = points.len().div_ceil(POINTS).max(1);
    let worst = |chunk: &[Point]| chunk.iter().map(&of).fold(f64::NAN, f64::max);
    points.chunks(share).map(|chunk| (chunk[chunk.len() / 2].at_s, worst(chunk))).collect()
}

/// At most [`POINTS`] points: of neighbours the mean.
fn thin_mean(points: &[Point], of: impl Fn(&Point) -> f64) -> Vec<(f64, f64)> {
    let share = points.len().div_ceil(POINTS).max(1);
    let mean = |chunk: &[Point]| chunk.iter().map(&of).sum::<f64>() / chunk.len() as f64;
    points.chunks(share).map(|chunk| (chunk[chunk.len() / 2].at_s, mean(chunk))).collect()
}

fn throughput_against_latency(sweep: &Sweep) -> String {
    let steps = || sweep.steps.iter();
    let low = steps().map(|step| step.report.latency_ms.p50).fold(f64::INFINITY, f64::min);
    let high = steps().map(|step| step.report.latency_ms.p99).fold(0.0, f64::max);
    let most = steps().map(|step| step.report.committed_per_s).fold(0.0, f64::max);
    let mut chart = Chart::new(
        Axis::linear("envelopes committed a second", most),
        Axis::log("latency, ms (solid p50, dashed p99)", low, high),
    );
    for (colour, size) in COLOURS.iter().cycle().zip(&sweep.sizes) {
        let of_size = |of: fn(&Step) -> f64| {
            let line = sweep.of_size(*size).map(move |step| (step.report.committed_per_s, of(step)));
            line.collect::<Vec<_>>()
        };
        chart.line(colour, &format!("{size} B"), of_size(|step| step.report.latency_ms.p50));
        chart.line(&format!("{colour} dash"), "", of_size(|step| step.report.latency_ms.p99));
        for step in sweep.of_size(*size) {
            for (what, value) in [("p50", step.report.latency_ms.p50), ("p99", step.report.latency_ms.p99)] {
                let text = format!(
                    "{size} B, offered {}/s: committed {}/s, {what} {} ms",
                    number(step.offered),
                    number(step.report.committed_per_s),
                    number(value)
                );
                chart.dot(colour, step.report.committed_per_s, value, &text);
            }
        }
    }
    "<h2>Throughput against latency</h2>\n".to_owned() + &chart.finish("Throughput against latency")
}

fn committed_against_offered(sweep: &Sweep) -> String {
    let most =
        sweep.steps.iter().map(|step| step.offered.max(step.report.committed_per_s)).fold(0.0, f64::max);
    let mut chart =
        Chart::new(Axis::linear("offered a second", most), Axis::linear("committed a second", most));
    chart.line("c5 dash", "all that is offered", [(0.0, 0.0), (most, most)]);
    for (colour, size) in COLOURS.iter().cycle().zip(&sweep.sizes) {
        let line = sweep.of_size(*size).map(|step| (step.offered, step.report.committed_per_s));
        chart.line(colour, &format!("{size} B"), line.collect::<Vec<_>>());
        for step in sweep.of_size(*size) {
            let text = format!(
                "{size} B: offered {}/s, committed {}/s",
                number(step.offered),
                number(step.report.committed_per_s)
            );
            chart.dot(colour, step.offered, step.report.committed_per_s, &text);
        }
    }
    "<h2>Committed against offered</h2>\n".to_owned() + &chart.finish("Committed against offered rate")
}

fn sweep_table(sweep: &Sweep) -> String {
    let mut out =
        "<h2>All measurements</h2>\n<div class=\"scroll\"><table>\n<tr><th>envelope</th><th>offered/s</th>\
                   <th>committed/s</th><th>p50 ms</th><th>p90</th><th>p99</th><th>p99.9</th><th>max</th>\
                   <th>gap ms</th><th>CPU µs</th><th>per block</th><th>errors</th><th>stolen CPUs</th></tr>\n"
            .to_owned();
    for step in &sweep.steps {
        let report = &step.report;
        let latency = &report.latency_ms;
        writeln!(
            out,
            "<tr><td>{} B</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
             <td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            step.size,
            number(step.offered),
            number(report.committed_per_s),
            number(latency.p50),
            number(latency.p90),
            number(latency.p99),
            number(latency.p999),
            number(latency.max),
            number(report.longest_gap_ms),
            number(report.cpu_us_per_envelope),
            number(report.envelopes_per_block),
            number(report.errors as f64),
            number(report.machine.steal_cpus),
        )
        .expect(TAKES_ALL);
    }
    out + "</table></div>\n<p class=\"note\">Errors are envelopes that were due and did not come within the drain; \
           latencies are those of what came. CPU is that of all replicas for each envelope.</p>\n"
}

fn distributions(sweep: &Sweep) -> String {
    let mut out = String::new();
    for size in &sweep.sizes {
        let steps: Vec<&Step> = sweep.of_size(*size).filter(|step| step.report.histogram.is_some()).collect();
        // As many as there are colours, spread over the rates.
        let share = steps.len().div_ceil(COLOURS.len()).max(1);
        let curves: Vec<_> = COLOURS
            .iter()
            .zip(steps.iter().step_by(share))
            .filter_map(|(colour, step)| {
                let label = format!("{}/s", number(step.offered));
                Some((*colour, label, step.report.histogram.as_ref()?))
            })
            .collect();
        if !curves.is_empty() {
            writeln!(out, "<h2>Distribution of latency, {size} B</h2>").expect(TAKES_ALL);
            out += &distribution(&curves);
        }
    }
    out
}

/// What was measured, and on what; of a sweep, what all its measurements have in common.
fn settings(report: &Report, sweep: Option<&Sweep>) -> String {
    let settings = &report.settings;
    let machine = &report.machine;
    let block = &settings.block;
    let checked = match (settings.client_signatures.as_str(), settings.client_signatures_checked) {
        ("none", _) => "none: the Writers policy asks for none".to_owned(),
        (scheme, true) => format!("{scheme}, checked by every replica"),
        (scheme, false) => format!("{scheme}, not checked: the Writers policy asks for none"),
    };
    let (mut load, mut sizes) = (None, settings.envelope_bytes.to_string());
    if let Some(sweep) = sweep {
        let rates = sweep.steps.iter().map(|step| step.offered);
        let (least, most) = (rates.clone().fold(f64::INFINITY, f64::min), rates.fold(0.0, f64::max));
        load = Some(format!(
            "open loop at fixed times, {} measurements with {} to {} a second, one after the other",
            sweep.steps.len(),
            number(least),
            number(most)
        ));
        let bytes: BTreeSet<usize> = sweep.steps.iter().map(|step| step.size).collect();
        sizes = bytes.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    }
    let load = load.unwrap_or_else(|| match (settings.rate, settings.in_flight) {
        (Some(rate), _) => format!("open loop, {} a second at fixed times", number(rate)),
        (_, Some(count)) => format!("closed loop, {} in flight", number(count as f64)),
        (None, None) => settings.pace.clone(),
    });
    let rows = [
        ("load", load),
        ("envelopes", format!("{sizes} B encoded, by {} client(s)", settings.clients)),
        ("client signatures", checked),
        ("sent to", format!("{}, {} stream(s) to each replica", settings.to, settings.streams)),
        ("blocks read from", format!("replica {}", settings.deliver_from)),
        (
            "measured",
            format!("{} s after {} s of warm-up", number(settings.duration_s), number(settings.warm_up_s)),
        ),
        ("replicas", settings.n.to_string()),
        (
            "block limits",
            format!(
                "{} envelopes, {} bytes preferred, {} bytes absolute, {} ms",
                number(f64::from(block.max_message_count)),
                number(f64::from(block.preferred_max_bytes)),
                number(f64::from(block.absolute_max_bytes)),
                number(block.timeout_ms)
            ),
        ),
        ("log synced to disk", settings.sync.clone()),
        ("SUCCESS means", settings.success.clone()),
        ("client TLS", if settings.tls { "on" } else { "off" }.to_owned()),
        (
            "program",
            format!(
                "version {}, commit {}{}",
                settings.version,
                settings.commit,
                if settings.optimized { "" } else { ", NOT an optimised build" }
            ),
        ),
        ("machine", format!("{} CPUs, {}", settings.cpus, settings.cpu_model)),
        (
            if sweep.is_some() { "machine at the highest rate" } else { "machine while measuring" },
            format!(
                "{} CPUs busy, {} with other programs, {} stolen by the hypervisor; the client used {}",
                number(machine.busy_cpus),
                number(machine.other_cpus),
                number(machine.steal_cpus),
                number(report.client.cpu_s / settings.duration_s.max(1e-9))
            ),
        ),
    ];
    let mut out = "<h2>Measured under</h2>\n<table class=\"settings\">\n".to_owned();
    for (name, value) in rows {
        writeln!(out, "<tr><td>{name}</td><td>{}</td></tr>", escape(&value)).expect(TAKES_ALL);
    }
    out + "</table>\n<p class=\"note\">Latency is from the time at which an envelope was to be sent to the delivered \
           block that has it, seen by one client that shares the machine with all replicas.</p>\n"
}
