//! Committed blocks: appended, synced, and the log compacted behind them.

use std::sync::Arc;
use std::time::Instant;

use sbft::intake::IntakeInput;
use sbft::pbft::Input;
use sbft::types::Number;

use crate::draw::Purpose;
use crate::trace::What;
use crate::world::{Event, World};

impl World {
    pub(super) fn commit(&mut self, body: usize, block: Arc<sbft::types::CommittedBlock>) {
        self.trace.event(self.now, Some(body), || What::append(&block, &self.workload));
        let verdict = self.checks.committed(&self.bodies[body], &block, &self.workload);
        self.fail(verdict);
        let state = &mut self.bodies[body];
        let now = state.local(self.now);
        let committed = IntakeInput::Committed(block.clone());
        let begun = self.meter.as_ref().map(|_| Instant::now());
        state.intake.step(now, committed, &mut state.intake_outputs);
        if let (Some(meter), Some(begun)) = (&mut self.meter, begun) {
            meter.add("intake:committed", block.data.len(), begun);
            let begun = Instant::now();
            std::hint::black_box(sbft::wire::block::encode(&block));
            meter.add("encode:block", block.data.len(), begun);
        }
        let for_the_machine = self.machine.is_some().then(|| block.clone());
        if let Err(error) = state.store.append(block) {
            return self.stop(body, error.to_string());
        }
        if !state.block_sync_running {
            self.begin_block_sync(body);
        }
        if let Some(block) = for_the_machine {
            self.block_work(body, block);
        }
    }

    pub(super) fn begin_block_sync(&mut self, body: usize) {
        let (low, high) = self.settings.block_sync;
        let state = &mut self.bodies[body];
        state.block_sync_running = true;
        let number = state.store.last();
        let incarnation = state.incarnation;
        if self.machine.is_some() {
            return self.block_sync_work(body, incarnation, number);
        }
        let key = [body as u64, u64::from(incarnation), number.0];
        let delay = self.draws.duration(Purpose::BlockSync, &key, low, high) + self.slow_disk(body);
        self.schedule(delay, Event::BlockSyncDone { body, incarnation, number });
    }

    pub(crate) fn blocks_synced(&mut self, body: usize, number: Number) {
        let state = &mut self.bodies[body];
        state.block_sync_running = false;
        let synced = state.store.sync();
        self.trace.cause =
            self.trace.event_from(0, self.now, Some(body), || What::BlockSync { number: number.0 });
        // What was appended meanwhile is synced with the rest.
        let number = match synced {
            Ok(number) => number,
            Err(error) => return self.stop(body, error.to_string()),
        };
        self.feed(body, Input::BlocksDurable(number));
        if !self.bodies[body].is_up() {
            return;
        }
        let key = [body as u64, u64::from(self.bodies[body].incarnation), number.0];
        if self.draws.chance(Purpose::Compact, &key, self.settings.compact_rate) {
            self.compact(body, &key);
        }
        if self.bodies[body].is_up() && self.bodies[body].store.unsynced() > 0 {
            self.begin_block_sync(body);
        }
    }

    /// Writes the live records into a new segment and drops the older ones, or dies half-way.
    pub(super) fn compact(&mut self, body: usize, key: &[u64]) {
        let Some(core) = &self.bodies[body].core else { return };
        let live = core.live_records();
        let durable = self.bodies[body].store.durable();
        let (dies, down_for) = self.point(body);
        if dies {
            let at = self.draws.below(Purpose::Torn, key, 12);
            self.bodies[body].log.compact_torn(&live, durable, at);
            return self.crash_for(body, down_for);
        }
        self.trace.event(self.now, Some(body), || What::Compact { records: live.len() });
        if let Err(error) = self.bodies[body].log.compact(live, durable) {
            return self.stop(body, error.to_string());
        }
        let verdict = self.checks.disk_changed(&self.bodies[body]);
        self.fail(verdict);
        let mut inputs = std::mem::take(&mut self.input_buffer);
        if self.release(body, &mut inputs) {
            self.feed_all(body, inputs);
        }
    }
}
