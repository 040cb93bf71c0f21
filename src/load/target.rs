//! The network under load: where it is, who we are there, and what it was set to.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::LoadError;
use super::mint::Template;
use crate::channel_config::ChannelConfig;
use crate::client::connect::{Security, connect};
use crate::client::deliver::{self, Item, Position, Seek};
use crate::client::envelope::EnvelopeMaker;
use crate::client::network_file::{IdentityFiles, NetworkFile};
use crate::client::operations;
use crate::node_config::{NodeConfig, Success, SyncPolicy};
use crate::proto::common;

/// A network.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its directory, if `sbft network` runs it here.
    pub dir: Option<PathBuf>,
    /// Channel id.
    pub channel: String,
    /// Its replicas.
    pub replicas: Vec<Endpoint>,
    /// Identities to sign with; the first also reads blocks.
    pub clients: Vec<IdentityFiles>,
    /// How to reach it.
    pub security: Security,
}

/// A replica.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Consenter id if it is known, else its place in the list of addresses, from 1.
    pub id: u32,
    /// gRPC address, `host:port`.
    pub grpc: String,
    /// Operations listener, `host:port`.
    pub ops: Option<String>,
    /// Its process on this machine.
    pub pid: Option<u32>,
    /// Its directory on this machine.
    pub dir: Option<PathBuf>,
}

impl Target {
    /// The network that `sbft network` runs in `dir`.
    ///
    /// # Errors
    /// When none does, or its TLS CA cannot be read.
    pub fn network(dir: &Path) -> Result<Self, LoadError> {
        let file = NetworkFile::load(dir)?;
        let ca = file.tls_ca.as_deref().map(read).transpose()?;
        Ok(Self {
            dir: Some(dir.to_owned()),
            replicas: file
                .replicas
                .into_iter()
                .map(|replica| Endpoint {
                    id: replica.id,
                    grpc: replica.grpc,
                    ops: Some(replica.ops),
                    pid: replica.pid,
                    dir: Some(replica.dir),
                })
                .collect(),
            channel: file.channel,
            clients: file.clients,
            security: Security { ca, identity: None },
        })
    }

    /// The replica with this id.
    ///
    /// # Errors
    /// When there is none.
    pub fn replica(&self, id: u32) -> Result<&Endpoint, LoadError> {
        self.replicas.iter().find(|replica| replica.id == id).ok_or_else(|| {
            LoadError::Plan(format!(
                "there is no replica {id}; this network has {} (1 to {})",
                self.replicas.len(),
                self.replicas.len()
            ))
        })
    }

    /// Reads process ids again: replicas may have been started again since.
    ///
    /// # Errors
    /// When the network's file cannot be read any more.
    pub fn refresh(&mut self) -> Result<(), LoadError> {
        let Some(dir) = &self.dir else { return Ok(()) };
        let file = NetworkFile::load(dir)?;
        for (replica, entry) in self.replicas.iter_mut().zip(file.replicas) {
            replica.pid = entry.pid.or(replica.pid);
        }
        Ok(())
    }

    /// Who reads blocks.
    ///
    /// # Errors
    /// When its identity cannot be used.
    pub(super) fn reader(&self) -> Result<EnvelopeMaker, LoadError> {
        let client = self.clients.first().ok_or_else(|| {
            LoadError::Plan("reading blocks needs a client identity: --msp-id, --cert and --key".to_owned())
        })?;
        Ok(EnvelopeMaker::open(&self.channel, client)?)
    }

    /// The templates of `count` clients' envelopes.
    ///
    /// # Errors
    /// When there are not so many identities, or the size is too small.
    pub(super) fn templates(
        &self,
        count: Option<usize>,
        size: usize,
        signed: bool,
    ) -> Result<Arc<Vec<Template>>, LoadError> {
        let count = count.unwrap_or(self.clients.len()).max(1);
        if !signed {
            let templates = (0..count).map(|number| Template::unsigned(&self.channel, number, size));
            return Ok(Arc::new(templates.collect::<Result<_, _>>()?));
        }
        if count > self.clients.len() {
            return Err(LoadError::Plan(format!(
                "{count} clients were asked for and the network has {} identities; make one with more: \
                 sbft network --fresh --clients {count}",
                self.clients.len()
            )));
        }
        let templates =
            self.clients[..count].iter().map(|client| Template::signed(&self.channel, client, size));
        Ok(Arc::new(templates.collect::<Result<_, _>>()?))
    }

    /// What the network is set to, as its genesis block says.
    ///
    /// # Errors
    /// When no replica answers, or its first block is no configuration.
    pub(super) async fn config(&self, reader: &EnvelopeMaker) -> Result<ChannelConfig, LoadError> {
        let mut reasons = Vec::new();
        for replica in &self.replicas {
            match self.genesis(replica, reader).await {
                Ok(block) => {
                    return ChannelConfig::from_block(&block).map_err(|error| {
                        LoadError::Unreachable(format!("the genesis block cannot be used: {error}"))
                    });
                }
                Err(reason) => reasons.push(format!("replica {}: {reason}", replica.id)),
            }
        }
        Err(LoadError::Unreachable(reasons.join("; ")))
    }

    async fn genesis(&self, replica: &Endpoint, reader: &EnvelopeMaker) -> Result<common::Block, String> {
        let channel = connect(&replica.grpc, &self.security).await.map_err(|error| error.to_string())?;
        let seek = Seek { start: Position::Oldest, stop: Position::Oldest, wait: false };
        let mut blocks = deliver::open(channel, reader, seek).await.map_err(|error| error.to_string())?;
        match blocks.next().await {
            Ok(Some(Item::Block(block))) => Ok(block),
            Ok(Some(Item::End(status))) => Err(format!(
                "Deliver answered {}; is the channel {} and may this identity read it?",
                status.as_str_name(),
                self.channel
            )),
            Ok(None) => Err("it closed the Deliver stream".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The primary's id, as most replicas see it.
    ///
    /// # Errors
    /// When none says.
    pub async fn primary(&self) -> Result<u32, LoadError> {
        let asked = self.replicas.iter().filter_map(|replica| replica.ops.as_deref()).map(|ops| async {
            let (_, body) = operations::get(ops, "/status").await.ok()?;
            let status: Value = serde_json::from_str(&body).ok()?;
            let channel = status["channels"]
                .as_array()?
                .iter()
                .find(|channel| channel["channel"].as_str() == Some(&self.channel))?;
            Some((channel["view"].as_u64()?, u32::try_from(channel["primary"].as_u64()?).ok()?))
        });
        let answers = futures::future::join_all(asked).await;
        // Who lags names an old view; who complains names one that may never be.
        let mut votes = std::collections::BTreeMap::new();
        for (view, primary) in answers.into_iter().flatten() {
            *votes.entry((view, primary)).or_insert(0u32) += 1;
        }
        votes
            .into_iter()
            .max_by_key(|((view, _), count)| (*count, *view))
            .map(|((_, primary), _)| primary)
            .ok_or_else(|| {
                LoadError::Fault("no replica's operations listener says who is primary".to_owned())
            })
    }

    /// What a replica's settings say about durability and answers: sync policy, meaning of SUCCESS.
    pub(super) fn node_settings(&self) -> Option<(&'static str, &'static str)> {
        let dir = self.replicas.first()?.dir.as_ref()?;
        let config = NodeConfig::load(&dir.join("node.toml")).ok()?;
        let sync = match config.storage.sync {
            SyncPolicy::Always => {
                "certificates before each commit leaves; how far prepares may go, ahead of them"
            }
        };
        let success = match config.broadcast.success {
            Success::Accepted => "accepted",
            Success::Committed => "committed",
        };
        Some((sync, success))
    }

    /// Version and commit of the first replica that says.
    pub(super) async fn version(&self) -> Option<(String, String)> {
        for ops in self.replicas.iter().filter_map(|replica| replica.ops.as_deref()) {
            let Ok((200, body)) = operations::get(ops, "/version").await else { continue };
            let Ok(answer) = serde_json::from_str::<Value>(&body) else { continue };
            let text = |field: &str| answer[field].as_str().unwrap_or("unknown").to_owned();
            return Some((text("Version"), text("CommitSHA")));
        }
        None
    }
}

/// Whether the channel's Writers policy asks for a signature.
pub(super) fn checks_signatures(config: &ChannelConfig) -> bool {
    config.policies.get("/Channel/Writers").is_none_or(|policy| policy.evaluate(&config.msps, &[]).is_err())
}

/// Reads a text file of the network's.
///
/// # Errors
/// When it cannot be read.
pub(super) fn read(path: &Path) -> Result<String, LoadError> {
    std::fs::read_to_string(path)
        .map_err(|error| LoadError::Identity(format!("cannot read {}: {error}", path.display())))
}
