//! Asks the replicas how they do, and prints a line when there is something to say.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::Value;

use super::load::Load;
use crate::cli::{say, status};
use crate::client::network_file::NetworkFile;
use crate::client::operations;
use crate::metrics::ORDERED;

/// What the last line said.
pub(super) struct Watch {
    last: Option<Seen>,
    /// Envelopes that each replica has seen ordered, and when it said so.
    ordered: BTreeMap<u64, (Instant, f64)>,
}

#[derive(Clone, PartialEq)]
struct Seen {
    view: u64,
    primary: u64,
    height: u64,
    up: Vec<u64>,
    notes: Vec<String>,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self { last: None, ordered: BTreeMap::new() }
    }

    /// One look; prints a line if anything changed.
    ///
    /// # Errors
    /// When the line cannot be printed.
    pub(super) async fn look(&mut self, network: &NetworkFile, load: Option<&Load>) -> anyhow::Result<()> {
        let replicas = status::all(network).await;
        let rate = self.rate(network).await;
        let up: Vec<u64> = replicas
            .iter()
            .filter(|replica| replica["up"] == true)
            .filter_map(|replica| replica["id"].as_u64())
            .collect();
        // The replica that is furthest knows best.
        let best = replicas.iter().filter(|replica| replica["up"] == true).max_by_key(|replica| {
            (replica["height"].as_u64().unwrap_or(0), replica["view"].as_u64().unwrap_or(0))
        });
        let number = |field: &str| best.and_then(|replica| replica[field].as_u64()).unwrap_or(0);
        let notes = replicas
            .iter()
            .filter(|replica| replica["up"] == true)
            .filter_map(|replica| match replica["reason"].as_str() {
                Some(reason) if !reason.is_empty() => Some(format!("replica {}: {reason}", replica["id"])),
                _ => None,
            })
            .collect();
        let seen =
            Seen { view: number("view"), primary: number("primary"), height: number("height"), up, notes };
        if self.last.as_ref() == Some(&seen) {
            return Ok(());
        }
        if seen.up.is_empty() {
            self.last = Some(seen);
            return say("no replica answers; each one's log is node.log in its directory");
        }
        let mut line = format!(
            "view {}  primary {}  height {}  {:.0} envelopes/s  up {}/{}",
            seen.view,
            seen.primary,
            seen.height,
            rate,
            seen.up.len(),
            network.replicas.len(),
        );
        if let Some(load) = load {
            line += &format!("  load: {}", load.progress());
        }
        if self.last.as_ref().is_none_or(|last| last.notes != seen.notes) {
            for note in &seen.notes {
                line += &format!("\n  {note}");
            }
        }
        self.last = Some(seen);
        say(line)
    }

    /// Envelopes ordered a second since the last look, as the replica that saw most did.
    async fn rate(&mut self, network: &NetworkFile) -> f64 {
        let asked = network.replicas.iter().map(|replica| async {
            let ordered =
                operations::get(&replica.ops, "/metrics").await.ok().and_then(|(_, text)| total(&text));
            (u64::from(replica.id), ordered)
        });
        let mut best = 0.0f64;
        for (id, ordered) in futures::future::join_all(asked).await {
            let Some(ordered) = ordered else { continue };
            let now = Instant::now();
            if let Some((before, was)) = self.ordered.insert(id, (now, ordered)) {
                let seconds = now.duration_since(before).as_secs_f64();
                // A replica that was started again counts from zero.
                if seconds > 0.0 && ordered >= was {
                    best = best.max((ordered - was) / seconds);
                }
            }
        }
        best
    }
}

/// Sum of the ordered-envelopes counter over all channels.
fn total(metrics: &str) -> Option<f64> {
    let mut sum = None;
    for line in metrics.lines() {
        if let Some(rest) = line.strip_prefix(ORDERED)
            && rest.starts_with(['{', ' '])
            && let Some(value) = line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok())
        {
            *sum.get_or_insert(0.0) += value;
        }
    }
    sum
}

/// The replicas that do not say that they are ready, each with what it says instead.
pub(super) async fn not_ready(network: &NetworkFile) -> Vec<String> {
    let asked = network.replicas.iter().map(|replica| async {
        let reason = match operations::get(&replica.ops, "/status").await {
            Err(error) => error.to_string(),
            Ok((_, body)) => match serde_json::from_str::<Value>(&body) {
                Ok(status) if status["ready"] == true => return None,
                Ok(status) => status["channels"][0]["reason"].as_str().unwrap_or("starting").to_owned(),
                Err(_) => "answers no status".to_owned(),
            },
        };
        Some(format!("replica {}: {reason}", replica.id))
    });
    futures::future::join_all(asked).await.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_all_channels_add_up() {
        let text =
            format!("# TYPE {ORDERED} counter\n{ORDERED}{{channel=\"a\"}} 3\n{ORDERED}{{channel=\"b\"}} 4\n");
        assert_eq!(total(&text), Some(7.0));
        assert_eq!(total("other 1\n"), None);
    }
}
