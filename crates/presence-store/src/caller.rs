//! Who asks.

use std::sync::Arc;

use crate::account::AccountId;
use crate::instance::Instance;

/// Whom a token belongs to.
#[derive(Clone, Debug)]
pub enum Caller {
    /// An account: everything in it.
    Account(AccountId),
    /// An instance: itself only.
    Instance(Arc<Instance>),
}
