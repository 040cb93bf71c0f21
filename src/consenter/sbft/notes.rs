//! What the core says about itself, for logs and metrics.

use std::collections::BTreeMap;
use std::time::Instant;

use ::metrics::{Counter, Gauge, Histogram};

use super::shared::Shared;
use crate::metrics;
use crate::pbft::message::Offence;
use crate::pbft::{Note, Probe, Role};
use crate::phases::{block, of_block};
use crate::types::{Number, Place};

/// When the numbers in flight reached their phases; and what is counted for each block, looked up once.
pub(super) struct Notes {
    phases: BTreeMap<Number, Phases>,
    to_prepared: Histogram,
    to_committed: Histogram,
    blocks: Counter,
    ordered: Counter,
    last: Gauge,
}

struct Phases {
    accepted: Instant,
    prepared: Option<Instant>,
}

/// Numbers whose times are kept, at most: more than any window.
const PHASES: usize = 512;

impl Notes {
    pub(super) fn new(channel: &str) -> Self {
        let channel = || channel.to_owned();
        let phase = |phase: &'static str| ::metrics::histogram!(metrics::PHASE_SECONDS, "channel" => channel(), "phase" => phase);
        Self {
            phases: BTreeMap::new(),
            to_prepared: phase("accept_to_prepared"),
            to_committed: phase("prepared_to_committed"),
            blocks: ::metrics::counter!(metrics::BLOCKS, "channel" => channel()),
            ordered: ::metrics::counter!(metrics::ORDERED, "channel" => channel()),
            last: ::metrics::gauge!(metrics::BFT_COMMITTED_BLOCK_NUMBER, "channel" => channel()),
        }
    }

    pub(super) fn note(&mut self, shared: &Shared, note: Note) {
        let channel = shared.channel();
        let label = || channel.to_owned();
        match note {
            Note::Accepted { view, number } => {
                tracing::debug!(channel, view = view.0, number = number.0, "accepted");
                of_block(block::ACCEPTED, shared.members.me, number);
                if self.phases.len() >= PHASES {
                    self.phases.pop_first();
                }
                self.phases.insert(number, Phases { accepted: Instant::now(), prepared: None });
            }
            Note::Prepared { view, number } => {
                tracing::debug!(channel, view = view.0, number = number.0, "prepared");
                of_block(block::PREPARED, shared.members.me, number);
                if let Some(phases) = self.phases.get_mut(&number) {
                    phases.prepared = Some(Instant::now());
                    self.to_prepared.record(phases.accepted.elapsed());
                }
            }
            Note::Committed { view, number, envelopes } => {
                tracing::debug!(channel, view = view.0, number = number.0, envelopes, "committed");
                of_block(block::COMMITTED, shared.members.me, number);
                if let Some(prepared) = self.phases.remove(&number).and_then(|phases| phases.prepared) {
                    self.to_committed.record(prepared.elapsed());
                }
                self.phases = self.phases.split_off(&number);
                self.blocks.increment(1);
                self.ordered.increment(envelopes as u64);
                self.last.set(number.0 as f64);
            }
            Note::Complains { view, reason } => {
                tracing::warn!(channel, view = view.0, reason, "complaining about the primary");
            }
            Note::Withdrew { view } => {
                tracing::info!(channel, view = view.0, "the complaint about the primary is withdrawn");
            }
            Note::Suspected { view, reason } => {
                tracing::warn!(channel, view = view.0, reason, "leaving the primary, asking for the view");
                ::metrics::counter!(metrics::SUSPECTED, "channel" => label()).increment(1);
            }
            Note::EnteredView { view, primary, reproposed } => {
                let primary = shared.members.id(primary);
                tracing::info!(channel, view = view.0, %primary, reproposed, "entered the view");
            }
            Note::Abstains { view, upto } => {
                tracing::info!(
                    channel,
                    view = view.0,
                    upto = upto.0,
                    "restarted in a view where it may have voted: up to this block it casts no new prepares there"
                );
            }
            Note::Halted { reason } => shared.fail(format!(
                "two quorums contradict each other, so more than f replicas are faulty: {reason}"
            )),
        }
    }

    pub(super) fn accuse(&self, shared: &Shared, offence: &Offence) {
        let channel = shared.channel();
        let (what, by) = match offence {
            Offence::Prepares(first, _) => ("two prepares", first.signer),
            Offence::Commits(first, _) => ("two commits", first.signer),
            Offence::NewView(message) => {
                ("a new-view against the rules", message.body.view.primary(shared.members.n()))
            }
        };
        let by = shared.members.get(by).map_or(0, |member| member.id.0);
        tracing::error!(channel, by, what, "a replica is proven to have lied");
        ::metrics::counter!(metrics::OFFENCES, "channel" => channel.to_owned()).increment(1);
    }
}

/// Gauges, a few times a second.
pub(super) fn gauges(shared: &Shared, probe: &Probe, me: Place) {
    let channel = shared.channel();
    let set = |name: &'static str, value: f64| {
        ::metrics::gauge!(name, "channel" => channel.to_owned()).set(value);
    };
    set(metrics::VIEW, probe.view.0 as f64);
    set(metrics::ACTIVE, f64::from(u8::from(probe.active)));
    set(metrics::WINDOW_IN_USE, probe.in_flight as f64);
    set(metrics::BFT_CLUSTER_SIZE, shared.members.n() as f64);
    set(metrics::BFT_LEADER_ID, f64::from(shared.members.id(probe.primary).0));
    set(metrics::BFT_IS_LEADER, f64::from(u8::from(probe.primary == me)));
    let follows = matches!(shared.role, Role::Follower(_));
    set(metrics::PARTICIPATION_RELATION, if follows { 2.0 } else { 1.0 });
    set(metrics::PARTICIPATION_STATUS, if probe.halted { 3.0 } else { 1.0 });
    set(metrics::REACHABLE, shared.reach.count().reachable as f64);
}
