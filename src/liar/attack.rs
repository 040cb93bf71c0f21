//! What an attack may do, and the player that runs a liar's attacks between its core and its driver.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{ACTED, Liar, Lie, acted, floods, primary, votes};
use crate::pbft::Output;
use crate::pbft::message::{Message, Unsigned};
use crate::transport::Class;
use crate::types::{Candidate, Digest, Era, Place, Time};
use crate::wire::candidate;

/// How often [`Attack::wake`] is called.
pub(crate) const WAKE: Duration = Duration::from_millis(1);
/// Candidates that are remembered.
const STOCK: usize = 512;
/// Envelopes of committed blocks that are remembered, bytes.
const OLD_BYTES: usize = 4 << 20;

/// What the driver does for a liar, besides what the core asks for.
#[derive(Debug)]
pub enum Act {
    /// What the core asked for, carried out now.
    Output(Output),
    /// Signs this, sends it to these only, and gives it back to the own core if it is `own`.
    Only {
        /// To whom.
        to: Vec<Place>,
        /// What.
        what: Unsigned,
        /// It is what the own core said.
        own: bool,
    },
    /// Sends these bytes.
    Frame(Place, Class, Bytes),
    /// Sends this candidate to all others, and gives it to the own core as cut here.
    Candidate(Arc<Candidate>),
}

/// What an attack sees and has.
pub struct Scene {
    /// The chain's clock.
    pub now: Time,
    /// The liar's own place.
    pub me: Place,
    /// How many replicas there are.
    pub n: usize,
    /// The era of the channel.
    pub era: Era,
    /// It is the primary of its view.
    pub leads: bool,
    /// The last candidates heard, by digest.
    pub stock: BTreeMap<Digest, Arc<Candidate>>,
    /// Envelopes of the last committed blocks, oldest first.
    pub old: VecDeque<Bytes>,
    old_bytes: usize,
    stocked: VecDeque<Digest>,
    sequence: u64,
    acts: Vec<Act>,
    acted: u64,
}

impl Scene {
    /// Everybody else.
    pub fn others(&self) -> impl Iterator<Item = Place> + use<> {
        let me = self.me;
        (0..self.n as u16).map(Place).filter(move |place| *place != me)
    }

    /// Does this, which is one lie.
    pub fn act(&mut self, act: Act) {
        self.acted += 1;
        self.acts.push(act);
    }

    /// Did something (or left it undone) that is no [`Act`].
    pub fn acted(&mut self) {
        self.acted += 1;
    }

    /// Sends bytes to somebody.
    pub fn send(&mut self, to: Place, class: Class, frame: Bytes) {
        self.act(Act::Frame(to, class, frame));
    }

    /// Another's or an old envelope in a new candidate of the liar's own, as no intake would cut it.
    pub fn candidate(&mut self, envelopes: Vec<Bytes>) -> Option<Arc<Candidate>> {
        self.sequence += 1;
        candidate::encode(self.me, self.sequence, envelopes).ok().map(Arc::new)
    }

    /// Whether this is the liar's own proposal.
    pub fn is_own_proposal(&self, message: &Message) -> bool {
        matches!(message, Message::PrePrepare(it) if it.view.primary(self.n) == self.me)
    }

    fn learn(&mut self, candidate: &Arc<Candidate>) {
        if self.stock.insert(candidate.digest, candidate.clone()).is_some() {
            return;
        }
        self.stocked.push_back(candidate.digest);
        if self.stocked.len() > STOCK
            && let Some(oldest) = self.stocked.pop_front()
        {
            self.stock.remove(&oldest);
        }
    }

    fn remember(&mut self, data: &[Bytes]) {
        for envelope in data {
            self.old_bytes += envelope.len();
            // A copy: a slice would keep the whole candidate in memory.
            self.old.push_back(Bytes::copy_from_slice(envelope));
        }
        while self.old_bytes > OLD_BYTES
            && let Some(oldest) = self.old.pop_front()
        {
            self.old_bytes -= oldest.len();
        }
    }
}

/// A way to lie: each method has a default that is honest.
pub trait Attack: Send {
    /// A candidate is there. False: the own core is not to know, until [`Self::lets_in`].
    fn hear(&mut self, _scene: &mut Scene, _candidate: &Arc<Candidate>) -> bool {
        true
    }

    /// The core hears what was kept from it.
    fn lets_in(&self, _scene: &Scene) -> bool {
        true
    }

    /// A message arrived that the checks found good.
    fn message(&mut self, _scene: &mut Scene, _message: &Message) {}

    /// The core asks for `output`. What is returned is done.
    fn say(&mut self, _scene: &mut Scene, output: Output) -> Option<Output> {
        Some(output)
    }

    /// Every millisecond: the time to do something by itself.
    fn wake(&mut self, _scene: &mut Scene) {}
}

struct Running {
    lie: Lie,
    attack: Box<dyn Attack>,
}

/// A liar's attacks at work, for one channel.
pub struct Player {
    liar: Arc<Liar>,
    running: Vec<Running>,
    scene: Scene,
}

impl Player {
    /// The attacks of `liar` at place `me` of `n`.
    pub fn new(liar: Arc<Liar>, me: Place, n: usize, era: Era) -> Self {
        let attack = |lie: Lie| -> Option<Box<dyn Attack>> {
            Some(match lie {
                Lie::Silent => return None, // where frames are handed to the transport
                Lie::SilentPrimary => Box::new(primary::Silent),
                Lie::SlowPrimary(delay) => Box::new(primary::Slow::by(delay)),
                Lie::CrawlingPrimary(pace) => Box::new(primary::Crawling::every(pace)),
                Lie::EquivocateHalves => Box::new(primary::Halves::default()),
                Lie::WithholdPrepare => Box::new(votes::WithholdPrepare),
                Lie::WithholdCommit => Box::new(votes::WithholdCommit),
                Lie::ComplainBait => Box::new(votes::ComplainBait),
                Lie::Garbage => Box::new(floods::Garbage::default()),
                Lie::FloodBulk => Box::new(floods::Bulk::default()),
                Lie::FloodFetch => Box::new(floods::Fetch),
                Lie::StormBait => Box::new(floods::StormBait::default()),
            })
        };
        ::metrics::describe_counter!(ACTED, "how often a lie acted");
        for lie in &liar.lies {
            acted(*lie, 0);
        }
        let running = |lie: &Lie| Some(Running { lie: *lie, attack: attack(*lie)? });
        Self {
            running: liar.lies.iter().filter_map(running).collect(),
            scene: Scene {
                now: Time::default(),
                me,
                n,
                era,
                leads: false,
                stock: BTreeMap::new(),
                old: VecDeque::new(),
                old_bytes: 0,
                stocked: VecDeque::new(),
                // Far above what the intake cuts.
                sequence: 1 << 40,
                acts: Vec::new(),
                acted: 0,
            },
            liar,
        }
    }

    /// What time it is, and whether the own core is primary: told before each of the others.
    pub fn set(&mut self, now: Time, leads: bool) {
        (self.scene.now, self.scene.leads) = (now, leads);
    }

    /// A candidate arrived; false when the core is not to know of it now.
    pub fn hear(&mut self, candidate: &Arc<Candidate>) -> bool {
        self.scene.learn(candidate);
        self.each(true, |attack, scene, heard| heard & attack.hear(scene, candidate))
    }

    /// Whether the core may hear what was kept from it.
    pub fn lets_in(&self) -> bool {
        !self.liar.lies() || self.running.iter().all(|running| running.attack.lets_in(&self.scene))
    }

    /// A message arrived.
    pub fn message(&mut self, message: &Message) {
        self.each((), |attack, scene, ()| attack.message(scene, message));
    }

    /// The core asks for `output`; what is left of it is done, before [`Self::acts`].
    pub fn say(&mut self, output: Output) -> Option<Output> {
        if let Output::CommitBlock(block) = &output {
            self.scene.remember(&block.data);
        }
        self.each(Some(output), |attack, scene, output| attack.say(scene, output?))
    }

    /// Some time has passed.
    pub fn wake(&mut self) {
        self.each((), |attack, scene, ()| attack.wake(scene));
    }

    /// What the attacks do by themselves, since it was asked last.
    pub fn acts(&mut self) -> Vec<Act> {
        std::mem::take(&mut self.scene.acts)
    }

    /// Gives each attack its turn, while the liar lies, and counts what it did.
    fn each<T>(&mut self, start: T, turn: impl Fn(&mut dyn Attack, &mut Scene, T) -> T) -> T {
        if !self.liar.lies() {
            return start;
        }
        let mut value = start;
        for Running { lie, attack } in &mut self.running {
            value = turn(&mut **attack, &mut self.scene, value);
            match std::mem::take(&mut self.scene.acted) {
                0 => {}
                times => acted(*lie, times),
            }
        }
        value
    }
}
