//! Charts as inline SVG: axes, lines, marks. Colours are classes of the page's style sheet, so
//! that one picture is readable on light and dark ground; no script.

use std::fmt::Write as _;

/// Size of the picture and its margins, in its own units.
const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 48.0;
/// Gaps in a line where there are no values.
const GAP: f64 = f64::NAN;

/// One axis: which values it shows, how, and what it is called.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    label: String,
    scale: Scale,
    low: f64,
    high: f64,
    ticks: Vec<(f64, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scale {
    Linear,
    Log,
}

impl Axis {
    /// From 0 to at least `high`.
    pub(super) fn linear(label: &str, high: f64) -> Self {
        let high = if high > 0.0 { high } else { 1.0 };
        // 1, 2 or 5 times a power of ten, four to ten of them.
        let rough = high / 6.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
        let step = step.into_iter().find(|step| *step >= rough).unwrap_or(power * 10.0);
        let count = (high / step).ceil().max(1.0) as usize;
        let ticks = (0..=count).map(|tick| (tick as f64 * step, number(tick as f64 * step))).collect();
        Self { label: label.to_owned(), scale: Scale::Linear, low: 0.0, high: count as f64 * step, ticks }
    }

    /// As [`Axis::linear`], but ends at `high`.
    pub(super) fn exact(label: &str, high: f64) -> Self {
        let mut axis = Self::linear(label, high);
        axis.high = if high > 0.0 { high } else { 1.0 };
        axis.ticks.retain(|(value, _)| *value <= axis.high * 1.0001);
        axis
    }

    /// Logarithmic, around `low` to `high`, both above 0: from and to 1, 2 or 5 of a decade.
    pub(super) fn log(label: &str, low: f64, high: f64) -> Self {
        let low = if low > 0.0 { low } else { 0.1 };
        let high = high.max(low * 1.0001);
        let mut steps = Vec::new();
        let first = low.log10().floor() as i32;
        let last = high.log10().ceil() as i32;
        for decade in first..=last {
            for factor in [1.0, 2.0, 5.0] {
                steps.push(factor * 10f64.powi(decade));
            }
        }
        let from = steps.iter().rposition(|step| *step <= low * 1.0001).unwrap_or(0);
        let to = steps.iter().position(|step| *step >= high * 0.9999).unwrap_or(steps.len() - 1);
        let steps = &steps[from..=to.max(from + 1).min(steps.len() - 1)];
        // Over many decades the powers of ten are enough.
        let dense = steps.len() <= 10;
        let is_power = |value: f64| (value.log10() - value.log10().round()).abs() < 1e-6;
        let ticks = steps.iter().filter(|value| dense || is_power(**value));
        Self {
            label: label.to_owned(),
            scale: Scale::Log,
            low: steps[0],
            high: *steps.last().unwrap_or(&high),
            ticks: ticks.map(|value| (*value, number(*value))).collect(),
        }
    }

    /// Percentiles: equal steps for 0, 90, 99, 99.9, … of `count` values. Values on it are
    /// `1 / (1 - quantile)`.
    pub(super) fn percentiles(count: u64) -> Self {
        let decades = (count.max(100) as f64).log10().ceil() as i32;
        let label = |decade: i32| match decade {
            0 => "0%".to_owned(),
            1 => "90%".to_owned(),
            2 => "99%".to_owned(),
            _ => format!("99.{}%", "9".repeat(decade as usize - 2)),
        };
        let mut ticks: Vec<(f64, String)> =
            (0..=decades).map(|decade| (10f64.powi(decade), label(decade))).collect();
        ticks.push((2.0, "50%".to_owned()));
        Self {
            label: "share of envelopes that were at most so late".to_owned(),
            scale: Scale::Log,
            low: 1.0,
            high: 10f64.powi(decades),
            ticks,
        }
    }

    fn place(&self, value: f64) -> f64 {
        let value = value.clamp(self.low, self.high);
        match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log => (value / self.low).ln() / (self.high / self.low).ln(),
        }
    }
}

/// A chart in the making.
pub(super) struct Chart {
    x: Axis,
    y: Axis,
    body: String,
    legend: Vec<(String, String)>,
}

impl Chart {
    pub(super) fn new(x: Axis, y: Axis) -> Self {
        Self { x, y, body: String::new(), legend: Vec::new() }
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + self.x.place(value) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.place(value) * (HEIGHT - TOP - BOTTOM)
    }

    /// A line through `points`; not-a-number breaks it. `class` is its colour.
    pub(super) fn line(&mut self, class: &str, label: &str, points: impl IntoIterator<Item = (f64, f64)>) {
        let mut path = String::new();
        let mut pen_down = false;
        for (x, y) in points {
            if y.is_nan() {
                pen_down = false;
                continue;
            }
            let command = if pen_down { 'L' } else { 'M' };
            // A lone point would be invisible: a line of no length with round ends is a dot.
            let dot = if pen_down { "" } else { "h0" };
            write!(path, "{command}{:.1} {:.1}{dot}", self.x(x), self.y(y)).expect("a string takes all");
            pen_down = true;
        }
        writeln!(self.body, "<path class=\"line {class}\" d=\"{path}\"/>").expect("a string takes all");
        self.legend.push((class.to_owned(), label.to_owned()));
    }

    /// The area under the line through `points`.
    pub(super) fn area(&mut self, class: &str, label: &str, points: impl IntoIterator<Item = (f64, f64)>) {
        let points: Vec<(f64, f64)> = points.into_iter().collect();
        let (Some(first), Some(last)) = (points.first(), points.last()) else { return };
        let mut path = format!("M{:.1} {:.1}", self.x(first.0), self.y(self.y.low));
        for (x, y) in &points {
            write!(path, "L{:.1} {:.1}", self.x(*x), self.y(*y)).expect("a string takes all");
        }
        write!(path, "L{:.1} {:.1}Z", self.x(last.0), self.y(self.y.low)).expect("a string takes all");
        writeln!(self.body, "<path class=\"area {class}\" d=\"{path}\"/>").expect("a string takes all");
        self.line(class, label, points);
    }

    /// A dot with a text that shows when it is pointed at.
    pub(super) fn dot(&mut self, class: &str, x: f64, y: f64, text: &str) {
        writeln!(
            self.body,
            "<circle class=\"dot {class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\"><title>{}</title></circle>",
            self.x(x),
            self.y(y),
            escape(text)
        )
        .expect("a string takes all");
    }

    /// Marks a time: a line from top to bottom, named.
    pub(super) fn mark(&mut self, x: f64, text: &str, row: usize) {
        let at = self.x(x);
        let (anchor, dx) = if at > WIDTH * 0.8 { ("end", -4.0) } else { ("start", 4.0) };
        writeln!(
            self.body,
            "<line class=\"mark\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"/>\
             <text class=\"mark\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
            HEIGHT - BOTTOM,
            at + dx,
            TOP + 12.0 + 14.0 * row as f64,
            escape(text)
        )
        .expect("a string takes all");
    }

    /// A level: a dashed line from left to right, named.
    pub(super) fn level(&mut self, y: f64, text: &str) {
        let at = self.y(y);
        writeln!(
            self.body,
            "<line class=\"level\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text class=\"level\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            WIDTH - RIGHT - 4.0,
            at - 4.0,
            escape(text)
        )
        .expect("a string takes all");
    }

    /// Shades `from` to `to`, which does not count.
    pub(super) fn shade(&mut self, from: f64, to: f64, text: &str) {
        let (left, right) = (self.x(from), self.x(to));
        if right - left < 1.0 {
            return;
        }
        let shade = format!(
            "<rect class=\"shade\" x=\"{left:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\"/>\
             <text class=\"shade\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n",
            right - left,
            HEIGHT - TOP - BOTTOM,
            f64::midpoint(left, right),
            TOP + 12.0,
            escape(text)
        );
        self.body.insert_str(0, &shade);
    }

    /// The picture; `title` says what it shows, for those who cannot see it too.
    pub(super) fn finish(self, title: &str) -> String {
        let mut out =
            format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n", escape(title));
        for (value, text) in &self.x.ticks {
            let at = self.x(*value);
            // The last one must not leave the picture.
            let (anchor, text_at) =
                if at > WIDTH - RIGHT - 1.0 { ("end", WIDTH - 2.0) } else { ("middle", at) };
            writeln!(
                out,
                "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"/>\
                 <text x=\"{text_at:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{text}</text>",
                HEIGHT - BOTTOM,
                HEIGHT - BOTTOM + 16.0
            )
            .expect("a string takes all");
        }
        for (value, text) in &self.y.ticks {
            let at = self.y(*value);
            writeln!(
                out,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                at + 4.0
            )
            .expect("a string takes all");
        }
        writeln!(
            out,
            "<text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
             <text class=\"axis\" x=\"{LEFT}\" y=\"14\" text-anchor=\"start\">{}</text>",
            f64::midpoint(LEFT, WIDTH - RIGHT),
            HEIGHT - 10.0,
            escape(&self.x.label),
            escape(&self.y.label)
        )
        .expect("a string takes all");
        out += &self.body;
        let mut right = WIDTH - RIGHT;
        for (class, label) in self.legend.iter().rev().filter(|(_, label)| !label.is_empty()) {
            right -= 7.2 * label.chars().count() as f64;
            writeln!(
                out,
                "<text x=\"{right:.1}\" y=\"14\">{}</text>\
                 <path class=\"line {class}\" d=\"M{:.1} 10h16\"/>",
                escape(label),
                right - 20.0
            )
            .expect("a string takes all");
            right -= 34.0;
        }
        out + "</svg>\n"
    }
}

/// A point where a line is broken.
pub(super) fn gap(x: f64) -> (f64, f64) {
    (x, GAP)
}

/// A number for people: few digits, thousands told apart.
pub(super) fn number(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 100.0 || v == 0.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    let (whole, rest) = text.find('.').map_or((text, ""), |at| text.split_at(at));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) && digit.is_ascii_digit() {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}

/// Text that stands in HTML as it is.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_grouped() {
        let cases = [
            (0.0, "0"),
            (0.5, "0.5"),
            (1.234, "1.23"),
            (12.34, "12.3"),
            (999.6, "1,000"),
            (81_234.5, "81,234"),
            (1_234_567.0, "1,234,567"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn axes_hold_what_they_were_made_for() {
        for high in [0.3, 7.0, 95.0, 100.0, 16_234.0] {
            let axis = Axis::linear("y", high);
            assert!(axis.high >= high && axis.ticks.len() >= 2 && axis.ticks.len() <= 12, "{axis:?}");
        }
        for (low, high) in [(0.2, 0.3), (1.7, 95.0), (1.0, 1_000.0), (0.05, 50_000.0), (3.0, 3.0)] {
            let axis = Axis::log("y", low, high);
            assert!(axis.low <= low && axis.high >= high, "{low} {high} {axis:?}");
            assert!(axis.ticks.len() >= 2 && axis.ticks.len() <= 11, "{axis:?}");
            assert!((0.0..=1.0).contains(&axis.place(low)) && axis.place(high) <= 1.0);
        }
        assert_eq!(Axis::percentiles(5_000).high, 1e4);
    }

    #[test]
    fn texts_cannot_leave_their_place() {
        let mut chart = Chart::new(Axis::linear("x", 1.0), Axis::linear("y", 1.0));
        chart.mark(0.5, "</svg><script>", 0);
        chart.line("a", "l", [(0.0, 0.1), gap(0.2), (0.5, 0.7)]);
        let svg = chart.finish("\"quoted\"");
        assert!(!svg.contains("<script>") && svg.contains("&quot;quoted&quot;"));
        assert_eq!(svg.matches("M").count(), 3, "a gap lifts the pen; the legend has one line: {svg}");
    }
}
