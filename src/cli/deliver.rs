//! `sbft deliver`: prints blocks, or writes them to files.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use prost::Message as _;
use serde_json::{Value, json};

use super::submit::security;
use super::{block_on, say};
use crate::client::connect::connect;
use crate::client::deliver::{self, Item, Position, Seek};
use crate::client::envelope::{EnvelopeMaker, request_id};
use crate::client::network_file::NetworkFile;
use crate::proto::{common, msp, sbft};

/// Arguments of `sbft deliver`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The network's directory
    #[arg(long, value_name = "DIR", default_value = "network")]
    network: PathBuf,
    /// Read from this replica; default: the first that answers
    #[arg(long, value_name = "ID")]
    replica: Option<u32>,
    /// First block
    #[arg(long, value_name = "oldest|newest|N", default_value = "oldest")]
    from: Edge,
    /// Last block; default: the newest
    #[arg(long, value_name = "N", conflicts_with = "follow")]
    to: Option<u64>,
    /// Go on with each block as it commits
    #[arg(long)]
    follow: bool,
    /// Print a JSON object for each block
    #[arg(long)]
    json: bool,
    /// Write each block to DIR/N.block instead of printing it
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Where to start.
#[derive(Clone, Copy, Debug)]
enum Edge {
    Oldest,
    Newest,
    Number(u64),
}

impl std::str::FromStr for Edge {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "oldest" => Ok(Self::Oldest),
            "newest" => Ok(Self::Newest),
            number => {
                number.parse().map(Self::Number).map_err(|_| "oldest, newest or a block number".to_owned())
            }
        }
    }
}

/// Runs it.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let (Edge::Number(from), Some(to)) = (args.from, args.to)
        && to < from
    {
        bail!("--to {to} is before --from {from}");
    }
    block_on(read(args))
}

async fn read(args: Args) -> anyhow::Result<ExitCode> {
    let network = NetworkFile::load(&args.network)?;
    let security = security(&network)?;
    let maker = EnvelopeMaker::open(&network.channel, &network.client)?;
    if let Some(dir) = &args.out {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    }
    let seek = Seek {
        start: match args.from {
            Edge::Oldest => Position::Oldest,
            Edge::Newest => Position::Newest,
            Edge::Number(number) => Position::Number(number),
        },
        stop: match args.to {
            _ if args.follow => Position::Number(u64::MAX),
            Some(to) => Position::Number(to),
            None => Position::Newest,
        },
        wait: args.follow,
    };
    let candidates = match args.replica {
        Some(id) => vec![network.replica(id)?],
        None => network.replicas.iter().collect(),
    };
    let mut opened = Err(anyhow::anyhow!("the network has no replicas"));
    for replica in candidates {
        opened = match connect(&replica.grpc, &security).await {
            Ok(channel) => deliver::open(channel, &maker, seek).await.map_err(anyhow::Error::from),
            Err(error) => Err(error.into()),
        }
        .with_context(|| format!("replica {}", replica.id));
        if opened.is_ok() {
            break;
        }
    }
    let mut blocks = opened?;
    let mut shown = None;
    loop {
        let item = tokio::select! {
            item = blocks.next() => item?,
            _ = tokio::signal::ctrl_c() => return Ok(ExitCode::SUCCESS),
        };
        match item {
            Some(Item::Block(block)) => {
                show(&block, &args)?;
                shown = block.header.as_ref().map(|header| header.number);
            }
            Some(Item::End(common::Status::Success)) => return Ok(ExitCode::SUCCESS),
            Some(Item::End(status)) => bail!("{}", ending(status, shown)),
            None => bail!("the replica closed the Deliver stream"),
        }
    }
}

/// Why a seek ended before its last block, and what to do; `shown` is the last block that came.
fn ending(status: common::Status, shown: Option<u64>) -> String {
    let hint = match (status, shown) {
        (common::Status::NotFound, Some(last)) => {
            format!(": block {last} is the newest there is; --follow waits for more")
        }
        (common::Status::NotFound, None) => {
            ": the chain is not that long yet; `sbft status` shows its height, --from newest its newest block"
                .to_owned()
        }
        (common::Status::BadRequest, None) => ": --to is before the first block asked for".to_owned(),
        (common::Status::Forbidden, _) => {
            ": the client's identity does not satisfy the channel's Readers policy".to_owned()
        }
        (common::Status::ServiceUnavailable, _) => {
            ": the replica cannot serve now; `sbft status` says why, --replica names another".to_owned()
        }
        _ => String::new(),
    };
    format!("Deliver ended with {} ({}){hint}", status.as_str_name(), status as i32)
}

fn show(block: &common::Block, args: &Args) -> anyhow::Result<()> {
    if let Some(dir) = &args.out {
        let number = block.header.as_ref().map_or(0, |header| header.number);
        let path = dir.join(format!("{number}.block"));
        std::fs::write(&path, block.encode_to_vec())
            .with_context(|| format!("cannot write {}", path.display()))?;
        return Ok(());
    }
    let described = describe(block);
    let text = if args.json { described.to_string() } else { readable(&described) };
    say(text)
}

fn describe(block: &common::Block) -> Value {
    let header = block.header.clone().unwrap_or_default();
    let data = block.data.clone().unwrap_or_default().data;
    let slots = block.metadata.clone().unwrap_or_default().metadata;
    let slot =
        slots.first().cloned().and_then(|slot| common::Metadata::decode(slot).ok()).unwrap_or_default();
    let value = common::OrdererBlockMetadata::decode(slot.value).unwrap_or_default();
    let consenter = sbft::ConsenterMetadata::decode(value.consenter_metadata).unwrap_or_default();
    let signers: Vec<Value> = slot
        .signatures
        .iter()
        .map(|signature| match common::IdentifierHeader::decode(signature.identifier_header.clone()) {
            Ok(header) if !signature.identifier_header.is_empty() => json!(header.identifier),
            _ => json!("certificate"),
        })
        .collect();
    json!({
        "number": header.number,
        "previous_hash": hex::encode(&header.previous_hash),
        "data_hash": hex::encode(&header.data_hash),
        "view": consenter.view,
        "proposal": hex::encode(&consenter.proposal),
        "last_config": value.last_config.map(|last| last.index),
        "signers": signers,
        "bytes": block.encoded_len(),
        "envelopes": data.into_iter().map(describe_envelope).collect::<Vec<_>>(),
    })
}

fn describe_envelope(data: Bytes) -> Value {
    let size = data.len();
    let decoded = common::Envelope::decode(data).ok();
    let payload =
        decoded.as_ref().and_then(|envelope| common::Payload::decode(envelope.payload.clone()).ok());
    let header = payload.as_ref().and_then(|payload| payload.header.clone()).unwrap_or_default();
    let channel = common::ChannelHeader::decode(header.channel_header).unwrap_or_default();
    let creator = common::SignatureHeader::decode(header.signature_header)
        .ok()
        .and_then(|header| msp::SerializedIdentity::decode(header.creator).ok())
        .map(|identity| identity.mspid)
        .unwrap_or_default();
    let kind = common::HeaderType::try_from(channel.r#type)
        .map_or_else(|_| channel.r#type.to_string(), |kind| kind.as_str_name().to_owned());
    json!({
        "type": kind,
        "tx_id": channel.tx_id,
        "request_id": decoded.as_ref().and_then(request_id).map(|id| id.to_string()),
        "creator": creator,
        "bytes": size,
    })
}

fn readable(block: &Value) -> String {
    let envelopes = block["envelopes"].as_array().map_or(&[][..], Vec::as_slice);
    let signers: Vec<String> =
        block["signers"].as_array().into_iter().flatten().map(|id| id.to_string().replace('"', "")).collect();
    let short = |field: &str| block[field].as_str().unwrap_or_default().chars().take(16).collect::<String>();
    let mut text = format!(
        "block {}  {} envelope{}  {} B  view {}  signed by {}\n  previous {}  data {}",
        block["number"],
        envelopes.len(),
        if envelopes.len() == 1 { "" } else { "s" },
        block["bytes"],
        block["view"],
        if signers.is_empty() { "nobody".to_owned() } else { signers.join(", ") },
        short("previous_hash"),
        short("data_hash"),
    );
    for envelope in envelopes.iter().take(10) {
        text += &format!(
            "\n  {} {} from {}, {} B",
            envelope["type"].as_str().unwrap_or_default(),
            envelope["tx_id"].as_str().unwrap_or_default().chars().take(16).collect::<String>(),
            envelope["creator"].as_str().filter(|creator| !creator.is_empty()).unwrap_or("nobody"),
            envelope["bytes"],
        );
    }
    if envelopes.len() > 10 {
        text += &format!("\n  … and {} more", envelopes.len() - 10);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_early_end_says_why_and_what_to_do() {
        let text = ending(common::Status::NotFound, None);
        assert!(text.contains("NOT_FOUND (404)") && text.contains("not that long yet"), "{text}");
        assert!(ending(common::Status::NotFound, Some(7)).contains("block 7 is the newest"));
        assert!(ending(common::Status::BadRequest, None).contains("--to"));
        assert_eq!(
            ending(common::Status::InternalServerError, None),
            "Deliver ended with INTERNAL_SERVER_ERROR (500)"
        );
    }
}
