//! Why something was not done with an instance.

use presence_store::StoreError;
use presence_wa::{ConnectError, ReconnectError, ShowError};

use crate::nodes::{ChangeFailed, NoOwner};

/// An instance that a caller may not use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotYours {
    /// It is no instance of the caller's account.
    Unknown,
    /// It is none that is known here; what other nodes wrote cannot be read.
    Unread,
    /// The caller is a sibling of it.
    Sibling,
}

/// What other nodes wrote could not be read in time, so nobody knows whether what was asked for is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unread;

/// A change that was not made.
#[derive(Debug)]
pub(crate) enum ChangeError<E> {
    /// The service stops.
    Stopping,
    /// A defect; the cause is for the log.
    Panicked(tokio::task::JoinError),
    /// It failed at the node that has the instance.
    Elsewhere(ChangeFailed),
    /// No node made it, or nobody knows.
    NoOwner(NoOwner),
    Failed(E),
}

/// Something that was not done where the instance is.
#[derive(Debug)]
pub(crate) enum RouteError<E> {
    /// No node did it, or nobody knows.
    NoOwner(NoOwner),
    Failed(E),
}

/// What became of a change at the node that has the instance.
pub(super) fn elsewhere<T>(
    done: Result<Result<T, ChangeFailed>, NoOwner>,
) -> Result<T, ChangeError<StoreError>> {
    done.map_err(ChangeError::NoOwner)?
        .map_err(ChangeError::Elsewhere)
}

impl From<Unread> for NotYours {
    fn from(Unread: Unread) -> Self {
        Self::Unread
    }
}

impl<E> From<NoOwner> for RouteError<E> {
    fn from(why: NoOwner) -> Self {
        Self::NoOwner(why)
    }
}

impl From<ShowError> for RouteError<ShowError> {
    fn from(error: ShowError) -> Self {
        Self::Failed(error)
    }
}

impl From<ConnectError> for RouteError<ConnectError> {
    fn from(error: ConnectError) -> Self {
        Self::Failed(error)
    }
}

impl From<ReconnectError> for RouteError<ReconnectError> {
    fn from(error: ReconnectError) -> Self {
        Self::Failed(error)
    }
}
