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

use super::keys::OpenDevice;
use super::liveness::{Liveness, PING_TIMEOUT, Silence};
use super::progress::{Sight, Signal};
use super::runtime::SessionRuntime;
use super::tracker::Tracker;
use super::transport::ConnectFailure;
use super::version::Versions;
use crate::session::{End, Online, SessionState};

/// How often the client is looked at until the login is through. Some of its failures raise no event.
const POLL_CONNECTING: Duration = Duration::from_millis(100);
/// How often it is looked at from then on.
const POLL: Duration = Duration::from_secs(1);
/// How long the client may take to say goodbye.
const HANG_UP_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the store may take to save the device. What it does not save in time is worth less than the
/// time: whatever WhatsApp was told of is saved before.
const SAVE_TIMEOUT: Duration = Duration::from_secs(3);

/// Everything that one connection consists of, besides the handle to it.
pub(super) struct SessionMonitor {
    pub(super) client: Arc<Client>,
    pub(super) opened: OpenDevice,
    pub(super) versions: Option<Arc<Versions>>,
    /// Its connections go through a proxy.
    pub(super) proxied: bool,
    pub(super) runtime: SessionRuntime,
    pub(super) cut: CancellationToken,
    pub(super) failure: Arc<Mutex<Option<ConnectFailure>>>,
    pub(super) tracker: Arc<Tracker>,
    pub(super) stop: CancellationToken,
    pub(super) state: watch::Sender<SessionState>,
}

impl SessionMonitor {
    /// Runs the connection to its end. When the state says [`SessionState::Ended`] nothing of it runs any
    /// more, what it learned is saved, and the device is free for the next one.
    pub(super) async fn run(self) {
        let paired_before = self.opened.device.is_paired();
        // Its own reconnecting knows nothing of our policy.
        self.client.enable_auto_reconnect.store(false, Ordering::Relaxed);
        // For the account's own messages; it costs a look at the name of each stanza.
        let _stanzas = self.client.acquire_raw_node_forwarding();
        let _events = self.client.subscribe_handler(Arc::clone(&self.tracker) as _);

        let end = self.watch().await;
        let end = self.wind_up(end, paired_before).await;

        let Self {
            client,
            opened,
            state,
            ..
        } = self;
        drop((client, opened));
        state.send_replace(SessionState::Ended(end));
    }

    async fn watch(&self) -> End {
        let mut stream_error = self.client.wait_for_node(NodeFilter::tag("stream:error"));
        let mut run = self.start();
        let mut liveness = Liveness::default();
        loop {
            if let Ok(Some(node)) = stream_error.try_recv() {
                let code = node.get().get_attr("code").map(|code| code.as_str().into_owned());
                if let Some(signal) = code.as_deref().and_then(Signal::of_stream_error) {
                    self.tracker.progress().handle_signal(Instant::now(), signal);
                }
                stream_error = self.client.wait_for_node(NodeFilter::tag("stream:error"));
            }
            self.check_liveness(&mut liveness);
            let next = match self.publish(!run.is_finished()).await {
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
    fn check_liveness(&self, liveness: &mut Liveness) {
        let now = Instant::now();
        let sent = self.tracker.sent.load(Ordering::Relaxed);
        match liveness.handle_counts(now, sent, self.client.stats().frames_received) {
            None => {}
            Some(Silence::Ping) => {
                let client = Arc::clone(&self.client);
                self.runtime.start(async move {
                    // Whatever it answers is a sign of life, and seen as such; so is its silence.
                    let _ = client.execute(KeepaliveSpec::with_timeout(PING_TIMEOUT)).await;
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
        let device = self.opened.device.clone();
        let (versions, proxied) = (self.versions.clone(), self.proxied);
        self.runtime.start(async move {
            let known = device.version();
            let version = match versions {
                // What is asked without a proxy is not asked for a session that has one: it takes what the others
                // know, and learns better when WhatsApp refuses it.
                Some(versions) if proxied => versions.known(known).await,
                Some(versions) => versions.current(known).await,
                None => known,
            };
            // This stamps the version as fresh, so that the client does not look it up itself.
            device
                .manager
                .process_command(DeviceCommand::SetAppVersion(version))
                .await;
            client.run().await;
        })
    }

    /// Looks at the client and publishes what follows: when to look again, or the end.
    async fn publish(&self, running: bool) -> Result<Instant, End> {
        let now = Instant::now();
        let sight = Sight {
            running,
            connected: self.client.is_connected(),
            logged_in: self.client.is_logged_in(),
        };
        // It holds a lock of the client's for a moment, and waits for nothing else.
        let moved_to_lids = self.client.is_lid_migrated().await;
        let (state, deadline) = {
            let mut progress = self.tracker.progress();
            progress.handle_sight(now, sight);
            if let Some(end) = progress.end() {
                return Err(end.clone());
            }
            let state = progress.state(|| Online {
                identity: self.opened.device.identity().unwrap_or_default(),
                moved_to_lids,
                ..Online::default()
            });
            (state, progress.poll_timeout())
        };
        let poll = if state == SessionState::Connecting {
            POLL_CONNECTING
        } else {
            POLL
        };
        self.state.send_if_modified(|shown| {
            let changed = *shown != state;
            *shown = state;
            changed
        });
        Ok(deadline.map_or(now + poll, |deadline| deadline.min(now + poll)))
    }

    /// Ends everything that runs, saves the device, and says why the session ended.
    async fn wind_up(&self, end: End, paired_before: bool) -> End {
        if !matches!(end, End::Closed | End::Paired) {
            // There is nobody to say goodbye to, or nobody who listens.
            self.cut.cancel();
        }
        let _ = timeout(HANG_UP_TIMEOUT, self.client.disconnect()).await;
        self.cut.cancel();
        self.runtime.end().await;

        let saved = match timeout(SAVE_TIMEOUT, self.opened.device.save()).await {
            Ok(saved) => saved.map_err(Into::into),
            Err(late) => Err(late.into()),
        };
        if let Err(error) = saved {
            let error: Box<dyn std::error::Error + Send + Sync> = error;
            tracing::error!(%error, "the device could not be saved");
        }
        match end {
            // The connection may break between the linking and the event that tells of it.
            End::Lost(_) | End::Restart | End::Rejected(_)
                if !paired_before && self.opened.device.is_paired() =>
            {
                End::Paired
            }
            End::Lost(why) => {
                let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
                failure.map_or(End::Lost(why), ConnectFailure::into_end)
            }
            end => end,
        }
    }
}
