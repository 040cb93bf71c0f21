//! How a body starts from its disk, dies, and stops for good.

use std::time::Duration;

use sbft::disk::MemoryDisk;
use sbft::intake::Intake;
use sbft::pbft::{Input, Replica, Role};

use super::guarded;
use crate::checks;
use crate::disk::{BlockStore, Log, add_wrongs};
use crate::draw::Purpose;
use crate::trace::What;
use crate::violation::{Class, Violation};
use crate::world::{Event, World, intake_config};

impl World {
    /// A body starts, or starts again, from what its disk holds.
    pub(crate) fn boot(&mut self, body: usize) {
        let draws = self.draws;
        let state = &mut self.bodies[body];
        state.incarnation += 1;
        let key = [body as u64, u64::from(state.incarnation)];
        let shows = Duration::from_micros(draws.below(Purpose::Clock, &key, 10_000_000));
        state.clock.restart(self.now, shows);
        state.tick = None;
        state.syncing = None;
        state.block_sync_running = false;
        state.intake_outputs.clear();
        state.released.clear();
        state.stalled.clear();
        let mut config = self.settings.config.clone();
        config.me = state.place;
        let opened = state.store.open(config.domain.genesis).and_then(|()| {
            let opened = state.log.open(state.place, state.store.height(), state.marked_new);
            opened.map_err(|refusal| refusal.to_string())
        });
        let (role, records) = match opened {
            Ok(opened) => opened,
            Err(reason) => {
                let verdict = self.checks.refused(&self.bodies[body], &reason);
                self.fail(verdict);
                self.bodies[body].fate.refused.push(reason.clone());
                return self.stay_down(body, reason);
            }
        };
        if let Err(violation) = checks::rot_noticed(state) {
            return self.fail(Err(violation));
        }
        let state = &mut self.bodies[body];
        state.marked_new = false;
        state.role = role;
        config.role = state.role.clone();
        let tip = state.store.tip(config.domain.genesis, config.dedup);
        let records = match self.encodings.record {
            None => records,
            Some(through) => match records.iter().map(through.0).collect() {
                Ok(records) => records,
                Err(text) => {
                    let text = format!("a log record does not survive its encoding: {text}");
                    return self.fail(Err(Violation::new(Class::Safety, "encoding", text)));
                }
            },
        };
        let local = state.local(self.now);
        let mut outputs = std::mem::take(&mut self.output_buffer);
        self.trace.cause = self
            .trace
            .event(self.now, Some(body), || What::Start { number: tip.number.0, records: records.len() });
        let number = tip.number;
        let place = self.bodies[body].place;
        self.bodies[body].intake = Intake::new(intake_config(&self.settings, place), tip.recent.clone());
        let lies = self.bodies[body].lies();
        let recovered = guarded(lies, || Replica::recover(config, tip, records, local, &mut outputs));
        let Some(core) = recovered else {
            self.output_buffer = Vec::new();
            self.kill_liar(body);
            return;
        };
        let verdict = self.checks.recovered(body, &self.bodies[body], &core);
        self.bodies[body].core = Some(Box::new(core));
        self.fail(verdict);
        let mut inputs = std::mem::take(&mut self.input_buffer);
        let alive = self.carry_out(body, &mut outputs, &mut inputs);
        outputs.clear();
        self.output_buffer = outputs;
        if !alive {
            return;
        }
        // What recovery read is on disk: the real driver syncs the block store when it opens it.
        inputs.push_back((0, Input::BlocksDurable(number)));
        self.feed_all(body, inputs);
        for peer in 0..self.bodies.len() {
            if peer != body && self.bodies[peer].is_up() {
                self.link(body, peer, true);
            }
        }
    }

    /// A body dies: what was not synced is lost, or some of it.
    pub(crate) fn crash(&mut self, body: usize) {
        self.crash_for(body, None);
    }

    /// The same, and when it comes back, if that is not to be drawn.
    pub(crate) fn crash_for(&mut self, body: usize, down_for: Option<Duration>) {
        if !self.bodies[body].is_up() {
            return;
        }
        self.checks.crashes(&self.bodies[body]);
        let draws = self.draws;
        let state = &mut self.bodies[body];
        let key = [body as u64, u64::from(state.incarnation), state.ordinal];
        let of = (state.log.unsynced(), state.log.len(), state.store.unsynced(), state.store.last());
        let mut count = 0;
        let mut dice = |bound: u64| {
            count += 1;
            draws.below(Purpose::Torn, &[key[0], key[1], key[2], count], bound)
        };
        state.log.down(state.syncing.take(), &mut dice);
        state.store.down();
        state.disk.crash(&mut dice);
        let torn = [state.log.find(), state.store.find()];
        let torn = torn.into_iter().filter(|bytes| *bytes > 0).count() as u64;
        if torn > 0 {
            *self.toll.entry("torn-tail").or_default() += torn;
        }
        let state = &self.bodies[body];
        let records = (of.0 + state.log.len()).saturating_sub(of.1);
        let blocks = (of.2 + state.store.last().0 as usize).saturating_sub(of.3.0 as usize);
        self.trace.cause = self.trace.event(self.now, Some(body), || What::Crash {
            records,
            of_records: of.0,
            blocks,
            of_blocks: of.2,
        });
        self.down(body);
        if self.bodies[body].lies() {
            let log = self.bodies[body].log.records();
            if let Some(Some(other)) = self.on_stage(body, |liar, stage| liar.after_crash(stage, log)) {
                self.bodies[body].log.replace(&other);
            }
        }
        if self.settings.restarts || down_for.is_some() {
            let (low, high) = self.settings.restart;
            let delay = down_for.unwrap_or_else(|| draws.duration(Purpose::Restart, &key, low, high));
            self.schedule(delay, Event::Fault(crate::world::Fault::Restart(body)));
        }
    }

    /// A body dies and its disk is replaced by an empty one that nobody marked as new: from here
    /// on it follows.
    pub(crate) fn wipe(&mut self, body: usize) {
        self.crash(body);
        let (domain, n) = (self.settings.config.domain, self.settings.n);
        let state = &mut self.bodies[body];
        add_wrongs(&mut self.toll, &state.disk);
        state.disk = MemoryDisk::new();
        state.log = Log::new(state.disk.clone(), domain, n).planted(self.settings.config.plants);
        state.store = BlockStore::new(state.disk.clone(), n);
        state.marked_new = false;
        // Whatever was wrong with the old disk is gone with it.
        let was_stopped = state.failed.take().is_some();
        state.damaged = false;
        state.rotted = None;
        state.suspect_disk = false;
        state.slow_disk = Duration::ZERO;
        self.bodies[body].role = Role::Follower("its log is empty and nobody marked it as new".to_owned());
        let place = self.bodies[body].place;
        self.trace.event(self.now, Some(body), || What::Wipe);
        self.checks.wiped(place);
        if was_stopped {
            let (low, high) = self.settings.restart;
            let key = [body as u64, u64::from(self.bodies[body].incarnation)];
            let delay = self.draws.duration(Purpose::Restart, &key, low, high);
            self.schedule(delay, Event::Fault(crate::world::Fault::Restart(body)));
        }
    }

    /// A body stops because its disk failed it, or does not start: it stays down until somebody
    /// gives it another disk.
    pub(crate) fn stop(&mut self, body: usize, reason: String) {
        self.bodies[body].fate.stopped.push(reason.clone());
        self.stay_down(body, reason);
    }

    pub(super) fn stay_down(&mut self, body: usize, reason: String) {
        self.trace.event(self.now, Some(body), || What::Stopped { reason: reason.clone() });
        self.check_stop(body, &reason);
        let state = &mut self.bodies[body];
        state.syncing = None;
        state.log.down(None, &mut |_| 0);
        state.store.down();
        state.disk.kill();
        state.failed = Some(reason);
        if self.bodies[body].is_up() {
            self.down(body);
        }
    }

    pub(super) fn down(&mut self, body: usize) {
        let state = &mut self.bodies[body];
        state.core = None;
        state.incarnation += 1;
        state.outbox.clear();
        state.binding = 0;
        state.held.clear();
        state.unread.clear();
        state.frozen = None;
        let place = state.place;
        self.checks.went_down(place);
        for peer in 0..self.bodies.len() {
            if peer != body && self.bodies[peer].is_up() {
                self.link(body, peer, false);
            }
        }
    }

    pub(super) fn kill_liar(&mut self, body: usize) {
        self.trace.event(self.now, Some(body), || What::Stumbled);
        if let Some(liar) = &mut self.bodies[body].liar {
            liar.dies();
        }
        self.bodies[body].frozen = None;
        self.bodies[body].core = None;
        self.bodies[body].incarnation += 1;
    }
}
