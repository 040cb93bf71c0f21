//! Lies about views: A29 to A40.

use std::collections::BTreeSet;
use std::sync::Arc;

use sbft::pbft::message::{Message, NewView, PreparedCertificate, SignedViewChange, Status, ViewChange};
use sbft::types::{Digest, Number, Place, View};

use super::{Act, Alone, Attack, Bend, Stage, instead};
use crate::network::{Letter, Packet};

/// The liar's own view-change.
fn own_change<'a>(stage: &Stage<'_>, letter: &'a Letter) -> Option<&'a ViewChange> {
    match &letter.message {
        Message::ViewChange(change) if change.signer == stage.me => Some(&change.body),
        _ => None,
    }
}

/// The new-view of a view that the liar leads.
fn own_new_view<'a>(stage: &Stage<'_>, letter: &'a Letter) -> Option<&'a NewView> {
    match &letter.message {
        Message::NewView(new_view) if new_view.body.view.primary(stage.n) == stage.me => Some(new_view),
        _ => None,
    }
}

fn change_packet(stage: &Stage<'_>, body: ViewChange) -> Packet {
    stage.packet(Message::ViewChange(stage.view_change(body)))
}

/// Says less than it knows, in one of several ways.
fn staler(stage: &Stage<'_>, body: &ViewChange, key: [u64; 2]) -> ViewChange {
    let mut body = body.clone();
    match stage.draw(&[key[0], key[1], 52], 4) {
        0 => body.prepared.clear(),
        1 => {
            body.prepared.pop();
        }
        2 if !body.prepared.is_empty() => {
            body.prepared.remove(0);
        }
        _ => {
            // Forgets blocks too, and everything prepared.
            let older = stage.draw(&[key[0], key[1], 53], body.base_number().0 + 1);
            body.base = stage.store.block(Number(older)).map(|block| Arc::new(block.certificate.clone()));
            body.prepared.clear();
        }
    }
    body
}

/// A29: hides certificates and blocks.
pub(super) fn stale_view_change() -> Box<dyn Attack> {
    Box::new(Bend(|stage, letter, acts| {
        if let Some(body) = own_change(stage, letter) {
            let packet = change_packet(stage, staler(stage, body, [body.view.0, 77]));
            instead(acts, &packet);
        }
    }))
}

/// A certificate that no quorum made, in one of several ways.
fn forged(stage: &Stage<'_>, body: &ViewChange) -> ViewChange {
    let mut body = body.clone();
    let which = stage.draw(&[body.view.0, 54], 3);
    let genuine = body.prepared.last().cloned().or_else(|| any_certificate(stage, &body));
    let Some(genuine) = genuine else {
        // Nothing to start from: a quorum of its own signatures.
        let number = body.base_number().next();
        let Some(known) = stage.known.proposals.values().find(|known| known.number() == number) else {
            return body;
        };
        let digest = known.digest(&stage.genesis());
        let vote = sbft::pbft::message::PrepareVote { view: View(0), number, digest };
        let own = stage.keys().prepare(stage.me, vote).signature;
        let signatures = (0..stage.quorum() as u16).map(|place| (Place(place), own.clone())).collect();
        let certificate = PreparedCertificate { view: View(0), proposal: known.clone(), signatures };
        body.prepared = vec![Arc::new(certificate)];
        return body;
    };
    let mut certificate = genuine.as_ref().clone();
    match which {
        0 => {
            certificate.signatures.pop();
        }
        1 => {
            if let Some(first) = certificate.signatures.first().cloned() {
                certificate.signatures.pop();
                certificate.signatures.insert(0, first);
            }
        }
        _ => {
            let mut proposal = certificate.proposal.as_ref().clone();
            proposal.header.data_hash = Digest([0xab; 32]);
            certificate.proposal = Arc::new(proposal);
        }
    }
    body.prepared.pop();
    body.prepared.push(Arc::new(certificate));
    body
}

/// Some certificate above the base and of a view below the one asked for.
fn any_certificate(stage: &Stage<'_>, body: &ViewChange) -> Option<Arc<PreparedCertificate>> {
    let known = stage.known.certificates.values();
    let mut fitting =
        known.filter(|held| held.view < body.view && held.proposal.number() == body.base_number().next());
    fitting.next().cloned().or_else(|| {
        let next = body.base_number().next();
        let proposals = stage.known.proposals.iter().filter(|((_, number, _), _)| *number == next);
        proposals
            .filter_map(|((view, _, _), proposal)| stage.certificate(*view, proposal))
            .find(|held| held.view < body.view)
            .map(Arc::new)
    })
}

/// A30: certificates with a signature too few, one twice, or over something else.
pub(super) fn forged_certificate() -> Box<dyn Attack> {
    Box::new(Bend(|stage, letter, acts| {
        if let Some(body) = own_change(stage, letter) {
            let lie = forged(stage, body);
            if lie != *body {
                instead(acts, &change_packet(stage, lie));
            }
        }
    }))
}

/// A31: genuine certificates in the wrong place: of a lower view than one it holds, passed off as
/// one of a later view, or for a number that is committed.
pub(super) fn old_certificate() -> Box<dyn Attack> {
    Box::new(Bend(|stage, letter, acts| {
        let Some(body) = own_change(stage, letter) else { return };
        let mut lie = body.clone();
        let mut changed = false;
        for certificate in &mut lie.prepared {
            let number = certificate.proposal.number();
            let lower = stage.known.certificates.range((number, View(0))..(number, certificate.view)).next();
            if let Some((_, lower)) = lower {
                *certificate = lower.clone();
                changed = true;
            } else if certificate.view.next() < body.view && stage.chance(&[body.view.0, number.0, 56], 0.5) {
                // Passed off as one of the view before this one.
                let mut later = certificate.as_ref().clone();
                later.view = View(body.view.0 - 1);
                *certificate = Arc::new(later);
                changed = true;
            }
        }
        if !changed {
            // One for a block that is committed, below its own base or with the base hidden.
            let base = body.base_number();
            let known = stage.known.proposals.iter().rev();
            let mut old = known
                .filter(|((view, number, _), _)| *number <= base && *view < body.view)
                .filter_map(|((view, _, _), proposal)| stage.certificate(*view, proposal));
            let Some(old) = old.next() else { return };
            if stage.chance(&[body.view.0, 55], 0.5) {
                let below = Number(old.proposal.number().0.saturating_sub(1));
                lie.base = stage.store.block(below).map(|block| Arc::new(block.certificate.clone()));
                lie.prepared.clear();
            }
            lie.prepared.insert(0, Arc::new(old));
        }
        instead(acts, &change_packet(stage, lie));
    }))
}

/// A32: another view-change to each.
pub(super) fn split_view_change() -> Box<dyn Attack> {
    Box::new(Bend(|stage, letter, acts| {
        let Some(body) = own_change(stage, letter) else { return };
        let told = stage.some(body.view, Number(0));
        for act in acts {
            if told.contains(&act.to) {
                let lie = staler(stage, body, [body.view.0, u64::from(act.to.0)]);
                // Even with nothing to hide there are two of them: the bases differ.
                let lie =
                    if lie == *body { ViewChange { base: None, prepared: Vec::new(), ..lie } } else { lie };
                act.packet = change_packet(stage, lie);
            }
        }
    }))
}

/// A33: proposes something new where its own new-view says what is proposed again.
#[derive(Debug, Default)]
struct IgnoreCertificates {
    done: BTreeSet<View>,
}

pub(super) fn ignore_certificates() -> Box<dyn Attack> {
    Box::new(IgnoreCertificates::default())
}

impl Attack for IgnoreCertificates {
    fn say(&mut self, stage: &mut Stage<'_>, letter: &Letter, _: &mut Vec<Act>) {
        let Some(new_view) = own_new_view(stage, letter) else { return };
        let changes = &new_view.body.view_changes;
        let base = changes.iter().map(|change| change.body.base_number()).max().unwrap_or_default();
        let first = base.next();
        let carried = changes.iter().flat_map(|change| &change.body.prepared);
        let again = carried.filter(|held| held.proposal.number() == first).max_by_key(|held| held.view);
        let Some(again) = again.map(|held| held.proposal.header.previous_hash) else { return };
        if !self.done.insert(new_view.body.view) {
            return;
        }
        if let Some((candidate, proposal)) = stage.other_proposal(first, again) {
            for to in stage.others() {
                stage.send(to, Packet::Repair(candidate.clone()));
                stage.send(to, stage.pre_prepare(new_view.body.view, proposal.clone()));
            }
        }
    }
}

/// A34: a quorum of view-changes of which one is there twice.
pub(super) fn new_view_of_doubles() -> Box<dyn Attack> {
    Box::new(Bend(|stage, letter, acts| {
        let Some(new_view) = own_new_view(stage, letter) else { return };
        let mut changes = new_view.body.view_changes.clone();
        if let Some(first) = changes.first().cloned() {
            changes.pop();
            changes.insert(0, first);
        }
        instead(acts, &stage.new_view(new_view.body.view, changes));
    }))
}

/// The view-changes that say least, its own saying nothing, and a quorum of them.
fn poorest(stage: &Stage<'_>, new_view: &NewView) -> Option<Packet> {
    let view = new_view.body.view;
    let mut known = stage.known.view_changes.get(&view).cloned().unwrap_or_default();
    for change in &new_view.body.view_changes {
        known.entry(change.signer).or_insert_with(|| change.clone());
    }
    let empty = ViewChange { view, base: None, prepared: Vec::new() };
    known.insert(stage.me, stage.view_change(empty));
    let mut chosen: Vec<Arc<SignedViewChange>> = known.into_values().collect();
    chosen.sort_by_key(|change| (change.body.prepared.len(), change.body.base_number(), change.signer));
    chosen.truncate(stage.quorum());
    (chosen.len() == stage.quorum()).then(|| stage.new_view(view, chosen))
}

/// A35: chooses the view-changes that say least.
pub(super) fn new_view_subset() -> Box<dyn Attack> {
    Box::new(Bend(|stage, letter, acts| {
        if let Some(packet) = own_new_view(stage, letter).and_then(|new_view| poorest(stage, new_view)) {
            instead(acts, &packet);
        }
    }))
}

/// A36: another new-view to some.
pub(super) fn new_view_split() -> Box<dyn Attack> {
    Box::new(Bend(|stage, letter, acts| {
        let Some(new_view) = own_new_view(stage, letter) else { return };
        let told = stage.some(new_view.body.view, Number(0));
        if let Some(packet) = poorest(stage, new_view) {
            for act in acts.iter_mut().filter(|act| told.contains(&act.to)) {
                act.packet = packet.clone();
            }
        }
    }))
}

/// A37: becomes primary and says nothing as such.
pub(super) fn new_view_silent() -> Box<dyn Attack> {
    Box::new(Bend(|stage, letter, acts| {
        let proposes = match &letter.message {
            Message::PrePrepare(m) => m.view > View(0) && m.view.primary(stage.n) == stage.me,
            _ => own_new_view(stage, letter).is_some(),
        };
        if proposes {
            acts.clear();
        }
    }))
}

/// A38: asks for the next view all the time, now and then for one far away.
pub(super) fn view_change_spam() -> Box<dyn Attack> {
    Box::new(Alone(|stage| {
        let now = stage.instant();
        let far = stage.draw(&[now, 61], 8) == 0;
        let ahead = if far { 1 << 50 } else { 1 + stage.draw(&[now, 62], 3) };
        let view = View(stage.view().0.saturating_add(ahead));
        let packet = stage.empty_view_change(view);
        stage.send_all(&packet);
    }))
}

/// A39: view-changes for views up to 2^63.
pub(super) fn future_view_flood() -> Box<dyn Attack> {
    Box::new(Alone(|stage| {
        let now = stage.instant();
        for which in 0..4 {
            let bits = 1 + stage.draw(&[now, which], 63);
            let view = View(stage.view().0.saturating_add(1 << bits));
            let packet = stage.empty_view_change(view);
            stage.send_all(&packet);
        }
    }))
}

/// A40: one view-change for the next view from each liar, as soon as a view begins: one more
/// from an honest replica, and everybody has to join.
#[derive(Debug, Default)]
struct JoinBait {
    baited: BTreeSet<View>,
}

pub(super) fn join_bait() -> Box<dyn Attack> {
    Box::new(JoinBait::default())
}

impl Attack for JoinBait {
    fn wake(&mut self, stage: &mut Stage<'_>) {
        let Some(probe) = stage.probe() else { return };
        if probe.active && self.baited.insert(probe.view) {
            let packet = stage.empty_view_change(probe.view.next());
            stage.send_all(&packet);
        }
    }
}

/// Complains about every primary but itself, all the time, and never asks for a view before the
/// others do.
pub(super) fn complain_bait() -> Box<dyn Attack> {
    Box::new(Bend(|stage, letter, acts| {
        if let Message::Status(status) = &letter.message
            && !status.complains
            && !stage.is_primary()
        {
            let lie = Status { complains: true, ..status.clone() };
            instead(acts, &stage.packet(Message::Status(lie)));
        }
    }))
}
