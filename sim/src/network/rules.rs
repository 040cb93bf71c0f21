//! Rules about single packets: by kind, view, number, sender and receiver.

use std::time::Duration;

use sbft::types::{Number, View};

use super::packet::{Kind, Label};

/// A rule about some packets. The first rule that matches a packet decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Bodies it may come from; none means all.
    pub from: Option<Vec<usize>>,
    /// Bodies it may go to.
    pub to: Option<Vec<usize>>,
    /// Kinds; none means all.
    pub kinds: Option<Vec<Kind>>,
    /// View.
    pub view: Option<View>,
    /// Number.
    pub number: Option<Number>,
    /// How many packets it still lets pass before it takes the first.
    pub skip: u32,
    /// How many packets it still takes; none means all.
    pub left: Option<u32>,
    /// What happens to them.
    pub fate: Fate,
}

/// What a rule does to a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fate {
    /// Lost.
    #[default]
    Drop,
    /// As if no later rule were there.
    Pass,
    /// Takes exactly this long.
    Delay(Duration),
    /// Arrives twice.
    Copy {
        /// How long the first copy takes; as long as it would, if nothing is said.
        delay: Option<Duration>,
        /// How much later the second one arrives.
        later: Duration,
    },
}

impl Rule {
    /// A cut by protocol phase: what `from` (all, if none) send of this kind, view and number
    /// reaches only these of the `bodies` that there are.
    pub fn reaching_only(
        kind: Kind,
        view: Option<View>,
        number: Option<Number>,
        from: Option<Vec<usize>>,
        only_to: &[usize],
        bodies: usize,
    ) -> Self {
        let to = (0..bodies).filter(|body| !only_to.contains(body)).collect();
        Self { from, to: Some(to), kinds: Some(vec![kind]), view, number, ..Self::default() }
    }

    /// What it does to this packet, if it is about it; counts it.
    pub fn take(&mut self, from: usize, to: usize, label: &Label) -> Option<Fate> {
        if !self.takes(from, to, label) {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        if let Some(left) = &mut self.left {
            *left -= 1;
        }
        Some(self.fate)
    }

    /// The rule is about this packet.
    pub fn takes(&self, from: usize, to: usize, label: &Label) -> bool {
        self.left != Some(0)
            && self.from.as_ref().is_none_or(|bodies| bodies.contains(&from))
            && self.to.as_ref().is_none_or(|bodies| bodies.contains(&to))
            && self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&label.kind))
            && self.view.is_none_or(|view| view == label.view)
            && self.number.is_none_or(|number| number == label.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: Label = Label { kind: Kind::Commit, view: View(0), number: Number(3), tag: 9 };

    #[test]
    fn a_cut_lets_one_phase_of_one_number_reach_only_those_it_names() {
        let (view, number) = (Some(View(0)), Some(Number(3)));
        let cut = Rule::reaching_only(Kind::Commit, view, number, None, &[1], 4);
        assert_eq!(cut.fate, Fate::Drop);
        assert!(cut.takes(0, 2, &COMMIT) && cut.takes(3, 0, &COMMIT));
        assert!(!cut.takes(0, 1, &COMMIT), "the one it reaches");
        assert!(!cut.takes(0, 2, &Label { number: Number(4), ..COMMIT }), "another number");
        assert!(!cut.takes(0, 2, &Label { view: View(1), ..COMMIT }), "another view");
        assert!(!cut.takes(0, 2, &Label { kind: Kind::Prepare, ..COMMIT }), "another phase");
        let of_one = Rule { from: Some(vec![3]), ..cut };
        assert!(of_one.takes(3, 2, &COMMIT) && !of_one.takes(0, 2, &COMMIT), "one sender's only");
    }

    #[test]
    fn a_rule_takes_what_every_part_of_it_names() {
        let rule = Rule {
            from: Some(vec![0]),
            to: Some(vec![1, 2]),
            kinds: Some(vec![Kind::Commit]),
            number: Some(Number(3)),
            ..Rule::default()
        };
        assert!(rule.takes(0, 2, &COMMIT));
        assert!(!rule.takes(1, 2, &COMMIT) && !rule.takes(0, 3, &COMMIT));
        assert!(!rule.takes(0, 2, &Label { number: Number(2), ..COMMIT }));
        assert!(!Rule { left: Some(0), ..rule }.takes(0, 2, &COMMIT), "it took what it was to take");
    }
}
