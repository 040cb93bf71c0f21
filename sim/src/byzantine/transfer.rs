//! Lies to those who catch up: A41 to A46.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sbft::pbft::message::{Message, Status};
use sbft::types::{CommittedBlock, Number, View};

use super::{Act, Attack, Repack, Stage, instead};
use crate::network::{Letter, Packet};
use crate::workload;

/// A41: its status says what comes to its mind; a block certificate is what a checkpoint is
/// elsewhere, and the status is where it is claimed.
#[derive(Debug)]
struct LyingStatus;

pub(super) fn lying_checkpoint() -> Box<dyn Attack> {
    Box::new(LyingStatus)
}

fn lie_about(stage: &Stage<'_>, status: &Status) -> Packet {
    let now = stage.instant();
    let last = stage.store.last().0;
    stage.packet(Message::Status(Status {
        view: View(status.view.0 + stage.draw(&[now, 0], 4)),
        active: stage.draw(&[now, 1], 2) == 0,
        complains: stage.draw(&[now, 6], 4) == 0,
        committed: match stage.draw(&[now, 5], 8) {
            0 => Number(1 << 60),
            _ => Number(stage.draw(&[now, 2], 2 + 2 * (last + 1))),
        },
        accepted: Number(stage.draw(&[now, 3], 100)),
        prepared: Number(stage.draw(&[now, 4], 100)),
        ..status.clone()
    }))
}

impl Attack for LyingStatus {
    fn say(&mut self, stage: &mut Stage<'_>, letter: &Letter, acts: &mut Vec<Act>) {
        if let Message::Status(status) = &letter.message {
            instead(acts, &lie_about(stage, status));
        }
    }

    fn wake(&mut self, stage: &mut Stage<'_>) {
        let packet = lie_about(stage, &Status { view: stage.view(), ..Status::default() });
        stage.send_all(&packet);
    }
}

/// Hands out other blocks than it was asked for.
fn with_blocks(
    packet: &Packet,
    acts: &mut [Act],
    change: impl FnMut(&Arc<CommittedBlock>) -> Arc<CommittedBlock>,
) {
    if let Packet::Blocks(blocks) = packet {
        let packet = Packet::Blocks(blocks.iter().map(change).collect());
        instead(acts, &packet);
    }
}

/// A block that looks like `block` and is not.
fn alter(stage: &Stage<'_>, block: &Arc<CommittedBlock>) -> Arc<CommittedBlock> {
    let mut altered = block.as_ref().clone();
    match stage.draw(&[block.number().0, stage.instant()], 5) {
        0 => altered.data.push(workload::envelope(0, 9)),
        1 => {
            altered.certificate.signatures.pop();
        }
        2 => altered.certificate.view = altered.certificate.view.next(),
        3 => altered.data = vec![Bytes::from_static(b"another body")],
        _ => {
            if let Some(id) = Arc::make_mut(&mut altered.ids).first_mut() {
                *id = workload::id_of(u64::MAX);
            }
        }
    }
    Arc::new(altered)
}

/// A42: another body under a real certificate, and the like.
pub(super) fn lying_block() -> Box<dyn Attack> {
    Box::new(Repack(|stage, packet, acts| with_blocks(packet, acts, |block| alter(stage, block))))
}

/// A43: f + 1 signatures where a quorum is needed.
pub(super) fn short_certificate() -> Box<dyn Attack> {
    Box::new(Repack(|stage, packet, acts| {
        let few = stage.f() + 1;
        with_blocks(packet, acts, |block| {
            let mut short = block.as_ref().clone();
            short.certificate.signatures.truncate(few);
            Arc::new(short)
        });
    }))
}

/// A44: one block at a time, and late.
pub(super) fn stall_transfer() -> Box<dyn Attack> {
    Box::new(Repack(|_, packet, acts| {
        if let Packet::Blocks(blocks) = packet {
            let packet = Packet::Blocks(blocks.iter().take(1).cloned().collect());
            instead(acts, &packet);
            for act in acts {
                act.delay = Duration::from_millis(350);
            }
        }
    }))
}

/// A45: far more than was asked for: a block whose data has ten thousand envelopes, blocks over
/// and over, candidates larger than a block may be.
#[derive(Debug, Default)]
struct Bomb {
    thrown: u32,
}

pub(super) fn zip_bomb() -> Box<dyn Attack> {
    Box::new(Bomb::default())
}

/// So many of them are enough to see what they do.
const BOMBS: u32 = 40;

impl Attack for Bomb {
    fn post(&mut self, stage: &mut Stage<'_>, packet: &Packet, acts: &mut Vec<Act>) {
        let Packet::Blocks(blocks) = packet else { return };
        if self.thrown >= BOMBS {
            return;
        }
        self.thrown += 1;
        let mut many = blocks.clone();
        if stage.draw(&[u64::from(self.thrown)], 2) == 0 {
            for _ in 0..6 {
                many.extend(many.clone());
            }
        } else if let Some(first) = many.first_mut() {
            let mut swollen = first.as_ref().clone();
            let envelope = swollen.data.first().cloned().unwrap_or_default();
            swollen.data.extend(std::iter::repeat_n(envelope, 10_000));
            *first = Arc::new(swollen);
        }
        instead(acts, &Packet::Blocks(many));
    }

    fn wake(&mut self, stage: &mut Stage<'_>) {
        if self.thrown >= BOMBS || stage.draw(&[stage.instant()], 4) != 0 {
            return;
        }
        self.thrown += 1;
        let most = stage.config.max_message_count as usize;
        let envelopes = vec![workload::envelope(0, 0); most * 100];
        let candidate = stage.candidate_of(stage.me, envelopes);
        let packet = if stage.draw(&[stage.instant(), 1], 2) == 0 {
            Packet::Candidate(candidate)
        } else {
            Packet::Repair(candidate)
        };
        stage.send_all(&packet);
    }
}

/// A46: genuine blocks, but old ones; and its status says that there are no others.
#[derive(Debug)]
struct OldSnapshot;

pub(super) fn old_snapshot() -> Box<dyn Attack> {
    Box::new(OldSnapshot)
}

impl Attack for OldSnapshot {
    fn say(&mut self, stage: &mut Stage<'_>, letter: &Letter, acts: &mut Vec<Act>) {
        if let Message::Status(status) = &letter.message
            && status.committed > Number(0)
        {
            let old = Status { committed: Number(status.committed.0 / 2), view: View(0), ..status.clone() };
            instead(acts, &stage.packet(Message::Status(old)));
        }
    }

    fn post(&mut self, stage: &mut Stage<'_>, packet: &Packet, acts: &mut Vec<Act>) {
        let Packet::Blocks(blocks) = packet else { return };
        let Some(first) = blocks.first().map(|block| block.number().0) else { return };
        let from = (first / 2).max(1);
        let old: Vec<_> =
            (from..first).map_while(|number| stage.store.block(Number(number)).cloned()).collect();
        // Nothing older: the first of them again and again.
        let old = if old.is_empty() { vec![blocks[0].clone(); blocks.len().max(2)] } else { old };
        instead(acts, &Packet::Blocks(old));
    }
}
