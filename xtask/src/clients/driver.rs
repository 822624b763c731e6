//! A client as a child process that takes commands and tells what happens, both as lines of JSON.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

/// How long anything may take that a client is asked for.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How many of the last events are told when the one that is waited for does not come.
const REMEMBERED: usize = 5;

/// A running client. It ends with this value.
pub(crate) struct Driver {
    child: Child,
    commands: ChildStdin,
    events: Receiver<(Instant, Value)>,
}

impl Driver {
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("the client cannot be started")?;
        let commands = child.stdin.take().expect("stdin is piped");
        let stdout = child.stdout.take().expect("stdout is piped");
        let (sender, events) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Ok(event) = serde_json::from_str(&line)
                    && sender.send((Instant::now(), event)).is_err()
                {
                    return;
                }
            }
        });
        let mut driver = Self {
            child,
            commands,
            events,
        };
        driver.wait("ready", |_| true)?;
        Ok(driver)
    }

    /// Tells the client to do something; `command` has its name as `do`.
    pub(crate) fn tell(&mut self, command: &Value) -> anyhow::Result<()> {
        writeln!(self.commands, "{command}").context("the client has ended")
    }

    /// Waits for an event of this name that is as wanted, and returns it with its time. Others that come before
    /// it are dropped, but an error of the client's is an error here.
    pub(crate) fn wait(
        &mut self,
        name: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<(Instant, Value)> {
        let asked = Instant::now();
        let mut before = VecDeque::new();
        loop {
            let left = TIMEOUT.saturating_sub(asked.elapsed());
            let Ok((at, event)) = self.events.recv_timeout(left) else {
                bail!("no {name} came, but {before:?}");
            };
            if event["event"] == name && wanted(&event) {
                return Ok((at, event));
            }
            if event["event"] == "error" {
                bail!("the client says: {}", event["text"]);
            }
            if before.len() == REMEMBERED {
                before.pop_front();
            }
            before.push_back(event.to_string());
        }
    }

    /// Lets `time` pass, in which no event of this name may come.
    pub(crate) fn never(&mut self, name: &str, time: Duration) -> anyhow::Result<()> {
        let began = Instant::now();
        while let Ok((_, event)) = self.events.recv_timeout(time.saturating_sub(began.elapsed())) {
            ensure!(event["event"] != name, "{event} came");
        }
        Ok(())
    }

    /// Ends the client as its user would, without logging out.
    pub(crate) fn quit(mut self) -> anyhow::Result<()> {
        self.tell(&json!({ "do": "quit" }))?;
        let asked = Instant::now();
        while asked.elapsed() < Duration::from_secs(5) {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("the client did not end")
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
