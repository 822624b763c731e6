//! The task that shows the indicators of one instance.

mod link;
mod request;
#[cfg(test)]
mod tests;
mod write;

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use presence_core::{Availability, Command, Indicators, Policy, Refused, Timing, Transmit};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::warn;

pub(crate) use self::link::{Line, Link, Live};
pub(crate) use self::request::Request;
use self::write::{Unwritten, write};
use crate::fleet::ShowError;
use crate::session::{DeviceId, Session};

/// How a driver behaves.
#[derive(Clone, Debug)]
pub(crate) struct DriverSettings {
    pub(crate) timing: Timing,
    pub(crate) raise_availability: bool,
    /// The longest a stanza may take to be written.
    pub(crate) send_timeout: Duration,
}

/// Owns the [`Indicators`] of one instance and writes what they want written to the session that is up.
///
/// It outlives the sessions, so that an indicator that is held comes back with the next one. All sends of an
/// instance go through here, one after the other; another instance has another driver. It ends when its
/// `line` is dropped.
pub(crate) struct Driver<S> {
    device: DeviceId,
    settings: DriverSettings,
    indicators: Indicators,
    line: watch::Receiver<Line<S>>,
    inbox: mpsc::Receiver<Request>,
    keep_online: watch::Receiver<bool>,
    /// What WhatsApp was last told, for the instance's status.
    available: Arc<AtomicBool>,
    current: Option<Arc<Link<S>>>,
    /// Which pairing the indicators are of.
    pairing: u32,
    /// The availability that WhatsApp did not take because it had not told the account's name yet.
    untold: Option<Availability>,
}

impl<S: Session> Driver<S> {
    pub(crate) fn new(
        device: DeviceId,
        settings: DriverSettings,
        line: watch::Receiver<Line<S>>,
        inbox: mpsc::Receiver<Request>,
        keep_online: watch::Receiver<bool>,
        available: Arc<AtomicBool>,
    ) -> Self {
        let indicators = new_indicators(&settings, *keep_online.borrow());
        Self {
            device,
            settings,
            indicators,
            line,
            inbox,
            keep_online,
            available,
            current: None,
            pairing: 0,
            untold: None,
        }
    }

    pub(crate) async fn run(mut self) {
        // A session may have come up before this task was first polled.
        self.line.mark_changed();
        loop {
            let deadline = self.indicators.poll_timeout().map(Instant::from_std);
            tokio::select! {
                biased;
                line = self.line.changed() => match line {
                    Ok(()) => self.follow_line().await,
                    Err(_) => break,
                },
                Ok(()) = self.keep_online.changed() => {
                    let keep = *self.keep_online.borrow_and_update();
                    self.indicators.handle_keep_online(now(), keep);
                }
                Some(request) = self.inbox.recv() => self.execute(request).await,
                () = sleep_until_some(deadline) => {}
            }
            // Always, not only when the sleep ended: a busy inbox must not starve the deadlines.
            self.indicators.handle_timeout(now());
            self.drain(None).await;
        }
    }

    async fn follow_line(&mut self) {
        let line = self.line.borrow_and_update().clone();
        match line {
            Line::Down => self.down(),
            Line::Up(link) => self.up(link).await,
            Line::Leaving(link) => {
                self.up(Arc::clone(&link)).await;
                self.indicators.handle_shutdown(now());
                self.drain(None).await;
                self.down();
                link.quiet.cancel();
            }
        }
    }

    async fn up(&mut self, link: Arc<Link<S>>) {
        if self
            .current
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(current, &link))
        {
            self.tell_untold(&link).await;
            return;
        }
        self.down();
        if link.faulty.is_cancelled() {
            return;
        }
        // What the account before this one showed is nothing to this one.
        if link.pairing != self.pairing {
            self.pairing = link.pairing;
            self.indicators = new_indicators(&self.settings, *self.keep_online.borrow());
        }
        self.current = Some(link);
        self.indicators.handle_session_up(now());
        self.drain(None).await;
    }

    fn down(&mut self) {
        self.untold = None;
        self.available.store(false, Ordering::Relaxed);
        if self.current.take().is_some() {
            self.indicators.handle_session_down(now());
        }
    }

    async fn execute(&mut self, request: Request) {
        if request.given_up() {
            return;
        }
        for alias in request.aliases() {
            if self.indicators.is_shown(&alias) {
                // It is refused where the command itself will be.
                let _ = self.indicators.handle_command(now(), alias, Command::Pause);
                // Before the command: to the phone they may be one chat.
                self.drain(None).await;
            }
        }
        if request.given_up() {
            return;
        }
        if self.current.is_none() {
            return request.answer(Err(ShowError::NotConnected));
        }
        match self
            .indicators
            .handle_command(now(), request.chat.clone(), request.command)
        {
            Ok(()) => self.drain(Some(request)).await,
            Err(Refused::TooManyChats) => request.answer(Err(ShowError::TooManyChats)),
            Err(_) => request.answer(Err(ShowError::NotConnected)),
        }
    }

    /// Writes all that the indicators want written. `request` is the one whose command caused it.
    async fn drain(&mut self, mut request: Option<Request>) {
        while let Some(transmit) = self.indicators.poll_transmit() {
            let Some(link) = self.current.clone() else { break };
            let limit = Instant::now() + self.settings.send_timeout;
            let limit = request
                .as_ref()
                .map_or(limit, |request| limit.min(request.deadline));
            match write(&link, &transmit, limit).await {
                Ok(()) => self.written(&transmit, &mut request),
                Err(Unwritten::NoPushName) => self.untold = availability(&transmit),
                Err(fault) => {
                    warn!(device.id = %self.device, error = %fault, "a stanza could not be written");
                    link.faulty.cancel();
                    self.unwritten(&transmit, request.as_ref());
                    self.down();
                }
            }
        }
        if let Some(request) = request {
            request.answer(Err(ShowError::NotConnected));
        }
    }

    fn written(&mut self, transmit: &Transmit, request: &mut Option<Request>) {
        match transmit {
            Transmit::Availability(availability) => {
                self.untold = None;
                self.available
                    .store(*availability == Availability::Available, Ordering::Relaxed);
            }
            Transmit::ChatState { chat, .. } => {
                if let Some(request) = request.take_if(|request| request.chat == *chat) {
                    request.answer(Ok(()));
                }
            }
        }
    }

    /// Tells the indicators what did not go out: `transmit`, and what `request` would have sent after it.
    fn unwritten(&mut self, transmit: &Transmit, request: Option<&Request>) {
        let asked = request.map(|request| &request.chat);
        if let Some(chat) = asked {
            self.indicators.handle_failure(now(), chat);
        }
        if let Transmit::ChatState { chat, .. } = transmit
            && asked != Some(chat)
        {
            self.indicators.handle_failure(now(), chat);
        }
    }

    /// WhatsApp may take now what it refused before it had told the account's name.
    async fn tell_untold(&mut self, link: &Link<S>) {
        let Some(availability) = self.untold.take() else {
            return;
        };
        let limit = Instant::now() + self.settings.send_timeout;
        match write(link, &Transmit::Availability(availability), limit).await {
            Ok(()) => self
                .available
                .store(availability == Availability::Available, Ordering::Relaxed),
            Err(Unwritten::NoPushName) => self.untold = Some(availability),
            Err(fault) => {
                warn!(device.id = %self.device, error = %fault, "a stanza could not be written");
                link.faulty.cancel();
                self.down();
            }
        }
    }
}

fn availability(transmit: &Transmit) -> Option<Availability> {
    match transmit {
        Transmit::Availability(availability) => Some(*availability),
        Transmit::ChatState { .. } => None,
    }
}

fn new_indicators(settings: &DriverSettings, keep_online: bool) -> Indicators {
    Indicators::new(
        settings.timing,
        Policy {
            raise_availability: settings.raise_availability,
            keep_online,
        },
    )
}

/// The only place that reads a clock; it is tokio's, which tests can pause.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}

async fn sleep_until_some(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}
