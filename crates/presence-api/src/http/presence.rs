//! `POST /api/chat/presence/:instance`, and `GET`, which tells what is shown.

use hyper::{Response, StatusCode};
use presence_core::{
    ChatJid, ChatPresence, ChatPresenceRequest, Hold, Indicator, Pace, PresenceSent, PresenceState,
};
use presence_store::Instance;
use presence_wa::ShowError;
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;

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
    let presence = read(body, pace)?;
    let sent = instances.presence(instance, &presence).await?;
    Ok(respond(&sent))
}

/// What a body asks for.
pub(super) fn read(body: &[u8], pace: Pace) -> Result<ChatPresence, ApiError> {
    Ok(ChatPresenceRequest::from_json(body)?.at_pace(pace)?)
}

pub(super) fn respond(sent: &PresenceSent) -> Response<Body> {
    json::respond(StatusCode::OK, sent)
}

/// What the instance shows, what ends first at the front.
#[derive(Serialize, ToSchema)]
pub(super) struct ShownPresences {
    presences: Vec<ShownPresence>,
}

/// What a chat shows.
#[derive(Serialize, ToSchema)]
struct ShownPresence {
    chat_jid: ChatJid,
    #[schema(value_type = Indicator)]
    state: PresenceState,
    /// Seconds, as they were asked for; 0 without.
    #[schema(maximum = 60)]
    duration: u8,
    /// Seconds, rounded up. Without a duration, the most for which the phone goes on showing it.
    remaining: u64,
}

/// Tells what the instance shows, what ends first at the front.
pub(super) async fn shown_presences(
    instances: &Instances,
    instance: &Instance,
) -> Result<Response<Body>, ApiError> {
    let shown = instances.shown(instance).await?;
    let now = Instant::now().into_std();
    let presences: Vec<_> = shown
        .into_iter()
        .map(|(chat_jid, shown)| ShownPresence {
            chat_jid,
            state: shown.indicator.into(),
            duration: shown.hold.map_or(0, Hold::as_secs),
            remaining: shown
                .until
                .saturating_duration_since(now)
                .as_millis()
                .div_ceil(1000)
                .try_into()
                .unwrap_or(u64::MAX),
        })
        .collect();
    let message = match presences.len() {
        1 => "1 Presence shown".to_owned(),
        count => format!("{count} Presences shown"),
    };
    Ok(json::succeed(
        StatusCode::OK,
        &message,
        ShownPresences { presences },
    ))
}

impl From<ShowError> for ApiError {
    /// Whatever kept the stanza from the socket, the client learns the contract's one text.
    fn from(error: ShowError) -> Self {
        tracing::debug!(%error, "a presence was not shown");
        Self::NotConnected
    }
}
