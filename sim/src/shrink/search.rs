//! Trying plans: which of them still fail, one after the other or several at once.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Limits;
use crate::plan::{Plan, Show};
use crate::violation::Violation;

/// The smallest failing plan so far.
pub(super) struct Search<'a> {
    pub(super) best: Plan,
    pub(super) violation: Violation,
    pub(super) runs: u64,
    /// Lists are gone through from their ends.
    pub(super) backwards: bool,
    limits: &'a Limits<'a>,
}

impl<'a> Search<'a> {
    pub(super) fn new(best: Plan, violation: Violation, limits: &'a Limits<'a>) -> Self {
        Self { best, violation, runs: 1, backwards: false, limits }
    }

    /// No more runs.
    pub(super) fn is_over(&self) -> bool {
        (self.limits.stop)(self.runs)
    }

    /// Takes the first of these plans that fails in the same way; says which.
    pub(super) fn first(&mut self, mut plans: Vec<Plan>) -> Option<usize> {
        let jobs = self.limits.jobs.clamp(1, 64);
        let mut done = 0;
        while done < plans.len() && !self.is_over() {
            let batch = &plans[done..(done + jobs).min(plans.len())];
            let failures = failures(batch, self.violation.check);
            self.runs += batch.len() as u64;
            if let Some((which, violation)) =
                failures.into_iter().enumerate().find_map(|(which, failed)| Some((which, failed?)))
            {
                self.violation = violation;
                self.best = plans.swap_remove(done + which);
                return Some(done + which);
            }
            done += batch.len();
        }
        None
    }

    /// Changes the plan, if it still fails then.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Plan)) -> bool {
        let mut plan = self.best.clone();
        change(&mut plan);
        self.first(vec![plan]).is_some()
    }

    /// Takes as much as possible off a list of the plan: all of it, halves, quarters, ..., single
    /// items.
    pub(super) fn shorten<T: Clone>(
        &mut self,
        get: impl Fn(&Plan) -> Vec<T>,
        set: impl Fn(&mut Plan, Vec<T>),
    ) {
        let backwards = self.backwards;
        let turned = |mut items: Vec<T>| {
            if backwards {
                items.reverse();
            }
            items
        };
        self.shorten_in_order(|plan| turned(get(plan)), |plan, items| set(plan, turned(items)));
    }

    fn shorten_in_order<T: Clone>(&mut self, get: impl Fn(&Plan) -> Vec<T>, set: impl Fn(&mut Plan, Vec<T>)) {
        let mut items = get(&self.best);
        if items.is_empty() || self.change(|plan| set(plan, Vec::new())) {
            return;
        }
        let mut size = items.len().div_ceil(2);
        loop {
            let mut at = 0;
            while at < items.len() && !self.is_over() {
                let starts: Vec<usize> =
                    (at..items.len()).step_by(size).take(self.limits.jobs.max(1)).collect();
                let without = |start: usize| {
                    let mut rest = items.clone();
                    rest.drain(start..(start + size).min(items.len()));
                    rest
                };
                let plans = starts.iter().map(|start| {
                    let mut plan = self.best.clone();
                    set(&mut plan, without(*start));
                    plan
                });
                match self.first(plans.collect()) {
                    Some(which) => {
                        items = without(starts[which]);
                        at = starts[which];
                    }
                    None => at += size * starts.len(),
                }
            }
            if size == 1 || self.is_over() {
                return;
            }
            size = size.div_ceil(2).min(items.len().max(1));
        }
    }
}

/// How each of these plans fails by this check, if it does.
fn failures(plans: &[Plan], check: &str) -> Vec<Option<Violation>> {
    let fails =
        |plan: &Plan| plan.run(Show::default()).violation.filter(|violation| violation.check == check);
    if let [plan] = plans {
        return vec![fails(plan)];
    }
    let (next, found) = (AtomicUsize::new(0), Mutex::new(vec![None; plans.len()]));
    std::thread::scope(|scope| {
        for _ in 0..plans.len() {
            scope.spawn(|| {
                let which = next.fetch_add(1, Ordering::Relaxed);
                let failed = fails(&plans[which]);
                found.lock().expect("no run panics outside its own guard")[which] = failed;
            });
        }
    });
    found.into_inner().expect("all threads are done")
}
