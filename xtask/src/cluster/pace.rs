//! How much longer than alone work takes on a machine that does other things too.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a piece of work lasts. Shorter ones are done at once, however busy the machine is.
const WORK: Duration = Duration::from_millis(20);
/// How long it rests after each.
const REST: Duration = Duration::from_millis(230);
/// What bounds are stretched by at most: a moment of work says little.
const MOST: f64 = 20.0;
/// Where Linux tells how long the thread that reads it has run, and how long it was ready to run and had to wait, in
/// nanoseconds.
const TIMES: &str = "/proc/thread-self/schedstat";

/// Works now and then, and sees how much of the time it has to wait for a processor. Bounds of what processes do that
/// share the machine are stretched by that: they are set for a machine that has nothing else to do.
pub(super) struct Pace {
    samples: Arc<Mutex<Vec<Sample>>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread had done by then, all together.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    ran: Duration,
    waited: Duration,
}

impl Pace {
    pub(super) fn start() -> Self {
        let samples = Arc::<Mutex<Vec<Sample>>>::default();
        let ended = Arc::<AtomicBool>::default();
        let thread = std::thread::spawn({
            let (samples, ended) = (Arc::clone(&samples), Arc::clone(&ended));
            // Where nothing is told, nothing is stretched.
            move || {
                while let Some(sample) = Sample::read()
                    && !ended.load(Ordering::Relaxed)
                {
                    samples
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(sample);
                    let begun = Instant::now();
                    while begun.elapsed() < WORK {
                        std::hint::spin_loop();
                    }
                    std::thread::sleep(REST);
                }
            }
        });
        Self {
            samples,
            ended,
            thread: Some(thread),
        }
    }

    /// Of a machine that does nothing else, as far as is asked for: no bound is stretched.
    pub(super) fn unmeasured() -> Self {
        Self {
            samples: Arc::default(),
            ended: Arc::default(),
            thread: None,
        }
    }

    /// How many times as long as alone work took since then: 1 at least, [`MOST`] at most.
    pub(super) fn since(&self, since: Instant) -> f64 {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        slowness(&samples, since)
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Sample {
    fn read() -> Option<Self> {
        let text = std::fs::read_to_string(TIMES).ok()?;
        let mut nanoseconds = text.split_whitespace().map_while(|field| field.parse().ok());
        Some(Self {
            at: Instant::now(),
            ran: Duration::from_nanos(nanoseconds.next()?),
            waited: Duration::from_nanos(nanoseconds.next()?),
        })
    }
}

/// From the last sample that is no later than `since`, or the first, to the last of all.
fn slowness(samples: &[Sample], since: Instant) -> f64 {
    let first = samples
        .partition_point(|sample| sample.at <= since)
        .saturating_sub(1);
    let (Some(first), Some(last)) = (samples.get(first), samples.last()) else {
        return 1.0;
    };
    let (ran, waited) = (last.ran - first.ran, last.waited - first.waited);
    if ran.is_zero() {
        return 1.0;
    }
    ((ran + waited).as_secs_f64() / ran.as_secs_f64()).min(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_stretched_by_what_was_waited_since_a_moment() {
        let t0 = Instant::now();
        let at = |second| t0 + Duration::from_secs(second);
        let sample = |second, ran, waited| Sample {
            at: at(second),
            ran: Duration::from_millis(ran),
            waited: Duration::from_millis(waited),
        };
        let samples = [
            sample(1, 0, 0),
            sample(2, 20, 980),
            sample(3, 40, 1000),
            sample(4, 60, 1060),
        ];
        assert_eq!(slowness(&samples, at(2)), 3.0);
        assert_eq!(slowness(&samples, at(3)), 4.0);
        assert_eq!(slowness(&samples, at(0)), 1120.0 / 60.0, "since the first");
        assert_eq!(slowness(&samples[..2], at(1)), MOST);
        assert_eq!(slowness(&samples, at(5)), 1.0, "nothing is known yet");
        assert_eq!(slowness(&[], t0), 1.0);
    }
}
