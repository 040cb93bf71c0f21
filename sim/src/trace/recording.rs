//! A whole run as its events tell it: what pictures, transcripts and comparisons are made from.

use std::io::{self, BufRead, Write};

use sbft::pbft::Role;
use sbft::types::Time;

use super::event::{BodyInfo, Event, Header, State, What};
use super::file::{self, ReadError};
use super::outside;
use crate::plan::Plan;
use crate::world::{Body, Fault, World};

/// The events of a run and what a reader must know first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recording {
    /// What ran, and on whom.
    pub header: Header,
    /// What happened, in order.
    pub events: Vec<Event>,
}

impl Recording {
    /// Takes the events out of the world of `plan` when its run has ended. Where each replica
    /// stands then is their end.
    pub fn take(plan: &Plan, world: &mut World) -> Self {
        world.trace.cause = 0;
        let events = world.trace.events.as_deref().unwrap_or_default();
        let left_out = world.trace.made.saturating_sub(events.len() as u64);
        let states: Vec<State> =
            world.bodies.iter().enumerate().map(|(index, body)| state(index, body, events)).collect();
        for (index, state) in states.into_iter().enumerate() {
            world.trace.event(world.now, Some(index), || What::State(state));
        }
        let header = Header { left_out, ..header(plan, world) };
        Self { header, events: world.trace.events.take().unwrap_or_default() }
    }

    /// Writes it as newline-delimited JSON.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        file::write(out, &self.header, &self.events)
    }

    /// Reads what [`Recording::write`] wrote.
    pub fn read(input: impl BufRead) -> Result<Self, ReadError> {
        let (header, events) = file::read(input)?;
        Ok(Self { header, events })
    }

    /// Says what ran and how to run it again.
    pub fn entitle(&mut self, title: &str, reproduce: &str) {
        self.header.title = title.to_owned();
        self.header.reproduce = reproduce.to_owned();
        self.header.commit = crate::report::commit().to_owned();
    }

    /// What the bodies are called.
    pub fn names(&self) -> Vec<String> {
        self.header.bodies.iter().map(|body| body.name.clone()).collect()
    }
}

fn state(index: usize, body: &Body, events: &[Event]) -> State {
    let role = match &body.role {
        Role::Voter => "voter".to_owned(),
        Role::Follower(why) => format!("follower: {why}"),
    };
    let records = (body.log.len(), body.log.unsynced());
    let blocks = (body.store.last().0, body.store.unsynced() as u64);
    let starts = events
        .iter()
        .filter(|event| event.body == Some(index) && matches!(event.what, What::Start { .. }))
        .count() as u32;
    let mut state = State { role, records, blocks, starts, ..State::default() };
    let Some(core) = &body.core else { return state };
    let probe = core.probe();
    state.up = true;
    state.view = probe.view.0;
    state.active = probe.active;
    state.halted = probe.halted;
    state.committed = probe.committed.0;
    state.accepted = probe.accepted.0;
    state.waiting = probe.waiting;
    state.prepared = events
        .iter()
        .rev()
        .take_while(|event| event.body != Some(index) || !matches!(event.what, What::Start { .. }))
        .find_map(|event| match event.what {
            What::Prepared { number, .. } if event.body == Some(index) => Some(number),
            _ => None,
        })
        .unwrap_or(0);
    state
}

fn header(plan: &Plan, world: &World) -> Header {
    let attacks = |place| -> Vec<String> {
        let specs = plan.liars.iter().filter(|(liar, _)| *liar == place).flat_map(|(_, specs)| specs);
        specs.map(ToString::to_string).collect()
    };
    let bodies: Vec<BodyInfo> = world
        .bodies
        .iter()
        .zip(&world.trace.names)
        .map(|(body, name)| BodyInfo {
            name: name.clone(),
            place: body.place.0,
            honest: body.is_honest(),
            twin: plan.twins.contains(&body.place),
            attacks: attacks(body.place),
        })
        .collect();
    let mut story: Vec<String> = bodies
        .iter()
        .take(plan.settings.n)
        .filter(|body| !body.honest)
        .map(|body| {
            let twin = if body.twin { " with two bodies that share its key" } else { "" };
            let attacks = body.attacks.join(", ");
            format!("{} lies{twin}{}{attacks}", body.name, if attacks.is_empty() { "" } else { ": " })
        })
        .collect();
    let names = &world.trace.names;
    story.extend(plan.cuts.iter().map(|cut| outside::rule(cut, names)));
    story.extend(plan.crashes.iter().map(|crash| outside::crash(crash, names)));
    let mut faults: Vec<_> = plan.faults.iter().collect();
    faults.sort_by_key(|(at, _)| *at);
    // That both ends notice a cut, and that it ends, would only make the list longer.
    faults.retain(|(_, fault)| !matches!(fault, Fault::LinkDown(..) | Fault::LinkUp(..) | Fault::Mend(..)));
    // Clocks that are a little off from the beginning are one line.
    let off: Vec<String> = faults
        .iter()
        .filter_map(|(at, fault)| match fault {
            Fault::ClockRate(body, ppm) if *at == Time::ZERO => {
                Some(format!("{} {ppm:+}", names.get(*body).map_or("?", String::as_str)))
            }
            _ => None,
        })
        .collect();
    faults.retain(|(at, fault)| !matches!(fault, Fault::ClockRate(..)) || *at > Time::ZERO);
    story.extend(faults.iter().map(|(at, fault)| format!("{at} {}", What::fault(fault, names).words(names))));
    if !off.is_empty() {
        story.push(format!("clocks run off by millionths: {}", off.join(", ")));
    }
    Header {
        sbft_sim_trace: file::VERSION,
        seed: plan.settings.seed,
        n: plan.settings.n,
        bodies,
        story,
        ..Header::default()
    }
}
