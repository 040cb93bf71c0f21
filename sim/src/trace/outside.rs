//! What is done to the network from outside, in words.

use std::time::Duration;

use super::event::What;
use super::span;
use crate::network::{Conditions, Delay, Fate, Partition, Rule, Shape};
use crate::plan::{CrashAt, Moment};
use crate::world::Fault;

impl What {
    /// A fault; `names` are those of the bodies.
    pub(crate) fn fault(fault: &Fault, names: &[String]) -> Self {
        let among = |mask: u64| (0..names.len()).filter(|body| mask >> body & 1 == 1).collect::<Vec<_>>();
        let ours = |text: String| (text, Vec::new(), Vec::new());
        let (name, (text, from, to)) = match fault {
            Fault::Cut(from, to) => ("cut", (String::new(), among(*from), among(*to))),
            Fault::Mend(from, to) => ("mend", (String::new(), among(*from), among(*to))),
            Fault::LinkDown(one, other) => ("link-down", (String::new(), vec![*one], vec![*other])),
            Fault::LinkUp(one, other) => ("link-up", (String::new(), vec![*one], vec![*other])),
            Fault::Crash(body) => ("crash", (String::new(), vec![*body], vec![])),
            Fault::CrashFor(body, down) => ("crash", (format!("for {}", span(*down)), vec![*body], vec![])),
            Fault::Restart(body) => ("restart", (String::new(), vec![*body], vec![])),
            Fault::Wipe(body) => ("wipe", (String::new(), vec![*body], vec![])),
            Fault::Disk(body, fault) => ("disk", (fault.name().to_owned(), vec![*body], vec![])),
            Fault::Conditions(now) => ("conditions", ours(conditions(now))),
            Fault::LinkConditions(from, to, now) => {
                let now = now.as_ref().map_or_else(|| "like all others".to_owned(), |now| conditions(now));
                ("link-conditions", (now, among(*from), among(*to)))
            }
            Fault::Partition(partition) => ("partition", ours(parted(partition, names))),
            Fault::Reset(one, other, down) => {
                ("reset", (format!("for {}", span(*down)), vec![*one], vec![*other]))
            }
            Fault::Clog(from, to, lasts) => {
                ("clog", (format!("for {}", span(*lasts)), among(*from), among(*to)))
            }
            Fault::ClockRate(body, ppm) => ("clock-rate", (format!("{ppm:+} ppm"), vec![*body], vec![])),
            Fault::ClockDrift(body, most, every) => {
                ("clock-drift", (format!("up to {most} ppm, every {}", span(*every)), vec![*body], vec![]))
            }
            Fault::WallJump(body, millis) => ("wall-jump", (format!("{millis:+} ms"), vec![*body], vec![])),
            Fault::Pause(body, lasts) => ("pause", (format!("for {}", span(*lasts)), vec![*body], vec![])),
            Fault::Heal => ("heal", ours(String::new())),
            // The variants that came later say what they are by themselves.
            #[allow(unreachable_patterns)]
            other => ("fault", ours(format!("{other:?}"))),
        };
        Self::Fault { fault: name.to_owned(), text, from, to }
    }
}

fn all(mask: u64, names: &[String]) -> String {
    let of = |on: bool| -> Vec<&str> {
        let body = |body: &usize| (mask >> body & 1 == 1) == on;
        (0..names.len()).filter(body).map(|body| names[body].as_str()).collect()
    };
    match of(false).as_slice() {
        [] => "all".to_owned(),
        _ => of(true).join(" "),
    }
}

/// A partition in words.
fn parted(partition: &Partition, names: &[String]) -> String {
    let shape = match &partition.shape {
        Shape::Split { groups, one_way } => {
            let groups: Vec<String> = groups.iter().map(|group| all(*group, names)).collect();
            groups.join(if *one_way { " -> " } else { " | " })
        }
        Shape::Isolate(mask) => format!("{} alone", all(*mask, names)),
        Shape::OneWay { from, to } => format!("{} do not reach {}", all(*from, names), all(*to, names)),
        Shape::Bridge { over, left } => {
            let rest = !*left & !(1 << over);
            let over = names.get(*over).map_or("?", String::as_str);
            format!("{} | {}, bridged by {over}", all(*left, names), all(rest, names))
        }
        Shape::Ring => "a ring: each hears its two neighbours".to_owned(),
        Shape::Swizzle(mask) => format!("{} cut off one after the other", all(*mask, names)),
    };
    let rhythm = partition
        .flapping
        .map_or_else(String::new, |(on, off)| format!(", {} on and {} off", span(on), span(off)));
    let noticed = if partition.noticed { ", noticed" } else { "" };
    format!("{shape}, for {}{rhythm}{noticed}", span(partition.lasts))
}

/// Conditions in words: what differs from a network that delivers everything.
fn conditions(now: &Conditions) -> String {
    let percent = |chance: f64| format!("{:.1}%", chance * 100.0);
    let mut words = vec![delay(&now.delay)];
    let mut often = |chance: f64, what: &str| {
        if chance > 0.0 {
            words.push(format!("{} {what}", percent(chance)));
        }
    };
    often(now.loss, "lost");
    often(now.duplicate, "twice");
    often(now.phase_cut, "of phases cut");
    often(now.tail_chance, "late");
    often(now.reorder, "overtaken");
    often(now.clog, "clogged");
    if let Some(bytes) = now.bandwidth {
        words.push(format!("{bytes} bytes/s"));
    }
    if let Some(most) = now.queue {
        words.push(format!("queues of {most}"));
    }
    words.join(", ")
}

fn delay(delay: &Delay) -> String {
    match delay {
        Delay::Constant(always) => format!("{} away", about(*always)),
        Delay::Uniform { least, most } => format!("{} to {} away", about(*least), about(*most)),
        Delay::Exponential { least, mean } => {
            format!("{} and more away (mean +{})", about(*least), about(*mean))
        }
        Delay::Lognormal { median, p99 } => format!("{} away (p99 {})", about(*median), about(*p99)),
        Delay::Pareto { least, most, .. } => {
            format!("{} to {} away, heavy tail", about(*least), about(*most))
        }
        Delay::Lan => "a LAN".to_owned(),
        Delay::Metro => "one city".to_owned(),
        Delay::Wan(_) => "the regions of the world".to_owned(),
    }
}

/// A short duration, to a tenth of a millisecond.
fn about(duration: Duration) -> String {
    let tenths = duration.as_micros() / 100;
    match tenths % 10 {
        0 => format!("{} ms", tenths / 10),
        rest => format!("{}.{rest} ms", tenths / 10),
    }
}

/// A rule of a plan in words.
pub(super) fn rule(rule: &Rule, names: &[String]) -> String {
    let some = |bodies: &Option<Vec<usize>>, word: &str| {
        bodies.as_ref().map_or_else(String::new, |bodies| {
            let bodies: Vec<&str> =
                bodies.iter().map(|body| names.get(*body).map_or("?", String::as_str)).collect();
            format!(" {word} {}", bodies.join(" "))
        })
    };
    let kinds = rule.kinds.as_ref().map_or_else(
        || "everything".to_owned(),
        |kinds| kinds.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    );
    let view = rule.view.map_or_else(String::new, |view| format!(" in {view}"));
    let number = rule.number.map_or_else(String::new, |number| format!(" for {number}"));
    let left = rule.left.map_or_else(String::new, |left| format!(", {left} times"));
    let fate = match rule.fate {
        Fate::Drop => "lost".to_owned(),
        Fate::Pass => "let through".to_owned(),
        Fate::Delay(delay) => format!("late by {}", span(delay)),
        #[allow(unreachable_patterns)]
        other => format!("{other:?}"),
    };
    format!("{kinds}{view}{number}{}{}: {fate}{left}", some(&rule.from, "from"), some(&rule.to, "to"))
}

/// A crash of a plan in words.
pub(super) fn crash(crash: &CrashAt, names: &[String]) -> String {
    let name = names.get(crash.body).map_or("?", String::as_str);
    let moment = match &crash.moment {
        Moment::Output(ordinal) => format!("at its output {ordinal}"),
        Moment::Send { kind, view, number, after } => {
            let when = if *after { "after" } else { "before" };
            let view = view.map_or_else(String::new, |view| format!(" in {view}"));
            let number = number.map_or_else(String::new, |number| format!(" for {number}"));
            format!("{when} its {kind}{view}{number}")
        }
        #[allow(unreachable_patterns)]
        other => format!("at {other:?}"),
    };
    let down = crash.down_for.map_or_else(String::new, |down| format!(", for {}", span(down)));
    format!("{name} crashes {moment}{down}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Kind;
    use sbft::types::View;

    fn names() -> Vec<String> {
        (0..4).map(|place| format!("r{place}")).collect()
    }

    #[test]
    fn a_partition_says_who_is_apart_and_for_how_long() {
        let shape = Shape::Split { groups: vec![0b0011, 0b1100], one_way: false };
        let partition = Partition { noticed: true, ..Partition::steady(shape, Duration::from_millis(300)) };
        let fault = Fault::Partition(Box::new(partition));
        assert_eq!(
            What::fault(&fault, &names()).words(&names()),
            "partition r0 r1 | r2 r3, for 300ms, noticed"
        );
    }

    #[test]
    fn a_rule_reads_like_a_sentence() {
        let cut = Rule {
            kinds: Some(vec![Kind::Commit]),
            view: Some(View(0)),
            to: Some(vec![1, 2]),
            left: Some(3),
            ..Rule::default()
        };
        assert_eq!(rule(&cut, &names()), "commit in v0 to r1 r2: lost, 3 times");
        let down = Some(Duration::from_secs(1));
        let crash_at = CrashAt { body: 2, moment: Moment::Output(7), down_for: down };
        assert_eq!(crash(&crash_at, &names()), "r2 crashes at its output 7, for 1s");
    }
}
