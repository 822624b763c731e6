//! What is shown, kept for the node that takes over when this one is lost.
//!
//! A node that stops in order pauses what it shows, and what it showed is shown again elsewhere all the same: for a
//! person on a phone, somebody goes on typing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use presence_cluster::Whereabouts;
use presence_core::{ChatJid, ChatPresence, Hold, Indicator, InstanceId, Recipient, Shown};
use presence_store::{Epoch, KeptShown};
use presence_wa::InstanceState;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::DropGuard;

use super::{Inner, Instances};
use crate::nodes::{Nodes, ShownChat};

/// How often what changed is written down.
const KEEP_EVERY: Duration = Duration::from_secs(1);
/// What ends sooner is paused, instead of being shown again.
const WORTH_SHOWING: Duration = Duration::from_secs(2);
/// What was kept longer ago is void.
const VOID_AFTER: Duration = Duration::from_secs(60);
/// How long an instance is waited for to come online.
const COMING: Duration = Duration::from_secs(30);

impl Instances {
    /// Writes down what this node's instances show, whenever it changes.
    pub(super) fn keep_shown(&self) {
        let inner = Arc::clone(&self.inner);
        self.inner.changes.spawn(async move {
            let Some(nodes) = inner.nodes.clone() else { return };
            inner.stopping.run_until_cancelled(inner.keep(&nodes)).await;
        });
    }

    /// Shows again what these instances showed at the node that had them before, each until its guard is dropped:
    /// what a client asks for meanwhile is newer.
    pub(super) fn show_again(&self, mut coming: HashMap<InstanceId, DropGuard>) {
        let inner = Arc::clone(&self.inner);
        self.inner.changes.spawn(async move {
            let Some(nodes) = &inner.nodes else { return };
            let ids: Vec<_> = coming.keys().copied().collect();
            let kept = match nodes.cluster().take_shown(&ids).await {
                Ok(kept) => kept,
                Err(error) => {
                    tracing::warn!(%error, "what was shown elsewhere cannot be read; phones hide it by themselves");
                    return;
                }
            };
            for kept in kept.into_iter().filter(|kept| kept.age < VOID_AFTER) {
                let shown_again = coming.remove(&kept.instance);
                let again = Arc::clone(&inner).resume_shown(kept);
                inner.changes.spawn(async move {
                    again.await;
                    drop(shown_again);
                });
            }
        });
    }
}

impl Inner {
    async fn keep(&self, nodes: &Nodes) {
        let mut ticks = interval(KEEP_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // What the database has, so that the same is not written twice. What is over there, it forgets by itself.
        let mut written: HashMap<InstanceId, Vec<(ChatJid, Shown)>> = HashMap::new();
        loop {
            ticks.tick().await;
            let mut rows = Vec::new();
            for id in self.fleet.take_changed() {
                let Whereabouts::Here(epoch) = nodes.whereabouts(id) else {
                    continue;
                };
                let shown = self.fleet.shown(id).await;
                if written.get(&id) != Some(&shown) {
                    rows.push(row(id, epoch, &shown));
                    written.insert(id, shown);
                }
            }
            let now = Instant::now().into_std();
            written.retain(|_, shown| shown.iter().any(|(_, shown)| shown.until > now));
            if rows.is_empty() {
                continue;
            }
            if let Err(error) = nodes.cluster().keep_shown(&rows).await {
                tracing::debug!(%error, "what is shown cannot be kept for another node");
                // It is written whole when it changes next.
                rows.iter().for_each(|(id, ..)| drop(written.remove(id)));
            }
        }
    }

    /// Writes down what one instance shows at this moment.
    pub(super) async fn keep_now(&self, id: InstanceId) {
        let Some(nodes) = &self.nodes else { return };
        let Whereabouts::Here(epoch) = nodes.whereabouts(id) else {
            return;
        };
        let shown = self.fleet.shown(id).await;
        if shown.is_empty() {
            return;
        }
        if let Err(error) = nodes.cluster().keep_shown(&[row(id, epoch, &shown)]).await {
            tracing::debug!(%error, instance.id = %id, "what is shown cannot be kept for another node");
        }
    }

    async fn resume_shown(self: Arc<Self>, kept: KeptShown) {
        let Ok(chats) = serde_json::from_slice::<Vec<ShownChat>>(&kept.shown) else {
            return;
        };
        // Until when they are to be shown, as if they had been kept at this moment.
        let chats: Vec<_> = chats.into_iter().filter_map(ShownChat::into_shown).collect();
        let Some(mut watch) = self.fleet.watch_status(kept.instance) else {
            return;
        };
        let online = async {
            while let Some(status) = watch.next().await {
                if status.state == InstanceState::Connected {
                    return true;
                }
            }
            false
        };
        if !timeout(COMING, online).await.unwrap_or(false) {
            return;
        }
        let now = Instant::now().into_std();
        for (chat, shown) in chats {
            let left = shown
                .until
                .saturating_duration_since(now)
                .saturating_sub(kept.age);
            if let Some(presence) = again(&chat, shown, left)
                && let Err(error) = self.fleet.show(kept.instance, &presence).await
            {
                tracing::debug!(%error, instance.id = %kept.instance, "what was shown elsewhere is not shown again");
            }
        }
    }
}

fn row(id: InstanceId, epoch: Epoch, shown: &[(ChatJid, Shown)]) -> (InstanceId, Epoch, Bytes) {
    if shown.is_empty() {
        return (id, epoch, Bytes::new());
    }
    let chats: Vec<_> = shown
        .iter()
        .map(|(chat, shown)| ShownChat::new(chat.clone(), shown))
        .collect();
    let chats = serde_json::to_vec(&chats).expect("chats and numbers are JSON");
    (id, epoch, chats.into())
}

/// What is to be shown now of what was to be shown for so long. Of what was over meanwhile the phone may not have
/// been told.
fn again(chat: &ChatJid, shown: Shown, left: Duration) -> Option<ChatPresence> {
    let to: Recipient = chat.as_str().parse().ok()?;
    let hold = Hold::from_secs(left.as_secs_f64().round() as u64);
    Some(match shown.hold.and(hold).filter(|_| left > WORTH_SHOWING) {
        Some(_) => match shown.indicator {
            Indicator::Typing => ChatPresence::typing(to, hold),
            Indicator::Recording => ChatPresence::recording(to, hold),
        },
        _ => ChatPresence::pause(to),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_time_left_is_shown_again_for_that_long_and_the_rest_is_paused() {
        let chat: ChatJid = "4915112345601@s.whatsapp.net".parse().unwrap();
        let shown = |hold| Shown {
            indicator: Indicator::Recording,
            hold: Hold::from_secs(hold),
            until: Instant::now().into_std(),
        };
        let table = [
            (30, 12_400, Some(12)),
            (30, 2_001, Some(2)),
            (30, 2_000, None),
            (30, 0, None),
            // Shown once: its phone hides it.
            (0, 20_000, None),
        ];
        for (hold, left, expected) in table {
            let presence = again(&chat, shown(hold), Duration::from_millis(left)).unwrap();
            assert_eq!(presence.hold().map(Hold::as_secs), expected, "{hold}, {left}");
            let state = if expected.is_some() { "recording" } else { "pause" };
            assert_eq!(presence.state().as_str(), state);
            assert_eq!(presence.recipient().chat(), chat);
        }
    }
}
