//! An arrow per packet: its colour, its fate, and what a pointer over it says.

use std::fmt::Write as _;

use super::{LEFT, Painter, class, time};
use crate::network::Kind;
use crate::report::html::escape;
use crate::report::html::marks::letter;
use crate::report::story::Packet;

/// How far apart arrows are that would be one.
const BESIDE: f64 = 3.5;

impl Painter<'_> {
    pub(super) fn packet(&mut self, packet: &Packet) {
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

    pub(super) fn title(&self, packet: &Packet) -> String {
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
}

fn cross(x: f64, y: f64, kind: &str, past: &str) -> String {
    format!(r#"<path class="cross {kind}{past}" d="M{:.0} {:.1}l9 9m0 -9l-9 9"/>"#, x - 4.5, y - 4.5)
}
