//! Instances: one WhatsApp session each.

use std::fmt;

use chrono::{DateTime, Utc};
use presence_core::InstanceId;

use crate::account::AccountId;
use crate::key::{SealedProxy, SealedToken};
use crate::name::name_type;
use crate::secret_text::SecretText;
use crate::token::{Token, TokenHash};

name_type! {
    /// The name of an instance, unique in its account: `[A-Za-z0-9][A-Za-z0-9._-]{0,99}`, case-sensitive.
    InstanceName
}

/// One WhatsApp session of an account.
#[derive(Clone)]
#[non_exhaustive]
pub struct Instance {
    /// Its number, and that of its device keys.
    pub id: InstanceId,
    /// Whose it is.
    pub account: AccountId,
    /// Its name.
    pub name: InstanceName,
    /// Whether its session stays `available` while nothing is shown.
    pub keep_online: bool,
    /// Whether it was logged out, here or on the phone, and has not paired since.
    pub logged_out: bool,
    /// Until when WhatsApp banned its account, in whole milliseconds; `None` when it did not. The time may be
    /// over.
    pub banned_until: Option<DateTime<Utc>>,
    /// When it last showed something, in whole milliseconds; `None` before the first time. Another process
    /// may know a later time: this one is no change of which readers are told.
    pub last_used: Option<DateTime<Utc>>,
    /// When it was created, in whole milliseconds.
    pub created_at: DateTime<Utc>,
    /// Counts, from 0, how often a pairing ended that it was logged out. `keys.db` counts along: where it
    /// is ahead, the registry was restored from a time before the keys that are there now.
    pub(crate) pairing_number: u32,
    /// What its token is found by.
    pub(crate) token: TokenHash,
    /// The token itself, for its owner to list again.
    pub(crate) sealed_token: SealedToken,
    /// The proxy that it connects through; `None` when it connects directly.
    pub(crate) sealed_proxy: Option<SealedProxy>,
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance")
            .field("id", &self.id)
            .field("account", &self.account)
            .field("name", &self.name)
            .field("keep_online", &self.keep_online)
            .field("logged_out", &self.logged_out)
            .field("banned_until", &self.banned_until)
            .field("last_used", &self.last_used)
            .field("created_at", &self.created_at)
            .field("proxy", &self.sealed_proxy.is_some())
            .finish_non_exhaustive()
    }
}

/// An instance to be created.
#[derive(Debug)]
pub struct NewInstance {
    /// Its name.
    pub name: InstanceName,
    /// Its token; `None` to have one generated.
    pub token: Option<Token>,
    /// Whether its session stays `available` while nothing is shown.
    pub keep_online: bool,
    /// Its proxy; `None` to connect directly.
    pub proxy: Option<SecretText>,
    /// The time of creation; cut to whole milliseconds.
    pub now: DateTime<Utc>,
}
