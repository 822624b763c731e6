//! One client's stream of events.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use super::{StreamPlace, Subscription};
use crate::body::Body;
use crate::connection::StreamGuard;
use crate::instances::Instances;
use crate::scope::Scope;

/// What a client gets: first a snapshot, or what it missed; then events, and a comment every 15 s. It ends when
/// the service stops, when the token is no longer valid, and when the client is too slow.
pub(crate) struct EventStream {
    first: Option<Bytes>,
    events: mpsc::Receiver<Bytes>,
    heartbeat: Interval,
    token: String,
    scope: Scope,
    instances: Instances,
    /// Of the registry: the token may be void after each.
    changes: watch::Receiver<u64>,
    stopping: CancellationToken,
    _place: StreamPlace,
    _guard: StreamGuard,
}

/// How often a comment is written, so that whatever is in between keeps the connection, and both sides notice
/// when it is gone.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// What a client is told to wait before it comes back, in milliseconds.
const RETRY: &str = "retry: 1000\n\n";

impl EventStream {
    pub(crate) fn new(
        subscription: Subscription,
        (token, scope): (String, Scope),
        instances: Instances,
        stopping: CancellationToken,
        (place, guard): (StreamPlace, StreamGuard),
    ) -> Self {
        let mut changes = instances.changes();
        // Before this began, the token may have been revoked.
        changes.mark_changed();
        let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let Subscription { first, events } = subscription;
        Self {
            first: Some([RETRY.as_bytes(), &first].concat().into()),
            events,
            heartbeat,
            token,
            scope,
            instances,
            changes,
            stopping,
            _place: place,
            _guard: guard,
        }
    }

    pub(crate) fn into_body(self) -> Body {
        Body::stream(stream::unfold(self, async |mut stream| {
            let bytes = stream.next().await?;
            Some((bytes, stream))
        }))
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.changes.has_changed().ok()? {
                self.changes.mark_unchanged();
                let caller = self.instances.authenticate(&self.token)?;
                if Scope::from(&caller) != self.scope {
                    return None;
                }
            }
            if self.stopping.is_cancelled() {
                return None;
            }
            if let Some(first) = self.first.take() {
                return Some(first);
            }
            tokio::select! {
                biased;
                () = self.stopping.cancelled() => {}
                changed = self.changes.changed() => match changed {
                    Ok(()) => self.changes.mark_changed(),
                    Err(_) => return None,
                },
                event = self.events.recv() => return event,
                _ = self.heartbeat.tick() => return Some(Bytes::from_static(b": still here\n\n")),
            }
        }
    }
}
