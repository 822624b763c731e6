//! Random commands and random drops: afterwards every phone shows what the last command says.

use std::collections::HashMap;
use std::time::Duration;

use presence_sandbox::State;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::app::{TestApp, phone, secs};

const INSTANCES: [(&str, &str); 2] = [("north", "5511988887777"), ("south", "5511977776666")];
const CHATS: u32 = 100;
const COMMANDS: u32 = 300;
/// What tokio's timers and the pipes may add.
const TOLERANCE: Duration = Duration::from_millis(50);

/// What a chat was last told.
#[derive(Clone, Copy, Debug)]
struct Last {
    state: Option<State>,
    at: Instant,
    lasts: Duration,
}

#[tokio::test(start_paused = true)]
async fn every_phone_shows_what_the_last_command_says() {
    for seed in 0..8 {
        run(seed).await;
    }
}

async fn run(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let app = TestApp::start().await;
    for (name, number) in INSTANCES {
        app.connected(name, number).await;
    }
    let mut last: HashMap<(usize, u32), Last> = HashMap::new();
    for _ in 0..COMMANDS {
        let instance = rng.random_range(0..INSTANCES.len());
        let chat = rng.random_range(0..CHATS);
        if rng.random_ratio(1, 30) {
            app.sandbox.drop_connections(phone(INSTANCES[instance].1));
        }
        let (state, shown) = [
            ("typing", Some(State::Typing)),
            ("recording", Some(State::Recording)),
            ("pause", None),
        ][rng.random_range(0..3)];
        let seconds = [0, 1, 5, 20, 60][rng.random_range(0..5)];
        tell(
            &app,
            INSTANCES[instance].0,
            &customer(instance, chat),
            state,
            seconds,
        )
        .await;
        // Without a duration, it shows until the phone hides it.
        let lasts = Duration::from_secs(if seconds == 0 { 10 } else { seconds });
        last.insert(
            (instance, chat),
            Last {
                state: shown,
                at: Instant::now(),
                lasts,
            },
        );
        sleep(Duration::from_millis(rng.random_range(0..200))).await;
    }
    for (name, _) in INSTANCES {
        app.wait_for_state(name, "connected").await;
    }
    // As long as anything can still show, and then some.
    for look in 0..15 {
        sleep(secs(5.0)).await;
        assert_screens(&app, &last, &format!("seed {seed}, look {look}"));
    }
    for (key, _) in last {
        let shown = app.sandbox.shown(phone(&customer(key.0, key.1)));
        assert!(
            shown.now.is_empty(),
            "seed {seed}: {key:?} still shows {:?}",
            shown.now
        );
    }
}

/// Says it until it is taken: the session may be on its way back.
async fn tell(app: &TestApp, instance: &str, customer: &str, state: &str, seconds: u64) {
    let body = json!({"number": customer, "state": state, "duration": seconds});
    let start = Instant::now();
    loop {
        let reply = app
            .post(&format!("/api/chat/presence/{instance}"))
            .json(&body)
            .send()
            .await;
        match reply.status {
            200 => return,
            503 => sleep(secs(0.05)).await,
            _ => panic!("{reply:?}"),
        }
        assert!(start.elapsed() < secs(30.0), "{instance} does not come back");
    }
}

#[track_caller]
fn assert_screens(app: &TestApp, last: &HashMap<(usize, u32), Last>, when: &str) {
    let now = Instant::now();
    for ((instance, chat), told) in last {
        let end = told.at + told.lasts;
        if now + TOLERANCE > end && end + TOLERANCE > now {
            continue;
        }
        let expected = told.state.filter(|_| now < end);
        let shown: Vec<_> = app.sandbox.shown(phone(&customer(*instance, *chat))).states();
        let found = shown.first().map(|(_, state)| *state);
        assert_eq!(
            found,
            expected,
            "{when}: chat {chat} of {}, told {told:?} {:?} ago",
            INSTANCES[*instance].0,
            now - told.at
        );
    }
}

/// Numbers of the USA, which nobody needs to look up.
fn customer(instance: usize, chat: u32) -> String {
    format!("1415{instance}55{chat:04}")
}
