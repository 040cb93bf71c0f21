//! Round times: a person remembers 300 ms and not 297.583 ms.

use std::sync::Arc;
use std::time::Duration;

use sbft::types::Time;

use super::search::Search;
use crate::network::{Fate, Singles};
use crate::plan::Plan;
use crate::world::Fault;

/// What a time is rounded to, the roundest first.
const GRAINS: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_millis(100),
    Duration::from_millis(10),
    Duration::from_millis(1),
    Duration::from_micros(100),
];

/// Makes every time of the plan as round as it may be.
pub(super) fn round(search: &mut Search<'_>) {
    // All at once, if that works.
    for grain in &GRAINS[1..4] {
        let mut plan = search.best.clone();
        visit(&mut plan, &mut |_, time| *time = rounded(*time, *grain));
        if search.first(vec![plan]).is_some() {
            break;
        }
    }
    let mut count = 0;
    visit(&mut search.best.clone(), &mut |_, _| count += 1);
    for which in 0..count {
        let mut plans = Vec::new();
        for grain in GRAINS {
            let (mut plan, mut changed) = (search.best.clone(), false);
            visit(&mut plan, &mut |nth, time| {
                if nth == which {
                    changed = *time != rounded(*time, grain);
                    *time = rounded(*time, grain);
                }
            });
            if !changed {
                break;
            }
            plans.push(plan);
        }
        search.first(plans);
    }
}

/// To the nearest, but never to nothing.
fn rounded(time: Duration, grain: Duration) -> Duration {
    let (time, grain) = (time.as_nanos(), grain.as_nanos());
    let nearest = (time + grain / 2) / grain * grain;
    if nearest == 0 { Duration::from_nanos(time as u64) } else { Duration::from_nanos(nearest as u64) }
}

/// Shows every time of a plan, with its number.
fn visit(plan: &mut Plan, see: &mut dyn FnMut(usize, &mut Duration)) {
    let mut nth = 0;
    let mut see = |time: &mut Duration| {
        see(nth, time);
        nth += 1;
    };
    let Time(heal_at) = &mut plan.heal_at;
    see(heal_at);
    let heal_at = plan.heal_at;
    for (Time(at), fault) in &mut plan.faults {
        see(at);
        *at = (*at).min(heal_at.0);
        match fault {
            Fault::CrashFor(_, time)
            | Fault::Reset(_, _, time)
            | Fault::Clog(_, _, time)
            | Fault::Pause(_, time) => {
                see(time);
            }
            Fault::Partition(partition) => {
                see(&mut partition.lasts);
                if let Some((on, off)) = &mut partition.flapping {
                    see(on);
                    see(off);
                }
            }
            _ => {}
        }
    }
    for crash in &mut plan.crashes {
        if let Some(down_for) = &mut crash.down_for {
            see(down_for);
        }
    }
    for submission in &mut plan.submissions {
        see(&mut submission.at.0);
    }
    for cut in &mut plan.cuts {
        fate(&mut cut.fate, &mut see);
    }
    if !plan.singles.is_empty() {
        let mut singles = Singles::clone(&plan.singles);
        singles.values_mut().for_each(|single| fate(single, &mut see));
        plan.singles = Arc::new(singles);
    }
    for (low, high) in [&mut plan.settings.sync, &mut plan.settings.block_sync, &mut plan.settings.restart] {
        see(low);
        see(high);
        *high = (*high).max(*low);
    }
}

fn fate(fate: &mut Fate, see: &mut dyn FnMut(&mut Duration)) {
    match fate {
        Fate::Delay(delay) => see(delay),
        Fate::Copy { delay, later } => {
            if let Some(delay) = delay {
                see(delay);
            }
            see(later);
        }
        Fate::Drop | Fate::Pass => {}
    }
}
