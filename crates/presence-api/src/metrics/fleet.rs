//! What instances do, as metrics.

use std::fmt;

use presence_core::PresenceState;
use presence_metrics::Counter;
use presence_wa::{FleetCounters, InstanceState};

use super::exposition::Exposition;

/// What can be asked for.
const STATES: [PresenceState; 3] = [
    PresenceState::Typing,
    PresenceState::Recording,
    PresenceState::Pause,
];

/// How many instances are in each state.
pub(super) fn write_instances(
    exposition: &mut Exposition<'_>,
    instances: [(InstanceState, usize); 4],
) -> fmt::Result {
    exposition.gauges(
        "presence_instances",
        "Instances by the state of their session",
        instances.map(|(state, count)| ([("state", state.as_str())], count as u64)),
    )
}

/// What all instances have done.
pub(super) fn write(exposition: &mut Exposition<'_>, counters: &FleetCounters) -> fmt::Result {
    write_presences(exposition, counters)?;
    write_sessions(exposition, counters)?;
    exposition.counter(
        "presence_task_panics",
        "Tasks of instances that panicked, which is a fault of the service",
        counters.task_panics.get(),
    )
}

fn write_presences(exposition: &mut Exposition<'_>, counters: &FleetCounters) -> fmt::Result {
    let presences = counters.presences.iter().flat_map(|(outcome, by_state)| {
        STATES.map(|state| {
            let labels = [("state", state.as_str()), ("outcome", outcome.as_str())];
            (labels, by_state.of(state).get())
        })
    });
    exposition.counters(
        "presence_presences",
        "Presences that were asked for, by what became of them",
        presences,
    )?;
    exposition.gauge(
        "presence_indicators_active",
        "Indicators that are up, or come up again with the next connection",
        counters.indicators_active.get(),
    )?;
    exposition.counter(
        "presence_resends",
        "Indicators that were sent again, to be held or on a new connection",
        counters.resends.get(),
    )?;
    exposition.histograms(
        "presence_auto_pause_lateness_seconds",
        "How late, after its deadline, the end of an indicator was written",
        [([], &counters.auto_pause_lateness)],
    )?;
    let ended = counters.ended_early.iter();
    exposition.counters(
        "presence_indicators_ended_early",
        "Indicators that something ended before their deadline",
        ended.map(|(cause, count)| sample("cause", cause.as_str(), count)),
    )
}

fn write_sessions(exposition: &mut Exposition<'_>, counters: &FleetCounters) -> fmt::Result {
    exposition.counter(
        "presence_logins",
        "Sessions that came online",
        counters.logins.get(),
    )?;
    exposition.counter(
        "presence_reconnects",
        "Sessions that came online of instances that had been online before",
        counters.reconnects.get(),
    )?;
    let ends = counters.session_ends.iter();
    exposition.counters(
        "presence_session_ends",
        "Sessions that ended",
        ends.map(|(reason, count)| sample("reason", reason.as_str(), count)),
    )?;
    let look_ups = counters.look_ups.iter();
    exposition.counters(
        "presence_look_ups",
        "People who were looked up",
        look_ups.map(|(result, count)| sample("result", result.as_str(), count)),
    )
}

fn sample(
    label: &'static str,
    value: &'static str,
    count: &Counter,
) -> ([(&'static str, &'static str); 1], u64) {
    ([(label, value)], count.get())
}
