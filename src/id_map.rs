//! A map from request ids that stays fast when it holds hundreds of thousands of them.
//!
//! An id is a digest, so ids spread evenly over many small trees, and finding the right one costs
//! nothing; one large tree would be a dozen cache misses deep. Whoever grinds ids so that they
//! fall into one tree makes it as deep as that large one would be, and no deeper. Unlike a hash
//! table, it has one order and no random state.

use std::collections::{BTreeMap, btree_map};

use crate::types::RequestId;

/// Most trees.
const MOST_BITS: u32 = 16;
/// Ids in each tree when there are as many as expected: they fit into one node.
const PER_TREE: u64 = 8;

/// A map from request ids to `V`.
#[derive(Clone, Debug)]
pub(crate) struct IdMap<V> {
    /// By the first bits of the id: a power of two of them.
    trees: Vec<BTreeMap<RequestId, V>>,
    len: usize,
    /// How far the first 16 bits of an id are shifted to give its tree.
    shift: u32,
}

impl<V> IdMap<V> {
    /// An empty map, for about so many ids. More is no error.
    pub(crate) fn new(expected: u64) -> Self {
        let trees = (expected / PER_TREE).clamp(1, 1 << MOST_BITS).next_power_of_two();
        let shift = MOST_BITS - trees.trailing_zeros();
        Self { trees: (0..trees).map(|_| BTreeMap::new()).collect(), len: 0, shift }
    }

    fn tree(&self, id: &RequestId) -> usize {
        usize::from(u16::from_be_bytes([id.0[0], id.0[1]])) >> self.shift
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn contains_key(&self, id: &RequestId) -> bool {
        self.trees[self.tree(id)].contains_key(id)
    }

    pub(crate) fn get(&self, id: &RequestId) -> Option<&V> {
        self.trees[self.tree(id)].get(id)
    }

    pub(crate) fn get_mut(&mut self, id: &RequestId) -> Option<&mut V> {
        let tree = self.tree(id);
        self.trees[tree].get_mut(id)
    }

    /// Puts a value in; the one that was there before.
    pub(crate) fn insert(&mut self, id: RequestId, value: V) -> Option<V> {
        let tree = self.tree(&id);
        let before = self.trees[tree].insert(id, value);
        self.len += usize::from(before.is_none());
        before
    }

    pub(crate) fn remove(&mut self, id: &RequestId) -> Option<V> {
        let tree = self.tree(id);
        let removed = self.trees[tree].remove(id);
        self.len -= usize::from(removed.is_some());
        removed
    }

    /// The value of `id`, made if there is none.
    pub(crate) fn or_default(&mut self, id: RequestId) -> &mut V
    where
        V: Default,
    {
        let tree = self.tree(&id);
        match self.trees[tree].entry(id) {
            btree_map::Entry::Occupied(found) => found.into_mut(),
            btree_map::Entry::Vacant(empty) => {
                self.len += 1;
                empty.insert(V::default())
            }
        }
    }

    /// All ids, in order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &RequestId> {
        self.trees.iter().flat_map(BTreeMap::keys)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(first: u16, last: u8) -> RequestId {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&first.to_be_bytes());
        bytes[31] = last;
        RequestId(bytes)
    }

    proptest! {
        #[test]
        fn it_is_a_map_in_the_order_of_ids_whatever_its_size(
            expected in prop_oneof![Just(0), 1..5000_u64, Just(u64::MAX)],
            steps in prop::collection::vec((0..4_u8, any::<u16>(), 0..3_u8), 0..200),
        ) {
            let (mut map, mut model) = (IdMap::new(expected), BTreeMap::new());
            for (step, (what, first, last)) in steps.into_iter().enumerate() {
                let id = id(first & 0xf00f, last);
                match what {
                    0 => prop_assert_eq!(map.insert(id, step), model.insert(id, step)),
                    1 => prop_assert_eq!(map.remove(&id), model.remove(&id)),
                    2 => prop_assert_eq!(map.or_default(id), model.entry(id).or_default()),
                    _ => prop_assert_eq!(map.get_mut(&id), model.get_mut(&id)),
                }
                prop_assert_eq!(map.get(&id), model.get(&id));
                prop_assert_eq!(map.contains_key(&id), model.contains_key(&id));
                prop_assert_eq!(map.len(), model.len());
            }
            prop_assert!(map.keys().eq(model.keys()));
        }
    }
}
