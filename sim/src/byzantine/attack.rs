//! What an attack may do: the trait that every attack of the catalogue implements, and yours.

use std::fmt;
use std::time::Duration;

use sbft::pbft::Record;
use sbft::types::Place;

use super::Stage;
use crate::network::{Letter, Packet};

/// Something that a liar sends.
#[derive(Clone, Debug)]
pub struct Act {
    /// To whom.
    pub to: Place,
    /// How much later than an honest replica would.
    pub delay: Duration,
    /// What.
    pub packet: Packet,
}

/// A way to lie.
///
/// A liar runs the real core. An attack stands between that core and everybody else: it sees what
/// the core hears and says, may bend it, and may act by itself. Every method has a default that
/// does nothing, so an attack implements the one or two that it is about.
///
/// Attacks combine: what one leaves of `acts` the next one bends. The trigger of the attack (its
/// `when`) was asked before a method is called. The simulator counts how often an attack really
/// acted: whenever it changed `acts`, sent something, hid something from its core, changed the
/// log, or called [`Stage::acted`].
///
/// ```
/// use sbft_sim::byzantine::{Act, Attack, Stage};
/// use sbft_sim::network::{Kind, Letter};
///
/// /// Votes prepare in even views only.
/// #[derive(Debug)]
/// struct EvenViews;
///
/// impl Attack for EvenViews {
///     fn say(&mut self, _: &mut Stage<'_>, letter: &Letter, acts: &mut Vec<Act>) {
///         if letter.label.kind == Kind::Prepare && letter.label.view.0 % 2 == 1 {
///             acts.clear();
///         }
///     }
/// }
/// ```
pub trait Attack: fmt::Debug {
    /// A packet arrived from `from`. False: the liar's own core never hears of it.
    fn hear(&mut self, _stage: &mut Stage<'_>, _from: Place, _packet: &Packet) -> bool {
        true
    }

    /// The core says `letter`; `acts` is what will really be sent, at first `letter` to each
    /// receiver. Change it as you like.
    fn say(&mut self, _stage: &mut Stage<'_>, _letter: &Letter, _acts: &mut Vec<Act>) {}

    /// The core sends a candidate, blocks, or a request for them; `acts` is what will really be
    /// sent, at first `packet` to one receiver.
    fn post(&mut self, _stage: &mut Stage<'_>, _packet: &Packet, _acts: &mut Vec<Act>) {}

    /// Every 25 ms: the time to do something by itself.
    fn wake(&mut self, _stage: &mut Stage<'_>) {}

    /// The liar crashed and will start again from `log`. Change it as you like.
    fn after_crash(&mut self, _stage: &mut Stage<'_>, _log: &mut Vec<Record>) {}
}
