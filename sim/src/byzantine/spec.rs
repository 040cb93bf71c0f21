//! Which attack, when, and against whom: plain data, for plans and scenario files.

use std::fmt;
use std::time::Duration;

use sbft::types::{Number, Place, Time, View};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::draw::{Draws, Purpose, mix};
use crate::network::Kind;

/// One attack of one liar.
///
/// In a scenario file: `attack = "equivocate-halves"`, and, if wanted, `when = { views = [0] }` and
/// `against = [1]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttackSpec {
    /// Its name in [`super::catalogue()`].
    #[serde(rename = "attack")]
    pub name: String,
    /// When it may act; always, if nothing is said.
    #[serde(default, skip_serializing_if = "Trigger::is_always")]
    pub when: Trigger,
    /// The replicas it is against (the victims, or those who hear the other story), by place. None
    /// said: the attack chooses.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "places")]
    pub against: Vec<Place>,
}

impl AttackSpec {
    /// The attack of this name, always.
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// The same attack, only then.
    #[must_use]
    pub fn when(mut self, when: Trigger) -> Self {
        self.when = when;
        self
    }

    /// The same attack, against these replicas.
    #[must_use]
    pub fn against(mut self, places: &[u16]) -> Self {
        self.against = places.iter().copied().map(Place).collect();
        self
    }
}

impl From<&str> for AttackSpec {
    fn from(name: &str) -> Self {
        Self::named(name)
    }
}

impl fmt::Display for AttackSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// When an attack may act: every condition that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trigger {
    /// In these views: of the message it bends, or the liar's own when it acts by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub views: Option<Span>,
    /// At these block numbers; for an attack that acts by itself, the next one to commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numbers: Option<Span>,
    /// On packets of these kinds only (`"prepare"`, `"new-view"`, ...).
    #[serde(default, skip_serializing_if = "Option::is_none", with = "kinds")]
    pub kinds: Option<Vec<Kind>>,
    /// How often, from 0 to 1: one draw for each view, number and kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p: Option<f64>,
    /// From this time on (`"1.5s"`).
    #[serde(default, skip_serializing_if = "Option::is_none", with = "moment")]
    pub from: Option<Duration>,
    /// Until this time.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "moment")]
    pub until: Option<Duration>,
}

/// What a trigger is asked about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Occasion {
    pub(super) now: Time,
    pub(super) view: View,
    pub(super) number: Number,
    /// None when the liar acts by itself.
    pub(super) kind: Option<Kind>,
    /// Tells the attacks of a run apart.
    pub(super) who: u64,
}

impl Trigger {
    /// Nothing is asked for.
    pub fn is_always(&self) -> bool {
        *self == Self::default()
    }

    /// Only in these views.
    pub fn in_views(views: &[u64]) -> Self {
        Self { views: Some(Span::Of(views.to_vec())), ..Self::default() }
    }

    /// With this probability.
    pub fn sometimes(p: f64) -> Self {
        Self { p: Some(p), ..Self::default() }
    }

    /// What is wrong with it, for people.
    pub fn fault(&self) -> Option<String> {
        if let Some(p) = self.p.filter(|p| !(0.0..=1.0).contains(p)) {
            return Some(format!("`p` is {p}; a probability is between 0 and 1"));
        }
        let none = |span: &Option<Span>| matches!(span, Some(Span::Of(some)) if some.is_empty());
        let empty = [
            ("views", none(&self.views)),
            ("numbers", none(&self.numbers)),
            ("kinds", self.kinds.as_ref().is_some_and(Vec::is_empty)),
        ];
        if let Some((key, _)) = empty.iter().find(|(_, empty)| *empty) {
            return Some(format!(
                "`{key}` is an empty list, so the attack would never act; leave it out for all"
            ));
        }
        match (self.from, self.until) {
            (Some(from), Some(until)) if until <= from => {
                Some("`until` is not after `from`, so the attack would never act".to_owned())
            }
            _ => None,
        }
    }

    pub(super) fn holds(&self, draws: Draws, occasion: Occasion) -> bool {
        let Occasion { now, view, number, kind, who } = occasion;
        let kind_number = kind.map_or(99, |kind| kind as u64);
        self.views.as_ref().is_none_or(|views| views.holds(view.0))
            && self.numbers.as_ref().is_none_or(|numbers| numbers.holds(number.0))
            && self.kinds.as_ref().is_none_or(|kinds| kind.is_none_or(|kind| kinds.contains(&kind)))
            && self.from.is_none_or(|from| now.0 >= from)
            && self.until.is_none_or(|until| now.0 < until)
            && self.p.is_none_or(|p| {
                // An attack that acts by itself is asked again and again at one view and number.
                let moment = if kind.is_none() { now.0.as_micros() as u64 } else { 0 };
                let key = [who, kind_number, mix(view.0, number.0), moment];
                p >= 1.0 || draws.chance(Purpose::Lie, &key, p)
            })
    }
}

/// Some numbers: a list (`[0, 2]`) or a range (`"2..5"`, without its end; `"3.."`).
#[derive(Clone, Debug, PartialEq)]
pub enum Span {
    /// These.
    Of(Vec<u64>),
    /// From the first to below the second; without a second, all from the first on.
    Range(u64, Option<u64>),
}

impl Span {
    /// This number is among them.
    pub fn holds(&self, number: u64) -> bool {
        match self {
            Self::Of(list) => list.contains(&number),
            Self::Range(first, end) => number >= *first && end.is_none_or(|end| number < end),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("\"{text}\" is no range; write \"2..5\" (2, 3 and 4), \"3..\" or a list [2, 3]");
        let (first, end) = text.split_once("..").ok_or_else(wrong)?;
        let first = first.trim().parse().map_err(|_| wrong())?;
        let end = match end.trim() {
            "" => None,
            end => Some(end.parse::<u64>().map_err(|_| wrong())?),
        };
        if end.is_some_and(|end| end <= first) {
            return Err(format!("the range \"{text}\" is empty"));
        }
        Ok(Self::Range(first, end))
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Of(list) => list.serialize(to),
            Self::Range(first, Some(end)) => to.serialize_str(&format!("{first}..{end}")),
            Self::Range(first, None) => to.serialize_str(&format!("{first}..")),
        }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a list like [0, 2] or a range like \"2..5\"")]
        enum Form {
            List(Vec<u64>),
            Text(String),
        }
        match Form::deserialize(from)? {
            Form::List(list) => Ok(Self::Of(list)),
            Form::Text(text) => Self::parse(&text).map_err(serde::de::Error::custom),
        }
    }
}

mod places {
    use super::{Deserialize, Deserializer, Place, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(places: &[Place], to: S) -> Result<S::Ok, S::Error> {
        places.iter().map(|place| place.0).collect::<Vec<_>>().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Place>, D::Error> {
        Ok(Vec::<u16>::deserialize(from)?.into_iter().map(Place).collect())
    }
}

mod kinds {
    use super::{Deserialize, Deserializer, Kind, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(kinds: &Option<Vec<Kind>>, to: S) -> Result<S::Ok, S::Error> {
        let names = kinds.as_ref().map(|kinds| kinds.iter().map(ToString::to_string).collect::<Vec<_>>());
        names.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<Kind>>, D::Error> {
        let known = |name: &String| {
            let found = Kind::NAMES.iter().find(|(_, known)| known == name).map(|(kind, _)| *kind);
            found.ok_or_else(|| {
                let all: Vec<_> = Kind::NAMES.iter().map(|(_, name)| *name).collect();
                serde::de::Error::custom(format!(
                    "no kind of packet \"{name}\"; there are: {}",
                    all.join(", ")
                ))
            })
        };
        let names = Option::<Vec<String>>::deserialize(from)?;
        names.map(|names| names.iter().map(known).collect()).transpose()
    }
}

mod moment {
    use super::{Deserialize, Deserializer, Duration, Serializer, duration, text_of};

    pub(super) fn serialize<S: Serializer>(at: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => to.serialize_str(&text_of(*at)),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| duration(&text).map_err(serde::de::Error::custom)).transpose()
    }
}

/// A duration as people write it: `400ms`, `1.5s`, `250us`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("\"{text}\" is no duration; write it like \"400ms\", \"1.5s\" or \"250us\"");
    let text = text.trim();
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(unit_at);
    let digits: u32 = match unit {
        "us" => 0,
        "ms" => 3,
        "s" => 6,
        _ => return Err(wrong()),
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if part.len() > digits as usize || whole.is_empty() {
        return Err(wrong());
    }
    let scale = 10u64.pow(digits);
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let part: u64 = if part.is_empty() {
        0
    } else {
        part.parse::<u64>().map_err(|_| wrong())? * 10u64.pow(digits - part.len() as u32)
    };
    let micros = whole.checked_mul(scale).and_then(|whole| whole.checked_add(part)).ok_or_else(wrong)?;
    Ok(Duration::from_micros(micros))
}

fn text_of(duration: Duration) -> String {
    match duration.as_micros() {
        micros if micros.is_multiple_of(1_000_000) => format!("{}s", micros / 1_000_000),
        micros if micros.is_multiple_of(1000) => format!("{}ms", micros / 1000),
        micros => format!("{micros}us"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn occasion(view: u64, number: u64, kind: Option<Kind>) -> Occasion {
        Occasion { now: Time(Duration::from_secs(1)), view: View(view), number: Number(number), kind, who: 3 }
    }

    #[test]
    fn a_trigger_without_conditions_always_holds() {
        assert!(Trigger::default().holds(Draws::new(1), occasion(7, 9, None)));
    }

    #[test]
    fn every_condition_of_a_trigger_must_hold() {
        let trigger = Trigger {
            views: Some(Span::Of(vec![0, 2])),
            numbers: Some(Span::Range(3, Some(5))),
            kinds: Some(vec![Kind::Commit]),
            from: Some(Duration::from_millis(500)),
            until: Some(Duration::from_secs(2)),
            ..Trigger::default()
        };
        let holds = |view, number, kind| trigger.holds(Draws::new(1), occasion(view, number, kind));
        assert!(holds(2, 4, Some(Kind::Commit)));
        assert!(!holds(1, 4, Some(Kind::Commit)), "another view");
        assert!(!holds(2, 5, Some(Kind::Commit)), "another number");
        assert!(!holds(2, 4, Some(Kind::Prepare)), "another kind");
        let late = Trigger { from: Some(Duration::from_secs(2)), ..trigger.clone() };
        assert!(!late.holds(Draws::new(1), occasion(2, 4, Some(Kind::Commit))), "too early");
        let early = Trigger { until: Some(Duration::from_millis(900)), ..trigger.clone() };
        assert!(!early.holds(Draws::new(1), occasion(2, 4, Some(Kind::Commit))), "too late");
    }

    #[test]
    fn a_probability_is_drawn_once_for_each_view_and_number() {
        let trigger = Trigger::sometimes(0.3);
        let holds = |number| trigger.holds(Draws::new(5), occasion(0, number, Some(Kind::Prepare)));
        let hits = (0..1000).filter(|number| holds(*number)).count();
        assert!((250..350).contains(&hits), "{hits} of 1000 at 0.3");
        assert_eq!(holds(17), holds(17));
    }

    #[test]
    fn a_spec_survives_being_written_and_read() {
        let spec = AttackSpec::named("silent").against(&[1, 2]).when(Trigger {
            views: Some(Span::Range(2, None)),
            kinds: Some(vec![Kind::NewView, Kind::WantBlocks]),
            p: Some(0.25),
            from: Some(Duration::from_micros(1_500_000)),
            until: Some(Duration::from_micros(1_500_250)),
            ..Trigger::default()
        });
        let text = toml::to_string(&spec).expect("plain data");
        assert_eq!(toml::from_str::<AttackSpec>(&text), Ok(spec), "{text}");
        assert!(text.contains("from = \"1500ms\"") && text.contains("views = \"2..\""), "{text}");
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_a_word_on_what_to_write() {
        let wrong = |text: &str| toml::from_str::<AttackSpec>(text).expect_err(text).to_string();
        assert!(wrong("attack = \"x\"\nwhen = { views = \"5\" }").contains("is no range"));
        assert!(wrong("attack = \"x\"\nwhen = { views = \"5..2\" }").contains("is empty"));
        assert!(
            wrong("attack = \"x\"\nwhen = { kinds = [\"preprare\"] }").contains("there are: pre-prepare")
        );
        assert!(wrong("attack = \"x\"\nwhen = { from = \"3\" }").contains("is no duration"));
        assert!(wrong("attack = \"x\"\nwhere = 3").contains("where"));
        assert!(Trigger::sometimes(1.5).fault().is_some() && Trigger::sometimes(1.0).fault().is_none());
    }

    #[test]
    fn durations_read_as_people_write_them() {
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("0.25ms"), Ok(Duration::from_micros(250)));
        assert_eq!(duration("7us"), Ok(Duration::from_micros(7)));
        for wrong in ["", "5", "s", "1.2345678s", "-1s", "1 h", "1.5us"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
