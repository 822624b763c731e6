//! Accounts: who owns instances.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::key::SealedWebhook;
use crate::name::name_type;
use crate::token::TokenHash;

/// The number of an account. It is never given again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AccountId(pub(crate) i64);

impl AccountId {
    /// The number.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

name_type! {
    /// The name of an account, unique in a data directory: `[A-Za-z0-9][A-Za-z0-9._-]{0,99}`, case-sensitive.
    AccountName
}

/// The owner of instances. Its token reaches all of them.
#[derive(Clone)]
#[non_exhaustive]
pub struct Account {
    /// Its number.
    pub id: AccountId,
    /// Its name.
    pub name: AccountName,
    /// How many instances it may have at once; `None` is no limit.
    pub quota: Option<u32>,
    /// When it was created, in whole milliseconds.
    pub created_at: DateTime<Utc>,
    /// What its token is found by. The token itself is shown once and kept nowhere.
    pub(crate) token: TokenHash,
    /// Where it is told of its instances; `None`: nowhere.
    pub(crate) sealed_webhook: Option<SealedWebhook>,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("quota", &self.quota)
            .field("created_at", &self.created_at)
            .field("webhook", &self.sealed_webhook.is_some())
            .finish_non_exhaustive()
    }
}
