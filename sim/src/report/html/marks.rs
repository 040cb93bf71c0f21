//! What stands on the lanes: moments worth a label, and small signs.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::super::story::Story;
use crate::network::Kind;
use crate::trace::What;

/// A label beside a lane. What a replica does stands left of it, what it knows right of it.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    pub(super) at: u64,
    pub(super) body: usize,
    pub(super) left: bool,
    /// Its style.
    pub(super) class: &'static str,
    /// The sign on the lane.
    pub(super) sign: Sign,
    verb: String,
    objects: Vec<String>,
    tail: String,
    /// The whole text, where the label is shortened.
    pub(super) title: String,
}

/// A sign on a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    None,
    Dot(&'static str),
    Crash,
    Start,
    Torn,
    Failed,
    Clock,
    Sync,
    Client,
}

impl Mark {
    pub(super) fn text(&self) -> String {
        let mut text = self.verb.clone();
        for object in &self.objects {
            let _ = write!(text, " {object}");
        }
        text + &self.tail
    }

    /// A label of the same kind at the same moment becomes part of this one.
    fn takes(&mut self, other: &Self) -> bool {
        let same = self.at == other.at
            && self.body == other.body
            && self.left == other.left
            && self.verb == other.verb
            && self.tail == other.tail
            && !other.objects.is_empty();
        if same {
            for object in &other.objects {
                if !self.objects.contains(object) {
                    self.objects.push(object.clone());
                }
            }
        }
        same
    }
}

/// Shortens to `limit` characters.
pub(super) fn short(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let kept: String = text.chars().take(limit.saturating_sub(1)).collect();
    kept.trim_end().to_owned() + "…"
}

/// All marks, in order of time. A label has at most `limit` characters.
pub(super) fn marks(story: &Story<'_>, limit: usize) -> Vec<Mark> {
    let mut marks: Vec<Mark> = Vec::new();
    let mut starts = vec![0; story.names.len()];
    let (mut proposed, mut proposed_at) = (BTreeSet::new(), u64::MAX);
    for event in &story.recording.events {
        let Some(body) = event.body else { continue };
        let mark = |left, class, sign, verb: &str, objects: Vec<String>, tail: String| Mark {
            at: event.at,
            body,
            left,
            class,
            sign,
            verb: verb.to_owned(),
            objects,
            tail,
            title: event.what.words(&story.names),
        };
        // Fewer votes than a quorum: the block came with its certificate.
        let votes = || match story.counted.get(&event.id) {
            Some(votes) if *votes >= story.quorum() => format!(" · {votes}"),
            _ => " · fetched".to_owned(),
        };
        let mark = match &event.what {
            What::Prepared { number, .. } => {
                let dot = Sign::Dot("d-pr");
                mark(false, "k-pr", dot, "prepared", vec![format!("#{number}")], votes())
            }
            What::Committed { number, .. } => {
                let dot = Sign::Dot("d-co");
                mark(false, "k-co", dot, "committed", vec![format!("#{number}")], votes())
            }
            What::Entered { view, .. } => {
                mark(false, "k-nv", Sign::Dot("d-nv"), &format!("enters view {view}"), vec![], String::new())
            }
            What::Complains { reason, .. } => {
                let text = short(&format!("complains: {reason}"), limit);
                mark(false, "k-vc", Sign::Dot("d-vc"), &text, vec![], String::new())
            }
            What::Withdrew { .. } => {
                mark(false, "k-again", Sign::None, "no complaint any more", vec![], String::new())
            }
            What::Abstains { upto, .. } => {
                let text = format!("abstains up to #{upto}");
                mark(false, "k-again", Sign::None, &text, vec![], String::new())
            }
            What::Suspected { view, reason } => {
                let text = short(&format!("wants view {view}: {reason}"), limit);
                mark(false, "k-vc", Sign::Dot("d-vc"), &text, vec![], String::new())
            }
            What::AsksView { view, carried, .. } => {
                let mut text = format!("view-change {view}");
                for (at, (number, _)) in carried.iter().enumerate() {
                    let _ = write!(text, "{}#{number}", if at == 0 { " with " } else { " " });
                }
                mark(true, "k-vc", Sign::None, &short(&text, limit), vec![], String::new())
            }
            What::StartsView { view, from } => {
                let from: Vec<String> = from.iter().map(|place| format!("r{place}")).collect();
                let text = format!("new-view {view} of {}", from.join(" "));
                mark(true, "k-nv", Sign::None, &short(&text, limit), vec![], String::new())
            }
            What::Cut { envelopes, .. } => {
                let text = short(&format!("cuts [{}]", envelopes.join(" ")), limit);
                mark(true, "k-ca", Sign::None, &text, vec![], String::new())
            }
            What::Crash { records, of_records, blocks, of_blocks } => {
                let torn = records < of_records || blocks < of_blocks;
                let text = if torn {
                    format!("crash, lost {} rec {} blk", of_records - records, of_blocks - blocks)
                } else {
                    "crash".to_owned()
                };
                mark(false, "k-bad", Sign::Crash, &short(&text, limit), vec![], String::new())
            }
            What::Start { number, records } => {
                starts[body] += 1;
                if starts[body] == 1 {
                    continue;
                }
                let text = format!("restart: #{number}, {records} records");
                mark(false, "k-co", Sign::Start, &short(&text, limit), vec![], String::new())
            }
            What::Wipe => mark(false, "k-bad", Sign::Failed, "disk lost", vec![], String::new()),
            What::Stumbled => mark(false, "k-bad", Sign::Crash, "liar stumbled", vec![], String::new()),
            What::Stopped { reason } => {
                let text = short(&format!("stops: {reason}"), limit);
                mark(false, "k-bad", Sign::Failed, &text, vec![], String::new())
            }
            What::Halted { reason } => {
                let text = short(&format!("halts: {reason}"), limit);
                mark(false, "k-bad", Sign::Failed, &text, vec![], String::new())
            }
            What::Accuse { text } => {
                let liar = text.split_whitespace().next().unwrap_or("somebody");
                let text = short(&format!("has proof that {liar} lied"), limit);
                mark(false, "k-bad", Sign::Dot("d-vc"), &text, vec![], String::new())
            }
            What::Disk { fault, text } => {
                let sign = if fault.contains("torn") { Sign::Torn } else { Sign::Failed };
                let text = short(&format!("disk {fault} {text}"), limit);
                mark(false, "k-bad", sign, &text, vec![], String::new())
            }
            What::Clock { fault, .. } if fault == "rate" => {
                mark(false, "", Sign::Clock, "", vec![], String::new())
            }
            What::Clock { fault, text } => {
                let text = short(&format!("clock {fault} {text}"), limit);
                mark(false, "k-vc", Sign::Clock, &text, vec![], String::new())
            }
            What::Lie { attack, .. } => mark(
                true,
                "k-bad",
                Sign::None,
                &short(&format!("lies: {attack}"), limit),
                vec![],
                String::new(),
            ),
            What::Sync { .. } | What::BlockSync { .. } => {
                mark(true, "", Sign::Sync, "", vec![], String::new())
            }
            What::Submit { envelope } => {
                let mut mark = mark(true, "", Sign::Client, "", vec![], String::new());
                mark.title = format!("a client submits {envelope}");
                mark
            }
            What::Send { message, .. } if message.kind == Kind::PrePrepare => {
                let at = story.packets.binary_search_by_key(&event.id, |packet| packet.id);
                let Some(packet) = at.ok().map(|at| &story.packets[at]) else { continue };
                // What others pass on to somebody who lacks it is no proposal of theirs.
                let place = story.recording.header.bodies.get(body).map_or(0, |info| u64::from(info.place));
                if place != message.view % story.recording.header.n.max(1) as u64 {
                    continue;
                }
                let new = proposed.insert((body, message.view, message.number, message.digest.clone()));
                let object = format!("#{}{}", message.number, letter(packet.contested, packet.story));
                let (class, verb) = if new { ("k-pp", "pre-prepare") } else { ("k-again", "again") };
                if !new && packet.at == proposed_at {
                    continue;
                }
                proposed_at = packet.at;
                mark(true, class, Sign::None, verb, vec![object], String::new())
            }
            _ => continue,
        };
        let labelled = !mark.text().is_empty();
        // Only the last few may be at the same moment, on the same lane.
        if labelled && marks.iter_mut().rev().take(12).any(|known| known.takes(&mark)) {
            continue;
        }
        marks.push(mark);
    }
    marks
}

/// The letter of one of several contradicting proposals.
pub(super) fn letter(contested: bool, story: usize) -> String {
    if !contested {
        return String::new();
    }
    char::from_u32('A' as u32 + story.min(25) as u32).map_or_else(String::new, String::from)
}
