//! What people read in the log.

use std::io;
use std::sync::Mutex;

use super::*;
use crate::fake::Script;
use crate::session::End;
use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Takes what this thread logs at info and above, until the guard is dropped.
    fn capture(&self) -> tracing::subscriber::DefaultGuard {
        let subscriber = tracing_subscriber::fmt()
            .with_writer(self.clone())
            .with_ansi(false)
            .with_target(false)
            .without_time()
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    fn take(&self) -> Vec<String> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap());
        let text = String::from_utf8(bytes).unwrap();
        text.lines().map(|line| line.trim().to_owned()).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

fn line(rest: &str) -> String {
    format!(r#"INFO instance{{instance.id=1 instance.name="shop"}}: instance state changed {rest}"#)
}

#[tokio::test(start_paused = true)]
async fn each_change_of_state_is_one_line_with_the_instances_name() {
    let log = Log::default();
    let _guard = log.capture();
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
    assert_eq!(log.take(), [line("state=connected")]);

    // However many attempts it takes.
    let refused = || Script::Ends(End::Lost("refused".to_owned()));
    world.script(DEVICE, [refused(), refused(), refused()]);
    world.session(DEVICE).end(End::Lost("reset".to_owned()));
    settle().await;
    until(&fleet, DEVICE, InstanceState::Connected).await;
    let lost = line(r#"state=connecting reason="connection lost" cause="reset""#);
    assert_eq!(log.take(), [lost, line("state=connected")]);

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
    assert_eq!(log.take(), [faulty, line("state=connected")]);

    world.session(DEVICE).end(End::Rejected(Some(503)));
    settle().await;
    let rejected = line(r#"state=connecting reason="rejected" cause="code 503""#);
    assert_eq!(log.take(), [rejected]);
}
