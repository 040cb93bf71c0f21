//! Replicas that lie over the real network, for measuring what one of them costs the others.
//!
//! Only in builds with the feature `liar`, which say so in `--version` and are never shipped. A liar
//! runs the real core and the real node; an [`Attack`] stands between the core and everybody else, as
//! in the simulator, whose names the lies have where they are the same attack. Each lie counts how
//! often it really acted: a measurement under a lie that did nothing would be worthless.

mod attack;
mod floods;
mod primary;
mod votes;

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub(crate) use attack::WAKE;
pub use attack::{Act, Attack, Player, Scene};

/// Counter: how often a lie acted. Label lie.
pub const ACTED: &str = "sbft_liar_acted_total";

/// A slow primary is at least this slow by default: 0.95 of a quarter of the default complain
/// timeout, which is where a delay begins to be held against a primary.
pub const JUST_UNDER: Duration = Duration::from_millis(118);

/// A way to lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Says nothing at all.
    Silent,
    /// As primary, never proposes.
    SilentPrimary,
    /// As primary, proposes this much late.
    SlowPrimary(Duration),
    /// As primary, proposes a single envelope this often, and nothing else.
    CrawlingPrimary(Duration),
    /// As primary, proposes one thing to half of the others and another to the rest.
    EquivocateHalves,
    /// Casts no prepare, except as part of a proposal.
    WithholdPrepare,
    /// Casts no commit.
    WithholdCommit,
    /// Sends random bytes, and votes with a bit flipped, on every stream.
    Garbage,
    /// Sends all others new candidates of old envelopes as fast as they are taken.
    FloodBulk,
    /// Asks all others for blocks and candidates as fast as they answer.
    FloodFetch,
    /// Tells all others that it has nothing, so that they answer with everything.
    StormBait,
    /// Complains about every primary all the time.
    ComplainBait,
}

/// All lies with the pace they have by default, and what each does.
pub const LIES: [(Lie, &str); 12] = [
    (Lie::Silent, "says nothing at all"),
    (Lie::SilentPrimary, "as primary, never proposes"),
    (Lie::SlowPrimary(JUST_UNDER), "as primary, proposes this much late"),
    (Lie::CrawlingPrimary(JUST_UNDER), "as primary, proposes one envelope this often, and nothing else"),
    (Lie::EquivocateHalves, "as primary, proposes different things to halves of the others"),
    (Lie::WithholdPrepare, "casts no prepare"),
    (Lie::WithholdCommit, "casts no commit"),
    (Lie::Garbage, "sends random bytes and votes with a bit flipped on every stream"),
    (Lie::FloodBulk, "sends new candidates of old envelopes as fast as they are taken"),
    (Lie::FloodFetch, "asks for blocks and candidates as fast as it is answered"),
    (Lie::StormBait, "tells everybody that it has nothing"),
    (Lie::ComplainBait, "complains about every primary all the time"),
];

impl Lie {
    /// Its name, without its pace.
    pub fn name(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::SilentPrimary => "silent-primary",
            Self::SlowPrimary(_) => "slow-primary",
            Self::CrawlingPrimary(_) => "crawl",
            Self::EquivocateHalves => "equivocate-halves",
            Self::WithholdPrepare => "withhold-prepare",
            Self::WithholdCommit => "withhold-commit",
            Self::Garbage => "garbage",
            Self::FloodBulk => "flood-bulk",
            Self::FloodFetch => "flood-fetch",
            Self::StormBait => "storm-bait",
            Self::ComplainBait => "complain-bait",
        }
    }

    /// It is a lie of primaries: elsewhere it does nothing.
    pub fn is_of_primaries(self) -> bool {
        matches!(
            self,
            Self::SilentPrimary | Self::SlowPrimary(_) | Self::CrawlingPrimary(_) | Self::EquivocateHalves
        )
    }

    fn with_pace(self, pace: Duration) -> Option<Self> {
        match self {
            Self::SlowPrimary(_) => Some(Self::SlowPrimary(pace)),
            Self::CrawlingPrimary(_) => Some(Self::CrawlingPrimary(pace)),
            _ => None,
        }
    }
}

/// As it is written for [`FromStr`].
impl fmt::Display for Lie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SlowPrimary(pace) | Self::CrawlingPrimary(pace) => {
                write!(f, "{}:{}ms", self.name(), pace.as_millis())
            }
            _ => f.write_str(self.name()),
        }
    }
}

/// `NAME` or, for those with a pace, `NAME:MILLISECONDSms`.
impl FromStr for Lie {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, pace) = text.split_once(':').map_or((text, None), |(name, pace)| (name, Some(pace)));
        let Some((lie, _)) = LIES.iter().find(|(lie, _)| lie.name() == name) else {
            let names: Vec<_> = LIES.iter().map(|(lie, _)| lie.name()).collect();
            return Err(format!("there is no lie \"{name}\"; there are: {}", names.join(", ")));
        };
        let Some(pace) = pace else { return Ok(*lie) };
        let millis = pace.strip_suffix("ms").and_then(|number| number.parse().ok()).filter(|ms| *ms > 0);
        let millis =
            millis.ok_or_else(|| format!("\"{pace}\" is no pace; write, for example, {name}:118ms"))?;
        lie.with_pace(Duration::from_millis(millis))
            .ok_or_else(|| format!("the lie \"{name}\" has no pace; write only its name"))
    }
}

/// What a process lies, and since when.
pub struct Liar {
    lies: Vec<Lie>,
    lying: AtomicBool,
}

impl fmt::Debug for Liar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lies: Vec<_> = self.lies.iter().map(Lie::to_string).collect();
        write!(f, "liar {lies:?}")
    }
}

/// The one of this process: each of its replicas lies.
static LIAR: OnceLock<Arc<Liar>> = OnceLock::new();

impl Liar {
    /// Makes this process a liar that is honest until [`Self::begin`]. Call it once, before any chain
    /// starts; a later call changes nothing.
    pub fn install(lies: Vec<Lie>) -> Arc<Self> {
        Arc::clone(LIAR.get_or_init(|| Arc::new(Self { lies, lying: AtomicBool::new(false) })))
    }

    /// The one of this process, if it is a liar.
    pub fn of_this_process() -> Option<Arc<Self>> {
        LIAR.get().cloned()
    }

    /// Lies from now on.
    pub fn begin(&self) {
        if !self.lying.swap(true, Ordering::Relaxed) {
            tracing::warn!(liar = ?self, "begins to lie");
        }
    }

    /// It lies now.
    pub fn lies(&self) -> bool {
        self.lying.load(Ordering::Relaxed)
    }

    /// Whether what it would send now is not to be sent, because it is silent; counts it.
    pub fn mutes(&self) -> bool {
        let mute = self.lies() && self.lies.contains(&Lie::Silent);
        if mute {
            acted(Lie::Silent, 1);
        }
        mute
    }
}

/// Counts that a lie acted so many times; 0 shows it in the metrics before it does.
fn acted(lie: Lie, times: u64) {
    ::metrics::counter!(ACTED, "lie" => lie.name()).increment(times);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lie_is_read_as_it_is_written() {
        for (lie, _) in LIES {
            assert_eq!(lie.to_string().parse(), Ok(lie));
            assert_eq!(lie.name().parse(), Ok(lie), "the name alone gives the pace it has by default");
        }
        assert_eq!("slow-primary:475ms".parse(), Ok(Lie::SlowPrimary(Duration::from_millis(475))));
    }

    #[test]
    fn what_is_no_lie_is_refused_with_what_to_write() {
        let refused = |text: &str| text.parse::<Lie>().unwrap_err();
        assert!(refused("slow").contains("there are: silent, silent-primary"));
        assert!(refused("slow-primary:5").contains("slow-primary:118ms"));
        assert!(refused("slow-primary:0ms").contains("slow-primary:118ms"));
        assert!(refused("silent:5ms").contains("has no pace"));
    }
}
