//! Schedules aimed at a kind of bug.
//!
//! Chance alone goes seldom where some bugs show. An aimed schedule is a drawn one with a liar who
//! does what the bug lets through, or a calm one in which packets of one kind, view and number reach
//! only some: which ones is drawn.

use std::time::Duration;

use sbft::dedup_window::DedupRule;
use sbft::plant::Plant;
use sbft::types::{Number, Place, Time, View};

use crate::byzantine::{AttackSpec, Trigger};
use crate::disk::DiskFault;
use crate::draw::{Draws, Purpose};
use crate::network::{Conditions, Kind, Rule};
use crate::plan::{Plan, Submission, liveness_bound};
use crate::world::{Fault, Settings};

/// Draws of one aimed schedule.
struct Aim {
    draws: Draws,
    seed: u64,
}

/// The schedule of `seed`, bent towards where `plant` would show.
pub fn aimed(plant: Plant, seed: u64) -> Plan {
    let aim = Aim { draws: Draws::new(seed), seed };
    let lies = |names: &[&str]| aim.with_liar(Plan::draw_with(seed, 4), names);
    match plant {
        Plant::NaiveQuorum => Plan::draw_with(seed, 5),
        Plant::NewViewNotChecked | Plant::NewViewDuplicateSenders => lies(&["nv-dup-signers"]),
        Plant::ForgedCertificateAccepted => lies(&["forged-vc-cert"]),
        Plant::CertificateOfAnyView => lies(&["old-cert-replay"]),
        Plant::ProposalByAnyone => lies(&["borrowed-sig", "forge"]),
        Plant::FetchedBlockUnchecked => lies(&["lying-block", "lying-status"]),
        Plant::BlockCertificateTooSmall => lies(&["cert-f+1", "lying-block"]),
        Plant::EnvelopesNotChecked => lies(&["invalid-envelope", "forge-origin"]),
        Plant::LimitsNotChecked => lies(&["oversize"]),
        Plant::DataHashNotChecked => lies(&["bad-body"]),
        Plant::ParentNotChecked => lies(&["wrong-prev"]),
        Plant::VotesUnbounded => lies(&["mem-flood"]),
        Plant::ViewChangesUnbounded => lies(&["future-view-flood", "vc-spam"]),
        Plant::ForwardedUnbounded => lies(&["forge-origin"]),
        Plant::DuplicateVotesCounted => lies(&["vote-spam"]),
        Plant::JoinTooEarly => lies(&["vc-spam", "join-bait"]),
        Plant::AnswersAmplify | Plant::StatusAnswersStatus => lies(&["storm-bait", "vc-spam"]),
        Plant::SourceNotRotated | Plant::CatchUpAsksOnce => {
            let mut plan = lies(&["lying-checkpoint", "stall-transfer"]);
            plan.liars[0].0 = Place(0);
            plan
        }
        Plant::ComplaintNotRearmed => lies(&["silent-primary", "nv-silent"]),
        Plant::OffenceUnproven => lies(&["equivocate-halves", "vote-other-view"]),
        Plant::LowestCertificate | Plant::SingleHighestCertificate => aim.small_scope(),
        Plant::NoBackoff => aim.impatient(),
        Plant::TimersFollowWallTime => aim.wall_jumps(),
        Plant::NoJoinRule => aim.left_behind(),
        Plant::SameViewOnly | Plant::TimerBeforeQuorum => aim.scattered(),
        Plant::NoRetransmission => aim.missed_the_end(),
        Plant::DedupWindowTooShort => aim.narrow(),
        Plant::SyncFailureIgnored => aim.failing_syncs(),
        Plant::CertificatesDropped | Plant::DurableTooEarly => aim.slow_ledger(),
        Plant::TornTailAccepted | Plant::TornTailRefused | Plant::LogNotSynced | Plant::RestartForgetsIds => {
            aim.crashes(Plan::draw_with(seed, 4))
        }
        _ => Plan::draw_with(seed, 4),
    }
}

impl Aim {
    fn below(&self, key: u64, bound: u64) -> u64 {
        self.draws.below(Purpose::Plan, &[0xa13, key], bound)
    }

    fn chance(&self, key: u64, probability: f64) -> bool {
        self.draws.chance(Purpose::Plan, &[0xa14, key], probability)
    }

    /// One liar, who does just this, and nobody else counts against f.
    fn with_liar(&self, mut plan: Plan, names: &[&str]) -> Plan {
        plan.twins.clear();
        plan.faults.retain(|(_, fault)| !matches!(fault, Fault::Wipe(_)));
        let attacks = names.iter().map(|name| AttackSpec::named(name)).collect();
        plan.liars = vec![(Place(self.below(1, 4) as u16), attacks)];
        plan
    }

    /// Nothing happens but envelopes, one every 20 to 60 ms, to one replica or to two.
    fn calm(&self, heal_at: Duration) -> Plan {
        let mut plan = Plan::quiet(Settings::calm(self.seed, 4), Time(heal_at));
        let mut at = Duration::from_millis(5);
        let mut index = 0;
        while at < heal_at {
            for copy in 0..1 + self.below(1000 + index, 2) {
                let place = Place(((self.below(2000 + index, 4) + copy) % 4) as u16);
                plan.submissions.push(Submission { at: Time(at), place, index, variant: 0 });
            }
            at += Duration::from_millis(20 + self.below(3000 + index, 40));
            index += 1;
        }
        plan
    }

    /// In the first views and at the first numbers, each replica's prepares and commits reach only
    /// some, and so do view-changes.
    fn small_scope(&self) -> Plan {
        let mut plan = self.calm(Duration::from_millis(4000));
        plan.submissions.retain(|submission| self.chance(100 + submission.index, 0.4));
        for view in 0..3 {
            for (kind, number) in [
                (Kind::Prepare, Some(1)),
                (Kind::Prepare, Some(2)),
                (Kind::Commit, Some(1)),
                (Kind::Commit, Some(2)),
                (Kind::ViewChange, None),
            ] {
                for to in 0..4 {
                    let key = ((view * 8 + kind as u64) * 4 + number.unwrap_or(0)) * 4 + to;
                    if !self.chance(10_000 + key, if kind == Kind::ViewChange { 0.15 } else { 0.55 }) {
                        continue;
                    }
                    plan.cuts.push(Rule {
                        to: (kind != Kind::ViewChange).then(|| vec![to as usize]),
                        from: (kind == Kind::ViewChange).then(|| vec![to as usize]),
                        kinds: Some(vec![kind]),
                        view: Some(View(view)),
                        number: number.map(Number),
                        ..Rule::default()
                    });
                }
            }
        }
        plan
    }

    /// Replicas that lose patience long before a block can be done.
    fn impatient(&self) -> Plan {
        let mut plan = self.calm(Duration::from_millis(300));
        plan.submissions.truncate(4);
        plan.settings.conditions = Conditions::steady(Duration::from_millis(5));
        let config = &mut plan.settings.config;
        config.complain_timeout = Duration::from_millis(1);
        config.view_change_timeout = Duration::from_millis(1);
        config.view_change_timeout_cap = Duration::from_millis(400);
        config.forward_timeout = Duration::from_millis(2);
        plan.patience = liveness_bound(config);
        self.with_liar(plan, &["silent"])
    }

    /// Wall time of most replicas jumps two hours ahead and then one back, so that there is something
    /// to fall back from; then the primary in office goes silent.
    fn wall_jumps(&self) -> Plan {
        let mut plan = self.calm(Duration::from_millis(1500));
        for body in 0..4 {
            if self.chance(body, 0.8) {
                let back = Duration::from_millis(200 + self.below(10 + body, 1000));
                for (at, millis) in [(Duration::from_millis(100), 7_200_000), (back, -3_600_000)] {
                    plan.faults.push((Time(at), Fault::WallJump(body as usize, millis)));
                }
            }
        }
        let since = Duration::from_millis(500 + self.below(20, 800));
        let silent = AttackSpec::named("silent").when(Trigger { from: Some(since), ..Trigger::default() });
        plan.liars = vec![(Place(0), vec![silent])];
        plan
    }

    /// Replicas are alone by turns, for long enough to go through views, and a liar is silent.
    fn scattered(&self) -> Plan {
        let mut plan = self.calm(Duration::from_millis(6000));
        plan.settings.config.view_change_timeout = Duration::from_millis(100);
        plan.settings.config.view_change_timeout_cap = Duration::from_millis(800);
        plan.settings.config.complain_timeout = Duration::from_millis(150);
        plan.patience = liveness_bound(&plan.settings.config);
        for which in 0..12 {
            let body = self.below(20 + which, 4);
            let at = Duration::from_millis(self.below(40 + which, 5000));
            let until = at + Duration::from_millis(200 + self.below(60 + which, 1500));
            let (one, rest) = (1u64 << body, !(1u64 << body));
            let (from, to) = if self.chance(80 + which, 0.5) { (one, rest) } else { (rest, one) };
            plan.faults.push((Time(at), Fault::Cut(from, to)));
            plan.faults.push((Time(until), Fault::Mend(from, to)));
            if self.chance(90 + which, 0.5) {
                plan.faults.push((Time(at), Fault::Crash(self.below(95 + which, 4) as usize)));
            }
        }
        self.with_liar(plan, &[["silent"], ["silent-primary"], ["flapping"]][self.below(3, 3) as usize])
    }

    /// One replica is alone while views come and go under the others, because a liar withholds its
    /// votes and keeps complaining; then the liar goes silent, and the one comes back.
    fn left_behind(&self) -> Plan {
        let (gone, liar) = (self.below(1, 4), self.below(2, 3));
        let liar = (gone + 1 + liar) % 4;
        let mut plan = self.calm(Duration::from_millis(5000));
        plan.settings.config.view_change_timeout = Duration::from_millis(100);
        plan.settings.config.view_change_timeout_cap = Duration::from_millis(800);
        plan.settings.config.complain_timeout = Duration::from_millis(150);
        plan.patience = liveness_bound(&plan.settings.config);
        let (one, rest) = (1u64 << gone, !(1u64 << gone));
        for (from, to) in [(one, rest), (rest, one)] {
            plan.faults.push((Time(Duration::from_millis(50)), Fault::Cut(from, to)));
        }
        let end = Duration::from_millis(3500 + self.below(3, 1400));
        let until = Trigger { until: Some(end), ..Trigger::default() };
        let from = Trigger { from: Some(end), ..Trigger::default() };
        let attacks = ["withhold-prepare", "complain-bait"];
        let mut attacks: Vec<_> =
            attacks.iter().map(|name| AttackSpec::named(name).when(until.clone())).collect();
        attacks.push(AttackSpec::named("silent").when(from));
        plan.liars = vec![(Place(liar as u16), attacks)];
        plan
    }

    /// One replica is alone when the last blocks are committed; nothing happens after that.
    fn missed_the_end(&self) -> Plan {
        let mut plan = self.calm(Duration::from_millis(1000));
        plan.heal_at = Time(Duration::from_millis(2500));
        let gone = self.below(1, 4);
        plan.submissions.retain(|submission| u64::from(submission.place.0) != gone);
        let gone = 1u64 << gone;
        let at = Time(Duration::from_millis(300 + self.below(2, 600)));
        for (from, to) in [(gone, !gone), (!gone, gone)] {
            plan.faults.push((at, Fault::Cut(from, to)));
        }
        plan
    }

    /// Crashes all the time, in the middle of slow syncs.
    fn crashes(&self, mut plan: Plan) -> Plan {
        plan.settings.crash_rate = 0.01;
        plan.settings.sync = (Duration::from_millis(1), Duration::from_millis(20));
        plan
    }

    /// Syncs of one replica fail, and soon after each the power does.
    fn failing_syncs(&self) -> Plan {
        let mut plan = self.calm(Duration::from_millis(2000));
        let body = self.below(1, 4) as usize;
        for which in 0..3 {
            let at = Duration::from_millis(100 + self.below(10 + which, 1800));
            let crash = at + Duration::from_millis(1 + self.below(20 + which, 60));
            plan.faults.push((Time(at), Fault::Disk(body, DiskFault::SyncFails)));
            plan.faults.push((Time(crash), Fault::CrashFor(body, Duration::from_millis(20))));
        }
        plan
    }

    /// Blocks take long to become durable, and the log is started anew meanwhile.
    fn slow_ledger(&self) -> Plan {
        let mut plan = self.calm(Duration::from_millis(1500));
        plan.settings.block_sync = (Duration::from_millis(20), Duration::from_millis(200));
        plan.settings.compact_rate = 0.2;
        plan
    }

    /// The same few envelopes again and again, to all in turn, and D as small as it may be.
    fn narrow(&self) -> Plan {
        let mut plan = self.calm(Duration::from_millis(1500));
        plan.settings.config.window = 1;
        plan.settings.config.dedup = DedupRule { blocks: 3, envelopes: 0 };
        for submission in &mut plan.submissions {
            if self.chance(submission.index, 0.5) {
                submission.index /= 4;
            }
        }
        self.with_liar(plan, &["replay-all", "client-dup"])
    }
}
