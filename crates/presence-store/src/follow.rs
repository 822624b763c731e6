//! Noticing what other processes write.

use std::error::Error;
use std::sync::Weak;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::error::StoreError;
use crate::registry::Registry;

/// Looks for changes until the registry is gone, and whenever there is a hint of one.
pub(crate) async fn follow<R: Registry>(registry: Weak<R>, mut hints: Option<watch::Receiver<u64>>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = hinted(&mut hints) => {}
        }
        let Some(registry) = registry.upgrade() else {
            return;
        };
        let looked = registry.refresh().await;
        if news(&mut failing, looked.is_ok()) {
            report(looked);
        }
    }
}

/// Waits for a hint, for ever where there are none.
async fn hinted(hints: &mut Option<watch::Receiver<u64>>) {
    if let Some(told) = hints
        && told.changed().await.is_err()
    {
        *hints = None;
    }
    if hints.is_none() {
        std::future::pending().await
    }
}

/// Whether a look that ended `well` or not is to be reported: when the registry begins to fail and when that
/// is over, not twice a second for as long as it lasts.
fn news(failing: &mut bool, well: bool) -> bool {
    std::mem::replace(failing, !well) == well
}

fn report(looked: Result<(), StoreError>) {
    match looked {
        Ok(()) => tracing::info!("the registry can be read again"),
        Err(error) => tracing::warn!(
            error = &error as &dyn Error,
            "cannot read the registry; accounts and instances stay as last read"
        ),
    }
}

/// How often other processes' writes are looked for: often enough for a rotated token to count within a
/// second.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long after another process wrote a store that [follows](crate::Store::follow) has read it, unless its
/// disk is slow.
pub const FOLLOWED_WITHIN: Duration = LOOK_EVERY.saturating_mul(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_and_its_end_are_reported_once() {
        let mut failing = false;
        let table = [
            (true, false),
            (false, true),
            (false, false),
            (false, false),
            (true, true),
            (true, false),
            (false, true),
        ];
        for (step, (well, reported)) in table.into_iter().enumerate() {
            assert_eq!(news(&mut failing, well), reported, "step {step}");
        }
    }

    /// What is logged while `f` runs.
    fn logged(f: impl FnOnce()) -> String {
        let (reader, writer) = std::io::pipe().unwrap();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(std::sync::Mutex::new(writer))
            .with_ansi(false)
            .finish();
        tracing::subscriber::with_default(subscriber, f);
        std::io::read_to_string(reader).unwrap()
    }

    #[test]
    fn the_log_says_what_fails_and_why_and_when_it_is_over() {
        let failed = Err(StoreError::Corrupt { what: "edge" });
        let log = logged(|| report(failed));
        for words in ["WARN", "cannot read the registry", "invalid edge"] {
            assert!(log.contains(words), "{words} is not in {log}");
        }
        let log = logged(|| report(Ok(())));
        assert!(log.contains("INFO") && log.contains("can be read again"), "{log}");
    }
}
