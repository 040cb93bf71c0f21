//! What the filters take: an envelope at the door, alone and among many, and those of a candidate.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use sbft::consenter::sbft::rules;
use sbft::pbft::Config;
use sbft::types::{Candidate, Place};
use sbft::wire;
use sbft::wire::envelope::{Parsed, check_canonical};

use super::{cpu_us, thread_cpu};
use crate::channel::{Filters, Signatures};
use crate::draw::Draws;
use crate::scale::{Filtering, Line};
use crate::workload::Workload;
use crate::world::default_config;

/// Sizes of envelopes that lines are drawn through, bytes. Smaller ones cannot carry a certificate.
const SIZES: (usize, usize) = (1024, 4096);
/// Envelopes judged together, and those of a candidate: the line of the batch goes through both. More
/// would be spread over threads whose time is not seen here.
const FEW: usize = 8;
const TOGETHER: usize = 32;
/// Candidates that are judged in turn, so that their bytes are in no cache when they are looked at.
const CANDIDATES: usize = 96;

/// What goes through the filters.
struct Bench {
    kind: Signatures,
    config: Config,
    envelopes: Vec<Bytes>,
    candidates: Vec<Candidate>,
}

impl Bench {
    fn new(kind: Signatures, size: usize) -> Result<Self, String> {
        let mut config = default_config(4);
        config.max_message_count = 500;
        config.absolute_max_bytes = 10 << 20;
        config.preferred_max_bytes = 2 << 20;
        let size = size as u64;
        let workload = Workload::new(kind, &config).sized(Draws::new(1), (size, size));
        let count = (CANDIDATES * TOGETHER) as u64;
        let envelopes: Vec<Bytes> = (0..count).map(|index| workload.envelope(index, 0)).collect();
        let candidates = envelopes
            .chunks(TOGETHER)
            .zip(1..)
            .map(|(batch, sequence)| wire::candidate::encode(Place(1), sequence, batch.to_vec()))
            .collect::<Result<_, _>>()
            .map_err(|error| error.to_string())?;
        Ok(Self { kind, config, envelopes, candidates })
    }

    /// Filters that have seen nothing: they remember the signatures that they have checked.
    fn filters(&self) -> Filters {
        Filters::fresh(self.kind, &self.config)
    }

    /// What a node does with envelopes that arrived together. True if all are good.
    fn admit(filters: &Filters, batch: &[Bytes]) -> bool {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        let parsed: Result<Vec<Parsed>, _> = batch.iter().cloned().map(Parsed::decode).collect();
        let Ok(parsed) = parsed else { return false };
        let references: Vec<&Parsed> = parsed.iter().collect();
        let verdicts = filters.processor.process_all(&references, now);
        parsed.into_iter().zip(verdicts).all(|(parsed, verdict)| {
            let canonical = check_canonical(&parsed.frame).is_ok();
            let taken = verdict.map(|sequence| std::hint::black_box(rules::accepted(parsed, sequence)));
            canonical && taken.is_ok()
        })
    }

    /// What it does with a candidate. True if it is good.
    fn judge(filters: &Filters, candidate: &Candidate) -> bool {
        let Filters { processor, limits } = filters;
        let encoding = candidate.encoding.clone();
        let digest = wire::candidate::digest(&encoding);
        let judged = rules::judge_candidate(digest, encoding, limits, Some(Place(1)), 4, processor);
        judged.is_some_and(|judged| std::hint::black_box(judged).verdict.is_ok())
    }

    /// Microseconds for each envelope when so many are judged together, each once.
    fn admitted(&self, together: usize) -> Result<f64, String> {
        let filters = self.filters();
        let begun = thread_cpu()?;
        let good = self.envelopes.chunks(together).all(|batch| Self::admit(&filters, batch));
        self.each(begun, good)
    }

    /// Microseconds for each envelope of a candidate, each judged once.
    fn judged(&self) -> Result<f64, String> {
        let filters = self.filters();
        let begun = thread_cpu()?;
        let good = self.candidates.iter().all(|candidate| Self::judge(&filters, candidate));
        self.each(begun, good)
    }

    fn each(&self, begun: Duration, good: bool) -> Result<f64, String> {
        let us = (thread_cpu()? - begun).as_secs_f64() * 1e6 / self.envelopes.len() as f64;
        if good { Ok(us) } else { Err("a good envelope is refused".to_owned()) }
    }

    /// Microseconds for each envelope of a candidate that is made.
    fn encoded(&self) -> Result<f64, String> {
        let mut batches = self.envelopes.chunks_exact(TOGETHER).cycle();
        let mut good = true;
        let us = cpu_us(|| {
            let made = batches.next().map(|batch| wire::candidate::encode(Place(1), 1, batch.to_vec()));
            good &= std::hint::black_box(made).is_some_and(|made| made.is_ok());
        })?;
        if good { Ok(us / TOGETHER as f64) } else { Err("good envelopes make no candidate".to_owned()) }
    }
}

/// The filters under this kind of signatures.
pub(super) fn measure(kind: Signatures) -> Result<Filtering, String> {
    let [low, high] = [SIZES.0, SIZES.1].map(|size| {
        let bench = Bench::new(kind, size)?;
        Ok::<_, String>((
            size,
            [bench.admitted(1)?, bench.admitted(FEW)?, bench.admitted(TOGETHER)?, bench.judged()?],
        ))
    });
    let ((low, low_us), (high, high_us)) = (low?, high?);
    let line = |of: fn(&[f64; 4]) -> f64| Line::through((low, of(&low_us)), (high, of(&high_us)));
    // What a batch takes besides, however many are in it, is spread over fewer in a small one.
    let batch_us = (low_us[1] - low_us[2]).max(0.0) / (1.0 / FEW as f64 - 1.0 / TOGETHER as f64);
    let less = |line: Line, among: usize| Line {
        each_us: (line.each_us - batch_us / among as f64).max(0.0),
        ..line
    };
    Ok(Filtering {
        alone: line(|us| us[0]),
        together: less(line(|us| us[2]), TOGETHER),
        candidate: less(line(|us| us[3]), TOGETHER),
        batch_us,
    })
}

/// Making a candidate, for each envelope.
pub(super) fn encode() -> Result<Line, String> {
    let of = |size: usize| Ok::<_, String>((size, Bench::new(Signatures::Simulated, size)?.encoded()?));
    Ok(Line::through(of(SIZES.0)?, of(SIZES.1)?))
}

/// Keeps so many threads at a replica's work while `measured` runs: processors that share caches and
/// memory are slower when all have something to do, as they have in a network under load.
pub(super) fn in_a_crowd<T>(
    others: usize,
    measured: impl FnOnce() -> Result<T, String>,
) -> Result<T, String> {
    let bench = Bench::new(Signatures::Ed25519, SIZES.0)?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for other in 0..others {
            let (bench, done) = (&bench, &done);
            scope.spawn(move || {
                let mut filters = bench.filters();
                while !done.load(Ordering::Relaxed) {
                    for candidate in bench.candidates.iter().skip(other * 7) {
                        std::hint::black_box(Bench::judge(&filters, candidate));
                    }
                    filters = bench.filters();
                }
            });
        }
        let result = measured();
        done.store(true, Ordering::Relaxed);
        result
    })
}
