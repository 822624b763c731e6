//! The API, called by the command line.

use std::error::Error;
use std::io;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use thiserror::Error;
use tokio::time::timeout;
use url::Url;

use super::output::say;
use crate::config::{Listen, settings};

/// The longest a call may take. `connect` holds a request for up to 60 s.
const CALL_TIMEOUT: Duration = Duration::from_secs(75);
/// The largest answer that is read. A list of many thousand instances fits.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

#[derive(Debug, Args)]
pub(super) struct ServerArgs {
    /// Where the server is. Unset: where `serve` listens with the same PRESENCE_LISTEN, or http://127.0.0.1:8080.
    #[arg(long, global = true, env = "PRESENCE_URL", value_name = "URL", value_parser = server_url)]
    url: Option<Url>,
}

#[derive(Debug, Args)]
pub(super) struct TokenArgs {
    /// An account's token, or an instance's for its own. The variable keeps it out of the process list.
    #[arg(
        long,
        global = true,
        env = "PRESENCE_TOKEN",
        value_name = "TOKEN",
        hide_env_values = true,
        allow_hyphen_values = true
    )]
    token: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct CallArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    token: TokenArgs,
    /// Answer with JSON, as the API does.
    #[arg(long, global = true)]
    json: bool,
}

impl CallArgs {
    /// The server, and whether it is JSON that is printed.
    ///
    /// # Errors
    /// When no token was given.
    pub(super) fn api(self) -> anyhow::Result<(Api, bool)> {
        Ok((Api::new(self.server, self.token)?, self.json))
    }
}

impl TokenArgs {
    /// # Errors
    /// When none was given. The server would call it invalid, as it does a wrong one.
    fn given(self) -> anyhow::Result<String> {
        match self.token {
            Some(token) if !token.is_empty() => Ok(token),
            _ => bail!(
                "no token was given: give an account's, or the instance's own, in PRESENCE_TOKEN or with --token; \
                 \"presence-server account new NAME\" makes an account and prints its token"
            ),
        }
    }
}

/// A server's API.
pub(super) struct Api {
    base: Url,
    token: Option<String>,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// What the server answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// How long the server asks to wait before the next call.
    pub(super) retry_after: Option<Duration>,
    /// What exactly was wrong with the request.
    pub(super) detail: Option<String>,
    pub(super) body: Reply,
}

/// A body: as it came, and as JSON.
pub(super) struct Reply {
    pub(super) text: String,
    pub(super) value: Value,
}

impl Api {
    /// # Errors
    /// When no token was given.
    pub(super) fn new(server: ServerArgs, token: TokenArgs) -> anyhow::Result<Self> {
        Ok(Self::with(server, Some(token.given()?)))
    }

    /// A server that is called without a token.
    pub(super) fn open(server: ServerArgs) -> Self {
        Self::with(server, None)
    }

    fn with(server: ServerArgs, token: Option<String>) -> Self {
        let connector = HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .build();
        Self {
            base: server.url(),
            token,
            client: Client::builder(TokioExecutor::new()).build(connector),
        }
    }

    /// Calls `path`, whose segments are escaped here.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<Value>,
    ) -> anyhow::Result<Answer> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .expect("an http URL has a path")
            .pop_if_empty()
            .extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = Request::builder().method(method).uri(url.as_str());
        if let Some(token) = &self.token {
            request = request.header("token", token);
        }
        let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let request = request
            .body(Full::new(body))
            .context("the token cannot be sent")?;
        timeout(CALL_TIMEOUT, self.send(request))
            .await
            .with_context(|| format!("{} did not answer in time", self.base))?
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> anyhow::Result<Answer> {
        let response = self.client.request(request).await;
        let response = response.map_err(|error| unreachable_because(&self.base, error))?;
        let status = response.status();
        let retry_after = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let detail = response.headers().get("x-error-detail");
        let detail = detail.and_then(|value| Some(value.to_str().ok()?.to_owned()));
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let body = body
            .map_err(|error| anyhow::anyhow!(error))
            .context("the answer broke off")?
            .to_bytes();
        let value = serde_json::from_slice(&body).with_context(|| {
            format!(
                "{} answered {status} without JSON: is it a presence server?",
                self.base
            )
        })?;
        let text = String::from_utf8_lossy(body.trim_ascii_end()).into_owned();
        Ok(Answer {
            status,
            retry_after: retry_after.map(Duration::from_secs),
            detail,
            body: Reply { text, value },
        })
    }
}

impl Answer {
    /// The body of a success. Where `json` is asked for, an error's body is printed too.
    ///
    /// # Errors
    /// [`Refused`] otherwise.
    pub(super) fn success(self, json: bool) -> anyhow::Result<Reply> {
        if self.status.is_success() {
            return Ok(self.body);
        }
        if json {
            say(&self.body.text)?;
        }
        let message = self.body.value["error"]["message"].as_str();
        Err(Refused {
            status: self.status,
            message: message.unwrap_or("the server gave no reason").to_owned(),
            detail: self.detail,
            retry_after: self.retry_after,
        }
        .into())
    }
}

/// The server's answer was an error, in its words.
#[derive(Debug, Error)]
#[error("{}", self.words())]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) message: String,
    pub(super) detail: Option<String>,
    retry_after: Option<Duration>,
}

impl Refused {
    fn words(&self) -> String {
        let Self { status, message, .. } = self;
        if let Some(wait) = self.retry_after {
            // The contract's text says "later".
            let said = message.trim_end_matches(" Try again later.");
            return format!("{said} Try again in {} s ({})", wait.as_secs(), status.as_u16());
        }
        match &self.detail {
            Some(detail) => format!("{message}: {detail} ({})", status.as_u16()),
            None => format!("{message} ({})", status.as_u16()),
        }
    }
}

/// Why there was no answer, in words that say what to do about it.
fn unreachable_because(base: &Url, error: legacy::Error) -> anyhow::Error {
    if is_caused_by::<io::Error>(&error, |error| error.kind() == io::ErrorKind::ConnectionRefused) {
        return anyhow!(
            "no server at {base}: start it with \"presence-server serve\", or name it with --url"
        );
    }
    // What a client of TLS makes of an HTTP answer. The library's own type of it is not public.
    let no_tls = |error: &io::Error| error.to_string().contains("InvalidContentType");
    if is_caused_by::<io::Error>(&error, no_tls) {
        return anyhow!("the server at {base} speaks http there, not https");
    }
    anyhow!(error).context(format!("cannot reach {base}"))
}

fn is_caused_by<E: Error + 'static>(error: &(dyn Error + 'static), is: impl Fn(&E) -> bool) -> bool {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes.filter_map(|cause| cause.downcast_ref::<E>()).any(is)
}

impl ServerArgs {
    fn url(self) -> Url {
        let listens = || std::env::var(settings::LISTEN.variable).ok();
        self.url.unwrap_or_else(|| served_at(listens().as_deref()))
    }
}

/// Where a server that listens like this is reached from its own machine. What cannot be understood, `serve`
/// refuses.
fn served_at(listen: Option<&str>) -> Url {
    let default = settings::LISTEN.default.expect("it has one");
    let listen = listen.and_then(|listen| listen.trim().parse::<Listen>().ok());
    let listen = listen.unwrap_or_else(|| default.parse().expect("the default is right"));
    server_url(&listen.reached_from_here().to_string()).expect("an address makes a URL")
}

/// `http://…` and `https://…`, and what people write for short: `localhost:8080`.
fn server_url(text: &str) -> Result<Url, String> {
    let wrong = || format!("{text:?} is no address such as http://127.0.0.1:8080");
    let url = if text.contains("://") {
        Url::parse(text)
    } else {
        Url::parse(&format!("http://{text}"))
    };
    let url = url.map_err(|_| wrong())?;
    let serves = matches!(url.scheme(), "http" | "https") && url.has_host();
    if serves { Ok(url) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_in_full_or_for_short() {
        let url = |text: &str| server_url(text).map(String::from);
        for (text, expected) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/"),
            ("127.0.0.1:8080", "http://127.0.0.1:8080/"),
            ("localhost:8080", "http://localhost:8080/"),
            ("presence.example.com", "http://presence.example.com/"),
            (
                "https://presence.example.com/at",
                "https://presence.example.com/at",
            ),
        ] {
            assert_eq!(url(text).as_deref(), Ok(expected));
        }
        for wrong in ["", "ftp://localhost", "http://", "a b", "localhost:port"] {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn without_an_address_it_is_where_the_server_listens() {
        for (listen, expected) in [
            (None, "http://127.0.0.1:8080/"),
            (Some(""), "http://127.0.0.1:8080/"),
            (Some("0.0.0.0:9000"), "http://127.0.0.1:9000/"),
            (Some("9000"), "http://127.0.0.1:9000/"),
            (Some("localhost:9000"), "http://localhost:9000/"),
            (Some("nowhere"), "http://127.0.0.1:8080/"),
        ] {
            assert_eq!(served_at(listen).as_str(), expected, "{listen:?}");
        }
    }

    #[test]
    fn a_refusal_says_when_to_come_again_and_what_was_wrong() {
        let refused = |message: &str, retry_after, detail: Option<&str>| {
            Refused {
                status: StatusCode::TOO_MANY_REQUESTS,
                message: message.to_owned(),
                detail: detail.map(str::to_owned),
                retry_after,
            }
            .to_string()
        };
        assert_eq!(
            refused(
                "Rate limit exceeded. Try again later.",
                Some(Duration::from_secs(29)),
                None
            ),
            "Rate limit exceeded. Try again in 29 s (429)"
        );
        assert_eq!(
            refused("Invalid body", None, Some("it is empty")),
            "Invalid body: it is empty (429)"
        );
    }
}
