//! One call of a service of `tower-service`, as of all of hyper's connectors.

use std::future::poll_fn;

use tower_service::Service;

/// Calls `service` as soon as it is ready.
pub(super) async fn oneshot<S: Service<R>, R>(mut service: S, request: R) -> Result<S::Response, S::Error> {
    poll_fn(|context| service.poll_ready(context)).await?;
    service.call(request).await
}
