//! From what is on disk to what a replica starts with: log, role, end of the chain.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rayon::prelude::*;

use super::super::{ConsenterSupport, HandleChainError};
use super::SbftOptions;
use super::rules::{self, OpenLog, Refusal};
use crate::channel_config::{ChannelConfig, Options};
use crate::dedup_window::DedupRule;
use crate::disk::RealDisk;
use crate::intake::block_cutter::CutLimits;
use crate::intake::{BACKLOG_AFTER, EAGER_CANDIDATES, IntakeConfig};
use crate::pbft::message::Domain;
use crate::pbft::{ChainTip, Config, Record, Role};
use crate::plant::Plants;
use crate::types::{ConsenterId, Era, Number, Place};
use crate::wal::{Wal, WalOptions};
use crate::wire::{Checker, KeyRing, block};

/// What a chain starts with.
pub(super) struct Recovered {
    pub(super) log: Wal,
    pub(super) epoch: Bytes,
    pub(super) records: Vec<Record>,
    pub(super) tip: ChainTip,
    pub(super) config: Config,
    pub(super) intake: IntakeConfig,
}

/// Opens the log, decides whether this replica may vote, and reads the end of the chain. Blocks
/// the calling thread.
pub(super) fn open(
    support: &dyn ConsenterSupport,
    options: &SbftOptions,
    channel_rules: &Options,
    me: Place,
) -> Result<Recovered, HandleChainError> {
    let config = support.shared_config();
    let channel = support.chain_id();
    let domain = Domain { genesis: support.genesis_hash(), era: Era(0) };
    let directory = support.directory().join("wal");
    let height = support.height();
    let marked_new = support.is_marked_new();
    let opened = rules::open_log(
        Arc::new(RealDisk),
        &directory,
        log_options(options),
        &domain,
        me,
        height,
        marked_new,
    );
    let OpenLog { log, epoch, role, records } = opened.map_err(|refusal| match refusal {
        Refusal::Log(reason) => refuse_log(channel, &directory, &reason),
        Refusal::Ledger(reason) => HandleChainError::Ledger { channel: channel.into(), reason },
    })?;
    if let Role::Follower(reason) = &role {
        tracing::warn!(channel, height, reason, "starting as a follower");
    }
    support.remove_new_mark().map_err(|error| {
        refuse_log(channel, &directory, &format!("cannot remove the mark of a new directory: {error}"))
    })?;

    let ids = config.consenters.iter().map(|consenter| consenter.id).collect::<Vec<_>>();
    let tip = tip(support, &ids, channel_rules.dedup)?;
    let last_config = tip.certificate.as_ref().map_or(Number(0), |certificate| certificate.last_config);
    Ok(Recovered {
        log,
        epoch,
        records,
        tip,
        config: replica_config(&config, channel_rules, domain, me, role, last_config),
        intake: intake_config(&config, channel_rules, me, options.pool_bytes),
    })
}

/// Enough spare segments that the log writes the same ones again and again.
fn log_options(options: &SbftOptions) -> WalOptions {
    let log = options.log.clone();
    let between = options.compact_bytes / log.segment_bytes.max(1) + 2;
    let spares = usize::try_from(between).unwrap_or(usize::MAX).clamp(log.spares, MOST_SPARES);
    WalOptions { spares, ..log }
}

/// Spare segments at most, whatever the sizes.
const MOST_SPARES: usize = 64;

fn refuse_log(channel: &str, directory: &Path, reason: &dyn ToString) -> HandleChainError {
    HandleChainError::Log {
        channel: channel.into(),
        directory: directory.display().to_string(),
        reason: reason.to_string(),
    }
}

/// Reads the end of the chain: last block, its certificate, the request ids in the dedup window.
fn tip(
    support: &dyn ConsenterSupport,
    ids: &[ConsenterId],
    rule: DedupRule,
) -> Result<ChainTip, HandleChainError> {
    let channel = support.chain_id();
    let fault = |number: Number, reason: String| HandleChainError::Ledger {
        channel: channel.into(),
        reason: format!("block {number}: {reason}"),
    };
    let last = Number(support.height().saturating_sub(1));
    let read = |number: Number| {
        let bytes = support
            .block(number)
            .map_err(|error| fault(number, error.to_string()))?
            .ok_or_else(|| fault(number, "it is missing".into()))?;
        block::decode(bytes, ids).map_err(|error| fault(number, error.to_string()))
    };
    // Many blocks may be read and hashed: on all cores, and only their ids are kept.
    let recent = rules::recent_blocks(last, rule, |range| {
        range.into_par_iter().map(Number).map(|number| Ok((number, read(number)?.ids))).collect()
    })?;
    let certificate = if last == Number(0) { None } else { Some(Arc::new(read(last)?.certificate)) };
    rules::tip(support.genesis_hash(), last, recent, certificate)
        .ok_or_else(|| fault(last, "it has no certificate".into()))
}

/// The rules of `config` for a replica at `me`.
pub(super) fn replica_config(
    config: &ChannelConfig,
    rules: &Options,
    domain: Domain,
    me: Place,
    role: Role,
    last_config: Number,
) -> Config {
    Config {
        domain,
        n: config.consenters.len(),
        me,
        role,
        last_config,
        config_sequence: config.sequence,
        window: rules.window,
        dedup: rules.dedup,
        outstanding: rules.outstanding,
        max_message_count: config.batch.max_message_count,
        absolute_max_bytes: config.batch.absolute_max_bytes.into(),
        preferred_max_bytes: config.batch.preferred_max_bytes.into(),
        forward_timeout: rules.forward_timeout,
        complain_timeout: rules.complain_timeout,
        view_change_timeout: rules.view_change_timeout,
        view_change_timeout_cap: rules.view_change_timeout_cap,
        status_interval: rules.resend_interval,
        slow_primary_factor: rules.slow_primary_factor,
        plants: Plants::NONE,
    }
}

fn intake_config(config: &ChannelConfig, rules: &Options, me: Place, pool_bytes: u64) -> IntakeConfig {
    IntakeConfig {
        n: config.consenters.len(),
        me,
        limits: CutLimits {
            max_message_count: config.batch.max_message_count,
            preferred_max_bytes: config.batch.preferred_max_bytes,
        },
        batch_timeout: config.batch_timeout,
        outstanding: rules.outstanding,
        eager: EAGER_CANDIDATES,
        backlog_after: rules.forward_timeout * BACKLOG_AFTER,
        pool_count: rules.request_pool_size,
        pool_bytes,
        dedup: rules.dedup,
        config_sequence: config.sequence,
        plants: Plants::NONE,
    }
}

/// Judges votes and blocks by the consenters' keys in `config`.
pub(super) fn checker(config: &ChannelConfig, domain: Domain) -> Checker<KeyRing> {
    let keys = config.consenters.iter().map(|consenter| (consenter.id, consenter.key.clone()));
    Checker::new(domain, KeyRing::new(keys.collect()))
}
