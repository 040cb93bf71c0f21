//! `sbft verify`: offline check of ledger directories and block files.

use std::path::PathBuf;
use std::process::ExitCode;

use super::say;
use crate::verify::{Report, VerifyOptions, verify_paths};

/// Arguments of `sbft verify`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Ledger directories and directories of N.block files, each checked by itself; and N.block
    /// files, checked together as one chain
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The channel's genesis block (a serialized common.Block), which is trusted
    #[arg(long, value_name = "FILE")]
    genesis: PathBuf,
    /// Refuse a ledger with an unfinished tail (a running replica's may have one)
    #[arg(long)]
    strict_tail: bool,
    /// Print the reports as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the check and prints its reports; success only if all is well.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let options = VerifyOptions { strict_tail: args.strict_tail };
    let reports = verify_paths(&args.paths, &args.genesis, options)?;
    let ok = reports.iter().all(|report| report.ok);
    if args.json {
        let json = serde_json::json!({ "ok": ok, "reports": reports });
        say(serde_json::to_string_pretty(&json)?)?;
    } else {
        for report in &reports {
            print_report(report)?;
        }
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print_report(report: &Report) -> anyhow::Result<()> {
    let Report { blocks, consenters, quorum, .. } = report;
    let path = report.path.display();
    match &report.failure {
        Some(failure) => {
            say(format_args!("{path}: REFUSED after {blocks} good blocks: {}", failure.reason))?;
        }
        None => {
            let least = report.min_signatures.unwrap_or(0);
            let hash = report.last_hash.get(..16).unwrap_or_default();
            say(format_args!(
                "{path}: good: {blocks} blocks, at least {least} valid signatures each ({quorum} of \
                 {consenters} needed), last header hash {hash}"
            ))?;
        }
    }
    if let Some(tail) = &report.unfinished_tail {
        let file = tail.file.display();
        say(format_args!("  unfinished tail: {} bytes at byte {} of {file}", tail.bytes, tail.offset))?;
    }
    Ok(())
}
