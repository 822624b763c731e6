//! A keeper during one session.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use crate::driver::{Line, Link, Live};
use crate::fleet::ask::{Ask, PairWith};
use crate::fleet::entry::Code;
use crate::fleet::error::ReconnectError;
use crate::fleet::gate::Lane;
use crate::fleet::keeper::{Keeper, Step};
use crate::fleet::pair::CodeRequest;
use crate::fleet::status::InstanceState;
use crate::session::{Connector, End, Identity, Session, SessionState};

/// How the keeper's part in a session ended.
enum Outcome {
    /// The session did.
    Ended(End),
    /// The owner wants a fresh connection.
    Reopen,
    Logout(oneshot::Sender<()>),
    Remove(oneshot::Sender<()>),
    /// The fleet shuts down.
    Shutdown,
}

/// Where one session is, for its keeper.
pub(super) struct Attended<S> {
    pub(super) link: Arc<Link<S>>,
    /// Held while the session logs in.
    permit: Option<OwnedSemaphorePermit>,
    /// When it must have logged in, or shown a code.
    login_by: Instant,
    online_since: Option<Instant>,
    pub(super) pairing: bool,
    pub(super) code_request: Option<CodeRequest>,
}

impl<C: Connector> Keeper<C> {
    /// Attends to a session until it is over and closed.
    pub(super) async fn attend(&mut self, session: C::Session, permit: OwnedSemaphorePermit) -> Step {
        let link = Arc::new(Link::new(session, self.pairing));
        let outcome = {
            let mut attended = Attended {
                link: Arc::clone(&link),
                permit: Some(permit),
                login_by: Instant::now() + self.shared.settings.login_timeout,
                online_since: None,
                pairing: false,
                code_request: None,
            };
            let outcome = self.follow(&mut attended).await;
            let stable_after = self.shared.settings.stable_after;
            if attended
                .online_since
                .is_some_and(|since| since.elapsed() >= stable_after)
            {
                self.history.stable();
            }
            outcome
        };
        match outcome {
            Outcome::Ended(end) => {
                self.leave(&link, false, None).await;
                self.settle(&last_word(&link, end)).await
            }
            Outcome::Reopen => {
                self.leave(&link, false, None).await;
                Step::Open(Lane::Asked)
            }
            Outcome::Logout(reply) => {
                self.leave(&link, true, Some(self.shared.settings.unlink_timeout))
                    .await;
                self.wanted = None;
                self.wipe(None).await;
                let _ = reply.send(());
                Step::Park
            }
            Outcome::Remove(reply) => {
                self.leave(&link, true, Some(self.shared.settings.unlink_timeout))
                    .await;
                self.forget().await;
                let _ = reply.send(());
                Step::End
            }
            Outcome::Shutdown => {
                self.leave(&link, true, None).await;
                Step::End
            }
        }
    }

    async fn follow(&mut self, at: &mut Attended<C::Session>) -> Outcome {
        let stop = self.shared.stop.clone();
        let mut state = at.link.state();
        // What it says already counts as well.
        state.mark_changed();
        loop {
            self.request_code(at);
            tokio::select! {
                biased;
                () = stop.cancelled() => return Outcome::Shutdown,
                ask = self.asks.recv() => {
                    let Some(ask) = ask else { return Outcome::Shutdown };
                    if let Some(outcome) = self.answer_in_session(at, ask) {
                        return outcome;
                    }
                }
                changed = state.changed() => {
                    let seen = state.borrow_and_update().clone();
                    let end = match changed {
                        Ok(()) => self.see(at, seen),
                        Err(_) => Some(lost("the session vanished")),
                    };
                    if let Some(end) = end {
                        return Outcome::Ended(end);
                    }
                }
                () = at.link.faulty.cancelled() => return Outcome::Ended(lost("a stanza could not be written")),
                (phone, code) = poll_some(&mut at.code_request) => {
                    at.code_request = None;
                    self.entry.phase.send_modify(|phase| phase.code = Some(Code { phone, code }));
                }
                () = sleep_until(at.login_by), if at.permit.is_some() => {
                    return Outcome::Ended(lost("the login did not finish in time"));
                }
            }
        }
    }

    /// Takes note of the session's state.
    fn see(&mut self, at: &mut Attended<C::Session>, state: SessionState) -> Option<End> {
        match state {
            SessionState::Connecting => {}
            SessionState::Pairing(update) => {
                at.permit = None;
                at.pairing = true;
                self.show_code(update);
            }
            SessionState::Online(identity) => {
                at.permit = None;
                at.pairing = false;
                at.code_request = None;
                at.online_since.get_or_insert_with(Instant::now);
                self.online(&at.link, identity);
            }
            SessionState::Ended(end) => return Some(end),
        }
        None
    }

    fn online(&mut self, link: &Arc<Link<C::Session>>, identity: Identity) {
        self.wanted = None;
        self.shared.start_driver(&self.entry, &self.line);
        self.line.send_replace(Line::Up(Arc::clone(link)));
        self.entry.phase.send_modify(|phase| {
            phase.identity = Some(identity);
            (phase.qr, phase.code) = (None, None);
            phase.live = Some(Arc::clone(link) as Arc<dyn Live>);
        });
        self.entry.publish(InstanceState::Connected, None);
    }

    fn answer_in_session(&mut self, at: &mut Attended<C::Session>, ask: Ask) -> Option<Outcome> {
        match ask {
            // It is open already.
            Ask::Resume => None,
            Ask::Connect { reply, .. } if reply.is_closed() => None,
            Ask::Connect { how, reply } => {
                if let PairWith::LinkCode(phone) = how {
                    self.forget_code(at, phone);
                }
                if at.link.is_online() {
                    let _ = reply.send(Ok(()));
                } else {
                    self.want(how, reply);
                }
                None
            }
            Ask::Reconnect { reply } => {
                let paired = self.entry.phase.borrow().identity.is_some();
                if paired {
                    self.entry.publish(InstanceState::Connecting, None);
                }
                let _ = reply.send(if paired {
                    Ok(())
                } else {
                    Err(ReconnectError::NoSavedSession)
                });
                paired.then_some(Outcome::Reopen)
            }
            Ask::Logout { reply } => Some(Outcome::Logout(reply)),
            Ask::Remove { reply } => Some(Outcome::Remove(reply)),
        }
    }

    /// Ends the session: with `farewell` what it shows is paused first; with `unlink` WhatsApp is told to
    /// unlink the device, for at most that long. Everything in here is bounded.
    async fn leave(&mut self, link: &Arc<Link<C::Session>>, farewell: bool, unlink: Option<Duration>) {
        let settings = &self.shared.settings;
        let was_up = self.entry.phase.borrow().live.is_some();
        self.entry.session_over();
        if farewell && was_up {
            self.line.send_replace(Line::Leaving(Arc::clone(link)));
            self.within(
                settings.farewell_timeout,
                "pausing the indicators",
                link.quiet.cancelled(),
            )
            .await;
        }
        if let Some(patience) = unlink {
            self.within(
                patience + settings.close_timeout,
                "unlinking",
                link.session.logout(patience),
            )
            .await;
        }
        self.line.send_replace(Line::Down);
        self.within(
            settings.close_timeout,
            "closing the session",
            link.session.close(),
        )
        .await;
        debug!(device.id = %self.entry.device, "session closed");
    }
}

/// Why the session ended: a failed stanza may be noticed a moment before the reason that WhatsApp gave.
fn last_word<S: Session>(link: &Link<S>, noticed: End) -> End {
    match &*link.state().borrow() {
        SessionState::Ended(said) if *said != End::Closed && matches!(noticed, End::Lost(_)) => said.clone(),
        _ => noticed,
    }
}

fn lost(cause: &str) -> End {
    End::Lost(cause.to_owned())
}

async fn poll_some<T>(work: &mut Option<BoxFuture<'static, T>>) -> T {
    match work {
        Some(work) => work.await,
        None => pending().await,
    }
}
