//! Liars: real cores with attacks between them and everybody else.
//!
//! A liar runs the real protocol, which keeps it close to the state of the others, holds its own
//! key and nobody else's, and lies by named attacks that combine ([`catalogue()`]). It never makes
//! an honest replica's signature: it can only choose whom to tell what, when, and sign
//! contradictions itself. An attack implements [`Attack`]; what it may use is a [`Stage`]; when it
//! may act is a [`Trigger`].

mod attack;
mod bodies;
mod catalogue;
mod collude;
mod floods;
mod goals;
mod known;
mod primary;
mod spec;
mod stage;
mod transfer;
mod views;
mod votes;

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sbft::pbft::Record;
use sbft::types::{Number, Place};

use crate::draw::mix;
use crate::network::{Kind, Label, Letter, Packet};

pub use attack::{Act, Attack};
pub use catalogue::{AttackInfo, Family, catalogue, find};
pub use known::Knowledge;
pub use spec::{AttackSpec, Span, Trigger};
pub use stage::Stage;
pub(crate) use stage::{Left, Wish};

use spec::Occasion;

/// An attack at work.
struct Running {
    name: String,
    when: Trigger,
    against: Vec<Place>,
    attack: Box<dyn Attack>,
    salt: u64,
    /// Its place among the liar's attacks.
    index: usize,
    acted: u64,
}

/// A liar and what it remembers.
pub struct Liar {
    me: Place,
    specs: Vec<AttackSpec>,
    attacks: Vec<Running>,
    dead: bool,
    known: Knowledge,
}

impl fmt::Debug for Liar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.attacks.iter().map(|running| &running.name).collect();
        write!(f, "liar {} {names:?}", self.me)
    }
}

impl Liar {
    /// A liar at `me` that runs its core and no attack yet.
    pub fn honest_so_far(me: Place) -> Self {
        Self { me, specs: Vec::new(), attacks: Vec::new(), dead: false, known: Knowledge::default() }
    }

    /// A liar at `me` with these attacks of the catalogue. An error says which name or trigger is
    /// wrong, and what to write instead.
    pub fn of(me: Place, specs: &[AttackSpec]) -> Result<Self, String> {
        let mut liar = Self::honest_so_far(me);
        for spec in specs {
            let info = find(&spec.name).ok_or_else(|| catalogue::no_such(&spec.name))?;
            let Some(make) = info.make else {
                return Err(format!("the attack \"{}\" cannot be run: {}", info.name, info.explain));
            };
            if let Some(fault) = spec.when.fault() {
                return Err(format!("the attack \"{}\": in `when`, {fault}", spec.name));
            }
            liar.add(info.name, make(), spec.when.clone(), spec.against.clone());
            liar.specs.push(spec.clone());
        }
        Ok(liar)
    }

    /// A second body shares its key: that is the attack `twins`.
    pub(crate) fn has_a_twin(&mut self) {
        if !self.has("twins") {
            self.add("twins", bodies::twins(), Trigger::default(), Vec::new());
            self.specs.push(AttackSpec::named("twins"));
        }
    }

    /// One more attack, of the catalogue or one's own.
    pub fn add(&mut self, name: &str, attack: Box<dyn Attack>, when: Trigger, against: Vec<Place>) {
        let salt = name.bytes().fold(u64::from(self.me.0), |hash, byte| mix(hash, u64::from(byte)));
        let index = self.attacks.len();
        self.attacks.push(Running { name: name.to_owned(), when, against, attack, salt, index, acted: 0 });
    }

    /// The same liar again, for a second body with the same key.
    pub(crate) fn again(&self) -> Self {
        Self::of(self.me, &self.specs).expect("these attacks were found before")
    }

    /// Whose key it holds.
    pub fn place(&self) -> Place {
        self.me
    }

    /// Its attacks by name, with how often each has really acted.
    pub fn acted(&self) -> impl Iterator<Item = (&str, u64)> {
        self.attacks.iter().map(|running| (running.name.as_str(), running.acted))
    }

    /// The name of its attack of this index.
    pub(crate) fn attack_name(&self, index: usize) -> &str {
        self.attacks.get(index).map_or("", |running| &running.name)
    }

    /// It has this attack.
    pub fn has(&self, name: &str) -> bool {
        self.attacks.iter().any(|running| running.name == name)
    }

    /// Its own core stumbled over its lies; it says nothing any more.
    pub fn dies(&mut self) {
        self.dead = true;
    }

    /// Its own core stumbled.
    pub fn is_dead(&self) -> bool {
        self.dead
    }

    pub(crate) fn take_known(&mut self) -> Knowledge {
        std::mem::take(&mut self.known)
    }

    pub(crate) fn give_known(&mut self, known: Knowledge) {
        self.known = known;
    }

    /// Something arrived. False when its core is not to know.
    pub(crate) fn hear(&mut self, stage: &mut Stage<'_>, from: Place, packet: &Packet) -> bool {
        match packet {
            Packet::Message(letter) if letter.good.is_err() => {}
            Packet::WantCandidates(digests) => {
                for digest in digests {
                    if let Some(candidate) = stage.known.stock.get(digest).cloned() {
                        stage.send(from, Packet::Repair(candidate));
                    }
                }
            }
            packet => {
                let genesis = stage.genesis();
                stage.known.learn(self.me, packet, &genesis);
            }
        }
        let mut heard = true;
        for running in &mut self.attacks {
            if running.begins(stage, Some(packet.label())) {
                let lets = running.attack.hear(stage, from, packet);
                running.ends(stage, u64::from(!lets));
                heard &= lets;
            }
        }
        heard
    }

    /// Its core says `letter` to `to`; what it really says.
    pub(crate) fn say(&mut self, stage: &mut Stage<'_>, letter: &Rc<Letter>, to: &[Place]) -> Vec<Act> {
        let packet = Packet::Message(letter.clone());
        let genesis = stage.genesis();
        stage.known.learn(self.me, &packet, &genesis);
        let mut acts: Vec<Act> = to
            .iter()
            .map(|place| Act { to: *place, delay: Duration::ZERO, packet: packet.clone() })
            .collect();
        for running in &mut self.attacks {
            if running.begins(stage, Some(letter.label)) {
                let before = acts.clone();
                running.attack.say(stage, letter, &mut acts);
                running.ends(stage, u64::from(differ(&before, &acts)));
            }
        }
        acts
    }

    /// Its core sends anything else to one replica; what it really sends.
    pub(crate) fn post(&mut self, stage: &mut Stage<'_>, to: Place, packet: Packet) -> Vec<Act> {
        let label = packet.label();
        if matches!(packet, Packet::Candidate(_)) {
            let genesis = stage.genesis();
            stage.known.learn(self.me, &packet, &genesis);
        }
        let mut acts = vec![Act { to, delay: Duration::ZERO, packet: packet.clone() }];
        for running in &mut self.attacks {
            if running.begins(stage, Some(label)) {
                let before = acts.clone();
                running.attack.post(stage, &packet, &mut acts);
                running.ends(stage, u64::from(differ(&before, &acts)));
            }
        }
        acts
    }

    /// Now and then it does something by itself.
    pub(crate) fn wake(&mut self, stage: &mut Stage<'_>) {
        if stage.others().is_empty() {
            return;
        }
        for running in &mut self.attacks {
            if running.begins(stage, None) {
                running.attack.wake(stage);
                running.ends(stage, 0);
            }
        }
    }

    /// It crashed. What it starts again from, if that is not the log it had.
    pub(crate) fn after_crash(&mut self, stage: &mut Stage<'_>, mut log: Vec<Record>) -> Option<Vec<Record>> {
        let before = log.len();
        for running in &mut self.attacks {
            if running.begins(stage, None) {
                let held = log.len();
                running.attack.after_crash(stage, &mut log);
                running.ends(stage, u64::from(held != log.len()));
            }
        }
        (log.len() != before).then_some(log)
    }
}

impl Running {
    /// Whether it may act now; sets the stage for it.
    fn begins(&self, stage: &mut Stage<'_>, label: Option<Label>) -> bool {
        if !self.when.is_always() {
            let own = || (stage.view(), stage.next_number());
            let (view, number) = match label {
                Some(label) if is_of_a_view(label.kind) => (label.view, number_of(&label, stage)),
                _ => own(),
            };
            let kind = label.map(|label| label.kind);
            let occasion = Occasion { now: stage.now, view, number, kind, who: self.salt };
            if !self.when.holds(stage.draws, occasion) {
                return false;
            }
        }
        stage.against.clone_from(&self.against);
        stage.salt = self.salt;
        stage.count = 0;
        true
    }

    fn ends(&mut self, stage: &mut Stage<'_>, changed: u64) {
        // What it changed and what it sent may be the same thing: it counts once.
        let times = changed.max(stage.count);
        self.acted += times;
        if times > 0 {
            stage.lies.push((self.index, times));
        }
    }
}

fn is_of_a_view(kind: Kind) -> bool {
    matches!(kind, Kind::PrePrepare | Kind::Prepare | Kind::Commit | Kind::ViewChange | Kind::NewView)
}

fn number_of(label: &Label, stage: &Stage<'_>) -> Number {
    match label.kind {
        Kind::PrePrepare | Kind::Prepare | Kind::Commit => label.number,
        _ => stage.next_number(),
    }
}

/// Something other than before is sent.
fn differ(before: &[Act], after: &[Act]) -> bool {
    before.len() != after.len()
        || before.iter().zip(after).any(|(one, other)| {
            one.to != other.to || one.delay != other.delay || !same(&one.packet, &other.packet)
        })
}

fn same(one: &Packet, other: &Packet) -> bool {
    match (one, other) {
        (Packet::Message(one), Packet::Message(other)) => Rc::ptr_eq(one, other),
        (Packet::Candidate(one), Packet::Candidate(other)) | (Packet::Repair(one), Packet::Repair(other)) => {
            Arc::ptr_eq(one, other)
        }
        (Packet::WantCandidates(one), Packet::WantCandidates(other)) => one == other,
        (Packet::WantBlocks(a, b), Packet::WantBlocks(c, d)) => (a, b) == (c, d),
        (Packet::Blocks(one), Packet::Blocks(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| Arc::ptr_eq(one, other))
        }
        _ => false,
    }
}

/// How often each attack of these liars has really acted.
pub(crate) fn acted_by(
    liars: impl Iterator<Item = impl std::ops::Deref<Target = Liar>>,
) -> BTreeMap<String, u64> {
    let mut acted = BTreeMap::new();
    for liar in liars {
        for (name, times) in liar.acted() {
            *acted.entry(name.to_owned()).or_default() += times;
        }
    }
    acted
}

/// An attack that only bends what its core says: a function.
pub(super) struct Bend(pub(super) fn(&mut Stage<'_>, &Letter, &mut Vec<Act>));

impl fmt::Debug for Bend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bends what its core says")
    }
}

impl Attack for Bend {
    fn say(&mut self, stage: &mut Stage<'_>, letter: &Letter, acts: &mut Vec<Act>) {
        (self.0)(stage, letter, acts);
    }
}

/// An attack that bends blocks, candidates and requests: a function.
pub(super) struct Repack(pub(super) fn(&mut Stage<'_>, &Packet, &mut Vec<Act>));

impl fmt::Debug for Repack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bends what its core hands out")
    }
}

impl Attack for Repack {
    fn post(&mut self, stage: &mut Stage<'_>, packet: &Packet, acts: &mut Vec<Act>) {
        (self.0)(stage, packet, acts);
    }
}

/// An attack that acts by itself, every 25 ms: a function.
pub(super) struct Alone(pub(super) fn(&mut Stage<'_>));

impl fmt::Debug for Alone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("acts by itself")
    }
}

impl Attack for Alone {
    fn wake(&mut self, stage: &mut Stage<'_>) {
        (self.0)(stage);
    }
}

/// Sends this instead of what the core said.
fn instead(acts: &mut [Act], packet: &Packet) {
    for act in acts {
        act.packet = packet.clone();
    }
}

#[cfg(test)]
mod tests;
