//! Checks that see a broken rule at the step that breaks it, long before the chain forks.
//!
//! They know what all honest replicas said and recorded, which none of them can know: whether a
//! block may have been committed somewhere (the *lock*), what the primary really proposed, who
//! asked for which view. Written from the arguments in design.md, and judged by the simulator's own
//! verifier of certificates.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use sbft::pbft::message::{NewView, Proposal};
use sbft::pbft::{Config, Record};
use sbft::types::{CommittedBlock, Digest, Number, Place, Time, View};

use crate::digests::digest_of;
use crate::signing::Keys;
use crate::violation::{Class, Violation};
use crate::world::Body;

type Verdict = Result<(), Violation>;

fn unsafe_because(check: &'static str, text: String) -> Verdict {
    Err(Violation::new(Class::Safety, check, text))
}

/// Where a replica stands with its view, by what it recorded and said.
#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    view: View,
    leaving: bool,
    since: Time,
}

/// What all honest replicas said and recorded.
#[derive(Debug)]
pub(crate) struct Ghost {
    /// The time of the event being carried out.
    pub(crate) now: Time,
    keys: Keys,
    window: u64,
    max_message_count: usize,
    join_within: Duration,
    /// Honest replicas that cast a commit, by number, then view and digest.
    commits: BTreeMap<Number, BTreeMap<(View, Digest), BTreeSet<Place>>>,
    /// What the honest primaries voted for, which is what they proposed.
    proposed: BTreeMap<(View, Number), Digest>,
    /// Everything that some new-view carries a certificate for.
    carried: BTreeSet<(View, Number, Digest)>,
    standing: BTreeMap<Place, Standing>,
    /// Since the network behaves: when the last new block was committed, and the highest view then.
    progress: Option<(Time, View)>,
    pace: Pace,
}

/// The timeouts that decide how fast views may follow each other.
#[derive(Debug)]
struct Pace {
    least: Duration,
    cap: Duration,
}

impl Pace {
    /// How many views may fail within this time. Timeouts double with each, up to the cap; a liar
    /// that is caught lying loses its view at once, which f of n views are; clocks run fast.
    fn most(&self, time: Duration) -> u64 {
        let mut doublings = 0u32;
        while self.least * (1 << doublings) < self.cap && doublings < 24 {
            doublings += 1;
        }
        let capped = time.as_micros() / self.cap.as_micros().max(1);
        8 + 3 * (u64::from(doublings) + 1 + capped as u64)
    }
}

impl Ghost {
    pub(crate) fn new(keys: Keys, config: &Config) -> Self {
        Self {
            now: Time::ZERO,
            keys,
            window: config.window,
            max_message_count: config.max_message_count as usize,
            join_within: config.status_interval * 20,
            commits: BTreeMap::new(),
            proposed: BTreeMap::new(),
            carried: BTreeSet::new(),
            standing: BTreeMap::new(),
            progress: None,
            pace: Pace {
                least: config
                    .complain_timeout
                    .min(config.view_change_timeout)
                    .max(Duration::from_micros(100)),
                cap: config.view_change_timeout_cap.max(config.view_change_timeout),
            },
        }
    }

    /// An honest replica writes a record; nobody of `faulty` counts as honest.
    pub(crate) fn persisted(&mut self, body: &Body, record: &Record, faulty: &BTreeSet<Place>) -> Verdict {
        match record {
            Record::Accepted { view, proposal } => self.accepted(body, *view, proposal, faulty),
            Record::Prepared(certificate) => match self.keys.judge_prepared(certificate) {
                Ok(()) => Ok(()),
                Err(flaw) => unsafe_because(
                    "prepared certificate",
                    format!(
                        "{} records a certificate for {} in {} that proves nothing: {flaw:?}",
                        body.place,
                        certificate.proposal.number(),
                        certificate.view
                    ),
                ),
            },
            Record::NewView(new_view) => self.entered(body.place, new_view),
            Record::Payload(_) | Record::Bound { .. } | Record::ViewChange(_) | Record::NewViewChosen(_) => {
                Ok(())
            }
        }
    }

    /// Some new-view for this view has a certificate for this: there is one thing to vote for there.
    pub(crate) fn is_settled(&self, view: View, number: Number, digest: Digest) -> bool {
        self.carried.contains(&(view, number, digest))
    }

    fn accepted(
        &mut self,
        body: &Body,
        view: View,
        proposal: &Arc<Proposal>,
        faulty: &BTreeSet<Place>,
    ) -> Verdict {
        let (place, number) = (body.place, proposal.number());
        let last = body.store.last();
        if number.0 > last.0.saturating_add(self.window) {
            return unsafe_because(
                "window",
                format!("{place} accepts {number} while its last block is {last}, window {}", self.window),
            );
        }
        let digest = digest_of(proposal, &self.keys.domain().genesis);
        let primary = view.primary(self.keys.n());
        let known = self.proposed.get(&(view, number)) == Some(&digest)
            || self.carried.contains(&(view, number, digest));
        if place != primary && !faulty.contains(&primary) && !known {
            return unsafe_because(
                "proposer",
                format!("{place} accepts {digest} for {number} in {view}, which {primary} never proposed"),
            );
        }
        Ok(())
    }

    fn entered(&mut self, place: Place, new_view: &NewView) -> Verdict {
        let view = new_view.body.view;
        if let Err(flaw) = self.keys.judge_new_view(new_view) {
            return unsafe_because(
                "new-view",
                format!("{place} enters {view} by a new-view that proves nothing: {flaw:?}"),
            );
        }
        let genesis = self.keys.domain().genesis;
        for certificate in new_view.body.view_changes.iter().flat_map(|change| &change.body.prepared) {
            let number = certificate.proposal.number();
            self.carried.insert((view, number, digest_of(&certificate.proposal, &genesis)));
        }
        self.standing.insert(place, Standing { view, leaving: false, since: self.now });
        Ok(())
    }

    /// An honest replica votes prepare. If a block may have been committed at the number in a lower
    /// view, it must be this one: q - f honest commits and f liars make a block, and every quorum of
    /// view-changes has one of the q - f in it.
    pub(crate) fn prepares(
        &mut self,
        place: Place,
        view: View,
        number: Number,
        digest: Digest,
        faulty: &BTreeSet<Place>,
    ) -> Verdict {
        if view.primary(self.keys.n()) == place {
            self.proposed.insert((view, number), digest);
        }
        let enough = self.keys.quorum() - self.keys.f();
        let Some(commits) = self.commits.get(&number) else { return Ok(()) };
        for ((committed_in, locked), places) in commits {
            let honest = places.difference(faulty).count();
            if *committed_in < view && *locked != digest && honest >= enough {
                return unsafe_because(
                    "prepared lock",
                    format!(
                        "{place} votes for {digest} at {number} in {view}, where {locked} may have been committed in {committed_in}"
                    ),
                );
            }
        }
        Ok(())
    }

    /// An honest replica casts a commit.
    pub(crate) fn commits(&mut self, place: Place, view: View, number: Number, digest: Digest) {
        self.commits.entry(number).or_default().entry((view, digest)).or_default().insert(place);
    }

    /// An honest replica asks for a view: with others, or because its primary failed it. It does not
    /// run ahead alone: the timer for the next view starts when a quorum asks for this one.
    pub(crate) fn asks(&mut self, place: Place, view: View, faulty: &BTreeSet<Place>) -> Verdict {
        let before = self.standing.get(&place).copied().unwrap_or_default();
        if view != before.view || !before.leaving {
            let standing = Standing { view: view.max(before.view), leaving: true, since: self.now };
            self.standing.insert(place, standing);
        }
        if let Some((since, from)) = self.progress {
            let (time, views) = (self.now.since(since), view.0.saturating_sub(from.0));
            let most = self.pace.most(time);
            if views > most {
                return Err(Violation::new(
                    Class::Liveness,
                    "views",
                    format!(
                        "{views} views in {time:?} without a block, where {most} may fail: {place} asks for {view}"
                    ),
                ));
            }
        }
        if view <= before.view || !before.leaving {
            return Ok(());
        }
        let others = || {
            let honest =
                self.standing.iter().filter(|(other, _)| **other != place && !faulty.contains(other));
            honest.map(|(_, standing)| standing.view)
        };
        let here = 1 + others().filter(|other| *other >= before.view).count() + faulty.len();
        let joins = others().any(|other| other >= view);
        if joins || here >= self.keys.quorum() || faulty.contains(&before.view.primary(self.keys.n())) {
            return Ok(());
        }
        unsafe_because(
            "alone",
            format!("{place} asks for {view} though no quorum can have asked for {}", before.view),
        )
    }

    /// The network behaves from now on, or a new block was committed.
    pub(crate) fn progressed(&mut self, healed: bool) {
        if healed || self.progress.is_some() {
            let highest = self.standing.values().map(|standing| standing.view).max();
            self.progress = Some((self.now, highest.unwrap_or_default()));
        }
    }

    /// The network has behaved since `healed`. Where f + 1 honest replicas ask for a view, the others
    /// have joined them soon: view-changes are repeated every eight status intervals at the latest.
    pub(crate) fn has_joined(&self, healed: Time, up: &[Place]) -> Verdict {
        for place in up {
            let mine = self.standing.get(place).copied().unwrap_or_default();
            let others = self.standing.iter().filter(|(other, _)| *other != place && up.contains(other));
            let mut asked: Vec<_> = others
                .filter(|(_, standing)| standing.leaving && standing.view > mine.view)
                .map(|(_, standing)| (standing.since.max(healed), standing.view))
                .collect();
            asked.sort();
            if let Some((since, view)) = asked.get(self.keys.f()).copied()
                && self.now.since(since) > self.join_within
            {
                return Err(Violation::new(
                    Class::Liveness,
                    "join",
                    format!(
                        "{place} stays in {} though f + 1 others have asked for {view} or higher for {:?}",
                        mine.view,
                        self.now.since(since)
                    ),
                ));
            }
        }
        Ok(())
    }

    /// An honest replica commits a block. Its own commit may be among the votes only once it is
    /// durable, and no block is larger than the channel allows.
    pub(crate) fn committed(&self, body: &Body, block: &CommittedBlock) -> Verdict {
        let (place, number) = (body.place, block.number());
        if block.data.len() > self.max_message_count {
            return unsafe_because(
                "limits",
                format!("{number} has {} envelopes, at most {}", block.data.len(), self.max_message_count),
            );
        }
        let certificate = &block.certificate;
        let mine = certificate.signatures.iter().any(|(signer, _)| *signer == place);
        let held = body.log.image().prepared.get(&(number, certificate.proposal));
        if mine && held.is_none_or(|held| *held < certificate.view) {
            return unsafe_because(
                "own vote",
                format!("{place} counts its own commit for {number} and has no certificate synced"),
            );
        }
        Ok(())
    }
}
