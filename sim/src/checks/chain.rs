//! I1 to I4, I10 and I20: one chain, whole, of valid envelopes, each once; the same at everybody, and
//! never shorter after a restart than what was on disk.

use std::collections::BTreeMap;

use bytes::Bytes;
use sbft::dedup_window::DedupRule;
use sbft::header::header_hash;
use sbft::types::{CommittedBlock, Digest, Number, Place, RequestId};

use super::{Verdict, unsafe_because};
use crate::violation::Violation;

/// The one chain, as the first honest replica to commit each block gave it.
#[derive(Debug)]
pub(super) struct Chain {
    genesis: Digest,
    dedup: DedupRule,
    hashes: Vec<Digest>,
    /// Envelopes in each block and those below.
    envelopes: Vec<u64>,
    /// The last block that holds each id.
    places_of: BTreeMap<RequestId, Number>,
    /// The highest block that each replica had synced.
    synced: BTreeMap<Place, Number>,
}

impl Chain {
    pub(super) fn new(genesis: Digest, dedup: DedupRule) -> Self {
        Self {
            genesis,
            dedup,
            hashes: Vec::new(),
            envelopes: Vec::new(),
            places_of: BTreeMap::new(),
            synced: BTreeMap::new(),
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.hashes.len() as u64
    }

    pub(super) fn hashes(&self) -> &[Digest] {
        &self.hashes
    }

    pub(super) fn hash(&self, number: Number) -> Option<Digest> {
        number.0.checked_sub(1).and_then(|index| self.hashes.get(index as usize)).copied()
    }

    pub(super) fn contains(&self, id: &RequestId) -> bool {
        self.places_of.contains_key(id)
    }

    /// An honest replica commits a block on top of its `last`. True if nobody had it before.
    pub(super) fn committed(
        &mut self,
        place: Place,
        last: Number,
        block: &CommittedBlock,
        valid: impl Fn(&Bytes) -> bool,
    ) -> Result<bool, Violation> {
        let (number, header) = (block.number(), &block.certificate.header);
        if number != last.next() {
            unsafe_because("gapless", format!("{place} commits {number} where {} is next", last.next()))?;
        }
        let hash = header_hash(header);
        if let Some(known) = self.hash(number) {
            if known != hash {
                unsafe_because("agreement", format!("{place} commits {number} {hash}, others {known}"))?;
            }
            return Ok(false);
        }
        let parent = if number.0 == 1 { Some(self.genesis) } else { self.hash(Number(number.0 - 1)) };
        if parent.is_none() || header.previous_hash != parent {
            unsafe_because("chain", format!("{number} does not extend the block below it"))?;
        }
        self.hashes.push(hash);
        if block.data.is_empty() {
            unsafe_because("validity", format!("{number} is empty"))?;
        }
        if !block.data.iter().all(valid) {
            unsafe_because("validity", format!("{number} holds an envelope that nobody submitted"))?;
        }
        let below = self.envelopes.last().copied().unwrap_or(0);
        self.envelopes.push(below + block.ids.len() as u64);
        for id in block.ids.iter() {
            let Some(before) = self.places_of.insert(*id, number) else { continue };
            let until_before = if before.0 < 2 { 0 } else { self.envelopes[before.0 as usize - 2] };
            // From the block that had it to the one below this; 0 where it is this one, which is as bad.
            let since = below.saturating_sub(until_before);
            if number.0 - before.0 <= self.dedup.blocks || since <= self.dedup.envelopes {
                unsafe_because("integrity", format!("{number} holds {id:?}, which is in {before} too"))?;
            }
        }
        Ok(true)
    }

    /// The replica's block store has everything up to here on disk.
    pub(super) fn synced(&mut self, place: Place, number: Number) {
        let synced = self.synced.entry(place).or_default();
        *synced = number.max(*synced);
    }

    /// The replica lost its disk.
    pub(super) fn wiped(&mut self, place: Place) {
        self.synced.remove(&place);
    }

    /// A replica starts again with these blocks, the last of which has this hash.
    pub(super) fn found(&self, place: Place, last: Number, hash: Option<Digest>) -> Verdict {
        let synced = self.synced.get(&place).copied().unwrap_or_default();
        if last < synced {
            return unsafe_because(
                "prefix kept",
                format!("{place} restarts with {last} and had synced {synced}"),
            );
        }
        if hash != self.hash(last) {
            return unsafe_because(
                "prefix kept",
                format!("{place} restarts with another block {last} than the one that it committed"),
            );
        }
        Ok(())
    }

    /// At the end, when all is settled: the replica's whole chain.
    pub(super) fn converged(&self, place: Place, theirs: impl Iterator<Item = Digest>) -> Verdict {
        let theirs: Vec<_> = theirs.collect();
        if theirs == self.hashes {
            return Ok(());
        }
        let differs = theirs.iter().zip(&self.hashes).position(|(one, other)| one != other);
        let at = differs.unwrap_or_else(|| theirs.len().min(self.hashes.len())) + 1;
        unsafe_because(
            "convergence",
            format!(
                "{place} ends with {} blocks of {}, and differs from {} on",
                theirs.len(),
                self.hashes.len(),
                Number(at as u64)
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use sbft::header::data_hash;
    use sbft::types::{BlockCertificate, Header, View};

    use super::*;
    use crate::checks::tests::named;

    const GENESIS: Digest = Digest([1; 32]);

    fn block(number: u64, previous: Digest, names: &[u8]) -> CommittedBlock {
        let data: Vec<Bytes> = names.iter().map(|name| Bytes::copy_from_slice(&[*name])).collect();
        CommittedBlock {
            certificate: BlockCertificate {
                view: View(0),
                header: Header {
                    number: Number(number),
                    previous_hash: Some(previous),
                    data_hash: data_hash(&data),
                },
                proposal: Digest([2; 32]),
                last_config: Number(0),
                signatures: Vec::new(),
            },
            ids: names.iter().map(|name| RequestId([*name; 32])).collect(),
            data,
            is_config: false,
        }
    }

    const D: DedupRule = DedupRule { blocks: 3, envelopes: 0 };

    fn chain_of(blocks: &[&CommittedBlock]) -> Chain {
        let mut chain = Chain::new(GENESIS, D);
        for (below, block) in blocks.iter().enumerate() {
            let new = chain.committed(Place(0), Number(below as u64), block, |_| true);
            assert!(new.expect("a good block"), "and a new one");
        }
        chain
    }

    fn hash(block: &CommittedBlock) -> Digest {
        header_hash(&block.certificate.header)
    }

    #[test]
    fn i1_agreement_fires_on_two_blocks_at_one_number() {
        let (one, other) = (block(1, GENESIS, b"a"), block(1, GENESIS, b"b"));
        let mut chain = chain_of(&[&one]);
        assert_eq!(chain.committed(Place(1), Number(0), &one, |_| true), Ok(false));
        assert_eq!(named(chain.committed(Place(1), Number(0), &other, |_| true)), "I1 agreement");
    }

    #[test]
    fn i2_chain_fires_on_a_gap_and_on_a_block_that_extends_another() {
        let one = block(1, GENESIS, b"a");
        let mut chain = chain_of(&[&one]);
        let above = block(3, hash(&one), b"b");
        assert_eq!(named(chain.committed(Place(0), Number(1), &above, |_| true)), "I2 gapless");
        let beside = block(2, GENESIS, b"b");
        assert_eq!(named(chain.committed(Place(0), Number(1), &beside, |_| true)), "I2 chain");
    }

    #[test]
    fn i3_validity_fires_on_nothing_and_on_what_nobody_submitted() {
        let mut chain = Chain::new(GENESIS, D);
        let empty = block(1, GENESIS, b"");
        assert_eq!(named(chain.committed(Place(0), Number(0), &empty, |_| true)), "I3 validity");
        let mut chain = Chain::new(GENESIS, D);
        let forged = block(1, GENESIS, b"ax");
        let submitted = |envelope: &Bytes| envelope[..] == b"a"[..];
        assert_eq!(named(chain.committed(Place(0), Number(0), &forged, submitted)), "I3 validity");
    }

    #[test]
    fn i4_integrity_fires_on_an_envelope_twice_within_d_blocks_and_not_beyond() {
        let one = block(1, GENESIS, b"a");
        let two = block(2, hash(&one), b"b");
        let again = block(3, hash(&two), b"ca");
        let mut chain = chain_of(&[&one, &two]);
        assert_eq!(named(chain.committed(Place(0), Number(2), &again, |_| true)), "I4 integrity");
        let three = block(3, hash(&two), b"c");
        let four = block(4, hash(&three), b"d");
        let five = block(5, hash(&four), b"a");
        chain_of(&[&one, &two, &three, &four, &five]);
        let twice = block(1, GENESIS, b"aa");
        let mut chain = Chain::new(GENESIS, D);
        assert_eq!(named(chain.committed(Place(0), Number(0), &twice, |_| true)), "I4 integrity");
    }

    #[test]
    fn i4_integrity_counts_the_envelopes_of_small_blocks() {
        let one = block(1, GENESIS, b"a");
        let two = block(2, hash(&one), b"bc");
        let three = block(3, hash(&two), b"d");
        let four = block(4, hash(&three), b"a");
        for (envelopes, fires) in [(3, false), (4, true)] {
            let mut chain = chain_of(&[&one, &two, &three]);
            chain.dedup = DedupRule { blocks: 2, envelopes };
            assert_eq!(chain.committed(Place(0), Number(3), &four, |_| true).is_err(), fires);
        }
    }

    #[test]
    fn i10_prefix_kept_fires_when_a_restart_loses_or_changes_what_was_delivered() {
        let one = block(1, GENESIS, b"a");
        let two = block(2, hash(&one), b"b");
        let mut chain = chain_of(&[&one, &two]);
        chain.synced(Place(0), Number(1));
        assert_eq!(chain.found(Place(0), Number(1), Some(hash(&one))), Ok(()));
        assert_eq!(
            chain.found(Place(0), Number(2), Some(hash(&two))),
            Ok(()),
            "synced or not, it may be there"
        );
        assert_eq!(named(chain.found(Place(0), Number(0), None)), "I10 prefix kept");
        assert_eq!(named(chain.found(Place(0), Number(2), Some(hash(&one)))), "I10 prefix kept");
        chain.wiped(Place(0));
        assert_eq!(chain.found(Place(0), Number(0), None), Ok(()), "that is what a wipe is");
    }

    #[test]
    fn i20_convergence_fires_on_a_chain_that_is_shorter_or_other_at_the_end() {
        let one = block(1, GENESIS, b"a");
        let two = block(2, hash(&one), b"b");
        let chain = chain_of(&[&one, &two]);
        assert_eq!(chain.converged(Place(0), [hash(&one), hash(&two)].into_iter()), Ok(()));
        for theirs in [vec![hash(&one)], vec![hash(&two), hash(&two)], vec![]] {
            assert_eq!(named(chain.converged(Place(0), theirs.into_iter())), "I20 convergence");
        }
    }
}
