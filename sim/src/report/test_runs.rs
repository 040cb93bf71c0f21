//! Runs for the tests of reports.

use std::path::Path;

use crate::plan::{Plan, Show};
use crate::scenario::Scenario;
use crate::trace::Recording;

/// The recording of a plan.
pub(super) fn recorded(plan: &Plan) -> Recording {
    *plan.run(Show { record: true, ..Show::default() }).recording.expect("it was to be kept")
}

/// The recording of a scenario file in sim/scenarios.
pub(super) fn scenario(name: &str) -> Recording {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(name);
    recorded(&Scenario::read(&file).unwrap_or_else(|error| panic!("{error}")).plan)
}
