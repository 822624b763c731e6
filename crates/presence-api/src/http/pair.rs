//! Links to the page that links a phone, and that page: `/pair/…`.
//!
//! Its files lie in `pair/` beside this crate's source, as they are served. What is done with a link is a `POST`: who
//! only looks at the address, as messengers do that show a preview, uses nothing up.

use std::sync::{Arc, LazyLock};

use chrono::{SecondsFormat, TimeDelta};
use futures_util::future::join_all;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use presence_store::Instance;
use presence_wa::PairWith;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::instance;
use super::static_file::{CSS, HTML, SCRIPT, SVG, StaticFile};
use crate::app::App;
use crate::clock::utc_now;
use crate::error::ApiError;
use crate::json::{self, Body};
use crate::nodes::{CreateLink, OpenLink, RevokeLink};
use crate::pairing_links::{Opened, VALID_FOR};

/// As the console's.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);
const ENGLISH: &str = "en.html";
const PORTUGUESE: &str = "pt.html";

static FILES: LazyLock<[StaticFile; 5]> = LazyLock::new(|| {
    let files = [
        StaticFile::new(ENGLISH, HTML, include_bytes!("../../pair/en.html")),
        StaticFile::new(PORTUGUESE, HTML, include_bytes!("../../pair/pt.html")),
        StaticFile::new("pair.css", CSS, include_bytes!("../../pair/pair.css")),
        StaticFile::new("icon.svg", SVG, include_bytes!("../../console/icon.svg")),
        StaticFile::new("pair.js", SCRIPT, include_bytes!("../../pair/pair.js")),
    ];
    files.map(|file| file.with_policy(POLICY))
});

/// A link to the page on which a phone can be linked to the instance.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PairingLink)]
pub(in crate::http) struct LinkReply {
    /// Whoever has it can link a phone.
    #[schema(examples("https://presence.example.com/pair/pl_…"))]
    url: String,
    #[schema(format = DateTime)]
    expires_at: String,
}

/// Makes a link for the instance. The one before is void.
pub(super) async fn create(
    app: &Arc<App>,
    instance: &Instance,
    parts: &Parts,
) -> Result<Response<Body>, ApiError> {
    let base = base_url(app, parts)?;
    let (instances, id) = (app.instances()?, instance.id);
    let create = async || app.pairing_links.create(id, instances.watch_status(id));
    let secret = match instances.nodes() {
        None => create().await,
        // The node that has the instance sees when it is linked.
        Some(nodes) => {
            let call = CreateLink { instance: id };
            nodes.at_owner(id, call, async |_| Some(create().await)).await?
        }
    };
    let expires_at = utc_now() + TimeDelta::seconds(VALID_FOR.as_secs().cast_signed());
    let reply = LinkReply {
        url: format!("{base}/pair/{secret}"),
        expires_at: expires_at.to_rfc3339_opts(SecondsFormat::Secs, true),
    };
    Ok(json::succeed(StatusCode::OK, "Pairing link created", reply))
}

/// Makes the link of the instance void, if it has one.
pub(super) async fn revoke(app: &Arc<App>, instance: &Instance) -> Result<Response<Body>, ApiError> {
    let id = instance.id;
    match app.instances()?.nodes() {
        None => app.pairing_links.revoke(id),
        Some(nodes) => {
            let call = RevokeLink { instance: id };
            let here = async |_| {
                app.pairing_links.revoke(id);
                Some(())
            };
            nodes.at_owner(id, call, here).await?;
        }
    }
    Ok(json::succeed(StatusCode::OK, "Pairing link revoked", Nothing {}))
}

/// What the link with this secret opens, whichever node made it.
pub(super) async fn open(app: &App, secret: &str) -> Option<Opened> {
    if let Some(opened) = app.pairing_links.open(secret) {
        return Some(opened);
    }
    let nodes = app.instances().ok()?.nodes()?;
    let call = OpenLink {
        secret: secret.to_owned(),
    };
    let others = nodes.others();
    let asked = others.iter().map(|node| nodes.ask(node, &call));
    join_all(asked).await.into_iter().flatten().flatten().next()
}

/// The page, which is the same whatever the secret is, or one of its files.
pub(super) fn page(path: &str, headers: &HeaderMap) -> Result<Response<Body>, ApiError> {
    if let Ok(file) = StaticFile::find(&*FILES, path, headers) {
        return Ok(file);
    }
    let language = if prefers_portuguese(headers) {
        PORTUGUESE
    } else {
        ENGLISH
    };
    let mut page = StaticFile::find(&*FILES, language, headers)?;
    page.headers_mut().insert(
        header::VARY,
        HeaderValue::from_static("accept-encoding, accept-language"),
    );
    Ok(page)
}

/// What the phone needs now: the current QR code, a code for the number in `body`, or nothing any more.
pub(super) async fn step(app: &Arc<App>, opened: Opened, body: &[u8]) -> Result<Response<Body>, ApiError> {
    let Opened::Pairing(id) = opened else {
        return Ok(instance::already_connected());
    };
    let sent = if body.is_empty() {
        Sent::default()
    } else {
        json::parse(body)?
    };
    let how = sent
        .number
        .map_or(Ok(PairWith::Qr), |number| instance::link_code_for(&number))?;
    let instances = app.instances()?;
    let instance = instances.by_id(id).ok_or(ApiError::NoSuchLink)?;
    instance::link(instances, &instance, how, app.settings.connect_hold).await
}

#[derive(Default, Deserialize)]
struct Sent {
    number: Option<String>,
}

#[derive(Serialize)]
struct Nothing {}

/// Where clients reach the service: as the operator says, or else as this one did.
fn base_url(app: &App, parts: &Parts) -> Result<String, ApiError> {
    if let Some(url) = &app.settings.public_url {
        return Ok(url.as_str().trim_end_matches('/').to_owned());
    }
    let host = parts.headers.get(header::HOST);
    let host = host
        .and_then(|host| host.to_str().ok())
        .filter(|host| !host.is_empty());
    Ok(format!("http://{}", host.ok_or(NO_HOST)?))
}

/// Whether Portuguese is before English, or alone, in what the browser accepts.
fn prefers_portuguese(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT_LANGUAGE);
    let accepted = accepted
        .and_then(|accepted| accepted.to_str().ok())
        .unwrap_or_default();
    // Browsers send them in order.
    let mut languages = accepted
        .split(',')
        .filter_map(|language| language.trim().get(..2).map(str::to_ascii_lowercase));
    languages
        .find(|language| language == "pt" || language == "en")
        .as_deref()
        == Some("pt")
}

pub(in crate::http) const NO_HOST: ApiError = ApiError::Invalid {
    text: "Host is required",
    detail: "host: the header is missing, and the operator has set no public URL",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_speaks_the_first_language_that_it_knows() {
        for (accepted, portuguese) in [
            ("", false),
            ("pt-BR,pt;q=0.9,en;q=0.8", true),
            ("PT", true),
            ("en-US,en;q=0.9,pt;q=0.8", false),
            ("de,pt;q=0.5", true),
            ("de", false),
            ("é,x", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(
                header::ACCEPT_LANGUAGE,
                HeaderValue::from_bytes(accepted.as_bytes()).unwrap(),
            );
            assert_eq!(prefers_portuguese(&headers), portuguese, "{accepted}");
        }
    }

    #[test]
    fn both_languages_have_the_same_parts() {
        let parts = |page: &str| {
            let marks = page
                .split(['<', '>'])
                .filter(|tag| tag.contains("id=") || tag.contains("data-"));
            let marks = marks.map(|tag| {
                let words = tag.split_whitespace();
                let marks = words.filter(|word| word.starts_with("id=") || word.starts_with("data-"));
                marks.collect::<Vec<_>>().join(" ")
            });
            marks.collect::<Vec<_>>()
        };
        let (english, portuguese) = (
            include_str!("../../pair/en.html"),
            include_str!("../../pair/pt.html"),
        );
        assert_eq!(parts(english), parts(portuguese));
        assert!(parts(english).len() > 8);
    }
}
