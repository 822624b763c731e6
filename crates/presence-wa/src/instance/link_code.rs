//! A link code on its way from the session.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use presence_core::PhoneNumber;
use tokio::time::timeout;
use tracing::warn;

use super::published::GivenCode;
use crate::pairing::LinkCode;
use crate::session::Session;

/// A link code that the session was asked for.
pub(super) struct CodeRequest {
    pub(super) phone: PhoneNumber,
    given: BoxFuture<'static, Option<LinkCode>>,
}

impl CodeRequest {
    /// Asks for a code for `phone`, and waits for it no longer than `limit`.
    pub(super) fn begin(session: Arc<dyn Session>, phone: PhoneNumber, limit: Duration) -> Self {
        let given = Box::pin(async move { link_code(&*session, phone, limit).await });
        Self { phone, given }
    }

    /// Returns when the code of `request` is given or refused, and takes it out of there.
    pub(super) async fn given(request: &mut Option<Self>) -> GivenCode {
        let Some(under_way) = request else {
            return pending().await;
        };
        let (phone, code) = (under_way.phone, (&mut under_way.given).await);
        *request = None;
        GivenCode { phone, code }
    }
}

async fn link_code(session: &dyn Session, phone: PhoneNumber, limit: Duration) -> Option<LinkCode> {
    match timeout(limit, session.request_link_code(&phone)).await {
        Ok(Ok(code)) => Some(code),
        Ok(Err(error)) => {
            warn!(error = &error as &dyn std::error::Error, "no link code was given");
            None
        }
        Err(_) => {
            warn!("WhatsApp gave no link code in time");
            None
        }
    }
}
