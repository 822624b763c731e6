//! The task behind the events of one account, or of one instance.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use presence_core::InstanceId;
use presence_store::NodeId;
use presence_wa::InstanceUpdate;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::feed::{Feed, KEPT};
use super::watchers::Watchers;
use super::{Subscription, Wanted};
use crate::clock::Time;
use crate::instances::Instances;
use crate::nodes::{Nodes, changed};
use crate::scope::Scope;

/// A client that wants to follow.
pub(super) struct Subscribe {
    pub(super) wanted: Wanted,
    pub(super) reply: oneshot::Sender<Subscription>,
}

struct Subscriber {
    names: HashSet<String>,
    events: mpsc::Sender<Bytes>,
}

struct Hub {
    instances: Instances,
    scope: Scope,
    feed: Feed,
    subscribers: Vec<Subscriber>,
    watchers: Watchers,
    /// Other nodes, of whose instances is told what they show.
    followed: HashMap<NodeId, AbortOnDropHandle<()>>,
}

/// How often those are forgotten who are gone. A hub ends when nobody was there for two of these times, so that
/// somebody who comes back at once misses nothing.
const SWEEP: Duration = Duration::from_secs(15);
/// Runs until nobody follows any more.
pub(super) async fn run(instances: Instances, scope: Scope, mut asking: mpsc::Receiver<Subscribe>) {
    let mut changes = instances.changes();
    changes.mark_unchanged();
    let mut moves = instances.nodes().map(Nodes::changes);
    let (watchers, mut updates) = Watchers::new(instances.clone());
    let mut hub = Hub {
        feed: Feed::new(Time::read()),
        instances,
        scope,
        subscribers: Vec::new(),
        watchers,
        followed: HashMap::new(),
    };
    hub.begin().await;
    let mut sweep = interval(SWEEP);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut quiet = 0;
    loop {
        hub.deliver();
        let timeout = hub.feed.poll_timeout();
        tokio::select! {
            biased;
            changed = changes.changed() => match changed {
                Ok(()) => hub.reconcile(),
                Err(_) => return,
            },
            Ok(()) = changed(&mut moves) => hub.follow_nodes(),
            Some((id, update)) = updates.recv() => hub.handle_update(id, update),
            () = sleep_until_some(timeout) => hub.feed.handle_timeout(Time::read()),
            subscribe = asking.recv() => match subscribe {
                Some(subscribe) => hub.subscribe(subscribe),
                None => return,
            },
            _ = sweep.tick() => {
                hub.subscribers.retain(|subscriber| !subscriber.events.is_closed());
                quiet = if hub.subscribers.is_empty() { quiet + 1 } else { 0 };
                // Who asks in this moment is dropped with `asking`, and asks another hub.
                if quiet > 2 {
                    return;
                }
            }
        }
    }
}

impl Hub {
    /// Learns all there is, so that the first snapshot is whole.
    async fn begin(&mut self) {
        let now = self.instances.in_scope(self.scope);
        let shown = now.iter().map(|instance| self.instances.shown(instance));
        let shown = join_all(shown).await;
        let time = Time::read();
        self.feed.handle_instances(time, now.clone());
        for (instance, shown) in now.iter().zip(shown) {
            if let Some(status) = self.instances.status(instance.id) {
                self.feed.handle_status(time, instance.id, status);
            }
            // Of a node that does not answer, what it shows comes when it is followed.
            self.feed
                .handle_shown(time, instance.id, shown.unwrap_or_default());
            self.watchers.watch(instance.id);
        }
        self.follow_nodes();
    }

    fn reconcile(&mut self) {
        let now = self.instances.in_scope(self.scope);
        let there: HashSet<_> = now.iter().map(|instance| instance.id).collect();
        for id in self.feed.handle_instances(Time::read(), now) {
            self.watchers.watch(id);
        }
        self.watchers.retain(&there);
    }

    /// Follows what other nodes' instances show, of those nodes that live.
    fn follow_nodes(&mut self) {
        let Some(nodes) = self.instances.nodes() else {
            return;
        };
        self.feed.handle_nodes(Time::read(), |id| nodes.address_of(id));
        let others = nodes.others();
        self.followed
            .retain(|id, _| others.iter().any(|node| node.id == *id));
        for node in others {
            let (scope, updates) = (self.scope, self.watchers.updates());
            self.followed.entry(node.id).or_insert_with(|| {
                let follow = nodes.clone().follow_shown(node, scope, updates);
                AbortOnDropHandle::new(tokio::spawn(follow))
            });
        }
    }

    fn handle_update(&mut self, id: InstanceId, update: InstanceUpdate) {
        let time = Time::read();
        match update {
            InstanceUpdate::Status(status) => self.feed.handle_status(time, id, status),
            InstanceUpdate::Shown(shown) => self.feed.handle_shown(time, id, shown),
            InstanceUpdate::Changed(change) => self.feed.handle_change(time, id, change),
            _ => {}
        }
    }

    fn subscribe(&mut self, subscribe: Subscribe) {
        let Wanted { names, after, .. } = subscribe.wanted;
        let first = self.feed.first(Time::read(), &names, after.as_deref());
        let (sender, events) = mpsc::channel(KEPT);
        if subscribe.reply.send(Subscription { first, events }).is_ok() {
            self.subscribers.push(Subscriber {
                names,
                events: sender,
            });
        }
    }

    /// Hands out what is new. Who cannot take it is told nothing any more.
    fn deliver(&mut self) {
        while let Some(event) = self.feed.poll_event() {
            self.subscribers.retain(|subscriber| {
                !event.is_for(&subscriber.names) || subscriber.events.try_send(event.text.clone()).is_ok()
            });
        }
    }
}

async fn sleep_until_some(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
