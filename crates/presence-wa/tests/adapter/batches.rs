//! What the stanzas that an instance sends at once cost on the wire.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use futures_util::future::join_all;
use presence_core::{ChatPresence, ChatPresenceRequest};
use presence_sandbox::Sandbox;
use presence_store::MemoryKeyStore;
use presence_wa::{
    ByteStream, Connected, Dial, Fleet, FleetSettings, InstanceOptions, PairWith, SavedKeys, WhatsApp,
};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use crate::support::{ME, SECOND, config, pair, sandbox, sent};

/// A pipe that counts what would be a system call on a socket.
struct CountedPipe {
    pipe: DuplexStream,
    writes: Arc<AtomicUsize>,
}

impl AsyncRead for CountedPipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_read(cx, buf)
    }
}

impl AsyncWrite for CountedPipe {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.pipe).poll_write(cx, buf));
        self.writes.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.pipe).poll_write_vectored(cx, bufs));
        self.writes.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}

struct CountedPipes {
    sandbox: Arc<Sandbox>,
    writes: Arc<AtomicUsize>,
}

#[async_trait]
impl Dial for CountedPipes {
    async fn dial(&self) -> io::Result<Box<dyn ByteStream>> {
        Ok(Box::new(CountedPipe {
            pipe: self.sandbox.dial(),
            writes: Arc::clone(&self.writes),
        }))
    }
}

/// "Typing…" for a minute in a chat that ends in `chat`.
fn typing(chat: usize) -> ChatPresence {
    let body = format!(r#"{{"number":"49151123456{chat:02}","state":"typing","duration":60}}"#);
    ChatPresenceRequest::from_json(body.as_bytes())
        .unwrap()
        .try_into()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn stanzas_that_wait_together_leave_in_one_write() {
    let sandbox = sandbox();
    let writes = Arc::<AtomicUsize>::default();
    let whatsapp = WhatsApp::new(config(&sandbox, Arc::<MemoryKeyStore>::default()))
        .unwrap()
        .with_dial(Arc::new(CountedPipes {
            sandbox: Arc::clone(&sandbox),
            writes: Arc::clone(&writes),
        }));
    pair(&whatsapp, &sandbox).await;
    let fleet = Fleet::new(Arc::new(whatsapp), Arc::new(()), FleetSettings::default());
    let options = InstanceOptions {
        saved: SavedKeys::Resume,
        ..InstanceOptions::default()
    };
    fleet.add(ME, options);
    let connected = fleet.connect(ME, PairWith::Qr).await.unwrap();
    assert_eq!(connected, Connected::Already);
    // Then it is available, and the client has asked all that it asks after a login.
    fleet.show(ME, &typing(0)).await.unwrap();
    tokio::time::sleep(SECOND).await;

    let before = writes.load(Ordering::Relaxed);
    let asked: Vec<_> = (1..=8).map(typing).collect();
    let shown = join_all(asked.iter().map(|presence| fleet.show(ME, presence))).await;
    let taken = writes.load(Ordering::Relaxed) - before;
    assert!(shown.iter().all(Result::is_ok), "{shown:?}");
    assert_eq!(taken, 1, "writes for 8 stanzas");

    let arrived = sent(&sandbox, "chatstate", 9).await;
    let expected = (0..=8).map(|chat| {
        format!(r#"<chatstate to="49151123456{chat:02}@s.whatsapp.net"><composing/></chatstate>"#)
    });
    assert_eq!(arrived, expected.collect::<Vec<_>>());
    fleet.shutdown(SECOND).await;
}
