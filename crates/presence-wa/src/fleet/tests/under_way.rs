//! Several stanzas of one session under way at once.

mod failures;

use super::*;
use crate::error::ShowError;
use crate::fake::Answer;
use crate::session::{Contact, End, SendError};
use crate::watch::InstanceUpdate;
use presence_core::PresenceSent;
use tokio::task::JoinHandle;

const SECOND: Duration = Duration::from_secs(1);

type Asked = JoinHandle<Result<PresenceSent, ShowError>>;

/// A session that is online and available, whose stanzas wait from now on until the test lets them go.
async fn holding() -> (Fleet, Arc<World>, Instant) {
    let (fleet, world) = online().await;
    fleet.set_keep_online(DEVICE, true);
    settle().await;
    let start = Instant::now();
    world.lock().holds_stanzas = true;
    (fleet, world, start)
}

/// Asks for `state` for a minute in the chat `4915112345` and two digits.
async fn ask(fleet: &Fleet, chat: &str, state: &str) -> Asked {
    let fleet = fleet.clone();
    let seconds = if state == "pause" { 0 } else { 60 };
    let body = presence(&format!("49151123456{chat}"), state, seconds);
    let asked = tokio::spawn(async move { fleet.show(DEVICE, &body).await });
    settle().await;
    asked
}

async fn shown(fleet: &Fleet) -> Vec<String> {
    let shown = fleet.shown(DEVICE).await.into_iter();
    shown
        .map(|(chat, shown)| format!("{:?} {}", shown.indicator, &chat.user()[11..]))
        .collect()
}

fn broken() -> Result<(), SendError> {
    Err(SendError::Client("broken pipe".into()))
}

/// What of the session's chat states was written since `start`.
fn states(world: &World, start: Instant) -> String {
    let written = world.timeline(DEVICE, start);
    let states = written.split(", ").filter(|line| !line.ends_with("available"));
    states.collect::<Vec<_>>().join(", ")
}

#[tokio::test(start_paused = true)]
async fn requests_that_wait_together_are_under_way_together_and_all_answered() {
    let (fleet, world, _) = holding().await;
    let asked: Vec<_> = (0..12)
        .map(|chat| {
            let (fleet, body) = (
                fleet.clone(),
                presence(&format!("49151123456{chat:02}"), "typing", 60),
            );
            tokio::spawn(async move { fleet.show(DEVICE, &body).await })
        })
        .collect();
    settle().await;
    let first: Vec<_> = (0..8).map(|chat| format!("composing {chat:02}")).collect();
    assert_eq!(world.under_way(), first);
    // As soon as one is written the next is begun, whichever it was.
    world.end_write("composing 03", Ok(()));
    settle().await;
    assert_eq!((world.under_way().len(), asked[3].is_finished()), (8, true));
    assert_eq!(asked.iter().filter(|asked| asked.is_finished()).count(), 1);
    for _ in 0..2 {
        world.take_all();
        settle().await;
    }
    for asked in asked {
        assert!(asked.await.unwrap().is_ok());
    }
}

/// Two ask, the second from a task that is next behind the instance's. How many stanzas were under way by then.
async fn found_by_the_second(fleet: &Fleet, world: &Arc<World>, chats: [&str; 2]) -> usize {
    let ask = |chat: &str| {
        let (fleet, body) = (
            fleet.clone(),
            presence(&format!("49151123456{chat}"), "typing", 60),
        );
        async move { fleet.show(DEVICE, &body).await }
    };
    let first = tokio::spawn(ask(chats[0]));
    let (world_then, second) = (Arc::clone(world), ask(chats[1]));
    let second = async move {
        let found = world_then.under_way().len();
        second.await.map(|_| found)
    };
    // The first has woken the instance's task by the time this one begins.
    let second = tokio::spawn(async { tokio::spawn(second).await.unwrap() });
    settle().await;
    world.take_all();
    settle().await;
    assert!(first.await.unwrap().is_ok());
    second.await.unwrap().unwrap()
}

#[tokio::test(start_paused = true)]
async fn once_several_have_asked_together_whoever_is_about_to_ask_goes_first() {
    let (fleet, world, _) = holding().await;
    let alone = found_by_the_second(&fleet, &world, ["01", "02"]).await;
    assert_eq!(alone, 1, "a request alone waits for nobody");
    // The second has found the first under way.
    let together = found_by_the_second(&fleet, &world, ["03", "04"]).await;
    assert_eq!(together, 0, "the stanzas of both leave together");
    for _ in 0..40 {
        let lone = ask(&fleet, "05", "typing").await;
        world.take_all();
        assert!(lone.await.unwrap().is_ok());
    }
    let alone = found_by_the_second(&fleet, &world, ["06", "07"]).await;
    assert_eq!(alone, 1, "the crowd is gone");
}

#[tokio::test(start_paused = true)]
async fn stanzas_of_one_chat_keep_their_order_however_many_are_under_way() {
    let (fleet, world, start) = holding().await;
    let mut asked = Vec::new();
    for (chat, state) in [
        ("01", "typing"),
        ("02", "typing"),
        ("01", "pause"),
        ("03", "typing"),
    ] {
        asked.push(ask(&fleet, chat, state).await);
    }
    assert_eq!(world.under_way(), ["composing 01", "composing 02"]);
    world.end_write("composing 02", Ok(()));
    settle().await;
    assert_eq!(
        world.under_way(),
        ["composing 01"],
        "what is behind waits with it"
    );
    world.end_write("composing 01", Ok(()));
    settle().await;
    assert_eq!(world.under_way(), ["paused 01", "composing 03"]);
    world.take_all();
    for asked in asked {
        assert!(asked.await.unwrap().is_ok());
    }
    let expected = "0 composing 02, 0 composing 01, 0 paused 01, 0 composing 03";
    assert_eq!(without_fractions(&states(&world, start)), expected);
}

/// Each time that a test lets the tasks go on takes a nanosecond.
fn without_fractions(timeline: &str) -> String {
    let lines = timeline.split(", ").map(|line| {
        let (at, what) = line.split_once(' ').unwrap();
        format!("{:.0} {what}", at.parse::<f64>().unwrap())
    });
    lines.collect::<Vec<_>>().join(", ")
}

#[tokio::test(start_paused = true)]
async fn an_availability_is_under_way_alone() {
    let (fleet, world) = online().await;
    world.lock().holds_stanzas = true;
    let _asked = [
        ask(&fleet, "01", "typing").await,
        ask(&fleet, "02", "typing").await,
    ];
    assert_eq!(world.under_way(), ["available"]);
    world.take_all();
    settle().await;
    assert_eq!(world.under_way(), ["composing 01", "composing 02"]);
    world.session(DEVICE).tell(|online| online.self_announced += 1);
    let _asked = ask(&fleet, "03", "typing").await;
    world.end_write("composing 01", Ok(()));
    settle().await;
    assert_eq!(world.under_way(), ["composing 02"], "nothing passes it");
    world.take_all();
    settle().await;
    assert_eq!(world.under_way(), ["available"]);
    world.take_all();
    settle().await;
    assert_eq!(world.under_way(), ["composing 03"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_given_up_before_its_stanza_is_begun_is_not_sent() {
    let (fleet, world, start) = holding().await;
    let _first = ask(&fleet, "01", "typing").await;
    let given_up = ask(&fleet, "01", "recording").await;
    given_up.abort();
    settle().await;
    world.take_all();
    settle().await;
    assert_eq!(world.under_way(), [""; 0]);
    assert_eq!(without_fractions(&states(&world, start)), "0 composing 01");
}

#[tokio::test(start_paused = true)]
async fn a_farewell_pauses_what_is_under_way_when_it_is_written() {
    let (fleet, world, start) = holding().await;
    let _asked = [
        ask(&fleet, "01", "typing").await,
        ask(&fleet, "02", "typing").await,
    ];
    let closing = tokio::spawn({
        let fleet = fleet.clone();
        async move { fleet.shutdown(GRACE).await }
    });
    settle().await;
    world.end_write("composing 02", Ok(()));
    settle().await;
    assert_eq!(world.under_way(), ["composing 01"]);
    world.hold_no_stanzas();
    closing.await.unwrap();
    let expected = "0 composing 02, 0 composing 01, 0 paused 01, 0 paused 02";
    assert_eq!(without_fractions(&states(&world, start)), expected);
}

#[tokio::test(start_paused = true)]
async fn a_chat_is_paused_in_time_while_others_are_under_way() {
    let (fleet, world, _) = holding().await;
    let body = presence("4915112345601", "typing", 5);
    let (shown, ()) = tokio::join!(fleet.show(DEVICE, &body), async {
        settle().await;
        world.take_all();
    });
    shown.unwrap();
    sleep(4 * SECOND).await;
    let _asked = ask(&fleet, "02", "typing").await;
    sleep(SECOND).await;
    assert_eq!(world.under_way(), ["composing 02", "paused 01"]);
}

#[tokio::test(start_paused = true)]
async fn who_watches_is_told_of_an_indicator_when_its_own_stanza_is_written() {
    let (fleet, world, _) = holding().await;
    let mut watch = fleet.watch(DEVICE).unwrap();
    while !matches!(watch.next().await, Some(InstanceUpdate::Shown(_))) {}
    let _asked = [
        ask(&fleet, "01", "typing").await,
        ask(&fleet, "02", "typing").await,
    ];
    world.end_write("composing 02", Ok(()));
    let told = timeout(SECOND, watch.next()).await.unwrap().unwrap();
    let InstanceUpdate::Changed(change) = told else {
        panic!("{told:?}")
    };
    assert_eq!(&change.chat.user()[11..], "02");
    assert!(change.shown.is_some() && change.took.is_some());
    let another = timeout(SECOND, watch.next()).await;
    assert!(another.is_err(), "{another:?}");
}

#[tokio::test(start_paused = true)]
async fn two_names_of_one_person_are_joined_when_neither_can_fail_any_more() {
    for is_written in [true, false] {
        let (fleet, world, _) = holding().await;
        let contact = Contact {
            number: Some("551199999902@s.whatsapp.net".parse().unwrap()),
            lid: None,
        };
        let answer = Answer {
            after: 3 * SECOND,
            contact: Some(Some(contact)),
        };
        let number = "5511999999901";
        world.lock().answers.insert(number.parse().unwrap(), answer);
        let names = [number, "551199999902@s.whatsapp.net"];
        let asked = names.map(|name| {
            let (fleet, body) = (fleet.clone(), presence(name, "typing", 60));
            tokio::spawn(async move { fleet.show(DEVICE, &body).await })
        });
        sleep(4 * SECOND).await;
        assert_eq!(world.under_way(), ["composing 02", "composing 01"]);
        if is_written {
            world.hold_no_stanzas();
        } else {
            world.end_write("composing 02", broken());
            settle().await;
            world.hold_no_stanzas();
            until(&fleet, DEVICE, InstanceState::Connected).await;
        }
        for asked in asked {
            assert_eq!(asked.await.unwrap().is_ok(), is_written);
        }
        assert_eq!(fleet.shown(DEVICE).await.len(), usize::from(is_written));
    }
}
