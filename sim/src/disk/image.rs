//! What the synced part of a log promises, by the simulator's own reading of its records; the
//! checks compare it with every vote that leaves.

use std::collections::{BTreeMap, BTreeSet};

use sbft::header::sha256;
use sbft::pbft::Record;
use sbft::pbft::message::Domain;
use sbft::types::{Digest, Number, View};

use crate::digests::digest_of;

/// What a log promises, by the simulator's own reading of its records.
#[derive(Clone, Debug)]
pub struct Image {
    pub(super) domain: Domain,
    pub(super) n: usize,
    /// Up to where prepares may have been cast, by view.
    pub bounds: BTreeMap<View, Number>,
    /// Proposals accepted and voted for.
    pub accepted: BTreeSet<(View, Number, Digest)>,
    /// Certificates held: highest view for each number and digest.
    pub prepared: BTreeMap<(Number, Digest), View>,
    /// The candidates each proposal names.
    pub named: BTreeMap<Digest, Vec<Digest>>,
    /// Payloads held.
    pub payloads: BTreeSet<Digest>,
    /// Highest view asked for.
    pub asked: View,
    /// Views entered by a new-view.
    pub entered: BTreeSet<View>,
    /// New-views chosen as a primary, by the hash of what it signs.
    pub chosen: BTreeSet<Digest>,
}

impl Image {
    pub(super) fn new(domain: Domain, n: usize) -> Self {
        Self {
            domain,
            n,
            bounds: BTreeMap::new(),
            accepted: BTreeSet::new(),
            prepared: BTreeMap::new(),
            named: BTreeMap::new(),
            payloads: BTreeSet::new(),
            asked: View(0),
            entered: BTreeSet::new(),
            chosen: BTreeSet::new(),
        }
    }

    pub(super) fn add(&mut self, record: &Record) {
        let genesis = &self.domain.genesis;
        match record {
            Record::Payload(candidate) => {
                self.payloads.insert(candidate.digest);
            }
            Record::Bound { view, upto } => {
                let bound = self.bounds.entry(*view).or_default();
                *bound = (*bound).max(*upto);
            }
            Record::Accepted { view, proposal } => {
                let digest = digest_of(proposal, genesis);
                self.accepted.insert((*view, proposal.number(), digest));
                self.named.insert(digest, proposal.candidates.iter().map(|c| c.digest).collect());
            }
            Record::Prepared(certificate) => {
                let proposal = &certificate.proposal;
                let digest = digest_of(proposal, genesis);
                let highest = self.prepared.entry((proposal.number(), digest)).or_default();
                *highest = (*highest).max(certificate.view);
                self.named.insert(digest, proposal.candidates.iter().map(|c| c.digest).collect());
            }
            Record::ViewChange(view) => self.asked = self.asked.max(*view),
            Record::NewViewChosen(body) => {
                let signer = body.view.primary(self.n);
                self.chosen.insert(sha256(&body.signing_bytes(&self.domain, signer)));
            }
            Record::NewView(new_view) => {
                self.entered.insert(new_view.body.view);
            }
        }
    }

    /// A prepare may have been cast here in this view.
    pub fn allows(&self, view: View, number: Number) -> bool {
        self.bounds.get(&view).is_some_and(|upto| number <= *upto)
    }

    /// A certificate for this number and its whole payload are there.
    pub fn holds_certificate_and_payload(&self, number: Number) -> bool {
        let from = (number, Digest([0; 32]));
        let to = (number, Digest([0xff; 32]));
        self.prepared.range(from..=to).any(|((_, digest), _)| self.holds_payload(digest))
    }

    /// Every candidate that the proposal names is there.
    pub fn holds_payload(&self, proposal: &Digest) -> bool {
        self.named.get(proposal).is_some_and(|named| named.iter().all(|c| self.payloads.contains(c)))
    }
}
