//! C1: liars with one brain. What one of them hears, all of them know.

use sbft::types::{Digest, Number, Place, View};

use super::votes::VoteForAll;
use super::{Attack, Stage};
use crate::network::Packet;

/// Shares what it knows with all other colluders (the world gives them one [`super::Knowledge`]),
/// and votes at once for what only another of them has heard of.
#[derive(Debug, Default)]
pub(super) struct Collude {
    votes: VoteForAll,
}

pub(super) fn collude() -> Box<dyn Attack> {
    Box::new(Collude::default())
}

impl Attack for Collude {
    fn hear(&mut self, stage: &mut Stage<'_>, _: Place, _: &Packet) -> bool {
        self.help(stage);
        true
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
        let news: Vec<_> = stage
            .known
            .proposals
            .range(from..=to)
            .filter(|((_, _, digest), _)| !stage.known.heard.contains(&(stage.me, *digest)))
            .map(|(slot, proposal)| (*slot, proposal.header.clone()))
            .collect();
        for (slot, header) in news {
            self.votes.vote(stage, slot, Some(&header));
        }
    }
}
