//! The API, called by the command line.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::time::timeout;
use url::Url;

use super::output::say;

/// The longest a call may take. `connect` holds a request for up to 60 s.
const CALL_TIMEOUT: Duration = Duration::from_secs(75);
/// The largest answer that is read. A list of many thousand instances fits.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

#[derive(Debug, Args)]
pub(super) struct ServerArgs {
    /// Where the server is.
    #[arg(
        long,
        global = true,
        env = "PRESENCE_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:8080"
    )]
    url: Url,
}

#[derive(Debug, Args)]
pub(super) struct TokenArgs {
    /// An account's token, or an instance's for its own. The variable keeps it out of the process list.
    #[arg(
        long,
        global = true,
        env = "PRESENCE_TOKEN",
        value_name = "TOKEN",
        hide_env_values = true
    )]
    token: Option<String>,
}

impl TokenArgs {
    /// Whether there is one.
    pub(super) fn is_given(&self) -> bool {
        self.token.as_ref().is_some_and(|token| !token.is_empty())
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
    pub(super) fn new(server: ServerArgs, token: TokenArgs) -> anyhow::Result<Self> {
        let base = server.url;
        ensure!(
            matches!(base.scheme(), "http" | "https") && base.has_host(),
            "{base} is no http:// or https:// URL"
        );
        let connector = HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self {
            base,
            token: token.token,
            client: Client::builder(TokioExecutor::new()).build(connector),
        })
    }

    /// A server that is called without a token.
    pub(super) fn open(server: ServerArgs) -> anyhow::Result<Self> {
        Self::new(server, TokenArgs { token: None })
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
        let response = self
            .client
            .request(request)
            .await
            .with_context(|| format!("cannot reach {}", self.base))?;
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
        let text = String::from_utf8_lossy(&body).into_owned();
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
    /// The server's message otherwise.
    pub(super) fn success(self, json: bool) -> anyhow::Result<Reply> {
        if self.status.is_success() {
            return Ok(self.body);
        }
        if json {
            say(&self.body.text)?;
        }
        let message = self.body.value["error"]["message"]
            .as_str()
            .unwrap_or("no reason given");
        bail!("{message} ({})", self.status.as_u16());
    }
}
