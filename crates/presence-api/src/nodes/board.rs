//! How this node's instances are, for the others: what changed, numbered.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use presence_core::InstanceId;
use presence_wa::InstanceStatus;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

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
    /// Of each, the number of its last change, and how it is since then.
    instances: HashMap<InstanceId, (u64, Known)>,
}

enum Known {
    Here(InstanceStatus),
    /// Since then.
    Gone(Instant),
}

/// How often statuses are looked over for somebody who waits.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long it is remembered that an instance is gone. Whoever listens is told within a second, or hangs up.
const GONE_FOR: Duration = Duration::from_secs(120);

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
    /// Who has seen nothing is told all there is, and at once; others wait until something is new. `look` tells how all
    /// instances are now.
    pub(super) async fn news<L>(&self, seen: &mut Option<u64>, look: impl Fn() -> L) -> StatusNews
    where
        L: IntoIterator<Item = (InstanceId, InstanceStatus)>,
    {
        loop {
            let (now, news) = self.changed_since(*seen, look());
            let is_first = seen.replace(now).is_none();
            if is_first || !news.is_empty() {
                return news;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    fn changed_since(
        &self,
        seen: Option<u64>,
        now: impl IntoIterator<Item = (InstanceId, InstanceStatus)>,
    ) -> (u64, StatusNews) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.look_over(now);
        let news = state
            .instances
            .iter()
            .filter_map(|(id, (number, known))| match known {
                Known::Here(status) if seen.is_none_or(|seen| *number > seen) => {
                    Some((*id, Some(status.clone())))
                }
                Known::Gone(_) if seen.is_some_and(|seen| *number > seen) => Some((*id, None)),
                Known::Here(_) | Known::Gone(_) => None,
            });
        (state.seen, news.collect())
    }
}

impl State {
    fn look_over(&mut self, now: impl IntoIterator<Item = (InstanceId, InstanceStatus)>) {
        let mut now: HashMap<_, _> = now.into_iter().collect();
        let mut change = |number: &mut u64, known: &mut Known, next| {
            self.seen += 1;
            (*number, *known) = (self.seen, next);
        };
        self.instances
            .retain(|id, (number, known)| match (&*known, now.remove(id)) {
                (Known::Gone(since), None) => since.elapsed() < GONE_FOR,
                (Known::Here(_), None) => {
                    change(number, known, Known::Gone(Instant::now()));
                    true
                }
                (Known::Here(before), Some(status)) if *before == status => true,
                (_, Some(status)) => {
                    change(number, known, Known::Here(status));
                    true
                }
            });
        for (id, status) in now {
            self.seen += 1;
            self.instances.insert(id, (self.seen, Known::Here(status)));
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
        let all = [(2, Some(Connected)), (3, Some(Connecting))];
        assert_eq!(told(&late), all, "whoever listens from now on knows of no other");
        sleep(GONE_FOR).await;
        board.changed_since(None, now.lock().unwrap().clone());
        assert_eq!(board.state.lock().unwrap().instances.len(), 2);
    }
}
