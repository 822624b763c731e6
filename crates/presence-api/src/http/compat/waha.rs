//! WAHA: typing and presence of a session, and which sessions there are. A session is an instance.

use std::sync::Arc;

use bytes::Bytes;
use hyper::{Response, StatusCode};
use presence_core::{Hold, PresenceState};
use presence_store::{Caller, Instance};
use presence_wa::{InstanceState, InstanceStatus, Reason};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use url::form_urlencoded;

use super::presence;
use crate::compat::WahaEndpoint;
use crate::error::ApiError;
use crate::http::Call;
use crate::instances::{Instances, NotYours};
use crate::json::{self, Body};
use crate::rate_limit::Bucket;

/// What a client that has one session calls it, also when it names none.
const DEFAULT_SESSION: &str = "default";

const CHAT_REQUIRED: &str = "chatId: a phone number or a JID is needed";
const PRESENCE_REQUIRED: ApiError = ApiError::Invalid {
    text: "presence must be one of the following values: offline, online, typing, recording, paused",
    detail: "presence: it is missing, or none of those that there are",
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TypingRequest {
    session: Option<String>,
    chat_id: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PresenceRequest {
    presence: Option<String>,
    chat_id: Option<Box<RawValue>>,
}

#[derive(Serialize)]
struct Done {
    result: bool,
}

#[derive(Serialize)]
struct Session {
    name: String,
    status: &'static str,
    me: Option<Me>,
}

/// The account of a session, while a phone has it linked.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Me {
    id: String,
    push_name: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Refusal<'a> {
    message: &'a str,
    error: &'a str,
    status_code: u16,
    #[serde(flatten)]
    unready: Option<Unready<'a>>,
}

/// What theirs says besides when a session is not ready.
#[derive(Serialize)]
struct Unready<'a> {
    session: &'a str,
    status: &'a str,
    expected: [&'a str; 1],
}

const WORKING: &str = "WORKING";

/// Answers a route of theirs, for the session called `name` where its path has one.
pub(in crate::http) async fn answer<B>(
    call: &mut Call<'_>,
    endpoint: WahaEndpoint,
    name: &str,
    body: &mut B,
) -> Result<Response<Body>, ApiError>
where
    B: hyper::body::Body<Data = Bytes> + Send + Unpin,
{
    let app = call.app;
    let caller = call.caller(Bucket::Requests).await?;
    let instances = app.instances()?;
    match endpoint {
        WahaEndpoint::StartTyping => {
            let body = call.read(body, json::MAX_BODY).await?;
            let typing = typing(instances, &caller, &body, PresenceState::Typing);
            call.unless_given_up(typing).await
        }
        WahaEndpoint::StopTyping => {
            let body = call.read(body, json::MAX_BODY).await?;
            let pause = typing(instances, &caller, &body, PresenceState::Pause);
            call.unless_given_up(pause).await
        }
        WahaEndpoint::Presence => {
            let instance = find(instances, &caller, name).await?;
            let body = call.read(body, json::MAX_BODY).await?;
            call.unless_given_up(set_presence(instances, &instance, &body))
                .await
        }
        WahaEndpoint::Sessions => Ok(list(instances, &caller, call.parts.uri.query()).await),
        WahaEndpoint::Session => {
            let instance = find(instances, &caller, name).await?;
            let session = Session::of(&instance, instances.status(instance.id));
            Ok(json::respond(StatusCode::OK, &session))
        }
    }
}

/// An error in their form.
pub(super) fn refuse(error: ApiError) -> Response<Body> {
    error.into_response_as(|error, status, text| {
        let reason = status.canonical_reason().unwrap_or_default();
        let (message, error, unready) = match error {
            ApiError::InvalidToken => (reason, reason, None),
            ApiError::NoSuchInstance => ("Session not found", reason, None),
            ApiError::SessionNotWorking { session, status } => {
                let error = "Session status is not as expected. Try again later or restart the session";
                let expected = [WORKING];
                let unready = Unready {
                    session,
                    status,
                    expected,
                };
                (&*text, error, Some(unready))
            }
            _ => (&*text, reason, None),
        };
        let refusal = Refusal {
            message,
            error,
            status_code: status.as_u16(),
            unready,
        };
        json::respond(status, &refusal)
    })
}

/// The instance that a session is. Names come first; a token that is for one instance means that one by
/// `default`, which clients with one session send without being told to.
async fn find(instances: &Instances, caller: &Caller, session: &str) -> Result<Arc<Instance>, ApiError> {
    match caller {
        Caller::Instance(own) if session == DEFAULT_SESSION => match instances.find(caller, session) {
            Err(NotYours::Unknown) => Ok(Arc::clone(own)),
            found => Ok(found?),
        },
        _ => Ok(instances.find_soon(caller, session).await?),
    }
}

async fn typing(
    instances: &Instances,
    caller: &Caller,
    body: &[u8],
    state: PresenceState,
) -> Result<Response<Body>, ApiError> {
    let request: TypingRequest = json::parse(body)?;
    let session = request.session.as_deref().filter(|name| !name.is_empty());
    let session = session.unwrap_or(DEFAULT_SESSION);
    let instance = find(instances, caller, session).await?;
    show(instances, &instance, request.chat_id.as_deref(), state).await?;
    Ok(json::respond(StatusCode::CREATED, &Done { result: true }))
}

/// What is shown in a chat, or of the whole account, which becomes a setting. Theirs answers nothing either.
async fn set_presence(
    instances: &Instances,
    instance: &Instance,
    body: &[u8],
) -> Result<Response<Body>, ApiError> {
    let request: PresenceRequest = json::parse(body)?;
    let chat = request.chat_id.as_deref();
    let text = request.presence.as_deref().unwrap_or_default().trim();
    match text.to_ascii_lowercase().as_str() {
        "typing" => show(instances, instance, chat, PresenceState::Typing).await?,
        "recording" => show(instances, instance, chat, PresenceState::Recording).await?,
        "paused" => show(instances, instance, chat, PresenceState::Pause).await?,
        "online" => keep_online(instances, instance, chat, true).await?,
        "offline" => keep_online(instances, instance, chat, false).await?,
        _ => return Err(PRESENCE_REQUIRED),
    }
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

/// Shows what clients end themselves: until they do, or for as long as anything is ever shown.
async fn show(
    instances: &Instances,
    instance: &Instance,
    chat: Option<&RawValue>,
    state: PresenceState,
) -> Result<(), ApiError> {
    if is_blank(chat) {
        return Err(ApiError::Invalid {
            text: match state {
                PresenceState::Typing => "'typing' presence requires 'chatId' field.",
                PresenceState::Recording => "'recording' presence requires 'chatId' field.",
                PresenceState::Pause => "'paused' presence requires 'chatId' field.",
            },
            detail: CHAT_REQUIRED,
        });
    }
    let shown = presence(chat, state, Some(Hold::MAX))?;
    match instances.presence(instance, &shown).await {
        Ok(_) => Ok(()),
        Err(error) => {
            check_working(instances, instance)?;
            Err(error.into())
        }
    }
}

async fn keep_online(
    instances: &Instances,
    instance: &Instance,
    chat: Option<&RawValue>,
    keep: bool,
) -> Result<(), ApiError> {
    if !is_blank(chat) {
        return Err(ApiError::Invalid {
            text: if keep {
                "'online' presence works on the global scope and doesn't require 'chatId' field."
            } else {
                "'offline' presence works on the global scope and doesn't require 'chatId' field."
            },
            detail: "chatId: there must be none",
        });
    }
    check_working(instances, instance)?;
    if instances.set_keep_online(instance, keep).await? {
        Ok(())
    } else {
        Err(ApiError::NoSuchInstance)
    }
}

fn check_working(instances: &Instances, instance: &Instance) -> Result<(), ApiError> {
    match word(instances.status(instance.id).as_ref()) {
        WORKING => Ok(()),
        status => Err(ApiError::SessionNotWorking {
            session: instance.name.to_string(),
            status,
        }),
    }
}

/// Stopped sessions are shown only when they are asked for.
async fn list(instances: &Instances, caller: &Caller, query: Option<&str>) -> Response<Body> {
    let all = form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .any(|(key, value)| key == "all" && matches!(&*value, "true" | "True" | "1"));
    let sessions = instances.list(caller).await.into_iter();
    let sessions = sessions.map(|listed| Session::of(&listed.instance, listed.status));
    let sessions: Vec<_> = sessions
        .filter(|session| all || session.status != "STOPPED")
        .collect();
    json::respond(StatusCode::OK, &sessions)
}

impl Session {
    fn of(instance: &Instance, status: Option<InstanceStatus>) -> Self {
        Self {
            name: instance.name.to_string(),
            status: word(status.as_ref()),
            me: status.and_then(Me::of),
        }
    }
}

impl Me {
    fn of(status: InstanceStatus) -> Option<Self> {
        let jid = status.jid?;
        let number = jid.split('@').next().unwrap_or_default();
        Some(Self {
            id: format!("{number}@c.us"),
            push_name: status.push_name.unwrap_or_default(),
        })
    }
}

/// Their word for where a session stands.
fn word(status: Option<&InstanceStatus>) -> &'static str {
    match status.map(|status| (status.state, status.reason)) {
        Some((InstanceState::Connected, _)) => WORKING,
        Some((InstanceState::Connecting, Some(Reason::WaitingForPhone))) => "SCAN_QR_CODE",
        Some((InstanceState::Connecting, _)) => "STARTING",
        // It needs somebody: a phone that links it again, or the end of a ban.
        Some((InstanceState::LoggedOut, _) | (InstanceState::Disconnected, Some(_))) => "FAILED",
        Some((InstanceState::Disconnected, None)) | None => "STOPPED",
    }
}

/// Whether nothing is said. To theirs an empty string is nothing.
fn is_blank(chat: Option<&RawValue>) -> bool {
    let text = chat.map(|chat| serde_json::from_str::<String>(chat.get()));
    match text {
        None => true,
        Some(text) => text.is_ok_and(|text| text.trim().is_empty()),
    }
}

#[cfg(test)]
mod tests {
    //! What is read from a body; requests are tested over HTTP.

    use super::*;

    #[test]
    fn a_blank_chat_is_none() {
        let rows = [
            ("\"\"", true),
            ("\" \\t\"", true),
            ("\"1@c.us\"", false),
            ("0", false),
            ("[]", false),
        ];
        for (json, expected) in rows {
            let chat: Box<RawValue> = serde_json::from_str(json).unwrap();
            assert_eq!(is_blank(Some(&chat)), expected, "{json}");
        }
        assert!(is_blank(None));
    }
}
