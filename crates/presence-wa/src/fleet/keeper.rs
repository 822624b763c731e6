//! The task that keeps one instance connected: it opens its sessions and decides what follows their end.

use std::future::{Future, pending};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{error, info, warn};

use crate::driver::Line;
use crate::fleet::Shared;
use crate::fleet::ask::{Ask, PairWith};
use crate::fleet::entry::Entry;
use crate::fleet::error::{ConnectError, ReconnectError};
use crate::fleet::gate::Lane;
use crate::fleet::policy::{History, Verdict};
use crate::fleet::status::{InstanceState, Reason};
use crate::session::{Connector, End, OpenError};

/// What the keeper does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing, until it is asked.
    Park,
    /// Wipe keys that an earlier logout left over.
    Wipe,
    /// Open a session when the time has come.
    OpenAt(Instant),
    /// Open a session.
    Open(Lane),
    /// Look up the client version, and open a session if it changed.
    RefreshVersion,
    /// End.
    End,
}

/// Owns the sessions of one instance, one after the other.
///
/// Between two sessions it is always ready to be asked something else; whatever it waits for is then
/// abandoned or continued, as the answer says ([`Keeper::unless_asked`]). During a session
/// [`attend`](Self::attend) does the same.
pub(super) struct Keeper<C: Connector> {
    pub(super) connector: Arc<C>,
    pub(super) shared: Arc<Shared>,
    pub(super) entry: Arc<Entry>,
    pub(super) asks: mpsc::Receiver<Ask>,
    pub(super) line: watch::Sender<Line<C::Session>>,
    pub(super) history: History,
    /// How a client asked to pair, until the instance is online or the attempt is over.
    pub(super) wanted: Option<PairWith>,
    /// Until when a pairing is begun again after a lost connection.
    pub(super) wanted_until: Instant,
    /// Keys may be left over from before a logout. They are wiped before anything else is done with them.
    pub(super) leftovers: bool,
}

impl<C: Connector> Keeper<C> {
    pub(super) async fn run(mut self) {
        let mut step = if self.leftovers { Step::Wipe } else { Step::Park };
        while step != Step::End {
            step = match step {
                Step::Park => self.unless_asked(pending()).await.unwrap_or_else(|step| step),
                Step::Wipe => self.wipe_leftovers().await,
                Step::OpenAt(time) => match self.unless_asked(sleep_until(time)).await {
                    Ok(()) => Step::Open(Lane::Background),
                    Err(step) => step,
                },
                Step::Open(lane) => self.open(lane).await,
                Step::RefreshVersion => self.refresh_version().await,
                Step::End => Step::End,
            };
        }
        self.entry.session_over();
        if self.entry.phase.borrow().state != InstanceState::LoggedOut {
            self.entry.publish(InstanceState::Disconnected, None);
        }
    }

    /// Does `work`, unless something is asked meanwhile that asks for another step.
    async fn unless_asked<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Step> {
        let mut work = pin!(work);
        let stop = self.shared.stop.clone();
        loop {
            let ask = tokio::select! {
                biased;
                () = stop.cancelled() => return Err(Step::End),
                ask = self.asks.recv() => ask,
                done = &mut work => return Ok(done),
            };
            let Some(ask) = ask else { return Err(Step::End) };
            if let Some(step) = self.answer(ask).await {
                return Err(step);
            }
        }
    }

    /// Answers while no session is open.
    async fn answer(&mut self, ask: Ask) -> Option<Step> {
        match ask {
            Ask::Resume => Some(Step::Open(Lane::Background)),
            Ask::Connect { reply, .. } if reply.is_closed() => None,
            Ask::Connect { how, reply } => {
                // Clients ask again and again while they show a QR code; that must not disturb a ban.
                if let Some(ban) = self.banned() {
                    let _ = reply.send(Err(ConnectError::Stopped(Some(ban))));
                    return None;
                }
                self.want(how, reply);
                self.history.asked();
                Some(Step::Open(Lane::Asked))
            }
            Ask::Reconnect { reply } => {
                let result = match self.connector.saved(self.entry.device).await {
                    Ok(Some(_)) if !self.leftovers => Ok(()),
                    Ok(_) => Err(ReconnectError::NoSavedSession),
                    Err(error) => {
                        log_keys(&error);
                        Err(ReconnectError::Keys)
                    }
                };
                if result.is_ok() {
                    self.entry.publish(InstanceState::Connecting, None);
                    self.history.asked();
                }
                let _ = reply.send(result);
                result.is_ok().then_some(Step::Open(Lane::Asked))
            }
            Ask::Logout { reply } => {
                self.wanted = None;
                self.wipe(None).await;
                let _ = reply.send(());
                Some(Step::Park)
            }
            Ask::Remove { reply } => {
                self.forget().await;
                let _ = reply.send(());
                Some(Step::End)
            }
        }
    }

    /// Notes that a client wants to get online, whatever it takes, and tells it to watch the phase.
    pub(super) fn want(&mut self, how: PairWith, reply: oneshot::Sender<Result<(), ConnectError>>) {
        self.wanted = Some(how);
        self.wanted_until = Instant::now() + self.shared.settings.pairing_patience;
        if self.entry.phase.borrow().state != InstanceState::Connected {
            let waiting = self.entry.phase.borrow().reason.filter(|reason| *reason == Reason::WaitingForPhone);
            self.entry.publish(InstanceState::Connecting, waiting);
        }
        let _ = reply.send(Ok(()));
    }

    fn banned(&self) -> Option<Reason> {
        self.entry.phase.borrow().reason.filter(|reason| matches!(reason, Reason::Banned(_)))
    }

    async fn wipe_leftovers(&mut self) -> Step {
        let shared = Arc::clone(&self.shared);
        match self.unless_asked(shared.gate.pass(Lane::Background)).await {
            Ok(_permit) => {
                self.forget().await;
                Step::Park
            }
            Err(step) => step,
        }
    }

    /// Opens a session, attends to it until it is over, and says what follows.
    async fn open(&mut self, lane: Lane) -> Step {
        let shared = Arc::clone(&self.shared);
        let connector = Arc::clone(&self.connector);
        let device = self.entry.device;
        let permit = match self.unless_asked(shared.gate.pass(lane)).await {
            Ok(permit) => permit,
            Err(step) => return step,
        };
        if self.leftovers && !self.forget().await {
            return self.settle(&End::Lost("keys left over could not be wiped".to_owned())).await;
        }
        let saved = match connector.saved(device).await {
            Ok(saved) => saved,
            Err(error) => return self.keys_failed(&error).await,
        };
        if saved.is_none() {
            if self.wanted.is_none() {
                return self.stop(None);
            }
            if let Err(error) = shared.ledger.pairing(device).await {
                error!(device.id = %device, error, "a pairing could not be recorded, so it is not begun");
                return self.stop(Some(Reason::NotRecorded));
            }
        }
        self.entry.phase.send_modify(|phase| phase.identity = saved);
        self.entry.publish(InstanceState::Connecting, None);
        match timeout(shared.settings.login_timeout, connector.open(device)).await {
            Ok(Ok(session)) => self.attend(session, permit).await,
            Ok(Err(error)) => self.keys_failed(&error).await,
            Err(_) => self.settle(&End::Lost("opening took too long".to_owned())).await,
        }
    }

    async fn keys_failed(&mut self, error: &OpenError) -> Step {
        log_keys(error);
        self.settle(&End::Lost("the keys could not be read".to_owned())).await
    }

    /// Decides what follows the end of a session.
    pub(super) async fn settle(&mut self, end: &End) -> Step {
        let device = self.entry.device;
        let settings = &self.shared.settings;
        let unpaired = self.entry.phase.borrow().identity.is_none();
        if let End::Lost(cause) | End::PairingFailed(cause) = end {
            info!(device.id = %device, cause, "a session ended");
            if unpaired && self.wanted.is_some() && Instant::now() >= self.wanted_until {
                return self.stop(Some(Reason::PairingExpired));
            }
        }
        match self.history.verdict(end, &settings.backoff, settings.unknown_ban) {
            Verdict::Again => {
                self.entry.publish(InstanceState::Connecting, None);
                Step::Open(Lane::Asked)
            }
            Verdict::After(wait) => {
                let at = Instant::now() + wait;
                self.entry.publish(InstanceState::Connecting, Some(Reason::Retrying(at)));
                Step::OpenAt(at)
            }
            Verdict::Banned(wait) => {
                let at = Instant::now() + wait;
                warn!(device.id = %device, wait_s = wait.as_secs(), "WhatsApp banned the account; waiting for the end of it");
                self.wanted = None;
                self.entry.publish(InstanceState::Disconnected, Some(Reason::Banned(at)));
                Step::OpenAt(at)
            }
            Verdict::RefreshVersion => Step::RefreshVersion,
            Verdict::Stop(reason) => self.stop(Some(reason)),
            Verdict::Wipe(reason) => {
                self.wipe(Some(reason)).await;
                // Unlinked while a client waits for this very connection: what it needs is a new pairing.
                if *end == End::LoggedOut && !unpaired && self.wanted.is_some() {
                    self.entry.publish(InstanceState::Connecting, None);
                    return Step::Open(Lane::Asked);
                }
                self.wanted = None;
                Step::Park
            }
        }
    }

    async fn refresh_version(&mut self) -> Step {
        let connector = Arc::clone(&self.connector);
        let work = timeout(self.shared.settings.login_timeout, connector.refresh_version());
        let changed = match self.unless_asked(work).await {
            Ok(Ok(Ok(changed))) => changed,
            Ok(Ok(Err(error))) => {
                warn!(device.id = %self.entry.device, %error, "the client version could not be looked up");
                false
            }
            Ok(Err(_)) => false,
            Err(step) => return step,
        };
        if changed {
            return Step::Open(Lane::Background);
        }
        error!(
            device.id = %self.entry.device,
            "WhatsApp takes this client version no longer: update the service, then reconnect the instance"
        );
        self.stop(Some(Reason::Outdated))
    }

    pub(super) fn stop(&mut self, reason: Option<Reason>) -> Step {
        self.wanted = None;
        self.entry.publish(InstanceState::Disconnected, reason);
        Step::Park
    }

    /// The device is not linked any more: this is written down, then its keys go (see
    /// [`Ledger`](super::Ledger) for the order).
    pub(super) async fn wipe(&mut self, reason: Option<Reason>) {
        if let Err(error) = self.shared.ledger.logged_out(self.entry.device).await {
            error!(device.id = %self.entry.device, error, "a logout could not be recorded");
        }
        self.forget().await;
        self.entry.numbers.clear();
        self.entry.phase.send_modify(|phase| phase.identity = None);
        self.history = History::default();
        self.entry.publish(InstanceState::LoggedOut, reason);
    }

    /// Wipes the keys. `false` if that failed: it is tried again before the next session.
    pub(super) async fn forget(&mut self) -> bool {
        let forgotten = self.connector.forget(self.entry.device).await;
        if let Err(error) = &forgotten {
            log_keys(error);
        }
        self.leftovers = forgotten.is_err();
        forgotten.is_ok()
    }

    pub(super) async fn within<T>(&self, limit: Duration, what: &str, work: impl Future<Output = T>) -> Option<T> {
        let done = timeout(limit, work).await.ok();
        if done.is_none() {
            warn!(device.id = %self.entry.device, limit_ms = limit.as_millis(), "{what} took too long");
        }
        done
    }
}

fn log_keys(error: &OpenError) {
    error!(device.id = %error.device, doing = error.doing, error = %error.source, "device keys failed");
}
