//! `sbft-sim attacks`: what liars can do.

use std::fmt::Write as _;

use clap::Args;
use sbft_sim::byzantine::{AttackInfo, catalogue, find};
use serde_json::json;

use super::{Exit, Outcome, say};

/// Width of the text of `--explain`.
const WIDTH: usize = 96;

/// Shows the catalogue of attacks: all of them, or one at length.
#[derive(Args)]
pub(crate) struct Attacks {
    /// List all attacks (as does no option at all).
    #[arg(long, conflicts_with = "explain")]
    list: bool,
    /// Explain one attack, by name or id: `--explain equivocate-halves`, `--explain A01`.
    #[arg(long, value_name = "NAME")]
    explain: Option<String>,
    /// JSON on standard output instead of text.
    #[arg(long)]
    json: bool,
}

impl Attacks {
    pub(crate) fn run(self) -> Outcome {
        match &self.explain {
            Some(name) => {
                let info = find(name).ok_or_else(|| unknown(name))?;
                say(&if self.json { format!("{:#}\n", json(info)) } else { explain(info) })?;
            }
            None if self.json => {
                let all: Vec<_> = catalogue().iter().map(json).collect();
                say(&format!("{:#}\n", serde_json::Value::Array(all)))?;
            }
            None => say(&list())?,
        }
        Ok(Exit::Ok)
    }
}

fn unknown(name: &str) -> String {
    let near: Vec<&str> = catalogue()
        .iter()
        .filter(|info| name.split('-').any(|part| part.len() > 3 && info.name.contains(part)))
        .map(|info| info.name)
        .take(5)
        .collect();
    if near.is_empty() {
        format!("no attack is called `{name}`; `sbft-sim attacks --list` shows all")
    } else {
        format!("no attack is called `{name}`; did you mean {}?", near.join(", "))
    }
}

fn list() -> String {
    let mut out = String::new();
    let width = catalogue().iter().map(|info| info.name.len()).max().unwrap_or(0);
    let mut family = None;
    for info in catalogue() {
        if family != Some(info.family) {
            let _ = writeln!(out, "{}{}:", if family.is_some() { "\n" } else { "" }, info.family);
            family = Some(info.family);
        }
        let later = if info.needs_reconfiguration { " (needs reconfiguration)" } else { "" };
        let _ = writeln!(out, "  {:<4} {:<width$}  {}{later}", info.id, info.name, info.does);
    }
    let _ = writeln!(out, "\n{} attacks; `sbft-sim attacks --explain NAME` says more", catalogue().len());
    out
}

fn explain(info: &AttackInfo) -> String {
    let mut out = format!("{} {} ({})\n", info.id, info.name, info.family);
    if !info.aliases.is_empty() {
        let _ = writeln!(out, "also called: {}", info.aliases.join(", "));
    }
    let _ = write!(out, "\n{}\n", wrapped(info.does));
    let _ = write!(out, "\nBugs it would show:\n{}\n", wrapped(info.aim));
    let _ = write!(out, "\n{}\n", wrapped(info.explain));
    if info.needs_reconfiguration {
        out += "\nIt has no meaning before the set of consenters can change, and no scenario yet.\n";
    } else {
        let _ = write!(
            out,
            "\nIn a scenario file:\n  [[byzantine]]\n  replica = 0\n  attack = \"{0}\"\nTry it: sbft-sim run sim/scenarios/attacks/{1}.toml --html out.html\n",
            info.name,
            info.name.replace(':', "-")
        );
    }
    out
}

/// The text in lines of at most [`WIDTH`] characters.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always a line");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.join("\n")
}

fn json(info: &AttackInfo) -> serde_json::Value {
    json!({
        "id": info.id,
        "name": info.name,
        "aliases": info.aliases,
        "family": info.family.to_string(),
        "does": info.does,
        "aim": info.aim,
        "explain": info.explain,
        "needs_reconfiguration": info.needs_reconfiguration,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attack_is_listed_and_explained() {
        let list = list();
        for info in catalogue() {
            assert!(list.contains(&format!("{:<4} {} ", info.id, info.name)), "{info:?}");
            let text = explain(info);
            assert!(text.lines().all(|line| line.chars().count() <= 140), "{info:?}");
            assert!(text.contains("Bugs it would show") && text.len() > 200, "{info:?}");
        }
    }

    #[test]
    fn a_name_that_is_nearly_right_gets_a_hint() {
        assert!(unknown("equivocate-half").contains("did you mean equivocate-halves"));
        assert!(unknown("xyz").contains("attacks --list"));
    }

    #[test]
    fn long_texts_are_wrapped_between_words() {
        let text = "word ".repeat(100);
        assert!(wrapped(&text).lines().all(|line| line.len() <= WIDTH && !line.ends_with(' ')));
        assert_eq!(wrapped(&text).split_whitespace().count(), 100);
    }
}
