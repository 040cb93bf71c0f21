//! Lies in view-changes and new-views.

use std::sync::Arc;
use std::time::Duration;

use sbft::pbft::message::{Message, NewView, NewViewBody, SignedViewChange, Unsigned, ViewChange};
use sbft::types::{Number, View};

use super::{Act, Liar, Stage, Strategy};
use crate::draw::Purpose;
use crate::network::Packet;

impl Liar {
    /// The core asks for a view: it hides what it holds, or tells each something else.
    pub(super) fn bend_view_change(
        &mut self,
        stage: &Stage<'_>,
        change: &Arc<SignedViewChange>,
        acts: &mut Vec<Act>,
    ) {
        let split = self.does(Strategy::SplitViewChange);
        if !split && !self.does(Strategy::StaleViewChange) && !self.does(Strategy::Forge) {
            return;
        }
        for act in acts {
            let key =
                [change.body.view.0, if split { u64::from(act.to.0) } else { 77 }, u64::from(self.me.0)];
            if split && stage.draws.below(Purpose::Lie, &[key[0], key[1], 51], 2) == 0 {
                continue;
            }
            let body = if self.does(Strategy::Forge) {
                forged(&change.body)
            } else {
                self.stale(stage, &change.body, &key)
            };
            let signed = stage.keys.view_change(self.me, body);
            act.packet = stage.packet(Message::ViewChange(Arc::new(signed)));
        }
    }

    fn stale(&self, stage: &Stage<'_>, body: &ViewChange, key: &[u64; 3]) -> ViewChange {
        let mut body = body.clone();
        match stage.draws.below(Purpose::Lie, &[key[0], key[1], key[2], 52], 4) {
            0 => body.prepared.clear(),
            1 => {
                body.prepared.pop();
            }
            2 => {
                if !body.prepared.is_empty() {
                    body.prepared.remove(0);
                }
            }
            _ => {
                // Forgets blocks too, and everything prepared.
                let last = body.base_number().0;
                let older = stage.draws.below(Purpose::Lie, &[key[0], key[1], key[2], 53], last + 1);
                body.base = stage.store.block(Number(older)).map(|block| Arc::new(block.certificate.clone()));
                body.prepared.clear();
            }
        }
        body
    }

    /// The core starts a view: with the view-changes that say least, or with other ones for some.
    pub(super) fn bend_new_view(&mut self, stage: &Stage<'_>, new_view: &Arc<NewView>, acts: &mut Vec<Act>) {
        let view = new_view.body.view;
        if self.does(Strategy::SilentNewPrimary) {
            acts.clear();
            return;
        }
        let (subset, split) = (self.does(Strategy::NewViewSubset), self.does(Strategy::NewViewSplit));
        if view.primary(stage.n) != self.me || !subset && !split {
            return;
        }
        let mut known = self.view_changes.get(&view).cloned().unwrap_or_default();
        for change in &new_view.body.view_changes {
            known.entry(change.signer).or_insert_with(|| change.clone());
        }
        // Its own may say nothing at all.
        let empty = ViewChange { view, base: None, prepared: Vec::new() };
        known.insert(self.me, Arc::new(stage.keys.view_change(self.me, empty)));
        let mut chosen: Vec<Arc<SignedViewChange>> = known.into_values().collect();
        chosen.sort_by_key(|change| (change.body.prepared.len(), change.body.base_number(), change.signer));
        chosen.truncate(stage.keys.quorum());
        if chosen.len() < stage.keys.quorum() {
            return;
        }
        chosen.sort_by_key(|change| change.signer);
        let body = NewViewBody { view, view_changes: chosen };
        let packet = stage.packet(stage.keys.seal(self.me, Unsigned::NewView(body), 0));
        let told = self.told_otherwise(stage, view, Number(0));
        for act in acts {
            if subset || told.contains(&act.to) {
                act.packet = packet.clone();
            }
        }
    }

    /// Asks for the next view, or one far away, for no reason.
    pub(super) fn spam_view_changes(&mut self, stage: &Stage<'_>, key: &[u64; 2], acts: &mut Vec<Act>) {
        let far = stage.draws.below(Purpose::Lie, &[key[0], key[1], 61], 8) == 0;
        let ahead = if far { 1 << 50 } else { 1 + stage.draws.below(Purpose::Lie, &[key[0], key[1], 62], 3) };
        let view = View(self.highest_view.0.saturating_add(ahead));
        let body = ViewChange { view, base: None, prepared: Vec::new() };
        let signed = Arc::new(stage.keys.view_change(self.me, body));
        let packet: Packet = stage.packet(Message::ViewChange(signed));
        for to in stage.others(self.me) {
            acts.push(Act { to, delay: Duration::ZERO, packet: packet.clone() });
        }
    }
}

/// A view-change whose certificates are one signature short.
fn forged(body: &ViewChange) -> ViewChange {
    let mut body = body.clone();
    for certificate in &mut body.prepared {
        let mut short = certificate.as_ref().clone();
        short.signatures.pop();
        *certificate = Arc::new(short);
    }
    body
}
