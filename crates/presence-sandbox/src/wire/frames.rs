//! Splits the bytes of a connection into frames: a three-byte length, then the frame.
//!
//! The first bytes of a connection are an introduction, which has no length: `WA`, a protocol version and
//! a dictionary version, and before them, on a reconnect, possibly the routing hint of an earlier connection.

use bytes::{Buf, BytesMut};
use whatsapp_rust::wacore_binary::consts::WA_CONN_HEADER;

use super::WireError;

/// The largest frame taken. The largest honest one uploads 812 pre-keys, about 40 KiB.
pub(crate) const MAX_FRAME: usize = 1 << 20;

/// The longest routing hint taken. Real ones have a few dozen bytes.
const MAX_ROUTING: usize = 4096;

const ROUTING: [u8; 4] = *b"ED\0\x01";
const LENGTH: usize = 3;

#[derive(Debug, Default)]
pub(super) struct Frames {
    buffer: BytesMut,
    introduced: bool,
}

impl Frames {
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, if it has arrived.
    pub(super) fn next(&mut self) -> Result<Option<BytesMut>, WireError> {
        if !self.introduced && !self.skip_introduction()? {
            return Ok(None);
        }
        let Some(length) = self.length_at(0) else {
            return Ok(None);
        };
        if length > MAX_FRAME {
            return Err(WireError::FrameTooLong(length));
        }
        if self.buffer.len() < LENGTH + length {
            return Ok(None);
        }
        self.buffer.advance(LENGTH);
        let frame = self.buffer.split_to(length);
        if self.buffer.is_empty() {
            // Whatever one large frame made it grow to is given back.
            self.buffer = BytesMut::new();
        }
        Ok(Some(frame))
    }

    fn skip_introduction(&mut self) -> Result<bool, WireError> {
        if self.buffer.starts_with(&ROUTING) {
            let Some(length) = self.length_at(ROUTING.len()) else {
                return Ok(false);
            };
            if length > MAX_ROUTING {
                return Err(WireError::Introduction);
            }
            let hint = ROUTING.len() + LENGTH + length;
            if self.buffer.len() < hint + WA_CONN_HEADER.len() {
                return Ok(false);
            }
            self.buffer.advance(hint);
        } else if self.buffer.len() < WA_CONN_HEADER.len() {
            return Ok(false);
        }
        if !self.buffer.starts_with(&WA_CONN_HEADER) {
            let [name @ .., dictionary] = WA_CONN_HEADER;
            return Err(match self.buffer[name.len()] {
                other if other != dictionary && self.buffer.starts_with(&name) => {
                    WireError::Dictionary(other)
                }
                _ => WireError::Introduction,
            });
        }
        self.buffer.advance(WA_CONN_HEADER.len());
        self.introduced = true;
        Ok(true)
    }

    fn length_at(&self, at: usize) -> Option<usize> {
        let bytes = self.buffer.get(at..at + LENGTH)?;
        Some(
            bytes
                .iter()
                .fold(0, |length, byte| length << 8 | usize::from(*byte)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(frames: &mut Frames) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| frames.next().unwrap())
            .map(|frame| frame.to_vec())
            .collect()
    }

    #[test]
    fn frames_arrive_whole_however_the_bytes_are_cut() {
        let mut bytes = b"ED\0\x01\0\0\x02hi".to_vec();
        bytes.extend(WA_CONN_HEADER);
        bytes.extend(b"\0\0\x03one\0\0\0\0\0\x03two");
        for cut in 1..bytes.len() {
            let mut frames = Frames::default();
            let mut seen = Vec::new();
            for piece in bytes.chunks(cut) {
                frames.feed(piece);
                seen.extend(all(&mut frames));
            }
            assert_eq!(
                seen,
                [b"one".to_vec(), Vec::new(), b"two".to_vec()],
                "cut every {cut} bytes"
            );
        }
    }

    #[test]
    fn a_peer_that_does_not_introduce_itself_is_refused() {
        let mut frames = Frames::default();
        frames.feed(b"GET / HTTP/1.1");
        assert!(matches!(frames.next(), Err(WireError::Introduction)));
    }

    #[test]
    fn another_dictionary_is_refused_in_words() {
        let mut frames = Frames::default();
        frames.feed(b"WA\x06\x02");
        let error = frames.next().unwrap_err();
        assert_eq!(
            error.to_string(),
            "the peer's stanzas are written with dictionary 2, and only 3 is known here"
        );
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_before_it_arrives() {
        let mut frames = Frames::default();
        frames.feed(&WA_CONN_HEADER);
        frames.feed(&[0x10, 0, 1]);
        assert!(matches!(frames.next(), Err(WireError::FrameTooLong(0x10_0001))));
    }
}
