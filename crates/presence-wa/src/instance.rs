//! One instance, as requests see it: a mailbox and a watch of how it is.

mod active_indicators;
mod alarm;
mod job;
mod jobs;
mod lifecycle;
mod link_code;
mod lookups;
mod message;
mod numbers;
mod observers;
mod open_budget;
mod open_session;
#[cfg(feature = "panic-hook")]
mod panic_hook;
mod published;
mod session_end;
mod stanza;
mod task;

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt as _;
use presence_core::{ChatJid, InstanceId, Shown};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span, error, error_span};

use self::job::Beginning;
pub(crate) use self::job::Keys;
use self::lifecycle::Lifecycle;
pub(crate) use self::message::{Message, PresenceRequest};
pub(crate) use self::published::Published;
use self::task::InstanceTask;
use crate::context::FleetContext;
use crate::session::Identity;
use crate::status::{InstanceState, Reason};

/// How an instance begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstanceOptions {
    /// Its name, for the log. An instance keeps it for life.
    pub name: String,
    /// Whether WhatsApp takes the account for online all the time.
    pub keep_online: bool,
    /// What is known of its device keys.
    pub saved: SavedKeys,
    /// It was logged out before ([`PairingRecord::logged_out`](crate::PairingRecord::logged_out)): keys that are
    /// left over are wiped, not used.
    pub logged_out: bool,
    /// For how long WhatsApp bans it from now on ([`PairingRecord::banned`](crate::PairingRecord::banned)).
    pub banned: Option<Duration>,
    /// What it showed at another process until now, which goes on here.
    pub shown: Vec<(ChatJid, Shown)>,
}

/// What is known of an instance's device keys before it begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SavedKeys {
    /// Nothing: they are read when somebody asks for the instance.
    #[default]
    Unknown,
    /// Nothing, but a saved session is to be reopened in the background if there is one.
    Resume,
    /// There are none.
    Nothing,
    /// There may be some, but none of a finished pairing.
    Unpaired,
    /// Those of a pairing with this account: its session is reopened in the background.
    Paired(Identity),
}

/// The handle of one instance. One that was never asked for anything is only this; its task is started when the
/// first message is for it.
pub(crate) struct InstanceHandle {
    instance: InstanceId,
    options: InstanceOptions,
    published: watch::Sender<Published>,
    keep_online: watch::Sender<bool>,
    mailbox: OnceLock<mpsc::Sender<Message>>,
    /// A client has used it since this was last asked.
    used: AtomicBool,
    /// A stanza was written since this was last asked.
    wrote: Arc<AtomicBool>,
    /// Has the task say farewell and end.
    stop: CancellationToken,
    /// Ends the task on the spot.
    kill: CancellationToken,
}

impl InstanceHandle {
    pub(crate) fn new(instance: InstanceId, options: InstanceOptions, fleet: &FleetContext) -> Self {
        let begins = options.begins();
        let state = match (options.logged_out, begins) {
            (true, _) => InstanceState::LoggedOut,
            (false, true) => InstanceState::Connecting,
            (false, false) => InstanceState::Disconnected,
        };
        let mut published = Published::new(state, None);
        if let (false, SavedKeys::Paired(identity)) = (options.logged_out, &options.saved) {
            published.identity = Some(identity.clone());
        }
        Self {
            instance,
            published: watch::Sender::new(published),
            keep_online: watch::Sender::new(options.keep_online),
            options,
            mailbox: OnceLock::new(),
            used: AtomicBool::new(false),
            wrote: Arc::default(),
            stop: fleet.stop.child_token(),
            kill: fleet.kill.child_token(),
        }
    }

    pub(crate) fn note_use(&self) {
        self.used.store(true, Ordering::Relaxed);
    }

    /// Whether a client has used it since this was last asked.
    pub(crate) fn take_use(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }

    /// Whether a stanza was written since this was last asked.
    pub(crate) fn take_wrote(&self) -> bool {
        self.wrote.swap(false, Ordering::Relaxed)
    }

    /// What was written since is to be told again.
    pub(crate) fn note_written(&self) {
        self.wrote.store(true, Ordering::Relaxed);
    }

    /// Whether a stanza was written since this was last asked, without the answer being another one for that.
    pub(crate) fn has_written(&self) -> bool {
        self.wrote.load(Ordering::Relaxed)
    }

    /// Whether there is something to do though nobody has asked.
    pub(crate) fn begins_by_itself(&self) -> bool {
        self.options.begins()
    }

    pub(crate) fn published(&self) -> &watch::Sender<Published> {
        &self.published
    }

    pub(crate) fn set_keep_online(&self, keep: bool) {
        self.keep_online.send_replace(keep);
    }

    pub(crate) fn keeps_online(&self) -> bool {
        *self.keep_online.borrow()
    }

    /// The mailbox of its task, if it has one.
    pub(crate) fn mailbox(&self) -> Option<&mpsc::Sender<Message>> {
        self.mailbox.get()
    }

    /// The mailbox of its task, which is started if there is none; `None` when the fleet shuts down.
    pub(crate) fn start(&self, fleet: &Arc<FleetContext>) -> Option<&mpsc::Sender<Message>> {
        if self.stop.is_cancelled() {
            return None;
        }
        Some(self.mailbox.get_or_init(|| {
            let (mailbox, messages) = mpsc::channel(MAILBOX);
            let runner = Runner {
                instance: self.instance,
                fleet: Arc::clone(fleet),
                published: self.published.clone(),
                keep_online: self.keep_online.subscribe(),
                wrote: Arc::clone(&self.wrote),
                stop: self.stop.clone(),
            };
            let (kill, beginning) = (self.kill.clone(), self.options.beginning());
            let shown = self.options.shown.clone();
            let task = async move {
                let run = runner.run(beginning, shown, messages);
                kill.run_until_cancelled(run).await;
            };
            fleet.tasks.spawn(task.instrument(self.span()));
            mailbox
        }))
    }

    /// What the lines of its log belong to, at every level; and not to the request that happened to start it.
    pub(crate) fn span(&self) -> Span {
        let name = self.options.name.as_str();
        error_span!(parent: None, "instance", instance.id = %self.instance, instance.name = name)
    }

    /// Has its task pause what is shown, close the session and end. Nothing can be asked of it any more.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Ends its task where it stands.
    pub(crate) fn kill(&self) {
        self.stop.cancel();
        self.kill.cancel();
    }

    /// Returns when its task has ended. It is to be told so before.
    pub(crate) async fn ended(&self) {
        if let Some(mailbox) = self.mailbox.get() {
            mailbox.closed().await;
        }
    }
}

impl InstanceOptions {
    fn begins(&self) -> bool {
        match self.saved {
            SavedKeys::Unknown => self.logged_out,
            SavedKeys::Nothing | SavedKeys::Unpaired => false,
            SavedKeys::Resume | SavedKeys::Paired(_) => true,
        }
    }

    fn beginning(&self) -> Beginning {
        Beginning {
            keys: match &self.saved {
                SavedKeys::Unknown | SavedKeys::Resume => Keys::Unknown,
                SavedKeys::Nothing => Keys::Nothing,
                SavedKeys::Unpaired => Keys::Unpaired,
                SavedKeys::Paired(identity) => Keys::Paired(identity.clone()),
            },
            logged_out: self.logged_out,
            banned_until: self.banned.map(|lasts| Instant::now() + lasts),
            resume: matches!(self.saved, SavedKeys::Resume | SavedKeys::Paired(_)),
        }
    }
}

/// Runs the task of an instance, and starts it again when it panics.
struct Runner {
    instance: InstanceId,
    fleet: Arc<FleetContext>,
    published: watch::Sender<Published>,
    keep_online: watch::Receiver<bool>,
    wrote: Arc<AtomicBool>,
    stop: CancellationToken,
}

impl Runner {
    async fn run(
        self,
        beginning: Beginning,
        mut shown: Vec<(ChatJid, Shown)>,
        mut messages: mpsc::Receiver<Message>,
    ) {
        let settings = &self.fleet.settings;
        let mut lifecycle = Lifecycle::new(Instant::now(), settings.clone(), beginning);
        let mut panics = 0;
        loop {
            let (fleet, published) = (Arc::clone(&self.fleet), self.published.clone());
            let mut task = InstanceTask::new(
                self.instance,
                fleet,
                published,
                self.keep_online.clone(),
                Arc::clone(&self.wrote),
                lifecycle,
            );
            task.take_over(std::mem::take(&mut shown));
            let started = Instant::now();
            // What it leaves behind is dropped whole, and with it everything that may be broken.
            let ended = AssertUnwindSafe(task.run(&mut messages, &self.stop))
                .catch_unwind()
                .await;
            drop(task);
            let Err(panic) = ended else { break };
            panics = if started.elapsed() < PANIC_FORGOTTEN {
                panics + 1
            } else {
                1
            };
            lifecycle = self.after_panic(&*panic, panics);
        }
        self.published.send_modify(|published| {
            (published.session, published.qr, published.link_code) = (None, None, None);
            if published.state != InstanceState::LoggedOut {
                (published.state, published.reason) = (InstanceState::Disconnected, None);
            }
        });
    }

    fn after_panic(&self, panic: &(dyn Any + Send), panics: u32) -> Lifecycle {
        self.fleet.counters.task_panics.inc();
        let now = Instant::now();
        let until = now
            + PANIC_WAIT
                .saturating_mul(1 << (panics - 1).min(16))
                .min(PANIC_LONGEST);
        let message = panic
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        error!(
            panic = message,
            panics, "the task of the instance panicked; it starts again"
        );
        let before = self.published.borrow().state;
        let logged_out = before == InstanceState::LoggedOut;
        let resume = matches!(before, InstanceState::Connected | InstanceState::Connecting);
        self.published.send_modify(|published| {
            (published.session, published.qr, published.link_code) = (None, None, None);
            if resume {
                (published.state, published.reason) =
                    (InstanceState::Connecting, Some(Reason::Crashed(until)));
            }
        });
        let beginning = Beginning {
            keys: Keys::Unknown,
            logged_out,
            banned_until: None,
            resume,
        };
        Lifecycle::after_panic(now, self.fleet.settings.clone(), beginning, until)
    }
}

/// How many messages may wait until the task takes them; callers wait beyond that.
const MAILBOX: usize = 64;
/// How long a task that panicked waits before it opens a session again; doubled each time.
const PANIC_WAIT: Duration = Duration::from_secs(1);
/// The longest that it waits.
const PANIC_LONGEST: Duration = Duration::from_secs(300);
/// A task that ran this long since its last panic begins to count anew.
const PANIC_FORGOTTEN: Duration = Duration::from_secs(600);
