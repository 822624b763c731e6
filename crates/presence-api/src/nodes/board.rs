//! How this node's instances are, for the others: what changed, numbered.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use presence_core::InstanceId;
use presence_wa::InstanceStatus;
use tokio::time::{Instant, sleep};

use super::calls::{StatusNews, Statuses};

/// The statuses of this node's instances, each with the number of its last change.
///
/// They are looked over while another node asks, and never otherwise.
pub(crate) struct StatusBoard {
    /// Tells this board's numbers from those of another run.
    number: u64,
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
/// How long nobody is answered when nothing changes.
const LONGEST: Duration = Duration::from_secs(10);

impl Default for StatusBoard {
    fn default() -> Self {
        Self {
            number: rand::random(),
            state: Mutex::default(),
        }
    }
}

impl StatusBoard {
    /// What is new to whoever asks; `look` tells how all instances are now. Waits for something new, for a while.
    pub(crate) async fn news<L>(&self, asked: Statuses, look: impl Fn() -> L) -> StatusNews
    where
        L: IntoIterator<Item = (InstanceId, InstanceStatus)>,
    {
        let seen = if asked.board == self.number { asked.seen } else { 0 };
        let until = Instant::now() + LONGEST;
        loop {
            let news = self.changed_since(seen, look());
            if !news.statuses.is_empty() || asked.board != self.number || Instant::now() >= until {
                return news;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    fn changed_since(
        &self,
        seen: u64,
        now: impl IntoIterator<Item = (InstanceId, InstanceStatus)>,
    ) -> StatusNews {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.look_over(now);
        let changed = state.statuses.iter().filter(|(_, (number, _))| *number > seen);
        StatusNews {
            board: self.number,
            seen: state.seen,
            statuses: changed.map(|(id, (_, status))| (*id, status.clone())).collect(),
        }
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
        let statuses = news.statuses.iter();
        let mut told: Vec<_> = statuses
            .map(|(id, status)| (id.get(), status.as_ref().map(|status| status.state)))
            .collect();
        told.sort_unstable_by_key(|(id, _)| *id);
        told
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_is_told_all_at_first_and_then_what_changed() {
        use InstanceState::{Connected, Connecting};
        let (board, now) = (StatusBoard::default(), Mutex::new(Vec::new()));
        let set = |statuses: &[(i32, InstanceState)]| {
            let statuses = statuses
                .iter()
                .map(|(number, state)| (id(*number), status(*state)));
            *now.lock().unwrap() = statuses.collect();
        };
        let ask = async |seen: &StatusNews| {
            let asked = Statuses {
                board: seen.board,
                seen: seen.seen,
            };
            board.news(asked, || now.lock().unwrap().clone()).await
        };
        let nothing = StatusNews {
            board: 0,
            seen: 7,
            statuses: Vec::new(),
        };
        let empty = ask(&nothing).await;
        assert_eq!(told(&empty), []);
        set(&[(1, Connected), (2, Connecting)]);
        let all = ask(&empty).await;
        assert_eq!(told(&all), [(1, Some(Connected)), (2, Some(Connecting))]);
        set(&[(2, Connected), (3, Connecting)]);
        let changed = ask(&all).await;
        assert_eq!(
            told(&changed),
            [(1, None), (2, Some(Connected)), (3, Some(Connecting))]
        );
        assert_eq!(
            told(&ask(&nothing).await).len(),
            3,
            "another board's number is no number"
        );

        let asked = Instant::now();
        assert_eq!(told(&ask(&changed).await), []);
        assert_eq!(asked.elapsed(), LONGEST);
    }
}
