//! The task that keeps one instance connected: it opens its sessions and decides what follows their end.

use std::future::{Future, pending};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{error, warn};

use crate::driver::Line;
use crate::fleet::ask::{Ask, PairWith};
use crate::fleet::entry::Entry;
use crate::fleet::error::{ConnectError, ReconnectError};
use crate::fleet::gate::Lane;
use crate::fleet::policy::History;
use crate::fleet::settle::log_keys;
use crate::fleet::shared::Shared;
use crate::fleet::status::{InstanceState, Reason};
use crate::session::{Connector, End};

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
    /// Until when a pairing is begun for it.
    pub(super) wanted_until: Instant,
    /// How many pairings of the device were wiped.
    pub(super) pairing: u32,
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
                // Boxed, so that a parked keeper does not carry the room of an open session.
                Step::Open(lane) => Box::pin(self.open(lane)).await,
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
    pub(super) async fn unless_asked<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Step> {
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
            let waiting = self
                .entry
                .phase
                .borrow()
                .reason
                .filter(|reason| *reason == Reason::WaitingForPhone);
            self.entry.publish(InstanceState::Connecting, waiting);
        }
        let _ = reply.send(Ok(()));
    }

    /// Whether a client asked for this connection not too long ago to begin a pairing for it.
    pub(super) fn still_wanted(&self) -> bool {
        self.wanted.is_some() && Instant::now() < self.wanted_until
    }

    fn banned(&self) -> Option<Reason> {
        self.entry
            .phase
            .borrow()
            .reason
            .filter(|reason| matches!(reason, Reason::Banned(_)))
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
            return self
                .settle(&End::Lost("keys left over could not be wiped".to_owned()))
                .await;
        }
        let saved = match connector.saved(device).await {
            Ok(saved) => saved,
            Err(error) => return self.keys_failed(&error).await,
        };
        if saved.is_none() {
            if !self.still_wanted() {
                let reason = self.wanted.map(|_| Reason::PairingExpired);
                return self.stop(reason);
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

    pub(super) async fn within<T>(
        &self,
        limit: Duration,
        what: &str,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let done = timeout(limit, work).await.ok();
        if done.is_none() {
            warn!(device.id = %self.entry.device, limit_ms = limit.as_millis(), "{what} took too long");
        }
        done
    }
}
