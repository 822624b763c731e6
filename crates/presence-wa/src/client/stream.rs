//! The byte stream under one session's WebSocket: cut at once where nothing good can come of it, and closed with
//! care otherwise.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::runtime::SessionRuntime;
use crate::dial::ByteStream;

/// How long the peer may take to close its side.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);

/// A stream that fails as soon as it is cut. A peer that reads nothing can hold a write for ever, and the
/// client's own way of closing waits behind that write.
pub(super) struct SessionStream {
    /// There until this is dropped.
    stream: Option<Box<dyn ByteStream>>,
    cut: CancellationToken,
    // Reading and writing are polled by different tasks, and a future wakes only the last one.
    cut_read: Pin<Box<WaitForCancellationFutureOwned>>,
    cut_write: Pin<Box<WaitForCancellationFutureOwned>>,
    closed: CancellationToken,
    runtime: SessionRuntime,
    // The client reads in a task that is not ours to count.
    _running: TaskTrackerToken,
}

impl SessionStream {
    /// Whoever cancels `cut` cuts it; `closed` is cancelled when nothing of it is left.
    pub(super) fn new(
        stream: Box<dyn ByteStream>,
        cut: CancellationToken,
        closed: CancellationToken,
        runtime: SessionRuntime,
    ) -> Self {
        Self {
            stream: Some(stream),
            cut_read: Box::pin(cut.clone().cancelled_owned()),
            cut_write: Box::pin(cut.clone().cancelled_owned()),
            cut,
            closed,
            _running: runtime.token(),
            runtime,
        }
    }

    fn stream(&mut self) -> Pin<&mut (dyn ByteStream + 'static)> {
        Pin::new(
            self.stream
                .as_mut()
                .expect("it is there until it is dropped")
                .as_mut(),
        )
    }
}

/// The client lets go of the stream as soon as its last frame is written. If something unread lay in the socket's
/// buffer then, the system would reset the connection, and what is still under way to the peer, a `paused` for
/// instance, would be lost with it. So the end is written, and what the peer sends is read until it closes too.
impl Drop for SessionStream {
    fn drop(&mut self) {
        let closed = self.closed.clone().drop_guard();
        let Some(mut stream) = self.stream.take() else {
            return;
        };
        if self.cut.is_cancelled() || Handle::try_current().is_err() {
            return;
        }
        let cut = self.cut.clone();
        self.runtime.start(async move {
            let _closed = closed;
            let linger = async {
                stream.shutdown().await?;
                tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
            };
            // However it ends, nothing is left to do.
            let _ = cut.run_until_cancelled(timeout(LINGER_TIMEOUT, linger)).await;
        });
    }
}

fn check(cut: &mut Pin<Box<WaitForCancellationFutureOwned>>, cx: &mut Context<'_>) -> io::Result<()> {
    match cut.as_mut().poll(cx) {
        Poll::Ready(()) => Err(io::Error::new(
            io::ErrorKind::ConnectionAborted,
            "the session ended",
        )),
        Poll::Pending => Ok(()),
    }
}

impl AsyncRead for SessionStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        check(&mut self.cut_read, cx)?;
        self.stream().poll_read(cx, buf)
    }
}

impl AsyncWrite for SessionStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        check(&mut self.cut_write, cx)?;
        self.stream().poll_write(cx, buf)
    }

    // A WebSocket's frame is in two pieces, which would otherwise be two system calls, and two records of TLS.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        check(&mut self.cut_write, cx)?;
        self.stream().poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream
            .as_ref()
            .is_some_and(|stream| stream.is_write_vectored())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        check(&mut self.cut_write, cx)?;
        self.stream().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        check(&mut self.cut_write, cx)?;
        self.stream().poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::Instant;

    use super::*;

    struct Opened {
        stream: SessionStream,
        cut: CancellationToken,
        closed: CancellationToken,
        runtime: SessionRuntime,
    }

    fn open(stream: impl ByteStream) -> Opened {
        let (cut, closed) = (CancellationToken::new(), CancellationToken::new());
        let runtime = SessionRuntime::default();
        Opened {
            stream: SessionStream::new(Box::new(stream), cut.clone(), closed.clone(), runtime.clone()),
            cut,
            closed,
            runtime,
        }
    }

    #[tokio::test]
    async fn a_cut_frees_a_reader_and_a_writer_that_wait_for_the_peer() {
        let (near, _far) = tokio::io::duplex(16);
        let Opened {
            stream, cut, closed, ..
        } = open(near);
        let (mut reader, mut writer) = tokio::io::split(stream);
        let reading = tokio::spawn(async move { reader.read_u8().await.unwrap_err().kind() });
        let writing = tokio::spawn(async move { writer.write_all(&[0; 64]).await.unwrap_err().kind() });
        tokio::task::yield_now().await;
        cut.cancel();
        let aborted = io::ErrorKind::ConnectionAborted;
        assert_eq!(
            (reading.await.unwrap(), writing.await.unwrap()),
            (aborted, aborted)
        );
        assert!(closed.is_cancelled());
    }

    #[tokio::test]
    async fn the_pieces_of_a_frame_are_written_at_once_unless_it_is_cut() {
        let (near, mut far) = tokio::io::duplex(16);
        let Opened { mut stream, cut, .. } = open(near);
        assert!(stream.is_write_vectored());
        let pieces = [IoSlice::new(b"a"), IoSlice::new(b"frame")];
        assert_eq!(stream.write_vectored(&pieces).await.unwrap(), 6);
        let mut read = [0; 6];
        far.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"aframe");
        cut.cancel();
        let error = stream.write_vectored(&pieces).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    }

    #[tokio::test]
    async fn the_peer_reads_all_of_it_though_nobody_reads_what_the_peer_sent() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        far.write_all(b"an answer").await.unwrap();
        near.readable().await.unwrap();

        let Opened {
            mut stream, closed, ..
        } = open(near);
        stream.write_all(b"paused").await.unwrap();
        drop(stream);
        let mut read = Vec::new();
        far.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"paused");
        assert!(!closed.is_cancelled());
        drop(far);
        closed.cancelled().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_close_is_waited_for_a_second_at_most() {
        let (near, _far) = tokio::io::duplex(16);
        let Opened {
            stream,
            closed,
            runtime,
            ..
        } = open(near);
        let start = Instant::now();
        drop(stream);
        closed.cancelled().await;
        assert_eq!(start.elapsed(), LINGER_TIMEOUT);
        runtime.end().await;
    }
}
