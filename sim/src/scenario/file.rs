//! The shape of a scenario file, as serde reads it. What it means is worked out in
//! [`super::read`]; sim/docs/scenarios.md is the same for people.
//!
//! Every table refuses keys that it does not know. Tables whose keys depend on their `kind` are
//! flat here, so that a mistake is reported at its own line.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::units::{Bandwidth, Between, Rate, Size, Sizes, Span, Who};
use crate::byzantine::Trigger;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    pub(super) name: Option<String>,
    pub(super) about: Option<String>,
    pub(super) cluster: Cluster,
    pub(super) run: Run,
    pub(super) workload: Option<Workload>,
    pub(super) submit: Vec<Spanned<Submit>>,
    pub(super) network: NetworkTable,
    pub(super) disk: Disk,
    pub(super) replicas: Replicas,
    pub(super) faults: Vec<Spanned<FaultTable>>,
    pub(super) cuts: Vec<Spanned<CutTable>>,
    pub(super) byzantine: Vec<Spanned<LiarTable>>,
    pub(super) expect: ExpectTable,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Cluster {
    pub(super) n: Option<usize>,
    pub(super) window: Option<u64>,
    pub(super) dedup_blocks: Option<u64>,
    pub(super) dedup_envelopes: Option<u64>,
    pub(super) outstanding: Option<usize>,
    pub(super) slow_primary_factor: Option<u32>,
    pub(super) batch: Batch,
    pub(super) timeouts: Timeouts,
    pub(super) plants: Vec<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Batch {
    pub(super) max_message_count: Option<u32>,
    pub(super) preferred_max_bytes: Option<Size>,
    pub(super) absolute_max_bytes: Option<Size>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Timeouts {
    pub(super) forward: Option<Span>,
    pub(super) complain: Option<Span>,
    pub(super) view_change: Option<Span>,
    pub(super) cap: Option<Span>,
    pub(super) status: Option<Span>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Run {
    pub(super) seed: Option<u64>,
    #[serde(alias = "gst", alias = "heal")]
    pub(super) chaos: Option<Span>,
    pub(super) deadline: Option<Deadline>,
    pub(super) signatures: Option<SignaturesForm>,
}

/// How signatures are made and judged.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum SignaturesForm {
    Simulated,
    Ed25519,
    Ecdsa,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deadline {
    Auto,
    After(Span),
}

impl<'de> Deserialize<'de> for Deadline {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        if text == "auto" {
            return Ok(Self::Auto);
        }
        Span::parse(&text).map(Self::After).map_err(|_| {
            serde::de::Error::custom(format!("`{text}` is neither \"auto\" nor a time such as \"10s\""))
        })
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Workload {
    pub(super) clients: Option<u64>,
    pub(super) rate: Option<Rate>,
    pub(super) from: Option<Span>,
    pub(super) until: Option<Span>,
    pub(super) size: Option<Sizes>,
    pub(super) to: Option<Whom>,
}

/// To which replicas a client submits.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(
    untagged,
    expecting = "expected \"one\", \"round-robin\", \"all\", a replica's place, or a list of places"
)]
pub(super) enum Whom {
    Place(u16),
    Places(Vec<u16>),
    Way(Way),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Way {
    One,
    RoundRobin,
    All,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Submit {
    pub(super) at: Span,
    pub(super) to: Option<Whom>,
    pub(super) envelope: Option<u64>,
    #[serde(default)]
    pub(super) variant: u8,
    pub(super) count: Option<u64>,
    pub(super) every: Option<Span>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct NetworkTable {
    pub(super) delay: Option<DelayForm>,
    pub(super) tail: Option<UpTo>,
    pub(super) loss: Option<Probability>,
    #[serde(alias = "dup")]
    pub(super) duplicate: Option<Probability>,
    pub(super) phase_cut: Option<Probability>,
    pub(super) reorder: Option<UpTo>,
    pub(super) fifo: Option<bool>,
    pub(super) bandwidth: Option<Limit<Bandwidth>>,
    pub(super) queue: Option<Limit<usize>>,
    pub(super) clog: Option<Clog>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a time such as \"1ms\", \"lan\", \"metro\", \"wan\", or a table such as { kind = \"exponential\", least = \"1ms\", mean = \"5ms\" } (its other keys: delay, most, median, p99, shape, regions, one_way_ms, jitter)"
)]
pub(super) enum DelayForm {
    Constant(Span),
    Named(NamedDelay),
    Table(Box<DelayTable>),
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum NamedDelay {
    Lan,
    Metro,
    Wan,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UpTo {
    pub(super) chance: Probability,
    pub(super) up_to: Span,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Clog {
    pub(super) chance: Probability,
    #[serde(rename = "for")]
    pub(super) lasting: Span,
}

/// A limit, or `"none"`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged, expecting = "expected a limit (bandwidth: \"10MB/s\"; queue: 100), or \"none\"")]
pub(super) enum Limit<T> {
    None(NoLimit),
    At(T),
}

impl<T> Limit<T> {
    pub(super) fn value(self) -> Option<T> {
        match self {
            Self::None(NoLimit::None) => None,
            Self::At(limit) => Some(limit),
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum NoLimit {
    None,
}

/// A number from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Probability(pub(super) f64);

impl<'de> Deserialize<'de> for Probability {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = f64::deserialize(from)?;
        if (0.0..=1.0).contains(&value) {
            return Ok(Self(value));
        }
        Err(serde::de::Error::custom(format!(
            "{value} is no probability: give a number from 0 to 1, such as 0.02"
        )))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Disk {
    pub(super) sync: Option<Between>,
    pub(super) block_sync: Option<Between>,
    pub(super) compact: Option<Probability>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Replicas {
    pub(super) check: Option<Between>,
    pub(super) cut_count: Option<usize>,
    pub(super) batch_timeout: Option<Span>,
    pub(super) pool: Option<usize>,
    pub(super) crash_rate: Option<Probability>,
    pub(super) restart: Option<Restart>,
}

#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "expected \"never\", a time such as \"300ms\", or a pair such as [\"100ms\", \"500ms\"]"
)]
pub(super) enum Restart {
    Never(Never),
    After(Between),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Never {
    Never,
}

/// Declares a table whose keys depend on its `kind`, with the list of those that are there.
macro_rules! table {
    ($(#[$doc:meta])* $name:ident { $($key:ident $(as $alias:literal)? : $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub(super) struct $name {
            $($(#[serde(rename = $alias)])? pub(super) $key: Option<$type>,)*
        }

        impl $name {
            /// The keys that are there, under their names in the file.
            pub(super) fn keys(&self) -> Vec<&'static str> {
                let all = [$((self.$key.is_some(), table!(@name $key $($alias)?)),)*];
                all.into_iter().filter(|(there, _)| *there).map(|(_, name)| name).collect()
            }
        }
    };
    (@name $key:ident) => { stringify!($key) };
    (@name $key:ident $alias:literal) => { $alias };
}

table! {
    /// A delay that is not constant.
    DelayTable {
        kind: String,
        delay: Span,
        least: Span,
        most: Span,
        mean: Span,
        median: Span,
        p99: Span,
        shape: f64,
        regions: Vec<usize>,
        one_way_ms: Vec<Vec<u32>>,
        jitter: f64,
    }
}

table! {
    /// An entry of `[[faults]]`.
    FaultTable {
        at: Span,
        on: OnTable,
        kind: String,
        what: String,
        lasting as "for": Span,
        replica: Who,
        replicas: Whose,
        groups: Vec<Whose>,
        from: Whose,
        to: Whose,
        over: Who,
        left: Whose,
        link: Vec<Who>,
        one_way: bool,
        flapping: FlappingTable,
        noticed: bool,
        network: NetworkTable,
        rate_ppm: i32,
        drift_ppm: u32,
        every: Span,
        wall_jump_ms: i64,
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FlappingTable {
    pub(super) on: Span,
    pub(super) off: Span,
}

table! {
    /// When a fault happens, if not at a time: at something that a replica does.
    OnTable {
        replica: Who,
        output: u64,
        send: String,
        view: u64,
        number: u64,
        after: bool,
    }
}

table! {
    /// An entry of `[[cuts]]`.
    CutTable {
        phase: Phases,
        view: u64,
        number: u64,
        from: Whose,
        to: Whose,
        only_to: Whose,
        skip: u32,
        times: u32,
        delay: Span,
        copy_after: Span,
    }
}

/// Some replicas.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a replica's place such as 2, a list such as [0, 2], \"all\" or \"none\""
)]
pub(super) enum Whose {
    One(Who),
    Some(Vec<Who>),
    All(All),
    None(Nobody),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum All {
    All,
}

/// Said on purpose: an empty list is more likely a mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Nobody {
    None,
}

/// One kind of message or several.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "expected a kind of message such as \"commit\", or a list of them")]
pub(super) enum Phases {
    One(String),
    Some(Vec<String>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LiarTable {
    pub(super) replica: u16,
    pub(super) attack: String,
    #[serde(default)]
    pub(super) when: Trigger,
    #[serde(default)]
    pub(super) against: Vec<u16>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ExpectTable {
    pub(super) safety: Option<bool>,
    pub(super) liveness: Option<bool>,
    pub(super) violates: Option<String>,
    pub(super) acted: BTreeMap<String, u64>,
    pub(super) min_view: Option<u64>,
    pub(super) max_view: Option<u64>,
    pub(super) min_blocks: Option<u64>,
    pub(super) min_crashes: Option<u64>,
    pub(super) disk: BTreeMap<String, u64>,
    pub(super) stopped: BTreeMap<String, String>,
    pub(super) refused: BTreeMap<String, String>,
    pub(super) down: Vec<u16>,
    pub(super) caught_up: Vec<u16>,
}
