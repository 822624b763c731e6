//! `cargo xtask proxies`: instances behind proxies that nobody here wrote, through HTTP, up to a phone.
//!
//! tinyproxy and microsocks are Debian's packages. Each stands between the service and the sandbox, with a password
//! and without; then the password is wrong, and then the proxy is gone.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Args;
use serde_json::{Value, json};

use crate::api::Api;
use crate::service::{Programs, Sandbox, say};

#[derive(Args)]
pub(crate) struct Proxies {
    /// Fail where a proxy is not installed, instead of leaving it out.
    #[arg(long)]
    all: bool,
}

/// A proxy that Debian has.
#[derive(Clone, Copy)]
enum Program {
    Tinyproxy,
    Microsocks,
}

/// The customer who sees "typing…".
const RECIPIENT: &str = "5511999999999";
/// What the proxies ask for.
const LOGIN: (&str, &str) = ("customer", "correct-horse");
/// How long anything here may take.
const LIMIT: Duration = Duration::from_secs(60);
/// How often something is looked at again.
const LOOK: Duration = Duration::from_millis(50);

impl Program {
    const ALL: [Self; 2] = [Self::Tinyproxy, Self::Microsocks];

    const fn name(self) -> &'static str {
        match self {
            Self::Tinyproxy => "tinyproxy",
            Self::Microsocks => "microsocks",
        }
    }

    const fn protocol(self) -> &'static str {
        match self {
            Self::Tinyproxy => "http",
            Self::Microsocks => "socks5",
        }
    }

    /// What `displayStatus` says of a wrong password.
    const fn words_of_refused_login(self) -> &'static str {
        match self {
            // It answers 401 instead of 407, and that is told from no other refusal.
            Self::Tinyproxy => "the proxy gave no connection to WhatsApp",
            Self::Microsocks => "the proxy refused the username and password",
        }
    }

    fn is_installed(self) -> bool {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&paths).any(|path| path.join(self.name()).is_file())
    }

    /// Starts it on a free port of loopback, and waits until it takes connections.
    fn start(self, dir: &Path, login: Option<(&str, &str)>) -> anyhow::Result<Proxy> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new(self.name());
        match self {
            Self::Tinyproxy => {
                let login = login.map(|(name, word)| format!("BasicAuth {name} {word}\n"));
                let config = dir.join(format!("tinyproxy-{port}.conf"));
                // Without a ConnectPort line it tunnels to any port.
                std::fs::write(
                    &config,
                    format!(
                        "Port {port}\nListen 127.0.0.1\nAllow 127.0.0.1\nTimeout 600\nMaxClients 50\n{}",
                        login.unwrap_or_default()
                    ),
                )?;
                command.args(["-d", "-c"]).arg(config);
            }
            Self::Microsocks => {
                command.args(["-i", "127.0.0.1", "-p", &port.to_string()]);
                if let Some((name, word)) = login {
                    command.args(["-u", name, "-P", word]);
                }
            }
        }
        let log = File::create(dir.join(format!("{}-{port}.log", self.name())))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("{} cannot be started", self.name()))?;
        let mut proxy = Proxy {
            program: self,
            child,
            port,
        };
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = proxy.child.try_wait()? {
                bail!("{} ended at once ({status})", self.name());
            }
            ensure!(started.elapsed() < LIMIT, "{} takes no connections", self.name());
            std::thread::sleep(LOOK);
        }
        Ok(proxy)
    }
}

/// A proxy that runs, and ends with this value.
struct Proxy {
    program: Program,
    child: Child,
    port: u16,
}

impl Proxy {
    fn settings(&self, login: Option<(&str, &str)>) -> Value {
        let mut settings = json!({
            "enabled": true,
            "host": "127.0.0.1",
            "port": self.port.to_string(),
            "protocol": self.program.protocol(),
        });
        if let Some((name, word)) = login {
            settings["username"] = name.into();
            settings["password"] = word.into();
        }
        settings
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Proxies {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let mut installed = Vec::new();
        for program in Program::ALL {
            if program.is_installed() {
                installed.push(program);
                continue;
            }
            let name = program.name();
            ensure!(!self.all, "{name} is not installed: `apt-get install {name}`");
            say(format_args!(
                "{name} is not installed, and left out: `apt-get install {name}` brings it."
            ));
        }
        if installed.is_empty() {
            say("No proxy was tried.");
            return Ok(());
        }
        let programs = Programs::build("warn")?;
        let data = tempfile::tempdir()?;
        let sandbox = programs.sandbox()?;
        let token = programs.new_account("proxies", data.path())?;
        let networks = [
            "--listen",
            "127.0.0.1:0",
            "--proxy-networks",
            "127.0.0.1",
            "--rate-limit",
            "0",
        ];
        let server = programs.server(&sandbox, data.path(), &networks)?;
        let api = Api::new(server.url.clone(), token);
        for (at, program) in installed.into_iter().enumerate() {
            for (login, number) in [(None, at * 2), (Some(LOGIN), at * 2 + 1)] {
                let trial = Trial {
                    api: &api,
                    sandbox: &sandbox,
                    instance: format!("{}-{number}", program.name()),
                    account: format!("55118888888{number:02}"),
                };
                let proxy = program.start(data.path(), login)?;
                trial.run(proxy, login).with_context(|| trial.instance.clone())?;
                let kind = if login.is_some() {
                    "with a password"
                } else {
                    "without a password"
                };
                say(format_args!("{} {kind}: as promised.", program.name()));
            }
        }
        server.stop()
    }
}

/// One instance behind one proxy.
struct Trial<'a> {
    api: &'a Api,
    sandbox: &'a Sandbox,
    instance: String,
    account: String,
}

impl Trial<'_> {
    fn run(&self, proxy: Proxy, login: Option<(&str, &str)>) -> anyhow::Result<()> {
        let Self { api, instance, .. } = self;
        let mut new = json!({ "name": instance });
        for (key, value) in proxy.settings(login).as_object().into_iter().flatten() {
            let key = format!("proxy{}{}", key[..1].to_uppercase(), &key[1..]);
            new[key] = value.clone();
        }
        let created = api.post("/api/instance/new", &new)?;
        ensure!(created["instance"]["ignored"].is_null(), "{created}");

        // A phone is linked, and sees, through the proxy.
        let qr = api.get(&format!("/api/instance/connect/{instance}"))?;
        let code = qr["qrCode"].as_str().context("connect gave no QR code")?;
        let scan = format!("/v1/phones/{}/scan", self.account);
        self.sandbox.control.post(&scan, &json!({ "qr": code }))?;
        self.until("connected", "")?;
        self.shows()?;
        let shown = api.get(&format!("/api/instance/getProxy/{instance}"))?;
        ensure!(shown["proxy"]["port"] == proxy.settings(login)["port"], "{shown}");
        ensure!(
            !shown.to_string().contains(LOGIN.1),
            "the password is shown: {shown}"
        );

        let change = format!("/api/instance/proxy/{instance}");
        let reconnect = format!("/api/instance/reconnect/{instance}");
        if login.is_some() {
            api.post(&change, &proxy.settings(Some((LOGIN.0, "wrong"))))?;
            self.shows().context("the session that is there goes on")?;
            api.post_nothing(&reconnect)?;
            self.until("connecting", proxy.program.words_of_refused_login())?;
            api.post(&change, &proxy.settings(login))?;
            self.until("connected", "")?;
            self.shows()?;
        }
        // The proxy goes, and the session with it; nobody connects without.
        drop(proxy);
        self.until("connecting", "the proxy does not answer")?;
        api.post(&change, &json!({ "enabled": false }))?;
        self.until("connected", "")?;
        self.shows()
    }

    /// Waits until the instance is in `state`, with these words.
    fn until(&self, state: &str, words: &str) -> anyhow::Result<()> {
        let asked = Instant::now();
        loop {
            let path = format!("/api/instance/list?instanceName={}", self.instance);
            let list = self.api.get(&path)?;
            let connection = &list["instances"][0]["connection"];
            let display = connection["displayStatus"].as_str().unwrap_or_default();
            if connection["state"] == state && display.contains(words) {
                return Ok(());
            }
            ensure!(
                asked.elapsed() < LIMIT,
                "it is not {state} ({words}) but {display} after {} s",
                LIMIT.as_secs()
            );
            std::thread::sleep(LOOK);
        }
    }

    /// The recipient's phone shows what the instance does, and that it is over. What is under way when a session is
    /// closed may be lost with it, so nothing goes on before the phone has seen the end.
    fn shows(&self) -> anyhow::Result<()> {
        let presence = format!("/api/chat/presence/{}", self.instance);
        let post = |state: &str| {
            let body = json!({ "number": RECIPIENT, "state": state, "duration": 5 });
            self.api.post(&presence, &body)
        };
        post("typing")?;
        self.until_the_phone_shows(1)?;
        post("pause")?;
        self.until_the_phone_shows(0)
    }

    fn until_the_phone_shows(&self, count: usize) -> anyhow::Result<()> {
        let phone = format!("/v1/phones/{RECIPIENT}/shown");
        let asked = Instant::now();
        loop {
            let screen = self.sandbox.control.get(&phone)?;
            if screen["now"].as_array().map(Vec::len) == Some(count) {
                return Ok(());
            }
            ensure!(
                asked.elapsed() < LIMIT,
                "the phone shows {}, not {count}",
                screen["now"]
            );
            std::thread::sleep(LOOK);
        }
    }
}
