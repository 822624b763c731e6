//! The start of the service: what it answers, and whom it heeds, before it is ready.

use std::collections::HashMap;
use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use presence_sandbox::Sandbox;
use presence_server::{Config, Service};
use sqlx::SqliteConnection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::TEST_TIMEOUT;
use crate::program::{Data, run};

/// Locks the registry against writers, for which its opening waits for some seconds.
async fn lock_registry(data: &Data) -> SqliteConnection {
    let new = run(&["account", "new", "acme", "--data-dir", data.path()]).await;
    assert_eq!(new.code, Some(0), "{}", new.stderr);
    data.lock("presence.db").await
}

async fn get(address: SocketAddr, path: &str) -> String {
    let mut client = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn it_listens_before_its_stores_are_open_and_says_that_it_starts() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let data = Data::new();
    let lock = lock_registry(&data).await;
    let (url, key) = (sandbox.edge_url().unwrap(), STANDARD.encode(sandbox.edge_key()));
    let settings = HashMap::from([
        ("PRESENCE_LISTEN", "127.0.0.1:0"),
        ("PRESENCE_PROBE_LISTEN", "127.0.0.1:0"),
        ("PRESENCE_DATA_DIR", data.path()),
        ("PRESENCE_EDGE_URL", &url),
        ("PRESENCE_EDGE_KEY", &key),
    ]);
    let config = Config::from_lookup(|name| settings.get(name).map(|value| (*value).to_owned())).unwrap();
    let service = Service::bind(config).await.unwrap();
    let addresses = [
        service.address().unwrap(),
        service.probe_address().unwrap().unwrap(),
    ];
    let (stop, stopping) = oneshot::channel::<()>();
    let (ready, is_ready) = oneshot::channel();
    let running = tokio::spawn(service.run(
        async {
            let _ = stopping.await;
        },
        move || {
            let _ = ready.send(());
            Ok(())
        },
    ));
    for address in addresses {
        let (live, readiness) = (get(address, "/livez").await, get(address, "/readyz").await);
        assert!(live.starts_with("HTTP/1.1 200 "), "{live}");
        assert!(
            readiness.starts_with("HTTP/1.1 503 ") && readiness.contains("starting"),
            "{readiness}"
        );
    }
    drop(lock);
    timeout(TEST_TIMEOUT, is_ready).await.unwrap().unwrap();
    for address in addresses {
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200 "));
    }
    let health = get(addresses[1], "/health").await;
    for check in ["accepting", "devices", "files", "registry"] {
        assert!(
            health.contains(&format!("\"{check}\":\"ok\"")),
            "{check} in {health}"
        );
    }
    assert!(
        get(addresses[1], "/metrics")
            .await
            .contains("presence_build_info{")
    );
    assert!(get(addresses[0], "/metrics").await.starts_with("HTTP/1.1 404 "));
    stop.send(()).unwrap();
    timeout(TEST_TIMEOUT, running).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_signal_counts_while_it_starts() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let data = Data::new();
    let _lock = lock_registry(&data).await;
    let program = data.start(&data.serve_args(&sandbox));
    program.wait_for_log("starting").await;
    program.signal("TERM");
    let end = program.end().await;
    assert_eq!((end.code, end.stdout.as_str()), (Some(0), ""), "{}", end.stderr);
    assert!(end.stderr.contains("stopped"), "{}", end.stderr);
}
