//! Schedules aimed at a kind of bug.

use sbft::plant::Plant;

use crate::plan::Plan;

/// The schedule of `seed`, bent towards where `plant` would show.
pub fn aimed(plant: Plant, seed: u64) -> Plan {
    match plant {
        Plant::NaiveQuorum => Plan::draw_with(seed, 5),
        _ => Plan::draw_with(seed, 4),
    }
}
