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
            What::Crash { .. } | What::Stumbled | What::Stopped { .. } => Band { up: false, ..now },
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
    /// Those who are cut off most.
    pub(super) apart: Vec<usize>,
}

/// All cuts, in order of their beginning.
pub(super) fn cuts(story: &Story<'_>) -> Vec<Cut> {
    let mut cuts: Vec<Cut> = Vec::new();
    let mut open = false;
    for event in &story.recording.events {
        let What::Links { cut } = &event.what else { continue };
        if let Some(last) = cuts.last_mut().filter(|_| open) {
            last.until = event.at;
        }
        open = !cut.is_empty();
        if open {
            let (from, until) = (event.at, story.ended());
            cuts.push(Cut {
                from,
                until,
                sides: sides(cut, &story.names),
                apart: apart(cut, story.names.len()),
            });
        }
    }
    cuts.retain(|cut| cut.until > cut.from);
    cuts
}

/// Who does not reach whom, those with the same fate together.
fn sides(cut: &[(usize, Vec<usize>)], names: &[String]) -> String {
    let mut groups: BTreeMap<&[usize], Vec<usize>> = BTreeMap::new();
    for (from, to) in cut {
        groups.entry(to).or_default().push(*from);
    }
    let all = |bodies: &[usize]| -> String {
        bodies.iter().map(|body| names.get(*body).map_or("?", String::as_str)).collect::<Vec<_>>().join(" ")
    };
    let mut words = Vec::new();
    for (to, from) in &groups {
        match groups.get(from.as_slice()) {
            Some(back) if back.as_slice() == *to && from.as_slice() > *to => {}
            Some(back) if back.as_slice() == *to => words.push(format!("{} ⇹ {}", all(from), all(to))),
            _ => words.push(format!("{} ⇸ {}", all(from), all(to))),
        }
    }
    words.join(", ")
}

/// Those who lack more links than others; if all lack as many, those apart from the first.
fn apart(cut: &[(usize, Vec<usize>)], bodies: usize) -> Vec<usize> {
    let lacks = |one: usize, other: usize| cut.iter().any(|(from, to)| *from == one && to.contains(&other));
    let lack = |body: usize| {
        (0..bodies)
            .map(|other| usize::from(lacks(body, other)) + usize::from(lacks(other, body)))
            .sum::<usize>()
    };
    let least = (0..bodies).map(lack).min().unwrap_or(0);
    let apart: Vec<usize> = (0..bodies).filter(|body| lack(*body) > least).collect();
    if apart.is_empty() {
        (0..bodies).filter(|body| lacks(0, *body) || lacks(*body, 0)).collect()
    } else {
        apart
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_names_its_sides_once() {
        let names: Vec<String> = (0..4).map(|place| format!("r{place}")).collect();
        let alone = [(0, vec![3]), (1, vec![3]), (2, vec![3]), (3, vec![0, 1, 2])];
        assert_eq!(sides(&alone, &names), "r0 r1 r2 ⇹ r3");
        assert_eq!(apart(&alone, 4), vec![3]);
        let halves = [(0, vec![2, 3]), (1, vec![2, 3]), (2, vec![0, 1]), (3, vec![0, 1])];
        assert_eq!(sides(&halves, &names), "r0 r1 ⇹ r2 r3");
        assert_eq!(apart(&halves, 4), vec![2, 3]);
        assert_eq!(sides(&[(1, vec![0])], &names), "r1 ⇸ r0");
    }
}
