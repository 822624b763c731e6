//! The WebSocket under one session.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use ::whatsapp_rust::anyhow::{self, Context as _};
use ::whatsapp_rust::async_channel;
use ::whatsapp_rust::store::persistence_manager::PersistenceManager;
use ::whatsapp_rust::transport::{Transport, TransportEvent, TransportFactory, from_websocket};
use ::whatsapp_rust::wacore::net::WHATSAPP_WEB_ORIGIN;
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Uri, header};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::task_tracker::TaskTrackerToken;
use tokio_websockets::{ClientBuilder, Limits};

use super::runtime::SessionRuntime;
use crate::dial::{ByteStream, Dial};

/// The largest WebSocket message taken from the edge. A frame of the protocol has a length of three bytes.
const MAX_MESSAGE: usize = 1 << 24;

/// Opens the WebSocket of one session.
pub(super) struct Wire {
    pub(super) dial: Arc<dyn Dial>,
    pub(super) url: Uri,
    /// Bounds dialling and the upgrade together.
    pub(super) timeout: Duration,
    /// Cuts the connection at once, whoever waits for it.
    pub(super) cut: CancellationToken,
    pub(super) runtime: SessionRuntime,
    /// Set while the device is unpaired: what it tells the edge is on disk before it is told.
    pub(super) write_ahead: Option<Arc<PersistenceManager>>,
    /// Why the last attempt failed; the client only logs it.
    pub(super) failure: Arc<Mutex<Option<String>>>,
}

impl Wire {
    async fn open(&self) -> anyhow::Result<(Arc<dyn Transport>, async_channel::Receiver<TransportEvent>)> {
        let stream = Severable {
            stream: self.dial.dial().await.context("dialling")?,
            cut_read: Box::pin(self.cut.clone().cancelled_owned()),
            cut_write: Box::pin(self.cut.clone().cancelled_owned()),
            _running: self.runtime.token(),
        };
        let (socket, _) = ClientBuilder::from_uri(self.url.clone())
            .limits(Limits::default().max_payload_len(Some(MAX_MESSAGE)))
            .add_header(header::ORIGIN, HeaderValue::from_static(WHATSAPP_WEB_ORIGIN))?
            .connect_on(stream)
            .await
            .context("upgrading to a WebSocket")?;
        let (transport, events) = from_websocket(socket);
        Ok(match &self.write_ahead {
            Some(device) => (
                Arc::new(WriteAhead {
                    transport,
                    device: Arc::clone(device),
                }),
                events,
            ),
            None => (transport, events),
        })
    }
}

#[async_trait]
impl TransportFactory for Wire {
    async fn create_transport(
        &self,
    ) -> anyhow::Result<(Arc<dyn Transport>, async_channel::Receiver<TransportEvent>)> {
        let opened = tokio::time::timeout(self.timeout, self.open())
            .await
            .unwrap_or_else(|_| Err(anyhow::anyhow!("no answer in {} s", self.timeout.as_secs_f32())));
        if let Err(error) = &opened {
            *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(format!("{error:#}"));
        }
        opened
    }
}

/// Saves what changed in the device before each frame. So a phone never believes in a link whose keys a
/// crash could lose.
struct WriteAhead {
    transport: Arc<dyn Transport>,
    device: Arc<PersistenceManager>,
}

#[async_trait]
impl Transport for WriteAhead {
    async fn send(&self, data: Bytes) -> anyhow::Result<()> {
        self.device
            .flush()
            .await
            .context("saving the device before telling WhatsApp of it")?;
        self.transport.send(data).await
    }

    async fn disconnect(&self) {
        self.transport.disconnect().await;
    }
}

/// A stream that fails as soon as it is cut. A peer that reads nothing can hold a write for ever, and the
/// client's own way of closing waits behind that write.
struct Severable {
    stream: Box<dyn ByteStream>,
    // Reading and writing are polled by different tasks, and a future wakes only the last one.
    cut_read: Pin<Box<WaitForCancellationFutureOwned>>,
    cut_write: Pin<Box<WaitForCancellationFutureOwned>>,
    // The client reads in a task that is not ours to count.
    _running: TaskTrackerToken,
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

impl AsyncRead for Severable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        check(&mut self.cut_read, cx)?;
        pin!(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Severable {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        check(&mut self.cut_write, cx)?;
        pin!(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        check(&mut self.cut_write, cx)?;
        pin!(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        check(&mut self.cut_write, cx)?;
        pin!(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use ::whatsapp_rust::store::Backend;
    use ::whatsapp_rust::wacore::store::InMemoryBackend;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Remembers what was saved whenever something was sent.
    struct Peer {
        backend: Arc<dyn Backend>,
        saved: Mutex<Vec<Option<String>>>,
    }

    #[async_trait]
    impl Transport for Peer {
        async fn send(&self, _: Bytes) -> anyhow::Result<()> {
            let saved = self.backend.load().await?.map(|device| device.push_name);
            self.saved.lock().unwrap().push(saved);
            Ok(())
        }

        async fn disconnect(&self) {}
    }

    #[tokio::test]
    async fn what_is_sent_before_the_pairing_is_saved_first() {
        let backend: Arc<dyn Backend> = Arc::new(InMemoryBackend::new());
        let device = Arc::new(PersistenceManager::new(Arc::clone(&backend)).await.unwrap());
        let peer = Arc::new(Peer {
            backend,
            saved: Mutex::default(),
        });
        let wire = WriteAhead {
            transport: Arc::clone(&peer) as _,
            device: Arc::clone(&device),
        };

        for name in ["Ana", "Bia"] {
            device
                .modify_device(|device| device.push_name = name.to_owned())
                .await;
            wire.send(Bytes::new()).await.unwrap();
        }
        assert_eq!(
            *peer.saved.lock().unwrap(),
            [Some("Ana".to_owned()), Some("Bia".to_owned())]
        );
    }

    #[tokio::test]
    async fn a_cut_frees_a_reader_and_a_writer_that_wait_for_the_peer() {
        let (near, _far) = tokio::io::duplex(16);
        let cut = CancellationToken::new();
        let stream = Severable {
            stream: Box::new(near),
            cut_read: Box::pin(cut.clone().cancelled_owned()),
            cut_write: Box::pin(cut.clone().cancelled_owned()),
            _running: SessionRuntime::default().token(),
        };
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
    }
}
