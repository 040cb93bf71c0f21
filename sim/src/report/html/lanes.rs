//! What lasts: the view that a replica is in, the time that it is down, links that are cut.

use std::collections::BTreeMap;

use super::super::story::Story;
use crate::network::Kind;
use crate::trace::What;

/// A replica stays like this from one moment to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Band {
    pub(super) from: u64,
    pub(super) until: u64,
    /// The view it is in or asks for; none where the recording does not say.
    pub(super) view: Option<u64>,
    /// It votes there.
    pub(super) active: bool,
    /// It runs.
    pub(super) up: bool,
}

/// The bands of a body, one after the other.
pub(super) fn bands(story: &Story<'_>, body: usize) -> Vec<Band> {
    let mut now = Band { from: 0, until: 0, view: Some(0), active: true, up: true };
    let mut bands = Vec::new();
    let mut started = false;
    for event in story.recording.events.iter().filter(|event| event.body == Some(body)) {
        let next = match &event.what {
            What::Start { .. } => {
                let first = !std::mem::replace(&mut started, true);
                Band { view: first.then_some(0), active: true, up: true, ..now }
            }
            What::Crash { .. } | What::Stumbled => Band { up: false, ..now },
            What::Entered { view, .. } => Band { view: Some(*view), active: true, ..now },
            What::Suspected { view, .. } | What::AsksView { view, .. } => {
                Band { view: Some(*view), active: false, ..now }
            }
            // After a restart only what it sends says where it is. A liar's status says nothing.
            What::Send { message, .. } if now.view.is_none() && story.is_honest(body) => match message.kind {
                Kind::Status => {
                    Band { view: Some(message.view), active: message.more.starts_with("active"), ..now }
                }
                Kind::Prepare | Kind::Commit => Band { view: Some(message.view), active: true, ..now },
                _ => now,
            },
            _ => now,
        };
        if next != now {
            bands.push(Band { until: event.at, ..now });
            now = Band { from: event.at, ..next };
        }
    }
    bands.push(Band { until: story.ended(), ..now });
    bands.retain(|band| band.until > band.from);
    bands
}

/// Links that carry nothing for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) from: u64,
    pub(super) until: u64,
    /// Between whom, in words.
    pub(super) sides: String,
}

/// All cuts, in order of their beginning.
pub(super) fn cuts(story: &Story<'_>) -> Vec<Cut> {
    let mut open: BTreeMap<(Vec<usize>, Vec<usize>), u64> = BTreeMap::new();
    let mut closed: Vec<(u64, u64, Vec<usize>, Vec<usize>)> = Vec::new();
    for event in &story.recording.events {
        let What::Fault { fault, from, to, .. } = &event.what else { continue };
        match fault.as_str() {
            "cut" => {
                open.entry((from.clone(), to.clone())).or_insert(event.at);
            }
            "mend" => {
                if let Some(began) = open.remove(&(from.clone(), to.clone())) {
                    closed.push((began, event.at, from.clone(), to.clone()));
                }
            }
            "heal" => {
                for ((from, to), began) in std::mem::take(&mut open) {
                    closed.push((began, event.at, from, to));
                }
            }
            _ => {}
        }
    }
    closed.extend(open.into_iter().map(|((from, to), began)| (began, story.ended(), from, to)));
    closed.sort();
    let names = |bodies: &[usize]| -> String {
        let names: Vec<&str> =
            bodies.iter().map(|body| story.names.get(*body).map_or("?", String::as_str)).collect();
        names.join(" ")
    };
    let mut cuts = Vec::new();
    for (at, (began, ended, from, to)) in closed.iter().enumerate() {
        let back = |other: &(u64, u64, Vec<usize>, Vec<usize>)| {
            (other.0, other.1, &other.2, &other.3) == (*began, *ended, to, from)
        };
        if closed[..at].iter().any(back) {
            continue;
        }
        let arrow = if closed[at..].iter().any(back) { "⇹" } else { "⇸" };
        // A side cut off from itself and more says it all with the smaller one.
        cuts.push(Cut {
            from: *began,
            until: *ended,
            sides: format!("{} {arrow} {}", names(from), names(to)),
        });
    }
    cuts
}
