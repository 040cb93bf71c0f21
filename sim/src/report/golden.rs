//! A run as a short text that a reviewer can read and a test can compare: who proposed what to
//! whom, what was committed, who left a view and why.
//!
//! Times are left out, digests are letters where there is a choice, and what several replicas say
//! is one line. So a transcript changes when the story does, and not with every microsecond.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::past;
use super::story::{Packet, Story};
use crate::network::Kind;
use crate::trace::{Event, Recording, What};

/// A transcript has at most so many lines; the rest is counted.
const LINES: usize = 80;
/// Faults that are told by what comes of them.
const QUIET: [&str; 11] = [
    "clock-rate",
    "clock-drift",
    "wall-jump",
    "pause",
    "cut",
    "mend",
    "partition",
    "link-down",
    "link-up",
    "crash",
    "restart",
];
/// So many lies of one kind are told.
const FEW: usize = 3;
/// What a replica says is joined with what another said so many lines ago, and no more.
const JOIN: usize = 10;

/// The transcript of a recording.
pub fn transcript(recording: &Recording) -> String {
    let story = Story::of(recording);
    let mut proposals: BTreeMap<Proposal, Vec<&Packet>> = BTreeMap::new();
    for packet in story.packets.iter().filter(|packet| packet.about.kind == Kind::PrePrepare) {
        let proposal = (packet.from, packet.about.view, packet.about.number);
        proposals.entry(proposal).or_default().push(packet);
    }
    let mut teller = Teller { story: &story, proposals, lines: Vec::new(), told: BTreeSet::new() };
    for line in &recording.header.story {
        teller.happens(format!("# {line}"));
    }
    for event in &recording.events {
        teller.event(event);
    }
    teller.text()
}

struct Line {
    /// Who says it; nobody for what happens to the network.
    who: BTreeSet<usize>,
    text: String,
    count: u32,
    step: Option<Step>,
}

/// A step of the normal case: many of them in a row are one line.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Step {
    /// Not proposed, but committed.
    committed: bool,
    view: u64,
    number: u64,
}

/// Who proposes, in which view, for which number.
type Proposal = (usize, u64, u64);

struct Teller<'a> {
    story: &'a Story<'a>,
    /// The pre-prepares that each proposal went out in.
    proposals: BTreeMap<Proposal, Vec<&'a Packet>>,
    lines: Vec<Line>,
    /// What is told once only.
    told: BTreeSet<String>,
}

impl Teller<'_> {
    fn event(&mut self, event: &Event) {
        let honest = event.body.is_some_and(|body| self.story.is_honest(body));
        match (&event.what, event.body) {
            // What a partition does is told by the links, what a crash does by the replica.
            (What::Fault { fault, .. }, None) if QUIET.contains(&fault.as_str()) => {}
            (What::Fault { .. } | What::Links { .. }, None) => {
                self.happens(format!("~ {}", event.what.words(&self.story.names)));
            }
            (What::Violation { check, text, .. }, _) => self.happens(format!("FAILED {check}: {text}")),
            (What::Send { message, .. }, Some(body)) if message.kind == Kind::PrePrepare => {
                self.proposal(body, event);
            }
            (What::Send { message, .. }, Some(body)) if !honest => self.lie(body, event, message.kind),
            (What::Submit { .. }, Some(_)) => {}
            (What::Committed { view, number, .. }, Some(body)) if honest => {
                let step = Step { committed: true, view: *view, number: *number };
                self.steps(body, event.what.said().unwrap_or_default(), Some(step));
            }
            (What::Complains { .. } | What::Entered { .. } | What::Suspected { .. }, Some(body))
                if honest =>
            {
                self.says(body, stable(&event.what.said().unwrap_or_default()));
            }
            (What::Halted { .. } | What::AsksView { .. } | What::StartsView { .. }, Some(body)) => {
                self.says(body, event.what.said().unwrap_or_default());
            }
            (What::Accuse { text }, Some(body)) => {
                // Which of the two digests a replica saw first does not matter.
                let lie = match (text.split_once(" both "), text.split_once(" at ")) {
                    (Some((who, _)), Some((_, at))) => format!("{who} two proposals at {at}"),
                    _ => text.clone(),
                };
                self.says(body, format!("has proof: {lie}"));
            }
            (What::Crash { .. } | What::Wipe | What::Stumbled, Some(body)) => {
                self.says(body, plain(&event.what.words(&self.story.names)));
            }
            (What::Start { number, .. }, Some(body)) => {
                let first = self.told.insert(format!("{body} starts"));
                self.says_if(!first, body, format!("starts again at #{number}"));
            }
            (What::Lie { attack, .. }, Some(body)) => {
                let first = self.told.insert(format!("{body} lies {attack}"));
                self.says_if(first, body, format!("begins to lie: {attack}"));
            }
            (What::Disk { .. } | What::Stopped { .. }, Some(body)) => {
                self.says(body, event.what.words(&self.story.names));
            }
            (What::Clock { fault, .. }, Some(body)) if fault != "rate" => {
                self.says(body, event.what.words(&self.story.names));
            }
            _ => {}
        }
    }

    /// The first time that a primary proposes something, and to whom if there are several stories.
    fn proposal(&mut self, body: usize, event: &Event) {
        let Some(packet) = self.packet(event.id) else { return };
        let (view, number) = (packet.about.view, packet.about.number);
        let place = self.story.recording.header.bodies[body].place;
        if u64::from(place) != view % self.story.recording.header.n.max(1) as u64 {
            return;
        }
        if !self.told.insert(format!("{body} proposes {view} {number}")) {
            return;
        }
        let mut to: BTreeMap<usize, BTreeSet<&str>> = BTreeMap::new();
        for other in self.proposals.get(&(body, view, number)).into_iter().flatten() {
            to.entry(other.story).or_default().insert(&self.story.names[other.to]);
        }
        let text = if to.len() > 1 {
            let stories: Vec<String> = to
                .iter()
                .map(|(story, to)| {
                    let to: Vec<&str> = to.iter().copied().collect();
                    format!("{} to {}", letter(*story), to.join(" "))
                })
                .collect();
            format!("proposes #{number} in v{view}: {}", stories.join(", "))
        } else {
            let step = Step { committed: false, view, number };
            return self.steps(body, format!("proposes #{number} in v{view}"), Some(step));
        };
        self.says(body, text);
    }

    /// The first time that a liar votes for two things, or sends what no checker accepts.
    fn lie(&mut self, body: usize, event: &Event, kind: Kind) {
        let Some(packet) = self.packet(event.id) else { return };
        let (view, number) = (packet.about.view, packet.about.number);
        if packet.about.bad {
            let text = format!("sends a {kind} that does not verify");
            if self.told.insert(format!("{body} {text}")) {
                self.says(body, text);
            }
        } else if matches!(kind, Kind::Prepare | Kind::Commit) && packet.contested {
            self.told.insert(format!("{body} {kind} {view} {number} {}", packet.story));
            let stories: Vec<String> = (0..26)
                .filter(|story| self.told.contains(&format!("{body} {kind} {view} {number} {story}")))
                .map(letter)
                .collect();
            if stories.len() == 2 {
                // The first few show how; a flood of them shows no more.
                let told = (0..FEW).find(|nth| self.told.insert(format!("{body} both {nth}")));
                match told {
                    Some(_) => {
                        let stories = stories.join(" and ");
                        self.says(body, format!("sends {kind} for both {stories} at #{number} in v{view}"));
                    }
                    None if self.told.insert(format!("{body} both, again")) => {
                        self.says(body, "goes on sending votes that contradict each other".to_owned());
                    }
                    None => {}
                }
            }
        }
    }

    fn packet(&self, id: u64) -> Option<&Packet> {
        let packets = &self.story.packets;
        packets.binary_search_by_key(&id, |packet| packet.id).ok().map(|at| &packets[at])
    }

    fn happens(&mut self, text: String) {
        self.lines.push(Line { who: BTreeSet::new(), text, count: 1, step: None });
    }

    fn says_if(&mut self, told: bool, body: usize, text: String) {
        if told {
            self.says(body, text);
        }
    }

    fn says(&mut self, body: usize, text: String) {
        self.steps(body, text, None);
    }

    fn steps(&mut self, body: usize, text: String, step: Option<Step>) {
        // Nothing that this replica, or the network, did since must come to stand after it.
        let since = self.lines.iter().rposition(|line| line.who.is_empty() || line.who.contains(&body));
        let first = self.lines.len().saturating_sub(JOIN).max(since.unwrap_or(0));
        let known =
            self.lines[first..].iter_mut().rev().find(|line| line.text == text && !line.who.is_empty());
        match known {
            Some(line) => {
                // The same again is counted, not told.
                line.count += u32::from(!line.who.insert(body));
            }
            None => self.lines.push(Line { who: BTreeSet::from([body]), text, count: 1, step }),
        }
    }

    fn who(&self, who: &BTreeSet<usize>) -> String {
        who.iter().map(|body| self.story.names[*body].as_str()).collect::<Vec<_>>().join(" ")
    }

    /// The lines, with long stretches of the normal case as one each.
    fn folded(&self) -> Vec<String> {
        let mut out = Vec::new();
        let mut at = 0;
        while let Some(line) = self.lines.get(at) {
            let normal = self.normal(at);
            let commits: Vec<&Line> = self.lines[at..normal]
                .iter()
                .filter(|line| line.step.is_some_and(|step| step.committed))
                .collect();
            let proposer =
                self.lines[at..normal].iter().find(|line| line.step.is_some_and(|step| !step.committed));
            if commits.len() >= 3 {
                let numbers = || commits.iter().filter_map(|line| line.step.map(|step| step.number));
                let (first, last) = (numbers().min().unwrap_or(0), numbers().max().unwrap_or(0));
                let view = line.step.map_or(0, |step| step.view);
                let who = self.who(&commits[0].who);
                out.push(match proposer {
                    Some(line) => {
                        let proposer = self.who(&line.who);
                        format!("{proposer} proposes, and {who} commit, #{first} to #{last} in v{view}")
                    }
                    None => format!("{who}: committed #{first} to #{last} in v{view}"),
                });
                at = normal;
                continue;
            }
            let who = if line.who.is_empty() { String::new() } else { self.who(&line.who) + ": " };
            let times = if line.count > 1 { format!(" ({} times)", line.count) } else { String::new() };
            out.push(format!("{who}{}{times}", line.text));
            at += 1;
        }
        out
    }

    /// Where the stretch of normal steps that begins here ends: one view, one proposer, and the same
    /// replicas commit everything.
    fn normal(&self, at: usize) -> usize {
        let mut who: [Option<&BTreeSet<usize>>; 2] = [None, None];
        let mut view = None;
        let mut end = at;
        for line in &self.lines[at..] {
            let Some(step) = line.step.filter(|_| line.count == 1) else { break };
            let same = *who[usize::from(step.committed)].get_or_insert(&line.who) == &line.who;
            if !same || *view.get_or_insert(step.view) != step.view {
                break;
            }
            end += 1;
        }
        end
    }

    fn text(self) -> String {
        let mut out = String::new();
        let lines = self.folded();
        let more = lines.len().saturating_sub(LINES);
        for line in lines.iter().take(LINES) {
            let _ = writeln!(out, "{line}");
        }
        if more > 0 {
            let _ = writeln!(out, "… and {more} more lines");
        }
        if self.story.recording.header.left_out > 0 {
            let _ = writeln!(out, "… and later events, which were too many to keep");
        }
        for id in past::evidence(self.story) {
            if let Some(event) = self.story.event(id).filter(|event| event.body.is_some()) {
                let name = &self.story.names[event.body.unwrap_or(0)];
                let _ = writeln!(out, "! {name} {}", event.what.words(&self.story.names));
            }
        }
        let mut ends: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for (name, state) in self.story.names.iter().zip(&self.story.states) {
            if let Some(state) = state {
                let state = match (state.up, state.active) {
                    (false, _) => format!("down with #{}", state.blocks.0),
                    (_, true) => format!("in v{} with #{}", state.view, state.committed),
                    _ => format!("asking for v{} with #{}", state.view, state.committed),
                };
                ends.entry(state).or_default().push(name);
            }
        }
        for (state, names) in ends {
            let _ = writeln!(out, "= {}: {state}", names.join(" "));
        }
        out
    }
}

/// With `T` for measured times and `D` for digests, which say nothing to a reader.
fn stable(words: &str) -> String {
    let stands_for = |word: &str| {
        let bare = word.trim_end_matches(',');
        let timed = bare.starts_with(|digit: char| digit.is_ascii_digit()) && bare.ends_with('s');
        let digest = bare.len() == 8 && bare.chars().all(|digit| digit.is_ascii_hexdigit());
        let comma = if bare.len() < word.len() { "," } else { "" };
        match (timed, digest) {
            (true, _) => format!("T{comma}"),
            (_, true) => format!("D{comma}"),
            _ => word.to_owned(),
        }
    };
    words.split(' ').map(stands_for).collect::<Vec<_>>().join(" ")
}

/// Without what is different in each run.
fn plain(words: &str) -> String {
    words.split(';').next().unwrap_or(words).to_owned()
}

fn letter(story: usize) -> String {
    char::from_u32('A' as u32 + story.min(25) as u32).map_or_else(String::new, String::from)
}

#[cfg(test)]
mod tests {
    use super::super::test_runs::scenario;
    use super::*;

    #[test]
    fn measured_times_and_digests_are_left_out() {
        let words =
            "the primary takes 329.8ms to propose, a round takes 278µs, not 84f65043, and 2 others do";
        assert_eq!(stable(words), "the primary takes T to propose, a round takes T, not D, and 2 others do");
    }

    /// A recording of these events, at bodies.
    fn events(happened: Vec<(Option<usize>, What)>) -> Recording {
        let mut recording = scenario("attacks/equivocate-halves.toml");
        let event =
            |(nth, (body, what))| Event { id: nth as u64 + 1, at: nth as u64, body, cause: None, what };
        recording.events = happened.into_iter().enumerate().map(event).collect();
        recording.header.story.clear();
        recording
    }

    #[test]
    fn what_a_replica_says_after_something_else_is_told_after_it() {
        let complains = |view| What::Complains { view, reason: "silence".to_owned() };
        let text = transcript(&events(vec![
            (Some(1), complains(0)),
            (Some(2), complains(0)),
            (Some(1), complains(1)),
            (Some(3), complains(0)),
            (Some(1), complains(0)),
            (None, What::Fault { fault: "heal".to_owned(), text: String::new(), from: vec![], to: vec![] }),
            (Some(2), complains(0)),
        ]));
        let whose = |line: &str| line.split(':').next().unwrap_or_default().to_owned();
        let told: Vec<String> = text.lines().filter(|line| !line.starts_with('=')).map(whose).collect();
        assert_eq!(told.len(), 5, "{text}");
        assert_eq!(told[..3], ["r1 r2 r3", "r1", "r1"], "{text}");
        assert_eq!(told[4], "r2", "{text}");
    }

    #[test]
    fn a_transcript_is_short_and_tells_who_committed_what() {
        let text = transcript(&scenario("attacks/equivocate-halves.toml"));
        assert!(text.lines().count() <= LINES + 10, "{text}");
        assert!(text.contains("committed #1 in v0: e0"), "{text}");
        assert!(text.lines().last().is_some_and(|line| line.starts_with("= ")), "{text}");
    }
}
