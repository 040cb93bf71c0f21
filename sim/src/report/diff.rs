//! Two recordings side by side: where they part, and what differs from there on.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::trace::{Event, Recording, What};

/// Events shown before the place where two recordings part.
const BEFORE: usize = 5;
/// Events of each shown from there on.
const AFTER: usize = 4;

/// What differs, in words; none if nothing does.
pub fn diff(one: &Recording, other: &Recording) -> Option<String> {
    let same = one.events.iter().zip(&other.events).take_while(|(one, other)| one == other).count();
    let headers = headers(one, other);
    if headers.is_empty() && same == one.events.len() && same == other.events.len() {
        return None;
    }
    let mut out = String::new();
    for line in headers {
        let _ = writeln!(out, "{line}");
    }
    let names = one.names();
    let until =
        one.events[..same].last().map_or_else(String::new, |event| format!(", until {} µs", event.at));
    let _ = writeln!(out, "the same: {same} events{until}");
    if same == one.events.len() && same == other.events.len() {
        return Some(out);
    }
    for event in &one.events[same.saturating_sub(BEFORE)..same] {
        let _ = writeln!(out, "    {}", event.line(&names));
    }
    for (mark, recording) in [("a", one), ("b", other)] {
        for event in recording.events[same..].iter().take(AFTER) {
            let _ = writeln!(out, "  {mark} {}", event.line(&recording.names()));
        }
        if recording.events.len() == same {
            let _ = writeln!(out, "  {mark} (ends here)");
        }
    }
    out.push_str("where they stood when they parted:\n");
    for (name, standing) in names.iter().zip(standings(&one.events[..same], names.len())) {
        let _ = writeln!(out, "    {name:<5} {standing}");
    }
    ends(one, other, &mut out);
    kinds(&one.events[same..], &other.events[same..], &mut out);
    Some(out)
}

fn headers(one: &Recording, other: &Recording) -> Vec<String> {
    let (one, other) = (&one.header, &other.header);
    let mut lines = Vec::new();
    let mut differ = |what: &str, one: String, other: String| {
        if one != other {
            lines.push(format!("other {what}: a {one}, b {other}"));
        }
    };
    differ("seed", one.seed.to_string(), other.seed.to_string());
    differ("number of replicas", one.n.to_string(), other.n.to_string());
    let liars = |header: &crate::trace::Header| {
        let liars: Vec<String> = header
            .bodies
            .iter()
            .filter(|body| !body.honest)
            .map(|body| format!("{} {}", body.name, body.attacks.join(" ")).trim().to_owned())
            .collect();
        if liars.is_empty() { "none".to_owned() } else { liars.join(", ") }
    };
    differ("liars", liars(one), liars(other));
    differ("commit", one.commit.clone(), other.commit.clone());
    lines
}

/// Where a replica stands, as far as its events say.
#[derive(Clone, Default)]
struct Standing {
    view: u64,
    between: bool,
    down: bool,
    appended: u64,
    prepared: u64,
    records: u64,
}

impl std::fmt::Display for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let phase = match (self.down, self.between) {
            (true, _) => "down",
            (_, true) => "between views",
            _ => "active",
        };
        write!(
            f,
            "v{} {phase}, {} blocks, prepared #{}, {} records written",
            self.view, self.appended, self.prepared, self.records
        )
    }
}

fn standings(events: &[Event], bodies: usize) -> Vec<Standing> {
    let mut all = vec![Standing::default(); bodies];
    for event in events {
        let Some(standing) = event.body.and_then(|body| all.get_mut(body)) else { continue };
        match &event.what {
            What::Start { number, .. } => {
                *standing = Standing { appended: *number, records: standing.records, ..Standing::default() };
            }
            What::Crash { .. } | What::Stopped { .. } => standing.down = true,
            What::Append { number, .. } => standing.appended = *number,
            What::Prepared { number, .. } => standing.prepared = *number,
            What::Persist { .. } => standing.records += 1,
            What::Suspected { view, .. } | What::AsksView { view, .. } => {
                (standing.view, standing.between) = (*view, true);
            }
            What::Entered { view, .. } => (standing.view, standing.between) = (*view, false),
            _ => {}
        }
    }
    all
}

/// Where they stand at the end, for those that stand elsewhere.
fn ends(one: &Recording, other: &Recording, out: &mut String) {
    let states = |recording: &Recording| -> BTreeMap<usize, String> {
        let states = recording.events.iter().filter_map(|event| match (&event.what, event.body) {
            (What::State(state), Some(body)) => Some((body, state.to_string())),
            _ => None,
        });
        states.collect()
    };
    let (one_ends, other_ends) = (states(one), states(other));
    for (body, name) in one.names().iter().enumerate() {
        if let (Some(a), Some(b)) = (one_ends.get(&body), other_ends.get(&body))
            && a != b
        {
            let _ = writeln!(out, "{name} ends elsewhere:\n  a {a}\n  b {b}");
        }
    }
}

/// Which kinds of events there are more of in one than in the other, from where they part.
fn kinds(one: &[Event], other: &[Event], out: &mut String) {
    let mut counts: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for event in one {
        counts.entry(kind(event)).or_default().0 += 1;
    }
    for event in other {
        counts.entry(kind(event)).or_default().1 += 1;
    }
    counts.retain(|_, (one, other)| one != other);
    if counts.is_empty() {
        out.push_str("from there on both have as many events of each kind\n");
        return;
    }
    let _ = writeln!(out, "from there on {:<22} {:>8} {:>8}", "", "a", "b");
    for (kind, (one, other)) in counts {
        let _ = writeln!(out, "    {kind:<32} {one:>8} {other:>8}");
    }
}

/// An event's kind, as in the file; sendings by what is sent.
fn kind(event: &Event) -> String {
    match &event.what {
        What::Send { message, lost: Some(_), .. } => format!("lost {}", message.kind),
        What::Send { message, .. } => format!("send {}", message.kind),
        What::Deliver { message, .. } => format!("deliver {}", message.kind),
        other => {
            // The tag is the name that the file has.
            let value = serde_json::to_value(other).unwrap_or_default();
            value.get("what").and_then(|what| what.as_str()).unwrap_or("?").to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_runs::scenario;
    use super::*;

    #[test]
    fn a_run_does_not_differ_from_itself() {
        assert_eq!(
            diff(&scenario("attacks/equivocate-halves.toml"), &scenario("attacks/equivocate-halves.toml")),
            None
        );
    }

    #[test]
    fn two_recordings_part_where_the_first_event_differs() {
        let one = scenario("attacks/equivocate-halves.toml");
        let mut other = one.clone();
        let at =
            one.events.iter().position(|event| matches!(event.what, What::Append { .. })).expect("a block");
        other.events.remove(at);
        let text = diff(&one, &other).expect("an event is missing");
        assert!(text.contains(&format!("the same: {at} events")), "{text}");
        assert!(text.contains("  a ") && text.contains("append "), "{text}");
        assert!(text.contains("    append  "), "{text}");
    }

    #[test]
    fn what_ran_otherwise_is_named_first() {
        let text =
            diff(&scenario("attacks/equivocate-halves.toml"), &scenario("attacks/silent-primary.toml"))
                .expect("they differ");
        assert!(text.starts_with("other liars: a r0! equivocate-halves, b r0! silent-primary\n"), "{text}");
    }
}
