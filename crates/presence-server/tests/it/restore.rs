//! What an operator restores: a registry from before some pairings, and a token key's successor.

use std::collections::BTreeMap;
use std::path::Path;

use presence_sandbox::Sandbox;
use serde_json::json;

use super::wait_for;
use crate::program::{Data, Server, run};
use crate::{SHOP, phone};

const BRANCH: &str = "5511900000077";

/// The registry's files, as a stopped server leaves them.
fn registry(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    files
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
        .filter(|(name, _)| name.starts_with("presence.db"))
        .map(|(name, path)| (name, std::fs::read(path).unwrap()))
        .collect()
}

fn restore(dir: &Path, files: &BTreeMap<String, Vec<u8>>) {
    for name in registry(dir).into_keys() {
        std::fs::remove_file(dir.join(name)).unwrap();
    }
    for (name, content) in files {
        std::fs::write(dir.join(name), content).unwrap();
    }
}

async fn stop(server: Server) -> String {
    server.signal("TERM");
    let end = server.end().await;
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    end.stderr
}

#[tokio::test]
async fn an_older_registry_is_refused_and_costs_no_pairing() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let data = Data::new();
    let dir = Path::new(data.path());
    stop(data.serve_with_shop(&sandbox).await).await;
    let older = registry(dir);

    let server = data.serve(&sandbox).await;
    assert_eq!(
        server
            .post("/api/instance/new", json!({"name": "branch"}))
            .await
            .0,
        201
    );
    let (_, connect) = server.get("/api/instance/connect/branch").await;
    sandbox
        .scan(phone(BRANCH), connect["qrCode"].as_str().unwrap())
        .await
        .unwrap();
    server.wait_for_state("branch", "connected").await;
    stop(server).await;
    let newer = registry(dir);

    restore(dir, &older);
    let refused = run(&data.serve_args(&sandbox)).await;
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""));
    for words in ["holds the WhatsApp keys of 1 devices (2)", "devices wipe-unknown"] {
        assert!(
            refused.stderr.contains(words),
            "{words} is not in {}",
            refused.stderr
        );
    }
    restore(dir, &newer);
    let server = data.serve(&sandbox).await;
    for name in ["shop", "branch"] {
        server.wait_for_state(name, "connected").await;
    }
    stop(server).await;

    restore(dir, &older);
    let wiped = run(&["devices", "wipe-unknown", "--data-dir", data.path()]).await;
    assert_eq!(
        (wiped.code, wiped.stdout.as_str()),
        (Some(0), "wiped the keys of device 2\n1 devices were unknown\n"),
        "{}",
        wiped.stderr
    );
    let server = data.serve(&sandbox).await;
    server.wait_for_state("shop", "connected").await;
    let running = run(&["devices", "wipe-unknown", "--data-dir", data.path()]).await;
    assert_eq!(running.code, Some(1));
    assert!(running.stderr.contains("another server"), "{}", running.stderr);
    wait_for(&sandbox, |world| world.linked_devices(phone(SHOP)) == 1).await;
}

#[tokio::test]
async fn what_is_deleted_while_no_server_runs_is_wiped_behind_the_next_ones_back() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let data = Data::new();
    stop(data.serve_with_shop(&sandbox).await).await;
    let deleted = run(&["account", "delete", "acme", "--data-dir", data.path()]).await;
    assert_eq!(deleted.code, Some(0), "{}", deleted.stderr);
    let account = run(&["account", "new", "globex", "--data-dir", data.path()]).await;
    let program = data.start(
        &data
            .serve_args(&sandbox)
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>(),
    );
    let server = data.ready_for(program, account.stdout.trim()).await;
    server.wait_for_log("wiped the keys of a deleted instance").await;
    stop(server).await;
    let refused = run(&["devices", "wipe-unknown", "--data-dir", data.path()]).await;
    assert_eq!(refused.stdout, "0 devices were unknown\n");
}

#[tokio::test]
async fn the_token_key_is_changed_while_no_server_runs() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let data = Data::new();
    let server = data.serve_with_shop(&sandbox).await;
    let path = "/api/instance/list?instanceName=shop";
    let (_, before) = server.get(path).await;
    let rotate = async || run(&["key", "rotate", "--data-dir", data.path()]).await;
    let running = rotate().await;
    assert_eq!(running.code, Some(1));
    assert!(running.stderr.contains("another server"), "{}", running.stderr);
    stop(server).await;

    let key = Path::new(data.path()).join("token.key");
    let old = std::fs::read(&key).unwrap();
    let rotated = rotate().await;
    assert_eq!(rotated.code, Some(0), "{}", rotated.stderr);
    let told = rotated
        .stdout
        .strip_prefix("sealed the tokens of 1 instances anew, 0 proxies, 0 webhooks and ");
    let keys = told.and_then(|told| told.strip_suffix(" device keys\n"));
    let keys: u32 = keys.expect(&rotated.stdout).parse().unwrap();
    assert!(keys > 30, "a device has at least its pre-keys, and not {keys}");
    assert_ne!(std::fs::read(&key).unwrap(), old);
    let server = data.serve(&sandbox).await;
    server.wait_for_state("shop", "connected").await;
    let (_, after) = server.get(path).await;
    assert_eq!(after["instances"][0]["token"], before["instances"][0]["token"]);
    assert!(after["instances"][0]["token"].is_string());

    let half = run(&["key", "rotate", "--data-dir", data.path(), "--token-key", "AAAA"]).await;
    assert_eq!(half.code, Some(64), "{}", half.stderr);
}
