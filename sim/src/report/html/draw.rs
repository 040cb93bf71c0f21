//! The space-time diagram: a lane per body, time downward, an arrow per packet.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::super::story::{Packet, Story};
use super::axis::{Axis, Need};
use super::escape;
use super::marks::{Mark, Sign, marks, short};
use crate::network::Kind;
use crate::trace::What;
use room::Room;

mod ground;
mod packets;
mod room;
mod signs;

/// Room for the time on the left.
const LEFT: f64 = 120.0;
/// Where the time ends.
const TIME: f64 = 66.0;
/// Room for partitions and faults on the right.
const RIGHT: f64 = 230.0;
/// Half as wide as the band behind a lane.
const HALF: f64 = 16.0;
/// How wide a letter of a label is, more or less.
const LETTER: f64 = 5.9;
/// How high a tile is. The browser lays out only those that are in sight.
const TILE: f64 = 1500.0;
/// What was sent to the same replica so often before is not drawn again.
const REPEATS: u32 = 3;
/// More statuses than this are not drawn at all.
const STATUSES: usize = 4000;

/// The short name of a kind of packet in styles.
pub(super) fn class(kind: Kind) -> &'static str {
    match kind {
        Kind::PrePrepare => "pp",
        Kind::Prepare => "pr",
        Kind::Commit => "co",
        Kind::ViewChange => "vc",
        Kind::NewView => "nv",
        Kind::Status => "st",
        Kind::Offence => "of",
        Kind::Candidate | Kind::Repair => "ca",
        Kind::WantCandidates | Kind::WantBlocks => "wa",
        Kind::Blocks => "bl",
        #[allow(unreachable_patterns)]
        _ => "wa",
    }
}

/// What to draw and what to point at.
pub(super) struct Focus<'a> {
    /// The events that show the violation.
    pub(super) evidence: &'a [u64],
    /// Those and what they rest on.
    pub(super) past: &'a BTreeSet<u64>,
    /// Stretches of time to leave out.
    pub(super) folds: &'a [(u64, u64)],
}

/// The finished picture.
pub(super) struct Picture {
    /// The names of the lanes.
    pub(super) head: String,
    /// The picture itself, in tiles.
    pub(super) body: String,
    /// Packets by kind: how many there were, and how many are drawn.
    pub(super) counts: BTreeMap<Kind, (usize, usize)>,
}

struct Item {
    top: f64,
    bottom: f64,
    layer: u8,
    svg: String,
}

struct Painter<'a> {
    story: &'a Story<'a>,
    focus: &'a Focus<'a>,
    axis: Axis,
    /// Where each body's lane is.
    lanes: Vec<f64>,
    room: Room,
    gap: f64,
    width: f64,
    /// How many packets from here to there at this moment are drawn.
    beside: BTreeMap<(usize, usize, u64), usize>,
    /// Where the letter of a story stands already.
    tagged: BTreeSet<(usize, usize, u64)>,
    items: Vec<Item>,
}

/// Draws a story.
pub(super) fn picture(story: &Story<'_>, focus: &Focus<'_>) -> Picture {
    let bodies = story.names.len().max(1);
    let gap = match bodies {
        0..=4 => 222.0,
        5..=7 => 178.0,
        _ => 140.0,
    };
    let marks = marks(story, ((gap - 2.0 * HALF - 8.0) / LETTER) as usize);
    let room = Room { positions: positions(story), gap };
    let lanes = room.positions.iter().map(|at| LEFT + gap * (*at as f64 + 0.5)).collect();
    let statuses = story.packets.iter().filter(|packet| packet.about.kind == Kind::Status).count();
    let folded = |at: u64| focus.folds.iter().any(|(from, until)| (*from..*until).contains(&at));
    let drawn: Vec<&Packet> = story
        .packets
        .iter()
        .filter(|packet| packet.about.kind != Kind::Status || statuses <= STATUSES)
        .filter(|packet| packet.repeat < REPEATS && !folded(packet.at))
        .collect();
    let axis = Axis::new(needs(story, focus, &drawn, &marks, &room), hop(story), focus.folds);
    let width = LEFT + gap * bodies as f64 + RIGHT;
    let mut painter = Painter {
        story,
        focus,
        axis,
        lanes,
        room,
        gap,
        width,
        beside: BTreeMap::new(),
        tagged: BTreeSet::new(),
        items: Vec::new(),
    };
    painter.times();
    painter.breaks();
    painter.bands();
    painter.cuts();
    painter.faults();
    let mut counts: BTreeMap<Kind, (usize, usize)> = BTreeMap::new();
    for packet in &story.packets {
        counts.entry(packet.about.kind).or_default().0 += 1;
    }
    for packet in drawn {
        counts.entry(packet.about.kind).or_default().1 += 1;
        painter.packet(packet);
    }
    let mut rows = painter.marks(marks.iter().filter(|mark| !folded(mark.at)));
    painter.evidence(&mut rows);
    Picture { head: painter.head(), body: painter.tiles(), counts }
}

/// For each body the position of its lane: in the order of places, twins side by side.
fn positions(story: &Story<'_>) -> Vec<usize> {
    let mut order: Vec<usize> = (0..story.names.len()).collect();
    order.sort_by_key(|body| (story.recording.header.bodies[*body].place, *body));
    let mut positions = vec![0; order.len()];
    for (at, body) in order.into_iter().enumerate() {
        positions[body] = at;
    }
    positions
}

/// The median time from a packet's sending to its arrival.
fn hop(story: &Story<'_>) -> u64 {
    let mut hops: Vec<u64> = story
        .packets
        .iter()
        .filter(|packet| packet.about.kind != Kind::Status)
        .filter_map(|packet| packet.arrivals.first().map(|arrival| arrival.at - packet.at.min(arrival.at)))
        .collect();
    hops.sort_unstable();
    hops.get(hops.len() / 2).copied().unwrap_or(1000)
}

fn needs(story: &Story<'_>, focus: &Focus<'_>, drawn: &[&Packet], marks: &[Mark], room: &Room) -> Vec<Need> {
    let mut needs = Vec::new();
    for packet in drawn.iter().filter(|packet| packet.about.kind != Kind::Status) {
        needs.push(Need { at: packet.at, label: None });
        needs.extend(packet.arrivals.iter().map(|arrival| Need { at: arrival.at, label: None }));
    }
    for mark in marks.iter().filter(|mark| mark.sign != Sign::Sync) {
        let text = mark.text();
        let label = (!text.is_empty()).then(|| room.slots(mark.body, mark.left, &text));
        needs.push(Need { at: mark.at, label });
    }
    for event in &story.recording.events {
        match (&event.what, event.body) {
            (What::Violation { .. }, _) => {
                needs.push(Need { at: event.at, label: Some((0, room.positions.len() * 2)) });
            }
            (What::Fault { .. }, _) => {
                needs.push(Need { at: event.at, label: Some((0, 0)) });
            }
            (_, Some(body)) if focus.evidence.contains(&event.id) => {
                needs.push(Need { at: event.at, label: Some(room.slots(body, false, EVIDENCE)) });
            }
            _ => {}
        }
    }
    needs
}

/// Stands for a label that needs all the room there is.
const EVIDENCE: &str = "the label of an event that shows a violation";

/// A time for people.
pub(super) fn time(micros: u64) -> String {
    if micros < 1_000_000 {
        format!("{:.2} ms", micros as f64 / 1e3)
    } else {
        format!("{:.4} s", micros as f64 / 1e6)
    }
}

impl Painter<'_> {
    fn add(&mut self, top: f64, bottom: f64, layer: u8, svg: String) {
        self.items.push(Item { top: top - 14.0, bottom: bottom + 14.0, layer, svg });
    }

    fn head(&self) -> String {
        let mut svg = format!(r#"<svg width="{0:.0}" height="50" viewBox="0 0 {0:.0} 50">"#, self.width);
        let _ = write!(svg, r#"<text class="t" x="{TIME}" y="20">time ↓</text>"#);
        for (body, info) in self.story.recording.header.bodies.iter().enumerate() {
            let x = self.lanes[body];
            let liar = if info.honest { "" } else { " liar" };
            let twin = info.twin && body >= self.story.recording.header.n;
            let name = format!("r{}{}", info.place, if twin { "′" } else { "" });
            let under = match (info.honest, info.twin) {
                (true, _) => "honest".to_owned(),
                (false, true) if info.attacks.is_empty() => "twins: one key, two bodies".to_owned(),
                _ => format!("liar: {}", info.attacks.join(", ")),
            };
            let _ = write!(
                svg,
                r#"<text class="name{liar}" x="{x:.1}" y="21">{name}</text><text class="under{liar}" x="{x:.1}" y="38"><title>{}</title>{}</text>"#,
                escape(&under),
                escape(&short(&under, (self.gap / 5.6) as usize))
            );
        }
        svg + "</svg>"
    }

    fn tiles(mut self) -> String {
        self.items.sort_by_key(|item| item.layer);
        let count = (self.axis.height / TILE).ceil().max(1.0) as usize;
        let mut tiles = vec![String::new(); count];
        for item in &self.items {
            let first = (item.top.max(0.0) / TILE) as usize;
            let last = (item.bottom.max(0.0) / TILE) as usize;
            for tile in tiles.iter_mut().take(last.min(count - 1) + 1).skip(first.min(count - 1)) {
                tile.push_str(&item.svg);
                tile.push('\n');
            }
        }
        let mut out = String::new();
        for (at, tile) in tiles.iter().enumerate() {
            let top = at as f64 * TILE;
            let height = TILE.min(self.axis.height - top).max(1.0);
            let _ = write!(
                out,
                r#"<div class="tile" style="height:{height:.0}px;contain-intrinsic-size:{0:.0}px {height:.0}px"><svg width="{0:.0}" height="{height:.0}" viewBox="0 {top:.0} {0:.0} {height:.0}">
{tile}</svg></div>
"#,
                self.width
            );
        }
        out
    }
}
