//! `kill -9` at any moment loses nothing that was acknowledged.

use std::collections::BTreeMap;
use std::time::Duration;

use presence_sandbox::Sandbox;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::program::{Data, Server};
use crate::{TEST_TIMEOUT, phone};

/// How often the server is killed at least. On a slow machine more rounds are needed until enough was
/// acknowledged to lose.
const ROUNDS: u64 = 8;
const MOST_ROUNDS: u64 = 80;

/// What the service or the phone said had happened.
#[derive(Default)]
struct Acknowledged {
    /// Tokens by instance.
    tokens: BTreeMap<String, String>,
    /// Phones by instance.
    linked: BTreeMap<String, String>,
}

impl Acknowledged {
    fn are_enough(&self) -> bool {
        self.tokens.len() > 5 && !self.linked.is_empty()
    }
}

#[tokio::test]
async fn a_killed_server_loses_no_instance_token_or_pairing() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let data = Data::new();
    let mut rng = StdRng::seed_from_u64(9);
    let mut acknowledged = Acknowledged::default();
    for round in 0..MOST_ROUNDS {
        if round >= ROUNDS && acknowledged.are_enough() {
            break;
        }
        let server = data.serve(&sandbox).await;
        check(&server, &sandbox, &acknowledged).await;
        // Somewhere in the middle of it: an instance takes a few milliseconds, a pairing some tens, or a second on a
        // machine that has still nothing to lose after so many rounds.
        let alive = Duration::from_millis(rng.random_range(1..250) * (1 + round / ROUNDS));
        let _ = timeout(
            alive,
            create_and_link(&server, &sandbox, round, &mut acknowledged),
        )
        .await;
        server.signal("KILL");
        assert_eq!(server.end().await.code, None);
    }
    let server = data.serve(&sandbox).await;
    check(&server, &sandbox, &acknowledged).await;
    assert!(
        acknowledged.are_enough(),
        "the test killed too early to test anything"
    );
}

/// Goes on until it is stopped or the server is gone.
async fn create_and_link(
    server: &Server,
    sandbox: &Sandbox,
    round: u64,
    acknowledged: &mut Acknowledged,
) -> anyhow::Result<()> {
    for number in 0.. {
        let name = format!("r{round}-{number}");
        let body = json!({ "name": name });
        let (_, created) = server
            .call("POST", "/api/instance/new", server.token(), body)
            .await?;
        let token = created["instance"]["token"].as_str().unwrap().to_owned();
        acknowledged.tokens.insert(name.clone(), token.clone());
        let path = format!("/api/instance/connect/{name}");
        let (_, connect) = server.call("GET", &path, &token, Value::Null).await?;
        let Some(qr) = connect["qrCode"].as_str() else {
            continue;
        };
        let account = format!("44770{round:02}{number:05}");
        if sandbox.scan(phone(&account), qr).await.is_ok() {
            acknowledged.linked.insert(name, account);
        }
    }
    Ok(())
}

/// Everything that was acknowledged is there, and every linked phone's session comes back.
async fn check(server: &Server, sandbox: &Sandbox, acknowledged: &Acknowledged) {
    for (name, token) in &acknowledged.tokens {
        let (status, list) = server
            .call("GET", "/api/instance/list", token, Value::Null)
            .await
            .unwrap();
        assert_eq!(
            (status, list["instances"][0]["name"].as_str()),
            (200, Some(name.as_str()))
        );
    }
    for (name, account) in &acknowledged.linked {
        let back = sandbox.wait_for(|world| world.connections(phone(account)) == 1);
        assert!(
            timeout(TEST_TIMEOUT, back).await.is_ok(),
            "{name} does not come back"
        );
    }
}
