//! Questions about people, asked of a session.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use presence_core::{ChatJid, PhoneNumber};
use tokio::time::timeout;
use tracing::debug;

use super::numbers::{Found, Need, Question};
use crate::session::{SendError, Session};

/// What came of a question about a person; `None` when its session ended: the next one may well answer.
pub(super) type LookUp = BoxFuture<'static, (ChatJid, Option<Found>)>;

/// Asks `question`: this device first, where it may know, then WhatsApp.
pub(super) fn look_up(session: Arc<dyn Session>, question: Question) -> LookUp {
    Box::pin(async move {
        let Question { person, need } = question;
        let found = match need {
            Need::Spelling(number) => ask_whatsapp(&*session, &number).await,
            Need::Number => Some(ask_device(&*session, &person).await),
            Need::Lid(number) => match ask_device(&*session, &person).await {
                Found::Contact(contact) if contact.lid.is_some() => Some(Found::Contact(contact)),
                _ => ask_whatsapp(&*session, &number).await,
            },
        };
        (person, found)
    })
}

async fn ask_device(session: &dyn Session, person: &ChatJid) -> Found {
    match timeout(STORE_TIMEOUT, session.local_contact(person)).await {
        Ok(Ok(contact)) => Found::Contact(contact),
        Ok(Err(error)) => {
            debug!(
                error = &error as &dyn std::error::Error,
                "a contact could not be read"
            );
            Found::Failed
        }
        Err(_) => Found::Failed,
    }
}

async fn ask_whatsapp(session: &dyn Session, number: &PhoneNumber) -> Option<Found> {
    Some(
        match timeout(USYNC_TIMEOUT, session.query_contact(number)).await {
            Ok(Ok(Some(contact))) => Found::Contact(contact),
            Ok(Ok(None)) => Found::Unknown,
            Ok(Err(SendError::Offline)) => return None,
            Ok(Err(error)) => {
                debug!(
                    error = &error as &dyn std::error::Error,
                    "a number could not be looked up"
                );
                Found::Failed
            }
            Err(_) => Found::Failed,
        },
    )
}

/// How long the device's own store may take. A disk that is slower than that is not waited for.
const STORE_TIMEOUT: Duration = Duration::from_millis(500);
/// How long WhatsApp may take to answer before a look-up is given up. Longer than any request waits: a late
/// answer still serves the next one.
const USYNC_TIMEOUT: Duration = Duration::from_secs(75);
