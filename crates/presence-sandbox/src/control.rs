//! The control API: what people and other processes do with a sandbox, over HTTP.

mod fault;
mod route;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::hub::Hub;
use crate::world::{Lid, Number, PairError, Place, SendError, Shown, User};
use route::{Paging, Route};

/// The longest body taken. A QR code has 240 characters.
const MAX_BODY: usize = 64 * 1024;

/// How long a body may take to arrive.
const BODY: Duration = Duration::from_secs(10);

/// What a request is answered when it is not answered as it wished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    status: StatusCode,
    message: String,
    allow: Option<&'static str>,
}

pub(crate) async fn answer(
    hub: &Hub,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let answered = match route::route(&parts.method, parts.uri.path(), parts.uri.query()) {
        Ok(route) => handle(hub, route, body).await,
        Err(refusal) => Err(refusal),
    };
    let mut response = match answered {
        Ok((status, body)) => json_response(status, &body),
        Err(refusal) => refused(&refusal),
    };
    if parts.method == Method::HEAD {
        *response.body_mut() = Full::default();
    }
    Ok(response)
}

async fn handle(hub: &Hub, route: Route, body: Incoming) -> Result<(StatusCode, Value), Refusal> {
    let done = match route {
        Route::Index => route::index(),
        Route::Journal(paging) => journal(hub, paging).await?,
        Route::Logins => to_value(&hub.look(|world| world.logins(hub.now())))?,
        Route::Scan(number) => {
            let Scan { qr } = read(body).await?;
            hub.scan(number, &qr).await?;
            linked(hub, number)
        }
        Route::EnterLinkCode(number) => {
            let EnteredLinkCode { code } = read(body).await?;
            hub.enter_link_code(number, &code).await?;
            linked(hub, number)
        }
        Route::Unlink(number) => json!({ "unlinked": hub.change(|world, _| world.unlink(number)) }),
        Route::Drop(number) => json!({ "dropped": hub.change(|world, _| world.drop_connections(number)) }),
        Route::Send(number) => {
            let Send { to, text } = read(body).await?;
            let to = recipient(hub, &to)?;
            let (id, devices) = hub.send_from_phone(number, to, &text)?;
            json!({ "id": id, "devices": devices })
        }
        Route::Messages(number) => hub
            .look(|world| json!({ "messages": world.messages(number), "receipts": world.receipts(number) })),
        Route::SetGroup(place) => {
            let SetGroup { subject, members } = read(body).await?;
            let count = members.len();
            hub.change(|world, _| world.set_group(place, subject, members))
                .map_err(Refusal::bad)?;
            json!({ "group": place.group_id(), "members": count })
        }
        Route::SetMigrated(number) => {
            let SetMigrated { migrated } = read(body).await?;
            hub.change(|world, _| world.set_lid_migrated(number, migrated))
                .map_err(Refusal::full)?;
            json!({ "number": number, "migrated": migrated })
        }
        Route::Phone(number) => hub.look(|world| {
            json!({
                "connections": world.connections(number),
                "devices": world.linked_devices(number),
                "available": world.is_available(number),
                "migrated": world.is_lid_migrated(number),
            })
        }),
        Route::Shown(place, paging) => to_value(&shown(hub, place, paging).await)?,
        Route::SetNumber(number) => {
            let SetNumber { canonical, lid } = read(body).await?;
            hub.change(|world, _| world.set_number(number, canonical, lid))
                .map_err(Refusal::full)?;
            json!({ "number": number, "canonical": canonical, "lid": lid })
        }
        Route::ForgetNumber(number) => {
            hub.change(|world, _| world.forget_number(number));
            json!({ "number": number })
        }
        Route::Faults => json!({ "faults": hub.look(fault::list) }),
        Route::AddFault => {
            let fault = fault::read(read(body).await?)?;
            let added = hub.change(|world, now| world.add_fault(now, fault));
            let (id, struck) = added.map_err(Refusal::bad)?;
            return Ok((StatusCode::CREATED, json!({ "id": id, "struck": struck })));
        }
        Route::ClearFaults => json!({ "cleared": hub.change(|world, _| world.clear_faults()) }),
        Route::ClearFault(id) => match hub.change(|world, _| world.clear_fault(id)) {
            true => json!({ "cleared": 1 }),
            false => return Err(Refusal::new(StatusCode::NOT_FOUND, "no such fault stands")),
        },
    };
    Ok((StatusCode::OK, done))
}

#[derive(Deserialize)]
struct Scan {
    qr: String,
}

#[derive(Deserialize)]
struct EnteredLinkCode {
    code: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Send {
    to: String,
    text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetGroup {
    subject: String,
    members: BTreeSet<Number>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetMigrated {
    migrated: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetNumber {
    /// Must be there, because `null` has a meaning of its own.
    #[serde(deserialize_with = "Option::deserialize")]
    canonical: Option<Number>,
    #[serde(default)]
    lid: Option<Lid>,
}

/// A number, `…@lid` or `…@g.us`.
fn recipient(hub: &Hub, text: &str) -> Result<Place, Refusal> {
    if let Some(lid) = text.strip_suffix("@lid") {
        let user = User::Lid(lid.parse().map_err(Refusal::bad)?);
        let number = hub.look(|world| world.number_of_user(user));
        return number
            .map(Place::Phone)
            .ok_or_else(|| SendError::NotOnWhatsApp.into());
    }
    match text.ends_with("@g.us") {
        true => text.parse().map_err(Refusal::bad),
        false => text.parse().map(Place::Phone).map_err(Refusal::bad),
    }
}

async fn journal(hub: &Hub, paging: Paging) -> Result<Value, Refusal> {
    let page = |world: &crate::World| world.journal(paging.after, paging.limit);
    let fresh = hub.wait_for(|world| Some(page(world)).filter(|page| !page.entries.is_empty()));
    let found = timeout(paging.wait, fresh).await;
    to_value(&found.unwrap_or_else(|_| hub.look(page)))
}

async fn shown(hub: &Hub, place: Place, paging: Paging) -> Shown {
    let changed = hub.wait_for(|world| {
        Some(world.shown_in(place)).filter(|shown| paging.wait.is_zero() || shown.version > paging.after)
    });
    let found = timeout(paging.wait.max(Duration::from_millis(1)), changed).await;
    found.unwrap_or_else(|_| hub.look(|world| world.shown_in(place)))
}

fn linked(hub: &Hub, number: Number) -> Value {
    json!({ "number": number, "devices": hub.look(|world| world.linked_devices(number)) })
}

async fn read<T: DeserializeOwned>(body: Incoming) -> Result<T, Refusal> {
    let too_late = || Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time");
    let collected = timeout(BODY, Limited::new(body, MAX_BODY).collect())
        .await
        .map_err(|_| too_late())?;
    let bytes =
        collected.map_err(
            |error| match error.downcast_ref::<http_body_util::LengthLimitError>() {
                Some(_) => Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long"),
                None => Refusal::new(StatusCode::BAD_REQUEST, "the body broke off"),
            },
        )?;
    serde_json::from_slice(&bytes.to_bytes()).map_err(|error| Refusal::bad(format!("invalid body: {error}")))
}

fn to_value(value: &impl Serialize) -> Result<Value, Refusal> {
    serde_json::to_value(value)
        .map_err(|_| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "cannot be shown"))
}

impl Refusal {
    fn new(status: StatusCode, message: impl ToString) -> Self {
        Self {
            status,
            message: message.to_string(),
            allow: None,
        }
    }

    fn bad(message: impl ToString) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    fn full(message: impl ToString) -> Self {
        Self::new(StatusCode::INSUFFICIENT_STORAGE, message)
    }
}

impl From<SendError> for Refusal {
    fn from(error: SendError) -> Self {
        let status = match error {
            SendError::NotOnWhatsApp | SendError::NoSuchGroup => StatusCode::NOT_FOUND,
            SendError::NotAMember => StatusCode::FORBIDDEN,
        };
        Self::new(status, error)
    }
}

impl From<PairError> for Refusal {
    fn from(error: PairError) -> Self {
        let status = match &error {
            PairError::NotAQrCode | PairError::NotALinkCode => StatusCode::BAD_REQUEST,
            PairError::UnknownQrCode | PairError::NoLinkCode => StatusCode::NOT_FOUND,
            PairError::ExpiredQrCode | PairError::ExpiredLinkCode | PairError::Gone => StatusCode::GONE,
            PairError::WrongLinkCode => StatusCode::FORBIDDEN,
            PairError::TooManyDevices(_) | PairError::TooManyAccounts | PairError::Busy => {
                StatusCode::CONFLICT
            }
            PairError::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
            PairError::Late => StatusCode::GATEWAY_TIMEOUT,
        };
        Self::new(status, error)
    }
}

pub(crate) fn error(status: StatusCode, message: &str) -> Response<Full<Bytes>> {
    refused(&Refusal::new(status, message))
}

fn refused(refusal: &Refusal) -> Response<Full<Bytes>> {
    let mut response = json_response(
        refusal.status,
        &json!({ "error": { "message": refusal.message } }),
    );
    if let Some(allow) = refusal.allow {
        response
            .headers_mut()
            .insert(header::ALLOW, header::HeaderValue::from_static(allow));
    }
    response
}

fn json_response(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(format!("{body}\n")));
    *response.status_mut() = status;
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
