//! `POST /api/instance/reconnect/:instance`, `DELETE /api/instance/logout/:instance` and `…/delete/:instance`.

use std::sync::Arc;

use hyper::{Response, StatusCode};
use presence_store::Instance;
use presence_wa::ReconnectError;

use super::reply::{InInstance, Status};
use crate::error::ApiError;
use crate::instances::Instances;
use crate::json::{self, Body};

/// Opens the saved session again. Answered when that has begun.
pub(in crate::http) async fn reconnect(
    instances: &Instances,
    instance: &Instance,
) -> Result<Response<Body>, ApiError> {
    instances.reconnect(instance).await?;
    let status = Status { status: "connecting" };
    Ok(json::succeed(StatusCode::OK, "Reconnect initiated", status))
}

/// Unlinks the device and wipes its keys. The instance and its token stay; doing it again is no error.
pub(in crate::http) async fn logout(
    instances: &Instances,
    instance: &Instance,
) -> Result<Response<Body>, ApiError> {
    instances.logout(instance).await?;
    let status = InInstance {
        instance: Status { status: "loggedout" },
    };
    Ok(json::succeed(StatusCode::OK, "Instance logged out", status))
}

/// Unlinks the device and deletes the instance with its keys and token.
pub(in crate::http) async fn delete(
    instances: &Instances,
    instance: Arc<Instance>,
) -> Result<Response<Body>, ApiError> {
    if !instances.remove(instance).await? {
        return Err(ApiError::NoSuchInstance);
    }
    let status = InInstance {
        instance: Status { status: "deleted" },
    };
    Ok(json::succeed(StatusCode::OK, "Instance deleted", status))
}

impl From<ReconnectError> for ApiError {
    fn from(error: ReconnectError) -> Self {
        match error {
            ReconnectError::NoSavedSession => Self::NoSavedSession,
            ReconnectError::Gone => Self::NoSuchInstance,
            error => Self::internal("reopening a session", Some(error.into())),
        }
    }
}
