//! `sbft status`: how each replica of a network is.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::{block_on, say};
use crate::client::network_file::{NetworkFile, ReplicaEntry};
use crate::client::operations;

/// Arguments of `sbft status`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The network's directory
    #[arg(long, value_name = "DIR", default_value = "network")]
    network: PathBuf,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

/// Runs it. Exit status 0 when every replica is up and sees a quorum.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let network = NetworkFile::load(&args.network)?;
    let replicas = block_on(async { Ok(all(&network).await) })?;
    let well = replicas.iter().all(|replica| replica["up"] == true && replica["quorum"] == true);
    if args.json {
        let text = serde_json::to_string_pretty(&json!({ "replicas": replicas }))
            .context("the status cannot be printed")?;
        say(text)?;
    } else {
        print_table(&replicas)?;
    }
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The status of each replica, asked all at once: `id`, `up`, and if up `view`, `primary`,
/// `height`, `quorum`, `peers`, `role`, and `reason` when something is not as it should be.
pub(super) async fn all(network: &NetworkFile) -> Vec<Value> {
    let asked = network.replicas.iter().map(|replica| one(replica, &network.channel));
    futures::future::join_all(asked).await
}

async fn one(replica: &ReplicaEntry, channel: &str) -> Value {
    match ask(replica, channel).await {
        Ok(mut status) => {
            status["id"] = json!(replica.id);
            status["up"] = json!(true);
            status
        }
        Err(error) => json!({
            "id": replica.id,
            "up": false,
            "view": null,
            "primary": null,
            "height": null,
            "quorum": false,
            "peers": [],
            "reason": format!("{error:#}"),
        }),
    }
}

async fn ask(replica: &ReplicaEntry, channel: &str) -> anyhow::Result<Value> {
    let (code, body) = operations::get(&replica.ops, "/status").await?;
    anyhow::ensure!(code == 200, "http://{}/status answered {code}", replica.ops);
    let status: Value = serde_json::from_str(&body)
        .with_context(|| format!("http://{}/status answered no JSON", replica.ops))?;
    let channels = status["channels"].as_array().context("the status names no channels")?;
    channels
        .iter()
        .find(|entry| entry["channel"] == channel)
        .cloned()
        .with_context(|| format!("replica {} does not serve channel {channel}", replica.id))
}

fn print_table(replicas: &[Value]) -> anyhow::Result<()> {
    say(format_args!(
        "{:>2}  {:<4}  {:>5}  {:>7}  {:>8}  {:<6}  {:<12}  note",
        "id", "up", "view", "primary", "height", "quorum", "peers up"
    ))?;
    for replica in replicas {
        let text = |field: &str| match &replica[field] {
            Value::Null => "-".to_owned(),
            Value::String(text) => text.clone(),
            Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
            other => other.to_string(),
        };
        let peers: Vec<String> = replica["peers"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|peer| peer["up"] == true || peer["connected"] == true)
            .map(|peer| peer["id"].to_string())
            .collect();
        say(format_args!(
            "{:>2}  {:<4}  {:>5}  {:>7}  {:>8}  {:<6}  {:<12}  {}",
            text("id"),
            text("up"),
            text("view"),
            text("primary"),
            text("height"),
            text("quorum"),
            if peers.is_empty() { "-".to_owned() } else { peers.join(" ") },
            note(replica),
        ))?;
    }
    Ok(())
}

/// What is not as it should be with a replica, for people.
fn note(replica: &Value) -> String {
    match replica["reason"].as_str() {
        Some(reason) if !reason.is_empty() => reason.to_owned(),
        _ if replica["active"] == false && replica["role"] == "voter" => {
            format!("between views: waits for others to enter view {} too, and votes then", replica["view"])
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_voter_that_waits_for_a_view_is_told_apart_from_one_that_votes() {
        let status = |active: bool, role: &str, reason: Value| json!({ "active": active, "role": role, "reason": reason, "view": 3 });
        assert_eq!(note(&status(true, "voter", Value::Null)), "");
        assert!(note(&status(false, "voter", Value::Null)).contains("enter view 3"));
        assert_eq!(note(&status(false, "voter", json!("no quorum"))), "no quorum");
        assert_eq!(note(&status(false, "follower", json!("wiped"))), "wiped");
    }
}
