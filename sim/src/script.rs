//! Scenarios: stories in plain text, with what the replicas say as the expectation.
//!
//! A file is a list of blocks: commands, a line of dashes, and what was said since the last
//! block. Packets wait until they are delivered by hand (`deliver`), or travel freely in one
//! millisecond while time passes (`run`).
//!
//! ```text
//! network n=4 window=8        the replicas; before them: liar 3 silent, twins 2
//! submit a b to 0             clients; without `to`, to replica 0; `to all`
//! deliver prepare, commit     by hand, in order, until none of these kinds is left; all if none named
//! run 2s                      everything travels and time passes
//! advance 2s                  time passes and nothing travels
//! drop commit from 0 to 1 2   those waiting and all to come; also `view 0`, `number 1`, `times 3`
//! delay 200ms from 3          the same, but late
//! cut 3 | mend                cut off from all others; all rules and cuts end
//! crash 0 | restart 0 | wipe 0
//! crash 0 before commit       when it is about to send one; also `after`, and `number 2`
//! chain | state               what each replica has
//! hide accepted, prepared     leave out what begins like this
//! ```

use std::fmt::Write as _;
use std::time::Duration;

use sbft::types::{Number, Place, View};

use crate::byzantine::{AttackSpec, Liar};
use crate::network::{Fate, Kind, Rule};
use crate::workload::index_of;
use crate::world::{CrashWhen, Event, Settings, World};

/// A mistake in a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptError {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong.
    pub text: String,
}

impl std::fmt::Display for ScriptError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}: {}", self.line, self.text)
    }
}

/// Runs a script; gives it back with what really was said in place of what it expects.
pub fn run(script: &str) -> Result<String, ScriptError> {
    let mut stage = Stage::default();
    let mut out = String::new();
    let mut lines = script.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let _ = writeln!(out, "{line}");
        if line.trim() == "----" {
            for said in stage.said() {
                let _ = writeln!(out, "{said}");
            }
            for (_, expected) in lines.by_ref() {
                if expected.trim().is_empty() {
                    let _ = writeln!(out);
                    break;
                }
            }
            continue;
        }
        let command = line.split('#').next().unwrap_or_default().trim();
        if !command.is_empty() {
            stage.command(command).map_err(|text| ScriptError { line: at + 1, text })?;
        }
    }
    Ok(out)
}

#[derive(Default)]
struct Stage {
    liars: Vec<(Place, Liar)>,
    twins: Vec<Place>,
    world: Option<World>,
    hidden: Vec<String>,
    extra: Vec<String>,
}

impl Stage {
    fn command(&mut self, line: &str) -> Result<(), String> {
        let words: Vec<&str> = line.split([' ', ',']).filter(|word| !word.is_empty()).collect();
        let Some((verb, rest)) = words.split_first() else { return Ok(()) };
        match *verb {
            "liar" => self.liar(rest),
            "twins" => {
                self.twins.extend(places(rest)?);
                Ok(())
            }
            "network" => self.network(rest),
            "hide" => {
                self.hidden.extend(rest.iter().map(|word| (*word).to_owned()));
                Ok(())
            }
            _ => {
                if self.world.is_none() {
                    return Err("the first command is `network`".to_owned());
                }
                self.act(verb, rest)
            }
        }
    }

    fn liar(&mut self, rest: &[&str]) -> Result<(), String> {
        let (place, names) = rest.split_first().ok_or("liar: which replica?")?;
        let specs: Vec<AttackSpec> = names.iter().map(|name| AttackSpec::named(name)).collect();
        let place = Place(number(place)? as u16);
        let liar = Liar::of(place, &specs).map_err(|text| format!("liar: {text}"))?;
        self.liars.push((place, liar));
        Ok(())
    }

    fn network(&mut self, rest: &[&str]) -> Result<(), String> {
        let mut settings = Settings::calm(0, 4);
        for word in rest {
            let (key, value) =
                word.split_once('=').ok_or_else(|| format!("network: {word} is no key=value"))?;
            match key {
                "n" => settings = Settings::calm(0, number(value)? as usize),
                "window" => settings.config.window = number(value)?,
                "dedup" => settings.config.dedup.blocks = number(value)?,
                "outstanding" => settings.config.outstanding = number(value)? as usize,
                "count" => {
                    settings.config.max_message_count = number(value)? as u32;
                    settings.cut_count = settings.cut_count.min(number(value)? as usize);
                }
                "cut" => settings.cut_count = number(value)? as usize,
                "complain" => settings.config.complain_timeout = span(value)?,
                "view-change" => settings.config.view_change_timeout = span(value)?,
                "status" => settings.config.status_interval = span(value)?,
                "block-sync" => settings.block_sync = (span(value)?, span(value)?),
                _ => return Err(format!("network: no setting {key}")),
            }
        }
        settings.restarts = false;
        let mut world = World::new(settings, std::mem::take(&mut self.liars), &self.twins);
        world.trace.says = Some(Vec::new());
        world.kept = Some(Vec::new());
        world.start();
        self.world = Some(world);
        self.settle();
        Ok(())
    }

    fn world(&mut self) -> &mut World {
        self.world.as_mut().expect("checked before any command that needs it")
    }

    /// Everything that happens at this instant happens.
    fn settle(&mut self) {
        let world = self.world();
        let now = world.now;
        world.run_until(now);
    }

    fn act(&mut self, verb: &str, rest: &[&str]) -> Result<(), String> {
        match verb {
            "submit" => self.submit(rest)?,
            "deliver" => self.deliver(rest)?,
            "run" => self.free_run(span(rest.first().ok_or("run: how long?")?)?),
            "advance" => {
                let until = self.world().now.after(span(rest.first().ok_or("advance: how long?")?)?);
                self.world().run_until(until);
            }
            "drop" => self.rule(rest, Fate::Drop)?,
            "delay" => {
                let (first, rest) = rest.split_first().ok_or("delay: how long?")?;
                self.rule(rest, Fate::Delay(span(first)?))?;
            }
            "cut" => {
                for place in places(rest)? {
                    let side = 1u64 << place.0;
                    self.world().network.cut(side, !side);
                    self.world().network.cut(!side, side);
                }
            }
            "mend" => {
                let world = self.world();
                world.network.rules.clear();
                world.network.mend(u64::MAX, u64::MAX);
            }
            "crash" if rest.len() > 1 && (rest[1] == "before" || rest[1] == "after") => {
                self.crash_when(rest)?
            }
            "crash" | "restart" | "wipe" => {
                for place in places(rest)? {
                    match verb {
                        "crash" => self.world().crash(place.index()),
                        "wipe" => self.world().wipe(place.index()),
                        _ => self.world().boot(place.index()),
                    }
                }
            }
            "chain" => self.chain(),
            "state" => self.state(),
            _ => return Err(format!("no command {verb}")),
        }
        self.settle();
        if let Some(violation) = self.world().violation() {
            let text = format!("FAILED {violation}");
            if !self.extra.contains(&text) {
                self.extra.push(text);
            }
        }
        Ok(())
    }

    fn submit(&mut self, rest: &[&str]) -> Result<(), String> {
        let (names, to) = match rest.iter().position(|word| *word == "to") {
            Some(at) => (&rest[..at], &rest[at + 1..]),
            None => (rest, &["0"][..]),
        };
        let n = self.world().settings.n;
        let to = if to == ["all"] { (0..n as u16).map(Place).collect() } else { places(to)? };
        for name in names {
            let world = self.world();
            let index = world.workload.submit(name);
            for place in &to {
                self.world().submit(*place, index, 0);
                self.settle();
            }
        }
        Ok(())
    }

    /// By hand: each waiting packet of these kinds, and those that it causes, until none is left.
    fn deliver(&mut self, rest: &[&str]) -> Result<(), String> {
        let rule = rule(rest, Fate::Pass)?;
        for _ in 0..100_000 {
            self.settle();
            let world = self.world();
            let Some(kept) = world.kept.as_mut() else { return Ok(()) };
            let next =
                kept.iter().position(|parcel| rule.takes(parcel.from, parcel.to, &parcel.packet.label()));
            let Some(next) = next else { return Ok(()) };
            let parcel = kept.remove(next);
            world.receive(parcel);
        }
        Err("deliver: the replicas never stop talking".to_owned())
    }

    fn free_run(&mut self, time: Duration) {
        let world = self.world();
        for parcel in world.kept.take().unwrap_or_default() {
            world.schedule(Duration::from_millis(1), Event::Deliver(parcel));
        }
        let until = world.now.after(time);
        world.run_until(until);
        // What is under way now waits like everything else.
        let waiting = world.take_under_way();
        world.kept = Some(waiting);
    }

    fn rule(&mut self, rest: &[&str], fate: Fate) -> Result<(), String> {
        let rule = rule(rest, fate)?;
        let world = self.world();
        if fate == Fate::Drop
            && let Some(kept) = &mut world.kept
        {
            kept.retain(|parcel| !rule.takes(parcel.from, parcel.to, &parcel.packet.label()));
        }
        world.network.rules.push(rule);
        Ok(())
    }

    fn crash_when(&mut self, rest: &[&str]) -> Result<(), String> {
        let body = number(rest[0])? as usize;
        let rule = rule(&rest[2..], Fate::Pass)?;
        let kind = rule.kinds.and_then(|kinds| kinds.first().copied()).ok_or("crash: before what?")?;
        let (view, number, after) = (rule.view, rule.number, rest[1] == "after");
        let when = CrashWhen { body, kind, view, number, after, down_for: None };
        self.world().crash_when.push(when);
        Ok(())
    }

    fn chain(&mut self) {
        let world = self.world();
        let mut says = Vec::new();
        for (index, body) in world.bodies.iter().enumerate() {
            let mut text = "chain".to_owned();
            for number in 1..=body.store.last().0 {
                if let Some(block) = body.store.block(Number(number)) {
                    let names: Vec<String> = block
                        .data
                        .iter()
                        .map(|e| index_of(e).map_or_else(|| "?".to_owned(), |i| world.workload.name(i)))
                        .collect();
                    let _ = write!(text, " [{}]", names.join(" "));
                }
            }
            says.push((index, text));
        }
        self.say(says);
    }

    fn state(&mut self) {
        let world = self.world();
        let says = world
            .bodies
            .iter()
            .enumerate()
            .map(|(index, body)| {
                let text = body.core.as_ref().map_or_else(
                    || "down".to_owned(),
                    |core| {
                        let probe = core.probe();
                        let active = if probe.active { "active" } else { "inactive" };
                        format!("in {} {active}, committed {}", probe.view, probe.committed)
                    },
                );
                (index, text)
            })
            .collect();
        self.say(says);
    }

    fn say(&mut self, mut lines: Vec<(usize, String)>) {
        if let Some(says) = &mut self.world().trace.says {
            says.append(&mut lines);
        }
    }

    /// What was said since the last time: equal lines of several replicas as one.
    fn said(&mut self) -> Vec<String> {
        let Some(world) = &mut self.world else { return Vec::new() };
        let says = world.trace.says.replace(Vec::new()).unwrap_or_default();
        let mut lines: Vec<(String, Vec<usize>)> = Vec::new();
        for (body, text) in says {
            if self.hidden.iter().any(|hidden| text.starts_with(hidden.as_str())) {
                continue;
            }
            // The same line again from the same replica is a line of its own.
            match lines.iter_mut().find(|(known, bodies)| *known == text && !bodies.contains(&body)) {
                Some((_, bodies)) => bodies.push(body),
                None => lines.push((text, vec![body])),
            }
        }
        let mut said: Vec<String> =
            lines.into_iter().map(|(text, bodies)| format!("{}: {text}", who(bodies))).collect();
        said.append(&mut self.extra);
        said
    }
}

/// `0..2 5` for 0, 1, 2 and 5.
fn who(mut bodies: Vec<usize>) -> String {
    bodies.sort_unstable();
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for body in bodies {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == body => *last = body,
            _ => runs.push((body, body)),
        }
    }
    let runs: Vec<String> = runs
        .into_iter()
        .map(|(first, last)| match last - first {
            0 => first.to_string(),
            1 => format!("{first} {last}"),
            _ => format!("{first}..{last}"),
        })
        .collect();
    runs.join(" ")
}

fn number(word: &str) -> Result<u64, String> {
    word.parse().map_err(|_| format!("{word} is no number"))
}

fn places(words: &[&str]) -> Result<Vec<Place>, String> {
    words.iter().map(|word| number(word).map(|place| Place(place as u16))).collect()
}

fn span(word: &str) -> Result<Duration, String> {
    let digits = word.trim_end_matches(char::is_alphabetic);
    let value = number(digits)?;
    match &word[digits.len()..] {
        "us" => Ok(Duration::from_micros(value)),
        "ms" => Ok(Duration::from_millis(value)),
        "s" => Ok(Duration::from_secs(value)),
        _ => Err(format!("{word} is no time; write 200ms or 2s")),
    }
}

/// `prepare commit from 0 to 1 2 view 0 number 1 times 3`.
fn rule(words: &[&str], fate: Fate) -> Result<Rule, String> {
    let mut rule = Rule { fate, ..Rule::default() };
    let mut part = "kind";
    for word in words {
        match *word {
            "from" | "to" | "view" | "number" | "times" => part = word,
            _ => match part {
                "kind" => {
                    let kind = Kind::NAMES.iter().find(|(_, name)| name == word);
                    let (kind, _) = kind.ok_or_else(|| format!("no kind of message is called {word}"))?;
                    rule.kinds.get_or_insert_default().push(*kind);
                }
                "from" => rule.from.get_or_insert_default().push(number(word)? as usize),
                "to" => rule.to.get_or_insert_default().push(number(word)? as usize),
                "view" => rule.view = Some(View(number(word)?)),
                "number" => rule.number = Some(Number(number(word)?)),
                _ => rule.left = Some(number(word)? as u32),
            },
        }
    }
    Ok(rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_are_named_in_runs() {
        assert_eq!(who(vec![2, 0, 1, 5]), "0..2 5");
        assert_eq!(who(vec![3, 2]), "2 3");
    }

    #[test]
    fn a_mistake_is_reported_with_its_line() {
        let error = run("network n=4\nsubmit a to x\n").expect_err("x is no replica");
        assert_eq!(error, ScriptError { line: 2, text: "x is no number".to_owned() });
        assert!(run("drop nonsense").is_err());
    }
}
