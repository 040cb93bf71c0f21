//! Liars whose lie is how they live: A50 to A53, A58 and A59.

use std::time::Duration;

use sbft::pbft::Record;

use super::{Act, Alone, Attack, Bend, Stage};
use crate::network::{Kind, Letter, Packet};

/// A50: a second copy of the real core with the same key. The world makes the second body; here
/// its votes are counted.
pub(super) fn twins() -> Box<dyn Attack> {
    Box::new(Bend(|stage, letter, _| {
        let vote = matches!(
            letter.label.kind,
            Kind::PrePrepare | Kind::Prepare | Kind::Commit | Kind::ViewChange | Kind::NewView
        );
        if stage.body >= stage.n && vote {
            stage.acted();
        }
    }))
}

/// What a liar forgets when it comes back.
#[derive(Clone, Copy, Debug)]
enum Forgets {
    /// What was written since some moment.
    TheLast,
    /// Which votes it cast.
    Votes,
}

/// A51, A52: crashes now and then and comes back with a disk that forgot something.
#[derive(Debug)]
struct Forgetful {
    forgets: Forgets,
    records: usize,
}

pub(super) fn rollback() -> Box<dyn Attack> {
    Box::new(Forgetful { forgets: Forgets::TheLast, records: 0 })
}

pub(super) fn amnesia() -> Box<dyn Attack> {
    Box::new(Forgetful { forgets: Forgets::Votes, records: 0 })
}

impl Attack for Forgetful {
    fn wake(&mut self, stage: &mut Stage<'_>) {
        // Only when there is something new to forget, and not all the time.
        let records = stage.bodies[stage.body].log.len();
        if records > self.records && stage.draw(&[stage.instant()], 8) == 0 {
            self.records = records;
            let back = match self.forgets {
                Forgets::TheLast => Duration::from_millis(20 + stage.draw(&[stage.instant(), 1], 100)),
                Forgets::Votes => Duration::from_millis(1),
            };
            stage.crash(back);
        }
    }

    fn after_crash(&mut self, stage: &mut Stage<'_>, log: &mut Vec<Record>) {
        match self.forgets {
            Forgets::TheLast => {
                let kept = stage.draw(&[stage.instant(), 2], log.len() as u64 + 1) as usize;
                log.truncate(kept);
            }
            Forgets::Votes => {
                log.retain(|record| {
                    !matches!(record, Record::Bound { .. } | Record::Accepted { .. } | Record::Prepared(_))
                });
            }
        }
        self.records = log.len();
    }
}

/// A53: many connections: here, its one link to a replica dies and comes back all the time, as
/// when another connection under the same name displaces it.
pub(super) fn sybil_links() -> Box<dyn Attack> {
    Box::new(Alone(|stage| {
        for which in 0..3 {
            let peer = stage.pick(&[stage.instant(), which]);
            stage.flap(peer);
        }
    }))
}

/// A58, A59: says nothing, always or by turns.
#[derive(Debug)]
struct Silent {
    /// How long it is silent and how long it is not; silent for ever, if none.
    turns: Option<Duration>,
}

pub(super) fn silent() -> Box<dyn Attack> {
    Box::new(Silent { turns: None })
}

pub(super) fn flapping() -> Box<dyn Attack> {
    Box::new(Silent { turns: Some(Duration::from_millis(180)) })
}

impl Silent {
    fn is_silent(&self, stage: &Stage<'_>) -> bool {
        self.turns.is_none_or(|turn| (stage.now.0.as_micros() / turn.as_micros()) % 2 == 1)
    }
}

impl Attack for Silent {
    fn say(&mut self, stage: &mut Stage<'_>, _: &Letter, acts: &mut Vec<Act>) {
        if self.is_silent(stage) {
            acts.clear();
        }
    }

    fn post(&mut self, stage: &mut Stage<'_>, _: &Packet, acts: &mut Vec<Act>) {
        if self.is_silent(stage) {
            acts.clear();
        }
    }
}
