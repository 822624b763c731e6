//! What a node does with the instances that it has.

use async_trait::async_trait;
use presence_core::InstanceId;
use presence_store::Ownership;

/// The sessions of this node.
#[async_trait]
pub trait Sessions: Send + Sync + 'static {
    /// From now on these are this node's, each in its epoch. Returns at once.
    fn take(&self, taken: &[Ownership]);

    /// Ends the session of `instance` in order: what it shows is paused, the connection closed, its keys saved.
    /// When this returns, another node may open it. That takes seconds at most. It is dropped where it stands when the
    /// instance is given up meanwhile.
    async fn hand_over(&self, instance: InstanceId);

    /// These may be another's by now: their sessions end without a word, nothing of them is written, and
    /// nothing of them runs when this returns.
    async fn give_up(&self, lost: &[InstanceId]);

    /// What would be disturbed if `instance` were handed over.
    fn activity(&self, instance: InstanceId) -> Activity;

    /// How many instances there are, on all nodes together.
    fn wanted(&self) -> usize;
}

/// What an instance is in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Nothing.
    Idle,
    /// It shows something, which the next node would show again after a moment: better later, but not never.
    Showing,
    /// A phone is linking it, which would have to begin again.
    Linking,
}
