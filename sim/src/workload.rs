//! Clients and the simple source that stands in for a replica's intake.
//!
//! An envelope is a few bytes that say which one it is, so that every check can tell at a glance
//! whether a client submitted it. The source cuts candidates from what its replica accepted: at
//! once while it has room for another one outstanding, and puts back what a dropped candidate
//! held.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use sbft::header::{data_hash, sha256};
use sbft::types::{Candidate, Digest, Place, RequestId};

/// All envelopes of a run: whatever is in a block and not here was never submitted.
#[derive(Clone, Debug, Default)]
pub struct Workload {
    names: Vec<String>,
    by_name: BTreeMap<String, u64>,
}

impl Workload {
    /// Registers an envelope that some client signed, and gives its number.
    pub fn submit(&mut self, name: &str) -> u64 {
        if let Some(known) = self.by_name.get(name) {
            return *known;
        }
        let index = self.names.len() as u64;
        self.names.push(name.to_owned());
        self.by_name.insert(name.to_owned(), index);
        index
    }

    /// Registers an envelope without a name of its own.
    pub fn submit_unnamed(&mut self) -> u64 {
        let index = self.names.len() as u64;
        self.names.push(String::new());
        index
    }

    /// The number of a named envelope.
    pub fn named(&self, name: &str) -> Option<u64> {
        self.by_name.get(name).copied()
    }

    /// How many were submitted.
    pub fn len(&self) -> u64 {
        self.names.len() as u64
    }

    /// None was submitted.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// What traces call this envelope.
    pub fn name(&self, index: u64) -> String {
        match self.names.get(index as usize) {
            Some(name) if !name.is_empty() => name.clone(),
            _ => format!("e{index}"),
        }
    }

    /// The envelope passed the channel's filter: a client submitted it.
    pub fn valid(&self, envelope: &Bytes) -> bool {
        index_of(envelope).is_some_and(|index| index < self.len())
    }

    /// The names of a block's or candidate's envelopes, for people.
    pub fn names<'a>(&self, data: impl IntoIterator<Item = &'a Bytes>) -> String {
        let names: Vec<String> =
            data.into_iter().map(|e| index_of(e).map_or_else(|| "?".to_owned(), |i| self.name(i))).collect();
        names.join(" ")
    }
}

/// The bytes of envelope `index`. Another `variant` is the same request in other bytes.
pub fn envelope(index: u64, variant: u8) -> Bytes {
    let mut bytes = Vec::with_capacity(12);
    bytes.extend(b"env");
    bytes.push(variant);
    bytes.extend(index.to_be_bytes());
    Bytes::from(bytes)
}

/// Which envelope these bytes are; none for bytes that no client signed.
pub fn index_of(envelope: &Bytes) -> Option<u64> {
    if envelope.len() != 12 || !envelope.starts_with(b"env") {
        return None;
    }
    envelope[4..].try_into().ok().map(u64::from_be_bytes)
}

/// An envelope's identity; none for bytes that are no envelope.
pub fn request_id(envelope: &Bytes) -> Option<RequestId> {
    index_of(envelope).map(id_of)
}

/// The identity of envelope `index`.
pub fn id_of(index: u64) -> RequestId {
    let mut id = [0x5a; 32];
    id[..8].copy_from_slice(&index.to_be_bytes());
    RequestId(id)
}

/// A candidate of these envelopes, as `origin`'s `sequence`th.
pub fn candidate(origin: Place, sequence: u64, envelopes: Vec<Bytes>) -> Arc<Candidate> {
    let mut encoding = Vec::with_capacity(16 + 14 * envelopes.len());
    encoding.extend(origin.0.to_be_bytes());
    encoding.extend(sequence.to_be_bytes());
    for envelope in &envelopes {
        encoding.extend((envelope.len() as u16).to_be_bytes());
        encoding.extend(envelope);
    }
    let encoding = Bytes::from(encoding);
    Arc::new(Candidate {
        origin,
        sequence,
        digest: sha256(&encoding),
        encoding,
        ids: envelopes.iter().map(|e| request_id(e).unwrap_or(RequestId([0; 32]))).collect(),
        sizes: vec![100; envelopes.len()],
        data_hash: data_hash(&envelopes),
        envelopes,
        is_config: false,
    })
}

/// One replica's accepted envelopes on their way into candidates. Lost in a crash, as the real
/// intake's pool is.
#[derive(Clone, Debug)]
pub struct Source {
    place: Place,
    outstanding_limit: usize,
    cut_count: usize,
    next_sequence: u64,
    pool: VecDeque<(u64, u8)>,
    outstanding: BTreeMap<Digest, Vec<(u64, u8)>>,
    done: BTreeSet<u64>,
}

impl Source {
    /// An empty pool.
    pub fn new(place: Place, outstanding_limit: usize, cut_count: usize) -> Self {
        Self {
            place,
            outstanding_limit,
            cut_count,
            next_sequence: 0,
            pool: VecDeque::new(),
            outstanding: BTreeMap::new(),
            done: BTreeSet::new(),
        }
    }

    /// A client's envelope.
    pub fn accept(&mut self, index: u64, variant: u8) {
        if !self.done.contains(&index) {
            self.pool.push_back((index, variant));
        }
    }

    /// The next candidate, if there is room and something waits.
    pub fn cut(&mut self) -> Option<Arc<Candidate>> {
        if self.outstanding.len() >= self.outstanding_limit {
            return None;
        }
        let mut taken = Vec::new();
        while taken.len() < self.cut_count {
            let Some(next) = self.pool.pop_front() else { break };
            if !self.done.contains(&next.0) && !taken.contains(&next) {
                taken.push(next);
            }
        }
        if taken.is_empty() {
            return None;
        }
        let envelopes = taken.iter().map(|(index, variant)| envelope(*index, *variant)).collect();
        let candidate = candidate(self.place, self.next_sequence, envelopes);
        self.next_sequence += 1;
        self.outstanding.insert(candidate.digest, taken);
        Some(candidate)
    }

    /// The core has no more use for this candidate; what did not commit goes back to the front.
    pub fn release(&mut self, digest: &Digest) {
        if let Some(taken) = self.outstanding.remove(digest) {
            for (index, variant) in taken.into_iter().rev() {
                if !self.done.contains(&index) {
                    self.pool.push_front((index, variant));
                }
            }
        }
    }

    /// These are in the chain.
    pub fn committed(&mut self, indexes: impl IntoIterator<Item = u64>) {
        self.done.extend(indexes);
    }

    /// Nothing waits here and nothing is outstanding.
    pub fn is_idle(&self) -> bool {
        self.pool.is_empty() && self.outstanding.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_keeps_its_limit_and_takes_back_what_did_not_commit() {
        let mut source = Source::new(Place(1), 2, 2);
        for index in 0..6 {
            source.accept(index, 0);
        }
        let first = source.cut().expect("room for one");
        assert_eq!(first.envelopes, [envelope(0, 0), envelope(1, 0)]);
        assert!(source.cut().is_some() && source.cut().is_none(), "two outstanding at most");
        source.committed([0]);
        source.release(&first.digest);
        let again = source.cut().expect("room again");
        assert_eq!(again.envelopes, [envelope(1, 0), envelope(4, 0)], "1 comes back, 0 is done");
        assert_eq!(again.sequence, 2);
    }

    #[test]
    fn envelopes_keep_their_identity_in_other_bytes() {
        assert_ne!(envelope(3, 0), envelope(3, 1));
        assert_eq!(request_id(&envelope(3, 0)), request_id(&envelope(3, 1)));
        assert_eq!(request_id(&Bytes::from_static(b"bad")), None);
    }
}
