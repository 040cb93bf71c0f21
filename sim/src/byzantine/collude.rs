//! C1: liars with one brain. What one of them hears, all of them know.

use std::collections::BTreeSet;

use sbft::pbft::message::Message;
use sbft::types::{Digest, Header, Number, Place, View};

use super::{Act, Attack, Stage};
use crate::network::{Letter, Packet};

/// Shares what it knows with all other colluders (the world gives them one [`super::Knowledge`]),
/// and votes at once for what only another of them has heard of. Where one of them tells two
/// stories the others keep to it: each replica hears votes for the story that it was told, and none
/// that would give the lie away.
#[derive(Debug, Default)]
struct Collude {
    voted: BTreeSet<(View, Number, Digest)>,
}

pub(super) fn collude() -> Box<dyn Attack> {
    Box::new(Collude::default())
}

impl Attack for Collude {
    fn hear(&mut self, stage: &mut Stage<'_>, _: Place, _: &Packet) -> bool {
        self.help(stage);
        true
    }

    fn say(&mut self, stage: &mut Stage<'_>, letter: &Letter, acts: &mut Vec<Act>) {
        let digest = match &letter.message {
            Message::Prepare(m) => m.vote.digest,
            Message::Commit(m) => m.vote.digest,
            _ => return,
        };
        if let Some(hears) = stage.known.audience(letter.label.view, letter.label.number, &digest) {
            acts.retain(|act| hears(act.to));
        }
    }

    fn wake(&mut self, stage: &mut Stage<'_>) {
        self.help(stage);
    }
}

impl Collude {
    fn help(&mut self, stage: &mut Stage<'_>) {
        let (view, next) = (stage.view(), stage.next_number());
        let from = (view, next, Digest([0; 32]));
        let to = (View(view.0 + 1), Number(u64::MAX), Digest([0xff; 32]));
        let known = stage.known.proposals.range(from..=to);
        let news: Vec<((View, Number, Digest), Header)> = known
            .filter(|(slot, _)| !self.voted.contains(*slot))
            .filter(|((view, number, digest), _)| {
                stage.known.stories.contains_key(&(*view, *number))
                    || !stage.known.heard.contains(&(stage.me, *digest))
            })
            .map(|(slot, proposal)| (*slot, proposal.header.clone()))
            .collect();
        for ((view, number, digest), header) in news {
            self.voted.insert((view, number, digest));
            let mut audience = stage.others();
            if let Some(hears) = stage.known.audience(view, number, &digest) {
                audience.retain(|place| hears(*place));
            }
            let votes = [stage.prepare(view, number, digest), stage.commit(view, &header, digest)];
            for to in audience {
                for vote in &votes {
                    stage.send(to, vote.clone());
                }
            }
        }
        while self.voted.len() > 512 {
            self.voted.pop_first();
        }
    }
}
