//! `presence-server` as a process.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;
use presence_sandbox::Sandbox;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, SqliteConnection};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::{SHOP, TEST_TIMEOUT, phone};

/// How often a state is asked for. It bounds no test, it only spaces the questions.
pub(crate) const POLL: std::time::Duration = std::time::Duration::from_millis(20);

/// A data directory, gone with the test, with an account `acme`.
pub(crate) struct Data {
    dir: TempDir,
    token: Mutex<Option<String>>,
}

impl Data {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            dir: TempDir::new().unwrap(),
            token: Mutex::default(),
        })
    }

    pub(crate) fn path(&self) -> &str {
        self.dir.path().to_str().unwrap()
    }

    /// Locks a database in it against writers, for as long as what is returned lives.
    pub(crate) async fn lock(&self, file: &str) -> SqliteConnection {
        let mut connection = SqliteConnectOptions::new()
            .filename(self.dir.path().join(file))
            .connect()
            .await
            .unwrap();
        sqlx::query("BEGIN IMMEDIATE")
            .execute(&mut connection)
            .await
            .unwrap();
        connection
    }

    pub(crate) fn serve_args(&self, sandbox: &Sandbox) -> Vec<String> {
        let key = STANDARD.encode(sandbox.edge_key());
        let args = [
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--data-dir",
            self.path(),
            "--edge-key",
            &key,
        ];
        let no_limits = [
            "--rate-limit",
            "0",
            "--rate-limit-new",
            "0",
            "--rate-limit-failures",
            "0",
            "--edge-url",
        ];
        let mut args: Vec<_> = args.into_iter().chain(no_limits).map(str::to_owned).collect();
        args.push(sandbox.edge_url().unwrap());
        args
    }

    pub(crate) async fn serve(self: &Arc<Self>, sandbox: &Sandbox) -> Server {
        self.serve_and(sandbox, &[]).await
    }

    /// With other settings, flags and values in turn.
    pub(crate) async fn serve_and(self: &Arc<Self>, sandbox: &Sandbox, settings: &[&str]) -> Server {
        let mut args = self.serve_args(sandbox);
        for setting in settings.chunks(2) {
            match args.iter().position(|arg| arg == setting[0]) {
                Some(at) => args[at + 1] = setting[1].to_owned(),
                None => args.extend(setting.iter().map(|&arg| arg.to_owned())),
            }
        }
        self.ready(Program::start(&args, &[("PRESENCE_LOG", "debug")]))
            .await
    }

    /// The same settings, from the environment alone.
    pub(crate) async fn serve_by_variables(self: &Arc<Self>, sandbox: &Sandbox) -> Server {
        let (url, key) = (sandbox.edge_url().unwrap(), STANDARD.encode(sandbox.edge_key()));
        let variables = [
            ("PRESENCE_LISTEN", "127.0.0.1:0"),
            ("PRESENCE_DATA_DIR", self.path()),
            ("PRESENCE_EDGE_URL", &url),
            ("PRESENCE_EDGE_KEY", &key),
            ("PRESENCE_LOG_FORMAT", "json"),
        ];
        self.ready(Program::start(&["serve"], &variables)).await
    }

    /// A server whose instance `shop` is connected as [`SHOP`].
    pub(crate) async fn serve_with_shop(self: &Arc<Self>, sandbox: &Sandbox) -> Server {
        self.serve_with_shop_and(sandbox, &[]).await
    }

    /// With other settings, flags and values in turn.
    pub(crate) async fn serve_with_shop_and(
        self: &Arc<Self>,
        sandbox: &Sandbox,
        settings: &[&str],
    ) -> Server {
        let server = self.serve_and(sandbox, settings).await;
        assert_eq!(
            server.post("/api/instance/new", json!({"name": "shop"})).await.0,
            201
        );
        let (_, connect) = server.get("/api/instance/connect/shop").await;
        sandbox
            .scan(phone(SHOP), connect["qrCode"].as_str().unwrap())
            .await
            .unwrap();
        server.wait_for_state("shop", "connected").await;
        server
    }

    pub(crate) fn start<S: AsRef<std::ffi::OsStr>>(&self, args: &[S]) -> Program {
        Program::start(args, &[])
    }

    async fn ready(self: &Arc<Self>, mut program: Program) -> Server {
        let url = program.url().await;
        let known = self.token.lock().unwrap().clone();
        let token = match known {
            Some(token) => token,
            None => {
                let new = run(&["account", "new", "acme", "--data-dir", self.path()]).await;
                assert_eq!(new.code, Some(0), "{}", new.stderr);
                let token = new.stdout.trim_end().to_owned();
                *self.token.lock().unwrap() = Some(token.clone());
                token
            }
        };
        self.known_by(program, url, token).await
    }

    /// The server that `program` is, for an account that is there already.
    pub(super) async fn ready_for(self: &Arc<Self>, mut program: Program, token: &str) -> Server {
        let url = program.url().await;
        self.known_by(program, url, token.to_owned()).await
    }

    async fn known_by(self: &Arc<Self>, program: Program, url: String, token: String) -> Server {
        let server = Server {
            program,
            address: url.strip_prefix("http://").unwrap().parse().unwrap(),
            url,
            token,
            _data: Arc::clone(self),
        };
        server.wait_for_token(&server.token).await;
        server
    }
}

/// A server that is ready.
pub(crate) struct Server {
    program: Program,
    url: String,
    address: SocketAddr,
    token: String,
    /// The directory must not go before the process.
    _data: Arc<Data>,
}

impl Server {
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        self.call("GET", path, &self.token, Value::Null).await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.call("POST", path, &self.token, body).await.unwrap()
    }

    /// An error is a connection that broke: the server is gone.
    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        token: &str,
        body: Value,
    ) -> anyhow::Result<(u16, Value)> {
        let (status, body) = self.exchange(method, path, token, body).await?;
        Ok((status, serde_json::from_slice(&body)?))
    }

    /// The answer to a `GET` that is no JSON.
    pub(crate) async fn text(&self, path: &str) -> String {
        let (_, body) = self
            .exchange("GET", path, &self.token, Value::Null)
            .await
            .unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }

    async fn exchange(
        &self,
        method: &str,
        path: &str,
        token: &str,
        body: Value,
    ) -> anyhow::Result<(u16, Bytes)> {
        let stream = TcpStream::connect(self.address).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let body = if body.is_null() {
            Bytes::new()
        } else {
            Bytes::from(body.to_string())
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("token", token)
            .body(Full::new(body))?;
        let response = timeout(TEST_TIMEOUT, sender.send_request(request)).await??;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        Ok((status, body))
    }

    /// Waits until the server knows an account's token: another process may just have written it.
    pub(crate) async fn wait_for_token(&self, token: &str) {
        let known = async {
            while self
                .call("GET", "/api/instance/list", token, Value::Null)
                .await
                .unwrap()
                .0
                == 401
            {
                sleep(POLL).await;
            }
        };
        timeout(TEST_TIMEOUT, known).await.unwrap();
    }

    pub(crate) async fn wait_for_state(&self, name: &str, state: &str) {
        let path = format!("/api/instance/list?instanceName={name}");
        let is_so = async {
            loop {
                let (status, list) = self.get(&path).await;
                if status == 200 && list["instances"][0]["connection"]["state"] == state {
                    return;
                }
                sleep(POLL).await;
            }
        };
        let waited = timeout(TEST_TIMEOUT, is_so).await;
        assert!(
            waited.is_ok(),
            "{name} is not {state}:\n{}",
            self.program.log.borrow().as_str()
        );
    }

    /// Waits until a text is in the log.
    pub(crate) async fn wait_for_log(&self, text: &str) {
        self.program.wait_for_log(text).await;
    }

    /// From here on, the pipe with the log is not read.
    pub(crate) fn stop_reading_the_log(&self) {
        self.program.reads_log.send_replace(false);
    }

    pub(crate) fn read_the_log_again(&self) {
        self.program.reads_log.send_replace(true);
    }

    pub(crate) fn signal(&self, name: &str) {
        self.program.signal(name);
    }

    pub(crate) async fn end(self) -> End {
        self.program.end().await
    }
}

/// A running `presence-server`. Killed when dropped.
pub(crate) struct Program {
    child: Child,
    stdout: BufReader<ChildStdout>,
    log: watch::Receiver<String>,
    reads_log: watch::Sender<bool>,
    reader: JoinHandle<()>,
}

/// How a process ended, and what it wrote that nobody had read.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Program {
    pub(crate) fn start<S: AsRef<std::ffi::OsStr>>(args: &[S], variables: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_presence-server"))
            .args(args)
            .env_clear()
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        let (log, watched) = watch::channel(String::new());
        let (reads_log, mut reads) = watch::channel(true);
        let reader = tokio::spawn(async move {
            loop {
                if reads.wait_for(|reads| *reads).await.is_err() {
                    return;
                }
                let Ok(Some(line)) = stderr.next_line().await else {
                    return;
                };
                log.send_modify(|log| {
                    log.push_str(&line);
                    log.push('\n');
                });
            }
        });
        Self {
            child,
            stdout,
            log: watched,
            reads_log,
            reader,
        }
    }

    /// The next line of stdout.
    pub(crate) async fn line(&mut self) -> String {
        let mut line = String::new();
        timeout(TEST_TIMEOUT, self.stdout.read_line(&mut line))
            .await
            .unwrap()
            .unwrap();
        assert!(!line.is_empty(), "it ended:\n{}", self.log.borrow().as_str());
        line
    }

    /// Waits until a text is in the log.
    pub(crate) async fn wait_for_log(&self, text: &str) {
        let mut log = self.log.clone();
        timeout(TEST_TIMEOUT, log.wait_for(|log| log.contains(text)))
            .await
            .unwrap()
            .unwrap();
    }

    /// Where it listens, which is the first thing that a server says.
    pub(crate) async fn url(&mut self) -> String {
        let line = self.line().await;
        line.trim_end()
            .strip_prefix("listening on ")
            .unwrap_or_else(|| panic!("{line:?}"))
            .to_owned()
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().unwrap().to_string();
        let kill = std::process::Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status()
            .unwrap();
        assert!(kill.success());
    }

    pub(crate) async fn end(mut self) -> End {
        let mut stdout = String::new();
        let ended = async {
            self.stdout.read_to_string(&mut stdout).await.unwrap();
            self.child.wait().await.unwrap()
        };
        let status = timeout(TEST_TIMEOUT, ended).await;
        let status = status.unwrap_or_else(|_| panic!("it does not end:\n{}", self.log.borrow().as_str()));
        self.reader.await.unwrap();
        End {
            code: status.code(),
            stdout,
            stderr: self.log.borrow().clone(),
        }
    }
}

/// Runs a command to its end.
pub(crate) async fn run<S: AsRef<std::ffi::OsStr>>(args: &[S]) -> End {
    Program::start(args, &[]).end().await
}
