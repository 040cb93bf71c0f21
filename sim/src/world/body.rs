//! One replica of a world: its core, disk, clock and intake, and what waits in it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use sbft::disk::MemoryDisk;
use sbft::intake::{Envelope, Intake, IntakeOutput};
use sbft::pbft::message::{Message, Unsigned};
use sbft::pbft::{Replica, Role};
use sbft::types::{Candidate, Digest, Place, Time};

use super::{Event, Settings, intake_config};
use crate::byzantine::Liar;
use crate::clock::Clock;
use crate::disk::{BlockStore, Log};
use crate::plan::Fate;

/// One running (or dead) replica.
pub struct Body {
    /// Whose key it holds.
    pub place: Place,
    /// The core; none while it is down. (In a box: it is large, and taken out for every step.)
    pub core: Option<Box<Replica>>,
    /// What is written and what is durable.
    pub disk: MemoryDisk,
    /// Nobody has started from this disk yet.
    pub(crate) marked_new: bool,
    /// Why it stopped for good, or does not start any more.
    pub failed: Option<String>,
    /// Why it stopped or did not start, each time.
    pub(crate) fate: Fate,
    /// A synced record of its disk that has rotted, and that whoever starts from it must miss.
    pub(crate) rotted: Option<String>,
    /// Its disk has broken, or may have, what it promised to keep: it is one of the f.
    pub damaged: bool,
    /// Something was done to its disk that may make it stop.
    pub(crate) suspect_disk: bool,
    /// How much longer its syncs take than they should.
    pub(crate) slow_disk: Duration,
    /// The log.
    pub log: Log,
    /// The block store.
    pub store: BlockStore,
    /// The wrapper that makes it lie; none for an honest replica.
    pub liar: Option<Box<Liar>>,
    /// May vote, or why not.
    pub role: Role,
    /// How often it has started.
    pub incarnation: u32,
    /// Outputs and releases carried out since the beginning: the points it can crash at.
    pub ordinal: u64,
    /// Its clocks.
    pub clock: Clock,
    /// What came while it was paused; none while it runs.
    pub(crate) frozen: Option<Vec<Event>>,
    /// Promises, each with the log's position that it waits for and the event that caused it.
    pub(crate) outbox: VecDeque<(u64, Promise, u64)>,
    /// Position after the last record that a prepare waits for.
    pub(crate) binding: u64,
    /// The position up to which the log is being synced.
    pub(crate) syncing: Option<u64>,
    pub(crate) block_sync_running: bool,
    pub(crate) tick: Option<Time>,
    /// Its pool and block cutter.
    pub intake: Intake,
    /// How many candidates it has cut at this instant.
    pub(crate) cuts: (Time, usize),
    /// What the intake wants done.
    pub(crate) intake_outputs: Vec<IntakeOutput>,
    /// Candidates that the core has released since the intake was last told.
    pub(crate) released: Vec<Digest>,
    /// Envelopes that found no room in the pool; their clients wait.
    pub(crate) stalled: VecDeque<(u64, Envelope)>,
    pub(crate) held: BTreeMap<Place, BTreeSet<Digest>>,
    pub(crate) unread: BTreeMap<Place, VecDeque<Arc<Candidate>>>,
}

impl Body {
    /// A body that has not started yet, on a new disk.
    pub(super) fn new(place: Place, liar: Option<Liar>, settings: &Settings) -> Self {
        let disk = MemoryDisk::new();
        Self {
            place,
            core: None,
            log: Log::new(disk.clone(), settings.config.domain, settings.n).planted(settings.config.plants),
            store: BlockStore::new(disk.clone(), settings.n),
            disk,
            marked_new: true,
            failed: None,
            fate: Fate::default(),
            rotted: None,
            damaged: false,
            suspect_disk: false,
            slow_disk: Duration::ZERO,
            liar: liar.map(Box::new),
            role: Role::Voter,
            incarnation: 0,
            ordinal: 0,
            clock: Clock::default(),
            frozen: None,
            outbox: VecDeque::new(),
            binding: 0,
            syncing: None,
            block_sync_running: false,
            tick: None,
            intake: Intake::new(intake_config(settings, place), Vec::new()),
            cuts: (Time::ZERO, 0),
            intake_outputs: Vec::new(),
            released: Vec::new(),
            stalled: VecDeque::new(),
            held: BTreeMap::new(),
            unread: BTreeMap::new(),
        }
    }

    /// Runs.
    pub fn is_up(&self) -> bool {
        self.core.is_some()
    }

    /// All that its clients handed it is in blocks, as far as its intake knows.
    pub fn owes_nothing(&self) -> bool {
        let probe = self.intake.probe();
        probe.pool == 0 && probe.outstanding == 0 && self.stalled.is_empty()
    }

    /// Tells the truth, and remembers what it said.
    pub fn is_honest(&self) -> bool {
        self.liar.is_none() && !self.damaged
    }

    /// Does not keep to the protocol on purpose.
    pub(crate) fn lies(&self) -> bool {
        self.liar.is_some()
    }

    /// The body's own clock: it starts anywhere and begins again at each start.
    pub(crate) fn local(&self, now: Time) -> Time {
        self.clock.local(now)
    }

    pub(crate) fn global(&self, local: Time) -> Time {
        self.clock.global(local)
    }
}

/// A send that waits for the records before it.
#[derive(Clone, Debug)]
pub(crate) enum Promise {
    Broadcast(Unsigned),
    Repeat(Place, Message),
}

impl Promise {
    /// It waits for fewer records than all others.
    pub(crate) fn is_prepare(&self) -> bool {
        match self {
            Self::Broadcast(unsigned) => unsigned.is_prepare(),
            Self::Repeat(_, message) => message.is_prepare(),
        }
    }
}
