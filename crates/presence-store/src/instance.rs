//! Instances: one WhatsApp session each.

use std::fmt;

use chrono::{DateTime, Utc};

use crate::account::AccountId;
use crate::key::SealedToken;
use crate::name::name_type;
use crate::token::{Token, TokenHash};

/// The number of an instance, positive, and the number of its device keys. It is never given again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstanceId(i32);

impl InstanceId {
    /// The instance whose device keys have this number; `None` unless it is positive.
    #[must_use]
    pub fn from_device(device: i32) -> Option<Self> {
        (device > 0).then_some(Self(device))
    }

    /// The number under which its device keys are kept.
    #[must_use]
    pub fn device(self) -> i32 {
        self.0
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

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
    /// When it was created, in whole milliseconds.
    pub created_at: DateTime<Utc>,
    /// What its token is found by.
    pub(crate) token: TokenHash,
    /// The token itself, for its owner to list again.
    pub(crate) sealed_token: SealedToken,
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance")
            .field("id", &self.id)
            .field("account", &self.account)
            .field("name", &self.name)
            .field("keep_online", &self.keep_online)
            .field("logged_out", &self.logged_out)
            .field("created_at", &self.created_at)
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
    /// The time of creation; cut to whole milliseconds.
    pub now: DateTime<Utc>,
}
