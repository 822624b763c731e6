//! `POST /api/chat/presence/:instance`.

use hyper::{Response, StatusCode};
use presence_core::{ChatPresenceRequest, Pace};
use presence_store::Instance;
use presence_wa::ShowError;

use crate::error::ApiError;
use crate::instances::Instances;
use crate::json::{self, Body};

/// Shows an indicator, or ends it. Answered once the stanza is written; the instance's task ends the indicator later.
pub(super) async fn chat_presence(
    instances: &Instances,
    instance: &Instance,
    body: &[u8],
    pace: Pace,
) -> Result<Response<Body>, ApiError> {
    let presence = ChatPresenceRequest::from_json(body)?.at_pace(pace)?;
    let sent = instances.presence(instance, &presence).await?;
    Ok(json::respond(StatusCode::OK, &sent))
}

impl From<ShowError> for ApiError {
    /// Whatever kept the stanza from the socket, the client learns the contract's one text.
    fn from(error: ShowError) -> Self {
        tracing::debug!(%error, "a presence was not shown");
        Self::NotConnected
    }
}
