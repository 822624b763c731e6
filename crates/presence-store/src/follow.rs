//! Noticing what other processes write.

use std::sync::Weak;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::registry::Registry as _;
use crate::store::Store;

/// How often other processes' writes are looked for: often enough for a rotated token to count within a
/// second.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Runs until the store is gone.
pub(crate) async fn follow(store: Weak<Store>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        ticks.tick().await;
        let Some(store) = store.upgrade() else { return };
        match store.refresh().await {
            Ok(()) if failing => {
                failing = false;
                tracing::info!("the registry can be read again");
            }
            Ok(()) => {}
            // Said once, not twice a second for as long as it lasts.
            Err(error) if !failing => {
                failing = true;
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "cannot read the registry; accounts and instances stay as last read"
                );
            }
            Err(_) => {}
        }
    }
}
