//! The book of a search: which schedule is next, what came of each, in the order of their numbers.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use super::{Failure, Limit, Progress, Search};
use crate::draw::{Draws, Purpose};
use crate::plan::Report;
use crate::schedule::Name;

/// Schedules between two looks at who may be a parent.
pub const GENERATION: u64 = 256;
/// Parents kept; the oldest goes first.
pub const MOST_PARENTS: usize = 512;
/// States kept: 64 MiB or so. A search that fills this counts no new ones.
pub const MOST_STATES: usize = 4_000_000;
/// Failures kept with all that belongs to them.
pub const MOST_FAILURES: usize = 1000;
/// Schedules over which new states are counted.
const WINDOW: u64 = 10_000;
/// How often somebody is told how far the search is.
const WATCH: Duration = Duration::from_millis(500);

/// What came of one schedule.
pub(super) struct Done {
    pub(super) name: Name,
    pub(super) states: Vec<u64>,
    pub(super) failure: Option<Box<Failure>>,
    pub(super) report: Report,
    pub(super) twice: bool,
}

/// Hashes are hashed already. (Nothing ever walks through the set, so its order shows nowhere.)
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0 << 8 | u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

struct Book {
    next: u64,
    stopped: bool,
    /// Every schedule below this is booked.
    booked: u64,
    /// Schedules that ended before an earlier one did.
    early: BTreeMap<u64, Done>,
    states: HashSet<u64, BuildHasherDefault<AsIs>>,
    parents: VecDeque<Name>,
    /// Who may be a parent in a generation, by generation; the present ones only.
    families: BTreeMap<u64, Arc<Vec<Name>>>,
    /// New states of this generation so far, and of the one before.
    new_now: u64,
    new_before: u64,
    /// New states of the last generations, [`WINDOW`] schedules together.
    recent: VecDeque<u64>,
    failures: Vec<Failure>,
    progress: Progress,
    told: Duration,
}

/// Hands out schedules and books what came of them.
pub(super) struct Ledger<'a> {
    search: &'a Search,
    book: Mutex<Book>,
    booked: Condvar,
}

impl<'a> Ledger<'a> {
    pub(super) fn new(search: &'a Search) -> Self {
        let none = Arc::new(Vec::new());
        let book = Book {
            next: 0,
            stopped: false,
            booked: 0,
            early: BTreeMap::new(),
            states: HashSet::default(),
            parents: VecDeque::new(),
            families: BTreeMap::from([(0, none.clone()), (1, none)]),
            new_now: 0,
            new_before: 0,
            recent: VecDeque::new(),
            failures: Vec::new(),
            progress: Progress::default(),
            told: Duration::ZERO,
        };
        Self { search, book: Mutex::new(book), booked: Condvar::new() }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("no run panics outside its own guard")
    }

    /// The next schedule to try; none when the search is over.
    pub(super) fn take(&self, elapsed: Duration) -> Option<(u64, Name)> {
        let mut book = self.book();
        let over = match self.search.limit {
            Limit::Schedules(count) => book.next >= count,
            Limit::Time(time) => elapsed >= time,
        };
        if over || book.stopped {
            return None;
        }
        let index = book.next;
        book.next += 1;
        let generation = index / GENERATION;
        // Parents come from two generations before. All of those are in hands already, so this
        // never waits for long.
        let parents = loop {
            if let Some(parents) = book.families.get(&generation) {
                break parents.clone();
            }
            book = self.booked.wait(book).expect("no run panics outside its own guard");
        };
        Some((index, self.name(index, &parents)))
    }

    /// Half of the schedules are mutations of a parent, if there are any.
    fn name(&self, index: u64, parents: &[Name]) -> Name {
        let draws = Draws::new(self.search.base);
        let fresh = Name::of(self.search.base.wrapping_add(index));
        if parents.is_empty() || draws.chance(Purpose::Profile, &[20, index], 0.5) {
            return fresh;
        }
        let parent = draws.below(Purpose::Profile, &[21, index], parents.len() as u64) as usize;
        let mutation = draws.bits(Purpose::Profile, &[22, index]) as u32;
        parents[parent].mutated(mutation).unwrap_or(fresh)
    }

    /// Books what came of a schedule. Gives how far the search is, now and then.
    pub(super) fn give(&self, index: u64, done: Done, elapsed: Duration) -> Option<Progress> {
        let mut guard = self.book();
        let book = &mut *guard;
        if done.failure.is_some() && !self.search.keep_going {
            book.stopped = true;
        }
        book.early.insert(index, done);
        while let Some(done) = book.early.remove(&book.booked) {
            book.enter(done);
        }
        self.booked.notify_all();
        (elapsed >= book.told + WATCH).then(|| {
            book.told = elapsed;
            book.progress(elapsed)
        })
    }

    pub(super) fn close(self, elapsed: Duration) -> (Progress, Vec<Failure>) {
        let mut book = self.book.into_inner().expect("no run panics outside its own guard");
        let progress = book.progress(elapsed);
        (progress, std::mem::take(&mut book.failures))
    }
}

impl Book {
    fn enter(&mut self, done: Done) {
        let before = self.states.len();
        if before < MOST_STATES {
            self.states.extend(&done.states);
        }
        let new = (self.states.len() - before) as u64;
        self.new_now += new;
        self.progress.tally.add(&done.name, &done.report, done.twice);
        // A schedule is worth following when it found more than most do by now.
        if new > self.new_before / GENERATION {
            if self.parents.len() == MOST_PARENTS {
                self.parents.pop_front();
            }
            self.parents.push_back(done.name);
        }
        if let Some(failure) = done.failure {
            self.progress.violations += 1;
            self.progress.last_violation = Some((failure.schedule.name.clone(), failure.violation.check));
            if self.failures.len() < MOST_FAILURES {
                self.failures.push(*failure);
            }
        }
        self.booked += 1;
        if self.booked.is_multiple_of(GENERATION) {
            self.end_generation(self.booked / GENERATION - 1);
        }
    }

    fn end_generation(&mut self, generation: u64) {
        let parents: Vec<Name> = self.parents.iter().cloned().collect();
        self.families.insert(generation + 2, Arc::new(parents));
        self.families = self.families.split_off(&(generation + 1));
        self.new_before = std::mem::take(&mut self.new_now);
        self.recent.push_back(self.new_before);
        if self.recent.len() as u64 > WINDOW / GENERATION {
            self.recent.pop_front();
        }
    }

    fn progress(&mut self, elapsed: Duration) -> Progress {
        self.progress.states = self.states.len() as u64;
        self.progress.new_states = self.recent.iter().sum::<u64>() + self.new_now;
        self.progress.window = self.recent.len() as u64 * GENERATION + self.booked % GENERATION;
        self.progress.elapsed = elapsed;
        self.progress.clone()
    }
}
