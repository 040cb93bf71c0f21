//! Remembers identities that were found valid, so that a client's every envelope does not cost
//! the checking of its whole chain.
//!
//! Only valid identities are kept: what strangers make up can push nobody out. Of those, the one
//! not used for longest goes first when there are too many or they have too many bytes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use super::identity::Identity;

#[derive(Debug, Default)]
pub(super) struct Cache {
    entries: HashMap<Bytes, Entry>,
    /// Keys by the time of their last use, which is a count of uses.
    by_use: BTreeMap<u64, Bytes>,
    uses: u64,
    /// Of all keys.
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    identity: Arc<Identity>,
    last_use: u64,
}

impl Cache {
    /// The identity of these bytes, which is thereby the one used last.
    pub(super) fn find(&mut self, serialized: &[u8]) -> Option<Arc<Identity>> {
        let entry = self.entries.get_mut(serialized)?;
        if let Some(key) = self.by_use.remove(&entry.last_use) {
            self.uses += 1;
            entry.last_use = self.uses;
            self.by_use.insert(self.uses, key);
        }
        Some(Arc::clone(&entry.identity))
    }

    /// Keeps `identity`, unless it is too large to be worth others' places.
    pub(super) fn keep(&mut self, identity: &Arc<Identity>) {
        let key = identity.serialized.clone();
        if key.len() > MAX_ENTRY_BYTES || self.entries.contains_key(&key) {
            return;
        }
        self.uses += 1;
        self.bytes += key.len();
        self.by_use.insert(self.uses, key.clone());
        self.entries.insert(key, Entry { identity: Arc::clone(identity), last_use: self.uses });
        while self.entries.len() > MAX_ENTRIES || self.bytes > MAX_BYTES {
            let Some((_, oldest)) = self.by_use.pop_first() else { break };
            self.bytes -= oldest.len();
            self.entries.remove(&oldest);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.entries.len(), self.by_use.len(), "each entry has one last use");
        self.entries.len()
    }
}

/// Identities in the cache. A channel has some hundreds of clients.
pub(super) const MAX_ENTRIES: usize = 4096;

/// Bytes of all keys; an entry takes about five times its key.
const MAX_BYTES: usize = 8 << 20;

/// An ordinary identity has about 1 KiB.
const MAX_ENTRY_BYTES: usize = 16 << 10;
