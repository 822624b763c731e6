//! The WebSocket under one session.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::whatsapp_rust::anyhow::{self, Context as _};
use ::whatsapp_rust::async_channel;
use ::whatsapp_rust::transport::{Transport, TransportEvent, TransportFactory, from_websocket};
use ::whatsapp_rust::wacore::net::WHATSAPP_WEB_ORIGIN;
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Uri, header};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_websockets::{ClientBuilder, Limits};

use super::device::Device;
use super::runtime::SessionRuntime;
use super::stream::SessionStream;
use crate::dial::{ByteStream, Dial};
use crate::proxy::{ProxyError, ProxyFault};
use crate::session::End;

/// The largest WebSocket message taken from the edge. A frame of the protocol has a length of three bytes.
const MAX_MESSAGE: usize = 1 << 24;

/// Opens the WebSocket of one session.
pub(super) struct EdgeTransport {
    pub(super) dial: Arc<dyn Dial>,
    pub(super) url: Uri,
    /// Bounds dialling and the upgrade together.
    pub(super) timeout: Duration,
    /// Cuts the connection at once, whoever waits for it.
    pub(super) cut: CancellationToken,
    pub(super) runtime: SessionRuntime,
    pub(super) device: Device,
    pub(super) before_frame: BeforeFrame,
    /// `dial` goes through a proxy.
    pub(super) proxied: bool,
    /// Why the last attempt failed; the client only logs it.
    pub(super) failure: Arc<Mutex<Option<ConnectFailure>>>,
}

/// Why a connection was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ConnectFailure {
    /// By the network or WhatsApp; the text is for the log.
    Lost(String),
    /// By the instance's proxy.
    Proxy {
        /// What went wrong with it.
        fault: ProxyFault,
        /// For the log.
        cause: String,
    },
}

impl ConnectFailure {
    /// The end of a session that was never connected.
    pub(super) fn into_end(self) -> End {
        match self {
            Self::Lost(cause) => End::Lost(cause),
            Self::Proxy { fault, cause } => End::ProxyFailed { fault, cause },
        }
    }
}

/// What happens before a frame goes out. The client waits for that, so it is where things can be put in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BeforeFrame {
    /// What changed in the device is saved, while it is not paired: so a phone never believes in a link whose
    /// keys a crash could lose.
    Save,
    /// The account's name is taken from the client once it has logged in more often than this. Between the
    /// login and its own `available` the client sends at least one frame: it asks to go active, and waits for
    /// the answer.
    HideName {
        /// How often the device had logged in when the session began.
        logins: i32,
    },
}

impl EdgeTransport {
    async fn open(&self) -> Result<Opened, ConnectFailure> {
        let until = Instant::now() + self.timeout;
        let stream = timeout_at(until, self.dial.dial()).await;
        let stream = stream.map_err(|_| self.dialled_too_long())?;
        let stream = stream.map_err(|error| self.not_dialled(error))?;
        match timeout_at(until, self.upgrade(stream)).await {
            Ok(Ok(opened)) => Ok(opened),
            Ok(Err(error)) => Err(ConnectFailure::Lost(format!("{error:#}"))),
            Err(_) => Err(ConnectFailure::Lost(self.no_answer())),
        }
    }

    fn dialled_too_long(&self) -> ConnectFailure {
        if self.proxied {
            return ConnectFailure::Proxy {
                fault: ProxyFault::Unreachable,
                cause: self.no_answer(),
            };
        }
        ConnectFailure::Lost(self.no_answer())
    }

    fn not_dialled(&self, error: io::Error) -> ConnectFailure {
        // Once the proxy has given a connection, TLS may fail: then whoever is at its other end is not WhatsApp.
        let fault = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<ProxyError>())
            .map_or(ProxyFault::Refused, |error| error.fault);
        let cause = format!("{:#}", anyhow::Error::new(error).context("dialling"));
        if self.proxied {
            ConnectFailure::Proxy { fault, cause }
        } else {
            ConnectFailure::Lost(cause)
        }
    }

    fn no_answer(&self) -> String {
        format!("no answer in {} s", self.timeout.as_secs_f32())
    }

    async fn upgrade(&self, stream: Box<dyn ByteStream>) -> anyhow::Result<Opened> {
        let closed = CancellationToken::new();
        let stream = SessionStream::new(stream, self.cut.clone(), closed.clone(), self.runtime.clone());
        let (socket, _) = ClientBuilder::from_uri(self.url.clone())
            .limits(Limits::default().max_payload_len(Some(MAX_MESSAGE)))
            .add_header(header::ORIGIN, HeaderValue::from_static(WHATSAPP_WEB_ORIGIN))?
            .connect_on(stream)
            .await
            .context("upgrading to a WebSocket")?;
        let (transport, events) = from_websocket(socket);
        let frames = Frames {
            transport,
            device: self.device.clone(),
            before: self.before_frame,
            closed,
        };
        Ok((Arc::new(frames), events))
    }
}

#[async_trait]
impl TransportFactory for EdgeTransport {
    async fn create_transport(
        &self,
    ) -> anyhow::Result<(Arc<dyn Transport>, async_channel::Receiver<TransportEvent>)> {
        self.open().await.map_err(|failure| {
            let error = anyhow::anyhow!("{failure:?}");
            *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
            error
        })
    }
}

type Opened = (Arc<dyn Transport>, async_channel::Receiver<TransportEvent>);

/// The frames of one WebSocket.
struct Frames {
    transport: Arc<dyn Transport>,
    device: Device,
    before: BeforeFrame,
    /// The stream under it has been closed, on both sides or for good.
    closed: CancellationToken,
}

#[async_trait]
impl Transport for Frames {
    async fn send(&self, data: Bytes) -> anyhow::Result<()> {
        match self.before {
            BeforeFrame::Save => {
                let saved = self.device.manager.flush().await;
                saved.context("saving the device before telling WhatsApp of it")?;
            }
            BeforeFrame::HideName { logins } => {
                if self.device.logins() != logins {
                    self.device.hide_name().await;
                }
            }
        }
        self.transport.send(data).await
    }

    async fn disconnect(&self) {
        self.transport.disconnect().await;
        self.closed.cancelled().await;
    }
}

#[cfg(test)]
mod tests {
    use ::whatsapp_rust::store::commands::DeviceCommand;
    use ::whatsapp_rust::wacore::store::device::DevicePropsOverride;
    use presence_core::InstanceId;
    use presence_store::MemoryKeyStore;

    use super::super::storage::Storage;
    use super::*;

    /// Remembers what was saved, and what the client could read, whenever something was sent.
    struct Peer {
        device: Device,
        seen: Mutex<Vec<(String, String)>>,
    }

    #[async_trait]
    impl Transport for Peer {
        async fn send(&self, _: Bytes) -> anyhow::Result<()> {
            let manager = &self.device.manager;
            let saved = manager.backend().load().await?.map(|device| device.push_name);
            let visible = manager.get_device_snapshot().push_name.clone();
            self.seen
                .lock()
                .unwrap()
                .push((saved.unwrap_or_default(), visible));
            Ok(())
        }

        async fn disconnect(&self) {}
    }

    async fn peer(before: BeforeFrame) -> (Device, Arc<Peer>, Frames) {
        let keys = Arc::<MemoryKeyStore>::default();
        let storage = Storage::new(keys, InstanceId::new(1).unwrap(), DevicePropsOverride::new());
        let device = Device::load(storage).await.unwrap();
        let peer = Arc::new(Peer {
            device: device.clone(),
            seen: Mutex::default(),
        });
        let frames = Frames {
            transport: Arc::clone(&peer) as _,
            device: device.clone(),
            before,
            closed: CancellationToken::new(),
        };
        (device, peer, frames)
    }

    async fn rename(device: &Device, name: &str) {
        let command = DeviceCommand::SetPushName(name.to_owned());
        device.manager.process_command(command).await;
    }

    #[tokio::test]
    async fn what_is_sent_before_the_pairing_is_saved_first() {
        let (device, peer, frames) = peer(BeforeFrame::Save).await;
        for name in ["Ana", "Bia"] {
            rename(&device, name).await;
            frames.send(Bytes::new()).await.unwrap();
        }
        let seen = ["Ana", "Bia"].map(|name| (name.to_owned(), name.to_owned()));
        assert_eq!(*peer.seen.lock().unwrap(), seen);
    }

    #[tokio::test]
    async fn the_name_is_hidden_from_the_login_on_and_saved_all_the_same() {
        let (device, peer, frames) = peer(BeforeFrame::HideName { logins: 0 }).await;
        rename(&device, "Ana").await;
        device.save().await.unwrap();
        frames.send(Bytes::new()).await.unwrap();
        device
            .manager
            .process_command(DeviceCommand::IncrementLoginCounter)
            .await;
        frames.send(Bytes::new()).await.unwrap();
        device.save().await.unwrap();
        rename(&device, "Bia").await;
        frames.send(Bytes::new()).await.unwrap();
        device.save().await.unwrap();
        frames.send(Bytes::new()).await.unwrap();
        let seen = [("Ana", "Ana"), ("Ana", ""), ("Ana", ""), ("Bia", "")]
            .map(|(saved, visible)| (saved.to_owned(), visible.to_owned()));
        assert_eq!(*peer.seen.lock().unwrap(), seen);
        assert_eq!(device.push_name().as_deref(), Some("Bia"));

        device.reveal_name().await;
        assert_eq!(device.manager.get_device_snapshot().push_name, "Bia");
    }
}
