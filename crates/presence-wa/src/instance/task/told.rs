//! What others are told of the instance: its status, answers that were waited for, what it shows.

use std::time::Duration;

use presence_core::{Availability, ChatJid, Shown};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::InstanceTask;
use crate::instance::alarm::Notice;
use crate::instance::job::Answer;
use crate::status::{InstanceState, Reason, is_news};

impl InstanceTask {
    /// Publishes how the instance is, and logs it if that is news.
    pub(super) fn publish(&mut self) {
        let (state, reason) = self.lifecycle.status();
        if self.shown != (state, reason) {
            self.changed = true;
            self.shown = (state, reason);
        }
        if !std::mem::take(&mut self.changed) {
            return;
        }
        let identity = self.lifecycle.identity();
        let named = identity.is_some_and(|identity| identity.push_name.is_some());
        let available = named && self.indicators.availability() == Some(Availability::Available);
        let session = self.session.as_ref().map(|open| open.state.clone());
        self.published.send_modify(|published| {
            published.set_state(state, reason);
            (published.available, published.session) = (available, session);
            if published.identity.as_ref() != identity {
                published.identity = identity.cloned();
            }
        });
        // What follows the end of a session that is being closed is told with it, in one line.
        if self.lifecycle.fault().is_none() {
            self.log_status(state, reason);
            let notice = self.alarm.handle_status(Instant::now(), state, reason);
            self.log_notice(notice);
        }
    }

    fn log_status(&mut self, state: InstanceState, reason: Option<Reason>) {
        let cause = self.cause.take();
        let label = reason.map(Reason::label);
        if is_news(self.logged, (state, reason)) {
            self.logged = (state, reason);
            info!(state = %state, reason = label, cause, "instance state changed");
        } else if cause.is_some() {
            debug!(state = %state, reason = label, cause, "an attempt to connect failed");
        }
    }

    pub(super) fn log_notice(&self, notice: Option<Notice>) {
        match notice {
            Some(Notice::Raised(concern)) => warn!("the instance needs a person: {}", concern.words()),
            Some(Notice::Over(concern, lasted)) => {
                let after_s = lasted.as_secs();
                info!(
                    after_s,
                    "the instance is connected again: it was {}",
                    concern.label()
                );
            }
            None => {}
        }
    }

    pub(super) fn answer(&mut self) {
        while let Some(answer) = self.lifecycle.poll_answer() {
            match answer {
                Answer::Reconnect(answer) => {
                    for reply in self.waiting.reconnect.drain(..) {
                        let _ = reply.send(answer);
                    }
                }
                Answer::LoggedOut => {
                    for reply in self.waiting.logout.drain(..) {
                        let _ = reply.send(());
                    }
                }
                Answer::Removed { wiped } => {
                    for reply in self.waiting.remove.drain(..) {
                        let _ = reply.send(wiped);
                    }
                }
            }
        }
    }

    /// What is shown now, what ends first at the front.
    pub(super) fn shown_now(&self, now: Instant) -> Vec<(ChatJid, Shown)> {
        let shown = self.indicators.shown_at(now.into_std());
        let mut shown: Vec<_> = shown.map(|(chat, shown)| (chat.clone(), shown)).collect();
        shown.sort_unstable_by(|(a, one), (b, other)| (one.until, a).cmp(&(other.until, b)));
        shown
    }

    /// Tells what has changed; what was only begun may fail yet, and is not told before it is written. A command
    /// that changed something is `answered` now, after so long.
    pub(super) fn tell_observers(&mut self, answered: Option<(&ChatJid, Duration)>) {
        if self.observers.is_empty() {
            return;
        }
        while let Some(change) = self.indicators.poll_settled_change() {
            self.observers.tell(change, answered);
        }
        if self.observers.is_empty() {
            self.indicators.watch_changes(false);
        }
    }
}
