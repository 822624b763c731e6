//! Links to a page on which whoever has one can link a phone to one instance, and do nothing else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use presence_core::InstanceId;
use presence_wa::{InstanceState, StatusWatch};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

/// The links there are: at most one an instance. They are in memory, and end with the process.
#[derive(Clone, Default)]
pub(crate) struct PairingLinks(Arc<Mutex<HashMap<InstanceId, Link>>>);

/// For how long a link is valid.
pub(crate) const VALID_FOR: Duration = Duration::from_secs(15 * 60);
/// What a link's secret begins with.
const PREFIX: &str = "pl_";

struct Link {
    /// The secret itself is with whoever has the link.
    hash: [u8; 32],
    until: Instant,
    /// A phone was linked.
    is_used: bool,
    /// Waits for that.
    _watcher: AbortOnDropHandle<()>,
}

/// What a secret opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Opened {
    /// A phone may be linked to this instance.
    Pairing(InstanceId),
    /// One was, which is all that there is to say.
    Used,
}

impl PairingLinks {
    /// A new link for `instance`, whose status `watch` tells; the one before is void. Returns its secret.
    pub(crate) fn create(&self, instance: InstanceId, watch: Option<StatusWatch>) -> String {
        let secret = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()));
        let (hash, until) = (hash(&secret), Instant::now() + VALID_FOR);
        let links = self.clone();
        let watcher = tokio::spawn(async move {
            let linked = timeout_at(until, connected(watch)).await.is_ok();
            links.end(instance, hash, linked);
        });
        let link = Link {
            hash,
            until,
            is_used: false,
            _watcher: AbortOnDropHandle::new(watcher),
        };
        self.lock().insert(instance, link);
        secret
    }

    /// Makes the link of `instance` void.
    pub(crate) fn revoke(&self, instance: InstanceId) {
        self.lock().remove(&instance);
    }

    /// What `secret` opens now; `None` when it is of no link, or of one that is void or over.
    pub(crate) fn open(&self, secret: &str) -> Option<Opened> {
        // Hashes, so that how long a comparison takes tells nothing of the secret.
        let (hash, now) = (hash(secret), Instant::now());
        let links = self.lock();
        let (instance, link) = links
            .iter()
            .find(|(_, link)| link.hash == hash && now < link.until)?;
        Some(if link.is_used {
            Opened::Used
        } else {
            Opened::Pairing(*instance)
        })
    }

    /// Ends the link of this hash. One that was used goes on to say so until its time is over.
    fn end(&self, instance: InstanceId, hash: [u8; 32], linked: bool) {
        let mut links = self.lock();
        // A newer one may have taken its place in this moment.
        if let Some(link) = links.get_mut(&instance).filter(|link| link.hash == hash) {
            link.is_used = linked;
        }
        links.retain(|_, link| Instant::now() < link.until);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<InstanceId, Link>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns when the instance is connected. Never of one that is gone.
async fn connected(watch: Option<StatusWatch>) {
    if let Some(mut watch) = watch {
        while let Some(status) = watch.next().await {
            if status.state == InstanceState::Connected {
                return;
            }
        }
    }
    std::future::pending().await
}

fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_secret_opens_its_instance_until_its_time_a_newer_one_or_a_revocation() {
        let links = PairingLinks::default();
        let [one, other] = [1, 2].map(|number| InstanceId::new(number).unwrap());
        let [first, others] = [one, other].map(|instance| links.create(instance, None));
        // 256 bits.
        assert_eq!(first.len(), PREFIX.len() + 43);
        assert_eq!(links.open(&first), Some(Opened::Pairing(one)));
        let second = links.create(one, None);
        assert_eq!(links.open(&first), None);
        assert_eq!(links.open(&second), Some(Opened::Pairing(one)));
        for wrong in ["", PREFIX, &second[1..], &second[..second.len() - 1]] {
            assert_eq!(links.open(wrong), None, "{wrong}");
        }
        links.revoke(one);
        assert_eq!(links.open(&second), None);

        tokio::time::sleep(VALID_FOR - Duration::from_secs(1)).await;
        assert_eq!(links.open(&others), Some(Opened::Pairing(other)));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(links.open(&others), None);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(links.lock().is_empty(), "nothing is left of it");
    }
}
