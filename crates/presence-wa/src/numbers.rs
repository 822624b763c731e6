//! Which of its two spellings WhatsApp knows a number by.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use presence_core::{ChatJid, PhoneNumber};
use quick_cache::unsync::Cache;
use tokio::sync::{OwnedMutexGuard, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::debug;

use crate::driver::Live;
use crate::session::SendError;

/// How many numbers an instance remembers: about 200 bytes each.
const REMEMBERED: usize = 4096;
/// How many look-ups of an instance may be under way. WhatsApp limits them, and bans for many.
const ASKED_AT_ONCE: usize = 32;
/// How long WhatsApp may take to answer before the look-up is given up. Longer than any request waits: a
/// late answer still serves the next one.
const PATIENCE: Duration = Duration::from_secs(75);
/// How long an answer is remembered. The account behind a number rarely changes.
const REMEMBER_KNOWN: Duration = Duration::from_secs(24 * 60 * 60);
/// How long it is remembered that WhatsApp knows no such number: people register.
const REMEMBER_UNKNOWN: Duration = Duration::from_secs(10 * 60);
/// How long a failed look-up is not tried again, so that a broken one does not slow down every request.
const REMEMBER_FAILURE: Duration = Duration::from_secs(30);

/// The answers of WhatsApp to one instance. Cheap until the first number is looked up.
#[derive(Default)]
pub(crate) struct Numbers {
    book: Mutex<Option<Book>>,
}

struct Book {
    known: Cache<PhoneNumber, Known>,
    asking: HashMap<PhoneNumber, Asking>,
}

struct Known {
    chat: ChatJid,
    until: Instant,
}

#[derive(Clone)]
struct Asking {
    since: Instant,
    /// Closes when the answer is in the book, or will not come.
    done: watch::Receiver<()>,
    /// Whose turn it is of those who wait, in the order they came.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// The place of a request among those that waited for the same look-up. It is kept until the request is handed
/// on: all of them wake at the same time, and a `pause` must not overtake the `typing` before it.
pub(crate) type Turn = OwnedMutexGuard<()>;

impl Numbers {
    /// The chat of `number`: what WhatsApp says, or the number as given if it does not say so within
    /// `limit`. Callers that ask for the same number share one look-up, which `spawn` runs, and go on in the order
    /// they came, one [`Turn`] after the other.
    pub(crate) async fn chat(
        self: &Arc<Self>,
        number: &PhoneNumber,
        live: Arc<dyn Live>,
        limit: Duration,
        spawn: impl FnOnce(Lookup),
    ) -> (ChatJid, Option<Turn>) {
        let asking = match self.find_or_ask(number, live, spawn) {
            Found::Chat(chat) => return (chat, None),
            Found::Asking(asking) => asking,
        };
        let turn = asking.turn.lock_owned().await;
        // Counted from the start of the look-up: whoever comes while it is late has not to wait again.
        let mut done = asking.done;
        let _ = timeout_at(asking.since + limit, done.changed()).await;
        let known = self.lock().as_ref().and_then(|book| book.find(number));
        (known.unwrap_or_else(|| number.jid()), Some(turn))
    }

    /// Forgets everything: the next session may be another account's, with other chats for the same numbers.
    pub(crate) fn clear(&self) {
        if let Some(book) = self.lock().as_mut() {
            book.known.clear();
        }
    }

    fn find_or_ask(
        self: &Arc<Self>,
        number: &PhoneNumber,
        live: Arc<dyn Live>,
        spawn: impl FnOnce(Lookup),
    ) -> Found {
        let mut guard = self.lock();
        let book = guard.get_or_insert_with(|| Book {
            known: Cache::new(REMEMBERED),
            asking: HashMap::new(),
        });
        if let Some(chat) = book.find(number) {
            return Found::Chat(chat);
        }
        if let Some(asking) = book.asking.get(number) {
            return Found::Asking(asking.clone());
        }
        if book.asking.len() >= ASKED_AT_ONCE {
            return Found::Chat(number.jid());
        }
        let (still_asking, done) = watch::channel(());
        let asking = Asking {
            since: Instant::now(),
            done,
            turn: Arc::default(),
        };
        book.asking.insert(*number, asking.clone());
        drop(guard);
        let under_way = UnderWay {
            numbers: Arc::clone(self),
            number: *number,
            _done: still_asking,
        };
        spawn(Lookup { live, under_way });
        Found::Asking(asking)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Book>> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn find(&self, number: &PhoneNumber) -> Option<ChatJid> {
        let known = self.known.get(number)?;
        (Instant::now() < known.until).then(|| known.chat.clone())
    }
}

enum Found {
    Chat(ChatJid),
    Asking(Asking),
}

/// A look-up to be run beside the request that asked for it, so that a late answer is not lost.
pub(crate) struct Lookup {
    live: Arc<dyn Live>,
    under_way: UnderWay,
}

impl Lookup {
    /// Asks, and writes the answer into the book.
    pub(crate) async fn run(self) {
        let number = &self.under_way.number;
        let (chat, lasts) = match timeout(PATIENCE, self.live.resolve(number)).await {
            Ok(Ok(Some(chat))) => (chat, REMEMBER_KNOWN),
            Ok(Ok(None)) => (number.jid(), REMEMBER_UNKNOWN),
            // The session ended: the next one may well answer.
            Ok(Err(SendError::Offline)) => return,
            Ok(Err(error)) => {
                debug!(
                    error = &error as &dyn std::error::Error,
                    "a number could not be looked up"
                );
                (number.jid(), REMEMBER_FAILURE)
            }
            Err(_) => (number.jid(), REMEMBER_FAILURE),
        };
        if let Some(book) = self.under_way.numbers.lock().as_mut() {
            book.known.insert(
                *number,
                Known {
                    chat,
                    until: Instant::now() + lasts,
                },
            );
        }
    }
}

/// Marks a look-up as under way for as long as it lives, also when its task is dropped half-way.
struct UnderWay {
    numbers: Arc<Numbers>,
    number: PhoneNumber,
    _done: watch::Sender<()>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(book) = self.numbers.lock().as_mut() {
            book.asking.remove(&self.number);
        }
    }
}
