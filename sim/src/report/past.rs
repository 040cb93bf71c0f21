//! What led to an event: the few arrivals and decisions that it rests on, and theirs.
//!
//! Everything that a replica heard before is in an event's past in the widest sense, and tells a
//! reader nothing. Here an event rests on the input that its replica was dealing with, and a
//! certificate on the votes that are in it: a few dozen events of thousands.

use std::collections::{BTreeMap, BTreeSet};

use super::story::Story;
use crate::network::Kind;
use crate::trace::{Event, What};

/// The events that show the violation best, at most three; none without a violation.
pub fn evidence(story: &Story<'_>) -> Vec<u64> {
    let Some(violation) = story.violation else { return Vec::new() };
    if !is_safety(violation) {
        return last_steps(story);
    }
    let mut shown = forked(story).or_else(|| voted_twice(story)).unwrap_or_default();
    if shown.is_empty() {
        // What the replica was doing when the check failed.
        let last = story
            .recording
            .events
            .iter()
            .rev()
            .find(|event| event.id < violation.id && event.body.is_some() && speaks(&event.what));
        shown.extend(locked(story, violation));
        let cause = violation.cause.and_then(|id| story.event(id));
        shown.extend(cause.and_then(|cause| other_vote(story, cause)));
        shown.extend(violation.cause);
        shown.extend(last.map(|event| event.id));
        shown.dedup();
    }
    shown
}

/// Something happened that must not; not: something did not happen, or too much did.
pub fn is_safety(violation: &Event) -> bool {
    matches!(&violation.what, What::Violation { class, .. } if class == "Safety")
}

/// Nothing happened that should have: the last steps that honest replicas made.
fn last_steps(story: &Story<'_>) -> Vec<u64> {
    let mut last: BTreeMap<usize, u64> = BTreeMap::new();
    let mut appended = None;
    for event in &story.recording.events {
        let Some(body) = event.body.filter(|body| story.is_honest(*body)) else { continue };
        if event.what.said().is_some() {
            last.insert(body, event.id);
        } else if matches!(event.what, What::Append { .. }) {
            appended = Some(event.id);
        }
    }
    let mut steps: Vec<u64> = last.into_values().collect();
    steps.sort_unstable();
    let mut shown: Vec<u64> = steps.into_iter().rev().take(2).chain(appended).collect();
    shown.sort_unstable();
    shown.dedup();
    shown
}

/// Worth being shown as the last thing before a violation.
fn speaks(what: &What) -> bool {
    what.said().is_some() || matches!(what, What::Append { .. } | What::Persist { .. } | What::Start { .. })
}

/// What a replica said at the view and number of what it hears now, and for another proposal.
fn other_vote(story: &Story<'_>, cause: &Event) -> Option<u64> {
    let (What::Deliver { message, .. } | What::Own { message }) = &cause.what else { return None };
    let digest = message.digest.as_ref()?;
    let others: Vec<_> = story
        .packets
        .iter()
        .filter(|packet| {
            Some(packet.from) == cause.body
                && packet.id < cause.id
                && (packet.about.view, packet.about.number) == (message.view, message.number)
                && packet.about.digest.as_ref().is_some_and(|other| other != digest)
        })
        .collect();
    // Its own vote says more than a proposal that it passed on.
    let own = others.iter().find(|packet| packet.about.kind != Kind::PrePrepare);
    let vote = own.or_else(|| others.first())?;
    Some(vote.id)
}

/// Where a vote may contradict a block: the moment at which that block was committed, or else
/// prepared, at an honest replica.
fn locked(story: &Story<'_>, violation: &Event) -> Option<u64> {
    let What::Violation { check, text, .. } = &violation.what else { return None };
    if check != "prepared lock" {
        return None;
    }
    // "r1 votes for 1b7c2c33 at #1 in v1, where f27bd8f8 may have been committed in v0"
    let mut words = text.split_whitespace();
    let at: u64 = words.find_map(|word| word.strip_prefix('#')?.parse().ok())?;
    let lock: u64 = words.rev().find_map(|word| word.strip_prefix('v')?.parse().ok())?;
    let mut prepared = None;
    for event in &story.recording.events {
        if !event.body.is_some_and(|body| story.is_honest(body)) {
            continue;
        }
        match event.what {
            What::Committed { view, number, .. } if (view, number) == (lock, at) => return Some(event.id),
            What::Prepared { view, number } if (view, number) == (lock, at) => {
                prepared = prepared.or(Some(event.id));
            }
            _ => {}
        }
    }
    prepared
}

/// Two honest replicas appended different blocks at one number.
fn forked(story: &Story<'_>) -> Option<Vec<u64>> {
    let mut first: BTreeMap<u64, (&str, u64)> = BTreeMap::new();
    for event in &story.recording.events {
        let (What::Append { number, hash, .. }, Some(body)) = (&event.what, event.body) else { continue };
        if !story.is_honest(body) {
            continue;
        }
        let (known, id) = *first.entry(*number).or_insert((hash, event.id));
        if known != hash {
            return Some(vec![id, event.id]);
        }
    }
    None
}

/// An honest place voted for two proposals at one view and number.
fn voted_twice(story: &Story<'_>) -> Option<Vec<u64>> {
    let mut first: BTreeMap<(u16, &str, u64, u64), (&str, u64)> = BTreeMap::new();
    for packet in &story.packets {
        let (kind, about) = (kind_name(packet.about.kind)?, &packet.about);
        let Some(digest) = about.digest.as_deref() else { continue };
        if !story.is_honest(packet.from) || kind.is_empty() {
            continue;
        }
        let place = story.recording.header.bodies.get(packet.from)?.place;
        let key = (place, kind, about.view, about.number);
        let (known, id) = *first.entry(key).or_insert((digest, packet.id));
        if known != digest {
            return Some(vec![id, packet.id]);
        }
    }
    None
}

/// Votes of a kind that contradict each other have the same name; other packets have none.
fn kind_name(kind: Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::PrePrepare | Kind::Prepare => "prepare",
        Kind::Commit => "commit",
        _ => "",
    })
}

/// Where to find what an event may rest on, by body.
#[derive(Default)]
struct Index<'a> {
    /// Votes heard: by body, commit or not, view, number.
    votes: BTreeMap<(usize, bool, u64, u64), Vec<&'a Event>>,
    /// View-changes heard, by body and view.
    changes: BTreeMap<(usize, u64), Vec<&'a Event>>,
    /// New-views heard, by body and view.
    new_views: BTreeMap<(usize, u64), Vec<&'a Event>>,
    /// What bodies said: by body, what, view, number.
    said: BTreeMap<(usize, &'static str, u64, u64), Vec<&'a Event>>,
}

impl<'a> Index<'a> {
    fn of(events: &'a [Event]) -> Self {
        let mut index = Self::default();
        for event in events {
            let Some(body) = event.body else { continue };
            match &event.what {
                What::Deliver { message, .. } | What::Own { message } if !message.bad => {
                    let (view, number) = (message.view, message.number);
                    match message.kind {
                        Kind::PrePrepare | Kind::Prepare => {
                            index.votes.entry((body, false, view, number)).or_default().push(event);
                        }
                        Kind::Commit => {
                            index.votes.entry((body, true, view, number)).or_default().push(event);
                        }
                        Kind::ViewChange => index.changes.entry((body, view)).or_default().push(event),
                        Kind::NewView => index.new_views.entry((body, view)).or_default().push(event),
                        _ => {}
                    }
                }
                other => {
                    if let Some((what, view, number)) = saying(other) {
                        index.said.entry((body, what, view, number)).or_default().push(event);
                    }
                }
            }
        }
        index
    }

    fn last_said(&self, before: &Event, what: &'static str, view: u64, number: u64) -> Option<u64> {
        let said = self.said.get(&(before.body?, what, view, number))?;
        said.iter().rev().find(|event| event.id < before.id).map(|event| event.id)
    }
}

fn saying(what: &What) -> Option<(&'static str, u64, u64)> {
    Some(match what {
        What::Accepted { view, number } => ("accepted", *view, *number),
        What::Prepared { view, number } => ("prepared", *view, *number),
        What::Committed { view, number, .. } => ("committed", *view, *number),
        What::Suspected { view, .. } => ("suspected", *view, 0),
        What::Entered { view, .. } => ("entered", *view, 0),
        What::StartsView { view, .. } => ("starts", *view, 0),
        What::AsksView { view, .. } => ("asks", *view, 0),
        _ => return None,
    })
}

/// Everything that `events` rest on, themselves included.
pub fn of(story: &Story<'_>, events: &[u64]) -> BTreeSet<u64> {
    let index = Index::of(&story.recording.events);
    let mut past: BTreeSet<u64> = BTreeSet::new();
    let mut open: Vec<u64> = events.to_vec();
    while let Some(id) = open.pop() {
        if !past.insert(id) {
            continue;
        }
        if let Some(event) = story.event(id) {
            // A cause comes before its effect; a file that says otherwise must not send us round.
            open.extend(rests_on(&index, event).into_iter().filter(|before| *before < id));
        }
    }
    past
}

fn rests_on(index: &Index<'_>, event: &Event) -> Vec<u64> {
    let mut on: Vec<u64> = event.cause.into_iter().collect();
    let Some(body) = event.body else { return on };
    let heard = |list: Option<&Vec<&Event>>| -> Vec<u64> {
        let list = list.map_or(&[][..], Vec::as_slice);
        list.iter().map(|before| before.id).filter(|id| *id < event.id).collect()
    };
    match &event.what {
        What::Prepared { view, number } => {
            on.extend(majority(index.votes.get(&(body, false, *view, *number)), event.id));
            on.extend(index.last_said(event, "accepted", *view, *number));
        }
        What::Committed { view, number, .. } | What::Append { view, number, .. } => {
            on.extend(majority(index.votes.get(&(body, true, *view, *number)), event.id));
            on.extend(index.last_said(event, "prepared", *view, *number));
        }
        What::Entered { view, .. } => {
            on.extend(heard(index.new_views.get(&(body, *view))));
            on.extend(index.last_said(event, "starts", *view, 0));
        }
        What::StartsView { view, .. } => on.extend(heard(index.changes.get(&(body, *view)))),
        What::AsksView { view, carried, .. } => {
            on.extend(index.last_said(event, "suspected", *view, 0));
            on.extend(
                carried
                    .iter()
                    .filter_map(|(number, view)| index.last_said(event, "prepared", *view, *number)),
            );
        }
        What::Send { message, .. } => {
            let (view, number) = (message.view, message.number);
            on.extend(match message.kind {
                Kind::Prepare => index.last_said(event, "accepted", view, number),
                Kind::Commit => index.last_said(event, "prepared", view, number),
                Kind::ViewChange => index.last_said(event, "asks", view, 0),
                Kind::NewView => index.last_said(event, "starts", view, 0),
                _ => None,
            });
        }
        _ => {}
    }
    on
}

/// The votes heard before `id` that are for the digest that most are for.
fn majority(votes: Option<&Vec<&Event>>, id: u64) -> Vec<u64> {
    let mut by_digest: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for vote in votes.into_iter().flatten().filter(|vote| vote.id < id) {
        if let What::Deliver { message, .. } | What::Own { message } = &vote.what {
            by_digest.entry(message.digest.as_deref().unwrap_or("")).or_default().push(vote.id);
        }
    }
    by_digest.into_values().max_by_key(Vec::len).unwrap_or_default()
}
