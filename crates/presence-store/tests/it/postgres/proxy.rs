//! A database that does not answer.

use std::sync::Arc;
use std::time::Duration;

use presence_store::{Postgres, PostgresOptions, Registry as _, StoreError};
use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::{TestDatabase, many_instances, node_with_keys, registry, server};
use crate::key_store::{append, put};
use crate::support::{id, parsed};

/// Stands between a node and the database, and can be made to pass nothing on, as a network that swallows packets.
struct Proxy {
    port: u16,
    passes: watch::Sender<bool>,
}

impl Proxy {
    async fn before(database: &PgConnectOptions) -> Self {
        let target = format!("{}:{}", database.get_host(), database.get_port());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let passes = watch::Sender::new(true);
        let passing = passes.subscribe();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (target, mut passing) = (target.clone(), passing.clone());
                tokio::spawn(async move {
                    until(&mut passing, true).await;
                    let mut server = TcpStream::connect(target).await?;
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                        () = until(&mut passing, false) => {}
                    }
                    // Open, and silent.
                    until(&mut passing, true).await;
                    Ok::<_, std::io::Error>(())
                });
            }
        });
        Self { port, passes }
    }
}

async fn until(passing: &mut watch::Receiver<bool>, wanted: bool) {
    // The test is over when nobody decides any more.
    let _ = passing.wait_for(|passes| *passes == wanted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_silent_is_away_for_all_in_little_time() {
    let database = TestDatabase::create().await;
    let proxy = Proxy::before(&server()).await;
    let through = server()
        .host("127.0.0.1")
        .port(proxy.port)
        .database(&database.name);
    let options = PostgresOptions {
        url: through.to_url_lossy().into(),
        ..database.options()
    };
    let postgres = Postgres::connect(&options).await.unwrap();
    many_instances(&database, 1).await;
    let store = Arc::new(registry(&postgres).await);
    let (_, keys, _) = node_with_keys(&postgres).await;
    store.follow();

    proxy.passes.send_replace(false);
    let before = Instant::now();
    append(&keys, 1, vec![put(presence_store::Kind(1), "a", "x")]).await;
    // One of them may be halfway, and is given up when its time is over; the others wait for nothing.
    let asking = (0..20).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.set_keep_online(id(1), true).await })
    });
    for answer in futures_util::future::join_all(asking).await {
        let answer = answer.unwrap();
        assert!(matches!(answer, Err(StoreError::Away { .. })), "{answer:?}");
    }
    assert!(
        before.elapsed() < Duration::from_secs(15),
        "{:?}",
        before.elapsed()
    );
    assert!(
        store.account_named("acme").is_some(),
        "what was read is there still"
    );

    proxy.passes.send_replace(true);
    let back = async {
        while store
            .create_account(parsed("other"), None, crate::support::now())
            .await
            .is_err()
        {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        while keys.flush().await.is_err() {}
    };
    timeout(Duration::from_secs(30), back).await.expect("it is back");
}
