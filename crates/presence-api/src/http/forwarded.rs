//! A presence that another node shows, and whose caller that node counts: one call to it is both.
//!
//! So the body is read before the limit is asked for. Whoever is refused learns of the limit and nothing else, as
//! everywhere: it comes first whatever is wrong with the body.

use std::sync::Arc;

use bytes::Bytes;
use hyper::{Response, header};
use presence_core::{ChatPresence, PresenceSent};
use presence_store::{Caller, Instance, Node};

use super::{Call, presence};
use crate::clock::Time;
use crate::error::ApiError;
use crate::instances::Instances;
use crate::json::{self, Body};
use crate::nodes::{Count, CountAndShow, Counted, Nodes, Show};
use crate::rate_limit::Bucket;
use crate::scope::Scope;

/// A body of so many bytes comes with its head. Longer ones are waited for by those alone who are within their limit.
const SMALL: u64 = 4096;
const BUCKET: Bucket = Bucket::Requests;

/// A presence that is counted and shown at the same other node.
pub(super) struct Forwarded<'a> {
    instances: &'a Instances,
    nodes: &'a Nodes,
    instance: Arc<Instance>,
    scope: Scope,
    node: Arc<Node>,
}

impl<'a> Call<'a> {
    /// `None` when the request is to be counted by itself.
    pub(super) fn forwarded<B>(&self, caller: &Caller, name: &str, body: &B) -> Option<Forwarded<'a>>
    where
        B: hyper::body::Body,
    {
        let app = self.app;
        let instances = app.instances.get()?;
        let nodes = instances.nodes().filter(|_| app.limits.limits(BUCKET))?;
        let is_small = body.size_hint().exact().is_some_and(|length| length <= SMALL);
        if !is_small || self.parts.headers.contains_key(header::EXPECT) {
            return None;
        }
        let scope = Scope::from(caller);
        let node = nodes.counts_elsewhere(scope)?;
        // Nobody is told yet of what is found: the limit still comes before.
        let instance = instances.find(caller, name).ok()?;
        let owner = nodes.has_elsewhere(instance.id)?;
        (owner.id == node.id).then_some(Forwarded {
            instances,
            nodes,
            instance,
            scope,
            node,
        })
    }

    pub(super) async fn forward_presence<B>(
        &mut self,
        forwarded: Forwarded<'_>,
        body: &mut B,
    ) -> Result<Response<Body>, ApiError>
    where
        B: hyper::body::Body<Data = Bytes> + Send + Unpin,
    {
        let scope = forwarded.scope;
        let presence = match self.read_presence(body).await {
            Ok(presence) => presence,
            Err(error) => {
                self.count(scope, BUCKET, Time::read()).await?;
                return Err(error);
            }
        };
        let counted = self.unless_given_up(forwarded.count_and_show(&presence)).await;
        // Without an answer nobody knows whether the node has counted it.
        let count_here = || self.app.limits.count(scope, BUCKET, Time::read());
        let (standing, shown) = match counted {
            Ok(Some(Counted { standing, shown })) => (standing, shown.map(|shown| Ok(shown?))),
            Ok(None) => (count_here(), None),
            Err(given_up) => (count_here(), Some(Err(given_up))),
        };
        self.admit(BUCKET, standing)?;
        let sent = match shown {
            Some(shown) => shown?,
            None => self.unless_given_up(forwarded.show(&presence)).await?,
        };
        Ok(presence::respond(&sent))
    }

    async fn read_presence<B>(&self, body: &mut B) -> Result<ChatPresence, ApiError>
    where
        B: hyper::body::Body<Data = Bytes> + Send + Unpin,
    {
        let body = self.read(body, json::MAX_MESSAGE_BODY).await?;
        let presence = presence::read(&body, self.app.settings.pace)?;
        if self.guard.is_given_up() {
            return Err(self.given_up());
        }
        Ok(presence)
    }
}

impl Forwarded<'_> {
    async fn count_and_show(&self, presence: &ChatPresence) -> Result<Option<Counted>, ApiError> {
        let count = Count {
            scope: self.scope,
            bucket: BUCKET,
        };
        let show = Show {
            instance: self.instance.id,
            presence: presence.into(),
        };
        let call = CountAndShow { count, show };
        Ok(self.nodes.count_and_show(&self.node, &call).await)
    }

    /// Shows it wherever the instance is by now.
    async fn show(&self, presence: &ChatPresence) -> Result<PresenceSent, ApiError> {
        Ok(self.instances.presence(&self.instance, presence).await?)
    }
}
