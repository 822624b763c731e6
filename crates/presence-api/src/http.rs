//! A request's way through the service, in the contract's order of checks, and its answer.

mod compat;
mod console;
mod docs;
mod events;
mod forwarded;
mod health;
mod instance;
mod mcp;
mod openapi;
mod pair;
mod presence;
mod static_file;
mod webhook;

pub use openapi::openapi;

use std::borrow::Cow;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use hyper::header::HeaderValue;
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode, header};
use presence_store::{AccountId, Caller, Instance};
use tokio::time::Instant;
use tracing::{Instrument, Span};

use crate::app::App;
use crate::auth;
use crate::client_address::client_address;
use crate::clock::Time;
use crate::compat::CompatApi;
use crate::connection::RequestGuard;
use crate::error::ApiError;
use crate::json::{self, Body};
use crate::metrics::Limit;
use crate::pairing_links::Opened;
use crate::rate_limit::{Bucket, Standing};
use crate::request_id::{self, REQUEST_ID};
use crate::routes::{self, Endpoint, Found};
use crate::scope::Scope;

/// Which routes a listener has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Surface {
    /// All; the metrics only if they are switched on.
    Api,
    /// Those for probes and monitoring.
    Probes,
}

/// Answers a request that came from `peer`, and is on its connection as long as `guard` lives. Nothing in it, whatever
/// it is, makes this fail or panic.
pub(crate) async fn handle<B>(
    app: Arc<App>,
    peer: IpAddr,
    surface: Surface,
    guard: RequestGuard,
    request: Request<B>,
) -> Response<Body>
where
    B: hyper::body::Body<Data = Bytes> + Send + Unpin + 'static,
{
    let arrived = Instant::now();
    let (parts, mut body) = request.into_parts();
    let named = routes::compat(parts.uri.path());
    let compat = named.filter(|api| surface == Surface::Api && app.settings.compat.contains(api));
    let found = match named == compat {
        true => find(&app, surface, &parts),
        false => Err(ApiError::NoSuchRoute),
    };
    let name = match (&found, compat) {
        (Ok(found), Some(_)) => found.name.clone(),
        _ => Cow::default(),
    };
    let route = found.as_ref().ok().map(Found::route);
    let index = found.as_ref().ok().map(|found| found.index);
    let request_id = request_id::of(&parts.headers);
    let in_log = InLog {
        id: &request_id,
        route: route.map_or("none", |route| route.label),
    };
    // A span is a tenth of what a presence costs, and few have anything to log: theirs is made when they do.
    let is_quiet = route.is_some_and(|route| matches!(route.endpoint, Endpoint::ChatPresence))
        && !tracing::enabled!(tracing::Level::DEBUG);
    let span = if is_quiet { Span::none() } else { in_log.span() };

    let mut call = Call {
        app: &app,
        client: client_address(peer, &parts.headers, &app.settings.trusted_proxies),
        parts: &parts,
        guard: &guard,
        compat,
        standing: None,
        in_log,
    };
    let answer = AssertUnwindSafe(call.answer(found, &mut body))
        .catch_unwind()
        .instrument(span.clone())
        .await;
    let answer = answer.unwrap_or_else(|_| Err(ApiError::internal("a handler panicked", None)));
    let mut response = answer.unwrap_or_else(|error| {
        let span = if is_quiet { in_log.span() } else { span.clone() };
        span.in_scope(|| {
            app.refusals.note(in_log.route, call.client, &error);
            match compat {
                None => error.into_response(),
                Some(api) => compat::refuse(api, error, &name),
            }
        })
    });
    if let Some(standing) = call.standing {
        standing.write(response.headers_mut());
    }
    if route.is_some_and(|route| route.secret) {
        const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
        response.headers_mut().insert(header::CACHE_CONTROL, NO_STORE);
    }
    if app.is_leaving() {
        const CLOSE: HeaderValue = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, CLOSE);
    }
    app.cors.write(&parts.headers, response.headers_mut());
    response.headers_mut().insert(REQUEST_ID, request_id);

    // A client that waits for `100 Continue` sends nothing after another answer, and one that was too slow had
    // its time.
    let waits =
        parts.headers.contains_key(header::EXPECT) || response.status() == StatusCode::REQUEST_TIMEOUT;
    if !body.is_end_stream() && !waits {
        let discard = json::discard(body, app.settings.body_timeout);
        // It must not hold up the end.
        tokio::spawn(app.stopping.clone().run_until_cancelled_owned(discard));
    }
    let elapsed = arrived.elapsed();
    app.metrics.answered(index, response.status(), elapsed);
    tracing::debug!(parent: &span, status = response.status().as_u16(), elapsed_us = elapsed.as_micros(), "answered");
    response
}

/// The route that the request names, among those that the listener has.
fn find<'a>(app: &App, surface: Surface, parts: &'a Parts) -> Result<Found<'a>, ApiError> {
    let found = routes::find(&parts.method, parts.uri.path())?;
    let route = found.route();
    let is_here = match surface {
        Surface::Api => match route.endpoint {
            Endpoint::Metrics => app.settings.metrics,
            Endpoint::Mcp => app.settings.mcp,
            Endpoint::Docs | Endpoint::DocsFile => app.settings.docs,
            Endpoint::Root | Endpoint::Console | Endpoint::ConsoleFile => app.settings.console,
            _ => true,
        },
        Surface::Probes => route.probe,
    };
    is_here.then_some(found).ok_or(ApiError::NoSuchRoute)
}

/// What the log calls a request.
#[derive(Clone, Copy)]
struct InLog<'a> {
    id: &'a HeaderValue,
    route: &'static str,
}

impl InLog<'_> {
    /// At every level, so that each line of the log tells which request it is of.
    fn span(self) -> Span {
        let id = self.id.to_str().unwrap_or_default();
        tracing::error_span!("request", id, route = self.route)
    }
}

/// One request on its way.
struct Call<'a> {
    app: &'a Arc<App>,
    /// Who sent it, past trusted proxies.
    client: IpAddr,
    parts: &'a Parts,
    guard: &'a RequestGuard,
    /// The other gateway whose route it is, if it is one.
    compat: Option<CompatApi>,
    /// The caller's rate limit, once the caller is known. Goes with the answer, whichever it is.
    standing: Option<Standing>,
    in_log: InLog<'a>,
}

impl Call<'_> {
    async fn answer<B>(
        &mut self,
        found: Result<Found<'_>, ApiError>,
        body: &mut B,
    ) -> Result<Response<Body>, ApiError>
    where
        B: hyper::body::Body<Data = Bytes> + Send + Unpin,
    {
        let Self { app, parts, .. } = *self;
        let found = match found {
            Ok(found) => found,
            Err(ApiError::NoSuchRoute) => return Err(ApiError::NoSuchRoute),
            // A preflight asks with a method of its own.
            Err(error) => {
                let preflight = app.cors.preflight(&parts.method, &parts.headers, self.compat);
                return preflight.ok_or(error);
            }
        };
        match found.route().endpoint {
            Endpoint::ChatPresence => self.answer_presence(&found.name, body).await,
            // On the heap, because the state of the largest would be that of each, and a future is moved several
            // times before it is polled.
            endpoint => Box::pin(self.answer_any(endpoint, &found.name, body)).await,
        }
    }

    async fn answer_presence<B>(&mut self, name: &str, body: &mut B) -> Result<Response<Body>, ApiError>
    where
        B: hyper::body::Body<Data = Bytes> + Send + Unpin,
    {
        let time = Time::read();
        let caller = self.authenticated(time, |_| true).await?;
        if let Some(forwarded) = self.forwarded(&caller, name, &*body) {
            // On the heap, so that a presence which is not pays nothing for its state.
            return Box::pin(self.forward_presence(forwarded, body)).await;
        }
        self.count(Scope::from(&caller), Bucket::Requests, time).await?;
        let instances = self.app.instances()?;
        let instance = instances.find_soon(&caller, name).await?;
        let body = self.read(body, json::MAX_MESSAGE_BODY).await?;
        let pace = self.app.settings.pace;
        self.unless_given_up(presence::chat_presence(instances, &instance, &body, pace))
            .await
    }

    async fn answer_any<B>(
        &mut self,
        endpoint: Endpoint,
        name: &str,
        body: &mut B,
    ) -> Result<Response<Body>, ApiError>
    where
        B: hyper::body::Body<Data = Bytes> + Send + Unpin,
    {
        let Self { app, parts, .. } = *self;
        let query = parts.uri.query();
        match endpoint {
            Endpoint::ChatPresence => self.answer_presence(name, body).await,
            Endpoint::ShownPresences => {
                let instance = self.instance(name).await?;
                presence::shown_presences(app.instances()?, &instance).await
            }
            Endpoint::Events => {
                let caller = self.caller(Bucket::Requests).await?;
                self.unless_given_up(events::events(app, &caller, parts, self.guard))
                    .await
            }
            Endpoint::GetWebhook => {
                let account = self.account(Bucket::Requests).await?;
                webhook::get(app.instances()?, account)
            }
            Endpoint::Webhook => {
                let account = self.account(Bucket::Requests).await?;
                let body = self.read(body, json::MAX_BODY).await?;
                webhook::change(app.instances()?, account, &body).await
            }
            Endpoint::InstanceNew => {
                let account = self.account(Bucket::NewInstances).await?;
                let body = self.read(body, json::MAX_BODY).await?;
                instance::new(app.instances()?, account, &body).await
            }
            Endpoint::InstanceList => {
                let caller = self.caller(Bucket::Requests).await?;
                instance::list(app.instances()?, &caller, query).await
            }
            Endpoint::InstanceConnect => {
                let instance = self.instance(name).await?;
                let hold = app.settings.connect_hold;
                self.unless_given_up(instance::connect(app.instances()?, &instance, query, hold))
                    .await
            }
            Endpoint::InstanceReconnect => {
                let instance = self.instance(name).await?;
                instance::reconnect(app.instances()?, &instance).await
            }
            Endpoint::InstanceLogout => {
                let instance = self.instance(name).await?;
                instance::logout(app.instances()?, &instance).await
            }
            Endpoint::InstanceDelete => {
                let account = Caller::Account(self.account(Bucket::Requests).await?);
                let instances = app.instances()?;
                let instance = instances.find_soon(&account, name).await?;
                instance::delete(instances, instance).await
            }
            Endpoint::InstanceGetSettings => Ok(instance::get_settings(&*self.instance(name).await?)),
            Endpoint::InstanceSettings => {
                let instance = self.instance(name).await?;
                let body = self.read(body, json::MAX_BODY).await?;
                instance::change_settings(app.instances()?, &instance, &body).await
            }
            Endpoint::InstanceGetProxy => {
                let instance = self.instance(name).await?;
                instance::get_proxy(app.instances()?, &instance)
            }
            Endpoint::InstanceProxy => {
                let instance = self.instance(name).await?;
                let body = self.read(body, json::MAX_BODY).await?;
                instance::change_proxy(app.instances()?, &instance, &body).await
            }
            Endpoint::PairingLink => {
                let instance = self.instance(name).await?;
                pair::create(app, &instance, parts).await
            }
            Endpoint::RevokePairingLink => {
                let instance = self.instance(name).await?;
                pair::revoke(app, &instance).await
            }
            Endpoint::Mcp => {
                let caller = self.caller(Bucket::Requests).await?;
                let body = self.read(body, json::MAX_BODY).await?;
                self.unless_given_up(mcp::mcp(app.instances()?, caller, parts, body))
                    .await
            }
            Endpoint::Health => Ok(health::health(app).await),
            Endpoint::Livez => Ok(health::livez()),
            Endpoint::Readyz => Ok(health::readyz(app)),
            Endpoint::Metrics => Ok(health::metrics(app).await),
            Endpoint::OpenApi => Ok(openapi::serve()),
            Endpoint::Evolution(endpoint) => compat::evolution(self, endpoint, name, body).await,
            Endpoint::Waha(endpoint) => compat::waha(self, endpoint, name, body).await,
            Endpoint::PairPage => pair::page(name, &parts.headers),
            Endpoint::Pair => {
                let opened = self.pairing_link(name).await?;
                let body = self.read(body, json::MAX_BODY).await?;
                self.unless_given_up(pair::step(app, opened, &body)).await
            }
            Endpoint::Docs => docs::page(parts.uri.path(), &parts.headers),
            Endpoint::DocsFile => docs::file(name, &parts.headers),
            Endpoint::Root => Ok(console::root()),
            Endpoint::Console => console::page(parts.uri.path(), &parts.headers),
            Endpoint::ConsoleFile => console::file(name, &parts.headers),
        }
    }

    async fn read<B>(&self, body: &mut B, most: usize) -> Result<Bytes, ApiError>
    where
        B: hyper::body::Body<Data = Bytes> + Send + Unpin,
    {
        let limit = self.app.settings.body_timeout;
        Ok(self
            .guard
            .reading_body(json::read_body(body, most, limit))
            .await?)
    }

    /// Gives an answer up when the service stops, or when nobody is left to read it.
    async fn unless_given_up<T>(
        &self,
        answer: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, ApiError> {
        if self.guard.is_given_up() {
            return Err(self.given_up());
        }
        tokio::select! {
            biased;
            answer = answer => answer,
            () = self.guard.given_up() => Err(self.given_up()),
        }
    }

    /// Why an answer is given up.
    fn given_up(&self) -> ApiError {
        match self.app.stopping.is_cancelled() {
            true => ApiError::Stopping,
            false => ApiError::ClientGone,
        }
    }

    /// Who calls: the checks of the token and of its rate limit.
    async fn caller(&mut self, bucket: Bucket) -> Result<Caller, ApiError> {
        let time = Time::read();
        let caller = self.authenticated(time, |_| true).await?;
        self.count(Scope::from(&caller), bucket, time).await?;
        Ok(caller)
    }

    /// Which account calls. An instance token counts as no valid token.
    async fn account(&mut self, bucket: Bucket) -> Result<AccountId, ApiError> {
        let time = Time::read();
        let caller = self.authenticated(time, |caller| matches!(caller, Caller::Account(_)));
        let Caller::Account(account) = caller.await? else {
            return Err(ApiError::InvalidToken);
        };
        self.count(Scope::Account(account), bucket, time).await?;
        Ok(account)
    }

    /// The caller's instance of this name: all checks before the body.
    async fn instance(&mut self, name: &str) -> Result<Arc<Instance>, ApiError> {
        let caller = self.caller(Bucket::Requests).await?;
        Ok(self.app.instances()?.find_soon(&caller, name).await?)
    }

    /// What the link with this secret opens. It is authorised by that alone: guesses count as wrong tokens do.
    async fn pairing_link(&mut self, secret: &str) -> Result<Opened, ApiError> {
        let (limits, time) = (&self.app.limits, Time::read());
        self.check_guesses(Some(secret), time)?;
        let Some(opened) = pair::open(self.app, secret).await else {
            return Err(match self.refuse(time) {
                ApiError::InvalidToken => ApiError::NoSuchLink,
                error => error,
            });
        };
        limits.succeeded(self.client, secret, time.now);
        let standing = match opened {
            Opened::Pairing(instance) => limits.count_pairing(instance, time),
            Opened::Used => None,
        };
        match standing.filter(Standing::is_refused) {
            Some(standing) => {
                self.app.metrics.rate_limited[Limit::from(Bucket::Requests)].inc();
                Err(ApiError::RateLimited(standing))
            }
            None => Ok(opened),
        }
    }

    /// Refuses even to try what is `presented` by a client that has guessed too often.
    fn check_guesses(&self, presented: Option<&str>, time: Time) -> Result<(), ApiError> {
        let Some(standing) = self.app.limits.refuses(self.client, presented, time) else {
            return Ok(());
        };
        self.app.metrics.tokens_refused.inc();
        self.app.metrics.rate_limited[Limit::WrongTokens].inc();
        Err(ApiError::RateLimited(standing))
    }

    /// Who calls: the check of the token. One that nobody could look up counts as no guess.
    async fn authenticated(
        &self,
        time: Time,
        is_wanted: impl Fn(&Caller) -> bool,
    ) -> Result<Caller, ApiError> {
        let presented = auth::presented(&self.parts.headers, self.compat);
        self.check_guesses(presented, time)?;
        let instances = self.app.instances()?;
        let caller = match presented {
            Some(token) => instances.authenticate_soon(token).await?,
            None => None,
        };
        let caller = presented.zip(caller);
        let Some((token, caller)) = caller.filter(|(_, caller)| is_wanted(caller)) else {
            return Err(self.refuse(time));
        };
        self.app.limits.succeeded(self.client, token, time.now);
        Ok(caller)
    }

    /// Counts the request where the caller's window is, which in a cluster may be at another node: the check of the
    /// rate limit.
    async fn count(&mut self, scope: Scope, bucket: Bucket, time: Time) -> Result<(), ApiError> {
        let limits = &self.app.limits;
        let nodes = self.app.instances()?.nodes();
        let standing = match nodes.filter(|_| limits.limits(bucket)) {
            Some(nodes) => nodes.count(scope, bucket).await,
            None => None,
        };
        let standing = standing.unwrap_or_else(|| limits.count(scope, bucket, time));
        self.admit(bucket, standing)
    }

    /// Refuses the request if it is one too many, now that it is counted.
    fn admit(&mut self, bucket: Bucket, standing: Option<Standing>) -> Result<(), ApiError> {
        self.standing = standing;
        match standing.filter(Standing::is_refused) {
            Some(standing) => {
                self.app.metrics.rate_limited[Limit::from(bucket)].inc();
                Err(ApiError::RateLimited(standing))
            }
            None => Ok(()),
        }
    }

    /// What a request without a valid token gets; it counts in the window of the client's address.
    fn refuse(&self, time: Time) -> ApiError {
        self.app.metrics.tokens_refused.inc();
        let standing = self.app.limits.count_failure(self.client, time);
        if standing.is_some_and(|standing| standing.is_used_up() && !standing.is_refused()) {
            let span = self.in_log.span();
            tracing::warn!(parent: &span, client = %self.client, "too many tokens were wrong: for a minute no new one is tried");
        }
        match standing.filter(Standing::is_refused) {
            Some(standing) => {
                self.app.metrics.rate_limited[Limit::WrongTokens].inc();
                ApiError::RateLimited(standing)
            }
            None => ApiError::InvalidToken,
        }
    }
}
