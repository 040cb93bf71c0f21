//! Single packets: what chance did to each, written down, or done again to some and no others.
//!
//! This is how a failing run becomes a small one. Its chances are recorded packet by packet; then
//! they are done again on a network where nothing else is left to chance, fewer and fewer of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::packet::{Kind, Label};
use super::rules::{Fate, Rule};
use super::{Fare, Leg};

/// One packet of a run, by what it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Single {
    /// Its kind.
    pub kind: Kind,
    /// Its view.
    pub view: u64,
    /// Its number.
    pub number: u64,
    /// Which body sends it.
    pub from: usize,
    /// To which.
    pub to: usize,
    /// How many like it went this way before, not counting those that a partition or rule stopped.
    pub before: u32,
}

/// What happens to single packets; see [`crate::plan::Plan::singles`].
pub type Singles = BTreeMap<Single, Fate>;

/// What the network does with single packets.
#[derive(Debug, Default)]
pub(super) struct Watch {
    pub(super) chosen: Arc<Singles>,
    pub(super) record: Option<Singles>,
    counts: BTreeMap<Single, u32>,
    over: bool,
}

impl Watch {
    pub(super) fn of(chosen: Arc<Singles>, record: bool) -> Self {
        Self { chosen, record: record.then(Singles::new), ..Self::default() }
    }

    /// The packet that is sent now, if anybody cares.
    pub(super) fn packet(&mut self, from: usize, to: usize, label: &Label) -> Option<Single> {
        if self.over || self.chosen.is_empty() && self.record.is_none() {
            return None;
        }
        let Label { kind, view, number, .. } = *label;
        let single = Single { kind, view: view.0, number: number.0, from, to, before: 0 };
        let count = self.counts.entry(single).or_default();
        *count += 1;
        Some(Single { before: *count - 1, ..single })
    }

    /// Writes down what chance did to it.
    pub(super) fn note(&mut self, single: Option<Single>, fare: Fare) {
        let (Some(record), Some(single)) = (&mut self.record, single) else { return };
        let fate = match fare {
            Fare::Lost(_) => Fate::Drop,
            Fare::Goes(leg, None) => Fate::Delay(leg.takes),
            Fare::Goes(leg, Some(again)) => copied(leg, again),
        };
        record.insert(single, fate);
    }

    /// The network heals: from here on nothing is recorded or done.
    pub(super) fn stop(&mut self) {
        self.chosen = Arc::default();
        self.counts.clear();
        self.over = true;
    }
}

fn copied(leg: Leg, again: Leg) -> Fate {
    let (first, second) = (leg.takes.min(again.takes), leg.takes.max(again.takes));
    Fate::Copy { delay: Some(first), later: second - first }
}

/// The rules that do to packets what is chosen for single ones: one rule each, so that people can
/// read them. Every rule counts the packets that those before it let pass.
pub fn rules(singles: &Singles) -> Vec<Rule> {
    let mut taken: BTreeMap<Single, u32> = BTreeMap::new();
    singles
        .iter()
        .map(|(single, fate)| {
            let alike = taken.entry(Single { before: 0, ..*single }).or_default();
            let skip = single.before - *alike;
            *alike += 1;
            Rule {
                from: Some(vec![single.from]),
                to: Some(vec![single.to]),
                kinds: Some(vec![single.kind]),
                view: Some(sbft::types::View(single.view)),
                number: Some(sbft::types::Number(single.number)),
                skip,
                left: Some(1),
                fate: *fate,
            }
        })
        .collect()
}

/// What is left of recorded singles on a network where every packet takes this long.
pub fn unusual(singles: &Singles, usual: Duration) -> Singles {
    singles
        .iter()
        .filter(|(_, fate)| **fate != Fate::Delay(usual))
        .map(|(single, fate)| (*single, *fate))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sbft::types::{Number, View};

    #[test]
    fn rules_count_as_single_packets_do() {
        let label = Label { kind: Kind::Commit, view: View(0), number: Number(3), tag: 0 };
        let single = |before| Single { kind: Kind::Commit, view: 0, number: 3, from: 1, to: 2, before };
        let late = Fate::Delay(Duration::from_millis(9));
        let singles = Singles::from([(single(1), Fate::Drop), (single(2), late), (single(5), Fate::Drop)]);
        let mut rules = rules(&singles);
        let fates: Vec<Option<Fate>> =
            (0..7).map(|_| rules.iter_mut().find_map(|rule| rule.take(1, 2, &label))).collect();
        assert_eq!(fates, [None, Some(Fate::Drop), Some(late), None, None, Some(Fate::Drop), None]);
    }
}
