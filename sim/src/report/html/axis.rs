//! Where a moment lies on the page: time runs downward, and not evenly.
//!
//! A hop between replicas is about as long as a finger is wide, whatever the network's latency
//! is. Where labels would cover each other, time is stretched; where nothing is drawn for long,
//! it is compressed, and a break says how much is missing.

/// Pixels that a usual hop takes, in a short run and in a long one.
const HOPS: (f64, f64) = (72.0, 44.0);
/// A run in which more moments are drawn is a long one.
const MANY: usize = 1200;
/// Pixels that a label takes.
pub(super) const ROW: f64 = 12.0;
/// Pixels of a break.
const BREAK: f64 = 34.0;
/// A gap of so many hops is a break.
const LONG: u64 = 10;

/// Something that is drawn at a moment, and the room it takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Need {
    /// When, in µs.
    pub(super) at: u64,
    /// The first and last of the slots that its label takes up.
    pub(super) label: Option<(usize, usize)>,
}

/// A stretch of time that is left out or compressed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Break {
    /// Its begin and end, in µs.
    pub(super) from: u64,
    pub(super) until: u64,
    /// Its middle on the page.
    pub(super) y: f64,
}

/// Maps time to the page.
#[derive(Debug)]
pub(super) struct Axis {
    knots: Vec<(u64, f64)>,
    /// The breaks, from the top.
    pub(super) breaks: Vec<Break>,
    /// How high the page is.
    pub(super) height: f64,
    /// A usual hop, in µs.
    pub(super) hop: u64,
}

impl Axis {
    /// The axis for all that is drawn. `hop` is the usual time between two replicas; `folds` are
    /// stretches of time of which nothing is drawn.
    pub(super) fn new(mut needs: Vec<Need>, hop: u64, folds: &[(u64, u64)]) -> Self {
        let hop = hop.max(1);
        needs.retain(|need| !folds.iter().any(|(from, until)| (*from..*until).contains(&need.at)));
        needs.sort_by_key(|need| need.at);
        let length = if needs.len() > MANY { HOPS.1 } else { HOPS.0 };
        let mut free: Vec<f64> = Vec::new();
        let mut knots: Vec<(u64, f64)> = Vec::new();
        let mut breaks = Vec::new();
        // What comes before the first of them needs no room.
        let (mut at, mut y) = (needs.first().map_or(0, |need| need.at), 14.0_f64);
        for moment in needs.chunk_by(|one, other| one.at == other.at) {
            let gap = moment[0].at - at;
            let folded = folds.iter().any(|(from, until)| *from >= at && *until <= moment[0].at);
            if gap > hop * LONG || folded {
                y = free.iter().fold(y, |y, free| y.max(*free));
                breaks.push(Break { from: at, until: moment[0].at, y: y + BREAK / 2.0 });
                knots.push((at, y));
                y += BREAK;
            } else {
                y += length * step(gap, hop);
            }
            at = moment[0].at;
            for (first, last) in moment.iter().filter_map(|need| need.label) {
                if free.len() <= last {
                    free.resize(last + 1, 0.0);
                }
                y = free[first..=last].iter().fold(y, |y, free| y.max(*free));
            }
            for (first, last) in moment.iter().filter_map(|need| need.label) {
                let slots = &mut free[first..=last];
                let below = slots.iter().fold(y, |y, free| y.max(*free)) + ROW;
                slots.fill(below);
            }
            knots.push((at, y));
        }
        let height = free.iter().fold(y, |y, free| y.max(*free)) + 30.0;
        Self { knots, breaks, height, hop }
    }

    /// Where a moment lies.
    pub(super) fn y(&self, at: u64) -> f64 {
        let next = self.knots.partition_point(|(known, _)| *known < at);
        let (Some(after), before) = (self.knots.get(next), next.checked_sub(1).map(|at| self.knots[at]))
        else {
            return self.knots.last().map_or(14.0, |(_, y)| *y);
        };
        // Of a break's two ends at one moment, the upper one is the first.
        match before {
            _ if after.0 == at => {
                let last = self.knots[next..].iter().take_while(|(known, _)| *known == at).last();
                last.map_or(after.1, |(_, y)| *y)
            }
            Some((from, y)) if after.0 > from => {
                y + (after.1 - y) * (at - from) as f64 / (after.0 - from) as f64
            }
            _ => after.1,
        }
    }
}

/// How many hops long a gap is drawn: short ones in proportion, long ones ever less so.
fn step(gap: u64, hop: u64) -> f64 {
    let hops = gap as f64 / hop as f64;
    if hops <= 1.0 { hops } else { 1.0 + (hops.sqrt() - 1.0) * 0.6 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bare(at: u64) -> Need {
        Need { at, label: None }
    }

    #[test]
    fn later_is_never_higher() {
        let needs = [0, 5, 900, 1000, 1001, 90_000, 90_400].map(bare).to_vec();
        let axis = Axis::new(needs, 1000, &[]);
        let ys: Vec<f64> = (0..100_000).step_by(100).map(|at| axis.y(at)).collect();
        assert!(ys.is_sorted(), "time runs downward");
        assert_eq!(axis.breaks.len(), 1, "89 ms in which nothing is drawn");
        assert!(axis.height < 350.0, "and take little room: {}", axis.height);
    }

    #[test]
    fn labels_of_one_lane_do_not_cover_each_other() {
        let label = |at| Need { at, label: Some((3, 4)) };
        let axis = Axis::new(vec![label(10), label(10), label(11), bare(11)], 1000, &[]);
        assert!(axis.y(11) - axis.y(10) >= 2.0 * ROW);
    }

    #[test]
    fn what_is_folded_takes_the_room_of_a_break() {
        let needs = (0..1000).map(|at| bare(at * 1000)).collect();
        let axis = Axis::new(needs, 1000, &[(10_000, 990_000)]);
        assert_eq!(axis.breaks.len(), 1);
        assert!(axis.height < 25.0 * HOPS.0, "{}", axis.height);
    }
}
