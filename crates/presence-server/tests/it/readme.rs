//! The commands of the README, as they stand there: a stranger copies them into two terminals.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;
use presence_sandbox::{Sandbox, State};
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{sleep, timeout};

use crate::program::POLL;
use crate::{SHOP, TEST_TIMEOUT, phone, wait_for};

const README: &str = include_str!("../../../../README.md");
/// The section that is run.
const SECTION: &str = "## Run it on WhatsApp\n";
/// Where its server listens. In the test it is a port that is free.
const ADDRESS: &str = "127.0.0.1:8080";

#[tokio::test]
async fn the_commands_of_the_readme_bring_a_stranger_from_nothing_to_typing() {
    let blocks = blocks();
    let [serve, link, send, bot] = blocks.as_slice() else {
        panic!("the section has other steps: {blocks:?}")
    };
    let sandbox = Sandbox::builder().start().await.unwrap();
    let checkout = Checkout::new(&sandbox).await;
    let _server = checkout.terminal(serve);
    checkout.wait_for_server().await;

    let mut other = checkout.terminal(&format!("set -e\n{link}{send}"));
    let account_token = other.line().await;
    let instance_token = other.line().await;
    assert!(account_token.starts_with("pa_") && instance_token.starts_with("pi_"));
    // The person with the phone.
    let connect = checkout
        .call("GET", "/api/instance/connect/shop", &account_token, "")
        .await;
    let connect: serde_json::Value = serde_json::from_str(&connect).unwrap();
    let qr = connect["qrCode"].as_str().unwrap_or_else(|| panic!("{connect}"));
    sandbox.scan(phone(SHOP), qr).await.unwrap();

    let said = other.rest().await;
    assert!(said.contains("shop is linked to"), "{said}");
    assert!(said.contains("Presence 'typing' sent successfully"), "{said}");
    let typing = (phone(SHOP), State::Typing);
    wait_for(&sandbox, |world| {
        world.shown(phone("5511999999999")).states().contains(&typing)
    })
    .await;

    // And the bot, whose answer is printed there too.
    let words = words(bot.trim_end());
    let [curl, x, post, url, h, token, d, body] = words.as_slice() else {
        panic!("{bot} is another call: {words:?}")
    };
    assert_eq!(
        [curl, x, post, h, d].map(String::as_str),
        ["curl", "-X", "POST", "-H", "-d"]
    );
    assert_eq!(token, "token: $INSTANCE_TOKEN");
    let path = url.strip_prefix(&format!("http://{ADDRESS}")).unwrap();
    let answer = checkout.call("POST", path, &instance_token, body).await;
    assert!(
        README.contains(&format!("```json\n{answer}```")),
        "{answer} is not in the README"
    );
}

/// The shell blocks of the section.
fn blocks() -> Vec<String> {
    let (_, section) = README.split_once(SECTION).expect("the README has the section");
    let section = section.split("\n## ").next().unwrap();
    let blocks = section.split("```sh\n").skip(1);
    blocks
        .map(|block| block.split_once("```").expect("a block ends").0.to_owned())
        .collect()
}

/// A command's words, as a shell splits them: at blanks that are in no quotes.
fn words(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for character in command.chars() {
        match (quote, character) {
            (Some(open), _) if open == character => quote = None,
            (None, '"' | '\'') => quote = Some(character),
            (None, ' ') => words.push(String::new()),
            _ => words.last_mut().unwrap().push(character),
        }
    }
    words
}

/// A directory in which the README's build was done already.
struct Checkout {
    dir: TempDir,
    variables: Vec<(&'static str, String)>,
    address: String,
}

impl Checkout {
    async fn new(sandbox: &Sandbox) -> Self {
        let dir = TempDir::new().unwrap();
        let release = dir.path().join("target/release");
        std::fs::create_dir_all(&release).unwrap();
        symlink(
            env!("CARGO_BIN_EXE_presence-server"),
            release.join("presence-server"),
        )
        .unwrap();
        // What the README builds is built.
        let tools = dir.path().join("tools");
        std::fs::create_dir(&tools).unwrap();
        let cargo = tools.join("cargo");
        std::fs::write(&cargo, "#!/bin/sh\n[ \"$*\" = \"build --release\" ]\n").unwrap();
        std::fs::set_permissions(&cargo, std::fs::Permissions::from_mode(0o755)).unwrap();
        // A port that was just free.
        let address = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        Self {
            variables: vec![
                ("PATH", format!("{}:/usr/bin:/bin", tools.display())),
                ("PRESENCE_LISTEN", address.to_string()),
                ("PRESENCE_EDGE_URL", sandbox.edge_url().unwrap()),
                ("PRESENCE_EDGE_KEY", STANDARD.encode(sandbox.edge_key())),
            ],
            address: address.to_string(),
            dir,
        }
    }

    /// Types `commands` into a terminal of their own.
    fn terminal(&self, commands: &str) -> Terminal {
        let mut shell = Command::new("sh")
            .args(["-c", commands])
            .current_dir(self.dir.path())
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        Terminal {
            stdout: BufReader::new(shell.stdout.take().unwrap()),
            group: Pid::from_raw(shell.id().unwrap().try_into().unwrap()).unwrap(),
            shell,
        }
    }

    async fn wait_for_server(&self) {
        let ready = async {
            while TcpStream::connect(&self.address).await.is_err() {
                sleep(POLL).await;
            }
        };
        timeout(TEST_TIMEOUT, ready).await.unwrap();
    }

    async fn call(&self, method: &str, path: &str, token: &str, body: &str) -> String {
        let stream = TcpStream::connect(&self.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("token", token)
            .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
            .unwrap();
        let answer = timeout(TEST_TIMEOUT, sender.send_request(request))
            .await
            .unwrap()
            .unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    }
}

/// A shell and what it started; all of it ends with the test.
struct Terminal {
    shell: Child,
    group: Pid,
    stdout: BufReader<ChildStdout>,
}

impl Terminal {
    async fn line(&mut self) -> String {
        let mut line = String::new();
        timeout(TEST_TIMEOUT, self.stdout.read_line(&mut line))
            .await
            .unwrap()
            .unwrap();
        line.trim_end().to_owned()
    }

    /// What it says until its commands are done, which they must be well.
    async fn rest(&mut self) -> String {
        let mut said = String::new();
        let ended = async {
            while self.stdout.read_line(&mut said).await.unwrap() > 0 {}
            self.shell.wait().await.unwrap()
        };
        let status = timeout(TEST_TIMEOUT, ended).await.unwrap();
        assert!(status.success(), "{said}");
        said
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = kill_process_group(self.group, Signal::KILL);
    }
}

#[test]
fn the_readme_in_portuguese_has_the_same_commands() {
    const PORTUGUESE: &str = include_str!("../../../../docs/pt-BR/README.md");
    let commands = |text: &'static str| -> Vec<&'static str> {
        let blocks = text.split("```").skip(1).step_by(2);
        blocks
            .filter(|block| block.starts_with("sh\n") || block.starts_with("json\n"))
            .collect()
    };
    assert!(!commands(README).is_empty());
    assert_eq!(commands(PORTUGUESE), commands(README));
}
