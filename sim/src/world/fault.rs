//! What happens to the network or a replica from outside, and the carrying out of it.

use std::rc::Rc;
use std::time::Duration;

use sbft::types::{Number, View};

use super::{Event, World};
use crate::disk::DiskFault;
use crate::network::{Conditions, Delay, Kind, Partition, Shape};
use crate::trace::What;

/// Something that happens to the network or a replica from outside.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Links from these bodies to those (masks) carry nothing.
    Cut(u64, u64),
    /// Links from these bodies to those carry again.
    Mend(u64, u64),
    /// Both ends notice that their link is gone.
    LinkDown(usize, usize),
    /// Both ends notice that their link is back.
    LinkUp(usize, usize),
    /// A body dies.
    Crash(usize),
    /// A body dies and comes back after this long.
    CrashFor(usize, Duration),
    /// A dead body comes back.
    Restart(usize),
    /// A body dies and loses its log and its blocks.
    Wipe(usize),
    /// Something goes wrong with a body's disk, until the network heals.
    Disk(usize, DiskFault),
    /// Packets fare like this from now on.
    Conditions(Box<Conditions>),
    /// Packets from these bodies to those (masks) fare like this from now on, or like all others.
    LinkConditions(u64, u64, Option<Box<Conditions>>),
    /// A partition begins, and ends by itself.
    Partition(Box<Partition>),
    /// The connection of two bodies breaks: what is under way is lost, both notice, and it is
    /// back after this time.
    Reset(usize, usize, Duration),
    /// What these bodies send to those (masks) arrives only when this time is over.
    Clog(u64, u64, Duration),
    /// A body's clock runs so many millionths too fast (too slow if negative).
    ClockRate(usize, i32),
    /// A body's clock changes its rate at each of these intervals, by at most so many millionths
    /// in either direction, until the network heals.
    ClockDrift(usize, u32, Duration),
    /// A body's wall time jumps by so many milliseconds.
    WallJump(usize, i64),
    /// A body does nothing for this long; then it handles at once whatever has come meanwhile.
    Pause(usize, Duration),
    /// The network behaves from now on and the dead come back; liars go on lying.
    Heal,
}

impl Fault {
    /// The same with no body in its masks that there is not.
    #[must_use]
    pub fn among(mut self, bodies: usize) -> Self {
        let all = u64::MAX >> (64 - bodies.clamp(1, 64));
        match &mut self {
            Self::Cut(from, to)
            | Self::Mend(from, to)
            | Self::LinkConditions(from, to, _)
            | Self::Clog(from, to, _) => {
                *from &= all;
                *to &= all;
            }
            Self::Partition(partition) => match &mut partition.shape {
                Shape::Split { groups, .. } => groups.iter_mut().for_each(|group| *group &= all),
                Shape::Isolate(mask) | Shape::Swizzle(mask) => *mask &= all,
                Shape::OneWay { from, to } => {
                    *from &= all;
                    *to &= all;
                }
                Shape::Bridge { left, .. } => *left &= all,
                Shape::Ring => {}
            },
            _ => {}
        }
        self
    }
}

/// A crash at the moment when a body is about to send something, or just after.
#[derive(Clone, Debug)]
pub struct CrashWhen {
    /// Which body.
    pub body: usize,
    /// What it sends.
    pub kind: Kind,
    /// In which view; none for any.
    pub view: Option<View>,
    /// For which number; none for any.
    pub number: Option<Number>,
    /// After it has sent it to all, and not before.
    pub after: bool,
    /// How long it stays down, if that is not to be drawn.
    pub down_for: Option<Duration>,
}

impl World {
    pub(super) fn fault(&mut self, fault: Fault) {
        self.trace.cause = self.trace.event_from(0, self.now, None, || {
            let names: Vec<String> =
                (0..self.bodies.len()).map(|body| crate::trace::body(&self.bodies, body)).collect();
            What::fault(&fault, &names)
        });
        match fault {
            Fault::Cut(from, to) => self.network.cut(from, to),
            Fault::Mend(from, to) => self.network.mend(from, to),
            Fault::LinkDown(one, other) => self.link(one, other, false),
            Fault::LinkUp(one, other) => self.link(one, other, true),
            Fault::Crash(body) => self.crash(body),
            Fault::CrashFor(body, down_for) => self.crash_for(body, Some(down_for)),
            Fault::Restart(body) => {
                if !self.bodies[body].is_up() && self.bodies[body].failed.is_none() {
                    self.boot(body);
                }
            }
            Fault::Wipe(body) => self.wipe(body),
            Fault::Disk(body, fault) => self.spoil_disk(body, fault),
            Fault::Conditions(conditions) => self.network.conditions = Rc::new(*conditions),
            Fault::LinkConditions(from, to, conditions) => {
                self.network.set_links(from, to, conditions.map(|conditions| *conditions));
            }
            Fault::Partition(partition) => self.part(*partition),
            Fault::Reset(one, other, down) => self.reset(one, other, down),
            Fault::Clog(from, to, lasts) => self.network.clog(from, to, self.now.after(lasts)),
            Fault::ClockRate(body, ppm) => self.set_clock_rate(body, ppm),
            Fault::ClockDrift(body, most, every) => self.drift(body, most, every),
            Fault::WallJump(body, millis) => self.jump_wall(body, millis),
            Fault::Pause(body, lasts) => self.pause(body, lasts),
            Fault::Heal => self.heal(),
        }
    }

    /// Tells both ends of a link that it came up or went down.
    pub fn link(&mut self, one: usize, other: usize, up: bool) {
        for (body, peer) in [(one, other), (other, one)] {
            let peer = self.bodies[peer].place;
            if self.bodies[body].is_up() && self.bodies[body].place != peer {
                self.dispatch(Event::Link { body, peer, up });
            }
        }
    }

    /// From here on the network delivers everything in time and the dead come back, also those
    /// whose disk was full or failed to sync or to read. Liars go on.
    pub fn heal(&mut self) {
        self.healed = true;
        self.mend_disks();
        self.checks.healed();
        let least = self.settings.conditions.delay.least().min(Duration::from_millis(5));
        // A network on which every packet takes the same time stays like that.
        let delay = match self.settings.conditions.delay {
            Delay::Constant(_) => Delay::Constant(least),
            _ => Delay::Exponential { least, mean: Duration::from_millis(1) },
        };
        self.network.heal(Conditions::clean(delay));
        for body in 0..self.bodies.len() {
            self.resume(body);
        }
        for body in 0..self.bodies.len() {
            if !self.bodies[body].is_up()
                && self.bodies[body].failed.is_none()
                && !self.bodies[body].liar.as_ref().is_some_and(|liar| liar.is_dead())
            {
                self.boot(body);
            }
        }
        for one in 0..self.bodies.len() {
            for other in 0..one {
                self.link(one, other, true);
            }
        }
    }
}
