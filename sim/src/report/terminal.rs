//! A failed run in at most 25 lines: what broke, what shows it, and how to see it again.

use std::fmt::Write as _;

use super::past;
use super::story::Story;
use crate::trace::{Recording, What};

/// A report has at most so many lines.
pub const LINES: usize = 25;
/// A line has at most so many characters; longer words are told in the picture.
const WIDTH: usize = 110;

/// The report of a run in which a check failed. `files` are what was written about it: what it
/// is, and where.
pub fn failure(recording: &Recording, files: &[(&str, String)]) -> String {
    let story = Story::of(recording);
    let header = &recording.header;
    let mut lines = Vec::new();
    if let Some((event, What::Violation { class, check, text })) =
        story.violation.map(|event| (event, &event.what))
    {
        let at = seconds(event.at);
        lines.push(format!("{}: {} broken, check `{check}`, at {at}", header.title, class.to_lowercase()));
        lines.extend(wrapped(text, 4).into_iter().map(|line| format!("  {line}")));
        let evidence: Vec<_> = past::evidence(&story).into_iter().filter_map(|id| story.event(id)).collect();
        if !evidence.is_empty() {
            let safety = past::is_safety(event);
            lines.push(
                if safety { "what shows it:" } else { "the last steps of honest replicas:" }.to_owned(),
            );
            lines.extend(evidence.iter().map(|event| format!("  {}", event.line(&story.names))));
        }
    }
    lines.push("where they stood:".to_owned());
    let states: Vec<String> = story
        .names
        .iter()
        .zip(&story.states)
        .filter_map(|(name, state)| state.as_ref().map(|state| format!("  {name:<5} {state}")))
        .collect();
    // Beyond seven replicas the picture has the rest.
    lines.extend(capped(states, 7, "replicas"));
    if !header.story.is_empty() {
        lines.push("what was done to them:".to_owned());
        let story = header.story.iter().map(|line| format!("  {line}")).collect();
        lines.extend(capped(story, 4, "faults"));
    }
    lines.push(format!("seed {}, sbft {}", header.seed, header.commit));
    let mut end = vec![format!("reproduce: {}", header.reproduce)];
    end.extend(files.iter().map(|(what, path)| format!("{what}: {path}")));
    lines.truncate(LINES - end.len().min(LINES));
    let mut out = String::new();
    for line in lines {
        let _ = writeln!(out, "{}", cut(&line));
    }
    for line in end {
        // A command or a path that is cut is of no use.
        let _ = writeln!(out, "{line}");
    }
    out
}

fn seconds(micros: u64) -> String {
    format!("{}.{:06} s", micros / 1_000_000, micros % 1_000_000)
}

fn cut(line: &str) -> String {
    if line.chars().count() <= WIDTH {
        return line.to_owned();
    }
    line.chars().take(WIDTH - 1).collect::<String>() + "…"
}

/// The first `most` lines, and how many more there are.
fn capped(mut lines: Vec<String>, most: usize, what: &str) -> Vec<String> {
    let rest = lines.len().saturating_sub(most);
    if rest > 0 {
        lines.truncate(most);
        lines.push(format!("  … and {rest} more {what}"));
    }
    lines
}

/// A text in lines of whole words.
fn wrapped(text: &str, most: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("there is always one");
        if !last.is_empty() && last.chars().count() + 1 + word.chars().count() > WIDTH - 2 {
            lines.push(word.to_owned());
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    if lines.len() > most {
        lines.truncate(most);
        if let Some(last) = lines.last_mut() {
            last.push_str(" …");
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Plan, Show};
    use sbft::plant::Plant;

    fn failed() -> Recording {
        (0..200)
            .map(|seed| Plan::draw(seed).without_rule(Plant::QuorumTooSmall))
            .map(|plan| plan.run(Show { record: true, ..Show::default() }))
            .find(|report| report.violation.is_some())
            .and_then(|report| report.recording)
            .map(|recording| *recording)
            .expect("a quorum that is too small breaks something soon")
    }

    #[test]
    fn a_failure_is_told_in_at_most_25_lines() {
        let mut recording = failed();
        recording.header.reproduce = "the command".to_owned();
        for more in 0..100 {
            recording.header.story.push(format!("fault {more}"));
        }
        let told =
            failure(&recording, &[("picture", "out.html".to_owned()), ("scenario", "fail.toml".to_owned())]);
        assert!(told.lines().count() <= LINES, "{told}");
        for part in
            ["broken, check `", "what shows it:", "where they stood:", "reproduce: the command", "fail.toml"]
        {
            assert!(told.contains(part), "{part} is missing in\n{told}");
        }
        assert!(told.lines().all(|line| line.chars().count() <= WIDTH), "{told}");
    }

    #[test]
    fn long_texts_are_wrapped_at_words() {
        let text = "word ".repeat(60);
        let lines = wrapped(&text, 2);
        assert_eq!(lines.len(), 2);
        assert!(lines[1].ends_with(" …"));
    }
}
