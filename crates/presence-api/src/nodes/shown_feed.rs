//! What another node's instances show, followed: for events.
//!
//! A line of JSON is an update, an empty one says that the node is still there.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http_body_util::BodyExt as _;
use hyper::Response;
use hyper::body::Incoming;
use presence_core::{ChatJid, InstanceId};
use presence_store::Node;
use presence_wa::{InstanceUpdate, PresenceChange};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep, timeout};

use super::Nodes;
use super::calls::{FollowShown, ShownChat};
use crate::events::{Update, Watchers};
use crate::instances::Instances;
use crate::json::Body;
use crate::scope::Scope;

/// How often a node says that it is there.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How long it may say nothing.
const SILENCE: Duration = Duration::from_secs(25);
/// How long to wait before a node is followed again.
const AGAIN: Duration = Duration::from_secs(1);
/// The longest line: all that an instance shows in 10,000 chats.
const LONGEST: usize = 4 << 20;

/// A line.
#[derive(Serialize, Deserialize)]
struct Line {
    instance: InstanceId,
    /// All that it shows, or what one chat shows now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    all: Option<Vec<ShownChat>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    change: Option<Change>,
}

#[derive(Serialize, Deserialize)]
struct Change {
    chat: ChatJid,
    shown: Option<ShownChat>,
    took_us: Option<u64>,
}

impl Line {
    /// `None` of what is no news of what is shown.
    fn of((instance, update): Update) -> Option<Self> {
        let (all, change) = match update {
            InstanceUpdate::Shown(shown) => {
                let chats = shown.into_iter();
                let chats = chats.map(|(chat, shown)| ShownChat::new(chat, &shown)).collect();
                (Some(chats), None)
            }
            InstanceUpdate::Changed(change) => {
                let shown = change.shown.as_ref();
                let change = Change {
                    shown: shown.map(|shown| ShownChat::new(change.chat.clone(), shown)),
                    chat: change.chat,
                    took_us: change.took.and_then(|took| u64::try_from(took.as_micros()).ok()),
                };
                (None, Some(change))
            }
            _ => return None,
        };
        Some(Self {
            instance,
            all,
            change,
        })
    }

    fn into_update(self) -> Option<Update> {
        let update = match (self.all, self.change) {
            (Some(all), _) => {
                InstanceUpdate::Shown(all.into_iter().filter_map(ShownChat::into_shown).collect())
            }
            (None, Some(change)) => InstanceUpdate::Changed(PresenceChange {
                shown: change
                    .shown
                    .and_then(ShownChat::into_shown)
                    .map(|(_, shown)| shown),
                chat: change.chat,
                took: change.took_us.map(Duration::from_micros),
            }),
            (None, None) => return None,
        };
        Some((self.instance, update))
    }
}

/// Tells another node what instances of `scope` show that are here, for as long as it listens.
pub(super) fn tell(instances: &Instances, nodes: &Nodes, scope: Scope) -> Response<Body> {
    let (watchers, updates) = Watchers::new(instances.clone());
    let mut heartbeat = interval(HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = Told {
        instances: instances.clone(),
        scope,
        watchers,
        updates,
        changes: instances.changes(),
        moves: nodes.changes(),
        heartbeat,
    };
    told.reconcile();
    Response::new(Body::stream(stream::unfold(told, async |mut told| {
        let line = told.next().await?;
        Some((line, told))
    })))
}

struct Told {
    instances: Instances,
    scope: Scope,
    watchers: Watchers,
    updates: mpsc::Receiver<Update>,
    /// Of the registry.
    changes: watch::Receiver<u64>,
    /// Of who has what.
    moves: watch::Receiver<u64>,
    heartbeat: Interval,
}

impl Told {
    fn reconcile(&mut self) {
        let in_scope = self.instances.in_scope(self.scope).into_iter();
        let here: HashSet<_> = in_scope
            .map(|instance| instance.id)
            .filter(|id| self.instances.has(*id))
            .collect();
        self.watchers.retain(&here);
        here.into_iter().for_each(|id| self.watchers.watch(id));
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            tokio::select! {
                biased;
                changed = self.changes.changed() => {
                    changed.ok()?;
                    self.reconcile();
                }
                moved = self.moves.changed() => {
                    moved.ok()?;
                    self.reconcile();
                }
                update = self.updates.recv() => {
                    if let Some(line) = Line::of(update?) {
                        let mut line = serde_json::to_vec(&line).expect("chats and numbers are JSON");
                        line.push(b'\n');
                        return Some(line.into());
                    }
                }
                _ = self.heartbeat.tick() => return Some(Bytes::from_static(b"\n")),
            }
        }
    }
}

/// Follows what instances of `scope` show that `node` has, until it lives no longer or nobody takes the updates.
pub(super) async fn follow(nodes: Nodes, node: Arc<Node>, scope: Scope, updates: mpsc::Sender<Update>) {
    while !updates.is_closed() {
        if let Ok(body) = nodes.inner.client.open(&node, &FollowShown { scope }).await {
            read(body, &updates).await;
        }
        sleep(AGAIN).await;
    }
}

/// Until the stream ends, or is no such stream.
async fn read(mut body: Incoming, updates: &mpsc::Sender<Update>) {
    let mut lines = BytesMut::new();
    while let Ok(Some(Ok(frame))) = timeout(SILENCE, body.frame()).await {
        let Ok(data) = frame.into_data() else { continue };
        lines.extend_from_slice(&data);
        while let Some(end) = lines.iter().position(|byte| *byte == b'\n') {
            let line = lines.split_to(end + 1);
            if line.len() == 1 {
                continue;
            }
            let Ok(line) = serde_json::from_slice::<Line>(&line) else {
                return;
            };
            if let Some(update) = line.into_update()
                && updates.send(update).await.is_err()
            {
                return;
            }
        }
        if lines.len() > LONGEST {
            return;
        }
    }
}
