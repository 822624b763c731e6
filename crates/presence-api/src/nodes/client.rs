//! Connections to other nodes: one to each that calls go over, and one for each answer that goes on.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONNECTION, HOST, HeaderName, HeaderValue, UPGRADE};
use hyper::{Method, Request, Response, StatusCode, Uri, upgrade};
use hyper_util::rt::TokioIo;
use presence_store::{Node, NodeId};
use tokio::time::{Instant, timeout};

use super::calls::NodeCall;
use super::channel::Channel;
use super::dial::DialNode;
use super::feed::{Feed, NodeFeed};
use super::reach::Unreached;
use super::secret::ClusterSecret;

/// Below a node's address: where answers that go on are had, by name.
pub(super) const FEEDS: &str = "/internal/v1/";
/// Where a connection becomes one for calls.
pub(super) const CALLS: &str = "/internal/v1/calls";
/// What it becomes: frames.
pub(super) const PROTOCOL: HeaderValue = HeaderValue::from_static("presence-calls");
/// Which node is meant, so that another one which answers at its address refuses. Nodes of the version before do not
/// send it, and take no notice of it.
pub(super) const MEANT: HeaderName = HeaderName::from_static("presence-node");
/// How long a node may take to begin an answer, or to take calls. It is near.
const BEGINS_WITHIN: Duration = Duration::from_secs(2);

/// Calls other nodes.
pub(super) struct Client {
    dial: Arc<dyn DialNode>,
    authorization: HeaderValue,
    links: RwLock<HashMap<NodeId, Arc<Link>>>,
}

/// The way to a node.
#[derive(Default)]
struct Link {
    channel: RwLock<Option<Channel>>,
    /// When the last attempt to open one failed, and why. Locked while one is made.
    failed: tokio::sync::Mutex<Option<(Instant, Unreached)>>,
}

/// Why a call has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// It does not have what was asked for: nothing was done.
    Misdirected,
    /// Nobody is there: nothing was done.
    NotReached,
    /// It starts, or knows no such call, as of another version: nothing was done.
    Refused,
    /// It may have been done or not.
    Unknown,
}

impl Client {
    pub(super) fn new(secret: &ClusterSecret, dial: Arc<dyn DialNode>) -> Self {
        let mut authorization = HeaderValue::try_from(format!("Bearer {}", secret.expose()))
            .expect("a cluster's secret is header text");
        authorization.set_sensitive(true);
        Self {
            dial,
            authorization,
            links: RwLock::default(),
        }
    }

    /// Has `node` carry out `call`.
    pub(super) async fn ask<C: NodeCall>(&self, node: &Node, call: &C) -> Result<C::Answer, Unanswered> {
        let body = serde_json::to_vec(call).expect("calls are JSON");
        let asking = async {
            let channel = self.channel(node).await;
            let channel = channel.map_err(|_| Unanswered::NotReached)?;
            channel.ask(C::NAME, body.into()).await
        };
        let answer = timeout(C::PATIENCE, asking).await;
        let answer = answer.unwrap_or(Err(Unanswered::Unknown))?;
        serde_json::from_slice(&answer).map_err(|_| Unanswered::Unknown)
    }

    /// Has `node` tell what `feed` is about, as long as somebody reads it.
    pub(super) async fn follow<F: NodeFeed>(
        &self,
        node: &Node,
        feed: &F,
    ) -> Result<Feed<F::News>, Unreached> {
        let body = serde_json::to_vec(feed).expect("feeds are JSON");
        let request = Request::post(format!("{FEEDS}{}", F::NAME)).body(Full::from(body));
        let opening = self.request(node, request.expect("names of feeds fit into a path"));
        let response = timeout(BEGINS_WITHIN, opening).await.map_err(io::Error::from)??;
        match response.status() {
            StatusCode::OK => Ok(Feed::new(response.into_body())),
            status => Err(status.into()),
        }
    }

    /// Forgets all nodes but these.
    pub(super) fn retain(&self, nodes: &[Arc<Node>]) {
        let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
        links.retain(|id, _| nodes.iter().any(|node| node.id == *id));
    }

    /// The connection for calls of `node`. While it is being opened, all who want it wait for that.
    pub(super) async fn channel(&self, node: &Node) -> Result<Channel, Unreached> {
        let link = self.link(node.id);
        if let Some(channel) = link.open_channel() {
            return Ok(channel);
        }
        let wanted = Instant::now();
        let mut failed = link.failed.lock().await;
        if let Some(channel) = link.open_channel() {
            return Ok(channel);
        }
        // Who waited meanwhile is not kept waiting by an attempt of its own.
        if let Some((at, why)) = &*failed
            && *at > wanted
        {
            return Err(why.clone());
        }
        let opened = timeout(BEGINS_WITHIN, self.open(node)).await;
        match opened.unwrap_or_else(|late| Err(io::Error::from(late).into())) {
            Ok(channel) => {
                *link.channel.write().unwrap_or_else(PoisonError::into_inner) = Some(channel.clone());
                Ok(channel)
            }
            Err(why) => {
                tracing::debug!(node = %node.id, %why, "another node is not reached");
                *failed = Some((Instant::now(), why.clone()));
                Err(why)
            }
        }
    }

    fn link(&self, node: NodeId) -> Arc<Link> {
        let links = self.links.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = links.get(&node) {
            return Arc::clone(link);
        }
        drop(links);
        let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(links.entry(node).or_default())
    }

    async fn open(&self, node: &Node) -> Result<Channel, Unreached> {
        let request = Request::builder()
            .method(Method::GET)
            .uri(CALLS)
            .header(CONNECTION, UPGRADE)
            .header(UPGRADE, PROTOCOL)
            .body(Full::default())
            .expect("it is a request");
        let response = self.request(node, request).await?;
        match response.status() {
            StatusCode::SWITCHING_PROTOCOLS => {
                let stream = upgrade::on(response).await.map_err(io::Error::other)?;
                Ok(Channel::over(TokioIo::new(stream)))
            }
            status => Err(status.into()),
        }
    }

    /// Asks `node` on a connection of its own, which lives as long as the answer.
    async fn request(
        &self,
        node: &Node,
        mut request: Request<Full<Bytes>>,
    ) -> io::Result<Response<Incoming>> {
        let address: Uri = node.address.parse().map_err(io::Error::other)?;
        let host = address.authority().map_or("", |authority| authority.as_str());
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::try_from(host).map_err(io::Error::other)?);
        headers.insert(AUTHORIZATION, self.authorization.clone());
        headers.insert(MEANT, meant(node.id));
        let stream = self.dial.dial(&address).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        tokio::spawn(connection.with_upgrades());
        sender.send_request(request).await.map_err(io::Error::other)
    }
}

impl Link {
    fn open_channel(&self) -> Option<Channel> {
        let channel = self.channel.read().unwrap_or_else(PoisonError::into_inner);
        channel.as_ref().filter(|channel| !channel.is_closed()).cloned()
    }
}

/// What [`MEANT`] says when it is this node.
pub(super) fn meant(node: NodeId) -> HeaderValue {
    HeaderValue::try_from(node.to_string()).expect("a node's id is header text")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use futures_util::future::join_all;
    use presence_core::InstanceId;
    use presence_wa::ByteStream;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::sleep;

    use super::*;
    use crate::nodes::calls::RevokeLink;

    /// A node that is reached after a second, or not.
    struct Far {
        dialled: Arc<AtomicUsize>,
        takes_calls: bool,
    }

    #[async_trait]
    impl DialNode for Far {
        async fn dial(&self, _: &Uri) -> io::Result<Box<dyn ByteStream>> {
            self.dialled.fetch_add(1, Ordering::Relaxed);
            sleep(Duration::from_secs(1)).await;
            if !self.takes_calls {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let (near, mut far) = tokio::io::duplex(1024);
            tokio::spawn(async move {
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    head.push(far.read_u8().await.unwrap().into());
                }
                assert!(head.contains("authorization: Bearer ssss"), "{head}");
                let meant = "presence-node: 07070707-0707-0707-0707-070707070707";
                assert!(head.contains(meant), "{head}");
                let taken =
                    b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: presence-calls\r\n\r\n";
                far.write_all(taken).await.unwrap();
                // It takes calls, and is gone before it answers one.
                sleep(Duration::from_secs(1)).await;
            });
            Ok(Box::new(near))
        }
    }

    /// Asks a node ten times at once, and once more: how that ended, and how many connections it took.
    async fn ask(takes_calls: bool) -> (Vec<Unanswered>, usize) {
        let dialled = Arc::new(AtomicUsize::new(0));
        let far = Far {
            dialled: Arc::clone(&dialled),
            takes_calls,
        };
        let client = Client::new(&ClusterSecret::new(&"s".repeat(32)).unwrap(), Arc::new(far));
        let node = Node {
            id: NodeId::from_bytes([7; 16]),
            address: "http://far:7070".to_owned(),
        };
        let call = RevokeLink {
            instance: InstanceId::new(1).unwrap(),
        };
        let mut ended = join_all((0..10).map(|_| client.ask(&node, &call))).await;
        ended.push(client.ask(&node, &call).await);
        let ended = ended.into_iter().map(Result::unwrap_err).collect();
        (ended, dialled.load(Ordering::Relaxed))
    }

    #[tokio::test(start_paused = true)]
    async fn all_who_call_a_node_share_a_connection_and_open_the_next_when_it_ends() {
        assert_eq!(ask(true).await, (vec![Unanswered::Unknown; 11], 2));
    }

    #[tokio::test(start_paused = true)]
    async fn all_who_wait_for_a_node_that_is_not_reached_learn_it_together() {
        assert_eq!(ask(false).await, (vec![Unanswered::NotReached; 11], 2));
    }
}
