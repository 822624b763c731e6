//! How many statements a client of PostgreSQL sends, read off what it writes.

/// What a client has written so far. A message may come in pieces.
#[derive(Debug)]
pub(super) struct Statements {
    /// The first message has no type. It is the session's start, or a question for encryption before it.
    is_starting: bool,
    header: Vec<u8>,
    /// What is left of the message whose header was read.
    rest: usize,
}

/// The length of a question for encryption. A start is longer.
const ENCRYPTION_REQUEST: usize = 8;

impl Statements {
    pub(super) fn new() -> Self {
        Self {
            is_starting: true,
            header: Vec::new(),
            rest: 0,
        }
    }

    /// How many statements begin in `bytes`, those that are prepared and then executed counted once.
    pub(super) fn count(&mut self, mut bytes: &[u8]) -> usize {
        let mut statements = 0;
        while !bytes.is_empty() {
            if self.rest > 0 {
                let skipped = self.rest.min(bytes.len());
                self.rest -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            self.header.push(bytes[0]);
            bytes = &bytes[1..];
            let kind = usize::from(!self.is_starting);
            let Some(length) = self.header[kind.min(self.header.len())..].first_chunk::<4>() else {
                continue;
            };
            // It counts itself.
            let length = u32::from_be_bytes(*length) as usize;
            self.rest = length.saturating_sub(4);
            if self.is_starting {
                self.is_starting = length == ENCRYPTION_REQUEST;
            } else if matches!(self.header[0], b'Q' | b'E') {
                statements += 1;
            }
            self.header.clear();
        }
        statements
    }
}

#[cfg(test)]
mod tests {
    //! Bytes as a client writes them.

    use super::*;

    fn message(kind: &[u8], body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [kind, &length, body].concat()
    }

    #[test]
    fn queries_and_executions_are_counted_in_whatever_pieces_they_come() {
        let bytes = [
            message(b"", &80_877_103_u32.to_be_bytes()),
            message(b"", b"\0\x03\0\0user\0presence\0\0"),
            message(b"Q", b"BEGIN\0"),
            message(b"P", b"\0SELECT 'Q'\0\0\0"),
            message(b"B", b"\0\0\0\0\0\0\0\0"),
            message(b"E", b"\0\0\0\0\0"),
            message(b"S", b""),
            message(b"Q", b"COMMIT\0"),
        ]
        .concat();
        assert_eq!(Statements::new().count(&bytes), 3);
        for size in 1..bytes.len() {
            let mut statements = Statements::new();
            let counted: usize = bytes.chunks(size).map(|piece| statements.count(piece)).sum();
            assert_eq!(counted, 3, "in pieces of {size} bytes");
        }
    }
}
