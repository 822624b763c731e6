//! A session that is open, and what it tells.

use std::future::pending;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::session::{End, Online, OwnMessage, Session, SessionState};

pub(super) struct OpenSession {
    pub(super) session: Arc<dyn Session>,
    pub(super) state: watch::Receiver<SessionState>,
    /// `None` when they end nothing.
    pub(super) own_messages: Option<mpsc::Receiver<OwnMessage>>,
    pub(super) online: Option<Online>,
}

/// What a session tells.
pub(super) enum SessionEvent {
    State(SessionState),
    OwnMessage(OwnMessage),
}

pub(super) async fn session_event(session: &mut Option<OpenSession>) -> SessionEvent {
    let Some(open) = session else {
        return pending().await;
    };
    tokio::select! {
        biased;
        changed = open.state.changed() => SessionEvent::State(match changed {
            Ok(()) => open.state.borrow_and_update().clone(),
            Err(_) => SessionState::Ended(End::Lost("the session vanished".to_owned())),
        }),
        message = next_own_message(&mut open.own_messages) => SessionEvent::OwnMessage(message),
    }
}

async fn next_own_message(own_messages: &mut Option<mpsc::Receiver<OwnMessage>>) -> OwnMessage {
    let message = match own_messages {
        Some(own_messages) => own_messages.recv().await,
        None => None,
    };
    match message {
        Some(message) => message,
        // The session has ended, or nobody wants to know.
        None => pending().await,
    }
}
