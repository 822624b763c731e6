//! How calls travel: many on one connection, answered in any order.
//!
//! A frame is the length of what follows (u32, big endian), its kind (a byte), and but for signs of life the number of
//! the call that it is about (u64, big endian). A call goes on with the length of its name (a byte), its name and its
//! JSON; an answer with its JSON.

use std::io;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use futures_util::SinkExt as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_util::codec::{Decoder, Encoder, FramedRead, FramedWrite, LengthDelimitedCodec};

/// What is between two nodes on their connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// Has the other node carry something out.
    Call { id: u64, name: Bytes, body: Bytes },
    /// Nobody waits for the answer any more.
    GiveUp { id: u64 },
    /// What came of a call.
    Answer { id: u64, outcome: Outcome },
    /// Asks for a sign of life.
    Ping,
    /// A sign of life.
    Pong,
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Its answer, in JSON.
    Done(Bytes),
    /// The node does not have what was asked for: nothing was done.
    Misdirected,
    /// The node starts, or knows no such call, as of another version: nothing was done.
    Refused,
    /// A defect: it may have been done or not.
    Failed,
}

const CALL: u8 = 1;
const GIVE_UP: u8 = 2;
const PING: u8 = 3;
const PONG: u8 = 4;
const DONE: u8 = 5;
const MISDIRECTED: u8 = 6;
const REFUSED: u8 = 7;
const FAILED: u8 = 8;

const LENGTH: usize = size_of::<u32>();
/// How many bytes of frames that wait together are written at once.
const TOGETHER: usize = 64 * 1024;

/// Reads frames of at most so many bytes.
pub(super) fn read<R: AsyncRead>(stream: R, longest: usize) -> FramedRead<R, Frames> {
    let lengths = LengthDelimitedCodec::builder()
        .max_frame_length(longest)
        .new_codec();
    FramedRead::new(stream, Frames { lengths })
}

/// Writes what comes, and together what waits together, until nobody is left who could send something.
pub(super) async fn write<W: AsyncWrite + Unpin>(
    stream: W,
    mut frames: mpsc::Receiver<Frame>,
) -> io::Result<()> {
    let mut sink = FramedWrite::new(stream, Frames::default());
    sink.set_backpressure_boundary(TOGETHER);
    while let Some(frame) = frames.recv().await {
        sink.feed(frame).await?;
        while let Ok(frame) = frames.try_recv() {
            sink.feed(frame).await?;
        }
        sink.flush().await?;
    }
    Ok(())
}

/// Tells frames from bytes.
#[derive(Default)]
pub(super) struct Frames {
    lengths: LengthDelimitedCodec,
}

impl Decoder for Frames {
    type Item = Frame;
    type Error = io::Error;

    fn decode(&mut self, bytes: &mut BytesMut) -> io::Result<Option<Frame>> {
        let Some(frame) = self.lengths.decode(bytes)? else {
            return Ok(None);
        };
        match parse(frame.freeze()) {
            Some(frame) => Ok(Some(frame)),
            None => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "that is no frame of a node",
            )),
        }
    }
}

impl Encoder<Frame> for Frames {
    type Error = io::Error;

    fn encode(&mut self, frame: Frame, bytes: &mut BytesMut) -> io::Result<()> {
        let start = bytes.len();
        bytes.put_u32(0);
        match frame {
            Frame::Call { id, name, body } => {
                let length = u8::try_from(name.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
                put(bytes, CALL, id);
                bytes.put_u8(length);
                bytes.put(name);
                bytes.put(body);
            }
            Frame::GiveUp { id } => put(bytes, GIVE_UP, id),
            Frame::Ping => bytes.put_u8(PING),
            Frame::Pong => bytes.put_u8(PONG),
            Frame::Answer { id, outcome } => match outcome {
                Outcome::Done(body) => {
                    put(bytes, DONE, id);
                    bytes.put(body);
                }
                Outcome::Misdirected => put(bytes, MISDIRECTED, id),
                Outcome::Refused => put(bytes, REFUSED, id),
                Outcome::Failed => put(bytes, FAILED, id),
            },
        }
        let length = bytes.len() - start - LENGTH;
        let length = u32::try_from(length).map_err(|_| io::ErrorKind::InvalidInput)?;
        bytes[start..start + LENGTH].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }
}

fn put(bytes: &mut BytesMut, kind: u8, id: u64) {
    bytes.put_u8(kind);
    bytes.put_u64(id);
}

fn parse(mut frame: Bytes) -> Option<Frame> {
    let kind = frame.try_get_u8().ok()?;
    match kind {
        PING => return Some(Frame::Ping),
        PONG => return Some(Frame::Pong),
        _ => {}
    }
    let id = frame.try_get_u64().ok()?;
    let outcome = match kind {
        CALL => {
            let length = frame.try_get_u8().ok()?.into();
            if frame.len() < length {
                return None;
            }
            let name = frame.split_to(length);
            return Some(Frame::Call {
                id,
                name,
                body: frame,
            });
        }
        GIVE_UP => return Some(Frame::GiveUp { id }),
        DONE => Outcome::Done(frame),
        MISDIRECTED => Outcome::Misdirected,
        REFUSED => Outcome::Refused,
        FAILED => Outcome::Failed,
        _ => return None,
    };
    Some(Frame::Answer { id, outcome })
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt as _;

    use super::*;

    fn frames() -> Vec<Frame> {
        let answer = |outcome| Frame::Answer { id: 7, outcome };
        vec![
            Frame::Call {
                id: u64::MAX,
                name: "show".into(),
                body: "{}".into(),
            },
            Frame::GiveUp { id: 1 },
            Frame::Ping,
            Frame::Pong,
            answer(Outcome::Done("null".into())),
            answer(Outcome::Misdirected),
            answer(Outcome::Refused),
            answer(Outcome::Failed),
        ]
    }

    fn bytes(frames: Vec<Frame>) -> BytesMut {
        let mut bytes = BytesMut::new();
        for frame in frames {
            Frames::default().encode(frame, &mut bytes).unwrap();
        }
        bytes
    }

    #[tokio::test]
    async fn what_is_written_is_read_however_it_is_cut() {
        let (near, far) = tokio::io::duplex(3);
        let (send, receive) = mpsc::channel(16);
        for frame in frames() {
            send.try_send(frame).unwrap();
        }
        drop(send);
        let (written, read) = tokio::join!(write(near, receive), read(far, 64).try_collect::<Vec<_>>());
        written.unwrap();
        assert_eq!(read.unwrap(), frames());
    }

    #[test]
    fn the_bytes_are_those_that_are_documented() {
        let call = frames().swap_remove(0);
        let expected = b"\0\0\0\x10\x01\xff\xff\xff\xff\xff\xff\xff\xff\x04show{}";
        assert_eq!(bytes(vec![call])[..], expected[..]);
        assert_eq!(bytes(vec![Frame::Ping])[..], b"\0\0\0\x01\x03"[..]);
    }

    #[tokio::test]
    async fn what_is_no_frame_is_refused_and_read_no_further() {
        for wrong in [
            &b"\0\0\0\0"[..],
            b"\0\0\0\x01\x63",
            b"\0\0\0\x03\x02\0\0",
            b"\0\0\0\x0a\x01\0\0\0\0\0\0\0\0\x05",
            b"\0\0\0\x09\x63\0\0\0\0\0\0\0\0",
            b"\0\0\0\x41",
            b"GET / HTTP/1.1\r\n\r\n",
        ] {
            let read = read(wrong, 64).try_collect::<Vec<_>>().await;
            assert!(read.is_err(), "{wrong:?}: {read:?}");
        }
    }
}
