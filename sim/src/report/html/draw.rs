//! The space-time diagram: a lane per body, time downward, an arrow per packet.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::super::story::{Packet, Story};
use super::axis::{Axis, Need, ROW};
use super::escape;
use super::lanes::{Band, Cut, bands, cuts};
use super::marks::{Mark, Sign, letter, marks, short};
use crate::network::Kind;
use crate::trace::What;

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
/// How far apart arrows are that would be one.
const BESIDE: f64 = 3.5;
/// How high a tile is. The browser lays out only those that are in sight.
const TILE: f64 = 1500.0;
/// What was sent to the same replica so often before is not drawn again.
const REPEATS: u32 = 3;
/// Faults that are drawn in another way than by a line of their own.
const QUIET: [&str; 12] = [
    "cut",
    "mend",
    "link-down",
    "link-up",
    "crash",
    "restart",
    "wipe",
    "partition",
    "clock-rate",
    "clock-drift",
    "wall-jump",
    "pause",
];
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

/// Where labels stand. Slot 0 is the margin; then each lane has one on its left and one on its
/// right, and a long label takes up the next lane's as well.
struct Room {
    positions: Vec<usize>,
    gap: f64,
}

impl Room {
    /// The first and last slot that a label takes up.
    fn slots(&self, body: usize, left: bool, text: &str) -> (usize, usize) {
        let position = self.positions.get(body).copied().unwrap_or(0);
        let own = 1 + position * 2 + usize::from(!left);
        let wide = text.chars().count() as f64 * LETTER > self.gap / 2.0 - HALF - 4.0;
        match (wide, left) {
            (false, _) => (own, own),
            (true, true) => (own.saturating_sub(1).max(1), own),
            (true, false) => (own, own + 1),
        }
    }
}

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

    fn times(&mut self) {
        let mut last = f64::MIN;
        let drawn = |packet: &&Packet| packet.about.kind != Kind::Status && packet.repeat < REPEATS;
        let packets = self.story.packets.iter().filter(drawn);
        let mut moments: Vec<u64> = packets.map(|packet| packet.at).collect();
        moments.sort_unstable();
        moments.dedup();
        for at in moments {
            let y = self.axis.y(at);
            if y - last >= 36.0 {
                last = y;
                let svg = format!(r#"<text class="t" x="{TIME}" y="{:.1}">{}</text>"#, y + 4.0, time(at));
                self.add(y, y, 3, svg);
            }
        }
    }

    fn breaks(&mut self) {
        for gap in self.axis.breaks.clone() {
            // Packets stand in order of their sending.
            let packets = &self.story.packets;
            let first = packets.partition_point(|packet| packet.at <= gap.from);
            let last = packets.partition_point(|packet| packet.at < gap.until).max(first);
            let packets = &packets[first..last];
            let (mut statuses, mut others, mut repeats) = (0, 0, 0);
            for packet in packets {
                *match packet.about.kind {
                    Kind::Status => &mut statuses,
                    _ if packet.repeat >= REPEATS => &mut repeats,
                    _ => &mut others,
                } += 1;
            }
            let mut text = format!("{} in which ", time(gap.until - gap.from));
            match (statuses, others, repeats) {
                (0, 0, 0) => text.push_str("nothing is sent"),
                (_, 0, 0) => {
                    let _ = write!(text, "only {statuses} statuses are sent");
                }
                (_, 0, _) => {
                    let _ = write!(text, "only {statuses} statuses and {repeats} repeats are sent");
                }
                _ => {
                    let _ = write!(
                        text,
                        "{others} messages, {repeats} repeats and {statuses} statuses are left out"
                    );
                }
            }
            let right = self.width - RIGHT;
            let svg = format!(
                r#"<path class="brk" d="M{LEFT} {0:.1}H{right}M{LEFT} {1:.1}H{right}"/><text class="g" x="{2}" y="{3:.1}">⋮ {text} ⋮</text>"#,
                gap.y - 8.0,
                gap.y + 8.0,
                (LEFT + right) / 2.0,
                gap.y + 4.0,
            );
            self.add(gap.y, gap.y, 1, svg);
        }
    }

    fn bands(&mut self) {
        for body in 0..self.lanes.len() {
            let x = self.lanes[body];
            let info = &self.story.recording.header.bodies[body];
            let liar = if info.honest { "" } else { " liar" };
            for Band { from, until, view, active, up } in bands(self.story, body) {
                let (top, bottom) = (self.axis.y(from), self.axis.y(until));
                let mut svg = String::new();
                if let Some(view) = view.filter(|_| up) {
                    let place = format!(
                        r#"x="{:.1}" y="{top:.1}" width="{:.1}" height="{:.1}""#,
                        x - HALF,
                        HALF * 2.0,
                        (bottom - top).max(0.0)
                    );
                    let _ = write!(svg, r#"<rect class="v{}" {place}/>"#, view % 6);
                    if !active {
                        let _ = write!(svg, r#"<rect fill="url(#between)" {place}/>"#);
                    }
                    if info.twin {
                        let _ = write!(svg, r#"<rect fill="url(#twin)" {place}/>"#);
                    }
                }
                let off = if up { "" } else { " off" };
                let _ = write!(svg, r#"<path class="lane{liar}{off}" d="M{x:.1} {top:.1}V{bottom:.1}"/>"#);
                self.add(top, bottom, 0, svg);
                if let Some(view) = view.filter(|_| up && bottom - top > 12.0) {
                    let word = if active { format!("v{view}") } else { format!("→v{view}") };
                    let label = format!(
                        r#"<text class="vl" x="{:.1}" y="{:.1}">{word}</text>"#,
                        x - HALF + 1.0,
                        top + 11.0
                    );
                    self.add(top, top + 11.0, 1, label);
                }
            }
        }
    }

    fn cuts(&mut self) {
        for Cut { from, until, sides, apart } in cuts(self.story) {
            let (top, bottom) = (self.axis.y(from), self.axis.y(until).max(self.axis.y(from) + 4.0));
            let height = bottom - top;
            let mut svg = format!("<g><title>for {}: {}</title>", time(until - from), escape(&sides));
            for x in apart.iter().filter_map(|body| self.lanes.get(*body)) {
                let _ = write!(
                    svg,
                    r#"<rect class="cutband" x="{:.1}" y="{top:.1}" width="{:.1}" height="{height:.1}"/>"#,
                    x - self.gap / 2.0,
                    self.gap
                );
            }
            let x = self.width - 20.0;
            let _ = write!(svg, r#"<path class="cutline" d="M{x} {top:.1}V{bottom:.1}"/>"#);
            let limit = ((height / 6.2) as usize).clamp(5, 60);
            // Beside the line where it is long enough, else level with it.
            let turned = if height > 60.0 { " rotate(90)" } else { "" };
            let _ = write!(
                svg,
                r#"<text class="cutname{}" transform="translate({:.1} {:.1}){turned}">{}</text></g>"#,
                if turned.is_empty() { " level" } else { "" },
                if turned.is_empty() { x - 6.0 } else { x + 6.0 },
                top + if turned.is_empty() { 9.0 } else { 4.0 },
                escape(&short(&format!("cut: {sides}"), if turned.is_empty() { 34 } else { limit })),
            );
            self.add(top, bottom, 0, svg);
        }
    }

    fn faults(&mut self) {
        let right = self.width - RIGHT;
        for event in &self.story.recording.events {
            let (style, text) = match &event.what {
                // What lasts has bands, and what happens to one replica stands on its lane.
                What::Fault { fault, .. } if QUIET.contains(&fault.as_str()) => continue,
                What::Fault { fault, text, .. } if fault == "heal" => {
                    ("fault", format!("the network heals {text}"))
                }
                What::Fault { .. } => ("fault", event.what.words(&self.story.names)),
                What::Violation { check, .. } => ("blame", format!("VIOLATION: {check}")),
                _ => continue,
            };
            let y = self.axis.y(event.at);
            let line = if style == "blame" { "ring" } else { "rule" };
            let svg = format!(
                r#"<g><title>{}</title><path class="{line}" d="M{LEFT} {y:.1}H{right}"/><text class="{style}" x="{}" y="{:.1}">{}</text></g>"#,
                escape(&event.what.words(&self.story.names)),
                right + 6.0,
                y + 4.0,
                escape(&short(&text, 38)),
            );
            self.add(y, y, 2, svg);
        }
    }

    fn packet(&mut self, packet: &Packet) {
        let (x0, x1) = (self.lanes[packet.from], self.lanes.get(packet.to).copied().unwrap_or(LEFT));
        let toward = if x1 > x0 { 1.0 } else { -1.0 };
        let (from, to) = (x0 + toward * 3.0, x1 - toward * 5.0);
        // What leaves together for the same replica runs side by side, and not on top of each other.
        let beside = self.beside.entry((packet.from, packet.to, packet.at)).or_insert(0);
        let aside = (*beside).min(4) as f64 * BESIDE;
        *beside += usize::from(packet.about.kind != Kind::Status);
        let top = self.axis.y(packet.at) + aside;
        let kind = class(packet.about.kind);
        let past = if self.focus.past.contains(&packet.id) { " past" } else { "" };
        let title = self.title(packet);
        let data = format!(
            r#"data-i="{}" data-k="{}.{}"{}"#,
            packet.id,
            packet.about.view,
            packet.about.number,
            packet.parent.map_or_else(String::new, |parent| format!(r#" data-p="{parent}""#)),
        );
        let mut end = top;
        let twice = packet.arrivals.len() + packet.due.len().saturating_sub(packet.arrivals.len()) > 1;
        let dup = if twice { " dup" } else { "" };
        let mut svg = String::new();
        let mut ends: Vec<(u64, &str)> = packet
            .arrivals
            .iter()
            .map(|arrival| (arrival.at, if arrival.unheard.is_some() { " x" } else { "" }))
            .collect();
        let flying = packet.due.len().saturating_sub(packet.arrivals.len());
        if packet.lost.is_none() {
            ends.extend(std::iter::repeat_n((self.story.ended(), " fly"), flying));
        }
        if packet.lost.is_some() {
            // A lost packet almost arrives: where it was bound for must be seen.
            let hop = (self.axis.y(packet.at + self.axis.hop) - top).clamp(10.0, 60.0);
            let (x, y) = (x1 - toward * self.gap * 0.3, top + hop * 0.8);
            let _ = write!(
                svg,
                r#"<path class="m {kind} x{past}" {data} d="M{from:.0} {top:.1}L{x:.0} {y:.1}"><title>{title}</title></path>{}"#,
                cross(x, y, kind, past),
            );
            end = y;
        }
        for (at, style) in ends {
            let y = (self.axis.y(at) + aside).max(top);
            end = end.max(y);
            let line = format!("M{from:.0} {top:.1}L{to:.0} {y:.1}");
            let _ = write!(
                svg,
                r#"<path class="m {kind}{dup}{style}{past}" {data} d="{line}"><title>{title}</title></path>"#
            );
            if twice {
                let _ = write!(svg, r#"<path class="hollow h-{kind}" d="{line}"/>"#);
            }
            if style == " x" {
                svg.push_str(&cross(to, y, kind, past));
            }
        }
        // Votes for the first of several stories need no letter to be told from the others.
        let tells = packet.contested && (packet.story > 0 || packet.about.kind == Kind::PrePrepare);
        if tells && self.tagged.insert((packet.from, packet.to, packet.at)) {
            // Near its receiver: near its sender it is one of a bundle.
            let part = 1.0 - 0.36 / (x1 - x0).abs().max(1.0) * self.gap;
            let (x, y) = (from + (to - from) * part, top + (end - top) * part - 3.0);
            let _ = write!(
                svg,
                r#"<text class="tag {}{past} h-{kind}" x="{x:.0}" y="{y:.1}">{}</text>"#,
                if packet.story == 0 { "" } else { "k-bad" },
                letter(true, packet.story)
            );
        }
        self.add(top, end, 4, svg);
    }

    fn title(&self, packet: &Packet) -> String {
        let name = |body: usize| self.story.names.get(body).map_or("?", String::as_str);
        let mut title = format!(
            "{} · {} → {} · sent {}",
            packet.about,
            name(packet.from),
            name(packet.to),
            time(packet.at)
        );
        if let Some(why) = &packet.lost {
            let _ = write!(title, " · lost: {why}");
        }
        for arrival in &packet.arrivals {
            let _ = write!(title, " · arrives {}", time(arrival.at));
            if let Some(why) = &arrival.unheard {
                let _ = write!(title, ", unheard: {why}");
            }
        }
        escape(&title)
    }

    fn marks<'b>(&mut self, marks: impl Iterator<Item = &'b Mark>) -> Rows {
        // Labels of one moment on one side of a lane stand below each other.
        let mut rows = Rows::new();
        for mark in marks {
            let (x, y) = (self.lanes[mark.body], self.axis.y(mark.at));
            let mut svg = sign(mark.sign, x, y);
            let text = mark.text();
            if text.is_empty() {
                let svg = svg.replacen("/>", &format!("><title>{}</title></path>", escape(&mark.title)), 1);
                self.add(y, y, 5, svg);
                continue;
            }
            let below = below(&mut rows, self.room.slots(mark.body, mark.left, &text), mark.at);
            let (side, at) = if mark.left { ("l", x - HALF - 3.0) } else { ("r", x + HALF + 3.0) };
            let _ = write!(
                svg,
                r#"<text class="{side} {}" x="{at:.0}" y="{:.1}"><title>{} · {}</title>{}</text>"#,
                mark.class,
                y + 4.0 + below,
                time(mark.at),
                escape(&mark.title),
                escape(&text)
            );
            self.add(y, y + below, 6, svg);
        }
        rows
    }

    fn evidence(&mut self, rows: &mut Rows) {
        for (nth, id) in self.focus.evidence.iter().enumerate() {
            let Some(event) = self.story.event(*id) else { continue };
            let Some(body) = event.body else { continue };
            let (x, y) = (self.lanes[body], self.axis.y(event.at));
            let words = short(&event.what.words(&self.story.names), ((self.gap - 60.0) / LETTER) as usize);
            let below = below(rows, self.room.slots(body, false, EVIDENCE), event.at);
            let svg = format!(
                r#"<g id="e{id}"><circle class="ring" cx="{x:.1}" cy="{y:.1}" r="9"/><text class="r blame" x="{:.1}" y="{:.1}">({}) {}</text></g>"#,
                x + HALF + 3.0,
                y + 4.0 + below,
                nth + 1,
                escape(&words),
            );
            self.add(y - 10.0, y + 10.0 + below, 7, svg);
        }
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

/// How many labels stand in a slot at a moment.
type Rows = BTreeMap<(usize, u64), usize>;

/// How far below its moment a label stands: labels of one moment stand below each other.
fn below(rows: &mut Rows, (first, last): (usize, usize), at: u64) -> f64 {
    let row = (first..=last).filter_map(|slot| rows.get(&(slot, at))).max().copied().unwrap_or(0);
    for slot in first..=last {
        rows.insert((slot, at), row + 1);
    }
    row as f64 * ROW
}

fn cross(x: f64, y: f64, kind: &str, past: &str) -> String {
    format!(r#"<path class="cross {kind}{past}" d="M{:.0} {:.1}l9 9m0 -9l-9 9"/>"#, x - 4.5, y - 4.5)
}

fn sign(sign: Sign, x: f64, y: f64) -> String {
    match sign {
        Sign::None => String::new(),
        Sign::Dot(class) => format!(r#"<circle class="dot {class}" cx="{x:.1}" cy="{y:.1}" r="4"/>"#),
        Sign::Crash => {
            format!(r#"<path class="crash" d="M{:.1} {:.1}l14 14m0 -14l-14 14"/>"#, x - 7.0, y - 7.0)
        }
        Sign::Start => {
            format!(r#"<path class="start" d="M{:.1} {y:.1}a6 6 0 1 1 -3 -5.2m0 0l-4 0m4 0l0 4"/>"#, x + 6.0)
        }
        Sign::Torn => format!(r#"<path class="torn" d="M{:.1} {:.1}h12v12h-12zl12 12"/>"#, x - 6.0, y - 6.0),
        Sign::Failed => format!(r#"<path class="fail" d="M{:.1} {:.1}h12v12h-12z"/>"#, x - 6.0, y - 6.0),
        Sign::Clock => format!(
            r#"<path class="clock" d="M{:.1} {y:.1}a6 6 0 1 0 12 0a6 6 0 1 0 -12 0M{x:.1} {:.1}V{y:.1}h4"/>"#,
            x - 6.0,
            y - 4.0
        ),
        Sign::Sync => format!(r#"<path class="sync sy" d="M{:.1} {:.1}h5v5h-5z"/>"#, x - 2.5, y - 2.5),
        Sign::Client => {
            format!(r#"<path class="client h-ca" d="M{:.1} {:.1}l8 4l-8 4z"/>"#, x - 11.0, y - 4.0)
        }
    }
}
