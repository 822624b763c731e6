//! Calls over HTTP.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use presence_wa::{AllowedNetworks, GuardedConnector};

use super::{BoxError, Post};

/// Calls over connections that are kept for a while. Of an answer only the head is read, and no redirect is followed:
/// it could lead anywhere.
pub(super) struct HttpPost(Client<GuardedConnector, Full<Bytes>>);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const KEPT_FOR: Duration = Duration::from_secs(15);

impl HttpPost {
    pub(super) fn new(networks: AllowedNetworks) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEPT_FOR)
            .build(GuardedConnector::new(CONNECT_TIMEOUT, networks));
        Self(client)
    }
}

#[async_trait]
impl Post for HttpPost {
    async fn post(&self, request: Request<Full<Bytes>>) -> Result<StatusCode, BoxError> {
        Ok(self.0.request(request).await?.status())
    }
}

#[cfg(test)]
mod tests {
    //! Over real connections, on loopback.

    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use presence_wa::ForbiddenAddress;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers each connection with `answer`; its URL, and how many there were.
    async fn receiver(answer: &'static str) -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let calls = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&calls);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        (url, calls)
    }

    async fn post(networks: AllowedNetworks, url: &str) -> Result<StatusCode, BoxError> {
        let request = Request::post(url).body(Full::new("{}".into())).unwrap();
        HttpPost::new(networks).post(request).await
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_like_any_other() {
        let (elsewhere, untouched) = receiver("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        let answer = format!("HTTP/1.1 307 Elsewhere\r\nlocation: {elsewhere}\r\ncontent-length: 0\r\n\r\n");
        let (url, called) = receiver(answer.leak()).await;
        let status = post(AllowedNetworks::all(), &url).await.unwrap();
        assert_eq!(status, StatusCode::TEMPORARY_REDIRECT);
        let counts = [called, untouched].map(|calls| calls.load(Ordering::Relaxed));
        assert_eq!(counts, [1, 0]);
    }

    #[tokio::test]
    async fn an_address_that_is_not_allowed_is_never_connected_to() {
        let (url, called) = receiver("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        let by_name = url.replace("127.0.0.1", "localhost");
        for url in [&url, &by_name] {
            let refused = post(AllowedNetworks::default(), url).await.unwrap_err();
            assert!(ForbiddenAddress::is_cause_of(&*refused), "{url}: {refused:?}");
        }
        assert_eq!(called.load(Ordering::Relaxed), 0);
    }
}
