//! What lies behind the packets: times, stretches left out, views, partitions, faults.

use std::fmt::Write as _;

use super::{HALF, LEFT, Painter, REPEATS, RIGHT, TIME, time};
use crate::network::Kind;
use crate::report::html::escape;
use crate::report::html::lanes::{Band, Cut, bands, cuts};
use crate::report::html::marks::short;
use crate::report::story::Packet;
use crate::trace::What;

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

impl Painter<'_> {
    pub(super) fn times(&mut self) {
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

    pub(super) fn breaks(&mut self) {
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

    pub(super) fn bands(&mut self) {
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

    pub(super) fn cuts(&mut self) {
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

    pub(super) fn faults(&mut self) {
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
}
