//! The table, for terminals and documents (Markdown) and as a page.

use std::fmt::Write as _;

use super::{Args, Found, Measured, Outcome};

/// The columns' heads; the units are in them.
const HEADS: [&str; 13] = [
    "row",
    "attack",
    "open: committed/s",
    "p50 ms",
    "p99 ms",
    "longest gap ms",
    "closed: committed/s",
    "of fault-free",
    "longest gap ms",
    "CPU us/envelope",
    "not committed",
    "view",
    "acted",
];

/// The table in Markdown.
pub(super) fn text(args: &Args, found: &[Found]) -> String {
    let mut text = format!("{}\n\n| {} |\n|", terms(args, found), HEADS.join(" | "));
    text += &" --- |".repeat(HEADS.len());
    for cells in found.iter().map(cells) {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n| {} |", cells.join(" | "));
    }
    for reason in failures(found) {
        let _ = write!(text, "\n\n{reason}");
    }
    text
}

/// The table as one HTML page without references to anything.
pub(super) fn html(args: &Args, found: &[Found]) -> String {
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let row = |cells: &[String], tag: &str| {
        let cells: String = cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let heads = row(&HEADS.map(str::to_owned), "th");
    let rows: String = found
        .iter()
        .map(|it| {
            let bar = it.ratio.unwrap_or(0.0).clamp(0.0, 1.0) * 100.0;
            row(&cells(it), "td").replacen("<tr>", &format!("<tr style=\"--bar:{bar:.1}%\">"), 1)
        })
        .collect();
    let failures: String =
        failures(found).map(|reason| format!("<p class=\"bad\">{}</p>\n", escape(&reason))).collect();
    let terms = escape(&terms(args, found));
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>sbft under attack</title>\n<style>\n\
         body {{ font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; \
         color: #1b2530; background: #fff; }}\n\
         table {{ border-collapse: collapse; }}\n\
         th, td {{ padding: .35rem .6rem; text-align: right; border-bottom: 1px solid #d8dee4; }}\n\
         th {{ vertical-align: bottom; }}\n\
         th:nth-child(-n+2), td:nth-child(-n+2) {{ text-align: left; }}\n\
         td:first-child {{ white-space: nowrap; font-weight: 600; }}\n\
         td:nth-child(8) {{ background: linear-gradient(90deg, #bcdcf5 var(--bar), transparent var(--bar)); }}\n\
         .bad {{ color: #a01020; }}\n\
         </style></head><body>\n<h1>Under attack</h1>\n<p>{terms}</p>\n<table>\n{heads}{rows}</table>\n{failures}\
         </body></html>\n"
    )
}

/// What the figures were measured under.
fn terms(args: &Args, found: &[Found]) -> String {
    let settings = found.iter().find_map(|it| Some(&it.open.measured()?.settings));
    let machine = settings.map_or_else(String::new, |settings| {
        format!(
            " Machine: {} CPUs, {}; commit {}{}.",
            settings.cpus,
            settings.cpu_model,
            settings.commit,
            if settings.optimized {
                ""
            } else {
                "; built WITHOUT optimisation, so these figures mean little"
            }
        )
    });
    format!(
        "sbft {}, {} replicas as processes on one machine, QUIC and TLS on, certificates synced before commits are sent; \
         envelopes of {} B signed by {} clients ({}), sent to the replicas that are honest in all rows; \
         open loop at {} a second, closed loop with {} in flight; attacks of {} s, begun after {} s of load. \
         Throughput from 1 s after the attack began, latencies and gaps from its beginning. {}{machine}",
        env!("CARGO_PKG_VERSION"),
        args.replicas,
        args.size,
        args.clients,
        format!("{:?}", args.key).to_lowercase(),
        args.rate,
        args.in_flight,
        args.seconds,
        args.before,
        match args.runs {
            1 => "One run of each.".to_owned(),
            runs => format!("Medians of {runs} runs."),
        },
    )
}

fn cells(found: &Found) -> Vec<String> {
    let open = |of: &dyn Fn(&Measured) -> String| found.open.measured().map_or_else(failed, of);
    let closed = |of: &dyn Fn(&Measured) -> String| found.closed.measured().map_or_else(failed, of);
    let both = |of: &dyn Fn(&Measured) -> u64, join: &dyn Fn(u64, u64) -> u64| {
        let both = found.open.measured().zip(found.closed.measured());
        both.map_or_else(failed, |(open, closed)| join(of(open), of(closed)).to_string())
    };
    vec![
        found.row.to_owned(),
        found.attack.to_owned(),
        open(&|it| format!("{:.0}", it.committed_per_s)),
        open(&|it| format!("{:.1}", it.p50_ms)),
        open(&|it| format!("{:.1}", it.p99_ms)),
        open(&|it| format!("{:.0}", it.longest_gap_ms)),
        closed(&|it| format!("{:.0}", it.committed_per_s)),
        found.ratio.map_or_else(failed, |ratio| format!("{:.0}%", ratio * 100.0)),
        closed(&|it| format!("{:.0}", it.longest_gap_ms)),
        closed(&|it| format!("{:.0}", it.cpu_us_per_envelope)),
        both(&|it| it.errors, &|open, closed| open + closed),
        both(&|it| it.view, &u64::max),
        both(&|it| it.acted, &u64::min),
    ]
}

fn failed() -> String {
    "failed".to_owned()
}

/// Why rows failed.
fn failures(found: &[Found]) -> impl Iterator<Item = String> {
    found.iter().flat_map(|it| {
        [("open", &it.open), ("closed", &it.closed)].into_iter().filter_map(|(pace, outcome)| match outcome {
            Outcome::Failed(reason) => Some(format!("{} ({pace} loop) failed: {reason}", it.row)),
            Outcome::Measured(_) => None,
        })
    })
}
