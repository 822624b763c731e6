//! The HTTP client that sessions share, or have for themselves behind a proxy: for the version look-up, and for the
//! one kind of file that a session needs.

use std::sync::Arc;
use std::time::Duration;

use ::whatsapp_rust::anyhow;
use ::whatsapp_rust::http::{HttpClient, HttpRequest, HttpResponse};
use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::sync::Semaphore;

use crate::dial::Connector;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// How many files are fetched at a time; with [`MAX_FILE`] it bounds the memory they take.
pub(super) const AT_A_TIME: usize = 4;
/// The largest file taken. A snapshot of an account's settings has some hundred kilobytes.
const MAX_FILE: usize = 16 << 20;
/// Bounds one file, without the wait for its turn.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Whose files are taken.
const FILES: &str = ".whatsapp.net";

/// Fetches pages.
pub(super) struct Web {
    http: Client<Connector, Empty<Bytes>>,
    turns: Arc<Semaphore>,
}

impl Web {
    pub(super) fn new(connector: Connector) -> Self {
        Self::taking_turns(connector, Arc::new(Semaphore::new(AT_A_TIME)))
    }

    /// One that fetches files only while it holds one of `turns`, with others.
    pub(super) fn taking_turns(connector: Connector, turns: Arc<Semaphore>) -> Self {
        // Each host is asked once in a while: a connection kept open is one for nothing.
        let http = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(connector);
        Self { http, turns }
    }

    /// Sends `request` and reads at most `limit` bytes of the answer.
    pub(super) async fn fetch(
        &self,
        request: Request<Empty<Bytes>>,
        limit: usize,
    ) -> Result<(StatusCode, Bytes), Error> {
        let response = self.http.request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), limit).collect().await?;
        Ok((status, body.to_bytes()))
    }
}

/// The HTTP client that one session's client gets.
///
/// Right after a pairing, WhatsApp hands out the account's settings, the push name among them, as an
/// encrypted file. Without the push name it takes no `available`. Nothing else is fetched: media and history
/// are of no use here.
pub(super) struct Files {
    /// `None` fetches nothing.
    pub(super) web: Option<Arc<Web>>,
}

#[async_trait]
impl HttpClient for Files {
    async fn execute(&self, request: HttpRequest) -> anyhow::Result<HttpResponse> {
        let url = Uri::try_from(&request.url)?;
        let (Some(web), true) = (&self.web, request.method == "GET" && is_file(&url)) else {
            tracing::debug!(
                method = request.method,
                "refused an HTTP request of the WhatsApp client"
            );
            anyhow::bail!("this client fetches nothing but the account's settings");
        };
        let mut get = Request::get(url);
        for (name, value) in &request.headers {
            get = get.header(name, value);
        }
        let get = get.body(Empty::new())?;
        let _turn = web.turns.acquire().await?;
        let fetched = tokio::time::timeout(TIMEOUT, web.fetch(get, MAX_FILE)).await?;
        let (status, body) = fetched.map_err(anyhow::Error::from_boxed)?;
        Ok(HttpResponse {
            status_code: status.as_u16(),
            body: body.into(),
        })
    }
}

fn is_file(url: &Uri) -> bool {
    url.scheme_str() == Some("https") && url.host().is_some_and(|host| host.ends_with(FILES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whatsapps_own_files_are_fetched() {
        let rows = [
            ("https://mmg.whatsapp.net/v/t62?auth=x", true),
            ("https://media-gru2-1.cdn.whatsapp.net/v/t62", true),
            ("http://mmg.whatsapp.net/v/t62", false),
            ("https://mmg.whatsapp.net.example.org/", false),
            ("https://user@169.254.169.254/.whatsapp.net", false),
            ("https://web.whatsapp.com/sw.js", false),
            ("/v/t62", false),
        ];
        for (url, is) in rows {
            assert_eq!(is_file(&url.parse().unwrap()), is, "{url}");
        }
    }

    #[tokio::test]
    async fn a_session_of_a_sandbox_fetches_nothing() {
        let files = Files { web: None };
        files
            .execute(HttpRequest::get("https://mmg.whatsapp.net/v/t62"))
            .await
            .unwrap_err();
    }
}
