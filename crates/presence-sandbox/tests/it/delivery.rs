//! What reaches other devices: chat states, presences, messages and what becomes of them.

use std::sync::Arc;
use std::time::Duration;

use presence_sandbox::{Number, Place, Sandbox, World};
use tokio::time::sleep;
use whatsapp_rust::Jid;
use whatsapp_rust::types::events::Event;
use whatsapp_rust::types::presence::{ChatPresence, ChatPresenceMedia};
use whatsapp_rust::waproto::whatsapp as wa;

use crate::device::{Connection, Device, until};

fn number(text: &str) -> Number {
    text.parse().unwrap()
}

fn ann() -> Number {
    number("5511988887777")
}

fn bob() -> Number {
    number("5511977776666")
}

fn sandbox() -> Arc<Sandbox> {
    Arc::new(Sandbox::builder().detached())
}

/// Somebody's device that is logged in, says it is available, and can be written to.
async fn available(sandbox: &Arc<Sandbox>, number: Number) -> (Device, Connection) {
    let device = Device::linked(sandbox, number).await;
    let online = device.online().await;
    until(sandbox, |world| world.is_available(number)).await;
    // The client uploads its keys in the background; before that nobody can write to it.
    sleep(Duration::from_secs(1)).await;
    (device, online)
}

fn chat(with: Number) -> String {
    format!("{with}@s.whatsapp.net")
}

/// Who was said to show what in which chat.
async fn chat_state(connection: &mut Connection) -> (String, String, ChatPresence, ChatPresenceMedia) {
    connection
        .event(|event| match event {
            Event::ChatPresence(update) => Some((
                update.source.chat.to_string(),
                update.source.sender.to_string(),
                update.state,
                update.media,
            )),
            _ => None,
        })
        .await
}

/// The next messages' chat, sender and text: one, or several that came together.
async fn messages(connection: &mut Connection) -> Vec<(String, String, String)> {
    connection
        .event(|event| match event {
            Event::Messages(batch) => {
                let texts = batch.iter().filter_map(|message| {
                    let text = message.message.conversation.clone().or_else(|| {
                        let sent = message.message.device_sent_message.as_option()?;
                        sent.message.as_option()?.conversation.clone()
                    })?;
                    let source = &message.info.source;
                    Some((source.chat.to_string(), source.sender.to_string(), text))
                });
                Some(texts.collect::<Vec<_>>()).filter(|texts| !texts.is_empty())
            }
            _ => None,
        })
        .await
}

/// The next message's chat, sender and text.
async fn message(connection: &mut Connection) -> (String, String, String) {
    messages(connection).await.remove(0)
}

/// The kinds of the receipts that a phone got for a message, by number and device.
fn receipts(world: &World, of: Number, id: &str) -> Vec<(Number, u16, String)> {
    let all = world.receipts(of).into_iter().filter(|receipt| receipt.id == id);
    all.map(|receipt| (receipt.from, receipt.device, receipt.kind))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_chat_state_reaches_the_devices_of_those_who_are_available() {
    let sandbox = sandbox();
    let (_, mut bobs) = available(&sandbox, bob()).await;
    let (_, anns) = available(&sandbox, ann()).await;
    anns.types_to(&chat(bob())).await;
    let told = chat_state(&mut bobs).await;
    let from_ann = |state, media| (chat(ann()), chat(ann()), state, media);
    assert_eq!(told, from_ann(ChatPresence::Composing, ChatPresenceMedia::Text));
    anns.records_to(&chat(bob())).await;
    let told = chat_state(&mut bobs).await;
    assert_eq!(told, from_ann(ChatPresence::Composing, ChatPresenceMedia::Audio));
    anns.pauses_to(&chat(bob())).await;
    let told = chat_state(&mut bobs).await;
    assert_eq!(told, from_ann(ChatPresence::Paused, ChatPresenceMedia::Text));

    bobs.client.presence().set_unavailable().await.unwrap();
    until(&sandbox, |world| !world.is_available(bob())).await;
    anns.types_to(&chat(bob())).await;
    sleep(Duration::from_secs(5)).await;
    let told = bobs.stanzas();
    assert!(!told.iter().any(|stanza| stanza.tag() == "chatstate"));
}

#[tokio::test(start_paused = true)]
async fn a_presence_reaches_those_who_subscribed_to_it() {
    let sandbox = sandbox();
    let (_, mut bobs) = available(&sandbox, bob()).await;
    let jid: Jid = chat(ann()).parse().unwrap();
    bobs.client.presence().subscribe(jid).await.unwrap();
    let told = |event: &Event| match event {
        Event::Presence(update) => Some((
            update.from.to_string(),
            update.unavailable,
            update.last_seen.is_some(),
        )),
        _ => None,
    };
    assert_eq!(bobs.event(told).await, (chat(ann()), true, false));
    let (_, anns) = available(&sandbox, ann()).await;
    assert_eq!(bobs.event(told).await, (chat(ann()), false, false));
    anns.hang_up().await;
    assert_eq!(bobs.event(told).await, (chat(ann()), true, true));
}

#[tokio::test(start_paused = true)]
async fn a_phones_message_reaches_the_linked_devices_of_both() {
    let sandbox = sandbox();
    let (_, mut bobs) = available(&sandbox, bob()).await;
    let (_, mut anns) = available(&sandbox, ann()).await;
    let id = sandbox.send(ann(), Place::Phone(bob()), "hello").unwrap();
    assert_eq!(
        message(&mut bobs).await,
        (chat(ann()), chat(ann()), "hello".to_owned())
    );
    assert_eq!(
        message(&mut anns).await,
        (chat(bob()), chat(ann()), "hello".to_owned()),
        "her own device shows it in the chat with him"
    );
    let [at_bobs_phone] = &sandbox.messages(bob())[..] else {
        panic!("his phone got it once")
    };
    assert_eq!(
        (
            at_bobs_phone.from,
            at_bobs_phone.device,
            at_bobs_phone.text.as_deref()
        ),
        (ann(), 0, Some("hello"))
    );
    until(&sandbox, |world| {
        let receipts = receipts(world, ann(), &id);
        receipts
            .iter()
            .any(|(from, device, _)| (*from, *device) == (bob(), 1))
            && receipts
                .iter()
                .any(|(from, device, _)| (*from, *device) == (ann(), 1))
    })
    .await;
    assert!(
        !sandbox
            .look(|world| receipts(world, ann(), &id))
            .iter()
            .any(|(.., kind)| kind == "retry")
    );
    sandbox.send(bob(), Place::Phone(ann()), "and back").unwrap();
    assert_eq!(message(&mut anns).await.2, "and back");
}

#[tokio::test(start_paused = true)]
async fn a_message_waits_for_a_device_that_is_away() {
    let sandbox = sandbox();
    let (device, bobs) = available(&sandbox, bob()).await;
    sleep(Duration::from_secs(5)).await;
    bobs.hang_up().await;
    until(&sandbox, |world| world.connections(bob()) == 0).await;
    for text in ["one", "two"] {
        sandbox.send(ann(), Place::Phone(bob()), text).unwrap();
    }
    let mut bobs = device.connect().await;
    let mut texts = Vec::new();
    while texts.len() < 2 {
        texts.extend(messages(&mut bobs).await.into_iter().map(|(.., text)| text));
    }
    assert_eq!(texts, ["one", "two"]);
    sleep(Duration::from_secs(5)).await;
    bobs.hang_up().await;
    let mut bobs = device.online().await;
    sleep(Duration::from_secs(5)).await;
    let again = bobs
        .stanzas()
        .iter()
        .filter(|stanza| stanza.tag() == "message")
        .count();
    assert_eq!(again, 0, "what was acknowledged does not come again");
}

#[tokio::test(start_paused = true)]
async fn a_group_gets_what_a_phone_sends_to_it() {
    let sandbox = sandbox();
    let group: Place = "120363000000000000@g.us".parse().unwrap();
    sandbox.set_group(group, "Friends", [ann(), bob()]).unwrap();
    let (_, mut bobs) = available(&sandbox, bob()).await;
    let (_, anns) = available(&sandbox, ann()).await;
    for text in ["hello all", "again"] {
        sandbox.send(ann(), group, text).unwrap();
        let got = message(&mut bobs).await;
        assert_eq!(
            got,
            ("120363000000000000@g.us".to_owned(), chat(ann()), text.to_owned())
        );
    }
    assert_eq!(sandbox.messages(bob()).len(), 2);
    anns.types_to("120363000000000000@g.us").await;
    let (chat_of, sender, ..) = chat_state(&mut bobs).await;
    assert_eq!(
        (chat_of.as_str(), sender),
        ("120363000000000000@g.us", chat(ann()))
    );
    let stranger = number("5511955554444");
    assert!(sandbox.send(stranger, group, "let me in").is_err());
}

#[tokio::test(start_paused = true)]
async fn a_devices_message_reaches_the_phones_and_the_other_devices() {
    let sandbox = sandbox();
    let (_, anns) = available(&sandbox, ann()).await;
    let (_, mut other) = available(&sandbox, ann()).await;
    let (_, mut bobs) = available(&sandbox, bob()).await;
    let text = wa::Message {
        conversation: Some("from a device".to_owned()),
        ..Default::default()
    };
    anns.client
        .send_message(chat(bob()).parse::<Jid>().unwrap(), text)
        .await
        .unwrap();
    assert_eq!(message(&mut bobs).await.2, "from a device");
    assert_eq!(message(&mut other).await.2, "from a device");
    until(&sandbox, |world| {
        let at = |number| {
            world
                .messages(number)
                .into_iter()
                .find_map(|message| message.text)
        };
        at(bob()).as_deref() == Some("from a device") && at(ann()).as_deref() == Some("from a device")
    })
    .await;
    assert_eq!(sandbox.messages(ann())[0].to, Some(bob()));
}
