//! The task that watches over one connection from its start to the last of its tasks.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::whatsapp_rust::store::commands::DeviceCommand;
use ::whatsapp_rust::wacore::iq::keepalive::KeepaliveSpec;
use ::whatsapp_rust::{Client, NodeFilter};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::connection::{Tracker, tell};
use super::keys::{Lease, identity, version};
use super::progress::{Look, Signal};
use super::liveness::{PATIENCE, Pulse, Silence};
use super::runtime::SessionRuntime;
use super::version::Versions;
use crate::session::{End, SessionState};

/// How often the client is looked at until the login is through: a login without a push name raises no event.
const LOOK_CONNECTING: Duration = Duration::from_millis(100);
/// How often it is looked at from then on.
const LOOK: Duration = Duration::from_secs(1);
/// How long the client may take to hang up in good manners.
const HANG_UP: Duration = Duration::from_secs(1);
/// How long the store may take to save the device.
const SAVE: Duration = Duration::from_secs(10);

/// Everything that one connection consists of, besides the handle to it.
pub(super) struct Supervisor {
    pub(super) client: Arc<Client>,
    pub(super) lease: Lease,
    pub(super) versions: Option<Arc<Versions>>,
    pub(super) runtime: SessionRuntime,
    pub(super) cut: CancellationToken,
    pub(super) failure: Arc<Mutex<Option<String>>>,
    pub(super) tracker: Arc<Tracker>,
    pub(super) stop: CancellationToken,
    pub(super) state: watch::Sender<SessionState>,
}

impl Supervisor {
    /// Runs the connection to its end. When the state says [`SessionState::Ended`] nothing of it runs any
    /// more, what it learned is saved, and the device is free for the next one.
    pub(super) async fn run(self) {
        let paired_before = self.lease.is_paired();
        // Its own reconnecting knows nothing of our policy.
        self.client.enable_auto_reconnect.store(false, Ordering::Relaxed);
        let _events = self.client.subscribe_handler(Arc::clone(&self.tracker) as _);

        let end = self.watch().await;
        let end = self.wind_up(end, paired_before).await;

        let Self {
            client, lease, state, ..
        } = self;
        drop((client, lease));
        state.send_replace(SessionState::Ended(end));
    }

    async fn watch(&self) -> End {
        let mut stream_error = self.client.wait_for_node(NodeFilter::tag("stream:error"));
        let mut run = self.start();
        let mut pulse = Pulse::default();
        loop {
            if let Ok(Some(node)) = stream_error.try_recv() {
                let code = node.get().get_attr("code").map(|code| code.as_str().into_owned());
                if let Some(signal) = code.as_deref().and_then(Signal::of_stream_error) {
                    self.tracker.progress().handle_signal(Instant::now(), signal);
                }
                stream_error = self.client.wait_for_node(NodeFilter::tag("stream:error"));
            }
            self.check_pulse(&mut pulse);
            let next = match self.look(!run.is_finished()) {
                Ok(next) => next,
                Err(end) => return end,
            };
            tokio::select! {
                () = self.stop.cancelled() => {
                    let mut progress = self.tracker.progress();
                    progress.handle_closing();
                    progress.finish(End::Closed);
                }
                () = self.tracker.changed.notified() => {}
                _ = &mut run => {}
                () = sleep_until(next) => {}
            }
        }
    }

    /// Pings a peer that has gone silent, and gives it up when it stays so.
    fn check_pulse(&self, pulse: &mut Pulse) {
        let now = Instant::now();
        let sent = self.tracker.sent.load(Ordering::Relaxed);
        match pulse.handle_look(now, sent, self.client.stats().frames_received) {
            None => {}
            Some(Silence::Ping) => {
                let client = Arc::clone(&self.client);
                self.runtime.start(async move {
                    // Whatever it answers is a sign of life, and seen as such; so is its silence.
                    let _ = client.execute(KeepaliveSpec::with_timeout(PATIENCE)).await;
                });
            }
            Some(Silence::Dead) => {
                let lost = End::Lost("WhatsApp does not answer".to_owned());
                self.tracker.progress().handle_signal(now, Signal::End(lost));
            }
        }
    }

    fn start(&self) -> JoinHandle<()> {
        let client = Arc::clone(&self.client);
        let manager = Arc::clone(&self.lease.manager);
        let versions = self.versions.clone();
        self.runtime.start(async move {
            let known = version(&manager.get_device_snapshot());
            let version = match versions {
                Some(versions) => versions.current(known).await,
                None => known,
            };
            // This stamps the version as fresh, so that the client does not look it up itself.
            manager
                .process_command(DeviceCommand::SetAppVersion(version))
                .await;
            client.run().await;
        })
    }

    /// Looks at the client and publishes what follows: when to look again, or the end.
    fn look(&self, running: bool) -> Result<Instant, End> {
        let now = Instant::now();
        let device = self.lease.manager.get_device_snapshot();
        let mut progress = self.tracker.progress();
        progress.handle_look(
            now,
            Look {
                running,
                connected: self.client.is_connected(),
                logged_in: self.client.is_logged_in(),
                named: !device.push_name.is_empty(),
            },
        );
        if let Some(end) = progress.end() {
            return Err(end.clone());
        }
        let state = progress.state(|| identity(&device).unwrap_or_default());
        let every = if state == SessionState::Connecting {
            LOOK_CONNECTING
        } else {
            LOOK
        };
        let next = progress
            .poll_timeout()
            .map_or(now + every, |deadline| deadline.min(now + every));
        let restate = progress.poll_restate(now);
        drop(progress);

        self.state.send_if_modified(|shown| {
            let changed = *shown != state;
            *shown = state;
            changed
        });
        if restate {
            self.restate_availability();
        }
        Ok(next)
    }

    /// Tells WhatsApp again what was wanted last: the client has told it otherwise since.
    fn restate_availability(&self) {
        let (client, tracker) = (Arc::clone(&self.client), Arc::clone(&self.tracker));
        self.runtime.start(async move {
            let wanted = tracker.availability.lock().await;
            if let Some(availability) = *wanted
                && let Err(error) = tell(&client, availability).await
            {
                tracing::debug!(%error, "the availability could not be told again");
            }
        });
    }

    /// Ends everything that runs, saves the device, and says why the session ended.
    async fn wind_up(&self, end: End, paired_before: bool) -> End {
        if !matches!(end, End::Closed | End::Paired) {
            // There is nobody to part from in good manners, or nobody who listens.
            self.cut.cancel();
        }
        let _ = timeout(HANG_UP, self.client.disconnect()).await;
        self.cut.cancel();
        self.runtime.end().await;

        let saved = match timeout(SAVE, self.lease.settle()).await {
            Ok(saved) => saved,
            Err(late) => Err(late.into()),
        };
        // The socket may break between the pairing and the event that tells of it.
        let paired = end == End::Paired
            || (!paired_before && self.lease.is_paired() && matches!(end, End::Lost(_) | End::Restart));
        match (saved, end) {
            (Err(error), _) if paired => End::Lost(format!("the pairing could not be saved: {error}")),
            (_, _) if paired => End::Paired,
            (saved, end) => {
                if let Err(error) = saved {
                    tracing::error!(%error, "the device could not be saved");
                }
                match end {
                    End::Lost(why) => {
                        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
                        End::Lost(failure.unwrap_or(why))
                    }
                    end => end,
                }
            }
        }
    }
}
