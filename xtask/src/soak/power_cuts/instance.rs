//! An instance, what was answered of it, and what its owner does with it next.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use anyhow::{Context, ensure};
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::ONLINE;
use crate::api::Api;
use crate::service::{Sandbox, until};

/// Whom presences are shown to.
const CUSTOMER: &str = "5511999999999";
/// How long an owner rests between two steps, at most, in milliseconds.
const LONGEST_REST_MS: u64 = 60;

/// What an instance is, as far as its owner was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Never created, or deleted.
    Absent,
    /// Never paired, or logged out.
    Unlinked,
    Linked,
}

/// What an owner does with an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Create,
    Pair,
    Show,
    LogOut,
    Delete,
}

impl Step {
    pub(super) const ALL: [Self; 5] = [Self::Create, Self::Pair, Self::Show, Self::LogOut, Self::Delete];

    /// What the instance is after it.
    const fn leads_to(self) -> Standing {
        match self {
            Self::Create | Self::LogOut => Standing::Unlinked,
            Self::Pair | Self::Show => Standing::Linked,
            Self::Delete => Standing::Absent,
        }
    }

    /// About how long it takes at most, in milliseconds.
    pub(super) const fn takes_ms(self) -> u64 {
        match self {
            Self::Pair => 400,
            Self::LogOut | Self::Delete => 80,
            Self::Create | Self::Show => 20,
        }
    }

    /// What it is called where cuts are counted.
    pub(super) const fn plural(self) -> &'static str {
        match self {
            Self::Create => "creations",
            Self::Pair => "pairings",
            Self::Show => "presences",
            Self::LogOut => "logouts",
            Self::Delete => "deletions",
        }
    }
}

/// A running service, and when it loses its power.
pub(super) struct Powered<'a> {
    pub(super) api: Api,
    pub(super) sandbox: &'a Sandbox,
    /// Set before the power is cut: what fails from then on may.
    pub(super) cut: AtomicBool,
    /// Told of each step that begins.
    pub(super) begun: Sender<Step>,
}

/// An instance and its phone.
#[derive(Debug)]
pub(super) struct Instance {
    number: usize,
    /// It stays linked once it is.
    steady: bool,
    standing: Standing,
    /// What was not answered before the power was cut.
    doing: Option<Step>,
}

impl Instance {
    pub(super) const fn new(number: usize, steady: bool) -> Self {
        Self {
            number,
            steady,
            standing: Standing::Absent,
            doing: None,
        }
    }

    pub(super) fn name(&self) -> String {
        format!("cut-{}", self.number)
    }

    pub(super) const fn is_steady(&self) -> bool {
        self.steady
    }

    pub(super) const fn doing(&self) -> Option<Step> {
        self.doing
    }

    pub(super) const fn phone(&self) -> u64 {
        5_511_500_000_000 + self.number as u64
    }

    /// How many devices its phone lists.
    pub(super) fn devices(&self, sandbox: &Sandbox) -> anyhow::Result<u64> {
        sandbox.control.get(&format!("/v1/phones/{}", self.phone()))?["devices"]
            .as_u64()
            .context("a phone counts its devices")
    }

    /// Does one thing after the other until the power is cut, and remembers what was answered.
    pub(super) fn live(&mut self, powered: &Powered<'_>, mut rng: StdRng) -> anyhow::Result<()> {
        while !powered.cut.load(Ordering::Relaxed) {
            let step = self.next_step(&mut rng);
            match self.take(step, powered) {
                Ok(()) => {}
                Err(_) if powered.cut.load(Ordering::Relaxed) => break,
                Err(error) => return Err(error.context(self.name())),
            }
            std::thread::sleep(Duration::from_millis(rng.random_range(0..LONGEST_REST_MS)));
        }
        Ok(())
    }

    fn next_step(&self, rng: &mut StdRng) -> Step {
        match self.standing {
            Standing::Absent => Step::Create,
            Standing::Unlinked if rng.random_ratio(1, 4) => Step::Delete,
            Standing::Unlinked => Step::Pair,
            Standing::Linked if self.steady => Step::Show,
            Standing::Linked => [Step::Show, Step::Show, Step::LogOut, Step::Delete][rng.random_range(0..4)],
        }
    }

    /// Takes a step, and knows what came of it when it is answered.
    pub(super) fn take(&mut self, step: Step, powered: &Powered<'_>) -> anyhow::Result<()> {
        if step == Step::Pair {
            // A device that was deleted before WhatsApp was told of it is no concern of the new one.
            let unlink = format!("/v1/phones/{}/unlink", self.phone());
            powered.sandbox.control.post_nothing(&unlink)?;
        }
        self.doing = Some(step);
        // Nobody listens once the power is cut.
        let _ = powered.begun.send(step);
        let (api, name) = (&powered.api, self.name());
        match step {
            Step::Create => api.post("/api/instance/new", &json!({ "name": name })).map(drop),
            Step::Pair => self.pair(powered),
            Step::Show => {
                let body = json!({ "number": CUSTOMER, "state": "typing", "duration": 1 });
                api.post(&format!("/api/chat/presence/{name}"), &body).map(drop)
            }
            Step::LogOut => api.delete(&format!("/api/instance/logout/{name}")).map(drop),
            Step::Delete => api.delete(&format!("/api/instance/delete/{name}")).map(drop),
        }
        .with_context(|| format!("{step:?} of one that is {:?}", self.standing))?;
        self.standing = step.leads_to();
        self.doing = None;
        Ok(())
    }

    fn pair(&self, powered: &Powered<'_>) -> anyhow::Result<()> {
        // Fails for one whose logout was undone: it would be connected, and have no QR code.
        powered.sandbox.link(&powered.api, &self.name(), self.phone())?;
        let path = format!("/api/instance/list?instanceName={}", self.name());
        until(ONLINE, "a paired instance is connected", || {
            let list = powered.api.get(&path)?;
            let connection = &list["instances"][0]["connection"];
            ensure!(connection["state"] != "loggedout", "{connection}");
            Ok(connection["state"] == "connected")
        })
    }

    /// What it may be after the cut: what it was, or what an unanswered step made of it. A pairing is the phone's to
    /// tell: what it believes in must be so.
    pub(super) fn possible(&self, sandbox: &Sandbox) -> anyhow::Result<Vec<Standing>> {
        Ok(match self.doing {
            None => vec![self.standing],
            Some(Step::Pair) if self.devices(sandbox)? > 0 => vec![Standing::Linked],
            Some(Step::Pair) => vec![Standing::Unlinked],
            // It logs out first.
            Some(Step::Delete) => vec![self.standing, Standing::Unlinked, Standing::Absent],
            Some(step) => vec![self.standing, step.leads_to()],
        })
    }

    /// Compares what the server's list has of it, if anything, with what is `possible`; `false` while that is
    /// undecided. Then it is known again what the instance is.
    pub(super) fn settle(&mut self, listed: Option<&Value>, possible: &[Standing]) -> anyhow::Result<bool> {
        let connection = listed.map(|listed| &listed["connection"]);
        let standing = match connection.map(|connection| connection["state"].as_str()) {
            None => Standing::Absent,
            Some(Some("connected")) => Standing::Linked,
            Some(Some("loggedout" | "disconnected")) => Standing::Unlinked,
            Some(_) => return Ok(false),
        };
        ensure!(
            possible.contains(&standing),
            "{} is {standing:?} after the cut, not {possible:?}: before it was {:?}, and {:?} was not answered; {}",
            self.name(),
            self.standing,
            self.doing,
            connection.map_or(&Value::Null, |connection| &connection["displayStatus"])
        );
        self.standing = standing;
        self.doing = None;
        Ok(true)
    }
}
