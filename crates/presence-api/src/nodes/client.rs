//! Calls to other nodes, over connections that are kept.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::{Request, StatusCode};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use presence_store::Node;
use tokio::time::timeout;

use super::calls::NodeCall;
use super::dial::{Connector, DialNode};
use super::secret::ClusterSecret;

/// Where calls are sent, below a node's address.
pub(super) const PATH: &str = "/internal/v1/";
/// How long a connection is kept that nobody uses.
const KEPT_FOR: Duration = Duration::from_secs(60);
/// The largest answer: all statuses of a node.
const MAX_ANSWER: usize = 64 << 20;

/// Calls other nodes.
pub(super) struct Client {
    http: HyperClient<Connector, Full<Bytes>>,
    authorization: HeaderValue,
}

/// Why a call has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// It does not have what was asked for: nothing was done.
    Misdirected,
    /// Nobody is there: nothing was done.
    NotReached,
    /// It may have been done or not.
    Unknown,
}

impl Client {
    pub(super) fn new(secret: &ClusterSecret, dial: Arc<dyn DialNode>) -> Self {
        let http = HyperClient::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEPT_FOR)
            .build(Connector(dial));
        let mut authorization = HeaderValue::try_from(format!("Bearer {}", secret.expose()))
            .expect("a cluster's secret is header text");
        authorization.set_sensitive(true);
        Self { http, authorization }
    }

    /// Has `node` carry out `call`.
    pub(super) async fn ask<C: NodeCall>(&self, node: &Node, call: &C) -> Result<C::Answer, Unanswered> {
        timeout(C::PATIENCE, self.carry(self.request(node, call)?))
            .await
            .unwrap_or(Err(Unanswered::Unknown))
    }

    /// Has `node` answer `call` by a body that goes on.
    pub(super) async fn open<C: NodeCall>(&self, node: &Node, call: &C) -> Result<Incoming, Unanswered> {
        timeout(C::PATIENCE, self.send(self.request(node, call)?))
            .await
            .unwrap_or(Err(Unanswered::Unknown))
    }

    fn request<C: NodeCall>(&self, node: &Node, call: &C) -> Result<Request<Full<Bytes>>, Unanswered> {
        let url = format!("{}{PATH}{}", node.address.trim_end_matches('/'), C::NAME);
        let body = serde_json::to_vec(call).expect("calls are JSON");
        Request::post(url)
            .header(AUTHORIZATION, self.authorization.clone())
            .body(Full::new(Bytes::from(body)))
            .map_err(|_| Unanswered::NotReached)
    }

    async fn carry<A: serde::de::DeserializeOwned>(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<A, Unanswered> {
        let body = Limited::new(self.send(request).await?, MAX_ANSWER).collect();
        let body = body.await.map_err(|_| Unanswered::Unknown)?.to_bytes();
        serde_json::from_slice(&body).map_err(|_| Unanswered::Unknown)
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Incoming, Unanswered> {
        let response = self.http.request(request).await.map_err(|error| {
            if error.is_connect() {
                Unanswered::NotReached
            } else {
                Unanswered::Unknown
            }
        })?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::MISDIRECTED_REQUEST => return Err(Unanswered::Misdirected),
            // It stops, or another version knows no such call.
            _ => return Err(Unanswered::NotReached),
        }
        Ok(response.into_body())
    }
}
