//! What people read in the log.

use std::cell::RefCell;
use std::io;
use std::sync::Once;

use super::*;
use crate::fake::Script;
use crate::session::End;

thread_local! {
    /// What this thread, which is one test's, has logged.
    static LOGGED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Keeps what every thread logs at info and above. One subscriber for the whole process: tracing remembers for all
/// threads together whether anybody wants a line, and forgets those who want it on one thread alone.
fn capture() {
    static SUBSCRIBER: Once = Once::new();
    SUBSCRIBER.call_once(|| {
        tracing_subscriber::fmt()
            .with_writer(|| ThreadLog)
            .with_ansi(false)
            .with_target(false)
            .without_time()
            .init();
    });
}

fn take() -> Vec<String> {
    let text = String::from_utf8(LOGGED.take()).unwrap();
    text.lines().map(|line| line.trim().to_owned()).collect()
}

struct ThreadLog;

impl io::Write for ThreadLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOGGED.with_borrow_mut(|logged| logged.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn line(rest: &str) -> String {
    format!(r#"INFO instance{{instance.id=1 instance.name="shop"}}: instance state changed {rest}"#)
}

#[tokio::test(start_paused = true)]
async fn each_change_of_state_is_one_line_with_the_instances_name() {
    capture();
    let world = World::new();
    let fleet = fleet(&world);
    world.pair(DEVICE);
    let options = InstanceOptions {
        name: "shop".to_owned(),
        saved: SavedKeys::Resume,
        ..InstanceOptions::default()
    };
    fleet.add(DEVICE, options);
    until(&fleet, DEVICE, InstanceState::Connected).await;
    assert_eq!(take(), [line("state=connected")]);

    // However many attempts it takes.
    let refused = || Script::Ends(End::Lost("refused".to_owned()));
    world.script(DEVICE, [refused(), refused(), refused()]);
    world.session(DEVICE).end(End::Lost("reset".to_owned()));
    settle().await;
    until(&fleet, DEVICE, InstanceState::Connected).await;
    let lost = line(r#"state=connecting reason="connection lost" cause="reset""#);
    assert_eq!(take(), [lost, line("state=connected")]);

    // A socket that takes nothing: what failed, and what follows, in one line.
    world.lock().stalled.push(DEVICE);
    fleet
        .show(DEVICE, &presence("4915112345601", "typing", 5))
        .await
        .unwrap_err();
    world.lock().stalled.clear();
    sleep(Duration::from_secs(1)).await;
    until(&fleet, DEVICE, InstanceState::Connected).await;
    let cause = "a stanza could not be written: the session did not take it in time";
    let faulty = line(&format!(
        r#"state=connecting reason="connection lost" cause="{cause}""#
    ));
    assert_eq!(take(), [faulty, line("state=connected")]);

    world.session(DEVICE).end(End::Rejected(Some(503)));
    settle().await;
    let rejected = line(r#"state=connecting reason="rejected" cause="code 503""#);
    assert_eq!(take(), [rejected]);
}

#[tokio::test(start_paused = true)]
async fn what_needs_a_person_is_a_warning_once_and_one_line_when_it_is_over() {
    capture();
    let world = World::new();
    let fleet = fleet(&world);
    world.pair(DEVICE);
    let options = InstanceOptions {
        name: "shop".to_owned(),
        saved: SavedKeys::Resume,
        ..InstanceOptions::default()
    };
    fleet.add(DEVICE, options);
    until(&fleet, DEVICE, InstanceState::Connected).await;
    take();

    let refused = || Script::Ends(End::Lost("refused".to_owned()));
    world.script(DEVICE, std::iter::repeat_with(refused).take(6));
    world
        .session(DEVICE)
        .end(End::Banned(Some(Duration::from_secs(120))));
    settle().await;
    until(&fleet, DEVICE, InstanceState::Connected).await;
    let lines = take();
    let told: Vec<_> = lines
        .iter()
        .filter(|line| line.contains("}: the instance "))
        .collect();
    let about = r#"instance{instance.id=1 instance.name="shop"}: the instance"#;
    assert_eq!(told.len(), 2, "{lines:#?}");
    let needs = "needs a person: banned by WhatsApp: look at the account on its phone";
    assert_eq!(*told[0], format!("WARN {about} {needs}"));
    assert!(
        told[1].starts_with(&format!(
            "INFO {about} is connected again: it was banned after_s="
        )),
        "{}",
        told[1]
    );
}
