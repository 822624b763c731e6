//! What phones show.

use std::sync::Arc;
use std::time::Duration;

use presence_sandbox::{Answer, Fault, JournalEntry, Number, Refused, Sandbox, Spell, State, Why, World};
use tokio::time::{Instant, sleep};
use whatsapp_rust::Jid;
use whatsapp_rust::wacore_binary::node::ValueRef;

use crate::device::{Connection, Device, until};

const BOB: &str = "5511977776666";

fn ann() -> Number {
    "5511988887777".parse().unwrap()
}

fn bob() -> Number {
    BOB.parse().unwrap()
}

fn chat() -> String {
    format!("{BOB}@s.whatsapp.net")
}

async fn ann_online() -> (Arc<Sandbox>, Connection) {
    let sandbox = Arc::new(Sandbox::builder().detached());
    let online = Device::linked(&sandbox, ann()).await.online().await;
    (sandbox, online)
}

/// Waits until Bob's phone shows exactly this from Ann.
async fn bob_sees(sandbox: &Sandbox, state: Option<State>) {
    until(sandbox, |world| {
        let now: Vec<_> = world.shown(bob()).states();
        now == state.map(|state| (ann(), state)).into_iter().collect::<Vec<_>>()
    })
    .await;
}

fn outline(timeline: &[Spell]) -> Vec<(State, Option<Why>)> {
    timeline.iter().map(|spell| (spell.state, spell.why)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_chat_state_shows_until_it_is_replaced_paused_or_forgotten() {
    let (sandbox, online) = ann_online().await;
    online.types_to(&chat()).await;
    bob_sees(&sandbox, Some(State::Typing)).await;
    online.records_to(&chat()).await;
    bob_sees(&sandbox, Some(State::Recording)).await;
    online.pauses_to(&chat()).await;
    bob_sees(&sandbox, None).await;
    online.types_to(&chat()).await;
    bob_sees(&sandbox, Some(State::Typing)).await;
    let shown = Instant::now();
    bob_sees(&sandbox, None).await;
    assert_eq!(
        shown.elapsed().as_secs(),
        10,
        "those who wait hear of an expiry when it happens"
    );
    assert_eq!(
        outline(&sandbox.timeline(bob())),
        [
            (State::Typing, Some(Why::Replaced)),
            (State::Recording, Some(Why::Paused)),
            (State::Typing, Some(Why::Expired))
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_renewed_indicator_does_not_blink() {
    let (sandbox, online) = ann_online().await;
    for _ in 0..12 {
        online.types_to(&chat()).await;
        sleep(Duration::from_secs(5)).await;
    }
    online.pauses_to(&chat()).await;
    bob_sees(&sandbox, None).await;
    let [spell] = &sandbox.timeline(bob())[..] else {
        panic!("it blinked")
    };
    let lasted = spell.hidden_at.unwrap() - spell.shown_at;
    assert_eq!((lasted.as_secs(), spell.why), (60, Some(Why::Paused)));
}

#[tokio::test(start_paused = true)]
async fn the_journal_has_what_was_sent_with_its_times() {
    let (sandbox, online) = ann_online().await;
    let chat_states = |world: &World| -> Vec<JournalEntry> {
        let all = world.journal(0, usize::MAX).entries;
        all.into_iter()
            .filter(|entry| entry.stanza.starts_with("<chatstate"))
            .collect()
    };
    online.types_to(&chat()).await;
    until(&sandbox, |world| chat_states(world).len() == 1).await;
    sleep(Duration::from_secs(3)).await;
    online.records_to("120363000000000000@g.us").await;
    until(&sandbox, |world| chat_states(world).len() == 2).await;
    let entries = sandbox.look(chat_states);
    let stanzas: Vec<_> = entries
        .iter()
        .map(|entry| (entry.from, entry.stanza.as_str()))
        .collect();
    assert_eq!(
        stanzas,
        [
            (
                Some(ann()),
                r#"<chatstate to="5511977776666@s.whatsapp.net"><composing/></chatstate>"#
            ),
            (
                Some(ann()),
                r#"<chatstate to="120363000000000000@g.us"><composing media="audio"/></chatstate>"#
            ),
        ]
    );
    assert_eq!((entries[1].at - entries[0].at).as_secs(), 3);
    let group = sandbox.look(|world| world.shown_in("120363000000000000@g.us".parse().unwrap()));
    assert_eq!(group.states(), [(ann(), State::Recording)]);
}

#[tokio::test(start_paused = true)]
async fn a_lid_is_the_phone_behind_it_and_an_alias_is_nobody() {
    let (sandbox, online) = ann_online().await;
    sandbox.set_lid_migrated(ann(), true).unwrap();
    let alias: Number = "551177776666".parse().unwrap();
    let lid = "123456789012345".parse().unwrap();
    sandbox.set_number(alias, Some(bob()), Some(lid)).unwrap();

    let asked = Jid::pn(alias.to_string());
    let [answer] = &online.client.contacts().is_on_whatsapp(&[asked]).await.unwrap()[..] else {
        panic!()
    };
    assert_eq!((answer.jid.to_string(), answer.is_registered), (chat(), true));
    assert_eq!(answer.lid.as_ref().unwrap().to_string(), "123456789012345@lid");

    online.types_to(&format!("{alias}@s.whatsapp.net")).await;
    online.types_to("999999999999999@lid").await;
    online.types_to("123456789012345@lid").await;
    bob_sees(&sandbox, Some(State::Typing)).await;
    assert!(sandbox.shown(alias).timeline.is_empty());
    assert_eq!(sandbox.timeline(bob()).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_number_that_is_not_on_whatsapp_is_said_to_be_out() {
    let (sandbox, online) = ann_online().await;
    sandbox.set_number(bob(), None, None).unwrap();
    let [answer] = &online
        .client
        .contacts()
        .is_on_whatsapp(&[Jid::pn(BOB)])
        .await
        .unwrap()[..]
    else {
        panic!()
    };
    assert!(!answer.is_registered);
    online.types_to(&chat()).await;
    online.client.presence().set_unavailable().await.unwrap();
    until(&sandbox, |world| !world.is_available(ann())).await;
    assert!(sandbox.timeline(bob()).is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_account_itself_can_be_found_by_number_and_by_lid() {
    let sandbox = Arc::new(Sandbox::builder().lid_migrated(true).detached());
    let device = Device::linked(&sandbox, ann()).await;
    let online = device.online().await;
    assert!(online.client.is_lid_migrated().await);
    let lid = device.lid().to_non_ad();
    let asked = [Jid::pn(ann().to_string()), lid.clone()];
    let answers = online.client.contacts().is_on_whatsapp(&asked).await.unwrap();
    assert_eq!(answers[0].lid, Some(lid));
    assert_eq!(answers[1].pn_jid.as_ref().unwrap().user, ann().to_string());
}

/// Why Ann's stanzas had no effect, each with its address.
fn refused(world: &World) -> Vec<(Refused, String)> {
    let of_ann = world.refused().filter(|entry| entry.from == Some(ann()));
    of_ann
        .map(|entry| {
            let to = entry
                .stanza
                .split("to=\"")
                .nth(1)
                .and_then(|rest| rest.split('"').next());
            (entry.refused.unwrap(), to.unwrap_or_default().to_owned())
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn each_account_reaches_a_person_under_one_address_only() {
    let (sandbox, online) = ann_online().await;
    let lid = "123456789012345@lid".to_owned();
    let bobs = "123456789012345".parse().unwrap();
    sandbox.set_number(bob(), Some(bob()), Some(bobs)).unwrap();

    online.types_to(&lid).await;
    until(&sandbox, |world| refused(world).len() == 1).await;
    online.types_to(&chat()).await;
    bob_sees(&sandbox, Some(State::Typing)).await;
    online.pauses_to(&chat()).await;
    bob_sees(&sandbox, None).await;

    sandbox.set_lid_migrated(ann(), true).unwrap();
    online.types_to(&chat()).await;
    until(&sandbox, |world| refused(world).len() == 2).await;
    online.types_to(&lid).await;
    bob_sees(&sandbox, Some(State::Typing)).await;
    online.types_to("5511955554444@s.whatsapp.net").await;
    until(&sandbox, |world| {
        !world.shown("5511955554444".parse().unwrap()).now.is_empty()
    })
    .await;
    assert_eq!(
        sandbox.look(refused),
        [(Refused::LidOfUnmoved, lid), (Refused::NumberOfMoved, chat())],
        "somebody without a LID is reached by number all the same"
    );
    assert_eq!(sandbox.timeline(bob()).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_refusal_of_a_lid_is_told_to_the_client() {
    let (sandbox, mut online) = ann_online().await;
    online.types_to("123456789012345@lid").await;
    until(&sandbox, |world| refused(world).len() == 1).await;
    let nack = online.stanza("ack").await;
    let attr = |name| nack.get().get_attr(name).map(|value| value.as_str().into_owned());
    assert_eq!(
        ["class", "error", "from"].map(|name| attr(name).unwrap()),
        ["chatstate", "400", "123456789012345@lid"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_device_learns_that_its_account_has_moved_when_it_logs_in() {
    let sandbox = Arc::new(Sandbox::builder().detached());
    let device = Device::linked(&sandbox, ann()).await;
    let online = device.online().await;
    sleep(Duration::from_secs(1)).await;
    assert!(!online.client.is_lid_migrated().await);
    online.hang_up().await;
    sandbox.set_lid_migrated(ann(), true).unwrap();
    let online = device.online().await;
    sleep(Duration::from_secs(1)).await;
    assert!(online.client.is_lid_migrated().await);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_shown_for_a_device_that_was_not_welcomed() {
    let sandbox = Arc::new(Sandbox::builder().detached());
    let device = Device::linked(&sandbox, ann()).await;
    sandbox.fault(Fault::withhold(Answer::Success).on(ann())).unwrap();
    let connection = device.connect().await;
    until(&sandbox, |world| world.connections(ann()) == 1).await;
    while !connection.client.is_connected() {
        sleep(Duration::from_millis(10)).await;
    }
    connection.types_to(&chat()).await;
    until(&sandbox, |world| {
        refused(world) == [(Refused::NotLoggedIn, chat())]
    })
    .await;
    assert!(sandbox.timeline(bob()).is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_server_says_who_it_is_as_a_jid() {
    let sandbox = Arc::new(Sandbox::builder().detached());
    let device = Device::linked(&sandbox, ann()).await;
    let mut online = device.connect().await;
    sleep(Duration::from_secs(2)).await;
    online.types_to(&chat()).await;
    until(&sandbox, |world| !world.shown(bob()).now.is_empty()).await;
    let senders: Vec<_> = online
        .stanzas()
        .iter()
        .filter_map(|stanza| {
            let from = stanza.get().get_attr("from")?;
            Some(matches!(from, ValueRef::Jid(_)))
        })
        .collect();
    assert!(
        senders.len() > 3 && senders.iter().all(|is_jid| *is_jid),
        "{senders:?}"
    );
    let entries = sandbox.journal().entries;
    let typing = entries
        .iter()
        .find(|entry| entry.stanza.starts_with("<chatstate"))
        .unwrap();
    assert_eq!(typing.jids, ["chatstate.to"]);
}
