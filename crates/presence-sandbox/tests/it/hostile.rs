//! Peers that are no clients, and very many that are.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use presence_sandbox::{Number, Sandbox};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_websockets::{ClientBuilder, Message};

use crate::device::{Device, until};

const LONG: Duration = Duration::from_secs(300);

#[tokio::test(start_paused = true)]
async fn what_is_no_client_is_hung_up_on_and_changes_nothing() {
    let sandbox = Arc::new(Sandbox::builder().detached());
    let header = [b'W', b'A', 6, 3];
    let cases: [&[&[u8]]; 7] = [
        &[b"hello, is this WhatsApp?"],
        &[&header, b"\xff\xff\xff"],
        &[&header, b"\0\0\x04junk"],
        &[&header, b"\0\0\0"],
        &[b"ED\0\x01\xff\xff\xff"],
        &[b"ED\0\x01\0\0\x01x", b"nonsense"],
        // Says nothing more: its time for the handshake runs out.
        &[&header],
    ];
    for pieces in cases {
        let request = ClientBuilder::new().uri("ws://sandbox/ws/chat").unwrap();
        let (mut stream, _) = request.connect_on(sandbox.dial()).await.unwrap();
        for piece in pieces {
            stream.send(Message::binary(piece.to_vec())).await.unwrap();
        }
        let hung_up = async { while let Some(Ok(_)) = stream.next().await {} };
        timeout(LONG, hung_up)
            .await
            .unwrap_or_else(|_| panic!("{pieces:?} is still connected"));
    }
    assert_eq!(sandbox.look(|world| world.all_connections()), 0);
    assert!(sandbox.journal().entries.is_empty());
    let _online = Device::linked(&sandbox, "5511988887777".parse().unwrap())
        .await
        .online()
        .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_no_http_is_hung_up_on() {
    let sandbox = Sandbox::builder().detached();
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00"[..],
        &[b'x'; 100_000],
        b"GET / HTTP/1.1\r\n",
    ] {
        let mut stream = sandbox.dial();
        // It may hang up before it has read all of it.
        let _ = timeout(LONG, stream.write_all(bytes))
            .await
            .expect("it reads or hangs up");
        let mut answer = Vec::new();
        let _ = timeout(LONG, stream.read_to_end(&mut answer))
            .await
            .expect("it hangs up");
    }
}

#[tokio::test(start_paused = true)]
async fn many_phones_are_kept_apart() {
    let sandbox = Arc::new(Sandbox::builder().detached());
    let bob: Number = "5511977776666".parse().unwrap();
    let mut devices = JoinSet::new();
    for nth in 0..60 {
        let sandbox = sandbox.clone();
        devices.spawn(async move {
            let number: Number = format!("55119000000{nth:02}").parse().unwrap();
            let online = Device::linked(&sandbox, number).await.online().await;
            online.types_to(&format!("{bob}@s.whatsapp.net")).await;
            (number, online)
        });
    }
    let mut online = devices.join_all().await;
    online.sort_by_key(|(number, _)| *number);
    until(&sandbox, |world| world.shown(bob).timeline.len() == online.len()).await;
    for (number, _) in &online {
        assert_eq!(sandbox.connections(*number), 1);
        assert!(sandbox.timeline(bob).iter().any(|spell| spell.from == *number));
    }
    let (first, _) = online[0];
    assert_eq!(sandbox.drop_connections(first), 1);
    until(&sandbox, |world| world.connections(first) == 0).await;
    assert_eq!(sandbox.look(|world| world.all_connections()), online.len() - 1);
}
