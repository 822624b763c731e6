//! What the task of the cluster is told by others.

use std::time::Duration;

use presence_core::InstanceId;
use presence_store::{Epoch, NodeId, StoreError};
use tokio::sync::oneshot;

pub(crate) enum Message {
    /// This node has claimed an instance. The reply says whether it has it.
    Claimed {
        node: NodeId,
        instance: InstanceId,
        epoch: Epoch,
        reply: oneshot::Sender<bool>,
    },
    /// An instance was deleted.
    Deleted(InstanceId),
    /// The ledger is to be read. The reply is that of a read that begins after this.
    Refresh(oneshot::Sender<Result<(), StoreError>>),
    /// This node is to leave.
    Leave { grace: Duration },
}
