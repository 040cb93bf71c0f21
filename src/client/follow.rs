//! Follows the chain over any of several replicas: when one fails, the next goes on where it stopped.

use std::time::Duration;

use tokio::sync::mpsc;

use super::connect::{Security, connect};
use super::deliver::{self, Item, Position, Seek};
use super::envelope::EnvelopeMaker;
use crate::proto::common;

/// Pause when all replicas have been tried.
const RETRY: Duration = Duration::from_millis(200);
/// A replica that delivers nothing and says nothing for this long is given up for the next: it
/// may be cut off from the others and not know it.
const SILENCE: Duration = Duration::from_secs(5);

/// The number of blocks in the chain, as the first of `addresses` that answers sees it.
///
/// # Errors
/// The last error, when none answers.
pub async fn height(addresses: &[String], security: &Security, maker: &EnvelopeMaker) -> anyhow::Result<u64> {
    let mut last = anyhow::anyhow!("no replica was named");
    for address in addresses {
        match height_at(address, security, maker).await {
            Ok(height) => return Ok(height),
            Err(error) => last = error.context(format!("replica at {address}")),
        }
    }
    Err(last)
}

async fn height_at(address: &str, security: &Security, maker: &EnvelopeMaker) -> anyhow::Result<u64> {
    let channel = connect(address, security).await?;
    let seek = Seek { start: Position::Newest, stop: Position::Newest, wait: false };
    let mut blocks = deliver::open(channel, maker, seek).await?;
    match blocks.next().await? {
        Some(Item::Block(block)) => Ok(block.header.map_or(0, |header| header.number) + 1),
        Some(Item::End(status)) => anyhow::bail!("Deliver answered {status:?}"),
        None => anyhow::bail!("the replica closed the Deliver stream"),
    }
}

/// Sends each block from number `from` on, in order and each once, until nobody listens.
pub async fn follow(
    addresses: Vec<String>,
    security: Security,
    maker: EnvelopeMaker,
    mut from: u64,
    blocks: mpsc::Sender<common::Block>,
) {
    for (tried, address) in addresses.iter().cycle().enumerate() {
        if let Err(error) = follow_one(address, &security, &maker, &mut from, &blocks).await {
            tracing::debug!(%address, %error, "Deliver stream ended; trying the next replica");
        }
        if blocks.is_closed() {
            return;
        }
        // The next one may be well: only who has asked all waits.
        if (tried + 1) % addresses.len() == 0 {
            tokio::time::sleep(RETRY).await;
        }
    }
}

async fn follow_one(
    address: &str,
    security: &Security,
    maker: &EnvelopeMaker,
    from: &mut u64,
    sink: &mpsc::Sender<common::Block>,
) -> anyhow::Result<()> {
    let channel = connect(address, security).await?;
    let mut stream = deliver::open(channel, maker, Seek::follow(Position::Number(*from))).await?;
    loop {
        let item = tokio::select! {
            item = stream.next() => item?,
            () = sink.closed() => return Ok(()),
            () = tokio::time::sleep(SILENCE) => anyhow::bail!("nothing for {} s", SILENCE.as_secs()),
        };
        match item {
            Some(Item::Block(block)) => {
                let number = block.header.as_ref().map_or(0, |header| header.number);
                if number != *from {
                    anyhow::bail!("asked for block {from}, got block {number}");
                }
                if sink.send(block).await.is_err() {
                    return Ok(());
                }
                *from += 1;
            }
            Some(Item::End(status)) => anyhow::bail!("Deliver answered {status:?}"),
            None => anyhow::bail!("the replica closed the Deliver stream"),
        }
    }
}
