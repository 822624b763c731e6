//! Calls of other nodes, answered.

use bytes::Bytes;
use hyper::header::AUTHORIZATION;
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use presence_core::ChatPresence;
use presence_wa::{ConnectError, PairWith, ShowError};

use super::calls::{
    ApplySettings, Connect, Count, CreateLink, FollowShown, LogOut, NodeCall, OpenLink, Reconnect, Remove,
    RevokeLink, Show, ShownIn, Statuses,
};
use super::client::PATH;
use super::{Nodes, shown_feed};
use crate::app::App;
use crate::clock::Time;
use crate::instances::Instances;
use crate::json::{self, Body};

/// Carries out a call of another node.
pub(crate) async fn serve(app: &App, parts: &Parts, body: &Bytes) -> Response<Body> {
    let Some((instances, nodes)) = app
        .instances
        .get()
        .and_then(|instances| Some((instances, instances.nodes()?)))
    else {
        return plain(StatusCode::SERVICE_UNAVAILABLE);
    };
    if !is_node(nodes, parts) {
        return plain(StatusCode::UNAUTHORIZED);
    }
    if parts.method != Method::POST {
        return plain(StatusCode::METHOD_NOT_ALLOWED);
    }
    let call = Received { instances, body };
    match parts.uri.path().strip_prefix(PATH) {
        Some(Show::NAME) => call.show().await,
        Some(ShownIn::NAME) => {
            call.here(async |ShownIn { instance }| instances.shown_here(instance).await)
                .await
        }
        Some(Connect::NAME) => call.connect().await,
        Some(Reconnect::NAME) => {
            call.here(async |Reconnect { instance }| instances.reconnect_here(instance).await)
                .await
        }
        Some(LogOut::NAME) => {
            call.here(async |LogOut { instance }| instances.log_out_here(instance).await)
                .await
        }
        Some(Remove::NAME) => {
            call.here(async |Remove { instance }| instances.remove_here(instance).await)
                .await
        }
        Some(ApplySettings::NAME) => {
            call.here(async |ApplySettings { instance }| instances.apply_settings_here(instance).await)
                .await
        }
        Some(CreateLink::NAME) => {
            let create = async |CreateLink { instance }| {
                let watch = instances.watch_status(instance);
                Some(app.pairing_links.create(instance, watch))
            };
            call.here(create).await
        }
        Some(RevokeLink::NAME) => {
            let revoke = async |RevokeLink { instance }| {
                app.pairing_links.revoke(instance);
                Some(())
            };
            call.here(revoke).await
        }
        Some(OpenLink::NAME) => {
            call.here(async |OpenLink { secret }| Some(app.pairing_links.open(&secret)))
                .await
        }
        Some(Count::NAME) => {
            let count = async |Count { scope, bucket }| Some(app.limits.count(scope, bucket, Time::read()));
            call.here(count).await
        }
        Some(FollowShown::NAME) => match serde_json::from_slice(body) {
            Ok(FollowShown { scope }) => shown_feed::tell(instances, nodes, scope),
            Err(_) => plain(StatusCode::BAD_REQUEST),
        },
        Some(Statuses::NAME) => {
            let news = async |asked| Some(nodes.board().news(asked, || instances.own_statuses()).await);
            call.here(news).await
        }
        _ => plain(StatusCode::NOT_FOUND),
    }
}

/// A call of another node, and what there is here.
struct Received<'a> {
    instances: &'a Instances,
    body: &'a Bytes,
}

impl Received<'_> {
    /// Has `here` carry the call out. It answers nothing when the instance is not this node's.
    async fn here<C: NodeCall>(&self, here: impl AsyncFnOnce(C) -> Option<C::Answer>) -> Response<Body> {
        let Ok(call) = serde_json::from_slice(self.body) else {
            return plain(StatusCode::BAD_REQUEST);
        };
        match here(call).await {
            Some(answer) => json::respond(StatusCode::OK, &answer),
            None => plain(StatusCode::MISDIRECTED_REQUEST),
        }
    }

    async fn show(&self) -> Response<Body> {
        self.here(async |Show { instance, presence }| {
            match ChatPresence::try_from(presence) {
                Ok(presence) => self.instances.show_here(instance, &presence).await,
                // The node that sent it has checked it.
                Err(_) => Some(Err(ShowError::NotConnected)),
            }
        })
        .await
    }

    async fn connect(&self) -> Response<Body> {
        self.here(async |Connect { instance, number }| {
            let how = match number.map(|number| number.parse()) {
                None => PairWith::Qr,
                Some(Ok(number)) => PairWith::LinkCode(number),
                Some(Err(_)) => return Some(Err(ConnectError::LinkCodeRefused)),
            };
            self.instances.connect_here(instance, how).await
        })
        .await
    }
}

fn is_node(nodes: &Nodes, parts: &Parts) -> bool {
    let presented = parts.headers.get(AUTHORIZATION);
    presented
        .and_then(|presented| presented.as_bytes().strip_prefix(b"Bearer "))
        .is_some_and(|presented| nodes.inner.secret.is(presented))
}

fn plain(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::default());
    *response.status_mut() = status;
    response
}
