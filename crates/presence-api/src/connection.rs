//! What hyper leaves to its users: answers in the contract's words to requests that are no HTTP, have too large
//! a head, or stop in the middle of it; an end to connections whose client reads nothing; and word of clients
//! that hang up.

mod state;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Sleep, sleep, timeout};

use self::state::EndOfStream;
pub(crate) use self::state::{ConnectionState, RequestGuard, StreamGuard};
use crate::request_id;

/// How long, and how much, is read after the last answer on a connection. Closing it over unread bytes would
/// reset it, and with it the answer that the client has not read yet.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1024 * 1024;

/// The longest a client may take nothing of what is written to it. hyper would wait for ever, and such clients
/// would in the end hold every connection there is.
const UNREAD: Duration = Duration::from_secs(30);

/// A connection on which hyper's own answers to what it cannot parse, which have no body, are replaced by the
/// contract's. Every answer of ours has a body, so theirs cannot be mistaken. A write fails once the client has
/// taken nothing for [`UNREAD`]. The end of what the client sends is told to the [`ConnectionState`], and hidden
/// from hyper while a request is being answered.
pub(crate) struct HttpConnection<S> {
    stream: S,
    state: Arc<ConnectionState>,
    /// Runs while a write waits for the client.
    unread: Option<Pin<Box<Sleep>>>,
    /// What is written instead, and how many of hyper's bytes it stands for.
    instead: Option<(Bytes, usize)>,
}

impl<S> HttpConnection<S> {
    pub(crate) fn new(stream: S, state: Arc<ConnectionState>) -> Self {
        Self {
            stream,
            state,
            unread: None,
            instead: None,
        }
    }

    pub(crate) fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HttpConnection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let ended =
            matches!(read, Poll::Ready(Ok(()))) && buf.filled().len() == before && buf.remaining() > 0;
        // hyper asks again when it has answered: the same task wakes it.
        if ended && (self.unread.is_some() || matches!(self.state.end_of_stream(), EndOfStream::Hold)) {
            return Poll::Pending;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> HttpConnection<S> {
    fn poll_write_in_time(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        if written.is_ready() {
            self.unread = None;
            return written;
        }
        let unread = self.unread.get_or_insert_with(|| Box::pin(sleep(UNREAD)));
        unread
            .as_mut()
            .poll(cx)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// Not vectored, so that a head always comes whole and in one buffer.
impl<S: AsyncWrite + Unpin> AsyncWrite for HttpConnection<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let (mut answer, stands_for) = match this.instead.take() {
            Some(instead) => instead,
            None => match answer_instead(buf) {
                Some(answer) => (answer, buf.len()),
                None => return this.poll_write_in_time(cx, buf),
            },
        };
        while answer.has_remaining() {
            match this.poll_write_in_time(cx, &answer) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => answer.advance(written),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    this.instead = Some((answer, stands_for));
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(stands_for))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// What to write instead of `head`, if that is hyper's answer to something it could not parse.
fn answer_instead(head: &[u8]) -> Option<Bytes> {
    const EMPTY: &[u8] = b"\r\ncontent-length: 0\r\n";
    let status = head.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    let answer = match status {
        b"400" => close_with(
            "400 Bad Request",
            "x-error-detail: request: it is no HTTP/1.1\r\n",
            "Malformed HTTP request",
        ),
        b"431" => close_with(
            "431 Request Header Fields Too Large",
            "",
            "Request header too large",
        ),
        _ => return None,
    };
    (head.ends_with(b"\r\n\r\n") && head.windows(EMPTY.len()).any(|part| part == EMPTY)).then_some(answer)
}

/// The last answer on a connection. `fields` are header lines, each with its end.
fn close_with(status: &str, fields: &str, message: &str) -> Bytes {
    let id = request_id::new();
    let body = format!("{{\"success\":false,\"error\":{{\"message\":\"{message}\"}}}}\n");
    let length = body.len();
    Bytes::from(format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nx-request-id: {id}\r\n{fields}connection: close\r\n\r\n{body}"
    ))
}

/// Says 408 to a client whose request's head did not arrive in time. `received` is what did; where that is
/// nothing, the connection was merely idle, and there is nothing to say.
pub(crate) async fn answer_slow_head<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, received: &[u8]) {
    if received.is_empty() {
        return;
    }
    let answer = close_with("408 Request Timeout", "", "Request timeout");
    if let Ok(Ok(())) = timeout(LINGER, stream.write_all(&answer)).await {
        close(stream).await;
    }
}

/// Closes a connection such that the client gets to read the last answer.
pub(crate) async fn close<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    let read_away = async {
        stream.shutdown().await?;
        let mut rest = stream.take(LINGER_BYTES as u64);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    };
    // A client that does not end it either is cut off.
    let _ = timeout(LINGER, read_away).await;
}

#[cfg(test)]
mod tests {
    //! Which of hyper's answers are replaced. What clients read is tested over connections.

    use tokio_util::sync::CancellationToken;

    use super::*;

    #[test]
    fn only_an_empty_answer_to_a_broken_request_is_replaced() {
        let empty = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\ndate: x\r\n\r\n";
        let answer = answer_instead(empty).unwrap();
        assert!(
            answer.ends_with(b"{\"success\":false,\"error\":{\"message\":\"Malformed HTTP request\"}}\n")
        );
        for ours in [
            &b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{\"a\":400}"[..],
            b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            b"",
        ] {
            assert!(answer_instead(ours).is_none());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_nothing_is_given_up_and_a_slow_one_is_not() {
        let (ours, mut theirs) = tokio::io::duplex(7);
        let mut connection =
            HttpConnection::new(ours, Arc::new(ConnectionState::new(&CancellationToken::new())));
        let slow_reader = async {
            for _ in 0..4 {
                sleep(UNREAD - Duration::from_secs(1)).await;
                theirs.read_exact(&mut [0; 7]).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(connection.write_all(&[b'x'; 35]), slow_reader);
        written.unwrap();

        let stuck = timeout(2 * UNREAD, connection.write_all(b"x")).await;
        assert_eq!(stuck.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn the_answer_is_written_whole_through_a_narrow_stream() {
        let (ours, mut theirs) = tokio::io::duplex(7);
        let head = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n\r\n";
        let writing = async {
            let mut connection =
                HttpConnection::new(ours, Arc::new(ConnectionState::new(&CancellationToken::new())));
            connection.write_all(head).await.unwrap();
        };
        let mut text = String::new();
        let (_, read) = tokio::join!(writing, theirs.read_to_string(&mut text));
        read.unwrap();
        assert!(text.ends_with("Request header too large\"}}\n"), "{text}");
    }
}
