//! How this node's instances are, for the others: what changed, numbered.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use presence_core::InstanceId;
use presence_wa::InstanceStatus;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::feed::NodeFeed;

/// The statuses of this node's instances, each with the number of its last change.
///
/// They are looked over while another node listens, and never otherwise.
#[derive(Default)]
pub(crate) struct StatusBoard {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    seen: u64,
    /// What it was, and when that changed. Of instances that are gone, that they are.
    statuses: HashMap<InstanceId, (u64, Option<InstanceStatus>)>,
}

/// How often statuses are looked over for somebody who waits.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Follows how the instances of a node are.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) struct StatusFeed {}

impl NodeFeed for StatusFeed {
    const NAME: &'static str = "statuses";
    type News = StatusNews;
}

/// Of what changed, how it is now; `None` is an instance that the node has no longer.
pub(super) type StatusNews = Vec<(InstanceId, Option<InstanceStatus>)>;

impl StatusBoard {
    /// What is new to whoever has `seen` what was numbered up to there; the number of the last change is set there.
    /// Who has seen nothing is told at once, and others wait until something is new. `look` tells how all instances
    /// are now.
    pub(super) async fn news<L>(&self, seen: &mut Option<u64>, look: impl Fn() -> L) -> StatusNews
    where
        L: IntoIterator<Item = (InstanceId, InstanceStatus)>,
    {
        loop {
            let (now, news) = self.changed_since(seen.unwrap_or_default(), look());
            let is_first = seen.replace(now).is_none();
            if is_first || !news.is_empty() {
                return news;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    fn changed_since(
        &self,
        seen: u64,
        now: impl IntoIterator<Item = (InstanceId, InstanceStatus)>,
    ) -> (u64, StatusNews) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.look_over(now);
        let changed = state.statuses.iter().filter(|(_, (number, _))| *number > seen);
        let news = changed.map(|(id, (_, status))| (*id, status.clone())).collect();
        (state.seen, news)
    }
}

impl State {
    fn look_over(&mut self, now: impl IntoIterator<Item = (InstanceId, InstanceStatus)>) {
        let mut now: HashMap<_, _> = now.into_iter().collect();
        for (id, (number, told)) in &mut self.statuses {
            let status = now.remove(id);
            if *told != status {
                self.seen += 1;
                (*number, *told) = (self.seen, status);
            }
        }
        for (id, status) in now {
            self.seen += 1;
            self.statuses.insert(id, (self.seen, Some(status)));
        }
    }
}

#[cfg(test)]
mod tests {
    use presence_wa::InstanceState;
    use tokio::time::timeout;

    use super::*;

    fn status(state: InstanceState) -> InstanceStatus {
        let mut status: InstanceStatus = serde_json::from_value(serde_json::json!({
            "state": "Connected", "reason": null, "since": 0, "jid": null, "push_name": null, "available": false,
        }))
        .unwrap();
        status.state = state;
        status
    }

    fn id(number: i32) -> InstanceId {
        InstanceId::new(number).unwrap()
    }

    fn told(news: &StatusNews) -> Vec<(i32, Option<InstanceState>)> {
        let mut told: Vec<_> = news
            .iter()
            .map(|(id, status)| (id.get(), status.as_ref().map(|status| status.state)))
            .collect();
        told.sort_unstable_by_key(|(id, _)| *id);
        told
    }

    #[tokio::test(start_paused = true)]
    async fn who_listens_is_told_all_at_first_and_then_what_changed() {
        use InstanceState::{Connected, Connecting};
        let (board, now) = (StatusBoard::default(), Mutex::new(Vec::new()));
        let set = |statuses: &[(i32, InstanceState)]| {
            let statuses = statuses
                .iter()
                .map(|(number, state)| (id(*number), status(*state)));
            *now.lock().unwrap() = statuses.collect();
        };
        let mut seen = None;
        let mut next = async || told(&board.news(&mut seen, || now.lock().unwrap().clone()).await);
        assert_eq!(next().await, []);
        set(&[(1, Connected), (2, Connecting)]);
        assert_eq!(next().await, [(1, Some(Connected)), (2, Some(Connecting))]);
        set(&[(2, Connected), (3, Connecting)]);
        let changed = [(1, None), (2, Some(Connected)), (3, Some(Connecting))];
        assert_eq!(next().await, changed);
        let minute = Duration::from_secs(60);
        assert!(timeout(minute, next()).await.is_err(), "nothing changed");

        let late = board.news(&mut None, || now.lock().unwrap().clone()).await;
        assert_eq!(told(&late), changed);
    }
}
