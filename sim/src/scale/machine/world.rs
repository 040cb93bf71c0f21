//! What the simulator does when a machine's work is over: the seam between [`Machine`] and [`World`].

use super::*;

impl World {
    /// Lets the processors' slices that have begun end in their time.
    fn run_cores(&mut self) {
        let Some(machine) = &mut self.machine else { return };
        for (lasts, slot) in std::mem::take(&mut machine.cores.begun) {
            self.schedule(lasts, Event::Slice(slot));
        }
    }

    /// A processor's slice is over.
    pub(crate) fn slice_over(&mut self, slot: usize) {
        let Some(machine) = &mut self.machine else { return };
        let then = machine.cores.over(slot);
        self.run_cores();
        if let Some(task) = then {
            self.then(task);
        }
    }

    fn on_machine(&mut self, act: impl FnOnce(&mut Machine)) {
        if let Some(machine) = &mut self.machine {
            act(machine);
        }
        self.run_cores();
    }

    /// A packet is to be sent; it takes `takes` from card to card.
    pub(crate) fn send_work(&mut self, parcel: Parcel, takes: Duration) {
        self.on_machine(|machine| machine.send(parcel, takes));
    }

    /// A packet has come so far that only the receiver's card is in its way.
    pub(crate) fn arrive_work(&mut self, parcel: Parcel) {
        let now = self.now;
        let Some(machine) = &mut self.machine else { return };
        let at = machine.links.receive(now, parcel.to, on_the_wire(parcel.packet.bytes()));
        if at > now {
            self.schedule_at(at, Event::Then(Task::Arrive(parcel)));
        } else {
            self.then(Task::Arrive(parcel));
        }
    }

    /// The vote is beyond the quorum that it was for: the node does not look at it any more.
    fn is_surplus(&self, body: usize, message: &Message) -> bool {
        self.bodies[body]
            .core
            .as_ref()
            .is_some_and(|core| Settled::of(&core.outline()).makes_surplus(message))
    }

    /// A candidate is to be checked.
    pub(crate) fn check_work(&mut self, body: usize, from: sbft::types::Place, candidate: Arc<Candidate>) {
        let incarnation = self.bodies[body].incarnation;
        let cause = self.trace.cause;
        self.on_machine(|machine| {
            let again = !machine.known[body].insert(candidate.digest);
            let sizes: Vec<usize> = candidate.envelopes.iter().map(bytes::Bytes::len).collect();
            let share = |sizes: &[usize]| machine.judge_us(sizes.len(), sizes.iter().sum());
            let small = candidate.encoding.len() <= SMALL_CANDIDATE;
            let shares: Vec<f64> = match (again, small) {
                // It is hashed, and known then.
                (true, _) => vec![machine.costs.encode.us(0, candidate.encoding.len())],
                (false, true) => vec![share(&sizes)],
                (false, false) => sizes.chunks(CHUNK).map(share).collect(),
            };
            let then = Task::Judged(Checked { body, incarnation, from, candidate, cause });
            if small {
                let us = shares.iter().sum();
                let lane = Some((HEAR_BULK, from.index()));
                machine.woken_work(body, lane, 0.0, &[(Part::Judge, us)], then);
            } else {
                machine.shares(body, Part::Judge, shares, then);
            }
        });
    }

    /// A batch was cut: its candidate is to be made.
    pub(crate) fn encode_work(&mut self, body: usize, candidate: Arc<Candidate>, config_sequence: u64) {
        let incarnation = self.bodies[body].incarnation;
        self.on_machine(|machine| {
            let bytes = candidate.encoding.len();
            let us = machine.costs.encode.us(candidate.envelopes.len(), bytes);
            // Each waits for those before it, wherever it is made.
            let lane = if bytes > LARGE_BATCH { ENCODE } else { PROTOCOL };
            let then = Task::Encoded(body, incarnation, candidate, config_sequence);
            machine.work(body, Some((lane, 0)), Part::Encode, us, then);
        });
    }

    /// A promise is to be signed.
    pub(crate) fn sign_work(&mut self, body: usize, promise: &Promise) {
        let incarnation = self.bodies[body].incarnation;
        let us = matches!(promise, Promise::Broadcast(_));
        self.on_machine(|machine| {
            let us = if us { machine.signature().sign_us } else { 0.0 };
            machine.work(body, Some((RELEASE, 0)), Part::Votes, us, Task::Signed(body, incarnation));
        });
    }

    /// An own message has left, and comes back.
    pub(crate) fn own_work(&mut self, body: usize, message: Verified<Message>, cause: u64) {
        let incarnation = self.bodies[body].incarnation;
        self.on_machine(|machine| {
            let us = machine.signature().check_us;
            let then = Task::Own(body, incarnation, Box::new(message), cause);
            machine.work(body, Some((RELEASE, 0)), Part::Votes, us, then);
        });
    }

    /// The log's records up to this position are to be written and synced.
    pub(crate) fn log_work(&mut self, body: usize, incarnation: u32, position: u64) {
        self.on_machine(|machine| {
            let (records, bytes, envelopes) = std::mem::take(&mut machine.records[body]);
            let log = &machine.costs.log;
            let us = log.append.us(records, bytes) + log.sync_cpu_us;
            let encode = machine.step("encode:record") * envelopes as f64;
            machine.charge(body, PROTOCOL, Part::Encode, encode);
            let then = Task::Sync(body, incarnation, position);
            machine.work(body, Some((LOG, 0)), Part::Log, us, then);
        });
    }

    /// A block is committed: it is to be appended to the ledger, and the intake has forgotten its envelopes.
    pub(crate) fn block_work(&mut self, body: usize, block: Arc<CommittedBlock>) {
        self.on_machine(|machine| {
            let bytes = block.data.iter().map(bytes::Bytes::len).sum();
            let committed = machine.step("intake:committed") * block.data.len() as f64;
            machine.charge(body, PROTOCOL, Part::Steps, committed);
            let encode = machine.step("encode:block") * block.data.len() as f64;
            let us = machine.costs.ledger.append.us(1, bytes) + encode;
            machine.work(body, Some((BLOCKS, 0)), Part::Ledger, us, Task::Written(body, block));
        });
    }

    /// Blocks wait for their sync from now on.
    pub(crate) fn block_sync_work(&mut self, body: usize, incarnation: u32, number: Number) {
        let interval = self.settings.block_sync.0;
        self.schedule(interval, Event::Then(Task::BlockSync(body, incarnation, number)));
    }

    /// A core or intake has dealt with a deadline.
    pub(crate) fn tick_work(&mut self, body: usize) {
        self.on_machine(|machine| {
            let us = machine.step("tick");
            machine.charge(body, PROTOCOL, Part::Steps, us);
        });
    }

    fn disk_work(&mut self, body: usize, ledger: bool, then: Task) {
        let draws = self.draws;
        let Some(machine) = &mut self.machine else { return };
        let disk = machine.disk(body);
        machine.synced += 1;
        let decile = draws.below(Purpose::Sync, &[body as u64, machine.synced], 9);
        let costs = if ledger { &machine.costs.ledger } else { &machine.costs.log };
        let lasts = costs.sync(machine.syncs[disk], decile);
        machine.syncs[disk] += 1;
        self.schedule(lasts, Event::Then(then));
    }

    fn disk_done(&mut self, body: usize) {
        if let Some(machine) = &mut self.machine {
            let disk = machine.disk(body);
            machine.syncs[disk] = machine.syncs[disk].saturating_sub(1);
        }
    }

    fn lives(&self, body: usize, incarnation: u32) -> bool {
        self.bodies[body].is_up() && self.bodies[body].incarnation == incarnation
    }

    /// What follows when something is over.
    pub(crate) fn then(&mut self, task: Task) {
        match task {
            Task::Nothing => {}
            Task::Leave(parcel, takes) => {
                let now = self.now;
                let bytes = on_the_wire(parcel.packet.bytes());
                let Some(machine) = &mut self.machine else { return };
                machine.sent_bytes[parcel.from] += bytes as u64;
                machine.sent += 1;
                let bulk = is_bulk(&parcel.packet);
                let left = machine.links.send(now, parcel.from, parcel.to, bytes, bulk, takes);
                self.schedule_at(left.after(takes), Event::Deliver(parcel));
            }
            Task::Arrive(parcel) => self.on_machine(|machine| machine.hear(parcel)),
            Task::Heard(parcel) => match &parcel.packet {
                Packet::Message(letter) if self.is_surplus(parcel.to, &letter.message) => {}
                Packet::Message(letter) => {
                    let signatures = signatures_in(&letter.message);
                    self.on_machine(|machine| machine.check(parcel, signatures));
                }
                _ => self.receive(parcel),
            },
            Task::Vouched(parcel) => {
                let Packet::Message(letter) = &parcel.packet else { return };
                let kind = meter::kind_of(&letter.message);
                self.on_machine(|machine| {
                    let (body, us) = (parcel.to, machine.step(kind));
                    machine.work(body, Some((PROTOCOL, 0)), Part::Steps, us, Task::Receive(parcel));
                });
            }
            Task::Receive(parcel) => self.receive(parcel),
            Task::Part(id, then) => {
                let Some(machine) = &mut self.machine else { return };
                let left = machine.parts.get(&id).copied().unwrap_or(1) - 1;
                if left > 0 {
                    machine.parts.insert(id, left);
                } else {
                    machine.parts.remove(&id);
                    self.then(*then);
                }
            }
            Task::Judged(checked) => self.on_machine(|machine| {
                let seen = machine.step("intake:seen") * checked.candidate.envelopes.len() as f64;
                let us = machine.step("candidate") + seen;
                machine.work(checked.body, Some((PROTOCOL, 0)), Part::Steps, us, Task::Told(checked));
            }),
            Task::Told(Checked { body, incarnation, from, candidate, cause }) => {
                self.dispatch(Event::Checked { body, incarnation, from, candidate, cause });
            }
            Task::Encoded(body, incarnation, candidate, config_sequence) => {
                if self.lives(body, incarnation) {
                    let us = self.machine.as_ref().map_or(0.0, |machine| machine.step("candidate"));
                    self.on_machine(|machine| machine.charge(body, PROTOCOL, Part::Steps, us));
                    self.send_own(body, candidate, config_sequence);
                }
            }
            Task::Signed(body, incarnation) => {
                if self.lives(body, incarnation) {
                    if let Some(machine) = &mut self.machine {
                        machine.may_leave[body] += 1;
                    }
                    self.release_and_feed(body);
                }
            }
            Task::Own(body, incarnation, message, cause) => {
                let kind = meter::kind_of(message.get());
                self.on_machine(|machine| {
                    let us = machine.step(kind);
                    let then = Task::OwnStep(body, incarnation, message, cause);
                    machine.work(body, Some((PROTOCOL, 0)), Part::Steps, us, then);
                });
            }
            Task::OwnStep(body, incarnation, message, cause) => {
                if self.lives(body, incarnation) {
                    self.trace.cause = cause;
                    let from = self.bodies[body].place;
                    self.feed(body, Input::Message { from, message: *message });
                }
            }
            Task::Sync(body, incarnation, position) => {
                self.disk_work(body, false, Task::Synced(body, incarnation, position));
            }
            Task::Synced(body, incarnation, position) => {
                self.disk_done(body);
                // The release task hears of it.
                self.on_machine(|machine| machine.charge(body, RELEASE, Part::Wakes, machine.wake_us(body)));
                self.dispatch(Event::SyncDone { body, incarnation, position });
            }
            Task::BlockSync(body, incarnation, number) => {
                let us = self.machine.as_ref().map_or(0.0, |machine| machine.costs.ledger.sync_cpu_us);
                self.on_machine(|machine| machine.charge(body, BLOCKS, Part::Ledger, us));
                self.disk_work(body, true, Task::BlockSynced(body, incarnation, number));
            }
            Task::BlockSynced(body, incarnation, number) => {
                self.disk_done(body);
                self.on_machine(|machine| {
                    let us = machine.step("durable");
                    let then = Task::Durable(body, incarnation, number);
                    machine.work(body, Some((PROTOCOL, 0)), Part::Steps, us, then);
                });
            }
            Task::Durable(body, incarnation, number) => {
                self.dispatch(Event::BlockSyncDone { body, incarnation, number });
            }
            other => self.then_clients(other),
        }
    }

    /// The same, of what concerns clients.
    fn then_clients(&mut self, task: Task) {
        let now = self.now;
        match task {
            Task::Due => {
                let index = self.workload.submit_unnamed();
                let Some(machine) = &mut self.machine else { return };
                let next = machine.clients.sends(now, index);
                let lane = (machine.n, INGEST, machine.clients.via(index));
                let mut us = machine.costs.client.us(1, machine.clients.bytes);
                if machine.cores.is_idle(&lane) {
                    us += machine.costs.client_wake_us;
                }
                machine.client_spent += micros_of(us);
                let set = if let Sharing::One(_) = machine.sharing { 0 } else { machine.n };
                machine.cores.submit(set, Some(lane), micros_of(us), Task::Sent(index));
                self.run_cores();
                if let Some(next) = next {
                    self.schedule_at(next, Event::Then(Task::Due));
                }
            }
            Task::Sent(index) => {
                let Some(machine) = &self.machine else { return };
                let (way, body) = (machine.links.client, machine.clients.via(index));
                self.schedule(way, Event::Then(Task::Ingest(body, index)));
            }
            Task::Ingest(body, index) => self.on_machine(|machine| {
                let us = machine.costs.ingest.us(1, machine.clients.bytes);
                let (lane, wake_us) = (Some((INGEST, 0)), machine.costs.ingest_wake_us);
                machine.woken_work(body, lane, wake_us, &[(Part::Ingest, us)], Task::Read(body, index));
            }),
            Task::Read(body, index) => {
                let Some(machine) = &mut self.machine else { return };
                machine.waiting[body].0.push_back(index);
                self.judge_waiting(body);
            }
            Task::Ready(body, batch) => {
                self.on_machine(|machine| {
                    machine.waiting[body].1 = false;
                    let us = machine.step("intake:envelope") * batch.len() as f64;
                    machine.work(body, Some((PROTOCOL, 0)), Part::Steps, us, Task::Order(body, batch));
                });
                self.judge_waiting(body);
            }
            Task::Order(body, batch) => {
                let place = self.bodies[body].place;
                for index in batch {
                    self.submit(place, index, 0);
                }
            }
            Task::Written(body, block) => {
                let Some(machine) = &self.machine else { return };
                if machine.clients.reads(body) {
                    let way = machine.links.client;
                    self.schedule(way, Event::Then(Task::Seen(body, block)));
                }
            }
            Task::Seen(body, block) => {
                let Some(machine) = &mut self.machine else { return };
                let again = machine.clients.sees(now, body, block.data.iter().filter_map(index_of));
                for _ in 0..again {
                    self.schedule(Duration::ZERO, Event::Then(Task::Due));
                }
            }
            _ => {}
        }
    }

    /// Judges the envelopes that wait at a body, unless it is at it.
    fn judge_waiting(&mut self, body: usize) {
        self.on_machine(|machine| {
            let (waiting, judging) = &mut machine.waiting[body];
            if *judging || waiting.is_empty() {
                return;
            }
            *judging = true;
            let batch: Vec<u64> = waiting.drain(..waiting.len().min(TAKEN_AT_ONCE)).collect();
            let bytes = machine.clients.bytes;
            if batch.len() <= JUDGED_IN_PLACE {
                let us = machine.admit_us(batch.len(), batch.len() * bytes);
                let then = Task::Ready(body, batch);
                return machine.woken_work(body, Some((INGEST, 0)), 0.0, &[(Part::Admit, us)], then);
            }
            let processors = match machine.sharing {
                Sharing::One(processors) | Sharing::Each(processors) => processors,
            };
            let (least, most) = JUDGED_TOGETHER;
            let share = batch.len().div_ceil(processors.max(1)).clamp(least, most);
            let us = |chunk: &[u64]| machine.admit_us(chunk.len(), chunk.len() * bytes);
            let shares = batch.chunks(share).map(us).collect();
            machine.shares(body, Part::Admit, shares, Task::Ready(body, batch));
        });
    }

    /// Starts the clients.
    pub(in crate::scale) fn start_clients(&mut self) {
        let Some(machine) = &self.machine else { return };
        for at in machine.clients.first() {
            self.schedule_at(at, Event::Then(Task::Due));
        }
    }
}
