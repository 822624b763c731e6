//! Tells one webhook of one instance.

use std::sync::Arc;
use std::time::Duration;

use presence_store::Instance;
use presence_wa::{InstanceState, InstanceStatus, StatusWatch};
use tokio::time::sleep;

use super::backlog::Backlog;
use super::message::Message;
use super::target::Target;
use crate::clock::Time;
use crate::events::InstanceEvent;
use crate::instances::Instances;

/// Follows an instance, and delivers what is news: one message after the other.
pub(super) struct Reporter {
    pub(super) news: News,
    pub(super) target: Arc<Target>,
}

impl Reporter {
    /// Runs until the instance is deleted, and that was told.
    pub(super) async fn run(self) {
        let Self { mut news, target } = self;
        let mut backlog = Backlog::default();
        let mut is_over = false;
        loop {
            // While nothing is to be delivered, there is only to wait for news.
            let Some(message) = backlog.pop() else {
                if is_over {
                    return;
                }
                match news.next().await {
                    Some(message) => drop(backlog.push(message)),
                    None => is_over = true,
                }
                continue;
            };
            let delivery = target.deliver(message);
            tokio::pin!(delivery);
            loop {
                tokio::select! {
                    () = &mut delivery => break,
                    message = news.next(), if !is_over => match message {
                        Some(message) => if backlog.push(message).is_some() {
                            target.drop_message();
                        },
                        None => is_over = true,
                    },
                }
            }
        }
    }
}

/// What is news of an instance, from when this is made.
pub(super) struct News {
    instances: Instances,
    account: String,
    instance: Arc<Instance>,
    watch: Option<StatusWatch>,
    /// What is no news any more. `None` of an instance so new that the fleet does not know it yet.
    told: Option<InstanceStatus>,
    is_deleted: bool,
}

/// How long to wait for an instance that the fleet does not know yet, or no longer.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

impl News {
    pub(super) fn new(instances: Instances, account: String, instance: Arc<Instance>) -> Self {
        Self {
            watch: instances.watch_status(instance.id),
            told: instances.status(instance.id),
            instances,
            account,
            instance,
            is_deleted: false,
        }
    }

    /// What is news next; `None` when it was told that the instance is deleted. A call that is dropped loses
    /// nothing.
    async fn next(&mut self) -> Option<Message> {
        loop {
            if self.is_deleted {
                return None;
            }
            if let Some(watch) = &mut self.watch {
                while let Some(status) = watch.next().await {
                    let is_news = match &self.told {
                        Some(before) => status.is_news_after(before),
                        None => status.state != InstanceState::Disconnected,
                    };
                    if is_news {
                        self.told = Some(status.clone());
                        return Some(
                            self.message(|instance, time| InstanceEvent::new(instance, Some(&status), time)),
                        );
                    }
                }
            }
            if self.instances.by_id(self.instance.id).is_some() {
                sleep(LOOK_AGAIN).await;
                self.watch = self.instances.watch_status(self.instance.id);
            } else {
                self.is_deleted = true;
                return Some(self.message(|instance, _| InstanceEvent::deleted(instance)));
            }
        }
    }

    fn message<'a>(&'a self, data: impl FnOnce(&'a Instance, Time) -> InstanceEvent<'a>) -> Message {
        let time = Time::read();
        Message::new(&self.account, &self.instance, data(&self.instance, time), time)
    }
}
