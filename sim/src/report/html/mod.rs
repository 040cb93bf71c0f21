//! A run as one HTML file that needs nothing else: what ran, how it ended, where everybody
//! stands, and a space-time diagram as inline SVG.
//!
//! Time runs downward and replicas stand side by side: a page scrolls that way, labels beside a
//! lane stay horizontal, and the handful of replicas fits its width. The filter of the legend is
//! made of check boxes and style rules; the little script only adds comfort.

mod axis;
mod draw;
mod lanes;
mod marks;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::story::{Packet, Story};
use super::{golden, past};
use crate::network::Kind;
use crate::trace::{Recording, What};
use draw::{Focus, Picture, picture, time};

/// A story of at most so many lines is shown without being asked for.
const WORDS: usize = 30;
/// More packets than this (statuses apart) are not drawn: what is far from everything
/// interesting is left out.
const MOST: usize = 30_000;

/// The HTML page of a recording.
pub fn write(recording: &Recording) -> String {
    let story = Story::of(recording);
    let evidence = past::evidence(&story);
    let past = past::of(&story, &evidence);
    let folds = folds(&story, &past);
    let picture = picture(&story, &Focus { evidence: &evidence, past: &past, folds: &folds });
    let title = title(&story);
    let mut page = String::with_capacity(picture.body.len() + 64_000);
    let _ = writeln!(
        page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{}</title>\n<style>{}</style></head>\n<body>",
        escape(&title),
        include_str!("style.css")
    );
    page.push_str(&verdict(&story, &title, &evidence));
    page.push_str(&legend(&story, &picture));
    page.push_str(DEFINITIONS);
    let _ = writeln!(
        page,
        "<div id=\"picture\"><div class=\"head\">{}</div>\n{}</div>\n<script>{}</script>\n</body></html>",
        picture.head,
        picture.body,
        include_str!("script.js")
    );
    page
}

pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
    out
}

fn title(story: &Story<'_>) -> String {
    let header = &story.recording.header;
    let name = if header.title.is_empty() { format!("seed {}", header.seed) } else { header.title.clone() };
    format!("sbft-sim: {name}")
}

/// The stretches of time to leave out of a very long run.
fn folds(story: &Story<'_>, past: &BTreeSet<u64>) -> Vec<(u64, u64)> {
    let drawn: Vec<&Packet> =
        story.packets.iter().filter(|packet| packet.about.kind != Kind::Status).collect();
    if drawn.len() <= MOST {
        return Vec::new();
    }
    let chunk = drawn.len().div_ceil(200);
    let chunks: Vec<(u64, u64)> = drawn
        .chunks(chunk)
        .map(|packets| (packets[0].at, packets.last().map_or(0, |packet| packet.at)))
        .collect();
    let mut weight = vec![0_u32; chunks.len()];
    let mut note = |at: u64, much: u32| {
        let which = chunks.partition_point(|(_, until)| *until < at).min(chunks.len() - 1);
        weight[which] += much;
    };
    for event in &story.recording.events {
        let much = match &event.what {
            _ if past.contains(&event.id) => 1000,
            What::Violation { .. } => 100_000,
            What::Entered { .. } | What::StartsView { .. } | What::Halted { .. } | What::Accuse { .. } => 200,
            What::Crash { .. } | What::Wipe | What::Disk { .. } | What::Clock { .. } => 100,
            What::Fault { .. } | What::Suspected { .. } => 50,
            _ => continue,
        };
        note(event.at, much);
    }
    weight[0] += 50_000;
    if let Some(last) = weight.last_mut() {
        *last += 10_000;
    }
    let mut order: Vec<usize> = (0..chunks.len()).collect();
    order.sort_by_key(|which| (std::cmp::Reverse(weight[*which]), *which));
    let keep: BTreeSet<usize> = order.into_iter().take(MOST / chunk).collect();
    let mut folds: Vec<(u64, u64)> = Vec::new();
    for which in (0..chunks.len()).filter(|which| !keep.contains(which)) {
        let from = if which == 0 { 0 } else { chunks[which - 1].1 + 1 };
        let until = chunks[which].1;
        match folds.last_mut() {
            Some(last) if last.1 + 1 >= from => last.1 = until,
            _ => folds.push((from, until)),
        }
    }
    folds.retain(|(from, until)| until > from);
    folds
}

/// What ran, how it ended, where everybody stands.
fn verdict(story: &Story<'_>, title: &str, evidence: &[u64]) -> String {
    let header = &story.recording.header;
    let mut out = format!("<h1>{}</h1>\n<p class=\"sub\">", escape(title));
    let _ = write!(
        out,
        "{} replicas, seed {}, {} of simulated time, {} messages, {} lines of trace",
        header.n,
        header.seed,
        time(story.ended()),
        story.packets.len(),
        story.recording.events.len()
    );
    if !header.commit.is_empty() {
        let _ = write!(out, ", sbft {}", escape(&header.commit));
    }
    out.push_str("</p>\n<div class=\"cards\">\n");
    if header.left_out > 0 {
        let _ = writeln!(out, "<div class=\"card bad wide\"><p>{}</p></div>", escape(&too_long(story)));
    }
    match story.violation.map(|event| (event, &event.what)) {
        Some((event, What::Violation { class, check, text })) => {
            let _ = write!(
                out,
                "<div class=\"card bad wide\"><h2>{} broken: {} at {}</h2><p>{}</p>",
                escape(class),
                escape(check),
                time(event.at),
                escape(text)
            );
            if !evidence.is_empty() {
                out.push_str(if past::is_safety(event) {
                    "<p>It shows in (click to go there; what led to it is in full colour):</p><ol>"
                } else {
                    "<p>The last steps of those who tell the truth (click to go there):</p><ol>"
                });
                for event in evidence.iter().filter_map(|id| story.event(*id)) {
                    let _ = write!(
                        out,
                        "<li><a href=\"#e{}\">{}</a></li>",
                        event.id,
                        escape(&event.line(&story.names))
                    );
                }
                out.push_str("</ol>");
            }
            out.push_str("</div>\n");
        }
        _ => {
            let highest = story.states.iter().flatten().map(|state| state.committed).max().unwrap_or(0);
            let view = story.states.iter().flatten().map(|state| state.view).max().unwrap_or(0);
            let changed = match view {
                0 => "The view never changed.".to_owned(),
                _ => format!("In the end they are in view {view}."),
            };
            let _ = writeln!(
                out,
                "<div class=\"card good wide\"><h2>All checks held</h2><p>{highest} blocks committed. {changed}</p></div>"
            );
        }
    }
    out.push_str(&states(story));
    if !header.story.is_empty() {
        let open = if header.story.len() <= 24 { " open" } else { "" };
        let _ = write!(
            out,
            "<div class=\"card\"><details{open}><summary>What was done to them ({})</summary><ul>",
            header.story.len()
        );
        for line in &header.story {
            let _ = write!(out, "<li>{}</li>", escape(line));
        }
        out.push_str("</ul></details></div>\n");
    }
    let words = golden::transcript(story.recording);
    let open = if words.lines().count() <= WORDS { " open" } else { "" };
    let _ = writeln!(
        out,
        "<div class=\"card wide\"><details{open}><summary>In words</summary><pre>{}</pre></details></div>",
        escape(&words)
    );
    if !header.reproduce.is_empty() {
        let _ = writeln!(
            out,
            "<div class=\"card wide\"><h2>Run it again</h2><code>{}</code></div>",
            escape(&header.reproduce)
        );
    }
    out.push_str("</div>\n");
    out
}

/// Says that the run was too long to keep all of it.
fn too_long(story: &Story<'_>) -> String {
    let kept = story.recording.events.len();
    let last = story.recording.events.iter().rev().find(|event| !matches!(event.what, What::State(_)));
    format!(
        "The run was too long to keep all of it: this shows its first {kept} lines of trace, up to {}, and how it ended; {} more are left out. `replay --until` stops a run earlier.",
        time(last.map_or(0, |event| event.at)),
        story.recording.header.left_out
    )
}

/// The table of where each replica stands.
fn states(story: &Story<'_>) -> String {
    let mut tips = vec![String::new(); story.names.len()];
    for event in &story.recording.events {
        if let (What::Append { hash, .. }, Some(body)) = (&event.what, event.body) {
            tips[body].clone_from(hash);
        }
    }
    let when = if story.violation.is_some() { "when it broke" } else { "at the end" };
    let mut out = format!(
        "<div class=\"card\"><h2>Where they stand {when}</h2><table><tr><th>replica</th><th>role</th><th>view</th><th>phase</th><th>committed</th><th>last block</th><th>prepared</th><th>accepted</th><th>waiting</th><th>log</th><th>blocks</th><th>starts</th></tr>\n"
    );
    let honest_tips: BTreeSet<(u64, &str)> = story
        .states
        .iter()
        .enumerate()
        .filter(|(body, _)| story.is_honest(*body))
        .filter_map(|(body, state)| state.as_ref().map(|state| (state.committed, tips[body].as_str())))
        .collect();
    for (body, state) in story.states.iter().enumerate() {
        let Some(state) = state else { continue };
        let liar = if story.is_honest(body) { "" } else { " class=\"liar\"" };
        let phase = match (state.up, state.halted, state.active) {
            (false, ..) => "down",
            (_, true, _) => "halted",
            (_, _, true) => "active",
            _ => "between views",
        };
        // Two honest replicas at one number with different blocks stand out.
        let same_number = honest_tips.iter().filter(|(number, _)| *number == state.committed).count();
        let odd =
            if same_number > 1 && story.is_honest(body) { " class=\"odd mono\"" } else { " class=\"mono\"" };
        let unsynced = |all: u64, not: u64| {
            if not == 0 { format!("{all}") } else { format!("{all} ({not} not synced)") }
        };
        let role = if story.is_honest(body) { state.role.split(':').next().unwrap_or("") } else { "liar" };
        let _ = writeln!(
            out,
            "<tr{liar}><td>{}</td><td>{}</td><td>{}</td><td>{phase}</td><td>#{}</td><td{odd}>{}</td><td>#{}</td><td>#{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(&story.names[body]),
            escape(role),
            state.view,
            state.committed,
            tips[body],
            state.prepared,
            state.accepted,
            state.waiting,
            unsynced(state.records.0 as u64, state.records.1 as u64),
            unsynced(state.blocks.0, state.blocks.1),
            state.starts,
        );
    }
    out + "</table></div>\n"
}

/// What is what, with a check box for each kind.
fn legend(story: &Story<'_>, picture: &Picture) -> String {
    const ROWS: [(&str, &[Kind], &str); 10] = [
        ("ca", &[Kind::Candidate, Kind::Repair], "candidate"),
        ("pp", &[Kind::PrePrepare], "pre-prepare"),
        ("pr", &[Kind::Prepare], "prepare"),
        ("co", &[Kind::Commit], "commit"),
        ("vc", &[Kind::ViewChange], "view-change"),
        ("nv", &[Kind::NewView], "new-view"),
        ("of", &[Kind::Offence], "proof of a lie"),
        ("wa", &[Kind::WantCandidates, Kind::WantBlocks], "fetch"),
        ("bl", &[Kind::Blocks], "blocks"),
        ("st", &[Kind::Status], "status"),
    ];
    let mut out = String::from("<div class=\"card wide\" style=\"margin-top:14px\"><div class=\"keys\">");
    for (class, kinds, name) in ROWS {
        let (all, drawn) = kinds
            .iter()
            .filter_map(|kind| picture.counts.get(kind))
            .fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
        let count = if all == drawn { all.to_string() } else { format!("{drawn} of {all} drawn") };
        let checked = if class == "st" || all == 0 { "" } else { " checked" };
        let _ = write!(
            out,
            "<label><input type=\"checkbox\" id=\"k-{class}\"{checked}><svg width=\"44\" height=\"14\"><path class=\"m {class} key\" style=\"display:inline\" d=\"M2 7H36\"/></svg>{name} <small>({count})</small></label>"
        );
    }
    out.push_str("<label><input type=\"checkbox\" id=\"k-sy\" checked><svg width=\"14\" height=\"14\"><path class=\"sync\" d=\"M4 4h6v6h-6z\"/></svg>disk synced</label>");
    if let Some(violation) = story.violation {
        // What did not happen has no past; the switch is there all the same.
        let checked = if past::is_safety(violation) { " checked" } else { "" };
        let _ = write!(
            out,
            "<label><input type=\"checkbox\" id=\"f-past\"{checked}><b>only what led to it</b></label>"
        );
    }
    out.push_str(concat!(
        "</div><div class=\"tools\">Only number <input id=\"j-number\" type=\"number\" min=\"0\"> in view ",
        "<input id=\"j-view\" type=\"number\" min=\"0\"> <button id=\"j-all\">all</button> · ",
        "click an arrow to see the chain of messages that led to it</div>"
    ));
    out.push_str(HOW);
    out + "</div>\n"
}

const HOW: &str = r#"<details class="how"><summary>How to read this</summary>
<p>Each vertical line is a replica; time runs down, and each arrow is a message, from the moment it was sent to the moment it arrived. Time is stretched where much happens and compressed where nothing does; a dotted break says how much is missing.</p>
<p><b>The normal case</b> in five steps. A client hands an envelope to a replica (▸), which cuts it into a <i>candidate</i> and sends that to all. The primary of the view names it in a <i>pre-prepare</i> for the next block number. Everyone who accepts that sends <i>prepare</i> to all. Who has a quorum of prepares (“prepared #1 · 3”: three replicas' votes were there) holds a certificate that no other block can be prepared at this number and view, and sends <i>commit</i> to all. A quorum of commits (“committed #1 · 3”) puts the block into the ledger.</p>
<p><b>A view change.</b> Who suspects the primary leaves its view (hatched: between views, it votes in none) and sends a <i>view-change</i> with the certificates it holds. The next primary puts a quorum of them into a <i>new-view</i>; what may have committed follows from it and is voted on again. The colour behind a lane is the view.</p>
<p><b>What goes wrong.</b> A liar's lane is red, twins (two bodies with one key) are hatched. An arrow that ends half-way in a cross was lost; a cross at a lane means that nobody there heard it; a double line arrived twice. A red cross on a lane is a crash, a green circle a restart, the dotted lane between them its absence; an orange square is a torn write, a red one a failed disk. Orange bands are cut links. Where a liar told several stories about one number, letters at the arrows (A, B) tell them apart.</p>
<p>A small square is a sync: no vote leaves before the record that forbids contradicting it is on disk.</p></details>"#;

macro_rules! marker {
    ($kind:literal) => {
        concat!(
            r#"<marker id="a-"#,
            $kind,
            r#"" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" markerUnits="userSpaceOnUse" orient="auto"><path d="M0 .6L8 4L0 7.4z" fill="var(--"#,
            $kind,
            r#")"/></marker>"#
        )
    };
}

const DEFINITIONS: &str = concat!(
    r#"<svg width="0" height="0" style="position:absolute"><defs>"#,
    r#"<pattern id="between" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><path d="M0 0V7" stroke="var(--vc)" stroke-width="2.2" opacity=".55"/></pattern>"#,
    r#"<pattern id="twin" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(-45)"><path d="M0 0V6" stroke="var(--liar)" stroke-width="1.4" opacity=".5"/></pattern>"#,
    marker!("pp"),
    marker!("pr"),
    marker!("co"),
    marker!("vc"),
    marker!("nv"),
    marker!("st"),
    marker!("of"),
    marker!("ca"),
    marker!("wa"),
    marker!("bl"),
    "</defs></svg>\n"
);

#[cfg(test)]
mod tests {
    use super::super::test_runs::{recorded, scenario};
    use super::*;
    use crate::plan::Plan;
    use sbft::plant::Plant;

    #[test]
    fn a_page_needs_nothing_but_itself() {
        let page = write(&scenario("attacks/equivocate-halves.toml"));
        for foreign in ["http:", "https:", "src=", "@import", "<link"] {
            assert!(!page.contains(foreign), "{foreign} in a page that is to stand alone");
        }
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
        assert!(page.contains("All checks held"));
    }

    #[test]
    fn a_page_of_a_run_that_was_too_long_says_what_is_missing() {
        let mut recording = scenario("attacks/equivocate-halves.toml");
        assert!(!write(&recording).contains("too long to keep"));
        recording.header.left_out = 12_345;
        let page = write(&recording);
        assert!(page.contains("too long to keep all of it") && page.contains("12345 more are left out"));
    }

    #[test]
    fn a_violation_is_ringed_and_only_its_past_is_in_colour() {
        let recording = (0..200)
            .map(|seed| recorded(&Plan::draw(seed).without_rule(Plant::QuorumTooSmall)))
            .find(|recording| Story::of(recording).violation.is_some())
            .expect("a quorum that is too small breaks something soon");
        let page = write(&recording);
        assert!(page.contains("VIOLATION") && page.contains("class=\"ring\""));
        let (all, past) = (page.matches("<path class=\"m ").count(), page.matches(" past\" data-i").count());
        assert!(0 < past && past < all, "{past} of {all} arrows led to it");
    }

    #[test]
    fn what_is_far_from_all_that_matters_is_left_out_of_a_very_long_run() {
        let mut recording = scenario("attacks/equivocate-halves.toml");
        let once = recording.events.clone();
        let last = once.last().map_or(0, |event| event.at) + 1;
        for round in 1..300 {
            let after = round * once.len() as u64;
            recording.events.extend(once.iter().cloned().map(|mut event| {
                event.id += after;
                event.at += round * last;
                event.cause = event.cause.map(|cause| cause + after);
                if let What::Deliver { sent, .. } | What::Unheard { sent, .. } = &mut event.what {
                    *sent += after;
                }
                if let What::Send { message, .. } | What::Deliver { message, .. } = &mut event.what {
                    // Or they would be left out as repeats.
                    message.number += round * 100;
                }
                event
            }));
        }
        let page = write(&recording);
        assert!(page.contains("are left out"), "a page of {} bytes", page.len());
        assert!(page.len() < 20_000_000, "a page of {} bytes", page.len());
    }
}
