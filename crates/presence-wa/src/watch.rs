//! Following one instance: how it is, and what it shows.

use std::sync::Arc;
use std::time::Duration;

use presence_core::{ChatJid, Shown};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep;

use crate::instance::{InstanceHandle, Message, Published};
use crate::presence_change::PresenceChange;
use crate::status::InstanceStatus;

/// What has become of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InstanceUpdate {
    /// How it is now.
    Status(InstanceStatus),
    /// All that it shows now, whatever was told before.
    Shown(Vec<(ChatJid, Shown)>),
    /// What one chat shows now.
    Changed(PresenceChange),
}

/// Follows one instance. Comes from [`Fleet::watch`](crate::Fleet::watch).
///
/// The instance waits for nobody: of its status only the latest is told, and who is behind by more than 256
/// changes is told all that is shown anew.
pub struct InstanceWatch {
    handle: Arc<InstanceHandle>,
    status: StatusWatch,
    /// `None` while there is no task, which then shows nothing, and when changes were lost.
    changes: Option<mpsc::Receiver<PresenceChange>>,
}

/// How many changes may wait to be taken.
const QUEUE: usize = 256;
/// How long until a task that did not answer is asked again: it has panicked, and starts anew.
const ASK_AGAIN: Duration = Duration::from_millis(100);

impl InstanceWatch {
    pub(crate) fn new(handle: Arc<InstanceHandle>) -> Self {
        Self {
            status: StatusWatch::new(&handle),
            handle,
            changes: None,
        }
    }

    /// What happens next; at first how the instance is. `None` when it is removed, or the fleet has shut down.
    ///
    /// A call that is dropped before it is done may lose what it was about to tell.
    pub async fn next(&mut self) -> Option<InstanceUpdate> {
        loop {
            if self.status.told.is_some() && self.changes.is_none() {
                match self.observe().await {
                    Observed::NoTask => {}
                    Observed::Shown(shown) => return Some(InstanceUpdate::Shown(shown)),
                    Observed::NoAnswer => {
                        sleep(ASK_AGAIN).await;
                        continue;
                    }
                    Observed::Gone => return None,
                }
            }
            tokio::select! {
                biased;
                status = self.status.next() => return status.map(InstanceUpdate::Status),
                change = next_change(&mut self.changes) => match change {
                    Some(change) => return Some(InstanceUpdate::Changed(change)),
                    None => self.changes = None,
                }
            }
        }
    }

    async fn observe(&mut self) -> Observed {
        let Some(mailbox) = self.handle.mailbox() else {
            return Observed::NoTask;
        };
        let (changes, queue) = mpsc::channel(QUEUE);
        let (reply, shown) = oneshot::channel();
        if mailbox.send(Message::Watch { changes, reply }).await.is_err() {
            return Observed::Gone;
        }
        match shown.await {
            Ok(shown) => {
                self.changes = Some(queue);
                Observed::Shown(shown)
            }
            Err(_) if mailbox.is_closed() => Observed::Gone,
            Err(_) => Observed::NoAnswer,
        }
    }
}

/// Follows how one instance is. Comes from [`Fleet::watch_status`](crate::Fleet::watch_status). Whoever is slow
/// sees the latest status alone.
pub struct StatusWatch {
    published: watch::Receiver<Published>,
    /// The status that was told last.
    told: Option<InstanceStatus>,
}

impl StatusWatch {
    pub(crate) fn new(handle: &InstanceHandle) -> Self {
        let mut published = handle.published().subscribe();
        published.mark_changed();
        Self {
            published,
            told: None,
        }
    }

    /// How it is next; at first how it is now. `None` when it is removed, or the fleet has shut down. A call that is
    /// dropped loses nothing.
    pub async fn next(&mut self) -> Option<InstanceStatus> {
        loop {
            self.published.changed().await.ok()?;
            let status = self.published.borrow_and_update().status();
            if self.told.as_ref() != Some(&status) {
                self.told = Some(status.clone());
                return Some(status);
            }
        }
    }
}

enum Observed {
    /// It was never asked for anything. When it is, its status changes.
    NoTask,
    Shown(Vec<(ChatJid, Shown)>),
    NoAnswer,
    Gone,
}

async fn next_change(changes: &mut Option<mpsc::Receiver<PresenceChange>>) -> Option<PresenceChange> {
    match changes {
        Some(changes) => changes.recv().await,
        None => std::future::pending().await,
    }
}
