//! What a token reaches.

use presence_core::InstanceId;
use presence_store::{AccountId, Caller};
use serde::{Deserialize, Serialize};

/// An account with its instances, or one instance by itself. Who calls is counted, and follows events, by this:
/// a token that is rotated is the same caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Scope {
    Account(AccountId),
    Instance(InstanceId),
}

impl From<&Caller> for Scope {
    fn from(caller: &Caller) -> Self {
        match caller {
            Caller::Account(account) => Self::Account(*account),
            Caller::Instance(instance) => Self::Instance(instance.id),
        }
    }
}
