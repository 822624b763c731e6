//! What another node's instances show, followed: for events.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, Stream};
use presence_core::{ChatJid, InstanceId};
use presence_store::Node;
use presence_wa::{InstanceUpdate, PresenceChange};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::Nodes;
use super::calls::ShownChat;
use super::feed::{Heard, NodeFeed};
use crate::events::{Update, Watchers};
use crate::instances::Instances;
use crate::scope::Scope;

/// How long to wait before a node is followed again.
const AGAIN: Duration = Duration::from_secs(1);
/// Follows what instances show.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) struct ShownFeed {
    pub(super) scope: Scope,
}

impl NodeFeed for ShownFeed {
    const NAME: &'static str = "shown";
    type News = ShownNews;
}

/// What an instance shows now.
#[derive(Serialize, Deserialize)]
pub(super) struct ShownNews {
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

impl ShownNews {
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

/// What instances show that are here, for another node.
pub(super) fn news(
    instances: &Instances,
    nodes: &Nodes,
    ShownFeed { scope }: ShownFeed,
) -> impl Stream<Item = ShownNews> + Send + use<> {
    let (watchers, updates) = Watchers::new(instances.clone());
    let mut told = Told {
        instances: instances.clone(),
        scope,
        watchers,
        updates,
        changes: instances.changes(),
        moves: nodes.changes(),
    };
    told.reconcile();
    stream::unfold(told, async |mut told| {
        let news = told.next().await?;
        Some((news, told))
    })
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

    async fn next(&mut self) -> Option<ShownNews> {
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
                    if let Some(news) = ShownNews::of(update?) {
                        return Some(news);
                    }
                }
            }
        }
    }
}

/// Follows what instances of `scope` show that `node` has, until it lives no longer or nobody takes the updates.
pub(super) async fn follow(nodes: Nodes, node: Arc<Node>, scope: Scope, updates: mpsc::Sender<Update>) {
    while !updates.is_closed() {
        if let Ok(mut feed) = nodes.inner.client.follow(&node, &ShownFeed { scope }).await {
            while let Some(heard) = feed.next().await {
                let Heard::News(news) = heard else { continue };
                if let Some(update) = news.into_update()
                    && updates.send(update).await.is_err()
                {
                    return;
                }
            }
        }
        sleep(AGAIN).await;
    }
}
