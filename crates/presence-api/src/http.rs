//! A request's way through the service, in the contract's order of checks, and its answer.

mod health;
mod instance;
mod openapi;
mod presence;

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode, header};
use presence_store::{AccountId, Caller, Instance};
use tokio::time::Instant;
use tracing::Instrument;

use crate::app::App;
use crate::auth;
use crate::error::ApiError;
use crate::json::{self, Body};
use crate::rate_limit::{Bucket, Standing, Time};
use crate::routes::{self, Route};

/// Answers a request that came from `peer`. Nothing in it, whatever it is, makes this fail or panic.
pub(crate) async fn handle<B>(app: Arc<App>, peer: IpAddr, request: Request<B>) -> Response<Body>
where
    B: hyper::body::Body<Data = Bytes> + Send + Unpin + 'static,
{
    let arrived = Instant::now();
    let (parts, mut body) = request.into_parts();
    let route = routes::route(&parts.method, parts.uri.path());
    let label = route.as_ref().map_or("none", Route::label);
    let span = tracing::info_span!("request", id = app.next_request_id(), route = label);

    let mut call = Call {
        app: &app,
        peer,
        parts: &parts,
        standing: None,
    };
    let answer = AssertUnwindSafe(call.answer(route, &mut body))
        .catch_unwind()
        .instrument(span.clone())
        .await;
    let mut response = span.in_scope(|| {
        let answer = answer.unwrap_or_else(|_| Err(ApiError::internal("a handler panicked", None)));
        answer.unwrap_or_else(ApiError::into_response)
    });
    if let Some(standing) = call.standing {
        standing.write(response.headers_mut());
    }
    app.cors.write(&parts.headers, response.headers_mut());

    // A client that waits for `100 Continue` sends nothing after another answer, and one that was too slow had
    // its time.
    let waits =
        parts.headers.contains_key(header::EXPECT) || response.status() == StatusCode::REQUEST_TIMEOUT;
    if !body.is_end_stream() && !waits {
        tokio::spawn(json::discard(body, app.settings.body_timeout));
    }
    let elapsed = arrived.elapsed();
    app.metrics.answered(label, response.status(), elapsed);
    tracing::debug!(parent: &span, status = response.status().as_u16(), elapsed_us = elapsed.as_micros(), "answered");
    response
}

/// One request on its way.
struct Call<'a> {
    app: &'a Arc<App>,
    peer: IpAddr,
    parts: &'a Parts,
    /// The caller's rate limit, once the caller is known. Goes with the answer, whichever it is.
    standing: Option<Standing>,
}

impl Call<'_> {
    async fn answer<B>(
        &mut self,
        route: Result<Route<'_>, ApiError>,
        body: &mut B,
    ) -> Result<Response<Body>, ApiError>
    where
        B: hyper::body::Body<Data = Bytes> + Send + Unpin,
    {
        let Self { app, parts, .. } = *self;
        let patience = app.settings.body_timeout;
        if let Some(preflight) = app.cors.preflight(&parts.method, &parts.headers) {
            return Ok(preflight);
        }
        match route? {
            Route::ChatPresence(name) => {
                let instance = self.instance(&name)?;
                let body = json::read_body(body, patience).await?;
                presence::chat_presence(app, &instance, &body).await
            }
            Route::InstanceNew => {
                let account = self.account(Bucket::NewInstances)?;
                let body = json::read_body(body, patience).await?;
                instance::new(app, account, &body).await
            }
            Route::InstanceList => instance::list(app, &self.caller(Bucket::Requests)?, parts.uri.query()),
            Route::InstanceConnect(name) => {
                instance::connect(app, &*self.instance(&name)?, parts.uri.query()).await
            }
            Route::InstanceReconnect(name) => instance::reconnect(app, &*self.instance(&name)?).await,
            Route::InstanceLogout(name) => instance::logout(app, self.instance(&name)?).await,
            Route::InstanceDelete(name) => {
                let account = self.account(Bucket::Requests)?;
                let instance = app
                    .registry
                    .instance(account, &name)
                    .ok_or(ApiError::NoSuchInstance)?;
                instance::delete(app, instance).await
            }
            Route::InstanceGetSettings(name) => Ok(instance::get_settings(&*self.instance(&name)?)),
            Route::InstanceSettings(name) => {
                let instance = self.instance(&name)?;
                let body = json::read_body(body, patience).await?;
                instance::change_settings(app, instance, &body).await
            }
            Route::Health => Ok(health::health(app).await),
            Route::Livez => Ok(health::livez()),
            Route::Readyz => Ok(health::readyz(app)),
            Route::Metrics => health::metrics(app),
            Route::OpenApi => Ok(openapi::document()),
        }
    }

    /// Who calls: the checks of the token and of its rate limit.
    fn caller(&mut self, bucket: Bucket) -> Result<Caller, ApiError> {
        let caller = self.token().ok_or_else(|| self.refuse())?;
        self.count(&caller, bucket)?;
        Ok(caller)
    }

    /// Which account calls. An instance token counts as no valid token.
    fn account(&mut self, bucket: Bucket) -> Result<AccountId, ApiError> {
        match self.token() {
            Some(caller @ Caller::Account(account)) => self.count(&caller, bucket).map(|()| account),
            _ => Err(self.refuse()),
        }
    }

    /// The caller's instance of this name: all checks before the body.
    fn instance(&mut self, name: &str) -> Result<Arc<Instance>, ApiError> {
        let caller = self.caller(Bucket::Requests)?;
        auth::owned(&*self.app.registry, &caller, name)
    }

    fn token(&self) -> Option<Caller> {
        self.app
            .registry
            .authenticate(auth::presented(&self.parts.headers)?)
    }

    /// Counts the request in the caller's window.
    fn count(&mut self, caller: &Caller, bucket: Bucket) -> Result<(), ApiError> {
        self.standing = self.app.limits.count(caller, bucket, Time::read());
        match self.standing.filter(Standing::is_refused) {
            Some(standing) => Err(ApiError::RateLimited(standing)),
            None => Ok(()),
        }
    }

    /// What a request without a valid token gets; it counts in the window of the client's address.
    fn refuse(&self) -> ApiError {
        match self
            .app
            .limits
            .count_failure(self.peer, Time::read())
            .filter(Standing::is_refused)
        {
            Some(standing) => ApiError::RateLimited(standing),
            None => ApiError::InvalidToken,
        }
    }
}
