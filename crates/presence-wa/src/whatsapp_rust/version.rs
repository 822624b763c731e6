//! The client version that WhatsApp's web client has today, looked up once a day for all sessions.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::sync::Mutex;
use tokio::time::Instant;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Primary, secondary and tertiary number.
pub(super) type Version = (u32, u32, u32);

/// Where the web client's service worker is; its text names the version.
pub(super) const SERVICE_WORKER: &str = "https://web.whatsapp.com/sw.js";

/// How long a version is taken for the current one.
const FRESH: Duration = Duration::from_secs(24 * 3600);
/// How long after a failed look-up the next one is tried. Until then every session would wait for the same
/// failure when it connects.
const RETRY: Duration = Duration::from_secs(300);
/// Bounds one look-up.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The service worker has a few hundred kilobytes.
const MAX_BODY: usize = 8 << 20;
/// The page is served to browsers only.
const USER_AGENT: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36";

/// Knows the current version. One look-up runs at a time; who asks meanwhile waits for its answer.
pub(super) struct Versions {
    http: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    url: Uri,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    version: Option<Version>,
    /// No look-up before this.
    next: Option<Instant>,
    /// What the sessions were told last.
    told: Option<Version>,
}

impl Versions {
    pub(super) fn new(connector: HttpsConnector<HttpConnector>, url: Uri) -> Self {
        let http = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(connector);
        Self {
            http,
            url,
            known: Mutex::default(),
        }
    }

    /// The version to connect with: the current one, else the last one known, else `fallback`.
    pub(super) async fn current(&self, fallback: Version) -> Version {
        let mut known = self.known.lock().await;
        if known.next.is_none_or(|next| Instant::now() >= next)
            && let Err(error) = self.look_up(&mut known).await
        {
            tracing::warn!(%error, "the current WhatsApp client version is not known; using the last one");
        }
        let version = known.version.unwrap_or(fallback);
        known.told = Some(version);
        version
    }

    /// Looks the version up now; `true` when it is not the one that [`current`](Self::current) told last.
    pub(super) async fn refresh(&self) -> Result<bool, Error> {
        let mut known = self.known.lock().await;
        let version = self.look_up(&mut known).await?;
        Ok(known.told != Some(version))
    }

    async fn look_up(&self, known: &mut Known) -> Result<Version, Error> {
        let found = tokio::time::timeout(TIMEOUT, self.fetch())
            .await
            .unwrap_or_else(|late| Err(late.into()));
        known.next = Some(Instant::now() + if found.is_ok() { FRESH } else { RETRY });
        known.version = found.as_ref().ok().copied().or(known.version);
        found
    }

    async fn fetch(&self) -> Result<Version, Error> {
        let request = Request::get(self.url.clone())
            .header(header::USER_AGENT, USER_AGENT)
            .header("sec-fetch-site", "none")
            .body(Empty::new())?;
        let response = self.http.request(request).await?;
        if !response.status().is_success() {
            return Err(format!("the answer was {}", response.status()).into());
        }
        let body = Limited::new(response.into_body(), MAX_BODY)
            .collect()
            .await?
            .to_bytes();
        ::whatsapp_rust::version::parse_sw_js(&String::from_utf8_lossy(&body))
            // For a page that it only half understands, the parser says revision 0.
            .filter(|(.., revision)| *revision > 0)
            .ok_or_else(|| "the answer names no version".into())
    }
}
