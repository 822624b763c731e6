//! What the program says to people: every message names what to do.

use serde_json::json;
use tempfile::TempDir;

use crate::program::{Data, End, Program, run};
use crate::{CUSTOMER, SHOP};
use presence_sandbox::Sandbox;

fn complaint(end: &End) -> &str {
    assert_ne!(end.code, Some(0), "{}", end.stdout);
    assert_eq!(end.stdout, "");
    end.stderr
        .trim_end()
        .strip_prefix("presence-server: ")
        .unwrap_or(&end.stderr)
}

#[tokio::test]
async fn the_program_alone_explains_itself() {
    let alone = run::<&str>(&[]).await;
    assert_eq!(alone.code, Some(64));
    assert!(
        alone.stderr.contains("Usage: presence-server <COMMAND>"),
        "{}",
        alone.stderr
    );
}

#[tokio::test]
async fn a_name_that_is_none_is_told_what_is_wrong_with_it() {
    let data = TempDir::new().unwrap();
    let dir = data.path().to_str().unwrap();
    let end = run(&["account", "new", "bad name", "--data-dir", dir]).await;
    assert_eq!(
        complaint(&end),
        "\"bad name\": letters, digits, '.', '_' or '-', beginning with a letter or digit; \
         the 4th character is a space"
    );
}

#[tokio::test]
async fn a_file_is_no_data_directory() {
    let data = TempDir::new().unwrap();
    let file = data.path().join("afile");
    std::fs::write(&file, "").unwrap();
    let file = file.to_str().unwrap();
    let serving = run(&["serve", "--listen", "0", "--data-dir", file]).await;
    let end = run(&["account", "list", "--data-dir", file]).await;
    let expected = format!("{file} is a file, not a directory");
    assert_eq!(complaint(&end), expected);
    assert_eq!(serving.code, Some(1));
    assert!(
        serving
            .stderr
            .lines()
            .any(|line| line == format!("presence-server: {expected}")),
        "{}",
        serving.stderr
    );
}

#[tokio::test]
async fn a_database_that_is_none_is_told_once() {
    let data = TempDir::new().unwrap();
    std::fs::write(data.path().join("presence.db"), "no database ".repeat(100)).unwrap();
    let dir = data.path().to_str().unwrap();
    let end = run(&["account", "list", "--data-dir", dir]).await;
    assert_eq!(
        complaint(&end),
        "the database failed: open presence.db: (code: 26) file is not a database"
    );
}

#[tokio::test]
async fn no_server_is_told_with_how_to_start_one() {
    // Nobody listens on a port that was just given back.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let url = address.to_string();
    for args in [
        &["instance", "list", "--token", "x", "--url", &url][..],
        &["healthcheck", "--url", &url],
        &["shown", "shop", "--token", "x", "--url", &url],
    ] {
        assert_eq!(
            complaint(&run(args).await),
            format!(
                "no server at http://{url}/: start it with \"presence-server serve\", or name it with --url"
            )
        );
    }
}

#[tokio::test]
async fn a_token_that_is_missing_is_told_with_how_to_give_one() {
    // Nothing is called: no server is missed.
    let url = [("PRESENCE_URL", "http://127.0.0.1:1")];
    let empty = [url[0], ("PRESENCE_TOKEN", "")];
    for args in [
        &["instance", "list"][..],
        &["instance", "delete", "shop"],
        &["send", "shop", CUSTOMER, "typing"],
        &["shown", "shop"],
        &["settings", "shop"],
        &["webhook", "show"],
        &["mcp"],
    ] {
        for variables in [&url[..], &empty] {
            let end = Program::start(args, variables).end().await;
            assert_eq!(
                complaint(&end),
                "no token was given: give an account's, or the instance's own, in PRESENCE_TOKEN or with --token; \
                 \"presence-server account new NAME\" makes an account and prints its token",
                "{args:?}"
            );
        }
    }
}

#[tokio::test]
async fn https_where_http_is_spoken_is_told() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let server = Data::new().serve(&sandbox).await;
    let url = format!("https://{}", server.address());
    let end = run(&["healthcheck", "--url", &url]).await;
    assert_eq!(
        complaint(&end),
        format!("the server at {url}/ speaks http there, not https")
    );
    // And the health check understands what people write for short, and where the server listens.
    let short = server.address().to_string();
    assert_eq!(run(&["healthcheck", "--url", &short]).await.code, Some(0));
    let follows = Program::start(&["healthcheck"], &[("PRESENCE_LISTEN", &short)]);
    assert_eq!(follows.end().await.code, Some(0));
}

#[tokio::test]
async fn a_presence_is_sent_and_listed_from_the_command_line() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let server = Data::new().serve_with_shop(&sandbox).await;
    let with = ["--url", server.url(), "--token", server.token()];
    let command = async |args: &[&str]| run(&[args, &with].concat()).await;

    let sent = command(&["send", "shop", CUSTOMER, "typing", "50"]).await;
    let jid = format!("{CUSTOMER}@s.whatsapp.net");
    assert_eq!(
        sent.stdout,
        format!("Presence 'typing' sent successfully (will auto-pause after 50 seconds), to {jid}\n"),
        "{}",
        sent.stderr
    );
    let shown = command(&["shown", "shop"]).await;
    let lines: Vec<_> = shown.stdout.lines().collect();
    assert!(
        lines[0].starts_with("CHAT") && lines[1].starts_with(&jid),
        "{}",
        shown.stdout
    );
    assert!(
        lines[1].contains("typing") && lines[1].ends_with(" s"),
        "{}",
        shown.stdout
    );

    let one = command(&["instance", "show", "shop"]).await;
    for said in ["name         shop", SHOP, "connected", "keep online  off", &jid] {
        assert!(one.stdout.contains(said), "{said} is not in {}", one.stdout);
    }
    assert_eq!(
        command(&["settings", "shop", "--keep-online", "on"]).await.stdout,
        "keep online  on\n"
    );
    assert_eq!(command(&["settings", "shop"]).await.stdout, "keep online  on\n");

    assert_eq!(command(&["send", "shop", CUSTOMER, "pause"]).await.code, Some(0));
    let nothing = command(&["shown", "shop"]).await;
    assert_eq!(
        (nothing.stdout.as_str(), nothing.stderr.as_str()),
        ("", "nothing is shown\n")
    );
    let timed = command(&[
        "send",
        "shop",
        CUSTOMER,
        "typing",
        "--text",
        "Olá! Tudo bem?",
        "--json",
    ])
    .await;
    let timed: serde_json::Value = serde_json::from_str(&timed.stdout).unwrap();
    assert!(
        timed["duration"].as_u64().is_some_and(|seconds| seconds > 0),
        "{timed}"
    );

    // A mistake in the API's words, and one in ours.
    let wrong = command(&["send", "shop", "abc", "typing"]).await;
    assert!(complaint(&wrong).ends_with("(400)"), "{}", wrong.stderr);
    for args in [
        &["send", "nope", CUSTOMER, "typing"][..],
        &["shown", "nope"],
        &["instance", "list", "nope"],
        &["instance", "show", "nope"],
        &["instance", "delete", "nope"],
        &["settings", "nope"],
    ] {
        assert_eq!(
            complaint(&command(args).await),
            "the account has no instance \"nope\"",
            "{args:?}"
        );
    }
}

#[tokio::test]
async fn over_the_limit_the_command_line_says_for_how_long() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let server = Data::new().serve_and(&sandbox, &["--rate-limit", "3"]).await;
    let list = [
        "instance",
        "list",
        "--url",
        server.url(),
        "--token",
        server.token(),
    ];
    let mut end = run(&list).await;
    while end.code == Some(0) {
        end = run(&list).await;
    }
    let said = complaint(&end);
    let wait = said
        .strip_prefix("Rate limit exceeded. Try again in ")
        .and_then(|rest| rest.strip_suffix(" s (429)"));
    assert!(wait.is_some_and(|wait| wait.parse::<u64>().is_ok()), "{said}");
}

#[tokio::test]
async fn a_token_that_is_printed_is_known_to_the_running_server() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let data = Data::new();
    let server = data.serve(&sandbox).await;
    for args in [["account", "new", "globex"], ["account", "rotate", "globex"]] {
        let end = run(&[&args[..], &["--data-dir", data.path()]].concat()).await;
        let token = end.stdout.trim_end();
        let answer = server
            .call("GET", "/api/instance/list", token, json!(null))
            .await
            .unwrap();
        assert_eq!(answer.0, 200, "{args:?}");
    }
}

#[tokio::test]
async fn shells_and_readers_are_helped() {
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completions", shell]).await;
        assert_eq!(script.code, Some(0));
        assert!(script.stdout.contains("keep-online"), "{shell}");
    }
    let dir = TempDir::new().unwrap();
    let man = dir.path().join("man");
    assert_eq!(run(&["man", man.to_str().unwrap()]).await.code, Some(0));
    for page in [
        "presence-server.1",
        "presence-server-instance-pair.1",
        "presence-server-serve.1",
    ] {
        assert!(man.join(page).is_file(), "{page}");
    }
}

#[test]
fn whoever_reads_no_further_hears_no_complaint() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_presence-server"));
    let end = program
        .args(["completions", "bash"])
        .stdout(writer)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&end.stderr), "");
    assert_eq!(end.status.code(), Some(1));
}

#[tokio::test]
async fn no_complaint_repeats_the_password_of_the_database() {
    let url = "postgres://presence:Xp/ss@h/d";
    let given = Program::start(&["account", "list"], &[("PRESENCE_DATABASE_URL", url)]).end();
    for end in [
        given.await,
        run(&["account", "list", "--database-url", url]).await,
        run(&["migrate", "--from", "x", "--database-url", url]).await,
        run(&["serve", "--database-url", url]).await,
    ] {
        assert_eq!(end.code, Some(64), "{}", end.stderr);
        assert!(end.stderr.contains("--database-url"), "{}", end.stderr);
        assert!(
            end.stderr.contains("it is no URL such as postgres://"),
            "{}",
            end.stderr
        );
        for secret in ["Xp", "ss@"] {
            assert!(!end.stderr.contains(secret), "{}", end.stderr);
        }
    }
}
