//! An instance's part of how many indicators are active.

use std::sync::Arc;

use crate::context::FleetContext;

/// How many indicators of one instance the fleet counts as active. They are taken back when this is dropped, also
/// by a task that panics.
pub(super) struct ActiveIndicators {
    fleet: Arc<FleetContext>,
    count: i64,
}

impl ActiveIndicators {
    pub(super) fn new(fleet: Arc<FleetContext>) -> Self {
        Self { fleet, count: 0 }
    }

    pub(super) fn set(&mut self, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        if count != self.count {
            self.fleet.counters.indicators_active.add(count - self.count);
            self.count = count;
        }
    }
}

impl Drop for ActiveIndicators {
    fn drop(&mut self) {
        self.set(0);
    }
}
