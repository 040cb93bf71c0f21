//! A recording with its events joined: packets from sending to arrival, and votes counted.

use std::collections::{BTreeMap, BTreeSet};

use crate::network::Kind;
use crate::trace::{About, Event, Recording, State, What};

/// A packet, from its sending to its arrivals.
#[derive(Clone, Debug)]
pub struct Packet {
    /// The event of its sending.
    pub id: u64,
    /// When it was sent, in µs.
    pub at: u64,
    /// The body that sent it.
    pub from: usize,
    /// The body it is for.
    pub to: usize,
    /// What it is about.
    pub about: About,
    /// How it arrived: not at all, once, or twice.
    pub arrivals: Vec<Arrival>,
    /// When its copies would arrive; those beyond `arrivals` were still under way at the end.
    pub due: Vec<u64>,
    /// Why the network lost it.
    pub lost: Option<String>,
    /// The packet whose arrival made its sender send it.
    pub parent: Option<u64>,
    /// Which of several contradicting proposals it is about: 0 the one that most packets are about.
    pub story: usize,
    /// How often the same had been sent to the same body before.
    pub repeat: u32,
    /// There are several contradicting proposals at its view and number.
    pub contested: bool,
}

/// A copy of a packet at its receiver.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The event of the arrival.
    pub id: u64,
    /// When, in µs.
    pub at: u64,
    /// Why the receiver did not hear it; none if it did.
    pub unheard: Option<String>,
}

/// A recording and what follows from it.
#[derive(Debug)]
pub struct Story<'a> {
    /// The recording.
    pub recording: &'a Recording,
    /// What the bodies are called.
    pub names: Vec<String>,
    /// All packets, in the order in which they were sent.
    pub packets: Vec<Packet>,
    /// For each event that needs a quorum: how many replicas' votes were there.
    pub counted: BTreeMap<u64, usize>,
    /// Where each body stands at the end, if the recording says so.
    pub states: Vec<Option<State>>,
    /// The failed check, if one failed.
    pub violation: Option<&'a Event>,
}

impl<'a> Story<'a> {
    /// Joins the events of a recording.
    pub fn of(recording: &'a Recording) -> Self {
        let mut states = vec![None; recording.header.bodies.len()];
        let mut violation = None;
        for event in &recording.events {
            match (&event.what, event.body) {
                (What::State(state), Some(body)) => states[body] = Some(state.clone()),
                (What::Violation { .. }, _) => violation = violation.or(Some(event)),
                _ => {}
            }
        }
        Self {
            names: recording.names(),
            packets: packets(recording),
            counted: counted(recording),
            states,
            violation,
            recording,
        }
    }

    /// The event of this number.
    pub fn event(&self, id: u64) -> Option<&'a Event> {
        find(&self.recording.events, id)
    }

    /// How many replicas are a quorum.
    pub fn quorum(&self) -> usize {
        let n = self.recording.header.n;
        let faulty = n.saturating_sub(1) / 3;
        (n + faulty + 1).div_ceil(2)
    }

    /// The body tells the truth.
    pub fn is_honest(&self, body: usize) -> bool {
        self.recording.header.bodies.get(body).is_some_and(|info| info.honest)
    }

    /// When the last event happened, in µs.
    pub fn ended(&self) -> u64 {
        self.recording.events.last().map_or(0, |event| event.at)
    }
}

/// The event of this number; events stand in order of their numbers.
pub(crate) fn find(events: &[Event], id: u64) -> Option<&Event> {
    let at = events.binary_search_by_key(&id, |event| event.id).ok()?;
    events.get(at)
}

fn packets(recording: &Recording) -> Vec<Packet> {
    let mut packets: Vec<Packet> = Vec::new();
    let mut by_id: BTreeMap<u64, usize> = BTreeMap::new();
    let mut stories: BTreeMap<(u64, u64), Vec<String>> = BTreeMap::new();
    let mut repeats: BTreeMap<(usize, usize, &About), u32> = BTreeMap::new();
    for event in &recording.events {
        match (&event.what, event.body) {
            (What::Send { to, message, arrives, lost }, Some(from)) => {
                by_id.insert(event.id, packets.len());
                packets.push(Packet {
                    id: event.id,
                    at: event.at,
                    from,
                    to: *to,
                    story: story_of(&mut stories, message),
                    about: message.clone(),
                    arrivals: Vec::new(),
                    due: arrives.clone(),
                    lost: lost.clone(),
                    parent: parent(recording, event),
                    contested: false,
                    repeat: {
                        let same = repeats.entry((from, *to, message)).or_insert(0);
                        *same += 1;
                        *same - 1
                    },
                });
            }
            (What::Deliver { sent, .. }, Some(_)) => {
                if let Some(at) = by_id.get(sent) {
                    packets[*at].arrivals.push(Arrival { id: event.id, at: event.at, unheard: None });
                }
            }
            (What::Unheard { sent, why, .. }, Some(_)) => {
                if let Some(at) = by_id.get(sent) {
                    let unheard = Some(why.clone());
                    // A liar hears it and lets its core know nothing: one arrival, not two.
                    packets[*at].arrivals.pop_if(|last| last.at == event.at && last.unheard.is_none());
                    packets[*at].arrivals.push(Arrival { id: event.id, at: event.at, unheard });
                }
            }
            _ => {}
        }
    }
    let ranks = ranks(&packets);
    for packet in packets.iter_mut().filter(|packet| is_vote(packet.about.kind)) {
        if let Some(ranks) = ranks.get(&(packet.about.view, packet.about.number)) {
            packet.contested = ranks.len() > 1;
            packet.story = ranks.iter().position(|story| *story == packet.story).unwrap_or(0);
        }
    }
    packets
}

/// For each view and number the stories told there, the one that most packets tell first.
fn ranks(packets: &[Packet]) -> BTreeMap<(u64, u64), Vec<usize>> {
    let mut counts: BTreeMap<(u64, u64), BTreeMap<usize, usize>> = BTreeMap::new();
    for packet in packets.iter().filter(|packet| is_vote(packet.about.kind)) {
        let told = counts.entry((packet.about.view, packet.about.number)).or_default();
        *told.entry(packet.story).or_default() += 1;
    }
    let by_count = |told: BTreeMap<usize, usize>| {
        let mut stories: Vec<(usize, usize)> = told.into_iter().collect();
        stories.sort_by_key(|(story, count)| (std::cmp::Reverse(*count), *story));
        stories.into_iter().map(|(story, _)| story).collect()
    };
    counts.into_iter().map(|(slot, told)| (slot, by_count(told))).collect()
}

fn is_vote(kind: Kind) -> bool {
    matches!(kind, Kind::PrePrepare | Kind::Prepare | Kind::Commit)
}

/// Which of the proposals at its view and number a vote is about, in the order of appearance.
fn story_of(stories: &mut BTreeMap<(u64, u64), Vec<String>>, about: &About) -> usize {
    let Some(digest) = about.digest.as_ref().filter(|_| is_vote(about.kind)) else { return 0 };
    let known = stories.entry((about.view, about.number)).or_default();
    known.iter().position(|other| other == digest).unwrap_or_else(|| {
        known.push(digest.clone());
        known.len() - 1
    })
}

/// The packet whose arrival is the root of what led to an event.
fn parent(recording: &Recording, event: &Event) -> Option<u64> {
    let mut cause = event.cause;
    while let Some(before) = cause.and_then(|id| find(&recording.events, id)) {
        if let What::Deliver { sent, .. } = before.what {
            return Some(sent);
        }
        cause = before.cause.filter(|id| *id < before.id);
    }
    None
}

/// Where votes are counted: at which body, of commits or prepares, at which view and number.
type Slot = (usize, bool, u64, u64);

/// The votes that were there when a replica said that it had a quorum.
fn counted(recording: &Recording) -> BTreeMap<u64, usize> {
    let place = |body: usize| recording.header.bodies.get(body).map_or(0, |info| info.place);
    let mut votes: BTreeMap<Slot, BTreeMap<&str, BTreeSet<u16>>> = BTreeMap::new();
    let mut counted = BTreeMap::new();
    for event in &recording.events {
        let Some(body) = event.body else { continue };
        match &event.what {
            What::Deliver { message, .. } | What::Own { message }
                if is_vote(message.kind) && !message.bad =>
            {
                let from = match &event.what {
                    What::Deliver { from, .. } => place(*from),
                    _ => place(body),
                };
                let key = (body, message.kind == Kind::Commit, message.view, message.number);
                let digest = message.digest.as_deref().unwrap_or("");
                votes.entry(key).or_default().entry(digest).or_default().insert(from);
            }
            What::Prepared { view, number } | What::Committed { view, number, .. } => {
                let commit = matches!(event.what, What::Committed { .. });
                let most = votes
                    .get(&(body, commit, *view, *number))
                    .and_then(|by_digest| by_digest.values().map(BTreeSet::len).max());
                if let Some(most) = most {
                    counted.insert(event.id, most);
                }
            }
            _ => {}
        }
    }
    counted
}

#[cfg(test)]
mod tests {
    use super::super::test_runs::scenario;
    use super::*;

    #[test]
    fn each_packet_is_joined_with_its_arrivals() {
        let recording = scenario("attacks/equivocate-halves.toml");
        let story = Story::of(&recording);
        assert!(!story.packets.is_empty());
        for packet in &story.packets {
            assert!(packet.arrivals.len() <= packet.due.len().max(1), "{packet:?}");
            assert!(packet.arrivals.iter().all(|arrival| arrival.at >= packet.at), "{packet:?}");
            assert!(packet.parent.is_none_or(|parent| parent < packet.id), "{packet:?}");
            assert!(packet.lost.is_none() || packet.arrivals.is_empty(), "{packet:?}");
        }
        assert!(story.packets.iter().any(|packet| packet.parent.is_some()));
    }

    #[test]
    fn who_says_that_it_has_a_quorum_has_counted_one() {
        let recording = scenario("attacks/equivocate-halves.toml");
        let story = Story::of(&recording);
        let counts: Vec<usize> = recording
            .events
            .iter()
            .filter(|event| event.body.is_some_and(|body| story.is_honest(body)))
            .filter(|event| matches!(event.what, What::Prepared { .. }))
            .filter_map(|event| story.counted.get(&event.id).copied())
            .collect();
        assert!(!counts.is_empty());
        assert!(counts.iter().all(|count| *count >= story.quorum()), "{counts:?}");
    }

    #[test]
    fn the_past_of_a_block_is_in_order_and_small() {
        let recording = scenario("attacks/equivocate-halves.toml");
        let story = Story::of(&recording);
        let block = recording
            .events
            .iter()
            .rev()
            .find(|event| matches!(event.what, What::Append { .. }))
            .expect("a block was appended");
        let past = super::super::past::of(&story, &[block.id]);
        assert!(past.iter().all(|id| *id <= block.id));
        assert!(past.len() > 5 && past.len() < recording.events.len() / 3, "{} events", past.len());
    }
}
