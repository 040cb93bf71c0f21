//! The network: every packet is lost, delayed, doubled or cut off by keyed draws and by rules.
//!
//! Endpoints are bodies (a replica, or one of two twins that share a key), not places. What
//! happens to a packet is decided when it is sent, in this order: partitions ([`partition`]),
//! rules about kinds, views and numbers ([`rules`]), then chance ([`conditions`], [`delay`]). What only shows
//! later, a full queue or a connection that breaks while the packet is under way ([`links`]), is
//! asked for with its ticket when it would arrive.
//!
//! Every draw is keyed by what the packet is (link, kind, view, number, content, and how often it
//! was sent before), so that one fault taken away leaves all others where they were.

pub mod conditions;
pub mod delay;
pub mod links;
mod packet;
pub mod partition;
pub mod rules;
mod singles;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sbft::types::Time;

use crate::draw::{Draws, Purpose, mix};

pub use conditions::Conditions;
pub use delay::{Delay, Regions};
use links::Link;
pub use links::Ticket;
pub use packet::{Kind, Label, Letter, Packet, label, short};
pub use partition::{Partition, Shape};
pub use rules::{Fate, Rule};
use singles::Watch;
pub use singles::{Single, Singles, rules as rules_of_singles, unusual};

/// Why a packet did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lost {
    /// The link was cut.
    Partition,
    /// A rule dropped it.
    Rule,
    /// A cut by phase.
    PhaseCut,
    /// Chance.
    Chance,
    /// Too many were under way.
    Queue,
    /// The connection broke while it was under way.
    Reset,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Partition => "link cut",
            Self::Rule => "rule",
            Self::PhaseCut => "cut by phase",
            Self::Chance => "lost",
            Self::Queue => "queue full",
            Self::Reset => "connection reset",
        })
    }
}

/// One copy of a packet on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leg {
    /// How long it takes.
    pub takes: Duration,
    /// To ask with whether it really arrives.
    pub ticket: Ticket,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fare {
    /// It is lost at once.
    Lost(Lost),
    /// It is under way, perhaps twice.
    Goes(Leg, Option<Leg>),
}

impl Fare {
    /// The copies under way.
    pub fn legs(self) -> impl Iterator<Item = Leg> {
        match self {
            Self::Lost(_) => [None, None],
            Self::Goes(leg, again) => [Some(leg), again],
        }
        .into_iter()
        .flatten()
    }

    /// Why it was lost, if it was.
    pub fn lost(self) -> Option<Lost> {
        match self {
            Self::Lost(why) => Some(why),
            Self::Goes(..) => None,
        }
    }
}

/// A partition under way.
#[derive(Debug)]
struct Outage {
    partition: Partition,
    began: Time,
    cut: Vec<u64>,
}

/// What the next turn of a partition changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turned {
    /// Links that went down for both ends, if the partition is one that they notice.
    pub down: Vec<(usize, usize)>,
    /// Links that came back for both ends.
    pub up: Vec<(usize, usize)>,
    /// When the next turn comes; none when the partition is over.
    pub next: Option<Time>,
}

/// The hash of a key that is one already: [`mix`] made it.
#[derive(Clone, Copy, Debug, Default)]
struct Mixed(u64);

impl Hasher for Mixed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = mix(self.0, u64::from(*byte));
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

/// The network's state.
#[derive(Debug)]
pub struct Network {
    draws: Draws,
    bodies: usize,
    /// How packets fare now, on links that have no conditions of their own.
    pub conditions: Rc<Conditions>,
    /// Rules, first match decides.
    pub rules: Vec<Rule>,
    /// `cut[from]` has bit `to` set: nothing gets through in that direction.
    cut: Vec<u64>,
    outages: BTreeMap<u64, Outage>,
    watch: Watch,
    links: Vec<Link>,
    /// Some link has conditions of its own.
    own_conditions: bool,
    /// How often a packet like this was sent. Asked one by one, never walked through.
    attempts: HashMap<u64, u32, BuildHasherDefault<Mixed>>,
    copies: u64,
    /// Copies that lost their place in a full queue.
    crowded_out: BTreeSet<u64>,
}

impl Network {
    /// A network of `bodies` endpoints.
    pub fn new(draws: Draws, bodies: usize, conditions: Conditions) -> Self {
        assert!(bodies <= 64, "a set of bodies is a 64-bit mask");
        Self {
            draws,
            bodies,
            conditions: Rc::new(conditions),
            rules: Vec::new(),
            cut: vec![0; bodies],
            outages: BTreeMap::new(),
            watch: Watch::default(),
            links: vec![Link::default(); bodies * bodies],
            own_conditions: false,
            attempts: HashMap::default(),
            copies: 0,
            crowded_out: BTreeSet::new(),
        }
    }

    /// Does this to single packets, until it heals; and writes down what chance does, if asked to.
    pub fn watch(&mut self, chosen: Arc<Singles>, record: bool) {
        self.watch = Watch::of(chosen, record);
    }

    /// What chance did to each packet, if it was to be written down.
    pub fn recorded(&mut self) -> Singles {
        self.watch.record.take().unwrap_or_default()
    }

    /// Cuts every link from a body in `from` to a body in `to` (masks).
    pub fn cut(&mut self, from: u64, to: u64) {
        for (body, cut) in self.cut.iter_mut().enumerate() {
            if from >> body & 1 == 1 {
                *cut |= to & !(1 << body);
            }
        }
    }

    /// Mends every link from a body in `from` to a body in `to` (masks), as far as it was
    /// [`Network::cut`].
    pub fn mend(&mut self, from: u64, to: u64) {
        for (body, cut) in self.cut.iter_mut().enumerate() {
            if from >> body & 1 == 1 {
                *cut &= !to;
            }
        }
    }

    /// Begins a partition; `key` names it, and the caller calls [`Network::turn`] at once.
    pub fn part(&mut self, key: u64, partition: Partition, now: Time) {
        let cut = vec![0; self.bodies];
        self.outages.insert(key, Outage { partition, began: now, cut });
    }

    /// The next turn of a partition has come. One that is over, or was healed, changes nothing.
    pub fn turn(&mut self, key: u64, now: Time) -> Turned {
        let Some(outage) = self.outages.get_mut(&key) else { return Turned::default() };
        let turn = outage.partition.turn(self.draws, key, self.bodies, now.since(outage.began));
        let before = std::mem::replace(&mut outage.cut, turn.cut.clone());
        let mut turned =
            Turned { next: turn.next.map(|since| outage.began.after(since)), ..Turned::default() };
        if outage.partition.noticed {
            let dead = |cut: &[u64], one: usize, other: usize| {
                cut[one] >> other & 1 == 1 && cut[other] >> one & 1 == 1
            };
            for one in 0..self.bodies {
                for other in one + 1..self.bodies {
                    match (dead(&before, one, other), dead(&turn.cut, one, other)) {
                        (false, true) => turned.down.push((one, other)),
                        (true, false) => turned.up.push((one, other)),
                        _ => {}
                    }
                }
            }
        }
        if turned.next.is_none() {
            self.outages.remove(&key);
        }
        turned
    }

    /// Somewhere the size of packets matters.
    pub fn counts_bytes(&self) -> bool {
        let narrow = |conditions: &Conditions| conditions.bandwidth.is_some();
        narrow(&self.conditions)
            || self.own_conditions
                && self.links.iter().filter_map(|link| link.conditions.as_deref()).any(narrow)
    }

    /// The link in this direction works.
    pub fn connected(&self, from: usize, to: usize) -> bool {
        let parted = self.outages.values().any(|outage| outage.cut[from] >> to & 1 == 1);
        self.cut[from] >> to & 1 == 0 && !parted
    }

    /// The connection of two bodies breaks: what is under way on it is lost, in both directions.
    pub fn reset(&mut self, one: usize, other: usize) {
        for (from, to) in [(one, other), (other, one)] {
            self.links[from * self.bodies + to].reset();
        }
    }

    /// What bodies in `from` send to bodies in `to` (masks) arrives after `until` only.
    pub fn clog(&mut self, from: u64, to: u64, until: Time) {
        for link in self.between(from, to) {
            link.clogged_until = link.clogged_until.max(until);
        }
    }

    /// Gives the links from bodies in `from` to bodies in `to` (masks) conditions of their own, or
    /// takes them away again.
    pub fn set_links(&mut self, from: u64, to: u64, conditions: Option<Conditions>) {
        let conditions = conditions.map(Rc::new);
        self.own_conditions |= conditions.is_some();
        for link in self.between(from, to) {
            link.conditions.clone_from(&conditions);
        }
    }

    fn between(&mut self, from: u64, to: u64) -> impl Iterator<Item = &mut Link> {
        let bodies = self.bodies;
        self.links.iter_mut().enumerate().filter_map(move |(index, link)| {
            (from >> (index / bodies) & 1 == 1 && to >> (index % bodies) & 1 == 1).then_some(link)
        })
    }

    /// Everything works from here on, under `conditions`. What is under way stays under way.
    pub fn heal(&mut self, conditions: Conditions) {
        self.conditions = Rc::new(conditions);
        self.cut.fill(0);
        self.outages.clear();
        self.rules.clear();
        self.watch.stop();
        self.own_conditions = false;
        for link in &mut self.links {
            link.conditions = None;
            link.clogged_until = Time::ZERO;
        }
    }

    /// Whether a copy that is due now really arrives.
    pub fn arrives(&mut self, from: usize, to: usize, ticket: Ticket) -> Result<(), Lost> {
        if !self.crowded_out.is_empty() && self.crowded_out.remove(&ticket.id) {
            return Err(Lost::Queue);
        }
        match ticket.life {
            Some(life) if life != self.links[from * self.bodies + to].life => Err(Lost::Reset),
            _ => Ok(()),
        }
    }

    /// What becomes of a packet of so many bytes that is sent now.
    pub fn send(&mut self, now: Time, from: usize, to: usize, label: &Label, bytes: usize) -> Fare {
        if !self.connected(from, to) {
            return Fare::Lost(Lost::Partition);
        }
        let (mut given, mut copy) = (None, None);
        let mut fate = self.rules.iter_mut().find_map(|rule| rule.take(from, to, label));
        let mut single = None;
        if fate.is_none() {
            single = self.watch.packet(from, to, label);
            fate = single.and_then(|single| self.watch.chosen.get(&single).copied());
        }
        match fate {
            Some(Fate::Drop) => return Fare::Lost(Lost::Rule),
            Some(Fate::Delay(delay)) => given = Some(delay),
            Some(Fate::Copy { delay, later }) => (given, copy) = (delay, Some(later)),
            Some(Fate::Pass) | None => {}
        }
        let index = from * self.bodies + to;
        if let Some(delay) = given {
            let leg = self.leg(index, delay);
            return Fare::Goes(leg, copy.map(|later| self.leg(index, delay + later)));
        }
        let conditions = Rc::clone(self.links[index].conditions.as_ref().unwrap_or(&self.conditions));
        let fare = self.by_chance(now, (from, to), label, bytes, &conditions);
        self.watch.note(single, fare);
        match (fare, copy) {
            (Fare::Goes(leg, _), Some(later)) => {
                let again = self.leg(index, leg.takes + later);
                Fare::Goes(leg, Some(again))
            }
            (fare, _) => fare,
        }
    }

    fn by_chance(
        &mut self,
        now: Time,
        (from, to): (usize, usize),
        label: &Label,
        bytes: usize,
        conditions: &Conditions,
    ) -> Fare {
        if conditions.phase_cut > 0.0 && self.cut_by_phase(from, to, label, conditions.phase_cut) {
            return Fare::Lost(Lost::PhaseCut);
        }
        let draws = self.draws;
        let about = mix(mix(label.kind as u64, label.view.0), mix(label.number.0, label.tag));
        let way = (from as u64) << 32 | to as u64;
        let attempt = self.attempts.entry(mix(about, way)).or_default();
        *attempt += 1;
        let key = [way, about, u64::from(*attempt)];
        if draws.chance(Purpose::Loss, &key, conditions.loss) {
            return Fare::Lost(Lost::Chance);
        }
        let index = from * self.bodies + to;
        let mut takes = self.takes(conditions, &key, 0, from, to);
        takes += self.links[index].transmit(now, bytes, conditions.bandwidth);
        let clogged = self.clogged_for(now, index, way, conditions);
        takes = takes.max(clogged);
        if draws.chance(Purpose::Reorder, &key, conditions.reorder) {
            takes += draws.duration(
                Purpose::Reorder,
                &[key[0], key[1], key[2], 1],
                Duration::ZERO,
                conditions.reorder_by,
            );
        } else if conditions.fifo {
            takes = self.links[index].in_order(label.kind, now.after(takes)).since(now);
        }
        let leg = self.leg(index, takes);
        if let Some(limit) = conditions.queue {
            let pick = |count| draws.below(Purpose::Victim, &key, count);
            match self.links[index].enter(now, leg.ticket.id, now.after(takes), limit.max(1), pick) {
                Some(victim) if victim == leg.ticket.id => return Fare::Lost(Lost::Queue),
                Some(victim) => {
                    self.crowded_out.insert(victim);
                }
                None => {}
            }
        }
        let again = draws.chance(Purpose::Duplicate, &key, conditions.duplicate).then(|| {
            // The second copy comes a little after the time that one copy may take.
            let later = conditions.delay.least() + self.takes(conditions, &key, 1, from, to);
            self.leg(index, later.max(clogged))
        });
        Fare::Goes(leg, again)
    }

    /// What a copy takes by itself, on a link that is idle.
    fn takes(&self, conditions: &Conditions, key: &[u64; 3], copy: u64, from: usize, to: usize) -> Duration {
        let key = [key[0], key[1], key[2], copy];
        let takes = conditions.delay.sample(self.draws, &key, from, to);
        if !self.draws.chance(Purpose::Tail, &key, conditions.tail_chance) {
            return takes;
        }
        let tail = [key[0], key[1], key[2], copy, 1];
        takes + self.draws.duration(Purpose::Tail, &tail, Duration::ZERO, conditions.tail)
    }

    fn cut_by_phase(&self, from: usize, to: usize, label: &Label, rate: f64) -> bool {
        let of_protocol = matches!(
            label.kind,
            Kind::PrePrepare | Kind::Prepare | Kind::Commit | Kind::ViewChange | Kind::NewView
        );
        let phase = [label.kind as u64, label.view.0, label.number.0];
        if !of_protocol || !self.draws.chance(Purpose::PhaseCut, &phase, rate) {
            return false;
        }
        // Half of the cuts are the same for all senders, half are drawn for each of them.
        let shape = self.draws.bits(Purpose::PhaseCut, &[phase[0], phase[1], phase[2], 1]);
        let reached = if shape >> 63 == 0 {
            shape
        } else {
            self.draws.bits(Purpose::PhaseCut, &[phase[0], phase[1], phase[2], 2, from as u64])
        };
        reached >> to & 1 == 0
    }

    fn clogged_for(&self, now: Time, index: usize, way: u64, conditions: &Conditions) -> Duration {
        let mut until = self.links[index].clogged_until;
        let span = conditions.clog_for.as_micros() as u64;
        if conditions.clog > 0.0 && span > 0 {
            let which = now.0.as_micros() as u64 / span;
            if self.draws.chance(Purpose::Clog, &[way, which], conditions.clog) {
                until = until.max(Time(Duration::from_micros((which + 1) * span)));
            }
        }
        until.since(now)
    }

    fn leg(&mut self, index: usize, takes: Duration) -> Leg {
        self.copies += 1;
        Leg { takes, ticket: Ticket { id: self.copies, life: Some(self.links[index].life) } }
    }
}

#[cfg(test)]
mod tests;
