//! The program itself: its files, signals and exit codes, on real sockets and a real disk.

mod backup;
mod crash;
mod earlier;
mod logs;
mod mcp;
mod metrics;
mod program;
mod readme;
mod restore;
mod starting;
mod stopping;
mod webhooks;
mod words;

use std::time::Duration;

use presence_sandbox::{Number, Sandbox, World};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use self::program::{Data, run};

/// Much longer than anything here takes, so that only a hang ends a test early.
const TEST_TIMEOUT: Duration = Duration::from_secs(240);

/// The account that an instance stands for.
const SHOP: &str = "5511988887777";
/// Somebody whose phone shows what the shop does. Not of Brazil, so that no look-up comes in between.
const CUSTOMER: &str = "14155550123";

fn phone(number: &str) -> Number {
    number.parse().unwrap()
}

async fn wait_for(sandbox: &Sandbox, is_so: impl FnMut(&World) -> bool) {
    timeout(TEST_TIMEOUT, sandbox.wait_for(is_so))
        .await
        .expect("it comes to be");
}

#[tokio::test]
async fn one_line_on_stdout_says_where_it_listens_and_sigterm_ends_it_well() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    for signal in ["TERM", "INT", "HUP"] {
        let server = Data::new().serve(&sandbox).await;
        assert_eq!(server.get("/readyz").await.0, 200);
        server.signal(signal);
        let end = server.end().await;
        assert_eq!((end.code, end.stdout.as_str()), (Some(0), ""), "{}", end.stderr);
    }
}

#[tokio::test]
async fn a_second_server_on_the_same_directory_refuses_and_says_why() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let data = Data::new();
    let server = data.serve(&sandbox).await;
    let second = run(&data.serve_args(&sandbox)).await;
    assert_eq!(second.code, Some(1));
    assert!(second.stderr.contains("another server"), "{}", second.stderr);
    assert_eq!(second.stdout, "");
    assert_eq!(server.get("/livez").await.0, 200);
}

#[tokio::test]
async fn mistakes_are_reported_together_with_exit_code_64() {
    let end = run(&[
        "serve",
        "--listen",
        "nowhere",
        "--rate-limit",
        "many",
        "--edge-key",
        "AAAA",
    ])
    .await;
    assert_eq!((end.code, end.stdout.as_str()), (Some(64), ""));
    for flag in ["--listen", "--rate-limit", "--edge-key", "--edge-url"] {
        assert!(end.stderr.contains(flag), "{flag} is not in {}", end.stderr);
    }
    assert_eq!(run(&["serve", "--no-such-flag"]).await.code, Some(64));
    let help = run(&["serve", "--help"]).await;
    assert_eq!(help.code, Some(0));
    assert!(help.stdout.contains("PRESENCE_STOP_GRACE"), "{}", help.stdout);
}

#[tokio::test]
async fn a_directory_with_pairings_of_a_sandbox_is_not_used_with_whatsapp() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let data = Data::new();
    let server = data.serve_with_shop(&sandbox).await;
    server.signal("TERM");
    assert_eq!(server.end().await.code, Some(0));
    let end = run(&["serve", "--listen", "127.0.0.1:0", "--data-dir", data.path()]).await;
    assert_eq!(end.code, Some(1));
    assert!(end.stderr.contains("pairings with a sandbox"), "{}", end.stderr);
}

#[tokio::test]
async fn variables_are_read_and_the_health_check_follows_them() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let data = Data::new();
    let server = data.serve_by_variables(&sandbox).await;
    assert_eq!(server.get("/livez").await.0, 200);
    let healthy = run(&["healthcheck", "--url", server.url()]).await;
    assert_eq!(healthy.code, Some(0), "{}", healthy.stderr);
    let url = server.url().to_owned();
    server.signal("INT");
    assert_eq!(server.end().await.code, Some(0));
    assert_eq!(run(&["healthcheck", "--url", &url]).await.code, Some(1));
}

#[tokio::test]
async fn a_restart_brings_sessions_back_by_itself() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let data = Data::new();
    let server = data.serve_with_shop(&sandbox).await;
    server.signal("TERM");
    assert_eq!(server.end().await.code, Some(0));
    wait_for(&sandbox, |world| world.connections(phone(SHOP)) == 0).await;

    let server = data.serve(&sandbox).await;
    wait_for(&sandbox, |world| world.connections(phone(SHOP)) == 1).await;
    server.wait_for_state("shop", "connected").await;
    let body = json!({"number": CUSTOMER, "state": "typing", "duration": 1});
    assert_eq!(server.post("/api/chat/presence/shop", body).await.0, 200);
}

#[tokio::test]
async fn accounts_are_managed_in_the_directory_and_a_running_server_notices() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let data = Data::new();
    let server = data.serve_with_shop(&sandbox).await;
    let account =
        async |args: &[&str]| run(&[&["account"], args, &["--data-dir", data.path()]].concat()).await;

    let again = account(&["new", "acme"]).await;
    assert_eq!((again.code, again.stdout.as_str()), (Some(1), ""));
    let other = account(&["new", "globex", "--quota", "1"]).await;
    assert_eq!(
        other.stdout.trim().lines().count(),
        1,
        "the token alone: {}",
        other.stdout
    );
    let list = account(&["list", "--json"]).await;
    let list: serde_json::Value = serde_json::from_str(&list.stdout).unwrap();
    assert_eq!(
        (&list["accounts"][0]["name"], &list["accounts"][0]["instances"]),
        (&json!("acme"), &json!(1))
    );
    assert_eq!(
        (&list["accounts"][1]["name"], &list["accounts"][1]["quota"]),
        (&json!("globex"), &json!(1))
    );

    let rotated = account(&["rotate", "acme"]).await;
    // How soon, the store's tests tell, by a clock that no other process slows down.
    server.wait_for_token(rotated.stdout.trim()).await;
    assert_eq!(server.get("/api/instance/list").await.0, 401);

    let deleted = account(&["delete", "acme"]).await;
    assert_eq!(deleted.code, Some(0), "{}", deleted.stderr);
    wait_for(&sandbox, |world| world.linked_devices(phone(SHOP)) == 0).await;
    assert_eq!(account(&["delete", "acme"]).await.code, Some(1));
}

#[tokio::test]
async fn instances_are_managed_through_a_running_server() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let data = Data::new();
    let server = data.serve(&sandbox).await;
    let instance = async |args: &[&str]| {
        run(&[
            &["instance"],
            args,
            &["--url", server.url(), "--token", server.token()],
        ]
        .concat())
        .await
    };
    let new = instance(&["new", "shop"]).await;
    assert!(
        new.code == Some(0) && new.stdout.starts_with("pi_"),
        "{}",
        new.stderr
    );
    let taken = instance(&["new", "shop"]).await;
    assert_eq!(taken.code, Some(1));
    assert!(
        taken.stderr.contains("Instance name already exists"),
        "{}",
        taken.stderr
    );

    let mut pair = data.start(&[
        "instance",
        "pair",
        "shop",
        "--json",
        "--url",
        server.url(),
        "--token",
        server.token(),
    ]);
    let code: serde_json::Value = serde_json::from_str(&pair.line().await).unwrap();
    sandbox
        .scan(phone(SHOP), code["qrCode"].as_str().unwrap())
        .await
        .unwrap();
    let linked: serde_json::Value = serde_json::from_str(&pair.line().await).unwrap();
    assert_eq!(linked["status"], "connected");
    assert_eq!(pair.end().await.code, Some(0));

    let list = instance(&["list"]).await;
    let lines: Vec<_> = list.stdout.lines().collect();
    assert!(lines[0].starts_with("NAME  NUMBER"), "{}", list.stdout);
    assert!(
        lines[1].starts_with(&format!("shop  {SHOP}")) && lines[1].ends_with("connected"),
        "{}",
        list.stdout
    );
    assert_eq!(
        instance(&["reconnect", "shop"]).await.stdout,
        "Reconnect initiated\n"
    );
    server.wait_for_state("shop", "connected").await;
    assert_eq!(
        instance(&["logout", "shop"]).await.stdout,
        "Instance logged out\n"
    );

    let number = [
        "instance",
        "pair",
        "shop",
        "--number",
        SHOP,
        "--url",
        server.url(),
        "--token",
        server.token(),
    ];
    let mut pair = data.start(&number);
    let code = loop {
        let line = pair.line().await;
        if line.trim().len() == 9 && line.trim().as_bytes()[4] == b'-' {
            break line.trim().to_owned();
        }
    };
    sandbox.enter_link_code(phone(SHOP), &code).await.unwrap();
    let end = pair.end().await;
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    assert_eq!(
        end.stdout.trim(),
        "shop is linked to +55119…77 and online. Next:\n\n    presence-server send shop NUMBER typing 5"
    );

    let deleted = instance(&["delete", "shop", "--json"]).await;
    assert!(
        deleted.stdout.contains(r#""status":"deleted""#),
        "{}",
        deleted.stdout
    );
    assert_eq!(instance(&["delete", "shop"]).await.code, Some(1));
}

#[tokio::test]
async fn the_answer_to_a_body_that_is_too_large_arrives_over_tcp() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let server = Data::new().serve(&sandbox).await;
    for token in [server.token(), "wrong"] {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        let head = format!(
            "POST /api/instance/new HTTP/1.1\r\ntoken: {token}\r\nconnection: close\r\ncontent-length: 1048576\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&vec![b'x'; 1024 * 1024]).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 413 ") || answer.starts_with("HTTP/1.1 401 "),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn no_secret_and_no_number_is_in_the_log() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let data = Data::new();
    let server = data.serve_with_shop(&sandbox).await;
    let body = json!({"number": CUSTOMER, "state": "typing", "duration": 1});
    assert_eq!(server.post("/api/chat/presence/shop", body).await.0, 200);
    let token = server.token().to_owned();
    server.signal("TERM");
    let end = server.end().await;
    assert!(!end.stderr.is_empty());
    for secret in [token.as_str(), SHOP, CUSTOMER, "2@"] {
        assert!(
            !end.stderr.contains(secret),
            "{secret} is in the log:\n{}",
            end.stderr
        );
    }
}
