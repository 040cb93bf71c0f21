//! Clients that submit to every replica: a network of intakes in virtual time, with a stand-in
//! for the core that commits each candidate a while after all have seen it.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// What happens, and to whom.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    /// A client's envelope arrives.
    Arrives(usize, u64),
    /// A candidate arrives, and is valid.
    Seen(usize, usize),
    /// A candidate is committed everywhere.
    Committed(usize),
}

struct Network {
    n: usize,
    intakes: Vec<Intake>,
    agenda: BTreeSet<(Time, u64, Happening)>,
    count: u64,
    candidates: Vec<Arc<Candidate>>,
    number: u64,
    /// How often each id was cut, by anyone.
    cuts: BTreeMap<RequestId, u32>,
    committed: BTreeSet<RequestId>,
    down: Option<usize>,
}

const LINK: Duration = Duration::from_millis(1);
const COMMIT: Duration = Duration::from_millis(4);

impl Network {
    fn new(n: usize, down: Option<usize>) -> Self {
        let intakes = (0..n).map(|me| {
            let limits = CutLimits { max_message_count: 500, preferred_max_bytes: 1 << 20 };
            let config = IntakeConfig {
                n,
                me: Place(me as u16),
                limits,
                backlog_after: Duration::from_millis(500),
                pool_count: 100_000,
                pool_bytes: 1 << 30,
                outstanding: 16,
                dedup: DedupRule { blocks: 1000, envelopes: 0 },
                ..config()
            };
            Intake::new(config, Vec::new())
        });
        Self {
            n,
            intakes: intakes.collect(),
            agenda: BTreeSet::new(),
            count: 0,
            candidates: Vec::new(),
            number: 0,
            cuts: BTreeMap::new(),
            committed: BTreeSet::new(),
            down,
        }
    }

    fn plan(&mut self, when: Time, what: Happening) {
        self.count += 1;
        self.agenda.insert((when, self.count, what));
    }

    fn id(number: u64) -> RequestId {
        RequestId(crate::header::sha256(&number.to_be_bytes()).0)
    }

    fn run(&mut self) {
        loop {
            let next = self.agenda.first().map(|(when, _, _)| *when);
            let up = (0..self.n).filter(|place| Some(*place) != self.down);
            let tick = up.filter_map(|place| Some((self.intakes[place].next_deadline()?, place))).min();
            match (next, tick) {
                (None, None) => return,
                (next, Some((when, place))) if next.is_none_or(|next| when < next) => {
                    self.step(when, place, Tick);
                }
                _ => {
                    let (when, _, what) = self.agenda.pop_first().expect("there is a next");
                    self.happen(when, what);
                }
            }
        }
    }

    fn happen(&mut self, now: Time, what: Happening) {
        match what {
            Happening::Arrives(place, number) => {
                let frame = Bytes::copy_from_slice(&number.to_be_bytes());
                let envelope = Envelope {
                    id: Self::id(number),
                    frame,
                    size: 1024,
                    is_config: false,
                    config_sequence: 0,
                };
                self.step(now, place, Envelopes(vec![envelope]));
            }
            Happening::Seen(place, candidate) => {
                self.step(now, place, Seen(self.candidates[candidate].clone()));
            }
            Happening::Committed(candidate) => {
                let candidate = self.candidates[candidate].clone();
                self.number += 1;
                let new: Vec<RequestId> =
                    candidate.ids.iter().filter(|id| self.committed.insert(**id)).copied().collect();
                let header =
                    Header { number: Number(self.number), previous_hash: None, data_hash: Digest::default() };
                let certificate = BlockCertificate {
                    view: View(0),
                    header,
                    proposal: Digest::default(),
                    last_config: Number(0),
                    signatures: Vec::new(),
                };
                let data = vec![Bytes::new(); new.len()];
                let block = Arc::new(CommittedBlock { certificate, data, ids: new.into(), is_config: false });
                for place in 0..self.n {
                    self.step(now, place, IntakeInput::Committed(block.clone()));
                    self.step(now, place, Released(candidate.digest));
                }
            }
        }
    }

    fn step(&mut self, now: Time, place: usize, input: IntakeInput) {
        if Some(place) == self.down {
            return;
        }
        let mut outputs = Vec::new();
        self.intakes[place].step(now, input, &mut outputs);
        for output in outputs {
            let Cut(batch) = output else { continue };
            for id in &batch.ids {
                *self.cuts.entry(*id).or_default() += 1;
            }
            let candidate = self.candidates.len();
            let mut name = [0; 32];
            name[..8].copy_from_slice(&(candidate as u64).to_be_bytes());
            self.candidates.push(Arc::new(Candidate {
                origin: Place(place as u16),
                sequence: batch.sequence,
                digest: Digest(name),
                encoding: Bytes::new(),
                envelopes: batch.envelopes,
                ids: batch.ids,
                sizes: batch.sizes,
                data_hash: Digest::default(),
                is_config: false,
            }));
            self.step(now, place, Own { sequence: batch.sequence, digest: Digest(name) });
            for other in (0..self.n).filter(|other| *other != place) {
                self.plan(now.after(LINK), Happening::Seen(other, candidate));
            }
            self.plan(now.after(COMMIT), Happening::Committed(candidate));
        }
    }

    /// Envelopes `gap` apart; each reaches the replicas that `to` names within 300 µs.
    fn submit(&mut self, envelopes: u64, gap: Duration, to: impl Fn(u64) -> Vec<usize>) {
        for number in 0..envelopes {
            let sent = Time(gap * number as u32);
            for (nth, place) in to(number).into_iter().enumerate() {
                self.plan(
                    sent.after(Duration::from_micros(100) * nth as u32),
                    Happening::Arrives(place, number),
                );
            }
        }
        self.run();
    }

    fn cut_in_all(&self) -> u64 {
        self.cuts.values().map(|cuts| u64::from(*cuts)).sum()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Payload crosses the network about once, and nothing is left behind.
    #[test]
    fn submitted_everywhere_each_envelope_is_cut_about_once(
        n in 2_usize..8,
        gap_us in 100_u64..10_000,
        rotate in 0_usize..8,
    ) {
        let mut network = Network::new(n, None);
        let envelopes = 800;
        network.submit(envelopes, Duration::from_micros(gap_us), |number| {
            (0..n).map(|place| (place + rotate * number as usize) % n).collect()
        });
        prop_assert_eq!(network.committed.len() as u64, envelopes);
        // Until the intakes have noticed, each envelope is cut by up to n of them.
        let learning = 40 * n as u64;
        prop_assert!(network.cut_in_all() <= envelopes + learning, "{} cuts", network.cut_in_all());
    }

    /// A replica that is down costs a pause, not an envelope, and does not make the others send
    /// everything several times.
    #[test]
    fn a_replica_that_is_down_is_stood_in_for_by_one_other(down in 0_usize..4, gap_us in 500_u64..5_000) {
        let mut network = Network::new(4, Some(down));
        network.submit(800, Duration::from_micros(gap_us), |_| (0..4).collect());
        prop_assert_eq!(network.committed.len(), 800);
        prop_assert!(network.cut_in_all() <= 800 + 200, "{} cuts", network.cut_in_all());
    }

    /// Clients that choose one replica each are never held back.
    #[test]
    fn submitted_to_one_replica_nothing_is_held_back(n in 2_usize..8, gap_us in 100_u64..10_000) {
        let mut network = Network::new(n, None);
        network.submit(400, Duration::from_micros(gap_us), |number| vec![number as usize % n]);
        prop_assert_eq!(network.committed.len(), 400);
        prop_assert_eq!(network.cut_in_all(), 400);
        prop_assert!(network.intakes.iter().all(|intake| !intake.probe().takes_turns));
    }
}

#[test]
fn turns_end_when_clients_stop_submitting_everywhere() {
    let mut network = Network::new(4, None);
    network.submit(400, Duration::from_millis(1), |_| (0..4).collect());
    assert!(network.intakes.iter().all(|intake| intake.probe().takes_turns));
    let later = Time(Duration::from_secs(10));
    for number in 1000..1400 {
        let place = number as usize % 4;
        network.plan(later.after(Duration::from_millis(number)), Happening::Arrives(place, number));
    }
    network.run();
    assert!(network.intakes.iter().all(|intake| !intake.probe().takes_turns));
    assert_eq!(network.committed.len(), 800);
}
