//! Answers that go on: a line of JSON is news, an empty one says that the node is still there.

use std::io;
use std::marker::PhantomData;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt as _};
use http_body_util::BodyExt as _;
use hyper::Response;
use hyper::body::Incoming;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use tokio_util::codec::{FramedRead, LinesCodec, LinesCodecError};
use tokio_util::io::StreamReader;

use crate::connection::RequestGuard;
use crate::json::Body;

/// After how long without news a node says that it is there.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How long it may say nothing.
const SILENCE: Duration = Duration::from_secs(25);
/// The longest line: how all instances of a node are.
const LONGEST_LINE: usize = 32 << 20;

/// What one node tells another for as long as that listens.
pub(super) trait NodeFeed: Serialize + DeserializeOwned + Send + Sync {
    /// Its name in the address.
    const NAME: &'static str;
    /// What is told.
    type News: Serialize + DeserializeOwned + Send;
}

/// What another node tells.
pub(super) struct Feed<N> {
    lines: BoxStream<'static, Result<String, LinesCodecError>>,
    news: PhantomData<fn() -> N>,
}

/// What was heard of another node.
pub(super) enum Heard<N> {
    News(N),
    /// It is still there.
    Alive,
}

impl<N: DeserializeOwned> Feed<N> {
    pub(super) fn new(body: Incoming) -> Self {
        let bytes = StreamReader::new(body.into_data_stream().map(|data| data.map_err(io::Error::other)));
        let lines = FramedRead::new(bytes, LinesCodec::new_with_max_length(LONGEST_LINE));
        Self {
            lines: lines.boxed(),
            news: PhantomData,
        }
    }

    /// What is heard next; `None` when nothing was for too long, or nothing will be.
    pub(super) async fn next(&mut self) -> Option<Heard<N>> {
        let line = timeout(SILENCE, self.lines.next()).await.ok()??.ok()?;
        if line.is_empty() {
            return Some(Heard::Alive);
        }
        serde_json::from_str(&line).ok().map(Heard::News)
    }
}

/// Tells what comes. Its connection is in use for as long: it does not make room for a stranger's.
pub(super) fn tell<N: Serialize>(
    news: impl Stream<Item = N> + Send + 'static,
    guard: &RequestGuard,
) -> Response<Body> {
    let telling = (Box::pin(news), guard.begin_stream());
    Response::new(Body::stream(stream::unfold(
        telling,
        async |(mut news, guard)| {
            let line = match timeout(HEARTBEAT, news.next()).await {
                Ok(Some(news)) => {
                    let mut line = serde_json::to_vec(&news).expect("news are JSON");
                    line.push(b'\n');
                    line.into()
                }
                Ok(None) => return None,
                Err(_) => Bytes::from_static(b"\n"),
            };
            Some((line, (news, guard)))
        },
    )))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::connection::ConnectionState;

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_in_use_as_long_as_something_is_told_on_it() {
        let state = Arc::new(ConnectionState::new(&CancellationToken::new()));
        let guard = state.begin_request();
        let mut told = tell(stream::iter([1, 2]).chain(stream::pending()), &guard).into_body();
        drop(guard);
        for expected in ["1\n", "2\n", "\n", "\n"] {
            let frame = told.frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), expected);
            assert!(state.idle_since().is_none());
        }
        drop(told);
        assert!(state.idle_since().is_some());
    }
}
