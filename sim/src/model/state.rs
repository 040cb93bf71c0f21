//! A state of the small world: what each honest replica has done, in 128 bits.

/// Views that fit into a state.
pub(super) const VIEWS: usize = 3;
/// Numbers that fit into a state.
pub(super) const NUMBERS: usize = 2;
/// Honest replicas that fit into a state.
pub(super) const HONEST: usize = 3;

/// A block's value: 0 for none; 1 or 2 at the first number; 1 to 4 at the second, where it also
/// says which value of the first it extends.
pub(super) type Value = u8;

/// The value of the first number that this value of the second extends.
pub(super) fn parent(value: Value) -> Value {
    (value - 1) / 2 + 1
}

/// The two values that extend `below`.
pub(super) fn extending(below: Option<Value>) -> [Value; 2] {
    match below {
        None => [1, 2],
        Some(below) => [below * 2 - 1, below * 2],
    }
}

/// What a new-view settles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Settled {
    /// The last committed number that it builds on.
    pub(super) base: u8,
    /// What it proposes again at each number; 0 for none.
    pub(super) again: [Value; NUMBERS],
}

impl Settled {
    /// The last number that it settles.
    pub(super) fn last(&self) -> usize {
        let again = self.again.iter().filter(|value| **value != 0).count();
        usize::from(self.base) + again
    }

    /// Everything that a new-view may settle.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        (1..=13).map(Self::of_code)
    }

    /// 1 to 13.
    pub(super) fn code(self) -> u8 {
        let [first, second] = self.again;
        match self.base {
            0 if second != 0 => 3 + second,
            0 => 1 + first,
            1 => 8 + second,
            _ => 13,
        }
    }

    fn of_code(code: u8) -> Self {
        match code {
            1..=3 => Self { base: 0, again: [code - 1, 0] },
            4..=7 => Self { base: 0, again: [parent(code - 3), code - 3] },
            8..=12 => Self { base: 1, again: [0, code - 8] },
            _ => Self { base: 2, again: [0, 0] },
        }
    }
}

/// What one honest replica has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Replica {
    /// The view it is in, or has asked for.
    pub(super) view: usize,
    /// It votes in that view.
    pub(super) active: bool,
    /// What it prepared (voted for), by view and number.
    pub(super) accepted: [[Value; NUMBERS]; VIEWS],
    /// Whether it voted commit for that, and so holds its certificate.
    pub(super) committed: [[bool; NUMBERS]; VIEWS],
    /// The base of its view-change for a view, if it sent one.
    pub(super) asked: [Option<u8>; VIEWS],
    /// What the new-view settled by which it entered a view.
    pub(super) entered: [Option<Settled>; VIEWS],
}

/// What all honest replicas have done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) replicas: [Replica; HONEST],
}

impl State {
    /// All are active in view 0, where everything is free.
    pub(super) fn first() -> Self {
        let mut replica = Replica { active: true, ..Replica::default() };
        replica.entered[0] = Some(Settled::default());
        Self { replicas: [replica; HONEST] }
    }

    /// The state in 108 bits.
    pub(super) fn pack(&self) -> u128 {
        let mut bits = Bits(0);
        for replica in &self.replicas {
            bits.put(2, replica.view as u8);
            bits.put(1, replica.active.into());
            for view in 0..VIEWS {
                bits.put(2, replica.accepted[view][0]);
                bits.put(3, replica.accepted[view][1]);
                bits.put(1, replica.committed[view][0].into());
                bits.put(1, replica.committed[view][1].into());
            }
            // View 0 is entered by everybody and asked for by nobody.
            for view in 1..VIEWS {
                bits.put(2, replica.asked[view].map_or(0, |base| base + 1));
                bits.put(4, replica.entered[view].map_or(0, Settled::code));
            }
        }
        bits.0
    }

    /// The state that was packed.
    pub(super) fn unpack(packed: u128) -> Self {
        let mut bits = Bits(packed);
        let mut state = Self::first();
        // Last in, first out.
        for replica in state.replicas.iter_mut().rev() {
            for view in (1..VIEWS).rev() {
                let entered = bits.take(4);
                replica.entered[view] = (entered != 0).then(|| Settled::of_code(entered));
                replica.asked[view] = bits.take(2).checked_sub(1);
            }
            for view in (0..VIEWS).rev() {
                replica.committed[view][1] = bits.take(1) == 1;
                replica.committed[view][0] = bits.take(1) == 1;
                replica.accepted[view][1] = bits.take(3);
                replica.accepted[view][0] = bits.take(2);
            }
            replica.active = bits.take(1) == 1;
            replica.view = bits.take(2).into();
        }
        state
    }

    /// The state with its values named in the order in which they are met, packed: states that
    /// differ by the names only are one.
    pub(super) fn canonical(&self) -> u128 {
        let (mut swap, mut met) = (0u8, 0u8);
        let mut meet = |which: u8, second: bool| {
            if met >> which & 1 == 0 {
                met |= 1 << which;
                swap |= u8::from(second) << which;
            }
        };
        // What is proposed again was accepted by somebody, so this meets every value.
        for [first, second] in self.replicas.iter().flat_map(|replica| replica.accepted) {
            if first != 0 {
                meet(0, first == 2);
            }
            if second != 0 {
                meet(0, parent(second) == 2);
                meet(parent(second), second & 1 == 0);
            }
        }
        if swap == 0 { self.pack() } else { self.renamed(swap).pack() }
    }

    fn renamed(&self, swap: u8) -> Self {
        let first = |value: Value| if value != 0 && swap & 1 == 1 { 3 - value } else { value };
        let second = |value: Value| {
            if value == 0 {
                return 0;
            }
            let below = parent(value);
            let mut bit = (value - 1) & 1;
            if swap >> below & 1 == 1 {
                bit = 1 - bit;
            }
            (first(below) - 1) * 2 + 1 + bit
        };
        let mut state = *self;
        for replica in &mut state.replicas {
            let both = |[one, two]: [Value; NUMBERS]| [first(one), second(two)];
            for view in 0..VIEWS {
                replica.accepted[view] = both(replica.accepted[view]);
                if let Some(settled) = &mut replica.entered[view] {
                    settled.again = both(settled.again);
                }
            }
        }
        state
    }
}

struct Bits(u128);

impl Bits {
    fn put(&mut self, width: u32, value: u8) {
        debug_assert!(value >> width == 0, "{value} in {width} bits");
        self.0 = self.0 << width | u128::from(value);
    }

    fn take(&mut self, width: u32) -> u8 {
        let value = self.0 & ((1 << width) - 1);
        self.0 >>= width;
        value as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy() -> State {
        let mut state = State::first();
        state.replicas[0] = Replica {
            view: 2,
            active: false,
            accepted: [[2, 3], [1, 2], [2, 4]],
            committed: [[true, false], [false, true], [true, true]],
            asked: [None, Some(2), Some(0)],
            entered: [
                Some(Settled::default()),
                Some(Settled { base: 1, again: [0, 4] }),
                Some(Settled { base: 0, again: [2, 3] }),
            ],
        };
        state.replicas[2].view = 1;
        state
    }

    #[test]
    fn a_state_is_unpacked_as_it_was_packed() {
        assert_eq!(State::unpack(busy().pack()), busy());
        assert_eq!(State::unpack(State::first().pack()), State::first());
        for code in 1..=13 {
            assert_eq!(Settled::of_code(code).code(), code);
        }
    }

    #[test]
    fn states_that_differ_by_the_names_of_values_are_one() {
        let state = busy();
        // Everything that is proposed again must have been accepted.
        for swap in 0..8 {
            let renamed = state.renamed(swap);
            assert_eq!(renamed.canonical(), state.canonical(), "swap {swap}");
        }
        assert_ne!(state.renamed(1).pack(), state.pack());
        let mut other = state;
        other.replicas[1].accepted[0] = [1, 0];
        assert_ne!(other.canonical(), state.canonical());
    }
}
