//! Linking devices, and unlinking them.

use std::sync::Arc;
use std::time::Duration;

use presence_sandbox::{Fault, FaultKind, Number, PairError, Refused, Sandbox, When};
use tokio::time::{Instant, advance, sleep};
use whatsapp_rust::types::events::{ConnectFailureReason, Event};

use crate::device::{Device, until};

fn phone() -> Number {
    "5511988887777".parse().unwrap()
}

fn sandbox() -> Arc<Sandbox> {
    Arc::new(Sandbox::builder().detached())
}

#[tokio::test(start_paused = true)]
async fn a_scanned_device_is_linked_and_logs_in() {
    let sandbox = sandbox();
    let device = Device::linked(&sandbox, phone()).await;
    assert_eq!(device.jid().to_string(), "5511988887777:1@s.whatsapp.net");
    assert_eq!(
        sandbox.look(|world| (world.linked_devices(phone()), world.connections(phone()))),
        (1, 0)
    );
    let online = device.online().await;
    assert_eq!(sandbox.connections(phone()), 1);
    until(&sandbox, |world| world.is_available(phone())).await;
    online.hang_up().await;
    until(&sandbox, |world| {
        world.connections(phone()) == 0 && !world.is_available(phone())
    })
    .await;
}

#[tokio::test]
async fn it_all_works_over_tcp() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let device = Device::over_tcp(&sandbox).await;
    let mut connection = device.connect().await;
    let qr = connection.qr_code().await;
    sandbox.scan(phone(), &qr).await.unwrap();
    connection.ended().await;
    let _online = device.online().await;
    assert_eq!(sandbox.connections(phone()), 1);
    sandbox.stop().await;
}

#[tokio::test]
async fn a_device_whose_code_is_entered_is_linked() {
    let sandbox = sandbox();
    let device = Device::new(&sandbox).await;
    let mut connection = device.connect().await;
    let code = connection.link_code(phone()).await;
    let as_people_write = format!("{}-{}", &code[..4], code[4..].to_lowercase());
    sandbox.enter_link_code(phone(), &as_people_write).await.unwrap();
    connection.ended().await;
    assert_eq!(device.jid().user, phone().to_string());
    let _online = device.online().await;
    assert_eq!(sandbox.connections(phone()), 1);
}

#[tokio::test]
async fn a_wrong_link_code_is_told_apart_and_the_right_one_still_works() {
    let sandbox = sandbox();
    let device = Device::new(&sandbox).await;
    let mut connection = device.connect().await;
    let code = connection.link_code(phone()).await;
    let other: Number = "5511988887778".parse().unwrap();
    assert_eq!(
        sandbox.enter_link_code(other, &code).await,
        Err(PairError::NoLinkCode)
    );
    assert_eq!(
        sandbox.enter_link_code(phone(), "ABCD").await,
        Err(PairError::NotALinkCode)
    );
    assert_eq!(
        sandbox.enter_link_code(phone(), "ABCD-EFGH").await,
        Err(PairError::WrongLinkCode)
    );
    assert_eq!(sandbox.look(|world| world.linked_devices(phone())), 0);
    sandbox.enter_link_code(phone(), &code).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn only_a_code_that_a_device_shows_can_be_scanned() {
    let (sandbox, elsewhere) = (sandbox(), sandbox());
    let device = Device::new(&elsewhere).await;
    let mut connection = device.connect().await;
    let first = connection.qr_code().await;
    assert_eq!(sandbox.scan(phone(), &first).await, Err(PairError::UnknownQrCode));
    assert_eq!(sandbox.scan(phone(), "hello").await, Err(PairError::NotAQrCode));

    advance(Duration::from_secs(61)).await;
    let second = connection.qr_code().await;
    assert_eq!(
        elsewhere.scan(phone(), &first).await,
        Err(PairError::ExpiredQrCode)
    );
    elsewhere.scan(phone(), &second).await.unwrap();
    assert_eq!(
        elsewhere.scan(phone(), &second).await,
        Err(PairError::UnknownQrCode)
    );
}

#[tokio::test(start_paused = true)]
async fn a_forged_code_is_refused_by_the_device() {
    let sandbox = sandbox();
    let device = Device::new(&sandbox).await;
    let mut connection = device.connect().await;
    let qr = connection.qr_code().await;
    let mut fields: Vec<_> = qr.split(',').map(str::to_owned).collect();
    fields[3] = "A".repeat(43) + "=";
    let refused = sandbox.scan(phone(), &fields.join(",")).await;
    assert_eq!(refused, Err(PairError::Refused("hmac-mismatch".to_owned())));
    sandbox.scan(phone(), &qr).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_phone_links_only_so_many_devices() {
    let sandbox = Arc::new(Sandbox::builder().max_devices(1).detached());
    let _linked = Device::linked(&sandbox, phone()).await;
    let device = Device::new(&sandbox).await;
    let mut connection = device.connect().await;
    let qr = connection.qr_code().await;
    assert_eq!(
        sandbox.scan(phone(), &qr).await,
        Err(PairError::TooManyDevices(1))
    );
    assert_eq!(sandbox.unlink(phone()), 1);
    sandbox.scan(phone(), &qr).await.unwrap();
    connection.ended().await;
    assert_eq!(
        device.jid().device,
        2,
        "a device number is not given out again at once"
    );
}

#[tokio::test(start_paused = true)]
async fn an_unlinked_device_is_thrown_out_and_stays_out() {
    let sandbox = sandbox();
    let device = Device::linked(&sandbox, phone()).await;
    let mut online = device.online().await;
    assert_eq!(sandbox.unlink(phone()), 1);
    let on_connect = online.event(logged_out).await;
    assert_eq!(on_connect, (false, ConnectFailureReason::LoggedOut));
    online.ended().await;

    let mut again = device.connect().await;
    assert_eq!(
        again.event(logged_out).await,
        (true, ConnectFailureReason::LoggedOut)
    );
    again.ended().await;
    let _new = Device::linked(&sandbox, phone()).await.online().await;
}

#[tokio::test(start_paused = true)]
async fn a_device_that_logs_out_is_unlinked() {
    let sandbox = sandbox();
    let device = Device::linked(&sandbox, phone()).await;
    let online = device.online().await;
    online.client.logout().await;
    until(&sandbox, |world| {
        world.linked_devices(phone()) == 0 && world.connections(phone()) == 0
    })
    .await;
    assert_eq!(
        device.connect().await.event(logged_out).await,
        (true, ConnectFailureReason::LoggedOut)
    );
}

#[tokio::test(start_paused = true)]
async fn of_two_connections_of_a_device_the_older_goes() {
    let sandbox = sandbox();
    let device = Device::linked(&sandbox, phone()).await;
    let mut older = device.online().await;
    let newer = device.online().await;
    older
        .event(|event| matches!(event, Event::StreamReplaced(_)).then_some(()))
        .await;
    older.ended().await;
    newer.types_to("5511977776666@s.whatsapp.net").await;
    until(&sandbox, |world| {
        !world.shown("5511977776666".parse().unwrap()).now.is_empty()
    })
    .await;
    assert_eq!(sandbox.connections(phone()), 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_replaced_connection_still_says_is_shown_to_nobody_and_told_in_the_journal() {
    let builder = Sandbox::builder().hang_up_after(Duration::from_secs(60));
    let sandbox = Arc::new(builder.detached());
    let device = Device::linked(&sandbox, phone()).await;
    let (same, deaf) = device.deafened(&sandbox);
    let older = same.online().await;
    deaf.send_replace(true);
    let newer = device.online().await;

    older.types_to("5511977776666@s.whatsapp.net").await;
    until(&sandbox, |world| {
        world
            .refused()
            .any(|entry| entry.refused == Some(Refused::Superseded) && entry.stanza.starts_with("<chatstate"))
    })
    .await;
    assert_eq!(sandbox.shown("5511977776666".parse().unwrap()).timeline, []);
    drop((older, newer));
}

#[tokio::test(start_paused = true)]
async fn a_device_that_vanishes_while_it_is_linked_is_not_linked() {
    let sandbox = sandbox();
    let device = Device::new(&sandbox).await;
    let mut connection = device.connect().await;
    let qr = connection.qr_code().await;
    sandbox
        .fault(Fault::new(FaultKind::Drop).when(When::AfterStanzas(1)))
        .unwrap();
    assert_eq!(
        sandbox.scan(phone(), &qr).await,
        Ok(()),
        "it signed with its last stanza"
    );
    sandbox.clear_faults();

    let device = Device::new(&sandbox).await;
    let mut connection = device.connect().await;
    let qr = connection.qr_code().await;
    sandbox.fault(Fault::stall()).unwrap();
    assert_eq!(sandbox.scan(phone(), &qr).await, Err(PairError::Late));
    sandbox.clear_faults();
    connection.hang_up().await;
    until(&sandbox, |world| world.all_connections() == 0).await;
    assert_eq!(sandbox.scan(phone(), &qr).await, Err(PairError::UnknownQrCode));
}

fn logged_out(event: &Event) -> Option<(bool, ConnectFailureReason)> {
    match event {
        Event::LoggedOut(out) => Some((out.on_connect, out.reason)),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_linked_device_is_told_to_connect_again_some_time_later() {
    for (set, expected) in [(None, 400), (Some(1500), 1500), (Some(0), 0)] {
        let mut builder = Sandbox::builder();
        if let Some(millis) = set {
            builder = builder.restart_after(Duration::from_millis(millis));
        }
        let sandbox = Arc::new(builder.detached());
        let device = Device::new(&sandbox).await;
        let mut connection = device.connect().await;
        let qr = connection.qr_code().await;
        sandbox.scan(phone(), &qr).await.unwrap();
        let linked = Instant::now();
        let error = connection.stanza("stream:error").await;
        assert_eq!(error.get().get_attr("code").unwrap().as_str(), "515");
        assert_eq!(linked.elapsed().as_millis(), expected, "{set:?}");
        connection.ended().await;
        let _online = device.online().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_device_is_not_registered_before_its_confirmation_was_read() {
    let builder = Sandbox::builder().register_after(Duration::from_secs(2));
    let sandbox = Arc::new(builder.detached());
    let device = Device::new(&sandbox).await;
    let mut connection = device.connect().await;
    let qr = connection.qr_code().await;
    let scan = tokio::spawn({
        let sandbox = sandbox.clone();
        async move { sandbox.scan(phone(), &qr).await }
    });
    connection
        .event(|event| matches!(event, Event::PairSuccess(_)).then_some(()))
        .await;
    sleep(Duration::from_secs(1)).await;
    // As a client that does not wait for 515.
    connection.hang_up().await;
    let mut hasty = device.connect().await;
    assert_eq!(
        hasty.event(logged_out).await,
        (true, ConnectFailureReason::LoggedOut)
    );
    assert_eq!(sandbox.look(|world| world.linked_devices(phone())), 0);
    let why: Vec<_> =
        sandbox.look(|world| world.refused().map(|entry| (entry.from, entry.refused)).collect());
    assert_eq!(why, [(Some(phone()), Some(Refused::NotRegistered))]);

    assert_eq!(scan.await.unwrap(), Ok(()));
    assert_eq!(sandbox.look(|world| world.linked_devices(phone())), 1);
    let _online = device.online().await;
}

#[tokio::test(start_paused = true)]
async fn the_stream_ends_first_and_the_connection_later() {
    let builder = Sandbox::builder().hang_up_after(Duration::from_secs(2));
    let sandbox = Arc::new(builder.detached());
    let device = Device::linked(&sandbox, phone()).await;
    let (device, mut ends) = device.tapped(&sandbox);
    let mut online = device.online().await;
    sandbox.fault(Fault::stream_error(503)).unwrap();
    online.stanza("xmlstreamend").await;
    let said = Instant::now();
    let ended = ends.recv().await.unwrap();
    assert_eq!(ended.at - said, Duration::from_secs(2));
    // A closing frame of a WebSocket would begin with this.
    assert!(!ended.last.starts_with(&[0x88]), "{:?}", ended.last);
}

#[tokio::test]
async fn a_sandbox_that_remembers_can_be_started_again() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("state.json");
    let start = || Sandbox::builder().state(&file).start();
    let sandbox = start().await.unwrap();
    let device = Device::over_tcp(&sandbox).await;
    let mut connection = device.connect().await;
    let qr = connection.qr_code().await;
    sandbox.scan(phone(), &qr).await.unwrap();
    connection.ended().await;
    let online = device.online().await;
    sandbox.set_lid_migrated(phone(), true).unwrap();
    online.hang_up().await;
    let key = sandbox.edge_key();
    sandbox.stop().await;

    let sandbox = start().await.unwrap();
    assert_eq!(sandbox.edge_key(), key);
    assert!(sandbox.look(|world| world.is_lid_migrated(phone())));
    let device = device.moved_to(&sandbox);
    let _online = device.online().await;
    assert_eq!(sandbox.connections(phone()), 1);
    sandbox.stop().await;

    std::fs::write(&file, "{}").unwrap();
    assert!(start().await.is_err(), "something else is not taken for it");
}
