//! What follows the end of a session, carried out.

use std::sync::Arc;

use tokio::time::{Instant, timeout};
use tracing::{error, info, warn};

use crate::fleet::gate::Lane;
use crate::fleet::keeper::{Keeper, Step};
use crate::fleet::policy::{History, Verdict};
use crate::fleet::status::{InstanceState, Reason};
use crate::session::{Connector, End, OpenError};

impl<C: Connector> Keeper<C> {
    pub(super) async fn keys_failed(&mut self, error: &OpenError) -> Step {
        log_keys(error);
        self.settle(&End::Lost("the keys could not be read".to_owned()))
            .await
    }

    /// Decides what follows the end of a session.
    pub(super) async fn settle(&mut self, end: &End) -> Step {
        let device = self.entry.device;
        let settings = &self.shared.settings;
        let unpaired = self.entry.phase.borrow().identity.is_none();
        if let End::Lost(cause) | End::PairingFailed(cause) = end {
            info!(device.id = %device, cause, "a session ended");
            if unpaired && self.wanted.is_some() && !self.still_wanted() {
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
                self.entry
                    .publish(InstanceState::Connecting, Some(Reason::Retrying(at)));
                Step::OpenAt(at)
            }
            Verdict::Banned(wait) => {
                let at = Instant::now() + wait;
                warn!(device.id = %device, wait_s = wait.as_secs(), "WhatsApp banned the account; waiting for the end of it");
                self.wanted = None;
                self.entry
                    .publish(InstanceState::Disconnected, Some(Reason::Banned(at)));
                Step::OpenAt(at)
            }
            Verdict::RefreshVersion => Step::RefreshVersion,
            Verdict::Stop(reason) => self.stop(Some(reason)),
            Verdict::Wipe(reason) => {
                self.wipe(Some(reason)).await;
                // Unlinked while a client waits for this very connection: what it needs is a new pairing.
                if *end == End::LoggedOut && !unpaired && self.still_wanted() {
                    self.entry.publish(InstanceState::Connecting, None);
                    return Step::Open(Lane::Asked);
                }
                self.wanted = None;
                Step::Park
            }
        }
    }

    pub(super) async fn refresh_version(&mut self) -> Step {
        let connector = Arc::clone(&self.connector);
        let work = timeout(
            self.shared.settings.login_timeout,
            connector.refresh_version(self.entry.device),
        );
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
        self.pairing += 1;
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
}

pub(super) fn log_keys(error: &OpenError) {
    error!(device.id = %error.device, doing = error.doing, error = %error.source, "device keys failed");
}
