//! What the keeper of an instance hands to its driver: the session that is up, if one is.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use presence_core::{ChatJid, PhoneNumber};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::session::{SendError, Session, SessionState};

/// A session, and what its keeper and its driver tell each other about it.
pub(crate) struct Link<S> {
    pub(crate) session: S,
    /// Which of the device's pairings this is a session of: another may be with another account.
    pub(crate) pairing: u32,
    state: watch::Receiver<SessionState>,
    /// Cancelled by the driver: a stanza could not be written, so the session is of no use any more.
    pub(crate) faulty: CancellationToken,
    /// Cancelled by the driver: it has paused what was shown and leaves the session alone.
    pub(crate) quiet: CancellationToken,
}

impl<S: Session> Link<S> {
    pub(crate) fn new(session: S, pairing: u32) -> Self {
        let state = session.state();
        Self {
            session,
            pairing,
            state,
            faulty: CancellationToken::new(),
            quiet: CancellationToken::new(),
        }
    }

    pub(crate) fn state(&self) -> watch::Receiver<SessionState> {
        self.state.clone()
    }

    /// Returns when the session is not online, which may be at once.
    pub(crate) async fn offline(&self) {
        // An error means that the session is gone altogether.
        let _ = self
            .state()
            .wait_for(|state| !matches!(state, SessionState::Online(_)))
            .await;
    }
}

/// What the driver is to do with which session.
pub(crate) enum Line<S> {
    /// No session is online.
    Down,
    /// This session is online. Published again when WhatsApp has told the account's name, without which it
    /// takes no `available`.
    Up(Arc<Link<S>>),
    /// This session is about to be closed for good: pause what it shows, then leave it alone.
    Leaving(Arc<Link<S>>),
}

impl<S> Clone for Line<S> {
    fn clone(&self) -> Self {
        match self {
            Self::Down => Self::Down,
            Self::Up(link) => Self::Up(Arc::clone(link)),
            Self::Leaving(link) => Self::Leaving(Arc::clone(link)),
        }
    }
}

/// A session as the request path sees it, without its type.
pub(crate) trait Live: Send + Sync {
    /// Whether a chat state sent now would be written.
    fn is_online(&self) -> bool;

    /// Asks WhatsApp for the chat of `number`; ends with the session.
    fn resolve<'a>(&'a self, number: &'a PhoneNumber) -> BoxFuture<'a, Result<Option<ChatJid>, SendError>>;
}

impl<S: Session> Live for Link<S> {
    fn is_online(&self) -> bool {
        matches!(*self.state.borrow(), SessionState::Online(_)) && !self.faulty.is_cancelled()
    }

    fn resolve<'a>(&'a self, number: &'a PhoneNumber) -> BoxFuture<'a, Result<Option<ChatJid>, SendError>> {
        Box::pin(async move {
            tokio::select! {
                biased;
                answer = self.session.resolve(number) => answer,
                () = self.offline() => Err(SendError::Offline),
            }
        })
    }
}
