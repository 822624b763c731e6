//! Work that several hands do side by side.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many hands there are.
const HANDS: usize = 8;

/// Does something for each number, several at a time; the first failure ends it.
pub(crate) fn for_each(
    numbers: Range<usize>,
    each: impl Fn(usize) -> anyhow::Result<()> + Sync,
) -> anyhow::Result<()> {
    let next = AtomicUsize::new(numbers.start);
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= numbers.end {
                return Ok(());
            }
            if let Err(error) = each(number) {
                // The others need not go on.
                next.store(numbers.end, Ordering::Relaxed);
                return Err(error);
            }
        }
    };
    std::thread::scope(|scope| {
        let hands: Vec<_> = (0..HANDS).map(|_| scope.spawn(work)).collect();
        hands.into_iter().try_for_each(|hand| {
            hand.join()
                .expect("a hand reports its failures, it does not panic")
        })
    })
}
