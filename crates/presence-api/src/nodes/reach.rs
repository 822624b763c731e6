//! Which of the other nodes this one reaches, and what people are told of it.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use hyper::StatusCode;
use presence_store::NodeId;
use tokio::time::Instant;

use super::Nodes;
use crate::health::{Finding, HealthCheck};

/// Why a node takes no calls.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Unreached {
    /// No connection came about, or it broke.
    #[error("nobody answers there: {0}")]
    Io(Arc<io::Error>),
    /// What answers there has another secret.
    #[error("it refuses this node's secret: its --cluster-secret-file is another one")]
    Secret,
    /// The address leads to a node, but not to this one.
    #[error("another node answers there")]
    OtherNode,
    /// It starts, or is no node at all.
    #[error("it answers {0}")]
    Refused(StatusCode),
}

impl From<io::Error> for Unreached {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

impl From<StatusCode> for Unreached {
    fn from(status: StatusCode) -> Self {
        match status {
            StatusCode::UNAUTHORIZED => Self::Secret,
            StatusCode::MISDIRECTED_REQUEST => Self::OtherNode,
            status => Self::Refused(status),
        }
    }
}

/// Which of the other nodes are reached: their calls' connection is open, and how their instances are is heard.
#[derive(Default)]
pub(super) struct Reach {
    nodes: Mutex<HashMap<NodeId, State>>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Reached,
    NotReached { since: Instant, is_told: bool },
}

/// From when on a node that is not reached is called silent. A healthy one is reached within a second of its start.
const SILENT_AFTER: Duration = Duration::from_secs(5);
/// From when on people are told. A node that is lost is struck off before, and its instances are others' then.
const TELL_AFTER: Duration = Duration::from_secs(12);

impl Reach {
    /// From here on this node is to be reached.
    pub(super) fn handle_new(&self, node: NodeId) {
        self.lock().entry(node).or_insert_with(State::begin);
    }

    /// Something was heard of it. Whether people are to be told that it is reached again.
    #[must_use]
    pub(super) fn handle_heard(&self, node: NodeId) -> bool {
        let mut nodes = self.lock();
        let before = nodes
            .get_mut(&node)
            .map(|state| std::mem::replace(state, State::Reached));
        before.is_some_and(State::is_told)
    }

    /// It is not reached now. Whether people are to be told.
    #[must_use]
    pub(super) fn handle_unreached(&self, node: NodeId) -> bool {
        match self.lock().get_mut(&node) {
            Some(state @ State::Reached) => {
                *state = State::begin();
                false
            }
            Some(State::NotReached { since, is_told }) => {
                let is_time = since.elapsed() >= TELL_AFTER;
                is_time && !std::mem::replace(is_told, true)
            }
            None => false,
        }
    }

    /// It is no node any more. Whether people are to be told that it is missed no longer.
    #[must_use]
    pub(super) fn handle_gone(&self, node: NodeId) -> bool {
        self.lock().remove(&node).is_some_and(State::is_told)
    }

    /// Whether it has not been heard for some time; `None`: it is none of the other nodes.
    pub(super) fn is_silent(&self, node: NodeId) -> Option<bool> {
        Some(match self.lock().get(&node)? {
            State::Reached => false,
            State::NotReached { since, .. } => since.elapsed() >= SILENT_AFTER,
        })
    }

    /// How many people were told of that they are not reached, and how many there are.
    fn count(&self) -> (usize, usize) {
        let nodes = self.lock();
        let not_reached = nodes.values().filter(|state| state.is_told());
        (not_reached.count(), nodes.len())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<NodeId, State>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn begin() -> Self {
        Self::NotReached {
            since: Instant::now(),
            is_told: false,
        }
    }

    fn is_told(self) -> bool {
        matches!(self, Self::NotReached { is_told: true, .. })
    }
}

/// The check `nodes`: whether this node reaches the others. Those that it does not reach go on with what they have.
pub(crate) struct NodesCheck(pub(crate) Nodes);

#[async_trait]
impl HealthCheck for NodesCheck {
    fn name(&self) -> &'static str {
        "nodes"
    }

    async fn check(&self) -> Finding {
        match self.0.inner.reach.count() {
            (0, _) => Finding::Ok,
            (not_reached, all) => Finding::Warning(format!("{not_reached} of {all} other nodes not reached")),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    #[test]
    fn why_a_node_is_not_reached_says_what_to_look_at() {
        for (why, text) in [
            (
                io::Error::from(io::ErrorKind::ConnectionRefused).into(),
                "nobody answers there: connection refused",
            ),
            (
                StatusCode::UNAUTHORIZED.into(),
                "it refuses this node's secret: its --cluster-secret-file is another one",
            ),
            (
                StatusCode::MISDIRECTED_REQUEST.into(),
                "another node answers there",
            ),
            (StatusCode::NOT_FOUND.into(), "it answers 404 Not Found"),
        ] {
            let why: Unreached = why;
            assert_eq!(why.to_string(), text);
        }
    }

    const NODE: NodeId = NodeId::from_bytes([7; 16]);

    /// Tries every second, for so many: when that was told.
    async fn unreached_for(reach: &Reach, seconds: u64) -> Vec<u64> {
        let mut told = Vec::new();
        for second in 0..=seconds {
            if reach.handle_unreached(NODE) {
                told.push(second);
            }
            sleep(Duration::from_secs(1)).await;
        }
        told
    }

    #[tokio::test(start_paused = true)]
    async fn people_are_told_once_of_a_node_that_is_not_reached_and_once_when_that_is_over() {
        let reach = Reach::default();
        reach.handle_new(NODE);
        assert_eq!((reach.is_silent(NODE), reach.count()), (Some(false), (0, 1)));
        assert!(!reach.handle_heard(NODE));
        for _ in 0..2 {
            assert_eq!(unreached_for(&reach, 60).await, [12]);
            assert_eq!((reach.is_silent(NODE), reach.count()), (Some(true), (1, 1)));
            assert!(reach.handle_heard(NODE) && !reach.handle_heard(NODE));
            assert_eq!((reach.is_silent(NODE), reach.count()), (Some(false), (0, 1)));
        }
        assert_eq!(unreached_for(&reach, 60).await, [12]);
        assert!(reach.handle_gone(NODE) && !reach.handle_gone(NODE));
        assert_eq!((reach.is_silent(NODE), reach.count()), (None, (0, 0)));
        // Of a node that is gone, its follower may tell something more.
        assert!(!reach.handle_heard(NODE) && !reach.handle_unreached(NODE));
        assert_eq!(reach.count(), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_told_of_a_node_that_is_missed_for_a_moment_or_until_it_is_struck_off() {
        let reach = Reach::default();
        reach.handle_new(NODE);
        assert_eq!(unreached_for(&reach, 2).await, [0; 0]);
        assert_eq!(reach.is_silent(NODE), Some(false));
        assert!(!reach.handle_heard(NODE));
        assert_eq!(unreached_for(&reach, 10).await, [0; 0]);
        assert_eq!((reach.is_silent(NODE), reach.count()), (Some(true), (0, 1)));
        assert!(!reach.handle_gone(NODE));
    }
}
