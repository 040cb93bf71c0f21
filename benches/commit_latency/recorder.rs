//! The engine's own metrics, kept as exact counts and fine histograms. All replicas of the process share
//! them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hdrhistogram::Histogram as Hdr;
use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};

/// Longest time told apart, nanoseconds.
const LONGEST: u64 = 100_000_000_000;

/// The process's recorder.
#[derive(Clone, Default)]
pub(crate) struct Recorded(Arc<State>);

#[derive(Default)]
struct State {
    counters: Mutex<HashMap<Key, Arc<AtomicU64>>>,
    times: Mutex<HashMap<Key, Arc<Times>>>,
}

struct Times(Mutex<Hdr<u64>>);

impl HistogramFn for Times {
    fn record(&self, seconds: f64) {
        let mut histogram = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        histogram.saturating_record((seconds * 1e9) as u64);
    }
}

/// An empty histogram of nanoseconds.
pub(crate) fn nanoseconds() -> Hdr<u64> {
    Hdr::new_with_bounds(1, LONGEST, 3).expect("the bounds are a range")
}

impl Recorded {
    /// Makes it the process's recorder.
    pub(crate) fn install() -> Self {
        let recorded = Self::default();
        metrics::set_global_recorder(recorded.clone()).expect("a bench has one recorder");
        recorded
    }

    /// Sum of all counters of this name with this label.
    pub(crate) fn count(&self, name: &str, label: (&str, &str)) -> u64 {
        let counters = self.0.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = counters.iter().filter(|(key, _)| is(key, name, label));
        wanted.map(|(_, counter)| counter.load(Ordering::Relaxed)).sum()
    }

    /// All times recorded under this name with this label since the last [`Self::forget_times`].
    pub(crate) fn times(&self, name: &str, label: (&str, &str)) -> Hdr<u64> {
        let times = self.0.times.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = nanoseconds();
        for (_, times) in times.iter().filter(|(key, _)| is(key, name, label)) {
            let times = times.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.add(&*times).expect("all histograms have the same bounds");
        }
        all
    }

    /// Empties all histograms.
    pub(crate) fn forget_times(&self) {
        for times in self.0.times.lock().unwrap_or_else(PoisonError::into_inner).values() {
            times.0.lock().unwrap_or_else(PoisonError::into_inner).reset();
        }
    }
}

fn is(key: &Key, name: &str, (label, value): (&str, &str)) -> bool {
    key.name() == name && key.labels().any(|own| own.key() == label && own.value() == value)
}

impl Recorder for Recorded {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let mut counters = self.0.counters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counter) = counters.get(key) {
            return Counter::from_arc(Arc::clone(counter));
        }
        let counter = Arc::new(AtomicU64::new(0));
        counters.insert(key.clone(), Arc::clone(&counter));
        Counter::from_arc(counter)
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let mut times = self.0.times.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(times) = times.get(key) {
            return Histogram::from_arc(Arc::clone(times));
        }
        let new = Arc::new(Times(Mutex::new(nanoseconds())));
        times.insert(key.clone(), Arc::clone(&new));
        Histogram::from_arc(new)
    }
}
