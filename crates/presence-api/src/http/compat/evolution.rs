//! Evolution API v2: `/chat/sendPresence` and what its clients ask before. Forms and texts are those of its 2.3.

use hyper::{Response, StatusCode};
use presence_core::{Hold, PresenceState};
use presence_store::{Caller, Instance};
use presence_wa::{InstanceState, InstanceStatus};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use url::form_urlencoded;

use crate::compat::EvolutionEndpoint;
use crate::error::ApiError;
use crate::http::Call;
use crate::instances::{Instances, Listed};
use crate::json::{self, Body, BodyError};
use crate::rate_limit::Bucket;

const PRESENCE_REQUIRED: ApiError = ApiError::Invalid {
    text: "instance requires property \"presence\"",
    detail: "presence: it is missing or blank",
};
const NO_PRESENCE: ApiError = ApiError::Invalid {
    text: "presence is not one of enum values: unavailable,available,composing,recording,paused",
    detail: "presence: it is none of those that there are",
};
/// Theirs sends the others without a chat, which shows nobody anything.
const NO_AVAILABILITY: ApiError = ApiError::Invalid {
    text: "presence is not one of enum values: unavailable,available",
    detail: "presence: only 'unavailable' and 'available' are for a whole instance",
};

/// The fields of a presence; a route takes those it knows.
#[derive(Default, Deserialize)]
struct Fields {
    number: Option<Box<RawValue>>,
    presence: Option<String>,
    /// Milliseconds.
    delay: Option<Box<RawValue>>,
    /// The same fields once more: so the documentation has them, and so version 1 did.
    options: Option<Box<RawValue>>,
}

/// Their words for a presence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Presence {
    Composing,
    Recording,
    Paused,
    Available,
    Unavailable,
}

#[derive(Serialize)]
struct PresenceReply {
    presence: Presence,
}

#[derive(Serialize)]
struct ConnectionState<'a> {
    instance: InstanceConnection<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InstanceConnection<'a> {
    instance_name: &'a str,
    state: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    id: String,
    name: String,
    connection_status: &'static str,
    owner_jid: Option<String>,
    profile_name: Option<String>,
    /// For the account's owner only, or when it can be opened; `/api/instance/list` says which.
    token: Option<String>,
}

#[derive(Serialize)]
struct Refusal<'a> {
    status: u16,
    error: &'a str,
    response: RefusalResponse<'a>,
}

#[derive(Serialize)]
struct RefusalResponse<'a> {
    message: RefusalMessage<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum RefusalMessage<'a> {
    One(&'a str),
    List([&'a str; 1]),
}

/// Answers a route of theirs, for the instance called `name` where its path has one.
pub(in crate::http) async fn answer<B>(
    call: &mut Call<'_>,
    endpoint: EvolutionEndpoint,
    name: &str,
    body: &mut B,
) -> Result<Response<Body>, ApiError>
where
    B: hyper::body::Body<Data = bytes::Bytes> + Send + Unpin,
{
    let app = call.app;
    match endpoint {
        EvolutionEndpoint::SendPresence => {
            let instance = call.instance(name).await?;
            let body = call.read(body, json::MAX_BODY).await?;
            call.unless_given_up(send_presence(app.instances()?, &instance, &body))
                .await
        }
        EvolutionEndpoint::SetPresence => {
            let instance = call.instance(name).await?;
            let body = call.read(body, json::MAX_BODY).await?;
            set_presence(app.instances()?, &instance, &body).await
        }
        EvolutionEndpoint::ConnectionState => {
            let instance = call.instance(name).await?;
            Ok(connection_state(app.instances()?, &instance))
        }
        EvolutionEndpoint::FetchInstances => {
            let caller = call.caller(Bucket::Requests).await?;
            fetch_instances(app.instances()?, &caller, call.parts.uri.query()).await
        }
    }
}

/// An error in their form. Theirs writes some messages as a list and some as a text, and so does this.
pub(super) fn refuse(error: ApiError, name: &str) -> Response<Body> {
    error.into_response_as(|error, status, text| {
        let no_instance = format!("The \"{name}\" instance does not exist");
        let reason = status.canonical_reason().unwrap_or_default();
        let message = match error {
            ApiError::InvalidToken => RefusalMessage::One(reason),
            ApiError::Internal { .. } => RefusalMessage::One(&text),
            ApiError::NoSuchInstance if !name.is_empty() => RefusalMessage::List([&no_instance]),
            _ => RefusalMessage::List([&text]),
        };
        let refusal = Refusal {
            status: status.as_u16(),
            error: reason,
            response: RefusalResponse { message },
        };
        json::respond(status, &refusal)
    })
}

/// Shows an indicator for the delay, or ends it; answered when the stanza is written, and not after the delay as
/// theirs is. What is said of the whole account becomes a setting.
async fn send_presence(
    instances: &Instances,
    instance: &Instance,
    body: &[u8],
) -> Result<Response<Body>, ApiError> {
    let fields = Fields::read(body)?;
    let hold = hold(fields.delay.as_deref())?;
    let presence = fields.presence()?;
    let state = match presence {
        Presence::Composing => PresenceState::Typing,
        Presence::Recording => PresenceState::Recording,
        Presence::Paused => PresenceState::Pause,
        Presence::Available => return keep_online(instances, instance, true).await,
        Presence::Unavailable => return keep_online(instances, instance, false).await,
    };
    let shown = super::presence(fields.number.as_deref(), state, hold)?;
    instances.presence(instance, &shown).await?;
    Ok(json::respond(StatusCode::CREATED, &PresenceReply { presence }))
}

async fn set_presence(
    instances: &Instances,
    instance: &Instance,
    body: &[u8],
) -> Result<Response<Body>, ApiError> {
    match Fields::read(body)?.presence() {
        Ok(Presence::Available) => keep_online(instances, instance, true).await,
        Ok(Presence::Unavailable) => keep_online(instances, instance, false).await,
        Ok(_) => Err(NO_AVAILABILITY),
        Err(fault) => Err(fault),
    }
}

/// Theirs says it once, and a reconnect forgets it. A setting is what was meant.
async fn keep_online(
    instances: &Instances,
    instance: &Instance,
    keep: bool,
) -> Result<Response<Body>, ApiError> {
    if !instances.set_keep_online(instance, keep).await? {
        return Err(ApiError::NoSuchInstance);
    }
    let presence = if keep {
        Presence::Available
    } else {
        Presence::Unavailable
    };
    Ok(json::respond(StatusCode::CREATED, &PresenceReply { presence }))
}

fn connection_state(instances: &Instances, instance: &Instance) -> Response<Body> {
    let state = ConnectionState {
        instance: InstanceConnection {
            instance_name: instance.name.as_str(),
            state: state(instances.status(instance.id).as_ref()),
        },
    };
    json::respond(StatusCode::OK, &state)
}

/// The instances that the caller may see, or the one it names.
async fn fetch_instances(
    instances: &Instances,
    caller: &Caller,
    query: Option<&str>,
) -> Result<Response<Body>, ApiError> {
    let named = form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .find(|(key, value)| key == "instanceName" && !value.is_empty());
    let wanted = match &named {
        Some((_, name)) => Some(instances.find_soon(caller, name).await?),
        None => None,
    };
    let mut listed = instances.list(caller).await;
    if let Some(wanted) = wanted {
        listed.retain(|item| item.instance.id == wanted.id);
    }
    let items: Vec<_> = listed.into_iter().map(Item::from).collect();
    Ok(json::respond(StatusCode::OK, &items))
}

impl Fields {
    /// Reads a body. What stands in `options` counts where the body itself does not say it.
    fn read(body: &[u8]) -> Result<Self, ApiError> {
        let outer: Self = json::parse(body)?;
        let inner: Self = match &outer.options {
            Some(options) => json::parse(options.get().as_bytes())?,
            None => Self::default(),
        };
        Ok(Self {
            number: outer.number.or(inner.number),
            presence: outer.presence.or(inner.presence),
            delay: outer.delay.or(inner.delay),
            options: None,
        })
    }

    fn presence(&self) -> Result<Presence, ApiError> {
        const NAMES: [(&str, Presence); 5] = [
            ("composing", Presence::Composing),
            ("recording", Presence::Recording),
            ("paused", Presence::Paused),
            ("available", Presence::Available),
            ("unavailable", Presence::Unavailable),
        ];
        let text = self.presence.as_deref().unwrap_or_default().trim();
        if text.is_empty() {
            return Err(PRESENCE_REQUIRED);
        }
        let found = NAMES.iter().find(|(name, _)| text.eq_ignore_ascii_case(name));
        found.map(|&(_, presence)| presence).ok_or(NO_PRESENCE)
    }
}

impl From<Listed> for Item {
    fn from(listed: Listed) -> Self {
        let (instance, status) = (listed.instance, listed.status);
        let token = listed.token.and_then(Result::ok);
        Self {
            id: instance.id.to_string(),
            name: instance.name.to_string(),
            connection_status: state(status.as_ref()),
            token: token.map(|token| token.expose().to_owned()),
            owner_jid: status.as_ref().and_then(|status| status.jid.clone()),
            profile_name: status.and_then(|status| status.push_name),
        }
    }
}

/// Their word for where a session stands.
fn state(status: Option<&InstanceStatus>) -> &'static str {
    match status.map(|status| status.state) {
        Some(InstanceState::Connected) => "open",
        Some(InstanceState::Connecting) => "connecting",
        _ => "close",
    }
}

/// Milliseconds as whole seconds, rounded up, by the rules of our own `duration`: below 0 is none, a string that
/// is a number counts, and so does a blank one as none.
fn hold(delay: Option<&RawValue>) -> Result<Option<Hold>, ApiError> {
    let Some(delay) = delay else { return Ok(None) };
    let milliseconds = match serde_json::from_str::<String>(delay.get()) {
        Ok(text) if text.trim().is_empty() => return Ok(None),
        Ok(text) => number(text.trim()),
        Err(_) => number(delay.get()),
    };
    let milliseconds = milliseconds.ok_or(BodyError::Invalid(
        "delay: a number of milliseconds is needed".into(),
    ))?;
    // The cast to `u64` saturates: below 0 is 0.
    Ok(Hold::from_secs((milliseconds / 1000.0).ceil() as u64))
}

/// The value of a JSON number; infinite when it is beyond an `f64`.
fn number(json: &str) -> Option<f64> {
    // All JSON numbers, and of JSON nothing else, are floats to Rust; but so are `inf`, `.5` and `+5`.
    serde_json::from_str::<IgnoredAny>(json).ok()?;
    json.parse().ok()
}

#[cfg(test)]
mod tests {
    //! What is read from a body; requests are tested over HTTP.

    use super::*;

    #[test]
    fn a_delay_becomes_whole_seconds() {
        let rows = [
            ("0", Some(0)),
            ("1", Some(1)),
            ("999", Some(1)),
            ("1000", Some(1)),
            ("1001", Some(2)),
            ("1200", Some(2)),
            ("1200.0", Some(2)),
            ("0.001", Some(1)),
            ("59999", Some(60)),
            ("60001", Some(60)),
            ("1e300", Some(60)),
            ("1e999", Some(60)),
            ("99999999999999999999999", Some(60)),
            ("-1", Some(0)),
            ("-1e999", Some(0)),
            ("\"1200\"", Some(2)),
            ("\" 1.2e3 \"", Some(2)),
            ("\"\"", Some(0)),
            ("\" \"", Some(0)),
            ("\"2s\"", None),
            ("\"inf\"", None),
            ("\"NaN\"", None),
            ("\"+5\"", None),
            ("true", None),
            ("[1200]", None),
            ("{}", None),
        ];
        for (json, expected) in rows {
            let delay: Box<RawValue> = serde_json::from_str(json).unwrap();
            let found = hold(Some(&delay)).ok();
            let seconds = found.map(|hold| hold.map_or(0, Hold::as_secs));
            assert_eq!(seconds, expected, "{json}");
        }
        assert!(matches!(hold(None), Ok(None)));
    }

    #[test]
    fn options_say_what_the_body_does_not() {
        let read = |body: &str| {
            let fields = Fields::read(body.as_bytes()).ok()?;
            let text = |json: Option<Box<RawValue>>| json.map(|json| json.get().to_owned());
            Some((text(fields.number), fields.presence, text(fields.delay)))
        };
        let (one, composing, ms) = (
            Some("1".to_owned()),
            Some("composing".to_owned()),
            Some("5".to_owned()),
        );
        let all = (one, composing, ms);
        let rows = [
            (
                r#"{"number":1,"presence":"composing","delay":5}"#,
                Some(all.clone()),
            ),
            (
                r#"{"number":1,"options":{"presence":"composing","delay":5}}"#,
                Some(all.clone()),
            ),
            (
                r#"{"options":{"number":1,"presence":"composing","delay":5}}"#,
                Some(all.clone()),
            ),
            (
                r#"{"number":1,"presence":"composing","delay":5,"options":{"number":2,"presence":"x","delay":6}}"#,
                Some(all.clone()),
            ),
            (
                r#"{"number":null,"presence":null,"options":{"number":1,"presence":"composing","delay":5}}"#,
                Some(all.clone()),
            ),
            (
                r#"{"number":1,"presence":"composing","delay":5,"options":null}"#,
                Some(all),
            ),
            ("{}", Some((None, None, None))),
            (r#"{"options":["composing"]}"#, None),
            (r#"{"options":"composing"}"#, None),
            (r#"{"presence":1}"#, None),
            (r#"{"number":1,"number":2}"#, None),
            ("[]", None),
        ];
        for (body, expected) in rows {
            assert_eq!(read(body), expected, "{body}");
        }
    }
}
