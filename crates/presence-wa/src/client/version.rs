//! The client version that WhatsApp's web client has today, looked up once a day for all sessions.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Uri, header};
use http_body_util::Empty;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::web::Web;

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
    web: Arc<Web>,
    url: Uri,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    version: Option<Version>,
    /// When it was found.
    found: Option<Instant>,
    /// No look-up before this.
    next: Option<Instant>,
}

impl Versions {
    pub(super) fn new(web: Arc<Web>, url: Uri) -> Self {
        Self {
            web,
            url,
            known: Mutex::default(),
        }
    }

    /// The version to connect with: the current one, else the last one known, else `fallback`.
    pub(super) async fn current(&self, fallback: Version) -> Version {
        let mut known = self.known.lock().await;
        if known.next.is_none_or(|next| Instant::now() >= next)
            && let Err(error) = self.look_up(&self.web, &mut known).await
        {
            tracing::warn!(%error, "the current WhatsApp client version is not known; using the last one");
        }
        known.version.unwrap_or(fallback)
    }

    /// The last version that was found, else `fallback`, without asking anybody.
    pub(super) async fn known(&self, fallback: Version) -> Version {
        self.known.lock().await.version.unwrap_or(fallback)
    }

    /// Whether there is another version than `refused`. Looks it up now, unless somebody has done so since this
    /// was asked: all sessions tend to be refused at the same time. `web` is how the session that was refused
    /// reaches others; through whomever it goes, TLS says that it is WhatsApp's page.
    pub(super) async fn refresh(&self, web: &Web, refused: Version) -> Result<bool, Error> {
        let asked = Instant::now();
        let mut known = self.known.lock().await;
        let version = match known.version {
            Some(version) if version != refused || known.found >= Some(asked) => version,
            _ => self.look_up(web, &mut known).await?,
        };
        Ok(version != refused)
    }

    async fn look_up(&self, web: &Web, known: &mut Known) -> Result<Version, Error> {
        let found = tokio::time::timeout(TIMEOUT, self.fetch(web))
            .await
            .unwrap_or_else(|late| Err(late.into()));
        let now = Instant::now();
        known.next = Some(now + if found.is_ok() { FRESH } else { RETRY });
        if let Ok(version) = found {
            (known.version, known.found) = (Some(version), Some(now));
        }
        found
    }

    async fn fetch(&self, web: &Web) -> Result<Version, Error> {
        let request = Request::get(self.url.clone())
            .header(header::USER_AGENT, USER_AGENT)
            .header("sec-fetch-site", "none")
            .body(Empty::new())?;
        let (status, body) = web.fetch(request, MAX_BODY).await?;
        if !status.is_success() {
            return Err(format!("the answer was {status}").into());
        }
        ::whatsapp_rust::version::parse_sw_js(&String::from_utf8_lossy(&body))
            // For a page that it only half understands, the parser says revision 0.
            .filter(|(.., revision)| *revision > 0)
            .ok_or_else(|| "the answer names no version".into())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::dial::Connectors;
    use crate::network::AllowedNetworks;

    const FALLBACK: Version = (2, 3000, 1);

    /// A web server that gives one answer to everybody, and counts them.
    struct Site {
        body: Mutex<Option<String>>,
        asked: AtomicU32,
    }

    impl Versions {
        async fn refreshed(&self, refused: Version) -> Result<bool, Error> {
            self.refresh(&self.web, refused).await
        }
    }

    async fn web(body: Option<&str>) -> (Arc<Site>, Versions) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/sw.js", listener.local_addr().unwrap());
        let web = Arc::new(Site {
            body: Mutex::new(body.map(str::to_owned)),
            asked: AtomicU32::new(0),
        });
        tokio::spawn({
            let web = Arc::clone(&web);
            async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    let mut request = [0; 2048];
                    let _ = stream.read(&mut request).await;
                    web.asked.fetch_add(1, Ordering::Relaxed);
                    let answer = match &*web.body.lock().unwrap() {
                        Some(body) => {
                            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
                        }
                        None => "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n".to_owned(),
                    };
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            }
        });
        let connectors = Connectors::new(Duration::from_secs(5), AllowedNetworks::default());
        (
            web,
            Versions::new(Arc::new(Web::new(connectors.direct())), url.parse().unwrap()),
        )
    }

    fn page(revision: u32) -> String {
        format!(r#"self.__x = {{"client_revision":{revision}}};"#)
    }

    #[tokio::test]
    async fn many_who_ask_at_once_cause_one_look_up() {
        let (web, versions) = web(Some(&page(1_047_000_000))).await;
        let asked = futures_util::future::join_all((0..50).map(|_| versions.current(FALLBACK))).await;
        assert_eq!(asked, [(2, 3000, 1_047_000_000); 50]);
        assert_eq!(web.asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_failed_look_up_costs_nobody_the_connection_and_is_not_repeated_at_once() {
        for body in [None, Some("<html>"), Some("assets-manifest-98765 ")] {
            let (web, versions) = web(body).await;
            assert_eq!(versions.current(FALLBACK).await, FALLBACK, "{body:?}");
            assert_eq!(versions.current(FALLBACK).await, FALLBACK, "{body:?}");
            assert_eq!(web.asked.load(Ordering::Relaxed), 1, "{body:?}");
            assert!(versions.refreshed(FALLBACK).await.is_err(), "{body:?}");
        }
    }

    #[tokio::test]
    async fn a_refresh_tells_whether_there_is_another_version() {
        let (web, versions) = web(Some(&page(5))).await;
        let refused = versions.current(FALLBACK).await;
        assert_eq!(refused, (2, 3000, 5));
        assert!(!versions.refreshed(refused).await.unwrap());
        *web.body.lock().unwrap() = Some(page(6));
        assert!(versions.refreshed(refused).await.unwrap());
        assert_eq!(versions.current(FALLBACK).await, (2, 3000, 6));
        *web.body.lock().unwrap() = None;
        versions.refreshed((2, 3000, 6)).await.unwrap_err();
        assert_eq!(
            versions.current(FALLBACK).await,
            (2, 3000, 6),
            "the last one stays"
        );
    }

    #[tokio::test]
    async fn every_session_that_was_refused_learns_of_the_new_version_from_one_look_up() {
        let (web, versions) = web(Some(&page(5))).await;
        let refused = versions.current(FALLBACK).await;
        *web.body.lock().unwrap() = Some(page(6));
        let together = futures_util::future::join_all((0..50).map(|_| versions.refreshed(refused))).await;
        assert!(together.into_iter().all(|other| other.unwrap()));
        // The first is back already when the last is refused.
        assert_eq!(versions.current(FALLBACK).await, (2, 3000, 6));
        assert!(versions.refreshed(refused).await.unwrap());
        assert_eq!(web.asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn sessions_that_are_refused_together_share_the_answer_that_nothing_changed() {
        let (web, versions) = web(Some(&page(5))).await;
        let refused = versions.current(FALLBACK).await;
        let together = futures_util::future::join_all((0..50).map(|_| versions.refreshed(refused))).await;
        assert!(together.into_iter().all(|other| !other.unwrap()));
        assert_eq!(web.asked.load(Ordering::Relaxed), 2);
    }
}
