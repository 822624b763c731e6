//! Where the world meets connections and the clock.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use whatsapp_rust::wacore_binary::Node;

use crate::clock::Clock;
use crate::signal::Signal;
use crate::wire::ServerIdentity;
use crate::world::{Admission, Claim, ConnectionId, Effect, Farewell, Push, Settings, World};

/// Orders a connection can be behind with before it is cut.
const INBOX: usize = 1024;

/// Everything the sandbox's tasks share.
pub(crate) struct Hub {
    inner: Mutex<Inner>,
    changes: watch::Sender<u64>,
    deadline_moved: Notify,
    pub(crate) clock: Clock,
    /// What phones encrypt with.
    pub(crate) signal: Mutex<Signal>,
    pub(crate) identity: ServerIdentity,
    pub(crate) secret: [u8; 32],
    hang_up_after: Duration,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

struct Inner {
    world: World,
    inboxes: HashMap<ConnectionId, Inbox>,
}

/// How a connection is reached.
struct Inbox {
    orders: mpsc::Sender<Order>,
    /// Cuts it, also while it waits for a client that does not read.
    cut: CancellationToken,
}

/// A client that was let in, and its orders; or one that was not.
pub(crate) struct Entrance {
    pub(crate) admission: Admission,
    pub(crate) orders: mpsc::Receiver<Order>,
    pub(crate) cut: CancellationToken,
}

/// What a connection is told to do.
#[derive(Debug)]
pub(crate) enum Order {
    Say(Box<Node>),
    Push(Box<Push>),
    Dismiss(Farewell),
    Stall,
    Resume,
}

impl Hub {
    pub(crate) fn new(settings: Settings) -> Self {
        let (secret, hang_up_after) = (settings.secret, settings.hang_up_after);
        Self {
            inner: Mutex::new(Inner {
                world: World::new(settings),
                inboxes: HashMap::new(),
            }),
            changes: watch::Sender::new(0),
            deadline_moved: Notify::new(),
            clock: Clock::start(),
            signal: Mutex::new(Signal::new(secret)),
            identity: ServerIdentity::new(&secret),
            secret,
            hang_up_after,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }

    /// How long a connection stays open after its stream ended.
    pub(crate) fn hang_up_after(&self) -> Duration {
        self.hang_up_after
    }

    /// Looks into the world as it is now.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&World) -> T) -> T {
        let mut inner = self.lock();
        inner.world.handle_timeout(self.now());
        inner.deliver();
        look(&inner.world)
    }

    /// Changes the world, and does what follows.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut World, Duration) -> T) -> T {
        self.change_inner(|inner, now| change(&mut inner.world, now))
    }

    /// Lets a client in that shook hands, or does not.
    pub(crate) fn login(&self, claim: Claim) -> Entrance {
        let (inbox, orders) = mpsc::channel(INBOX);
        let cut = CancellationToken::new();
        let inbox = Inbox {
            orders: inbox,
            cut: cut.clone(),
        };
        let admission = self.change_inner(|inner, now| {
            let admission = inner.world.login(now, claim);
            if let Admission::Welcome { connection, .. } | Admission::Pair { connection, .. } = &admission {
                inner.inboxes.insert(*connection, inbox);
            }
            admission
        });
        Entrance {
            admission,
            orders,
            cut,
        }
    }

    pub(crate) fn hung_up(&self, connection: ConnectionId) {
        self.change_inner(|inner, now| {
            inner.inboxes.remove(&connection);
            inner.world.hung_up(now, connection);
        });
    }

    /// Sends a stanza to a client. False when it is gone.
    pub(crate) fn say(&self, connection: ConnectionId, stanza: Node) -> bool {
        self.change_inner(|inner, _| inner.order(connection, Order::Say(Box::new(stanza))))
    }

    /// A number for a query of the server's.
    pub(crate) fn next_query(&self) -> u64 {
        self.clock.stanza_id()
    }

    /// Tells of each change of anything.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Waits until `look` finds what it looks for; it is asked again after every change.
    pub(crate) async fn wait_for<T>(&self, mut look: impl FnMut(&World) -> Option<T>) -> T {
        let mut changes = self.changes.subscribe();
        loop {
            // Marked as seen before looking, so that a change in between is not missed.
            changes.borrow_and_update();
            if let Some(found) = self.look(&mut look) {
                return found;
            }
            // The sender is in `self`, so it cannot be gone.
            let _ = changes.changed().await;
        }
    }

    /// Ends what is due, when it is due, so that those who wait hear of it.
    pub(crate) async fn keep_time(&self) {
        loop {
            let due = self.change_inner(|inner, _| inner.world.poll_timeout());
            let moved = self.deadline_moved.notified();
            match due {
                Some(due) => tokio::select! {
                    () = tokio::time::sleep_until(self.clock.instant(due)) => {}
                    () = moved => {}
                },
                None => moved.await,
            }
        }
    }

    /// Seconds since 1970.
    pub(crate) fn unix_secs(&self) -> u64 {
        self.clock.unix_secs(self.now())
    }

    pub(crate) fn now(&self) -> Duration {
        self.clock.now()
    }

    fn change_inner<T>(&self, change: impl FnOnce(&mut Inner, Duration) -> T) -> T {
        let (result, moved) = {
            let mut inner = self.lock();
            let now = self.now();
            inner.world.handle_timeout(now);
            let due = inner.world.poll_timeout();
            let result = change(&mut inner, now);
            inner.deliver();
            (result, inner.world.poll_timeout() != due)
        };
        self.changes.send_modify(|version| *version += 1);
        if moved {
            self.deadline_moved.notify_one();
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // The world is consistent between its methods, and a test's closure that panics changed nothing.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn deliver(&mut self) {
        while let Some(effect) = self.world.poll_effect() {
            match effect {
                Effect::Dismiss(connection, farewell) => self.order(connection, Order::Dismiss(farewell)),
                Effect::Push(connection, push) => self.order(connection, Order::Push(Box::new(push))),
                Effect::Stall(connection) => self.order(connection, Order::Stall),
                Effect::Resume(connection) => self.order(connection, Order::Resume),
            };
        }
    }

    fn order(&mut self, connection: ConnectionId, order: Order) -> bool {
        let Some(inbox) = self.inboxes.get(&connection) else {
            return false;
        };
        let taken = match order {
            Order::Dismiss(Farewell::Cut) => false,
            order => inbox.orders.try_send(order).is_ok(),
        };
        if !taken {
            // To be cut, or too far behind.
            inbox.cut.cancel();
        }
        taken
    }
}
