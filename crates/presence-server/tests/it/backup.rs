//! `backup` while a server is busy, and `restore`: elsewhere, over what is there, and refused.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use presence_sandbox::{Sandbox, State};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::program::{Data, End, Server, run};
use crate::{CUSTOMER, SHOP, phone, wait_for};

/// Instances that are linked before a back-up begins.
const LINKED: u32 = 6;

fn number(instance: u32) -> String {
    format!("4477005{instance:05}")
}

/// Creates an instance, and links it.
async fn link(server: &Server, sandbox: &Sandbox, name: &str, number: &str) {
    let (status, _) = server.post("/api/instance/new", json!({ "name": name })).await;
    assert_eq!(status, 201);
    link_again(server, sandbox, name, number).await;
}

async fn link_again(server: &Server, sandbox: &Sandbox, name: &str, number: &str) {
    let (_, connect) = server.get(&format!("/api/instance/connect/{name}")).await;
    let code = connect["qrCode"].as_str().unwrap_or_else(|| panic!("{connect}"));
    sandbox.scan(phone(number), code).await.unwrap();
}

async fn stop(server: Server) {
    server.signal("TERM");
    let end = server.end().await;
    assert_eq!(end.code, Some(0), "{}", end.stderr);
}

async fn back_up(data: &Data, to: &Path, flags: &[&str]) -> End {
    let to = to.to_str().unwrap();
    run(&[&["backup", to, "--data-dir", data.path()], flags].concat()).await
}

async fn restore(from: &Path, dir: &str, flags: &[&str]) -> End {
    let from = from.to_str().unwrap();
    run(&[&["restore", from, "--data-dir", dir], flags].concat()).await
}

fn done(end: &End) -> &str {
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    &end.stdout
}

fn refused(end: &End) -> &str {
    assert_eq!((end.code, end.stdout.as_str()), (Some(1), ""), "{}", end.stderr);
    &end.stderr
}

/// What is in a directory, but for the files that come and go with whoever has a database open.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
    names.retain(|name| !name.ends_with("-wal") && !name.ends_with("-shm"));
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A place for back-ups, gone with the test.
fn shelf() -> (TempDir, PathBuf) {
    let shelf = TempDir::new().unwrap();
    let to = shelf.path().join("monday");
    (shelf, to)
}

/// Over the files of `data`, for the token of an account that they name.
async fn serve(data: &Arc<Data>, sandbox: &Sandbox, token: &str) -> Server {
    data.ready_for(data.start(&data.serve_args(sandbox)), token).await
}

#[tokio::test]
async fn a_back_up_of_a_busy_server_brings_all_sessions_back_elsewhere() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let data = Data::new();
    let server = data.serve(&sandbox).await;
    for instance in 0..LINKED {
        link(&server, &sandbox, &format!("shop-{instance}"), &number(instance)).await;
    }
    for instance in 0..LINKED {
        server
            .wait_for_state(&format!("shop-{instance}"), "connected")
            .await;
    }

    let (shelf, to) = shelf();
    let traffic = async {
        for round in 0.. {
            let path = format!("/api/chat/presence/shop-{}", round % LINKED);
            let body = json!({"number": CUSTOMER, "state": "typing", "duration": 1});
            assert_eq!(server.post(&path, body).await.0, 200);
        }
    };
    // Meanwhile phones are linked, too.
    let linking = async {
        for instance in LINKED.. {
            link(&server, &sandbox, &format!("shop-{instance}"), &number(instance)).await;
        }
    };
    let saved = tokio::select! {
        saved = back_up(&data, &to, &["--json"]) => saved,
        () = traffic => unreachable!("it goes on"),
        () = linking => unreachable!("it goes on"),
    };
    let saved: Value = serde_json::from_str(done(&saved)).unwrap();
    let saved = &saved["backup"];
    assert!(saved["linkedPhones"].as_u64() >= Some(LINKED.into()), "{saved}");
    assert_eq!(
        (&saved["withKey"], &saved["unreadable"]),
        (&json!(true), &json!(0))
    );
    assert_eq!(names(&to), ["keys.db", "presence.db", "token.key"]);
    assert_eq!(names(shelf.path()), ["monday"], "no draft is left");
    assert_eq!(mode(&to), 0o700);
    for name in names(&to) {
        assert_eq!(mode(&to.join(&name)), 0o600, "{name}");
    }
    let token = server.token().to_owned();
    stop(server).await;

    let elsewhere = Data::new();
    let restored = restore(&to, elsewhere.path(), &[]).await;
    assert!(
        done(&restored).starts_with("restored 1 account, "),
        "{}",
        restored.stdout
    );
    let server = serve(&elsewhere, &sandbox, &token).await;
    for instance in 0..LINKED {
        server
            .wait_for_state(&format!("shop-{instance}"), "connected")
            .await;
    }
    let body = json!({"number": CUSTOMER, "state": "recording", "duration": 1});
    assert_eq!(server.post("/api/chat/presence/shop-3", body).await.0, 200);
    wait_for(&sandbox, |world| {
        world
            .shown(phone(CUSTOMER))
            .states()
            .contains(&(phone(&number(3)), State::Recording))
    })
    .await;
}

#[tokio::test]
async fn an_older_back_up_is_refused_with_what_it_would_lose() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let data = Data::new();
    let server = data.serve_with_shop(&sandbox).await;
    let (_shelf, monday) = shelf();
    let saved = back_up(&data, &monday, &[]).await;
    assert!(
        done(&saved).starts_with("saved 1 account, 1 instance and 1 linked phone to "),
        "{}",
        saved.stdout
    );

    // A code that was shown and never scanned leaves keys too, and is nothing to lose.
    server.post("/api/instance/new", json!({"name": "shown"})).await;
    server.get("/api/instance/connect/shown").await;
    link(&server, &sandbox, "branch", "4477006000001").await;
    server.wait_for_state("branch", "connected").await;
    let logout = server.call("DELETE", "/api/instance/logout/shop", server.token(), Value::Null);
    assert_eq!(logout.await.unwrap().0, 200);
    link_again(&server, &sandbox, "shop", SHOP).await;
    server.wait_for_state("shop", "connected").await;
    let running = restore(&monday, data.path(), &[]).await;
    assert!(refused(&running).contains("another server"), "{}", running.stderr);
    stop(server).await;

    let before = names(Path::new(data.path()));
    let older = restore(&monday, data.path(), &[]).await;
    let said = refused(&older);
    for words in [
        "nothing was changed",
        "\n  the link of acme/shop, which was made since\n",
        "\n  instance acme/shown\n",
        "\n  instance acme/branch, which is linked\n",
        "move ",
    ] {
        assert!(said.contains(words), "{words:?} is not in {said}");
    }
    assert_eq!(names(Path::new(data.path())), before);

    // A newer one takes the place of the files, and these are kept.
    let tuesday = monday.with_file_name("tuesday");
    done(&back_up(&data, &tuesday, &[]).await);
    let restored = restore(&tuesday, data.path(), &["--json"]).await;
    let restored: Value = serde_json::from_str(done(&restored)).unwrap();
    let kept = Path::new(restored["restored"]["kept"].as_str().unwrap());
    assert_eq!(names(kept), ["keys.db", "presence.db", "token.key"]);
    let server = data.serve(&sandbox).await;
    for name in ["shop", "branch"] {
        server.wait_for_state(name, "connected").await;
    }
    stop(server).await;

    // Nothing of what is left here is known to a directory that lost its registry; the back-up knows all.
    fs::remove_file(Path::new(data.path()).join("presence.db")).unwrap();
    // What is left of its log would be read into the file that comes in its place.
    let log = Path::new(data.path()).join("presence.db-wal");
    fs::write(&log, "of another time").unwrap();
    let without = restore(&monday, data.path(), &[]).await;
    assert!(
        refused(&without).contains("the link of device"),
        "{}",
        without.stderr
    );
    let restored = restore(&tuesday, data.path(), &["--json"]).await;
    let restored: Value = serde_json::from_str(done(&restored)).unwrap();
    let kept = Path::new(restored["restored"]["kept"].as_str().unwrap());
    let kept_log = fs::read(kept.join("presence.db-wal")).unwrap();
    assert_eq!(kept_log, b"of another time");
    data.serve(&sandbox)
        .await
        .wait_for_state("branch", "connected")
        .await;
}

#[tokio::test]
async fn a_back_up_without_its_key_opens_with_the_key_alone() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let data = Data::new();
    stop(data.serve_with_shop(&sandbox).await).await;
    let (_shelf, to) = shelf();
    let saved = back_up(&data, &to, &["--without-key"]).await;
    assert!(done(&saved).contains("keep it elsewhere"), "{}", saved.stdout);
    assert_eq!(names(&to), ["keys.db", "presence.db"]);

    let elsewhere = TempDir::new().unwrap();
    let dir = elsewhere.path().to_str().unwrap();
    let alone = restore(&to, dir, &[]).await;
    assert!(
        refused(&alone).contains("token.key is missing"),
        "{}",
        alone.stderr
    );
    let key = fs::read_to_string(Path::new(data.path()).join("token.key")).unwrap();
    let wrong = restore(
        &to,
        dir,
        &["--token-key", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="],
    )
    .await;
    assert!(
        refused(&wrong).contains("token key is not the one"),
        "{}",
        wrong.stderr
    );
    let restored = restore(&to, dir, &["--token-key", key.trim()]).await;
    assert!(done(&restored).contains("1 linked phone"), "{}", restored.stdout);
    // The directory that it was made of has the key.
    done(&restore(&to, data.path(), &[]).await);
    data.serve(&sandbox)
        .await
        .wait_for_state("shop", "connected")
        .await;
}

#[tokio::test]
async fn what_cannot_be_saved_or_restored_is_said_and_nothing_is_touched() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let data = Data::new();
    stop(data.serve_with_shop(&sandbox).await).await;
    let (shelf, to) = shelf();

    fs::create_dir(&to).unwrap();
    done(&back_up(&data, &to, &[]).await);
    let taken = back_up(&data, &to, &[]).await;
    assert!(
        refused(&taken).contains("exists and is not an empty directory"),
        "{}",
        taken.stderr
    );
    let nowhere = run(&["backup", to.to_str().unwrap(), "--data-dir", "/nonexistent/data"]).await;
    assert!(
        refused(&nowhere).contains("there is no data directory"),
        "{}",
        nowhere.stderr
    );

    let target = shelf.path().join("target");
    let target = target.to_str().unwrap();
    let missing = restore(&shelf.path().join("sunday"), target, &[]).await;
    assert!(
        refused(&missing).contains("there is no directory"),
        "{}",
        missing.stderr
    );
    let empty = restore(shelf.path(), target, &[]).await;
    assert!(
        refused(&empty).contains("there is no presence.db in"),
        "{}",
        empty.stderr
    );
    // In the middle of the file, where neither SQLite's header is nor nothing at all.
    let mut keys = fs::read(to.join("keys.db")).unwrap();
    let middle = keys.len() / 2;
    keys[middle..middle + 4096].fill(0x55);
    fs::write(to.join("keys.db"), keys).unwrap();
    let damaged = restore(&to, target, &[]).await;
    assert!(refused(&damaged).contains("keys.db"), "{}", damaged.stderr);
    assert_eq!(names(Path::new(target)), ["lock"]);

    let server = data.serve(&sandbox).await;
    let from = PathBuf::from(data.path());
    let running = restore(&from, target, &[]).await;
    assert!(refused(&running).contains("another server"), "{}", running.stderr);
    timeout(
        Duration::from_secs(30),
        server.wait_for_state("shop", "connected"),
    )
    .await
    .unwrap();
}
