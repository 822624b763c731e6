//! Which request means what. Pure.

use std::str::FromStr;
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::Refusal;
use crate::http::EDGE;
use crate::world::{FaultId, Number, Place};

/// The longest a request may wait for news.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// The most journal entries in one answer.
const MAX_ENTRIES: usize = 10_000;

/// Everything that can be asked for; listed at `/`.
const ROUTES: [(&str, &str); 22] = [
    ("GET /ws/chat", "where WhatsApp clients connect"),
    (
        "GET /v1/journal?after=SEQ&limit=N&wait_ms=MS",
        "stanzas that clients sent",
    ),
    (
        "GET /v1/logins",
        "how often each linked device logged in, and when; whether it is",
    ),
    (
        "GET /v1/phones/NUMBER",
        "connections, linked devices, availability",
    ),
    (
        "GET /v1/phones/NUMBER/shown?after=VERSION&wait_ms=MS",
        "what the phone shows, now and before",
    ),
    (
        "POST /v1/phones/NUMBER/scan",
        r#"{"qr":"2@…"}: links the device that shows the QR code"#,
    ),
    (
        "POST /v1/phones/NUMBER/link",
        r#"{"code":"ABCD-EFGH"}: links the device that shows the link code"#,
    ),
    (
        "POST /v1/phones/NUMBER/send",
        r#"{"to":"…","text":"…"}: sends a message from the phone, to a number, `…@lid` or `…@g.us`"#,
    ),
    (
        "GET /v1/phones/NUMBER/messages",
        "messages and receipts that the phone got",
    ),
    ("POST /v1/phones/NUMBER/unlink", "unlinks all devices"),
    ("POST /v1/phones/NUMBER/drop", "cuts all connections"),
    (
        "PUT /v1/phones/NUMBER/lid",
        r#"{"migrated":true}: whether the account's chats have moved to LIDs"#,
    ),
    (
        "GET /v1/groups/GROUP/shown?after=VERSION&wait_ms=MS",
        "what a group's members see",
    ),
    (
        "PUT /v1/groups/GROUP",
        r#"{"subject":"…","members":["…"]}: sets a group up"#,
    ),
    (
        "PUT /v1/numbers/NUMBER",
        r#"{"canonical":"…"|null,"lid":"…"|null}: what WhatsApp knows of a number"#,
    ),
    ("DELETE /v1/numbers/NUMBER", "forgets what was set for it"),
    ("GET /v1/faults", "the faults that stand"),
    ("POST /v1/faults", r#"{"kind":"…",…}: makes something go wrong"#),
    ("DELETE /v1/faults", "clears all faults"),
    ("DELETE /v1/faults/ID", "clears one"),
    ("GET /health", "this list"),
    ("GET /", "this list"),
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Index,
    Journal(Paging),
    Logins,
    Phone(Number),
    Shown(Place, Paging),
    Scan(Number),
    EnterLinkCode(Number),
    Unlink(Number),
    Drop(Number),
    Send(Number),
    Messages(Number),
    SetGroup(Place),
    SetMigrated(Number),
    SetNumber(Number),
    ForgetNumber(Number),
    Faults,
    AddFault,
    ClearFaults,
    ClearFault(FaultId),
}

/// Which part of something that grows, and how long to wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Paging {
    pub(super) after: u64,
    pub(super) limit: usize,
    pub(super) wait: Duration,
}

pub(super) fn route(method: &Method, path: &str, query: Option<&str>) -> Result<Route, Refusal> {
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let method = if method == Method::HEAD {
        &Method::GET
    } else {
        method
    };
    let get = method == Method::GET;
    let post = method == Method::POST;
    Ok(match segments.as_slice() {
        [""] | ["health"] if get => Route::Index,
        ["v1", "journal"] if get => Route::Journal(paging(query)?),
        ["v1", "logins"] if get => Route::Logins,
        ["v1", "phones", number] if get => Route::Phone(parse(number)?),
        ["v1", "phones", number, "shown"] if get => {
            Route::Shown(Place::Phone(parse(number)?), paging(query)?)
        }
        ["v1", "groups", group, "shown"] if get => Route::Shown(parse(group)?, paging(query)?),
        ["v1", "phones", number, "messages"] if get => Route::Messages(parse(number)?),
        ["v1", "phones", number, "send"] if post => Route::Send(parse(number)?),
        ["v1", "groups", group] if method == Method::PUT => Route::SetGroup(parse(group)?),
        ["v1", "phones", number, "scan"] if post => Route::Scan(parse(number)?),
        ["v1", "phones", number, "link"] if post => Route::EnterLinkCode(parse(number)?),
        ["v1", "phones", number, "unlink"] if post => Route::Unlink(parse(number)?),
        ["v1", "phones", number, "drop"] if post => Route::Drop(parse(number)?),
        ["v1", "phones", number, "lid"] if method == Method::PUT => Route::SetMigrated(parse(number)?),
        ["v1", "numbers", number] if method == Method::PUT => Route::SetNumber(parse(number)?),
        ["v1", "numbers", number] if method == Method::DELETE => Route::ForgetNumber(parse(number)?),
        ["v1", "faults"] if get => Route::Faults,
        ["v1", "faults"] if post => Route::AddFault,
        ["v1", "faults"] if method == Method::DELETE => Route::ClearFaults,
        ["v1", "faults", id] if method == Method::DELETE => Route::ClearFault(fault_id(id)?),
        other => return Err(refusal(other)),
    })
}

pub(super) fn index() -> Value {
    let routes: serde_json::Map<_, _> = ROUTES
        .iter()
        .map(|(route, what)| ((*route).into(), (*what).into()))
        .collect();
    json!({ "service": "presence-sandbox", "edge": EDGE, "routes": routes })
}

/// Why nothing matched: another method would have, or nothing would.
fn refusal(segments: &[&str]) -> Refusal {
    let allow = match segments {
        [""] | ["health"] | ["v1", "journal" | "logins"] | ["v1", "phones", _] => "GET, HEAD",
        ["v1", "phones" | "groups", _, "shown"] | ["v1", "phones", _, "messages"] => "GET, HEAD",
        ["v1", "phones", _, "scan" | "link" | "unlink" | "drop" | "send"] => "POST",
        ["v1", "groups", _] => "PUT",
        ["v1", "phones", _, "lid"] => "PUT",
        ["v1", "numbers", _] => "PUT, DELETE",
        ["v1", "faults"] => "GET, HEAD, POST, DELETE",
        ["v1", "faults", _] => "DELETE",
        _ => return Refusal::new(StatusCode::NOT_FOUND, "no such route; GET / lists them"),
    };
    Refusal {
        allow: Some(allow),
        ..Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method not allowed")
    }
}

fn parse<T: FromStr<Err = crate::InvalidNumber>>(text: &str) -> Result<T, Refusal> {
    text.parse().map_err(Refusal::bad)
}

fn fault_id(text: &str) -> Result<FaultId, Refusal> {
    text.parse()
        .map(FaultId::new)
        .map_err(|_| Refusal::bad("not the id of a fault"))
}

fn paging(query: Option<&str>) -> Result<Paging, Refusal> {
    let mut paging = Paging {
        after: 0,
        limit: MAX_ENTRIES,
        wait: Duration::ZERO,
    };
    for pair in query
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
    {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let number: u64 = value
            .parse()
            .map_err(|_| Refusal::bad(format!("'{key}' is not a whole number")))?;
        match key {
            "after" => paging.after = number,
            "limit" => {
                paging.limit = usize::try_from(number)
                    .unwrap_or(usize::MAX)
                    .clamp(1, MAX_ENTRIES)
            }
            "wait_ms" => paging.wait = Duration::from_millis(number).min(MAX_WAIT),
            _ => {
                return Err(Refusal::bad(
                    "unknown parameter; there are 'after', 'limit' and 'wait_ms'",
                ));
            }
        }
    }
    Ok(paging)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBER: &str = "5511988887777";

    fn status(method: Method, path: &str) -> StatusCode {
        route(&method, path, None).unwrap_err().status
    }

    #[test]
    fn every_listed_route_is_routed() {
        for (route_text, _) in ROUTES {
            let (method, target) = route_text.split_once(' ').unwrap();
            let path = target.split('?').next().unwrap().replace("NUMBER", NUMBER);
            let path = path
                .replace("GROUP", "120363000000000000@g.us")
                .replace("ID", "1");
            if path != EDGE {
                route(&method.parse().unwrap(), &path, None).unwrap();
            }
        }
    }

    #[test]
    fn wrong_requests_are_told_what_is_wrong() {
        assert_eq!(
            status(Method::GET, "/v1/phones/+55/shown"),
            StatusCode::BAD_REQUEST
        );
        assert_eq!(status(Method::POST, "/v1/phones//scan"), StatusCode::BAD_REQUEST);
        assert_eq!(
            status(Method::GET, "/v1/groups/a-b/shown"),
            StatusCode::BAD_REQUEST
        );
        assert_eq!(status(Method::DELETE, "/v1/faults/x"), StatusCode::BAD_REQUEST);
        assert_eq!(status(Method::GET, "/v1/nothing"), StatusCode::NOT_FOUND);
        assert_eq!(
            status(Method::GET, "/v1/phones/5511988887777/scan"),
            StatusCode::METHOD_NOT_ALLOWED
        );
        assert_eq!(
            status(Method::POST, "/v1/journal"),
            StatusCode::METHOD_NOT_ALLOWED
        );
        assert!(route(&Method::GET, "/v1/journal", Some("after=x")).is_err());
        assert!(route(&Method::GET, "/v1/journal", Some("afer=1")).is_err());
    }

    #[test]
    fn paging_is_bounded() {
        let asked = paging(Some("after=7&limit=99999999&wait_ms=99999999")).unwrap();
        assert_eq!(
            asked,
            Paging {
                after: 7,
                limit: MAX_ENTRIES,
                wait: MAX_WAIT
            }
        );
    }
}
