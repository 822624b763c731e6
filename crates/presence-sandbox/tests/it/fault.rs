//! What faults do to the real client.

use std::sync::Arc;
use std::time::Duration;

use presence_sandbox::{Answer, Fault, FaultKind, Number, Sandbox, When};
use tokio::time::{Instant, timeout};
use whatsapp_rust::Jid;
use whatsapp_rust::types::events::Event;

use crate::device::{Device, until};

const SECOND: Duration = Duration::from_secs(1);

fn ann() -> Number {
    "5511988887777".parse().unwrap()
}

async fn linked() -> (Arc<Sandbox>, Device) {
    let sandbox = Arc::new(Sandbox::builder().detached());
    let device = Device::linked(&sandbox, ann()).await;
    (sandbox, device)
}

/// What a client made of a fault, in a word.
fn outcome(event: &Event) -> Option<String> {
    Some(match event {
        Event::LoggedOut(_) => "logged out".to_owned(),
        Event::StreamReplaced(_) => "replaced".to_owned(),
        Event::TemporaryBan(ban) => format!("banned for {} s", ban.expire.num_seconds()),
        Event::ClientOutdated(_) => "outdated".to_owned(),
        Event::ConnectFailure(failure) => format!("failure {}", failure.reason.code()),
        Event::StreamError(error) => format!("stream error {}", error.code),
        _ => return None,
    })
}

#[tokio::test(start_paused = true)]
async fn each_failure_at_login_is_what_the_client_takes_it_for() {
    let (sandbox, device) = linked().await;
    let cases = [
        (401, "logged out"),
        (403, "logged out"),
        (405, "outdated"),
        (409, "failure 409"),
        (400, "failure 400"),
        (429, "failure 429"),
        (500, "failure 500"),
        (501, "failure 501"),
        (502, "failure 502"),
        (503, "failure 503"),
        (504, "failure 504"),
    ];
    for (reason, expected) in cases {
        sandbox
            .fault(Fault::failure(reason).when(When::Login).times(1))
            .unwrap();
        let mut connection = device.connect().await;
        assert_eq!(connection.event(outcome).await, expected, "failure {reason}");
        connection.ended().await;
    }
    let _online = device.online().await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_need_not_give_a_reason_and_can_last_for_a_while() {
    let (sandbox, device) = linked().await;
    let silent = Fault::new(FaultKind::FailureWithoutReason).when(When::Login);
    sandbox.fault(silent.lasting(30 * SECOND)).unwrap();
    for _ in 0..2 {
        let mut connection = device.connect().await;
        assert_eq!(connection.event(outcome).await, "failure 0");
        connection.ended().await;
        tokio::time::sleep(10 * SECOND).await;
    }
    tokio::time::sleep(10 * SECOND).await;
    assert_eq!(sandbox.look(|world| world.faults().count()), 0);
    let _online = device.online().await;
}

#[tokio::test(start_paused = true)]
async fn each_stream_error_is_what_the_client_takes_it_for() {
    let (sandbox, device) = linked().await;
    let cases = [
        (Fault::stream_error(401), Some("logged out")),
        (Fault::stream_error(516), Some("logged out")),
        (Fault::new(FaultKind::DeviceRemoved), Some("logged out")),
        (Fault::stream_error(409), Some("replaced")),
        (Fault::new(FaultKind::Replaced), Some("replaced")),
        (Fault::stream_error(777), Some("stream error 777")),
        (Fault::stream_error(515), None),
        (Fault::stream_error(503), None),
        (Fault::new(FaultKind::StreamEnd), None),
        (Fault::new(FaultKind::Drop), None),
    ];
    for (fault, expected) in cases {
        let mut online = device.online().await;
        assert_eq!(sandbox.fault(fault.clone().on(ann())), Ok((None, 1)));
        if let Some(expected) = expected {
            assert_eq!(online.event(outcome).await, expected, "{fault:?}");
        }
        online.ended().await;
        until(&sandbox, |world| world.connections(ann()) == 0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_error_need_not_end_the_connection() {
    let (sandbox, device) = linked().await;
    let online = device.online().await;
    let limited = FaultKind::StreamError {
        code: 429,
        hang_up: false,
    };
    sandbox.fault(Fault::new(limited)).unwrap();
    while online.client.is_logged_in() {
        tokio::task::yield_now().await;
    }
    assert!(online.client.is_connected());
    assert_eq!(sandbox.connections(ann()), 1);
}

#[tokio::test(start_paused = true)]
async fn a_banned_client_learns_how_long() {
    let (sandbox, device) = linked().await;
    let mut online = device.online().await;
    sandbox.fault(Fault::ban(90 * SECOND).on(ann())).unwrap();
    assert_eq!(online.event(outcome).await, "banned for 90 s");
    online.ended().await;

    tokio::time::sleep(30 * SECOND).await;
    let mut banned = device.connect().await;
    assert_eq!(banned.event(outcome).await, "banned for 60 s");
    tokio::time::sleep(61 * SECOND).await;
    let _online = device.online().await;
}

#[tokio::test(start_paused = true)]
async fn a_withheld_answer_keeps_the_client_waiting() {
    let (sandbox, device) = linked().await;
    sandbox.fault(Fault::withhold(Answer::Offline)).unwrap();
    let start = Instant::now();
    let online = device.online().await;
    assert_eq!(start.elapsed().as_secs(), 60);
    online.hang_up().await;

    sandbox.clear_faults();
    sandbox.fault(Fault::withhold(Answer::Success).on(ann())).unwrap();
    let connection = device.connect().await;
    until(&sandbox, |world| world.connections(ann()) == 1).await;
    tokio::time::sleep(5 * SECOND).await;
    assert!(connection.client.is_connected() && !connection.client.is_logged_in());
}

#[tokio::test(start_paused = true)]
async fn an_answer_can_come_late_or_be_a_refusal() {
    let (sandbox, device) = linked().await;
    let online = device.online().await;
    let asked = [Jid::pn("5511977776666")];
    sandbox
        .fault(Fault::delay(Answer::Usync, 5 * SECOND).times(1))
        .unwrap();
    let start = Instant::now();
    assert_eq!(
        online
            .client
            .contacts()
            .is_on_whatsapp(&asked)
            .await
            .unwrap()
            .len(),
        1
    );
    assert_eq!(start.elapsed().as_secs(), 5);

    let answers = vec![Answer::Usync];
    let limited = FaultKind::Reject {
        answers,
        code: 429,
        text: "rate-overlimit".to_owned(),
    };
    sandbox.fault(Fault::new(limited)).unwrap();
    let refusal = online.client.contacts().is_on_whatsapp(&asked).await.unwrap_err();
    assert!(refusal.to_string().contains("429"), "{refusal}");
}

#[tokio::test(start_paused = true)]
async fn a_stalled_connection_takes_nothing_until_it_goes_on() {
    let (sandbox, device) = linked().await;
    let online = device.online().await;
    sandbox.fault(Fault::stall().on(ann())).unwrap();
    let before = sandbox.journal().latest;
    let flood = async {
        loop {
            online.types_to("5511977776666@s.whatsapp.net").await;
        }
    };
    timeout(SECOND, flood).await.expect_err("sending comes to a halt");
    assert_eq!(sandbox.journal().latest, before);
    sandbox.clear_faults();
    until(&sandbox, |world| {
        !world.shown("5511977776666".parse().unwrap()).now.is_empty()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn refused_connections_never_come_about() {
    let (sandbox, device) = linked().await;
    sandbox.fault(Fault::refuse().times(1)).unwrap();
    device.connect().await.ended().await;
    sandbox.fault(Fault::refuse().on(ann()).times(1)).unwrap();
    device.connect().await.ended().await;
    assert_eq!(sandbox.look(|world| world.all_connections()), 0);
    let _online = device.online().await;
}

#[tokio::test(start_paused = true)]
async fn a_fault_can_wait_for_stanzas() {
    let (sandbox, device) = linked().await;
    let mut online = device.online().await;
    tokio::time::sleep(3 * SECOND).await;
    sandbox
        .fault(Fault::new(FaultKind::Drop).on(ann()).when(When::AfterStanzas(3)))
        .unwrap();
    for _ in 0..2 {
        online.types_to("5511977776666@s.whatsapp.net").await;
    }
    tokio::time::sleep(SECOND).await;
    assert_eq!(sandbox.connections(ann()), 1);
    online.types_to("5511977776666@s.whatsapp.net").await;
    online.ended().await;
    assert_eq!(sandbox.connections(ann()), 0);
}
