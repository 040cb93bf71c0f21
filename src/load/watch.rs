//! Reads the chain's blocks into the record, from one replica after another as they fail.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::record::Record;
use crate::client::connect::{Security, connect};
use crate::client::deliver::{Position, Seek};
use crate::client::envelope::EnvelopeMaker;
use crate::client::raw::{self, Item};

/// Pause when all replicas have been tried.
const RETRY: Duration = Duration::from_millis(100);
/// A replica that delivers nothing for this long is given up for the next: it may stand still.
const SILENCE: Duration = Duration::from_secs(2);

/// Who reads what from whom.
pub(super) struct Watch {
    pub(super) addresses: Vec<String>,
    pub(super) security: Security,
    pub(super) reader: EnvelopeMaker,
    /// First block.
    pub(super) from: u64,
    pub(super) record: Arc<Record>,
    /// Told true when the first stream is open.
    pub(super) open: watch::Sender<bool>,
}

impl Watch {
    /// Reads until it is dropped.
    pub(super) async fn run(mut self) {
        for turn in 0usize.. {
            let address = self.addresses[turn % self.addresses.len()].clone();
            if let Err(reason) = self.read(&address).await {
                tracing::debug!(%address, %reason, "Deliver stream ended; trying the next replica");
            }
            if (turn + 1) % self.addresses.len() == 0 {
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    async fn read(&mut self, address: &str) -> Result<(), String> {
        let channel = connect(address, &self.security).await.map_err(|error| error.to_string())?;
        let seek = Seek::follow(Position::Number(self.from));
        let mut blocks =
            raw::deliver(channel, &self.reader, seek).await.map_err(|error| error.to_string())?;
        self.open.send_replace(true);
        loop {
            let next = tokio::time::timeout(SILENCE, blocks.next()).await;
            match next.map_err(|_| format!("nothing for {} s", SILENCE.as_secs()))? {
                Ok(Some(Item::Block(block))) => {
                    self.record.block(&block);
                    self.from += 1;
                }
                Ok(Some(Item::End(status))) => return Err(format!("Deliver answered {status:?}")),
                Ok(None) => return Err("it closed the Deliver stream".to_owned()),
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}
