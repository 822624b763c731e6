//! A data directory of an earlier version, whose device keys the client library kept in a file of its own.

use std::path::Path;

use presence_sandbox::{PhoneReceipt, Place, Sandbox};
use serde_json::json;
use sqlx::{Connection as _, SqliteConnection};

use crate::program::{Data, run};
use crate::{SHOP, phone, wait_for};

/// What that version left, and what the sandbox knew of the same devices.
const DEVICES: &str = include_str!("../../../presence-wa/tests/fixtures/devices.sql");
const SANDBOX: &str = include_str!("../../../presence-wa/tests/fixtures/sandbox-of-devices.json");

#[tokio::test]
async fn its_sessions_come_back_without_pairing_again_and_read_what_peers_write() {
    let state = tempfile::tempdir().unwrap();
    let state = state.path().join("sandbox.json");
    std::fs::write(&state, SANDBOX).unwrap();
    let sandbox = Sandbox::builder().lids(true).state(state).start().await.unwrap();
    let data = Data::new();
    let dir = Path::new(data.path());
    let server = data.serve(&sandbox).await;
    for name in ["shop", "branch", "never-linked"] {
        let created = server.post("/api/instance/new", json!({ "name": name })).await;
        assert_eq!(created.0, 201);
    }
    server.signal("TERM");
    assert_eq!(server.end().await.code, Some(0));
    std::fs::remove_file(dir.join("keys.db")).unwrap();
    let url = format!("sqlite://{}?mode=rwc", dir.join("devices.db").display());
    let mut earlier = SqliteConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(DEVICES).execute(&mut earlier).await.unwrap();
    earlier.close().await.unwrap();

    let too_early = run(&["devices", "wipe-unknown", "--data-dir", data.path()]).await;
    assert_eq!(too_early.code, Some(1));
    assert!(
        too_early.stderr.contains("start the server once"),
        "{}",
        too_early.stderr
    );

    for start in ["the first", "another"] {
        let server = data.serve(&sandbox).await;
        for name in ["shop", "branch"] {
            server.wait_for_state(name, "connected").await;
        }
        let peer = phone("5511977776666");
        let id = sandbox.send(peer, Place::Phone(phone(SHOP)), start).unwrap();
        let is_read = |receipt: &PhoneReceipt| receipt.id == id && receipt.device != 0;
        wait_for(&sandbox, |world| world.receipts(peer).iter().any(is_read)).await;
        let receipts = sandbox.receipts(peer);
        let receipt = receipts.iter().find(|receipt| is_read(receipt)).unwrap();
        assert_ne!(receipt.kind, "retry", "{start} start");
        server.signal("TERM");
        assert_eq!(server.end().await.code, Some(0));
        assert_eq!(sandbox.look(|world| world.linked_devices(phone(SHOP))), 1);
    }
    assert!(dir.join("devices.db.imported").exists() && !dir.join("devices.db").exists());

    // Somebody puts it back: it is not for the server to say which is newer.
    std::fs::copy(dir.join("devices.db.imported"), dir.join("devices.db")).unwrap();
    let refused = run(&data.serve_args(&sandbox)).await;
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("move devices.db away"),
        "{}",
        refused.stderr
    );
}
