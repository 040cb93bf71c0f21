//! A map from request ids that stays fast when it holds hundreds of thousands of them.
//!
//! An id is a digest, so ids spread evenly over many small sorted lists, and finding the right one,
//! and the place in it, costs next to nothing; a tree would be a dozen cache misses deep. Whoever
//! grinds ids so that they fall into one list makes a tree of it, and no more. Unlike a hash table,
//! it has one order and no random state, and there is no moment in which all of it is moved.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::types::RequestId;

/// Most lists.
const MOST_BITS: u32 = 16;
/// Ids in each list when there are as many as expected.
const PER_LIST: u64 = 8;
/// A list that would be longer becomes a tree. By chance not one in millions does, if there are as
/// many ids as expected.
const LONGEST: usize = 32;
/// Room that a list gets when it has none left; it gives back what is twice as much.
const ROOM: usize = 4;

/// A map from request ids to `V`.
#[derive(Clone, Debug)]
pub(crate) struct IdMap<V> {
    /// By the first bits of the id: a power of two of them.
    buckets: Vec<Bucket<V>>,
    len: usize,
    /// How many bits of an id say which bucket it is in.
    bits: u32,
}

/// Ids that begin with the same bits.
#[derive(Clone, Debug)]
enum Bucket<V> {
    /// In ascending order.
    Few(Vec<(RequestId, V)>),
    /// Until they are all gone.
    Many(BTreeMap<RequestId, V>),
}

impl<V> IdMap<V> {
    /// An empty map, for about so many ids. More is no error.
    pub(crate) fn new(expected: u64) -> Self {
        let buckets = (expected / PER_LIST).clamp(1, 1 << MOST_BITS).next_power_of_two();
        let bits = buckets.trailing_zeros();
        Self { buckets: (0..buckets).map(|_| Bucket::Few(Vec::new())).collect(), len: 0, bits }
    }

    fn bucket(&self, id: &RequestId) -> usize {
        (first_bits(id) >> (64 - MOST_BITS)) as usize >> (MOST_BITS - self.bits)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn contains_key(&self, id: &RequestId) -> bool {
        self.get(id).is_some()
    }

    pub(crate) fn get(&self, id: &RequestId) -> Option<&V> {
        match &self.buckets[self.bucket(id)] {
            Bucket::Few(list) => find(list, id, self.bits).ok().map(|at| &list[at].1),
            Bucket::Many(tree) => tree.get(id),
        }
    }

    pub(crate) fn get_mut(&mut self, id: &RequestId) -> Option<&mut V> {
        let bucket = self.bucket(id);
        match &mut self.buckets[bucket] {
            Bucket::Few(list) => find(list, id, self.bits).ok().map(|at| &mut list[at].1),
            Bucket::Many(tree) => tree.get_mut(id),
        }
    }

    /// Puts a value in; the one that was there before.
    pub(crate) fn insert(&mut self, id: RequestId, value: V) -> Option<V> {
        let bucket = self.bucket(&id);
        let before = self.buckets[bucket].insert(id, value, self.bits);
        self.len += usize::from(before.is_none());
        before
    }

    pub(crate) fn remove(&mut self, id: &RequestId) -> Option<V> {
        let bucket = self.bucket(id);
        let removed = self.buckets[bucket].remove(id, self.bits);
        self.len -= usize::from(removed.is_some());
        removed
    }

    /// The value of `id`, made if there is none.
    pub(crate) fn or_default(&mut self, id: RequestId) -> &mut V
    where
        V: Default,
    {
        if !self.contains_key(&id) {
            self.insert(id, V::default());
        }
        self.get_mut(&id).expect("it is there, or was just put there")
    }

    /// All ids, in order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &RequestId> {
        self.buckets.iter().flat_map(|bucket| {
            let (list, tree) = match bucket {
                Bucket::Few(list) => (Some(list), None),
                Bucket::Many(tree) => (None, Some(tree)),
            };
            let listed = list.into_iter().flatten().map(|(id, _)| id);
            listed.chain(tree.into_iter().flat_map(|tree| tree.keys()))
        })
    }
}

impl<V> Bucket<V> {
    fn insert(&mut self, id: RequestId, value: V, bits: u32) -> Option<V> {
        let list = match self {
            Self::Few(list) => list,
            Self::Many(tree) => return tree.insert(id, value),
        };
        match find(list, &id, bits) {
            Ok(at) => return Some(std::mem::replace(&mut list[at].1, value)),
            Err(at) if list.len() < LONGEST => {
                if list.len() == list.capacity() {
                    list.reserve_exact(ROOM);
                }
                list.insert(at, (id, value));
            }
            Err(_) => {
                let mut tree: BTreeMap<_, _> = std::mem::take(list).into_iter().collect();
                tree.insert(id, value);
                *self = Self::Many(tree);
            }
        }
        None
    }

    fn remove(&mut self, id: &RequestId, bits: u32) -> Option<V> {
        match self {
            Self::Few(list) => {
                let (_, value) = list.remove(find(list, id, bits).ok()?);
                if list.capacity() >= list.len() + 2 * ROOM {
                    list.shrink_to(list.len() + ROOM);
                }
                Some(value)
            }
            Self::Many(tree) => {
                let value = tree.remove(id);
                if tree.is_empty() {
                    *self = Self::Few(Vec::new());
                }
                value
            }
        }
    }
}

fn first_bits(id: &RequestId) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&id.0[..8]);
    u64::from_be_bytes(first)
}

/// Where in a list whose ids have the first `bits` in common `id` is, or belongs. Looks first where
/// it is likely to be, as in a telephone book: the bits after those are anything with equal chance.
fn find<V>(list: &[(RequestId, V)], id: &RequestId, bits: u32) -> Result<usize, usize> {
    let first = first_bits(id);
    let order = |at: usize| first_bits(&list[at].0).cmp(&first).then_with(|| list[at].0.cmp(id));
    let share = u128::from(first << bits);
    let mut at = ((share * list.len() as u128) >> 64) as usize;
    while at > 0 && order(at - 1) != Ordering::Less {
        at -= 1;
    }
    while at < list.len() {
        match order(at) {
            Ordering::Less => at += 1,
            Ordering::Equal => return Ok(at),
            Ordering::Greater => break,
        }
    }
    Err(at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Ids that differ in the bits by which they are sorted into lists, in those after, or at the end.
    fn id(first: u16, then: u8, last: u8) -> RequestId {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&first.to_be_bytes());
        bytes[2] = then;
        bytes[31] = last;
        RequestId(bytes)
    }

    proptest! {
        #[test]
        fn it_is_a_map_in_the_order_of_ids_whatever_its_size(
            expected in prop_oneof![Just(0), 1..5000_u64, Just(u64::MAX)],
            mask in prop_oneof![Just(0xf00f_u16), Just(0x8001), Just(0)],
            steps in prop::collection::vec((0..5_u8, any::<u16>(), any::<u8>(), 0..3_u8), 0..400),
        ) {
            let (mut map, mut model) = (IdMap::new(expected), BTreeMap::new());
            for (step, (what, first, then, last)) in steps.into_iter().enumerate() {
                let id = id(first & mask, then, last);
                match what {
                    0 | 4 => prop_assert_eq!(map.insert(id, step), model.insert(id, step)),
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

    #[test]
    fn a_list_that_grows_too_long_is_a_tree_until_it_is_empty() {
        let mut map = IdMap::new(u64::MAX);
        let ids: Vec<_> = (0..=255).map(|then| id(7, then, 0)).collect();
        for id in &ids {
            assert_eq!(map.insert(*id, id.0[2]), None);
        }
        assert!(matches!(map.buckets[7], Bucket::Many(_)));
        assert!(map.keys().eq(&ids) && ids.iter().all(|id| map.get(id) == Some(&id.0[2])));
        for id in &ids {
            assert_eq!(map.remove(id), Some(id.0[2]));
        }
        assert!(map.len() == 0 && matches!(map.buckets[7], Bucket::Few(_)));
    }

    #[test]
    fn a_list_gives_back_room_that_it_does_not_need() {
        let mut map = IdMap::new(u64::MAX);
        for then in 0..LONGEST as u8 {
            map.insert(id(7, then, 0), ());
        }
        for then in 0..LONGEST as u8 {
            map.remove(&id(7, then, 0));
            let Bucket::Few(list) = &map.buckets[7] else { panic!("it was never longer than a list") };
            assert!(list.capacity() < list.len() + 2 * ROOM);
        }
    }
}
