//! `/api/instance/…`: a WhatsApp session's record, its link to a phone, and its settings.

mod connect;
mod create;
mod lifecycle;
mod list;
mod proxy;
mod reply;
mod settings;

use presence_store::StoreError;

use crate::error::ApiError;
use crate::instances::{ChangeError, NotYours, RouteError, Unread};
use crate::nodes::{ChangeFailed, NoOwner};

pub(super) use connect::{
    CodeReply, INVALID_NUMBER, QrReply, already_connected, connect, link, link_code_for,
};
pub(super) use create::{Created, INVALID_NAME, INVALID_TOKEN, NAME_REQUIRED, NewRequest, new};
pub(super) use lifecycle::{delete, logout, reconnect};
pub(super) use list::{List, list, names_in};
pub(super) use proxy::{FAULTS as PROXY_FAULTS, ProxyReply, SentProxy, change_proxy, get_proxy};
pub(super) use settings::{Changes, SettingsReply, change_settings, get_settings};

impl From<NotYours> for ApiError {
    fn from(error: NotYours) -> Self {
        match error {
            NotYours::Unknown => Self::NoSuchInstance,
            NotYours::Unread => Self::DatabaseAway,
            NotYours::Sibling => Self::OtherInstance,
        }
    }
}

impl From<Unread> for ApiError {
    fn from(Unread: Unread) -> Self {
        Self::DatabaseAway
    }
}

impl<E: Into<Self>> From<ChangeError<E>> for ApiError {
    fn from(error: ChangeError<E>) -> Self {
        match error {
            ChangeError::Stopping => Self::Stopping,
            ChangeError::Panicked(error) => Self::internal("a change panicked", Some(error.into())),
            ChangeError::Elsewhere(ChangeFailed::Stopping) => Self::Stopping,
            ChangeError::Elsewhere(ChangeFailed::DatabaseAway) => Self::DatabaseAway,
            ChangeError::Elsewhere(ChangeFailed::Internal) => {
                Self::internal("a change failed at another node, whose log says why", None)
            }
            ChangeError::NoOwner(why) => why.into(),
            ChangeError::Failed(error) => error.into(),
        }
    }
}

impl<E: Into<Self>> From<RouteError<E>> for ApiError {
    fn from(error: RouteError<E>) -> Self {
        match error {
            RouteError::NoOwner(why) => why.into(),
            RouteError::Failed(error) => error.into(),
        }
    }
}

impl From<NoOwner> for ApiError {
    fn from(why: NoOwner) -> Self {
        tracing::debug!(%why, "an instance is out of reach");
        Self::OutOfReach
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Away { .. } => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a request needs the database"
                );
                Self::DatabaseAway
            }
            error => Self::internal("the registry failed", Some(error.into())),
        }
    }
}
