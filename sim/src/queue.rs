//! What is going to happen: events in order of time, then of a keyed tie-break.
//!
//! The heap orders small entries; the events themselves stay where they were put, since a heap
//! moves its entries about and an event is large.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use sbft::types::Time;

use crate::world::Event;

/// An event that is due.
pub(crate) struct Due {
    pub(crate) at: Time,
    /// What it is about, as [`Event::about`] said when it was queued.
    pub(crate) about: u64,
    pub(crate) event: Event,
}

#[derive(Clone, Copy)]
struct Entry {
    at: Time,
    tie: u64,
    order: u64,
    slot: usize,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    /// The earliest first out of a heap that gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.tie, other.order).cmp(&(self.at, self.tie, self.order))
    }
}

/// The events to come.
#[derive(Default)]
pub(crate) struct Queue {
    heap: BinaryHeap<Entry>,
    /// Events and what they are about; empty places are in `free`.
    slots: Vec<Option<(u64, Event)>>,
    free: Vec<usize>,
    order: u64,
}

impl Queue {
    /// Puts an event in; of those at one instant the lowest tie comes first, then the oldest.
    pub(crate) fn push(&mut self, at: Time, tie: u64, about: u64, event: Event) {
        self.order += 1;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[slot] = Some((about, event));
        self.heap.push(Entry { at, tie, order: self.order, slot });
    }

    /// When the next event is due.
    pub(crate) fn next_at(&self) -> Option<Time> {
        self.heap.peek().map(|next| next.at)
    }

    /// The next event.
    pub(crate) fn pop(&mut self) -> Option<Due> {
        let Entry { at, slot, .. } = self.heap.pop()?;
        let (about, event) = self.slots[slot].take().expect("an entry of the heap has its event");
        self.free.push(slot);
        Some(Due { at, about, event })
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    /// Takes out the events that `pick` picks, in order; the others stay as they are.
    pub(crate) fn take_out<T>(&mut self, mut pick: impl FnMut(Event) -> Result<T, Event>) -> Vec<T> {
        let mut taken = Vec::new();
        let mut entries = std::mem::take(&mut self.heap).into_sorted_vec();
        entries.reverse();
        for entry in entries {
            let Some((about, event)) = self.slots[entry.slot].take() else { continue };
            match pick(event) {
                Ok(picked) => {
                    taken.push(picked);
                    self.free.push(entry.slot);
                }
                Err(event) => {
                    self.slots[entry.slot] = Some((about, event));
                    self.heap.push(entry);
                }
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn queue() -> Queue {
        let mut queue = Queue::default();
        for (at, tie, body) in [(3, 0, 0), (1, 9, 1), (1, 2, 2), (2, 0, 3), (1, 2, 4)] {
            queue.push(Time(Duration::from_millis(at)), tie, 0, Event::Wake { body });
        }
        queue
    }

    fn bodies(mut queue: Queue) -> Vec<usize> {
        std::iter::from_fn(move || queue.pop())
            .map(|due| match due.event {
                Event::Wake { body } => body,
                other => unreachable!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn events_come_by_time_then_tie_then_age() {
        assert_eq!(bodies(queue()), [2, 4, 1, 3, 0]);
    }

    #[test]
    fn what_is_not_taken_out_stays_in_its_order() {
        let mut queue = queue();
        let odd = queue.take_out(|event| match event {
            Event::Wake { body } if body % 2 == 1 => Ok(body),
            other => Err(other),
        });
        assert_eq!((odd, queue.len()), (vec![1, 3], 3));
        queue.push(Time(Duration::from_millis(2)), 0, 0, Event::Wake { body: 7 });
        assert_eq!(bodies(queue), [2, 4, 7, 0]);
    }
}
