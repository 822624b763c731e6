//! One connection after its handshake: stanzas in, stanzas out.

use std::io;

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_websockets::{Limits, Message, ServerBuilder, WebSocketStream};
use whatsapp_rust::wacore::framing::append_frame_header_into;
use whatsapp_rust::wacore::handshake::NoiseCipher;
use whatsapp_rust::wacore_binary::consts::WA_CONN_HEADER;
use whatsapp_rust::wacore_binary::util::unpack_bytes;
use whatsapp_rust::wacore_binary::{Node, OwnedNodeRef, marshal};
use whatsapp_rust::waproto::whatsapp::ClientPayload;

use super::frames::{Frames, MAX_FRAME};
use super::noise::{self, Answered, Established, ServerIdentity};

/// An authentication tag follows every encrypted frame.
const TAG: usize = 16;

/// Why a connection cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error("the connection broke")]
    Broken(#[source] io::Error),
    #[error("the peer does not speak WhatsApp's protocol")]
    Introduction,
    #[error("the peer's stanzas are written with dictionary {0}, and only {known} is known here", known = WA_CONN_HEADER[3])]
    Dictionary(u8),
    #[error("a frame of {0} bytes")]
    FrameTooLong(usize),
    #[error("a handshake message that makes no sense")]
    Handshake,
    #[error("the handshake failed: {0}")]
    Noise(String),
    #[error("a stanza that cannot be decoded")]
    Stanza,
    #[error("the peer hung up")]
    HungUp,
}

/// An encrypted connection to one client.
pub(crate) struct Channel<S> {
    stream: WebSocketStream<S>,
    frames: Frames,
    incoming: Counted,
    outgoing: Counted,
}

/// Who is at the other end, as it says.
pub(crate) struct Caller {
    pub(crate) noise_key: [u8; 32],
    pub(crate) payload: ClientPayload,
}

struct Counted {
    cipher: NoiseCipher,
    next: u32,
}

impl Counted {
    /// The counter for the next frame. A counter never repeats: that would break the cipher.
    fn tick(&mut self) -> Result<u32, WireError> {
        let counter = self.next;
        self.next = counter.checked_add(1).ok_or(WireError::Stanza)?;
        Ok(counter)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Channel<S> {
    /// Shakes hands over a stream whose WebSocket upgrade is done. The caller bounds the time.
    pub(crate) async fn accept(stream: S, server: &ServerIdentity) -> Result<(Self, Caller), WireError> {
        let limits = Limits::default().max_payload_len(Some(MAX_FRAME + 64 * 1024));
        let mut stream = ServerBuilder::new().limits(limits).serve(stream);
        let mut frames = Frames::default();
        let first = read_frame(&mut stream, &mut frames).await?;
        let established = match noise::answer(server, &first)? {
            Answered::Done { reply, established } => {
                write(&mut stream, framed(&reply)).await?;
                *established
            }
            Answered::Pending { reply, pending } => {
                write(&mut stream, framed(&reply)).await?;
                pending.finish(&read_frame(&mut stream, &mut frames).await?)?
            }
        };
        let Established {
            incoming,
            outgoing,
            client_key,
            payload,
        } = established;
        let channel = Self {
            stream,
            frames,
            incoming: Counted {
                cipher: incoming,
                next: 0,
            },
            outgoing: Counted {
                cipher: outgoing,
                next: 0,
            },
        };
        Ok((
            channel,
            Caller {
                noise_key: client_key,
                payload,
            },
        ))
    }

    /// The next stanza. Nothing is lost when this future is dropped and called for again.
    pub(crate) async fn read(&mut self) -> Result<OwnedNodeRef, WireError> {
        let mut frame = read_frame(&mut self.stream, &mut self.frames).await?;
        let counter = self.incoming.tick()?;
        let cipher = &self.incoming.cipher;
        cipher
            .decrypt_in_place_with_counter(counter, &mut frame)
            .map_err(|_| WireError::Stanza)?;
        let stanza = unpack_bytes(frame).map_err(|_| WireError::Stanza)?;
        OwnedNodeRef::new(stanza).map_err(|_| WireError::Stanza)
    }

    pub(crate) async fn write(&mut self, stanza: &Node) -> Result<(), WireError> {
        let plain = marshal(stanza).map_err(|_| WireError::Stanza)?;
        let counter = self.outgoing.tick()?;
        let sealed = self
            .outgoing
            .cipher
            .encrypt_with_counter(counter, &plain)
            .map_err(|_| WireError::Stanza)?;
        debug_assert_eq!(sealed.len(), plain.len() + TAG);
        write(&mut self.stream, framed(&sealed)).await
    }

    /// Reads until the peer hangs up, whatever it says.
    pub(crate) async fn drain(&mut self) {
        while let Some(Ok(message)) = self.stream.next().await {
            if message.is_close() {
                return;
            }
        }
    }

    /// Says goodbye as a WebSocket does. The peer may be gone already.
    pub(crate) async fn close(&mut self) {
        let _ = self.stream.close().await;
    }
}

async fn read_frame<S>(stream: &mut WebSocketStream<S>, frames: &mut Frames) -> Result<BytesMut, WireError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        if let Some(frame) = frames.next()? {
            return Ok(frame);
        }
        match stream.next().await {
            Some(Ok(message)) if message.is_binary() => frames.feed(message.as_payload()),
            Some(Ok(message)) if message.is_close() => return Err(WireError::HungUp),
            // Pings are answered by the stream itself; text has no meaning here.
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(broken(error)),
            None => return Err(WireError::HungUp),
        }
    }
}

async fn write<S>(stream: &mut WebSocketStream<S>, bytes: Bytes) -> Result<(), WireError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.send(Message::binary(bytes)).await.map_err(broken)
}

fn framed(payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    append_frame_header_into(payload.len(), None, &mut frame).expect("our frames are far below 16 MiB");
    frame.extend_from_slice(payload);
    frame.freeze()
}

fn broken(error: tokio_websockets::Error) -> WireError {
    match error {
        tokio_websockets::Error::Io(error) => WireError::Broken(error),
        other => WireError::Broken(io::Error::other(other)),
    }
}
