//! Too much of everything, again and again: A54 to A57, and the like.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use sbft::pbft::message::{Message, PrepareVote, Status};
use sbft::types::{Digest, Header, Number, Place, Signature, View};

use super::{Alone, Attack, Repack, Stage};
use crate::network::Packet;
use crate::workload;

fn digest_of(bits: u64) -> Digest {
    let mut bytes = [0x77; 32];
    bytes[..8].copy_from_slice(&bits.to_be_bytes());
    Digest(bytes)
}

/// A54: votes for numbers in the window, each for another digest.
pub(super) fn memory_flood() -> Box<dyn Attack> {
    Box::new(Alone(|stage| {
        let now = stage.instant();
        let (view, next) = (stage.view(), stage.next_number());
        for which in 0..6 {
            let ahead = stage.draw(&[now, which, 1], stage.config.window * 4);
            let number = Number(next.0 + ahead);
            let view = View(view.0 + stage.draw(&[now, which, 2], 2));
            let digest = digest_of(stage.draw(&[now, which, 3], u64::MAX));
            let packet = if which % 2 == 0 {
                stage.prepare(view, number, digest)
            } else {
                let header = Header { number, previous_hash: Some(digest), data_hash: digest };
                stage.commit(view, &header, digest)
            };
            stage.send_all(&packet);
        }
    }))
}

/// Votes for numbers, views and digests that nobody proposed, near and far.
pub(super) fn far_flood() -> Box<dyn Attack> {
    Box::new(Alone(|stage| {
        let now = stage.instant();
        let whom = stage.pick(&[now, 1]);
        for which in 0..4 {
            let draw = |what: u64, bound: u64| stage.draw(&[now, 31 + which, what], bound);
            let far = draw(0, 2) == 0;
            let number = if far { u64::MAX - draw(1, 3) } else { stage.store.last().0 + draw(1, 40) };
            let view = View(stage.view().0.saturating_add(draw(2, 3) * if far { 1 << 40 } else { 1 }));
            let packet = stage.prepare(view, Number(number), Digest([draw(3, 256) as u8; 32]));
            stage.send(whom, packet);
        }
    }))
}

/// A55: one request to every replica, at each in other bytes.
pub(super) fn client_duplicates() -> Box<dyn Attack> {
    Box::new(Alone(|stage| {
        if stage.draw(&[stage.instant()], 3) != 0 || stage.healed {
            return; // what clients submit for ever is never all in the chain
        }
        let Some(index) = stage.envelope_index() else { return };
        for place in (0..stage.n as u16).map(Place) {
            stage.submit(place, index, (place.0 % 250) as u8);
        }
    }))
}

/// A56: says again what it said or heard, of just now and of long ago, before its own restarts.
pub(super) fn replay_all() -> Box<dyn Attack> {
    Box::new(Alone(|stage| {
        let now = stage.instant();
        for which in 0..2 {
            let whom = stage.pick(&[now, which]);
            let old = which == 1;
            let length = if old { stage.known.relics.len() } else { stage.known.memory.len() };
            if length == 0 {
                return;
            }
            let at = stage.draw(&[now, which, 2], length as u64) as usize;
            let packet = if old { stage.known.relics[at].clone() } else { stage.known.memory[at].clone() };
            stage.send(whom, packet);
        }
    }))
}

/// A57: a status from long ago, to everybody and all the time: whoever answers it has to send
/// everything.
pub(super) fn storm_bait() -> Box<dyn Attack> {
    Box::new(Alone(|stage| {
        let now = stage.instant();
        for which in 0..3 {
            let view = if which == 0 { View(0) } else { stage.view() };
            let active = stage.draw(&[now, which], 2) == 0;
            let packet = stage.packet(Message::Status(Status { view, active, ..Status::default() }));
            stage.send_all(&packet);
        }
    }))
}

/// Passes on candidates of its own making as another origin's, of low sequence, so that they would
/// stand at the head of the victim's line if that could be believed.
pub(super) fn forge_origin() -> Box<dyn Attack> {
    Box::new(Alone(|stage| {
        if stage.healed {
            return;
        }
        let Some(envelope) = stage.envelope() else { return };
        let index = workload::index_of(&envelope).unwrap_or_default();
        let candidate = workload::candidate(stage.victim(), index % 7, vec![envelope]);
        stage.known.stock.insert(candidate.digest, candidate.clone());
        stage.send_all(&Packet::Repair(candidate));
    }))
}

/// Lets the primary have its candidates long after the others.
pub(super) fn late_to_primary() -> Box<dyn Attack> {
    Box::new(Repack(|stage, packet, acts| {
        if matches!(packet, Packet::Candidate(_)) {
            let primary = stage.view().primary(stage.n);
            for act in acts.iter_mut().filter(|act| act.to == primary) {
                act.delay = Duration::from_millis(300);
            }
        }
    }))
}

/// Statements with a bad signature or somebody else's name on them, out of nothing.
#[derive(Debug, Default)]
struct Forge {
    seen: BTreeSet<Digest>,
}

pub(super) fn forge() -> Box<dyn Attack> {
    Box::new(Forge::default())
}

impl Attack for Forge {
    fn wake(&mut self, stage: &mut Stage<'_>) {
        let now = stage.instant();
        let whom = stage.pick(&[now]);
        let vote = PrepareVote { view: stage.view(), number: stage.next_number(), digest: digest_of(now) };
        let mut prepare = stage.keys().prepare(stage.me, vote);
        prepare.signer = Place(stage.draw(&[now, 41], stage.n as u64 + 2) as u16);
        if prepare.signer == stage.me {
            prepare.signature = Signature(Bytes::from_static(b"forged"));
        }
        let packet = stage.packet(Message::Prepare(prepare));
        stage.send(whom, packet);
        // And everything proposed, as voted for by everybody.
        let proposed: Vec<_> = stage.known.proposals.keys().rev().take(2).copied().collect();
        for (view, number, digest) in proposed {
            if !self.seen.insert(digest) {
                continue;
            }
            for other in stage.others() {
                let vote = PrepareVote { view, number, digest };
                let mut prepare = stage.keys().prepare(stage.me, vote);
                prepare.signer = other;
                let packet = stage.packet(Message::Prepare(prepare));
                stage.send_all(&packet);
            }
        }
        while self.seen.len() > 256 {
            self.seen.pop_first();
        }
    }
}

/// Sends the victim nothing at all, and everybody else everything.
pub(super) fn shun() -> Box<dyn Attack> {
    #[derive(Debug)]
    struct Shun;
    impl Attack for Shun {
        fn say(&mut self, stage: &mut Stage<'_>, _: &crate::network::Letter, acts: &mut Vec<super::Act>) {
            let victim = stage.victim();
            acts.retain(|act| act.to != victim);
        }
        fn post(&mut self, stage: &mut Stage<'_>, _: &Packet, acts: &mut Vec<super::Act>) {
            let victim = stage.victim();
            acts.retain(|act| act.to != victim);
        }
    }
    Box::new(Shun)
}
