//! What happens to instances, for those who follow it: `GET /api/events`.
//!
//! An account, or an instance by itself, that somebody follows has one *hub*: a task that watches its instances
//! and hands each event to all who follow. What an event says and which there are is decided in [`feed`], by
//! values. Nothing here is on the way of a presence: an instance's task tells what it shows, and waits for
//! nobody.

mod event;
mod feed;
mod hub;
mod places;
mod stream;
mod watchers;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub(crate) use self::event::{InstanceEvent, PresenceEvent, Snapshot, written};
use self::hub::Subscribe;
use self::places::Places;
pub(crate) use self::places::{NoPlace, StreamPlace};
pub(crate) use self::stream::EventStream;
pub(crate) use self::watchers::{Update, Watchers};
use crate::instances::Instances;
use crate::scope::Scope;

/// The events of the service.
pub(crate) struct Events {
    /// Looked at only when a stream is opened.
    hubs: Mutex<HashMap<Scope, mpsc::Sender<Subscribe>>>,
    places: Arc<Places>,
    stopping: CancellationToken,
}

/// What a client follows.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) scope: Scope,
    /// Instances by name; empty is all.
    pub(crate) names: HashSet<String>,
    /// The last event that it has, as it says.
    pub(crate) after: Option<String>,
}

/// The events that a client gets.
pub(crate) struct Subscription {
    /// A snapshot, or what was missed.
    first: Bytes,
    /// Ends when the client was too slow.
    events: mpsc::Receiver<Bytes>,
}

/// How many clients may ask a hub at the same time before they wait.
const ASKING: usize = 16;

impl Events {
    /// At most a quarter of `max_connections` are streams of events.
    pub(crate) fn new(max_connections: usize, stopping: CancellationToken) -> Self {
        Self {
            hubs: Mutex::default(),
            places: Arc::new(Places::new((max_connections / 4).max(1))),
            stopping,
        }
    }

    /// A place for one more stream.
    ///
    /// # Errors
    /// [`NoPlace`] when there are as many as may be.
    pub(crate) fn place(&self, scope: Scope) -> Result<StreamPlace, NoPlace> {
        self.places.take(scope)
    }

    /// How many streams there are.
    pub(crate) fn streams(&self) -> usize {
        self.places.taken()
    }

    /// Begins to follow; `None` when the service stops.
    pub(crate) async fn subscribe(&self, instances: &Instances, wanted: Wanted) -> Option<Subscription> {
        while !self.stopping.is_cancelled() {
            let hub = self.hub(instances, wanted.scope);
            let (reply, subscription) = oneshot::channel();
            let subscribe = Subscribe {
                wanted: wanted.clone(),
                reply,
            };
            // A hub that ends in this moment, because nobody followed, is followed by another.
            if hub.send(subscribe).await.is_ok()
                && let Ok(subscription) = subscription.await
            {
                return Some(subscription);
            }
        }
        None
    }

    fn hub(&self, instances: &Instances, scope: Scope) -> mpsc::Sender<Subscribe> {
        let mut hubs = self.hubs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hub) = hubs.get(&scope).filter(|hub| !hub.is_closed()) {
            return hub.clone();
        }
        hubs.retain(|_, hub| !hub.is_closed());
        let (hub, asking) = mpsc::channel(ASKING);
        let run = hub::run(instances.clone(), scope, asking);
        tokio::spawn(self.stopping.clone().run_until_cancelled_owned(run));
        hubs.insert(scope, hub.clone());
        hub
    }
}
