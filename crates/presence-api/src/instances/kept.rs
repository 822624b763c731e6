//! What is shown, kept for the node that takes over when this one is lost.
//!
//! A node that stops in order pauses what it shows, and what it showed is shown again elsewhere all the same: for a
//! person on a phone, somebody goes on typing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use presence_cluster::Whereabouts;
use presence_core::{ChatJid, InstanceId, Shown};
use presence_store::{Epoch, KeptShown};
use presence_wa::Fleet;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::{Inner, Instances};
use crate::nodes::{Nodes, ShownChat};

/// How often what changed is written down.
const KEEP_EVERY: Duration = Duration::from_secs(1);
/// What was kept longer ago is void.
const VOID_AFTER: Duration = Duration::from_secs(60);
/// How long before a node was there something may have been handed over to it: a node that is restarted takes what it
/// has just given, where no other one was quicker.
const RESTARTS_WITHIN: Duration = Duration::from_secs(2);
/// How long sessions that were taken over wait for what they showed. A database that is slower would keep them
/// offline for no more than that.
const READING: Duration = Duration::from_secs(2);

/// What a chat showed, as it is kept. The version before knows no more than the flattened part.
#[derive(Serialize, Deserialize)]
struct KeptChat {
    #[serde(flatten)]
    chat: ShownChat,
    /// It is paused, and the next node is to show it again: a node that is there to take it at once.
    #[serde(default)]
    is_handed_over: bool,
}

impl Instances {
    /// Writes down what this node's instances show, whenever it changes.
    pub(super) fn keep_shown(&self) {
        let inner = Arc::clone(&self.inner);
        self.inner.changes.spawn(async move {
            let Some(nodes) = inner.nodes.clone() else { return };
            inner.stopping.run_until_cancelled(inner.keep(&nodes)).await;
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
            let _keeping = self.keeping.write().await;
            let mut unwritten = Unwritten {
                instances: self.fleet.take_changed(),
                fleet: &self.fleet,
            };
            let mut rows = Vec::new();
            for &id in &unwritten.instances {
                let Whereabouts::Here(epoch) = nodes.whereabouts(id) else {
                    continue;
                };
                let shown = self.fleet.shown(id).await;
                // Handed over meanwhile, it shows nothing here, and what it showed is written down already.
                if self.is_known(id) && written.get(&id) != Some(&shown) {
                    rows.push(row(id, epoch, &shown, false));
                    written.insert(id, shown);
                }
            }
            let now = Instant::now().into_std();
            written.retain(|_, shown| shown.iter().any(|(_, shown)| shown.until > now));
            if !rows.is_empty()
                && let Err(error) = nodes.cluster().keep_shown(&rows).await
            {
                tracing::debug!(%error, "what is shown cannot be kept for another node");
                rows.iter().for_each(|(id, ..)| drop(written.remove(id)));
                continue;
            }
            unwritten.instances.clear();
        }
    }

    /// Writes down what one instance shows at this moment, for the node that it is handed over to.
    pub(super) async fn keep_for_next(&self, id: InstanceId) {
        let Some(nodes) = &self.nodes else { return };
        let Whereabouts::Here(epoch) = nodes.whereabouts(id) else {
            return;
        };
        // Nothing older is written after it.
        let _keeping = self.keeping.read().await;
        let shown = self.fleet.shown(id).await;
        // What ended since it was last written down would be shown again.
        if shown.is_empty() && !self.fleet.has_changed(id) {
            return;
        }
        if let Err(error) = nodes.cluster().keep_shown(&[row(id, epoch, &shown, true)]).await {
            tracing::debug!(%error, instance.id = %id, "what is shown cannot be kept for another node");
        }
    }

    /// What these instances showed at the node that had them before, and have yet to show or to end.
    pub(super) async fn shown_before(
        &self,
        ids: &[InstanceId],
    ) -> HashMap<InstanceId, Vec<(ChatJid, Shown)>> {
        let Some(nodes) = &self.nodes else {
            return HashMap::new();
        };
        let why = match timeout(READING, nodes.cluster().take_shown(ids)).await {
            Ok(Ok(kept)) => {
                let kept = kept.into_iter().filter(|kept| kept.age < VOID_AFTER);
                let here_for = self.began.elapsed();
                return kept
                    .map(|kept| (kept.instance, shown_of(&kept, here_for)))
                    .collect();
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the database is slow".to_owned(),
        };
        tracing::warn!(error = %why, "what was shown elsewhere cannot be read; phones hide it by themselves");
        HashMap::new()
    }
}

/// Instances that count as changed again, unless what they show is written down.
struct Unwritten<'a> {
    instances: Vec<InstanceId>,
    fleet: &'a Fleet,
}

impl Drop for Unwritten<'_> {
    fn drop(&mut self) {
        for instance in &self.instances {
            self.fleet.note_changed(*instance);
        }
    }
}

/// Until when each was to be shown, by this node's clock. For some of it that may be over, and the phone not told. What
/// was handed over long before this node was there, `here_for` so long, was handed over to nobody: it is over.
fn shown_of(kept: &KeptShown, here_for: Duration) -> Vec<(ChatJid, Shown)> {
    let chats = serde_json::from_slice::<Vec<KeptChat>>(&kept.shown).unwrap_or_default();
    let chats = chats
        .into_iter()
        .filter(|kept_chat| !kept_chat.is_handed_over || kept.age < here_for + RESTARTS_WITHIN)
        .filter_map(|kept_chat| kept_chat.chat.into_shown());
    let now = Instant::now().into_std();
    chats
        .map(|(chat, shown)| {
            // As if it had been kept at this moment.
            let until = shown.until.checked_sub(kept.age).unwrap_or(now);
            (chat, Shown { until, ..shown })
        })
        .collect()
}

fn row(
    id: InstanceId,
    epoch: Epoch,
    shown: &[(ChatJid, Shown)],
    is_handed_over: bool,
) -> (InstanceId, Epoch, Bytes) {
    if shown.is_empty() {
        return (id, epoch, Bytes::new());
    }
    let chats: Vec<_> = shown
        .iter()
        .map(|(chat, shown)| KeptChat {
            chat: ShownChat::new(chat.clone(), shown),
            is_handed_over,
        })
        .collect();
    let chats = serde_json::to_vec(&chats).expect("chats and numbers are JSON");
    (id, epoch, chats.into())
}

#[cfg(test)]
mod tests {
    use presence_core::{Hold, Indicator};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_kept_is_over_so_much_sooner_and_what_nobody_was_there_to_take_is_over() {
        let id = InstanceId::new(1).unwrap();
        let chat: ChatJid = "4915112345601@s.whatsapp.net".parse().unwrap();
        let now = Instant::now().into_std();
        let shown = |left| Shown {
            indicator: Indicator::Recording,
            hold: Hold::from_secs(30),
            until: now + Duration::from_secs(left),
        };
        let kept = |is_handed_over| KeptShown {
            instance: id,
            shown: row(id, Epoch(1), &[(chat.clone(), shown(20))], is_handed_over).2,
            age: Duration::from_secs(8),
        };
        let goes_on = vec![(chat.clone(), shown(12))];
        // Whether it was handed over, and for how many seconds this node has been there.
        for (is_handed_over, here_for, expected) in [
            (false, 1, &goes_on),
            (false, 60, &goes_on),
            (true, 9, &goes_on),
            (true, 7, &goes_on),
            (true, 6, &Vec::new()),
        ] {
            let shown = shown_of(&kept(is_handed_over), Duration::from_secs(here_for));
            assert_eq!(&shown, expected, "{is_handed_over}, {here_for}");
        }
        // As the version before keeps it, and reads it.
        let before = serde_json::to_vec(&[ShownChat::new(chat.clone(), &shown(20))]).unwrap();
        let kept = KeptShown {
            shown: before.into(),
            ..kept(true)
        };
        assert_eq!(shown_of(&kept, Duration::ZERO), goes_on);
        let (_, _, bytes) = row(id, Epoch(1), &[(chat, shown(20))], true);
        assert!(serde_json::from_slice::<Vec<ShownChat>>(&bytes).is_ok());
    }
}
