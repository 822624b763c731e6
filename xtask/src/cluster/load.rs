//! Clients: presences for random instances at random nodes, every answer kept, and phones that are compared with what
//! was promised.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rand::RngExt as _;
use serde_json::json;

use super::town::{Town, name, phone};
use crate::promises::Screen;

/// How many customers there are; every instance writes to all of them.
pub(super) const CUSTOMERS: usize = 12;
/// How many clients send at a time. Each has its own instances, so that the last command in a chat is known.
const CLIENTS: usize = 6;
/// The longest that an indicator is asked to be shown.
const LONGEST_HOLD: Duration = Duration::from_secs(30);
/// The longest pause between two presences of a client.
const PAUSE_MS: u64 = 60;
/// How many refusals are told in full.
const FIRST: usize = 3;
/// What an instance says while it has no session. A client may send it again.
const NOT_NOW: [&str; 3] = [
    "Instance is not connected to WhatsApp",
    "Service is starting",
    "Service is shutting down",
];

/// Every request that was ever sent.
#[derive(Default)]
pub(super) struct Requests(Mutex<Vec<Request>>);

struct Request {
    asked: Instant,
    took: Duration,
    answer: Answer,
    node: usize,
    instance: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Shown,
    /// As the contract says, while the instance has no session.
    NotNow(String),
    /// Whatever else.
    Wrong(u16, String),
    /// There was none, from a node that clients were sent to all the time.
    Nothing,
    /// There was none, because the node was killed or frozen meanwhile.
    InFlight,
}

/// What became of requests.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers {
    pub(super) shown: usize,
    /// Told to come again.
    pub(super) not_now: usize,
    /// Of these the first: which, when since the beginning, at which node, and why.
    pub(super) first_not_now: Vec<String>,
    /// Lost with the process that had them.
    pub(super) in_flight: usize,
    /// Neither.
    pub(super) lost: usize,
    /// What was wrong with these, and at which node.
    pub(super) wrong: BTreeMap<String, usize>,
    pub(super) longest: Duration,
}

impl Requests {
    /// What became of those that were sent from `since` on.
    pub(super) fn since(&self, since: Instant) -> Answers {
        let mut answers = Answers::default();
        for request in self.lock().iter().filter(|request| request.asked >= since) {
            answers.longest = answers.longest.max(request.took);
            match &request.answer {
                Answer::Shown => answers.shown += 1,
                Answer::NotNow(why) => {
                    answers.not_now += 1;
                    if answers.first_not_now.len() < FIRST {
                        let after = (request.asked - since).as_secs_f32();
                        answers.first_not_now.push(format!(
                            "{} after {after:.1} s by node-{} in {:.1} s: {why}",
                            name(request.instance),
                            request.node + 1,
                            request.took.as_secs_f32()
                        ));
                    }
                }
                Answer::InFlight => answers.in_flight += 1,
                Answer::Wrong(..) | Answer::Nothing => {
                    answers.lost += 1;
                    let what = format!("node-{}: {:?}", request.node + 1, request.answer);
                    *answers.wrong.entry(what).or_default() += 1;
                }
            }
        }
        answers
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Request>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A customer's phone number; every other one is Brazilian, and so looked up before it is written to.
fn customer(customer: usize) -> u64 {
    if customer.is_multiple_of(2) {
        5_511_980_000_000 + customer as u64
    } else {
        4_915_700_000_000 + customer as u64
    }
}

impl Town {
    /// Does `work` while clients send presences, and returns when they have all been answered.
    pub(super) fn under_load<T>(&self, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        let all: Vec<usize> = (0..self.size()).collect();
        self.under_load_on(&all, work)
    }

    /// The same with presences for these instances only. Those of one have one client, in their order.
    pub(super) fn under_load_on<T>(
        &self,
        busy: &[usize],
        work: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                scope.spawn({
                    let stop = &stop;
                    move || {
                        let mut rng = rand::rng();
                        let its: Vec<usize> = busy.iter().skip(client).step_by(CLIENTS).copied().collect();
                        while !its.is_empty() && !stop.load(Ordering::Relaxed) {
                            self.send_any(its[rng.random_range(0..its.len())]);
                            std::thread::sleep(Duration::from_millis(rng.random_range(0..PAUSE_MS)));
                        }
                    }
                });
            }
            let done = work();
            stop.store(true, Ordering::Relaxed);
            done
        })
    }

    /// A random presence of `instance`, at a node drawn by chance, with either token.
    fn send_any(&self, instance: usize) {
        let mut rng = rand::rng();
        let Ok(node) = self.any_node() else {
            return;
        };
        let (state, screen) = [
            ("typing", Screen::Typing),
            ("recording", Screen::Recording),
            ("pause", Screen::Nothing),
        ][rng.random_range(0..3)];
        let seconds: u64 = [
            0,
            rng.random_range(1..10),
            rng.random_range(10..=LONGEST_HOLD.as_secs()),
        ][rng.random_range(0..3)];
        let hold =
            Some(Duration::from_secs(seconds)).filter(|hold| screen != Screen::Nothing && !hold.is_zero());
        let to = rng.random_range(0..CUSTOMERS);
        let token = if rng.random() {
            &self.token
        } else {
            &self.tokens[instance]
        };
        let asked = Instant::now();
        let answer = self.send(node, token, instance, customer(to), state, seconds);
        let page = &mut self.page(instance)[to];
        match answer {
            Answer::Shown => page.took(screen, hold, asked, Instant::now()),
            _ => page.failed(Instant::now()),
        }
        self.requests.lock().push(Request {
            asked,
            took: asked.elapsed(),
            answer,
            node,
            instance,
        });
    }

    fn send(&self, node: usize, token: &str, instance: usize, to: u64, state: &str, seconds: u64) -> Answer {
        let body = json!({ "number": to.to_string(), "state": state, "duration": seconds });
        let path = format!("/api/chat/presence/{}", name(instance));
        let answer = self.nodes[node].api(token).call("POST", &path, Some(&body));
        match answer {
            Ok(answer) if answer.status == 200 => Answer::Shown,
            Ok(answer) if answer.status == 503 && NOT_NOW.iter().any(|text| answer.text.contains(text)) => {
                Answer::NotNow(answer.text.trim_end().to_owned())
            }
            Ok(answer) => Answer::Wrong(answer.status, answer.text),
            Err(_) if self.nodes[node].is_in_rotation() => Answer::Nothing,
            Err(_) => Answer::InFlight,
        }
    }

    /// Each of these shows "typing…" to `to` for so long; each at a node drawn by chance.
    pub(super) fn hold(&self, instances: &[usize], to: u64, time: Duration) -> anyhow::Result<()> {
        for &instance in instances {
            let answer = self.send(
                self.any_node()?,
                &self.token,
                instance,
                to,
                "typing",
                time.as_secs(),
            );
            ensure!(
                answer == Answer::Shown,
                "{} was answered {answer:?}",
                name(instance)
            );
        }
        Ok(())
    }

    /// What was asked of these within so long before now may have been lost with the node that had them.
    pub(super) fn doubt(&self, instances: &[usize], since: Instant) {
        for &instance in instances {
            let (mut pages, until) = (self.page(instance), Instant::now() + LONGEST_HOLD);
            pages.iter_mut().for_each(|page| page.doubt(since, until));
        }
    }

    /// Compares every phone with what was promised.
    pub(super) fn check_screens(&self) -> anyhow::Result<()> {
        for to in 0..CUSTOMERS {
            let path = format!("/v1/phones/{}/shown", customer(to));
            let asked = Instant::now();
            let screen = self.sandbox.control.get(&path)?;
            let looked = Instant::now();
            let now = screen["now"].as_array().context("a phone shows a list")?;
            let seen = now.iter().map(|shown| {
                let from = shown["from"].as_str().unwrap_or_default();
                let state = if shown["state"] == "typing" {
                    Screen::Typing
                } else {
                    Screen::Recording
                };
                (from.to_owned(), state)
            });
            let seen: BTreeMap<String, Screen> = seen.collect();
            for instance in 0..self.size() {
                let page = self.page(instance)[to];
                let seen = seen
                    .get(&phone(instance).to_string())
                    .copied()
                    .unwrap_or(Screen::Nothing);
                let expected = page.expected_between(asked, looked, None);
                ensure!(
                    expected.is_none_or(|expected| expected == seen),
                    "{} shows {seen:?} to customer {to}, not {expected:?}: {page:?}, and it is {looked:?}",
                    name(instance)
                );
            }
        }
        Ok(())
    }

    fn page(&self, instance: usize) -> MutexGuard<'_, [crate::promises::Page; CUSTOMERS]> {
        self.chats[instance]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
