//! Signs on the lanes and their labels, and the events that show a violation.

use std::fmt::Write as _;

use super::room::{Rows, below};
use super::{EVIDENCE, HALF, LETTER, Painter, time};
use crate::report::html::escape;
use crate::report::html::marks::{Mark, Sign, short};

impl Painter<'_> {
    pub(super) fn marks<'b>(&mut self, marks: impl Iterator<Item = &'b Mark>) -> Rows {
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

    pub(super) fn evidence(&mut self, rows: &mut Rows) {
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
