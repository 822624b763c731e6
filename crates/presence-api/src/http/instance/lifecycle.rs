//! `POST /api/instance/reconnect/:instance`, `DELETE /api/instance/logout/:instance` and `…/delete/:instance`.

use std::sync::Arc;

use hyper::{Response, StatusCode};
use presence_store::Instance;
use presence_wa::ReconnectError;

use super::{InInstance, Status, store_failed, to_its_end};
use crate::app::{App, device};
use crate::error::ApiError;
use crate::json::{self, Body};

/// Opens the saved session again. Answered when that has begun.
pub(in crate::http) async fn reconnect(app: &App, instance: &Instance) -> Result<Response<Body>, ApiError> {
    app.fleet.reconnect(device(instance)).await?;
    Ok(json::succeed(
        StatusCode::OK,
        "Reconnect initiated",
        Status { status: "connecting" },
    ))
}

/// Unlinks the device and wipes its keys. The instance and its token stay; doing it again is no error.
pub(in crate::http) async fn logout(
    app: &Arc<App>,
    instance: Arc<Instance>,
) -> Result<Response<Body>, ApiError> {
    let shared = Arc::clone(app);
    let logout = async move {
        // Before anything is done, so that what was answered with 200 is still true after a restart.
        shared
            .registry
            .set_logged_out(instance.id, true)
            .await
            .map_err(store_failed("recording a logout"))?;
        shared.fleet.logout(device(&instance)).await;
        Ok(())
    };
    to_its_end(app, logout).await?;
    let status = InInstance {
        instance: Status { status: "loggedout" },
    };
    Ok(json::succeed(StatusCode::OK, "Instance logged out", status))
}

/// Unlinks the device and deletes the instance with its keys and token. The session ends first: were the
/// process killed in between, the instance is still there, and can be deleted again.
pub(in crate::http) async fn delete(
    app: &Arc<App>,
    instance: Arc<Instance>,
) -> Result<Response<Body>, ApiError> {
    let shared = Arc::clone(app);
    let deletion = async move {
        shared.sessions.remove(&instance).await;
        let deleted = shared.registry.delete_instance(instance.id).await;
        deleted.map_err(|error| {
            // It is still there, without keys: a phone can link it again.
            shared.sessions.add(&instance);
            store_failed("deleting an instance")(error)
        })
    };
    if !to_its_end(app, deletion).await? {
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
