//! Work in numbered pieces, on several threads.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// More threads than this help nobody.
const MOST_THREADS: usize = 256;

/// How many threads `--jobs` means: 0 is one per core.
pub(crate) fn threads(jobs: usize) -> usize {
    match jobs {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        jobs => jobs.min(MOST_THREADS),
    }
}

/// Does pieces 0 to `count` on `jobs` threads, and hands each result to `take` with its number, as
/// they come. Begins no further piece once `take` has said false.
pub(crate) fn each<T: Send>(
    count: u64,
    jobs: usize,
    work: impl Fn(u64) -> T + Sync,
    take: impl FnMut(u64, T) -> bool + Send,
) {
    let next = AtomicU64::new(0);
    let enough = AtomicBool::new(false);
    let take = Mutex::new(take);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while !enough.load(Ordering::Relaxed) {
                    let nth = next.fetch_add(1, Ordering::Relaxed);
                    if nth >= count {
                        return;
                    }
                    let result = work(nth);
                    let mut take = take.lock().expect("no result makes its taker panic");
                    if !take(nth, result) {
                        enough.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_is_done_once_and_none_after_enough() {
        let mut sum = 0;
        each(
            1000,
            3,
            |nth| nth * 2,
            |nth, double| {
                assert_eq!(double, nth * 2);
                sum += nth;
                true
            },
        );
        assert_eq!(sum, 499_500);
        let mut taken = 0;
        each(
            1000,
            1,
            |nth| nth,
            |_, _| {
                taken += 1;
                taken < 5
            },
        );
        assert_eq!(taken, 5);
    }
}
