//! What the queue holds, and by what events of one instant are ordered.

use std::sync::Arc;
use std::time::Duration;

use sbft::types::{Candidate, Number, Place};

use super::Fault;
use crate::draw::mix;
use crate::network::{Packet, Ticket};
use crate::scale::Task;

/// A packet on its way from one body to another.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// Who sent it.
    pub from: usize,
    /// Whom it is for.
    pub to: usize,
    /// What it is.
    pub packet: Packet,
    /// The event of its sending; 0 when nobody reads events.
    pub sent: u64,
    /// To ask the network with whether it really arrives.
    pub ticket: Ticket,
}

/// What the queue holds.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Deliver(Parcel),
    Checked {
        body: usize,
        incarnation: u32,
        from: Place,
        candidate: Arc<Candidate>,
        cause: u64,
    },
    SyncDone {
        body: usize,
        incarnation: u32,
        position: u64,
    },
    BlockSyncDone {
        body: usize,
        incarnation: u32,
        number: Number,
    },
    Tick {
        body: usize,
        incarnation: u32,
    },
    Submit {
        place: Place,
        index: u64,
        variant: u8,
    },
    Wake {
        body: usize,
    },
    Link {
        body: usize,
        peer: Place,
        up: bool,
    },
    Turn {
        partition: u64,
    },
    Drift {
        body: usize,
        most: u32,
        every: Duration,
    },
    Resume {
        body: usize,
        incarnation: u32,
    },
    Fault(Fault),
    /// A processor's time slice is over; see [`crate::scale`].
    Slice(usize),
    /// What follows on work, a way or a sync of a machine.
    Then(Task),
}

impl Event {
    /// A number that tells events apart by content, for ties and the determinism check.
    pub(super) fn about(&self) -> u64 {
        match self {
            Self::Deliver(Parcel { from, to, packet, .. }) => {
                let label = packet.label();
                let content = mix(mix(label.kind as u64, label.view.0), mix(label.number.0, label.tag));
                mix(content, (*from as u64) << 32 | *to as u64)
            }
            Self::Checked { body, candidate, .. } => {
                mix(1, *body as u64) ^ crate::network::short(&candidate.digest)
            }
            Self::SyncDone { body, position, .. } => mix(mix(2, *body as u64), *position),
            Self::BlockSyncDone { body, number, .. } => mix(mix(3, *body as u64), number.0),
            Self::Tick { body, .. } => mix(4, *body as u64),
            Self::Submit { place, index, .. } => mix(mix(5, u64::from(place.0)), *index),
            Self::Wake { body } => mix(6, *body as u64),
            Self::Fault(_) => 7,
            Self::Link { body, peer, up } => {
                mix(mix(8, *body as u64), u64::from(peer.0) << 1 | u64::from(*up))
            }
            Self::Turn { partition } => mix(9, *partition),
            Self::Drift { body, .. } => mix(10, *body as u64),
            Self::Resume { body, .. } => mix(11, *body as u64),
            Self::Slice(slot) => mix(12, *slot as u64),
            Self::Then(_) => 13,
        }
    }
}
